// tenfold/spsc_ring.hpp: a ring between one producing and one consuming thread. No lock, no RMW instruction, no waiting.
//
// Why it is fast: two indices that only grow, each written by one side. What costs is not the atomics but the cache lines that
// travel between the two cores, so
// - each side keeps a copy of the other's index and reads the real one only when the copy says full (or empty);
// - what one side writes is 128 bytes away from what the other writes (the prefetcher pulls lines in pairs of 64);
// - push_some() and pop_some()/drain() publish a whole batch with one store, so a line travels once per batch;
// - the lines of the next messages are asked for in advance, several at a time: see make_room() and fetch_ahead().
// The capacity is exact, the memory behind it a power of two: a position is found by a mask.
//
// Promised: first in, first out; every try_* ends in a bounded number of steps. T needs a move constructor that does not
// throw; it is never copied. What is still inside is destroyed with the ring.
//
// Copy: this file.   #include <tenfold/spsc_ring.hpp>   C++20, no library; -pthread for your threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace tenfold {

/// What to do before reading the other side's index. gather: if the last look gave less than a handful (less than 256, or
/// a quarter of the capacity), leave the other side alone for 32 pauses first. Two threads of equal speed otherwise follow each other
/// at a distance of a few messages and drag the two index lines back and forth for each; after a pause there is a batch.
enum class pace { now, gather };

template <class T>
class spsc_ring {
    static_assert(std::is_nothrow_move_constructible_v<T>, "a move that throws would lose the message half way");
    static_assert(std::is_nothrow_destructible_v<T>);

public:
    using value_type = T;

    explicit spsc_ring(std::size_t capacity)
        : capacity_(checked(capacity)), mask_(std::bit_ceil(capacity) - 1), slots_(allocate(mask_ + 1)) {}
    spsc_ring(const spsc_ring&) = delete;
    spsc_ring& operator=(const spsc_ring&) = delete;
    ~spsc_ring() {
        drain([](T&&) noexcept {});
        ::operator delete(slots_, std::align_val_t{line});
    }

    /// Producer only. False when full: `value` is then untouched.
    bool try_push(T&& value, pace how = pace::now) noexcept {
        const std::size_t tail = tail_.load(std::memory_order_relaxed);  // relaxed: this thread wrote it
        if (tail == room_until_ && !make_room(tail, how)) [[unlikely]]
            return false;
        std::construct_at(slot(tail), std::move(value));
        tail_.store(tail + 1, std::memory_order_release);  // pairs with the acquire in look_for_items: the slot is filled
        return true;
    }
    bool try_push(const T& value, pace how = pace::now) noexcept(std::is_nothrow_copy_constructible_v<T>)
        requires std::is_copy_constructible_v<T>
    {
        const std::size_t tail = tail_.load(std::memory_order_relaxed);  // relaxed: this thread wrote it
        if (tail == room_until_ && !make_room(tail, how)) [[unlikely]]
            return false;
        std::construct_at(slot(tail), value);
        tail_.store(tail + 1, std::memory_order_release);  // pairs with the acquire in look_for_items
        return true;
    }

    /// Producer only. Moves as many of first[0..count) as fit and publishes them with one store; returns how many.
    template <class It>
    std::size_t push_some(It first, std::size_t count) {
        const std::size_t tail = tail_.load(std::memory_order_relaxed);  // relaxed: this thread wrote it
        if (capacity_ - (tail - head_seen_) < count) look_for_room(tail);
        const std::size_t n = std::min(count, capacity_ - (tail - head_seen_));
        if (n == 0) return 0;
        if (room_until_ - tail < n) room_until_ = tail + n;
        if constexpr (by_memcpy<It>) {
            const auto* from = std::to_address(first);
            const std::size_t run =
                std::min(n, mask_ + 1 - (tail & mask_));  // up to the end of the memory, then from its start
            std::memcpy(static_cast<void*>(slot(tail)), from, run * sizeof(T));
            std::memcpy(static_cast<void*>(slots_), from + run, (n - run) * sizeof(T));
        } else {
            // An iterator may throw on the way: what was built so far is published, so nothing leaks and nothing is sent twice.
            publish guard{tail_, tail};
            for (; guard.next != tail + n; ++guard.next, ++first) std::construct_at(slot(guard.next), std::move(*first));
            return n;
        }
        tail_.store(tail + n, std::memory_order_release);  // pairs with the acquire in look_for_items: n slots are filled
        return n;
    }

