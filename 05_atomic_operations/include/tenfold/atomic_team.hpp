// tenfold/atomic_team.hpp: start some threads, let them leave together, stay stoppable, time them fairly.
//
// Why: two threads that are started one after the other may never meet: the first is done before the second exists, and a
// race, a torn read or the price of contention stays invisible. Here every thread waits until the last has arrived. The
// calling thread does none of the work: it asks `stop` (a callable bool()) about every 10 ms, because only that thread can hear
// Ctrl-C in a Python extension, and passes the wish on through one flag that the threads look at.
// Measurements pin each thread to a core (Linux; elsewhere a wish that nobody hears): two threads that the system has put on one core
// do not contend, and a round without contention measures nothing.
//
// Copy: this file.   #include <tenfold/atomic_team.hpp>   C++20; link the platform's threads library (-pthread).
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sched.h>
#include <sys/resource.h>
#endif

#ifndef TENFOLD_NEVER_STOP
#define TENFOLD_NEVER_STOP
namespace tenfold {

struct never_stop {
    bool operator()() const noexcept { return false; }
};

struct stopped : std::exception {
    const char* what() const noexcept override { return "stopped"; }
};

}  // namespace tenfold
#endif

namespace tenfold::atomic_detail {

// Two lines of 64 bytes: x86 prefetchers fetch lines in pairs, so neighbours at a distance of 64 still disturb each other.
inline constexpr std::size_t line_bytes = 128;

inline void pause_cpu() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

// Waiting for something that is nanoseconds away, unless the thread that will do it has lost its core.
class short_wait {
public:
    void operator()() noexcept {
        if (++calls_ < 128) {
            pause_cpu();
        } else {
            std::this_thread::yield();
        }
    }

private:
    int calls_ = 0;
};

// How many cores this process may use, and the calling thread moved to one of them until it ends: `index` modulo how many there
// are. Where the system has no such call, or refuses, the thread stays free.
inline int allowed_cores() noexcept {
#if defined(__linux__)
    cpu_set_t allowed;
    if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) > 0) return CPU_COUNT(&allowed);
#endif
    return static_cast<int>(std::max(std::thread::hardware_concurrency(), 1u));
}
inline void pin_this_thread(int index) noexcept {
#if defined(__linux__)
    cpu_set_t allowed, one;
    if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) == 0) return;
    int left = index % CPU_COUNT(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &allowed) || left-- != 0) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        ::sched_setaffinity(0, sizeof one, &one);
        return;
    }
#else
    static_cast<void>(index);
#endif
}
// How often the system has taken the core away from the calling thread.
inline long lost_cores() noexcept {
#if defined(__linux__)
    rusage usage{};
    ::getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
#else
    return 0;
#endif
}

class start_line {
public:
    explicit start_line(int members) : missing_(members) {}

    // False: the start was called off.
    bool wait() noexcept {
        // Release pairs with the acquire below: what a thread prepared before the start is seen by all that started.
        if (missing_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            int waiting = 0;
            state_.compare_exchange_strong(waiting, 1, std::memory_order_release, std::memory_order_relaxed);
        }
        short_wait wait;
        int state;
        while ((state = state_.load(std::memory_order_acquire)) == 0) wait();
        return state == 1;
    }
    void call_off() noexcept {
        int waiting = 0;
        state_.compare_exchange_strong(waiting, 2, std::memory_order_release, std::memory_order_relaxed);
    }

private:
    std::atomic<int> missing_;
    std::atomic<int> state_{0};  // 0 wait, 1 go, 2 called off
};

struct team_time {
    double seconds;  // from the first thread's start to the last one's end
    long disturbed;  // how often a thread lost its core meanwhile, beyond the times the calling thread woke up to ask `stop`
};

// Runs worker(i, cancelled) for i in [0, threads) on threads that start together, thread i on core core_of(i) if that is not
// negative. Throws what the worker of the lowest index threw, or tenfold::stopped, or what `stop` threw.
template <class Worker, class Stop, class CoreOf>
team_time measure_together(int threads, Worker&& worker, Stop&& stop, CoreOf core_of) {
    using clock = std::chrono::steady_clock;
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    if (stop()) throw stopped();

    const auto size = static_cast<std::size_t>(threads);
    std::vector<clock::time_point> begins(size), ends(size);
    std::vector<std::exception_ptr> errors(size);
    std::atomic<bool> cancelled{false};
    start_line start(threads);
    std::mutex mutex;  // guards `done`, `disturbed`; what the team wrote is published by the joins
    std::condition_variable ended;
    std::size_t done = 0;
    long disturbed = 0, asked = 0;
    std::exception_ptr failure;

    std::vector<std::jthread> team;
    try {
        team.reserve(size);
        for (std::size_t i = 0; i < size; ++i)
            team.emplace_back([&, i] {
                if (const int core = core_of(static_cast<int>(i)); core >= 0) pin_this_thread(core);
                long lost = 0;
                if (start.wait()) {
                    const long before = lost_cores();
                    begins[i] = clock::now();
                    try {
                        worker(static_cast<int>(i), static_cast<const std::atomic<bool>&>(cancelled));
                    } catch (...) {
                        errors[i] = std::current_exception();
                        cancelled.store(true, std::memory_order_relaxed);  // only asks the others to end; pairs with nothing
                    }
                    ends[i] = clock::now();
                    lost = lost_cores() - before;
                }
                const std::lock_guard lock(mutex);
                ++done;
                disturbed += lost;
                ended.notify_one();
            });
    } catch (...) {  // no more threads to be had
        failure = std::current_exception();
        start.call_off();
        cancelled.store(true, std::memory_order_relaxed);
    }
    {
        std::unique_lock lock(mutex);
        while (done != team.size()) {
            if (ended.wait_for(lock, std::chrono::milliseconds(10), [&] { return done == team.size(); }) || failure) continue;
            ++asked;
            lock.unlock();
            try {
                if (stop()) throw stopped();
            } catch (...) {
                failure = std::current_exception();
                cancelled.store(true, std::memory_order_relaxed);
            }
            lock.lock();
        }
    }
    team.clear();  // joins
    if (failure) std::rethrow_exception(failure);
    for (const auto& error : errors)
        if (error) std::rethrow_exception(error);
    const auto begin = *std::min_element(begins.begin(), begins.end());
    const auto end = *std::max_element(ends.begin(), ends.end());
    return {std::max(std::chrono::duration<double>(end - begin).count(), 1e-9), std::max(disturbed - asked, 0L)};
}

// The same wherever the system puts the threads; the seconds.
template <class Worker, class Stop>
double run_together(int threads, Worker&& worker, Stop&& stop) {
    return measure_together(threads, worker, stop, [](int) { return -1; }).seconds;
}

// One core for each thread, as far as they go round.
inline constexpr auto one_core_each = [](int thread) { return thread; };

// round() is a team_time. A disturbed round says little: of three, the one with the fewest disturbances, the first without any at
// once. More threads than cores disturb each other: one round.
template <class Round>
team_time least_disturbed(int threads, Round round) {
    team_time best = round();
    for (int again = 2; again > 0 && best.disturbed != 0 && threads <= allowed_cores(); --again) {
        const team_time now = round();
        if (now.disturbed < best.disturbed) best = now;
    }
    return best;
}

}  // namespace tenfold::atomic_detail
