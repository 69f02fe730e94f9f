// tenfold/sort.hpp: sort doubles in place on all cores, with the same bits at every thread count.
//
// Why: a vectorised quicksort on one core is several times faster than std::sort on many, so both are wanted. Merging sorted
// halves afterwards would be one pass that two threads cannot share well; partitioning first needs no merge: all threads move
// the values around a pivot together, a few times over, then each part is sorted by one thread with Highway's vector sort.
//
// The order is total, which makes the result unique: ascending, -0.0 before 0.0, then every NaN, by its bits. The vector sort
// knows neither NaN nor the sign of zero, and Highway 1.0 pads with the largest finite number, which replaces +inf. So these are
// counted first: +inf and NaN are moved behind and sorted as whole numbers, zeros get their signs afterwards.
// Any input takes O(n log n): a pivot that equals the smallest value splits off all its copies.
//
// Copy: sort.hpp, parallel.hpp, simd.hpp, simd-targets-inl.hpp, sort-inl.hpp, compress-inl.hpp. C++20, -fopenmp, Highway with its
// sort (-lhwy -lhwy_contrib).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include <hwy/contrib/sort/vqsort.h>

#include "tenfold/parallel.hpp"
#include "tenfold/simd.hpp"

namespace tenfold {

namespace detail {

inline std::size_t partition_one_chunk(double* values, std::size_t n, double pivot, bool inclusive, double* spare) {
    TENFOLD_DISPATCH(partition_kernel, values, n, pivot, inclusive, spare);
}
inline void swap_chunks(double* a, double* b, std::size_t n) { TENFOLD_DISPATCH(swap_kernel, a, b, n); }
inline constexpr double largest_finite = std::numeric_limits<double>::max();

inline void census_one_chunk(const double* values, std::size_t n, std::size_t* counts) {
    TENFOLD_DISPATCH(census_kernel, values, n, largest_finite, counts);
}

inline constexpr std::size_t partition_chunk = 4096;
inline constexpr std::size_t sort_inline_below = 8 * 1024;  // one thread sorts that many before a second has woken up
inline constexpr std::size_t sort_part_limit = 1024 * 1024;  // sorted in about 10 ms: how long a stop may wait

inline void sort_vectors(double* values, std::size_t n) {
    if (n < 2) return;
    const hwy::Sorter sorter;
    sorter(values, n, hwy::SortAscending());
}

// [begin, end) of values that lie on the wrong side after every chunk has been partitioned by itself.
struct misplaced_run {
    std::size_t begin, length, before;  // before: values in the runs ahead of it
};

// Partitions `values` on all threads; returns how many went left.
template <class Stop>
std::size_t partition_all(std::span<double> values, double pivot, bool inclusive, int threads, Stop& stop) {
    const std::size_t n = values.size();
    std::vector<std::size_t> lefts(n / partition_chunk + 1, 0);
    parallel_chunks(n, partition_chunk, threads,
                    [&](std::size_t begin, std::size_t end) {
                        alignas(64) double spare[partition_chunk + HWY_MAX_BYTES / sizeof(double)];
                        lefts[begin / partition_chunk] =
                            partition_one_chunk(values.data() + begin, end - begin, pivot, inclusive, spare);
                    },
                    stop, {.grain = 2});

    std::size_t border = 0;
    for (const std::size_t left : lefts) border += left;
    // Chunks ahead of the border hold values for the right, chunks behind it as many for the left: swap the one with the other.
    std::vector<misplaced_run> ahead, behind;
    std::size_t ahead_total = 0, behind_total = 0;
    for (std::size_t c = 0, begin = 0; begin < n; ++c, begin += partition_chunk) {
        const std::size_t end = std::min(begin + partition_chunk, n), middle = begin + lefts[c];
        if (middle < std::min(end, border)) {
            ahead.push_back({middle, std::min(end, border) - middle, ahead_total});
            ahead_total += ahead.back().length;
        }
        if (const std::size_t first = std::max(begin, border); first < middle) {
            behind.push_back({first, middle - first, behind_total});
            behind_total += behind.back().length;
        }
    }
    const auto run_at = [](const std::vector<misplaced_run>& runs, std::size_t at) {
        return std::upper_bound(runs.begin(), runs.end(), at,
                                [](std::size_t x, const misplaced_run& run) { return x < run.before; }) -
               1;
    };
    parallel_chunks(ahead_total, 4 * partition_chunk, threads,
                    [&](std::size_t at, std::size_t end) {
                        auto a = run_at(ahead, at), b = run_at(behind, at);
                        while (at < end) {
                            const std::size_t a_used = at - a->before, b_used = at - b->before;
                            const std::size_t step = std::min({end - at, a->length - a_used, b->length - b_used});
                            swap_chunks(values.data() + a->begin + a_used, values.data() + b->begin + b_used, step);
                            at += step;
                            if (a_used + step == a->length) ++a;
                            if (b_used + step == b->length) ++b;
                        }
                    },
                    stop, {.inline_below = sort_inline_below});
    return border;
}

// A part of the array that no value enters or leaves any more, with some of its values in order.
struct sort_part {
    std::size_t begin, size;
    std::vector<double> sample;
};

// Positions come from a fixed sequence: an input would have to be built against it to give bad pivots, and then costs extra
// rounds, not quadratic time.
inline std::vector<double> draw_sample(std::span<const double> values) {
    std::vector<double> sample(std::min<std::size_t>(1024, values.size() / 8));
    const std::size_t stride = values.size() / sample.size();
    std::uint64_t state = 0x9E3779B97F4A7C15u;
    for (std::size_t i = 0; i < sample.size(); ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        sample[i] = values[i * stride + static_cast<std::size_t>(state >> 33) % stride];
    }
    sort_vectors(sample.data(), sample.size());
    return sample;
}

template <class Stop>
void sort_ordinary(std::span<double> values, int threads, Stop& stop) {
    const std::size_t n = values.size();
    std::size_t small = sort_part_limit;
    if (threads > 1)
        small = std::clamp(n / (static_cast<std::size_t>(threads) * 2) * 5 / 4, sort_inline_below, sort_part_limit);
    std::vector<sort_part> open, ready;
    open.push_back({0, n, {}});
    while (!open.empty()) {
        sort_part now = std::move(open.back());
        open.pop_back();
        if (now.size <= small) {
            ready.push_back(std::move(now));
            continue;
        }
        const auto range = values.subspan(now.begin, now.size);
        if (now.sample.size() < 32) now.sample = draw_sample(range);
        const auto first = now.sample.begin(), last = now.sample.end();
        const double pivot = now.sample[now.sample.size() / 2];
        if (const std::size_t left = partition_all(range, pivot, false, threads, stop); left != 0) {
            const auto border = std::lower_bound(first, last, pivot);
            open.push_back({now.begin, left, {first, border}});
            open.push_back({now.begin + left, now.size - left, {border, last}});
        } else {
            // The pivot is the smallest value here: all its copies go left and are in their place.
            const std::size_t equal = partition_all(range, pivot, true, threads, stop);
            if (equal == 0) {  // only when another thread has changed the values: do not look for ever
                ready.push_back(std::move(now));
                continue;
            }
            open.push_back({now.begin + equal, now.size - equal, {std::upper_bound(first, last, pivot), last}});
        }
    }
    std::sort(ready.begin(), ready.end(), [](const sort_part& a, const sort_part& b) { return a.size > b.size; });
    parallel_chunks(
        ready.size(), 1, threads,
        [&](std::size_t i, std::size_t) { sort_vectors(values.data() + ready[i].begin, ready[i].size); }, stop);
}

}  // namespace detail

// Sorts in place. When it throws (stopped, out of memory), `values` holds the same values in some other order.
template <class Stop = never_stop>
void parallel_sort(std::span<double> values, int threads, Stop&& stop = {}) {
    const std::size_t n = values.size();
    if (n < 2) return;
    if (n <= detail::sort_inline_below) threads = 1;
    constexpr std::size_t census_chunk = 32 * 1024;
    std::vector<std::size_t> counts(2 * (n / census_chunk + 1), 0);
    parallel_chunks(
        n, census_chunk, threads,
        [&](std::size_t begin, std::size_t end) {
            detail::census_one_chunk(values.data() + begin, end - begin, &counts[2 * (begin / census_chunk)]);
        },
        stop);
    std::size_t beyond = 0, negative_zeros = 0;
    for (std::size_t i = 0; i < counts.size(); i += 2) beyond += counts[i], negative_zeros += counts[i + 1];

    std::span<double> ordinary = values;
    if (beyond != 0) {
        ordinary = values.first(detail::partition_all(values, detail::largest_finite, true, threads, stop));
        beyond = n - ordinary.size();  // what is there now: another thread may be writing, and sizes must hold all the same
        std::vector<std::uint64_t> bits(beyond);  // as whole numbers: +inf, then NaNs without sign, then NaNs with one
        double* tail = values.data() + ordinary.size();
        std::memcpy(bits.data(), tail, beyond * sizeof(double));
        const hwy::Sorter sorter;
        sorter(bits.data(), beyond, hwy::SortAscending());
        std::memcpy(tail, bits.data(), beyond * sizeof(double));
    }
    detail::sort_ordinary(ordinary, threads, stop);
    if (negative_zeros != 0) {
        const auto zeros = std::equal_range(ordinary.begin(), ordinary.end(), 0.0);
        negative_zeros = std::min(negative_zeros, static_cast<std::size_t>(zeros.second - zeros.first));
        std::fill(zeros.first, zeros.first + static_cast<std::ptrdiff_t>(negative_zeros), -0.0);
        std::fill(zeros.first + static_cast<std::ptrdiff_t>(negative_zeros), zeros.second, 0.0);
    }
}

// The same into another array of the same size, which must not overlap.
template <class Stop = never_stop>
void parallel_sort(std::span<const double> values, std::span<double> out, int threads, Stop&& stop = {}) {
    if (out.size() != values.size()) throw std::invalid_argument("out must have as many items as values");
    parallel_chunks(
        values.size(), 32 * 1024, threads,
        [&](std::size_t begin, std::size_t end) {
            std::memcpy(out.data() + begin, values.data() + begin, (end - begin) * sizeof(double));
        },
        stop);
    parallel_sort(out, threads, stop);
}

}  // namespace tenfold
