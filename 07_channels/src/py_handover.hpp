// py_handover.hpp - a moment of looking, without the GIL, before a Python thread lies down to sleep.
//
// Under the GIL a sender and a receiver take turns: the one runs until the channel is full, the other until it is empty. A
// thread that sleeps meanwhile comes late, 30 microseconds and more, and twice: it is woken by the first object, finds the GIL
// taken, and lies down again in the GIL's own queue. So whoever begins to wait looks first, for up to 100 microseconds, until
// the other side has gone as far as it could and waits too: then the GIL is free. Nobody has to be woken for that.
//
// Only one thread on each side of a channel looks, the others sleep at once. Where looking did not help, the next look is half
// as long, down to 3 microseconds: a thread that waits for rare objects costs nothing worth naming.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>

#include "tenfold/channel.hpp"

namespace tenfold::boundary {

/// Those who wait on one side of a channel, the GIL released.
class waiting_side {
public:
    waiting_side() = default;
    waiting_side(const waiting_side&) = delete;
    waiting_side& operator=(const waiting_side&) = delete;

    /// Its thread waits here while it lives.
    class seat {
    public:
        explicit seat(waiting_side& side) noexcept : taken_(side.taken_) { taken_.fetch_add(1, std::memory_order_relaxed); }
        seat(const seat&) = delete;
        seat& operator=(const seat&) = delete;
        ~seat() { taken_.fetch_sub(1, std::memory_order_relaxed); }  // a hint: no data depends on it

    private:
        std::atomic<int>& taken_;
    };
    bool anybody() const noexcept { return taken_.load(std::memory_order_relaxed) > 0; }  // a hint

    /// Whether ready() said true before patience ran out. False at once if another thread looks already.
    template <class Ready>
    bool look(Ready ready, channel_clock::time_point deadline) {
        using namespace std::chrono;
        // Acquire, and release below: the next who looks reads the figures of the last.
        if (!channel_detail::spinning_helps() || looking_.exchange(true, std::memory_order_acquire)) return false;
        const auto patience = ++looks_ % retry == 0 ? longest : patience_;
        const auto end = std::min(deadline, channel_clock::now() + patience);
        bool found = ready();
        for (int looks = 0; !found && channel_clock::now() < end; ++looks) {
            channel_detail::between_looks(looks);
            found = ready();
        }
        patience_ = found ? std::min(2 * patience_, longest) : std::max(patience_ / 2, shortest);
        looking_.store(false, std::memory_order_release);
        return found;
    }

private:
    static constexpr std::chrono::nanoseconds longest{100'000}, shortest{3'000};
    static constexpr unsigned retry = 32;  // so often the longest again: times may have changed

    std::atomic<int> taken_{0};
    std::atomic<bool> looking_{false};
    std::chrono::nanoseconds patience_ = longest;  // these two belong to the one who looks
    unsigned looks_ = 0;
};

}  // namespace tenfold::boundary
