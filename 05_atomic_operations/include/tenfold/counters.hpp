// tenfold/counters.hpp: one shared count, written nine ways, and the two atomics that Python gets (AtomicCounter, AtomicFlag).
//
// Why: "use an atomic" is where most advice ends. What a counter costs depends on who writes the line it lives in, far more
// than on the memory order that is asked for. On x86 the order does not change a read-modify-write at all: fetch_add is the same
// locked instruction whether relaxed or seq_cst. It does change a store: relaxed and release are a plain move, seq_cst
// is an exchange that waits for the store buffer. (On ARM both differ.) race_counter() measures all nine.
//
// What to use: atomic_counter when the value before, or a compare-and-swap, is needed; single_writer_counter to count events.
//
// Copy: this file, single_writer.hpp and atomic_team.hpp.   #include <tenfold/counters.hpp>   C++20; link the platform's
// threads library (-pthread).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "tenfold/atomic_team.hpp"
#include "tenfold/single_writer.hpp"

namespace tenfold {

/// A count that all threads see change in one order: sequentially consistent, wraps modulo 2^64.
class atomic_counter {
public:
    explicit atomic_counter(std::uint64_t initial = 0) noexcept : value_(initial) {}

    std::uint64_t increment() noexcept { return add(1); }
    /// The value before.
    std::uint64_t add(std::uint64_t delta) noexcept { return value_.fetch_add(delta); }
    std::uint64_t get() const noexcept { return value_.load(); }
    void set(std::uint64_t value) noexcept { value_.store(value); }

    /// If the value is `current`, makes it `next`. Returns the value before and whether it was replaced.
    std::pair<std::uint64_t, bool> compare_and_swap(std::uint64_t current, std::uint64_t next) noexcept {
        const bool success = value_.compare_exchange_strong(current, next);
        return {current, success};
    }

private:
    std::atomic<std::uint64_t> value_;
};

/// A shared bool. (Not std::atomic_flag, which can only be set, cleared and tested.)
class atomic_switch {
public:
    explicit atomic_switch(bool initial = false) noexcept : value_(initial) {}

    bool get() const noexcept { return value_.load(); }
    void set(bool value) noexcept { value_.store(value); }
    bool swap(bool value) noexcept { return value_.exchange(value); }
    std::pair<bool, bool> compare_and_swap(bool current, bool next) noexcept {
        const bool success = value_.compare_exchange_strong(current, next);
        return {current, success};
    }

private:
    std::atomic<bool> value_;
};

// ---- the same counter in every memory order. A count that nothing else is deduced from needs no more than relaxed; release and
// acquire are for "who sees the count also sees what was written before it": add() publishes, get() pairs with it.
template <std::memory_order Add, std::memory_order Get>
class ordered_counter {
public:
    void increment() noexcept { add(1); }
    void add(std::uint64_t delta) noexcept { value_.fetch_add(delta, Add); }
    std::uint64_t get() const noexcept { return value_.load(Get); }

private:
    std::atomic<std::uint64_t> value_{0};
};
using relaxed_counter = ordered_counter<std::memory_order_relaxed, std::memory_order_relaxed>;
using acq_rel_counter = ordered_counter<std::memory_order_acq_rel, std::memory_order_acquire>;
using seq_cst_counter = ordered_counter<std::memory_order_seq_cst, std::memory_order_seq_cst>;

/// What is left where the CPU has no instruction for the update (a maximum, a floating-point sum): try until nobody came between.
class cas_counter {
public:
    void increment() noexcept { add(1); }
    void add(std::uint64_t delta) noexcept {
        std::uint64_t seen = value_.load(std::memory_order_relaxed);  // relaxed: a count, nothing is deduced from it
        while (!value_.compare_exchange_weak(seen, seen + delta, std::memory_order_relaxed)) {
        }
    }
    std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> value_{0};
};

class mutex_counter {
public:
    void increment() { add(1); }
    void add(std::uint64_t delta) {
        const std::lock_guard lock(mutex_);
        value_ += delta;
    }
    std::uint64_t get() const {
        const std::lock_guard lock(mutex_);
        return value_;
    }

private:
    mutable std::mutex mutex_;
    std::uint64_t value_ = 0;
};

namespace atomic_detail {

inline std::atomic<unsigned> threads_numbered{0};
inline constinit thread_local unsigned my_number = ~0u;

// A small number for each thread, in the order in which they ask.
inline unsigned thread_number() noexcept {
    if (my_number == ~0u) my_number = threads_numbered.fetch_add(1, std::memory_order_relaxed) & 0x7fffffff;
    return my_number;
}

}  // namespace atomic_detail

/// Eight counts, a thread adds to one of them. Packed, they share a cache line, and the line still travels for each addition
/// (false sharing); at 128 bytes from each other they do not. Threads may share a shard, so it is a fetch_add still.
template <std::size_t Bytes>
class sharded_counter {
public:
    static constexpr std::size_t shards = 8;

