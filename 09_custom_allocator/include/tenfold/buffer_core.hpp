// tenfold/buffer_core.hpp: the shared part of a buffer_pool and its handles: blocks, their states, the stack of free ones.
//
// Free blocks are a stack of indices in one 64-bit word with a tag: a lock-free pop of pointers would read a block that another
// thread already writes, and a head that was taken and put back would look unchanged. Memory comes in segments, each twice as
// large as the one before, and stays until the end: so an index always leads to memory, and a pointer is found in a few compares.
//
// Copy: with buffer_pool.hpp, which is what to include.   C++20; link the platform's threads library (-pthread).
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <thread>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#include "tenfold/alloc_errors.hpp"
#include "tenfold/alloc_poison.hpp"

namespace tenfold {

enum class when_full { heap, refuse };

struct buffer_pool_options {
    when_full beyond = when_full::heap;
    bool debug = false;  // blocks are filled with a pattern when they come back, and checked before they go out again
    std::size_t alignment = 64;
    leak_handler on_leak = {};  // told by the destructor about blocks from allocate() that never came back
};

struct buffer_pool_stats {
    std::uint64_t hits;  // a block that had been used before (or was reserved)
    std::uint64_t misses;  // new memory: a block used for the first time, or an extra one
    std::uint64_t extra;  // of the misses, blocks beyond capacity
    std::size_t live, peak, bytes, available;
};

namespace alloc_detail {

// What the pool and its handles share. References: one for the pool, one for each block that is out.
class buffer_core {
public:
    static constexpr std::uint32_t none = 0xFFFFFFFFu;

    buffer_core(std::size_t block_bytes, std::size_t capacity, buffer_pool_options options)
        : options_(std::move(options)), block_bytes_(block_bytes), capacity_(capacity) {
        if (block_bytes == 0) throw std::invalid_argument("the size of a block must be >= 1");
        if (capacity == 0) throw std::invalid_argument("capacity must be >= 1");
        if (capacity >= none) throw std::bad_array_new_length();
        checked_alignment(options_.alignment);
        stride_ = rounded_up(block_bytes, options_.alignment);
        checked_product(stride_, capacity);
        first_ = static_cast<std::uint32_t>(std::clamp<std::size_t>((std::size_t{64} << 10) / stride_, 1, capacity));
    }
    buffer_core(const buffer_core&) = delete;
    buffer_core& operator=(const buffer_core&) = delete;
    ~buffer_core() {
        for (auto& each : segments_) std::unique_ptr<segment>(each.load(std::memory_order_relaxed));  // frees it
    }

    // Takes a block of the pool: its index, or none. `raw`: it will come back through give_back_pointer().
    std::uint32_t take(bool raw) {
        std::uint32_t index = pop();
        if (index == none) {
            index = fresh();
            if (index == none) return none;
        }
        auto [memory, state] = locate(index);
        permit(memory, block_bytes_);
        if (state->returned && options_.debug && !still_poison(memory, block_bytes_)) {
            shelve(index, memory, *state);  // the block itself is sound and may be taken again
            throw use_after_return();
        }
        // Relaxed: only whoever holds the block changes this, and pop() has acquired what the last holder did.
        state->held.store(raw ? held_raw : held_by_handle, std::memory_order_relaxed);
        count_out();
        return index;
    }
    std::byte* memory(std::uint32_t index) const noexcept { return locate(index).first; }

    std::byte* take_extra() {
        auto* memory = static_cast<std::byte*>(::operator new(stride_, std::align_val_t{options_.alignment}));
        misses_.fetch_add(1, std::memory_order_relaxed);  // counters: pair with nothing
        extra_.fetch_add(1, std::memory_order_relaxed);
        extra_live_.fetch_add(1, std::memory_order_relaxed);
        count_out();
        return memory;
    }

    void give_back(std::uint32_t index, std::byte* memory) noexcept {
        count_in();
        if (index == none) {
            ::operator delete(memory, std::align_val_t{options_.alignment});
            extra_live_.fetch_sub(1, std::memory_order_relaxed);
        } else {
            auto* state = locate(index).second;
            state->held.store(held_by_nobody, std::memory_order_relaxed);  // published by push()
            shelve(index, memory, *state);
        }
        release();
    }

    void give_back_pointer(void* pointer) {
        const std::uint32_t index = find(pointer);
        if (index == none) throw foreign_free();
        auto [memory, state] = locate(index);
        std::uint8_t expected = held_raw;
        // Of two threads that return one block, one wins here. Relaxed: push() publishes the block.
        if (!state->held.compare_exchange_strong(expected, held_by_nobody, std::memory_order_relaxed)) {
            if (expected == held_by_handle) throw bad_free("this block belongs to a handle, which returns it");
            throw double_free();
        }
        count_in();
        shelve(index, memory, *state);
        release();
    }

