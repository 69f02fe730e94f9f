// The work done in the pools: sliding windows against exact sums, roots, squares through arena and blocks, x + x*x through objects;
// the team of threads under them. The same bits at every thread count and vector width.
#include <tenfold/batch_work.hpp>
#include <tenfold/chunk_team.hpp>
#include <tenfold/sliding_window.hpp>
#include <tenfold_testing.hpp>

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "counting_testing.hpp"

using namespace tenfold;
using tenfold_testing::run_child;
using tenfold_testing::run_threads;
using tenfold_testing::thread_counts;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
__extension__ typedef __int128 int128;
constexpr double inf = std::numeric_limits<double>::infinity();
constexpr auto levels = {vector_level::baseline, vector_level::avx2, vector_level::avx512};

std::vector<double> windows(const std::vector<double>& data, std::size_t window, int threads = 1,
                            vector_level level = best_vector_level()) {
    std::vector<double> out(data.size() - window + 1, not_a_number);
    sliding_window_sum(data, window, out, threads, never_stop{}, level);
    return out;
}

bool same_bits(std::span<const double> a, std::span<const double> b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

// Whole numbers up to 2^40 times a power of two each between 2^-20 and 2^20: sums are exact in 128 bits, counted in units of 2^-20.
struct exact_data {
    std::vector<double> values;
    std::vector<int128> units;
};
exact_data wide_range(std::size_t n, unsigned seed) {
    std::mt19937_64 random(seed);
    exact_data data;
    for (std::size_t i = 0; i < n; ++i) {
        const auto whole = static_cast<std::int64_t>(random() >> 24) - (std::int64_t{1} << 39);
        const int shift = static_cast<int>(random() % 41);
        data.values.push_back(std::ldexp(static_cast<double>(whole), shift - 20));
        data.units.push_back(static_cast<int128>(whole) << shift);
    }
    return data;
}

}  // namespace

TEST_CASE("sliding_window_sum: whole numbers are exact, for all sizes around the borders") {
    std::mt19937_64 random(1);
    for (const std::size_t n : {1, 2, 3, 9, 255, 1000, 2049, 3000, 5121, 17'000, 40'000}) {
        std::vector<double> data(n);
        for (double& x : data) x = static_cast<double>(static_cast<std::int64_t>(random() % 2'000'001) - 1'000'000);
        for (const std::size_t window : {std::size_t{1},    std::size_t{2},    std::size_t{3},
                                         std::size_t{7},    std::size_t{8},    std::size_t{255},
                                         std::size_t{256},  std::size_t{1000}, std::size_t{1023},
                                         std::size_t{1024}, std::size_t{1025}, std::size_t{1279},
                                         std::size_t{1280}, std::size_t{1281}, std::size_t{2048},
                                         std::size_t{2305}, std::size_t{4096}, std::size_t{5000},
                                         n / 2 + 1,         n > 2 ? n - 2 : 1, n}) {
            if (window > n) continue;
            const auto out = windows(data, window);
            double sum = 0;
            for (std::size_t i = 0; i < window; ++i) sum += data[i];
            for (std::size_t i = 0; i < out.size(); ++i) {
                if (i > 0) sum += data[i + window - 1] - data[i - 1];
                REQUIRE(out[i] == sum);
            }
        }
    }
}

