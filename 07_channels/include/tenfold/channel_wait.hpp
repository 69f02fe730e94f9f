// tenfold/channel_wait.hpp: how a thread sleeps until a channel has something for it, at no cost to those who do not sleep.
//
// The race: a sender publishes a message, then looks whether somebody sleeps; a receiver says "I sleep", then looks once more
// for a message. Each does a store, then a load of what the other stores. A processor may let the load overtake the store, on
// both sides: the sender sees no sleeper, the receiver no message, and it sleeps for ever. The textbook cure is a full fence on
// both sides, for every message, although hardly any message meets a sleeper. Here the one who goes to sleep pays for both:
//     every message          publish; light_fence(); look for sleepers      one load of a line that nobody writes
//     only before sleeping   enrol;   heavy_fence(); look for messages      membarrier(2)
// membarrier makes every thread of the process that runs right now execute a full fence (one that does not run had its fence
// when it was switched out). A sender that had not yet looked will see the sleeper; one that had, has its message visible.
// Where membarrier is missing light_fence() is that full fence.
//
// Copy: this file.   #include <tenfold/channel_wait.hpp>   C++20, -pthread. Linux: raw futex and membarrier; elsewhere a
// mutex with a condition variable per sleeper, and fences.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

#ifdef __linux__
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#else
#include <condition_variable>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#if defined(__SANITIZE_THREAD__)
#define TENFOLD_CHANNEL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TENFOLD_CHANNEL_TSAN 1
#endif
#endif

// Registers that a call saves are stores too. While the line of a slot is on its way from the other core, every store behind
// it queues up, and a send that is a call instead of a dozen instructions in the loop took 2.5 times as long.
#if defined(__GNUC__)
#define TENFOLD_CHANNEL_HOT [[gnu::always_inline]] inline
#define TENFOLD_CHANNEL_COLD [[gnu::noinline]]
#else
#define TENFOLD_CHANNEL_HOT inline
#define TENFOLD_CHANNEL_COLD
#endif

#ifndef TENFOLD_NEVER_STOP
#define TENFOLD_NEVER_STOP
namespace tenfold {

struct never_stop {
    bool operator()() const noexcept { return false; }
};

struct stopped : std::exception {
    const char* what() const noexcept override { return "stopped"; }
};

}  // namespace tenfold
#endif

namespace tenfold {

/// not_now: full or empty. lagged: a broadcast overwrote messages that this subscriber had not read.
enum class channel_status { ok, not_now, closed, timeout, stopped, lagged };

using channel_clock = std::chrono::steady_clock;
inline constexpr channel_clock::time_point no_deadline = channel_clock::time_point::max();

namespace channel_detail {

inline void cpu_pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb");
#endif
}

// How long an empty (full) side leaves the other alone before it looks again. Looking at every pause drags the line with the
// index from core to core for each message; in about this time a batch builds up behind it. The first looks come sooner, for
// the one message that is an answer.
inline void back_off(int looks_before = 3) noexcept {
    for (int i = looks_before < 3 ? 4 << looks_before : 32; i > 0; --i) cpu_pause();
}

#ifdef __linux__
inline bool membarrier(int command) noexcept { return ::syscall(SYS_membarrier, command, 0, 0) == 0; }
// Dynamic initialisation: whoever runs before it reads false and takes the full fence, which is right as well.
inline const bool has_membarrier = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
#else
inline constexpr bool has_membarrier = false;
#endif

inline void full_fence() noexcept {
#ifdef TENFOLD_CHANNEL_TSAN
    // ThreadSanitizer knows nothing of fences. No data is ever ordered by them alone (that is done by release and acquire on
    // the indices), so it is enough that the processor obeys; a read-modify-write of our own word makes it.
    std::atomic<int> own{0};
    own.fetch_add(1, std::memory_order_seq_cst);
#else
    std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

TENFOLD_CHANNEL_HOT void light_fence() noexcept {
    if (has_membarrier)
        std::atomic_signal_fence(std::memory_order_seq_cst);  // the compiler keeps the order; the processor: see heavy_fence()
    else full_fence();
}

inline void heavy_fence() {
    full_fence();
#ifdef __linux__
    if (!has_membarrier || membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) return;
    // A forked child may have to register again. Otherwise a sandbox came later, and light_fence() relies on us.
    if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) && membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) return;
    throw std::system_error(errno, std::generic_category(), "membarrier worked before and is refused now");
#endif
}

