// tenfold/sized_allocator.hpp: blocks of any size for any thread: size classes, thread caches, a budget, and no for an answer.
//
// Why: a pool of one size and one thread is fast because it knows so little. Between it and malloc there is room: an allocator of
// your own, for one part of a program, whose memory is counted and bounded, which knows its own blocks, tells what leaked, and
// goes away as a whole:
//     tenfold::sized_allocator memory({.budget = 64 << 20});
//     void* block = memory.allocate(500);                 // any thread
//     memory.deallocate(block);                           // any thread; double_free, foreign_free
//
// - Requests up to 32 KB come from spans of 64 or 256 KB that one thread owns (thread_heap.hpp): no lock and no locked instruction
//   while a thread frees its own blocks. Larger ones have memory of their own, kept by size, under a lock.
// - The budget counts memory from the system; a request beyond it first gives back what is unused, then is budget_exceeded. With a
//   budget there are no thread caches: all threads share one heap under a lock, so what any of them gave back serves all of them.
// - Double frees: refused, whichever thread tries. When the owner and another thread free one block at the very same moment, the
//   second may be noticed only later: it is then ignored and counted in `refused`. No list is damaged.
// - Threads may end before or after the allocator; a forked child goes on with what its thread had.
// - debug: returned blocks are filled and checked when they go out again (use_after_return from allocate(), or from check()).
//
// Copy: this file, heap_registry.hpp, thread_heap.hpp, span_map.hpp, size_class.hpp, alloc_errors.hpp, alloc_poison.hpp.
// #include <tenfold/sized_allocator.hpp>   C++20; link the platform's threads library (-pthread).
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include "tenfold/alloc_errors.hpp"
#include "tenfold/alloc_poison.hpp"
#include "tenfold/heap_registry.hpp"
#include "tenfold/size_class.hpp"
#include "tenfold/span_map.hpp"
#include "tenfold/thread_heap.hpp"

namespace tenfold {

struct sized_options {
    std::size_t budget = std::numeric_limits<std::size_t>::max();  // bytes from the system
    bool debug = false;
    leak_handler on_leak = {};
};

struct sized_stats {
    std::uint64_t hits;  // blocks that had been used before
    std::uint64_t misses;  // blocks used for the first time
    std::uint64_t frees;
    std::uint64_t remote_frees;  // of the frees, by a thread that does not own the block
    std::uint64_t refused;  // double and foreign frees
    std::uint64_t live;  // blocks that are out
    std::size_t live_bytes;  // their sizes, rounded up to the size class
    std::size_t bytes;  // from the system now
    std::size_t peak_bytes;  // the most it has been
    std::size_t caches;  // threads' heaps, those of ended threads that wait for a new one included
};

class sized_allocator {
    using heap = alloc_detail::thread_heap;
    using span = alloc_detail::span_record;

public:
    explicit sized_allocator(sized_options options = {}) : options_(std::move(options)), heaps_(options_.debug) {
        const auto lock = registry().lock();
        registry().add(heaps_);
        number_ = heaps_.number;
    }
    sized_allocator(const sized_allocator&) = delete;
    sized_allocator& operator=(const sized_allocator&) = delete;
    /// No other thread may be inside; blocks that are out are freed with the rest, after on_leak has been told.
    ~sized_allocator() {
        if (options_.on_leak)
            if (const leak_report leaked = leaks(); leaked.blocks != 0) options_.on_leak(leaked);
        const auto lock = registry().lock();
        registry().remove(heaps_);
        const auto release = [this](span& each) { give_to_system(each); };
        for (auto& each : heaps_.heaps) each->for_each_span(release);
        heaps_.common.for_each_span(release);
        for (const auto* all : {&large_live_, &large_free_})
            for (span* each : *all) give_to_system(*each);
    }

