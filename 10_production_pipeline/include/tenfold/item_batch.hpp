// tenfold/item_batch.hpp: what travels between the stages of a pipeline: a batch of items that know where they came from.
//
// Why batches: handing over costs the same for one item as for a thousand. Why places: when an item fails, its number in the
// source says which one it was; a filter in between has shifted the positions. As long as nothing was taken out, the number is
// "first item's number + position" and nothing is stored; behind a filter each item has its distance from the first beside it.
//
// Items are default-initialised once and assigned from then on, so strings keep their memory. So does everything else: what an
// item owns and no stage has moved out of it, it owns until another item takes its place or the pipeline goes. A batch is used by
// one thread at a time; the links of the engine (pipeline_engine.hpp) hand it on.
//
// Copy: this file, block_cache.hpp and what that names.   #include <tenfold/item_batch.hpp>   C++20, -pthread
#pragma once

#include <tenfold/block_cache.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace tenfold {

struct stage_error {
    std::size_t stage = 0;  // 0: the source; 1, 2, ...: the stages; the last: the sink
    std::string name;
    std::uint64_t index = 0;  // of the item, counted in the source from 0
    std::exception_ptr error;
};

namespace pipeline_detail {

struct batch_head {
    explicit batch_head(std::size_t room) : capacity(room) {}
    batch_head(const batch_head&) = delete;
    batch_head& operator=(const batch_head&) = delete;
    virtual ~batch_head() = default;

    std::uint64_t index(std::size_t item) const noexcept { return first + (gaps ? places[item] : item); }

    // This batch is to hold what becomes of that one's items: so far it knows whence they come, and what has failed among them.
    void descend_from(batch_head& other) noexcept {
        number = other.number;
        first = other.first;
        born_ns = other.born_ns;
        gaps = other.gaps;
        std::swap(places, other.places);  // both belong to one engine, whose memory lives as long as either
        errors.clear();
        errors.swap(other.errors);
        size = 0;
    }

    const std::size_t capacity;
    std::size_t size = 0;
    std::uint64_t number = 0;  // of the batch in its run
    std::uint64_t first = 0;  // the number of its first item in the source
    std::uint64_t born_ns = 0;  // when it was read
    bool gaps = false;
    std::uint32_t* places = nullptr;  // with gaps: how far each item is from the first
    std::vector<stage_error> errors;
};

template <class T>
struct item_batch final : batch_head {
    static_assert(std::is_default_constructible_v<T> && std::is_nothrow_move_assignable_v<T>);
    static_assert(alignof(T) <= 64, "blocks are aligned to 64");

    static constexpr std::size_t bytes_for(std::size_t room) noexcept {
        return room * (sizeof(T) + sizeof(std::uint32_t)) + 64;
    }

    item_batch(block_cache& blocks, std::size_t room) : batch_head(room), memory_(blocks.acquire(bytes_for(room))) {
        items = reinterpret_cast<T*>(memory_.data());
        std::uninitialized_default_construct_n(items, room);
        // Behind the items; the 64 bytes more are for the rounding up.
        places = reinterpret_cast<std::uint32_t*>(memory_.data() + (room * sizeof(T) + 63) / 64 * 64);
        std::uninitialized_default_construct_n(places, room);
    }
    ~item_batch() override { std::destroy_n(items, capacity); }

    std::span<T> all() noexcept { return {items, size}; }

    T* items;

private:
    buffer memory_;
};

template <class T>
std::unique_ptr<batch_head> make_batch(block_cache& blocks, std::size_t room) {
    return std::make_unique<item_batch<T>>(blocks, room);
}

}  // namespace pipeline_detail
}  // namespace tenfold
