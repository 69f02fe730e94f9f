// tenfold/size_class.hpp: which block serves a request, by two shifts.
//
// Why: blocks of a few sizes can be reused for many requests. 16-byte steps up to 128, then four sizes to each doubling: at most
// a fifth of a block is unused above 128 bytes, and the class of a request is its highest bit and the two below it: no table,
// no search.
//
// Copy: this file.   #include <tenfold/size_class.hpp>   C++20; no flags, no libraries.
#pragma once

#include <bit>
#include <cstddef>

namespace tenfold {

/// The class whose blocks hold `bytes`; for any number of bytes, also above largest_class_bytes.
constexpr std::size_t size_class_of(std::size_t bytes) noexcept {
    if (bytes <= 128) return bytes == 0 ? 0 : (bytes - 1) >> 4;
    const auto highest = static_cast<std::size_t>(std::bit_width(bytes - 1)) - 1;
    return 8 + (highest - 7) * 4 + ((bytes - 1) >> (highest - 2) & 3);
}

constexpr std::size_t size_class_bytes(std::size_t index) noexcept {
    return index < 8 ? (index + 1) * 16 : (5 + (index - 8) % 4) << ((index - 8) / 4 + 5);
}

/// What sized_allocator serves from spans of many blocks; larger requests get memory of their own.
inline constexpr std::size_t largest_class_bytes = 32768;
inline constexpr std::size_t size_class_count = size_class_of(largest_class_bytes) + 1;

static_assert(size_class_bytes(size_class_count - 1) == largest_class_bytes);
static_assert(size_class_bytes(size_class_of(129)) == 160 && size_class_bytes(size_class_of(257)) == 320);

}  // namespace tenfold
