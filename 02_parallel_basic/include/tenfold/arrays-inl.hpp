// tenfold/arrays-inl.hpp: the inner loops of reduce.hpp, map.hpp and filter.hpp, compiled once per instruction set by simd.hpp.
//
// A kernel works on one chunk, on one thread. Two rules keep results the same on every machine and thread count:
// - a sum has 32 lanes whatever the vector width (4 registers of 8, 8 of 4, ... 32 of 1), element i goes to lane i mod 32, and
//   the lanes are folded in one fixed order: 16 + 16, 8 + 8, ...;
// - compaction uses Compress in a register and one full store. The store-form of the instruction is microcoded on Zen 4.
// Element-wise kernels allow `out` to be the input itself.
#if defined(TENFOLD_ARRAYS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef TENFOLD_ARRAYS_INL_HPP_
#undef TENFOLD_ARRAYS_INL_HPP_
#else
#define TENFOLD_ARRAYS_INL_HPP_
#endif

#include <cstddef>
#include <cstdint>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "tenfold/compress-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace tenfold::detail {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

inline constexpr std::size_t sum_lanes = 32;

HWY_ATTR HWY_INLINE double fold_lanes(double* lanes, std::size_t n) {
    for (std::size_t half = n / 2; half != 0; half /= 2)
        for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    return lanes[0];
}

HWY_ATTR inline double sum_kernel(const double* values, std::size_t n) {
    const hn::CappedTag<double, sum_lanes> d;
    constexpr std::size_t width = hn::MaxLanes(d);
    HWY_ALIGN double lanes[sum_lanes] = {};
    std::size_t i = 0;
    if constexpr (width == 8 || width == 4) {
        constexpr bool eight = width == 4;  // registers: four of eight lanes, or eight of four
        auto a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
        for (; i + sum_lanes <= n; i += sum_lanes) {
            const double* v = values + i;
            a0 = hn::Add(a0, hn::LoadU(d, v));
            a1 = hn::Add(a1, hn::LoadU(d, v + width));
            a2 = hn::Add(a2, hn::LoadU(d, v + 2 * width));
            a3 = hn::Add(a3, hn::LoadU(d, v + 3 * width));
            if constexpr (eight) {
                a4 = hn::Add(a4, hn::LoadU(d, v + 4 * width));
                a5 = hn::Add(a5, hn::LoadU(d, v + 5 * width));
                a6 = hn::Add(a6, hn::LoadU(d, v + 6 * width));
                a7 = hn::Add(a7, hn::LoadU(d, v + 7 * width));
            }
        }
        if (i == n) {  // the same folding, in registers as far as they go
            if constexpr (eight) {
                a0 = hn::Add(a0, a4);
                a1 = hn::Add(a1, a5);
                a2 = hn::Add(a2, a6);
                a3 = hn::Add(a3, a7);
            }
            hn::Store(hn::Add(hn::Add(a0, a2), hn::Add(a1, a3)), d, lanes);
            return fold_lanes(lanes, width);
        }
        hn::Store(a0, d, lanes);
        hn::Store(a1, d, lanes + width);
        hn::Store(a2, d, lanes + 2 * width);
        hn::Store(a3, d, lanes + 3 * width);
        if constexpr (eight) {
            hn::Store(a4, d, lanes + 4 * width);
            hn::Store(a5, d, lanes + 5 * width);
            hn::Store(a6, d, lanes + 6 * width);
            hn::Store(a7, d, lanes + 7 * width);
        }
    } else {
        for (; i + sum_lanes <= n; i += sum_lanes)
            for (std::size_t j = 0; j < sum_lanes; ++j) lanes[j] += values[i + j];
    }
    for (std::size_t j = 0; i < n; ++i, ++j) lanes[j] += values[i];
    return fold_lanes(lanes, sum_lanes);
}

// The sums of consecutive chunks, the last of which may be shorter.
HWY_ATTR inline void sum_chunks_kernel(const double* values, std::size_t n, std::size_t chunk, double* sums) {
    for (; n > chunk; values += chunk, n -= chunk) *sums++ = sum_kernel(values, chunk);
    *sums = sum_kernel(values, n);
}

// The largest value; NaN if there is one. A maximum that is zero is +0.0 if any zero is: which of two equal zeros a
// vector maximum returns depends on the instruction set. n >= 1.
HWY_ATTR inline double max_kernel(const double* values, std::size_t n) {
    const hn::ScalableTag<double> d;
    const std::size_t width = hn::Lanes(d);
    double best = values[0];
    bool nan = best != best;
    std::size_t i = 0;
    if (n >= 4 * width) {
        auto m0 = hn::LoadU(d, values), m1 = m0, m2 = m0, m3 = m0;
        auto unordered = hn::IsNaN(m0);
        for (; i + 4 * width <= n; i += 4 * width) {
            const auto v0 = hn::LoadU(d, values + i), v1 = hn::LoadU(d, values + i + width);
            const auto v2 = hn::LoadU(d, values + i + 2 * width), v3 = hn::LoadU(d, values + i + 3 * width);
            m0 = hn::Max(v0, m0);
            m1 = hn::Max(v1, m1);
            m2 = hn::Max(v2, m2);
            m3 = hn::Max(v3, m3);
            unordered = hn::Or(unordered, hn::Or(hn::Or(hn::IsNaN(v0), hn::IsNaN(v1)), hn::Or(hn::IsNaN(v2), hn::IsNaN(v3))));
        }
        nan = nan || !hn::AllFalse(d, unordered);
        best = hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(m0, m1), hn::Max(m2, m3))));
    }
    for (; i < n; ++i) {
        nan = nan || values[i] != values[i];
        best = values[i] > best ? values[i] : best;
    }
    if (nan) return __builtin_nan("");
    if (best == 0.0) {
        best = -0.0;
        for (i = 0; i < n; ++i)
            if (values[i] == 0.0 && !__builtin_signbit(values[i])) return 0.0;
    }
    return best;
}

