// tenfold/transpose.hpp: a transposed copy, for those who need the numbers in another order in memory.
//
// Why: most do not: a view with its strides exchanged (view2d::transposed(), NumPy's .T) is a transposition that costs nothing.
// Where a copy is needed, rows read and columns written make one of the two walk through memory a cache line per number; so
// it goes in tiles of 32 x 32 that fit the first-level cache, and within them in squares of 4 x 4 in registers.
//
// Copy: transpose.hpp, transpose-inl.hpp, strided.hpp, span_team.hpp, span_simd.hpp, span_targets-inl.hpp.
// Needs C++20, OpenMP (-fopenmp) and Highway (-lhwy).
#pragma once

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <type_traits>

#include "tenfold/span_simd.hpp"
#include "tenfold/span_team.hpp"
#include "tenfold/strided.hpp"

namespace tenfold::zero_copy {
namespace detail {

inline const transpose_table<double>& transpose_table_f64() { TENFOLD_SPAN_TABLE(transpose_f64); }
inline const transpose_table<float>& transpose_table_f32() { TENFOLD_SPAN_TABLE(transpose_f32); }

}  // namespace detail

/// out[c, r] = x[r, c]; any strides. `out` must not overlap x.
template <class T, class Stop = never_stop>
void transpose(view2d<const std::type_identity_t<T>> x, view2d<std::type_identity_t<T>> out, int threads, Stop&& stop = {}) {
    static_assert(std::is_same_v<T, double> || std::is_same_v<T, float>, "float64 and float32");
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    if (out.rows != x.columns || out.columns != x.rows) throw std::invalid_argument("out must have the transposed shape");
    detail::check_output(out);
    detail::check_apart<T>(out, x, "the input");
    const auto tile = [] {
        if constexpr (std::is_same_v<T, double>) return detail::transpose_table_f64().tile;
        else return detail::transpose_table_f32().tile;
    }();
    constexpr std::size_t side = 32;
    const bool dense = x.dense_rows() && out.dense_rows();
    const std::size_t across = (x.columns + side - 1) / side, down = (x.rows + side - 1) / side;
    over_chunks(
        across * down, 16, threads,
        [&](std::size_t begin, std::size_t end) {
            for (std::size_t task = begin; task < end; ++task) {
                // Down the columns of x first: the rows of out are written from left to right.
                const std::size_t row = task % down * side, column = task / down * side;
                const std::size_t rows = std::min(side, x.rows - row), columns = std::min(side, x.columns - column);
                if (dense) {
                    tile(x.at(row, column), x.row_stride, out.at(column, row), out.row_stride, rows, columns);
                    continue;
                }
                for (std::size_t c = column; c < column + columns; ++c)
                    for (std::size_t r = row; r < row + rows; ++r) out(c, r) = x(r, c);
            }
        },
        stop, deal::evenly, 32);
}

}  // namespace tenfold::zero_copy
