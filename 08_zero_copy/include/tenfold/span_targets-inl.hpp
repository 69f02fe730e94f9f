// tenfold/span_targets-inl.hpp: the kernel families that span_simd.hpp compiles once per instruction set, those that are present.
// A file that needs few of them compiles faster when it leaves out others: #define TENFOLD_WITHOUT_STENCIL (KERNELS, REDUCE,
// MATMUL, MATVEC, TRANSPOSE) before its first include of this library. REDUCE needs KERNELS.
#if defined(TENFOLD_SPAN_TARGETS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef TENFOLD_SPAN_TARGETS_INL_HPP_
#undef TENFOLD_SPAN_TARGETS_INL_HPP_
#else
#define TENFOLD_SPAN_TARGETS_INL_HPP_
#endif

#include <cstddef>
#include <cstdint>

#include <hwy/highway.h>

#ifndef TENFOLD_SPAN_TARGET
#define TENFOLD_SPAN_TARGET
namespace tenfold::zero_copy::detail {
struct simd_target {
    const char* name;
    std::size_t vector_bytes;
};
}  // namespace tenfold::zero_copy::detail
#endif
HWY_BEFORE_NAMESPACE();
namespace tenfold::zero_copy::detail {
namespace HWY_NAMESPACE {

inline const simd_target& compiled_target() {
    static const simd_target target{hwy::TargetName(HWY_TARGET),
                                    hwy::HWY_NAMESPACE::MaxLanes(hwy::HWY_NAMESPACE::ScalableTag<std::uint8_t>())};
    return target;
}

}  // namespace HWY_NAMESPACE
}  // namespace tenfold::zero_copy::detail
HWY_AFTER_NAMESPACE();

#if __has_include("tenfold/span_kernels-inl.hpp") && !defined(TENFOLD_WITHOUT_KERNELS)
#include "tenfold/span_kernels-inl.hpp"
#endif
#if __has_include("tenfold/span_reduce-inl.hpp") && !defined(TENFOLD_WITHOUT_REDUCE)
#include "tenfold/span_reduce-inl.hpp"
#endif
#if __has_include("tenfold/matvec-inl.hpp") && !defined(TENFOLD_WITHOUT_MATVEC)
#include "tenfold/matvec-inl.hpp"
#endif
#if __has_include("tenfold/matmul-inl.hpp") && !defined(TENFOLD_WITHOUT_MATMUL)
#include "tenfold/matmul-inl.hpp"
#endif
#if __has_include("tenfold/transpose-inl.hpp") && !defined(TENFOLD_WITHOUT_TRANSPOSE)
#include "tenfold/transpose-inl.hpp"
#endif
#if __has_include("tenfold/stencil-inl.hpp") && !defined(TENFOLD_WITHOUT_STENCIL)
#include "tenfold/stencil-inl.hpp"
#endif
#endif
