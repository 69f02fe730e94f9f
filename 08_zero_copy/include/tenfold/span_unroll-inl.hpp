// tenfold/span_unroll-inl.hpp: loops that are written out when compiling, so that arrays of vectors become registers at -O2 too.
#if defined(TENFOLD_SPAN_UNROLL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef TENFOLD_SPAN_UNROLL_INL_HPP_
#undef TENFOLD_SPAN_UNROLL_INL_HPP_
#else
#define TENFOLD_SPAN_UNROLL_INL_HPP_
#endif

#include <cstddef>

#include <hwy/highway.h>

// A lambda that is part of its caller: it must not become a function, or the registers that it refers to would be memory.
#ifndef TENFOLD_INLINED
#define TENFOLD_INLINED HWY_ATTR __attribute__((always_inline))
#endif

HWY_BEFORE_NAMESPACE();
namespace tenfold::zero_copy::detail {
namespace HWY_NAMESPACE {

template <std::size_t i>
struct constant {
    static constexpr std::size_t value = i;
    constexpr operator std::size_t() const { return i; }
};

// body(constant<0>()), body(constant<1>()), ... body(constant<count - 1>())
template <std::size_t count, class Body>
HWY_ATTR HWY_INLINE void unroll(const Body& body) {
    if constexpr (count != 0) {
        unroll<count - 1>(body);
        body(constant<count - 1>());
    }
}

}  // namespace HWY_NAMESPACE
}  // namespace tenfold::zero_copy::detail
HWY_AFTER_NAMESPACE();
#endif
