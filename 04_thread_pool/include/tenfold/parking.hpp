// tenfold/parking.hpp: where threads that have nothing to do sit, and how they are woken without losing a wake-up.
//
// Why: a worker that finds nothing must neither burn a core nor miss the job that arrives while it goes to sleep. The race: the
// producer publishes a job and then looks for sleepers; the worker announces that it sleeps and then looks for jobs. Each is a
// store followed by a load of the other's word, and a CPU (x86 too) may let a load pass an earlier store: both look too early,
// and the job waits for ever. So both sides put a seq_cst fence between the two. Whichever fence comes second sees the other:
//     producer:  publish job | fence | anybody asleep? wake one        notify_work()
//     worker:    take a seat | fence | any job? else sleep             sit(seat), look, sleep(seat) or stand(seat)
// Waking is a system call and tens of microseconds until the other runs, so it is done rarely: not at all while some thread
// still searches (it will find the job), and one thread at a time; the last searcher that finds a job wakes the next. Before a
// worker parks it spins for about one wake-up (spinner). Parked threads use no CPU.
//
// Copy: this file and chase_lev_deque.hpp. Needs C++20 and -pthread. Linux: raw futex; elsewhere std::atomic::wait.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>

#include <tenfold/chase_lev_deque.hpp>  // fence, cache_line

// TENFOLD_PORTABLE_PARKING takes the other way on Linux too, to test it.
#if defined(__linux__) && !defined(TENFOLD_PORTABLE_PARKING)
#define TENFOLD_FUTEX 1
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#endif

namespace tenfold {
namespace pool_detail {

using std::chrono::nanoseconds;
inline constexpr nanoseconds for_ever = nanoseconds::max();

inline void cpu_relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb" ::: "memory");
#endif
}

// Sleeps while word == expected; may also return for no reason, or when the time is over: callers look again.
inline void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, nanoseconds limit) noexcept {
#ifdef TENFOLD_FUTEX
    timespec time{};
    if (limit != for_ever) {
        const std::int64_t ns = limit.count() > 0 ? limit.count() : 0;
        time.tv_sec = static_cast<time_t>(ns / 1'000'000'000);
        time.tv_nsec = static_cast<long>(ns % 1'000'000'000);
    }
    ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, limit == for_ever ? nullptr : &time, nullptr, 0);
#else
    if (limit == for_ever) return word.wait(expected, std::memory_order_acquire);
    const auto end = std::chrono::steady_clock::now() + limit;  // atomic::wait knows no time limit
    while (word.load(std::memory_order_acquire) == expected && std::chrono::steady_clock::now() < end)
        std::this_thread::sleep_for(std::chrono::microseconds(500));
#endif
}

inline void futex_wake(std::atomic<std::uint32_t>& word) noexcept {
#ifdef TENFOLD_FUTEX
    ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
#else
    word.notify_one();
#endif
}

// How long to look before sleeping: some pauses, then pauses and yields (on a full machine the other thread may need this very
// CPU) until `budget` is over.
class spinner {
public:
    explicit spinner(nanoseconds budget) noexcept : budget_(budget) {}
    bool again() noexcept {
        cpu_relax();
        if (++rounds_ < 16) return true;
        const auto now = std::chrono::steady_clock::now();
        if (rounds_ == 16) end_ = now + budget_;
        if (now >= end_) return false;
        if (rounds_ % 4 == 0) std::this_thread::yield();
        return true;
    }

private:
    nanoseconds budget_;
    unsigned rounds_ = 0;
    std::chrono::steady_clock::time_point end_{};
};

}  // namespace pool_detail

class parking_lot {
public:
    // One per thread that may sleep here. A worker's seat lives as long as the lot; a guest (a thread from outside that waits
    // for one result) has it on its own stack, and no one touches it after the guest has stood up.
    class seat {
    public:
        explicit seat(bool guest = false) noexcept : guest_(guest) {}
        bool asleep() const noexcept { return word_.load(std::memory_order_relaxed) == 1; }  // relaxed: the caller has fenced

    private:
        friend class parking_lot;
        std::atomic<std::uint32_t> word_{0};  // 1: sits here, whoever wakes it writes 0. The futex.
        const bool guest_;
        seat* next_ = nullptr;  // guarded by the lot's mutex
    };

    // A worker is busy, searching, or seated. The two counts share one word so that a producer reads both at once.
    // seq_cst: in one order with end_search() on the same word; a producer that misses it wakes one worker too many.
    void start_search() noexcept { idle_.fetch_add(one_searcher, std::memory_order_seq_cst); }

    // It has found something (or what it waited for is done). The last searcher wakes the next: producers have not, because
    // it was searching. seq_cst: pairs with the load in notify_work(): who was seen searching there comes here, or to sit().
    void end_search() noexcept {
        const std::uint64_t before = idle_.fetch_sub(one_searcher, std::memory_order_seq_cst);
        if (before / one_searcher == 1 && before % one_searcher != 0) wake_worker();
    }

