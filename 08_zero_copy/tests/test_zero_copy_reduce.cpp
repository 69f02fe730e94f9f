// Sums, ends and normalisation: defined to the bit, whatever the instruction set, the team and the strides.
#define TENFOLD_WITHOUT_MATMUL
#define TENFOLD_WITHOUT_MATVEC
#define TENFOLD_WITHOUT_STENCIL
#define TENFOLD_WITHOUT_TRANSPOSE
#include <catch2/catch_template_test_macros.hpp>

#include <algorithm>
#include <span>
#include <stdexcept>

#include "tenfold/span_reduce.hpp"
#include "zero_copy_testing.hpp"

using namespace zero_copy_testing;

namespace {

// The definition, written down once more: chunks of 4096, 32 lanes, folded by halves, chunks in order.
template <class T>
double defined_sum(const std::vector<T>& x) {
    double total = 0.0;
    for (std::size_t begin = 0; begin < x.size(); begin += 4096) {
        double lanes[32] = {};
        for (std::size_t i = begin; i < std::min(x.size(), begin + 4096); ++i)
            lanes[(i - begin) % 32] += static_cast<double>(x[i]);
        for (std::size_t half = 16; half != 0; half /= 2)
            for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
        total += lanes[0];
    }
    return total;
}

template <class T>
void check(const std::vector<T>& values, zc::view2d<const T> x, int threads) {
    const auto found = zc::reduce<T>(x, threads);
    double least = inf_of<double>, greatest = -inf_of<double>;
    bool nan = false, minus = false, plus = false;
    for (const T v : values) {
        nan = nan || std::isnan(v);
        minus = minus || (v == 0 && std::signbit(v));
        plus = plus || (v == 0 && !std::signbit(v));
        least = std::min(least, static_cast<double>(v));
        greatest = std::max(greatest, static_cast<double>(v));
    }
    if (least == 0.0) least = minus ? -0.0 : 0.0;
    if (greatest == 0.0) greatest = plus ? 0.0 : -0.0;
    if (nan) least = greatest = nan_of<double>;
    REQUIRE(found.count == values.size());
    REQUIRE(same(found.sum, defined_sum(values)));
    REQUIRE(same(found.min, least));
    REQUIRE(same(found.max, greatest));
    REQUIRE(same(zc::sum<T>(x, threads), found.sum));
}

}  // namespace

