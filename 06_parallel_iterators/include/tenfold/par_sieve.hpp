// tenfold/par_sieve.hpp: filter | map | sum without a buffer, where that cannot be noticed.
//
// Why: a filter that puts what stays together (par_filter.hpp) writes and reads each item once more. A sum does not need that: what
// is dropped may take part as a zero, and the loop has neither a branch nor a store. But the functions after the filter must not
// see items that it drops: they could divide by zero, throw, count their calls. So they are given a blank, T{}, in their place, and
// only if the compiler has shown that the call with the blank is a constant expression: it has then no effect, throws nothing
// and is defined. That holds for most small lambdas that capture nothing; the others go through the buffer as before.
//
// Zeros are a waste where few items stay or a function is expensive. So both ways are timed now and then, on a strip of items each, and
// the quicker one goes on. Both add each item in the lane that its place says: the result has the same bits either way.
//
// Copy: par_sieve.hpp and the headers that it includes. C++20.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

#include "tenfold/par_source.hpp"

namespace tenfold::par_detail {

// What stands in for an item that was dropped, and how functions are given it and the items that stay.
template <class T, bool is_writable>
struct zero_blank {
    using passed = const T&;
    static constexpr T value{};
    static constexpr bool writable = is_writable;  // the items of the source may be written to: a function might want to
};
template <class F, class Blank>
struct mapped_blank {
    static constexpr auto value = std::invoke(F{}, static_cast<typename Blank::passed>(Blank::value));
    using passed = std::remove_const_t<decltype(value)>;
    static constexpr bool writable = false;
};

// Takes its argument by value or by const&: cannot write to it.
template <class Member>
inline constexpr bool takes_a_copy = false;
template <class C, class R, class A>
inline constexpr bool takes_a_copy<R (C::*)(A) const> = !std::is_reference_v<A> || std::is_const_v<std::remove_reference_t<A>>;
template <class C, class R, class A>
inline constexpr bool takes_a_copy<R (C::*)(A) const noexcept> = takes_a_copy<R (C::*)(A) const>;
template <class F, class T>
inline constexpr bool only_reads = [] {
    if constexpr (requires { &F::operator(); }) return takes_a_copy<decltype(&F::operator())>;
    else if constexpr (requires { &F::template operator()<T>; }) return takes_a_copy<decltype(&F::template operator()<T>)>;
    else return false;
}();

// F called with the blank is a constant expression, and its result a number.
template <class F, class Blank>
concept blankable = std::is_empty_v<F> && std::is_default_constructible_v<F> &&
                    (!Blank::writable || only_reads<F, std::remove_cvref_t<typename Blank::passed>>) &&
                    std::is_arithmetic_v<std::invoke_result_t<const F&, typename Blank::passed>> && requires {
                        typename std::bool_constant<(
                            static_cast<void>(std::invoke(F{}, static_cast<typename Blank::passed>(Blank::value))), true)>;
                    };

// Whether what comes after a filter can be fed a sieve: feed_sieve() in place of feed().
template <class Local, class Blank>
concept takes_sieve = requires { requires Local::template sieves<Blank>; };

// x if it stays, else zero. For whole numbers GCC makes vector instructions of a mask, for floats of a selection, with
// -fno-trapping-math (else it has to keep the comparison from setting a flag that nobody reads, and makes a branch).
template <class T>
[[gnu::always_inline]] inline T or_zero(T x, bool stays) {
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
        using bits = std::make_unsigned_t<T>;
        return static_cast<T>(static_cast<bits>(static_cast<bits>(x) & static_cast<bits>(-static_cast<bits>(stays))));
    } else {
        return stays ? x : T{};
    }
}

