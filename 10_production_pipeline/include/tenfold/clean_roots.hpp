// tenfold/clean_roots.hpp: the work of the data pipeline on a run of numbers: drop NaN and infinities as failed, negative ones as
// filtered, and make 2 * sqrt(x) of the rest, in order.
//
// Why two passes: how many numbers a run keeps decides where the next run's results begin. Counting is cheap (it reads, and
// branches on nothing); with the counts known every run writes to its final place, all at the same time, and the result is
// exactly as large as it must be. Numbers are kept and dropped without a branch, so a random mix is as fast as a sorted one:
// AVX-512 packs what it keeps inside a register, AVX2 by a table of shuffles, anything else one by one.
// -0.0 is not below zero: it is kept, and its root is -0.0.
//
// Copy: this file and simd_level.hpp (lesson 05).   #include <tenfold/clean_roots.hpp>   C++20, GCC or Clang; no flags.
#pragma once

#include <tenfold/simd_level.hpp>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tenfold {

struct root_counts {
    std::uint64_t kept = 0, filtered = 0, failed = 0;

    root_counts& operator+=(const root_counts& other) noexcept {
        kept += other.kept;
        filtered += other.filtered;
        failed += other.failed;
        return *this;
    }
};

namespace pipeline_detail {

inline constexpr double largest = std::numeric_limits<double>::max();

inline bool keeps(double x) noexcept { return (x >= 0.0) & (x <= largest); }

struct count_kernel {
    const double* values;
    std::size_t size;

