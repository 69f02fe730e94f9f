// What is computed with numbers: reductions, scans, partition, group_by, moving averages, transposition; and that floating-point
// results have the same bits everywhere.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "par_testing.hpp"

using namespace tenfold;
using par_testing::executors;
using par_testing::sizes;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double a_nan = std::numeric_limits<double>::quiet_NaN();

std::uint64_t bits(double x) { return std::bit_cast<std::uint64_t>(x); }

std::vector<double> reals(std::size_t n) {
    std::mt19937_64 random(n);
    std::uniform_real_distribution<double> value(-1.0, 1.0);
    std::vector<double> all(n);
    for (double& x : all) x = value(random) * std::exp2(static_cast<double>(random() % 60));
    return all;
}
std::vector<std::int64_t> whole(std::size_t n) {
    std::mt19937_64 random(n);
    std::vector<std::int64_t> all(n);
    for (auto& x : all) x = static_cast<std::int64_t>(random() % 2001) - 1000;
    return all;
}

// All executors must agree with the first one to the last bit.
template <class Run>
void check_same_bits(const Run& run) {
    std::vector<std::uint64_t> first;
    for (const auto& executor : executors()) {
        std::vector<std::uint64_t> now;
        for (const double x : run(executor)) now.push_back(bits(x));
        if (first.empty()) first = now;
        INFO(executor.name());
        CHECK(now == first);
    }
}

}  // namespace