    /// Consumer only. False when empty.
    bool try_pop(T& out, pace how = pace::now) noexcept(std::is_nothrow_move_assignable_v<T>) {
        return try_take([&](T&& value) noexcept(std::is_nothrow_move_assignable_v<T>) { out = std::move(value); }, how);
    }
    bool try_pop(std::optional<T>& out, pace how = pace::now) noexcept {
        return try_take([&](T&& value) noexcept { out.emplace(std::move(value)); }, how);
    }

    /// Consumer only. Calls f(T&&) for one message where it lies. False when empty.
    template <class F>
    bool try_take(F f, pace how = pace::now) noexcept(noexcept(f(std::declval<T&&>()))) {
        const std::size_t head = head_.load(std::memory_order_relaxed);  // relaxed: this thread wrote it
        if (tail_seen_ == head && !look_for_items(head, how)) return false;
        fetch_ahead(head);
        {
            const publish guard{head_, head + 1};
            const destroy_slot taken{slot(head)};
            f(std::move(*taken.value));
        }
        return true;
    }

    /// Consumer only. Moves up to `max` messages to out and frees their slots with one store; returns how many.
    template <class Out>
    std::size_t pop_some(Out out, std::size_t max) {
        if constexpr (by_memcpy<Out>) {
            const std::size_t head = head_.load(std::memory_order_relaxed);  // relaxed: this thread wrote it
            if (tail_seen_ - head < max) look_for_items(head);
            const std::size_t n = std::min(max, tail_seen_ - head);
            if (n == 0) return 0;
            auto* to = std::to_address(out);
            const std::size_t run = std::min(n, mask_ + 1 - (head & mask_));
            std::memcpy(to, slot(head), run * sizeof(T));
            std::memcpy(to + run, slots_, (n - run) * sizeof(T));
            head_.store(head + n, std::memory_order_release);  // pairs with the acquire in look_for_room: the slots are read
            return n;
        } else {
            return drain([&](T&& value) { *out = std::move(value), ++out; }, max);
        }
    }

    /// Consumer only. Calls f(T&&) for up to `max` messages where they lie, then frees their slots with one store. If f
    /// throws, the message it was given counts as taken.
    template <class F>
    std::size_t drain(F&& f, std::size_t max = std::numeric_limits<std::size_t>::max()) {
        const std::size_t head = head_.load(std::memory_order_relaxed);  // relaxed: this thread wrote it
        if (tail_seen_ - head < max) look_for_items(head);
        const std::size_t n = std::min(max, tail_seen_ - head);
        if (n == 0) return 0;
        publish guard{head_, head};
        const std::size_t run = std::min(n, mask_ + 1 - (head & mask_));  // up to the end of the memory, then from its start
        give(slot(head), run, f, guard);
        give(slots_, n - run, f, guard);
        return n;
    }

    std::size_t capacity() const noexcept { return capacity_; }
    /// Exact for the two owners while the other side rests; for anybody else a value that was true a moment ago.
    std::size_t size() const noexcept {
        const std::size_t head = head_.load(std::memory_order_acquire);  // head first: a later tail cannot be behind it
        const std::size_t tail = tail_.load(std::memory_order_acquire);  // both pair with the release stores of the owners
        return std::min(tail - head, capacity_);
    }
    /// How many were ever pushed, and popped.
    std::size_t pushed() const noexcept { return tail_.load(std::memory_order_acquire); }  // pairs with the producer's release
    std::size_t popped() const noexcept { return head_.load(std::memory_order_acquire); }  // pairs with the consumer's release

private:
    static constexpr std::size_t line = 128, cache_line = 64;  // what the prefetcher pulls in, what travels
    static constexpr std::size_t claimed = 1024;  // bytes of slots that the producer fetches at once

    template <class It>
    static constexpr bool by_memcpy = std::contiguous_iterator<It> && std::is_trivially_copyable_v<T> &&
                                      std::is_same_v<std::remove_cv_t<std::iter_value_t<It>>, T>;

    struct publish {  // one store for a batch, on every way out
        std::atomic<std::size_t>& index;
        std::size_t next;
        ~publish() { index.store(next, std::memory_order_release); }  // pairs with the other side's acquire in look_for_*
    };
    struct destroy_slot {
        T* value;
        ~destroy_slot() { std::destroy_at(value); }
    };