    template <int Bytes>
    [[gnu::always_inline]] inline root_counts run() const {
        using lanes = typename atomic_detail::vector_of<double, Bytes>::type;
        using masks = decltype(lanes{} < lanes{});
        constexpr std::size_t width = static_cast<std::size_t>(atomic_detail::vector_of<double, Bytes>::size);
        masks kept_a{}, kept_b{}, finite_a{}, finite_b{};  // a lane of a mask that holds is -1
        std::size_t i = 0;
        for (; i + 2 * width <= size; i += 2 * width) {
            lanes a, b;
            __builtin_memcpy(&a, values + i, Bytes);
            __builtin_memcpy(&b, values + i + width, Bytes);
            const masks below_a = a <= largest, below_b = b <= largest;
            kept_a -= (a >= 0.0) & below_a;
            kept_b -= (b >= 0.0) & below_b;
            finite_a -= (a >= -largest) & below_a;
            finite_b -= (b >= -largest) & below_b;
        }
        std::uint64_t kept = 0, finite = 0;
        for (std::size_t lane = 0; lane < width; ++lane) {
            kept += static_cast<std::uint64_t>(kept_a[lane] + kept_b[lane]);
            finite += static_cast<std::uint64_t>(finite_a[lane] + finite_b[lane]);
        }
        for (; i < size; ++i) {
            kept += keeps(values[i]);
            finite += (values[i] >= -largest) & (values[i] <= largest);
        }
        return {kept, finite - kept, size - finite};
    }
};

// All of them write exactly `kept` numbers, never one beyond: the place behind belongs to another thread.
inline void write_roots_plain(const double* in, std::size_t size, double* out, std::size_t kept) noexcept {
    std::size_t i = 0, k = 0;
#if defined(__x86_64__)
    if (kept == size)
        for (const __m128d two = _mm_set1_pd(2.0); i + 2 <= size; i += 2, k += 2)
            _mm_storeu_pd(out + i, _mm_mul_pd(two, _mm_sqrt_pd(_mm_loadu_pd(in + i))));
#endif
    for (; k < kept; ++i) {
        const bool keep = keeps(in[i]);
        out[k] = 2.0 * std::sqrt(keep ? in[i] : 0.0);
        k += keep;
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) inline void write_roots_avx2(const double* in, std::size_t size, double* out,
                                                             std::size_t kept) noexcept {
    // Row m moves the doubles (pairs of 32-bit words) whose bit is set in m to the front.
    alignas(32) static constexpr std::int32_t front[16][8] = {
        {0, 1, 2, 3, 4, 5, 6, 7}, {0, 1, 2, 3, 4, 5, 6, 7}, {2, 3, 0, 1, 4, 5, 6, 7}, {0, 1, 2, 3, 4, 5, 6, 7},
        {4, 5, 0, 1, 2, 3, 6, 7}, {0, 1, 4, 5, 2, 3, 6, 7}, {2, 3, 4, 5, 0, 1, 6, 7}, {0, 1, 2, 3, 4, 5, 6, 7},
        {6, 7, 0, 1, 2, 3, 4, 5}, {0, 1, 6, 7, 2, 3, 4, 5}, {2, 3, 6, 7, 0, 1, 4, 5}, {0, 1, 2, 3, 6, 7, 4, 5},
        {4, 5, 6, 7, 0, 1, 2, 3}, {0, 1, 4, 5, 6, 7, 2, 3}, {2, 3, 4, 5, 6, 7, 0, 1}, {0, 1, 2, 3, 4, 5, 6, 7}};
    const __m256d zero = _mm256_setzero_pd(), most = _mm256_set1_pd(largest), two = _mm256_set1_pd(2.0);
    std::size_t i = 0, k = 0;
    if (kept == size) {
        for (; i + 4 <= size; i += 4, k += 4)
            _mm256_storeu_pd(out + i, _mm256_mul_pd(two, _mm256_sqrt_pd(_mm256_loadu_pd(in + i))));
    } else {
        for (; i + 4 <= size && k + 4 <= kept; i += 4) {
            const __m256d x = _mm256_loadu_pd(in + i);
            const __m256d keep = _mm256_and_pd(_mm256_cmp_pd(x, zero, _CMP_GE_OQ), _mm256_cmp_pd(x, most, _CMP_LE_OQ));
            const auto mask = static_cast<unsigned>(_mm256_movemask_pd(keep));
            const __m256i order = _mm256_load_si256(reinterpret_cast<const __m256i*>(front[mask]));
            const __m256d root = _mm256_mul_pd(two, _mm256_sqrt_pd(_mm256_and_pd(x, keep)));
            _mm256_storeu_pd(out + k, _mm256_castsi256_pd(_mm256_permutevar8x32_epi32(_mm256_castpd_si256(root), order)));
            k += static_cast<std::size_t>(std::popcount(mask));
        }
    }
    write_roots_plain(in + i, size - i, out + k, kept - k);
}

__attribute__((target("avx512f"))) inline void write_roots_avx512(const double* in, std::size_t size, double* out,
                                                                  std::size_t kept) noexcept {
    const __m512d zero = _mm512_setzero_pd(), most = _mm512_set1_pd(largest), two = _mm512_set1_pd(2.0);
    std::size_t i = 0, k = 0;
    if (kept == size) {
        for (; i + 8 <= size; i += 8, k += 8)
            _mm512_storeu_pd(out + i, _mm512_mul_pd(two, _mm512_maskz_sqrt_pd(0xff, _mm512_loadu_pd(in + i))));
    } else {
        for (; i + 8 <= size && k + 8 <= kept; i += 8) {
            const __m512d x = _mm512_loadu_pd(in + i);
            const __mmask8 keep = _mm512_cmp_pd_mask(x, zero, _CMP_GE_OQ) & _mm512_cmp_pd_mask(x, most, _CMP_LE_OQ);
            const __m512d root = _mm512_mul_pd(two, _mm512_maskz_sqrt_pd(keep, x));
            // Packed in the register, then stored whole: packing straight to memory is slow on some CPUs.
            _mm512_storeu_pd(out + k, _mm512_maskz_compress_pd(keep, root));
            k += static_cast<std::size_t>(std::popcount(static_cast<unsigned>(keep)));
        }
    }
    write_roots_plain(in + i, size - i, out + k, kept - k);
}
#endif

inline root_counts count_roots(std::span<const double> in, simd_level level = simd_level::avx512) noexcept {
    return atomic_detail::run_simd(count_kernel{in.data(), in.size()}, level);
}

inline void write_roots(std::span<const double> in, double* out, std::size_t kept,
                        simd_level level = simd_level::avx512) noexcept {
#if defined(__x86_64__)
    switch (std::min(level, best_simd())) {
        case simd_level::avx512: return write_roots_avx512(in.data(), in.size(), out, kept);
        case simd_level::avx2: return write_roots_avx2(in.data(), in.size(), out, kept);
        case simd_level::baseline: break;
    }
#else
    static_cast<void>(level);
#endif
    write_roots_plain(in.data(), in.size(), out, kept);
}

}  // namespace pipeline_detail

/// Both passes on the calling thread. `out` has room for in.size() numbers and is not `in`; counts.kept of them are written.
inline root_counts clean_roots(std::span<const double> in, double* out, simd_level level = simd_level::avx512) noexcept {
    const root_counts counts = pipeline_detail::count_roots(in, level);
    pipeline_detail::write_roots(in, out, counts.kept, level);
    return counts;
}

}  // namespace tenfold
