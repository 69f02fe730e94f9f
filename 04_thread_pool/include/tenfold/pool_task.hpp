// tenfold/pool_task.hpp: tasks that outlive the call that makes them: heap jobs, and the future of one.
//
// A heap job owns its callable, runs it and frees itself. Up to 64 bytes with its header it lives in a recycled block (see
// pool_job.hpp): a detached task then costs no allocation once the pool is warm. A future adds one allocation, for the result.
//
// Copy: comes with thread_pool.hpp. Needs C++20 and -pthread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <future>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <type_traits>
#include <utility>
#include <variant>

#include <tenfold/pool_batch.hpp>
#include <tenfold/pool_core.hpp>

namespace tenfold {
namespace pool_detail {

// The worker of this pool that the calling thread is, or null.
inline pool_worker* worker_of(const pool_core& core) noexcept {
    pool_worker* const worker = current_worker;
    return worker != nullptr && &worker->core() == &core ? worker : nullptr;
}

// A thread from outside waits, asleep but for a look in every slice. `poll` is asked on this thread; when it returns true the
// wait ends early, with false. Wait: see flag_wait.
template <class Wait, class Poll>
bool wait_as_guest(pool_core& core, parking_lot::seat& seat, Wait&& wait, Poll&& poll, nanoseconds slice) noexcept {
    // A short look first: small jobs end before a sleeper could be woken. Yielding, because a worker may need this very CPU.
    const auto spin_end = std::chrono::steady_clock::now() + core.idle_spin / 2;
    do {
        if (wait.done()) return true;
        std::this_thread::yield();
    } while (std::chrono::steady_clock::now() < spin_end);
    while (!wait.done()) {
        if (poll()) return false;
        core.lot.sit(seat);
        if (wait.arm(&seat)) core.lot.sleep(seat, slice);
        else core.lot.stand(seat);
    }
    return true;
}

// Body: void body(pool_worker&, bool drop): runs the callable, or only lets go of it; must not throw.
template <class Body>
struct heap_job final : pool_job {
    template <class... Args>
    explicit heap_job(Args&&... args) : pool_job(&run_and_free), body(std::forward<Args>(args)...) {}

    static constexpr bool fits = sizeof(Body) + sizeof(pool_job) <= sizeof(block) && alignof(Body) <= alignof(block);

    template <class... Args>
    static heap_job* make(pool_core& core, pool_worker* worker, Args&&... args) {
        void* const memory = obtain(core, worker);
        try {
            return ::new (memory) heap_job(std::forward<Args>(args)...);
        } catch (...) {
            give_back(core, worker, memory);
            throw;
        }
    }
    void destroy(pool_core& core, pool_worker* worker) noexcept {
        this->~heap_job();
        give_back(core, worker, this);
    }

    Body body;

private:
    static void run_and_free(pool_job* job, pool_worker& worker) noexcept {
        auto* const self = static_cast<heap_job*>(job);
        self->body(worker, worker.core().discarding.load(std::memory_order_relaxed));  // relaxed: a late reader runs one more
        self->destroy(worker.core(), &worker);
        worker.count_finished();
    }
    static void* obtain(pool_core& core, pool_worker* worker) {
        if constexpr (!fits) {
            return ::operator new(sizeof(heap_job), std::align_val_t(alignof(heap_job)));
        } else {
            if (worker != nullptr) return worker->blocks().get();
            const std::lock_guard lock(core.guest_mutex);
            return core.guest_blocks.get();
        }
    }
    static void give_back(pool_core& core, pool_worker* worker, void* memory) noexcept {
        if constexpr (!fits) {
            ::operator delete(memory, std::align_val_t(alignof(heap_job)));
        } else {
            if (worker != nullptr) return worker->blocks().put(memory);
            const std::lock_guard lock(core.guest_mutex);
            core.guest_blocks.put(memory);
        }
    }
};

[[noreturn]] inline void refuse_after_shutdown() { throw std::runtime_error("thread_pool is shut down"); }

// Makes a heap job and queues it: on the worker's own stack, or in the queue for jobs from outside.
template <class Body, class... Args>
void post(pool_core& core, Args&&... args) {
    pool_worker* const worker = worker_of(core);
    auto* const job = heap_job<Body>::make(core, worker, std::forward<Args>(args)...);
    if (worker != nullptr) {
        worker->count_created();
        try {
            worker->push(job);
        } catch (...) {
            job->destroy(core, worker);
            worker->count_finished();
            throw;
        }
        return;
    }
    bool taken = false;
    try {
        taken = core.inject(job);
    } catch (...) {
        job->destroy(core, nullptr);
        throw;
    }
    if (!taken) {
        job->destroy(core, nullptr);
        refuse_after_shutdown();
    }
}

template <class R>
struct future_state {
    explicit future_state(std::shared_ptr<pool_core> c) noexcept : core(std::move(c)) {}
    const std::shared_ptr<pool_core> core;  // who is woken by the job's end stands up in its lot: maybe after the pool's end
    done_flag flag;
    std::variant<std::monostate, R, std::exception_ptr> result;  // written before flag.finish(), read after flag.done()
};

template <class F>
decltype(auto) call_with(F& f, std::stop_token& token) {
    if constexpr (std::is_invocable_v<F&, std::stop_token>) return f(token);
    else return f();
}

template <class F, class R>
struct future_body {
    using state = future_state<std::conditional_t<std::is_void_v<R>, std::monostate, R>>;
    template <class G>
    future_body(G&& g, std::shared_ptr<state> s, std::stop_token t)
        : f(std::forward<G>(g)), shared(std::move(s)), token(std::move(t)) {}
    void operator()(pool_worker& worker, bool drop) noexcept {
        try {
            if (drop || token.stop_requested()) throw stopped();
            if constexpr (std::is_void_v<R>) {
                call_with(*f, token);
                shared->result.template emplace<1>();  // variant<monostate, monostate, exception_ptr>
            } else {
                shared->result.template emplace<1>(call_with(*f, token));
            }
        } catch (...) {
            shared->result.template emplace<2>(std::current_exception());
        }
        f.reset();  // what the callable holds is let go of before anyone hears that it is done
        shared->flag.finish(worker.core().lot);
    }
    std::optional<F> f;
    std::shared_ptr<state> shared;
    std::stop_token token;
};

template <class F>
struct detached_body {
    template <class G>
    explicit detached_body(G&& g) : f(std::forward<G>(g)) {}
    void operator()(pool_worker& worker, bool drop) noexcept {
        if (drop) return;
        try {
            static_cast<void>(call(f, worker));
        } catch (...) {
            worker.count_detached_error();
            const std::lock_guard lock(worker.core().guest_mutex);
            if (!worker.core().detached_error) worker.core().detached_error = std::current_exception();
        }
    }
    F f;
};

}  // namespace pool_detail

// The result of thread_pool::submit(). One thread at a time, and get() once. Dropping it does not wait: the task still runs.
// No copies: two of them could be waited for at once, and the task's end wakes one.
template <class R>
class task_future {
public:
    task_future() noexcept = default;
    task_future(task_future&&) noexcept = default;
    task_future& operator=(task_future&&) noexcept = default;

