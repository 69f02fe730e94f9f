// tenfold/matmul-inl.hpp: the inner parts of matmul.hpp, compiled once per instruction set by span_simd.hpp.
//
// A tile of C (8 rows x 3 vectors with 32 registers, 4 x 3 with 16) stays in registers over a block of k. A and B are copied
// ("packed") into panels in the order in which the tile reads them, whatever their strides were, so that the loop is nothing
// but consecutive loads and multiply-adds. Panels are filled up with zeros; what those lanes compute is never stored.
#if defined(TENFOLD_MATMUL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef TENFOLD_MATMUL_INL_HPP_
#undef TENFOLD_MATMUL_INL_HPP_
#else
#define TENFOLD_MATMUL_INL_HPP_
#endif

#include <cstddef>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "tenfold/span_unroll-inl.hpp"

#ifndef TENFOLD_MATMUL_TABLE
#define TENFOLD_MATMUL_TABLE
namespace tenfold::zero_copy::detail {

template <class T>
struct matmul_table {
    std::size_t tile_rows, tile_columns;
    // Panels of tile_rows rows (of tile_columns columns), each `depth` steps of k long.
    void (*pack_a)(const T* a, std::ptrdiff_t row_stride, std::ptrdiff_t column_stride, std::size_t rows, std::size_t depth,
                   T* out);
    void (*pack_b)(const T* b, std::ptrdiff_t row_stride, std::ptrdiff_t column_stride, std::size_t depth, std::size_t columns,
                   T* out);
    void (*multiply)(const T* a, const T* b, std::size_t depth, T* c, std::ptrdiff_t stride, std::size_t rows,
                     std::size_t columns, bool add);
};

}  // namespace tenfold::zero_copy::detail
#endif

HWY_BEFORE_NAMESPACE();
namespace tenfold::zero_copy::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
inline constexpr std::size_t matmul_lanes = hn::MaxLanes(hn::ScalableTag<T>());
#if HWY_TARGET == HWY_AVX3 || HWY_ARCH_ARM_A64
inline constexpr std::size_t matmul_tile_rows = 8;
#else
inline constexpr std::size_t matmul_tile_rows = 4;
#endif
inline constexpr std::size_t matmul_vectors = 3;
template <class T>
inline constexpr std::size_t matmul_tile_columns = matmul_vectors * matmul_lanes<T>;

template <class T>
HWY_ATTR void matmul_pack_a(const T* a, std::ptrdiff_t row_stride, std::ptrdiff_t column_stride, std::size_t rows,
                            std::size_t depth, T* out) {
    constexpr std::size_t tile = matmul_tile_rows;
    for (std::size_t top = 0; top < rows; top += tile, a += static_cast<std::ptrdiff_t>(tile) * row_stride) {
        const std::size_t height = rows - top < tile ? rows - top : tile;
        for (std::size_t p = 0; p < depth; ++p, out += tile) {
            const T* column = a + static_cast<std::ptrdiff_t>(p) * column_stride;
            if (height == tile)
                for (std::size_t i = 0; i < tile; ++i) out[i] = column[static_cast<std::ptrdiff_t>(i) * row_stride];
            else
                for (std::size_t i = 0; i < tile; ++i)
                    out[i] = i < height ? column[static_cast<std::ptrdiff_t>(i) * row_stride] : T(0);
        }
    }
}

template <class T>
HWY_ATTR void matmul_pack_b(const T* b, std::ptrdiff_t row_stride, std::ptrdiff_t column_stride, std::size_t depth,
                            std::size_t columns, T* out) {
    const hn::ScalableTag<T> d;
    constexpr std::size_t tile = matmul_tile_columns<T>;
    for (std::size_t left = 0; left < columns; left += tile, b += static_cast<std::ptrdiff_t>(tile) * column_stride) {
        const std::size_t width = columns - left < tile ? columns - left : tile;
        for (std::size_t p = 0; p < depth; ++p, out += tile) {
            const T* row = b + static_cast<std::ptrdiff_t>(p) * row_stride;
            if (width == tile && column_stride == 1)
                unroll<matmul_vectors>([&](auto v) TENFOLD_INLINED {
                    hn::StoreU(hn::LoadU(d, row + v * matmul_lanes<T>), d, out + v * matmul_lanes<T>);
                });
            else
                for (std::size_t j = 0; j < tile; ++j)
                    out[j] = j < width ? row[static_cast<std::ptrdiff_t>(j) * column_stride] : T(0);
        }
    }
}

