// tenfold/channel_account.hpp: gives a lock-free queue that knows neither an exact bound nor an end both, in three counters.
//
//     announced (and: closed?), arrived     how many messages were promised to the queue, and put into it: the senders' line
//     taken                                 how many were promised to receivers: the receivers' line
//
// A send announces first (refused when closed, or when announced - taken has reached the capacity: this is where it is
// linearised with close() and with the bound), puts its message into the queue, then counts it as arrived. A receive first
// counts one of the arrived ones as taken: then there is one for it, however long the queue takes to hand it out. "Closed" is
// said when the account is closed and all that was announced is taken.
//
// Either side changes its own line only and remembers what it last saw of the other's, which it reads again when that says
// full, or empty. With everything in one word, that word's line went from core to core three times for each message.
//
// Copy: this file, channel_store.hpp, channel_wait.hpp, spsc_ring.hpp.   #include <tenfold/channel_account.hpp>   C++20, -pthread
#pragma once

#include <tenfold/channel_store.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <thread>

namespace tenfold::channel_detail {

// There is a message for us, but the queue may not show it while another consumer is half way through. Usually at once.
inline void wait_a_moment(int tries) noexcept {
    if (tries < 64) cpu_pause();
    else std::this_thread::yield();
}

class account {
public:
    explicit account(std::size_t capacity) : capacity_(checked_capacity(capacity)) {}

    /// Room for up to `wanted` messages, which then must arrive() or withdraw(): {how many, ok}, or not_now, or closed.
    batch_result announce(std::size_t wanted) noexcept {
        word now = announced_.load(std::memory_order_relaxed);  // the compare-exchange below decides
        for (;;) {
            if (now & closed_bit) return {0, channel_status::closed};
            std::size_t inside = difference(now, taken_seen_.load(std::memory_order_acquire));  // pairs with the store below
            if (inside >= capacity_ || capacity_ - inside < wanted) {
                // Acquire: pairs with take_off() of the messages that made the room. Read after `now`, so if it still says full,
                // it was full at that moment.
                const word taken = taken_.load(std::memory_order_acquire);
                taken_seen_.store(taken, std::memory_order_release);  // what is older than another sender's costs a look more
                inside = difference(now, taken);
                if (inside >= capacity_) return {0, channel_status::not_now};
            }
            const std::size_t n = std::min(wanted, capacity_ - inside);
            // Release: whoever takes these has an announcement that is not younger.
            if (announced_.compare_exchange_weak(now, now + n, std::memory_order_acq_rel, std::memory_order_relaxed))
                return {n, channel_status::ok};
        }
    }
    void arrive(std::size_t n) noexcept { arrived_.fetch_add(n, std::memory_order_acq_rel); }  // pairs with take_off()
    [[noreturn]] void withdraw(std::size_t n) {
        announced_.fetch_sub(n, std::memory_order_release);
        throw std::bad_alloc();  // the channel wakes whoever waited for these messages or for their room
    }
    batch_result take_off(std::size_t count) noexcept {
        word now = taken_.load(std::memory_order_acquire);  // whoever took these had seen them arrive: so do we
        for (;;) {
            std::size_t there = difference(arrived_seen_.load(std::memory_order_acquire), now);  // pairs with the store below
            if (there < count) {
                // Acquire: every arrive() before it in this counter's order, as all changes are read-modify-writes.
                const word arrived = arrived_.load(std::memory_order_acquire);
                arrived_seen_.store(arrived, std::memory_order_release);  // may be older than another receiver's, as above
                there = difference(arrived, now);
                // Acquire: "closed" shows what was done before close().
                if (there == 0)
                    return {0, announced_.load(std::memory_order_acquire) == (now | closed_bit) ? channel_status::closed
                                                                                                : channel_status::not_now};
            }
            const std::size_t n = std::min(count, there);
            // Release: announce() and whoever takes the next.
            if (taken_.compare_exchange_weak(now, now + n, std::memory_order_acq_rel, std::memory_order_acquire))
                return {n, channel_status::ok};
        }
    }

    void close() noexcept {
        announced_.fetch_or(closed_bit, std::memory_order_acq_rel);  // sends compare-exchange the same word
        closed_.store(true, std::memory_order_release);  // pairs with drained()
    }

    // Acquire: pair with the release of arrive(), take_off() and close().
    bool is_closed() const noexcept { return (announced_.load(std::memory_order_acquire) & closed_bit) != 0; }
    std::size_t depth() const noexcept {
        const word taken = taken_.load(std::memory_order_acquire);  // first: what was announced is not less
        return std::min(difference(announced_.load(std::memory_order_acquire) & ~closed_bit, taken), capacity_);
    }
    std::size_t capacity() const noexcept { return capacity_; }
    /// Asked after each message taken: so it keeps away from the senders' line until close() has been called. In between close()
    /// is about to wake everybody.
    bool drained() const noexcept { return closed_.load(std::memory_order_acquire) && all_taken(); }
    bool readable() const noexcept {
        const word taken = taken_.load(std::memory_order_acquire);
        return difference(arrived_.load(std::memory_order_acquire), taken) != 0 || all_taken();
    }
    bool writable() const noexcept { return is_closed() || depth() < capacity_; }

private:
    using word = std::uint64_t;
    static constexpr word closed_bit = word{1} << 63;

    // Of two counters read one after the other: one that is behind the other for a moment counts as equal.
    static std::size_t difference(word more, word less) noexcept {
        return more > less ? static_cast<std::size_t>(more - less) : 0;
    }
    bool all_taken() const noexcept {
        const word taken = taken_.load(std::memory_order_acquire);
        return announced_.load(std::memory_order_acquire) == (taken | closed_bit);
    }

    const std::size_t capacity_;
    std::atomic<bool> closed_{false};  // beside capacity_: read by all, written once
    alignas(128) std::atomic<word> announced_{0};
    std::atomic<word> arrived_{0};
    std::atomic<word> taken_seen_{0};
    alignas(128) std::atomic<word> taken_{0};
    std::atomic<word> arrived_seen_{0};
};

}  // namespace tenfold::channel_detail
