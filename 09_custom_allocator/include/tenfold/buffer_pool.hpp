// tenfold/buffer_pool.hpp: blocks of one size that go round and round between threads.
//
// Why: a pipeline that allocates a batch, fills it, hands it on and frees it asks the system for the same memory again and again:
// glibc gives blocks of more than 128 KB back to the kernel, and every new one is page faults. Here a block that comes back is
// the next one that goes out (last in, first out: its lines are still in the cache):
//     tenfold::buffer_pool pool(1 << 20, 8);
//     tenfold::buffer batch = pool.acquire_wait();         // at most 8 at once: memory is bounded, producers wait
//     std::span<double> values = batch.as<double>();       // back to the pool at the end of the scope, on any thread
//
// - Taking and returning are a few atomic instructions and no lock. Memory comes in segments that double: capacity costs nothing
//   until it is used. alloc_detail::buffer_core holds both.
// - Beyond capacity: acquire() takes an extra block from the heap and frees it on return, or refuses; try_acquire() gives an empty
//   handle; acquire_wait() waits.
// - A handle may outlive the pool: the last one frees the memory. A forked child may go on: nothing here holds a lock.
//
// Copy: this file, buffer_core.hpp, alloc_errors.hpp, alloc_poison.hpp.   #include <tenfold/buffer_pool.hpp>   C++20; link the platform's
// threads library (-pthread).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

#include "tenfold/alloc_errors.hpp"
#include "tenfold/buffer_core.hpp"

namespace tenfold {

/// A block of a pool. Movable; goes back when it is destroyed or reset, on whichever thread that is.
class buffer {
public:
    buffer() noexcept = default;
    buffer(buffer&& other) noexcept
        : core_(std::exchange(other.core_, nullptr)), data_(std::exchange(other.data_, nullptr)), index_(other.index_) {}
    buffer& operator=(buffer&& other) noexcept {
        if (this != &other) {
            reset();
            core_ = std::exchange(other.core_, nullptr);
            data_ = std::exchange(other.data_, nullptr);
            index_ = other.index_;
        }
        return *this;
    }
    ~buffer() { reset(); }

    explicit operator bool() const noexcept { return data_ != nullptr; }
    std::byte* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return core_ ? core_->block_bytes() : 0; }
    std::span<std::byte> bytes() const noexcept { return {data_, size()}; }
    /// As many T as fit. Their lifetime begins with the first write, as in memory from malloc.
    template <class T>
    std::span<T> as() const noexcept {
        static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
        return {reinterpret_cast<T*>(data_), size() / sizeof(T)};
    }
    bool pooled() const noexcept { return core_ && index_ != alloc_detail::buffer_core::none; }

    void reset() noexcept {
        if (auto* core = std::exchange(core_, nullptr)) core->give_back(index_, std::exchange(data_, nullptr));
    }

private:
    friend class buffer_pool;
    buffer(alloc_detail::buffer_core* core, std::uint32_t index, std::byte* data) : core_(core), data_(data), index_(index) {}

    alloc_detail::buffer_core* core_ = nullptr;
    std::byte* data_ = nullptr;
    std::uint32_t index_ = 0;
};

class buffer_pool {
public:
    buffer_pool(std::size_t block_bytes, std::size_t capacity, buffer_pool_options options = {})
        : core_(std::make_unique<alloc_detail::buffer_core>(block_bytes, capacity, std::move(options)).release()) {}
    buffer_pool(const buffer_pool&) = delete;
    buffer_pool& operator=(const buffer_pool&) = delete;
    ~buffer_pool() { core_->close(); }

    /// A block; beyond capacity an extra one from the heap, or pool_exhausted (options.beyond). Never waits.
    buffer acquire() {
        if (buffer block = try_acquire()) return block;
        if (core_->options().beyond == when_full::refuse) throw pool_exhausted();
        return {core_, none, core_->take_extra()};
    }
    /// A block, or an empty handle while all are out.
    buffer try_acquire() {
        const std::uint32_t index = core_->take(false);
        if (index == none) return {};
        return {core_, index, core_->memory(index)};
    }
    /// Waits for a block. Asks `stop` about every 10 ms; when it says true: tenfold::stopped.
    template <class Stop = never_stop>
    buffer acquire_wait(Stop&& stop = {}) {
        for (;;) {
            if (buffer block = try_acquire()) return block;
            if (stop()) throw stopped();
            core_->wait();
        }
    }

    /// The same without a handle, never beyond capacity: pool_exhausted.
    std::byte* allocate() {
        const std::uint32_t index = core_->take(true);
        if (index == none) throw pool_exhausted();
        return core_->memory(index);
    }
    /// Gives back what allocate() gave. Anything else is double_free, foreign_free or bad_free, and changes nothing.
    void deallocate(void* block) {
        if (block) core_->give_back_pointer(block);
    }

    /// Takes all the memory now: no allocation from here on. (Pages are touched when they are first written.)
    void reserve() { core_->reserve(); }

    std::size_t block_bytes() const noexcept { return core_->block_bytes(); }
    std::size_t capacity() const noexcept { return core_->capacity(); }
    std::size_t live() const noexcept { return core_->live(); }
    std::size_t available() const noexcept { return core_->available(); }
    buffer_pool_stats stats() const noexcept { return core_->stats(); }
    /// Blocks from allocate() that are out now.
    leak_report leaks() const noexcept { return core_->leaks(); }

private:
    static constexpr std::uint32_t none = alloc_detail::buffer_core::none;
    alloc_detail::buffer_core* core_;  // shared with the handles that are out
};

}  // namespace tenfold
