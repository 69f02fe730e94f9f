// tenfold/span_reduce-inl.hpp: the inner loops of span_reduce.hpp, compiled once per instruction set by span_simd.hpp.
//
// A sum has 32 lanes of float64 whatever the vector width and the item type: element i goes to lane i mod 32, and the lanes are
// folded in one fixed order: 16 + 16, 8 + 8, ... So it has the same bits on every machine.
#if defined(TENFOLD_SPAN_REDUCE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef TENFOLD_SPAN_REDUCE_INL_HPP_
#undef TENFOLD_SPAN_REDUCE_INL_HPP_
#else
#define TENFOLD_SPAN_REDUCE_INL_HPP_
#endif

#include <cstddef>

#include <hwy/highway.h>

#ifndef TENFOLD_SPAN_REDUCE_TABLE
#define TENFOLD_SPAN_REDUCE_TABLE
namespace tenfold::zero_copy::detail {

struct block_result {
    double sum, min, max;
};
template <class T>
struct reduce_table {
    double (*sum)(const T* values, std::size_t n);
    double (*squares_about)(const T* values, std::size_t n, double center);
    block_result (*reduce)(const T* values, std::size_t n);  // n >= 1
};

}  // namespace tenfold::zero_copy::detail
#endif

HWY_BEFORE_NAMESPACE();
namespace tenfold::zero_copy::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr std::size_t sum_lanes = 32;

// `count` vectors as plain members, not an array: so they live in registers at -O2 too.
template <class D, std::size_t count>
struct lane_group {
    hn::Vec<D> first;
    lane_group<D, count - 1> rest;

    HWY_ATTR HWY_INLINE void set(D d, double value) { first = hn::Set(d, value), rest.set(d, value); }
    // operation(lanes, first item of the lanes)
    template <class Operation>
    HWY_ATTR HWY_INLINE void each(const Operation& operation, std::size_t lane = 0) {
        operation(first, lane);
        rest.each(operation, lane + hn::MaxLanes(D()));
    }
    template <class Operation>
    HWY_ATTR HWY_INLINE void each_with(lane_group& other, const Operation& operation, std::size_t lane = 0) {
        operation(first, other.first, lane);
        rest.each_with(other.rest, operation, lane + hn::MaxLanes(D()));
    }
};
template <class D>
struct lane_group<D, 0> {
    HWY_ATTR HWY_INLINE void set(D, double) {}
    template <class Operation>
    HWY_ATTR HWY_INLINE void each(const Operation&, std::size_t = 0) {}
    template <class Operation>
    HWY_ATTR HWY_INLINE void each_with(lane_group&, const Operation&, std::size_t = 0) {}
};

using sum_tag = hn::CappedTag<double, sum_lanes>;
inline constexpr std::size_t sum_vectors = sum_lanes / hn::MaxLanes(sum_tag());
using sum_group = lane_group<sum_tag, sum_vectors>;

HWY_ATTR HWY_INLINE hn::Vec<sum_tag> load_doubles(const double* from) { return hn::LoadU(sum_tag(), from); }
HWY_ATTR HWY_INLINE hn::Vec<sum_tag> load_doubles(const float* from) {
    const hn::Rebind<float, sum_tag> d;
    return hn::PromoteTo(sum_tag(), hn::LoadU(d, from));
}

HWY_ATTR HWY_INLINE double fold_sums(double* lanes) {
    for (std::size_t half = sum_lanes / 2; half != 0; half /= 2)
        for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    return lanes[0];
}

HWY_ATTR HWY_INLINE void store_group(sum_group& sums, double* lanes) {
    sums.each([&](hn::Vec<sum_tag> v, std::size_t lane) HWY_ATTR { hn::StoreU(v, sum_tag(), lanes + lane); });
}

template <class T>
HWY_ATTR double sum_block(const T* values, std::size_t n) {
    sum_group sums;
    sums.set(sum_tag(), 0.0);
    std::size_t i = 0;
    for (; i + sum_lanes <= n; i += sum_lanes)
        sums.each([&](hn::Vec<sum_tag>& v, std::size_t lane) HWY_ATTR { v = hn::Add(v, load_doubles(values + i + lane)); });
    HWY_ALIGN double lanes[sum_lanes];
    store_group(sums, lanes);
    for (std::size_t j = 0; i < n; ++i, ++j) lanes[j] += static_cast<double>(values[i]);
    return fold_sums(lanes);
}

