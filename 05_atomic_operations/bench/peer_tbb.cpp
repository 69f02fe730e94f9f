// oneTBB's thread-local counters, measured as peer_ours.cpp measures ours: two threads (TENFOLD_THREADS) on different cores.
//     enumerable N        enumerable_thread_specific, local() for every increment
//     combinable N        combinable, local() for every increment
//     enumerable_own N    enumerable_thread_specific, local() once per thread
// (Their numbers are plain integers: nobody may look at the sum before the threads are done. Ours may be read at any time.)
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

#include <tbb/combinable.h>
#include <tbb/enumerable_thread_specific.h>

#include <tenfold/counters.hpp>

#include "tenfold_peer.hpp"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#endif

namespace {

using clock_type = std::chrono::steady_clock;

void pin(int index) {
#if defined(__linux__)
    cpu_set_t allowed, one;
    if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) == 0) return;
    int wanted = index % CPU_COUNT(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &allowed) || wanted-- != 0) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        ::pthread_setaffinity_np(::pthread_self(), sizeof one, &one);
        return;
    }
#else
    static_cast<void>(index);
#endif
}

long switches() {
#if defined(__linux__)
    rusage usage{};
    ::getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
#else
    return 0;
#endif
}

// The compiler must not make one addition of n: the number is read and written each time, as an atomic would be.
template <class Counter, bool Once>
struct local_counter {
    Counter& counter;
    volatile std::uint64_t* own = &counter.local();

    void increment() {
        volatile std::uint64_t* const number = Once ? own : &counter.local();
        *number = *number + 1;
    }
};

template <class Counter, bool Once>
tenfold_peer::timed count(long n) {
    const int threads = tenfold_peer::threads();
    double best_seconds = 0;
    long least = -1;
    for (int attempt = 0; attempt < 3 && least != 0; ++attempt) {
        Counter counter([] { return std::uint64_t{0}; });
        tenfold::atomic_detail::start_line start(threads);
        std::vector<clock_type::time_point> begins(static_cast<std::size_t>(threads)), ends = begins;
        std::atomic<long> disturbed{0};
        {
            std::vector<std::jthread> team;
            for (int i = 0; i < threads; ++i)
                team.emplace_back([&, i] {
                    pin(i);
                    local_counter<Counter, Once> own{counter};
                    start.wait();
                    const long before = switches();
                    begins[static_cast<std::size_t>(i)] = clock_type::now();
                    tenfold::atomic_detail::increment_times(own, static_cast<std::uint64_t>(n));
                    ends[static_cast<std::size_t>(i)] = clock_type::now();
                    disturbed += switches() - before;
                });
        }
        const std::uint64_t total = counter.combine([](std::uint64_t a, std::uint64_t b) { return a + b; });
        if (total != static_cast<std::uint64_t>(threads) * static_cast<std::uint64_t>(n))
            throw std::logic_error("the counter lost increments");
        const auto begin = *std::min_element(begins.begin(), begins.end()), end = *std::max_element(ends.begin(), ends.end());
        if (least < 0 || disturbed < least) {
            least = disturbed;
            best_seconds = std::chrono::duration<double>(end - begin).count();
        }
    }
    return {best_seconds, static_cast<double>(threads) * static_cast<double>(n)};
}

using enumerable = tbb::enumerable_thread_specific<std::uint64_t>;
using combinable = tbb::combinable<std::uint64_t>;

}  // namespace

int main() {
    return tenfold_peer::serve({
        {"enumerable", count<enumerable, false>},
        {"combinable", count<combinable, false>},
        {"enumerable_own", count<enumerable, true>},
    });
}
