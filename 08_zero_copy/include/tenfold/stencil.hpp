// tenfold/stencil.hpp: correlation, convolution and max-pooling of pictures ("valid": where the kernel fits), where they lie.
//
// Why: nine shifted additions in NumPy walk through the picture nine times; SciPy's loops ask for each pixel what to do at the
// border. A 3 x 3 kernel needs each pixel nine times while it is in a register: see stencil-inl.hpp. That is worth a factor of
// five to thirty; beyond some 12 x 12 a Fourier transform needs fewer operations, and separable kernels always want two passes.
//
// Rows of the pictures must be dense (column_stride 1); their distance is free: so a rectangle cut out of a picture, or one
// upside down, needs no copy. Each output is added up column by column of the kernel (in bands of up to seven kernel rows),
// with fused multiply-adds where the CPU has them: the same bits at every thread count.
//
// Copy: stencil.hpp, stencil-inl.hpp, span_unroll-inl.hpp, strided.hpp, span_team.hpp, span_simd.hpp, span_targets-inl.hpp.
// Needs C++20, OpenMP (-fopenmp), Highway (-lhwy) and -ffp-contract=off.
#pragma once

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "tenfold/span_simd.hpp"
#include "tenfold/span_team.hpp"
#include "tenfold/strided.hpp"

