// tenfold/map.hpp: element-wise loops on all cores, with and without non-temporal stores.
//
// Why: a map reads and writes once and computes next to nothing, so it runs at the speed of memory. A plain store first reads
// the cache line it overwrites: one third of the traffic of a copy. Once the output is larger than the cache, a non-temporal
// store saves that read; while it still fits, the same store is slower, because the next reader finds nothing in the cache.
// stores::automatic decides by size.
//
// `out` may be an input itself, otherwise it must not overlap one. a*x + y is rounded twice, as written: compile with
// -ffp-contract=off (or CMAKE_CXX_EXTENSIONS OFF) or GCC fuses it where the machine can.
//
// Copy: map.hpp, parallel.hpp, simd.hpp, simd-targets-inl.hpp, arrays-inl.hpp, compress-inl.hpp. C++20, -fopenmp, Highway (-lhwy).
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>

#include "tenfold/parallel.hpp"
#include "tenfold/simd.hpp"

namespace tenfold {

enum class stores { automatic, plain, nontemporal };

namespace detail {

inline void square_one_chunk(const double* x, double* out, std::size_t n, bool stream) {
    TENFOLD_DISPATCH(square_kernel, x, out, n, stream);
}
inline void saxpy_one_chunk(double a, const double* x, const double* y, double* out, std::size_t n, bool stream) {
    TENFOLD_DISPATCH(saxpy_kernel, a, x, y, out, n, stream);
}

// Beyond this many bytes read and written, the output has left the cache before anyone reads it. A constant on purpose: what the
// system reports is the whole package's L3 (320 MB on a virtual machine with two cores), not the part that these cores share.
inline constexpr std::size_t streaming_above = std::size_t{32} << 20;

inline bool use_streaming(stores how, std::size_t bytes_touched, bool in_place) {
    if (how == stores::automatic) return !in_place && bytes_touched > streaming_above;
    return how == stores::nontemporal;
}

inline constexpr std::size_t map_chunk = 16 * 1024;
inline constexpr std::size_t map_inline_below = 16 * 1024;

}  // namespace detail

// out[i] = x[i] * x[i]
template <class Stop = never_stop>
void parallel_square(std::span<const double> x, std::span<double> out, int threads, Stop&& stop = {},
                     stores how = stores::automatic) {
    if (out.size() != x.size()) throw std::invalid_argument("out must have as many items as x");
    const bool stream = detail::use_streaming(how, 2 * x.size_bytes(), out.data() == x.data());
    parallel_chunks(x.size(), detail::map_chunk, threads,
                    [&](std::size_t begin, std::size_t end) {
                        detail::square_one_chunk(x.data() + begin, out.data() + begin, end - begin, stream);
                    },
                    stop, {.how = schedule::static_, .inline_below = detail::map_inline_below});
}

// out[i] = a * x[i] + y[i]
template <class Stop = never_stop>
void parallel_saxpy(double a, std::span<const double> x, std::span<const double> y, std::span<double> out, int threads,
                    Stop&& stop = {}, stores how = stores::automatic) {
    if (y.size() != x.size()) throw std::invalid_argument("x and y must have as many items");
    if (out.size() != x.size()) throw std::invalid_argument("out must have as many items as x");
    const bool in_place = out.data() == x.data() || out.data() == y.data();
    const bool stream = detail::use_streaming(how, 3 * x.size_bytes(), in_place);
    parallel_chunks(x.size(), detail::map_chunk, threads,
                    [&](std::size_t begin, std::size_t end) {
                        detail::saxpy_one_chunk(a, x.data() + begin, y.data() + begin, out.data() + begin, end - begin, stream);
                    },
                    stop, {.how = schedule::static_, .inline_below = detail::map_inline_below});
}

}  // namespace tenfold
