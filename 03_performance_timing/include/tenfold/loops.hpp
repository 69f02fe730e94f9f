// loops.hpp - thirteen loops that everybody writes in Python first, with the same answers to the last bit.
//
// Why: they show what compiling alone buys, before any thread and any trick. Additions happen in the order in which
// the Python loop does them, so the results can be compared with ==. Where outputs do not depend on each other
// (convolve1d, moving_average, the scalings) the compiler computes several at once, which changes no bit.
//
//     double d = tenfold::dot_product(a, b);
//
// Copy: this file.   #include <tenfold/loops.hpp>   C++20, no library. Where the target has fused multiply-add (ARM, or
// x86 with -mfma), compile with -ffp-contract=off: a fused a*b+c rounds once and gives other bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

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

using floats = std::span<const double>;
using tokens = std::span<const std::int64_t>;
using token_pair = std::pair<std::int64_t, std::int64_t>;

namespace detail {

/// Calls body(begin, end) over [0, n) in order, asking `stop` between blocks.
template <class Body, class Stop>
void in_blocks(std::size_t n, std::size_t block, Stop& stop, Body body) {
    for (std::size_t begin = 0; begin < n; begin += block) {
        if (stop()) throw stopped();
        body(begin, std::min(n, begin + block));
    }
}

inline constexpr std::size_t block = std::size_t{1} << 19;

template <class Stop, class Term>
double ordered_sum(std::size_t n, Stop& stop, Term term) {
    double total = 0.0;
    in_blocks(n, block, stop, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) total += term(i);
    });
    return total;
}

/// out[i] = value(i); `out` may be what value reads, at i only.
template <class Stop, class Value>
void each(std::span<double> out, Stop& stop, Value value) {
    in_blocks(out.size(), block, stop, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) out[i] = value(i);
    });
}

inline void same_length(std::size_t a, std::size_t b) {
    if (a != b)
        throw std::invalid_argument("a and b must have the same length, not " + std::to_string(a) + " and " +
                                    std::to_string(b));
}

/// out[i] = sum over k of weight(k) * from[i + k], k ascending from 0.0: many i at once, each in the order of the plain loop.
template <bool Weighted, class Stop>
void slide(floats from, std::span<double> out, std::size_t width, const double* weights_backwards, Stop& stop) {
    constexpr std::size_t outputs = 512, steps = 4096;
    in_blocks(out.size(), outputs, stop, [&](std::size_t begin, std::size_t end) {
        double sums[outputs] = {};
        for (std::size_t k0 = 0; k0 < width; k0 += steps) {
            if (k0 != 0 && stop()) throw stopped();
            for (std::size_t k = k0; k < std::min(width, k0 + steps); ++k) {
                const double* const at = from.data() + begin + k;
                if constexpr (Weighted) {
                    const double weight = weights_backwards[-static_cast<std::ptrdiff_t>(k)];
                    for (std::size_t i = 0; i < end - begin; ++i) sums[i] += at[i] * weight;
                } else {
                    for (std::size_t i = 0; i < end - begin; ++i) sums[i] += at[i];
                }
            }
        }
        std::copy(sums, sums + (end - begin), out.begin() + static_cast<std::ptrdiff_t>(begin));
    });
}

/// Counts by pair of tokens in the order of their first appearance: open addressing, half full at most.
class pair_table {
public:
    pair_table() : slots_(64, empty) {}

    void add(token_pair pair) {
        std::size_t at = slot_of(pair);
        for (; slots_[at] != empty; at = (at + 1) & (slots_.size() - 1))
            if (entries_[slots_[at]].first == pair) {
                ++entries_[slots_[at]].second;
                return;
            }
        slots_[at] = entries_.size();
        entries_.emplace_back(pair, 1);
        if (entries_.size() * 2 > slots_.size()) grow();
    }
    std::vector<std::pair<token_pair, std::int64_t>> take() { return std::move(entries_); }

private:
    static constexpr std::size_t empty = std::numeric_limits<std::size_t>::max();

