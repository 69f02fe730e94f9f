// tenfold/lockfree.hpp: Boost.Lockfree's stack, queue and spsc_queue for integers, and a check that nothing is lost or doubled.
//
// Why: a lock-free container is not a weekend's work: aba.hpp shows one of the reasons. Boost's are tested and portable; the
// lesson uses them and shows how to test such a thing: numbered items, several producers and consumers, and afterwards every item
// must have arrived exactly once, and, for a queue, each producer's items in order at every consumer.
//
// - All three are bounded here: push() says false when full, pop() says nothing when empty; neither waits. Memory is
//   allocated once, in the constructor.
// - Order: spsc is first in, first out. The queue is too, as far as order can be told with several producers: what one producer
//   pushed, a consumer sees in that order. The stack is last in, first out.
// - Fixed-size nodes are found by 16-bit indices with a 16-bit tag against ABA: at most 65,534 of them. "Lock-free" means that
//   some thread always gets on; under contention it is often slower than a mutex around std::deque: measure (bench/).
// - Items must be trivially copyable, so no py::object: lesson 07 shows channels for those.
//
// Copy: this file and atomic_team.hpp.   #include <tenfold/lockfree.hpp>   C++20, Boost >= 1.74 (headers only); link the
// platform's threads library (-pthread).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#include <boost/lockfree/stack.hpp>

#include "tenfold/atomic_team.hpp"

namespace tenfold {
namespace atomic_detail {

inline std::size_t checked_capacity(std::size_t capacity, std::size_t most) {
    if (capacity < 1 || capacity > most) throw std::invalid_argument("capacity must be between 1 and " + std::to_string(most));
    return capacity;
}

// The three differ in their Boost type, in how many items fit and in who may call.
template <class Boost, std::size_t Most>
class lockfree_container {
public:
    static constexpr std::size_t max_capacity = Most;

    explicit lockfree_container(std::size_t capacity)
        : capacity_(checked_capacity(capacity, Most)), items_(static_cast<typename Boost::size_type>(capacity)) {}

    std::size_t capacity() const noexcept { return capacity_; }
    /// False: full.
    bool push(std::int64_t item) { return items_.push(item); }
    std::optional<std::int64_t> pop() {
        std::int64_t item;
        if (!items_.pop(item)) return std::nullopt;
        return item;
    }
    /// A guess that may be out of date when it arrives.
    bool empty() { return items_.empty(); }

private:
    const std::size_t capacity_;
    Boost items_;
};

}  // namespace atomic_detail

/// Any number of threads on either side.
using lockfree_queue =
    atomic_detail::lockfree_container<boost::lockfree::queue<std::int64_t, boost::lockfree::fixed_sized<true>>, 65534>;
/// Any number of threads on either side.
using lockfree_stack =
    atomic_detail::lockfree_container<boost::lockfree::stack<std::int64_t, boost::lockfree::fixed_sized<true>>, 65534>;
/// One thread that pushes and one that pops, wait-free both.
using lockfree_spsc = atomic_detail::lockfree_container<boost::lockfree::spsc_queue<std::int64_t>, (std::size_t{1} << 26)>;

struct transfer_result {
    double seconds = 0;  // from the common start to the last thread's end; checking comes after
    long disturbed = 0;  // how often the system took a core from one of the threads meanwhile: trust the least disturbed
    std::uint64_t sent = 0, received = 0;
    std::uint64_t duplicates = 0, lost = 0;
    bool fifo_per_producer = true;  // every consumer saw each producer's items in the order of their pushes
};

/// `producers` threads push `items_per_producer` numbered items each, `consumers` threads pop until all are there. Each is pinned
/// to a core (Linux): one of its own, or, where they do not go round, producers to the even ones and consumers to the odd.
template <class Container, class Stop = never_stop>
transfer_result transfer(Container& container, int producers, int consumers, std::uint64_t items_per_producer, Stop stop = {}) {
    if (producers < 1 || consumers < 1) throw std::invalid_argument("there must be at least one producer and one consumer");
    if (items_per_producer > std::uint64_t{1} << 32) throw std::invalid_argument("items_per_producer must be at most 2^32");
    if (std::is_same_v<Container, lockfree_spsc> && (producers > 1 || consumers > 1))
        throw std::invalid_argument("an spsc queue has one producer and one consumer");

    const auto count = static_cast<std::size_t>(producers);
    std::vector<std::vector<std::uint64_t>> inboxes(static_cast<std::size_t>(consumers));
    for (auto& inbox : inboxes) inbox.reserve(count * items_per_producer / inboxes.size() + 1);
    std::atomic<int> producing{producers};

    transfer_result result;
    const bool enough = producers + consumers <= atomic_detail::allowed_cores();
    const auto time = atomic_detail::measure_together(
        producers + consumers,
        [&](int thread, const std::atomic<bool>& cancelled) {
            const auto give_up = [&] { return cancelled.load(std::memory_order_relaxed); };
            if (thread < producers) {
                const auto mine = static_cast<std::uint64_t>(thread) << 32;
                for (std::uint64_t i = 0; i < items_per_producer; ++i)
                    for (atomic_detail::short_wait wait; !container.push(static_cast<std::int64_t>(mine | i)); wait())
                        if (give_up()) return;
                // Release pairs with the acquire below: who sees 0 sees every push.
                producing.fetch_sub(1, std::memory_order_release);
                return;
            }
            auto& inbox = inboxes[static_cast<std::size_t>(thread - producers)];
            for (atomic_detail::short_wait wait; !give_up();) {
                const bool last = producing.load(std::memory_order_acquire) == 0;  // before the pop, or an item could be missed
                if (const auto item = container.pop()) {
                    inbox.push_back(static_cast<std::uint64_t>(*item));
                    wait = {};
                } else if (last) {
                    return;
                } else {
                    wait();
                }
            }
        },
        stop,
        [&](int thread) {
            if (enough) return thread;
            return thread < producers ? 2 * thread : 2 * (thread - producers) + 1;
        });
    result.seconds = time.seconds;
    result.disturbed = time.disturbed;

    result.sent = count * items_per_producer;
    std::vector<bool> seen(result.sent);
    std::vector<std::uint64_t> next(count);
    for (const auto& inbox : inboxes) {
        std::fill(next.begin(), next.end(), 0);
        for (const std::uint64_t item : inbox) {
            const std::uint64_t producer = item >> 32, number = item & 0xffffffff;
            if (producer >= count || number >= items_per_producer) throw std::logic_error("an item that nobody sent");
            result.fifo_per_producer &= number >= next[producer];
            next[producer] = number + 1;
            auto arrived = seen[producer * items_per_producer + number];
            result.duplicates += arrived;
            arrived = true;
        }
        result.received += inbox.size();
    }
    result.lost = result.sent - (result.received - result.duplicates);
    return result;
}

}  // namespace tenfold
