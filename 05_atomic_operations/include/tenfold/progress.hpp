// tenfold/progress.hpp: start work in the background and get a handle at once: poll it, wait for it, cancel it.
//
// Why: a call that returns when all is done leaves its caller nothing to show. Here the threads count what they have finished in
// one atomic number, and the handle reads it: no lock between the work and whoever watches. The handle owns the threads: its
// destructor asks them to stop and joins them, so nothing runs on after it. Work that must not be lost: wait() first.
//     auto run = tenfold::start_with_progress(1'000'000, 2, [&](std::uint64_t i) { process(i); });
//     while (!run.wait_for(100ms)) std::printf("%3.0f %%\n", 100 * run.fraction());
//
// Every method may be called from several threads. What the work throws ends the run and leaves wait(). In a child of fork() the
// threads do not exist: done() tells how far the run was at that moment; finished() and waiting throw std::runtime_error unless it
// had ended by then; the destructor joins nobody.
//
// Copy: this file, counters.hpp, single_writer.hpp and atomic_team.hpp.   #include <tenfold/progress.hpp>   C++20; link the
// platform's threads library (-pthread).
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenfold/atomic_team.hpp"
#include "tenfold/counters.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace tenfold {
namespace atomic_detail {

struct progress_state {
    std::uint64_t total = 0;
    std::uint64_t handful = 1;  // units taken at once: few enough that no thread sits on the last ones
    alignas(line_bytes) std::atomic<std::uint64_t> done{0};  // units finished
    alignas(line_bytes) std::atomic<std::uint64_t> next{0};  // units handed out
    alignas(line_bytes) std::atomic<bool> cancelled{false};
    std::atomic<int> running{0};  // 0: every thread has left its loop
    std::mutex mutex;  // guards `error`, and the change of `running` to 0 against waiters
    std::condition_variable ended;
    std::exception_ptr error;
    std::vector<std::thread> threads;
#if defined(__unix__) || defined(__APPLE__)
    const pid_t birthplace = ::getpid();
    bool forked() const noexcept { return ::getpid() != birthplace; }
#else
    bool forked() const noexcept { return false; }
#endif

    template <class Work>
    void run(Work& work) noexcept {
        try {
            for (std::uint64_t begin;;) {
                // Relaxed: units are handed out once each, in any order.
                if (next.load(std::memory_order_relaxed) >= total) break;  // so that `next` cannot wrap
                begin = next.fetch_add(handful, std::memory_order_relaxed);
                if (begin >= total) break;
                const std::uint64_t end = begin + std::min(handful, total - begin);
                for (std::uint64_t i = begin; i < end; ++i) {
                    if (cancelled.load(std::memory_order_relaxed)) goto end;  // only a wish: pairs with nothing
                    if constexpr (std::is_same_v<decltype(work(i)), bool>) {
                        if (!work(i)) goto end;
                    } else {
                        work(i);
                    }
                    // Release pairs with the acquire in progress_run::done(): who sees the count sees what the unit wrote.
                    done.fetch_add(1, std::memory_order_release);
                }
            }
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (!error) error = std::current_exception();
            cancelled.store(true, std::memory_order_relaxed);
        }
    end:
        const std::lock_guard lock(mutex);
        // Release pairs with the acquire in finished(): all that the run wrote is seen by who sees 0.
        if (running.fetch_sub(1, std::memory_order_acq_rel) == 1) ended.notify_all();
    }
};

struct end_progress {
    void operator()(progress_state* state) const noexcept {
        if (state->forked()) return;  // its threads, and perhaps its mutex, stayed in the parent: leave it where it is
        state->cancelled.store(true, std::memory_order_relaxed);
        for (auto& thread : state->threads) thread.join();
        delete state;
    }
};

}  // namespace atomic_detail

class progress_run {
public:
    std::uint64_t total() const noexcept { return state_->total; }
    std::uint64_t done() const noexcept { return state_->done.load(std::memory_order_acquire); }
    double fraction() const noexcept { return total() == 0 ? 1.0 : static_cast<double>(done()) / static_cast<double>(total()); }
    int threads() const noexcept { return threads_; }

