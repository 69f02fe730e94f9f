// tenfold/channel_account.hpp: gives a lock-free queue that knows neither an exact bound nor an end both, in one word.
//
//     closed? | messages announced, not yet in the queue | messages in the queue
//
// changes with one instruction. A send announces first (refused when closed or full: this is where it is linearised with
// close() and with the bound), puts its message into the queue, then books it as there. A receive first takes one off the
// account: then there is one for it, however long the queue takes to hand it out. "Closed" is said when the account is closed
// and empty, so every announced message is received first.
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
        const std::size_t count = std::min(wanted, most_in_flight);
        word now = account_.load(std::memory_order_relaxed);  // the compare-exchange below decides
        for (;;) {
            if (now & closed_bit) return {0, channel_status::closed};
            const std::size_t room = capacity_ - depth_of(now);
            if (room == 0) return {0, channel_status::not_now};
            const std::size_t n = std::min(count, room);
            // Acquire: pairs with take_off() of the messages that made the room. Release: keeps the chain of arrive() whole.
            if (account_.compare_exchange_weak(now, now + n * flight_one, std::memory_order_acq_rel, std::memory_order_relaxed))
                return {n, channel_status::ok};
        }
    }
    void arrive(std::size_t n) noexcept {
        account_.fetch_add(n * there_one - n * flight_one, std::memory_order_release);  // pairs with the acquire in take_off()
    }
    [[noreturn]] void withdraw(std::size_t n) {
        account_.fetch_sub(n * flight_one, std::memory_order_release);
        throw std::bad_alloc();  // the channel wakes whoever waited for these messages or for their room
    }
    batch_result take_off(std::size_t count) noexcept {
        word now = account_.load(std::memory_order_acquire);  // pairs with close(): "closed" shows what was done before it
        for (;;) {
            const std::size_t there = static_cast<std::size_t>(now & there_mask);
            if (there == 0) return {0, now == closed_bit ? channel_status::closed : channel_status::not_now};
            const std::size_t n = std::min(count, there);
            // Acquire: every arrive() before it in this word's order, as all changes are read-modify-writes. Release: announce().
            if (account_.compare_exchange_weak(now, now - n * there_one, std::memory_order_acq_rel, std::memory_order_acquire))
                return {n, channel_status::ok};
        }
    }

    void close() noexcept { account_.fetch_or(closed_bit, std::memory_order_acq_rel); }  // sends compare-exchange the same word

    // Acquire: pair with the release of arrive() and close().
    bool is_closed() const noexcept { return (account_.load(std::memory_order_acquire) & closed_bit) != 0; }
    std::size_t depth() const noexcept { return depth_of(account_.load(std::memory_order_acquire)); }
    std::size_t capacity() const noexcept { return capacity_; }
    bool drained() const noexcept { return account_.load(std::memory_order_acquire) == closed_bit; }
    bool readable() const noexcept {
        const word now = account_.load(std::memory_order_acquire);
        return (now & there_mask) != 0 || now == closed_bit;
    }
    bool writable() const noexcept {
        const word now = account_.load(std::memory_order_acquire);
        return (now & closed_bit) != 0 || depth_of(now) < capacity_;
    }

private:
    using word = std::uint64_t;
    static constexpr word there_one = 1, there_mask = (word{1} << 40) - 1;
    static constexpr word flight_one = word{1} << 40, flight_mask = ((word{1} << 23) - 1) << 40;
    static constexpr word closed_bit = word{1} << 63;
    static constexpr std::size_t most_in_flight = 4096;  // of one call; 2^23 leaves room for 2048 sending threads

    static std::size_t depth_of(word now) noexcept {
        return static_cast<std::size_t>((now & there_mask) + ((now & flight_mask) >> 40));
    }

    const std::size_t capacity_;
    alignas(128) std::atomic<word> account_{0};
};

}  // namespace tenfold::channel_detail
