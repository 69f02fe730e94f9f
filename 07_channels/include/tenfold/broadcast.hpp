// tenfold/broadcast.hpp: a channel of which every subscriber sees every message, from its subscription on, in the one order in
// which they were sent.
//
//     tenfold::broadcast<T> news(64);
//     auto seat = news.subscribe();          // before the first send that it shall see
//     news.send(message);                    // seat.recv(), or for (T m : seat), in another thread
//
// The messages lie in one ring; a subscriber is a cursor into it. A message leaves when the last one has read it (that one gets
// it moved, the others a copy). What a slow subscriber means is chosen at construction:
//     overflow::wait  a send waits until the slowest has made room: back-pressure, nothing is lost;
//     overflow::lag   a send never waits and drops the oldest message; whoever had not read it is told once, "lagged", with the
//                     number it missed, and goes on with the oldest that is left.
// A message without subscribers is accepted and gone. One lock guards ring and cursors: what costs is the copying.
//
// Copy: this file, channel_park.hpp, channel_wait.hpp, channel_store.hpp, spsc_ring.hpp.   #include <tenfold/broadcast.hpp>
// C++20, -pthread
#pragma once

#include <tenfold/channel_park.hpp>
#include <tenfold/channel_store.hpp>
#include <tenfold/channel_wait.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace tenfold {

enum class overflow { wait, lag };

/// A subscriber asked for the next message and there is a gap before it.
struct channel_lagged : std::runtime_error {
    explicit channel_lagged(std::uint64_t n) : std::runtime_error("missed " + std::to_string(n) + " messages"), missed(n) {}
    std::uint64_t missed;
};

/// With Lock = no_lock the caller serialises sends, receives, subscriptions and their ends; waiting needs nothing.
template <class T, class Lock = channel_mutex>
class broadcast {
    static_assert(std::is_nothrow_move_constructible_v<T> && std::is_copy_constructible_v<T>);
    struct seat {
        std::atomic<std::uint64_t> next;  // the number of the message it reads next; written under the lock
        std::uint64_t missed = 0;
    };

public:
    using value_type = T;
    class subscriber;

    explicit broadcast(std::size_t capacity, overflow policy = overflow::wait)
        : capacity_(channel_detail::checked_capacity(capacity)), policy_(policy) {}
    broadcast(const broadcast&) = delete;
    broadcast& operator=(const broadcast&) = delete;

    /// Must not outlive the broadcast.
    subscriber subscribe() {
        auto fresh = std::make_unique<seat>();
        const std::lock_guard lock(lock_);
        fresh->next.store(end_.load(std::memory_order_relaxed), std::memory_order_relaxed);  // relaxed: under the lock
        subscribers_.fetch_add(1, std::memory_order_relaxed);
        return subscriber(*this, std::move(fresh));
    }

    /// ok, closed, or not_now (the slowest subscriber has made no room). Moves from value only when ok.
    channel_status try_send(T&& value) {
        std::optional<T> dropped;  // destroyed after the lock
        {
            const std::lock_guard lock(lock_);
            if (closed()) return channel_status::closed;
            const std::size_t readers = subscribers_.load(std::memory_order_relaxed);
            if (readers == 0) {
                dropped.emplace(std::move(value));
                return channel_status::ok;
            }
            const bool full = entries_.size() == capacity_;
            if (full && policy_ == overflow::wait) return channel_status::not_now;
            entries_.push_back({std::move(value), readers});
            if (full) dropped = drop_first();
            end_.fetch_add(1, std::memory_order_release);  // pairs with the acquire in readable()
        }
        readers_.notify_all();  // whoever waits has read everything before, so this message is for all of them
        return channel_status::ok;
    }
    template <class Stop = never_stop>
    channel_status send_until(T&& value, channel_clock::time_point deadline, Stop&& stop = {},
                              int spin = channel_detail::default_spin) {
        const auto attempt = [&] { return try_send(std::move(value)); };
        const auto status = attempt();
        return status != channel_status::not_now ? status : channel_detail::wait_for(writers_, attempt, deadline, stop, spin);
    }
    /// False when closed.
    bool send(T value) { return send_until(std::move(value), no_deadline) == channel_status::ok; }

    /// ok: try_send may succeed, or say closed. Whoever gets ok and then does not try calls pass_on_writable().
    template <class Stop = never_stop>
    channel_status wait_writable(channel_clock::time_point deadline, Stop&& stop = {}, int spin = 0) {
        const auto attempt = [&] { return writable() ? channel_status::ok : channel_status::not_now; };
        const auto status = attempt();
        return status != channel_status::not_now ? status : channel_detail::wait_for(writers_, attempt, deadline, stop, spin);
    }
    watch when_writable(std::function<void()> callback) {
        return watch(writers_, std::move(callback), [this] { return writable(); });
    }
    void pass_on_writable() { writers_.notify(1); }

    /// Sends are refused from here on; subscribers get what they have not read, then "closed".
    void close() {
        {
            const std::lock_guard lock(lock_);
            closed_.store(true, std::memory_order_release);  // pairs with closed()
        }
        readers_.notify_all();
        writers_.notify_all();
    }
    bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }  // pairs with close()
    std::size_t capacity() const noexcept { return capacity_; }
    std::size_t subscribers() const noexcept { return subscribers_.load(std::memory_order_relaxed); }
    /// Messages that somebody has yet to read.
    std::size_t depth() const noexcept {
        const std::uint64_t first =
            first_.load(std::memory_order_acquire);  // pairs with drop_first(); before end_: no underflow
        return static_cast<std::size_t>(end_.load(std::memory_order_acquire) - first);
    }
    channel_detail::wait_queue& writers() noexcept { return writers_; }
    bool writable() const noexcept { return closed() || policy_ == overflow::lag || subscribers() == 0 || depth() < capacity_; }

    /// f(const T&) for each message, oldest first, without the lock: nothing else may be using the broadcast.
    template <class F>
    void for_each(F&& f) const {
        for (const entry& each : entries_) f(each.value);
    }