    /// At least `bytes` bytes (0 too: a pointer of its own), aligned to 16 or to `alignment`, a power of two up to 65,536.
    void* allocate(std::size_t bytes, std::size_t alignment = 16) {
        if (heap* mine = known_heap();
            mine && bytes <= largest_class_bytes && alignment <= 16 && std::has_single_bit(alignment)) [[likely]]
            if (void* block = mine->take_returned(size_class_of(bytes))) [[likely]]
                return block;
        return allocate_slowly(bytes, alignment);
    }
    void* allocate_array(std::size_t count, std::size_t size) { return allocate(checked_product(count, size)); }

    /// nullptr is ignored; anything that is not a living block of this allocator is double_free or foreign_free.
    void deallocate(void* pointer) {
        if (!pointer) return;
        span* record = alloc_detail::spans_by_address.find(pointer);
        heap* mine = known_heap();
        if (!record || !mine || !mine->give_back_own(*record, pointer)) [[unlikely]]
            deallocate_slowly(record, pointer);
    }

    /// How many bytes the living block has.
    std::size_t usable_size(const void* pointer) const {
        const span* record = alloc_detail::spans_by_address.find(pointer);
        if (!record || record->home.load(std::memory_order_relaxed) != number_) throw foreign_free();
        const std::uint32_t index = record->index_of(pointer);
        if (index == span::nowhere || record->state_of(index) != span::live) throw foreign_free();
        return record->block_bytes;
    }
    /// Whether the pointer is into memory of this allocator.
    bool owns(const void* pointer) const noexcept {
        const span* record = alloc_detail::spans_by_address.find(pointer);
        return record && record->home.load(std::memory_order_relaxed) == number_;
    }

    sized_stats stats() const {
        const auto lock = registry().lock();
        sized_stats all{};
        std::uint64_t taken = large_taken_, freed_bytes = 0, taken_bytes = large_live_bytes_;
        all.misses = large_fresh_;
        all.frees = large_freed_;
        for_each_heap([&](const heap& each) {
            all.remote_frees += each.sent.get();
            all.refused += each.refused.get();
            each.for_each_bin([&](std::size_t bytes, std::uint64_t out, std::uint64_t fresh, std::uint64_t back) {
                taken += out;
                all.misses += fresh;
                all.frees += back;
                taken_bytes += out * bytes;
                freed_bytes += back * bytes;
            });
        });
        // Other threads go on counting while this reads: keep differences from wrapping.
        all.hits = taken - std::min(taken, all.misses);
        all.live = taken - std::min(taken, all.frees);
        all.live_bytes = taken_bytes - std::min(taken_bytes, freed_bytes);
        all.bytes = reserved_;
        all.peak_bytes = peak_;
        all.caches = heaps_.heaps.size();
        return all;
    }
    leak_report leaks() const {
        const sized_stats now = stats();
        return {static_cast<std::size_t>(now.live), now.live_bytes};
    }

    /// Gives back to the system what is unused in this thread's cache, in those of ended threads, and among large blocks.
    void trim() {
        heap* mine = my_heap();
        const auto lock = registry().lock();
        give_back_unused(mine ? *mine : heaps_.common);
    }
    /// Looks at the free blocks of this thread's cache now; use_after_return. Without debug there is nothing to see.
    void check() {
        if (!options_.debug) return;
        heap* mine = my_heap();
        const auto lock = registry().lock();
        (mine ? *mine : heaps_.common).check();
    }

private:
    static alloc_detail::heap_registry& registry() { return alloc_detail::heap_registry::instance(); }

    // This thread's heap, if it is where it is looked for first; it belongs to this allocator, and so do its spans.
    heap* known_heap() const noexcept {
        const alloc_detail::known_heap& known = alloc_detail::my_heaps[number_ % alloc_detail::known_heaps];
        return known.number == number_ ? known.heap : nullptr;
    }
    heap* my_heap() {
        // With a budget no thread may sit on free memory that another one asks for: all use one heap, under the lock.
        if (options_.budget != std::numeric_limits<std::size_t>::max()) return nullptr;
        heap* known = known_heap();
        return known ? known : alloc_detail::attach(heaps_, number_, options_.debug);
    }
    template <class Function>
    void for_each_heap(Function&& function) const {
        for (const auto& each : heaps_.heaps) function(*each);
        function(heaps_.common);
    }

