// tenfold/chase_lev_deque.hpp: the work-stealing deque. One owner pushes and takes at the bottom, any thread steals at the top.
//
// Why: a pool with one locked queue makes every thread wait for the same lock. With a deque per worker, a worker uses its own
// end nearly for free and in cache-warm order (newest first), and only who has nothing to do touches another's: at the other
// end, where the oldest and, in divide and conquer, the largest piece lies. Owner and thief meet only at the last item.
//     tenfold::chase_lev_deque<job*> deque;     // owner: push(x), take(); anyone: steal(x)
//
// Algorithm: D. Chase, Y. Lev, "Dynamic circular work-stealing deque", SPAA 2005, with the C11 memory orders proved in
// N. M. Le, A. Pop, A. Cohen, F. Zappa Nardelli, "Correct and efficient work-stealing for weak memory models", PPoPP 2013.
//
// Copy: this file. Needs C++20 and -pthread; T must be trivially copyable and fit a lock-free atomic (a pointer, an index).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#if defined(__SANITIZE_THREAD__)
#define TENFOLD_POOL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TENFOLD_POOL_TSAN 1
#endif
#endif

namespace tenfold {

enum class steal_result {
    empty,  // nothing was there
    lost,  // another thief, or the owner, was faster: there may be more
    stolen,
};

namespace pool_detail {

// 64 on every machine we know but the newest Apple and POWER; std::hardware_destructive_interference_size varies with flags.
inline constexpr std::size_t cache_line = 64;

// ThreadSanitizer does not model fences: it would take the items themselves for raced for (GCC warns about every fence). Under
// it the operations beside a fence become seq_cst as well, which is stronger than what the fence asks of them.
#ifdef TENFOLD_POOL_TSAN
inline constexpr std::memory_order beside_fence(std::memory_order) noexcept { return std::memory_order_seq_cst; }
#else
inline constexpr std::memory_order beside_fence(std::memory_order order) noexcept { return order; }
#endif

inline void fence(std::memory_order order) noexcept {
#if defined(TENFOLD_POOL_TSAN) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
    std::atomic_thread_fence(order);
#if defined(TENFOLD_POOL_TSAN) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
}

}  // namespace pool_detail

template <class T>
class chase_lev_deque {
    static_assert(std::is_trivially_copyable_v<T> && std::atomic<T>::is_always_lock_free,
                  "a thief copies an item before it knows whether it is its own: store a pointer");

public:
    explicit chase_lev_deque(std::size_t capacity = 256) {
        std::size_t size = 2;
        while (size < capacity) size *= 2;
        rings_.push_back(std::make_unique<ring>(size));
        ring_.store(rings_.back().get(), std::memory_order_relaxed);
    }
    chase_lev_deque(const chase_lev_deque&) = delete;
    chase_lev_deque& operator=(const chase_lev_deque&) = delete;

    // Owner only. Grows when full; std::bad_alloc leaves the deque as it was.
    void push(T item) {
        const std::int64_t bottom = bottom_.load(std::memory_order_relaxed);  // ours alone to write
        // acquire: pairs with the compare-exchange of steal(). A slot that a thief has emptied is read before it is reused.
        const std::int64_t top = top_.load(std::memory_order_acquire);
        ring* items = ring_.load(std::memory_order_relaxed);  // ours alone to write
        if (bottom - top > items->mask) [[unlikely]]
            items = grow(items, bottom, top);
        items->slot(bottom).store(item, std::memory_order_relaxed);  // published by the fence and the store below
        // release: pairs with the acquire load of bottom_ in steal(): who sees the new bottom sees the item, what the item
        // points to, and the ring that holds it.
        pool_detail::fence(std::memory_order_release);
        bottom_.store(bottom + 1, pool_detail::beside_fence(std::memory_order_relaxed));
    }

