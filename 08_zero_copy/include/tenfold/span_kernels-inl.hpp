// tenfold/span_kernels-inl.hpp: the inner loops of span_kernels.hpp and span_chain.hpp, compiled once per instruction set.
//
// An operation is a struct with one call operator on vectors; the loop below makes of it a kernel over contiguous memory, for
// whole vectors and, with vectors of one item, for the ends: the same operations either way, so cuts do not show in the bits.
// All operands of a step are read before anything is written: `out` may be an input itself.
#if defined(TENFOLD_SPAN_KERNELS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef TENFOLD_SPAN_KERNELS_INL_HPP_
#undef TENFOLD_SPAN_KERNELS_INL_HPP_
#else
#define TENFOLD_SPAN_KERNELS_INL_HPP_
#endif

#include <cstddef>
#include <cstdint>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#ifndef TENFOLD_SPAN_KERNELS_TABLE
#define TENFOLD_SPAN_KERNELS_TABLE
namespace tenfold::zero_copy::detail {

// out[i] = operation(inputs[0][i], inputs[1][i], ..., factor); `stream` writes past the cache.
template <class T>
using map_kernel = void (*)(const T* const* inputs, T factor, T* out, std::size_t n, bool stream);

enum map_op {
    op_square,
    op_root2,
    op_scale,
    op_add,
    op_subtract,
    op_multiply,
    op_divide,
    op_triad,
    op_fused_multiply,
    op_sqrt,
    op_negate,
    op_absolute,
    op_minimum,
    op_maximum,
    op_standardise,
    map_op_count
};
template <class T>
struct map_table {
    map_kernel<T> kernels[map_op_count];
};

}  // namespace tenfold::zero_copy::detail
#endif

HWY_BEFORE_NAMESPACE();
namespace tenfold::zero_copy::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct do_square {
    static constexpr int inputs = 1;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D, V, V x) const {
        return hn::Mul(x, x);
    }
};
struct do_root2 {
    static constexpr int inputs = 1;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D, V, V x) const {
        return hn::Sqrt(hn::Add(x, x));
    }
};
struct do_scale {
    static constexpr int inputs = 1;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D, V factor, V x) const {
        return hn::Mul(x, factor);
    }
};
struct do_add {
    static constexpr int inputs = 2;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D, V, V x, V y) const {
        return hn::Add(x, y);
    }
};
struct do_subtract {
    static constexpr int inputs = 2;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D, V, V x, V y) const {
        return hn::Sub(x, y);
    }
};
struct do_multiply {
    static constexpr int inputs = 2;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D, V, V x, V y) const {
        return hn::Mul(x, y);
    }
};
struct do_divide {
    static constexpr int inputs = 2;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D, V, V x, V y) const {
        return hn::Div(x, y);
    }
};
// Rounded after the product and after the sum, as written: a fused multiply-add would give other bits where a CPU has it.
struct do_triad {
    static constexpr int inputs = 2;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D, V factor, V x, V y) const {
        return hn::Add(x, hn::Mul(y, factor));
    }
};
struct do_fused_multiply {
    static constexpr int inputs = 3;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D d, V, V a, V b, V c) const {
        return hn::Sub(hn::Add(hn::Mul(a, b), hn::Add(c, c)), hn::Set(d, 1));
    }
};
struct do_sqrt {
    static constexpr int inputs = 1;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D, V, V x) const {
        return hn::Sqrt(x);
    }
};
struct do_negate {
    static constexpr int inputs = 1;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D, V, V x) const {
        return hn::Neg(x);
    }
};
struct do_absolute {
    static constexpr int inputs = 1;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D, V, V x) const {
        return hn::Abs(x);
    }
};
// A NaN on either side stays NaN; of two equal numbers (zeros) the second. hn::Min and hn::Max differ between CPUs in both.
struct do_minimum {
    static constexpr int inputs = 2;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D, V, V x, V y) const {
        return hn::IfThenElse(hn::Or(hn::Lt(x, y), hn::IsNaN(x)), x, y);
    }
};
struct do_maximum {
    static constexpr int inputs = 2;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D, V, V x, V y) const {
        return hn::IfThenElse(hn::Or(hn::Gt(x, y), hn::IsNaN(x)), x, y);
    }
};
// (x - y) / z: with the mean and the standard deviation at every place of y and z.
struct do_standardise {
    static constexpr int inputs = 3;
    template <class D, class V>
    HWY_ATTR HWY_INLINE V operator()(D, V, V x, V mean, V deviation) const {
        return hn::Div(hn::Sub(x, mean), deviation);
    }
};

