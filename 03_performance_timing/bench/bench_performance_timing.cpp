// The lesson's headers under Google Benchmark. How to read it: Time is the wall clock, CPU what the main thread used.
//   bench_performance_timing --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true
// UseRealTime() wherever threads work: by default the library decides by the CPU time of the main thread, which does
// not see the others. DoNotOptimize() keeps a result alive; SetBytesProcessed() turns time into bandwidth.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "tenfold/loops.hpp"
#include "tenfold/statistics.hpp"
#include "tenfold/stream.hpp"
#include "tenfold/timing.hpp"

namespace {

std::vector<double> numbers(std::int64_t n) {
    tenfold::splitmix64 random(1);
    std::vector<double> values(static_cast<std::size_t>(n));
    for (double& value : values) value = static_cast<double>(random.below(1000)) / 7.0;
    return values;
}

void read_the_clock(benchmark::State& state) {
    const tenfold::timer watch;
    for (auto _ : state) benchmark::DoNotOptimize(watch.elapsed());
}
BENCHMARK(read_the_clock);

// The mistake of the page: nobody uses the sum, so the compiler removes the loop, and memory seems infinitely fast.
void sum_that_is_optimised_away(benchmark::State& state) {
    const auto values = numbers(state.range(0));
    for (auto _ : state) {
        double sum = 0.0;
        for (const double x : values) sum += x * x;
        (void)sum;
    }
    state.SetBytesProcessed(state.iterations() * state.range(0) * 8);
}
BENCHMARK(sum_that_is_optimised_away)->Arg(1 << 20);

void sum_of_squares(benchmark::State& state) {
    const auto values = numbers(state.range(0));
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::sum_of_squares(values, static_cast<int>(state.range(1))));
    state.SetBytesProcessed(state.iterations() * state.range(0) * 8);
}
BENCHMARK(sum_of_squares)
    ->ArgNames({"n", "threads"})
    ->ArgsProduct({{1 << 14, 1 << 17, 1 << 20, 1 << 23}, {1, 2}})
    ->UseRealTime();

template <auto Loop>
void loop(benchmark::State& state) {
    const auto values = numbers(state.range(0));
    std::vector<double> out(values.size());
    for (auto _ : state) {
        Loop(values, out);
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
using in = tenfold::floats;
using to = std::span<double>;
constexpr auto cumsum = [](in a, to b) { tenfold::cumsum(a, b); };
constexpr auto standard_scale = [](in a, to b) { tenfold::standard_scale(a, b); };
constexpr auto min_max_scale = [](in a, to b) { tenfold::min_max_scale(a, b); };
constexpr auto moving_average = [](in a, to b) { tenfold::moving_average(a, 16, b.first(b.size() - 15)); };
BENCHMARK(loop<cumsum>)->Name("cumsum")->Arg(1000)->Arg(100'000);
BENCHMARK(loop<standard_scale>)->Name("standard_scale")->Arg(1000)->Arg(100'000);
BENCHMARK(loop<min_max_scale>)->Name("min_max_scale")->Arg(1000)->Arg(100'000);
BENCHMARK(loop<moving_average>)->Name("moving_average/16")->Arg(1000)->Arg(100'000);

void dot_product(benchmark::State& state) {
    const auto a = numbers(state.range(0)), b = numbers(state.range(0));
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::dot_product(a, b));
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(dot_product)->Arg(1000)->Arg(100'000);

void bootstrap(benchmark::State& state) {
    const auto values = numbers(state.range(0));
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::bootstrap_median(values));
}
BENCHMARK(bootstrap)->Arg(11)->Arg(101)->Unit(benchmark::kMillisecond);

}  // namespace
