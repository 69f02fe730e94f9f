// tenfold/fixed_pool.hpp: blocks of one size, one thread; a returned block carries the list of free ones inside itself.
//
// Why: malloc finds the size class, the thread cache and the bin on every call. When all blocks have one size there is nothing to
// find: the free list is a pointer, a free block's first bytes are the pointer to the next, taking and returning are two moves:
//     tenfold::unchecked_fixed_pool pool(sizeof(node), alignof(node));
// Fresh blocks are cut from chunks that double (16 KB to 1 MB); chunks go back to the system at the end, or by release().
//
// checking::on keeps the list of free blocks outside them, a bit for each block and a pattern in those that are free: a block
// returned twice, or never given out, is refused by an error; a write after the return is found when the block goes out again.
// checking::off trusts the caller like free() does, and is what the times on the lesson's page are about.
//
// Copy: this file, alloc_errors.hpp, alloc_poison.hpp.   #include <tenfold/fixed_pool.hpp>   C++20; no flags, no libraries.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include "tenfold/alloc_errors.hpp"
#include "tenfold/alloc_poison.hpp"

namespace tenfold {

enum class checking { off, on };

template <checking C = checking::on>
class basic_fixed_pool {
    static constexpr bool checks = C == checking::on;

public:
    explicit basic_fixed_pool(std::size_t object_bytes, std::size_t alignment = alignof(std::max_align_t),
                              std::size_t budget = std::numeric_limits<std::size_t>::max())
        : object_bytes_(object_bytes), budget_(budget) {
        if (object_bytes == 0) throw std::invalid_argument("the size of an object must be >= 1");
        alignment_ = std::max(alloc_detail::checked_alignment(alignment), alignof(free_block));
        stride_ = alloc_detail::rounded_up(std::max(object_bytes, sizeof(free_block)), alignment_);
    }
    basic_fixed_pool(const basic_fixed_pool&) = delete;
    basic_fixed_pool& operator=(const basic_fixed_pool&) = delete;
    ~basic_fixed_pool() { release(); }

    /// A block of object_bytes(), uninitialised. bad_alloc, budget_exceeded; with checks also use_after_return.
    void* allocate() {
        if constexpr (checks) {
            return allocate_checked();
        } else {
            if (free_) {
                free_block* block = free_;
                alloc_detail::permit(block, stride_);
                free_ = block->next;
                ++live_;
                return block;
            }
            if (next_ == end_) [[unlikely]]
                add_chunk(1);
            std::byte* block = next_;
            next_ += stride_;
            alloc_detail::permit(block, stride_);
            ++live_;
            return block;
        }
    }

    /// With checks: double_free, foreign_free. Without: as free(). nullptr is ignored.
    void deallocate(void* pointer) {
        if (!pointer) return;
        if constexpr (checks) {
            auto [words, index] = check(pointer);
            words[index / 64] &= ~(std::uint64_t{1} << index % 64);
            alloc_detail::fill_poison(pointer, stride_);
            returned_.push_back(pointer);  // never allocates: add_chunk() has made room
        } else {
            free_ = ::new (pointer) free_block{free_};
        }
        alloc_detail::forbid(pointer, stride_);
        --live_;
    }

    /// Throws what deallocate() would; without checks nothing.
    void verify([[maybe_unused]] const void* pointer) {
        if constexpr (checks) check(pointer);
    }

    /// Takes memory for this many objects more than are live now.
    void reserve(std::size_t objects) {
        const std::size_t there = capacity_ - live_;
        if (objects > there) add_chunk(objects - there);
    }
    /// Frees all memory, whatever is still out.
    void release() noexcept {
        for (const chunk& each : chunks_) {
            alloc_detail::permit(each.memory, each.bytes);
            ::operator delete(each.memory, std::align_val_t{alignment_});
        }
        chunks_.clear();
        returned_.clear();
        free_ = nullptr;
        next_ = end_ = nullptr;
        live_ = capacity_ = reserved_ = last_ = 0;
    }

    std::size_t object_bytes() const noexcept { return object_bytes_; }
    std::size_t live() const noexcept { return live_; }
    std::size_t capacity() const noexcept { return capacity_; }
    std::size_t reserved_bytes() const noexcept { return reserved_; }
    std::size_t chunks() const noexcept { return chunks_.size(); }
    /// Whether the pointer is into this pool's memory.
    bool owns(const void* pointer) const noexcept { return find(pointer) != chunks_.size(); }

