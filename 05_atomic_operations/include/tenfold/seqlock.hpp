// tenfold/seqlock.hpp: a small value that many threads read at full speed, never half old and half new.
//
// Why: a reader that takes a lock writes to it, and the line of the lock then travels from core to core even though nobody changes
// anything. A sequence lock lets readers only read: they copy the words and look at the version before and after; odd or changed
// means "again". Writers take turns. For values read much more often than written; a reader that meets a writer waits.
//
// The usual seqlock is a data race in the C++ model (readers copy what is being written). Here the words are atomics, after
// H.-J. Boehm, "Can seqlocks get along with programming language memory models?" (MSPC 2012).
// One hazard is left: a process forked while another thread was writing has a lock that nobody opens. The lock tells that it was
// taken before the fork, and whoever meets it there gets std::runtime_error at once.
//
// Copy: this file and atomic_team.hpp.   #include <tenfold/seqlock.hpp>   C++20; link the platform's threads library (-pthread).
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <type_traits>

#include "tenfold/atomic_team.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

// ThreadSanitizer does not model fences. Under it the words themselves carry the order (Boehm's fence-free form: release
// stores, acquire loads): as correct, free on x86, dearer on ARM.
#if defined(__SANITIZE_THREAD__)
#define TENFOLD_SEQLOCK_FENCES 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TENFOLD_SEQLOCK_FENCES 0
#endif
#endif
#ifndef TENFOLD_SEQLOCK_FENCES
#define TENFOLD_SEQLOCK_FENCES 1
#endif

namespace tenfold {
namespace atomic_detail {

inline constexpr std::memory_order word_load = TENFOLD_SEQLOCK_FENCES ? std::memory_order_relaxed : std::memory_order_acquire;
inline constexpr std::memory_order word_store = TENFOLD_SEQLOCK_FENCES ? std::memory_order_relaxed : std::memory_order_release;

// How often this process and its ancestors were forked, as far as the handler below was there to see it. (Not getpid(): that is a
// system call, and would cost more than all the rest.)
inline std::atomic<std::uint64_t> forks{0};
#if defined(__unix__) || defined(__APPLE__)
// Relaxed: a child has one thread when it is counted.
inline const int forks_watched = ::pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
#endif

// The version: even, and two more after each write; while a writer is inside, the number of forks before it came, and an odd bit.
class sequence {
public:
    // Acquire pairs with the release in unlock(): this writer sees what the one before wrote.
    bool try_lock() noexcept {
        std::uint64_t seen = value_.load(std::memory_order_relaxed);
        const std::uint64_t mine = forks.load(std::memory_order_relaxed) << 1 | 1;
        if (seen & 1 || !value_.compare_exchange_weak(seen, mine, std::memory_order_acquire, std::memory_order_relaxed))
            return false;
#if TENFOLD_SEQLOCK_FENCES
        // Pairs with the fence in unchanged(): who reads a word stored after this also sees that the version is odd.
        std::atomic_thread_fence(std::memory_order_release);
#endif
        return true;
    }
    void lock();
    // Release pairs with the acquire in current(): who sees this version sees all words of it.
    void unlock() noexcept {
        const std::uint64_t next = writes_.load(std::memory_order_relaxed) + 1;  // relaxed: only the writer inside changes it
        writes_.store(next, std::memory_order_relaxed);
        value_.store(2 * next, std::memory_order_release);
    }

    std::uint64_t current() const noexcept { return value_.load(std::memory_order_acquire); }
    // After the words were read: are they all of version `seen`?
    bool unchanged(std::uint64_t seen) const noexcept {
#if TENFOLD_SEQLOCK_FENCES
        std::atomic_thread_fence(
            std::memory_order_acquire);  // pairs with the fence in try_lock(): words first, then the version
#endif
        return value_.load(std::memory_order_relaxed) == seen;
    }

    std::uint64_t writes() const noexcept { return writes_.load(std::memory_order_relaxed); }
    // A writer that is not in this process: it stayed behind when fork() copied it, and will never leave.
    bool left_behind() const noexcept {
        const std::uint64_t seen = current();
        return seen & 1 && seen >> 1 != forks.load(std::memory_order_relaxed);
    }

private:
    std::atomic<std::uint64_t> value_{0};
    std::atomic<std::uint64_t> writes_{0};
};

// Waiting for whoever holds a sequence: a handful of stores, unless that thread has lost its core, or was left behind by fork().
class patience {
public:
    explicit patience(const sequence& held) noexcept : held_(held) {}

    void operator()() {
        if (held_.left_behind())
            throw std::runtime_error(
                "another thread was writing this object when fork() copied it: make a new one in the child");
        if (++calls_ < 4096) return wait_();
        std::this_thread::sleep_for(std::chrono::microseconds(50));
    }

private:
    const sequence& held_;
    unsigned calls_ = 0;
    short_wait wait_;
};

inline void sequence::lock() {
    if (try_lock()) return;
    patience wait(*this);
    do wait();
    while (!try_lock());
}

}  // namespace atomic_detail

template <class T>
class seqlock {
    static_assert(std::is_trivially_copyable_v<T> && std::is_default_constructible_v<T>);

public:
    explicit seqlock(const T& initial = T()) noexcept { write(initial); }
    seqlock(const seqlock&) = delete;
    seqlock& operator=(const seqlock&) = delete;

    /// One try: false when a writer was there, and then `value` is a mixture, to be thrown away.
    bool try_load(T& value) const noexcept {
        const std::uint64_t seen = sequence_.current();
        if (seen & 1) return false;
        read(value, atomic_detail::word_load);
        return sequence_.unchanged(seen);
    }

    T load() const {
        T value;
        if (try_load(value)) return value;
        atomic_detail::patience wait(sequence_);
        do wait();
        while (!try_load(value));
        return value;
    }

    void store(const T& value) {
        sequence_.lock();
        write(value);
        sequence_.unlock();
    }

    /// change(value) edits the value while other writers wait. Keep it short; if it throws, nothing has changed.
    template <class Change>
    void update(Change change) {
        sequence_.lock();
        const struct unlock {  // also when change() throws: the words are written last
            atomic_detail::sequence& sequence;
            ~unlock() { sequence.unlock(); }
        } at_end{sequence_};
        std::array<std::uint64_t, words> copy;
        for (std::size_t i = 0; i < words; ++i)
            copy[i] = words_[i].load(std::memory_order_relaxed);  // no other writer is inside
        T value;
        std::memcpy(&value, copy.data(), sizeof(T));
        change(value);
        write(value);
    }

    /// How many writes have finished.
    std::uint64_t version() const noexcept { return sequence_.writes(); }

private:
    static constexpr std::size_t words = (sizeof(T) + 7) / 8;

    // Word by word: a memcpy from the atomics themselves would be the data race that this class avoids.
    void read(T& value, std::memory_order order) const noexcept {
        unsigned char* const bytes = reinterpret_cast<unsigned char*>(&value);
        for (std::size_t i = 0; i < words; ++i) {
            const std::uint64_t word = words_[i].load(order);
            std::memcpy(bytes + 8 * i, &word, i + 1 < words ? 8 : sizeof(T) - 8 * i);
        }
    }
    void write(const T& value) noexcept {
        std::array<std::uint64_t, words> copy{};
        std::memcpy(copy.data(), &value, sizeof(T));
        for (std::size_t i = 0; i < words; ++i) words_[i].store(copy[i], atomic_detail::word_store);  // see sequence
    }

    alignas(atomic_detail::line_bytes) atomic_detail::sequence sequence_;
    std::array<std::atomic<std::uint64_t>, words> words_{};
};

}  // namespace tenfold