    static void leave_alone() noexcept {
        for (int i = 0; i < 32; ++i) {
#if defined(__x86_64__) || defined(__i386__)
            __builtin_ia32_pause();
#elif defined(__aarch64__)
            asm volatile("isb");
#endif
        }
    }
    static constexpr std::size_t handful(std::size_t capacity) noexcept { return std::min<std::size_t>(256, capacity / 4); }

    // In a plain loop over neighbours, which the compiler can unroll and vectorise.
    template <class F>
    static void give(T* first, std::size_t count, F& f, publish& taken) {
        std::size_t i = 0;
        try {
            for (; i != count; ++i) {
                const destroy_slot gone{first + i};
                f(std::move(first[i]));
            }
        } catch (...) {
            taken.next += i + 1;
            throw;
        }
        taken.next += count;
    }

    static std::size_t checked(std::size_t capacity) {
        if (capacity == 0) throw std::invalid_argument("capacity must be >= 1");
        if (capacity > std::numeric_limits<std::size_t>::max() / 4 / sizeof(T))
            throw std::invalid_argument("capacity is too large");
        return capacity;
    }
    static T* allocate(std::size_t count) {
        static_assert(alignof(T) <= line);
        return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{line}));
    }
    T* slot(std::size_t index) const noexcept { return slots_ + (index & mask_); }

    bool look_for_room(std::size_t tail, pace how = pace::now) noexcept {
        if (how == pace::gather && tail - tail_then_ < handful(capacity_)) leave_alone();
        tail_then_ = tail;
        head_seen_ = head_.load(std::memory_order_acquire);  // pairs with the consumer's release: it has left those slots
        return tail - head_seen_ != capacity_;
    }
    // Makes try_push's one comparison right: up to room_until_ the slots are free, and their lines on the way to this core.
    // A processor makes its stores visible in their order, so a store whose line is still at the consumer holds up all behind
    // it. It asks for the lines of a few waiting stores in advance; but when stores to a slot and to tail_ take turns, those few
    // reach no further than the same line of slots, and the lines come one by one. A byte written to each of the next lines, one
    // right after the other, fetches them together. (A prefetch does not: the line is here, only shared.)
    bool make_room(std::size_t tail, pace how) noexcept {
        if (tail - head_seen_ == capacity_ && !look_for_room(tail, how)) return false;
        std::size_t n = capacity_ - (tail - head_seen_);
        if constexpr (sizeof(T) < cache_line) {
            n = std::min({n, claimed / sizeof(T), mask_ + 1 - (tail & mask_)});
            auto* const begin = reinterpret_cast<volatile std::byte*>(slots_);
            std::size_t at = ((tail & mask_) * sizeof(T) + cache_line - 1) / cache_line * cache_line;
            for (const std::size_t end = ((tail & mask_) + n) * sizeof(T); at + cache_line <= end; at += cache_line)
                begin[at] = std::byte{};  // whole lines without a message
        }
        room_until_ = tail + n;
        return true;
    }
    // The consumer asks for the line that it will read four lines later, as its single messages give the processor's own
    // prefetcher too little to go by.
    void fetch_ahead(std::size_t head) const noexcept {
#if defined(__GNUC__)
        if constexpr (sizeof(T) < cache_line) {
            constexpr std::size_t per_line = std::bit_floor(cache_line / sizeof(T)), ahead = 4 * per_line;
            if (head % per_line == 0) __builtin_prefetch(slot(head + ahead));
        }
#endif
    }
    bool look_for_items(std::size_t head, pace how = pace::now) noexcept {
        if (how == pace::gather && head - head_then_ < handful(capacity_)) leave_alone();
        head_then_ = head;
        tail_seen_ = tail_.load(std::memory_order_acquire);  // pairs with the producer's release: those slots are filled
        return tail_seen_ != head;
    }

    // Written once, read by both.
    alignas(line) const std::size_t capacity_;
    const std::size_t mask_;
    T* const slots_;
    // The producer's line: the consumer reads tail_ when it believes the ring is empty.
    alignas(line) std::atomic<std::size_t> tail_{0};
    std::size_t head_seen_ = 0;
    std::size_t room_until_ = 0;  // the slots before it are free: make_room() has looked
    std::size_t tail_then_ = 0;  // where it stood when it last looked
    // The consumer's line: the producer reads head_ when it believes the ring is full.
    alignas(line) std::atomic<std::size_t> head_{0};
    std::size_t tail_seen_ = 0;
    std::size_t head_then_ = 0;  // likewise
};

}  // namespace tenfold
