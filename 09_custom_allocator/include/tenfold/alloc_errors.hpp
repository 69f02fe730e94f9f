// tenfold/alloc_errors.hpp: what the pools of this lesson refuse, each as an error of its own.
//
// Why: handing free() a pointer twice, or one that it never gave out, is undefined behaviour: the program goes on with a broken
// heap and fails somewhere else. A pool knows its own blocks, so it can say no at once, and say why. Memory that runs out is two
// different answers as well: the caller's own limit (a budget, a capacity) is not the machine's.
//
// Copy: this file.   #include <tenfold/alloc_errors.hpp>   C++20; no flags, no libraries.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <limits>
#include <new>
#include <stdexcept>

#ifndef TENFOLD_NEVER_STOP
#define TENFOLD_NEVER_STOP
namespace tenfold {

struct never_stop {
    bool operator()() const noexcept { return false; }
};

struct stopped : std::exception {
    const char* what() const noexcept override { return "stopped"; }
};

}  // namespace tenfold
#endif

namespace tenfold {

struct budget_exceeded : std::bad_alloc {
    const char* what() const noexcept override { return "the byte budget is used up"; }
};
struct pool_exhausted : std::bad_alloc {
    const char* what() const noexcept override { return "every block of the pool is in use"; }
};

struct bad_free : std::logic_error {
    using std::logic_error::logic_error;
};
struct double_free : bad_free {
    double_free() : bad_free("double free: this block was given back before") {}
};
struct foreign_free : bad_free {
    foreign_free() : bad_free("foreign free: this pointer is not the start of a block of this pool") {}
};
struct use_after_return : std::logic_error {
    use_after_return() : std::logic_error("use after return: a block was written after it had been given back") {}
};

/// Blocks that were never given back, and their bytes.
struct leak_report {
    std::size_t blocks = 0;
    std::size_t bytes = 0;
};
/// Called by a pool's destructor if something leaked. It must not throw.
using leak_handler = std::function<void(const leak_report&)>;

/// count * size, or std::bad_array_new_length: a product that wraps gives a small block for a large array.
inline std::size_t checked_product(std::size_t count, std::size_t size) {
    if (size != 0 && count > std::numeric_limits<std::size_t>::max() / 2 / size) throw std::bad_array_new_length();
    return count * size;
}

namespace alloc_detail {

inline std::size_t checked_alignment(std::size_t alignment) {
    if (alignment == 0 || (alignment & (alignment - 1)) != 0) throw std::invalid_argument("alignment must be a power of two");
    return alignment;
}

/// bytes rounded up to a multiple of a power of two; std::bad_array_new_length if that does not fit.
inline std::size_t rounded_up(std::size_t bytes, std::size_t multiple) {
    if (bytes > std::numeric_limits<std::size_t>::max() / 2 - multiple) throw std::bad_array_new_length();
    return (bytes + multiple - 1) & ~(multiple - 1);
}

}  // namespace alloc_detail
}  // namespace tenfold
