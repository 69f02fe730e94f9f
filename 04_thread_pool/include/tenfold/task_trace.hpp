// tenfold/task_trace.hpp: who did what when. A batch that is given a task_trace notes one interval per chunk and worker, from
// which a picture shows at a glance what a total hides: idle workers, one long task at the end, a late start.
//
// Each worker writes a list of its own, so recording shares nothing; two clock readings per chunk is the cost (about 50 ns).
//
// Copy: this file. Needs C++20.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace tenfold {

struct task_interval {
    int worker = 0;
    std::size_t task = 0;  // the first index of the chunk
    std::int64_t begin_ns = 0;  // since the trace was made
    std::int64_t end_ns = 0;
};

class task_trace {
public:
    explicit task_trace(int workers, std::size_t reserve_per_worker = 0) {
        if (workers < 1) throw std::invalid_argument("workers must be >= 1");
        lists_.resize(static_cast<std::size_t>(workers));
        for (auto& list : lists_) list.intervals.reserve(reserve_per_worker);
    }

    std::int64_t now_ns() const noexcept {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start_).count();
    }
    // On the worker's own thread.
    void record(int worker, std::size_t task, std::int64_t begin_ns, std::int64_t end_ns) {
        lists_.at(static_cast<std::size_t>(worker)).intervals.push_back({worker, task, begin_ns, end_ns});
    }

    int workers() const noexcept { return static_cast<int>(lists_.size()); }

    // After the batch: all intervals, the earliest first.
    std::vector<task_interval> intervals() const {
        std::vector<task_interval> all;
        for (const auto& list : lists_) all.insert(all.end(), list.intervals.begin(), list.intervals.end());
        std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.begin_ns < b.begin_ns; });
        return all;
    }
    void clear() noexcept {
        for (auto& list : lists_) list.intervals.clear();
        start_ = std::chrono::steady_clock::now();
    }

private:
    struct alignas(64) own_line {  // two workers' vectors do not share a cache line
        std::vector<task_interval> intervals;
    };
    std::vector<own_line> lists_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace tenfold
