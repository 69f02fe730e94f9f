// tenfold/pool_batch.hpp: a range of indices cut into chunks, as one batch of a pool: errors, stopping, trace and splitting.
//
// - chunk borders depend on the number of items and the grain only, never on threads or luck;
// - if bodies throw, the batch reports the lowest chunk that throws: chunks above the lowest failure so far are skipped, every
//   chunk below it still runs;
// - `stop` is asked on the calling thread; when it says true no further chunk begins.
//
// Copy: comes with thread_pool.hpp and plain_pool.hpp. Needs C++20 and -pthread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <type_traits>

#include <tenfold/task_trace.hpp>

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

namespace tenfold {

// Who gets which chunk. stealing: whoever is free. fixed: each worker its equal run, dealt out beforehand, and nobody helps.
enum class sharing { stealing, fixed };

struct batch_options {
    std::size_t grain = 0;  // indices per chunk; 0: sixteen chunks per worker
    sharing how = sharing::stealing;
    task_trace* trace = nullptr;  // one interval per chunk
};

namespace pool_detail {

template <class Stop>
inline constexpr bool never_stops = std::is_same_v<std::remove_cvref_t<Stop>, never_stop>;

// Asks a caller's `stop`, once true always true. It may throw: that counts as true, and the exception wins.
template <class Stop>
class stop_poll {
public:
    explicit stop_poll(Stop& stop) noexcept : stop_(stop) {}
    bool operator()() noexcept {
        if constexpr (never_stops<Stop>) return false;
        if (asked_) return true;
        try {
            asked_ = stop_();
        } catch (...) {
            asked_ = true;
            error_ = std::current_exception();
        }
        return asked_;
    }
    bool asked() const noexcept { return asked_; }
    void rethrow() const {
        if (error_) std::rethrow_exception(error_);
        if (asked_) throw stopped();
    }

private:
    Stop& stop_;
    bool asked_ = false;
    std::exception_ptr error_;
};

inline std::size_t grain_for(std::size_t items, std::size_t grain, int workers) noexcept {
    return grain != 0 ? grain : std::max<std::size_t>(1, items / (16 * static_cast<std::size_t>(workers)));
}

template <class Body>
class batch {
public:
    batch(std::size_t items, std::size_t grain, Body& body, task_trace* trace) noexcept
        : items_(items),
          grain_(grain),
          chunks_(items / grain + (items % grain != 0)),
          body_(body),
          trace_(trace),
          limit_(chunks_) {}

    std::size_t chunks() const noexcept { return chunks_; }

    void run_chunk(std::size_t index, int worker) noexcept {
        // relaxed: who learns of a failure late runs one chunk too many. Results are published by the end of the batch.
        if (index >= limit_.load(std::memory_order_relaxed)) return;
        const std::size_t begin = index * grain_;
        const std::size_t end = items_ - begin > grain_ ? begin + grain_ : items_;
        try {
            if (trace_ == nullptr) {
                body_(begin, end);
            } else {
                const auto start = trace_->now_ns();
                body_(begin, end);
                trace_->record(worker, begin, start, trace_->now_ns());
            }
        } catch (...) {
            fail(index);
        }
    }
    // No chunk begins any more.
    void stop() noexcept {
        const std::lock_guard lock(mutex_);  // fail() reads and writes limit_ in two steps
        limit_.store(0, std::memory_order_relaxed);
    }

    // First and last chunk of worker i when nobody steals.
    std::size_t share(int i, int workers) const noexcept {
        const auto w = static_cast<std::size_t>(workers), k = static_cast<std::size_t>(i);
        return chunks_ / w * k + std::min(chunks_ % w, k);
    }
    // After the end of the batch.
    void rethrow() const {
        if (error_) std::rethrow_exception(error_);
    }

private:
    void fail(std::size_t index) noexcept {
        const std::lock_guard lock(mutex_);
        if (index >= limit_.load(std::memory_order_relaxed)) return;
        limit_.store(index, std::memory_order_relaxed);
        error_ = std::current_exception();
    }

    const std::size_t items_, grain_, chunks_;
    Body& body_;
    task_trace* const trace_;
    std::atomic<std::size_t> limit_;  // chunks from here on are skipped
    std::mutex mutex_;  // guards error_ and the lowering of limit_
    std::exception_ptr error_;
};

}  // namespace pool_detail
}  // namespace tenfold
