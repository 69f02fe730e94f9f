// Google Benchmark: the array functions of lesson 02 beside plain loops, plain OpenMP and the speed of memory.
// Wall time (UseRealTime): the default, CPU time of the main thread, knows nothing of the other threads of a region.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include <hwy/contrib/sort/vqsort.h>

#include <tenfold/filter.hpp>
#include <tenfold/map.hpp>
#include <tenfold/parallel.hpp>
#include <tenfold/reduce.hpp>
#include <tenfold/sort.hpp>

namespace {

std::vector<double> random_doubles(std::size_t n) {
    std::mt19937_64 random(1);
    std::uniform_real_distribution<double> value(0.0, 1.0);
    std::vector<double> all(n);
    for (double& x : all) x = value(random);
    return all;
}

std::vector<std::int64_t> random_integers(std::size_t n) {
    std::mt19937_64 random(1);
    std::vector<std::int64_t> all(n);
    for (auto& x : all) x = static_cast<std::int64_t>(random());
    return all;
}

void count_bytes(benchmark::State& state, std::size_t bytes_per_item) {
    state.SetBytesProcessed(state.iterations() * state.range(0) * static_cast<std::int64_t>(bytes_per_item));
    state.SetItemsProcessed(state.iterations() * state.range(0));
}

// ---- the driver itself: what opening a region costs
void empty_region(benchmark::State& state) {
    const auto threads = static_cast<int>(state.range(0));
    for (auto _ : state)
        tenfold::parallel_chunks(static_cast<std::size_t>(threads), 1, threads,
                                 [](std::size_t begin, std::size_t) { benchmark::DoNotOptimize(begin); });
}
BENCHMARK(empty_region)->Arg(1)->Arg(2)->UseRealTime();

// ---- unequal chunks: chunk i costs i, so equal runs are unequal work
void triangle(benchmark::State& state, tenfold::schedule how, std::size_t grain) {
    const auto threads = static_cast<int>(state.range(0));
    std::vector<double> out(2000);
    for (auto _ : state) {
        tenfold::parallel_chunks(out.size(), 1, threads,
                                 [&](std::size_t begin, std::size_t) {
                                     double x = 1.0;
                                     for (std::size_t i = 0; i < begin; ++i) x = std::sqrt(x + 1.0);
                                     out[begin] = x;
                                 },
                                 tenfold::never_stop{}, {.how = how, .grain = grain});
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
    }
}
BENCHMARK_CAPTURE(triangle, static, tenfold::schedule::static_, 1)->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK_CAPTURE(triangle, dynamic_1, tenfold::schedule::dynamic, 1)->Arg(2)->UseRealTime();
BENCHMARK_CAPTURE(triangle, dynamic_16, tenfold::schedule::dynamic, 16)->Arg(2)->UseRealTime();
BENCHMARK_CAPTURE(triangle, guided, tenfold::schedule::guided, 1)->Arg(2)->UseRealTime();

#define SIZES ->Arg(10'000)->Arg(100'000)->Arg(1'000'000)->Arg(16'000'000)->UseRealTime()

// ---- sum
void sum_strict_order(benchmark::State& state) {
    const auto values = random_doubles(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) {
        double total = 0.0;
        for (const double x : values) total += x;
        benchmark::DoNotOptimize(total);
    }
    count_bytes(state, sizeof(double));
}
BENCHMARK(sum_strict_order) SIZES;

void sum_openmp_simd(benchmark::State& state) {
    const auto values = random_doubles(static_cast<std::size_t>(state.range(0)));
    const std::size_t n = values.size();
    const double* data = values.data();
    for (auto _ : state) {
        double total = 0.0;
#pragma omp parallel for simd reduction(+ : total) num_threads(2)
        for (std::size_t i = 0; i < n; ++i) total += data[i];
        benchmark::DoNotOptimize(total);
    }
    count_bytes(state, sizeof(double));
}
BENCHMARK(sum_openmp_simd) SIZES;

void sum_sequential(benchmark::State& state) {
    const auto values = random_doubles(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::sequential_sum(values));
    count_bytes(state, sizeof(double));
}
BENCHMARK(sum_sequential) SIZES;

void sum_parallel(benchmark::State& state) {
    const auto values = random_doubles(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::parallel_sum(values, 2));
    count_bytes(state, sizeof(double));
}
BENCHMARK(sum_parallel) SIZES;

void max_parallel(benchmark::State& state) {
    const auto values = random_doubles(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::parallel_max(values, 2));
    count_bytes(state, sizeof(double));
}
BENCHMARK(max_parallel) SIZES;

// ---- map: plain and non-temporal stores; bytes as the program sees them (read + written)
void square(benchmark::State& state, tenfold::stores how) {
    const auto x = random_doubles(static_cast<std::size_t>(state.range(0)));
    std::vector<double> out(x.size());
    for (auto _ : state) {
        tenfold::parallel_square(x, out, 2, tenfold::never_stop{}, how);
        benchmark::ClobberMemory();
    }
    count_bytes(state, 2 * sizeof(double));
}
BENCHMARK_CAPTURE(square, automatic, tenfold::stores::automatic) SIZES;
BENCHMARK_CAPTURE(square, plain, tenfold::stores::plain) SIZES;
BENCHMARK_CAPTURE(square, nontemporal, tenfold::stores::nontemporal) SIZES;

void saxpy(benchmark::State& state, tenfold::stores how) {
    const auto x = random_doubles(static_cast<std::size_t>(state.range(0)));
    const auto y = x;
    std::vector<double> out(x.size());
    for (auto _ : state) {
        tenfold::parallel_saxpy(2.5, x, y, out, 2, tenfold::never_stop{}, how);
        benchmark::ClobberMemory();
    }
    count_bytes(state, 3 * sizeof(double));
}
BENCHMARK_CAPTURE(saxpy, automatic, tenfold::stores::automatic) SIZES;
BENCHMARK_CAPTURE(saxpy, plain, tenfold::stores::plain) SIZES;
BENCHMARK_CAPTURE(saxpy, nontemporal, tenfold::stores::nontemporal) SIZES;

// ---- filter, half kept at random
void filter_copy_if(benchmark::State& state) {
    const auto values = random_integers(static_cast<std::size_t>(state.range(0)));
    std::vector<std::int64_t> out(values.size());
    for (auto _ : state)
        benchmark::DoNotOptimize(
            std::copy_if(values.begin(), values.end(), out.begin(), [](std::int64_t x) { return x % 2 == 0; }));
    count_bytes(state, sizeof(std::int64_t));
}
BENCHMARK(filter_copy_if) SIZES;

void filter_even(benchmark::State& state, int threads) {
    const auto values = random_integers(static_cast<std::size_t>(state.range(0)));
    std::vector<std::int64_t> out(values.size());
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::parallel_filter_even(values, out, threads));
    count_bytes(state, sizeof(std::int64_t));
}
BENCHMARK_CAPTURE(filter_even, threads_1, 1) SIZES;
BENCHMARK_CAPTURE(filter_even, threads_2, 2) SIZES;