namespace tenfold::zero_copy {

struct shape2d {
    std::size_t rows = 0, columns = 0;
    bool operator==(const shape2d&) const = default;
};

inline shape2d valid_shape(std::size_t rows, std::size_t columns, std::size_t kernel_rows, std::size_t kernel_columns) {
    if (kernel_rows == 0 || kernel_columns == 0) throw std::invalid_argument("the kernel is empty");
    if (kernel_rows > rows || kernel_columns > columns) throw std::invalid_argument("the kernel is larger than the array");
    return {rows - kernel_rows + 1, columns - kernel_columns + 1};
}

inline shape2d pool_shape(std::size_t rows, std::size_t columns, std::size_t size, std::size_t step) {
    if (size == 0) throw std::invalid_argument("size must be >= 1");
    if (step == 0) throw std::invalid_argument("stride must be >= 1");
    if (size > rows || size > columns) throw std::invalid_argument("size is larger than the array");
    return {(rows - size) / step + 1, (columns - size) / step + 1};
}

namespace detail {

inline const stencil_table<double>& stencil_table_f64() { TENFOLD_SPAN_TABLE(stencil_f64); }
inline const stencil_table<float>& stencil_table_f32() { TENFOLD_SPAN_TABLE(stencil_f32); }
template <class T>
const stencil_table<T>& stencil_kernels_of() {
    static_assert(std::is_same_v<T, double> || std::is_same_v<T, float>, "float64 and float32");
    if constexpr (std::is_same_v<T, double>) return stencil_table_f64();
    else return stencil_table_f32();
}

template <class T>
void check_pictures(view2d<const T> x, view2d<T> out, shape2d wanted) {
    if (out.rows != wanted.rows || out.columns != wanted.columns)
        throw std::invalid_argument("out must have " + std::to_string(wanted.rows) + " x " + std::to_string(wanted.columns) +
                                    " items");
    if (!x.dense_rows()) throw std::invalid_argument("the items of a row must lie side by side; use numpy.ascontiguousarray");
    if (!out.dense_rows()) throw std::invalid_argument("the items of a row of out must lie side by side; use numpy.empty");
    check_output(out);
    check_apart<T>(out, x, "the input");
}

inline constexpr std::size_t stencil_inline_below = 1 << 16;  // multiply-adds that cost as much as opening a region

template <class T, class Stop>
void correlate_with(view2d<const T> x, const std::vector<T>& kernel, std::size_t kernel_rows, std::size_t kernel_columns,
                    view2d<T> out, int threads, Stop& stop) {
    const auto correlate = stencil_kernels_of<T>().correlate;
    // A task is 8 rows by as many columns as keep it short, whatever the kernel: so that a stop is never far.
    constexpr std::size_t height = 8, longest = std::size_t{1} << 22, lane = 32;
    const std::size_t wide = std::max<std::size_t>(longest / (height * kernel.size()) / lane, 1) * lane;
    const std::size_t pieces = (out.columns + wide - 1) / wide, bands = (out.rows + height - 1) / height;
    const std::size_t cost = std::max<std::size_t>(1, height * std::min(wide, out.columns) * kernel.size());
    over_chunks(
        bands * pieces, std::max<std::size_t>(1, std::min<std::size_t>(8, longest / 4 / cost)), threads,
        [&](std::size_t begin, std::size_t end) {
            for (std::size_t task = begin; task < end; ++task) {
                const std::size_t row = task / pieces * height, column = task % pieces * wide;
                correlate(x.at(row, column), x.row_stride, kernel.data(), kernel_rows, kernel_columns, out.at(row, column),
                          out.row_stride, std::min(height, out.rows - row), std::min(wide, out.columns - column));
            }
        },
        stop, deal::on_demand, stencil_inline_below / cost);
}

}  // namespace detail

/// out[r, c] = sum of x[r + i, c + j] * kernel[i, j]
template <class T, class Stop = never_stop>
void correlate2d(view2d<const std::type_identity_t<T>> x, view2d<const std::type_identity_t<T>> kernel,
                 view2d<std::type_identity_t<T>> out, int threads, Stop&& stop = {}) {
    detail::check_pictures<T>(x, out, valid_shape(x.rows, x.columns, kernel.rows, kernel.columns));
    detail::check_apart<T>(out, kernel, "the kernel");
    std::vector<T> dense;
    dense.reserve(kernel.size());
    for (std::size_t i = 0; i < kernel.rows; ++i)
        for (std::size_t j = 0; j < kernel.columns; ++j) dense.push_back(kernel(i, j));
    detail::correlate_with<T>(x, dense, kernel.rows, kernel.columns, out, threads, stop);
}

/// The same with the kernel turned by 180 degrees.
template <class T, class Stop = never_stop>
void convolve2d(view2d<const std::type_identity_t<T>> x, view2d<const std::type_identity_t<T>> kernel,
                view2d<std::type_identity_t<T>> out, int threads, Stop&& stop = {}) {
    valid_shape(x.rows, x.columns, kernel.rows, kernel.columns);
    const view2d<const T> turned(kernel.at(kernel.rows - 1, kernel.columns - 1), kernel.rows, kernel.columns,
                                 -kernel.row_stride, -kernel.column_stride);
    correlate2d<T>(x, turned, out, threads, stop);
}

/// The greatest item of each window of size x size, `step` apart in both directions; NaN where a window holds one.
template <class T, class Stop = never_stop>
void max_pool2d(view2d<const std::type_identity_t<T>> x, std::size_t size, std::size_t step,
                view2d<std::type_identity_t<T>> out, int threads, Stop&& stop = {}) {
    detail::check_pictures<T>(x, out, pool_shape(x.rows, x.columns, size, step));
    const auto pool = detail::stencil_kernels_of<T>().pool;
    // One task is a piece of a row, short enough for the scratch row to stay in the cache and a stop never to be far. A step
    // beyond the array is never taken.
    const std::size_t stride = std::min(step, std::max(x.rows, x.columns));
    const std::size_t most = std::max<std::size_t>(1, std::min<std::size_t>(4096, (std::size_t{1} << 22) / (size * stride)));
    const std::size_t wide = std::max<std::size_t>(1, std::min<std::size_t>(out.columns, most));
    const std::size_t pieces = (out.columns + wide - 1) / wide, cost = wide * size * stride;
    over_chunks(
        out.rows * pieces, std::max<std::size_t>(1, 65536 / cost), threads,
        [&](std::size_t begin, std::size_t end) {
            std::vector<T> scratch((wide - 1) * step + size);
            for (std::size_t task = begin; task < end; ++task) {
                const std::size_t row = task / pieces, column = task % pieces * wide;
                const std::size_t columns = std::min(wide, out.columns - column);
                pool(x.at(row * step, column * step), x.row_stride, (columns - 1) * step + size, size, step, scratch.data(),
                     out.at(row, column), columns);
            }
        },
        stop, deal::on_demand, detail::stencil_inline_below / cost);
}

}  // namespace tenfold::zero_copy