// A tile of C (+)= a panel of A times a panel of B; every element is a chain of multiply-adds in the order of k.
template <class T>
HWY_ATTR HWY_INLINE void matmul_tile(const T* a, const T* b, std::size_t depth, T* c, std::ptrdiff_t stride, bool add) {
    const hn::ScalableTag<T> d;
    using V = hn::Vec<decltype(d)>;
    constexpr std::size_t rows = matmul_tile_rows, vectors = matmul_vectors, width = matmul_lanes<T>;
    for (std::size_t i = 0; i < rows; ++i) hwy::Prefetch(c + static_cast<std::ptrdiff_t>(i) * stride);
    V sums[rows * vectors];
    unroll<rows * vectors>([&](auto i) TENFOLD_INLINED { sums[i] = hn::Zero(d); });
    for (std::size_t p = 0; p < depth; ++p, a += rows, b += vectors * width) {
        V row[vectors];
        unroll<vectors>([&](auto v) TENFOLD_INLINED { row[v] = hn::LoadU(d, b + v * width); });
        unroll<rows>([&](auto i) TENFOLD_INLINED {
            const V factor = hn::Set(d, a[i]);
            unroll<vectors>([&](auto v) TENFOLD_INLINED {
                constexpr std::size_t s = decltype(i)::value * vectors + decltype(v)::value;
                sums[s] = hn::MulAdd(factor, row[v], sums[s]);
            });
        });
    }
    unroll<rows * vectors>([&](auto i) TENFOLD_INLINED {
        constexpr std::size_t r = decltype(i)::value / vectors, v = decltype(i)::value % vectors;
        T* to = c + static_cast<std::ptrdiff_t>(r) * stride + v * width;
        hn::StoreU(add ? hn::Add(hn::LoadU(d, to), sums[i]) : sums[i], d, to);
    });
}

template <class T>
HWY_ATTR void matmul_block(const T* a, const T* b, std::size_t depth, T* c, std::ptrdiff_t stride, std::size_t rows,
                           std::size_t columns, bool add) {
    constexpr std::size_t tall = matmul_tile_rows, wide = matmul_tile_columns<T>;
    for (std::size_t j = 0; j < columns; j += wide) {
        const std::size_t width = columns - j < wide ? columns - j : wide;
        const T* panel = b + j * depth;
        for (std::size_t i = 0; i < rows; i += tall) {
            const std::size_t height = rows - i < tall ? rows - i : tall;
            T* corner = c + static_cast<std::ptrdiff_t>(i) * stride + j;
            if (height == tall && width == wide) {
                matmul_tile(a + i * depth, panel, depth, corner, stride, add);
                continue;
            }
            HWY_ALIGN T whole[tall * wide];
            matmul_tile(a + i * depth, panel, depth, whole, static_cast<std::ptrdiff_t>(wide), false);
            for (std::size_t r = 0; r < height; ++r)
                for (std::size_t k = 0; k < width; ++k) {
                    T& element = corner[static_cast<std::ptrdiff_t>(r) * stride + static_cast<std::ptrdiff_t>(k)];
                    element = add ? element + whole[r * wide + k] : whole[r * wide + k];
                }
        }
    }
}

template <class T>
inline constexpr matmul_table<T> matmul_kernels{matmul_tile_rows, matmul_tile_columns<T>, matmul_pack_a<T>, matmul_pack_b<T>,
                                                matmul_block<T>};

inline const matmul_table<double>& matmul_f64() { return matmul_kernels<double>; }
inline const matmul_table<float>& matmul_f32() { return matmul_kernels<float>; }

}  // namespace HWY_NAMESPACE
}  // namespace tenfold::zero_copy::detail
HWY_AFTER_NAMESPACE();
#endif
