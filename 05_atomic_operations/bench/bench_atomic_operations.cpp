// Google Benchmark: our own primitives, with and without company. The comparisons with others are in bench_atomic_operations.py.
// Wall time (UseRealTime): the default, CPU time, does not know about waiting.
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <random>
#include <shared_mutex>
#include <vector>

#include <tenfold/aba.hpp>
#include <tenfold/atomic_stats.hpp>
#include <tenfold/counters.hpp>
#include <tenfold/lockfree.hpp>
#include <tenfold/seqlock.hpp>
#include <tenfold/welford.hpp>

namespace {

// ---- one counter, one thread and two: time per increment of each thread
template <class Counter>
void increment(benchmark::State& state) {
    alignas(128) static Counter counter;
    for (auto _ : state) counter.increment();
    state.SetItemsProcessed(state.iterations());
}
#define COUNTER(kind) BENCHMARK_TEMPLATE(increment, tenfold::kind)->Threads(1)->Threads(2)->UseRealTime()
COUNTER(relaxed_counter);
COUNTER(acq_rel_counter);
COUNTER(seq_cst_counter);
COUNTER(cas_counter);
COUNTER(mutex_counter);
COUNTER(packed_shards_counter);
COUNTER(padded_shards_counter);
COUNTER(single_writer_counter);

void increment_mine(benchmark::State& state) {
    static tenfold::single_writer_counter counter;
    auto mine = counter.mine();
    for (auto _ : state) mine.increment();
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(increment_mine)->Threads(1)->Threads(2)->UseRealTime();

void read_single_writer(benchmark::State& state) {  // the other side of the bargain
    static tenfold::single_writer_counter counter;
    counter.increment();
    for (auto _ : state) benchmark::DoNotOptimize(counter.get());
}
BENCHMARK(read_single_writer)->UseRealTime();

// ---- x86: the order of a store is not free, that of a fetch_add does not matter (above)
template <std::memory_order Order>
void store(benchmark::State& state) {
    alignas(128) std::atomic<std::uint64_t> value{0};
    std::uint64_t i = 0;
    for (auto _ : state) value.store(++i, Order);
}
BENCHMARK_TEMPLATE(store, std::memory_order_relaxed);
BENCHMARK_TEMPLATE(store, std::memory_order_release);
BENCHMARK_TEMPLATE(store, std::memory_order_seq_cst);

// ---- reading 64 bytes that nobody changes
struct wide {
    std::uint64_t words[8];
};
void read_seqlock(benchmark::State& state) {
    static tenfold::seqlock<wide> value;
    for (auto _ : state) benchmark::DoNotOptimize(value.load());
}
void read_mutex(benchmark::State& state) {
    static std::mutex mutex;
    static wide value{};
    for (auto _ : state) {
        const std::lock_guard lock(mutex);
        benchmark::DoNotOptimize(wide(value));
    }
}
void read_shared_mutex(benchmark::State& state) {
    static std::shared_mutex mutex;
    static wide value{};
    for (auto _ : state) {
        const std::shared_lock lock(mutex);
        benchmark::DoNotOptimize(wide(value));
    }
}
BENCHMARK(read_seqlock)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(read_mutex)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(read_shared_mutex)->Threads(1)->Threads(2)->UseRealTime();

// ---- statistics
void record(benchmark::State& state) {
    static tenfold::atomic_stats stats;
    std::int64_t i = 0;
    for (auto _ : state) stats.record(++i);
}
void record_mutex(benchmark::State& state) {
    static std::mutex mutex;
    static tenfold::stats_snapshot stats;
    std::int64_t i = 0;
    for (auto _ : state) {
        ++i;
        const std::lock_guard lock(mutex);
        stats.merge({1, i, i, i});
    }
}
void snapshot(benchmark::State& state) {
    static tenfold::atomic_stats stats;
    stats.record(1);
    for (auto _ : state) benchmark::DoNotOptimize(stats.snapshot());
}
BENCHMARK(record)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(record_mutex)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(snapshot)->UseRealTime();

void integers_one_by_one(benchmark::State& state) {
    std::mt19937_64 random(1);
    std::vector<std::int64_t> values(static_cast<std::size_t>(state.range(0)));
    for (auto& x : values) x = static_cast<std::int64_t>(random());
    for (auto _ : state) {
        tenfold::stats_snapshot all;
        for (const std::int64_t x : values) all.merge({1, x, x, x});
        benchmark::DoNotOptimize(all);
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
void integers_summarised(benchmark::State& state) {
    std::mt19937_64 random(1);
    std::vector<std::int64_t> values(static_cast<std::size_t>(state.range(0)));
    for (auto& x : values) x = static_cast<std::int64_t>(random());
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::summarise(values));
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(integers_one_by_one)->Arg(100'000);
BENCHMARK(integers_summarised)->Arg(100'000);

std::vector<double> random_doubles(std::int64_t n) {
    std::mt19937_64 random(1);
    std::normal_distribution<double> value(1e6, 1.0);
    std::vector<double> all(static_cast<std::size_t>(n));
    for (double& x : all) x = value(random);
    return all;
}
void moments_textbook(benchmark::State& state) {  // without minimum and maximum, without a look at infinities
    const auto values = random_doubles(state.range(0));
    for (auto _ : state) {
        double n = 0, mean = 0, m2 = 0;
        for (const double x : values) {
            const double delta = x - mean;
            mean += delta / ++n;
            m2 += delta * (x - mean);
        }
        benchmark::DoNotOptimize(m2);
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
void moments_welford(benchmark::State& state) {
    const auto values = random_doubles(state.range(0));
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::welford(values));
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
void moments_vector(benchmark::State& state, tenfold::simd_level level) {
    const auto values = random_doubles(state.range(0));
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::vector_moments(values, level));
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
void moments_parallel(benchmark::State& state) {
    const auto values = random_doubles(state.range(0));
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::parallel_moments(values, 2));
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(moments_textbook)->Arg(100'000)->Arg(4'000'000);
BENCHMARK(moments_welford)->Arg(100'000)->Arg(4'000'000);
BENCHMARK_CAPTURE(moments_vector, baseline, tenfold::simd_level::baseline)->Arg(100'000)->Arg(4'000'000);
BENCHMARK_CAPTURE(moments_vector, avx2, tenfold::simd_level::avx2)->Arg(100'000)->Arg(4'000'000);
BENCHMARK_CAPTURE(moments_vector, avx512, tenfold::simd_level::avx512)->Arg(100'000)->Arg(4'000'000);
BENCHMARK(moments_parallel)->Arg(4'000'000)->UseRealTime();

// ---- one push and one pop by each thread
template <class Container>
void push_pop(benchmark::State& state) {
    static Container container(1024);
    for (auto _ : state) {
        container.push(1);
        benchmark::DoNotOptimize(container.pop());
    }
}
void push_pop_index(benchmark::State& state) {
    static tenfold::tagged_stack stack(2);
    const auto mine = static_cast<std::uint32_t>(state.thread_index());
    std::uint32_t index = mine;
    for (auto _ : state) {
        stack.push(index);
        while (true)
            if (const auto got = stack.pop()) {
                index = *got;
                break;
            }
    }
}
BENCHMARK_TEMPLATE(push_pop, tenfold::lockfree_queue)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK_TEMPLATE(push_pop, tenfold::lockfree_stack)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(push_pop_index)->Threads(1)->Threads(2)->UseRealTime();

}  // namespace
