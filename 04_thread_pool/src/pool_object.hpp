// pool_object.hpp - what stands behind the classes ThreadPool and Future: who owns the threads, and what ends them.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#ifndef _WIN32
#include <unistd.h>
#endif

#include <atomic>
#include <cmath>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "boundary.hpp"
#include "float_recycler.hpp"
#include "native_future.hpp"
#include "tenfold/sample_tasks.hpp"
#include "tenfold/task_trace.hpp"
#include "tenfold/thread_pool.hpp"

namespace tenfold::boundary {

constexpr std::int64_t most_threads = 1024;
constexpr std::int64_t largest_fib = 92;             // the last that fits int64
constexpr std::size_t squares_worth_waking = 32768;  // fewer are done before a worker has woken up

/// Notes the process, so that a forked child, which has the object but not its threads, can tell.
class this_process {
public:
    bool forked() const noexcept { return id() != made_in_; }

private:
    static long id() noexcept {
#ifdef _WIN32
        return 0;
#else
        return static_cast<long>(getpid());
#endif
    }
    long made_in_ = id();
};

/// A pool, and the flag that its long native tasks look at. Shared by the ThreadPool object and the hook at exit.
class live_pool {
public:
    explicit live_pool(int size) : threads(size) {}
    live_pool(const live_pool&) = delete;
    live_pool& operator=(const live_pool&) = delete;
    ~live_pool() { end(); }

    void check_open() const {
        if (closed_) throw std::runtime_error("thread_pool is shut down");
    }
    bool closed() const noexcept { return closed_; }
    bool giving_up() const noexcept { return give_up_.load(std::memory_order_relaxed); }  // a hint, it orders nothing

    /// Nothing new; what is there runs on.
    void close() noexcept { closed_ = true; }
    /// Nothing new; queued jobs are cancelled, running ones told to end.
    void give_up() noexcept {
        close();
        give_up_ = true;
        if (!process_.forked()) threads.cancel_pending();
    }
    /// Waits until all is done and the threads have ended. `stop` is heard while work goes on.
    template <class Stop>
    void join(Stop stop) {
        if (process_.forked()) return;
        threads.shutdown(stop);
    }
    /// The end without questions: object destroyed, interpreter gone. Never with the GIL.
    void end() noexcept {
        give_up();
        if (!process_.forked()) threads.shutdown();
    }

    /// Runs f(give_up) on a worker; the caller waits without the GIL. give_up() may be asked on every thread: true after
    /// Ctrl-C and after shutdown(cancel_futures=True). What no worker has begun is withdrawn then, so that a call that is
    /// queued behind endless jobs ends as well.
    template <class F>
    auto run(F f) {
        check_open();
        return released([&](auto stop) {
            constexpr auto for_ever = native_job::clock::time_point::max();
            std::atomic<bool> stopping{false};  // a hint like give_up_
            const auto give_up = [&] { return stopping.load(std::memory_order_relaxed) || giving_up(); };
            std::optional<std::invoke_result_t<F&, decltype(give_up)>> result;
            const auto job = std::make_shared<native_job>();
            threads.detach(job_closure(job, [&](native_job&) {
                result = f(give_up);
                return std::int64_t{0};
            }));
            if (!job->wait_until(for_ever, stop)) {
                stopping.store(true, std::memory_order_relaxed);
                if (!job->withdraw()) job->wait_until(for_ever, never_stop{});  // what it uses is on this stack
                throw stopped();
            }
            if (giving_up()) throw std::runtime_error("thread_pool was shut down before the call was done");
            job->value();  // or its error
            return std::move(*result);
        });
    }

    thread_pool threads;

private:
    this_process process_;
    std::atomic<bool> closed_{false}, give_up_{false};
};

/// The pools of one interpreter: those that are left at its exit are ended by a hook.
class pool_registry {
public:
    /// With the GIL held: no thread can then be in here while another one forks, and no child inherit a locked mutex.
    void add(const std::shared_ptr<live_pool>& pool) {
        const std::lock_guard lock(mutex_);
        std::erase_if(pools_, [](const auto& each) { return each.expired(); });
        pools_.push_back(pool);
    }
    void end_all() noexcept {
        std::vector<std::weak_ptr<live_pool>> all;
        {
            const std::lock_guard lock(mutex_);
            all.swap(pools_);
        }
        for (const auto& each : all)
            if (const auto pool = each.lock()) pool->end();
    }

private:
    std::mutex mutex_;  // for free-threaded builds; never held while waiting
    std::vector<std::weak_ptr<live_pool>> pools_;
};

/// A native job, as Python sees it.
class future {
public:
    explicit future(std::shared_ptr<native_job> job) : job_(std::move(job)) {}

