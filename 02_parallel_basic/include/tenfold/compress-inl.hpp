// tenfold/compress-inl.hpp: moves the lanes under a mask to the front of a vector of 64-bit lanes. What fills the rest is
// unspecified. For filter and partition: arrays-inl.hpp, sort-inl.hpp.
//
// Why not hn::Compress everywhere: GCC 12 copies the table inside Highway 1.0's AVX2 and AVX-512 versions to the stack on every
// call (15 times slower). The AVX-512 instruction in its register form is two micro-operations on Zen 4 and Intel.
#if defined(TENFOLD_COMPRESS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef TENFOLD_COMPRESS_INL_HPP_
#undef TENFOLD_COMPRESS_INL_HPP_
#else
#define TENFOLD_COMPRESS_INL_HPP_
#endif

#include <cstdint>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tenfold::detail {
namespace HWY_NAMESPACE {

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
// ScalableTag's vectors are 512 bits wide here.
template <class Mask>
HWY_ATTR HWY_INLINE hwy::HWY_NAMESPACE::Vec512<double> compress_lanes(hwy::HWY_NAMESPACE::Vec512<double> v, Mask mask) {
    return hwy::HWY_NAMESPACE::Vec512<double>{_mm512_maskz_compress_pd(static_cast<__mmask8>(mask.raw), v.raw)};
}
template <class Mask>
HWY_ATTR HWY_INLINE hwy::HWY_NAMESPACE::Vec512<std::int64_t> compress_lanes(hwy::HWY_NAMESPACE::Vec512<std::int64_t> v,
                                                                            Mask mask) {
    return hwy::HWY_NAMESPACE::Vec512<std::int64_t>{_mm512_maskz_compress_epi64(static_cast<__mmask8>(mask.raw), v.raw)};
}
#elif HWY_ARCH_X86 && HWY_TARGET == HWY_AVX2
// Entry m: the 32-bit halves of the lanes in mask m, in order.
alignas(64) inline constexpr std::uint32_t compress_indices[16][8] = {
    {0, 1, 2, 3, 4, 5, 6, 7}, {0, 1, 2, 3, 4, 5, 6, 7}, {2, 3, 0, 1, 4, 5, 6, 7}, {0, 1, 2, 3, 4, 5, 6, 7},
    {4, 5, 0, 1, 2, 3, 6, 7}, {0, 1, 4, 5, 2, 3, 6, 7}, {2, 3, 4, 5, 0, 1, 6, 7}, {0, 1, 2, 3, 4, 5, 6, 7},
    {6, 7, 0, 1, 2, 3, 4, 5}, {0, 1, 6, 7, 2, 3, 4, 5}, {2, 3, 6, 7, 0, 1, 4, 5}, {0, 1, 2, 3, 6, 7, 4, 5},
    {4, 5, 6, 7, 0, 1, 2, 3}, {0, 1, 4, 5, 6, 7, 2, 3}, {2, 3, 4, 5, 6, 7, 0, 1}, {0, 1, 2, 3, 4, 5, 6, 7}};

template <class T, class Mask>
HWY_ATTR HWY_INLINE hwy::HWY_NAMESPACE::Vec256<T> compress_lanes(hwy::HWY_NAMESPACE::Vec256<T> v, Mask mask) {
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::ScalableTag<double> dd;
    const hn::ScalableTag<T> d;
    const int bits = _mm256_movemask_pd(hn::BitCast(dd, hn::VecFromMask(d, mask)).raw);
    const __m256i lanes = _mm256_load_si256(reinterpret_cast<const __m256i*>(compress_indices[bits]));
    const __m256i moved = _mm256_permutevar8x32_epi32(hn::BitCast(hn::ScalableTag<std::int32_t>(), v).raw, lanes);
    return hn::BitCast(d, hn::Vec256<std::int32_t>{moved});
}
#else
template <class Vector, class Mask>
HWY_ATTR HWY_INLINE Vector compress_lanes(Vector v, Mask mask) {
    return hwy::HWY_NAMESPACE::Compress(v, mask);
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace tenfold::detail
HWY_AFTER_NAMESPACE();
#endif
