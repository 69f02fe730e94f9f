// Google Benchmark: the kernels of lesson 08 at each instruction set, beside plain loops and STREAM's triad with both kinds of stores.
// Wall time (UseRealTime): the default, CPU time of the main thread, knows nothing of the other threads of a region.
// Arguments: level 0 baseline, 1 neon, 2 avx2, 3 avx512 (those that this machine has), then sizes or threads.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include <tenfold/matmul.hpp>
#include <tenfold/matvec.hpp>
#include <tenfold/owned_buffer.hpp>
#include <tenfold/span_chain.hpp>
#include <tenfold/span_kernels.hpp>
#include <tenfold/span_reduce.hpp>
#include <tenfold/stencil.hpp>
#include <tenfold/transpose.hpp>

namespace zc = tenfold::zero_copy;

namespace {

template <class T>
std::vector<T> numbers(std::size_t n) {
    std::mt19937_64 random(1);
    std::uniform_real_distribution<T> value(T(0.5), T(1.5));
    std::vector<T> all(n);
    for (T& x : all) x = value(random);
    return all;
}

// Runs the benchmark at one level, or says that this machine does not have it.
class at_level {
public:
    explicit at_level(benchmark::State& state, std::int64_t level) {
        try {
            zc::force_level(zc::simd_levels[level]);
        } catch (const std::invalid_argument& missing) {
            state.SkipWithError(missing.what());
        }
    }
    ~at_level() { zc::choose_level(); }
};

void count_bytes(benchmark::State& state, std::size_t bytes) {
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes));
}
void count_operations(benchmark::State& state, double operations) {
    state.counters["op/s"] = benchmark::Counter(operations, benchmark::Counter::kIsIterationInvariantRate);
}

