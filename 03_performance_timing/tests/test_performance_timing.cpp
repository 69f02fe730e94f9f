// The lesson's headers without Python: statistics against known answers and brute force, loops against the plain
// definition, stream and the sums at several thread counts.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tenfold/loops.hpp"
#include "tenfold/statistics.hpp"
#include "tenfold/stream.hpp"
#include "tenfold/timing.hpp"
#include "tenfold_testing.hpp"

using tenfold_testing::run_threads;
using tenfold_testing::thread_counts;
using doubles = std::vector<double>;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity(), nan_value = std::numeric_limits<double>::quiet_NaN();

doubles random_numbers(std::size_t n, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> uniform(-10, 10);
    doubles values(n);
    for (double& value : values) value = uniform(random);
    return values;
}

bool near(double a, double b, double relative = 1e-12) {
    return std::abs(a - b) <= relative * std::max(std::abs(a), std::abs(b));
}

/// P(U <= u) by trying every way to choose which of the ranks belong to a.
double lower_tail_by_enumeration(unsigned m, unsigned n, double u) {
    double all = 0, below = 0;
    for (unsigned set = 0; set < (1u << (m + n)); ++set) {
        if (static_cast<unsigned>(__builtin_popcount(set)) != m) continue;
        double greater = 0;
        for (unsigned i = 0; i < m + n; ++i)
            for (unsigned j = 0; j < i; ++j) greater += (set >> i & 1) && !(set >> j & 1);
        all += 1;
        below += greater <= u;
    }
    return below / all;
}

}  // namespace

TEST_CASE("median and MAD of odd, even, single and infinite samples") {
    REQUIRE(tenfold::median(doubles{3}) == 3);
    REQUIRE(tenfold::median(doubles{3, 1, 2}) == 2);
    REQUIRE(tenfold::median(doubles{4, 1, 2, 3}) == 2.5);
    REQUIRE(tenfold::median(doubles{inf, inf}) == inf);
    REQUIRE(tenfold::median(doubles{-1.7e308, -1.7e308}) == -1.7e308);
    REQUIRE(tenfold::mad(doubles{1, 1, 2, 2, 4, 6, 9}) == 1);
    REQUIRE(tenfold::mad(doubles{5, 5, 5}) == 0);
    REQUIRE_THROWS_AS(tenfold::median(doubles{}), std::invalid_argument);
    REQUIRE_THROWS_AS(tenfold::median(doubles{1, nan_value}), std::invalid_argument);
    for (unsigned seed = 0; seed < 200; ++seed) {
        doubles values = random_numbers(1 + seed % 17, seed);
        const double got = tenfold::median(values);
        std::sort(values.begin(), values.end());
        const std::size_t n = values.size();
        REQUIRE(got == (n % 2 ? values[n / 2] : values[n / 2 - 1] * 0.5 + values[n / 2] * 0.5));
    }
}

TEST_CASE("outliers by the stated rule") {
    REQUIRE(tenfold::outliers(doubles{1, 2, 3, 4, 100}) == std::vector<std::size_t>{4});
    REQUIRE(tenfold::outliers(doubles{1, 2, 3, 4, 5}).empty());
    REQUIRE(tenfold::outliers(doubles{7, 7, 7, 7.1}) == std::vector<std::size_t>{3});
    REQUIRE(tenfold::outliers(doubles{-100, 1, 2, 3}, 1e9).empty());
}

