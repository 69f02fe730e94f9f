// tenfold/alloc_resources.hpp: the pools of this lesson under the standard containers, as std::pmr::memory_resource.
//
// Why: a container that takes a resource can live in an arena or a pool without a change to its code:
//     tenfold::arena memory;
//     tenfold::arena_resource resource(memory);
//     std::pmr::map<int, int> index(&resource);          // its nodes come from the arena; erase() gives nothing back
//
// - arena_resource: frees nothing before the arena's reset(); destroy the containers first. For what is built once and dropped.
// - pool_resource: one free list for each size class; a freed block serves the next request of its class. One thread. Above 32 KB
//   it passes on to `upstream`.
// - sized_resource: any thread.
// The standard's own pools are there too: measure before you take them.
//
// Copy: this file, arena.hpp, fixed_pool.hpp, sized_allocator.hpp and what it names.   #include <tenfold/alloc_resources.hpp>
// C++20; link the platform's threads library (-pthread).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <memory_resource>

#include "tenfold/arena.hpp"
#include "tenfold/fixed_pool.hpp"
#include "tenfold/size_class.hpp"
#include "tenfold/sized_allocator.hpp"

namespace tenfold {

class arena_resource : public std::pmr::memory_resource {
public:
    explicit arena_resource(arena& memory) : memory_(&memory) {}

private:
    void* do_allocate(std::size_t bytes, std::size_t alignment) override { return memory_->allocate(bytes, alignment); }
    void do_deallocate(void*, std::size_t, std::size_t) override {}
    bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
        const auto* same = dynamic_cast<const arena_resource*>(&other);
        return same && same->memory_ == memory_;
    }
    arena* memory_;
};

class sized_resource : public std::pmr::memory_resource {
public:
    explicit sized_resource(sized_allocator& memory) : memory_(&memory) {}

private:
    void* do_allocate(std::size_t bytes, std::size_t alignment) override { return memory_->allocate(bytes, alignment); }
    void do_deallocate(void* block, std::size_t, std::size_t) override { memory_->deallocate(block); }
    bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
        const auto* same = dynamic_cast<const sized_resource*>(&other);
        return same && same->memory_ == memory_;
    }
    sized_allocator* memory_;
};

/// Blocks know nothing of their size: deallocate() is told, so there is nothing to look up, and nothing is checked.
class pool_resource : public std::pmr::memory_resource {
public:
    explicit pool_resource(std::pmr::memory_resource* upstream = std::pmr::new_delete_resource()) : upstream_(upstream) {}

    std::size_t reserved_bytes() const noexcept {
        std::size_t all = 0;
        for (const auto& each : pools_) all += each ? each->reserved_bytes() : 0;
        return all;
    }
    /// Blocks that are out, those from upstream not counted.
    std::size_t live() const noexcept {
        std::size_t all = 0;
        for (const auto& each : pools_) all += each ? each->live() : 0;
        return all;
    }

private:
    static constexpr std::size_t largest_alignment = 64;

    void* do_allocate(std::size_t bytes, std::size_t alignment) override {
        const std::size_t size_class = class_of(bytes, alignment);
        if (size_class >= size_class_count) return upstream_->allocate(bytes, alignment);
        auto& pool = pools_[size_class];
        if (!pool) [[unlikely]] {
            const std::size_t block = size_class_bytes(size_class);
            // As aligned as its size is; chunks of 64 or more start at a multiple of 64.
            pool = std::make_unique<unchecked_fixed_pool>(block, std::min(block & ~(block - 1), largest_alignment));
        }
        return pool->allocate();
    }
    void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) override {
        const std::size_t size_class = class_of(bytes, alignment);
        if (size_class >= size_class_count) return upstream_->deallocate(block, bytes, alignment);
        pools_[size_class]->deallocate(block);
    }
    bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }

    static std::size_t class_of(std::size_t bytes, std::size_t alignment) noexcept {
        if (alignment <= 16) [[likely]]
            return size_class_of(bytes);
        if (alignment > largest_alignment) return size_class_count;
        std::size_t size_class = size_class_of(std::max(bytes, alignment));
        while (size_class < size_class_count && size_class_bytes(size_class) % alignment != 0) ++size_class;
        return size_class;
    }

    std::pmr::memory_resource* upstream_;
    std::array<std::unique_ptr<unchecked_fixed_pool>, size_class_count> pools_;
};

}  // namespace tenfold
