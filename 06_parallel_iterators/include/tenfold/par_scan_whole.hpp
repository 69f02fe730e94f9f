// tenfold/par_scan_whole.hpp: scans of whole numbers. Comes with par_scan.hpp, which says what a scan is.
//
// Whole numbers, and an op that does not throw: the same result in any grouping. So a block is added up first, which says what comes
// before the next one, and scanned once, from what comes before it. Nobody waits: a block whose predecessors are not added up yet
// is left to whoever adds up the last of them. The input is read twice, the second time from the cache.
//
// Copy: par_scan_whole.hpp and the headers that it includes. C++20.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenfold/par_sinks.hpp"

namespace tenfold::par_detail {

enum class scan_kind { inclusive, exclusive };

// std::plus for whole numbers, as unsigned ones: a row alone may overflow where the running sum does not, and wraps back.
struct wrapping_plus {
    template <std::integral T>
    T operator()(T a, T b) const noexcept {
        using bits = std::make_unsigned_t<T>;
        return static_cast<T>(static_cast<bits>(static_cast<bits>(a) + static_cast<bits>(b)));
    }
};
template <class T, class Op>
inline constexpr bool adds_whole_numbers =
    std::is_integral_v<T> && !std::is_same_v<T, bool> && (std::is_same_v<Op, std::plus<>> || std::is_same_v<Op, std::plus<T>>);

// The items are in memory as they are: reading them again calls nobody's function.
template <class T, std::ranges::contiguous_range View>
    requires std::is_same_v<std::remove_cv_t<std::ranges::range_value_t<const View>>, T>
const T* items_in_memory(const source<View>& from) {
    return std::ranges::data(from.view());
}

template <class T, class Op, scan_kind kind, bool in_memory>
class whole_scanner {
public:
    // `in`: the items, if they are in memory; else the results of the stages, which are put in `out`.
    whole_scanner(const T* in, T* out, std::size_t n, std::size_t block, const Op& op, std::optional<T> before)
        : in_(in), out_(out), n_(n), block_(block), op_(op), before_(blocks_of(n, block)), totals_(before_.size()) {
        if (!before_.empty()) before_[0] = before;
    }

    class adding {
    public:
        adding(whole_scanner& all, std::size_t index, std::size_t begin) : all_(&all), index_(index), to_(all.out_ + begin) {}
        template <class Batch>
        bool feed(const Batch& batch, place& at) {
            const std::size_t count = batch.size();
            if (count == 0) return true;
            T* const to = to_;
            to_ += count;
            T sum{};
            each(batch, 0, 1, at, [&](std::size_t) { sum = kept(to, 0, batch); });
            each(batch, 1, count, at, [&](std::size_t j) { sum = std::invoke(all_->op_, sum, kept(to, j, batch)); });
            total_ = total_ ? std::invoke(all_->op_, *total_, sum) : sum;
            return true;
        }
        void finish(place&) { all_->close(index_, *total_); }

    private:
        template <class Batch>
        [[gnu::always_inline]] T kept(T* to, std::size_t j, const Batch& batch) const {
            const T x = batch.at(j);
            if constexpr (!in_memory) to[j] = x;
            return x;
        }
        whole_scanner* all_;
        std::size_t index_;
        T* to_;
        std::optional<T> total_;
    };

    // One thread, block after block: added up and scanned in one.
    class going_on {
    public:
        going_on(whole_scanner& all, std::size_t begin) : all_(&all), to_(all.out_ + begin) {}
        template <class Batch>
        bool feed(const Batch& batch, place& at) {
            T* const to = to_;
            std::optional<T>& running = all_->before_[0];
            std::size_t j = 0;
            if (!running && batch.size() != 0) each(batch, 0, 1, at, [&](std::size_t) { running = to[j++] = batch.at(0); });
            if (running) {
                T sum = *running;
                each(batch, j, batch.size(), at, [&](std::size_t i) { all_->step(sum, T(batch.at(i)), to[i]); });
                running = sum;
            }
            to_ += batch.size();
            return true;
        }
        void finish(place&) noexcept {}

