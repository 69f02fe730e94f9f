// tenfold/par_error.hpp: the error of the first item that failed, and integer arithmetic that fails instead of wrapping.
//
// Why: when several threads meet errors, which one is reported must not depend on who was quicker: it is the one with the lowest
// index, and it carries that index. The exception that the function threw is inside (std::nested_exception), unharmed.
//     try { tenfold::par(x) | tenfold::map(tenfold::checked_square) | tenfold::into(out); }
//     catch (const tenfold::par_error& e) { e.index(); e.rethrow_original(); }
//
// Copy: this file. C++20, GCC or Clang (__builtin_*_overflow).
#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <stdexcept>
#include <string>

namespace tenfold {

// Made while the original exception is being handled: std::nested_exception takes hold of it.
class par_error : public std::runtime_error, public std::nested_exception {
public:
    par_error(std::size_t index, const char* what)
        : std::runtime_error("item " + std::to_string(index) + ": " + what), index_(index) {}

    std::size_t index() const noexcept { return index_; }  // in the pipeline's source
    std::exception_ptr original() const noexcept { return nested_ptr(); }
    [[noreturn]] void rethrow_original() const { rethrow_nested(); }

private:
    std::size_t index_;
};

namespace par_detail {

[[noreturn, gnu::cold, gnu::noinline]] inline void overflow(const char* what) { throw std::overflow_error(what); }

}  // namespace par_detail

inline constexpr auto checked_add = []<std::integral T>(T a, T b) {
    T result;
    if (__builtin_add_overflow(a, b, &result)) par_detail::overflow("the sum does not fit its integer type");
    return result;
};
inline constexpr auto checked_sub = []<std::integral T>(T a, T b) {
    T result;
    if (__builtin_sub_overflow(a, b, &result)) par_detail::overflow("the difference does not fit its integer type");
    return result;
};
inline constexpr auto checked_mul = []<std::integral T>(T a, T b) {
    T result;
    if (__builtin_mul_overflow(a, b, &result)) par_detail::overflow("the product does not fit its integer type");
    return result;
};
inline constexpr auto checked_square = []<std::integral T>(T a) {
    T result;
    if (__builtin_mul_overflow(a, a, &result)) par_detail::overflow("the square does not fit its integer type");
    return result;
};

// Python's %: the result has the sign of m. m is not zero.
template <std::signed_integral T>
constexpr T floor_mod(T a, T m) {
    if (m == -1) return 0;  // the smallest number % -1 overflows
    const T rest = static_cast<T>(a % m);
    return static_cast<T>(rest + (rest != 0 && (rest ^ m) < 0 ? m : T{0}));
}

}  // namespace tenfold