// ---- the roof: what this machine's memory gives, and what the kernels make of it
void stream_triad(benchmark::State& state, zc::stores how) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const auto x = numbers<double>(n), y = numbers<double>(n);
    zc::owned_buffer<double> out(n);
    for (auto _ : state)
        zc::triad<double>(std::span(x), std::span(y), 3.0, out.span(), static_cast<int>(state.range(1)), tenfold::never_stop{},
                          how);
    count_bytes(state, 3 * n * sizeof(double));
}
BENCHMARK_CAPTURE(stream_triad, plain, zc::stores::plain)
    ->ArgsProduct({{100'000, 1'000'000, 16'000'000}, {1, 2}})
    ->UseRealTime();
BENCHMARK_CAPTURE(stream_triad, nontemporal, zc::stores::nontemporal)
    ->ArgsProduct({{100'000, 1'000'000, 16'000'000}, {1, 2}})
    ->UseRealTime();

void square(benchmark::State& state, zc::stores how) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const auto x = numbers<double>(n);
    zc::owned_buffer<double> out(n);
    for (auto _ : state)
        zc::square<double>(std::span(x), out.span(), static_cast<int>(state.range(1)), tenfold::never_stop{}, how);
    count_bytes(state, 2 * n * sizeof(double));
}
BENCHMARK_CAPTURE(square, plain, zc::stores::plain)->ArgsProduct({{100'000, 1'000'000, 16'000'000}, {1, 2}})->UseRealTime();
BENCHMARK_CAPTURE(square, nontemporal, zc::stores::nontemporal)
    ->ArgsProduct({{100'000, 1'000'000, 16'000'000}, {1, 2}})
    ->UseRealTime();

void square_strided(benchmark::State& state) {
    auto x = numbers<double>(1'000'000);
    const std::ptrdiff_t step = state.range(0);
    const zc::view1d<double> view(x.data(), x.size() / static_cast<std::size_t>(step), step);
    std::vector<double> out(view.size);
    for (auto _ : state) zc::square<double>(view, std::span(out), 1);
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(view.size));
}
BENCHMARK(square_strided)->Arg(1)->Arg(2)->Arg(8)->UseRealTime();

// ---- a*b + c*2 - 1: compiled, put together at run time, and with a temporary for each step
void fused(benchmark::State& state) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const auto a = numbers<double>(n), b = numbers<double>(n), c = numbers<double>(n);
    zc::owned_buffer<double> out(n);
    for (auto _ : state)
        zc::fused_multiply<double>(std::span(a), std::span(b), std::span(c), out.span(), static_cast<int>(state.range(1)));
    count_bytes(state, 4 * n * sizeof(double));
}
BENCHMARK(fused)->ArgsProduct({{100'000, 1'000'000, 16'000'000}, {1, 2}})->UseRealTime();

void fused_chain(benchmark::State& state) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const auto a = numbers<double>(n), b = numbers<double>(n), c = numbers<double>(n);
    zc::owned_buffer<double> out(n);
    const zc::view2d<const double> inputs[] = {std::span(a), std::span(b), std::span(c)};
    const zc::chain_step steps[] = {
        {zc::chain_op::multiply, 1}, {zc::chain_op::add_scaled, 2, 2.0}, {zc::chain_op::subtract, -1, 1.0}};
    for (auto _ : state) zc::run_chain<double>(inputs, steps, out.span(), static_cast<int>(state.range(1)));
    count_bytes(state, 4 * n * sizeof(double));
}
BENCHMARK(fused_chain)->ArgsProduct({{100'000, 1'000'000, 16'000'000}, {1, 2}})->UseRealTime();

void step_by_step(benchmark::State& state) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const auto a = numbers<double>(n), b = numbers<double>(n), c = numbers<double>(n);
    std::vector<double> product(n), twice(n), out(n);
    const double two = 2.0, one = 1.0;
    const zc::view2d<const double> twos(&two, 1, n, 0, 0), ones(&one, 1, n, 0, 0);
    for (auto _ : state) {
        zc::multiply<double>(std::span(a), std::span(b), std::span(product), 1);
        zc::multiply<double>(std::span(c), twos, std::span(twice), 1);
        zc::add<double>(std::span(product), std::span(twice), std::span(out), 1);
        zc::subtract<double>(std::span(out), ones, std::span(out), 1);
    }
    count_bytes(state, 4 * n * sizeof(double));
}
BENCHMARK(step_by_step)->Arg(100'000)->Arg(1'000'000)->Arg(16'000'000)->UseRealTime();

// ---- reductions
void sum(benchmark::State& state) {
    const at_level level(state, state.range(0));
    const auto x = numbers<double>(static_cast<std::size_t>(state.range(1)));
    for (auto _ : state) benchmark::DoNotOptimize(zc::sum<double>(std::span(x), 1));
    count_bytes(state, x.size() * sizeof(double));
}
BENCHMARK(sum)->ArgsProduct({{0, 1, 2, 3}, {100'000, 16'000'000}})->UseRealTime();

void reduce(benchmark::State& state) {
    const at_level level(state, state.range(0));
    const auto x = numbers<double>(static_cast<std::size_t>(state.range(1)));
    for (auto _ : state) benchmark::DoNotOptimize(zc::reduce<double>(std::span(x), 1).sum);
    count_bytes(state, x.size() * sizeof(double));
}
BENCHMARK(reduce)->ArgsProduct({{0, 1, 2, 3}, {100'000, 16'000'000}})->UseRealTime();

// ---- pictures
void correlate(benchmark::State& state) {
    const at_level level(state, state.range(0));
    const std::size_t side = 1000, k = static_cast<std::size_t>(state.range(1));
    const auto x = numbers<float>(side * side), kernel = numbers<float>(k * k);
    std::vector<float> out((side - k + 1) * (side - k + 1));
    for (auto _ : state)
        zc::correlate2d<float>({x.data(), side, side}, {kernel.data(), k, k}, {out.data(), side - k + 1, side - k + 1}, 1);
    count_operations(state, 2.0 * static_cast<double>(out.size() * k * k));
}
BENCHMARK(correlate)->ArgsProduct({{0, 1, 2, 3}, {3, 5, 7, 11}})->UseRealTime();

// What the compiler makes of the four loops.
void correlate_loops(benchmark::State& state) {
    const std::size_t side = 1000, k = static_cast<std::size_t>(state.range(0)), valid = side - k + 1;
    const auto x = numbers<float>(side * side), kernel = numbers<float>(k * k);
    std::vector<float> out(valid * valid);
    for (auto _ : state) {
        for (std::size_t r = 0; r < valid; ++r)
            for (std::size_t c = 0; c < valid; ++c) {
                float total = 0;
                for (std::size_t i = 0; i < k; ++i)
                    for (std::size_t j = 0; j < k; ++j) total += x[(r + i) * side + c + j] * kernel[i * k + j];
                out[r * valid + c] = total;
            }
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
    }
    count_operations(state, 2.0 * static_cast<double>(out.size() * k * k));
}
BENCHMARK(correlate_loops)->Arg(3)->Arg(5)->UseRealTime();

void max_pool(benchmark::State& state) {
    const std::size_t side = 1000, size = static_cast<std::size_t>(state.range(0));
    const auto shape = zc::pool_shape(side, side, size, size);
    const auto x = numbers<float>(side * side);
    std::vector<float> out(shape.rows * shape.columns);
    for (auto _ : state) zc::max_pool2d<float>({x.data(), side, side}, size, size, {out.data(), shape.rows, shape.columns}, 1);
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(x.size()));
}
BENCHMARK(max_pool)->Arg(2)->Arg(3)->UseRealTime();

// ---- matrices
void matvec(benchmark::State& state) {
    const at_level level(state, state.range(0));
    const auto n = static_cast<std::size_t>(state.range(1));
    const auto a = numbers<double>(n * n), x = numbers<double>(n);
    std::vector<double> y(n);
    for (auto _ : state) zc::matvec<double>({a.data(), n, n}, std::span(x), std::span(y), 1);
    count_bytes(state, a.size() * sizeof(double));
}
BENCHMARK(matvec)->ArgsProduct({{0, 1, 2, 3}, {256, 1000, 4000}})->UseRealTime();

enum class product { naive, blocked, simd, threaded };
void matmul(benchmark::State& state, product which) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const auto a = numbers<double>(n * n), b = numbers<double>(n * n);
    std::vector<double> c(n * n);
    const zc::view2d<const double> x(a.data(), n, n), y(b.data(), n, n);
    const zc::view2d<double> z(c.data(), n, n);
    for (auto _ : state) switch (which) {
            case product::naive: zc::matmul_naive<double>(x, y, z); break;
            case product::blocked: zc::matmul_blocked<double>(x, y, z); break;
            case product::simd: zc::matmul_simd<double>(x, y, z); break;
            case product::threaded: zc::matmul_threaded<double>(x, y, z, 2); break;
        }
    count_operations(state, 2.0 * static_cast<double>(n * n * n));
}
BENCHMARK_CAPTURE(matmul, naive, product::naive)->Arg(240)->Arg(480)->UseRealTime();
BENCHMARK_CAPTURE(matmul, blocked, product::blocked)->Arg(240)->Arg(480)->Arg(960)->UseRealTime();
BENCHMARK_CAPTURE(matmul, simd, product::simd)->Arg(240)->Arg(480)->Arg(960)->UseRealTime();
BENCHMARK_CAPTURE(matmul, threaded, product::threaded)->Arg(240)->Arg(480)->Arg(960)->UseRealTime();

void transpose(benchmark::State& state) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const auto x = numbers<double>(n * n);
    std::vector<double> out(n * n);
    for (auto _ : state) zc::transpose<double>({x.data(), n, n}, {out.data(), n, n}, 1);
    count_bytes(state, 2 * x.size() * sizeof(double));
}
BENCHMARK(transpose)->Arg(256)->Arg(1000)->Arg(1024)->Arg(4000)->UseRealTime();

}  // namespace
