// tenfold/litmus.hpp: two threads, four instructions, and outcomes that no interleaving of them explains.
//
// Why: "memory order" stays a theory until your own machine shows it. Store buffering, the heart of Dekker's lock:
//     thread 1: x = 1; r1 = y;          thread 2: y = 1; r2 = x;          (x and y are 0 before)
// Whichever line runs first, one of the two must see the other's 1. Yet C++ allows r1 == r2 == 0 for relaxed and for release and
// acquire: a store waits in the core's store buffer while the load after it goes ahead. x86 shows both; AArch64 shows it for
// relaxed, and for release and acquire only where acquire loads become LDAPR. Portably only seq_cst forbids it.
// Message passing: data = 1; flag = 1 against "flag seen: is the data there?". Release and acquire guarantee that it is. With
// relaxed, ARM may show the flag without the data; x86 hardware does not (it never reorders two stores, or two loads).
//
// "Not seen" proves nothing: an outcome that is allowed may need luck, another compiler, another CPU. On one core nothing shows.
//
// Copy: this file and atomic_team.hpp.   #include <tenfold/litmus.hpp>   C++20; link the platform's threads library (-pthread).
#pragma once

#include <atomic>
#include <cstdint>
#include <stdexcept>

#include "tenfold/atomic_team.hpp"

namespace tenfold {

enum class litmus_order { relaxed, acquire_release, seq_cst };

struct litmus_result {
    std::uint64_t both_zero = 0;  // r1 == 0, r2 == 0: the reordering
    std::uint64_t first_only = 0;  // r1 == 1, r2 == 0
    std::uint64_t second_only = 0;  // r1 == 0, r2 == 1
    std::uint64_t both_one = 0;

    std::uint64_t total() const noexcept { return both_zero + first_only + second_only + both_one; }
};

struct message_result {
    std::uint64_t not_seen = 0;  // the flag was not up yet
    std::uint64_t seen_fresh = 0;  // flag and data
    std::uint64_t seen_stale = 0;  // the flag, and not the data that was written before it
};

namespace atomic_detail {

template <litmus_order Order>
struct litmus_orders {
    static constexpr std::memory_order store = Order == litmus_order::relaxed           ? std::memory_order_relaxed
                                               : Order == litmus_order::acquire_release ? std::memory_order_release
                                                                                        : std::memory_order_seq_cst;
    static constexpr std::memory_order load = Order == litmus_order::relaxed           ? std::memory_order_relaxed
                                              : Order == litmus_order::acquire_release ? std::memory_order_acquire
                                                                                       : std::memory_order_seq_cst;
};

// Every variable on lines of its own. Rounds are numbered from 1 and every store writes the number of its round: a load that
// finds a smaller number has seen "0", so nothing has to be cleared between rounds.
struct litmus_field {
    struct alignas(line_bytes) variable {
        std::atomic<std::uint64_t> value{0};
    };
    variable x, y, arrived[2];

