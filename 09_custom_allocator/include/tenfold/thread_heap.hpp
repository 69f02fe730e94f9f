// tenfold/thread_heap.hpp: one thread's cache of blocks, and the way back for blocks that other threads free.
//
// Why: a lock around malloc is what threads wait for. Here each thread takes blocks from spans of its own: finding the block,
// marking it and counting it are plain loads and stores. A block that another thread frees goes home: it is put on the owner's
// list of returns, in parcels of 30, by one compare-and-swap; the owner takes the whole list in one exchange when it next runs
// out. (D. Leijen, B. Zorn, L. de Moura, Mimalloc: Free List Sharding in Action, 2019.)
//
// A thread's heap survives the thread: the next new thread takes it over, or a thread that needs memory takes its spans.
//
// Copy: with sized_allocator.hpp, which is what to include.   C++20; link the platform's threads library (-pthread).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "tenfold/alloc_errors.hpp"
#include "tenfold/alloc_poison.hpp"
#include "tenfold/size_class.hpp"
#include "tenfold/span_map.hpp"

namespace tenfold::alloc_detail {

/// A count with one writer: no locked instruction; readers may be a little late. Relaxed: nothing is deduced from it.
class single_writer_cell {
public:
    void add(std::uint64_t n) noexcept { value_.store(get() + n, std::memory_order_relaxed); }
    std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> value_{0};
};

/// Blocks on their way to their owner. Named in here, not linked through themselves: a block that two threads free at the same
/// moment may already be somebody else's again, and must not be written.
inline constexpr std::uint32_t parcel_size = 30;
struct parcel {
    parcel* next = nullptr;
    std::uint32_t count = 0;
    std::array<void*, parcel_size> blocks;
};

class alignas(128) thread_heap {
public:
    enum class state { in_use, orphan, shell, dead };

    explicit thread_heap(bool debug) : debug_(debug) {}
    ~thread_heap() {
        const std::unique_ptr<parcel> last(outbox_);
        for (std::unique_ptr<parcel> each(returns_.load(std::memory_order_acquire)); each;)
            each.reset(std::exchange(each->next, nullptr));
    }
    thread_heap(const thread_heap&) = delete;
    thread_heap& operator=(const thread_heap&) = delete;

    // ---- the owner's thread

    /// A block that has come back, or nullptr. The way that most allocations go: all of it is inlined.
    void* take_returned(std::size_t size_class) {
        bin& from = bins_[size_class];
        free_node* node = from.free;
        if (!node) [[unlikely]]
            return nullptr;
        span_record& span = *spans_by_address.find(node);
        permit(node, span.block_bytes);
        if (debug_ && !sound(span, node)) [[unlikely]]
            drop_list(size_class);
        from.free = node->next;
        span.set_state(span.index_of(node), span_record::live);
        from.taken.add(1);
        return node;
    }
    /// A block that has never been out, or nullptr.
    void* take_fresh(std::size_t size_class) {
        bin& from = bins_[size_class];
        span_record* span = from.cutting;
        if (!span) return nullptr;
        const std::uint32_t index = span->cut.load(std::memory_order_relaxed);
        std::byte* block = span->first + index * span->block_bytes;
        permit(block, span->block_bytes);
        span->cut.store(index + 1, std::memory_order_relaxed);
        if (index + 1 == span->count) from.cutting = span->next_cutting;
        from.fresh.add(1);
        span->set_state(index, span_record::live);
        from.taken.add(1);
        return block;
    }

