// tenfold/pool_counters.hpp: what a worker of the pool has done, in numbers. See thread_pool::counters().
//
// Counting is free of contention because every counter has one writer, its worker: a relaxed load and a relaxed store, no
// read-modify-write. Readers see each number as it was a moment ago; sums over workers are exact when the pool is idle.
//
// Copy: comes with thread_pool.hpp. Needs C++20.
#pragma once

#include <atomic>
#include <cstdint>

namespace tenfold {

struct pool_counters {
    std::uint64_t executed = 0;  // jobs taken from a queue; a fork that nobody stole runs as a plain call and is not counted
    std::uint64_t steals = 0;
    std::uint64_t failed_steals = 0;  // another was faster
    std::uint64_t published = 0;  // private jobs shown to thieves
    std::uint64_t taken_back = 0;  // of these, not stolen
    std::uint64_t parks = 0;
    std::uint64_t detached_errors = 0;

    pool_counters& operator+=(const pool_counters& other) noexcept {
        executed += other.executed;
        steals += other.steals;
        failed_steals += other.failed_steals;
        published += other.published;
        taken_back += other.taken_back;
        parks += other.parks;
        detached_errors += other.detached_errors;
        return *this;
    }
};

namespace pool_detail {

// One writer per counter; relaxed: statistics, nothing is read through them.
inline void bump(std::atomic<std::uint64_t>& counter, std::uint64_t by = 1) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

}  // namespace pool_detail
}  // namespace tenfold
