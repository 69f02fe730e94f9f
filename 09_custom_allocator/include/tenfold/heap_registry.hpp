// tenfold/heap_registry.hpp: which thread has which heap of which allocator, while all three come and go.
//
// Why: a thread finds its heap in a thread-local variable. But allocators are destroyed while threads live, threads end while
// allocators live, and a fork leaves one thread of many. So allocators have numbers that are never used again (a stale entry in a
// thread finds nothing), ending threads hand their heaps back, and one lock for the whole process guards everything that happens
// seldom: a new thread, a new span, an end. It is taken around fork(), so a child finds it free.
//
// Copy: with sized_allocator.hpp, which is what to include.   C++20; link the platform's threads library (-pthread).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include "tenfold/span_map.hpp"
#include "tenfold/thread_heap.hpp"

namespace tenfold::alloc_detail {

/// What the registry knows of an allocator. All members are guarded by the registry's lock.
struct heap_set {
    explicit heap_set(bool debug) : common(debug) {}
    std::uint64_t number = 0;
    std::vector<std::unique_ptr<thread_heap>> heaps;
    thread_heap common;  // for threads that are past their thread-locals; used under the lock only
};

class heap_registry {
public:
    /// Never destroyed: threads may free while, and after, static objects are destroyed.
    static heap_registry& instance() {
        static heap_registry& registry = *std::make_unique<heap_registry>().release();
        return registry;
    }
    heap_registry() {
#if defined(__unix__) || defined(__APPLE__)
        ::pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                         [] {
                             instance().bury_others();
                             instance().mutex_.unlock();
                         });
#endif
    }

    std::unique_lock<std::mutex> lock() { return std::unique_lock(mutex_); }

    // ---- under the lock

    void add(heap_set& set) {
        sets_.push_back(&set);
        set.number = ++numbers_;
    }
    void remove(heap_set& set) noexcept { std::erase(sets_, &set); }
    heap_set* find(std::uint64_t number) noexcept {
        const auto found = std::find_if(sets_.begin(), sets_.end(), [&](heap_set* set) { return set->number == number; });
        return found == sets_.end() ? nullptr : *found;
    }
    /// A heap for a new thread: one that a thread left behind, else a new one.
    static thread_heap& take_heap(heap_set& set, bool debug) {
        for (auto& each : set.heaps)
            if (each->now == thread_heap::state::orphan || each->now == thread_heap::state::shell) {
                each->now = thread_heap::state::in_use;
                return *each;
            }
        set.heaps.push_back(std::make_unique<thread_heap>(debug));
        return *set.heaps.back();
    }
    span_record& take_record() {
        if (records_.empty()) {
            all_records_.push_back(std::make_unique<span_record>());
            records_.reserve(all_records_.size());  // so that giving back cannot fail
            return *all_records_.back();
        }
        span_record& record = *records_.back();
        records_.pop_back();
        return record;
    }
    void give_record(span_record& record) noexcept {
        record.home.store(0, std::memory_order_relaxed);
        record.owner.store(nullptr, std::memory_order_relaxed);
        record.cut.store(0, std::memory_order_relaxed);
        for (std::uint32_t i = 0; i < record.count; ++i) record.set_state(i, span_record::idle);
        record.count = 0;
        record.leaving = record.unsound = false;
        records_.push_back(&record);
    }

private:
    // In a forked child: the other threads are gone, and may have been in the middle of anything. What their heaps hold stays
    // unused; blocks of theirs can still be freed, and are then unused as well.
    void bury_others() noexcept;

    std::mutex mutex_;
    std::uint64_t numbers_ = 0;
    std::vector<heap_set*> sets_;
    std::vector<std::unique_ptr<span_record>> all_records_;
    std::vector<span_record*> records_;  // not in use
};

/// This thread's heaps. The array is what the fast path reads: no constructor, no destructor, so it works until the very end.
struct known_heap {
    std::uint64_t number;
    thread_heap* heap;
};
inline constexpr std::size_t known_heaps = 8;
inline constinit thread_local std::array<known_heap, known_heaps> my_heaps{};
inline constinit thread_local bool thread_is_over = false;

struct thread_end {
    std::vector<known_heap> all;
    ~thread_end() {
        thread_is_over = true;  // destructors of other thread-locals may still allocate: they use the common heap
        heap_registry& registry = heap_registry::instance();
        const auto lock = registry.lock();
        for (const known_heap& each : all)
            if (registry.find(each.number)) {
                each.heap->flush();
                each.heap->now = thread_heap::state::orphan;
            }
        my_heaps = {};
    }
};
inline thread_local thread_end my_end;

inline void heap_registry::bury_others() noexcept {
    for (heap_set* set : sets_)
        for (auto& heap : set->heaps) {
            const auto is_mine = [&](const known_heap& each) { return each.number == set->number && each.heap == heap.get(); };
            const bool mine = !thread_is_over && std::any_of(my_end.all.begin(), my_end.all.end(), is_mine);
            if (heap->now == thread_heap::state::in_use && !mine) heap->now = thread_heap::state::dead;
        }
}

/// This thread's heap of the allocator, or nullptr if the thread is past its thread-locals.
inline thread_heap* attach(heap_set& set, std::uint64_t number, bool debug) {
    if (thread_is_over) return nullptr;
    known_heap& place = my_heaps[number % known_heaps];
    auto& all = my_end.all;
    const auto mine = std::find_if(all.begin(), all.end(), [&](const known_heap& each) { return each.number == number; });
    if (mine != all.end()) {
        place = *mine;
        return place.heap;
    }
    heap_registry& registry = heap_registry::instance();
    const auto lock = registry.lock();
    std::erase_if(all, [&](const known_heap& each) { return !registry.find(each.number); });
    all.reserve(all.size() + 1);
    place = {number, &heap_registry::take_heap(set, debug)};
    all.push_back(place);
    return place.heap;
}

}  // namespace tenfold::alloc_detail
