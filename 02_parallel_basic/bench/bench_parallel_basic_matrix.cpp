// The matrix product from three loops to packed blocks, beside the most that the multiply-add units can do.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>
#include <vector>

#include "tenfold/matrix.hpp"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace {

struct matrices {
    std::vector<double> a, b, c;

    explicit matrices(std::size_t n) : a(n * n), b(n * n), c(n * n) {
        std::mt19937_64 random(1);
        std::uniform_real_distribution<double> value(-1.0, 1.0);
        for (double& x : a) x = value(random);
        for (double& x : b) x = value(random);
    }
};

void count_operations(benchmark::State& state, double per_iteration) {
    state.counters["FLOP/s"] = benchmark::Counter(per_iteration, benchmark::Counter::kIsIterationInvariantRate);
}

void naive(benchmark::State& state) {
    const auto n = static_cast<std::size_t>(state.range(0));
    matrices all(n);
    for (auto _ : state) {
        tenfold::matrix_multiply_naive(all.a, all.b, all.c, n, n, n);
        benchmark::ClobberMemory();
    }
    count_operations(state, 2.0 * static_cast<double>(n * n * n));
}
BENCHMARK(naive)->Arg(240)->Arg(480)->Arg(960)->UseRealTime()->Unit(benchmark::kMillisecond);

void ikj(benchmark::State& state) {
    const auto n = static_cast<std::size_t>(state.range(0));
    matrices all(n);
    for (auto _ : state) {
        tenfold::matrix_multiply_ikj(all.a, all.b, all.c, n, n, n);
        benchmark::ClobberMemory();
    }
    count_operations(state, 2.0 * static_cast<double>(n * n * n));
}
BENCHMARK(ikj)->Arg(240)->Arg(480)->Arg(960)->Arg(1920)->UseRealTime()->Unit(benchmark::kMillisecond);

void parallel(benchmark::State& state) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const auto threads = static_cast<int>(state.range(1));
    matrices all(n);
    for (auto _ : state) {
        tenfold::parallel_matrix_multiply(all.a, all.b, all.c, n, n, n, threads);
        benchmark::ClobberMemory();
    }
    count_operations(state, 2.0 * static_cast<double>(n * n * n));
}
BENCHMARK(parallel)
    ->ArgNames({"n", "threads"})
    ->ArgsProduct({{24, 240, 480, 960, 1920}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// One row or one column: the speed of memory, not of multiply-adds.
void thin(benchmark::State& state) {
    const auto m = static_cast<std::size_t>(state.range(0)), n = static_cast<std::size_t>(state.range(1));
    const auto threads = static_cast<int>(state.range(2));
    constexpr std::size_t k = 3000;
    const std::vector<double> a(m * k, 0.5), b(k * n, 0.5);
    std::vector<double> c(m * n);
    for (auto _ : state) {
        tenfold::parallel_matrix_multiply(a, b, c, m, k, n, threads);
        benchmark::ClobberMemory();
    }
    count_operations(state, 2.0 * static_cast<double>(m * k * n));
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>((m * k + k * n + m * n) * sizeof(double)));
}
BENCHMARK(thin)
    ->ArgNames({"m", "n", "threads"})
    ->ArgsProduct({{1}, {3000}, {1, 2}})
    ->ArgsProduct({{3000}, {1}, {1, 2}})
    ->UseRealTime();

// ---- the ceiling: chains of multiply-adds that need nothing but registers. asm keeps the compiler from merging equal chains.
#if defined(__x86_64__) && defined(__GNUC__)
// A step is twelve multiply-adds, enough to fill the pipelines of every CPU so far.
#define TWELVE(STEP, v) \
    STEP(v##0)          \
    STEP(v##1) STEP(v##2) STEP(v##3) STEP(v##4) STEP(v##5) STEP(v##6) STEP(v##7) STEP(v##8) STEP(v##9) STEP(v##10) STEP(v##11)

__attribute__((target("avx512f"))) void chains_of_8(int steps) {
    const __m512d factor = _mm512_set1_pd(0.999), term = _mm512_set1_pd(1e-3);
#define START(v) __m512d v = factor;
#define STEP(v)                           \
    v = _mm512_fmadd_pd(v, factor, term); \
    asm volatile("" : "+v"(v));
    TWELVE(START, x)
    for (int i = 0; i < steps; ++i) {
        TWELVE(STEP, x)
    }
#undef STEP
#undef START
}

__attribute__((target("avx2,fma"))) void chains_of_4(int steps) {
    const __m256d factor = _mm256_set1_pd(0.999), term = _mm256_set1_pd(1e-3);
#define START(v) __m256d v = factor;
#define STEP(v)                           \
    v = _mm256_fmadd_pd(v, factor, term); \
    asm volatile("" : "+x"(v));
    TWELVE(START, x)
    for (int i = 0; i < steps; ++i) {
        TWELVE(STEP, x)
    }
#undef STEP
#undef START
}
#undef TWELVE

void multiply_add_peak(benchmark::State& state) {
    const auto threads = static_cast<int>(state.range(0));
    const bool wide = __builtin_cpu_supports("avx512f");
    if (!wide && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))) {
        state.SkipWithError("no AVX2 with FMA");
        return;
    }
    constexpr int steps = 100'000;
    constexpr std::size_t pieces = 16;
    for (auto _ : state)
        tenfold::parallel_chunks(pieces, 1, threads,
                                 [&](std::size_t, std::size_t) { wide ? chains_of_8(steps) : chains_of_4(steps); });
    count_operations(state, 2.0 * 12 * (wide ? 8 : 4) * steps * pieces);
}
BENCHMARK(multiply_add_peak)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);
#endif

}  // namespace
