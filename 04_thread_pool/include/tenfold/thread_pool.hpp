// tenfold/thread_pool.hpp: a work-stealing thread pool: fork-join for nanoseconds, batches, futures, detached tasks.
//
// Why: starting a thread per task costs tens of microseconds; a pool with one locked queue makes its workers queue for the
// queue, and a task that waits for another can wait for ever. Here each worker has queues of its own (pool_worker.hpp), idle
// workers steal, a worker that waits runs other tasks, and workers without work sleep (parking.hpp).
//     tenfold::thread_pool pool(4);
//     pool.for_chunks(n, [&](std::size_t begin, std::size_t end) { ... });    // a batch; allocates nothing per chunk
//     auto [a, b] = pool.join([&] { return left(); }, [&] { return right(); });  // fork-join, nests as deep as the stack
//     auto future = pool.submit([] { return 42; });   pool.detach([] { ... });
// All functions may be called by any thread at any time until the destructor begins. A thread from outside waits asleep; inside
// a task the caller works: whatever job it finds runs on top of the waiting one, on the same stack. Hence two rules. A task may
// wait only through this pool's own waits, and only for tasks that it, or a task it made, has made: a job on top that waits for
// the one below waits for ever. And it must hold no lock across join(), get() and wait(): the job on top may want the same one.
//
// Copy: thread_pool.hpp, pool_task.hpp, pool_broadcast.hpp, pool_batch.hpp, pool_core.hpp, pool_worker.hpp, pool_job.hpp,
// pool_counters.hpp, task_trace.hpp, parking.hpp, chase_lev_deque.hpp. Needs C++20 and -pthread (Threads::Threads in CMake).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <tenfold/pool_broadcast.hpp>
#include <tenfold/pool_task.hpp>

namespace tenfold {

struct pool_options {
    std::chrono::nanoseconds idle_spin = std::chrono::microseconds(50);  // a worker searches this long before it parks
    std::uint64_t seed = 0x7e4f01d;  // of the victims' order
    std::function<void(int)> on_start, on_stop;  // on each worker's thread, first and last; must not throw
};

namespace pool_detail {

inline constexpr int most_threads = 1024;

inline int checked_threads(int size) {
    if (size < 1 || size > most_threads) throw std::invalid_argument("threads must be between 1 and 1024");
    return size;
}

}  // namespace pool_detail

class thread_pool {
public:
    explicit thread_pool(int size, pool_options options = {})
        : size_(pool_detail::checked_threads(size)),
          options_(std::move(options)),
          core_(std::make_shared<pool_detail::pool_core>(options_.idle_spin)),
          forks_(core_->forks) {
        core_->workers.reserve(static_cast<std::size_t>(size));
        for (int i = 0; i < size; ++i) core_->workers.push_back(std::make_unique<pool_worker>(*core_, i, options_.seed));
        threads_ = std::make_unique<std::vector<std::thread>>();
        threads_->reserve(static_cast<std::size_t>(size));
        try {
            for (auto& worker : core_->workers) threads_->emplace_back([this, w = worker.get()] { work(*w); });
        } catch (const std::system_error& error) {
            const std::size_t started = threads_->size();
            shutdown();
            throw std::system_error(error.code(), "thread_pool: cannot start thread " + std::to_string(started + 1) + " of " +
                                                      std::to_string(size));
        } catch (...) {
            shutdown();
            throw;
        }
    }
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;

    // As shutdown(): what was accepted is run. In a forked child the copied threads and queues are left alone, not freed.
    ~thread_pool() {
        if (forked()) {
            static_cast<void>(new std::shared_ptr<pool_detail::pool_core>(std::move(core_)));  // futures may have it, too
            static_cast<void>(threads_.release());
            return;
        }
        shutdown();
    }

    int size() const noexcept { return size_; }
    static pool_worker* current() noexcept { return pool_detail::current_worker; }  // the worker that the calling thread is

