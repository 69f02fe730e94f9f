// tenfold/span_reduce.hpp: sum, minimum, maximum, mean and deviation of memory that stays where it is, on all cores.
//
// Why: floating-point addition is not associative, so a sum whose parts depend on the number of threads has bits that depend on
// it too. Here the items, in row-major order, are cut into chunks of 4096 whatever the team and the strides; each chunk is added
// in 32 float64 lanes whatever the vectors; chunk sums are added in index order. One thread or seven, AVX-512 or none, every
// second item of an array or a copy of them: the same bits. float32 is added up in float64.
// NaN anywhere makes sum, min and max NaN.
//
// Copy: span_reduce.hpp, span_reduce-inl.hpp, span_kernels.hpp, span_kernels-inl.hpp, strided.hpp, span_team.hpp, span_simd.hpp,
// span_targets-inl.hpp. Needs C++20, OpenMP (-fopenmp), Highway (-lhwy) and -ffp-contract=off.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "tenfold/span_kernels.hpp"
#include "tenfold/span_simd.hpp"
#include "tenfold/span_team.hpp"
#include "tenfold/strided.hpp"

namespace tenfold::zero_copy {

struct reduction {
    double sum = 0.0;
    double min = std::numeric_limits<double>::infinity();
    double max = -std::numeric_limits<double>::infinity();
    std::size_t count = 0;
};

namespace detail {

inline const reduce_table<double>& reduce_table_f64() { TENFOLD_SPAN_TABLE(reduce_f64); }
inline const reduce_table<float>& reduce_table_f32() { TENFOLD_SPAN_TABLE(reduce_f32); }
template <class T>
const reduce_table<T>& reduce_kernels_of() {
    if constexpr (std::is_same_v<T, double>) return reduce_table_f64();
    else return reduce_table_f32();
}

inline constexpr std::size_t sum_chunk = 4096;  // part of the result's definition: another value gives other bits
inline constexpr std::size_t reduce_inline_below = 32 * 1024;

// block(items, n) for each chunk of 4096, gathered where they do not lie side by side; the results in index order.
template <class T, class Block, class Stop>
auto over_sum_chunks(view2d<const T> x, int threads, Stop& stop, const Block& block) {
    using result = decltype(block(x.data, std::size_t{1}));
    if (x.one_row()) x = x.as_one_row();
    const std::size_t n = x.size(), chunks = (n + sum_chunk - 1) / sum_chunk;
    std::vector<result> results(chunks);
    const auto one_chunk = [&](std::size_t index) {
        const std::size_t begin = index * sum_chunk, end = std::min(n, begin + sum_chunk);
        const std::size_t row = begin / x.columns, column = begin % x.columns;
        if (x.dense_rows() && column + (end - begin) <= x.columns) {
            results[index] = block(x.at(row, column), end - begin);
            return;
        }
        alignas(64) T items[sum_chunk];
        T* to = items;
        for_each_row(begin, end, x.columns, [&](std::size_t r, std::size_t c, std::size_t count) {
            gather(x.at(r, c), x.column_stride, count, to);
            to += count;
        });
        results[index] = block(items, end - begin);
    };
    constexpr std::size_t together = 16;
    over_chunks(
        chunks, together, threads,
        [&](std::size_t begin, std::size_t end) {
            for (std::size_t i = begin; i < end; ++i) one_chunk(i);
        },
        stop, deal::evenly, reduce_inline_below / sum_chunk);
    return results;
}

template <class T, class Stop>
double ordered_sum(view2d<const T> x, int threads, Stop& stop) {
    double total = 0.0;
    for (const double each : over_sum_chunks<T>(x, threads, stop, reduce_kernels_of<T>().sum)) total += each;
    return std::isnan(total) ? std::numeric_limits<double>::quiet_NaN() : total;  // one NaN for all machines
}

}  // namespace detail

template <class T, class Stop = never_stop>
double sum(detail::input<T> x, int threads, Stop&& stop = {}) {
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    return detail::ordered_sum<T>(x, threads, stop);
}

/// Of nothing: (0, inf, -inf, 0).
template <class T, class Stop = never_stop>
reduction reduce(detail::input<T> x, int threads, Stop&& stop = {}) {
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    reduction all;
    all.count = x.size();
    bool nan = false;
    for (const auto& block : detail::over_sum_chunks<T>(x, threads, stop, detail::reduce_kernels_of<T>().reduce)) {
        all.sum += block.sum;
        nan = nan || std::isnan(block.min);
        // -0.0 counts as less than +0.0, whichever chunk has it.
        if (block.min < all.min || (block.min == all.min && std::signbit(block.min))) all.min = block.min;
        if (block.max > all.max || (block.max == all.max && !std::signbit(block.max))) all.max = block.max;
    }
    constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
    if (std::isnan(all.sum)) all.sum = not_a_number;
    if (nan) all.min = all.max = not_a_number;
    return all;
}

/// (x - mean) / standard deviation (of the population), over all items. If all are equal: zeros. With NaN or an infinity
/// among them: NaN everywhere.
template <class T, class Stop = never_stop>
void normalize(detail::input<T> x, detail::output<T> out, int threads, Stop&& stop = {}) {
    detail::check_output(out);
    detail::check_input<T>(out, x, "the input");
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    const std::size_t n = x.size();
    if (n == 0) return;
    const reduction all = reduce<T>(x, threads, stop);
    T mean = 0, deviation = 1;
    if (all.min == all.max) {
        mean =
            static_cast<T>(all.min);  // exactly: their computed mean may be off by a rounding, and its noise would be scaled up
    } else {
        const double center = all.sum / static_cast<double>(n);
        const auto squares = detail::reduce_kernels_of<T>().squares_about;
        double total = 0.0;
        for (const double each : detail::over_sum_chunks<T>(
                 x, threads, stop, [&](const T* items, std::size_t count) { return squares(items, count, center); }))
            total += each;
        mean = static_cast<T>(center);
        deviation = static_cast<T>(std::sqrt(total / static_cast<double>(n)));
    }
    const view2d<const T> means(&mean, x.rows, x.columns, 0, 0), deviations(&deviation, x.rows, x.columns, 0, 0);
    detail::map_operation<3, T>(detail::op_standardise, T(0), {x, means, deviations}, out, threads, stop, stores::automatic);
}

}  // namespace tenfold::zero_copy
