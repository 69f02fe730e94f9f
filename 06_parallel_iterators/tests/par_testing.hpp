// What the C++ tests of lesson 06 share: a pool of std::threads, and one type for every executor, so that each pipeline is compiled
// once and run on all of them.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tenfold/par.hpp"
#include "tenfold_testing.hpp"

namespace par_testing {

class small_pool {
public:
    explicit small_pool(int threads) {
        for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
    }
    ~small_pool() {
        {
            const std::lock_guard lock(mutex_);
            closed_ = true;
        }
        wake_.notify_all();
        for (auto& thread : threads_) thread.join();
    }
    void add(std::function<void()> task) {
        {
            const std::lock_guard lock(mutex_);
            tasks_.push_back(std::move(task));
        }
        wake_.notify_one();
    }

private:
    void work() {
        for (std::unique_lock lock(mutex_);;) {
            wake_.wait(lock, [&] { return closed_ || !tasks_.empty(); });
            if (tasks_.empty()) return;
            auto task = std::move(tasks_.front());
            tasks_.pop_front();
            lock.unlock();
            task();
            lock.lock();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> tasks_;
    bool closed_ = false;
    std::vector<std::thread> threads_;
};

class any_executor {
public:
    template <tenfold::par_executor E>
    any_executor(std::string name, E executor)
        : name_(std::move(name)),
          concurrency_([executor] { return executor.concurrency(); }),
          run_([executor](int workers, const std::function<void(int)>& body) { executor.run(workers, body); }) {}

    int concurrency() const { return concurrency_(); }
    double wake_ns() const { return 0.0; }  // never alone: a few items are shared out too
    void run(int workers, const std::function<void(int)>& body) const { run_(workers, body); }
    const std::string& name() const { return name_; }

private:
    std::string name_;
    std::function<int()> concurrency_;
    std::function<void(int, const std::function<void(int)>&)> run_;
};

/// One after the other: sequential, OpenMP with 1, 2, 4, 7 threads, a pool of 1 and of 6.
inline const std::vector<any_executor>& executors() {
    static small_pool one(1), six(6);
    static const std::vector<any_executor> all = [] {
        std::vector<any_executor> list{{"sequential", tenfold::sequential_executor{}}};
        for (const int threads : tenfold_testing::thread_counts)
            list.emplace_back("openmp " + std::to_string(threads), tenfold::openmp_executor{threads});
        const auto add = [](small_pool& pool) { return [&pool](std::function<void()> task) { pool.add(std::move(task)); }; };
        list.emplace_back("pool 2", tenfold::submit_executor(2, add(one)));
        list.emplace_back("pool 7", tenfold::submit_executor(7, add(six)));
        return list;
    }();
    return all;
}

/// Empty, one, around the borders of strips (512), blocks (n / 64, 4096, 16384) and lanes, and enough for several threads.
inline const std::vector<std::size_t>& sizes() {
    static const std::vector<std::size_t> all{0,   1,   2,   15,   16,   17,   63,     64,     65,
                                              511, 512, 513, 1000, 4095, 4097, 70'001, 300'007};
    return all;
}

}  // namespace par_testing
