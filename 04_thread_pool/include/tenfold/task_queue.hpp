// tenfold/task_queue.hpp: items that wait to be processed, and threads that drain them together.
//
// Each thread claims a run of items under a lock and works on it outside the lock: the lock is taken once per run, not once per
// item. An item is gone only when its result has been handed over: what a failing or stopped call had claimed goes back.
//     tenfold::task_queue<double> queue(std::move(values));
//     std::vector<double> squares = queue.process(4, [](double x) { return x * x; });   // any order
//
// Copy: this file, plain_pool.hpp, pool_batch.hpp, task_trace.hpp. Needs C++20 and -pthread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <iterator>
#include <mutex>
#include <type_traits>
#include <utility>
#include <vector>

#include <tenfold/plain_pool.hpp>

namespace tenfold {

template <class T>
class task_queue {
public:
    explicit task_queue(std::vector<T> items) : items_(std::move(items)), remaining_(items_.size()) {
        if (!items_.empty()) free_.push_back({0, items_.size()});
    }
    task_queue(const task_queue&) = delete;
    task_queue& operator=(const task_queue&) = delete;

    // Items that nobody has claimed: zero once all are taken, though the last may still be at work.
    std::size_t remaining() const noexcept {
        const std::lock_guard lock(mutex_);
        return remaining_;
    }

    // f(item) for every unclaimed item, on `threads` threads made for this call; the results in any order. Several calls at
    // once share the items. If f throws, or stop(), asked on the calling thread, says true (tenfold::stopped), all that this
    // call had claimed is unclaimed again.
    template <class F, class Stop = never_stop>
    auto process(int threads, F f, Stop&& stop = {}, std::size_t grain = 0) {
        using result = std::decay_t<std::invoke_result_t<F&, const T&>>;
        struct alignas(64) part {
            std::vector<result> results;
            std::vector<range> claimed;
        };
        plain_pool pool(threads);  // refuses a bad number of threads before anything is claimed
        const std::size_t run = pool_detail::grain_for(remaining(), grain, threads);
        std::vector<part> parts(static_cast<std::size_t>(threads));
        std::atomic<bool> ending{false};
        try {
            pool.for_chunks(
                parts.size(),
                [&](std::size_t first, std::size_t) {
                    part& mine = parts[first];
                    // relaxed: who sees it late claims one run more
                    while (!ending.load(std::memory_order_relaxed)) {
                        if (!claim(mine.claimed, run)) return;
                        const range r = mine.claimed.back();
                        try {
                            for (std::size_t i = r.begin; i < r.end; ++i) mine.results.push_back(f(items_[i]));
                        } catch (...) {
                            ending.store(true, std::memory_order_relaxed);
                            throw;
                        }
                    }
                },
                [&] {
                    if (!stop()) return false;
                    ending.store(true, std::memory_order_relaxed);
                    return true;
                },
                1);
            std::vector<result> all = std::move(parts[0].results);
            std::size_t total = all.size();
            for (const part& p : parts) total += p.results.size();
            all.reserve(total);
            for (part& p : parts) {
                all.insert(all.end(), std::make_move_iterator(p.results.begin()), std::make_move_iterator(p.results.end()));
                p.results.clear();
            }
            return all;
        } catch (...) {
            for (const part& p : parts) give_back(p.claimed);
            throw;
        }
    }

private:
    struct range {
        std::size_t begin, end;
    };

    bool claim(std::vector<range>& to, std::size_t most) {
        to.reserve(to.size() + 1);  // before the lock, and before anything is claimed
        const std::lock_guard lock(mutex_);
        if (free_.empty()) return false;
        range& first = free_.back();
        const range r{first.begin, first.end - first.begin > most ? first.begin + most : first.end};
        first.begin = r.end;
        if (first.begin == first.end) free_.pop_back();
        remaining_ -= r.end - r.begin;
        to.push_back(r);
        return true;
    }
    void give_back(const std::vector<range>& ranges) {
        const std::lock_guard lock(mutex_);
        for (const range& r : ranges) {
            free_.push_back(r);
            remaining_ += r.end - r.begin;
        }
    }

    const std::vector<T> items_;
    mutable std::mutex mutex_;  // guards the two below
    std::vector<range> free_;
    std::size_t remaining_;
};

}  // namespace tenfold
