// tenfold/par_items.hpp: where results go. items<T>, an array that several threads may construct in place; pieces<T>, results in
// parts, before anyone knows how many there are.
//
// Why: std::vector<T>(n) writes n zeros on one thread before the first result arrives, a second pass over memory, and needs a
// default constructor; vector<bool> cannot be written to by two threads at all. items<T> is plain memory in which each block
// constructs its own items; if one fails, those that exist are destroyed.
//
// Copy: par_items.hpp and the headers that it includes. C++20.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "tenfold/par_run.hpp"
#include "tenfold/par_source.hpp"

namespace tenfold {

namespace par_detail {

// Memory for n items, not initialised. From 32 MB on it starts at a huge page and asks for such: one page fault instead of 512.
// Below, plain new: glibc keeps freed blocks up to that size for the next call, but not where an alignment was asked for.
template <class T>
class raw_memory {
public:
    raw_memory() = default;
    explicit raw_memory(std::size_t n) {
        if (n == 0) return;
        if (n > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / sizeof(T))
            throw std::bad_array_new_length();
        const std::size_t bytes = n * sizeof(T);
        align_ = bytes >= (std::size_t{32} << 20) ? huge_page : alignof(T);
        data_ = static_cast<T*>(align_ > plain ? ::operator new(bytes, std::align_val_t{align_}) : ::operator new(bytes));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (align_ == huge_page) ::madvise(data_, bytes / huge_page * huge_page, MADV_HUGEPAGE);  // only a hint
#endif
    }
    // Two halves of one block, which lives until both are gone: one large allocation is kept by glibc for the next call, two are
    // given back to the system.
    static std::pair<raw_memory, raw_memory> halves(std::size_t n) {
        if (n > std::numeric_limits<std::size_t>::max() / 2) throw std::bad_array_new_length();
        const auto whole = std::make_shared<raw_memory>(2 * n);
        return {raw_memory(whole, whole->data_), raw_memory(whole, whole->data_ + n)};
    }

    raw_memory(raw_memory&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), align_(other.align_), whole_(std::move(other.whole_)) {}
    raw_memory& operator=(raw_memory&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(align_, other.align_);
        std::swap(whole_, other.whole_);
        return *this;
    }
    ~raw_memory() {
        if (whole_) return;
        if (align_ > plain) ::operator delete(static_cast<void*>(data_), std::align_val_t{align_});
        else ::operator delete(static_cast<void*>(data_));
    }
    T* get() const noexcept { return data_; }

private:
    static constexpr std::size_t huge_page = std::size_t{2} << 20, plain = __STDCPP_DEFAULT_NEW_ALIGNMENT__;
    raw_memory(std::shared_ptr<raw_memory> whole, T* part) : data_(part), whole_(std::move(whole)) {}

    T* data_ = nullptr;
    std::size_t align_ = 0;
    std::shared_ptr<raw_memory> whole_;  // set: data_ is a part of that
};

}  // namespace par_detail

// A fixed number of T, contiguous, owning, movable. Made by collect() and the like.
template <class T>
class items {
public:
    using value_type = T;

