// tenfold/pool_allocator.hpp: a sized_allocator that hands out at most so many blocks at once.
//
// Why: a budget in bytes bounds memory, a limit on blocks bounds what else hangs on each (a connection, a job, a Python object),
// and makes "who holds them all?" a question with an answer: live, peak and available are exact at every moment, at the price of
// one shared counter that all threads write.
//
// Copy: this file, sized_allocator.hpp and what it names.   #include <tenfold/pool_allocator.hpp>   C++20; link the platform's
// threads library (-pthread).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <utility>

#include "tenfold/alloc_errors.hpp"
#include "tenfold/sized_allocator.hpp"

namespace tenfold {

struct pool_allocator_stats {
    std::uint64_t hits;  // memory that had been used before
    std::uint64_t misses;  // memory used for the first time
    std::size_t live, peak;  // blocks that are out, and the most at once
    std::size_t live_bytes;  // their sizes, rounded up to the size class
    std::size_t bytes;  // from the system now
};

class pool_allocator {
public:
    explicit pool_allocator(std::size_t capacity, sized_options options = {})
        : capacity_(capacity), memory_(std::move(options)) {
        if (capacity == 0) throw std::invalid_argument("capacity must be >= 1");
    }

    /// A block of exactly this many bytes (0 too). pool_exhausted, budget_exceeded, bad_alloc.
    std::span<std::byte> allocate(std::size_t bytes) {
        // Relaxed, here and below: the counter limits and reports; it publishes nothing.
        std::size_t out = live_.load(std::memory_order_relaxed);
        do
            if (out >= capacity_) throw pool_exhausted();
        while (!live_.compare_exchange_weak(out, out + 1, std::memory_order_relaxed));
        try {
            void* block = memory_.allocate(bytes);
            std::size_t peak = peak_.load(std::memory_order_relaxed);
            while (peak < out + 1 && !peak_.compare_exchange_weak(peak, out + 1, std::memory_order_relaxed)) {
            }
            return {static_cast<std::byte*>(block), bytes};
        } catch (...) {
            live_.fetch_sub(1, std::memory_order_relaxed);
            throw;
        }
    }
    /// From any thread. double_free, foreign_free; nullptr is ignored.
    void deallocate(void* block) {
        if (!block) return;
        memory_.deallocate(block);
        live_.fetch_sub(1, std::memory_order_relaxed);
    }

    std::size_t capacity() const noexcept { return capacity_; }
    std::size_t live() const noexcept { return live_.load(std::memory_order_relaxed); }
    std::size_t available() const noexcept { return capacity_ - live(); }
    pool_allocator_stats stats() const {
        const sized_stats all = memory_.stats();
        return {all.hits, all.misses, live(), peak_.load(std::memory_order_relaxed), all.live_bytes, all.bytes};
    }
    leak_report leaks() const { return memory_.leaks(); }
    bool owns(const void* pointer) const noexcept { return memory_.owns(pointer); }
    /// See sized_allocator.
    std::size_t usable_size(const void* block) const { return memory_.usable_size(block); }
    void trim() { memory_.trim(); }
    void check() { memory_.check(); }

private:
    const std::size_t capacity_;
    std::atomic<std::size_t> live_{0}, peak_{0};
    sized_allocator memory_;
};

}  // namespace tenfold