// A batch with a test on it. item(j) and test(item), each called once per item; rest(item): what the functions after the filter make
// of it, called for items that stay and for the blank.
template <class T, class Batch, class F>
struct sieve {
    using first = T;
    const Batch& from;
    held<F> wanted;
    std::size_t size() const noexcept { return from.size(); }
    T item(std::size_t j) const { return from.at(j); }
    bool test(const T& x) const { return static_cast<bool>(std::invoke(wanted, x)); }
    const T& rest(const T& x) const noexcept { return x; }
    std::size_t index(std::size_t j) const noexcept { return from.index(j); }
};
template <class Sieve, class F, class Blank>
struct mapped_sieve {
    using first = typename Sieve::first;
    Sieve from;
    F function;
    std::size_t size() const noexcept { return from.size(); }
    first item(std::size_t j) const { return from.item(j); }
    bool test(const first& x) const { return from.test(x); }
    auto rest(const first& x) const { return std::invoke(function, static_cast<typename Blank::passed>(from.rest(x))); }
    std::size_t index(std::size_t j) const noexcept { return from.index(j); }
};

// Items of a sieve from `begin` on, zeros where they are dropped. A test becomes vector instructions only in a loop that the compiler
// does not unroll first.
template <class T, class Sieve>
struct zeroed_batch {
    static constexpr bool wants_long_loops = true;
    const Sieve& from;
    std::size_t begin, count;
    std::size_t size() const noexcept { return count; }
    T at(std::size_t j) const {
        const auto x = from.item(begin + j);
        const bool stays = from.test(x);
        return or_zero(static_cast<T>(from.rest(or_zero(x, stays))), stays);
    }
    std::size_t index(std::size_t j) const noexcept { return from.index(begin + j); }
};

inline constexpr std::size_t sieve_strip = 512;

// Which way the blocks of one run go: relaxed, for it changes how fast they are and nothing else.
enum class sieve_way { untried, zeros, buffer };
using sieve_choice = std::atomic<sieve_way>;

// Feeds a sieve to a set of lanes.
template <class T, class Lanes, class Sieve>
void add_sieve(Lanes& into, const Sieve& from, sieve_choice& choice, bool try_now, place& at) {
    using clock = std::chrono::steady_clock;
    // The items of [begin, end) that stay. Errors in the order of a loop: one of rest() comes before one of the test further on.
    const auto buffered = [&](std::size_t begin, std::size_t end) {
        using first = typename Sieve::first;
        std::array<first, sieve_strip> items, kept;
        std::array<std::uint16_t, sieve_strip> places;
        std::array<T, sieve_strip> results, spread;
        std::size_t ready = 0, tested = 0, count = 0, done = 0;
        std::exception_ptr error;
        try {
            for (; ready < end - begin; ++ready) items[ready] = from.item(begin + ready);
        } catch (...) {
            error = std::current_exception();
        }
        try {
            for (; tested < ready; ++tested) {
                kept[count] = items[tested];
                places[count] = static_cast<std::uint16_t>(tested);
                count += from.test(std::as_const(items[tested])) ? 1 : 0;
            }
        } catch (...) {
            error = std::current_exception();
        }
        try {
            for (; done < count; ++done) results[done] = static_cast<T>(from.rest(std::as_const(kept[done])));
        } catch (...) {
            at.note(from.index(begin + places[done]));
            throw;
        }
        if (error) {
            at.note(from.index(begin + tested));
            std::rethrow_exception(error);
        }
        spread.fill(T{});
        for (std::size_t i = 0; i < count; ++i) spread[places[i]] = results[i];
        into.add(slice<const T*>{spread.data(), 0, end - begin}, at);
    };
    const std::size_t n = from.size();
    std::size_t j = 0;
    const auto with_zeros = [&](std::size_t end) {
        into.add(zeroed_batch<T, Sieve>{from, j, end - j}, at);
        j = end;
    };
    const std::size_t some = std::min(n / 2, sieve_strip);
    sieve_way way = choice.load(std::memory_order_relaxed);
    if ((try_now || way == sieve_way::untried) && some >= sieve_strip / 4) {
        const auto start = clock::now();
        with_zeros(some);
        const auto between = clock::now();
        buffered(some, 2 * some);
        j = 2 * some;
        way = between - start < clock::now() - between ? sieve_way::zeros : sieve_way::buffer;
        choice.store(way, std::memory_order_relaxed);
    }
    if (way == sieve_way::zeros) return with_zeros(n);
    for (; j < n; j = std::min(n, j + sieve_strip)) buffered(j, std::min(n, j + sieve_strip));
}

}  // namespace tenfold::par_detail
