// native_future.hpp: one job on a pool, seen from two sides: the worker that runs it and whoever waits for it.
//
// What concurrent.futures.Future promises, for native work: a job ends exactly once, with a value, an error, or cancelled;
// any number of threads may ask and wait. It knows no Python: waiting is cut in slices, and between them, with no lock
// held, the caller's `stop` is asked (there Ctrl-C is seen).
// To copy it: this file, C++20, `-pthread`.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>

namespace tenfold::boundary {

class native_job {
public:
    using clock = std::chrono::steady_clock;
    enum class state { pending, running, done, cancelled };

    state now() const noexcept { return state_.load(); }
    bool over() const noexcept { return now() == state::done || now() == state::cancelled; }

    /// False: it was cancelled, do not begin.
    bool begin() noexcept {
        auto expected = state::pending;
        return state_.compare_exchange_strong(expected, state::running);
    }
    void finish(std::int64_t value, std::exception_ptr error = nullptr) noexcept {
        const std::lock_guard lock(mutex_);
        if (over()) return;  // cancelled meanwhile: nobody wants it any more
        value_ = value;
        error_ = std::move(error);
        state_ = state::done;
        ended_.notify_all();
    }
    /// True: no value will come, and a job that is running is told so. False: it had ended before.
    bool cancel() noexcept {
        const std::lock_guard lock(mutex_);
        if (now() == state::done) return false;
        state_ = state::cancelled;
        ended_.notify_all();
        return true;
    }
    /// As cancel(), but only if no worker has begun it: afterwards nothing of it runs.
    bool withdraw() noexcept {
        const std::lock_guard lock(mutex_);
        auto expected = state::pending;
        if (!state_.compare_exchange_strong(expected, state::cancelled)) return false;
        ended_.notify_all();
        return true;
    }
    bool given_up() const noexcept { return now() == state::cancelled; }

    /// Whether it is over; waits for that until `deadline`.
    template <class Stop>
    bool wait_until(clock::time_point deadline, Stop stop) {
        while (!over() && clock::now() < deadline) {
            if (stop()) return false;
            std::unique_lock lock(mutex_);
            ended_.wait_until(lock, std::min(deadline, clock::now() + std::chrono::milliseconds(20)), [&] { return over(); });
        }
        return over();
    }
    /// Once it is done.
    std::int64_t value() const {
        if (error_) std::rethrow_exception(error_);
        return value_;
    }

private:
    std::atomic<state> state_{state::pending};
    std::mutex mutex_;
    std::condition_variable ended_;
    std::int64_t value_ = 0;  // both written before state_ becomes done, read after
    std::exception_ptr error_;
};

/// A closure for a pool that runs `work(job)`. When the pool drops it without running it, the job is cancelled.
template <class Work>
auto job_closure(std::shared_ptr<native_job> job, Work work) {
    struct ticket {
        std::shared_ptr<native_job> job;
        explicit ticket(std::shared_ptr<native_job> of) : job(std::move(of)) {}
        ~ticket() { job->withdraw(); }
    };
    return [mine = std::make_shared<ticket>(std::move(job)), work = std::move(work)]() noexcept {
        native_job& running = *mine->job;
        if (!running.begin()) return;
        try {
            running.finish(work(running));
        } catch (...) {
            running.finish(0, std::current_exception());
        }
    };
}

}  // namespace tenfold::boundary
