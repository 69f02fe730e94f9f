// Google Benchmark: this lesson's allocators, one operation at a time, alone and with company. The comparisons with other allocators
// are in bench_custom_allocator.py, each of those in a program of its own.
// Wall time (UseRealTime): the default, CPU time, does not know about waiting.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include <tenfold/alloc_resources.hpp>
#include <tenfold/batch_work.hpp>
#include <tenfold/buffer_pool.hpp>
#include <tenfold/pool_allocator.hpp>
#include <tenfold/sliding_window.hpp>

namespace {

// ---- one block of 64 bytes, taken and given back
void pair_malloc(benchmark::State& state) {
    for (auto _ : state) {
        void* block = std::malloc(64);
        benchmark::DoNotOptimize(block);
        std::free(block);
    }
}
BENCHMARK(pair_malloc)->Threads(1)->Threads(2)->UseRealTime();

template <tenfold::checking C>
void pair_fixed_pool(benchmark::State& state) {
    tenfold::basic_fixed_pool<C> pool(64);
    for (auto _ : state) {
        void* block = pool.allocate();
        benchmark::DoNotOptimize(block);
        pool.deallocate(block);
    }
}
BENCHMARK_TEMPLATE(pair_fixed_pool, tenfold::checking::off)->UseRealTime();
BENCHMARK_TEMPLATE(pair_fixed_pool, tenfold::checking::on)->UseRealTime();

void pair_sized(benchmark::State& state) {
    static tenfold::sized_allocator memory;
    for (auto _ : state) {
        void* block = memory.allocate(64);
        benchmark::DoNotOptimize(block);
        memory.deallocate(block);
    }
}
BENCHMARK(pair_sized)->Threads(1)->Threads(2)->UseRealTime();

void pair_pool_allocator(benchmark::State& state) {  // with an exact count that all threads write
    static tenfold::pool_allocator memory(1000);
    for (auto _ : state) {
        const auto block = memory.allocate(64);
        benchmark::DoNotOptimize(block.data());
        memory.deallocate(block.data());
    }
}
BENCHMARK(pair_pool_allocator)->Threads(1)->Threads(2)->UseRealTime();

void pair_buffer(benchmark::State& state) {
    static tenfold::buffer_pool pool(64, 100);
    for (auto _ : state) {
        const tenfold::buffer block = pool.acquire();
        benchmark::DoNotOptimize(block.data());
    }
}
BENCHMARK(pair_buffer)->Threads(1)->Threads(2)->UseRealTime();

// ---- a megabyte, written: what a batch of a pipeline costs with and without a pool
void megabyte_malloc(benchmark::State& state) {
    for (auto _ : state) {
        const auto block = std::make_unique_for_overwrite<char[]>(1 << 20);
        for (std::size_t i = 0; i < 1 << 20; i += 4096) block[i] = 1;
        benchmark::DoNotOptimize(block.get());
    }
}
BENCHMARK(megabyte_malloc)->UseRealTime();
void megabyte_buffer(benchmark::State& state) {
    tenfold::buffer_pool pool(1 << 20, 4);
    for (auto _ : state) {
        const tenfold::buffer block = pool.acquire();
        const auto bytes = block.as<char>();
        for (std::size_t i = 0; i < 1 << 20; i += 4096) bytes[i] = 1;
        benchmark::DoNotOptimize(block.data());
    }
}
BENCHMARK(megabyte_buffer)->UseRealTime();

void arena_allocate(benchmark::State& state) {
    tenfold::arena memory;
    for (auto _ : state) {
        benchmark::DoNotOptimize(memory.allocate(32));
        if (memory.used() > 1 << 18) memory.reset();
    }
}
BENCHMARK(arena_allocate)->UseRealTime();

// ---- the work: 10^6 values
constexpr std::size_t values = 1'000'000;

void window(benchmark::State& state) {
    const auto length = static_cast<std::size_t>(state.range(0));
    const std::vector<double> data(values, 1.5);
    std::vector<double> out(values - length + 1);
    for (auto _ : state) {
        tenfold::sliding_window_sum(data, length, out, static_cast<int>(state.range(1)));
        benchmark::DoNotOptimize(out.data());
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(values));
}
BENCHMARK(window)->ArgsProduct({{10, 1000, 100'000}, {1, 2}})->UseRealTime();

void window_running_sum(benchmark::State& state) {  // the textbook's, which drifts
    const auto length = static_cast<std::size_t>(state.range(0));
    const std::vector<double> data(values, 1.5);
    std::vector<double> out(values - length + 1);
    for (auto _ : state) {
        double sum = 0;
        for (std::size_t i = 0; i < length; ++i) sum += data[i];
        out[0] = sum;
        for (std::size_t i = 1; i < out.size(); ++i) out[i] = sum += data[i + length - 1] - data[i - 1];
        benchmark::DoNotOptimize(out.data());
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(values));
}
BENCHMARK(window_running_sum)->Arg(1000)->UseRealTime();

void root(benchmark::State& state) {
    const std::vector<double> data(values, 1.5);
    std::vector<double> out(values);
    for (auto _ : state) {
        tenfold::parallel_sqrt(data, out, static_cast<int>(state.range(0)));
        benchmark::DoNotOptimize(out.data());
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(values));
}
BENCHMARK(root)->Arg(1)->Arg(2)->UseRealTime();

void objects(benchmark::State& state) {
    const std::vector<double> data(values, 1.5);
    std::vector<double> out(values);
    tenfold::object_workspace workspace(64);
    for (auto _ : state) workspace.x_plus_x2(data, out);
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(values));
}
BENCHMARK(objects)->UseRealTime();

}  // namespace
