// The matrix product against sums in extended precision: every border of tiles, panels and blocks, bits, NaN, stops, errors.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tenfold/matrix.hpp"
#include "tenfold_testing.hpp"

namespace {

constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

std::vector<double> random_matrix(std::size_t n, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> value(-1.0, 1.0);
    std::vector<double> all(n);
    for (double& x : all) x = value(random);
    return all;
}

bool same_bits(const std::vector<double>& x, const std::vector<double>& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(),
                      [](double a, double b) { return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b); });
}

// The product at every team size: filled with NaN before, and with a margin behind that must stay as it is.
std::vector<double> product(const std::vector<double>& a, const std::vector<double>& b, std::size_t m, std::size_t k,
                            std::size_t n) {
    constexpr std::size_t margin = 40;
    std::vector<double> first;
    for (const int threads : tenfold_testing::thread_counts) {
        std::vector<double> c(m * n + margin, nan_value);
        std::fill(c.end() - margin, c.end(), 12345.0);
        tenfold::parallel_matrix_multiply(a, b, c, m, k, n, threads);
        INFO(m << " x " << k << " x " << n << ", " << threads << " threads");
        REQUIRE(std::count(c.end() - margin, c.end(), 12345.0) == margin);
        if (threads == 1) first = c;
        REQUIRE(same_bits(c, first));
    }
    first.resize(m * n);
    return first;
}

// How far `c` is from the sum in long double, in units of the stated bound (k + 2) * 2^-53 * sum |a||b|. The oracle's own error
// is 2^-11 of that.
double worst_error(const std::vector<double>& a, const std::vector<double>& b, const std::vector<double>& c, std::size_t m,
                   std::size_t k, std::size_t n) {
    double worst = 0.0;
    std::vector<long double> sums(n), sizes(n);
    for (std::size_t i = 0; i < m; ++i) {
        std::fill(sums.begin(), sums.end(), 0.0L);
        std::fill(sizes.begin(), sizes.end(), 0.0L);
        for (std::size_t p = 0; p < k; ++p)
            for (std::size_t j = 0; j < n; ++j) {
                const long double term = static_cast<long double>(a[i * k + p]) * b[p * n + j];
                sums[j] += term;
                sizes[j] += std::abs(term);
            }
        for (std::size_t j = 0; j < n; ++j) {
            const long double error = std::abs(c[i * n + j] - sums[j]);
            const long double bound = static_cast<long double>(k + 2) * 0x1p-53L * sizes[j];
            if (error == 0.0L) continue;
            worst = error <= bound * 1e9L ? std::max(worst, static_cast<double>(error / bound)) : infinity;
        }
    }
    return worst;
}

void check_shape(std::size_t m, std::size_t k, std::size_t n) {
    const auto a = random_matrix(m * k, m + 1), b = random_matrix(k * n, n + 1000);
    const auto c = product(a, b, m, k, n);
    INFO(m << " x " << k << " x " << n);
    REQUIRE(worst_error(a, b, c, m, k, n) <= 1.0);
}

}  // namespace

TEST_CASE("products within the bound around every border of a tile", "[parallel_basic][matrix]") {
    for (const std::size_t k : {0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 63, 64, 65})
        for (const std::size_t m : {0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17})
            for (const std::size_t n : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 23, 24, 25, 31, 33, 47, 48, 49})
                check_shape(m, k, n);
}

TEST_CASE("products within the bound around every border of a block", "[parallel_basic][matrix]") {
    for (const std::size_t k : {255, 256, 257, 511, 513})
        for (const std::size_t m : {1, 2, 8, 63, 64, 65})
            for (const std::size_t n : {1, 2, 24, 95, 97}) check_shape(m, k, n);
    for (const std::size_t m : {119, 120, 121, 241})
        for (const std::size_t n : {239, 263, 264, 265, 300}) check_shape(m, 20, n);
    check_shape(1919, 3, 5);
    check_shape(1921, 3, 1925);  // more than one block of C each way
    check_shape(2, 257, 3850);
    check_shape(3850, 257, 2);
    check_shape(300, 300, 300);
}