    // Waits until a block may be there, at most 10 ms.
    void wait() {
        if (!home()) {  // a forked child: the locks are as the fork found them
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            return;
        }
        std::unique_lock lock(mutex_);
        waiters_.fetch_add(
            1);  // seq_cst, before looking: push() looks here after it has pushed, so one of the two sees the other
        if (top_of(head_.load()) == none && used_.load() == capacity_) came_back_.wait_for(lock, std::chrono::milliseconds(10));
        waiters_.fetch_sub(1);
    }

    void reserve() {
        for (std::uint32_t start = 0; start < capacity_;) {
            const int number = segment_of(start);
            hold(number);
            start = start_of(number) + size_of(number);
        }
        reserved_.store(true, std::memory_order_relaxed);
    }

    // The pool is gone. Blocks that allocate() gave out cannot come back any more.
    void close() noexcept {
        const leak_report leaked = leaks();
        if (leaked.blocks != 0 && options_.on_leak) options_.on_leak(leaked);
        for (std::size_t i = 0; i <= leaked.blocks; ++i) release();
    }
    leak_report leaks() const noexcept {
        std::size_t blocks = 0;
        const std::uint32_t used = used_.load(std::memory_order_relaxed);
        for (std::uint32_t i = 0; i < used; ++i) {
            const segment* where = segments_[static_cast<std::size_t>(segment_of(i))].load(std::memory_order_acquire);
            if (where && where->states[i - start_of(segment_of(i))].held.load(std::memory_order_relaxed) == held_raw) ++blocks;
        }
        return {blocks, blocks * block_bytes_};
    }

    buffer_pool_stats stats() const noexcept {
        const std::uint64_t taken = taken_.load(std::memory_order_relaxed), misses = misses_.load(std::memory_order_relaxed);
        const std::size_t extra = extra_live_.load(std::memory_order_relaxed), out = live();
        return {taken - std::min(misses, taken),
                misses,
                extra_.load(std::memory_order_relaxed),
                out,
                peak_.load(std::memory_order_relaxed),
                bytes_.load(std::memory_order_relaxed) + extra * stride_,
                available()};
    }
    std::size_t live() const noexcept { return out_.load(std::memory_order_relaxed); }
    std::size_t available() const noexcept {
        const std::size_t out = live(), extra = extra_live_.load(std::memory_order_relaxed);
        return capacity_ - std::min(capacity_, out - std::min(extra, out));
    }
    const buffer_pool_options& options() const noexcept { return options_; }
    std::size_t block_bytes() const noexcept { return block_bytes_; }
    std::size_t capacity() const noexcept { return capacity_; }

private:
    enum : std::uint8_t { held_by_nobody, held_by_handle, held_raw };
    struct slot_state {
        std::atomic<std::uint32_t> next{none};  // the block below on the stack of free ones
        std::atomic<std::uint8_t> held{held_by_nobody};
        bool returned = false;  // the holder's; it has been out and back
    };
    struct segment {
        segment(std::size_t blocks, std::size_t stride, std::size_t alignment)
            : bytes(blocks * stride), align{alignment}, memory(static_cast<std::byte*>(::operator new(bytes, align))) {
            try {
                states = std::make_unique<slot_state[]>(blocks);
            } catch (...) {
                ::operator delete(memory, align);
                throw;
            }
            forbid(memory, bytes);
        }
        ~segment() {
            permit(memory, bytes);
            ::operator delete(memory, align);
        }
        segment(const segment&) = delete;
        segment& operator=(const segment&) = delete;

        std::size_t bytes;
        std::align_val_t align;
        std::byte* memory;
        std::unique_ptr<slot_state[]> states;
    };

    // Segment k holds first_ * 2^k blocks, the last one what is left of the capacity.
    int segment_of(std::uint32_t index) const noexcept { return static_cast<int>(std::bit_width(index / first_ + 1u)) - 1; }
    std::uint32_t start_of(int number) const noexcept {
        return static_cast<std::uint32_t>(first_ * ((std::uint64_t{1} << number) - 1));
    }
    std::uint32_t size_of(int number) const noexcept {
        return static_cast<std::uint32_t>(
            std::min<std::uint64_t>(std::uint64_t{first_} << number, capacity_ - start_of(number)));
    }
    std::pair<std::byte*, slot_state*> locate(std::uint32_t index) const noexcept {
        const int number = segment_of(index);
        const segment* where =
            segments_[static_cast<std::size_t>(number)].load(std::memory_order_acquire);  // pairs with hold()
        const std::uint32_t at = index - start_of(number);
        return {where->memory + at * stride_, &where->states[at]};
    }
    std::uint32_t find(const void* pointer) const noexcept {
        const auto address = reinterpret_cast<std::uintptr_t>(pointer);
        for (int number = 0; number < 32; ++number) {
            const segment* where = segments_[static_cast<std::size_t>(number)].load(std::memory_order_acquire);
            if (!where) continue;
            const auto begin = reinterpret_cast<std::uintptr_t>(where->memory);
            if (address < begin || address >= begin + where->bytes) continue;
            return (address - begin) % stride_ == 0 ? start_of(number) + static_cast<std::uint32_t>((address - begin) / stride_)
                                                    : none;
        }
        return none;
    }
    void hold(int number) {
        auto& place = segments_[static_cast<std::size_t>(number)];
        if (place.load(std::memory_order_acquire)) return;
        auto made = std::make_unique<segment>(size_of(number), stride_, options_.alignment);
        segment* expected = nullptr;  // release: pairs with the acquire in locate()
        if (place.compare_exchange_strong(expected, made.get(), std::memory_order_acq_rel))
            bytes_.fetch_add(made.release()->bytes, std::memory_order_relaxed);
    }

