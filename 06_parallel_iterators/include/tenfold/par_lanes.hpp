// tenfold/par_lanes.hpp: sixteen accumulators in place of one, for sums, minima and maxima.
//
// Why: with one accumulator every addition waits for the one before, and a compiler may not change that order for floating-point
// numbers. Here the order is part of the definition: the k-th item of a block goes to lane k mod 16, and lanes are merged
// pairwise. The sixteen chains do not wait for each other and run as vector instructions.
//
// A minimum that lets NaN through and knows -0.0 from 0.0 costs several instructions per item; here it costs one, and what it must
// know about NaN and zeros is collected beside it, as bits, and looked at when the last item is in.
//
// Copy: par_lanes.hpp and the headers that it includes. C++20, GCC or Clang (vector_size).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "tenfold/par_source.hpp"

namespace tenfold::par_detail {

inline constexpr std::size_t lanes = 16;

// Where nothing came before.
template <class T>
inline constexpr T smallest =
    std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
template <class T>
inline constexpr T largest =
    std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();

// What a lane does: add an item, merge with another lane. One vector instruction each, or three.
struct lane_sum {
    template <class T>
    static constexpr T start = T{};
    template <class T>
    [[gnu::always_inline]] static T add(T a, T x) {
        if constexpr (std::is_integral_v<T>) {
            using bits = std::make_unsigned_t<T>;  // signed numbers are added as unsigned ones: wrapping is defined there
            return static_cast<T>(static_cast<bits>(a) + static_cast<bits>(x));
        } else {
            return a + x;
        }
    }
    template <class T>
    static T merge(T a, T b) {
        return add(a, b);
    }
};
// 16 bytes of numbers as one value: every 64-bit processor has instructions for that. A selection between such values is one, while
// GCC leaves the same selection in a loop as a branch.
template <class T>
using vector_of __attribute__((vector_size(16))) = T;
template <class T>
using bits_of = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
template <class T>
[[gnu::always_inline]] inline bits_of<T> bits(T x) {
    return std::bit_cast<bits_of<T>>(x);
}

struct lane_min {
    template <class T>
    static constexpr T start = largest<T>;
    template <class T>
    [[gnu::always_inline]] static T add(T a, T x) {
        return x < a ? x : a;  // a NaN changes nothing here
    }
    template <class Vector>
    [[gnu::always_inline]] static void add_vector(Vector& a, const Vector& x) {
        a = x < a ? x : a;
    }
    template <class T>
    static T merge(T a, T b) {
        return add(a, b);
    }
};
struct lane_max {
    template <class T>
    static constexpr T start = smallest<T>;
    template <class T>
    [[gnu::always_inline]] static T add(T a, T x) {
        return x > a ? x : a;
    }
    template <class Vector>
    [[gnu::always_inline]] static void add_vector(Vector& a, const Vector& x) {
        a = x > a ? x : a;
    }
    template <class T>
    static T merge(T a, T b) {
        return add(a, b);
    }
};

// Marks are or-ed together.
struct lane_mark {
    template <class T>
    static constexpr T start = T{};
    template <class T>
    [[gnu::always_inline]] static T merge(T a, T b) {
        return std::bit_cast<T>(bits(a) | bits(b));
    }
};
// A NaN is what is above infinity when the sign is left out: the sum below then reaches the sign's bit.
struct mark_nan : lane_mark {
    template <class T>
    [[gnu::always_inline]] static T add(T a, T x) {
        constexpr auto magnitude = static_cast<bits_of<T>>(~bits_of<T>{0} >> 1);
        constexpr auto step =
            static_cast<bits_of<T>>(magnitude - std::bit_cast<bits_of<T>>(std::numeric_limits<T>::infinity()));
        return std::bit_cast<T>(bits(a) | ((bits(x) & magnitude) + step));
    }
    template <class T>
    static bool found(T mark) {
        return std::signbit(mark);
    }
};
// Adding 0.0 changes the bits of -0.0 and of no other number.
struct mark_minus_zero : lane_mark {
    template <class T>
    [[gnu::always_inline]] static T add(T a, T x) {
        return std::bit_cast<T>(bits(a) | (bits(x) ^ bits(x + T{0})));
    }
};
struct mark_plus_zero : lane_mark {
    template <class T>
    [[gnu::always_inline]] static T add(T a, T x) {
        return mark_minus_zero::add(a, -x);
    }
};

// The minimum (maximum) from what lane_min (lane_max) and the marks say.
template <class T>
T marked_min(T least, T nan, T minus_zero) {
    if (mark_nan::found(nan)) return std::numeric_limits<T>::quiet_NaN();
    return least == 0 && bits(minus_zero) != 0 ? -T{0} : least;
}
template <class T>
T marked_max(T most, T nan, T plus_zero) {
    if (mark_nan::found(nan)) return std::numeric_limits<T>::quiet_NaN();
    return most == 0 && bits(plus_zero) != 0 ? T{0} : most;
}

// One accumulator per lane for each operation. The k-th item of a block meets lane k mod 16, however batches are cut.
template <class T, class... Ops>
class lane_set {
public:
    using results = std::array<T, sizeof...(Ops)>;

