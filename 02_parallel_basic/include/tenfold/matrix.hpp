// tenfold/matrix.hpp: the product of two row-major float64 matrices, from three loops to the speed of a BLAS.
//
// Why: three loops are the first thing everybody writes, and more threads make them no better than more threads of the
// wrong thing. The steps from there: matrix_multiply_naive (i, j, k: walks down columns of B), matrix_multiply_ikj
// (the same operations along rows), parallel_matrix_multiply (blocks that fit the caches, packed panels, a tile of C in
// registers: matrix-inl.hpp). After Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).
//
// Each element is summed over blocks of 256 of k, in order (a single row or column: in an order of its own), with fused
// multiply-adds where the CPU has them: the same bits at every thread count, and within (k + 2) * 2^-53 * sum |a||b| of the
// exact sum. CPUs with different vectors may differ in the last bits. NaN and infinity go where IEEE 754 says.
//
// Copy: matrix.hpp, matrix-inl.hpp, parallel.hpp, simd.hpp, simd-targets-inl.hpp. Needs C++20, OpenMP (-fopenmp), Google
// Highway (link hwy).
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>

#include "tenfold/parallel.hpp"
#include "tenfold/simd.hpp"

namespace tenfold {

namespace detail {

inline void matrix_shape(std::size_t* rows, std::size_t* columns) { TENFOLD_DISPATCH(matrix_tile_shape, rows, columns); }

inline void pack_a(const double* a, std::size_t stride, std::size_t rows, std::size_t depth, double* out) {
    TENFOLD_DISPATCH(matrix_pack_a, a, stride, rows, depth, out);
}
inline void pack_b(const double* b, std::size_t stride, std::size_t depth, std::size_t columns, double* out) {
    TENFOLD_DISPATCH(matrix_pack_b, b, stride, depth, columns, out);
}
inline void multiply_block(const double* a, const double* b, std::size_t depth, double* c, std::size_t stride, std::size_t rows,
                           std::size_t columns, bool add) {
    TENFOLD_DISPATCH(matrix_multiply_block, a, b, depth, c, stride, rows, columns, add);
}

inline void row_times(const double* a, const double* b, std::size_t stride, std::size_t depth, double* c, std::size_t columns,
                      bool add) {
    TENFOLD_DISPATCH(matrix_row_times, a, b, stride, depth, c, columns, add);
}
inline void times_column(const double* a, std::size_t stride, std::size_t rows, std::size_t depth, const double* x, double* c,
                         bool add) {
    TENFOLD_DISPATCH(matrix_times_column, a, stride, rows, depth, x, c, add);
}

inline constexpr std::size_t round_up(std::size_t n, std::size_t step) { return (n + step - 1) / step * step; }
inline constexpr std::size_t cuts(std::size_t n, std::size_t size) { return n / size + (n % size != 0); }

// Aligned, and not initialised: filling it is the packing's work.
class panels {
public:
    explicit panels(std::size_t n) : memory_(static_cast<double*>(::operator new(n * sizeof(double), alignment))) {}
    double* data() const noexcept { return memory_.get(); }

private:
    static constexpr std::align_val_t alignment{128};
    struct release {
        void operator()(double* memory) const noexcept { ::operator delete(memory, alignment); }
    };
    std::unique_ptr<double, release> memory_;
};

inline bool smaller_than(std::span<const double> values, std::size_t rows, std::size_t columns) {
    return rows != 0 && values.size() / rows < columns;
}
inline void check_matrices(std::span<const double> a, std::span<const double> b, std::span<double> c, std::size_t m,
                           std::size_t k, std::size_t n) {
    if (smaller_than(a, m, k)) throw std::invalid_argument("a is smaller than m x k");
    if (smaller_than(b, k, n)) throw std::invalid_argument("b is smaller than k x n");
    if (smaller_than(c, m, n)) throw std::invalid_argument("c is smaller than m x n");
}

// A single row or column: every element of the matrix is used once, so memory decides, and copying would double the traffic.
template <class Stop>
void multiply_column(const double* a, const double* x, double* c, std::size_t m, std::size_t k, int threads, Stop& stop) {
    constexpr std::size_t depth = 65536, unit = 4 * depth;
    for (std::size_t start = 0; start < k; start += depth) {
        const std::size_t steps = std::min(depth, k - start);
        const std::size_t rows =
            std::max<std::size_t>(1, std::min(unit / steps, cuts(m, 4 * static_cast<std::size_t>(threads))));
        parallel_chunks(
            m, rows, threads,
            [&](std::size_t begin, std::size_t end) {
                times_column(a + begin * k + start, k, end - begin, steps, x + start, c + begin, start != 0);
            },
            stop);
    }
}
template <class Stop>
void multiply_row(const double* a, const double* b, double* c, std::size_t k, std::size_t n, int threads, Stop& stop) {
    constexpr std::size_t depth = 1024, width = 3072;
    for (std::size_t start = 0; start < k; start += depth) {
        const std::size_t steps = std::min(depth, k - start);
        parallel_chunks(
            n, std::min(width, round_up(cuts(n, 4 * static_cast<std::size_t>(threads)), 32)), threads,
            [&](std::size_t begin, std::size_t end) {
                row_times(a + start, b + start * n + begin, n, steps, c + begin, end - begin, start != 0);
            },
            stop);
    }
}

}  // namespace detail

/// c = a b, as the textbook has it: k runs innermost, down a column of b.
inline void matrix_multiply_naive(std::span<const double> a, std::span<const double> b, std::span<double> c, std::size_t m,
                                  std::size_t k, std::size_t n) {
    detail::check_matrices(a, b, c, m, k, n);
    for (std::size_t i = 0; i < m; ++i)
        for (std::size_t j = 0; j < n; ++j) {
            double sum = 0.0;
            for (std::size_t p = 0; p < k; ++p) sum += a[i * k + p] * b[p * n + j];
            c[i * n + j] = sum;
        }
}

/// The same sums in the same order, with the loops exchanged: all three walk along rows.
inline void matrix_multiply_ikj(std::span<const double> a, std::span<const double> b, std::span<double> c, std::size_t m,
                                std::size_t k, std::size_t n) {
    detail::check_matrices(a, b, c, m, k, n);
    std::fill_n(c.begin(), m * n, 0.0);
    for (std::size_t i = 0; i < m; ++i)
        for (std::size_t p = 0; p < k; ++p)
            for (std::size_t j = 0; j < n; ++j) c[i * n + j] += a[i * k + p] * b[p * n + j];
}

/// c (m x n) = a (m x k) b (k x n), all row-major; c must not overlap a or b. Any of m, k, n may be 0 (an empty sum is 0.0).
/// After tenfold::stopped, c holds parts of the result.
template <class Stop = never_stop>
void parallel_matrix_multiply(std::span<const double> a, std::span<const double> b, std::span<double> c, std::size_t m,
                              std::size_t k, std::size_t n, int threads, Stop&& stop = {}) {
    detail::check_matrices(a, b, c, m, k, n);
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    if (stop()) throw stopped();
    if (m == 0 || n == 0) return;
    if (k == 0) {
        std::fill_n(c.begin(), m * n, 0.0);
        return;
    }
    constexpr std::size_t depth = 256;  // of a block: fixed, because it decides the bits
    // Each block of k opens regions, which cost some microseconds: below a hundred thousand multiply-adds they do not pay.
    const std::size_t at_once = m == 1 || n == 1 ? k : std::min(depth, k);
    if (static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(at_once) < 1e5) threads = 1;
    if (detail::inside_region()) threads = 1;
    if (n == 1) return detail::multiply_column(a.data(), b.data(), c.data(), m, k, threads, stop);
    if (m == 1) return detail::multiply_row(a.data(), b.data(), c.data(), k, n, threads, stop);
    std::size_t tile_rows, tile_columns;
    detail::matrix_shape(&tile_rows, &tile_columns);

    // A panel of A (tile_rows x depth) fits the first-level cache, a slice of B (depth x slice) half of the second, both packed
    // blocks and the block of C (side x side) the third, or nearly. This only decides who computes what.
    constexpr std::size_t slice_limit = 264, height_limit = 120, side = 1920;
    const std::size_t rows_most = std::min(side / tile_rows * tile_rows, detail::round_up(m, tile_rows));
    const std::size_t columns_most = std::min(side / tile_columns * tile_columns, detail::round_up(n, tile_columns));
    const std::size_t depth_most = std::min(depth, k);
    const detail::panels packed(detail::round_up(rows_most * depth_most, 16) + columns_most * depth_most);
    double* const packed_a = packed.data();
    double* const packed_b = packed_a + detail::round_up(rows_most * depth_most, 16);

    for (std::size_t column = 0; column < n; column += columns_most)
        for (std::size_t row = 0; row < m; row += rows_most) {
            const std::size_t columns = std::min(columns_most, n - column), rows = std::min(rows_most, m - row);
            // Tasks small enough that nobody waits long, neither for the last thread nor for `stop`.
            const std::size_t slices = detail::cuts(columns, slice_limit);
            const std::size_t slice = detail::round_up(detail::cuts(columns, slices), tile_columns);
            const std::size_t wanted = threads == 1 ? 1 : detail::cuts(4 * static_cast<std::size_t>(threads), slices);
            const std::size_t height = std::min(height_limit, detail::round_up(detail::cuts(rows, wanted), tile_rows));
            const std::size_t bands = detail::cuts(rows, height);
            const std::size_t pack_rows = 8 * tile_rows, pack_columns = 4 * tile_columns;
            const std::size_t packs_of_a = detail::cuts(rows, pack_rows), packs_of_b = detail::cuts(columns, pack_columns);

            for (std::size_t start = 0; start < k; start += depth) {
                const std::size_t steps = std::min(depth, k - start);
                parallel_chunks(
                    packs_of_a + packs_of_b, 1, threads,
                    [&](std::size_t task, std::size_t) {
                        if (task < packs_of_a) {
                            const std::size_t from = task * pack_rows;
                            detail::pack_a(a.data() + (row + from) * k + start, k, std::min(pack_rows, rows - from), steps,
                                           packed_a + from * steps);
                        } else {
                            const std::size_t from = (task - packs_of_a) * pack_columns;
                            detail::pack_b(b.data() + start * n + column + from, n, steps,
                                           std::min(pack_columns, columns - from), packed_b + from * steps);
                        }
                    },
                    stop);
                // Band by band down a slice: the slice stays in the second-level cache of each thread that works on it.
                parallel_chunks(
                    bands * detail::cuts(columns, slice), 1, threads,
                    [&](std::size_t task, std::size_t) {
                        const std::size_t top = task % bands * height, left = task / bands * slice;
                        detail::multiply_block(packed_a + top * steps, packed_b + left * steps, steps,
                                               c.data() + (row + top) * n + column + left, n, std::min(height, rows - top),
                                               std::min(slice, columns - left), start != 0);
                    },
                    stop);
            }
        }
}

}  // namespace tenfold