template <class T>
HWY_ATTR double squares_block(const T* values, std::size_t n, double center) {
    sum_group sums;
    sums.set(sum_tag(), 0.0);
    const auto middle = hn::Set(sum_tag(), center);
    std::size_t i = 0;
    for (; i + sum_lanes <= n; i += sum_lanes)
        sums.each([&](hn::Vec<sum_tag>& v, std::size_t lane) HWY_ATTR {
            const auto apart = hn::Sub(load_doubles(values + i + lane), middle);
            v = hn::Add(v, hn::Mul(apart, apart));
        });
    HWY_ALIGN double lanes[sum_lanes];
    store_group(sums, lanes);
    for (std::size_t j = 0; i < n; ++i, ++j) {
        const double apart = static_cast<double>(values[i]) - center;
        lanes[j] += apart * apart;
    }
    return fold_sums(lanes);
}

// Sum, least and greatest. What the vector minimum does with NaN and with the two zeros differs between CPUs: so a NaN is found
// by the sum, which it always reaches, and a zero at either end is looked at again. Both are rare, and the second pass is cached.
template <class T>
HWY_ATTR block_result reduce_block(const T* values, std::size_t n) {
    sum_group sums;
    const double start = static_cast<double>(values[0]);
    sums.set(sum_tag(), 0.0);
    std::size_t i = 0;
    block_result result{0.0, start, start};
    HWY_ALIGN double lanes[sum_lanes];
    if (n >= sum_lanes) {
        // Half as many for the ends: where vectors are short, three full groups would not fit the registers.
        constexpr std::size_t ends = sum_vectors >= 2 ? sum_vectors / 2 : 1;
        lane_group<sum_tag, ends> low, high;
        low.set(sum_tag(), start);
        high.set(sum_tag(), start);
        constexpr std::size_t half = ends * hn::MaxLanes(sum_tag());
        for (; i + sum_lanes <= n; i += sum_lanes) {
            sums.each([&](hn::Vec<sum_tag>& v, std::size_t lane) HWY_ATTR { v = hn::Add(v, load_doubles(values + i + lane)); });
            for (std::size_t part = 0; part < sum_lanes; part += half)
                low.each_with(high, [&](hn::Vec<sum_tag>& a, hn::Vec<sum_tag>& b, std::size_t lane) HWY_ATTR {
                    const auto v = load_doubles(values + i + part + lane);
                    a = hn::Min(v, a);
                    b = hn::Max(v, b);
                });
        }
        low.each_with(high, [&](hn::Vec<sum_tag> a, hn::Vec<sum_tag> b, std::size_t) HWY_ATTR {
            const double x = hn::GetLane(hn::MinOfLanes(sum_tag(), a)), y = hn::GetLane(hn::MaxOfLanes(sum_tag(), b));
            if (x < result.min) result.min = x;
            if (y > result.max) result.max = y;
        });
    }
    store_group(sums, lanes);
    for (std::size_t j = 0; i < n; ++i, ++j) {
        const double value = static_cast<double>(values[i]);
        lanes[j] += value;
        if (value < result.min) result.min = value;
        if (value > result.max) result.max = value;
    }
    result.sum = fold_sums(lanes);
    if (result.sum != result.sum) {  // NaN, or infinities of both signs
        bool nan = false;
        for (std::size_t k = 0; k < n; ++k) nan = nan || values[k] != values[k];
        if (nan) return {__builtin_nan(""), __builtin_nan(""), __builtin_nan("")};
        result.sum = __builtin_nan("");
    }
    if (result.min == 0.0 || result.max == 0.0) {  // -0.0 counts as less than +0.0
        bool plus = false, minus = false;
        for (std::size_t k = 0; k < n; ++k)
            if (values[k] == 0) (__builtin_signbit(values[k]) ? minus : plus) = true;
        if (result.min == 0.0) result.min = minus ? -0.0 : 0.0;
        if (result.max == 0.0) result.max = plus ? 0.0 : -0.0;
    }
    return result;
}

template <class T>
inline constexpr reduce_table<T> reduce_kernels{sum_block<T>, squares_block<T>, reduce_block<T>};

inline const reduce_table<double>& reduce_f64() { return reduce_kernels<double>; }
inline const reduce_table<float>& reduce_f32() { return reduce_kernels<float>; }

}  // namespace HWY_NAMESPACE
}  // namespace tenfold::zero_copy::detail
HWY_AFTER_NAMESPACE();
#endif