    static std::size_t aligned_class(std::size_t bytes, std::size_t alignment) {
        if (alloc_detail::checked_alignment(alignment) > alloc_detail::unit_bytes)
            throw std::invalid_argument("alignment must be at most 65536");
        std::size_t size_class = size_class_of(std::max(bytes, alignment));
        // Spans start at multiples of 65,536: a block is aligned to what its size is a multiple of.
        while (size_class < size_class_count && size_class_bytes(size_class) % alignment != 0) ++size_class;
        return size_class;
    }

    [[gnu::noinline]] void* allocate_slowly(std::size_t bytes, std::size_t alignment) {
        const std::size_t size_class = alignment == 16 ? size_class_of(bytes) : aligned_class(bytes, alignment);
        if (size_class >= size_class_count) return allocate_large(bytes);
        heap* mine = my_heap();
        if (!mine) {
            const auto lock = registry().lock();
            return more(heaps_.common, size_class);
        }
        if (void* block = mine->take_returned(size_class)) return block;
        if (void* block = mine->refill(size_class)) return block;
        const auto lock = registry().lock();
        return more(*mine, size_class);
    }
    [[gnu::noinline]] void deallocate_slowly(span* record, void* pointer) {
        if (!record || record->home.load(std::memory_order_relaxed) != number_) {
            const auto lock = registry().lock();
            heaps_.common.refused.add(1);
            throw foreign_free();
        }
        heap* mine = my_heap();
        if (mine && record->size_class < size_class_count) return mine->give_back(*record, pointer);
        const auto lock = registry().lock();
        if (record->size_class >= size_class_count) return deallocate_large(*record, pointer);
        heaps_.common.give_back(*record, pointer);
        heaps_.common.flush();
    }

    // ---- under the registry's lock

    // A block from what is there, from threads that have ended, or from a new span.
    void* more(heap& to, std::size_t size_class) {
        absorb_ended(to);
        if (void* block = to.take_returned(size_class)) return block;
        if (void* block = to.refill(size_class)) return block;
        const std::size_t block = size_class_bytes(size_class);
        span& made = new_span(block <= 4096 ? alloc_detail::unit_bytes : 4 * alloc_detail::unit_bytes, to);
        made.block_bytes = block;
        made.reciprocal = ((std::uint64_t{1} << 40) + block - 1) / block;
        made.count = static_cast<std::uint32_t>(made.bytes / block);
        made.size_class = static_cast<std::uint32_t>(size_class);
        made.home.store(number_, std::memory_order_relaxed);
        to.adopt(made);
        return to.take_fresh(size_class);
    }
    void absorb_ended(heap& to) {
        for (auto& each : heaps_.heaps) {
            if (each->now == heap::state::orphan) {
                each->now = heap::state::shell;
                to.absorb(*each);
            } else if (each->now == heap::state::shell) {
                to.drain(*each);  // what was on its way when the thread ended
            }
        }
        if (&to != &heaps_.common) to.absorb(heaps_.common);  // used under the lock only, so it may be emptied at any time
    }

    span& new_span(std::size_t bytes, heap& asking) {
        if (bytes > options_.budget) throw budget_exceeded();  // never fits: no reason to give anything back
        if (bytes > options_.budget - std::min(options_.budget, reserved_)) {
            give_back_unused(asking);
            if (bytes > options_.budget - std::min(options_.budget, reserved_)) throw budget_exceeded();
        }
        const std::align_val_t unit{alloc_detail::unit_bytes};
        struct free_memory {
            std::align_val_t align;
            void operator()(std::byte* memory) const { ::operator delete(memory, align); }
        };
        std::unique_ptr<std::byte, free_memory> memory(static_cast<std::byte*>(::operator new(bytes, unit)), {unit});
        span& record = registry().take_record();
        record.first = memory.get();
        record.bytes = bytes;
        try {
            alloc_detail::spans_by_address.set(memory.get(), bytes / alloc_detail::unit_bytes, &record);
        } catch (...) {
            registry().give_record(record);
            throw;
        }
        alloc_detail::forbid(memory.release(), bytes);
        reserved_ += bytes;
        peak_ = std::max(peak_, reserved_);
        return record;
    }
    void give_to_system(span& record) noexcept {
        alloc_detail::spans_by_address.set(record.first, record.bytes / alloc_detail::unit_bytes,
                                           nullptr);  // the table is there: cannot fail
        alloc_detail::permit(record.first, record.bytes);
        ::operator delete(record.first, std::align_val_t{alloc_detail::unit_bytes});
        reserved_ -= record.bytes;
        registry().give_record(record);
    }
    void give_back_unused(heap& mine) {
        mine.flush();
        mine.drain(mine);
        absorb_ended(mine);
        mine.remove_empty([this](span& each) { give_to_system(each); });
        give_back_large();
    }
    void give_back_large() noexcept {
        for (span* each : large_free_) give_to_system(*each);
        large_free_.clear();
    }

