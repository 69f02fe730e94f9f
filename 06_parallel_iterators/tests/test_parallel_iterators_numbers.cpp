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

namespace {

int calls_of_blank = 0;

template <class F>
constexpr bool may_see_a_blank(F) {
    return par_detail::blankable<F, par_detail::zero_blank<std::int64_t, false>>;
}
template <class F>
constexpr bool may_see_a_blank_for_an_item(F) {
    return par_detail::blankable<F, par_detail::zero_blank<std::int64_t, true>>;
}
std::int64_t no_constant(std::int64_t v) { return v; }

static_assert(may_see_a_blank([](std::int64_t v) { return v * v; }) && may_see_a_blank([](auto v) { return v * 0.5; }));
static_assert(!may_see_a_blank([](std::int64_t v) { return 7 / v; }));
static_assert(!may_see_a_blank([](std::int64_t v) { return no_constant(v); }));
static_assert(!may_see_a_blank([](std::int64_t v) { return ++calls_of_blank, v; }));
static_assert(!may_see_a_blank([k = 3](std::int64_t v) { return k * v; }));
static_assert(!may_see_a_blank([](std::int64_t v) { return v != 0 ? v : throw std::runtime_error("zero"); }));
static_assert(may_see_a_blank_for_an_item([](std::int64_t v) { return v * v; }));
static_assert(may_see_a_blank_for_an_item([](const auto& v) { return v * v; }));
static_assert(!may_see_a_blank_for_an_item([](auto& v) { return ++v; }));
static_assert(!may_see_a_blank_for_an_item([](auto&& v) { return ++v; }));
static_assert(!may_see_a_blank_for_an_item([](std::int64_t& v) { return ++v; }));

}  // namespace