TEST_CASE("bootstrap: deterministic, around the median, and as wide as the exact distribution says") {
    const doubles values = random_numbers(11, 5);
    const auto one = tenfold::bootstrap_median(values), two = tenfold::bootstrap_median(values);
    REQUIRE(one.low == two.low);
    REQUIRE(one.high == two.high);
    REQUIRE(one.low <= tenfold::median(values));
    REQUIRE(one.high >= tenfold::median(values));
    // The median of an odd draw is one of the values; P(it is <= the k-th smallest) is binomial.
    doubles sorted = values;
    std::sort(sorted.begin(), sorted.end());
    const auto cumulative = [](int k) {  // P(at least 6 of 11 draws are among the k smallest)
        double p = 0;
        for (int hits = 6; hits <= 11; ++hits)
            p += std::tgamma(12) / (std::tgamma(hits + 1) * std::tgamma(12 - hits)) * std::pow(k / 11.0, hits) *
                 std::pow(1 - k / 11.0, 11 - hits);
        return p;
    };
    for (const double confidence : {0.5, 0.9, 0.95}) {
        const auto ci = tenfold::bootstrap_median(values, confidence, 20'000);
        const double tail = (1 - confidence) / 2, slack = 0.01;
        const int low = static_cast<int>(std::find(sorted.begin(), sorted.end(), ci.low) - sorted.begin()) + 1;
        const int high = static_cast<int>(std::find(sorted.begin(), sorted.end(), ci.high) - sorted.begin()) + 1;
        REQUIRE(cumulative(low) >= tail - slack);
        REQUIRE(cumulative(low - 1) <= tail + slack);
        REQUIRE(cumulative(high) >= 1 - tail - slack);
        REQUIRE(cumulative(high - 1) <= 1 - tail + slack);
    }
    REQUIRE(tenfold::bootstrap_median(doubles{2}).low == 2);
    REQUIRE_THROWS_AS(tenfold::bootstrap_median(values, 1.0), std::invalid_argument);
    REQUIRE_THROWS_AS(tenfold::bootstrap_median(values, 0.9, 0), std::invalid_argument);
}

TEST_CASE("splitmix64 gives the published numbers") {
    tenfold::splitmix64 random(1234567);
    for (const std::uint64_t expected :
         {6457827717110365317u, 3203168211198807973u, 9817491932198370423u, 4593380528125082431u})
        REQUIRE(random() == expected);
}

TEST_CASE("Cliff's delta and Mann-Whitney") {
    REQUIRE(tenfold::cliffs_delta(doubles{4, 5, 6}, doubles{1, 2, 3}) == 1);
    REQUIRE(tenfold::cliffs_delta(doubles{1, 2}, doubles{1, 2}) == 0);
    REQUIRE(near(tenfold::cliffs_delta(doubles{1, 2, 3}, doubles{2, 3, 4}), -5.0 / 9));
    for (unsigned m = 1; m <= 6; ++m)
        for (unsigned n = 1; n <= 6; ++n)
            for (unsigned u = 0; u <= m * n; ++u)
                REQUIRE(near(tenfold::detail::exact_lower_tail(m, n, u), lower_tail_by_enumeration(m, n, u)));
    const auto apart = tenfold::mann_whitney(doubles{1, 2, 3, 4}, doubles{5, 6, 7, 8});
    REQUIRE(apart.u == 0);
    REQUIRE(near(apart.p_value, 2.0 / 70));
    REQUIRE(tenfold::mann_whitney(doubles{1, 1}, doubles{1, 1}).p_value == 1);
    // ties: normal approximation, worked by hand: U = 2, mean 4.5, variance 9/12 * (7 - 6 / 30 * 1)
    const auto ties = tenfold::mann_whitney(doubles{1, 2, 3}, doubles{2, 4, 5});
    REQUIRE(ties.u == 1.5);
    REQUIRE(near(ties.p_value, std::erfc(2.5 / std::sqrt(9.0 / 12 * (7 - 6.0 / 30)) / std::sqrt(2.0))));
    doubles a = random_numbers(40, 1), b = random_numbers(40, 2);
    for (double& value : b) value += 100;
    REQUIRE(tenfold::mann_whitney(a, b).p_value < 1e-12);
    REQUIRE(tenfold::mann_whitney(a, a).p_value > 0.9);
}

TEST_CASE("a result says what it holds") {
    const tenfold::timer_result result{"x", 0.5, 4};
    REQUIRE(result.per_iteration() == 0.125);
    REQUIRE(result.ops_per_second() == 8);
    REQUIRE(result.to_string() == "TimerResult(name='x', duration=0.500000s, iterations=4, per_iter=0.125000s, ops/sec=8.00)");
    REQUIRE(tenfold::timer_result{"zero", 1, 0}.per_iteration() == inf);
    const tenfold::timer watch("t");
    const double first = watch.elapsed();
    REQUIRE(first >= 0);
    REQUIRE(watch.elapsed() >= first);
    REQUIRE(watch.stop(3).name == "t");
}

TEST_CASE("comparison: every case runs in every round, forwards and backwards in turn") {
    std::string order;
    std::map<char, std::int64_t> runs;
    const auto batch = [&](char name) {
        return [&, name](std::int64_t n) {
            order += name;
            runs[name] += n;
        };
    };
    const auto result = tenfold::compare({{"a", batch('a')}, {"b", batch('b')}}, {.min_time = 0, .rounds = 4, .pause = 0});
    REQUIRE(order ==
            "ab"
            "ab"
            "ba"
            "ab"
            "ba");  // the first two calibrate
    REQUIRE(runs['a'] == 5);
    REQUIRE(result.cases.size() == 2);
    REQUIRE(result.ratios(1).size() == 4);
    REQUIRE(result.ratios(0) == doubles(4, 1.0));
    REQUIRE_THROWS_AS(tenfold::compare({}, {}), std::invalid_argument);
    REQUIRE_THROWS_AS(tenfold::compare({{"a", batch('a')}}, {.rounds = 0}), std::invalid_argument);
    REQUIRE_THROWS_AS(tenfold::compare({{"a", batch('a')}}, {.min_time = nan_value}), std::invalid_argument);
    REQUIRE_THROWS_AS(tenfold::measure(batch('a'), {.pause = 1e9}, [] { return true; }), tenfold::stopped);
    REQUIRE(tenfold::calibrate(
                [](std::int64_t n) {
                    while (n-- > 0) tenfold::keep(n);
                },
                1e-3) > 1);
    for (const int slow : {5, 100}) {  // ms that the first call takes, and no other: not ten times min_time, and more
        bool first = true;
        REQUIRE(tenfold::calibrate(
                    [&](std::int64_t n) {
                        if (std::exchange(first, false)) std::this_thread::sleep_for(std::chrono::milliseconds(slow));
                        while (n-- > 0) tenfold::keep(n);
                    },
                    1e-3) > 1);
    }
}

TEST_CASE("profiler: order, shares, JSON, threads") {
    tenfold::profiler profiler;
    REQUIRE(profiler.summary() == "Profiler Summary (Total: 0.000000s)\n");
    profiler.measure("a", 1);
    profiler.measure("b\"\\\n", 3);
    REQUIRE(profiler.summary() ==
            "Profiler Summary (Total: 4.000000s)\n  a: 1.000000s (25.0%)\n  b\"\\\n: 3.000000s (75.0%)\n");
    REQUIRE(
        profiler.to_json() ==
        R"({"total_secs": 4, "spans": [{"name": "a", "duration_secs": 1, "share": 0.25}, {"name": "b\"\\\u000a", "duration_secs": 3, "share": 0.75}]})");
    for (const double bad : {-1.0, inf, nan_value}) REQUIRE_THROWS_AS(profiler.measure("x", bad), std::invalid_argument);
    REQUIRE(profiler.results().size() == 2);
    try {
        const tenfold::span_timer span(profiler, "thrown");
        throw 1;
    } catch (int) {
    }
    REQUIRE(profiler.results().back().first == "thrown");
    for (const int threads : thread_counts) {
        tenfold::profiler shared;
        run_threads(threads, [&](int) {
            for (int i = 0; i < 100; ++i) shared.measure("x", 1);
        });
        REQUIRE(shared.results().size() == static_cast<std::size_t>(threads) * 100);
    }
}