template <class Operation, class D, class T>
HWY_ATTR HWY_INLINE hn::Vec<D> map_vector(D d, const T* const* inputs, hn::Vec<D> factor, std::size_t i) {
    const auto x = hn::LoadU(d, inputs[0] + i);
    if constexpr (Operation::inputs == 1) {
        return Operation()(d, factor, x);
    } else if constexpr (Operation::inputs == 2) {
        return Operation()(d, factor, x, hn::LoadU(d, inputs[1] + i));
    } else {
        return Operation()(d, factor, x, hn::LoadU(d, inputs[1] + i), hn::LoadU(d, inputs[2] + i));
    }
}

template <class Operation, class T>
HWY_ATTR void map_loop(const T* const* given, T factor_, T* out, std::size_t n, bool stream) {
    const hn::ScalableTag<T> d;
    const hn::CappedTag<T, 1> one;
    const std::size_t width = hn::Lanes(d);
    const auto factor = hn::Set(d, factor_);
    const auto single = hn::Set(one, factor_);
    // Copied: the compiler must not fear that a store to `out` changes the pointers.
    const T* inputs[Operation::inputs];
    for (int k = 0; k < Operation::inputs; ++k) inputs[k] = given[k];
    std::size_t i = 0;
    if (stream) {
        const std::size_t vector_bytes = width * sizeof(T);
        for (; i < n && reinterpret_cast<std::uintptr_t>(out + i) % vector_bytes != 0; ++i)
            hn::StoreU(map_vector<Operation>(one, inputs, single, i), one, out + i);
        for (; i + width <= n; i += width) hn::Stream(map_vector<Operation>(d, inputs, factor, i), d, out + i);
        hwy::FlushStream();  // x86 orders streaming stores with nothing else: before anyone is told that the chunk is done
    } else {
        for (; i + 2 * width <= n; i += 2 * width) {
            const auto v0 = map_vector<Operation>(d, inputs, factor, i);
            const auto v1 = map_vector<Operation>(d, inputs, factor, i + width);
            hn::StoreU(v0, d, out + i);
            hn::StoreU(v1, d, out + i + width);
        }
    }
    for (; i < n; ++i) hn::StoreU(map_vector<Operation>(one, inputs, single, i), one, out + i);
}

template <class T>
inline constexpr map_table<T> map_kernels{{map_loop<do_square, T>, map_loop<do_root2, T>, map_loop<do_scale, T>,
                                           map_loop<do_add, T>, map_loop<do_subtract, T>, map_loop<do_multiply, T>,
                                           map_loop<do_divide, T>, map_loop<do_triad, T>, map_loop<do_fused_multiply, T>,
                                           map_loop<do_sqrt, T>, map_loop<do_negate, T>, map_loop<do_absolute, T>,
                                           map_loop<do_minimum, T>, map_loop<do_maximum, T>, map_loop<do_standardise, T>}};

inline const map_table<double>& map_f64() { return map_kernels<double>; }
inline const map_table<float>& map_f32() { return map_kernels<float>; }

}  // namespace HWY_NAMESPACE
}  // namespace tenfold::zero_copy::detail
HWY_AFTER_NAMESPACE();
#endif