    void increment() noexcept { add(1); }
    void add(std::uint64_t delta) noexcept {
        shards_[atomic_detail::thread_number() % shards].value.fetch_add(delta, std::memory_order_relaxed);
    }
    std::uint64_t get() const noexcept {
        std::uint64_t total = 0;  // relaxed: pairs with add(); exact for what happened before (a join), a moving sum otherwise
        for (const auto& each : shards_) total += each.value.load(std::memory_order_relaxed);
        return total;
    }

private:
    struct alignas(Bytes) shard {
        std::atomic<std::uint64_t> value{0};
    };
    alignas(atomic_detail::line_bytes) std::array<shard, shards> shards_;
};
using packed_shards_counter = sharded_counter<sizeof(std::uint64_t)>;
using padded_shards_counter = sharded_counter<atomic_detail::line_bytes>;

enum class counter_kind {
    relaxed,
    acquire_release,
    seq_cst,
    cas_loop,
    packed_shards,
    padded_shards,
    mutex,
    single_writer,
    single_writer_mine
};

inline constexpr std::array<counter_kind, 9> counter_kinds{
    counter_kind::relaxed,  counter_kind::acquire_release, counter_kind::seq_cst,
    counter_kind::cas_loop, counter_kind::packed_shards,   counter_kind::padded_shards,
    counter_kind::mutex,    counter_kind::single_writer,   counter_kind::single_writer_mine};

constexpr std::string_view name(counter_kind kind) noexcept {
    constexpr std::string_view names[]{"relaxed",  "acquire_release", "seq_cst",
                                       "cas_loop", "packed_shards",   "padded_shards",
                                       "mutex",    "single_writer",   "single_writer_mine"};
    return names[static_cast<std::size_t>(kind)];
}

namespace atomic_detail {

// Eight in a row: the cheapest of the counters takes no longer than the loop around it, and where the linker puts that.
template <class Counter>
void increment_times(Counter& counter, std::uint64_t times) {
    for (; times >= 8; times -= 8) {
        counter.increment(), counter.increment(), counter.increment(), counter.increment();
        counter.increment(), counter.increment(), counter.increment(), counter.increment();
    }
    for (; times != 0; --times) counter.increment();
}

// `increments` increments on each of `threads` threads that start together. own() gives each thread what it increments. `cancelled` is looked at once in 4096: the inner loop is nothing but the counter.
template <class Own, class Stop, class CoreOf>
team_time count_together(int threads, std::uint64_t increments, Own own, Stop& stop, CoreOf core_of) {
    return measure_together(
        threads,
        [&own, increments](int, const std::atomic<bool>& cancelled) {
            auto&& counter = own();
            for (std::uint64_t left = increments; left != 0 && !cancelled.load(std::memory_order_relaxed);) {
                const std::uint64_t now = left < 4096 ? left : 4096;
                increment_times(counter, now);
                left -= now;
            }
        },
        stop, core_of);
}

template <class Counter, bool Mine, class Stop>
team_time race_once(int threads, std::uint64_t increments, Stop& stop) {
    alignas(line_bytes) Counter counter;  // not beside what the team's bookkeeping writes
    const team_time time = count_together(
        threads, increments,
        [&counter]() -> decltype(auto) {
            if constexpr (Mine) {
                return counter.mine();
            } else {
                return (counter);
            }
        },
        stop, one_core_each);
    if (counter.get() != static_cast<std::uint64_t>(threads) * increments)
        throw std::logic_error("the counter lost increments");
    return time;
}

template <class Counter, bool Mine = false, class Stop>
double race(int threads, std::uint64_t increments, Stop& stop) {
    return least_disturbed(threads, [&] { return race_once<Counter, Mine>(threads, increments, stop); }).seconds;
}

}  // namespace atomic_detail

/// Each of `threads` threads increments `increments` times. Stopped: tenfold::stopped, and what was counted stays counted.
template <class Counter, class Stop = never_stop>
void parallel_increment(Counter& counter, int threads, std::uint64_t increments, Stop stop = {}) {
    atomic_detail::count_together(
        threads, increments, [&counter]() -> Counter& { return counter; }, stop, [](int) { return -1; });
}

/// Seconds for `threads` threads, each pinned to a core (Linux), to increment a new counter of that kind `increments` times each,
/// from their common start to the end of the last; the total is verified. A disturbed race is repeated, up to twice.
template <class Stop = never_stop>
double race_counter(counter_kind kind, int threads, std::uint64_t increments, Stop stop = {}) {
    switch (kind) {
        case counter_kind::relaxed: return atomic_detail::race<relaxed_counter>(threads, increments, stop);
        case counter_kind::acquire_release: return atomic_detail::race<acq_rel_counter>(threads, increments, stop);
        case counter_kind::seq_cst: return atomic_detail::race<seq_cst_counter>(threads, increments, stop);
        case counter_kind::cas_loop: return atomic_detail::race<cas_counter>(threads, increments, stop);
        case counter_kind::packed_shards: return atomic_detail::race<packed_shards_counter>(threads, increments, stop);
        case counter_kind::padded_shards: return atomic_detail::race<padded_shards_counter>(threads, increments, stop);
        case counter_kind::mutex: return atomic_detail::race<mutex_counter>(threads, increments, stop);
        case counter_kind::single_writer: return atomic_detail::race<single_writer_counter>(threads, increments, stop);
        case counter_kind::single_writer_mine:
            return atomic_detail::race<single_writer_counter, true>(threads, increments, stop);
    }
    throw std::invalid_argument("no such counter");
}

}  // namespace tenfold