// out[i] = map(i), where map loads one vector (or, for the ends, one value). `stream` writes past the cache.
template <class Vectors, class Values>
HWY_ATTR inline void map_loop(std::size_t n, double* out, bool stream, const Vectors& vectors, const Values& values) {
    const hn::ScalableTag<double> d;
    const std::size_t width = hn::Lanes(d);
    std::size_t i = 0;
    if (stream) {
        const std::size_t vector_bytes = width * sizeof(double);
        for (; i < n && reinterpret_cast<std::uintptr_t>(out + i) % vector_bytes != 0; ++i) out[i] = values(i);
        for (; i + width <= n; i += width) hn::Stream(vectors(i), d, out + i);
        hwy::FlushStream();  // streaming stores are not ordered by the barrier's own store on x86
    } else {
        for (; i + 2 * width <= n; i += 2 * width) {
            const auto v0 = vectors(i), v1 = vectors(i + width);
            hn::StoreU(v0, d, out + i);
            hn::StoreU(v1, d, out + i + width);
        }
    }
    for (; i < n; ++i) out[i] = values(i);
}

HWY_ATTR inline void square_kernel(const double* x, double* out, std::size_t n, bool stream) {
    const hn::ScalableTag<double> d;
    map_loop(
        n, out, stream,
        [&](std::size_t i) HWY_ATTR {
            const auto v = hn::LoadU(d, x + i);
            return hn::Mul(v, v);
        },
        [&](std::size_t i) HWY_ATTR { return x[i] * x[i]; });
}

// Two roundings, as `a * x + y` is written: a fused multiply-add gives other bits on machines that have one.
HWY_ATTR inline void saxpy_kernel(double a, const double* x, const double* y, double* out, std::size_t n, bool stream) {
    const hn::ScalableTag<double> d;
    const auto factor = hn::Set(d, a);
    map_loop(
        n, out, stream,
        [&](std::size_t i) HWY_ATTR { return hn::Add(hn::Mul(factor, hn::LoadU(d, x + i)), hn::LoadU(d, y + i)); },
        [&](std::size_t i) HWY_ATTR { return a * x[i] + y[i]; });
}

HWY_ATTR inline std::size_t count_even_kernel(const std::int64_t* values, std::size_t n) {
    const hn::ScalableTag<std::int64_t> d;
    const std::size_t width = hn::Lanes(d);
    const auto one = hn::Set(d, 1);
    auto odd0 = hn::Zero(d), odd1 = odd0;
    std::size_t i = 0;
    for (; i + 2 * width <= n; i += 2 * width) {
        odd0 = hn::Add(odd0, hn::And(hn::LoadU(d, values + i), one));
        odd1 = hn::Add(odd1, hn::And(hn::LoadU(d, values + i + width), one));
    }
    std::int64_t odd = hn::GetLane(hn::SumOfLanes(d, hn::Add(odd0, odd1)));
    for (; i < n; ++i) odd += values[i] & 1;
    return n - static_cast<std::size_t>(odd);
}

// Writes the even values to out, which has room for exactly `count` of them, the number there is. A full-width store may
// write garbage after the last value kept, and what follows out + count is another thread's: so the end goes through a buffer.
HWY_ATTR inline void copy_even_kernel(const std::int64_t* values, std::size_t n, std::int64_t* out, std::size_t count) {
    const hn::ScalableTag<std::int64_t> d;
    const std::size_t width = hn::Lanes(d);
    const auto one = hn::Set(d, 1), zero = hn::Zero(d);
    std::size_t i = 0, kept = 0;
    for (; i + width <= n && kept + width <= count; i += width) {
        const auto v = hn::LoadU(d, values + i);
        const auto even = hn::Eq(hn::And(v, one), zero);
        hn::StoreU(compress_lanes(v, even), d, out + kept);
        kept += hn::CountTrue(d, even);
    }
    HWY_ALIGN std::int64_t last[HWY_MAX_BYTES / sizeof(std::int64_t)];
    for (; i + width <= n && kept < count; i += width) {
        const auto v = hn::LoadU(d, values + i);
        const auto even = hn::Eq(hn::And(v, one), zero);
        hn::Store(compress_lanes(v, even), d, last);
        const std::size_t found = hn::CountTrue(d, even);
        for (std::size_t j = 0; j < found && kept < count; ++j) out[kept++] = last[j];
    }
    for (; i < n && kept < count; ++i)
        if ((values[i] & 1) == 0) out[kept++] = values[i];
}

}  // namespace HWY_NAMESPACE
}  // namespace tenfold::detail
HWY_AFTER_NAMESPACE();
#endif
