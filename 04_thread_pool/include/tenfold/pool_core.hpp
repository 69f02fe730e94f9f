// tenfold/pool_core.hpp: what the workers of one pool share, and how a worker finds work that is not its own.
//
// Jobs from outside go through one locked queue: they are few and large (a whole batch is one), and order matters to those who
// wait. Whether the pool has finished all it accepted is found out from counters that each have one writer (idle()).
//
// Copy: comes with thread_pool.hpp. Needs C++20 and -pthread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <vector>

#include <tenfold/pool_worker.hpp>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace tenfold {

namespace pool_detail {

// fork() copies a pool's memory but not its threads. Counting forks lets every pool know in one load that it is a copy.
inline std::atomic<unsigned> forks{0};
inline unsigned count_forks() noexcept {
#if defined(__unix__) || defined(__APPLE__)
    [[maybe_unused]] static const int registered =
        ::pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
#endif
    return forks.load(std::memory_order_relaxed);  // relaxed: a child begins with one thread
}
inline bool forked_since(unsigned count) noexcept { return forks.load(std::memory_order_relaxed) != count; }
[[noreturn]] inline void refuse_after_fork() {
    throw std::runtime_error(
        "thread_pool was made before fork() and has no threads in this process: make a new one here, or "
        "start processes with 'spawn' or 'forkserver'");
}

// Shared by the workers of one pool.
struct pool_core {
    explicit pool_core(nanoseconds spin) : idle_spin(std::min<nanoseconds>(spin, std::chrono::hours(1))), guest_blocks(store) {}

    // Jobs from outside, first in first out. False: closed, which is decided under the same lock.
    bool inject(pool_job* j) {
        {
            const std::lock_guard lock(injected_mutex);
            if (closed) return false;
            injected.push_back(j);
            injected_size.store(injected.size(), std::memory_order_relaxed);  // a hint, ordered by the fence in notify_work()
            injected_total.fetch_add(1, std::memory_order_release);  // pairs with idle()
        }
        lot.notify_work();
        return true;
    }
    pool_job* take_injected() noexcept {
        if (injected_size.load(std::memory_order_relaxed) == 0) return nullptr;  // a hint: asked again after sit()
        const std::lock_guard lock(injected_mutex);
        if (injected.empty()) return nullptr;
        pool_job* const j = injected.front();
        injected.pop_front();
        injected_size.store(injected.size(), std::memory_order_relaxed);
        return j;
    }

    // Out of the queue again, if no worker has taken it: then nobody will touch it.
    bool withdraw(pool_job* j) noexcept {
        {
            const std::lock_guard lock(injected_mutex);
            const auto at = std::find(injected.begin(), injected.end(), j);
            if (at == injected.end()) return false;
            injected.erase(at);
            injected_size.store(injected.size(), std::memory_order_relaxed);
            withdrawn_total.fetch_add(1, std::memory_order_release);  // pairs with idle()
        }
        tell_idle_waiters();
        return true;
    }

    // Nothing accepted is unfinished. The counters only grow, every job is counted as made before anyone can finish it, and the
    // finished ones are read first: if the sums agree, they agreed at the moment between the two readings.
    bool idle() const noexcept {
        std::uint64_t finished = withdrawn_total.load(std::memory_order_acquire), created = 0;  // acquire: withdraw()
        // acquire: pairs with count_finished(): the creations that the finished jobs caused are seen below.
        for (const auto& w : workers) finished += w->finished_.load(std::memory_order_acquire);
        for (const auto& w : workers) created += w->created_.load(std::memory_order_acquire);
        return finished == created + injected_total.load(std::memory_order_acquire);
    }
    void tell_idle_waiters() noexcept {
        // relaxed: asked early when a search begins, and for certain after the worker's sit(), whose fence pairs with that of
        // the waiter's sit(): it counts itself, sits, looks at idle().
        if (idle_waiters.load(std::memory_order_relaxed) != 0 && idle()) lot.wake_guests();
    }

    parking_lot lot;
    const nanoseconds idle_spin;  // it is added to the time: within what a clock can hold
    const unsigned forks = count_forks();  // how often this process had been forked when the pool was made
    std::vector<std::unique_ptr<pool_worker>> workers;  // fixed once the threads run
    std::atomic<bool> exiting{false};  // set when everything is finished: workers leave
    std::atomic<bool> discarding{false};  // cancel_pending(): heap jobs that have not begun are dropped
    std::atomic<int> idle_waiters{0};
    // A broadcast uses the workers' slots. On a line of its own: idle workers look at the members above all the time.
    alignas(cache_line) std::atomic<bool> calling{false};