    std::size_t slot_of(token_pair pair) const {
        std::uint64_t h = static_cast<std::uint64_t>(pair.first) * 0x9e3779b97f4a7c15u;
        h = (h ^ (h >> 32) ^ static_cast<std::uint64_t>(pair.second)) * 0xbf58476d1ce4e5b9u;
        h = (h ^ (h >> 29)) * 0x94d049bb133111ebu;
        return static_cast<std::size_t>(h ^ (h >> 32)) & (slots_.size() - 1);
    }
    void grow() {
        slots_.assign(slots_.size() * 2, empty);
        for (std::size_t entry = 0; entry < entries_.size(); ++entry) {
            std::size_t at = slot_of(entries_[entry].first);
            while (slots_[at] != empty) at = (at + 1) & (slots_.size() - 1);
            slots_[at] = entry;
        }
    }

    std::vector<std::size_t> slots_;  // indices into entries_
    std::vector<std::pair<token_pair, std::int64_t>> entries_;
};

}  // namespace detail

// ---- two vectors to one number

template <class Stop = never_stop>
double dot_product(floats a, floats b, Stop&& stop = {}) {
    detail::same_length(a.size(), b.size());
    return detail::ordered_sum(a.size(), stop, [&](std::size_t i) { return a[i] * b[i]; });
}

/// Distance of two points.
template <class Stop = never_stop>
double euclidean(floats a, floats b, Stop&& stop = {}) {
    detail::same_length(a.size(), b.size());
    return std::sqrt(detail::ordered_sum(a.size(), stop, [&](std::size_t i) { return (a[i] - b[i]) * (a[i] - b[i]); }));
}

// ---- as many numbers as there were; `out` has their size and may be the input itself

/// 0..255 to 0..1.
template <class Stop = never_stop>
void normalize_pixels(floats pixels, std::span<double> out, Stop&& stop = {}) {
    detail::each(out, stop, [&](std::size_t i) { return pixels[i] / 255.0; });
}

template <class Stop = never_stop>
void cumsum(floats numbers, std::span<double> out, Stop&& stop = {}) {
    double total = 0.0;
    detail::each(out, stop, [&](std::size_t i) { return total += numbers[i]; });
}

/// Mean of the numbers so far.
template <class Stop = never_stop>
void running_mean(floats numbers, std::span<double> out, Stop&& stop = {}) {
    double total = 0.0;
    detail::each(out, stop, [&](std::size_t i) { return (total += numbers[i]) / static_cast<double>(i + 1); });
}

/// To mean 0 and (population) standard deviation 1; numbers without deviation only lose their mean.
template <class Stop = never_stop>
void standard_scale(floats numbers, std::span<double> out, Stop&& stop = {}) {
    if (numbers.empty()) return;
    const auto n = static_cast<double>(numbers.size());
    const double mean = detail::ordered_sum(numbers.size(), stop, [&](std::size_t i) { return numbers[i]; }) / n;
    const double variance =
        detail::ordered_sum(numbers.size(), stop, [&](std::size_t i) { return (numbers[i] - mean) * (numbers[i] - mean); }) / n;
    const double deviation = variance == 0.0 ? 1.0 : std::sqrt(variance);
    detail::each(out, stop, [&](std::size_t i) { return (numbers[i] - mean) / deviation; });
}

/// To 0..1; equal numbers become 0. One NaN makes all of them NaN, as with NumPy.
template <class Stop = never_stop>
void min_max_scale(floats numbers, std::span<double> out, Stop&& stop = {}) {
    if (numbers.empty()) return;
    // Eight at a time: the least number does not depend on the order, but which of 0.0 and -0.0 stands for it does.
    constexpr std::size_t lanes = 8;
    double least[lanes], most[lanes], low = numbers[0], high = numbers[0];
    std::uint64_t unordered[lanes] = {};
    std::fill(least, least + lanes, low);
    std::fill(most, most + lanes, high);
    detail::in_blocks(numbers.size(), detail::block, stop, [&](std::size_t begin, std::size_t end) {
        const auto take = [&](std::size_t i, std::size_t k) {
            const double x = numbers[i];
            least[k] = x < least[k] ? x : least[k];
            most[k] = x > most[k] ? x : most[k];
            unordered[k] |= static_cast<std::uint64_t>(x != x);
        };
        std::size_t i = begin;
        for (; i + lanes <= end; i += lanes)
            for (std::size_t k = 0; k < lanes; ++k) take(i + k, k);
        for (; i < end; ++i) take(i, 0);
    });
    bool nan = false;
    for (std::size_t k = 0; k < lanes; ++k) {
        low = least[k] < low ? least[k] : low;
        high = most[k] > high ? most[k] : high;
        nan |= unordered[k] != 0;
    }
    if (low == 0.0 && !nan) low = *std::find(numbers.begin(), numbers.end(), 0.0);
    if (nan) low = std::numeric_limits<double>::quiet_NaN();
    const double extent = high == low ? 1.0 : high - low;
    detail::each(out, stop, [&](std::size_t i) { return (numbers[i] - low) / extent; });
}

