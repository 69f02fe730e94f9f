// tenfold/matrix.hpp: the product of two row-major float64 matrices, from three loops to the speed of a BLAS.
//
// Why: three loops are the first thing everybody writes, and more threads make them no better than more threads of the
// wrong thing. The steps from there: matrix_multiply_naive (i, j, k: walks down columns of B), matrix_multiply_ikj
// (the same operations along rows), parallel_matrix_multiply (blocks that fit the caches, packed panels, a tile of C in
// registers: matrix-inl.hpp). After Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).
//
// Each element is summed over blocks of 256 of k, in order, with fused multiply-adds where the CPU has them: the same bits
// at every thread count, and within (k + 2) * 2^-53 * sum |a||b| of the exact sum. CPUs with and without FMA may differ
// in the last bits. NaN and infinity go where IEEE 754 says.
//
// Copy: matrix.hpp, matrix-inl.hpp, parallel.hpp, simd.hpp, simd-targets-inl.hpp. Needs C++20, OpenMP (-fopenmp), Google
// Highway (link hwy).
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
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
inline void check_matrices(std::span<const double> a, std::span<const double> b, std::span<double> c, std::size_t m, std::size_t k,
                           std::size_t n) {
    if (smaller_than(a, m, k)) throw std::invalid_argument("a is smaller than m x k");
    if (smaller_than(b, k, n)) throw std::invalid_argument("b is smaller than k x n");
    if (smaller_than(c, m, n)) throw std::invalid_argument("c is smaller than m x n");
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
void parallel_matrix_multiply(std::span<const double> a, std::span<const double> b, std::span<double> c, std::size_t m, std::size_t k,
                              std::size_t n, int threads, Stop&& stop = {}) {
    detail::check_matrices(a, b, c, m, k, n);
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    if (stop()) throw stopped();
    if (m == 0 || n == 0) return;
    if (k == 0) {
        std::fill_n(c.begin(), m * n, 0.0);
        return;
    }
    std::size_t tile_rows, tile_columns;
    detail::matrix_shape(&tile_rows, &tile_columns);

    // A block of A (height x depth) fits the second-level cache with room to spare, one of B (depth x width) the third.
    // depth is fixed: it decides the bits. The others only decide who computes what.
    constexpr std::size_t depth = 256, height_limit = 144, width_limit = 3072;
    // Two regions for each block of k cost some microseconds: below about a hundred thousand multiply-adds they do not pay.
    const double work = static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n);
    if (work < 1e5 || detail::inside_region()) threads = 1;
    const std::size_t wanted = threads == 1 ? 1 : 4 * static_cast<std::size_t>(threads);  // tasks, so that nobody waits long
    const std::size_t height = std::min(height_limit, detail::round_up(detail::cuts(m, wanted), tile_rows));
    const std::size_t row_tasks = detail::cuts(m, height);

    const std::size_t width_most = std::min(width_limit / tile_columns * tile_columns, detail::round_up(n, tile_columns));
    const std::size_t depth_most = std::min(depth, k);
    const detail::panels packed_b(width_most * depth_most);
    const detail::panels packed_a(static_cast<std::size_t>(threads) * height * depth_most);

    for (std::size_t column = 0; column < n; column += width_most) {
        const std::size_t width = std::min(width_most, n - column);
        // Few rows: cut the columns as well.
        const std::size_t cut = std::min(detail::cuts(wanted, row_tasks), detail::cuts(width, tile_columns));
        const std::size_t slice = detail::round_up(detail::cuts(width, cut), tile_columns);
        const std::size_t slices = detail::cuts(width, slice);

        for (std::size_t start = 0; start < k; start += depth) {
            const std::size_t steps = std::min(depth, k - start);
            parallel_chunks(
                width, 4 * tile_columns, threads,
                [&](std::size_t begin, std::size_t end) {
                    detail::pack_b(b.data() + start * n + column + begin, n, steps, end - begin, packed_b.data() + begin * steps);
                },
                stop, {.how = schedule::static_});
            parallel_chunks(
                row_tasks * slices, 1, threads,
                [&](std::size_t task, std::size_t) {
                    const std::size_t row = task / slices * height, from = task % slices * slice;
                    const std::size_t rows = std::min(height, m - row), columns = std::min(slice, width - from);
                    double* block = packed_a.data();
#ifdef _OPENMP
                    if (threads > 1) block += static_cast<std::size_t>(omp_get_thread_num()) * height * depth_most;
#endif
                    detail::pack_a(a.data() + row * k + start, k, rows, steps, block);
                    detail::multiply_block(block, packed_b.data() + from * steps, steps, c.data() + row * n + column + from, n, rows,
                                           columns, start != 0);
                },
                stop);
        }
    }
}

}  // namespace tenfold
