// tenfold/plain_pool.hpp: the textbook pool: one queue, one lock, one condition variable. For contrast.
//
// It is a good pool for tasks of a millisecond: few lines that anybody can check. Its limits are what the other pool is for:
// every worker takes every task through the same lock, each task is a std::function, and a task that waits for another task of
// the same pool holds a worker meanwhile: when all workers wait, nobody is left to run what they wait for.
//     tenfold::plain_pool pool(4);   auto future = pool.submit([] { return 42; });   future.get();
//
// Copy: this file, pool_batch.hpp, task_trace.hpp. Needs C++20 and -pthread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <tenfold/pool_batch.hpp>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace tenfold {

class plain_pool {
public:
    explicit plain_pool(int size) : pid_(process()), state_(std::make_unique<state>()) {
        if (size < 1 || size > 1024) throw std::invalid_argument("threads must be between 1 and 1024");
        state_->threads.reserve(static_cast<std::size_t>(size));
        size_ = size;
        try {
            for (int i = 0; i < size; ++i) state_->threads.emplace_back([s = state_.get(), i] { work(*s, i); });
        } catch (...) {
            shutdown();
            throw;
        }
    }
    plain_pool(const plain_pool&) = delete;
    plain_pool& operator=(const plain_pool&) = delete;
    ~plain_pool() {
        if (forked())
            static_cast<void>(state_.release());  // the threads are not in this process, the lock may be held for ever
        else shutdown();
    }

    int size() const noexcept { return size_; }

    template <class F>
    auto submit(F&& f) {
        using result = std::invoke_result_t<std::decay_t<F>&>;
        auto task = std::make_shared<std::packaged_task<result()>>(std::forward<F>(f));
        auto future = task->get_future();
        post([task = std::move(task)] { (*task)(); });
        return future;
    }
    // An exception that leaves f ends the process, as it does in std::thread.
    template <class F>
    void detach(F&& f) {
        post(std::forward<F>(f));
    }

    // As thread_pool::for_chunks, but after stop() it waits until workers have taken what is queued. Called by one of the pool's own tasks it runs on that worker alone: a wait might never end.
    template <class Body, class Stop = never_stop>
    void for_chunks(std::size_t items, Body&& body, Stop&& stop = {}, std::size_t grain = 0, task_trace* trace = nullptr) {
        usable();
        pool_detail::batch<std::remove_reference_t<Body>> b(items, pool_detail::grain_for(items, grain, size_), body, trace);
        pool_detail::stop_poll<Stop> poll(stop);
        state& s = *state_;
        if (here_ == &s) {
            for (std::size_t c = 0; c < b.chunks(); ++c) {
                if (poll()) b.stop();
                b.run_chunk(c, worker_);
            }
        } else {
            std::size_t left = b.chunks();  // guarded by s.mutex
            std::condition_variable all_done;
            {
                const std::lock_guard lock(s.mutex);
                if (s.closed) refuse();
                for (std::size_t c = 0; c < b.chunks(); ++c)
                    s.queue.emplace_back([&, c] {
                        b.run_chunk(c, worker_);
                        const std::lock_guard done(s.mutex);  // notified under the lock: the caller cannot leave before
                        if (--left == 0) all_done.notify_one();
                    });
                s.unfinished += b.chunks();
            }
            s.some_work.notify_all();
            std::unique_lock lock(s.mutex);
            while (left != 0) {
                all_done.wait_for(lock, std::chrono::milliseconds(50));
                lock.unlock();
                if (poll()) b.stop();
                lock.lock();
            }
        }
        poll.rethrow();
        b.rethrow();
    }

    // Until everything accepted is finished.
    template <class Stop = never_stop>
    void wait_idle(Stop&& stop = {}) {
        if (forked()) refuse_copy();
        if (here_ == state_.get()) throw std::logic_error("wait_idle() inside a task of the same pool would wait for itself");
        pool_detail::stop_poll<Stop> poll(stop);
        std::unique_lock lock(state_->mutex);
        while (state_->unfinished != 0 && !poll.asked()) {
            state_->idle.wait_for(lock, std::chrono::milliseconds(50));
            lock.unlock();
            poll();
            lock.lock();
        }
        lock.unlock();
        poll.rethrow();
    }

    // No new work; what was accepted is run; the threads end. May be called by any thread, several times and at once.
    void shutdown() {
        if (forked()) return;
        if (here_ == state_.get()) throw std::logic_error("shutdown() inside a task of the same pool would wait for itself");
        {
            const std::lock_guard lock(state_->mutex);
            state_->closed = true;
        }
        state_->some_work.notify_all();
        const std::lock_guard lock(joining_);
        for (auto& thread : state_->threads) thread.join();
        state_->threads.clear();
    }

private:
    struct state {
        std::mutex mutex;  // guards everything but threads
        std::condition_variable some_work, idle;
        std::deque<std::function<void()>> queue;
        std::size_t unfinished = 0;  // queued or running
        bool closed = false;
        std::vector<std::thread> threads;
    };

    static void work(state& s, int index) {
        here_ = &s;
        worker_ = index;
        std::unique_lock lock(s.mutex);
        for (;;) {
            s.some_work.wait(lock, [&] { return s.closed || !s.queue.empty(); });
            if (s.queue.empty()) return;  // closed, and all of it is taken
            {
                auto task = std::move(s.queue.front());
                s.queue.pop_front();
                lock.unlock();
                task();
            }  // destroyed without the lock: that may run anything
            lock.lock();
            if (--s.unfinished == 0) s.idle.notify_all();
        }
    }

    template <class F>
    void post(F&& f) {
        usable();
        {
            const std::lock_guard lock(state_->mutex);
            if (state_->closed && here_ != state_.get()) refuse();  // accepted tasks may add tasks
            state_->queue.emplace_back(std::forward<F>(f));
            ++state_->unfinished;
        }
        state_->some_work.notify_one();
    }

    static long process() noexcept {
#if defined(__unix__) || defined(__APPLE__)
        return static_cast<long>(::getpid());
#else
        return 0;
#endif
    }
    bool forked() const noexcept { return process() != pid_; }
    void usable() const {
        if (forked()) refuse_copy();
    }
    [[noreturn]] static void refuse() { throw std::runtime_error("plain_pool is shut down"); }
    [[noreturn]] static void refuse_copy() {
        throw std::runtime_error("plain_pool was made before fork() and has no threads in this process: make a new one here");
    }

    static inline thread_local const void* here_ = nullptr;  // the pool whose worker this thread is
    static inline thread_local int worker_ = 0;

    const long pid_;
    int size_ = 0;
    std::unique_ptr<state> state_;
    std::mutex joining_;
};

}  // namespace tenfold
