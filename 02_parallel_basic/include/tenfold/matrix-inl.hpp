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

#include <hwy/cache_control.h>
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
    HWY_ATTR HWY_INLINE void add_product(hn::Vec<matrix_lanes> a, const matrix_vectors_of<vectors>& b) {
        sums.add_product(a, b);
    }
    HWY_ATTR HWY_INLINE void store(double* c, std::size_t, bool add) const { sums.store(c, add); }
};

// C tile (+)= A panel * B panel; `add` is false for the first block of k. Every sum is taken in the order of k.
// Meanwhile `ahead`, what is needed after this tile, is fetched a few bytes per step (a hint: it may lie anywhere).
template <std::size_t vectors>
HWY_ATTR HWY_INLINE void matrix_multiply_tile(const double* a, const double* b, std::size_t depth, double* c,
                                              std::size_t stride, std::size_t rows, std::size_t columns, bool add,
                                              const char* ahead, std::size_t ahead_step) {
    constexpr std::size_t width = vectors * matrix_lane_count, line = 64 / sizeof(double), steps_per_row = 8;
    matrix_tile<matrix_tile_rows, vectors> tile;
    tile.clear();
    const auto run = [&](std::size_t steps) HWY_ATTR {
        for (std::size_t p = 0; p < steps; ++p, a += matrix_tile_rows, b += width) {
            hwy::Prefetch(ahead);
            ahead += ahead_step;
            matrix_vectors_of<vectors> row;
            row.load(b);
            tile.add_product(a, row);
        }
    };
    // Rows of C lie far apart, and no hardware prefetcher follows them. Fetched too early, the panels would push them out again.
    std::size_t left = depth;
    for (std::size_t i = 0; i < rows; ++i) {
        const std::size_t after = (rows - i) * steps_per_row;
        if (left > after) run(left - after), left = after;
        const double* row = c + i * stride;
        for (std::size_t j = 0; j < columns; j += line) hwy::Prefetch(row + j);
        hwy::Prefetch(row + columns - 1);
    }
    run(left);
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

// All tiles of a block. One panel of A serves a whole row of tiles, which fetches the next panel from wherever it is; B's
// panels come from the second-level cache each time.
HWY_ATTR inline void matrix_multiply_block(const double* a, const double* b, std::size_t depth, double* c, std::size_t stride,
                                           std::size_t rows, std::size_t columns, bool add) {
    for (std::size_t i = 0; i < rows; i += matrix_tile_rows, a += depth * matrix_tile_rows) {
        const std::size_t height = rows - i < matrix_tile_rows ? rows - i : matrix_tile_rows;
        const std::size_t tiles = (columns + matrix_tile_columns - 1) / matrix_tile_columns;
        const std::size_t step = (matrix_tile_rows * sizeof(double) + tiles - 1) / tiles;
        const char* next = reinterpret_cast<const char*>(rows - i > height ? a + depth * height : a);
        for (std::size_t j = 0; j < columns; j += matrix_tile_columns) {
            const std::size_t width = columns - j < matrix_tile_columns ? columns - j : matrix_tile_columns;
            const double* panel = b + j * depth;
            const char* ahead = next + j / matrix_tile_columns * depth * step;
            double* corner = c + i * stride + j;
            if (width > 2 * matrix_lane_count)
                matrix_multiply_tile<3>(a, panel, depth, corner, stride, height, width, add, ahead, step);
            else if (width > matrix_lane_count)
                matrix_multiply_tile<2>(a, panel, depth, corner, stride, height, width, add, ahead, step);
            else matrix_multiply_tile<1>(a, panel, depth, corner, stride, height, width, add, ahead, step);
        }
    }
}

// Panels of matrix_tile_rows rows of A, column by column: a transposition, in squares of 4 x 4 where a vector has 4 lanes.
HWY_ATTR inline void matrix_pack_a(const double* a, std::size_t stride, std::size_t rows, std::size_t depth, double* out) {
    for (; rows >= matrix_tile_rows; rows -= matrix_tile_rows, a += matrix_tile_rows * stride) {
        std::size_t p = 0;
#if HWY_TARGET != HWY_SCALAR
        if constexpr (matrix_lane_count >= 4) {
            const hn::CappedTag<double, 4> d;
            for (; p + 4 <= depth; p += 4, out += 4 * matrix_tile_rows)
                for (std::size_t i = 0; i < matrix_tile_rows; i += 4) {
                    const double* from = a + i * stride + p;
                    const auto r0 = hn::LoadU(d, from), r1 = hn::LoadU(d, from + stride);
                    const auto r2 = hn::LoadU(d, from + 2 * stride), r3 = hn::LoadU(d, from + 3 * stride);
                    const auto even01 = hn::InterleaveLower(d, r0, r1), odd01 = hn::InterleaveUpper(d, r0, r1);
                    const auto even23 = hn::InterleaveLower(d, r2, r3), odd23 = hn::InterleaveUpper(d, r2, r3);
                    hn::Store(hn::ConcatLowerLower(d, even23, even01), d, out + i);
                    hn::Store(hn::ConcatLowerLower(d, odd23, odd01), d, out + i + matrix_tile_rows);
                    hn::Store(hn::ConcatUpperUpper(d, even23, even01), d, out + i + 2 * matrix_tile_rows);
                    hn::Store(hn::ConcatUpperUpper(d, odd23, odd01), d, out + i + 3 * matrix_tile_rows);
                }
        }
#endif
        for (; p < depth; ++p, out += matrix_tile_rows)
            for (std::size_t i = 0; i < matrix_tile_rows; ++i) out[i] = a[i * stride + p];
    }
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

// c (+)= a * B for a single row a: four rows of B at a time, nothing packed. The same operations for every element, whether
// a whole vector or (columns left over) one lane is computed: the cuts do not show in the bits.
template <class D>
HWY_ATTR HWY_INLINE std::size_t matrix_add_rows(D d, std::size_t j, const double* a, const double* b, std::size_t stride,
                                                bool four, double* c, std::size_t columns) {
    for (; j + hn::MaxLanes(d) <= columns; j += hn::MaxLanes(d)) {
        auto sum = hn::MulAdd(hn::Set(d, a[0]), hn::LoadU(d, b + j), hn::LoadU(d, c + j));
        if (four) {
            sum = hn::MulAdd(hn::Set(d, a[1]), hn::LoadU(d, b + stride + j), sum);
            sum = hn::MulAdd(hn::Set(d, a[2]), hn::LoadU(d, b + 2 * stride + j), sum);
            sum = hn::MulAdd(hn::Set(d, a[3]), hn::LoadU(d, b + 3 * stride + j), sum);
        }
        hn::StoreU(sum, d, c + j);
    }
    return j;
}
HWY_ATTR inline void matrix_row_times(const double* a, const double* b, std::size_t stride, std::size_t depth, double* c,
                                      std::size_t columns, bool add) {
    const matrix_lanes d;
    const hn::CappedTag<double, 1> one;
    for (std::size_t j = 0; j < columns && !add; ++j) c[j] = 0.0;
    for (std::size_t p = 0; p < depth;) {
        const bool four = depth - p >= 4;
        const std::size_t j = matrix_add_rows(d, 0, a + p, b + p * stride, stride, four, c, columns);
        matrix_add_rows(one, j, a + p, b + p * stride, stride, four, c, columns);
        p += four ? 4 : 1;
    }
}

// c[i] (+)= row i of A * x: the dot products of single rows, in four vectors of sums.
HWY_ATTR inline void matrix_times_column(const double* a, std::size_t stride, std::size_t rows, std::size_t depth,
                                         const double* x, double* c, bool add) {
    const matrix_lanes d;
    const hn::CappedTag<double, 1> one;
    constexpr std::size_t n = matrix_lane_count;
    for (std::size_t i = 0; i < rows; ++i, a += stride) {
        auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
        std::size_t p = 0;
        for (; p + 4 * n <= depth; p += 4 * n) {
            s0 = hn::MulAdd(hn::LoadU(d, a + p), hn::LoadU(d, x + p), s0);
            s1 = hn::MulAdd(hn::LoadU(d, a + p + n), hn::LoadU(d, x + p + n), s1);
            s2 = hn::MulAdd(hn::LoadU(d, a + p + 2 * n), hn::LoadU(d, x + p + 2 * n), s2);
            s3 = hn::MulAdd(hn::LoadU(d, a + p + 3 * n), hn::LoadU(d, x + p + 3 * n), s3);
        }
        for (; p + n <= depth; p += n) s0 = hn::MulAdd(hn::LoadU(d, a + p), hn::LoadU(d, x + p), s0);
        auto sum = hn::Set(one, hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)))));
        for (; p < depth; ++p) sum = hn::MulAdd(hn::Set(one, a[p]), hn::Set(one, x[p]), sum);
        c[i] = add ? c[i] + hn::GetLane(sum) : hn::GetLane(sum);
    }
}

// What the kernels above need to be told apart by the caller: {rows, columns} of a tile.
HWY_ATTR inline void matrix_tile_shape(std::size_t* rows, std::size_t* columns) {
    *rows = matrix_tile_rows;
    *columns = matrix_tile_columns;
}

}  // namespace HWY_NAMESPACE
}  // namespace tenfold::detail
HWY_AFTER_NAMESPACE();
#endif
