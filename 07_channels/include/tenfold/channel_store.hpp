// tenfold/channel_store.hpp: what a channel keeps its messages in. None of these waits; channel.hpp adds the waiting.
//
//     locked_store   a growing ring under one lock.           Any threads. First in, first out over all senders.
//     spsc_store     spsc_ring plus a close() that is safe.   One sender, one receiver at a time. First in, first out.
//     (moodycamel_store.hpp: any threads, lock-free; first in, first out for each sending thread)
//
// close() is linearised with sends: a send either comes before it, and its message will be received, or is refused. A receiver
// is told "closed" only when every accepted message has been taken.
//
// Copy: this file, channel_wait.hpp, spsc_ring.hpp.   #include <tenfold/channel_store.hpp>   C++20, -pthread
#pragma once

#include <tenfold/channel_wait.hpp>
#include <tenfold/spsc_ring.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <type_traits>

namespace tenfold {

inline constexpr std::size_t unbounded = std::numeric_limits<std::size_t>::max();

/// How many messages of a batch went through, and why no more did (ok: all, or as many as there were).
struct batch_result {
    std::size_t count;
    channel_status status;
};

namespace channel_detail {

inline std::size_t checked_capacity(std::size_t capacity) {
    if (capacity == 0) throw std::invalid_argument("capacity must be >= 1");
    if (capacity != unbounded && capacity > (std::uint64_t{1} << 32))
        throw std::invalid_argument("capacity must be <= 2**32, or unbounded");
    return capacity;
}

// Moving one and destroying what is left of it comes to copying its bytes: all that is trivially copyable, and a class that says
// so of itself by a member type relocates_bytewise.
template <class T>
inline constexpr bool bytewise = std::is_trivially_copyable_v<T> || requires { typename T::relocates_bytewise; };

// Room for up to N messages on the stack: they leave the container first and reach the receiver's code afterwards, so no lock
// is held and no slot half empty while that code runs.
template <class T, std::size_t N = 64>
class landing {
public:
    landing() = default;
    landing(const landing&) = delete;
    landing& operator=(const landing&) = delete;
    ~landing() { std::destroy_n(data() + given_, taken_ - given_); }

    static constexpr std::size_t room = N;
    T* data() noexcept { return reinterpret_cast<T*>(memory_.data()); }
    void take(T&& value) noexcept { std::construct_at(data() + taken_++, std::move(value)); }
    /// Moves what has been taken to out, which may throw: the rest is then destroyed with *this.
    template <class Out>
    void give(Out& out) {
        while (given_ != taken_) {
            T* const value = data() + given_++;
            const std::unique_ptr<T, destroyer> gone(value);
            *out = std::move(*value);
            ++out;
        }
        given_ = taken_ = 0;
    }

private:
    struct destroyer {
        void operator()(T* value) const noexcept { std::destroy_at(value); }
    };
    alignas(T) std::array<std::byte, N * sizeof(T)> memory_;  // not zeroed
    std::size_t taken_ = 0, given_ = 0;
};

}  // namespace channel_detail

template <class T, class Lock = channel_mutex>
class locked_store {
    static_assert(std::is_nothrow_move_constructible_v<T>, "a move that throws would lose the message half way");

public:
    explicit locked_store(std::size_t capacity) : capacity_(channel_detail::checked_capacity(capacity)) {}
    locked_store(const locked_store&) = delete;
    locked_store& operator=(const locked_store&) = delete;
    ~locked_store() {
        for (std::size_t i = 0, n = count(); i < n; ++i) std::destroy_at(slot(head_ + i));
        release(slots_, slot_count_);
    }

    channel_status push(T&& value, pace = pace::now) {
        const std::lock_guard lock(lock_);
        const std::size_t n = count();
        if (is_closed()) return channel_status::closed;
        if (n == capacity_) return channel_status::not_now;
        if (n == slot_count_) grow(n + 1);
        std::construct_at(slot(head_ + n), std::move(value));
        set_count(n + 1);
        return channel_status::ok;
    }
    template <class It>
    batch_result push_some(It& first, std::size_t count_wanted) {
        const std::lock_guard lock(lock_);
        const std::size_t n = count();
        if (is_closed()) return {0, channel_status::closed};
        const std::size_t fits = std::min(count_wanted, capacity_ - n);
        if (fits == 0 && count_wanted != 0) return {0, channel_status::not_now};
        if (n + fits > slot_count_) grow(n + fits);
        struct publish {
            locked_store& store;
            std::size_t n;
            ~publish() { store.set_count(n); }
        } guard{*this, n};
        for (; guard.n != n + fits; ++guard.n, ++first) std::construct_at(slot(head_ + guard.n), std::move(*first));
        return {fits, channel_status::ok};
    }

