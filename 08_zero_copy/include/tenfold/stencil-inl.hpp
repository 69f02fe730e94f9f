// tenfold/stencil-inl.hpp: the inner loops of stencil.hpp, compiled once per instruction set by span_simd.hpp.
//
// A block of the output, 4 rows by 2 vectors, stays in registers while one column of the kernel after the other passes over
// the input: each vector of the input is loaded once for all output rows that need it,
// each coefficient once for the whole block. So the loop is bound by multiply-adds, not by loads.
// Every output is the same chain of multiply-adds wherever its block lies: cuts do not show in the bits.
#if defined(TENFOLD_STENCIL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef TENFOLD_STENCIL_INL_HPP_
#undef TENFOLD_STENCIL_INL_HPP_
#else
#define TENFOLD_STENCIL_INL_HPP_
#endif

#include <cstddef>

#include <hwy/highway.h>

#include "tenfold/span_unroll-inl.hpp"

#ifndef TENFOLD_STENCIL_TABLE
#define TENFOLD_STENCIL_TABLE
namespace tenfold::zero_copy::detail {

template <class T>
struct stencil_table {
    // Rows of the output; the kernel is dense.
    void (*correlate)(const T* x, std::ptrdiff_t x_stride, const T* kernel, std::size_t kernel_rows, std::size_t kernel_columns,
                      T* out, std::ptrdiff_t out_stride, std::size_t rows, std::size_t columns);
    // One row: the greatest of each window of size x size; `scratch` has room for a row of x.
    void (*pool)(const T* x, std::ptrdiff_t x_stride, std::size_t x_columns, std::size_t size, std::size_t step, T* scratch,
                 T* out, std::size_t columns);
};

}  // namespace tenfold::zero_copy::detail
#endif

HWY_BEFORE_NAMESPACE();
namespace tenfold::zero_copy::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Taller blocks need fewer loads, but 8 + 2 rows a power of two apart do not fit the 8 ways of a first-level cache's set.
inline constexpr std::size_t stencil_rows = 4;

// `band` rows of the kernel over a block of `rows` rows and `vectors` vectors; `add`: to what earlier bands left there.
template <std::size_t band, std::size_t rows, std::size_t vectors, class D, class T>
HWY_ATTR HWY_INLINE void correlate_block(D d, const T* x, std::ptrdiff_t x_stride, const T* kernel, std::size_t kernel_columns,
                                         T* out, std::ptrdiff_t out_stride, bool add) {
    using V = hn::Vec<D>;
    constexpr std::size_t width = hn::MaxLanes(D());
    V sums[rows * vectors];
    unroll<rows * vectors>([&](auto i) TENFOLD_INLINED {
        constexpr std::size_t r = decltype(i)::value / vectors, v = decltype(i)::value % vectors;
        sums[i] = add ? hn::LoadU(d, out + static_cast<std::ptrdiff_t>(r) * out_stride + v * width) : hn::Zero(d);
    });
    for (std::size_t j = 0; j < kernel_columns; ++j, ++x, ++kernel) {
        V coefficients[band];
        unroll<band>([&](auto i) TENFOLD_INLINED { coefficients[i] = hn::Set(d, kernel[i * kernel_columns]); });
        unroll<rows + band - 1>([&](auto p) TENFOLD_INLINED {  // rows of the input
            constexpr std::size_t from = decltype(p)::value;
            const T* row = x + static_cast<std::ptrdiff_t>(from) * x_stride;
            V items[vectors];
            unroll<vectors>([&](auto v) TENFOLD_INLINED { items[v] = hn::LoadU(d, row + v * width); });
            unroll<band>([&](auto i) TENFOLD_INLINED {
                constexpr std::size_t k = decltype(i)::value;
                if constexpr (from >= k && from - k < rows)
                    unroll<vectors>([&](auto v) TENFOLD_INLINED {
                        constexpr std::size_t s = (from - k) * vectors + decltype(v)::value;
                        sums[s] = hn::MulAdd(coefficients[k], items[v], sums[s]);
                    });
            });
        });
    }
    unroll<rows * vectors>([&](auto i) TENFOLD_INLINED {
        constexpr std::size_t r = decltype(i)::value / vectors, v = decltype(i)::value % vectors;
        hn::StoreU(sums[i], d, out + static_cast<std::ptrdiff_t>(r) * out_stride + v * width);
    });
}

// A whole block: kernels of any height in bands of 7, 5, 3, 2 or 1 rows.
template <std::size_t rows, std::size_t vectors, class D, class T>
HWY_ATTR void correlate_bands(D d, const T* x, std::ptrdiff_t x_stride, const T* kernel, std::size_t kernel_rows,
                              std::size_t kernel_columns, T* out, std::ptrdiff_t out_stride) {
    bool add = false;
    const auto take = [&](auto band) TENFOLD_INLINED {
        constexpr std::size_t count = decltype(band)::value;
        correlate_block<count, rows, vectors>(d, x, x_stride, kernel, kernel_columns, out, out_stride, add);
        x += static_cast<std::ptrdiff_t>(count) * x_stride;
        kernel += count * kernel_columns;
        kernel_rows -= count;
        add = true;
    };
    while (kernel_rows >= 7) take(constant<7>());
    while (kernel_rows >= 5) take(constant<5>());
    while (kernel_rows >= 3) take(constant<3>());
    if (kernel_rows == 2) take(constant<2>());
    if (kernel_rows == 1) take(constant<1>());
}