// ---- sort: each round sorts a fresh copy, and the copying is timed for all
template <class Sort>
void sort_with(benchmark::State& state, Sort sort) {
    const auto values = random_doubles(static_cast<std::size_t>(state.range(0)));
    std::vector<double> work(values.size());
    for (auto _ : state) {
        std::copy(values.begin(), values.end(), work.begin());
        sort(work);
        benchmark::ClobberMemory();
    }
    count_bytes(state, sizeof(double));
}
void sort_std(benchmark::State& state) {
    sort_with(state, [](std::vector<double>& work) { std::sort(work.begin(), work.end()); });
}
void sort_highway(benchmark::State& state) {
    sort_with(state, [](std::vector<double>& work) { hwy::Sorter()(work.data(), work.size(), hwy::SortAscending()); });
}
void sort_parallel(benchmark::State& state, int threads) {
    sort_with(state, [threads](std::vector<double>& work) { tenfold::parallel_sort(work, threads); });
}
BENCHMARK(sort_std)->Arg(10'000)->Arg(100'000)->Arg(1'000'000)->UseRealTime();
BENCHMARK(sort_highway)->Arg(10'000)->Arg(100'000)->Arg(1'000'000)->Arg(8'000'000)->UseRealTime();
BENCHMARK_CAPTURE(sort_parallel, threads_1, 1)->Arg(10'000)->Arg(100'000)->Arg(1'000'000)->Arg(8'000'000)->UseRealTime();
BENCHMARK_CAPTURE(sort_parallel, threads_2, 2)->Arg(10'000)->Arg(100'000)->Arg(1'000'000)->Arg(8'000'000)->UseRealTime();

}  // namespace