    // f() or f(pool_worker&) on a worker; waits for it and returns what it returns. Once stop() has said true: if no worker has
    // begun f, it never runs; else run() waits for f, which it cannot interrupt. Either way it throws tenfold::stopped.
    template <class F, class Stop = never_stop>
    auto run(F&& f, Stop&& stop = {}) -> std::decay_t<pool_detail::raw_result<F>> {
        check();
        if (pool_worker* const worker = here()) return pool_detail::call(f, *worker);
        root_job<std::remove_reference_t<F>> job(f);
        pool_detail::stop_poll<Stop> poll(stop);
        const bool ran = inject_and_wait(job, [&] { return poll(); }, !pool_detail::never_stops<Stop>);
        if (poll.asked()) {
            if (ran) job.drop();
            poll.rethrow();
        }
        if constexpr (std::is_void_v<pool_detail::raw_result<F>>) job.take();
        else return job.take();
    }

    // Fork-join: f and g, at the same time if a worker is free; returns both results (void: std::monostate). f runs on the
    // calling worker, g is offered to thieves. An exception of f wins over one of g; if f throws and nobody has begun g, g
    // never runs. f and g are called as f() or f(pool_worker&); worker.join() inside saves the thread-local lookup.
    template <class F, class G>
    auto join(F&& f, G&& g) {
        check();
        if (pool_worker* const worker = here()) return worker->join(f, g);
        return run([&](pool_worker& worker) { return worker.join(f, g); });
    }

    // body(begin, end) over [0, items) in chunks of options.grain. Throws what the lowest failing chunk threw, or
    // tenfold::stopped once stop(), asked on the calling thread, has said true; either way no chunk is running any more. After
    // stop() it waits for chunks that run, for what their workers have taken up on top, and if `fixed` for every worker.
    template <class Body, class Stop = never_stop>
    void for_chunks(std::size_t items, Body&& body, Stop&& stop = {}, batch_options options = {}) {
        check();
        using batch = pool_detail::batch<std::remove_reference_t<Body>>;
        if (items == 0) return open_or_throw();
        batch b(items, pool_detail::grain_for(items, options.grain, size_), body, options.trace);
        pool_detail::stop_poll<Stop> poll(stop);
        const auto ask = [&]() noexcept {
            if (poll()) b.stop();
            return poll.asked();
        };
        pool_worker* const caller = here();
        auto work = [&](pool_worker& worker) {
            if (options.how == sharing::stealing) return split(worker, b, 0, b.chunks(), caller, ask);
            pool_detail::on_each(worker, [&](int i) {
                for (std::size_t c = b.share(i, size_); c < b.share(i + 1, size_); ++c) {
                    if (caller != nullptr && caller->index() == i) ask();
                    b.run_chunk(c, i);
                }
            });
        };
        if (caller != nullptr) {
            const asking<decltype(ask)> while_waiting(ask, *caller);
            work(*caller);
        } else {
            root_job<decltype(work)> job(work);
            if (inject_and_wait(job, ask, !pool_detail::never_stops<Stop>)) job.take();
        }
        poll.rethrow();
        b.rethrow();
    }

    // f(i) once on every worker i, at the same time if all are free; waits for all. The lowest worker's exception is thrown.
    template <class F>
    void broadcast(F&& f) {
        check();
        if (pool_worker* const worker = here()) return pool_detail::on_each(*worker, f);
        run([&](pool_worker& worker) { pool_detail::on_each(worker, f); });
    }

    // f() or f(std::stop_token) some time. A task whose token is stopped before it begins gives tenfold::stopped.
    template <class F>
    auto submit(F&& f, std::stop_token token = {}) {
        check();
        using callable = std::decay_t<F>;
        using result = decltype(pool_detail::call_with(std::declval<callable&>(), token));
        using state = typename task_future<result>::state;
        auto shared = std::make_shared<state>(core_);
        pool_detail::post<pool_detail::future_body<callable, result>>(*core_, std::forward<F>(f), shared, std::move(token));
        return task_future<result>(std::move(shared));
    }

