// tenfold/task_group.hpp: any number of tasks, one wait. What join() does for two, for a number that is found out on the way.
//
//     tenfold::task_group group(pool);
//     for (auto& part : parts) group.run([&part] { work(part); });   // tasks may run() more
//     group.wait();                                                  // works on tasks meanwhile, if this thread is a worker
// The first exception cancels what has not begun and leaves wait(). A stop_token, or stop() asked during wait(), cancels too.
//
// Counting without contention: a worker that makes and finishes tasks of its own group counts in a plain integer; only what
// other threads do to the group is counted in a shared word. Both meet when the owner looks, or goes to sleep.
//
// Copy: as thread_pool.hpp, plus this file. Needs C++20 and -pthread.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <utility>

#include <tenfold/thread_pool.hpp>

namespace tenfold {

// Made, waited for and destroyed by one thread; run() and cancel() are for that thread and for the group's tasks.
class task_group {
public:
    explicit task_group(thread_pool& pool, std::stop_token token = {})
        : core_(pool.core()),
          owner_(pool_detail::worker_of(core_)),
          token_(std::move(token)),
          has_token_(token_.stop_possible()) {}
    task_group(const task_group&) = delete;
    task_group& operator=(const task_group&) = delete;

    // Waits for tasks that run, drops those that have not begun. Call wait() to hear of errors.
    ~task_group() {
        if (outstanding() == 0) return;
        cancel();
        never_stop never;
        pool_detail::stop_poll<never_stop> poll(never);
        wait_all(poll);
    }

    // f() or f(pool_worker&). An exception here (no memory, pool shut down) means that f was not taken.
    template <class F>
    void run(F&& f) {
        pool_worker* const worker = pool_detail::worker_of(core_);
        const bool mine = worker != nullptr && worker == owner_;
        count(mine, 1);
        try {
            pool_detail::post<body<std::decay_t<F>>>(core_, std::forward<F>(f), *this);
        } catch (...) {
            count(mine, -1);
            throw;
        }
    }

    // Until all tasks are done, also those that tasks have added. Throws the first exception of a task, else tenfold::stopped
    // if the group was cancelled or stop() said true. Afterwards the group is as new.
    template <class Stop = never_stop>
    void wait(Stop&& stop = {}) {
        if (pool_detail::worker_of(core_) != owner_)
            throw std::logic_error("a task_group is waited for by the thread that made it");
        pool_detail::stop_poll<Stop> poll(stop);
        wait_all(poll);
        mine_ = 0;
        others_.store(0, std::memory_order_relaxed);  // nobody else is left
        const std::exception_ptr error = std::exchange(error_, nullptr);
        const bool cancelled = cancelled_.exchange(false, std::memory_order_relaxed) || (has_token_ && token_.stop_requested());
        if (error) std::rethrow_exception(error);
        poll.rethrow();
        if (cancelled) throw stopped();
    }

    // Tasks that have not begun are dropped.
    void cancel() noexcept { cancelled_.store(true, std::memory_order_relaxed); }  // relaxed: a late reader runs one task more

private:
    template <class F>
    struct body {
        template <class G>
        body(G&& g, task_group& owner) : f(std::forward<G>(g)), group(owner) {}
        void operator()(pool_worker& worker, bool) noexcept {
            if (!group.dropping()) try {
                    static_cast<void>(pool_detail::call(*f, worker));
                } catch (...) {
                    group.fail();
                }
            f.reset();  // before leaving: the group, and what f refers to, may be gone afterwards
            group.leave(worker);
        }
        std::optional<F> f;
        task_group& group;
    };

    // The group as something to wait for: see pool_detail::flag_wait.
    struct all_done {
        task_group& group;
        std::chrono::nanoseconds slice = pool_detail::for_ever;
        bool done() const noexcept { return group.outstanding() == 0; }
        bool arm(parking_lot::seat*) const noexcept { return group.ask_to_be_woken(); }
    };

    bool dropping() const noexcept {
        return cancelled_.load(std::memory_order_relaxed) || (has_token_ && token_.stop_requested());  // relaxed: see cancel()
    }
    void fail() noexcept {
        const std::lock_guard lock(mutex_);
        if (!error_) error_ = std::current_exception();
        cancel();
    }

    void count(bool mine, std::int64_t by) noexcept {
        if (mine) mine_ += by;
        else others_.fetch_add(2 * by, std::memory_order_relaxed);  // before the task is published, or never was
    }
    void leave(pool_worker& worker) noexcept {
        if (&worker == owner_) {
            --mine_;
            return;
        }
        parking_lot& lot = core_.lot;
        parking_lot::seat* const seat = owner_ != nullptr ? &owner_->seat() : &guest_;
        // acq_rel: release: pairs with the acquire in outstanding(), what the task did is seen; acquire: as in round::leave().
        // The last touch: the group may be gone now. The lot only compares the address of the seat.
        if (others_.fetch_sub(2, std::memory_order_acq_rel) - 2 == 1) lot.wake(seat);
    }

    // Owner only. Exact: nobody else writes mine_, and others_ is one word.
    std::int64_t outstanding() const noexcept {
        return mine_ + (others_.load(std::memory_order_acquire) >> 1);  // acquire: pairs with leave()
    }
    // Owner only, seated: moves its own count into the shared word, so that whoever brings that to zero knows.
    bool ask_to_be_woken() noexcept {
        const std::int64_t moved = 2 * std::exchange(mine_, 0);
        others_.fetch_add(moved, std::memory_order_relaxed);  // ordered with what follows by being the same word
        return (others_.fetch_or(1, std::memory_order_acq_rel) >> 1) != 0;  // acq_rel: pairs with leave(), both ways
    }

    template <class Stop>
    void wait_all(pool_detail::stop_poll<Stop>& poll) noexcept {
        const auto ask = [&]() noexcept {
            if (poll()) cancel();
            return false;  // running tasks are waited for
        };
        if (owner_ != nullptr) {
            const thread_pool::asking<decltype(ask)> while_waiting(ask, *owner_);
            owner_->work_until(all_done{*this});
        } else {
            pool_detail::wait_as_guest(core_, guest_, all_done{*this}, ask,
                                       pool_detail::never_stops<Stop> ? pool_detail::for_ever : pool_detail::poll_slice);
        }
    }

    pool_detail::pool_core& core_;
    pool_worker* const owner_;  // null: the owner is a thread from outside
    std::int64_t mine_ = 0;  // owner only: tasks it has added, less those it has run
    const std::stop_token token_;
    const bool has_token_;
    std::mutex mutex_;  // guards error_ while tasks run
    std::exception_ptr error_;
    parking_lot::seat guest_{/*guest=*/true};
    // Written by other threads, so on a line of its own: 2 * (added, less run, by others) + 1 if the owner wants to be woken.
    alignas(pool_detail::cache_line) std::atomic<std::int64_t> others_{0};
    std::atomic<bool> cancelled_{false};
};

}  // namespace tenfold
