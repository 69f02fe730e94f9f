// tenfold/chunk_team.hpp: run numbered pieces of work on some threads that live for this call only.
//
// Why: threads that are started and joined inside one call cannot be left behind by a fork, need no shutdown and nest without a
// thought. Starting one costs some ten microseconds, so small work should ask for one thread. The calling thread works too.
//     tenfold::run_chunks(chunks, threads, [&](std::size_t chunk, int worker) { ... });
// - the next free thread takes the next chunk; results must not depend on who took which;
// - an exception leaves run_chunks(): always that of the lowest chunk that throws, and no chunk above it is begun any more;
// - `stop`, a callable bool(), is asked on the calling thread, between its chunks and every 10 ms while it waits for the others;
//   when it says true: tenfold::stopped. `worker` is below `threads`: scratch memory can be kept by it.
//
// Copy: this file, alloc_errors.hpp.   #include <tenfold/chunk_team.hpp>   C++20; link the platform's threads library (-pthread).
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include "tenfold/alloc_errors.hpp"

namespace tenfold {

namespace alloc_detail {

class chunk_queue {
public:
    explicit chunk_queue(std::size_t chunks) : limit_(chunks) {}

    // Relaxed: the numbers only deal out the work; the joins publish the results. False: nothing is left.
    bool take(std::size_t& chunk) noexcept {
        if (next_.load(std::memory_order_relaxed) >= limit_.load(std::memory_order_relaxed)) return false;
        chunk = next_.fetch_add(1, std::memory_order_relaxed);
        return chunk < limit_.load(std::memory_order_relaxed);
    }
    void fail(std::size_t chunk) noexcept {
        const std::lock_guard lock(mutex_);
        if (chunk >= limit_.load(std::memory_order_relaxed)) return;
        error_ = std::current_exception();
        limit_.store(chunk, std::memory_order_relaxed);  // every chunk below has been taken: chunks go out in order
    }
    // What `stop` asked for, or threw, wins over errors of chunks.
    template <class Stop>
    void poll(Stop& stop) noexcept {
        if (stop_error_) return;
        try {
            if (stop()) throw stopped();
        } catch (...) {
            stop_error_ = std::current_exception();
            limit_.store(0, std::memory_order_relaxed);
        }
    }
    void rethrow() const {
        if (stop_error_) std::rethrow_exception(stop_error_);
        if (error_) std::rethrow_exception(error_);
    }

    // One of the team has ended; true if all have, at most 10 ms later.
    void leave() noexcept {
        const std::lock_guard lock(mutex_);
        ++gone_;
        ended_.notify_one();
    }
    bool all_left(std::size_t members) {
        std::unique_lock lock(mutex_);
        return ended_.wait_for(lock, std::chrono::milliseconds(10), [&] { return gone_ == members; });
    }

private:
    std::atomic<std::size_t> next_{0}, limit_;
    std::mutex mutex_;  // guards gone_ and error_
    std::condition_variable ended_;
    std::size_t gone_ = 0;
    std::exception_ptr error_;
    std::exception_ptr stop_error_;  // the calling thread's
};

}  // namespace alloc_detail

/// Calls body(chunk, worker) once for each chunk in [0, chunks), on at most `threads` threads.
template <class Body, class Stop = never_stop>
void run_chunks(std::size_t chunks, int threads, Body&& body, Stop&& stop = {}) {
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    const std::size_t team_size = std::min(chunks, static_cast<std::size_t>(threads));
    if (team_size <= 1) {
        for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
            if (stop()) throw stopped();
            body(chunk, 0);
        }
        return;
    }

    alloc_detail::chunk_queue queue(chunks);
    const auto work = [&](int worker, auto&& before_each) noexcept {
        for (std::size_t chunk; before_each(), queue.take(chunk);) {
            try {
                body(chunk, worker);
            } catch (...) {
                queue.fail(chunk);
            }
        }
    };
    {
        std::vector<std::jthread> team;
        team.reserve(team_size - 1);
        try {
            for (std::size_t i = 1; i < team_size; ++i)
                team.emplace_back([&, i] {
                    work(static_cast<int>(i), [] {});
                    queue.leave();
                });
        } catch (const std::system_error&) {
            // No more threads to be had: those that there are do the work.
        }
        work(0, [&] { queue.poll(stop); });
        while (!queue.all_left(team.size())) queue.poll(stop);
    }  // joins: everything that the chunks wrote is visible from here on
    queue.rethrow();
}

}  // namespace tenfold
