// tenfold/atomic_team.hpp: start some threads, let them leave together, stay stoppable, time them fairly.
//
// Why: two threads that are started one after the other may never meet: the first is done before the second exists, and a
// race, a torn read or the price of contention stays invisible. Here every thread waits until the last has arrived. The
// calling thread does none of the work: it asks `stop` (a callable bool()) about every 10 ms, because only that thread can hear
// Ctrl-C in a Python extension, and passes the wish on through one flag that the threads look at.
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

// Runs worker(i, cancelled) for i in [0, threads) on threads that start together; returns the seconds from the first thread's
// start to the last one's end. Throws what the worker of the lowest index threw, or tenfold::stopped, or what `stop` threw.
template <class Worker, class Stop>
double run_together(int threads, Worker&& worker, Stop&& stop) {
    using clock = std::chrono::steady_clock;
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    if (stop()) throw stopped();

    const auto size = static_cast<std::size_t>(threads);
    std::vector<clock::time_point> begins(size), ends(size);
    std::vector<std::exception_ptr> errors(size);
    std::atomic<bool> cancelled{false};
    start_line start(threads);
    std::mutex mutex;  // guards `done`; what the team wrote is published by the joins
    std::condition_variable ended;
    std::size_t done = 0;
    std::exception_ptr failure;

    std::vector<std::jthread> team;
    try {
        team.reserve(size);
        for (std::size_t i = 0; i < size; ++i)
            team.emplace_back([&, i] {
                if (start.wait()) {
                    begins[i] = clock::now();
                    try {
                        worker(static_cast<int>(i), static_cast<const std::atomic<bool>&>(cancelled));
                    } catch (...) {
                        errors[i] = std::current_exception();
                        cancelled.store(true, std::memory_order_relaxed);  // only asks the others to end; pairs with nothing
                    }
                    ends[i] = clock::now();
                }
                const std::lock_guard lock(mutex);
                ++done;
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
    return std::max(std::chrono::duration<double>(end - begin).count(), 1e-9);
}

}  // namespace tenfold::atomic_detail