    // f() some time; nobody waits for it, so nobody gets its exception: the first one is kept for take_detached_error(), all
    // are counted.
    template <class F>
    void detach(F&& f) {
        check();
        pool_detail::post<pool_detail::detached_body<std::decay_t<F>>>(*core_, std::forward<F>(f));
    }
    std::exception_ptr take_detached_error() noexcept {
        if (forked()) return nullptr;  // the lock may have been held at the fork; likewise in is_shut_down()
        const std::lock_guard lock(core_->guest_mutex);
        return std::exchange(core_->detached_error, nullptr);
    }

    // Until a moment at which nothing accepted is unfinished. While others add tasks without a pause, that moment may not come.
    template <class Stop = never_stop>
    void wait_idle(Stop&& stop = {}) {
        if (forked()) pool_detail::refuse_after_fork();
        if (here() != nullptr) throw std::logic_error("wait_idle() inside a task of the same pool would wait for itself");
        pool_detail::stop_poll<Stop> poll(stop);
        drain(poll);
        poll.rethrow();
    }

    // No new work from outside from now on (std::runtime_error); what was accepted is run, with all that it forks, submits and
    // detaches; then the threads end. Any thread may call it, several times and at once: each call returns when all is done, or
    // throws tenfold::stopped once stop() has said true: the pool is closed then, and its work goes on.
    template <class Stop = never_stop>
    void shutdown(Stop&& stop = {}) {
        if (forked()) return;
        if (here() != nullptr) throw std::logic_error("shutdown() inside a task of the same pool would wait for itself");
        {
            const std::lock_guard lock(core_->injected_mutex);
            core_->closed = true;
        }
        pool_detail::stop_poll<Stop> poll(stop);
        drain(poll);  // closed and once idle, it stays idle
        poll.rethrow();
        const std::lock_guard lock(shutdown_mutex_);
        if (threads_->empty()) return;
        core_->exiting.store(true, std::memory_order_relaxed);  // ordered by the fence
        pool_detail::fence(std::memory_order_seq_cst);  // pairs with the fence in sit(): who sits down later sees exiting
        core_->lot.wake_workers();
        for (auto& thread : *threads_) thread.join();
        threads_->clear();
    }
    bool is_shut_down() const noexcept {
        if (forked()) return true;
        const std::lock_guard lock(core_->injected_mutex);
        return core_->closed;
    }
    // Submitted and detached tasks that have not begun are dropped instead of run, for good: futures give tenfold::stopped.
    // Batches and forks are not touched, their callers wait for them.
    void cancel_pending() noexcept { core_->discarding.store(true, std::memory_order_relaxed); }  // relaxed: a flag on its own

    // Inside a task, before a long piece of work that forks nothing: lets thieves see all that is queued here.
    static void yield_work() noexcept {
        if (pool_worker* const worker = current()) worker->yield_work();
    }

    pool_counters counters(int worker) const { return core_->workers.at(static_cast<std::size_t>(worker))->counters(); }
    pool_counters counters() const {
        pool_counters sum;
        for (int i = 0; i < size_; ++i) sum += counters(i);
        return sum;
    }

private:
    friend class task_group;

    template <class F>
    class root_job final : public pool_detail::join_job<F> {
    public:
        explicit root_job(F& f) noexcept : pool_detail::join_job<F>(f, &run_injected) {}

    private:
        static void run_injected(pool_detail::pool_job* job, pool_worker& worker) noexcept {
            auto& self = *static_cast<root_job*>(job);
            parking_lot& lot = worker.core().lot;
            self.settle(worker);
            worker.count_finished();
            self.flag.finish(lot);
        }
    };

    // While the worker waits inside a batch that it has started, the batch's `stop` is asked.
    template <class Ask>
    class asking : pool_detail::poller {
    public:
        asking(const Ask& how, pool_worker& worker) noexcept
            : poller{[](poller* self) noexcept { static_cast<asking*>(self)->ask_(); }}, ask_(how), worker_(worker) {
            before_ = worker_.exchange_poller(this);
        }
        ~asking() { worker_.exchange_poller(before_); }

