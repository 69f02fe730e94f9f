// The counters and containers of this lesson, each task with two threads (TENFOLD_THREADS) pinned to different cores.
//     KIND N               every thread increments one counter of that kind N times; answers with the total
//     record N             every thread records N values in one AtomicStats; record_mutex: under a mutex; the count
//     transfer_KIND N      one producer, one consumer, N items (transfer_KIND_2x2: two of each, N items per producer);
//                          answers with the items that arrived exactly once
// A round in which the system took a core away says nothing about contention: of three rounds, the one with the fewest
// involuntary context switches is answered, the first that had none at once.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <vector>

#include <tenfold/atomic_stats.hpp>
#include <tenfold/counters.hpp>
#include <tenfold/lockfree.hpp>

#include "tenfold_peer.hpp"

namespace {

using clock_type = std::chrono::steady_clock;

using tenfold::atomic_detail::lost_cores;
using tenfold::atomic_detail::pin_this_thread;

// Seconds from the first thread's start to the last one's end, and how often a thread lost its core meanwhile.
struct round_result {
    double seconds;
    long disturbed;
};
template <class Work>
round_result together(int threads, Work work) {
    tenfold::atomic_detail::start_line start(threads);
    std::vector<clock_type::time_point> begins(static_cast<std::size_t>(threads)), ends = begins;
    std::atomic<long> disturbed{0};
    {
        std::vector<std::jthread> team;
        for (int i = 0; i < threads; ++i)
            team.emplace_back([&, i] {
                pin_this_thread(i);
                auto&& mine = work();
                start.wait();
                const long before = lost_cores();
                begins[static_cast<std::size_t>(i)] = clock_type::now();
                mine();
                ends[static_cast<std::size_t>(i)] = clock_type::now();
                disturbed += lost_cores() - before;
            });
    }
    const auto begin = *std::min_element(begins.begin(), begins.end()), end = *std::max_element(ends.begin(), ends.end());
    return {std::chrono::duration<double>(end - begin).count(), disturbed};
}

template <class Counter, bool Mine = false>
tenfold_peer::timed count(long n) {
    const int threads = tenfold_peer::threads();
    round_result best{0, -1};
    for (int attempt = 0; attempt < 3 && best.disturbed != 0; ++attempt) {
        alignas(128) Counter counter;
        const auto now = together(threads, [&] {
            if constexpr (Mine)
                return [own = counter.mine(), n]() mutable {
                    tenfold::atomic_detail::increment_times(own, static_cast<std::uint64_t>(n));
                };
            else return [&counter, n] { tenfold::atomic_detail::increment_times(counter, static_cast<std::uint64_t>(n)); };
        });
        if (counter.get() != static_cast<std::uint64_t>(threads) * static_cast<std::uint64_t>(n))
            throw std::logic_error("the counter lost increments");
        if (best.disturbed < 0 || now.disturbed < best.disturbed) best = now;
    }
    return {best.seconds, static_cast<double>(threads) * static_cast<double>(n)};
}

// AtomicStats against the same four numbers under a mutex: "increment" records a value.
class recorder {
public:
    void increment() { stats_.record(3); }
    std::uint64_t get() const { return stats_.snapshot().count; }

private:
    tenfold::atomic_stats stats_;
};
class mutex_recorder {
public:
    void increment() {
        const std::lock_guard lock(mutex_);
        stats_.merge({1, 3, 3, 3});
    }
    std::uint64_t get() const { return stats_.count; }

private:
    std::mutex mutex_;
    tenfold::stats_snapshot stats_;
};

// What one would write without lock-free containers.
class mutex_deque {
public:
    explicit mutex_deque(std::size_t capacity) : capacity_(capacity) {}
    bool push(std::int64_t item) {
        const std::lock_guard lock(mutex_);
        if (items_.size() == capacity_) return false;
        items_.push_back(item);
        return true;
    }
    std::optional<std::int64_t> pop() {
        const std::lock_guard lock(mutex_);
        if (items_.empty()) return std::nullopt;
        const std::int64_t item = items_.front();
        items_.pop_front();
        return item;
    }

private:
    const std::size_t capacity_;
    std::mutex mutex_;
    std::deque<std::int64_t> items_;
};

template <class Container, int Side>
tenfold_peer::timed move_items(long n) {  // transfer() pins its threads
    std::uint64_t arrived = 0;
    const auto best = tenfold::atomic_detail::least_disturbed(2 * Side, [&] {
        Container container(1024);
        const auto result = tenfold::transfer(container, Side, Side, static_cast<std::uint64_t>(n));
        arrived = result.received - result.duplicates;
        return tenfold::atomic_detail::team_time{result.seconds, result.disturbed};
    });
    return {best.seconds, static_cast<double>(arrived)};
}

}  // namespace

int main() {
    return tenfold_peer::serve({
        {"relaxed", count<tenfold::relaxed_counter>},
        {"acquire_release", count<tenfold::acq_rel_counter>},
        {"seq_cst", count<tenfold::seq_cst_counter>},
        {"cas_loop", count<tenfold::cas_counter>},
        {"mutex", count<tenfold::mutex_counter>},
        {"packed_shards", count<tenfold::packed_shards_counter>},
        {"padded_shards", count<tenfold::padded_shards_counter>},
        {"single_writer", count<tenfold::single_writer_counter>},
        {"single_writer_mine", count<tenfold::single_writer_counter, true>},
        {"record", count<recorder>},
        {"record_mutex", count<mutex_recorder>},
        {"transfer_spsc", move_items<tenfold::lockfree_spsc, 1>},
        {"transfer_queue", move_items<tenfold::lockfree_queue, 1>},
        {"transfer_stack", move_items<tenfold::lockfree_stack, 1>},
        {"transfer_mutex", move_items<mutex_deque, 1>},
        {"transfer_queue_2x2", move_items<tenfold::lockfree_queue, 2>},
        {"transfer_stack_2x2", move_items<tenfold::lockfree_stack, 2>},
        {"transfer_mutex_2x2", move_items<mutex_deque, 2>},
    });
}
