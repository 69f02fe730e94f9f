// tenfold/matrix-inl.hpp: the inner parts of the matrix product, compiled once per instruction set by simd.hpp.
//
// A product makes 2*m*n*k operations on numbers that are each used often, so its speed is decided by where they are when
// they are used. A tile of C (8 rows x 3 vectors with 32 registers, 4 x 3 with 16) stays in registers over a whole block
// of k; A and B are copied ("packed") into panels in the order in which the tile reads them, so that the loop below
// is nothing but consecutive loads and multiply-adds. Panels are filled up with zeros at the edges; what those lanes
// compute, NaN included, is never stored.
#if defined(TENFOLD_MATRIX_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef TENFOLD_MATRIX_INL_HPP_
#undef TENFOLD_MATRIX_INL_HPP_
#else
#define TENFOLD_MATRIX_INL_HPP_
#endif

#include <cstddef>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tenfold::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using matrix_lanes = hn::ScalableTag<double>;
inline constexpr std::size_t matrix_lane_count = hn::MaxLanes(matrix_lanes());
inline constexpr std::size_t matrix_vectors = 3;
// Twelve sums, three vectors of B and one number of A fill 16 registers; 24 sums leave four of 32 to spare.
inline constexpr std::size_t matrix_tile_rows = matrix_lane_count >= 8 || HWY_ARCH_ARM_A64 ? 8 : 4;
inline constexpr std::size_t matrix_tile_columns = matrix_vectors * matrix_lane_count;

// One row of B's panel. Plain members and recursion by halves, not arrays and loops: so the sums live in registers at -O2 too.
template <std::size_t vectors>
struct matrix_vectors_of {
    using V = hn::Vec<matrix_lanes>;
    V first;
    matrix_vectors_of<vectors - 1> rest;

    HWY_ATTR HWY_INLINE void clear() { first = hn::Zero(matrix_lanes()), rest.clear(); }
    HWY_ATTR HWY_INLINE void load(const double* from) {
        first = hn::Load(matrix_lanes(), from);
        rest.load(from + matrix_lane_count);
    }
    HWY_ATTR HWY_INLINE void add_product(V a, const matrix_vectors_of& b) {
        first = hn::MulAdd(a, b.first, first);
        rest.add_product(a, b.rest);
    }
    HWY_ATTR HWY_INLINE void store(double* to, bool add) const {
        hn::StoreU(add ? hn::Add(hn::LoadU(matrix_lanes(), to), first) : first, matrix_lanes(), to);
        rest.store(to + matrix_lane_count, add);
    }
};
template <>
struct matrix_vectors_of<0> {
    HWY_ATTR HWY_INLINE void clear() {}
    HWY_ATTR HWY_INLINE void load(const double*) {}
    HWY_ATTR HWY_INLINE void add_product(hn::Vec<matrix_lanes>, const matrix_vectors_of&) {}
    HWY_ATTR HWY_INLINE void store(double*, bool) const {}
};

template <std::size_t rows, std::size_t vectors>
struct matrix_tile {
    matrix_tile<rows / 2, vectors> upper, lower;

    HWY_ATTR HWY_INLINE void clear() { upper.clear(), lower.clear(); }
    HWY_ATTR HWY_INLINE void add_product(const double* a, const matrix_vectors_of<vectors>& b) {
        upper.add_product(a, b);
        lower.add_product(a + rows / 2, b);
    }
    HWY_ATTR HWY_INLINE void add_product(hn::Vec<matrix_lanes> a, const matrix_vectors_of<vectors>& b) {
        upper.add_product(a, b);
        lower.add_product(a, b);
    }
    HWY_ATTR HWY_INLINE void store(double* c, std::size_t stride, bool add) const {
        upper.store(c, stride, add);
        lower.store(c + rows / 2 * stride, stride, add);
    }
};
template <std::size_t vectors>
struct matrix_tile<1, vectors> {
    matrix_vectors_of<vectors> sums;

    HWY_ATTR HWY_INLINE void clear() { sums.clear(); }
    HWY_ATTR HWY_INLINE void add_product(const double* a, const matrix_vectors_of<vectors>& b) {
        sums.add_product(hn::Set(matrix_lanes(), *a), b);
    }
    HWY_ATTR HWY_INLINE void add_product(hn::Vec<matrix_lanes> a, const matrix_vectors_of<vectors>& b) { sums.add_product(a, b); }
    HWY_ATTR HWY_INLINE void store(double* c, std::size_t, bool add) const { sums.store(c, add); }
};