    items() = default;
    items(items&& other) noexcept : memory_(std::move(other.memory_)), size_(std::exchange(other.size_, 0)) {}
    items& operator=(items&& other) noexcept {
        std::swap(memory_, other.memory_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~items() { std::destroy_n(data(), size_); }

    // Takes over memory in which all n items have been constructed.
    items(par_detail::raw_memory<T> memory, std::size_t n) noexcept : memory_(std::move(memory)), size_(n) {}

    T* data() noexcept { return memory_.get(); }
    const T* data() const noexcept { return memory_.get(); }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    T* begin() noexcept { return data(); }
    T* end() noexcept { return data() + size_; }
    const T* begin() const noexcept { return data(); }
    const T* end() const noexcept { return data() + size_; }
    T& operator[](std::size_t i) noexcept { return data()[i]; }
    const T& operator[](std::size_t i) const noexcept { return data()[i]; }

    std::vector<T> to_vector() const& { return std::vector<T>(begin(), end()); }
    std::vector<T> to_vector() && { return std::vector<T>(std::make_move_iterator(begin()), std::make_move_iterator(end())); }

    friend bool operator==(const items& a, const items& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }
    friend bool operator==(const items& a, std::span<const T> b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }
    friend bool operator==(const items& a, std::initializer_list<T> b) {
        return std::equal(a.begin(), a.end(), b.begin(), b.end());
    }

private:
    par_detail::raw_memory<T> memory_;
    std::size_t size_ = 0;
};

namespace par_detail {

// The results of one block: a vector that never initialises and moves its items when it grows.
template <class T>
class bag {
public:
    bag() = default;
    bag(bag&& other) noexcept
        : memory_(std::move(other.memory_)), size_(std::exchange(other.size_, 0)), room_(std::exchange(other.room_, 0)) {}
    bag& operator=(bag&& other) noexcept {
        std::swap(memory_, other.memory_);
        std::swap(size_, other.size_);
        std::swap(room_, other.room_);
        return *this;
    }
    ~bag() { std::destroy_n(data(), size_); }

    T* data() const noexcept { return memory_.get(); }
    std::size_t size() const noexcept { return size_; }
    void clear() noexcept { std::destroy_n(data(), std::exchange(size_, 0)); }

    void reserve_more(std::size_t count) {
        if (room_ - size_ >= count) return;
        // One inner range may have 2^64 - 1 items: the sum below must not wrap.
        if (count > std::numeric_limits<std::size_t>::max() / 2 - size_) throw std::bad_array_new_length();
        const std::size_t room = std::max({size_ + count, 2 * room_, std::size_t{16}});
        raw_memory<T> larger(room);
        std::uninitialized_move_n(data(), size_, larger.get());
        std::destroy_n(data(), size_);
        memory_ = std::move(larger);
        room_ = room;
    }

    template <class Batch>
    void append(const Batch& batch, place& at) {
        const std::size_t count = batch.size();
        reserve_more(count);
        T* const to = data() + size_;
        if constexpr (std::is_trivially_destructible_v<T>) {
            each(batch, 0, count, at, [&](std::size_t j) { ::new (static_cast<void*>(to + j)) T(batch.at(j)); });
            size_ += count;
        } else {
            each(batch, 0, count, at, [&](std::size_t j) {
                ::new (static_cast<void*>(to + j)) T(batch.at(j));
                ++size_;
            });
        }
    }

private:
    raw_memory<T> memory_;
    std::size_t size_ = 0, room_ = 0;
};

// Blocks of unknown size, put in a row while others still run. Memory has room for all items that go in, so each block may write
// where its first item would be if nothing were dropped before; where everything before it is closed already, it writes where its items stay.
// Whoever closes a gap moves the blocks behind it down. Nobody waits; one thread alone moves nothing.
template <class T>
class row_of_blocks {
    static_assert(std::is_nothrow_move_constructible_v<T>, "results that move must not throw");

public:
    row_of_blocks(raw_memory<T> memory, std::size_t block, std::size_t blocks)
        : memory_(std::move(memory)), block_(block), counts_(blocks, nowhere) {}
    row_of_blocks(const row_of_blocks&) = delete;
    row_of_blocks& operator=(const row_of_blocks&) = delete;
    ~row_of_blocks() {
        std::destroy_n(memory_.get(), total_);
        for (std::size_t i = closed_; i < counts_.size(); ++i)
            if (counts_[i] != nowhere) std::destroy_n(place_of(i), counts_[i]);
    }

    class writer {
    public:
        writer(row_of_blocks& row, std::size_t block) : row_(&row), block_(block), out_(row.open(block)) {}
        writer(writer&& other) noexcept
            : row_(other.row_), block_(other.block_), out_(other.out_), count_(std::exchange(other.count_, 0)) {}
        writer& operator=(writer&&) = delete;
        ~writer() { std::destroy_n(out_, count_); }  // of a block that was not finished

        template <class Batch>
        void append(const Batch& batch, place& at) {
            T* const to = out_ + count_;
            each(batch, 0, batch.size(), at, [&](std::size_t j) {
                ::new (static_cast<void*>(to + j)) T(batch.at(j));
                if constexpr (!std::is_trivially_destructible_v<T>) ++count_;
            });
            if constexpr (std::is_trivially_destructible_v<T>) count_ += batch.size();
        }
        void finish() { row_->close(block_, std::exchange(count_, 0), out_); }

    private:
        row_of_blocks* row_;
        std::size_t block_;
        T* out_;
        std::size_t count_ = 0;
    };

    // When all blocks are closed.
    items<T> take() && { return items<T>(std::move(memory_), std::exchange(total_, 0)); }

private:
    T* place_of(std::size_t block) const { return memory_.get() + block * block_; }

    T* open(std::size_t block) {
        const std::lock_guard lock(mutex_);
        return closed_ == block ? memory_.get() + total_ : place_of(block);
    }

    void close(std::size_t block, std::size_t count, T* from) {
        std::unique_lock lock(mutex_);
        counts_[block] = count;
        if (closed_ != block) return;
        // This block was the gap. While blocks are moved down, later ones may close: they see that somebody is at it and leave.
        while (closed_ < counts_.size() && counts_[closed_] != nowhere) {
            T* const to = memory_.get() + total_;
            const std::size_t here = counts_[closed_];
            lock.unlock();
            if (closed_ != block) from = place_of(closed_);
            move_down(from, here, to);
            lock.lock();
            total_ += here;
            ++closed_;
        }
    }

    // `to` is not above `from`; they may overlap.
    static void move_down(T* from, std::size_t count, T* to) {
        if (from == to) return;
        if constexpr (cheap<T> || std::is_trivially_copyable_v<T>) {
            std::memmove(static_cast<void*>(to), static_cast<const void*>(from), count * sizeof(T));
        } else {
            for (std::size_t i = 0; i < count; ++i) {
                ::new (static_cast<void*>(to + i)) T(std::move(from[i]));
                std::destroy_at(from + i);
            }
        }
    }

    raw_memory<T> memory_;
    std::size_t block_;
    std::mutex mutex_;  // guards the three below
    std::vector<std::size_t> counts_;
    std::size_t closed_ = 0, total_ = 0;  // blocks in place, and their items
};

}  // namespace par_detail

// Results in order, but perhaps in parts. size() is known, so the caller can allocate where they shall be and move them there.
template <class T>
class pieces {
public:
    pieces() = default;
    explicit pieces(items<T> whole) {
        // One allocation, seen as parts that can be moved by several threads.
        whole_ = std::move(whole);
        starts_.push_back(0);
        while (starts_.back() < whole_.size()) starts_.push_back(std::min(whole_.size(), starts_.back() + 16 * 1024));
    }
    explicit pieces(std::vector<par_detail::bag<T>> parts) : parts_(std::move(parts)), starts_(parts_.size() + 1, 0) {
        for (std::size_t i = 0; i < parts_.size(); ++i) starts_[i + 1] = starts_[i] + parts_[i].size();
    }

    std::size_t size() const noexcept { return starts_.empty() ? 0 : starts_.back(); }

    // Moves everything to `out`, on all threads. Once.
    template <par_executor Executor = openmp_executor, class Stop = never_stop>
    void move_to(std::span<T> out, Executor executor = {}, Stop&& stop = {}) {
        if (out.size() != size()) throw std::invalid_argument("out must have as many items as there are results");
        move_parts(executor, stop,
                   [&](T* part, std::size_t start, std::size_t count) { std::move(part, part + count, out.data() + start); });
    }

    // The same into memory of its own.
    template <par_executor Executor = openmp_executor, class Stop = never_stop>
    items<T> to_items(Executor executor = {}, Stop&& stop = {}) {
        static_assert(std::is_nothrow_move_constructible_v<T>, "results that move must not throw");
        if (parts_.empty()) return std::move(whole_);
        par_detail::raw_memory<T> memory(size());
        const auto move = [&](T* part, std::size_t start, std::size_t count) {
            std::uninitialized_move_n(part, count, memory.get() + start);
        };
        never_stop never;
        if constexpr (std::is_trivially_destructible_v<T>) move_parts(executor, stop, move);
        else move_parts(executor, never, move);  // stopped halfway, nobody would know which items to destroy
        return items<T>(std::move(memory), size());
    }

private:
    // One item of this pipe is one part.
    template <class Move>
    struct part_mover : par_detail::pipe_base {
        pieces& all;
        const Move& move;
        part_mover(pieces& every, const Move& mover) : all(every), move(mover) {}
        std::size_t extent() const { return all.starts_.empty() ? 0 : all.starts_.size() - 1; }
        template <class Local>
        bool drive(std::size_t begin, std::size_t end, par_detail::place&, Local&) const {
            for (; begin < end; ++begin) {
                const std::size_t start = all.starts_[begin];
                move(all.parts_.empty() ? all.whole_.data() + start : all.parts_[begin].data(), start,
                     all.starts_[begin + 1] - start);
            }
            return true;
        }
    };
    struct nothing {
        void finish(par_detail::place&) noexcept {}
    };
    template <class Executor, class Stop, class Move>
    void move_parts(const Executor& executor, Stop& stop, const Move& move) {
        par_detail::run_blocks(part_mover<Move>(*this, move), executor, stop, 1, par_detail::handing::in_shares,
                               [](std::size_t, std::size_t, std::size_t) { return nothing{}; });
    }

    items<T> whole_;  // either this
    std::vector<par_detail::bag<T>> parts_;  // or these
    std::vector<std::size_t> starts_;
};

}  // namespace tenfold
