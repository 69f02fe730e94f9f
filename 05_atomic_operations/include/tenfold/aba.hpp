// tenfold/aba.hpp: a lock-free stack of numbers that loses track (the ABA problem), and the same stack with a tag that does not.
//
// Why: compare-and-swap compares values, not histories. A pop reads the top (A) and what is below it (B), and swaps A for B if
// the top is still A. If meanwhile others took A, took B and put A back, the top is A again and the swap succeeds: now B is the
// top although somebody holds it, and is handed out twice. The cure: the top carries a count of pushes and pops that is
// compared along with it. show_aba() makes it happen, with two real threads and no luck involved.
//
// The stack holds the indices 0 .. capacity - 1 (say, free slots of a pool): no memory is allocated or freed, so a slow reader can
// never touch freed memory (the other half of the problem: hazard pointers, epochs). The tag has 32 bits and wraps: a pop that
// sleeps through exactly 2^32 operations would be fooled. Pushing an index that is already inside is a double free: not detected.
//
// Copy: this file.   #include <tenfold/aba.hpp>   C++20; link the platform's threads library (-pthread).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <semaphore>
#include <stdexcept>
#include <thread>
#include <vector>

namespace tenfold {

/// R. K. Treiber's stack (IBM RJ 5118, 1986) over indices. Starts empty.
template <bool Tagged>
class index_stack {
public:
    explicit index_stack(std::uint32_t capacity)
        : capacity_(capacity < none ? capacity : throw std::invalid_argument("capacity must be below 2^32 - 1")),
          below_(std::make_unique<std::atomic<std::uint32_t>[]>(capacity)) {}

    std::uint32_t capacity() const noexcept { return capacity_; }

    void push(std::uint32_t index) {
        if (index >= capacity_) throw std::out_of_range("index_stack: there is no such index");
        std::uint64_t top = top_.load(std::memory_order_relaxed);  // relaxed: the swap below checks it
        do below_[index].store(index_of(top), std::memory_order_relaxed);  // published by the swap
        // Release pairs with the acquire in look(): who sees this top sees what is below it, and what the slot holds.
        while (!top_.compare_exchange_weak(top, next_top(top, index), std::memory_order_release, std::memory_order_relaxed));
    }

    std::optional<std::uint32_t> pop() noexcept {
        for (;;) {
            const view seen = look();
            if (seen.empty()) return std::nullopt;
            if (take(seen)) return seen.index;
        }
    }

    // The two halves of pop(); between them the world may change.
    struct view {
        std::uint64_t top;
        std::uint32_t index, below;
        bool empty() const noexcept { return index == none; }
    };
    view look() const noexcept {
        const std::uint64_t top = top_.load(std::memory_order_acquire);  // pairs with push()
        const std::uint32_t index = index_of(top);
        // If others have taken `index` since, this is out of date, and take() must find out.
        return {top, index, index == none ? none : below_[index].load(std::memory_order_relaxed)};
    }
    bool take(view seen) noexcept {
        // Acquire on success pairs with push(), for the slot behind the index. Failure: look() again.
        return top_.compare_exchange_strong(seen.top, next_top(seen.top, seen.below), std::memory_order_acquire,
                                            std::memory_order_relaxed);
    }

private:
    static constexpr std::uint32_t none = 0xffffffff;
    static std::uint32_t index_of(std::uint64_t top) noexcept { return static_cast<std::uint32_t>(top); }
    static std::uint64_t next_top(std::uint64_t top, std::uint32_t index) noexcept {
        return Tagged ? ((top >> 32) + 1) << 32 | index : index;
    }

    const std::uint32_t capacity_;
    const std::unique_ptr<std::atomic<std::uint32_t>[]> below_;  // written by the owner of an index, read by slow poppers
    alignas(128) std::atomic<std::uint64_t> top_{none};  // low half: an index; high half: the tag
};

using naive_stack = index_stack<false>;
using tagged_stack = index_stack<true>;

struct aba_report {
    bool swapped = false;  // the paused pop's compare-and-swap succeeded
    bool corrupt = false;  // an index has two owners
    std::vector<std::uint32_t> handed_out;  // who owns what at the end: every index once, if all is well
};

/// The stack 0, 1, 2 (0 on top). A slow pop looks: 0, with 1 below. A second thread pops 0, pops 1, pushes 0 and keeps 1. The
/// slow pop goes on; then the rest is popped.
template <class Stack>
aba_report show_aba() {
    Stack stack(3);
    for (const std::uint32_t index : {2u, 1u, 0u}) stack.push(index);
    aba_report report;
    std::binary_semaphore looked(0), changed(0);
    std::optional<std::uint32_t> slow_got, other_kept;
    {
        std::jthread slow([&] {
            const auto seen = stack.look();
            looked.release();
            changed.acquire();
            report.swapped = stack.take(seen);
            slow_got = report.swapped ? seen.index : stack.pop();
        });
        std::jthread other;
        try {
            other = std::jthread([&] {
                looked.acquire();
                const auto zero = stack.pop();
                other_kept = stack.pop();
                if (zero) stack.push(*zero);
                changed.release();
            });
        } catch (...) {  // no second thread to be had: the first must not wait for it
            changed.release();
            throw;
        }
    }
    if (other_kept) report.handed_out.push_back(*other_kept);
    if (slow_got) report.handed_out.push_back(*slow_got);
    while (report.handed_out.size() < 6) {
        const auto index = stack.pop();
        if (!index) break;
        report.handed_out.push_back(*index);
    }
    int owners[3] = {};
    for (const std::uint32_t index : report.handed_out) report.corrupt |= ++owners[index] > 1;
    return report;
}

inline aba_report show_aba_naive() { return show_aba<naive_stack>(); }
inline aba_report show_aba_tagged() { return show_aba<tagged_stack>(); }

}  // namespace tenfold
