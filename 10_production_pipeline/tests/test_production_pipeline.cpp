// data_pipeline, its kernels at every SIMD level, aggregate, block_cache. TENFOLD_STRESS=long makes the sweeps longer.
#include <tenfold/aggregate.hpp>
#include <tenfold/data_pipeline.hpp>
#include <tenfold_testing.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <sys/resource.h>

#include <bit>
#include <numeric>

#include "pipeline_testing.hpp"

using namespace tenfold;
using namespace pipeline_testing;
using tenfold_testing::run_child;
using tenfold_testing::run_threads;
using tenfold_testing::thread_counts;

namespace {

constexpr simd_level levels[] = {simd_level::baseline, simd_level::avx2, simd_level::avx512};
constexpr double inf = std::numeric_limits<double>::infinity(), not_a_number = std::numeric_limits<double>::quiet_NaN();

struct expected {
    std::vector<double> values;
    root_counts counts;
};
expected oracle(std::span<const double> numbers) {
    expected result;
    for (const double x : numbers) {
        if (!std::isfinite(x)) ++result.counts.failed;
        else if (x < 0) ++result.counts.filtered;
        else result.values.push_back(2.0 * std::sqrt(x));
    }
    result.counts.kept = result.values.size();
    return result;
}

bool same_bits(std::span<const double> a, std::span<const double> b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}
bool same_stats(const pipeline_stats& stats, const root_counts& counts) {
    return stats.items_processed == counts.kept && stats.items_filtered == counts.filtered &&
           stats.items_failed == counts.failed && stats.duration_secs > 0.0;
}

}  // namespace

TEST_CASE("clean_roots at every SIMD level, size and start: right, and not one number too many") {
    const auto level = GENERATE(levels[0], levels[1], levels[2]);
    const auto usable = GENERATE(0, 50, 100);
    constexpr double untouched = -77.0;
    for (std::size_t size = 0; size < 130; ++size)
        for (std::size_t start = 0; start < 3; ++start) {
            const auto numbers = usable == 100 ? std::vector<double>(size + start, 2.25)
                                               : mixed_numbers(size + start, static_cast<unsigned>(size), usable);
            const auto part = std::span(numbers).subspan(start);
            const auto right = oracle(part);
            std::vector<double> out(size + 9, untouched);
            const auto counts = clean_roots(part, out.data() + 1, level);
            REQUIRE(counts.kept == right.counts.kept);
            REQUIRE(counts.filtered == right.counts.filtered);
            REQUIRE(counts.failed == right.counts.failed);
            REQUIRE(same_bits(std::span(out).subspan(1, right.values.size()), right.values));
            REQUIRE(out[0] == untouched);
            // Kept numbers are written to places below `kept` alone: behind it lies what another thread writes.
            for (std::size_t i = right.values.size() + 1; i < out.size(); ++i) REQUIRE(out[i] == untouched);
        }
}

TEST_CASE("what is what: NaN and infinities fail, negative is filtered, -0.0 passes") {
    const std::vector<double> numbers{4.0, not_a_number, -1.0, inf, -inf, 0.0, -0.0, 9.0, -5e-324, 5e-324};
    data_pipeline pipeline(2, 3);
    const auto [values, stats] = pipeline.process(numbers);
    CHECK(stats.items_processed == 5);
    CHECK(stats.items_filtered == 2);
    CHECK(stats.items_failed == 3);
    CHECK(same_bits(values.values(), std::vector<double>{4.0, 0.0, -0.0, 6.0, 2 * std::sqrt(5e-324)}));
}