// A channel belongs to the process that made it: after fork() its other threads are not there to wake anybody.
class home_process {
public:
    bool left() const noexcept {
#if defined(__unix__) || defined(__APPLE__)
        return pid_ != ::getpid();
#else
        return false;
#endif
    }
    void check() const {
        if (left())
            throw std::runtime_error(
                "this channel was made before fork(): its other side is in the parent process. Make it after the fork");
    }

private:
#if defined(__unix__) || defined(__APPLE__)
    const pid_t pid_ = ::getpid();
#endif
};

}  // namespace channel_detail

/// A mutex that a forked child cannot hang on because the parent held it at the fork: the child gets std::runtime_error.
class channel_mutex {
public:
    void lock() {
        if (mutex_.try_lock()) return;
        home_.check();
        mutex_.lock();
    }
    void unlock() noexcept { mutex_.unlock(); }

private:
    std::mutex mutex_;
    channel_detail::home_process home_;
};

/// For a container whose owner serialises every access himself, as Python's GIL does.
struct no_lock {
    void lock() noexcept {}
    void unlock() noexcept {}
};

namespace channel_detail {

// One sleeping thread. set() is called under the lock of the queue that it waits in, wake() after that lock.
class signal {
public:
    bool is_set() const noexcept { return word_.load(std::memory_order_acquire) != 0; }  // pairs with the CAS in set()

    /// The first of several channels that the thread waits for wins: true for that one only.
    bool set() noexcept {
        std::uint32_t unset = 0;
#ifdef __linux__
        return word_.compare_exchange_strong(unset, 1, std::memory_order_acq_rel);  // release: pairs with is_set()
#else
        const std::lock_guard lock(mutex_);
        const bool first = word_.compare_exchange_strong(unset, 1, std::memory_order_acq_rel);  // release: pairs with is_set()
        condition_.notify_one();
        return first;
#endif
    }
    /// The sleeper may be gone by now: the address is a key for the kernel, nothing is read there. At worst somebody else,
    /// whose futex took the address over, wakes once too often.
    static void wake(signal* sleeper) noexcept {
#ifdef __linux__
        ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&sleeper->word_), FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
#else
        (void)sleeper;
#endif
    }

    /// Returns when set, at the deadline, or for no reason.
    void wait_until(channel_clock::time_point deadline) noexcept {
#ifdef __linux__
        static_assert(sizeof(word_) == 4 && std::atomic<std::uint32_t>::is_always_lock_free);
        timespec at{};
        const timespec* until = nullptr;
        if (deadline != no_deadline) {
            const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.time_since_epoch()).count();
            at.tv_sec = static_cast<decltype(at.tv_sec)>(ns / 1'000'000'000);
            at.tv_nsec = static_cast<decltype(at.tv_nsec)>(ns % 1'000'000'000);
            until = &at;
        }
        // FUTEX_WAIT_BITSET takes a point in time of CLOCK_MONOTONIC, which is what steady_clock counts.
        ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word_), FUTEX_WAIT_BITSET_PRIVATE, 0, until, nullptr,
                  FUTEX_BITSET_MATCH_ANY);
#else
        std::unique_lock lock(mutex_);
        if (is_set()) return;
        if (deadline == no_deadline) condition_.wait(lock);
        else condition_.wait_until(lock, deadline);
#endif
    }

private:
    std::atomic<std::uint32_t> word_{0};
#ifndef __linux__
    std::mutex mutex_;
    std::condition_variable condition_;
#endif
};

// A place in a wait_queue: of a sleeping thread (on its stack), or of a callback (owned by the list while linked).
struct wait_node {
    signal* sleeper = nullptr;
    std::function<void()> callback{};
    std::shared_ptr<wait_node> self{};
    wait_node* previous = nullptr;
    wait_node* next = nullptr;
    bool linked = false;
};

