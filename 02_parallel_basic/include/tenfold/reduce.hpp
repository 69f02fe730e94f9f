// tenfold/reduce.hpp: sum and maximum of an array on all cores, with the same bits at every thread count.
//
// Why: floating-point addition is not associative, so `reduction(+ : sum)` gives a result that changes with the number of threads.
// Here the array is cut into chunks of 4096 values whatever the team, each chunk is summed in 32 lanes whatever the vector
// width, and the chunk sums are added in index order. One thread, seven threads, AVX-512 or none: the same bits. The error
// grows with n / 4096 rather than n.
//
// Copy: reduce.hpp, parallel.hpp, simd.hpp, simd-targets-inl.hpp, arrays-inl.hpp, compress-inl.hpp. C++20, -fopenmp, Highway (-lhwy).
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <stdexcept>
#include <vector>

#include "tenfold/parallel.hpp"
#include "tenfold/simd.hpp"

namespace tenfold {

inline constexpr std::size_t sum_chunk = 4096;  // part of the result's definition: another value gives other bits

namespace detail {

inline double sum_one_chunk(const double* values, std::size_t n) { TENFOLD_DISPATCH(sum_kernel, values, n); }
inline void sum_chunks(const double* values, std::size_t n, std::size_t chunk, double* sums) {
    TENFOLD_DISPATCH(sum_chunks_kernel, values, n, chunk, sums);
}
inline double max_one_chunk(const double* values, std::size_t n) { TENFOLD_DISPATCH(max_kernel, values, n); }

// How many items one piece has: enough pieces to divide evenly and to ask `stop` often, few enough that a piece costs nothing.
// A multiple of `unit`. Results must not depend on it.
inline std::size_t piece_size(std::size_t n, int threads, std::size_t unit, std::size_t largest) {
    const std::size_t even = n / (static_cast<std::size_t>(threads) * 32);
    return std::min(std::max<std::size_t>((even + unit - 1) / unit, 1) * unit, largest);
}

inline constexpr std::size_t reduce_inline_below = 24 * 1024;  // a few microseconds of work: what opening a region costs

}  // namespace detail

template <class Stop = never_stop>
double sequential_sum(std::span<const double> values, Stop&& stop = {}) {
    double total = 0.0;
    for (std::size_t i = 0; i < values.size(); i += sum_chunk) {
        if (i % (256 * sum_chunk) == 0 && stop()) throw stopped();
        total += detail::sum_one_chunk(values.data() + i, std::min(sum_chunk, values.size() - i));
    }
    return total;
}

template <class Stop = never_stop>
double parallel_sum(std::span<const double> values, int threads, Stop&& stop = {}, schedule how = schedule::static_) {
    const std::size_t n = values.size();
    if (threads == 1 || n <= detail::reduce_inline_below) return sequential_sum(values, stop);
    std::vector<double> sums((n + sum_chunk - 1) / sum_chunk);
    const std::size_t piece = detail::piece_size(n, threads, sum_chunk, 32 * sum_chunk);
    parallel_chunks(n, piece, threads,
                    [&](std::size_t begin, std::size_t end) {
                        detail::sum_chunks(values.data() + begin, end - begin, sum_chunk, &sums[begin / sum_chunk]);
                    },
                    stop, {.how = how});
    double total = 0.0;
    for (const double sum : sums) total += sum;  // in index order: this line is why the bits do not depend on the team
    return total;
}

// The sum of the sums of chunks of `chunk` values. Chunks above 4096 values are summed like arrays of their own; chunks below
// are added up in groups of 4096 / chunk. Same bits at every thread count.
template <class Stop = never_stop>
double parallel_sum_chunked(std::span<const double> values, std::size_t chunk, int threads, Stop&& stop = {}) {
    if (chunk == 0) throw std::invalid_argument("chunk must be >= 1");
    const std::size_t n = values.size();
    if (n == 0) return 0.0;
    chunk = std::min(chunk, n);
    // One slot per part: a group of small chunks, or a stretch of a large one.
    const std::size_t group = std::max<std::size_t>(sum_chunk / chunk, 1);
    const std::size_t block = group * chunk;
    const std::size_t parts_per_block = (block + sum_chunk - 1) / sum_chunk;
    const std::size_t blocks = (n - 1) / block + 1;
    std::vector<double> sums(blocks * parts_per_block);
    const auto sum_part = [&](std::size_t index) {
        const std::size_t block_begin = index / parts_per_block * block;
        const std::size_t block_end = block_begin + std::min(block, n - block_begin);
        if (chunk >= sum_chunk) {
            const std::size_t begin = block_begin + index % parts_per_block * sum_chunk;
            return begin < block_end ? detail::sum_one_chunk(values.data() + begin, std::min(sum_chunk, block_end - begin))
                                     : 0.0;
        }
        double total = 0.0;
        for (std::size_t begin = block_begin; begin < block_end; begin += chunk)
            total += detail::sum_one_chunk(values.data() + begin, std::min(chunk, block_end - begin));
        return total;
    };
    parallel_chunks(sums.size(), detail::piece_size(sums.size(), threads, 1, 32), threads,
                    [&](std::size_t begin, std::size_t end) {
                        for (std::size_t i = begin; i < end; ++i) sums[i] = sum_part(i);
                    },
                    stop, {.how = schedule::static_, .inline_below = 6});
    double total = 0.0;
    for (std::size_t i = 0; i < sums.size(); i += parts_per_block) {
        double chunk_total = 0.0;
        for (std::size_t j = 0; j < parts_per_block; ++j) chunk_total += sums[i + j];
        total += chunk_total;
    }
    return total;
}

// The largest value; nothing for an empty array; NaN if there is one. Of zeros, +0.0 counts as larger than -0.0.
template <class Stop = never_stop>
std::optional<double> parallel_max(std::span<const double> values, int threads, Stop&& stop = {}) {
    const std::size_t n = values.size();
    if (n == 0) return std::nullopt;
    constexpr std::size_t unit = 8192;
    const std::size_t piece = detail::piece_size(n, threads, unit, 16 * unit);
    std::vector<double> largest((n - 1) / piece + 1);
    parallel_chunks(n, piece, threads,
                    [&](std::size_t begin, std::size_t end) {
                        largest[begin / piece] = detail::max_one_chunk(values.data() + begin, end - begin);
                    },
                    stop, {.how = schedule::static_, .inline_below = detail::reduce_inline_below});
    return detail::max_one_chunk(largest.data(), largest.size());
}

}  // namespace tenfold
