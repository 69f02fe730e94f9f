// tenfold/simd_width.hpp: the widest vectors that this CPU has, chosen when the program runs.
//
// Why: -march=native makes a program that crashes on the neighbour's machine; plain x86-64 has vectors of 16 bytes. A kernel
// written with the compilers' vector types takes its width as a template argument and is compiled for SSE2, AVX2 and AVX-512.
//
// A kernel is an object with   template <int Bytes> [[gnu::always_inline]] inline void run() const;   it must be inlined into the
// functions below, else it would be compiled for the baseline; so it calls nothing that is not inlined as well.
//
// Copy: this file.   #include <tenfold/simd_width.hpp>   C++20, GCC or Clang; no flags, no libraries.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace tenfold {

enum class vector_level { baseline, avx2, avx512 };

inline vector_level best_vector_level() noexcept {
#if defined(__x86_64__)
    static const vector_level best = __builtin_cpu_supports("avx512f") ? vector_level::avx512
                                     : __builtin_cpu_supports("avx2")  ? vector_level::avx2
                                                                       : vector_level::baseline;
    return best;
#else
    return vector_level::baseline;
#endif
}

namespace alloc_detail {

// Bytes / 8 doubles side by side.
template <int Bytes>
struct doubles {
    typedef double vector __attribute__((vector_size(Bytes)));
    static constexpr std::size_t size = Bytes / sizeof(double);
    [[gnu::always_inline]] static inline void load(vector& to, const double* from) noexcept { std::memcpy(&to, from, Bytes); }
    [[gnu::always_inline]] static inline void store(double* to, const vector& from) noexcept { std::memcpy(to, &from, Bytes); }
};

#if defined(__x86_64__)
template <class Kernel>
__attribute__((target("avx512f"))) void run_avx512(const Kernel& kernel) {
    kernel.template run<64>();
}
template <class Kernel>
__attribute__((target("avx2"))) void run_avx2(const Kernel& kernel) {
    kernel.template run<32>();
}
#endif

// Runs the kernel at `level`, or at the best level below it that this CPU has.
template <class Kernel>
void run_vectors(const Kernel& kernel, [[maybe_unused]] vector_level level) {
#if defined(__x86_64__)
    switch (std::min(level, best_vector_level())) {
        case vector_level::avx512: return run_avx512(kernel);
        case vector_level::avx2: return run_avx2(kernel);
        case vector_level::baseline: break;
    }
#endif
    kernel.template run<16>();
}

}  // namespace alloc_detail
}  // namespace tenfold