private:
    struct entry {
        T value;
        std::size_t readers;  // that have not read it
    };

    T drop_first() {
        T value(std::move(entries_.front().value));
        entries_.pop_front();
        first_.fetch_add(1, std::memory_order_release);  // pairs with depth()
        return value;
    }

    channel_status read(seat& place, std::optional<T>& out) {
        std::optional<T> value;
        bool room = false;
        {
            const std::lock_guard lock(lock_);
            const std::uint64_t first = first_.load(std::memory_order_relaxed), end = end_.load(std::memory_order_relaxed);
            const std::uint64_t next = place.next.load(std::memory_order_relaxed);  // relaxed: all three under the lock
            if (next < first) {
                place.missed = first - next;
                place.next.store(first, std::memory_order_relaxed);
                return channel_status::lagged;
            }
            if (next == end) return closed() ? channel_status::closed : channel_status::not_now;
            entry& message = entries_[static_cast<std::size_t>(next - first)];
            room = message.readers == 1;  // the last reader; everybody has then read what is before it, so it is the first
            if (room) value.emplace(drop_first());
            else value.emplace(message.value), --message.readers;
            place.next.store(next + 1, std::memory_order_relaxed);
        }
        if (room) writers_.notify(1);
        out.emplace(std::move(*value));
        return channel_status::ok;
    }
    void leave(seat& place) {
        {
            const std::lock_guard lock(lock_);
            const std::uint64_t first = first_.load(std::memory_order_relaxed);
            const std::uint64_t next = std::max(place.next.load(std::memory_order_relaxed), first);
            for (auto i = static_cast<std::size_t>(next - first); i < entries_.size(); ++i) --entries_[i].readers;
            subscribers_.fetch_sub(1, std::memory_order_relaxed);
        }
        for (;;) {  // one by one: a message is destroyed without the lock
            std::optional<T> gone;
            const std::lock_guard lock(lock_);
            if (entries_.empty() || entries_.front().readers != 0) break;
            gone.emplace(drop_first());
        }
        writers_.notify_all();
    }

    const std::size_t capacity_;
    const overflow policy_;
    Lock lock_;
    std::deque<entry> entries_;  // numbers first_ .. end_ - 1
    std::atomic<std::uint64_t> first_{0}, end_{0};  // written under the lock
    std::atomic<std::size_t> subscribers_{0};  // likewise
    std::atomic<bool> closed_{false};  // likewise
    channel_detail::wait_queue readers_, writers_;
};

/// One reader's place. Movable; used by one thread at a time. Ends the subscription when destroyed.
template <class T, class Lock>
class broadcast<T, Lock>::subscriber {
public:
    subscriber(subscriber&&) noexcept = default;
    subscriber& operator=(subscriber&& other) {
        if (this != &other) {
            leave();
            owner_ = other.owner_;
            seat_ = std::move(other.seat_);
        }
        return *this;
    }
    ~subscriber() { leave(); }

    /// ok, not_now, closed (nothing left), or lagged (once per gap; missed() says how many).
    channel_status try_recv(std::optional<T>& out) { return owner_->read(*seat_, out); }
    template <class Stop = never_stop>
    channel_status recv_until(std::optional<T>& out, channel_clock::time_point deadline, Stop&& stop = {},
                              int spin = channel_detail::default_spin) {
        const auto attempt = [&] { return try_recv(out); };
        const auto status = attempt();
        return status != channel_status::not_now ? status
                                                 : channel_detail::wait_for(owner_->readers_, attempt, deadline, stop, spin);
    }
    /// Nothing once closed and read to the end; throws channel_lagged.
    std::optional<T> recv() {
        std::optional<T> out;
        if (recv_until(out, no_deadline) == channel_status::lagged) throw channel_lagged(missed());
        return out;
    }
    /// ok: try_recv will not say not_now.
    template <class Stop = never_stop>
    channel_status wait_readable(channel_clock::time_point deadline, Stop&& stop = {}, int spin = 0) {
        const auto attempt = [&] { return readable() ? channel_status::ok : channel_status::not_now; };
        const auto status = attempt();
        return status != channel_status::not_now ? status
                                                 : channel_detail::wait_for(owner_->readers_, attempt, deadline, stop, spin);
    }
    watch when_readable(std::function<void()> callback) {
        return watch(owner_->readers_, std::move(callback), [this] { return readable(); });
    }
    /// The messages lost by the last gap that was reported.
    std::uint64_t missed() const noexcept { return seat_->missed; }
    /// Messages sent that this subscriber has not read, those it has lost included.
    std::size_t depth() const noexcept {
        const std::uint64_t next = seat_->next.load(std::memory_order_acquire);  // before end_: no underflow
        return static_cast<std::size_t>(owner_->end_.load(std::memory_order_acquire) - next);  // pairs with try_send()
    }
    bool readable() const noexcept { return depth() != 0 || owner_->closed(); }
    void pass_on_readable() { owner_->readers_.notify(1); }
    channel_detail::wait_queue& readers() noexcept { return owner_->readers_; }

private:
    friend class broadcast;
    subscriber(broadcast& owner, std::unique_ptr<seat> place) : owner_(&owner), seat_(std::move(place)) {}
    void leave() {
        if (seat_) owner_->leave(*seat_);
        seat_.reset();
    }

    broadcast* owner_;
    std::unique_ptr<seat> seat_;
};

}  // namespace tenfold
