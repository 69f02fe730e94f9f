// Google Benchmark: what a pipeline costs beside the loop it stands for, and what waking helpers costs.
// Wall time (UseRealTime): the default, CPU time of the main thread, knows nothing of the other threads of a region.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <tenfold/par.hpp>

namespace {

using namespace tenfold;

std::vector<double> reals(std::size_t n) {
    std::mt19937_64 random(1);
    std::vector<double> all(n);
    for (double& x : all) x = static_cast<double>(random() % 1000003u) / 10000.0;
    return all;
}
std::vector<std::int64_t> whole(std::size_t n) {
    std::mt19937_64 random(1);
    std::vector<std::int64_t> all(n);
    for (auto& x : all) x = static_cast<std::int64_t>(random() % 1000003u) - 500000;
    return all;
}

// range(0): items; range(1): threads, 0 for the plain loop.
std::size_t items_of(const benchmark::State& state) { return static_cast<std::size_t>(state.range(0)); }
openmp_executor team(const benchmark::State& state) { return openmp_executor(static_cast<int>(state.range(1))); }
void count_items(benchmark::State& state) { state.SetItemsProcessed(state.iterations() * state.range(0)); }

void with_sizes(benchmark::internal::Benchmark* bench) {
    bench->ArgNames({"items", "threads"})->ArgsProduct({{100, 10'000, 1'000'000}, {0, 1, 2}})->UseRealTime();
}

void map_into(benchmark::State& state) {
    const auto x = reals(items_of(state));
    std::vector<double> out(x.size());
    for (auto _ : state) {
        if (state.range(1) == 0)
            for (std::size_t i = 0; i < x.size(); ++i) out[i] = x[i] * 2.0 + 1.0;
        else par(x, team(state)) | map([](double v) { return v * 2.0 + 1.0; }) | into(out);
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
    }
    count_items(state);
}
BENCHMARK(map_into)->Apply(with_sizes);

void map_filter_map_sum(benchmark::State& state) {
    const auto x = reals(items_of(state));
    for (auto _ : state) {
        double total = 0.0;
        if (state.range(1) == 0)
            for (const double f : x) {
                const double c = (f - 32.0) * (5.0 / 9.0);
                total += std::max(0.0, c - 18.0);  // an `if`, or ?:, would be a branch that half of the numbers take
            }
        else
            total = par(x, team(state)) | map([](double f) { return (f - 32.0) * (5.0 / 9.0); }) |
                    filter([](double c) { return c > 18.0; }) | map([](double c) { return c - 18.0; }) | sum();
        benchmark::DoNotOptimize(total);
    }
    count_items(state);
}
BENCHMARK(map_filter_map_sum)->Apply(with_sizes);

void filter_collect(benchmark::State& state) {
    const auto x = whole(items_of(state));
    for (auto _ : state) {
        if (state.range(1) == 0) {
            std::vector<std::int64_t> kept;
            for (const auto v : x)
                if (v % 2 == 0) kept.push_back(v);
            benchmark::DoNotOptimize(kept.data());
        } else {
            const auto kept = par(x, team(state)) | filter([](std::int64_t v) { return v % 2 == 0; }) | collect();
            benchmark::DoNotOptimize(kept.data());
        }
    }
    count_items(state);
}
BENCHMARK(filter_collect)->Apply(with_sizes);

void scan(benchmark::State& state) {
    const auto x = reals(items_of(state));
    std::vector<double> out(x.size());
    for (auto _ : state) {
        if (state.range(1) == 0) std::inclusive_scan(x.begin(), x.end(), out.begin());
        else par(x, team(state)) | inclusive_scan_into(std::span(out), std::plus<>{});
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
    }
    count_items(state);
}
BENCHMARK(scan)->Apply(with_sizes);

void group(benchmark::State& state) {
    const auto x = whole(items_of(state));
    for (auto _ : state) {
        if (state.range(1) == 0) {
            std::vector<std::vector<std::int64_t>> groups(16);
            for (const auto v : x) groups[static_cast<std::size_t>(v & 15)].push_back(v);
            benchmark::DoNotOptimize(groups.data());
        } else {
            const auto groups = par(x, team(state)) | group_by(16, [](std::int64_t v) { return v & 15; });
            benchmark::DoNotOptimize(groups.data());
        }
    }
    count_items(state);
}
BENCHMARK(group)->Apply(with_sizes);

// range(2): the window.
void average(benchmark::State& state) {
    const auto x = reals(items_of(state));
    const auto window = static_cast<std::size_t>(state.range(2));
    std::vector<double> out(x.size() - window + 1);
    for (auto _ : state) {
        moving_average(x, window, out, team(state));
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
    }
    count_items(state);
}
BENCHMARK(average)
    ->ArgNames({"items", "threads", "window"})
    ->ArgsProduct({{1'000'000}, {1, 2}, {4, 16, 17, 100, 10'000}})
    ->UseRealTime();

// Costly items: from how few on helpers pay.
void costly_items(benchmark::State& state) {
    for (auto _ : state) {
        const double total = par(indices(items_of(state)), team(state)) | map([](std::size_t i) {
                                 double x = static_cast<double>(i);
                                 for (int k = 0; k < 2000; ++k) x = x * 0.999 + 1.0;
                                 return x;
                             }) |
                             sum();
        benchmark::DoNotOptimize(total);
    }
    count_items(state);
}
BENCHMARK(costly_items)->ArgNames({"items", "threads"})->ArgsProduct({{2, 8, 64, 1000}, {1, 2}})->UseRealTime();

}  // namespace