template <class T>
HWY_ATTR void correlate_rows(const T* x, std::ptrdiff_t x_stride, const T* kernel, std::size_t kernel_rows,
                             std::size_t kernel_columns, T* out, std::ptrdiff_t out_stride, std::size_t rows,
                             std::size_t columns) {
    const hn::ScalableTag<T> d;
    const hn::CappedTag<T, 1> one;
    constexpr std::size_t width = hn::MaxLanes(d);
    const auto across = [&](auto height) TENFOLD_INLINED {
        constexpr std::size_t count = decltype(height)::value;
        std::size_t c = 0;
        if constexpr (count != 1)
            for (; c + 2 * width <= columns; c += 2 * width)
                correlate_bands<count, 2>(d, x + c, x_stride, kernel, kernel_rows, kernel_columns, out + c, out_stride);
        for (; c < columns; c += width) {
            if (c + width > columns) c = columns - width;  // the last vector, some of it once more: the same bits again
            correlate_bands<count, 1>(d, x + c, x_stride, kernel, kernel_rows, kernel_columns, out + c, out_stride);
        }
        x += static_cast<std::ptrdiff_t>(count) * x_stride;
        out += static_cast<std::ptrdiff_t>(count) * out_stride;
        rows -= count;
    };
    for (; columns < width && rows != 0; --rows, x += x_stride, out += out_stride)  // narrower than a vector
        for (std::size_t c = 0; c < columns; ++c)
            correlate_bands<1, 1>(one, x + c, x_stride, kernel, kernel_rows, kernel_columns, out + c, out_stride);
    while (rows >= stencil_rows) across(constant<stencil_rows>());
    while (rows != 0) across(constant<1>());
}

// The greater; NaN if either is; of two equal ones the later.
template <class D, class V>
HWY_ATTR HWY_INLINE V greater_of(D, V x, V y) {
    return hn::IfThenElse(hn::Or(hn::Gt(x, y), hn::IsNaN(x)), x, y);
}

template <class T>
HWY_ATTR void pool_row(const T* x, std::ptrdiff_t x_stride, std::size_t x_columns, std::size_t size, std::size_t step,
                       T* scratch, T* out, std::size_t columns) {
    const hn::ScalableTag<T> d;
    const hn::CappedTag<T, 1> one;
    const std::size_t width = hn::Lanes(d);
    // Down the columns, whole rows at a time; then across, window by window.
    const auto down = [&](auto tag, std::size_t c) TENFOLD_INLINED {
        auto best = hn::LoadU(tag, x + c);
        const T* row = x + c;
        for (std::size_t i = 1; i < size; ++i) {
            row += x_stride;
            best = greater_of(tag, best, hn::LoadU(tag, row));
        }
        hn::StoreU(best, tag, scratch + c);
    };
    std::size_t c = 0;
    for (; c + width <= x_columns; c += width) down(d, c);
    for (; c < x_columns; ++c) down(one, c);
    c = 0;
    if (step == 1) {
        for (; c + width <= columns; c += width) {
            auto best = hn::LoadU(d, scratch + c);
            for (std::size_t i = 1; i < size; ++i) best = greater_of(d, best, hn::LoadU(d, scratch + c + i));
            hn::StoreU(best, d, out + c);
        }
    }
#if HWY_TARGET != HWY_SCALAR
    if (step == 2) {
        for (; c + width <= columns && 2 * c + 2 * width + (size - 1) / 2 * 2 <= x_columns; c += width) {
            const T* from = scratch + 2 * c;
            auto best = hn::ConcatEven(d, hn::LoadU(d, from + width), hn::LoadU(d, from));
            for (std::size_t i = 1; i < size; ++i) {
                // Odd places of the pair that starts at an even one: no item behind the row is touched.
                const T* pair = from + (i & ~std::size_t{1});
                const auto low = hn::LoadU(d, pair), high = hn::LoadU(d, pair + width);
                best = greater_of(d, best, i % 2 == 0 ? hn::ConcatEven(d, high, low) : hn::ConcatOdd(d, high, low));
            }
            hn::StoreU(best, d, out + c);
        }
    }
#endif
    for (; c < columns; ++c) {
        T best = scratch[c * step];
        for (std::size_t i = 1; i < size; ++i) {
            const T value = scratch[c * step + i];
            best = best > value || best != best ? best : value;
        }
        out[c] = best;
    }
}

template <class T>
inline constexpr stencil_table<T> stencil_kernels{correlate_rows<T>, pool_row<T>};

inline const stencil_table<double>& stencil_f64() { return stencil_kernels<double>; }
inline const stencil_table<float>& stencil_f32() { return stencil_kernels<float>; }

}  // namespace HWY_NAMESPACE
}  // namespace tenfold::zero_copy::detail
HWY_AFTER_NAMESPACE();
#endif