TEST_CASE("process and process_batched give the oracle's answer, in order, for every thread count, batch and size") {
    const auto threads = GENERATE(1, 2, 4, 7);
    const std::size_t batch = GENERATE(1u, 7u, 1000u, 1u << 20);
    data_pipeline pipeline(threads, batch);
    CHECK(pipeline.thread_count() == threads);
    CHECK(pipeline.batch_size() == batch);
    for (const std::size_t size : {0u, 1u, 6u, 7u, 8u, 14u, 15u, 999u, 3000u, 20001u, 70000u}) {
        const auto numbers = mixed_numbers(size, static_cast<unsigned>(size + batch));
        const auto right = oracle(numbers);
        const auto whole = pipeline.process(numbers);
        REQUIRE(same_stats(whole.stats, right.counts));
        REQUIRE(same_bits(whole.values.values(), right.values));
        const auto batched = pipeline.process_batched(numbers);
        REQUIRE(same_stats(batched.stats, right.counts));
        REQUIRE(same_bits(batched.values.values(), right.values));
    }
}

TEST_CASE("get_stats: zeros, then the last finished run; a stopped run changes nothing") {
    data_pipeline pipeline(2, 100);
    CHECK(pipeline.get_stats().items_processed == 0);
    CHECK(pipeline.get_stats().duration_secs == 0.0);
    const auto numbers = mixed_numbers(5000, 1);
    pipeline.process_batched(numbers);
    const auto after = pipeline.get_stats();
    CHECK(same_stats(after, oracle(numbers).counts));
    CHECK_THROWS_AS(pipeline.process(numbers, [] { return true; }), stopped);
    data_pipeline alone(1, 100);  // asks at every piece, whatever the clock says
    int asked = 0;
    CHECK_THROWS_AS(alone.process_batched(std::vector<double>(1 << 21, 1.0), [&] { return ++asked > 2; }), stopped);
    CHECK(alone.get_stats().duration_secs == 0.0);
    CHECK(pipeline.get_stats().duration_secs == after.duration_secs);
    CHECK(pipeline.get_stats().items_processed == after.items_processed);
    CHECK(pipeline.process(numbers).stats.items_processed == after.items_processed);
}

TEST_CASE("counts that make no sense are refused") {
    CHECK_THROWS_AS(data_pipeline(0, 1), std::invalid_argument);
    CHECK_THROWS_AS(data_pipeline(-1, 1), std::invalid_argument);
    CHECK_THROWS_AS(data_pipeline(1025, 1), std::invalid_argument);
    CHECK_THROWS_AS(data_pipeline(1, 0), std::invalid_argument);
    data_pipeline largest_batch(2, std::numeric_limits<std::size_t>::max());
    CHECK(largest_batch.process(std::vector<double>(50000, 1.0)).stats.items_processed == 50000);
    CHECK(largest_batch.process_batched(std::vector<double>(50000, 1.0)).stats.items_processed == 50000);
}

TEST_CASE("one pipeline, many threads at once: each gets its own answer") {
    data_pipeline pipeline(3, 64);
    for (const int users : thread_counts) {
        std::atomic<int> wrong{0};
        run_threads(users, [&](int me) {
            const auto numbers = mixed_numbers(20000 + 1000 * static_cast<std::size_t>(me), static_cast<unsigned>(me));
            const auto right = oracle(numbers);
            for (long round = 0; round < stress(10); ++round) {
                const auto got = round % 2 ? pipeline.process(numbers) : pipeline.process_batched(numbers);
                const auto seen = pipeline.get_stats();  // somebody's, whole
                const std::uint64_t size = seen.items_processed + seen.items_filtered + seen.items_failed;
                if (!same_bits(got.values.values(), right.values) || !same_stats(got.stats, right.counts)) ++wrong;
                if (size % 1000 != 0 || size < 20000 || size >= 27000) ++wrong;
            }
        });
        CHECK(wrong == 0);
    }
}

