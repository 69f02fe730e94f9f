// What the C++ tests of this lesson share: every instruction set, awkward numbers, comparison by bits.
#pragma once

#include <catch2/catch_test_macros.hpp>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "tenfold/span_simd.hpp"
#include "tenfold_testing.hpp"

namespace zero_copy_testing {

namespace zc = tenfold::zero_copy;
using tenfold_testing::thread_counts;

template <class T>
inline constexpr T nan_of = std::numeric_limits<T>::quiet_NaN();
template <class T>
inline constexpr T inf_of = std::numeric_limits<T>::infinity();

/// Runs test() once for each instruction set that this machine has.
template <class Test>
void at_each_level(const Test& test) {
    for (const zc::simd_level level : zc::simd_info().usable) {
        const zc::forced_level forced(level);
        INFO("instruction set " << zc::name(level));
        REQUIRE(zc::selected_level() == level);
        test();
    }
}

/// The same bits; one NaN is as good as another.
template <class T>
bool same(T a, T b) {
    using bits = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
    return (std::isnan(a) && std::isnan(b)) || std::bit_cast<bits>(a) == std::bit_cast<bits>(b);
}
template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (!same(a[i], b[i])) return false;
    return true;
}

template <class T>
std::vector<T> numbers(std::size_t n, unsigned seed) {
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<T> value(T(-4), T(4));
    std::vector<T> all(n);
    for (T& x : all) x = value(random);
    return all;
}

/// The same, with NaN, infinities, zeros of both signs, the least and the greatest among them.
template <class T>
std::vector<T> awkward(std::size_t n, unsigned seed) {
    std::vector<T> all = numbers<T>(n, seed);
    const T special[] = {nan_of<T>,
                         inf_of<T>,
                         -inf_of<T>,
                         T(0),
                         -T(0),
                         std::numeric_limits<T>::max(),
                         std::numeric_limits<T>::denorm_min(),
                         -std::numeric_limits<T>::max()};
    for (std::size_t i = seed % 5; i < n; i += 3 + seed % 4) all[i] = special[(i + seed) % 8];
    return all;
}

}  // namespace zero_copy_testing