// Who waits on one side of a channel, first come first served. The lock is taken by those who sleep and those who wake.
class wait_queue {
public:
    wait_queue() = default;
    wait_queue(const wait_queue&) = delete;
    wait_queue& operator=(const wait_queue&) = delete;
    ~wait_queue() {
        if (home_.left()) return;  // the watches of the parent: leaked in the child
        for (wait_node* node = first_; node != nullptr;) {
            const auto keep = std::move(node->self);
            node->linked = false;
            node = node->next;
        }
    }

    void add(wait_node& node) {
        home_.check();
        const std::lock_guard lock(mutex_);
        node.previous = last_;
        node.next = nullptr;
        (last_ ? last_->next : first_) = &node;
        last_ = &node;
        node.linked = true;
        ++parks_;
        waiting_.store(waiting_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // ordered by heavy_fence()
    }
    /// True if nobody had claimed the node: no wake-up was spent on it. Afterwards nobody refers to it.
    bool remove(wait_node& node) {
        if (home_.left()) return false;
        std::shared_ptr<wait_node> keep;  // what its callback holds is destroyed after the lock
        const std::lock_guard lock(mutex_);
        if (!node.linked) return false;
        unlink(node);
        keep = std::move(node.self);
        return true;
    }

    /// After publishing something `count` waiters could use.
    TENFOLD_CHANNEL_HOT void notify(std::size_t count) {
        light_fence();
        if (waiting_.load(std::memory_order_relaxed) != 0) [[unlikely]]  // not before the publication: light_fence()
            wake(count);
    }
    void notify_all() { notify(std::numeric_limits<std::size_t>::max()); }

    std::size_t waiting() const noexcept {
        return waiting_.load(std::memory_order_relaxed);
    }  // a figure, nothing depends on it
    std::uint64_t parks() const {
        const std::lock_guard lock(mutex_);
        return parks_;
    }
    std::uint64_t wakes() const {
        const std::lock_guard lock(mutex_);
        return wakes_;
    }

private:
    void unlink(wait_node& node) noexcept {
        (node.previous ? node.previous->next : first_) = node.next;
        (node.next ? node.next->previous : last_) = node.previous;
        node.linked = false;
        waiting_.store(waiting_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);  // under the lock
    }

    // Apart from notify(), which every message passes through and which should be a load and a jump there.
    TENFOLD_CHANNEL_COLD void wake(std::size_t count) {
        // In a forked child those who waited are not there, and new threads may have been given the stacks their nodes lie on.
        if (home_.left()) return;
        // Those who wait now, not those who come back while we are at it: they look for themselves.
        count = std::min(count, waiting_.load(std::memory_order_relaxed));  // not older than the look in notify()
        while (count-- > 0 && wake_first()) {
        }
    }

    // Claims the first waiter that nobody else has woken meanwhile. Its wake-up and its callback come after the lock: a
    // callback may wait for a lock (the GIL, say) whose owner is about to take ours.
    bool wake_first() {
        signal* sleeper = nullptr;
        std::shared_ptr<wait_node> called;
        {
            const std::lock_guard lock(mutex_);
            for (;;) {
                if (first_ == nullptr) return false;
                wait_node& node = *first_;
                unlink(node);
                if (node.sleeper == nullptr) {
                    called = std::move(node.self);
                    break;
                }
                if (node.sleeper->set()) {
                    sleeper = node.sleeper;
                    break;
                }
            }
            ++wakes_;
        }
        if (called) called->callback();
        else signal::wake(sleeper);
        return true;
    }

    std::atomic<std::size_t> waiting_{0};  // written under the lock, read by every message on the other side
    mutable channel_mutex mutex_;
    wait_node* first_ = nullptr;
    wait_node* last_ = nullptr;
    std::uint64_t parks_ = 0, wakes_ = 0;
    home_process home_;
};
}  // namespace channel_detail
}  // namespace tenfold