    private:
        const Ask& ask_;
        pool_worker& worker_;
        poller* before_;
    };

    // Halves the run of chunks until one is left. Chunks may be long, so what is forked is shown to thieves at once.
    template <class Batch, class Ask>
    static void split(pool_worker& worker, Batch& b, std::size_t first, std::size_t last, const pool_worker* caller,
                      const Ask& ask) {
        if (last - first == 1) {
            if (&worker == caller) ask();
            return b.run_chunk(first, worker.index());
        }
        const std::size_t middle = first + (last - first) / 2;
        worker.join(
            [&] {
                worker.yield_work();
                split(worker, b, first, middle, caller, ask);
            },
            [&](pool_worker& w) { split(w, b, middle, last, caller, ask); });
    }

    pool_worker* here() const noexcept { return pool_detail::worker_of(*core_); }
    bool forked() const noexcept { return pool_detail::forked_since(forks_); }
    pool_detail::pool_core& core() const {  // for task_group
        check();
        return *core_;
    }
    void check() const {
        if (forked()) [[unlikely]]
            pool_detail::refuse_after_fork();
    }
    void open_or_throw() const {
        if (here() == nullptr && is_shut_down()) pool_detail::refuse_after_shutdown();
    }

    // True: the job has run. False: ask() said true, and the job was taken back before a worker had begun it.
    template <class Job, class Ask>
    bool inject_and_wait(Job& job, const Ask& ask, bool asks) {
        const std::shared_ptr<pool_detail::pool_core> core = core_;  // the pool may be destroyed while we wake up
        if (!core->inject(&job)) pool_detail::refuse_after_shutdown();
        parking_lot::seat seat(/*guest=*/true);
        const pool_detail::flag_wait wait{job.flag};
        if (pool_detail::wait_as_guest(*core, seat, wait, ask, asks ? pool_detail::poll_slice : pool_detail::for_ever))
            return true;
        if (core->withdraw(&job)) return false;
        return pool_detail::wait_as_guest(*core, seat, wait, [] { return false; }, pool_detail::for_ever);
    }

    template <class Stop>
    void drain(pool_detail::stop_poll<Stop>& poll) noexcept {
        core_->idle_waiters.fetch_add(1, std::memory_order_relaxed);  // ordered by the fence in sit()
        parking_lot::seat seat(/*guest=*/true);
        while (!core_->idle() && !poll()) {
            core_->lot.sit(seat);
            if (core_->idle()) {
                core_->lot.stand(seat);
                break;
            }
            core_->lot.sleep(seat, pool_detail::poll_slice);
        }
        core_->idle_waiters.fetch_sub(1, std::memory_order_relaxed);
    }

    struct until_exit {
        pool_detail::pool_core& core;
        std::chrono::nanoseconds slice = pool_detail::for_ever;
        bool done() const noexcept { return core.exiting.load(std::memory_order_relaxed); }  // relaxed: see shutdown()
        bool arm(parking_lot::seat*) const noexcept { return true; }
    };
    void work(pool_worker& worker) noexcept {
        pool_detail::current_worker = &worker;
        if (options_.on_start) options_.on_start(worker.index());
        worker.work_until(until_exit{*core_});
        if (options_.on_stop) options_.on_stop(worker.index());
        pool_detail::current_worker = nullptr;
    }

    const int size_;
    const pool_options options_;
    std::shared_ptr<pool_detail::pool_core> core_;  // shared with futures: who waits for one may wake up after the pool's end
    const unsigned forks_;  // as in the core
    std::mutex shutdown_mutex_;  // one thread joins; the others wait here until it has
    std::unique_ptr<std::vector<std::thread>> threads_;  // guarded by shutdown_mutex_
};

}  // namespace tenfold