    alignas(cache_line) std::mutex injected_mutex;  // guards injected, closed
    std::deque<pool_job*> injected;
    bool closed = false;
    std::atomic<std::size_t> injected_size{0};
    std::atomic<std::uint64_t> injected_total{0}, withdrawn_total{0};

    block_store store;
    std::mutex guest_mutex;  // guards the two below
    block_cache guest_blocks;  // for threads from outside
    std::exception_ptr detached_error;
};

inline parking_lot& lot_of(pool_worker& worker) noexcept { return worker.core().lot; }

}  // namespace pool_detail

inline pool_worker::pool_worker(pool_detail::pool_core& core, int index, std::uint64_t seed)
    : core_(core),
      slots_(new job*[256]),
      random_((seed + static_cast<std::uint64_t>(index) + 1) * 0x9E3779B97F4A7C15u | 1u),
      blocks_(core.store),
      index_(index) {
    slots_[0] = nullptr;
    head_ = tail_ = slots_.get() + 1;
    limit_ = slots_.get() + 256;
}

inline void pool_worker::publish(std::size_t count) noexcept {
    try {
        for (; count != 0; --count) {
            shared_.push(*head_);
            *head_++ = nullptr;
            pool_detail::bump(published_);
        }
    } catch (const std::bad_alloc&) {
        // The deque could not grow: the rest stays private.
    }
    if (head_ == tail_) head_ = tail_ = slots_.get() + 1;
    core_.lot.notify_work();
}

inline void pool_worker::send(pool_detail::letter* j) noexcept {
    j->next = mail_.load(std::memory_order_relaxed);
    // release: pairs with the acquire in find_sent(): the letter is seen whole.
    while (!mail_.compare_exchange_weak(j->next, j, std::memory_order_release, std::memory_order_relaxed)) {
    }
    pool_detail::fence(std::memory_order_seq_cst);  // pairs with the fence in sit(): mail first, then the look at the seat
    wake_for_call();
}
inline void pool_worker::wake_for_call() noexcept {
    if (seat_.asleep()) core_.lot.wake(&seat_);
}

inline pool_worker::job* pool_worker::find_sent() noexcept {
    if (called()) {
        ++answered_;
        return &slot_;
    }
    // acquire: pairs with the release in send(). Only this worker removes, so what is on top stays a list until it does.
    pool_detail::letter* mail = mail_.load(std::memory_order_acquire);
    while (mail != nullptr)
        if (mail_.compare_exchange_weak(mail, mail->next, std::memory_order_acquire)) return mail;
    return core_.take_injected();
}

inline pool_worker::job* pool_worker::find_remote() noexcept {
    if (job* const j = find_sent()) return j;
    const std::size_t size = core_.workers.size();
    if (size == 1) return nullptr;
    std::size_t victim = random() % size;
    for (std::size_t i = 0; i < size; ++i, victim = victim + 1 == size ? 0 : victim + 1) {
        pool_worker& other = *core_.workers[victim];
        if (&other == this) continue;
        job* j = nullptr;
        for (;;) {
            const steal_result result = other.shared_.looks_empty() ? steal_result::empty : other.shared_.steal(j);
            if (result == steal_result::stolen) {
                pool_detail::bump(steals_);
                return j;
            }
            if (result == steal_result::empty) break;
            pool_detail::bump(failed_steals_);
        }
    }
    return nullptr;
}

template <class Wait>
pool_worker::job* pool_worker::search(Wait& wait) {
    parking_lot& lot = core_.lot;
    lot.start_search();
    core_.tell_idle_waiters();
    pool_detail::spinner spin(core_.idle_spin);
    job* j = nullptr;
    for (;;) {
        if (wait.done() || (j = find_remote()) != nullptr) break;
        if (poller_ != nullptr) poller_->ask(poller_);
        for (int i = 0; i < 3 && !called(); ++i) pool_detail::cpu_relax();  // our own line: costs nobody anything
        if (spin.again()) continue;
        lot.sit(seat_);
        // Seated: all that was published before is visible now, all that comes later wakes us.
        core_.tell_idle_waiters();
        if (!wait.arm(&seat_) || wait.done() || (j = find_remote()) != nullptr) {
            lot.stand(seat_);
            break;
        }
        pool_detail::bump(parks_);
        lot.sleep(seat_, poller_ != nullptr ? pool_detail::poll_slice : wait.slice);
        spin = pool_detail::spinner(core_.idle_spin);
    }
    lot.end_search();
    return j;
}

inline pool_counters pool_worker::counters() const noexcept {
    const auto get = [](const std::atomic<std::uint64_t>& counter) { return counter.load(std::memory_order_relaxed); };
    return {get(executed_),   get(steals_), get(failed_steals_),  get(published_),
            get(taken_back_), get(parks_),  get(detached_errors_)};
}

}  // namespace tenfold
