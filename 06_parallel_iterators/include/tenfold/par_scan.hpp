// tenfold/par_scan.hpp: running sums and the like (prefix scans) on all threads, inclusive and exclusive.
//
// Why: each result needs the one before it, which looks sequential. But what a block adds to all later ones, its total, can be
// computed alone. Whole numbers have the same sum in any grouping: threads add blocks up, and scan each from what the totals before
// it come to. Where grouping changes the result, as with floats, every block of at most 4096 items is scanned as four rows at once
// (four chains that do not wait for each other) and given later what came before: op(before, result) for each. Either way the
// second look finds the block in the cache, nobody waits (who is too early leaves the block to whoever closes the gap before
// it), and since blocks and rows depend on the number of items only, results have the same bits at every thread count.
//
//     auto totals = tenfold::par(x) | tenfold::inclusive_scan(std::plus<>{});
//
// op is associative; it need not be commutative. One that may throw is asked about runs of neighbours too, which do not begin at
// the first item: checked_add may refuse a run that would fit after a negative beginning. It does so at every thread count.
// (G. Blelloch, "Prefix sums and their applications", 1990; handing prefixes on without a second pass over memory: D. Merrill,
// M. Garland, "Single-pass parallel prefix scan", 2016.)
//
// Copy: par_scan.hpp, par_scan_whole.hpp and the headers that it includes. C++20.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenfold/par_scan_whole.hpp"
#include "tenfold/par_sinks.hpp"

namespace tenfold {

namespace par_detail {

template <class T, class Op, scan_kind kind>
class scanner {
public:
    scanner(T* out, std::size_t n, std::size_t block, const Op& op, std::optional<T> before)
        : out_(out), n_(n), block_(block), op_(op), before_(std::move(before)), waiting_(blocks_of(n, block)) {}

    // The values are in place; scan them by rows, then close the block.
    void finish(std::size_t index, place& at) {
        auto totals = scan_rows(index, at);
        std::unique_lock lock(mutex_);
        waiting_[index].emplace(std::move(totals));
        if (frontier_ != index) return;
        while (frontier_ < waiting_.size() && waiting_[frontier_]) {
            const std::size_t gap = frontier_;
            lock.unlock();
            give_prefix(gap, *waiting_[gap], at);
            lock.lock();
            ++frontier_;
        }
    }

private:
    static constexpr std::size_t rows = 4;
    using row_totals = std::array<std::optional<T>, rows>;  // nothing: an empty row

    std::size_t border(std::size_t index, std::size_t row) const {
        const std::size_t begin = index * block_;
        return begin + std::min(block_, n_ - begin) * row / rows;
    }

    // Scans the rows of a block side by side; a row's first `common` results, the rest of the longer ones, one row at a time.
    row_totals scan_rows(std::size_t index, place& at) const {
        std::array<T*, rows> row{};
        std::array<std::size_t, rows> size{};
        row_totals running;
        std::size_t common = n_;
        for (std::size_t r = 0; r < rows; ++r) {
            row[r] = out_ + border(index, r);
            size[r] = border(index, r + 1) - border(index, r);
            common = std::min(common, size[r]);
        }
        std::size_t j = 0, r = 0;
        try {
            if (common != 0) {
                std::array<T, rows> sums{row[0][0], row[1][0], row[2][0], row[3][0]};
                for (j = 1; j < common; ++j)
                    for (r = 0; r < rows; ++r) step(sums[r], row[r][j]);
                for (r = 0; r < rows; ++r) running[r].emplace(std::move(sums[r]));
            }
            for (r = 0; r < rows; ++r)
                for (j = common; j < size[r]; ++j) {
                    if (running[r]) step(*running[r], row[r][j]);
                    else running[r].emplace(row[r][j]);
                }
        } catch (...) {
            at.note(static_cast<std::size_t>(row[r] - out_) + j);
            throw;
        }
        return running;
    }

    // Inclusive: the item becomes the sum up to it. Exclusive: the sum before it.
    void step(T& sum, T& item) const {
        if constexpr (kind == scan_kind::inclusive) {
            sum = std::invoke(op_, std::move(sum), std::move(item));
            item = sum;
        } else {
            T next = std::invoke(op_, sum, std::move(item));
            item = std::exchange(sum, std::move(next));
        }
    }

    void give_prefix(std::size_t index, const row_totals& totals, place& at) {
        for (std::size_t r = 0; r < rows; ++r) {
            if (!totals[r]) continue;
            const std::size_t begin = border(index, r), end = border(index, r + 1);
            std::size_t j = begin;
            try {
                if constexpr (kind == scan_kind::exclusive) out_[j++] = *before_;  // nothing in its row comes before
                if (before_) {
                    const T before = *before_;
                    for (; j < end; ++j) out_[j] = std::invoke(op_, before, std::move(out_[j]));
                    j = end - 1;
                    before_ = std::invoke(op_, before, *totals[r]);
                } else {
                    before_ = *totals[r];
                }
            } catch (...) {
                at.note(j);
                throw;
            }
        }
    }