    /// Frees a block of this heap, the way that most of them go; false: it is not, or something is wrong with it.
    bool give_back_own(span_record& span, void* pointer) noexcept {
        // Relaxed: if it is this heap, this thread wrote it (or its lock did); any other value says "not mine".
        if (span.owner.load(std::memory_order_relaxed) != this) [[unlikely]]
            return false;
        const std::uint32_t index = span.index_of(pointer);
        if (index == span_record::nowhere || span.state_of(index) != span_record::live) [[unlikely]]
            return false;
        if (exact())
            [[unlikely]] {  // here a locked instruction decides between this thread and another that frees the same block
            if (!span.send_back(index)) return false;
            fill_poison(pointer, span.block_bytes);
        }
        span.set_state(index, span_record::idle);
        put(span.size_class, pointer, span.block_bytes);
        bins_[span.size_class].freed.add(1);
        return true;
    }
    /// Frees a block, wherever it belongs; double_free, foreign_free.
    void give_back(span_record& span, void* pointer) {
        if (give_back_own(span, pointer)) return;
        const std::uint32_t index = span.index_of(pointer);
        if (index == span_record::nowhere || index >= span.cut.load(std::memory_order_relaxed)) {
            refused.add(1);
            throw foreign_free();
        }
        thread_heap* owner = span.owner.load(std::memory_order_relaxed);
        if (outbox_ && outbox_to_ != owner) flush();
        if (!outbox_) outbox_ = empty_parcel().release();  // what can fail comes first
        outbox_to_ = owner;
        if (!span.send_back(index)) {  // of two threads that free one block, one wins here
            refused.add(1);
            throw double_free();
        }
        if (exact()) {
            fill_poison(pointer, span.block_bytes);
            forbid(pointer, span.block_bytes);
        }
        outbox_->blocks[outbox_->count++] = pointer;
        if (outbox_->count == parcel_size) flush();
        sent.add(1);
        bins_[span.size_class].freed.add(1);
    }

    /// A block that other threads have sent back, or one that has never been out, or nullptr.
    void* refill(std::size_t size_class) {
        if (returns_.load(std::memory_order_relaxed)) {
            drain(*this);
            if (void* block = take_returned(size_class)) return block;
        }
        return take_fresh(size_class);
    }
    /// Takes in what other threads sent to `from`, this heap or one whose thread is gone; what is not ours goes on to its owner.
    void drain(thread_heap& from) {
        // Acquire: pairs with flush(), for the parcels and for all that was done to the blocks.
        std::unique_ptr<parcel> next(from.returns_.exchange(nullptr, std::memory_order_acquire));
        while (next) {
            std::unique_ptr<parcel> got = std::move(next);
            next.reset(got->next);
            for (std::uint32_t i = 0; i < got->count; ++i) accept(got->blocks[i]);
            if (spares_ == spare_.size()) continue;  // freed here
            got->count = 0;
            spare_[spares_++] = std::move(got);
        }
    }
    /// Sends what has been collected for another heap on its way.
    void flush() noexcept {
        if (!outbox_ || outbox_->count == 0) return;
        std::atomic<parcel*>& to = outbox_to_->returns_;
        outbox_->next = to.load(std::memory_order_relaxed);
        while (!to.compare_exchange_weak(outbox_->next, outbox_, std::memory_order_release, std::memory_order_relaxed)) {
        }
        outbox_ = nullptr;
    }

    void adopt(span_record& span) noexcept {
        span.next_owned = owned_;
        owned_ = &span;
        span.owner.store(this, std::memory_order_relaxed);  // see give_back()
        if (span.cut.load(std::memory_order_relaxed) == span.count) return;
        span.next_cutting = bins_[span.size_class].cutting;
        bins_[span.size_class].cutting = &span;
    }
    /// All that a heap has which no thread uses any more. Under the registry's lock.
    void absorb(thread_heap& gone) {
        while (span_record* span = gone.owned_) {
            gone.owned_ = span->next_owned;
            adopt(*span);
        }
        for (std::size_t i = 0; i < size_class_count; ++i) {
            bin &from = gone.bins_[i], &to = bins_[i];
            from.cutting = nullptr;
            if (!to.free) {
                to.free = std::exchange(from.free, nullptr);
            } else {
                while (free_node* node = from.free) {
                    permit(node, sizeof *node);
                    from.free = node->next;
                    put(i, node, size_class_bytes(i));
                }
            }
        }
        drain(gone);
    }
    /// Takes the spans without a living block out of this heap and gives them to function(span_record&).
    template <class Function>
    void remove_empty(Function&& function) {
        bool any = false;
        for (span_record* span = owned_; span; span = span->next_owned) any |= span->leaving = span->all_idle();
        if (!any) return;
        for (std::size_t i = 0; i < size_class_count; ++i) {
            for (span_record** link = &bins_[i].cutting; *link;)
                if ((*link)->leaving) *link = (*link)->next_cutting;
                else link = &(*link)->next_cutting;
            for (free_node* node = std::exchange(bins_[i].free, nullptr); node;) {
                permit(node, sizeof *node);
                free_node* next = node->next;
                if (!spans_by_address.find(node)->leaving) put(i, node, size_class_bytes(i));
                node = next;
            }
        }
        for (span_record** link = &owned_; *link;) {
            span_record& span = **link;
            if (span.leaving) {
                *link = span.next_owned;
                function(span);
            } else {
                link = &span.next_owned;
            }
        }
    }
    template <class Function>
    void for_each_span(Function&& function) {
        for (span_record* span = owned_; span;) function(*std::exchange(span, span->next_owned));
    }
    /// Debug: looks at every free block; use_after_return.
    void check() const {
        for (const bin& each : bins_)
            for (free_node* node = each.free; node;) {
                const span_record& span = *spans_by_address.find(node);
                permit(node, span.block_bytes);
                const bool good = sound(span, node);
                free_node* next = node->next;
                forbid(node, span.block_bytes);
                if (!good) throw use_after_return();
                node = next;
            }
    }