    static std::uint32_t top_of(std::uint64_t head) noexcept { return static_cast<std::uint32_t>(head); }
    // Each change of the head has a new tag in the upper half: a head that has been away and come back does not look the same.
    static std::uint64_t with_top(std::uint64_t head, std::uint32_t top) noexcept { return (((head >> 32) + 1) << 32) | top; }

    std::uint32_t pop() noexcept {
        std::uint64_t head = head_.load(std::memory_order_acquire);  // acquire: pairs with push(), for the block and its `next`
        while (top_of(head) != none) {
            const std::uint32_t next = locate(top_of(head)).second->next.load(std::memory_order_relaxed);
            if (head_.compare_exchange_weak(head, with_top(head, next), std::memory_order_acquire)) return top_of(head);
        }
        return none;
    }
    void push(std::uint32_t index, slot_state& state) noexcept {
        std::uint64_t head = head_.load(std::memory_order_relaxed);
        do state.next.store(top_of(head), std::memory_order_relaxed);
        while (!head_.compare_exchange_weak(head, with_top(head, index)));  // seq_cst: see wait()
        if (waiters_.load() != 0 && home()) {
            {
                const std::lock_guard lock(mutex_);
            }  // a waiter that has looked is in wait_for by now
            came_back_.notify_one();
        }
    }
    void shelve(std::uint32_t index, std::byte* memory, slot_state& state) noexcept {
        state.returned = true;
        if (options_.debug) fill_poison(memory, block_bytes_);
        forbid(memory, block_bytes_);
        push(index, state);
    }
    std::uint32_t fresh() {
        std::uint32_t index = used_.load(std::memory_order_relaxed);
        do {
            if (index == capacity_) return none;
            hold(segment_of(index));  // before the index is taken: no memory, no index lost
        } while (!used_.compare_exchange_weak(index, index + 1, std::memory_order_relaxed));
        if (!reserved_.load(std::memory_order_relaxed)) misses_.fetch_add(1, std::memory_order_relaxed);
        return index;
    }

    // Counted after a block is taken and until just before it is given back: never more than there are. (references_ outlasts the
    // giving back, during which somebody else may have the block already.)
    void count_out() noexcept {
        taken_.fetch_add(1, std::memory_order_relaxed);
        references_.fetch_add(1, std::memory_order_relaxed);
        const std::size_t out = out_.fetch_add(1, std::memory_order_relaxed) + 1;
        std::size_t peak = peak_.load(std::memory_order_relaxed);
        while (peak < out && !peak_.compare_exchange_weak(peak, out, std::memory_order_relaxed)) {
        }
    }
    void count_in() noexcept { out_.fetch_sub(1, std::memory_order_relaxed); }
    void release() noexcept {
        // Release and acquire: whoever frees has seen everything that the others did to their blocks.
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) std::unique_ptr<buffer_core>(this).reset();
    }
    bool home() const noexcept {
#if defined(__unix__) || defined(__APPLE__)
        return ::getpid() == process_;
#else
        return true;
#endif
    }

    const buffer_pool_options options_;
    const std::size_t block_bytes_, capacity_;
    std::size_t stride_ = 0;
    std::uint32_t first_ = 1;  // blocks in the first segment
    std::array<std::atomic<segment*>, 33> segments_{};
#if defined(__unix__) || defined(__APPLE__)
    const pid_t process_ = ::getpid();
#endif
    std::mutex mutex_;  // only those who wait, and those who wake them
    std::condition_variable came_back_;
    alignas(128) std::atomic<std::uint64_t> head_{none};
    alignas(128) std::atomic<std::size_t> references_{1};
    std::atomic<std::uint64_t> taken_{0}, misses_{0}, extra_{0};
    std::atomic<std::size_t> out_{0}, extra_live_{0}, peak_{0}, bytes_{0};
    std::atomic<std::uint32_t> used_{0};  // blocks that have been out at least once
    std::atomic<int> waiters_{0};
    std::atomic<bool> reserved_{false};
};

}  // namespace alloc_detail

}  // namespace tenfold