    /// No thread works any more: all is done, or the run was cancelled, or the work threw.
    bool finished() const {
        if (left_behind())
            throw std::runtime_error("this run was started before fork(): its threads do not exist in this child process");
        return none_works();
    }
    /// This process is a fork, and the run went on when it was made: it can never finish here.
    bool left_behind() const noexcept { return !none_works() && state_->forked(); }

    /// Asks the threads to stop after the unit they are at; does not wait for them.
    void cancel() noexcept { state_->cancelled.store(true, std::memory_order_relaxed); }
    /// Somebody asked, or the work threw.
    bool cancelled() const noexcept { return state_->cancelled.load(std::memory_order_relaxed); }

    /// True once finished; then what the work threw is thrown here.
    template <class Rep, class Period>
    bool wait_for(std::chrono::duration<Rep, Period> limit) {
        if (!finished()) {
            // Thirty years are enough, and now + limit must not overflow.
            constexpr std::chrono::duration<double> least(0), most(1e9);
            const std::chrono::duration<double> wanted = limit, held = wanted > most ? most : wanted > least ? wanted : least;
            const auto time = std::chrono::duration_cast<std::chrono::nanoseconds>(held);
            std::unique_lock lock(state_->mutex);
            if (!state_->ended.wait_for(lock, time, [this] { return none_works(); })) return false;
        }
        if (state_->forked()) return true;
        const std::lock_guard lock(state_->mutex);
        if (state_->error) std::rethrow_exception(state_->error);
        return true;
    }

    /// Waits to the end. `stop` is asked about every 20 ms: when it says true, tenfold::stopped, and the run goes on.
    template <class Stop = never_stop>
    void wait(Stop stop = {}) {
        while (!wait_for(std::chrono::milliseconds(20)))
            if (stop()) throw stopped();
    }

private:
    template <class Work>
    friend progress_run start_with_progress(std::uint64_t total, int threads, Work work);

    progress_run(std::uint64_t total, int threads) : state_(new atomic_detail::progress_state), threads_(threads) {
        state_->total = total;
        state_->handful = std::clamp<std::uint64_t>(total / (64 * static_cast<std::uint64_t>(threads)), 1, 64);
        state_->threads.reserve(static_cast<std::size_t>(threads));
    }

    bool none_works() const noexcept { return state_->running.load(std::memory_order_acquire) == 0; }

    std::unique_ptr<atomic_detail::progress_state, atomic_detail::end_progress> state_;
    int threads_;
};

/// Calls work(i) for every i in [0, total), in any order, on `threads` threads; returns at once. Work that returns bool may say
/// false: this unit is not done and not counted, and its thread ends.
template <class Work>
progress_run start_with_progress(std::uint64_t total, int threads, Work work) {
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    progress_run run(total, threads);
    auto* const state = run.state_.get();
    const auto shared = std::make_shared<Work>(std::move(work));
    for (int i = 0; i < threads; ++i) {
        state->running.fetch_add(1, std::memory_order_relaxed);  // the thread's start publishes it
        try {
            state->threads.emplace_back([state, shared] { state->run(*shared); });
        } catch (...) {  // no more threads to be had: those that run are cancelled and joined by run's destructor
            state->running.fetch_sub(1, std::memory_order_relaxed);
            throw;
        }
    }
    return run;
}

/// Counts to `total` and does nothing else.
inline progress_run start_with_progress(std::uint64_t total, int threads) {
    return start_with_progress(total, threads, [](std::uint64_t) {});
}

/// Adds `total` to the counter one by one, from `threads` threads; returns when all is added. Stopped: what was added stays.
template <class Stop = never_stop>
void parallel_with_progress(atomic_counter& counter, std::uint64_t total, int threads, Stop stop = {}) {
    atomic_detail::run_together(
        threads,
        [&, team = static_cast<std::uint64_t>(threads)](int thread, const std::atomic<bool>& cancelled) {
            const auto mine = static_cast<std::uint64_t>(thread);
            std::uint64_t left = total / team + (mine < total % team);
            for (; left != 0; --left) {
                counter.increment();
                if (left % 1024 == 0 && cancelled.load(std::memory_order_relaxed)) return;
            }
        },
        stop);
}

}  // namespace tenfold