/// To length 1; a zero vector stays.
template <class Stop = never_stop>
void l2_normalize(floats numbers, std::span<double> out, Stop&& stop = {}) {
    const double square = detail::ordered_sum(numbers.size(), stop, [&](std::size_t i) { return numbers[i] * numbers[i]; });
    const double length = square == 0.0 ? 1.0 : std::sqrt(square);
    detail::each(out, stop, [&](std::size_t i) { return numbers[i] / length; });
}

// ---- fewer numbers than there were; `out` must not overlap the input

/// Differences of neighbours, n - 1 of them.
template <class Stop = never_stop>
void diff(floats numbers, std::span<double> out, Stop&& stop = {}) {
    detail::each(out, stop, [&](std::size_t i) { return numbers[i + 1] - numbers[i]; });
}

/// The number of whole windows of `width` in n numbers; `what` and `of` name them in the error.
inline std::size_t windows(std::size_t n, std::size_t width, const char* what, const char* of) {
    if (width == 0 || width > n)
        throw std::invalid_argument(std::string(what) + " must be between 1 and the length of " + of + " (" +
                                    std::to_string(n) + "), not " + std::to_string(width));
    return n - width + 1;
}

/// Mean of each window of `window` numbers, each summed from its first to its last: no drift, and a NaN stays in its windows.
template <class Stop = never_stop>
void moving_average(floats numbers, std::size_t window, std::span<double> out, Stop&& stop = {}) {
    windows(numbers.size(), window, "window", "numbers");
    detail::slide<false>(numbers, out, window, nullptr, stop);
    const auto width = static_cast<double>(window);
    detail::each(out, stop, [&](std::size_t i) { return out[i] / width; });
}

/// Where the kernel lies wholly inside the signal; the kernel is flipped, as convolution is defined (NumPy's "valid").
template <class Stop = never_stop>
void convolve1d(floats signal, floats kernel, std::span<double> out, Stop&& stop = {}) {
    windows(signal.size(), kernel.size(), "the length of kernel", "signal");
    detail::slide<true>(signal, out, kernel.size(), kernel.data() + kernel.size() - 1, stop);
}

// ---- byte pair encoding (P. Gage, "A new algorithm for data compression", 1994; as in GPT-2's tokeniser)

/// How often each pair of neighbours occurs, in the order of first appearance.
template <class Stop = never_stop>
std::vector<std::pair<token_pair, std::int64_t>> count_pairs(tokens ids, Stop&& stop = {}) {
    detail::pair_table counts;
    detail::in_blocks(ids.empty() ? 0 : ids.size() - 1, std::size_t{1} << 15, stop, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) counts.add({ids[i], ids[i + 1]});
    });
    return counts.take();
}

/// Applies the merges in order: merge m replaces each of its pairs, left to right, by the token first_new + m.
/// `merges` is flat: left, right, left, right, ... Returns how many tokens remain at the front of `ids`.
template <class Stop = never_stop>
std::size_t bpe_encode(std::span<std::int64_t> ids, tokens merges, std::int64_t first_new, Stop&& stop = {}) {
    std::size_t size = ids.size();
    for (std::size_t m = 0; m + 1 < merges.size(); m += 2) {
        const std::int64_t left = merges[m], right = merges[m + 1], merged = first_new + static_cast<std::int64_t>(m / 2);
        std::size_t from = 0, to = 0;
        while (from < size) {
            if (from % 65536 < 2 && stop()) throw stopped();
            if (ids[from] == left && from + 1 < size && ids[from + 1] == right) {
                ids[to++] = merged;
                from += 2;
            } else {
                ids[to++] = ids[from++];
            }
        }
        size = to;
    }
    return size;
}

}  // namespace tenfold
