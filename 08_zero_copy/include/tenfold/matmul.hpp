// tenfold/matmul.hpp: the product of two matrices in four steps, from three loops to all cores.
//
// Why: three loops are the first thing everybody writes; each step from there removes one reason why they are slow.
//   matmul_naive      i, j, k: walks down the columns of b, a cache line for each number
//   matmul_blocked    the same operations along rows, in tiles that fit the caches
//   matmul_simd       packed panels, a tile of c in registers, fused multiply-adds (matmul-inl.hpp)
//   matmul_threaded   the same on a team; the same bits as matmul_simd at every thread count
// After Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008). a and b may have any strides: packing
// reads them once, wherever they lie. c has dense rows and must not overlap them.
//
// Copy: matmul.hpp, matmul-inl.hpp, span_unroll-inl.hpp, strided.hpp, span_team.hpp, span_simd.hpp,
// span_targets-inl.hpp. Needs C++20, OpenMP (-fopenmp), Highway (-lhwy) and -ffp-contract=off.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <stdexcept>
#include <type_traits>

#include "tenfold/span_simd.hpp"
#include "tenfold/span_team.hpp"
#include "tenfold/strided.hpp"

namespace tenfold::zero_copy {
namespace detail {

inline const matmul_table<double>& matmul_table_f64() { TENFOLD_SPAN_TABLE(matmul_f64); }
inline const matmul_table<float>& matmul_table_f32() { TENFOLD_SPAN_TABLE(matmul_f32); }
template <class T>
const matmul_table<T>& matmul_kernels_of() {
    static_assert(std::is_same_v<T, double> || std::is_same_v<T, float>, "float64 and float32");
    if constexpr (std::is_same_v<T, double>) return matmul_table_f64();
    else return matmul_table_f32();
}

template <class T>
void check_product(view2d<const T> a, view2d<const T> b, view2d<T> c) {
    if (a.columns != b.rows || c.rows != a.rows || c.columns != b.columns)
        throw std::invalid_argument("Invalid matrix dimensions");
    if (!c.dense_rows()) throw std::invalid_argument("the items of a row of out must lie side by side; use numpy.empty");
    check_output(c);
    check_apart<T>(c, a, "the first matrix");
    check_apart<T>(c, b, "the second matrix");
}

template <class T>
void fill_rows(view2d<T> c, T value) {
    for (std::size_t i = 0; i < c.rows; ++i) std::fill_n(c.at(i, 0), c.columns, value);
}

// A function of its own: inlined into a loop that also asks stop(), GCC keeps the sum in memory, and takes four times as long.
template <class T>
HWY_NOINLINE T add_products(T sum, const T* x, std::ptrdiff_t x_step, const T* y, std::ptrdiff_t y_step, std::size_t n) {
    for (; n != 0; --n, x += x_step, y += y_step) sum += *x * *y;
    return sum;
}

constexpr std::size_t round_up(std::size_t n, std::size_t step) { return (n + step - 1) / step * step; }

// Panels: aligned, not initialised. Filling them is the packing's work.
template <class T>
class panels {
public:
    explicit panels(std::size_t n) : memory_(static_cast<T*>(::operator new(n * sizeof(T), alignment))) {}
    T* data() const noexcept { return memory_.get(); }

private:
    static constexpr std::align_val_t alignment{128};
    struct release {
        void operator()(T* memory) const noexcept { ::operator delete(memory, alignment); }
    };
    std::unique_ptr<T, release> memory_;
};

// Blocks of k are part of the result's definition, the others only of its speed.
inline constexpr std::size_t matmul_depth = 256;
inline constexpr std::size_t matmul_rows = 1536, matmul_columns = 3072;  // of what is packed at once
inline constexpr std::size_t matmul_band = 96, matmul_slice = 384;  // of what a thread takes: A's part fits its L2
inline constexpr double matmul_inline_below = 5e5;  // multiply-adds that cost as much as opening regions and waiting for them

template <class T, class Stop>
void multiply_packed(view2d<const T> a, view2d<const T> b, view2d<T> c, int threads, Stop& stop) {
    const matmul_table<T>& kernels = matmul_kernels_of<T>();
    const std::size_t m = c.rows, n = c.columns, k = a.columns;
    if (m == 0 || n == 0) return;
    if (k == 0) return fill_rows(c, T(0));
    if (static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) < matmul_inline_below) threads = 1;
    const std::size_t tall = kernels.tile_rows, wide = kernels.tile_columns;
    const std::size_t band = round_up(matmul_band, tall), slice = round_up(matmul_slice, wide);
    const std::size_t most_rows = matmul_rows / band * band, most_columns = matmul_columns / slice * slice;
    const std::size_t depth_most = std::min(k, matmul_depth);
    const panels<T> packed_a(round_up(std::min(m, most_rows), tall) * depth_most);
    const panels<T> packed_b(round_up(std::min(n, most_columns), wide) * depth_most);
    for (std::size_t left = 0; left < n; left += most_columns)
        for (std::size_t p = 0; p < k; p += matmul_depth)
            for (std::size_t top = 0; top < m; top += most_rows) {
                const std::size_t columns = std::min(most_columns, n - left), depth = std::min(matmul_depth, k - p);
                const std::size_t rows = std::min(most_rows, m - top);
                const std::size_t bands = (rows + band - 1) / band, slices = (columns + slice - 1) / slice;
                const std::size_t packs_of_b = top == 0 ? slices : 0;  // b's block serves all of a's
                over_chunks(
                    bands + packs_of_b, 1, threads,
                    [&](std::size_t task, std::size_t) {
                        if (task < packs_of_b) {
                            const std::size_t from = task * slice;
                            kernels.pack_b(b.at(p, left + from), b.row_stride, b.column_stride, depth,
                                           std::min(slice, columns - from), packed_b.data() + from * depth);
                        } else {
                            const std::size_t from = (task - packs_of_b) * band;
                            kernels.pack_a(a.at(top + from, p), a.row_stride, a.column_stride, std::min(band, rows - from),
                                           depth, packed_a.data() + from * depth);
                        }
                    },
                    stop);
                // Slice by slice along a band, which stays in the second-level cache.
                over_chunks(
                    bands * slices, 1, threads,
                    [&](std::size_t task, std::size_t) {
                        const std::size_t from = task / slices * band, across = task % slices * slice;
                        kernels.multiply(packed_a.data() + from * depth, packed_b.data() + across * depth, depth,
                                         c.at(top + from, left + across), c.row_stride, std::min(band, rows - from),
                                         std::min(slice, columns - across), p != 0);
                    },
                    stop);
            }
}

}  // namespace detail