TEST_CASE("stream verifies itself at every size and thread count") {
    for (const int threads : thread_counts)
        for (const std::size_t elements : {1u, 7u, 8u, 9u, 64u, 1001u, 300'001u}) {
            const auto rows = tenfold::stream(elements, threads, 2, 0.0);
            REQUIRE(rows.size() == (tenfold::has_nontemporal_stores ? 8 : 4));
            for (const auto& row : rows) {
                REQUIRE(row.elements == elements);
                REQUIRE(row.seconds.size() == 2);
                REQUIRE(row.best_gb_per_s() > 0);
            }
        }
    REQUIRE_THROWS_AS(tenfold::stream(0, 1), std::invalid_argument);
    REQUIRE_THROWS_AS(tenfold::stream(8, 0), std::invalid_argument);
    REQUIRE_THROWS_AS(tenfold::stream(8, 1, 0), std::invalid_argument);
    for (const int threads : thread_counts)
        REQUIRE_THROWS_AS(tenfold::stream(1 << 20, threads, 2, 1.0, [] { return true; }), tenfold::stopped);
}

TEST_CASE("parts of a sweep cover everything once") {
    for (std::size_t n : {0u, 1u, 8u, 63u, 64u, 65u, 1000u})
        for (int threads : {1, 2, 3, 7, 64}) {
            std::size_t at = 0;
            for (int i = 0; i < threads; ++i) {
                const auto [begin, end] = tenfold::detail::part_of(n, threads, i);
                REQUIRE(begin == at);
                REQUIRE((begin % 8 == 0 || begin == n));
                at = end;
            }
            REQUIRE(at == n);
        }
}

TEST_CASE("sum of squares: the same bits at every thread count") {
    for (std::size_t n : {0u, 1u, 7u, 8u, 16'383u, 16'384u, 16'385u, 100'003u}) {
        const doubles values = random_numbers(n, 3);
        const double one = tenfold::sum_of_squares(values);
        long double plain = 0;
        for (const double x : values) plain += static_cast<long double>(x) * x;
        REQUIRE(near(one, static_cast<double>(plain), 1e-12));
        for (const int threads : thread_counts) REQUIRE(tenfold::sum_of_squares(values, threads) == one);
    }
    const doubles values(100'000, 1.0);
    for (const int threads : thread_counts)
        REQUIRE_THROWS_AS(tenfold::sum_of_squares(values, threads, [] { return true; }), tenfold::stopped);
    REQUIRE(tenfold::read_seconds(1000, 10) > 0);
    REQUIRE_THROWS_AS(tenfold::read_seconds(1000, 1'000'000'000'000, [n = 0]() mutable { return ++n > 3; }), tenfold::stopped);
}

TEST_CASE("loops equal their definitions, in the same order of operations") {
    for (std::size_t n : {1u, 2u, 3u, 511u, 512u, 513u, 2000u}) {
        const doubles a = random_numbers(n, 1), b = random_numbers(n, 2);
        double dot = 0, square = 0, total = 0, length = 0;
        doubles sums, means;
        for (std::size_t i = 0; i < n; ++i) {
            dot += a[i] * b[i];
            square += (a[i] - b[i]) * (a[i] - b[i]);
            total += a[i];
            length += a[i] * a[i];
            sums.push_back(total);
            means.push_back(total / static_cast<double>(i + 1));
        }
        REQUIRE(tenfold::dot_product(a, b) == dot);
        REQUIRE(tenfold::euclidean(a, b) == std::sqrt(square));
        doubles out(n);
        tenfold::cumsum(a, out);
        REQUIRE(out == sums);
        tenfold::running_mean(a, out);
        REQUIRE(out == means);
        tenfold::l2_normalize(a, out);
        REQUIRE(out[n - 1] == a[n - 1] / std::sqrt(length));
        doubles in_place = a;
        tenfold::cumsum(in_place, in_place);
        REQUIRE(in_place == sums);
        for (std::size_t width : {std::size_t{1}, std::size_t{2}, n / 2, n}) {
            if (width == 0 || width > n) continue;
            doubles averages(n - width + 1), convolved(n - width + 1);
            tenfold::moving_average(a, width, averages);
            tenfold::convolve1d(a, std::span(b).first(width), convolved);
            for (std::size_t i = 0; i + width <= n; ++i) {
                double sum = 0, products = 0;
                for (std::size_t k = 0; k < width; ++k) {
                    sum += a[i + k];
                    products += a[i + k] * b[width - 1 - k];
                }
                REQUIRE(averages[i] == sum / static_cast<double>(width));
                REQUIRE(convolved[i] == products);
            }
        }
    }
    REQUIRE_THROWS_AS(tenfold::dot_product(doubles{1}, doubles{}), std::invalid_argument);
    REQUIRE_THROWS_AS(tenfold::windows(3, 4, "window", "numbers"), std::invalid_argument);
    REQUIRE_THROWS_AS(tenfold::windows(3, 0, "window", "numbers"), std::invalid_argument);
    REQUIRE_THROWS_AS(tenfold::dot_product(doubles(3), doubles(3), [] { return true; }), tenfold::stopped);
}

TEST_CASE("scalings of constants, NaN and zero") {
    doubles out(3);
    tenfold::standard_scale(doubles{2, 2, 2}, out);
    REQUIRE(out == doubles{0, 0, 0});
    tenfold::min_max_scale(doubles{2, 2, 2}, out);
    REQUIRE(out == doubles{0, 0, 0});
    tenfold::min_max_scale(doubles{1, 3, 2}, out);
    REQUIRE(out == doubles{0, 1, 0.5});
    tenfold::min_max_scale(doubles{nan_value, 3, 2}, out);
    REQUIRE(std::all_of(out.begin(), out.end(), [](double x) { return std::isnan(x); }));
    tenfold::l2_normalize(doubles{0, 0, -0.0}, out);
    REQUIRE(out == doubles{0, 0, 0});
    tenfold::l2_normalize(doubles{}, std::span<double>());
    tenfold::standard_scale(doubles{}, std::span<double>());
}

TEST_CASE("pairs and merges") {
    std::mt19937 random(7);
    std::vector<std::int64_t> ids(5000);
    for (auto& id : ids) id = static_cast<std::int64_t>(random() % 90) - 45;
    std::map<tenfold::token_pair, std::int64_t> expected;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) ++expected[{ids[i], ids[i + 1]}];
    const auto counts = tenfold::count_pairs(ids);
    REQUIRE(counts.front().first == tenfold::token_pair{ids[0], ids[1]});
    REQUIRE(std::map<tenfold::token_pair, std::int64_t>(counts.begin(), counts.end()) == expected);
    REQUIRE(tenfold::count_pairs(std::vector<std::int64_t>{1}).empty());
    REQUIRE(tenfold::count_pairs(std::vector<std::int64_t>{}).empty());

    std::vector<std::int64_t> text{1, 1, 1, 2, 1, 1};
    const std::size_t size = tenfold::bpe_encode(text, std::vector<std::int64_t>{1, 1, 256, 1}, 256);
    text.resize(size);
    REQUIRE(text == std::vector<std::int64_t>{257, 2, 256});
}