    /// f(T&&) is called without the lock.
    template <class F>
    channel_status pop(F&& f, pace = pace::now) {
        std::unique_lock lock(lock_);
        const std::size_t n = count();
        if (n == 0) return is_closed() ? channel_status::closed : channel_status::not_now;
        T* const first = slot(head_++);
        T message(std::move(*first));
        std::destroy_at(first);
        set_count(n - 1);
        lock.unlock();
        f(std::move(message));
        return channel_status::ok;
    }
    template <class Out>
    batch_result pop_some(Out& out, std::size_t max) {
        if constexpr (channel_detail::bytewise<T> && requires { out.place(max); }) return move_out(out, max);
        std::size_t done = 0;
        while (done < max) {
            channel_detail::landing<T> landed;
            std::size_t n = 0;
            {
                const std::lock_guard lock(lock_);
                const std::size_t there = count();
                n = std::min({there, max - done, landed.room});
                if (n == 0 && done == 0) return {0, is_closed() ? channel_status::closed : channel_status::not_now};
                for (std::size_t i = 0; i < n; ++i) {
                    T* const first = slot(head_++);
                    landed.take(std::move(*first));
                    std::destroy_at(first);
                }
                set_count(there - n);
            }
            landed.give(out);
            done += n;
            if (n < landed.room) break;
        }
        return {done, channel_status::ok};
    }

    void close() {
        const std::lock_guard lock(lock_);
        closed_.store(true, std::memory_order_release);  // pairs with the acquire in is_closed()
    }

    /// f(const T&) for each message, oldest first, without the lock: for a caller who knows that nothing else runs, as Python's
    /// garbage collector does.
    template <class F>
    void for_each(F&& f) const {
        for (std::size_t i = 0, n = count(); i < n; ++i) f(static_cast<const T&>(*slot(head_ + i)));
    }

    // Without the lock: true a moment ago.
    bool is_closed() const noexcept { return closed_.load(std::memory_order_acquire); }  // pairs with close()
    std::size_t depth() const noexcept { return count_.load(std::memory_order_acquire); }  // pairs with set_count()
    std::size_t capacity() const noexcept { return capacity_; }
    bool drained() const noexcept { return is_closed() && depth() == 0; }  // in this order: nothing is added once closed
    bool readable() const noexcept { return depth() != 0 || is_closed(); }
    bool writable() const noexcept { return is_closed() || depth() < capacity_; }

private:
    std::size_t count() const noexcept { return count_.load(std::memory_order_relaxed); }  // under the lock
    void set_count(std::size_t n) noexcept { count_.store(n, std::memory_order_release); }  // pairs with depth()
    T* slot(std::size_t index) const noexcept { return slots_ + (index & (slot_count_ - 1)); }

    // out.place(n) -> memory for n messages, copied there byte by byte: a place is then no T of ours any more.
    template <class Out>
    batch_result move_out(Out& out, std::size_t max) {
        const std::lock_guard lock(lock_);
        const std::size_t there = count(), n = std::min(there, max);
        if (n == 0 && max != 0) return {0, is_closed() ? channel_status::closed : channel_status::not_now};
        copy_to(out.place(n), n);
        head_ += n;
        set_count(there - n);
        return {n, channel_status::ok};
    }
    void copy_to(void* to, std::size_t n) const noexcept {
        if (n == 0) return;
        const std::size_t at = head_ & (slot_count_ - 1), run = std::min(n, slot_count_ - at);  // then from the start
        std::memcpy(to, static_cast<const void*>(slots_ + at), run * sizeof(T));
        std::memcpy(static_cast<std::byte*>(to) + run * sizeof(T), static_cast<const void*>(slots_), (n - run) * sizeof(T));
    }

    static void release(T* slots, std::size_t n) noexcept {
        if (slots) std::allocator<T>().deallocate(slots, n);
    }
    void grow(std::size_t needed) {
        const std::size_t larger = std::bit_ceil(std::max<std::size_t>({needed, 2 * slot_count_, 16}));
        T* const fresh = std::allocator<T>().allocate(larger);  // may throw: nothing has changed yet
        const std::size_t n = count();
        if constexpr (channel_detail::bytewise<T>) {
            copy_to(fresh, n);
        } else {
            for (std::size_t i = 0; i < n; ++i) {
                std::construct_at(fresh + i, std::move(*slot(head_ + i)));
                std::destroy_at(slot(head_ + i));
            }
        }
        release(std::exchange(slots_, fresh), std::exchange(slot_count_, larger));
        head_ = 0;
    }

