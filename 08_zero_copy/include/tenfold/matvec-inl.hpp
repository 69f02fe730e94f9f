// tenfold/matvec-inl.hpp: the inner loops of matvec.hpp, compiled once per instruction set by span_simd.hpp.
#if defined(TENFOLD_MATVEC_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef TENFOLD_MATVEC_INL_HPP_
#undef TENFOLD_MATVEC_INL_HPP_
#else
#define TENFOLD_MATVEC_INL_HPP_
#endif

#include <cstddef>
#include <cstdint>

#include <hwy/highway.h>

#include "tenfold/span_unroll-inl.hpp"

#ifndef TENFOLD_MATVEC_TABLE
#define TENFOLD_MATVEC_TABLE
namespace tenfold::zero_copy::detail {

template <class T>
struct matvec_table {
    // y[i] (+)= row i of a times x; rows are dense, `stride` apart. far: not in any cache.
    void (*rows)(const T* a, std::ptrdiff_t stride, std::size_t rows, std::size_t n, const T* x, T* y, bool add, bool far);
    // y += sum of x[j] * column j of a; columns are dense, `stride` apart.
    void (*columns)(const T* a, std::ptrdiff_t stride, std::size_t columns, std::size_t n, const T* x, T* y);
};

}  // namespace tenfold::zero_copy::detail
#endif

HWY_BEFORE_NAMESPACE();
namespace tenfold::zero_copy::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Four or eight rows share each vector of x, in two vectors of sums each. A row's operations are the same whether it comes alone
// or not. Vectors of 32 bytes at most: NumPy's arrays start anywhere, and every load of 64 bytes that does not start on a cache
// line takes from two of them, of 32 bytes only every other one does.
template <std::size_t rows, class T>
HWY_ATTR HWY_INLINE void dot_rows(const T* a, std::ptrdiff_t stride, std::size_t n, const T* x, T* y, bool add, bool far) {
    const hn::CappedTag<T, 32 / sizeof(T)> d;
    const hn::CappedTag<T, 1> one;
    using V = hn::Vec<decltype(d)>;
    constexpr std::size_t width = hn::MaxLanes(d);
    V even[rows], odd[rows];
    unroll<rows>([&](auto r) TENFOLD_INLINED { even[r] = odd[r] = hn::Zero(d); });
    // Each row's line is asked for 512 bytes early, and shall displace nothing; towards a row's end, the next rows' beginning. The
    // address is a number: behind the last rows there is no array to point into, and a prefetch minds no address.
    constexpr std::size_t early = 512 / sizeof(T);
    const auto step = static_cast<std::uintptr_t>(stride) * sizeof(T);
    std::size_t i = 0;
    for (; i + 2 * width <= n; i += 2 * width) {
        if (far) {
            auto ahead = reinterpret_cast<std::uintptr_t>(a) + (i + early) * sizeof(T);
            if (i + early >= n) ahead += rows * step - n * sizeof(T);
            for (std::size_t r = 0; r < rows; ++r, ahead += step)
                __builtin_prefetch(reinterpret_cast<const void*>(ahead), 0, 0);
        }
        const V x0 = hn::LoadU(d, x + i), x1 = hn::LoadU(d, x + i + width);
        unroll<rows>([&](auto r) TENFOLD_INLINED {
            const T* row = a + static_cast<std::ptrdiff_t>(decltype(r)::value) * stride + i;
            even[r] = hn::MulAdd(hn::LoadU(d, row), x0, even[r]);
            odd[r] = hn::MulAdd(hn::LoadU(d, row + width), x1, odd[r]);
        });
    }
    unroll<rows>([&](auto r) TENFOLD_INLINED {
        const T* row = a + static_cast<std::ptrdiff_t>(decltype(r)::value) * stride;
        std::size_t k = i;
        if (k + width <= n) {
            even[r] = hn::MulAdd(hn::LoadU(d, row + k), hn::LoadU(d, x + k), even[r]);
            k += width;
        }
        auto sum = hn::Set(one, hn::GetLane(hn::SumOfLanes(d, hn::Add(even[r], odd[r]))));
        for (; k < n; ++k) sum = hn::MulAdd(hn::LoadU(one, row + k), hn::LoadU(one, x + k), sum);
        y[r] = add ? y[r] + hn::GetLane(sum) : hn::GetLane(sum);
    });
}

template <class T>
HWY_ATTR void matvec_rows(const T* a, std::ptrdiff_t stride, std::size_t rows, std::size_t n, const T* x, T* y, bool add,
                          bool far) {
    constexpr std::size_t most = HWY_TARGET == HWY_AVX3 || HWY_ARCH_ARM_A64 ? 8 : 4;  // as many as there are registers for
    for (; rows >= most; rows -= most, a += static_cast<std::ptrdiff_t>(most) * stride, y += most)
        dot_rows<most>(a, stride, n, x, y, add, far);
    if (most > 4 && rows >= 4) {
        dot_rows<4>(a, stride, n, x, y, add, far);
        rows -= 4, a += 4 * stride, y += 4;
    }
    for (; rows != 0; --rows, a += stride, ++y) dot_rows<1>(a, stride, n, x, y, add, far);
}

template <class D, class T>
HWY_ATTR HWY_INLINE std::size_t add_columns(D d, std::size_t i, const T* a, std::ptrdiff_t stride, bool four, std::size_t n,
                                            const T* x, T* y) {
    for (; i + hn::MaxLanes(d) <= n; i += hn::MaxLanes(d)) {
        auto sum = hn::MulAdd(hn::LoadU(d, a + i), hn::Set(d, x[0]), hn::LoadU(d, y + i));
        if (four) {
            sum = hn::MulAdd(hn::LoadU(d, a + stride + static_cast<std::ptrdiff_t>(i)), hn::Set(d, x[1]), sum);
            sum = hn::MulAdd(hn::LoadU(d, a + 2 * stride + static_cast<std::ptrdiff_t>(i)), hn::Set(d, x[2]), sum);
            sum = hn::MulAdd(hn::LoadU(d, a + 3 * stride + static_cast<std::ptrdiff_t>(i)), hn::Set(d, x[3]), sum);
        }
        hn::StoreU(sum, d, y + i);
    }
    return i;
}

template <class T>
HWY_ATTR void matvec_columns(const T* a, std::ptrdiff_t stride, std::size_t columns, std::size_t n, const T* x, T* y) {
    const hn::ScalableTag<T> d;
    const hn::CappedTag<T, 1> one;
    while (columns != 0) {
        const std::size_t step = columns >= 4 ? 4 : 1;
        const std::size_t i = add_columns(d, 0, a, stride, step == 4, n, x, y);
        add_columns(one, i, a, stride, step == 4, n, x, y);
        columns -= step, x += step, a += static_cast<std::ptrdiff_t>(step) * stride;
    }
}

template <class T>
inline constexpr matvec_table<T> matvec_kernels{matvec_rows<T>, matvec_columns<T>};

inline const matvec_table<double>& matvec_f64() { return matvec_kernels<double>; }
inline const matvec_table<float>& matvec_f32() { return matvec_kernels<float>; }

}  // namespace HWY_NAMESPACE
}  // namespace tenfold::zero_copy::detail
HWY_AFTER_NAMESPACE();
#endif