TEST_CASE("functions after a filter do not see what it drops", "[parallel_iterators]") {
    const auto x = whole(50'000);
    std::int64_t halves = 0, tenths = 0, kept = 0;
    for (const auto v : x) {
        if (v != 0) halves += 1'000'000 / v, ++kept;
        if (v % 10 == 0) tenths += v;
    }
    for (const auto& executor : executors()) {
        INFO(executor.name());
        // A division by the blank is no constant expression.
        CHECK((par(x, executor) | filter([](std::int64_t v) { return v != 0; }) |
               map([](std::int64_t v) { return 1'000'000 / v; }) | sum()) == halves);
        // Nor is what counts its calls, or throws.
        std::atomic<std::int64_t> calls{0};
        CHECK((par(x, executor) | filter([](std::int64_t v) { return v != 0; }) | map([&calls](std::int64_t v) {
                   calls.fetch_add(1, std::memory_order_relaxed);
                   return 1'000'000 / v;
               }) |
               sum()) == halves);
        CHECK(calls == kept);
        CHECK((par(x, executor) | filter([](std::int64_t v) { return v % 10 == 0; }) | map([](std::int64_t v) {
                   if (v % 10 != 0) throw std::runtime_error("dropped");
                   return v;
               }) |
               sum()) == tenths);
    }
    // Only the first thread's: a plain variable.
    const auto global = [](std::int64_t v) { return ++calls_of_blank, v; };
    CHECK((par(x, sequential_executor()) | filter([](std::int64_t v) { return v % 10 == 0; }) | map(global) | sum()) == tenths);
    CHECK(calls_of_blank == std::count_if(x.begin(), x.end(), [](std::int64_t v) { return v % 10 == 0; }));
}

TEST_CASE("a sum may write to the items that a filter leaves", "[parallel_iterators]") {
    auto x = whole(20'000);
    const auto before = x;
    const auto even = [](std::int64_t v) { return v % 2 == 0; };
    std::int64_t total = 0;
    for (const auto v : before) total += even(v) ? v + 1 : 0;
    CHECK((par(x) | filter(even) | map([](auto& v) { return ++v; }) | sum()) == total);
    for (std::size_t i = 0; i < x.size(); ++i) REQUIRE(x[i] == before[i] + (even(before[i]) ? 1 : 0));
    x = before;
    CHECK((par(x) | filter(even) | map([](auto&& v) { return ++v; }) | sum()) == total);
    for (std::size_t i = 0; i < x.size(); ++i) REQUIRE(x[i] == before[i] + (even(before[i]) ? 1 : 0));
}

TEST_CASE("results written past the cache", "[parallel_iterators]") {
    for (const std::size_t n : {1u, 3u, 511u, 513u, 20'000u})
        for (const std::size_t skipped : {0u, 1u, 2u, 3u}) {
            const auto x = reals(n);
            std::vector<double> doubles(n + skipped, -1.0), expected(n);
            std::vector<float> floats(n + skipped, -1.0f);
            std::transform(x.begin(), x.end(), expected.begin(), [](double v) { return v * 2.0; });
            const auto chain = par(x) | map([](double v) { return v * 2.0; });
            par_detail::run(chain, 64, [&](std::size_t, std::size_t begin, std::size_t) {
                return par_detail::streaming<double>{doubles.data() + skipped + begin};
            });
            par_detail::run(chain, 61, [&](std::size_t, std::size_t begin, std::size_t) {
                return par_detail::streaming<float>{floats.data() + skipped + begin};
            });
            CHECK(std::equal(expected.begin(), expected.end(), doubles.begin() + static_cast<std::ptrdiff_t>(skipped)));
            for (std::size_t i = 0; i < n; ++i) REQUIRE(floats[skipped + i] == static_cast<float>(expected[i]));
            for (std::size_t i = 0; i < skipped; ++i) CHECK((doubles[i] == -1.0 && floats[i] == -1.0f));
        }
    // Through into(), with more than any cache holds.
    const std::size_t n = par_detail::last_cache_bytes() / sizeof(double) + 1000;
    std::vector<double> all(n);
    par(indices(n)) | map([](std::size_t i) { return static_cast<double>(i) * 0.5; }) | into(all);
    for (std::size_t i = 0; i < n; ++i)
        if (all[i] != static_cast<double>(i) * 0.5) FAIL("at " << i);
}

TEST_CASE("a sum behind a filter has the same bits whichever way it goes", "[parallel_iterators]") {
    for (const std::size_t n : {1u, 17u, 600u, 5000u, 100'000u}) {
        const auto x = reals(n);
        const auto wanted = [](double v) { return v > 0.25; };
        std::vector<double> blocks;  // the definition: lane k mod 16 of what goes into the filter, block by block
        const std::size_t block = par_detail::block_items(n);
        double total = 0.0;
        for (std::size_t begin = 0; begin < n; begin += block) {
            std::array<double, 16> lanes{};
            for (std::size_t i = begin; i < std::min(n, begin + block); ++i)
                if (wanted(x[i])) lanes[(i - begin) % 16] += x[i] * 1.1 - 3.0;
            for (std::size_t width = 8; width > 0; width /= 2)
                for (std::size_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
            total += lanes[0];
        }
        for (const auto& executor : executors())
            for (int round = 0; round < 5; ++round) {  // which way is quicker may differ from run to run
                INFO(executor.name() << ", " << n << " items");
                CHECK((par(x, executor) | filter(wanted) | map([](double v) { return v * 1.1 - 3.0; }) | sum()) == total);
            }
    }
}

TEST_CASE("errors around a filter before a sum: the lowest index", "[parallel_iterators]") {
    std::vector<std::int64_t> x(6000, 1);
    const auto check = [&](std::size_t test_at, std::size_t map_at, std::size_t lowest) {
        std::fill(x.begin(), x.end(), 1);
        x[test_at] = 2;
        x[map_at] = 3;
        for (const auto& executor : executors()) {
            INFO(executor.name() << ", " << test_at << ", " << map_at);
            try {
                static_cast<void>(par(x, executor) | filter([](std::int64_t v) {
                                      if (v == 2) throw std::runtime_error("test");
                                      return true;
                                  }) |
                                  map([](std::int64_t v) {
                                      if (v == 3) throw std::runtime_error("map");
                                      return v;
                                  }) |
                                  sum());
                FAIL("no error");
            } catch (const par_error& error) {
                CHECK(error.index() == lowest);
            }
        }
    };
    for (const std::size_t at : {0u, 5u, 300u, 2000u, 5990u}) {
        check(at, at + 3, at);
        check(at + 3, at, at);
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

TEST_CASE("scans of whole numbers: in place, through stages, of parts, by any operation", "[parallel_iterators]") {
    for (const std::size_t n : {std::size_t{1}, std::size_t{5}, std::size_t{1000}, std::size_t{20'000}, std::size_t{150'000}}) {
        const auto x = whole(n), y = whole(n / 2);
        std::vector<std::int64_t> sums(n), tripled(n), most(n), out(n);
        std::partial_sum(x.begin(), x.end(), sums.begin());
        std::transform(sums.begin(), sums.end(), tripled.begin(), [](std::int64_t v) { return 3 * v; });
        std::partial_sum(x.begin(), x.end(), most.begin(), [](auto a, auto b) { return std::max(a, b); });
        auto both = x;
        both.insert(both.end(), y.begin(), y.end());
        std::partial_sum(both.begin(), both.end(), both.begin());
        for (const auto& executor : executors()) {
            INFO(executor.name() << ", " << n << " items");
            CHECK((par(x, executor) | inclusive_scan(std::plus<>{})) == std::span<const std::int64_t>(sums));
            CHECK((par(x, executor) | map([](std::int64_t v) { return 3 * v; }) | inclusive_scan(std::plus<>{})) ==
                  std::span<const std::int64_t>(tripled));
            CHECK((par(x, executor) | inclusive_scan([](std::int64_t a, std::int64_t b) noexcept { return std::max(a, b); })) ==
                  std::span<const std::int64_t>(most));
            CHECK((par(x, executor) | chain(y) | inclusive_scan(std::plus<>{})) == std::span<const std::int64_t>(both));
            out = x;
            par(out, executor) | inclusive_scan_into(std::span(out), std::plus<>{});
            CHECK(out == sums);
            out = x;
            par(out, executor) | exclusive_scan_into(std::span(out), std::plus<>{}, 7);
            CHECK(out[0] == 7);
            for (std::size_t i = 1; i < n; ++i) REQUIRE(out[i] == sums[i - 1] + 7);
        }
    }
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