    std::int64_t result(std::optional<real<"timeout">> timeout) const {
        using clock = native_job::clock;
        auto deadline = clock::time_point::max();
        if (timeout) {
            if (std::isnan(*timeout)) throw py::value_error("timeout must not be NaN");
            const double seconds = std::max(0.0, timeout->value);
            if (seconds < 1e9)
                deadline = clock::now() + std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(seconds));
        }
        if (!job_->over()) {
            if (process_.forked()) throw std::runtime_error("the job runs in the parent process: use spawn or forkserver");
            released([&](auto stop) { job_->wait_until(deadline, stop); });
        }
        if (!job_->over()) raise(PyExc_TimeoutError, "the job is not done");
        if (cancelled()) raise(py::module_::import("concurrent.futures").attr("CancelledError").ptr(), "the job was cancelled");
        return job_->value();
    }
    bool done() const noexcept { return job_->over(); }
    bool running() const noexcept { return job_->now() == native_job::state::running; }
    bool cancelled() const noexcept { return job_->given_up(); }
    bool cancel() const {
        if (process_.forked()) return cancelled();
        return job_->cancel();
    }

private:
    [[noreturn]] static void raise(PyObject* type, const char* message) {
        PyErr_SetString(type, message);
        throw py::error_already_set();
    }

    std::shared_ptr<native_job> job_;
    this_process process_;
};

inline sharing sharing_named(const std::string& name) {
    if (name == "stealing") return sharing::stealing;
    if (name == "fixed") return sharing::fixed;
    throw py::value_error("sharing must be one of 'stealing', 'fixed', not '" + name + "'");
}

using timeline = std::vector<std::tuple<int, std::size_t, double, double>>;

class python_pool {
public:
    explicit python_pool(std::shared_ptr<live_pool> pool) : pool_(std::move(pool)), size_(pool_->threads.size()) {}
    python_pool(const python_pool&) = delete;
    python_pool& operator=(const python_pool&) = delete;
    ~python_pool() {
        floats_.clear();
        released([&](auto) { pool_.reset(); });  // it may join threads
    }

    int size() const noexcept { return size_; }
    bool closed() const noexcept { return pool_->closed(); }
    void check_open() const { pool_->check_open(); }

    void square(std::span<const double> in, std::span<double> out) {
        const auto body = [&](std::size_t begin, std::size_t end) {
            for (std::size_t i = begin; i < end; ++i) out[i] = in[i] * in[i];
        };
        if (in.size() < squares_worth_waking) return released([&](auto) { body(0, in.size()); });
        pool_->run([&](auto give_up) {
            pool_->threads.for_chunks(in.size(), body, give_up);
            return true;
        });
    }
    py::typing::List<double> to_list(std::span<const double> values) {
        return pool_->closed() ? tenfold::boundary::to_list(values) : floats_.to_list(values);
    }

    std::int64_t fib(int n) {
        return pool_->run([&](auto give_up) { return tenfold::fib(*thread_pool::current(), n, give_up); });
    }
    timeline burn(std::span<const std::int64_t> costs, std::span<std::int64_t> out, sharing how) {
        return pool_->run([&](auto give_up) {
            task_trace trace(size_);
            const auto body = [&](std::size_t begin, std::size_t end) {
                for (std::size_t i = begin; i < end; ++i) out[i] = tenfold::burn(costs[i], give_up);
            };
            pool_->threads.for_chunks(costs.size(), body, give_up, {.grain = 1, .how = how, .trace = &trace});
            timeline seen;
            for (const task_interval& each : trace.intervals())
                seen.emplace_back(each.worker, each.task, 1e-9 * double(each.begin_ns), 1e-9 * double(each.end_ns));
            return seen;
        });
    }

    future submit_fib(int n) {
        return submit([n](auto give_up) { return tenfold::fib(*thread_pool::current(), n, give_up); });
    }
    future submit_burn(std::int64_t cost) {
        return submit([cost](auto give_up) { return tenfold::burn(cost, give_up); });
    }

    py::dict counters(std::optional<whole<"worker">> worker) const {
        using namespace py::literals;
        if (worker && (worker->value < 0 || worker->value >= size_))
            throw py::index_error("worker must be 0 to " + std::to_string(size_ - 1) + ", not " +
                                  std::to_string(worker->value));
        const pool_counters c = worker ? pool_->threads.counters(static_cast<int>(worker->value)) : pool_->threads.counters();
        return py::dict("executed"_a = c.executed, "steals"_a = c.steals, "failed_steals"_a = c.failed_steals,
                        "published"_a = c.published, "taken_back"_a = c.taken_back, "parks"_a = c.parks);
    }

    void shutdown(bool cancel_futures) {
        floats_.clear();
        pool_->close();
        if (cancel_futures) pool_->give_up();
        released([&](auto stop) { pool_->join(stop); });
    }

private:
    template <class Work>
    future submit(Work work) {
        check_open();
        auto job = std::make_shared<native_job>();
        const auto task = job_closure(job, [pool = pool_.get(), work](native_job& mine) {
            const auto value = work([&] { return mine.given_up() || pool->giving_up(); });
            if (pool->giving_up()) mine.cancel();
            return value;
        });
        pool_->threads.detach(task);
        return future(std::move(job));
    }

    std::shared_ptr<live_pool> pool_;
    int size_;
    float_recycler floats_;
};

}  // namespace tenfold::boundary