    // Owner only: the newest item. False when there is none.
    bool take(T& item) noexcept {
        const std::int64_t bottom = bottom_.load(std::memory_order_relaxed) - 1;
        ring* items = ring_.load(std::memory_order_relaxed);
        bottom_.store(bottom, pool_detail::beside_fence(std::memory_order_relaxed));
        // seq_cst: pairs with the fence in steal(). We announce the lower bottom, then read top; a thief reads top, then
        // bottom. Whichever fence comes second, its thread sees the other's write: owner and thief cannot both believe that
        // the last item is theirs without meeting in the compare-exchange. This fence is what take() costs.
        pool_detail::fence(std::memory_order_seq_cst);
        std::int64_t top = top_.load(pool_detail::beside_fence(std::memory_order_relaxed));  // ordered by the fence
        if (top > bottom) {  // it was empty
            bottom_.store(bottom + 1, std::memory_order_relaxed);  // back to what it was: nothing new to publish
            return false;
        }
        item = items->slot(bottom).load(std::memory_order_relaxed);  // written by this thread
        if (top < bottom) return true;
        // The last one: whoever moves top has it. seq_cst: in one order with the thieves' compare-exchange on the same word;
        // relaxed on failure: nothing is read through the value.
        const bool mine = top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst, std::memory_order_relaxed);
        bottom_.store(bottom + 1, std::memory_order_relaxed);  // empty again: bottom == top, no item to publish
        return mine;
    }

    // Any thread: the oldest item.
    steal_result steal(T& item) noexcept {
        // acquire: pairs with the compare-exchange of the thief (or taker) before us; our reads come after its move.
        std::int64_t top = top_.load(pool_detail::beside_fence(std::memory_order_acquire));
        pool_detail::fence(std::memory_order_seq_cst);  // pairs with the fence in take(), see there
        // acquire: pairs with the release fence of push().
        const std::int64_t bottom = bottom_.load(pool_detail::beside_fence(std::memory_order_acquire));
        if (top >= bottom) return steal_result::empty;
        // acquire (the paper: consume): pairs with the release store in grow(): the copied items are seen.
        ring* items = ring_.load(std::memory_order_acquire);
        // relaxed: may be out of date or already someone else's; the compare-exchange says whether it counts.
        const T candidate = items->slot(top).load(std::memory_order_relaxed);
        // seq_cst: see take(). Release included: pairs with the acquire of top_ in push(). relaxed on failure: we go away.
        if (!top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst, std::memory_order_relaxed))
            return steal_result::lost;
        item = candidate;
        return steal_result::stolen;
    }

    // A hint, from any thread: two plain loads. The owner may rely on "not empty" only as "was not when I last wrote it".
    bool looks_empty() const noexcept {
        return bottom_.load(std::memory_order_relaxed) <= top_.load(std::memory_order_relaxed);  // relaxed: a hint
    }
    // A hint: exact while nobody else is at work.
    std::size_t size() const noexcept {
        const std::int64_t items = bottom_.load(std::memory_order_relaxed) - top_.load(std::memory_order_relaxed);
        return items > 0 ? static_cast<std::size_t>(items) : 0;
    }
    // Owner only.
    std::size_t capacity() const noexcept { return static_cast<std::size_t>(ring_.load(std::memory_order_relaxed)->mask) + 1; }

private:
    struct ring {
        explicit ring(std::size_t size) : mask(static_cast<std::int64_t>(size) - 1), slots(new std::atomic<T>[size]) {}
        std::atomic<T>& slot(std::int64_t index) noexcept { return slots[static_cast<std::size_t>(index & mask)]; }
        const std::int64_t mask;
        const std::unique_ptr<std::atomic<T>[]> slots;
    };

    ring* grow(ring* old, std::int64_t bottom, std::int64_t top) {
        auto larger = std::make_unique<ring>((static_cast<std::size_t>(old->mask) + 1) * 2);
        for (std::int64_t i = top; i < bottom; ++i)
            larger->slot(i).store(old->slot(i).load(std::memory_order_relaxed), std::memory_order_relaxed);
        rings_.push_back(std::move(larger));
        // release: pairs with the acquire load of ring_ in steal().
        ring_.store(rings_.back().get(), std::memory_order_release);
        return rings_.back().get();
    }

    // Who writes what: thieves and the last take() write top_, the owner writes everything else. Each on a line of its own, so
    // that the owner's pushes do not take the line that idle thieves look at more often than they must.
    alignas(pool_detail::cache_line) std::atomic<std::int64_t> top_{0};
    alignas(pool_detail::cache_line) std::atomic<std::int64_t> bottom_{0};
    std::atomic<ring*> ring_{nullptr};
    // All rings ever used: a slow thief may still read an old one. Together they are at most twice the largest.
    std::vector<std::unique_ptr<ring>> rings_;
};

}  // namespace tenfold
