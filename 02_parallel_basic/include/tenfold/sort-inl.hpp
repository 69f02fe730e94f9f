// tenfold/sort-inl.hpp: the vectorised partition of sort.hpp, compiled once per instruction set by simd.hpp.
#if defined(TENFOLD_SORT_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef TENFOLD_SORT_INL_HPP_
#undef TENFOLD_SORT_INL_HPP_
#else
#define TENFOLD_SORT_INL_HPP_
#endif

#include <cstddef>

#include <hwy/highway.h>

#include "tenfold/compress-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace tenfold::detail {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// How many values belong to the left: those < pivot, or <= pivot when `inclusive`. NaN never does.
// Moves them to the front, the others behind them; `spare` has room for n values and one vector more.
// A full store in place only overwrites values that have been loaded: the writer is never ahead of the reader.
template <bool kInclusive>
HWY_ATTR inline std::size_t partition_loop(double* values, std::size_t n, double pivot, double* spare) {
    const hn::ScalableTag<double> d;
    const std::size_t width = hn::Lanes(d);
    const auto border = hn::Set(d, pivot);
    std::size_t i = 0, left = 0;
    double* right = spare;
    for (; i + width <= n; i += width) {
        const auto v = hn::LoadU(d, values + i);
        const auto goes_left = kInclusive ? hn::Le(v, border) : hn::Lt(v, border);
        const std::size_t count = hn::CountTrue(d, goes_left);
        hn::StoreU(compress_lanes(v, goes_left), d, values + left);
        hn::StoreU(compress_lanes(v, hn::Not(goes_left)), d, right);
        left += count;
        right += width - count;
    }
    for (; i < n; ++i) {
        const double v = values[i];
        const bool goes_left = kInclusive ? v <= pivot : v < pivot;
        *right = v;
        values[left] = v;
        left += goes_left;
        right += !goes_left;
    }
    const std::size_t others = n - left;
    for (i = 0; i + width <= others; i += width) hn::StoreU(hn::LoadU(d, spare + i), d, values + left + i);
    for (; i < others; ++i) values[left + i] = spare[i];
    return left;
}

HWY_ATTR inline std::size_t partition_kernel(double* values, std::size_t n, double pivot, bool inclusive, double* spare) {
    return inclusive ? partition_loop<true>(values, n, pivot, spare) : partition_loop<false>(values, n, pivot, spare);
}

HWY_ATTR inline void swap_kernel(double* a, double* b, std::size_t n) {
    const hn::ScalableTag<double> d;
    const std::size_t width = hn::Lanes(d);
    std::size_t i = 0;
    for (; i + width <= n; i += width) {
        const auto v = hn::LoadU(d, a + i);
        hn::StoreU(hn::LoadU(d, b + i), d, a + i);
        hn::StoreU(v, d, b + i);
    }
    for (; width > 1 && i < n; ++i) {
        const double v = a[i];
        a[i] = b[i];
        b[i] = v;
    }
}

// Adds the number of values not <= largest (NaN among them) to counts[0] and that of -0.0 to counts[1].
HWY_ATTR inline void census_kernel(const double* values, std::size_t n, double largest, std::size_t* counts) {
    const hn::ScalableTag<double> d;
    const hn::RebindToSigned<decltype(d)> di;
    const std::size_t width = hn::Lanes(d);
    const auto limit = hn::Set(d, largest);
    const auto negative_zero = hn::BitCast(di, hn::Set(d, -0.0));
    std::size_t i = 0, within = 0, zeros = 0;
    for (; i + width <= n; i += width) {
        const auto v = hn::LoadU(d, values + i);
        within += hn::CountTrue(d, hn::Le(v, limit));
        zeros += hn::CountTrue(di, hn::Eq(hn::BitCast(di, v), negative_zero));
    }
    for (; i < n; ++i) {
        within += values[i] <= largest;
        zeros += values[i] == 0.0 && __builtin_signbit(values[i]) != 0;
    }
    counts[0] += n - within;
    counts[1] += zeros;
}

}  // namespace HWY_NAMESPACE
}  // namespace tenfold::detail
HWY_AFTER_NAMESPACE();
#endif