    const std::size_t capacity_;
    std::atomic<std::size_t> count_{0};  // written under the lock
    std::atomic<bool> closed_{false};  // likewise
    Lock lock_;
    std::size_t head_ = 0;
    T* slots_ = nullptr;
    std::size_t slot_count_ = 0;
};

// The ring knows no close(): between a sender's look at a closed flag and its publication somebody may close, and a receiver
// that then finds the ring empty would say "closed" although the message is still to come. So the sender marks that it is at
// work, close() raises the flag and waits out whoever was at work before it could see the flag. Mark and flag are again a
// store and a load on each side; the fences of channel_wait.hpp make the sender's mark a plain store.
template <class T>
class spsc_store {
public:
    explicit spsc_store(std::size_t capacity) : ring_(bounded(capacity)) {}

    TENFOLD_CHANNEL_HOT channel_status push(T&& value, pace how = pace::now) {
        const at_work mark(busy_);
        if (is_closed()) return channel_status::closed;
        return ring_.try_push(std::move(value), how) ? channel_status::ok : channel_status::not_now;
    }
    template <class It>
    batch_result push_some(It& first, std::size_t count) {
        const at_work mark(busy_);
        if (is_closed()) return {0, channel_status::closed};
        const std::size_t n = ring_.push_some(first, count);
        if (n == 0 && count != 0) return {0, channel_status::not_now};
        std::advance(first, n);
        return {n, channel_status::ok};
    }
    template <class F>
    TENFOLD_CHANNEL_HOT channel_status pop(F&& f, pace how = pace::now) {
        if (ring_.try_take(f, how)) [[likely]]
            return channel_status::ok;
        if (!sealed()) return channel_status::not_now;
        return ring_.try_take(f, pace::now) ? channel_status::ok : channel_status::closed;  // what came just before the seal
    }
    template <class Out>
    batch_result pop_some(Out& out, std::size_t max) {
        const auto take = [&](T&& value) { *out = std::move(value), ++out; };
        std::size_t n = ring_.drain(take, max);
        if (n == 0 && max != 0) {
            if (!sealed()) return {0, channel_status::not_now};
            if (n = ring_.drain(take, max); n == 0) return {0, channel_status::closed};
        }
        return {n, channel_status::ok};
    }

    /// Any thread may call it; in the sender's own hands it never waits. In a forked child the sender is not there to finish.
    void close() {
        int open = 0;
        if (state_.compare_exchange_strong(open, closing, std::memory_order_acq_rel)) {
            channel_detail::heavy_fence();  // pairs with light_fence() in at_work: no sender starts unseen from here on
            while (busy_.load(std::memory_order_acquire) && !home_.left())  // pairs with ~at_work: it has published
                std::this_thread::yield();
            state_.store(closing | seal, std::memory_order_release);  // pairs with sealed(): the last message is in the ring
        } else {
            while (!sealed() && !home_.left()) std::this_thread::yield();
        }
    }

    bool is_closed() const noexcept { return state_.load(std::memory_order_acquire) != 0; }  // pairs with close()
    std::size_t depth() const noexcept { return ring_.size(); }
    std::size_t capacity() const noexcept { return ring_.capacity(); }
    bool drained() const noexcept { return sealed() && ring_.size() == 0; }
    bool readable() const noexcept { return ring_.size() != 0 || sealed(); }
    bool writable() const noexcept { return is_closed() || ring_.size() < ring_.capacity(); }

private:
    static constexpr int closing = 1, seal = 2;

    class at_work {
    public:
        explicit at_work(std::atomic<bool>& busy) noexcept : busy_(busy) {
            busy_.store(
                true, std::memory_order_relaxed);  // before the look at state_: light_fence(), against heavy_fence() in close()
            channel_detail::light_fence();
        }
        at_work(const at_work&) = delete;
        at_work& operator=(const at_work&) = delete;
        ~at_work() { busy_.store(false, std::memory_order_release); }  // pairs with the acquire in close()

    private:
        std::atomic<bool>& busy_;
    };

    static std::size_t bounded(std::size_t capacity) {
        if (capacity == unbounded) throw std::invalid_argument("an SPSC channel needs a capacity");
        return channel_detail::checked_capacity(capacity);
    }
    bool sealed() const noexcept { return (state_.load(std::memory_order_acquire) & seal) != 0; }  // pairs with close()

    spsc_ring<T> ring_;
    alignas(128) std::atomic<bool> busy_{false};  // the sender's
    alignas(128) std::atomic<int> state_{0};  // written once or twice, read by both
    channel_detail::home_process home_;
};

}  // namespace tenfold