    T* out_;
    std::size_t n_, block_;
    const Op& op_;
    std::optional<T> before_;  // of the block at the frontier: touched only by whoever closes that gap
    std::mutex mutex_;  // guards the two below
    std::vector<std::optional<row_totals>> waiting_;
    std::size_t frontier_ = 0;
};

template <class Writer, class Scanner>
struct scanning {
    Writer values;
    Scanner* scanner;
    std::size_t index;
    template <class Batch>
    bool feed(const Batch& batch, place& at) {
        return values.feed(batch, at);
    }
    void finish(place& at) { scanner->finish(index, at); }
};

template <scan_kind kind, class P, class T, class Op>
void scan_into(const P& chain, std::span<T> out, const Op& op, std::optional<T> before) {
    static_assert(is_indexed<P>, "scan: collect() a filtered pipeline first");
    if constexpr (adds_whole_numbers<T, Op>) return scan_into<kind>(chain, out, wrapping_plus{}, std::move(before));
    const std::size_t n = chain.extent();
    if (out.size() != n)
        throw std::invalid_argument("out has " + std::to_string(out.size()) + " items, the pipeline " + std::to_string(n));
    if constexpr (std::is_integral_v<T> && std::is_nothrow_invocable_r_v<T, const Op&, T, T>)
        return scan_whole<kind>(chain, out, op, std::move(before));
    const std::size_t block = block_items(n);
    using scanner_type = scanner<T, Op, kind>;
    scanner_type all(out.data(), n, block, op, std::move(before));
    run(
        chain, block,
        [&](std::size_t index, std::size_t begin, std::size_t) {
            return scanning<assigning<T>, scanner_type>{{out.data() + begin}, &all, index};
        },
        handing::in_order);
}

template <scan_kind kind, class P, class T, class Op>
auto scan_items(const P& chain, const Op& op, std::optional<T> before) {
    static_assert(std::is_trivially_destructible_v<T> && std::is_trivially_copyable_v<T>,
                  "scan into new memory takes plain values; give other types memory of their own: inclusive_scan_into");
    const std::size_t n = chain.extent();
    raw_memory<T> memory(n);
    scan_into<kind>(chain, std::span<T>(memory.get(), n), op, std::move(before));
    return items<T>(std::move(memory), n);
}

}  // namespace par_detail

// out[i] = x[0] op ... op x[i]. With `init`: init op x[0] op ... op x[i].
template <class T, class Op>
auto inclusive_scan_into(std::span<T> out, Op op) {
    return par_detail::sink([out, op]<class P>(const P& chain) {
        par_detail::scan_into<par_detail::scan_kind::inclusive>(chain, out, op, std::optional<T>());
    });
}
template <class T, class Op>
auto inclusive_scan_into(std::span<T> out, Op op, std::type_identity_t<T> init) {
    return par_detail::sink([out, op, init]<class P>(const P& chain) {
        par_detail::scan_into<par_detail::scan_kind::inclusive>(chain, out, op, std::optional<T>(init));
    });
}

// out[i] = init op x[0] op ... op x[i-1]; out[0] = init. `out` may be the input, here and above.
template <class T, class Op>
auto exclusive_scan_into(std::span<T> out, Op op, std::type_identity_t<T> init) {
    return par_detail::sink([out, op, init]<class P>(const P& chain) {
        par_detail::scan_into<par_detail::scan_kind::exclusive>(chain, out, op, std::optional<T>(init));
    });
}

// The same into new memory: items<T>.
template <class Op>
auto inclusive_scan(Op op) {
    return par_detail::sink([op]<class P>(const P& chain) {
        return par_detail::scan_items<par_detail::scan_kind::inclusive>(chain, op, std::optional<par_detail::value_of<P>>());
    });
}
template <class Op, class T>
auto inclusive_scan(Op op, T init) {
    return par_detail::sink([op, init]<class P>(const P& chain) {
        return par_detail::scan_items<par_detail::scan_kind::inclusive>(chain, op,
                                                                        std::optional<par_detail::value_of<P>>(init));
    });
}
template <class Op, class T>
auto exclusive_scan(Op op, T init) {
    return par_detail::sink([op, init]<class P>(const P& chain) {
        return par_detail::scan_items<par_detail::scan_kind::exclusive>(chain, op,
                                                                        std::optional<par_detail::value_of<P>>(init));
    });
}

}  // namespace tenfold