    /// function(void*) for every block that is out; only with checks is that known.
    template <class Function>
    void for_each_live(Function&& function)
        requires(C == checking::on)
    {
        for (const chunk& each : chunks_)
            for (std::size_t word = 0; word < each.live.size(); ++word)
                for (std::uint64_t bits = each.live[word]; bits != 0; bits &= bits - 1)
                    function(static_cast<void*>(each.memory +
                                                (word * 64 + static_cast<std::size_t>(std::countr_zero(bits))) * stride_));
    }

private:
    struct free_block {
        free_block* next;
    };
    struct chunk {
        std::byte* memory;
        std::size_t bytes;
        std::vector<std::uint64_t> live;  // a bit for each block; empty without checks
    };

    void* allocate_checked() {
        std::byte* block;
        if (!returned_.empty()) {
            block = static_cast<std::byte*>(returned_.back());
            alloc_detail::permit(block, stride_);
            if (!alloc_detail::still_poison(block, stride_)) {
                alloc_detail::fill_poison(block, stride_);  // so that the next allocate() can have it
                alloc_detail::forbid(block, stride_);
                throw use_after_return();
            }
            returned_.pop_back();
        } else {
            if (next_ == end_) add_chunk(1);
            block = std::exchange(next_, next_ + stride_);
            alloc_detail::permit(block, stride_);
        }
        chunk& home = chunks_[find(block)];
        const std::size_t index = static_cast<std::size_t>(block - home.memory) / stride_;
        home.live[index / 64] |= std::uint64_t{1} << index % 64;
        ++live_;
        return block;
    }

    std::pair<std::uint64_t*, std::size_t> check(const void* pointer) {
        const std::size_t number = find(pointer);
        if (number == chunks_.size()) throw foreign_free();
        chunk& home = chunks_[number];
        const auto offset = static_cast<std::size_t>(static_cast<const std::byte*>(pointer) - home.memory);
        const std::size_t index = offset / stride_;
        if (index * stride_ != offset || (&home == &chunks_[newest_] && pointer >= next_ && pointer < end_))
            throw foreign_free();
        if ((home.live[index / 64] >> index % 64 & 1) == 0) throw double_free();
        return {home.live.data(), index};
    }

    // The chunk that the pointer is in, or chunks_.size(). The last one found is nearly always the right one.
    std::size_t find(const void* pointer) const noexcept {
        const auto inside = [&](const chunk& each) {
            const auto at = reinterpret_cast<std::uintptr_t>(pointer), begin = reinterpret_cast<std::uintptr_t>(each.memory);
            return at >= begin && at - begin < each.bytes;
        };
        if (last_ < chunks_.size() && inside(chunks_[last_])) return last_;
        const auto found = std::find_if(chunks_.begin(), chunks_.end(), inside);
        const auto number = static_cast<std::size_t>(found - chunks_.begin());
        if (found != chunks_.end()) last_ = number;
        return number;
    }

    void add_chunk(std::size_t objects) {
        // What is left of the chunk before would be forgotten: it goes onto the free list.
        constexpr std::size_t smallest = std::size_t{16} << 10, largest = std::size_t{1} << 20;
        const std::size_t left = budget_ - std::min(budget_, reserved_), needed = checked_product(objects, stride_);
        std::size_t bytes = std::max(needed, std::clamp(reserved_, smallest, largest) / stride_ * stride_);
        if (bytes > left) bytes = needed;
        if (bytes > left) throw budget_exceeded();
        const std::size_t count = bytes / stride_;
        chunk made{nullptr, bytes, {}};
        if constexpr (checks) {
            made.live.resize((count + 63) / 64);
            returned_.reserve(capacity_ + count);
        }
        chunks_.reserve(chunks_.size() + 1);
        made.memory = static_cast<std::byte*>(::operator new(bytes, std::align_val_t{alignment_}));
        alloc_detail::forbid(made.memory, bytes);
        for (; next_ != end_; next_ += stride_) {
            alloc_detail::permit(next_, stride_);
            if constexpr (checks) {
                alloc_detail::fill_poison(next_, stride_);
                returned_.push_back(next_);
            } else {
                free_ = ::new (static_cast<void*>(next_)) free_block{free_};
            }
            alloc_detail::forbid(next_, stride_);
        }
        next_ = made.memory;
        end_ = made.memory + count * stride_;
        newest_ = chunks_.size();
        chunks_.push_back(std::move(made));
        capacity_ += count;
        reserved_ += bytes;
    }

    free_block* free_ = nullptr;  // checking::off
    std::byte *next_ = nullptr, *end_ = nullptr;  // what has not been cut yet, of the newest chunk
    std::size_t live_ = 0;
    std::size_t stride_;
    std::vector<void*> returned_;  // checking::on
    std::vector<chunk> chunks_;
    mutable std::size_t last_ = 0;
    std::size_t newest_ = 0, capacity_ = 0, reserved_ = 0;
    std::size_t object_bytes_, alignment_, budget_;
};

using fixed_pool = basic_fixed_pool<checking::on>;
using unchecked_fixed_pool = basic_fixed_pool<checking::off>;

}  // namespace tenfold
