// What the parts cost: the kernels of the data pipeline on one thread, the whole of it on some; a batch's way through a pipeline
// of stages that do next to nothing; counting it. What others offer is in peer_tbb.cpp, a process of its own.
#include <benchmark/benchmark.h>
#include <tenfold/aggregate.hpp>
#include <tenfold/data_pipeline.hpp>
#include <tenfold/pipeline.hpp>

#include <random>
#include <vector>

namespace {

std::vector<double> numbers(std::size_t size, int usable_percent) {
    std::mt19937_64 random(1);
    std::vector<double> made(size);
    for (double& x : made) {
        const auto dice = static_cast<int>(random() % 100);
        x = static_cast<double>(random() % 1000000);
        if (dice >= usable_percent) x = dice % 2 ? -x : std::numeric_limits<double>::quiet_NaN();
    }
    return made;
}

void clean_roots(benchmark::State& state) {
    const auto level = static_cast<tenfold::simd_level>(state.range(0));
    const auto in = numbers(100'000, static_cast<int>(state.range(1)));
    std::vector<double> out(in.size());
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::clean_roots(in, out.data(), level));
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(in.size()));
    state.SetLabel(name(std::min(level, tenfold::best_simd())));
}
BENCHMARK(clean_roots)->ArgsProduct({{0, 1, 2}, {60, 100}})->ArgNames({"level", "usable"});

void process(benchmark::State& state) {
    tenfold::data_pipeline pipeline(static_cast<int>(state.range(0)), 8192);
    const auto in = numbers(static_cast<std::size_t>(state.range(1)), 60);
    for (auto _ : state) benchmark::DoNotOptimize(pipeline.process(in).values.data());
    state.SetItemsProcessed(state.iterations() * state.range(1));
}
BENCHMARK(process)->ArgsProduct({{1, 2}, {10'000, 1'000'000}})->ArgNames({"threads", "items"})->UseRealTime();

void aggregate(benchmark::State& state) {
    const auto in = numbers(1'000'000, static_cast<int>(state.range(1)));
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::aggregate(in, static_cast<int>(state.range(0))));
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(in.size()));
}
BENCHMARK(aggregate)->ArgsProduct({{1, 2}, {60, 100}})->ArgNames({"threads", "usable"})->UseRealTime();

// Per item: source, one stage, sink; on threads or on the calling one.
void through_stages(benchmark::State& state) {
    const auto p = tenfold::pipeline<double>({.workers = 2, .batch = static_cast<std::size_t>(state.range(1))})
                       .parallel_map("plus one", [](double x) { return x + 1.0; });
    const auto in = numbers(1 << 17, 100);
    const auto sink = [](std::span<double> batch) { benchmark::DoNotOptimize(batch.data()); };
    for (auto _ : state) state.range(0) ? p.run(in, sink) : p.run_here(in, sink);
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(in.size()));
}
BENCHMARK(through_stages)->ArgsProduct({{0, 1}, {1, 64, 512, 4096}})->ArgNames({"threads", "batch"})->UseRealTime();

void count_a_batch(benchmark::State& state) {
    tenfold::pipeline_detail::stage_cells cells;
    for (auto _ : state) cells.add({.items_in = 512, .items_out = 512, .busy_ns = 700, .wait_ns = 10, .item_ns = 1});
}
BENCHMARK(count_a_batch);

void read_metrics(benchmark::State& state) {
    const auto p = tenfold::pipeline<double>({.workers = 2}).parallel_map("plus one", [](double x) { return x + 1.0; });
    p.run(numbers(1000, 100), [](double) {});
    for (auto _ : state) benchmark::DoNotOptimize(p.metrics());
}
BENCHMARK(read_metrics);

}  // namespace
