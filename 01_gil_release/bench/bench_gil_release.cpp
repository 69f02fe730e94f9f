// What the lesson's C++ costs without Python. Wall-clock time (UseRealTime) wherever threads are involved.
#include <benchmark/benchmark.h>

#include <mutex>

#include "tenfold/gil_observer.hpp"
#include "tenfold/primes.hpp"
#include "tenfold/released.hpp"

namespace {

void trial_division(benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::count_primes(state.range(0)));
}
BENCHMARK(trial_division)->RangeMultiplier(10)->Range(1000, 1'000'000)->Unit(benchmark::kMicrosecond);

void segmented_sieve(benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::count_primes_segmented(state.range(0)));
}
BENCHMARK(segmented_sieve)->RangeMultiplier(10)->Range(1000, 100'000'000)->Unit(benchmark::kMicrosecond);

void parallel(benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::count_primes_parallel(1'000'000, static_cast<int>(state.range(0))));
}
BENCHMARK(parallel)->Arg(1)->Arg(2)->Arg(4)->UseRealTime()->Unit(benchmark::kMicrosecond);

void start_and_join_threads(benchmark::State& state) {
    for (auto _ : state) tenfold::run_team(static_cast<int>(state.range(0)), [](int, const std::stop_token&) {});
}
BENCHMARK(start_and_join_threads)->Arg(1)->Arg(2)->Arg(4)->UseRealTime()->Unit(benchmark::kMicrosecond);

std::mutex lock;
struct release {
    release() { lock.unlock(); }
    ~release() { lock.lock(); }
};

void released_over_a_free_mutex(benchmark::State& state) {
    std::scoped_lock held(lock);
    for (auto _ : state) benchmark::DoNotOptimize(tenfold::released<release>([] { return false; }, [](auto) { return 1; }));
}
BENCHMARK(released_over_a_free_mutex);

void one_change_of_state_observed(benchmark::State& state) {
    tenfold::timeline timeline;
    auto& lane = timeline.add_lane("bench");
    for (auto _ : state) lane.enter(tenfold::lock_state::held);
}
BENCHMARK(one_change_of_state_observed)->Iterations(1'000'000);

}  // namespace