TEST_CASE("warm, a run allocates nothing and gets the same memory again") {
    data_pipeline pipeline(2, 1000);
    const auto numbers = mixed_numbers(100000, 5);
    const double* first = nullptr;
    for (int i = 0; i < 5; ++i) first = pipeline.process(numbers).values.data();
    for (int i = 0; i < 3; ++i) pipeline.process_batched(numbers);
    const auto misses = pipeline.memory().misses;
    const long before = allocations.load();
    int moved = 0;
    for (int i = 0; i < 160; ++i) moved += pipeline.process(numbers).values.data() != first;
    for (int i = 0; i < 160; ++i) pipeline.process_batched(numbers);
    const long after = allocations.load();
    CHECK(moved == 0);
    // 320 runs are 640 jobs for the pool, whose queue (a std::deque) takes a new node for every 64 of them; nothing else.
    CHECK(after - before <= 640 / 64 + 1);
    CHECK(pipeline.memory().misses == misses);
}

TEST_CASE("results outlive the pipeline, and come back from other threads") {
    std::vector<data_pipeline::answer> kept;
    const auto numbers = mixed_numbers(30000, 9);
    const auto right = oracle(numbers);
    {
        data_pipeline pipeline(2, 512);
        for (int i = 0; i < 4; ++i) kept.push_back(pipeline.process(numbers));
        CHECK(kept[0].values.data() != kept[1].values.data());
        CHECK(pipeline.memory().live == 4);
        std::thread([&] { kept.pop_back(); }).join();
        CHECK(pipeline.memory().live == 3);
        pipeline.trim();
        kept.push_back(pipeline.process(numbers));
    }
    for (const auto& each : kept) CHECK(same_bits(each.values.values(), right.values));
}

TEST_CASE("a list is read into a scratch block; huge sizes are refused") {
    data_pipeline pipeline(1, 10);
    const result_block block = pipeline.scratch(12345);
    CHECK(block.size() == 12345);
    std::iota(block.values().begin(), block.values().end(), 0.0);
    CHECK(pipeline.process(block.values()).stats.items_processed == 12345);
    CHECK_THROWS_AS(pipeline.scratch(std::numeric_limits<std::size_t>::max() / 4), std::bad_alloc);
}

TEST_CASE("a block cache hands out each size, keeps it, and lets go of it") {
    block_cache blocks;
    const std::byte* where = nullptr;
    for (const std::size_t bytes : {1u, 4096u, 4097u, 100000u, 1u << 20}) {
        auto block = blocks.acquire(bytes);
        CHECK(block.size() >= bytes);
        CHECK(reinterpret_cast<std::uintptr_t>(block.data()) % 64 == 0);
        std::memset(block.data(), 1, bytes);
        where = block.data();
    }
    CHECK(blocks.acquire(1u << 20).data() == where);
    CHECK(blocks.stats().live == 0);
    auto large = blocks.acquire(block_cache::largest_kept + 1);
    CHECK(large.size() > block_cache::largest_kept);
    auto out = blocks.acquire(5000);
    blocks.trim();
    CHECK(blocks.stats().bytes == 0);
    std::memset(out.data(), 2, 5000);
}

#ifndef PIPELINE_TESTING_TSAN  // which cannot follow a child that starts threads
TEST_CASE("in a forked child: little work is done, more is refused, nothing hangs") {
    data_pipeline pipeline(2, 10);
    const auto numbers = mixed_numbers(50000, 3);
    pipeline.process(numbers);
    const int code = run_child(20, [&] {
        if (pipeline.process(std::span(numbers).first(5)).stats.duration_secs <= 0.0) return 1;
        try {
            pipeline.process(numbers);
            return 2;
        } catch (const std::runtime_error&) {
        }
        data_pipeline own(2, 100);
        return same_bits(own.process(numbers).values.values(), oracle(numbers).values) ? 0 : 3;
    });
    CHECK(code == 0);
    CHECK(pipeline.process(numbers).stats.items_processed == oracle(numbers).counts.kept);
}
#endif

// ---- aggregate

