// tenfold/alloc_poison.hpp: make the use of returned memory visible.
//
// Why: AddressSanitizer knows what malloc gave out and what free took back, and nothing of a pool in between: a block that is
// read after its return still belongs to the program, so nothing is reported. Two remedies:
// - built with ASan, a pool marks returned memory itself (__asan_poison_memory_region): the first read or write ends the program
//   with both stacks;
// - without it, a pool in debug mode fills returned blocks with 0xDD and looks at them before it hands them out again: a write in
//   between is found late, but it is found, in any build and from Python too. Reads are not.
//
// Copy: this file.   #include <tenfold/alloc_poison.hpp>   C++20; no flags, no libraries.
#pragma once

#include <cstddef>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#define TENFOLD_ALLOC_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TENFOLD_ALLOC_ASAN 1
#endif
#endif
#ifdef TENFOLD_ALLOC_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace tenfold {

#ifdef TENFOLD_ALLOC_ASAN
inline constexpr bool built_with_asan = true;
#else
inline constexpr bool built_with_asan = false;
#endif

namespace alloc_detail {

inline constexpr unsigned char poison_byte = 0xDD;

inline void forbid([[maybe_unused]] const void* memory, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef TENFOLD_ALLOC_ASAN
    __asan_poison_memory_region(memory, bytes);
#endif
}
inline void permit([[maybe_unused]] const void* memory, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef TENFOLD_ALLOC_ASAN
    __asan_unpoison_memory_region(memory, bytes);
#endif
}

inline void fill_poison(void* memory, std::size_t bytes) noexcept {
    if (bytes != 0) std::memset(memory, poison_byte, bytes);
}
inline bool still_poison(const void* memory, std::size_t bytes) noexcept {
    const auto* at = static_cast<const unsigned char*>(memory);
    return bytes == 0 || (at[0] == poison_byte && std::memcmp(at, at + 1, bytes - 1) == 0);
}

}  // namespace alloc_detail
}  // namespace tenfold
