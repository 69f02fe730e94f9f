// tenfold/owned_buffer.hpp: memory for a result that somebody else will own, counted from its making to its release.
//
// Why: a result reaches Python without a copy when the array's memory is ours and a capsule, the array's base, gives it back. That
// is three lines, and the usual mistake in them shows as a leak or a double free long after. So every buffer is counted, made
// and released, and a test can say "as many as before" instead of "it did not crash".
// Aligned for any vector; not initialised, because the kernel writes every item; huge pages are asked for when it is large, as
// NumPy does: the first touch of 16 million items is otherwise 30,000 page faults.
//
// Copy: this file. Needs C++20; no flags, no libraries.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace tenfold::zero_copy {

struct buffer_counts {
    std::uint64_t made = 0, released = 0;
    std::uint64_t live() const { return made - released; }
};

namespace detail {

// Relaxed: plain counts, nothing is published through them. A reader that wants both at rest has joined the threads itself.
struct counting {
    std::atomic<std::uint64_t> made{0}, released{0};
};
inline counting buffers;

}  // namespace detail

/// Of this process (of this copy of the library).
inline buffer_counts owned_buffers() {
    // Released first: so that a buffer that comes and goes in between is not counted as released before it was made.
    const std::uint64_t released = detail::buffers.released.load(std::memory_order_relaxed);
    return {detail::buffers.made.load(std::memory_order_relaxed), released};
}

template <class T>
class owned_buffer {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

public:
    owned_buffer() = default;
    explicit owned_buffer(std::size_t n) : size_(n) {
        if (n > std::numeric_limits<std::ptrdiff_t>::max() / sizeof(T)) throw std::bad_alloc();
        const std::size_t bytes = n == 0 ? 1 : n * sizeof(T);  // an empty buffer has an address too: a capsule cannot hold null
        data_ = static_cast<T*>(::operator new(bytes, std::align_val_t{bytes < huge ? 64 : page}));
#ifdef __linux__
        if (bytes >= huge) ::madvise(data_, bytes / page * page, MADV_HUGEPAGE);  // a wish: what it returns does not matter
#endif
        detail::buffers.made.fetch_add(1, std::memory_order_relaxed);
    }
    owned_buffer(owned_buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    owned_buffer& operator=(owned_buffer&& other) noexcept {
        owned_buffer(std::move(other)).swap(*this);
        return *this;
    }
    ~owned_buffer() {
        if (data_ == nullptr) return;
        const std::size_t bytes = size_ == 0 ? 1 : size_ * sizeof(T);
        ::operator delete(data_, std::align_val_t{bytes < huge ? 64 : page});
        detail::buffers.released.fetch_add(1, std::memory_order_relaxed);
    }

    void swap(owned_buffer& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }
    T* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    std::span<T> span() const noexcept { return {data_, size_}; }

private:
    static constexpr std::size_t huge = std::size_t{4} << 20, page = std::size_t{2} << 20;
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace tenfold::zero_copy
