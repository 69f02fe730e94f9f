// tenfold/span_map.hpp: which run of equal blocks an address is in, without touching that address.
//
// Why: free(pointer) must find the size and the owner of a block. A header in front of the block is cheap to find but is the
// first thing that an overrun destroys, and a foreign pointer has none: reading it may crash. Here memory comes in spans of whole
// 64 KB units; a two-level table, indexed by the address alone, leads from any unit to the span's record, which lives elsewhere.
// A pointer that is no block of ours finds nothing, so it can be refused.
//
// Records are never given back to the system, only used again: a thread that frees a block twice while its span is being
// returned reads a stale record, never freed memory.
//
// Copy: with sized_allocator.hpp, which is what to include.   C++20; link the platform's threads library (-pthread).
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "tenfold/alloc_errors.hpp"
#include "tenfold/alloc_poison.hpp"

namespace tenfold::alloc_detail {

class thread_heap;

struct free_node {
    free_node* next;
};

inline constexpr std::size_t unit_bytes = std::size_t{64} << 10;
inline constexpr std::size_t most_blocks = unit_bytes / 16;

/// One run of blocks of one size. `owner` is the heap that hands them out: only its thread writes what is marked "owner's";
/// owners change under the registry's lock while no thread uses the old one.
struct span_record {
    std::atomic<std::uint64_t> home{0};  // number of the allocator; 0: not in use
    std::atomic<thread_heap*> owner{nullptr};
    std::byte* first = nullptr;
    std::size_t bytes = 0, block_bytes = 0;
    std::uint64_t reciprocal = 0;  // 2^40 / block_bytes, rounded up: exact for offsets below 2^18; 0 for a span of one block
    std::uint32_t size_class = 0, count = 0;
    std::atomic<std::uint32_t> cut{0};  // blocks that have been handed out at least once; owner's

    bool unsound = false;  // owner's, as the rest: blocks of it were overwritten when free; it is never given back
    bool leaving = false;  // it is being given back
    span_record* next_cutting = nullptr;
    span_record* next_owned = nullptr;
    std::size_t place = 0;  // of a span of one large block: in the allocator's list of those, guarded by the registry's lock

    // idle -> live -> idle by the owner, with plain stores; live -> returned by another thread, with a compare-and-swap, and from
    // there back to idle by the owner. Whoever finds a block in the wrong state refuses it. Relaxed everywhere: a thread that frees
    // a block has it from someone who had it from the owner, and the list of returns publishes what it sends back.
    enum state : std::uint8_t { idle, live, returned };
    std::array<std::atomic<std::uint8_t>, most_blocks> states{};

    static constexpr std::uint32_t nowhere = 0xFFFFFFFFu;
    std::uint32_t index_of(const void* pointer) const noexcept {
        const auto offset = reinterpret_cast<std::uintptr_t>(pointer) - reinterpret_cast<std::uintptr_t>(first);
        const auto index = static_cast<std::uint32_t>(offset * reciprocal >> 40);
        return index < count && index * block_bytes == offset ? index : nowhere;
    }
    std::uint8_t state_of(std::uint32_t index) const noexcept { return states[index].load(std::memory_order_relaxed); }
    void set_state(std::uint32_t index, state now) noexcept { states[index].store(now, std::memory_order_relaxed); }
    bool send_back(std::uint32_t index) noexcept {
        std::uint8_t expected = live;
        return states[index].compare_exchange_strong(expected, returned, std::memory_order_relaxed);
    }
    bool all_idle() const noexcept {
        const auto cut_blocks = cut.load(std::memory_order_relaxed);
        return !unsound && std::all_of(states.begin(), states.begin() + cut_blocks,
                                       [](const auto& each) { return each.load(std::memory_order_relaxed) == idle; });
    }
};

static_assert(sizeof(void*) == 8, "the table is made for addresses of 48 bits");

/// Readers take no lock; set() is called under the registry's.
class span_map {
public:
    span_record* find(const void* pointer) const noexcept {
        const auto address = reinterpret_cast<std::uintptr_t>(pointer);
        if (address >> 48 != 0) return nullptr;
        const leaf* below = top_[address >> 32].load(std::memory_order_acquire);  // pairs with the release in set()
        return below ? (*below)[address >> 16 & 0xFFFF].load(std::memory_order_acquire) : nullptr;
    }
    void set(const std::byte* memory, std::size_t units, span_record* record) {
        const auto start = reinterpret_cast<std::uintptr_t>(memory);
        if ((start + units * unit_bytes) >> 48 != 0) throw std::bad_alloc();
        for (std::size_t i = 0; i < units; ++i) {  // first what can fail
            auto& place = top_[(start + i * unit_bytes) >> 32];
            if (place.load(std::memory_order_relaxed)) continue;
            // calloc: half a megabyte of which only the pages that are written become memory.
            void* zeros = std::calloc(1, sizeof(leaf));
            if (!zeros) throw std::bad_alloc();
            place.store(static_cast<leaf*>(zeros), std::memory_order_release);
        }
        for (std::size_t i = 0; i < units; ++i) {
            const std::uintptr_t address = start + i * unit_bytes;
            (*top_[address >> 32].load(std::memory_order_relaxed))[address >> 16 & 0xFFFF].store(record,
                                                                                                 std::memory_order_release);
        }
    }

private:
    using leaf = std::array<std::atomic<span_record*>, 65536>;
    std::array<std::atomic<leaf*>, 65536> top_{};
};
/// One for the process: zeros until it is used, so it costs no memory and no start-up.
inline constinit span_map spans_by_address;

}  // namespace tenfold::alloc_detail
