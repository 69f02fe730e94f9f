// tenfold/par_stream.hpp: results that are too many for the cache, written past it.
//
// Why: an ordinary store first reads the cache line that it changes part of. For an output larger than the last-level cache that
// is a third transfer per item, and it drives out what is still wanted. Streaming stores write whole lines without reading them: faster
// beyond the cache, several times slower within. So they are used only where the whole output cannot be in the cache.
//
// Copy: par_stream.hpp and the headers that it includes. C++20. x86-64; elsewhere these are ordinary stores.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#if defined(__unix__)
#include <unistd.h>
#endif

#include "tenfold/par_source.hpp"

namespace tenfold::par_detail {

// Outputs above this do not fit in any cache of this machine.
inline std::size_t last_cache_bytes() noexcept {
#if defined(__unix__) && defined(_SC_LEVEL3_CACHE_SIZE)
    static const long known = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (known > 0) return static_cast<std::size_t>(known);
#endif
    return std::size_t{32} << 20;
}

template <class T>
inline constexpr bool can_stream =
#if defined(__SSE2__)
    std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8);
#else
    false;
#endif

template <class T>
void stream_copy(T* to, const T* from, std::size_t count) noexcept {
    std::size_t i = 0;
#if defined(__SSE2__)
    constexpr std::size_t wide = 16 / sizeof(T);
    for (; i < count && reinterpret_cast<std::uintptr_t>(to + i) % 16 != 0; ++i) to[i] = from[i];
    for (; i + wide <= count; i += wide)
        _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
#endif
    for (; i < count; ++i) to[i] = from[i];
}

// What `assigning` is (par_sinks.hpp), through a strip in the first-level cache.
template <class T>
struct streaming {
    T* out;
    template <class Batch>
    bool feed(const Batch& batch, place& at) {
        constexpr std::size_t strip_items = 512;
        std::array<T, strip_items> strip_of_results;
        const std::size_t n = batch.size();
        for (std::size_t begin = 0; begin < n; begin += strip_items) {
            const std::size_t end = std::min(n, begin + strip_items);
            each(batch, begin, end, at, [&](std::size_t j) { strip_of_results[j - begin] = static_cast<T>(batch.at(j)); });
            stream_copy(out + begin, strip_of_results.data(), end - begin);
        }
        out += n;
#if defined(__SSE2__)
        _mm_sfence();  // streaming stores are not ordered by what publishes the block afterwards
#endif
        return true;
    }
    void finish(place&) noexcept {}
};

}  // namespace tenfold::par_detail