    // A searcher (or a guest) takes its seat. From here on it can be woken, so it must look once more at all that could
    // have happened before, and then sleep() or stand().
    void sit(seat& s) noexcept {
        {
            const std::lock_guard lock(mutex_);
            seat*& first = s.guest_ ? guests_ : workers_;
            s.next_ = first;
            first = &s;
            s.word_.store(1, std::memory_order_relaxed);  // ordered by the fence below
            if (!s.guest_) idle_.fetch_add(one_sleeper - one_searcher, std::memory_order_relaxed);  // likewise
        }
        // seq_cst: pairs with the fence in notify_work() and in wake(): seat first, then the look at the jobs.
        pool_detail::fence(std::memory_order_seq_cst);
    }

    // Sleeps until woken or until the time is over. Afterwards a worker counts as searching again.
    void sleep(seat& s, std::chrono::nanoseconds limit = pool_detail::for_ever) noexcept {
        // acquire: pairs with the release store in rouse(): we see what the waker did before.
        while (s.word_.load(std::memory_order_acquire) == 1) {
            pool_detail::futex_wait(s.word_, 1, limit);
            if (limit != pool_detail::for_ever) break;
        }
        if (s.guest_ || s.word_.load(std::memory_order_acquire) == 1) stand(s);
    }

    // Leaves the seat without having slept. Takes the lock also when it was woken: the waker has then done with the seat.
    void stand(seat& s) noexcept {
        const std::lock_guard lock(mutex_);
        if (unlink(s.guest_ ? guests_ : workers_, &s)) {
            s.word_.store(0, std::memory_order_relaxed);  // our own word again
            if (!s.guest_)
                idle_.fetch_add(one_searcher - one_sleeper, std::memory_order_relaxed);  // under the lock, as in rouse()
        }
    }

    // Producer: call it after a job has been published. Usually a fence and a load.
    void notify_work() noexcept {
        pool_detail::fence(std::memory_order_seq_cst);  // pairs with the fence in sit()
        const std::uint64_t idle = idle_.load(pool_detail::beside_fence(std::memory_order_relaxed));  // ordered by the fence
        if (idle != 0 && idle < one_searcher) wake_worker();  // somebody sleeps and nobody searches
    }

    // Wakes this one, if it sits here. `s` is not touched unless it is found: the seat of a guest may be gone by now.
    void wake(seat* s) noexcept {
        const std::lock_guard lock(mutex_);
        if (unlink(workers_, s)) rouse(s);
        else if (unlink(guests_, s)) rouse(s);
    }

    void wake_worker() noexcept {
        const std::lock_guard lock(mutex_);
        seat* s = workers_;  // the last that sat down: its cache is the warmest
        if (s == nullptr) return;
        workers_ = s->next_;
        rouse(s);
    }
    void wake_workers() noexcept {
        const std::lock_guard lock(mutex_);
        while (seat* s = workers_) {
            workers_ = s->next_;
            rouse(s);
        }
    }
    void wake_guests() noexcept {
        const std::lock_guard lock(mutex_);
        while (seat* s = guests_) {
            guests_ = s->next_;
            rouse(s);
        }
    }

    int sleeping() const noexcept { return static_cast<int>(idle_.load(std::memory_order_relaxed) % one_searcher); }  // a hint
    int searching() const noexcept { return static_cast<int>(idle_.load(std::memory_order_relaxed) / one_searcher); }  // a hint

private:
    // Under the lock; s is unlinked. It counts as searching from now on, not from when it runs: the producers that come in
    // the tens of microseconds between do not wake another for the same job.
    void rouse(seat* s) noexcept {
        if (!s->guest_) idle_.fetch_add(one_searcher - one_sleeper, std::memory_order_relaxed);  // under the lock, as in sit()
        s->word_.store(0, std::memory_order_release);  // pairs with the acquire load in sleep()
        pool_detail::futex_wake(s->word_);
    }
    static bool unlink(seat*& first, seat* s) noexcept {
        for (seat** link = &first; *link != nullptr; link = &(*link)->next_)
            if (*link == s) {
                *link = s->next_;
                return true;
            }
        return false;
    }

    static constexpr std::uint64_t one_sleeper = 1;
    static constexpr std::uint64_t one_searcher = std::uint64_t{1} << 32;

    // Producers read idle_ at every publication, so it has a line of its own.
    alignas(pool_detail::cache_line) std::atomic<std::uint64_t> idle_{0};  // searchers * 2^32 + seated workers
    alignas(pool_detail::cache_line) std::mutex mutex_;  // guards the two lists; taken only to sit, stand and wake
    seat* workers_ = nullptr;
    seat* guests_ = nullptr;
};

}  // namespace tenfold