template <class T, class Stop = never_stop>
void matmul_naive(view2d<const std::type_identity_t<T>> a, view2d<const std::type_identity_t<T>> b,
                  view2d<std::type_identity_t<T>> c, Stop&& stop = {}) {
    detail::check_product<T>(a, b, c);
    std::size_t asked = 0;
    for (std::size_t i = 0; i < c.rows; ++i)
        for (std::size_t j = 0; j < c.columns; ++j) {
            T sum = 0;
            for (std::size_t begin = 0; begin < a.columns; begin += 1 << 16) {
                const std::size_t end = std::min(a.columns, begin + (1 << 16));
                if ((asked += end - begin) >= 1 << 18) {
                    asked = 0;
                    if (stop()) throw stopped();
                }
                sum = detail::add_products(sum, a.at(i, begin), a.column_stride, b.at(begin, j), b.row_stride, end - begin);
            }
            c(i, j) = sum;
        }
}

template <class T, class Stop = never_stop>
void matmul_blocked(view2d<const std::type_identity_t<T>> a, view2d<const std::type_identity_t<T>> b,
                    view2d<std::type_identity_t<T>> c, Stop&& stop = {}) {
    detail::check_product<T>(a, b, c);
    detail::fill_rows(c, T(0));
    constexpr std::size_t rows = 64, depth = 64, columns = 512;  // of b: 64 x 512, the second-level cache; of c: a row of 512
    const bool dense = b.dense_rows();
    for (std::size_t left = 0; left < c.columns; left += columns)
        for (std::size_t p = 0; p < a.columns; p += depth)
            for (std::size_t top = 0; top < c.rows; top += rows) {
                if (stop()) throw stopped();
                const std::size_t right = std::min(c.columns, left + columns), last = std::min(a.columns, p + depth);
                for (std::size_t i = top; i < std::min(c.rows, top + rows); ++i)
                    for (std::size_t k = p; k < last; ++k) {
                        const T factor = a(i, k);
                        T* const to = c.at(i, 0);
                        const T* const from = b.at(k, 0);
                        if (dense)
                            for (std::size_t j = left; j < right; ++j) to[j] += factor * from[j];
                        else
                            for (std::size_t j = left; j < right; ++j)
                                to[j] += factor * from[static_cast<std::ptrdiff_t>(j) * b.column_stride];
                    }
            }
}

template <class T, class Stop = never_stop>
void matmul_threaded(view2d<const std::type_identity_t<T>> a, view2d<const std::type_identity_t<T>> b,
                     view2d<std::type_identity_t<T>> c, int threads, Stop&& stop = {}) {
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    detail::check_product<T>(a, b, c);
    detail::multiply_packed<T>(a, b, c, threads, stop);
}

template <class T, class Stop = never_stop>
void matmul_simd(view2d<const std::type_identity_t<T>> a, view2d<const std::type_identity_t<T>> b,
                 view2d<std::type_identity_t<T>> c, Stop&& stop = {}) {
    matmul_threaded<T>(a, b, c, 1, stop);
}

}  // namespace tenfold::zero_copy