TEST_CASE("a single row and a single column, cut along k and across", "[parallel_basic][matrix]") {
    for (const std::size_t other : {1, 2, 31, 32, 33, 127, 128, 129, 1025})
        for (const std::size_t k : {1, 3, 4, 5, 127, 128, 1023, 1024, 1025, 2050}) {
            check_shape(1, k, other);
            check_shape(other, k, 1);
        }
    check_shape(1, 40, 12'300);
    for (const std::size_t k : {65535, 65536, 65537, 131080}) {
        check_shape(1, k, 3);
        check_shape(3, k, 1);
        check_shape(1, k, 1);
    }
}

TEST_CASE("the plain loops: one order, one result, within the bound", "[parallel_basic][matrix]") {
    for (const std::size_t n : {0, 1, 2, 5, 33, 70}) {
        const std::size_t m = n + 3, k = 2 * n;
        const auto a = random_matrix(m * k, 1), b = random_matrix(k * n, 2);
        std::vector<double> naive(m * n, nan_value), ikj(m * n, nan_value);
        tenfold::matrix_multiply_naive(a, b, naive, m, k, n);
        tenfold::matrix_multiply_ikj(a, b, ikj, m, k, n);
        CHECK(same_bits(naive, ikj));
        CHECK(worst_error(a, b, naive, m, k, n) <= 1.0);
    }
}

TEST_CASE("integers are exact", "[parallel_basic][matrix]") {
    constexpr std::size_t m = 130, k = 260, n = 270;
    std::vector<double> a(m * k), b(k * n), expected(m * n);
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<double>(i * 7 % 1001) - 500.0;
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<double>(i * 11 % 997) - 498.0;
    tenfold::matrix_multiply_naive(a, b, expected, m, k, n);
    CHECK(product(a, b, m, k, n) == expected);
}

TEST_CASE("NaN and infinity are only where they belong", "[parallel_basic][matrix]") {
    struct shape {
        std::size_t m, k, n;
    };
    for (const auto [m, k, n] : {shape{1, 9, 1}, {1, 40, 37}, {37, 40, 1}, {9, 5, 25}, {17, 300, 50}, {130, 64, 290}}) {
        auto a = random_matrix(m * k, 3), b = random_matrix(k * n, 4);
        for (double& x : a) x = std::abs(x) + 0.5;
        for (double& x : b) x = std::abs(x) + 0.5;
        // The last row, column and step of k lie beside the filling of the panels.
        const std::size_t row = m - 1, column = n - 1, step = k - 1;
        for (const double special : {nan_value, infinity, -infinity}) {
            auto a2 = a, b2 = b;
            a2[row * k + step] = special;
            const auto c = product(a2, b, m, k, n);
            b2[step * n + column] = special;
            const auto d = product(a, b2, m, k, n);
            bool right = true;
            const auto as_special = [&](double x) { return std::isnan(special) ? std::isnan(x) : x == special; };
            for (std::size_t i = 0; i < m; ++i)
                for (std::size_t j = 0; j < n; ++j) {
                    right = right && (i == row ? as_special(c[i * n + j]) : std::isfinite(c[i * n + j]));
                    right = right && (j == column ? as_special(d[i * n + j]) : std::isfinite(d[i * n + j]));
                }
            INFO(m << " x " << k << " x " << n << " with " << special);
            CHECK(right);
        }
        auto zeros = a, infinite = b;
        for (std::size_t i = 0; i < m; ++i) zeros[i * k] = 0.0;
        infinite[0] = infinity;  // 0 * inf
        CHECK(std::isnan(product(zeros, infinite, m, k, n)[0]));
    }
}

TEST_CASE("an empty sum is zero, an empty result nothing", "[parallel_basic][matrix]") {
    CHECK(product({}, {}, 3, 0, 4) == std::vector<double>(12, 0.0));
    CHECK(product({}, std::vector<double>(12), 0, 3, 4).empty());
    CHECK(product(std::vector<double>(12), {}, 4, 3, 0).empty());
}

TEST_CASE("spans that are too small and impossible teams are errors", "[parallel_basic][matrix]") {
    const auto six = random_matrix(6, 1), five = random_matrix(5, 1);
    auto four = random_matrix(4, 1), three = random_matrix(3, 1);
    const auto check = [](auto&& multiply) { CHECK_THROWS_AS(multiply(), std::invalid_argument); };
    check([&] { tenfold::parallel_matrix_multiply(five, six, four, 2, 3, 2, 1); });
    check([&] { tenfold::parallel_matrix_multiply(six, five, four, 2, 3, 2, 1); });
    check([&] { tenfold::parallel_matrix_multiply(six, six, three, 2, 3, 2, 1); });
    check([&] { tenfold::matrix_multiply_naive(five, six, four, 2, 3, 2); });
    check([&] { tenfold::matrix_multiply_ikj(six, six, three, 2, 3, 2); });
    check([&] { tenfold::parallel_matrix_multiply(six, six, four, 2, 3, 2, 0); });
    check([&] { tenfold::parallel_matrix_multiply(six, six, four, 2, 3, 2, -1); });
    constexpr std::size_t huge = std::numeric_limits<std::size_t>::max() / 2 + 1;  // 2 * huge is 0
    check([&] { tenfold::parallel_matrix_multiply(six, six, four, huge, 2, 2, 1); });
    check([&] { tenfold::parallel_matrix_multiply(six, six, four, 2, huge, 2, 1); });
    check([&] { tenfold::parallel_matrix_multiply(six, six, four, 2, 2, huge, 1); });
}

TEST_CASE("stop is asked on the calling thread, often, and ends the product", "[parallel_basic][matrix]") {
    struct shape {
        std::size_t m, k, n;
    };
    for (const auto [m, k, n] : {shape{400, 300, 400}, {1, 3000, 3000}, {3000, 3000, 1}, {1, 1'000'000, 3}, {3, 1'000'000, 1}})
        for (const int threads : tenfold_testing::thread_counts) {
            const std::vector<double> a(m * k, 1.0), b(k * n, 1.0);
            std::vector<double> c(m * n);
            const auto caller = std::this_thread::get_id();
            std::atomic<int> elsewhere{0};
            int asked = 0;
            const auto count = [&] {
                ++asked;
                if (std::this_thread::get_id() != caller) ++elsewhere;
                return false;
            };
            tenfold::parallel_matrix_multiply(a, b, c, m, k, n, threads, count);
            CHECK(elsewhere == 0);
            CHECK(std::count(c.begin(), c.end(), static_cast<double>(k)) == static_cast<std::ptrdiff_t>(m * n));
            if (threads == 1) CHECK(asked >= static_cast<int>(2 * m * k * n / 40'000'000));
            CHECK_THROWS_AS(tenfold::parallel_matrix_multiply(a, b, c, m, k, n, threads, [] { return true; }),
                            tenfold::stopped);
            int left = 1;  // once for the call, then in the first region
            const auto soon = [&] { return --left < 0; };
            CHECK_THROWS_AS(tenfold::parallel_matrix_multiply(a, b, c, m, k, n, threads, soon), tenfold::stopped);
        }
}

TEST_CASE("products from several threads at once, and from inside a region", "[parallel_basic][matrix]") {
    constexpr std::size_t n = 90;
    const auto a = random_matrix(n * n, 5), b = random_matrix(n * n, 6);
    const auto expected = product(a, b, n, n, n);
    std::atomic<int> wrong{0};
    tenfold_testing::run_threads(4, [&](int) {
        for (int round = 0; round < 10; ++round) {
            std::vector<double> c(n * n);
            tenfold::parallel_matrix_multiply(a, b, c, n, n, n, 2);
            if (!same_bits(c, expected)) ++wrong;
        }
    });
    tenfold::parallel_chunks(8, 1, 4, [&](std::size_t, std::size_t) {
        std::vector<double> c(n * n);
        tenfold::parallel_matrix_multiply(a, b, c, n, n, n, 2);
        if (!same_bits(c, expected)) ++wrong;
    });
    CHECK(wrong == 0);
}