    private:
        whole_scanner* all_;
        T* to_;
    };

private:
    void close(std::size_t index, T total) {
        std::unique_lock lock(mutex_);
        totals_[index] = total;
        for (; frontier_ < totals_.size() && totals_[frontier_]; ++frontier_)
            if (frontier_ + 1 < before_.size()) {
                const auto& before = before_[frontier_];
                before_[frontier_ + 1] = before ? std::invoke(op_, *before, *totals_[frontier_]) : *totals_[frontier_];
            }
        left_.push_back(index);  // its own first: that is still in the cache
        for (std::size_t i = left_.size(); i-- > 0;) {
            const std::size_t ready = left_[i];
            if (ready > frontier_) continue;
            left_.erase(left_.begin() + static_cast<std::ptrdiff_t>(i));
            lock.unlock();
            scan(ready);
            lock.lock();
            i = left_.size();
        }
    }

    // Inclusive: the item becomes the sum up to it. Exclusive: the sum before it.
    [[gnu::always_inline]] void step(T& sum, T item, T& out) const {
        const T next = std::invoke(op_, sum, item);
        out = kind == scan_kind::inclusive ? next : sum;
        sum = next;
    }

    void scan(std::size_t index) {
        std::size_t j = index * block_;
        const std::size_t end = j + std::min(block_, n_ - j);
        const T* const in = in_;
        T* const out = out_;
        T sum = before_[index] ? *before_[index] : in[j];
        if (!before_[index]) out[j++] = sum;  // the very first item
        // Four at a time: within them the additions do not wait for `sum`, which takes part once.
        if constexpr (std::is_same_v<Op, wrapping_plus>)
            for (; j + 4 <= end; j += 4) {
                const T a = in[j], b = op_(a, in[j + 1]), c = op_(b, in[j + 2]), d = op_(c, in[j + 3]);
                if constexpr (kind == scan_kind::inclusive) {
                    out[j] = op_(sum, a);
                    out[j + 1] = op_(sum, b);
                    out[j + 2] = op_(sum, c);
                    out[j + 3] = sum = op_(sum, d);
                } else {
                    out[j] = sum;
                    out[j + 1] = op_(sum, a);
                    out[j + 2] = op_(sum, b);
                    out[j + 3] = op_(sum, c);
                    sum = op_(sum, d);
                }
            }
        for (; j < end; ++j) step(sum, in[j], out[j]);
    }

    const T* in_;
    T* out_;
    std::size_t n_, block_;
    const Op& op_;
    std::vector<std::optional<T>> before_;  // [i]: known once i <= frontier_; [0]: nothing, or init
    std::mutex mutex_;  // guards the three below
    std::vector<std::optional<T>> totals_;
    std::size_t frontier_ = 0;  // blocks below are added up
    std::vector<std::size_t> left_;  // added up, not yet scanned
};

template <scan_kind kind, class P, class T, class Op>
void scan_whole(const P& chain, std::span<T> out, const Op& op, std::optional<T> before) {
    constexpr bool in_memory = requires { items_in_memory<T>(chain.pipe()); };
    using scanner_type = whole_scanner<T, Op, kind, in_memory>;
    const std::size_t n = chain.extent(), block = block_items(n, large_block);
    const T* in = out.data();
    if constexpr (in_memory) in = items_in_memory<T>(chain.pipe());
    scanner_type all(in, out.data(), n, block, op, std::move(before));
    if (chain.executor().concurrency() == 1) {
        run(
            chain, block,
            [&](std::size_t, std::size_t begin, std::size_t) { return typename scanner_type::going_on(all, begin); },
            handing::in_order);
    } else {
        run(
            chain, block,
            [&](std::size_t index, std::size_t begin, std::size_t) { return typename scanner_type::adding(all, index, begin); },
            handing::one_by_one);
    }
}

}  // namespace tenfold::par_detail