    // Both threads meet before a round. False: cancelled.
    bool meet(int me, std::uint64_t round, const std::atomic<bool>& cancelled) noexcept {
        // Release pairs with the acquire of the other side: what round - 1 left behind may be read in this one.
        arrived[me].value.store(round, std::memory_order_release);
        short_wait wait;
        while (arrived[1 - me].value.load(std::memory_order_acquire) < round) {
            if (cancelled.load(std::memory_order_relaxed)) return false;
            wait();
        }
        return !cancelled.load(std::memory_order_relaxed);
    }
};

// The two leave a meeting at a distance of about one line transfer, sometimes none. A random delay of 0 to 255 empty steps on either
// side, no delay in a quarter of the rounds, finds the moment on most machines. (A plain linear congruential generator.)
class jitter {
public:
    explicit jitter(int me) noexcept : state_(static_cast<std::uint32_t>(me) * 0x9e3779b9u + 1) {}
    void operator()() noexcept {
        state_ = state_ * 1664525u + 1013904223u;
        if (state_ >> 30 == 0) return;
        for (std::uint32_t left = state_ >> 22 & 255; left != 0; --left) std::atomic_signal_fence(std::memory_order_seq_cst);
    }

private:
    std::uint32_t state_;
};

template <litmus_order Order, class Stop>
litmus_result store_buffering(std::uint64_t rounds, Stop& stop) {
    using orders = litmus_orders<Order>;
    litmus_field field;
    // What each side saw in the odd and in the even rounds: side 1 writes one while side 0 reads the other.
    struct alignas(line_bytes) seen {
        bool one[2];
    };
    seen sides[2]{};
    litmus_result result;  // side 0 counts
    run_together(
        2,
        [&](int me, const std::atomic<bool>& cancelled) {
            auto& mine = me == 0 ? field.x.value : field.y.value;
            auto& other = me == 0 ? field.y.value : field.x.value;
            jitter delay(me);
            for (std::uint64_t round = 1; round <= rounds + 1; ++round) {
                if (!field.meet(me, round, cancelled)) return;
                if (me == 0 && round > 1) {
                    const bool r1 = sides[0].one[(round - 1) & 1], r2 = sides[1].one[(round - 1) & 1];
                    ++(r1 ? r2 ? result.both_one : result.first_only : r2 ? result.second_only : result.both_zero);
                }
                if (round > rounds) return;
                delay();
                mine.store(round, orders::store);  // the store of the litmus test: waits in the store buffer
                const std::uint64_t r = other.load(orders::load);  // its load: may overtake the store unless both are seq_cst
                sides[me].one[round & 1] = r >= round;
            }
        },
        stop);
    return result;
}

template <litmus_order Order, class Stop>
message_result message_passing(std::uint64_t rounds, Stop& stop) {
    using orders = litmus_orders<Order>;
    litmus_field field;  // x: the data, y: the flag
    message_result result;
    run_together(
        2,
        [&](int me, const std::atomic<bool>& cancelled) {
            jitter delay(me);
            for (std::uint64_t round = 1; round <= rounds; ++round) {
                if (!field.meet(me, round, cancelled)) return;
                delay();
                if (me == 0) {
                    field.x.value.store(round, std::memory_order_relaxed);
                    field.y.value.store(round, orders::store);  // release pairs with the load of the flag below
                } else {
                    std::uint64_t flag = 0;
                    for (int tries = 0; tries < 64 && flag < round; ++tries) flag = field.y.value.load(orders::load);
                    const std::uint64_t data = field.x.value.load(std::memory_order_relaxed);
                    ++(flag < round ? result.not_seen : data < round ? result.seen_stale : result.seen_fresh);
                }
            }
        },
        stop);
    return result;
}

}  // namespace atomic_detail

/// `rounds` rounds of store buffering, each side's store and load in `order`.
template <class Stop = never_stop>
litmus_result store_buffering(litmus_order order, std::uint64_t rounds, Stop stop = {}) {
    switch (order) {
        case litmus_order::relaxed: return atomic_detail::store_buffering<litmus_order::relaxed>(rounds, stop);
        case litmus_order::acquire_release: return atomic_detail::store_buffering<litmus_order::acquire_release>(rounds, stop);
        case litmus_order::seq_cst: return atomic_detail::store_buffering<litmus_order::seq_cst>(rounds, stop);
    }
    throw std::invalid_argument("no such order");
}

/// `rounds` rounds of message passing: the flag in `order`, the data always relaxed.
template <class Stop = never_stop>
message_result message_passing(litmus_order order, std::uint64_t rounds, Stop stop = {}) {
    switch (order) {
        case litmus_order::relaxed: return atomic_detail::message_passing<litmus_order::relaxed>(rounds, stop);
        case litmus_order::acquire_release: return atomic_detail::message_passing<litmus_order::acquire_release>(rounds, stop);
        case litmus_order::seq_cst: return atomic_detail::message_passing<litmus_order::seq_cst>(rounds, stop);
    }
    throw std::invalid_argument("no such order");
}

}  // namespace tenfold