    static constexpr results nothing{Ops::template start<T>...};

    lane_set() {
        for (std::size_t op = 0; op < sizeof...(Ops); ++op) sums_[op].fill(nothing[op]);
    }

    template <class Batch>
    void add(const Batch& batch, place& at) {
        const std::size_t n = batch.size();
        const std::size_t head = std::min(n, (lanes - next_) % lanes);
        each(batch, 0, head, at, [&](std::size_t j) { one(batch.at(j)); });
        const std::size_t full = head + (n - head) / lanes * lanes;
        auto sums = sums_;  // a copy that nobody else can see stays in registers
        std::size_t j = head;
        try {
            if constexpr (sizeof...(Ops) <= 3 && !requires { Batch::wants_long_loops; }) {
                for (; j < full;) {
                    std::array<T, lanes> row;
                    for (std::size_t lane = 0; lane < lanes; ++lane, ++j) row[lane] = static_cast<T>(batch.at(j));
                    apply(sums, row.data(), 1, std::index_sequence_for<Ops...>());
                }
            } else {  // several operations do not fit in the registers together: one after the other over a few rows
                constexpr std::size_t rows_at_once = 16;
                std::array<T, rows_at_once * lanes> some;
                while (j < full) {
                    const std::size_t begin = j, end = std::min(full, j + some.size());
                    for (; j < end; ++j) some[j - begin] = static_cast<T>(batch.at(j));
                    apply(sums, some.data(), (end - begin) / lanes, std::index_sequence_for<Ops...>());
                }
            }
        } catch (...) {
            at.note(batch.index(j));
            throw;
        }
        sums_ = sums;
        each(batch, full, n, at, [&](std::size_t k) { one(batch.at(k)); });
    }

    results total() const { return total(std::index_sequence_for<Ops...>()); }

private:
    using rows = std::array<std::array<T, lanes>, sizeof...(Ops)>;

    template <std::size_t... op>
    [[gnu::always_inline]] static inline void apply(rows& sums, const T* items, std::size_t count, std::index_sequence<op...>) {
        (apply_one<Ops>(sums[op], items, count), ...);
    }
    template <class Op>
    [[gnu::always_inline]] static inline void apply_one(std::array<T, lanes>& sums, const T* items, std::size_t count) {
        auto own = sums;
        for (const T* row = items; row != items + count * lanes; row += lanes) {
            if constexpr (std::is_floating_point_v<T> && requires(vector_of<T>& v) { Op::add_vector(v, v); }) {
                for (std::size_t lane = 0; lane < lanes; lane += 16 / sizeof(T)) {
                    vector_of<T> a, x;
                    std::memcpy(&a, &own[lane], sizeof a);
                    std::memcpy(&x, row + lane, sizeof x);
                    Op::add_vector(a, x);
                    std::memcpy(&own[lane], &a, sizeof a);
                }
            } else {
                for (std::size_t lane = 0; lane < lanes; ++lane) own[lane] = Op::add(own[lane], row[lane]);
            }
        }
        sums = own;
    }
    template <std::size_t... op>
    static void put(rows& sums, std::size_t lane, T value, std::index_sequence<op...>) {
        ((sums[op][lane] = Ops::add(sums[op][lane], value)), ...);
    }
    void one(T value) {
        put(sums_, next_, value, std::index_sequence_for<Ops...>());
        next_ = (next_ + 1) % lanes;
    }
    template <std::size_t... op>
    results total(std::index_sequence<op...>) const {
        return {pairwise<Ops>(sums_[op])...};
    }
    template <class Op>
    static T pairwise(std::array<T, lanes> sums) {
        for (std::size_t width = lanes / 2; width > 0; width /= 2)
            for (std::size_t lane = 0; lane < width; ++lane) sums[lane] = Op::merge(sums[lane], sums[lane + width]);
        return sums[0];
    }

    rows sums_;
    std::size_t next_ = 0;
};

}  // namespace tenfold::par_detail