namespace {

aggregate_result plain_aggregate(std::span<const double> numbers) {
    aggregate_result result;
    long double sum = 0, squares = 0;
    for (const double x : numbers)
        if (std::isfinite(x))
            sum += x, ++result.count, result.min = std::min(result.min, x), result.max = std::max(result.max, x);
    if (result.count == 0) return {};
    const long double mean = sum / static_cast<long double>(result.count);
    for (const double x : numbers)
        if (std::isfinite(x)) squares += (x - mean) * (x - mean);
    result.mean = static_cast<double>(mean);
    result.stddev = static_cast<double>(std::sqrt(squares / static_cast<long double>(result.count)));
    return result;
}
bool near(double a, double b, double scale) { return std::abs(a - b) <= 1e-12 * std::max({std::abs(b), scale, 1e-300}); }

}  // namespace

TEST_CASE("aggregate: finite numbers only, against long double, for every level, size and thread count") {
    const auto level = GENERATE(levels[0], levels[1], levels[2]);
    for (const std::size_t size : {1u, 2u, 3u, 31u, 32u, 33u, 2047u, 2048u, 2049u, 70000u, 300000u}) {
        auto numbers = mixed_numbers(size, static_cast<unsigned>(size));
        for (double& x : numbers)
            if (std::abs(x) > 1e300 && std::isfinite(x)) x = 3.5;
        const auto right = plain_aggregate(numbers);
        const auto got = aggregate(numbers, 1, {}, level);
        CHECK(got.count == right.count);
        CHECK(near(got.mean, right.mean, right.stddev));
        CHECK(near(got.stddev, right.stddev, std::abs(right.mean)));
        CHECK(got.min == right.min);
        CHECK(got.max == right.max);
        for (const int threads : thread_counts) {
            const auto again = aggregate(numbers, threads, {}, level);
            CHECK(std::bit_cast<std::uint64_t>(again.mean) == std::bit_cast<std::uint64_t>(got.mean));
            CHECK(std::bit_cast<std::uint64_t>(again.stddev) == std::bit_cast<std::uint64_t>(got.stddev));
        }
    }
}

TEST_CASE("aggregate of nothing, of one, of no finite number") {
    for (const auto& none : {std::vector<double>{}, std::vector<double>{not_a_number}, std::vector<double>(5000, inf)}) {
        const auto got = aggregate(none, 2);
        CHECK(got.mean == 0.0);
        CHECK(got.stddev == 0.0);
        CHECK(got.min == inf);
        CHECK(got.max == -inf);
        CHECK(got.count == 0);
    }
    const auto one = aggregate(std::vector<double>{not_a_number, -3.5, inf});
    CHECK(one.mean == -3.5);
    CHECK(one.stddev == 0.0);
    CHECK(one.count == 1);
    CHECK_THROWS_AS(aggregate(std::vector<double>{1.0}, 0), std::invalid_argument);
    CHECK_THROWS_AS(aggregate(std::vector<double>{1.0}, 1, [] { return true; }), stopped);
    CHECK_THROWS_AS(aggregate(std::vector<double>(1 << 20, 1.0), 2, [] { return true; }), stopped);
}

TEST_CASE("aggregate is stable: far from zero, near the largest and near the smallest numbers") {
    std::vector<double> far(100000);
    for (std::size_t i = 0; i < far.size(); ++i) far[i] = 1e9 + static_cast<double>(i % 2);
    CHECK(near(aggregate(far).stddev, 0.5, 0));
    const double large = std::numeric_limits<double>::max();
    const auto huge = aggregate(std::vector<double>{large, -large});
    CHECK(huge.mean == 0.0);
    CHECK(huge.stddev == large);
    const auto equal = aggregate(std::vector<double>(9999, large));
    CHECK(equal.mean == large);
    CHECK(equal.stddev == 0.0);
    const auto tiny = aggregate(std::vector<double>{1e-200, 3e-200});
    CHECK(near(tiny.mean, 2e-200, 0));
    CHECK(near(tiny.stddev / 1e-200, 1.0, 0));
    const auto least = aggregate(std::vector<double>{0.0, 1e-320});
    CHECK(least.stddev == 5e-321);
    const auto apart = aggregate(std::vector<double>{1e300, 1e-300, not_a_number, -1e300});
    CHECK(near(apart.stddev, 1e300 * std::sqrt(2.0 / 3.0), 0));
}
