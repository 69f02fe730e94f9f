// tenfold/matvec.hpp: matrix times vector, in whatever order the matrix lies in memory.
//
// Why: every number of the matrix is used once, so the memory it comes from decides, and copying it into a nicer order first
// would cost more than the product. Dense rows (C order) are dot products, eight rows at a time so that x is loaded once for
// eight; dense columns (Fortran order, a transposed view) are added up, a block of y staying in the first-level cache; anything
// else is gathered row by row. The same bits at every thread count; C and Fortran order may differ in the last ones.
//
// Copy: matvec.hpp, matvec-inl.hpp, span_unroll-inl.hpp, strided.hpp, span_team.hpp, span_simd.hpp, span_targets-inl.hpp.
// Needs C++20, OpenMP (-fopenmp), Highway (-lhwy) and -ffp-contract=off.
#pragma once

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "tenfold/span_simd.hpp"
#include "tenfold/span_team.hpp"
#include "tenfold/strided.hpp"

namespace tenfold::zero_copy {
namespace detail {

inline const matvec_table<double>& matvec_table_f64() { TENFOLD_SPAN_TABLE(matvec_f64); }
inline const matvec_table<float>& matvec_table_f32() { TENFOLD_SPAN_TABLE(matvec_f32); }
template <class T>
const matvec_table<T>& matvec_kernels_of() {
    static_assert(std::is_same_v<T, double> || std::is_same_v<T, float>, "float64 and float32");
    if constexpr (std::is_same_v<T, double>) return matvec_table_f64();
    else return matvec_table_f32();
}

inline constexpr std::size_t matvec_depth = 16 * 1024;  // columns at once: so much of x stays in the second-level cache
inline constexpr std::size_t matvec_inline_below = 32 * 1024;  // multiply-adds that cost as much as opening a region
// Bytes of a matrix that no cache holds. A constant on purpose, for the reason that span_kernels.hpp gives.
inline constexpr std::size_t matvec_far_above = std::size_t{48} << 20;

// Rows begin..end, into y which is dense.
template <class T>
void matvec_part(view2d<const T> a, const T* x, std::size_t begin, std::size_t end, T* y) {
    const matvec_table<T>& kernels = matvec_kernels_of<T>();
    const bool far = a.size() * sizeof(T) > matvec_far_above;
    if (!a.dense_rows() && a.transposed().dense_rows()) {
        constexpr std::size_t block = 4096 / sizeof(T);
        for (std::size_t top = begin; top < end; top += block, y += block) {
            const std::size_t rows = std::min(block, end - top);
            std::fill_n(y, rows, T(0));
            kernels.columns(a.at(top, 0), a.column_stride, a.columns, rows, x, y);
        }
        return;
    }
    if (a.columns == 0) std::fill_n(y, end - begin, T(0));
    for (std::size_t start = 0; start < a.columns; start += matvec_depth) {
        const std::size_t n = std::min(matvec_depth, a.columns - start);
        if (a.dense_rows()) {
            kernels.rows(a.at(begin, start), a.row_stride, end - begin, n, x + start, y, start != 0, far);
            continue;
        }
        std::vector<T> row(n);
        for (std::size_t i = begin; i < end; ++i) {
            for (std::size_t j = 0; j < n; ++j) row[j] = a(i, start + j);
            kernels.rows(row.data(), 0, 1, n, x + start, y + (i - begin), start != 0, false);
        }
    }
}

}  // namespace detail

/// y = a * x. A vector that is not contiguous is copied first, the matrix never.
template <class T, class Stop = never_stop>
void matvec(view2d<const std::type_identity_t<T>> a, view1d<const std::type_identity_t<T>> x, view1d<std::type_identity_t<T>> y,
            int threads, Stop&& stop = {}) {
    if (a.columns != x.size || a.rows != y.size) throw std::invalid_argument("Invalid dimensions");
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    detail::check_output<T>(y);
    detail::check_apart<T>(y, a, "the matrix");
    detail::check_apart<T>(y, x, "the vector");
    std::vector<T> dense_x, dense_y;
    if (!x.contiguous()) {
        dense_x.resize(x.size);
        for (std::size_t i = 0; i < x.size; ++i) dense_x[i] = x[i];
        x = view1d<const T>(dense_x.data(), x.size);
    }
    if (!y.contiguous()) dense_y.resize(y.size);
    T* const to = dense_y.empty() ? y.data : dense_y.data();
    // Fewer rows than threads would like, if they are long: a row's sum is never divided.
    const std::size_t cost = std::max<std::size_t>(1, a.columns);
    const std::size_t even = threads == 1 ? a.rows : a.rows / (static_cast<std::size_t>(threads) * 8);
    const bool by_columns = !a.dense_rows() && a.transposed().dense_rows();
    const std::size_t unit = by_columns ? 64 : 8;
    constexpr std::size_t longest = std::size_t{1} << 21;
    const std::size_t rows = cost > longest ? 1 : std::max<std::size_t>(1, std::min(even, longest / cost) / unit) * unit;
    over_chunks(
        a.rows, rows, threads,
        [&](std::size_t begin, std::size_t end) { detail::matvec_part<T>(a, x.data, begin, end, to + begin); }, stop,
        deal::on_demand, detail::matvec_inline_below / cost);
    for (std::size_t i = 0; i < dense_y.size(); ++i) y[i] = dense_y[i];
}

}  // namespace tenfold::zero_copy
