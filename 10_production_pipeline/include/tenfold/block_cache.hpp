// tenfold/block_cache.hpp: blocks of memory of any size, reused: a buffer pool (lesson 09) per power of two.
//
// Why: the first touch of fresh memory costs a page fault per 4 KiB, and a large result may cost more to be given its memory
// than to be computed. A block that comes back is kept and handed to the next who asks for about that size. Blocks above 256 MiB
// are not kept: a pipeline that saw one huge array would hold that much for ever.
//
// A block keeps its pool alive, may be given back by any thread, and may outlive the cache.
//
// Copy: this file, buffer_pool.hpp and what that names (lesson 09), channel_wait.hpp (lesson 07).
// #include <tenfold/block_cache.hpp>   C++20, -pthread
#pragma once

#include <tenfold/buffer_pool.hpp>
#include <tenfold/channel_wait.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <new>

namespace tenfold {

struct block_stats {
    std::uint64_t hits = 0, misses = 0;  // requests that an old block could serve, and that needed new memory
    std::size_t live = 0;  // blocks in use
    std::size_t bytes = 0;  // held from the system, in use or not
};

class block_cache {
public:
    static constexpr std::size_t smallest = 4096, largest_kept = std::size_t{1} << 28;

    /// At least `bytes` bytes, aligned to 64, with the content that its last user left.
    buffer acquire(std::size_t bytes) {
        if (bytes > largest_kept) return buffer_pool(bytes, 1).acquire();  // the block frees the pool
        const std::size_t rounded = std::bit_ceil(std::max(bytes, smallest));
        const std::lock_guard lock(mutex_);
        auto& pool = pools_[static_cast<std::size_t>(std::bit_width(rounded / smallest) - 1)];
        // Many small blocks, few large ones; beyond that number a block goes back to the system when it is returned.
        if (!pool) pool = std::make_unique<buffer_pool>(rounded, std::clamp<std::size_t>(largest_kept / 4 / rounded, 4, 256));
        return pool->acquire();
    }
    template <class T>
    buffer acquire_for(std::size_t items) {
        if (items > std::numeric_limits<std::size_t>::max() / 2 / sizeof(T)) throw std::bad_array_new_length();
        return acquire(items * sizeof(T));
    }

    /// Lets go of what is kept: free memory goes back to the system now, blocks in use when they are returned.
    void trim() {
        const std::lock_guard lock(mutex_);
        for (auto& pool : pools_) pool.reset();
    }
    block_stats stats() const {
        block_stats sum;
        const std::lock_guard lock(mutex_);
        for (auto& pool : pools_) {
            if (!pool) continue;
            const auto each = pool->stats();
            sum.hits += each.hits;
            sum.misses += each.misses;
            sum.live += each.live;
            sum.bytes += each.bytes;
        }
        return sum;
    }

private:
    mutable channel_mutex mutex_;  // guards the pools; a forked child cannot hang on it
    std::array<std::unique_ptr<buffer_pool>, 17> pools_;  // 4 KiB << index
};

}  // namespace tenfold
