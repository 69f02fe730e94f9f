// tenfold/transpose-inl.hpp: a tile of a transposition, compiled once per instruction set by span_simd.hpp.
#if defined(TENFOLD_TRANSPOSE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef TENFOLD_TRANSPOSE_INL_HPP_
#undef TENFOLD_TRANSPOSE_INL_HPP_
#else
#define TENFOLD_TRANSPOSE_INL_HPP_
#endif

#include <cstddef>

#include <hwy/highway.h>

#ifndef TENFOLD_TRANSPOSE_TABLE
#define TENFOLD_TRANSPOSE_TABLE
namespace tenfold::zero_copy::detail {

template <class T>
struct transpose_table {
    // to[c, r] = from[r, c]; rows of both are dense.
    void (*tile)(const T* from, std::ptrdiff_t from_stride, T* to, std::ptrdiff_t to_stride, std::size_t rows,
                 std::size_t columns);
};

}  // namespace tenfold::zero_copy::detail
#endif

HWY_BEFORE_NAMESPACE();
namespace tenfold::zero_copy::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR
// Four rows of four items in registers; vectors of 16 bytes hold them in float32, of 32 bytes in float64.
HWY_ATTR HWY_INLINE void transpose_square(const float* from, std::ptrdiff_t from_stride, float* to, std::ptrdiff_t to_stride) {
    const hn::CappedTag<float, 4> d;
    const hn::Repartition<double, decltype(d)> pairs;
    const auto r0 = hn::LoadU(d, from), r1 = hn::LoadU(d, from + from_stride);
    const auto r2 = hn::LoadU(d, from + 2 * from_stride), r3 = hn::LoadU(d, from + 3 * from_stride);
    const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1)),
               high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1));
    const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3)),
               high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, to);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, to + to_stride);
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d, to + 2 * to_stride);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d, to + 3 * to_stride);
}
template <class D = hn::CappedTag<double, 4>>
HWY_ATTR HWY_INLINE void transpose_square(const double* from, std::ptrdiff_t from_stride, double* to,
                                          std::ptrdiff_t to_stride) {
    const D d;
    if constexpr (hn::MaxLanes(D()) == 4) {
        const auto r0 = hn::LoadU(d, from), r1 = hn::LoadU(d, from + from_stride);
        const auto r2 = hn::LoadU(d, from + 2 * from_stride), r3 = hn::LoadU(d, from + 3 * from_stride);
        const auto even01 = hn::InterleaveLower(d, r0, r1), odd01 = hn::InterleaveUpper(d, r0, r1);
        const auto even23 = hn::InterleaveLower(d, r2, r3), odd23 = hn::InterleaveUpper(d, r2, r3);
        hn::StoreU(hn::ConcatLowerLower(d, even23, even01), d, to);
        hn::StoreU(hn::ConcatLowerLower(d, odd23, odd01), d, to + to_stride);
        hn::StoreU(hn::ConcatUpperUpper(d, even23, even01), d, to + 2 * to_stride);
        hn::StoreU(hn::ConcatUpperUpper(d, odd23, odd01), d, to + 3 * to_stride);
    } else {
        for (std::ptrdiff_t i = 0; i < 4; i += 2)
            for (std::ptrdiff_t j = 0; j < 4; j += 2) {
                const auto r0 = hn::LoadU(d, from + i * from_stride + j), r1 = hn::LoadU(d, from + (i + 1) * from_stride + j);
                hn::StoreU(hn::InterleaveLower(d, r0, r1), d, to + j * to_stride + i);
                hn::StoreU(hn::InterleaveUpper(d, r0, r1), d, to + (j + 1) * to_stride + i);
            }
    }
}
#endif

template <class T>
HWY_ATTR void transpose_tile(const T* from, std::ptrdiff_t from_stride, T* to, std::ptrdiff_t to_stride, std::size_t rows_,
                             std::size_t columns_) {
    const auto rows = static_cast<std::ptrdiff_t>(rows_), columns = static_cast<std::ptrdiff_t>(columns_);
    std::ptrdiff_t whole_rows = 0, whole_columns = 0;
#if HWY_TARGET != HWY_SCALAR
    whole_rows = rows & ~std::ptrdiff_t{3};
    whole_columns = columns & ~std::ptrdiff_t{3};
    for (std::ptrdiff_t c = 0; c < whole_columns; c += 4)
        for (std::ptrdiff_t r = 0; r < whole_rows; r += 4)
            transpose_square(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
#endif
    for (std::ptrdiff_t c = 0; c < columns; ++c)
        for (std::ptrdiff_t r = c < whole_columns ? whole_rows : 0; r < rows; ++r)
            to[c * to_stride + r] = from[r * from_stride + c];
}

template <class T>
inline constexpr transpose_table<T> transpose_kernels{transpose_tile<T>};

inline const transpose_table<double>& transpose_f64() { return transpose_kernels<double>; }
inline const transpose_table<float>& transpose_f32() { return transpose_kernels<float>; }

}  // namespace HWY_NAMESPACE
}  // namespace tenfold::zero_copy::detail
HWY_AFTER_NAMESPACE();
#endif
