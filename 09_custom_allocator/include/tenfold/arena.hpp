// tenfold/arena.hpp: allocate by moving a pointer, free everything at once.
//
// Why: a request, a batch or a frame allocates a thousand small things that all die together. A general allocator finds a place
// for each and takes each back; here an allocation is an addition and a compare, and reset() forgets them all:
//     tenfold::arena scratch;
//     for (auto& batch : batches) {
//         std::span<double> values = scratch.uninitialized_span<double>(batch.size());
//         node* root = scratch.create<node>(...);
//         scratch.reset();                  // the memory stays and serves the next batch: nothing is allocated any more
//     }
//
// - Destructors: create<T>() remembers those that do something, and reset(), rewind() and ~arena() run them, last first. That
//   costs 24 bytes and a call each; trivially destructible types, spans and allocate() have none to run.
// - Nothing is freed singly. An arena that lives as long as the program is a leak; mark() and rewind() free the newest part.
// - One thread at a time: give every thread its own.
// - The budget counts what is taken from the system; beyond it: budget_exceeded.
//
// Copy: this file, alloc_errors.hpp, alloc_poison.hpp.   #include <tenfold/arena.hpp>   C++20; no flags, no libraries.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "tenfold/alloc_errors.hpp"
#include "tenfold/alloc_poison.hpp"

namespace tenfold {

struct arena_options {
    std::size_t first_block = std::size_t{64} << 10;  // later blocks double, up to 64 MB
    std::size_t budget = std::numeric_limits<std::size_t>::max();
    bool debug = false;  // memory that reset() took back is filled with a pattern, and checked before it goes out again
};

class arena {
    struct block {
        block* next;
        std::size_t size;  // of what follows this header
        std::byte* begin() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
        std::byte* end() noexcept { return begin() + size; }
    };
    struct destructor {
        void (*run)(void*) noexcept;
        void* object;
        destructor* next;
    };

public:
    explicit arena(arena_options options = {}) : options_(options) {
        if (options.first_block == 0) throw std::invalid_argument("first_block must be >= 1");
    }
    explicit arena(std::size_t first_block) : arena(arena_options{.first_block = first_block}) {}
    arena(const arena&) = delete;
    arena& operator=(const arena&) = delete;
    ~arena() { release(); }

    /// Memory until the next reset(). Zero bytes give a pointer of their own as well.
    void* allocate(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) {
        bytes += bytes == 0;
        const std::uintptr_t at = (next_ + (alignment - 1)) & ~std::uintptr_t{alignment - 1};
        // The alignment is nearly always a constant: then its test costs nothing.
        if (at > fast_end_ || bytes > fast_end_ - at || alignment > block_alignment || !std::has_single_bit(alignment))
            [[unlikely]]
            return allocate_slowly(bytes, alignment);
        next_ = at + bytes;
        auto* memory = reinterpret_cast<void*>(at);
        alloc_detail::permit(memory, bytes);
        return memory;
    }

    /// An object whose destructor, if it does something, runs at reset().
    template <class T, class... Arguments>
    T* create(Arguments&&... arguments) {
        if constexpr (std::is_trivially_destructible_v<T>) {
            return ::new (allocate(sizeof(T), alignof(T))) T(std::forward<Arguments>(arguments)...);
        } else {
            auto* record = static_cast<destructor*>(allocate(sizeof(destructor), alignof(destructor)));
            T* object = ::new (allocate(sizeof(T), alignof(T))) T(std::forward<Arguments>(arguments)...);
            // Linked last: a constructor that throws leaves nothing to destroy.
            destructors_ = ::new (record)
                destructor{[](void* it) noexcept { std::destroy_at(static_cast<T*>(it)); }, object, destructors_};
            return object;
        }
    }

    /// n values T(); no destructor runs, so T must not need one.
    template <class T>
    std::span<T> make_span(std::size_t n) {
        const std::span<T> items = uninitialized_span<T>(n);
        std::uninitialized_value_construct_n(items.data(), n);
        return items;
    }
    /// Room for n values, to be written before they are read.
    template <class T>
    std::span<T> uninitialized_span(std::size_t n) {
        static_assert(std::is_trivially_destructible_v<T>, "an arena runs no destructors for spans; create<T>() does");
        return {static_cast<T*>(allocate(checked_product(n, sizeof(T)), alignof(T))), n};
    }

    /// A position to come back to.
    class marker {
        friend class arena;
        block* current;
        std::uintptr_t next;
        std::size_t before;
        destructor* destructors;
    };
    marker mark() const noexcept {
        marker here;
        here.current = current_;
        here.next = next_;
        here.before = before_;
        here.destructors = destructors_;
        return here;
    }
    /// Frees what was allocated since mark(); markers taken in between are void.
    void rewind(const marker& to) noexcept {
        peak_ = peak();
        while (destructors_ != to.destructors) {
            destructor* last = destructors_;
            destructors_ = last->next;
            last->run(last->object);
        }
        for (block* each = to.current ? to.current : first_; each; each = each->next) {
            std::byte* from = each == to.current ? reinterpret_cast<std::byte*>(to.next) : each->begin();
            std::byte* until = each == current_ ? reinterpret_cast<std::byte*>(next_) : each->end();
            take_back(from, until);
            if (each == current_) break;
        }
        current_ = to.current ? to.current : first_;
        before_ = to.before;
        next_ = to.current ? to.next : current_ ? address(current_->begin()) : 0;
        set_end(current_ ? address(current_->end()) : 0);
    }