TEST_CASE("sliding_window_sum: within the stated bound of the exact sums, and never drifts") {
    const exact_data data = wide_range(30'000, 2);
    for (const std::size_t window : {2ul, 3ul, 10ul, 100ul, 777ul, 1024ul, 1025ul, 1500ul, 7000ul, 29'000ul}) {
        const auto out = windows(data.values, window);
        const double depth =
            window <= 1024 ? 2 * std::log2(static_cast<double>(window)) : static_cast<double>(window) / 256 + 20;
        int128 sum = 0, size = 0;
        for (std::size_t i = 0; i < data.units.size(); ++i) {
            sum += data.units[i];
            size += data.units[i] < 0 ? -data.units[i] : data.units[i];
            if (i + 1 < window) continue;
            const std::size_t first = i + 1 - window;
            // Both in units of 2^-20; the difference is taken exactly.
            const auto got = static_cast<int128>(std::ldexp(static_cast<long double>(out[first]), 20));
            const auto error = static_cast<double>(got > sum ? got - sum : sum - got);
            REQUIRE(error <= 1.0 + depth * 0x1p-53 * 1.0001 * static_cast<double>(size));
            sum -= data.units[first];
            size -= data.units[first] < 0 ? -data.units[first] : data.units[first];
        }
    }
    // A large value passes through: the running sum of the textbook keeps its rounding for ever, a window made of its own values
    // has none.
    std::vector<double> data2(5000, 0.1);
    data2[100] = 1e17;
    const auto out = windows(data2, 10);
    double running = 0;
    for (std::size_t i = 0; i < 10; ++i) running += data2[i];
    for (std::size_t i = 1; i < out.size(); ++i) running += data2[i + 9] - data2[i - 1];
    CHECK(std::abs(out.back() - 1.0) < 1e-15);
    CHECK(std::abs(running - 1.0) > 0.1);
}

TEST_CASE("sliding_window_sum: a NaN or an infinity is in the windows that hold it, and in no other") {
    for (const std::size_t window : {1ul, 2ul, 5ul, 300ul, 1024ul, 1025ul, 2600ul}) {
        for (const double bad : {not_a_number, inf, -inf}) {
            for (const std::size_t at : {0ul, 1ul, 700ul, 2559ul, 2560ul, 5000ul, 7998ul, 7999ul}) {
                std::vector<double> data(8000, 1.0);
                data[at] = bad;
                const auto out = windows(data, window);
                for (std::size_t i = 0; i < out.size(); ++i) {
                    if (i <= at && at < i + window) REQUIRE((std::isnan(bad) ? std::isnan(out[i]) : out[i] == bad));
                    else REQUIRE(out[i] == static_cast<double>(window));
                }
            }
        }
        std::vector<double> both(8000, 1.0);
        both[3000] = inf;
        both[3010] = -inf;
        const auto out = windows(both, window);
        for (std::size_t i = 0; i < out.size(); ++i) {
            const bool first = i <= 3000 && 3000 < i + window, second = i <= 3010 && 3010 < i + window;
            if (first && second) REQUIRE(std::isnan(out[i]));
            else REQUIRE(out[i] == (first ? inf : second ? -inf : static_cast<double>(window)));
        }
    }
    CHECK(std::signbit(windows({-0.0, -0.0}, 2)[0]));
    CHECK(windows({5e-324, 5e-324}, 2)[0] == 1e-323);
}

TEST_CASE("sliding_window_sum: the same bits at every thread count and vector width") {
    const auto data = wide_range(150'000, 3).values;
    for (const std::size_t window : {1ul, 5ul, 64ul, 1000ul, 1024ul, 1025ul, 3333ul, 20'000ul, 90'000ul, 150'000ul}) {
        const auto one = windows(data, window, 1, vector_level::baseline);
        for (const int threads : thread_counts)
            for (const vector_level level : levels) REQUIRE(same_bits(windows(data, window, threads, level), one));
    }
    // Unaligned starts and remainders of every length.
    for (std::size_t n = 1; n < 130; ++n)
        for (std::size_t skip = 0; skip < 3; ++skip) {
            const std::span<const double> part(data.data() + skip, n);
            for (const std::size_t window : {std::size_t{1}, (n + 1) / 2, n}) {
                std::vector<double> out(n - window + 2), same(out);
                sliding_window_sum(part, window, std::span(out).subspan(1), 1, never_stop{}, vector_level::baseline);
                for (const vector_level level : levels) {
                    sliding_window_sum(part, window, std::span(same).subspan(1), 1, never_stop{}, level);
                    REQUIRE(same_bits(out, same));
                }
            }
        }
}

TEST_CASE("sliding_window_sum: can be stopped in the middle of one long window") {
    const std::vector<double> data(400'000, 1.0);
    std::vector<double> out(150'001);
    for (const int threads : thread_counts) {
        std::atomic<int> asked{0};
        CHECK_THROWS_AS(sliding_window_sum(data, 250'000, out, threads, [&] { return ++asked > 40; }), stopped);
        CHECK(asked < 60);
        sliding_window_sum(data, 250'000, out, threads);
        CHECK(std::all_of(out.begin(), out.end(), [](double x) { return x == 250'000.0; }));
    }
}

TEST_CASE("sliding_window_sum: bad arguments") {
    std::vector<double> data(10, 1.0), out(10);
    const auto message = [&](std::size_t window) -> std::string {
        try {
            sliding_window_sum(data, window, out, 1);
        } catch (const std::invalid_argument& error) {
            return error.what();
        }
        return "";
    };
    CHECK(message(0) == "Invalid window size");
    CHECK(message(11) == "Invalid window size");
    CHECK(message(std::numeric_limits<std::size_t>::max()) == "Invalid window size");
    CHECK_THROWS_AS(sliding_window_sum(std::span<const double>(), 1, std::span<double>(), 1), std::invalid_argument);
    CHECK_THROWS_AS(sliding_window_sum(data, 2, out, 1), std::invalid_argument);
    CHECK_THROWS_AS(sliding_window_sum(data, 1, data, 1), std::invalid_argument);
    CHECK_THROWS_AS(sliding_window_sum(std::span(data).first(6), 2, std::span(data).subspan(5), 1), std::invalid_argument);
    CHECK_THROWS_AS(sliding_window_sum(data, 1, out, 0), std::invalid_argument);
    sliding_window_sum(std::span(data).first(5), 1, std::span(data).subspan(5), 1);
    std::vector<double> many(500'000, 1.0), sums(499'001);
    CHECK_THROWS_AS(sliding_window_sum(many, 1000, sums, 2, [] { return true; }), stopped);
}

TEST_CASE("parallel_sqrt: into a given array, in place, at every width and thread count") {
    auto data = wide_range(150'003, 4).values;
    data[0] = -0.0;
    data[1] = not_a_number;
    data[2] = inf;
    data[3] = -inf;
    data[4] = 5e-324;
    std::vector<double> expected(data.size());
    for (std::size_t i = 0; i < data.size(); ++i) expected[i] = std::sqrt(data[i]);
    for (const int threads : thread_counts)
        for (const vector_level level : levels) {
            std::vector<double> out(data.size()), in_place = data;
            parallel_sqrt(data, out, threads, never_stop{}, level);
            parallel_sqrt(in_place, in_place, threads, never_stop{}, level);
            REQUIRE(same_bits(out, in_place));
            for (std::size_t i = 0; i < out.size(); ++i)
                REQUIRE((std::isnan(expected[i])
                             ? std::isnan(out[i])
                             : std::bit_cast<std::uint64_t>(out[i]) == std::bit_cast<std::uint64_t>(expected[i])));
        }
    for (std::size_t n = 0; n < 130; ++n) {
        std::vector<double> out(n + 1, 7.0);
        parallel_sqrt(row(expected).subspan(1000, n), std::span(out).first(n), 1);
        for (std::size_t i = 0; i < n; ++i) {
            const double root = std::sqrt(expected[1000 + i]);
            REQUIRE((out[i] == root || (std::isnan(out[i]) && std::isnan(root))));
        }
        REQUIRE(out[n] == 7.0);
    }
    std::vector<double> few(3);
    CHECK_THROWS_AS(parallel_sqrt(data, few, 1), std::invalid_argument);
    CHECK_THROWS_AS(parallel_sqrt(few, few, 0), std::invalid_argument);
    CHECK_THROWS_AS(parallel_sqrt(data, data, 2, [] { return true; }), stopped);
}

namespace {

struct batches {
    std::vector<std::vector<double>> rows;
    std::vector<row> views;
    std::vector<double> squares;
};
batches some_batches(std::size_t count, unsigned seed) {
    std::mt19937_64 random(seed);
    batches made;
    for (std::size_t i = 0; i < count; ++i) {
        made.rows.emplace_back(random() % (i % 50 == 7 ? 30'000 : 200));
        for (double& x : made.rows.back()) x = static_cast<double>(static_cast<std::int64_t>(random())) * 1e-7;
    }
    for (const auto& each : made.rows) {
        made.views.emplace_back(each);
        for (const double x : each) made.squares.push_back(x * x);
    }
    return made;
}

}  // namespace

TEST_CASE("batch_squares_arena: flat, ordered, for ragged and empty batches, at every thread count") {
    for (const std::size_t count : {0ul, 1ul, 2ul, 40ul, 1000ul}) {
        const batches work = some_batches(count, static_cast<unsigned>(count));
        for (const int threads : thread_counts) {
            std::vector<double> out(work.squares.size(), not_a_number);
            batch_squares_arena(work.views, out, threads);
            REQUIRE(same_bits(out, work.squares));
        }
        std::vector<double> longer(work.squares.size() + 1);
        CHECK_THROWS_AS(batch_squares_arena(work.views, longer, 1), std::invalid_argument);
    }
    const batches work = some_batches(1000, 1);
    std::vector<double> out(work.squares.size());
    CHECK_THROWS_AS(batch_squares_arena(work.views, out, 2, [] { return true; }), stopped);
    CHECK_THROWS_AS(batch_squares_arena(work.views, out, 0), std::invalid_argument);
}

TEST_CASE("square_rows: through blocks that go round, also shared by threads") {
    const batches work = some_batches(300, 5);
    for (const std::size_t bytes : {8ul, 15ul, 64ul, 4096ul, 1'000'000ul}) {
        for (const std::size_t capacity : {1ul, 3ul}) {
            buffer_pool pool(bytes, capacity);
            for (const int threads : thread_counts) {
                std::atomic<int> wrong{0};
                run_threads(threads, [&](int) {
                    std::vector<double> out(work.squares.size(), not_a_number);
                    square_rows(pool, work.views, out);
                    if (!same_bits(out, work.squares)) ++wrong;
                });
                REQUIRE(wrong == 0);
                if (bytes == 8 && threads == 2) break;  // a wait for each value: enough of that
            }
            CHECK(pool.stats().misses <= capacity);
            CHECK(pool.stats().extra == 0);
            CHECK(pool.live() == 0);
        }
    }
    buffer_pool small(7, 1), pool(64, 1);
    std::vector<double> out(work.squares.size());
    CHECK_THROWS_AS(square_rows(small, work.views, out), std::invalid_argument);
    CHECK_THROWS_AS(square_rows(pool, work.views, std::span(out).first(3)), std::invalid_argument);
    CHECK_THROWS_AS(square_rows(pool, work.views, out, [] { return true; }), stopped);
    CHECK(pool.live() == 0);
    const buffer held = pool.acquire();
    int asked = 0;
    CHECK_THROWS_AS(square_rows(pool, work.views, out, [&] { return ++asked > 3; }), stopped);  // while it waits
}

TEST_CASE("object_workspace: x + x*x as written, nothing allocated after warm-up, a pool for each thread") {
    auto items = wide_range(50'001, 6).values;
    items[0] = not_a_number;
    items[1] = inf;
    std::vector<double> expected;
    for (const double x : items) {
        const volatile double square = x * x;  // rounded before it is added
        expected.push_back(x + square);
    }
    for (const std::size_t bytes : {1ul, 8ul, 64ul, 10'000ul}) {
        object_workspace workspace(bytes);
        CHECK(workspace.object_bytes() == bytes);
        std::vector<double> out(items.size());
        workspace.x_plus_x2(items, out);
        CHECK(std::isnan(out[0]));
        REQUIRE(same_bits(std::span(out).subspan(1), std::span(expected).subspan(1)));
        const long before = counting_new::allocations();
        const auto allocations = workspace.allocations();
        CHECK(allocations >= 1);
        CHECK(workspace.reserved_bytes() >= bytes * 64);
        for (int i = 0; i < 5; ++i) workspace.x_plus_x2(items, out);
        CHECK(counting_new::allocations() == before);
        CHECK(workspace.allocations() == allocations);
        for (const int threads : thread_counts) {
            std::atomic<int> wrong{0};
            run_threads(threads, [&](int) {
                std::vector<double> own(items.size());
                workspace.x_plus_x2(items, own);
                if (!same_bits(std::span(own).subspan(1), std::span(expected).subspan(1))) ++wrong;
            });
            REQUIRE(wrong == 0);
        }
        workspace.x_plus_x2(row(), std::span<double>());
        CHECK_THROWS_AS(workspace.x_plus_x2(items, std::span(out).first(2)), std::invalid_argument);
        CHECK_THROWS_AS(workspace.x_plus_x2(items, out, [] { return true; }), stopped);
    }
    CHECK_THROWS_AS(object_workspace(0), std::invalid_argument);
    CHECK_THROWS_AS(object_workspace(std::numeric_limits<std::size_t>::max()), std::bad_alloc);
}

TEST_CASE("object_workspace: of large objects there are few") {
    object_workspace workspace(16 << 20);
    std::vector<double> items(1000, 3.0);
    workspace.x_plus_x2(items, items);
    CHECK(std::all_of(items.begin(), items.end(), [](double x) { return x == 12.0; }));
    CHECK(workspace.reserved_bytes() <= 32 << 20);
}

TEST_CASE("batch_squares_arena: batches that are worked through in parts") {
    const std::size_t part = 1 << 20;
    const auto values = wide_range(3 * part + 40'000, 9).values;
    std::vector<row> batches;
    std::size_t at = 0;
    for (const std::size_t n : {std::size_t{0}, std::size_t{5}, part, std::size_t{0}, part + 1, std::size_t{7}, part - 1,
                                std::size_t{30'000}, std::size_t{0}}) {
        batches.push_back(row(values).subspan(at, n));
        at += n;
    }
    std::vector<double> out(at);
    for (const int threads : thread_counts) {
        std::fill(out.begin(), out.end(), 0.0);
        batch_squares_arena(batches, out, threads);
        for (std::size_t i = 0; i < at; ++i) REQUIRE(out[i] == values[i] * values[i]);
    }
}

TEST_CASE("run_chunks: every chunk once, the lowest error, stops, workers below the number of threads") {
    for (const int threads : thread_counts)
        for (const std::size_t chunks : {0ul, 1ul, 2ul, 1000ul}) {
            std::vector<std::atomic<int>> done(chunks);
            std::atomic<int> wrong{0};
            run_chunks(chunks, threads, [&](std::size_t chunk, int worker) {
                ++done[chunk];
                if (worker < 0 || worker >= threads) ++wrong;
            });
            REQUIRE(wrong == 0);
            for (const auto& each : done) REQUIRE(each == 1);

            for (int round = 0; round < 20 && chunks == 1000; ++round) {
                std::size_t thrown = 0;
                try {
                    run_chunks(chunks, threads, [&](std::size_t chunk, int) {
                        if (chunk % 100 == 77) throw chunk;
                    });
                } catch (std::size_t chunk) {
                    thrown = chunk;
                }
                REQUIRE(thrown == 77);
            }
            if (chunks > 0) CHECK_THROWS_AS(run_chunks(chunks, threads, [](std::size_t, int) {}, [] { return true; }), stopped);
        }
    CHECK_THROWS_AS(run_chunks(1, 0, [](std::size_t, int) {}), std::invalid_argument);
    // The caller is heard while it waits for a chunk of another thread.
    std::atomic<bool> stop_asked{false};
    CHECK_THROWS_AS(run_chunks(
                        2, 2,
                        [&](std::size_t, int worker) {
                            while (worker != 0 && !stop_asked) std::this_thread::yield();
                            while (worker == 0 && !stop_asked) stop_asked = true;
                        },
                        [&] { return stop_asked.load(); }),
                    stopped);
}

#ifndef UNDER_TSAN  // which does not follow a child of a process with threads
TEST_CASE("a forked child computes in parallel") {
    const auto data = wide_range(300'000, 8).values;
    const auto expected = windows(data, 100, 2);
    CHECK(run_child(20, [&] { return same_bits(windows(data, 100, 4), expected) ? 0 : 1; }) == 0);
}
#endif