TEST_CASE("sums, minima and maxima", "[parallel_iterators]") {
    for (const std::size_t n : sizes()) {
        const auto x = whole(n);
        const std::vector<double> d(x.begin(), x.end());  // small whole numbers: any order gives the same sum
        const auto total = std::accumulate(x.begin(), x.end(), std::int64_t{0});
        for (const auto& executor : executors()) {
            INFO(executor.name() << ", " << n << " items");
            CHECK((par(x, executor) | sum()) == total);
            CHECK((par(d, executor) | sum()) == static_cast<double>(total));
            CHECK((par(x, executor) | filter([](std::int64_t v) { return v > 0; }) | map([](std::int64_t v) { return 2 * v; }) |
                   sum()) == std::accumulate(x.begin(), x.end(), std::int64_t{0},
                                             [](std::int64_t a, std::int64_t v) { return v > 0 ? a + 2 * v : a; }));
            const auto all = par(d, executor) | sum_min_max();
            const auto least = par(d, executor) | tenfold::min();
            const auto most = par(x, executor) | tenfold::max();
            CHECK(least.has_value() == (n != 0));
            if (n == 0) {
                CHECK(all == sum_min_max_of<double>{0.0, infinity, -infinity});
            } else {
                CHECK(*least == static_cast<double>(*std::min_element(x.begin(), x.end())));
                CHECK(*most == *std::max_element(x.begin(), x.end()));
                CHECK(all == sum_min_max_of<double>{static_cast<double>(total), *least, static_cast<double>(*most)});
            }
        }
    }
    CHECK((par(std::vector<std::int8_t>(1000, 127)) | sum()) == 127'000);
    CHECK((par(std::vector<double>{1, 2}) | filter([](double) { return false; }) | tenfold::max()) == std::nullopt);
    CHECK((par(std::vector<float>{1, -2, 3}) | sum_min_max()) == sum_min_max_of<float>{2, -2, 3});
    const auto infinite = par(std::vector<double>{infinity, 1.0, -infinity}) | sum_min_max();
    CHECK((std::isnan(infinite.sum) && infinite.min == -infinity && infinite.max == infinity));
}

TEST_CASE("sums of what filters leave, with and without a buffer", "[parallel_iterators]") {
    const auto odd = [](std::int64_t v) { return v % 2 != 0; };
    const auto thrice = [](std::int64_t v) { return 3 * v; };
    const auto thrice_for_sure = [](std::int64_t v) noexcept { return 3 * v; };
    const auto not_nine = [](std::int64_t v) { return v % 9 != 0; };
    for (const std::size_t n : sizes()) {
        const auto x = whole(n);
        std::int64_t total = 0, least = std::numeric_limits<std::int64_t>::max();
        for (const auto v : x)
            if (odd(v) && not_nine(3 * v)) total += 3 * v, least = std::min(least, 3 * v);
        for (const auto& executor : executors()) {
            INFO(executor.name() << ", " << n << " items");
            const auto start = [&] { return par(x, executor) | filter(odd); };
            CHECK((start() | map(thrice) | filter(not_nine) | sum()) == total);
            CHECK((start() | map(thrice_for_sure) | filter(not_nine) | sum()) == total);
            CHECK((start() | filter([&](std::int64_t v) { return not_nine(3 * v); }) | map(thrice_for_sure) | sum()) == total);
            CHECK((start() | map(thrice_for_sure) | filter(not_nine) | sum_min_max()).min == least);
            const auto found = start() | map(thrice_for_sure) | filter(not_nine) | tenfold::min();
            CHECK(found.value_or(std::numeric_limits<std::int64_t>::max()) == least);
        }
        const auto d = reals(n);
        check_same_bits([&](const auto& executor) {
            return std::vector{par(d, executor) | filter([](double v) { return v > 0; }) |
                               map([](double v) noexcept { return v / 3; }) | sum()};
        });
    }
}

TEST_CASE("NaN goes through minima, maxima and sums; zeros have an order", "[parallel_iterators]") {
    for (const std::size_t n : {1u, 16u, 17u, 5000u})
        for (const std::size_t at : {std::size_t{0}, n / 2, n - 1})
            for (const auto& executor : executors()) {
                std::vector<double> x(n, 1.0);
                x[at] = a_nan;
                CHECK(std::isnan(*(par(x, executor) | tenfold::min())));
                CHECK(std::isnan(*(par(x, executor) | tenfold::max())));
                const auto all = par(x, executor) | sum_min_max();
                CHECK((std::isnan(all.sum) && std::isnan(all.min) && std::isnan(all.max)));
                std::fill(x.begin(), x.end(), 0.0);
                x[at] = -0.0;
                CHECK(std::signbit(*(par(x, executor) | tenfold::min())));
                CHECK(std::signbit(*(par(x, executor) | tenfold::max())) == (n == 1));
            }
}

TEST_CASE("floating-point results have the same bits for every executor", "[parallel_iterators]") {
    for (const std::size_t n : sizes()) {
        const auto x = reals(n);
        check_same_bits([&](const auto& executor) { return std::vector{par(x, executor) | sum()}; });
        check_same_bits([&](const auto& executor) {
            return std::vector{par(x, executor) | map([](double v) { return v * 1.7; }) |
                               filter([](double v) { return v > 0; }) | sum()};
        });
        check_same_bits([&](const auto& executor) {
            return std::vector{
                par(x, executor) |
                fold(0.5, [](double a, double v) { return a + v / 3; }, [](double a, double b) { return a + b; })};
        });
        check_same_bits([&](const auto& executor) { return (par(x, executor) | inclusive_scan(std::plus<>{})).to_vector(); });
        check_same_bits(
            [&](const auto& executor) { return (par(x, executor) | exclusive_scan(std::plus<>{}, 0.0)).to_vector(); });
        for (const std::size_t window : {2u, 16u, 17u, 700u, 3000u}) {
            if (window > n) continue;
            check_same_bits([&](const auto& executor) {
                std::vector<double> out(n - window + 1);
                moving_average(x, window, out, executor);
                return out;
            });
        }
    }
}

TEST_CASE("scans are running sums", "[parallel_iterators]") {
    for (const std::size_t n : sizes()) {
        const auto x = whole(n);
        std::vector<std::int64_t> inclusive(n), with_init(n), exclusive(n);
        std::inclusive_scan(x.begin(), x.end(), inclusive.begin());
        std::inclusive_scan(x.begin(), x.end(), with_init.begin(), std::plus<>{}, std::int64_t{7});
        std::exclusive_scan(x.begin(), x.end(), exclusive.begin(), std::int64_t{7});
        for (const auto& executor : executors()) {
            INFO(executor.name() << ", " << n << " items");
            CHECK((par(x, executor) | inclusive_scan(std::plus<>{})) == inclusive);
            CHECK((par(x, executor) | inclusive_scan(std::plus<>{}, std::int64_t{7})) == with_init);
            CHECK((par(x, executor) | exclusive_scan(std::plus<>{}, std::int64_t{7})) == exclusive);
            auto in_place = x;
            par(in_place, executor) | exclusive_scan_into(std::span(in_place), std::plus<>{}, 7);
            CHECK(in_place == exclusive);
            in_place = x;
            par(in_place, executor) | inclusive_scan_into(std::span(in_place), std::plus<>{});
            CHECK(in_place == inclusive);
        }
    }
    CHECK(std::signbit((par(std::vector<double>{-0.0}) | inclusive_scan(std::plus<>{}))[0]));
}

TEST_CASE("a scan keeps the order of what does not commute", "[parallel_iterators]") {
    for (const std::size_t n : {0u, 1u, 3u, 4u, 300u}) {
        std::vector<std::string> x(n), wanted(n);
        for (std::size_t i = 0; i < n; ++i) {
            x[i] = std::to_string(i) + ",";
            wanted[i] = i == 0 ? x[0] : wanted[i - 1] + x[i];
        }
        for (const auto& executor : executors()) {
            std::vector<std::string> out(n);
            par(x, executor) | inclusive_scan_into(std::span(out), std::plus<>{});
            CHECK(out == wanted);
            par(x, executor) | exclusive_scan_into(std::span(out), std::plus<>{}, ">");
            CHECK((n == 0 || (out[0] == ">" && (n == 1 || out[n - 1] == ">" + wanted[n - 2]))));
        }
    }
}

TEST_CASE("partition makes two ordered heaps in one pass", "[parallel_iterators]") {
    for (const std::size_t n : sizes()) {
        const auto x = whole(n);
        std::vector<std::int64_t> below, others;
        for (const auto v : x) (v < 100 ? below : others).push_back(v);
        for (const auto& executor : executors()) {
            INFO(executor.name() << ", " << n << " items");
            std::atomic<std::size_t> calls{0};
            auto [yes, no] = par(x, executor) | partition([&](std::int64_t v) {
                                 calls.fetch_add(1, std::memory_order_relaxed);
                                 return v < 100;
                             });
            CHECK(calls == n);
            CHECK(yes.to_items(executor) == below);
            std::vector<std::int64_t> moved(no.size());
            no.move_to(moved, executor);
            CHECK(moved == others);
            auto of_evens = par(x, executor) | filter([](std::int64_t v) { return v % 2 == 0; }) |
                            partition([](std::int64_t v) { return v < 100; });
            CHECK(of_evens.yes.size() + of_evens.no.size() ==
                  static_cast<std::size_t>(std::count_if(x.begin(), x.end(), [](auto v) { return v % 2 == 0; })));
        }
    }
}

TEST_CASE("group_by is an ordered counting sort that calls the key once per item", "[parallel_iterators]") {
    for (const std::size_t n : {0u, 1u, 100u, 40'000u, 300'007u})
        for (const std::int64_t count : {1, 2, 16, 257, 70'000}) {
            const auto x = whole(n);
            std::vector<std::vector<std::int64_t>> wanted(static_cast<std::size_t>(count));
            for (const auto v : x) wanted[static_cast<std::size_t>(floor_mod(v, count))].push_back(v);
            for (const auto& executor : executors()) {
                INFO(executor.name() << ", " << n << " items, " << count << " groups");
                std::atomic<std::size_t> calls{0};
                const auto got = par(x, executor) | group_by(wanted.size(), [&](std::int64_t v) {
                                     calls.fetch_add(1, std::memory_order_relaxed);
                                     return floor_mod(v, count);
                                 });
                CHECK(calls == n);
                CHECK(got.size() == n);
                CHECK(got.count() == wanted.size());
                bool same = true;
                for (std::size_t g = 0; g < wanted.size(); ++g)
                    same = same && std::equal(got.group(g).begin(), got.group(g).end(), wanted[g].begin(), wanted[g].end());
                CHECK(same);
                std::vector<std::int64_t> out(n);
                const auto offsets =
                    par(x, executor) |
                    group_by_into(wanted.size(), [&](std::int64_t v) { return floor_mod(v, count); }, std::span(out));
                CHECK(std::equal(out.begin(), out.end(), got.data()));
                CHECK(std::equal(offsets.begin(), offsets.end(), got.offsets().begin(), got.offsets().end()));
            }
        }
    const auto mapped =
        par(std::vector<int>{5, 6, 7, 8}) | map([](int v) { return v * v; }) | group_by(2, [](int v) { return v % 2; });
    CHECK(std::vector<int>(mapped.group(1).begin(), mapped.group(1).end()) == std::vector<int>{25, 49});
    CHECK_THROWS_AS(par(std::vector<int>{1}) | group_by(0, [](int v) { return v; }), std::invalid_argument);
    try {
        par(std::vector<int>{0, 1, -1, 5}) | group_by(2, [](int v) { return v; });
        FAIL();
    } catch (const par_error& error) {
        CHECK(error.index() == 2);
        CHECK_THROWS_AS(error.rethrow_original(), std::out_of_range);
    }
}

TEST_CASE("a moving average uses its window's values and no others", "[parallel_iterators]") {
    for (const std::size_t n : {1u, 5u, 17u, 1000u, 9001u}) {
        const auto x = whole(n);
        std::vector<double> d(x.begin(), x.end());
        for (const std::size_t window : {1u, 2u, 16u, 17u, 100u, 1023u, 1024u, 1025u, 2048u, 5000u, 9001u}) {
            if (window > n) continue;
            std::vector<double> wanted(n - window + 1);
            double total =
                std::accumulate(d.begin(), d.begin() + static_cast<std::ptrdiff_t>(window), 0.0);  // whole numbers: exact
            for (std::size_t i = 0;; ++i) {
                wanted[i] = total / static_cast<double>(window);
                if (i + window == n) break;
                total += d[i + window] - d[i];
            }
            for (const auto& executor : executors()) {
                INFO(executor.name() << ", " << n << " items, window " << window);
                std::vector<double> out(wanted.size());
                moving_average(d, window, out, executor);
                CHECK(out == wanted);
                if (n < 3) continue;
                auto spoilt = d;
                spoilt[n / 2] = a_nan;
                spoilt[n / 3] = infinity;
                moving_average(spoilt, window, out, executor);
                bool right = true;
                for (std::size_t i = 0; i < out.size(); ++i) {
                    const bool has_nan = i <= n / 2 && n / 2 < i + window, has_infinity = i <= n / 3 && n / 3 < i + window;
                    right = right && (has_nan ? std::isnan(out[i]) : out[i] == (has_infinity ? infinity : wanted[i]));
                }
                CHECK(right);
            }
        }
    }
    std::vector<double> x(4), out(4);
    CHECK_THROWS_AS(moving_average(x, 0, out), std::invalid_argument);
    CHECK_THROWS_AS(moving_average(x, 5, out), std::invalid_argument);
    CHECK_THROWS_AS(moving_average(x, 2, out), std::invalid_argument);
}

TEST_CASE("a moving average does not drift", "[parallel_iterators]") {
    std::vector<double> x(200'000, 0.1);
    x[0] = 1e16;  // add-and-subtract would never forget it
    for (const std::size_t window : {10u, 50u, 5000u}) {
        std::vector<double> out(x.size() - window + 1);
        moving_average(x, window, out);
        CHECK(std::all_of(out.begin() + 1, out.end(), [](double mean) { return std::abs(mean - 0.1) < 1e-15; }));
    }
}

TEST_CASE("transpose", "[parallel_iterators]") {
    for (const std::size_t rows : {0u, 1u, 3u, 32u, 33u, 200u})
        for (const std::size_t columns : {0u, 1u, 5u, 31u, 64u, 150u}) {
            std::vector<double> in(rows * columns), out(rows * columns, -1.0);
            std::iota(in.begin(), in.end(), 0.0);
            for (const auto& executor : executors()) {
                transpose(std::span<const double>(in), rows, columns, std::span(out), executor);
                bool right = true;
                for (std::size_t r = 0; r < rows; ++r)
                    for (std::size_t c = 0; c < columns; ++c) right = right && out[c * rows + r] == in[r * columns + c];
                CHECK(right);
            }
        }
    std::vector<double> six(6);
    CHECK_THROWS_AS(transpose(std::span<const double>(six), 2, 2, std::span(six)), std::invalid_argument);
    CHECK_THROWS_AS(transpose(std::span<const double>(six), std::size_t{1} << 63, 4, std::span(six)), std::invalid_argument);
}

TEST_CASE("checked arithmetic and Python's remainder", "[parallel_iterators]") {
    constexpr auto most = std::numeric_limits<std::int64_t>::max(), least = std::numeric_limits<std::int64_t>::min();
    CHECK(checked_square(std::int64_t{3'037'000'499}) == 9'223'372'030'926'249'001);
    CHECK_THROWS_AS(checked_square(std::int64_t{3'037'000'500}), std::overflow_error);
    CHECK_THROWS_AS(checked_add(most, std::int64_t{1}), std::overflow_error);
    CHECK_THROWS_AS(checked_sub(least, std::int64_t{1}), std::overflow_error);
    CHECK_THROWS_AS(checked_mul(least, std::int64_t{-1}), std::overflow_error);
    CHECK(checked_mul(std::int64_t{-7}, std::int64_t{6}) == -42);
    CHECK(floor_mod<std::int64_t>(-7, 3) == 2);
    CHECK(floor_mod<std::int64_t>(7, -3) == -2);
    CHECK(floor_mod<std::int64_t>(-6, 3) == 0);
    CHECK(floor_mod<std::int64_t>(least, -1) == 0);
}