    /// Runs the destructors, last first, and forgets everything. The blocks stay: the same demands again allocate nothing. (One
    /// that turns out to be too small for a later demand is replaced.)
    void reset() noexcept {
        marker start = mark();
        start.current = nullptr;
        start.before = 0;
        start.destructors = nullptr;
        rewind(start);
    }
    /// reset(), and the memory goes back to the system.
    void release() noexcept {
        reset();
        while (first_) drop(first_);
        current_ = nullptr;
        next_ = 0;
        set_end(0);
    }

    /// Bytes handed out since the last reset, with what alignment and the ends of full blocks cost.
    std::size_t used() const noexcept { return before_ + (current_ ? next_ - address(current_->begin()) : 0); }
    std::size_t peak() const noexcept { return std::max(peak_, used()); }
    /// Bytes taken from the system, and in how many blocks.
    std::size_t reserved() const noexcept { return reserved_; }
    std::size_t blocks() const noexcept { return blocks_; }

    /// Whether the pointer is into memory that is handed out now.
    bool owns(const void* pointer) const noexcept {
        const auto at = reinterpret_cast<std::uintptr_t>(pointer);
        for (block* each = first_; each; each = each->next) {
            if (at >= address(each->begin()) && at < (each == current_ ? next_ : address(each->end()))) return true;
            if (each == current_) break;
        }
        return false;
    }

private:
    static constexpr std::size_t block_alignment = 64;  // of a block; more is made by leaving a gap
    static std::uintptr_t address(const std::byte* pointer) noexcept { return reinterpret_cast<std::uintptr_t>(pointer); }

    void set_end(std::uintptr_t end) noexcept {
        end_ = end;
        fast_end_ = options_.debug ? 0 : end;  // in debug mode every allocation takes the slow way, where it is checked
    }
    [[gnu::noinline]] void* allocate_slowly(std::size_t bytes, std::size_t alignment) {
        alloc_detail::checked_alignment(alignment);
        if (bytes > std::numeric_limits<std::size_t>::max() / 4 || alignment > std::numeric_limits<std::size_t>::max() / 4)
            throw std::bad_array_new_length();
        for (;;) {  // at most: the rest of this block, the next one, a new one
            const std::uintptr_t at = (next_ + (alignment - 1)) & ~std::uintptr_t{alignment - 1};
            if (current_ && at <= end_ && bytes <= end_ - at) {
                if (options_.debug) check(next_, at + bytes);
                next_ = at + bytes;
                alloc_detail::permit(reinterpret_cast<void*>(at), bytes);
                return reinterpret_cast<void*>(at);
            }
            const std::size_t needed = bytes + (alignment > block_alignment ? alignment : 0);
            // Blocks behind the current one are unused. One that is too small goes: batches that grow from time to time would else
            // leave all their blocks behind.
            block*& next = current_ ? current_->next : first_;
            const std::size_t before = reserved_;
            while (next && next->size < needed) drop(next);
            if (!next) add_block(needed, before + (before - reserved_));
            if (current_) before_ += end_ - address(current_->begin());
            current_ = next;
            next_ = address(current_->begin());
            set_end(address(current_->end()));
        }
    }

    void drop(block*& link) noexcept {
        block* gone = std::exchange(link, link->next);
        reserved_ -= gone->size + sizeof(block);
        --blocks_;
        alloc_detail::permit(gone->begin(), gone->size);
        ::operator delete(gone, std::align_val_t{block_alignment});
    }
    // A new last block; of `wanted` bytes, if that is not too much.
    void add_block(std::size_t needed, std::size_t wanted) {
        constexpr std::size_t largest = std::size_t{64} << 20;
        const std::size_t left = options_.budget - std::min(options_.budget, reserved_);
        std::size_t whole = std::max(
            alloc_detail::rounded_up(needed + sizeof(block), block_alignment),
            blocks_ == 0 ? alloc_detail::rounded_up(options_.first_block, block_alignment) : std::min(wanted, largest));
        if (whole > left) whole = needed + sizeof(block);
        if (whole > left) throw budget_exceeded();
        void* memory = ::operator new(whole, std::align_val_t{block_alignment});
        block* made = ::new (memory) block{nullptr, whole - sizeof(block)};
        (current_ ? current_->next : first_) = made;
        reserved_ += whole;
        ++blocks_;
        take_back(made->begin(), made->end());
    }
    void take_back(std::byte* from, std::byte* until) noexcept {
        if (from == until) return;
        if (options_.debug) {
            alloc_detail::permit(from, static_cast<std::size_t>(until - from));
            alloc_detail::fill_poison(from, static_cast<std::size_t>(until - from));
        }
        alloc_detail::forbid(from, static_cast<std::size_t>(until - from));
    }
    // The gap that alignment left is checked as well.
    static void check(std::uintptr_t from, std::uintptr_t until) {
        auto* memory = reinterpret_cast<std::byte*>(from);
        alloc_detail::permit(memory, until - from);
        if (alloc_detail::still_poison(memory, until - from)) return;
        alloc_detail::fill_poison(memory, until - from);  // so that the next allocation can have it
        throw use_after_return();
    }

    std::uintptr_t next_ = 0, fast_end_ = 0, end_ = 0;  // what is left of the current block
    block* current_ = nullptr;
    block* first_ = nullptr;
    destructor* destructors_ = nullptr;
    std::size_t before_ = 0;  // bytes in the blocks before the current one
    std::size_t peak_ = 0, reserved_ = 0, blocks_ = 0;
    arena_options options_;
};

}  // namespace tenfold