// C tile (+)= A panel * B panel; `add` is false for the first block of k. Every sum is taken in the order of k.
template <std::size_t vectors>
HWY_ATTR HWY_INLINE void matrix_multiply_tile(const double* a, const double* b, std::size_t depth, double* c, std::size_t stride,
                                              std::size_t rows, std::size_t columns, bool add) {
    constexpr std::size_t width = vectors * matrix_lane_count;
    for (std::size_t i = 0; i < rows; ++i) hwy::Prefetch(c + i * stride);
    matrix_tile<matrix_tile_rows, vectors> tile;
    tile.clear();
    for (std::size_t p = 0; p < depth; ++p, a += matrix_tile_rows, b += width) {
        matrix_vectors_of<vectors> row;
        row.load(b);
        tile.add_product(a, row);
    }
    if (rows == matrix_tile_rows && columns == width) {
        tile.store(c, stride, add);
        return;
    }
    HWY_ALIGN double whole[matrix_tile_rows * width];
    tile.store(whole, width, false);
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t j = 0; j < columns; ++j) {
            double& element = c[i * stride + j];
            element = add ? element + whole[i * width + j] : whole[i * width + j];
        }
}

// All tiles of a block. B's panel stays in the first-level cache while A's, from the second level, pass by it.
HWY_ATTR inline void matrix_multiply_block(const double* a, const double* b, std::size_t depth, double* c, std::size_t stride,
                                           std::size_t rows, std::size_t columns, bool add) {
    for (std::size_t j = 0; j < columns; j += matrix_tile_columns) {
        const std::size_t width = columns - j < matrix_tile_columns ? columns - j : matrix_tile_columns;
        const std::size_t vectors = (width + matrix_lane_count - 1) / matrix_lane_count;
        for (std::size_t i = 0; i < rows; i += matrix_tile_rows) {
            const std::size_t height = rows - i < matrix_tile_rows ? rows - i : matrix_tile_rows;
            const double* panel = a + i * depth;
            double* corner = c + i * stride + j;
            if (vectors == 3) matrix_multiply_tile<3>(panel, b + j * depth, depth, corner, stride, height, width, add);
            if (vectors == 2) matrix_multiply_tile<2>(panel, b + j * depth, depth, corner, stride, height, width, add);
            if (vectors == 1) matrix_multiply_tile<1>(panel, b + j * depth, depth, corner, stride, height, width, add);
        }
    }
}

// Panels of matrix_tile_rows rows of A, column by column.
HWY_ATTR inline void matrix_pack_a(const double* a, std::size_t stride, std::size_t rows, std::size_t depth, double* out) {
    for (; rows >= matrix_tile_rows; rows -= matrix_tile_rows, a += matrix_tile_rows * stride)
        for (std::size_t p = 0; p < depth; ++p, out += matrix_tile_rows)
            for (std::size_t i = 0; i < matrix_tile_rows; ++i) out[i] = a[i * stride + p];
    if (rows == 0) return;
    for (std::size_t p = 0; p < depth; ++p, out += matrix_tile_rows)
        for (std::size_t i = 0; i < matrix_tile_rows; ++i) out[i] = i < rows ? a[i * stride + p] : 0.0;
}

// Panels of matrix_tile_columns columns of B, row by row; the last is as many vectors wide as it needs.
HWY_ATTR inline void matrix_pack_b(const double* b, std::size_t stride, std::size_t depth, std::size_t columns, double* out) {
    const matrix_lanes d;
    for (; columns >= matrix_tile_columns; columns -= matrix_tile_columns, b += matrix_tile_columns)
        for (std::size_t p = 0; p < depth; ++p)
            for (std::size_t j = 0; j < matrix_tile_columns; j += matrix_lane_count, out += matrix_lane_count)
                hn::Store(hn::LoadU(d, b + p * stride + j), d, out);
    if (columns == 0) return;
    const std::size_t width = (columns + matrix_lane_count - 1) / matrix_lane_count * matrix_lane_count;
    for (std::size_t p = 0; p < depth; ++p, out += width)
        for (std::size_t j = 0; j < width; ++j) out[j] = j < columns ? b[p * stride + j] : 0.0;
}

// What the kernels above need to be told apart by the caller: {rows, columns} of a tile.
HWY_ATTR inline void matrix_tile_shape(std::size_t* rows, std::size_t* columns) {
    *rows = matrix_tile_rows;
    *columns = matrix_tile_columns;
}

// The ceiling: the multiply-adds of `steps` steps of k with nothing to load. Returns something that depends on all of them.
HWY_ATTR inline double matrix_peak(std::size_t steps) {
    matrix_tile<matrix_tile_rows, matrix_vectors> tile;
    HWY_ALIGN double factors[matrix_tile_columns], out[matrix_tile_rows * matrix_tile_columns];
    for (double& factor : factors) factor = 0.5;
    matrix_vectors_of<matrix_vectors> row;
    row.load(factors);
    tile.clear();
    for (std::size_t step = 0; step < steps; ++step) tile.add_product(row.first, row);
    tile.store(out, matrix_tile_columns, false);
    double sum = 0.0;
    for (const double x : out) sum += x;
    return sum;
}

}  // namespace HWY_NAMESPACE
}  // namespace tenfold::detail
HWY_AFTER_NAMESPACE();
#endif