TEMPLATE_TEST_CASE("sum and ends: sizes 0 to 129 and around the chunk, unaligned starts", "", double, float) {
    using T = TestType;
    at_each_level([] {
        std::vector<std::size_t> sizes{4095, 4096, 4097, 8191, 8192, 12'289};
        for (std::size_t n = 0; n < 130; ++n) sizes.push_back(n);
        for (const std::size_t n : sizes)
            for (std::size_t start = 0; start < (n < 130 ? std::size_t{9} : std::size_t{2}); ++start) {
                auto memory = numbers<T>(n + start, 11);
                INFO(n << " items from " << start);
                check<T>({memory.begin() + static_cast<std::ptrdiff_t>(start), memory.end()},
                         std::span<const T>(memory).subspan(start), 1);
            }
    });
}

TEMPLATE_TEST_CASE("NaN, infinities and the two zeros at every place", "", double, float) {
    using T = TestType;
    at_each_level([] {
        const T specials[] = {nan_of<T>, -nan_of<T>, inf_of<T>, -inf_of<T>};
        for (const std::size_t n : {std::size_t{1}, std::size_t{2}, std::size_t{31}, std::size_t{33}, std::size_t{70}})
            for (std::size_t place = 0; place < n; ++place)
                for (const T special : specials) {
                    auto x = numbers<T>(n, 12);
                    x[place] = special;
                    check<T>(x, std::span<const T>(x), 1);
                    if (n < 2) continue;
                    x[(place + 1) % n] = -special;  // infinities of both signs: the sum is NaN, the ends are not
                    check<T>(x, std::span<const T>(x), 1);
                }
        for (const std::size_t n : {std::size_t{1}, std::size_t{40}, std::size_t{100}, std::size_t{9000}})
            for (const T base : {T(0), T(1), T(-1)})
                for (std::size_t place = 0; place < n; place += 1 + n / 40) {
                    std::vector<T> x(n, base);
                    x[place] = -T(0);
                    check<T>(x, std::span<const T>(x), 2);
                    x.assign(n, base == T(0) ? -T(0) : base);
                    x[place] = T(0);
                    check<T>(x, std::span<const T>(x), 2);
                }
    });
}

TEMPLATE_TEST_CASE("the same bits at every thread count, instruction set and stride", "", double, float) {
    using T = TestType;
    constexpr std::size_t rows = 301, columns = 499;
    const auto values = numbers<T>(rows * columns, 13);
    std::vector<T> wide(2 * values.size()), tall(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        wide[wide.size() - 1 - 2 * i] = values[i];
        tall[i % columns * rows + i / columns] = values[i];
    }
    const double want = defined_sum(values);
    at_each_level([&] {
        for (const int threads : thread_counts) {
            check<T>(values, std::span<const T>(values), threads);
            check<T>(values, zc::view2d<const T>(values.data(), rows, columns), threads);
            REQUIRE(same(zc::sum<T>(zc::view1d<const T>(&wide.back(), values.size(), -2), threads), want));
            check<T>(values, zc::view2d<const T>(tall.data(), rows, columns, 1, rows), threads);
        }
        std::vector<T> part;  // a rectangle in the middle
        for (std::size_t i = 5; i < 300; ++i) part.insert(part.end(), &values[i * columns + 7], &values[i * columns + 490]);
        check<T>(part, zc::view2d<const T>(&values[5 * columns + 7], 295, 483, columns), 2);
    });
}

TEST_CASE("nothing, and what is refused") {
    const std::vector<double> x(10, 1.0);
    const auto none = zc::reduce<double>(std::span<const double>{}, 4);
    REQUIRE((none.sum == 0.0 && none.min == inf_of<double> && none.max == -inf_of<double> && none.count == 0));
    REQUIRE(zc::sum<float>(std::span<const float>{}, 1) == 0.0);
    REQUIRE(zc::sum<double>(zc::view2d<const double>(x.data(), 0, 10), 2) == 0.0);
    REQUIRE(zc::sum<double>(zc::view2d<const double>(x.data(), 10, 0), 2) == 0.0);
    REQUIRE(zc::sum<double>(zc::view2d<const double>(x.data(), 1000, 1000, 0, 0), 2) == 1e6);  // one number, a million times
    REQUIRE_THROWS_AS(zc::sum<double>(std::span(x), 0), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::reduce<double>(std::span(x), -1), std::invalid_argument);
    std::vector<double> many(1'000'000, 1.0), out(many.size());
    for (const int threads : thread_counts) {
        REQUIRE_THROWS_AS(zc::sum<double>(std::span<const double>(many), threads, [] { return true; }), tenfold::stopped);
        REQUIRE_THROWS_AS(zc::normalize<double>(std::span<const double>(many), std::span(out), threads, [] { return true; }),
                          tenfold::stopped);
    }
}

TEMPLATE_TEST_CASE("normalise: mean 0, deviation 1, in place, constants, NaN", "", double, float) {
    using T = TestType;
    const double tolerance = sizeof(T) == 8 ? 1e-12 : 1e-5;
    std::vector<T> reference;
    at_each_level([&] {
        for (const int threads : thread_counts) {
            const auto x = numbers<T>(50'001, 14);
            std::vector<T> out(x.size());
            zc::normalize<T>(std::span<const T>(x), std::span(out), threads);
            const auto moments = zc::reduce<T>(std::span<const T>(out), 1);
            REQUIRE(std::abs(moments.sum / 50'001) < tolerance);
            double squares = 0.0, mean = 0.0;
            for (const T v : x) mean += static_cast<double>(v) / 50'001;
            for (const T v : out) squares += static_cast<double>(v) * static_cast<double>(v);
            REQUIRE(std::abs(squares / 50'001 - 1.0) < tolerance);
            REQUIRE((out[0] > 0) == (static_cast<double>(x[0]) > mean));
            if (reference.empty()) reference = out;
            REQUIRE(same(out, reference));
            auto place = x;
            zc::normalize<T>(std::span<const T>(place), std::span(place), threads);
            REQUIRE(same(place, reference));
            std::vector<T> twice(2 * x.size(), T(8));
            zc::view1d<T> every_other(twice.data(), x.size(), 2);
            for (std::size_t i = 0; i < x.size(); ++i) every_other[i] = x[i];
            zc::normalize<T>(every_other, every_other, threads);
            for (std::size_t i = 0; i < x.size(); ++i)
                REQUIRE((same(every_other[i], reference[i]) && twice[2 * i + 1] == T(8)));
        }
        for (const std::size_t n : {std::size_t{1}, std::size_t{10}, std::size_t{100'000}}) {
            std::vector<T> constant(n, T(0.1));
            zc::normalize<T>(std::span<const T>(constant), std::span(constant), 2);
            REQUIRE(std::all_of(constant.begin(), constant.end(), [](T v) { return v == T(0); }));
        }
        for (const T special : {nan_of<T>, inf_of<T>}) {
            auto x = numbers<T>(5000, 15);
            x[4321] = special;
            zc::normalize<T>(std::span<const T>(x), std::span(x), 2);
            REQUIRE(std::all_of(x.begin(), x.end(), [](T v) { return std::isnan(v); }));
        }
        std::vector<T> none;
        zc::normalize<T>(std::span<const T>(none), std::span(none), 2);
    });
}
