// tenfold/counting_resource.hpp: count what a container, a pool or a program part asks for.
//
// Why: "does not allocate after warm-up" is a claim about a number, so count it: put this resource under the thing in question
// and compare allocations() before and after. It passes everything on to the resource below.
//
// Copy: this file.   #include <tenfold/counting_resource.hpp>   C++20; no flags, no libraries.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory_resource>

namespace tenfold {

/// As safe for several threads as the resource below.
class counting_resource : public std::pmr::memory_resource {
public:
    explicit counting_resource(std::pmr::memory_resource* upstream = std::pmr::new_delete_resource()) : upstream_(upstream) {}

    std::uint64_t allocations() const noexcept { return allocations_.load(std::memory_order_relaxed); }
    std::uint64_t deallocations() const noexcept { return deallocations_.load(std::memory_order_relaxed); }
    std::uint64_t bytes_allocated() const noexcept { return bytes_.load(std::memory_order_relaxed); }
    std::uint64_t bytes_live() const noexcept { return live_.load(std::memory_order_relaxed); }
    std::uint64_t bytes_peak() const noexcept { return peak_.load(std::memory_order_relaxed); }

private:
    void* do_allocate(std::size_t bytes, std::size_t alignment) override {
        void* memory = upstream_->allocate(bytes, alignment);
        // Relaxed: counts that publish nothing.
        allocations_.fetch_add(1, std::memory_order_relaxed);
        bytes_.fetch_add(bytes, std::memory_order_relaxed);
        const std::uint64_t live = live_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
        std::uint64_t peak = peak_.load(std::memory_order_relaxed);
        while (peak < live && !peak_.compare_exchange_weak(peak, live, std::memory_order_relaxed)) {
        }
        return memory;
    }
    void do_deallocate(void* memory, std::size_t bytes, std::size_t alignment) override {
        upstream_->deallocate(memory, bytes, alignment);
        deallocations_.fetch_add(1, std::memory_order_relaxed);
        live_.fetch_sub(bytes, std::memory_order_relaxed);
    }
    bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }

    std::pmr::memory_resource* upstream_;
    std::atomic<std::uint64_t> allocations_{0}, deallocations_{0}, bytes_{0}, live_{0}, peak_{0};
};

}  // namespace tenfold