    bool valid() const noexcept { return state_ != nullptr; }
    bool ready() const {
        check();
        return state_->flag.done();
    }

    // Waits and returns the result or throws the task's exception. When stop() says true: tenfold::stopped, and the future is as
    // before. A worker of the pool runs other tasks meanwhile, on top of the one that waits. So a task may wait for tasks that
    // it, or a task it made, has made. For others not: the task on top might wait for the one below it. No lock held meanwhile.
    template <class Stop = never_stop>
    R get(Stop&& stop = {}) {
        wait(stop);
        const auto finished = std::move(state_);
        if (auto* const error = std::get_if<std::exception_ptr>(&finished->result)) std::rethrow_exception(*error);
        if constexpr (!std::is_void_v<R>) return std::move(std::get<value>(finished->result));
    }

    template <class Stop = never_stop>
    void wait(Stop&& stop = {}) {
        check();
        pool_detail::stop_poll<Stop> poll(stop);
        if (!wait_until(poll, pool_detail::never_stops<Stop> ? pool_detail::for_ever : pool_detail::poll_slice)) poll.rethrow();
    }

    // True: it is done. A worker may come back late: it does not interrupt the task that it took up meanwhile.
    bool wait_for(std::chrono::nanoseconds limit) {
        check();
        using clock = std::chrono::steady_clock;
        const auto now = clock::now();
        const auto end = limit < clock::time_point::max() - now ? now + limit : clock::time_point::max();
        const auto over = [&] { return clock::now() >= end; };
        pool_detail::stop_poll<decltype(over)> poll(over);
        return wait_until(
            poll, std::min<std::chrono::nanoseconds>(std::max(limit, std::chrono::nanoseconds(0)), pool_detail::poll_slice));
    }

private:
    friend class thread_pool;
    using value = std::conditional_t<std::is_void_v<R>, std::monostate, R>;
    using state = pool_detail::future_state<value>;
    explicit task_future(std::shared_ptr<state> s) noexcept : state_(std::move(s)) {}

    void check() const {
        if (state_ == nullptr) throw std::future_error(std::future_errc::no_state);
    }
    template <class Poll>
    bool wait_until(Poll& poll, std::chrono::nanoseconds slice) {
        if (state_->flag.done()) return true;
        const std::shared_ptr<pool_detail::pool_core> core = state_->core;  // ours, until we have stood up
        if (pool_detail::forked_since(core->forks)) pool_detail::refuse_after_fork();
        if (pool_worker* const worker = pool_detail::worker_of(*core)) {
            worker->work_until(waiting<Poll>{state_->flag, poll, slice});
            return state_->flag.done();
        }
        parking_lot::seat seat(/*guest=*/true);
        return pool_detail::wait_as_guest(*core, seat, pool_detail::flag_wait{state_->flag}, poll, slice);
    }
    template <class Poll>
    struct waiting {
        pool_detail::done_flag& flag;
        Poll& poll;
        std::chrono::nanoseconds slice;
        bool done() const noexcept { return flag.done() || poll(); }
        bool arm(parking_lot::seat* seat) const noexcept { return flag.ask(seat); }
    };

    std::shared_ptr<state> state_;
};

}  // namespace tenfold