    // ---- any thread, for the statistics

    template <class Function>
    void for_each_bin(Function&& function) const {
        for (std::size_t i = 0; i < size_class_count; ++i)
            function(size_class_bytes(i), bins_[i].taken.get(), bins_[i].fresh.get(), bins_[i].freed.get());
    }
    single_writer_cell refused, sent;

    state now = state::in_use;  // guarded by the registry's lock

private:
    struct bin {
        free_node* free = nullptr;
        span_record* cutting = nullptr;  // spans with blocks that have never been out
        single_writer_cell taken, fresh, freed;
    };

    void put(std::size_t size_class, void* pointer, std::size_t bytes) noexcept {
        bin& to = bins_[size_class];
        to.free = ::new (pointer) free_node{to.free};
        forbid(pointer, bytes);
    }
    // One block that came in. Not "returned": this thread had freed it too, at the same moment; its list has the block already.
    void accept(void* pointer) {
        span_record* span = spans_by_address.find(pointer);
        const std::uint32_t index = span ? span->index_of(pointer) : span_record::nowhere;
        if (index == span_record::nowhere || span->state_of(index) != span_record::returned) {
            refused.add(1);
        } else if (thread_heap* owner = span->owner.load(std::memory_order_relaxed); owner == this) {
            permit(pointer, sizeof(free_node));
            span->set_state(index, span_record::idle);
            put(span->size_class, pointer, span->block_bytes);
        } else {  // the span has changed hands meanwhile
            if (outbox_ && outbox_to_ != owner) flush();
            if (!outbox_) outbox_ = empty_parcel().release();
            outbox_to_ = owner;
            outbox_->blocks[outbox_->count++] = pointer;
            if (outbox_->count == parcel_size) flush();
        }
    }
    std::unique_ptr<parcel> empty_parcel() { return spares_ > 0 ? std::move(spare_[--spares_]) : std::make_unique<parcel>(); }
    bool exact() const noexcept { return debug_ || built_with_asan; }

    // Whether a free block is as it was left: its link leads to another free block of this class, the rest is the pattern.
    [[gnu::noinline]] static bool sound(const span_record& span, const free_node* node) noexcept {
        if (node->next) {
            const span_record* other = spans_by_address.find(node->next);
            if (!other || other->home.load(std::memory_order_relaxed) != span.home.load(std::memory_order_relaxed))
                return false;
            const std::uint32_t next = other->index_of(node->next);
            if (next == span_record::nowhere || other->size_class != span.size_class ||
                other->state_of(next) != span_record::idle)
                return false;
        }
        return still_poison(node + 1, span.block_bytes - sizeof *node);
    }
    // The list cannot be trusted: what is on it stays unused from here on.
    [[noreturn, gnu::noinline]] void drop_list(std::size_t size_class) {
        bins_[size_class].free = nullptr;
        for (span_record* span = owned_; span; span = span->next_owned) span->unsound |= span->size_class == size_class;
        throw use_after_return();
    }

    std::array<bin, size_class_count> bins_{};
    const bool debug_;
    span_record* owned_ = nullptr;
    thread_heap* outbox_to_ = nullptr;
    parcel* outbox_ = nullptr;
    std::array<std::unique_ptr<parcel>, 8> spare_;
    std::size_t spares_ = 0;
    alignas(128) std::atomic<parcel*> returns_{nullptr};  // written by all threads; a line of its own
};

}  // namespace tenfold::alloc_detail