    // ---- blocks above 32 KB: a span each; unused ones serve requests of at least three quarters of their size
    void* allocate_large(std::size_t bytes) {
        const std::size_t wanted = alloc_detail::rounded_up(std::max<std::size_t>(bytes, 1), alloc_detail::unit_bytes);
        heap* mine = my_heap();
        const auto lock = registry().lock();
        span* best = nullptr;
        for (span* each : large_free_)
            if (each->bytes >= wanted && each->bytes - wanted <= each->bytes / 4)
                if (!best || each->bytes < best->bytes) best = each;
        if (best) {
            alloc_detail::permit(best->first, best->bytes);
            if (options_.debug && !alloc_detail::still_poison(best->first, best->bytes)) {
                alloc_detail::fill_poison(best->first, best->bytes);  // so that the next one can have it
                throw use_after_return();
            }
        } else {
            const std::size_t all = large_live_.size() + large_free_.size() + 1;
            for (auto* list : {&large_live_, &large_free_})  // so that nothing fails later: any of them may be in either
                if (list->capacity() < all) list->reserve(2 * all);
            best = &new_span(wanted, mine ? *mine : heaps_.common);
            best->block_bytes = wanted;
            best->reciprocal = 0;
            best->count = 1;
            best->size_class = size_class_count;
            best->cut.store(1, std::memory_order_relaxed);
            best->home.store(number_, std::memory_order_relaxed);
            best->place = large_free_.size();
            large_free_.push_back(best);
            ++large_fresh_;
        }
        move_large(*best, large_free_, large_live_);
        alloc_detail::permit(best->first, best->bytes);
        best->set_state(0, span::live);
        ++large_taken_;
        large_live_bytes_ += best->bytes;
        return best->first;
    }
    void deallocate_large(span& record, void* pointer) {
        if (record.index_of(pointer) != 0 || record.state_of(0) != span::live) {
            heaps_.common.refused.add(1);
            if (record.index_of(pointer) != 0) throw foreign_free();
            throw double_free();
        }
        if (options_.debug) alloc_detail::fill_poison(record.first, record.bytes);
        alloc_detail::forbid(record.first, record.bytes);
        record.set_state(0, span::idle);
        move_large(record, large_live_, large_free_);
        ++large_freed_;
        large_live_bytes_ -= record.bytes;
    }
    // Constant time: the last one takes the place of the one that leaves.
    static void move_large(span& record, std::vector<span*>& from, std::vector<span*>& to) noexcept {
        span* last = from.back();
        last->place = record.place;
        from[record.place] = last;
        from.pop_back();
        record.place = to.size();
        to.push_back(&record);
    }

    const sized_options options_;
    std::uint64_t number_ = 0;
    // Guarded by the registry's lock, apart from what the heaps' threads do in their own:
    alloc_detail::heap_set heaps_;
    std::vector<span*> large_live_, large_free_;
    std::size_t reserved_ = 0, peak_ = 0, large_live_bytes_ = 0;
    std::uint64_t large_taken_ = 0, large_freed_ = 0, large_fresh_ = 0;
};

}  // namespace tenfold
