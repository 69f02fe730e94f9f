// tenfold/simd_level.hpp: the widest vectors this CPU has, chosen when the program runs, in one ordinary header.
//
// Why: -march=native makes a wheel that crashes on the neighbour's machine; plain x86-64 has vectors of 16 bytes. A kernel
// written with the compilers' vector types takes its width as a template argument and is compiled three times, for SSE2, AVX2
// and AVX-512 (function attribute `target`; no flag, no ifunc). Lesson 08 shows the bigger tool, Google Highway.
//
// A kernel is an object with   template <int Bytes> [[gnu::always_inline]] inline R run() const;   it must be inlined into
// the three functions below, else it would be compiled for the baseline; so it calls nothing that is not inlined as well.
//
// Copy: this file.   #include <tenfold/simd_level.hpp>   C++20, GCC or Clang; no flags, no libraries.
#pragma once

#include <algorithm>

namespace tenfold {

enum class simd_level { baseline, avx2, avx512 };

constexpr const char* name(simd_level level) noexcept {
    return level == simd_level::avx512 ? "avx512" : level == simd_level::avx2 ? "avx2" : "baseline";
}

inline simd_level best_simd() noexcept {
#if defined(__x86_64__)
    static const simd_level best = __builtin_cpu_supports("avx512f")                                 ? simd_level::avx512
                                   : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? simd_level::avx2
                                                                                                     : simd_level::baseline;
    return best;
#else
    return simd_level::baseline;
#endif
}

namespace atomic_detail {

// Bytes / sizeof(T) numbers of type T side by side.
template <class T, int Bytes>
struct vector_of {
    typedef T type __attribute__((vector_size(Bytes)));
    static constexpr int size = Bytes / static_cast<int>(sizeof(T));
};

#if defined(__x86_64__)
template <class Kernel>
__attribute__((target("avx512f"))) auto run_avx512(const Kernel& kernel) {
    return kernel.template run<64>();
}
template <class Kernel>
__attribute__((target("avx2,fma"))) auto run_avx2(const Kernel& kernel) {
    return kernel.template run<32>();
}
#endif

// Runs the kernel at `level`, or at the best level below it that this CPU has.
template <class Kernel>
auto run_simd(const Kernel& kernel, simd_level level) {
#if defined(__x86_64__)
    switch (std::min(level, best_simd())) {
        case simd_level::avx512: return run_avx512(kernel);
        case simd_level::avx2: return run_avx2(kernel);
        case simd_level::baseline: break;
    }
#else
    static_cast<void>(level);
#endif
    return kernel.template run<16>();
}

}  // namespace atomic_detail
}  // namespace tenfold
