// Google Benchmark: what the pool's own operations cost. Wall time (UseRealTime): CPU time of the main thread knows nothing of
// the workers. Against other libraries: bench_thread_pool.py, which gives each a process of its own.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include <tenfold/chase_lev_deque.hpp>
#include <tenfold/plain_pool.hpp>
#include <tenfold/task_group.hpp>
#include <tenfold/thread_pool.hpp>

namespace {

using tenfold::pool_worker;

// One thread, no thief: what an owner pays. The fence in take() is nearly all of it.
void deque_push_take(benchmark::State& state) {
    tenfold::chase_lev_deque<std::int64_t> deque;
    std::int64_t item = 0;
    for (auto _ : state) {
        deque.push(1);
        benchmark::DoNotOptimize(deque.take(item));
    }
}
BENCHMARK(deque_push_take);

std::int64_t fib(pool_worker& worker, int n) {
    if (n < 2) return n;
    const auto [a, b] =
        worker.join([n](pool_worker& w) { return fib(w, n - 1); }, [n](pool_worker& w) { return fib(w, n - 2); });
    return a + b;
}
std::int64_t fib_calls(int n) { return n < 2 ? n : fib_calls(n - 1) + fib_calls(n - 2); }

// The same recursion as plain calls: the floor of fork_join.
void plain_calls(benchmark::State& state) {
    for (auto _ : state) {
        int n = 24;
        benchmark::DoNotOptimize(n);
        benchmark::DoNotOptimize(fib_calls(n));
    }
    state.SetItemsProcessed(state.iterations() * 75'024);
}
BENCHMARK(plain_calls)->Unit(benchmark::kMicrosecond);

void fork_join(benchmark::State& state) {
    tenfold::thread_pool pool(static_cast<int>(state.range(0)));
    for (auto _ : state) benchmark::DoNotOptimize(pool.run([](pool_worker& w) { return fib(w, 24); }));
    state.SetItemsProcessed(state.iterations() * 75'024);  // forks
}
BENCHMARK(fork_join)->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMicrosecond);

// One call on every worker, made by one of them.
void broadcast(benchmark::State& state) {
    tenfold::thread_pool pool(2);
    struct alignas(128) own_line {
        std::int64_t value = 0;
    };
    std::vector<own_line> counts(2);
    for (auto _ : state)
        pool.run([&] {
            for (int i = 0; i < 1000; ++i)
                pool.broadcast([&](int worker) { ++counts[static_cast<std::size_t>(worker)].value; });
        });
    state.SetItemsProcessed(state.iterations() * 1000);
}
BENCHMARK(broadcast)->UseRealTime()->Unit(benchmark::kMicrosecond);

// What a thread from outside pays to have something done: queue, wake-up, and the way back.
void run_from_outside(benchmark::State& state) {
    tenfold::thread_pool pool(1);
    for (auto _ : state) benchmark::DoNotOptimize(pool.run([] { return 1; }));
}
BENCHMARK(run_from_outside)->UseRealTime();

void submit_and_get(benchmark::State& state) {
    tenfold::thread_pool pool(1);
    pool.run([&] {
        for (auto _ : state) benchmark::DoNotOptimize(pool.submit([] { return 1; }).get());
    });
}
BENCHMARK(submit_and_get)->UseRealTime();

constexpr std::int64_t flat_tasks = 20'000;

void flat_plain_pool(benchmark::State& state) {
    tenfold::plain_pool pool(2);
    for (auto _ : state) {
        for (std::int64_t i = 0; i < flat_tasks; ++i) pool.detach([] {});
        pool.wait_idle();
    }
    state.SetItemsProcessed(state.iterations() * flat_tasks);
}
BENCHMARK(flat_plain_pool)->UseRealTime()->Unit(benchmark::kMicrosecond);

void flat_task_group(benchmark::State& state) {
    tenfold::thread_pool pool(2);
    for (auto _ : state)
        pool.run([&] {
            tenfold::task_group group(pool);
            for (std::int64_t i = 0; i < flat_tasks; ++i) group.run([] {});
            group.wait();
        });
    state.SetItemsProcessed(state.iterations() * flat_tasks);
}
BENCHMARK(flat_task_group)->UseRealTime()->Unit(benchmark::kMicrosecond);

// A batch of chunks so small that the pool is all there is to see.
void batch_of_empty_chunks(benchmark::State& state) {
    tenfold::thread_pool pool(2);
    for (auto _ : state) pool.for_chunks(10'000, [](std::size_t, std::size_t) {}, tenfold::never_stop{}, {.grain = 1});
    state.SetItemsProcessed(state.iterations() * 10'000);
}
BENCHMARK(batch_of_empty_chunks)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
