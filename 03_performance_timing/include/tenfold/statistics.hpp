// statistics.hpp - what to do with a handful of noisy timings: robust location and spread, outliers, an honest
// interval, and two tests that assume no bell curve.
//
// Why: timings are skewed (they can only be too long), so the mean follows the worst disturbance and the standard
// deviation is about nothing. Median and MAD ignore up to half of the sample; the bootstrap gives an interval without
// a model; Cliff's delta and Mann-Whitney compare two samples by order alone.
//
//     double m = tenfold::median(seconds);
//     tenfold::interval ci = tenfold::bootstrap_median(seconds);      // 95 %
//
// Copy: this file.   #include <tenfold/statistics.hpp>   C++20, no library, no flag.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
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

namespace detail {

/// Refuses what has no order: one NaN would make every comparison below meaningless.
inline void check_sample(std::span<const double> values, std::size_t least = 1) {
    if (values.size() < least) throw std::invalid_argument("a sample must not be empty");
    for (std::size_t i = 0; i < values.size(); ++i)
        if (std::isnan(values[i])) throw std::invalid_argument("item " + std::to_string(i) + " of a sample is NaN");
}

/// The middle of two without overflow; equal infinities stay what they are.
inline double middle(double low, double high) { return low == high ? low : low * 0.5 + high * 0.5; }

/// Reorders `values`.
inline double median_of(std::vector<double>& values) {
    const auto half = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), half, values.end());
    if (values.size() % 2 != 0) return *half;
    return middle(*std::max_element(values.begin(), half), *half);
}

}  // namespace detail

/// The middle value; of an even number of values the mean of the middle two.
inline double median(std::span<const double> values) {
    detail::check_sample(values);
    std::vector<double> copy(values.begin(), values.end());
    return detail::median_of(copy);
}

/// Median absolute deviation from the median, as it is (times 1.4826 it estimates a normal standard deviation).
inline double mad(std::span<const double> values) {
    const double centre = median(values);
    std::vector<double> distances;
    distances.reserve(values.size());
    for (const double value : values) distances.push_back(value == centre ? 0.0 : std::abs(value - centre));
    return detail::median_of(distances);
}

/// Indices of the values farther than `limit` x 1.4826 x MAD from the median. (When more than half of the values are
/// equal the MAD is 0, and every other value is one.)
inline std::vector<std::size_t> outliers(std::span<const double> values, double limit = 3.0) {
    if (!(limit >= 0.0)) throw std::invalid_argument("limit must be 0 or more, not " + std::to_string(limit));
    const double centre = median(values), reach = limit * 1.4826 * mad(values);
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < values.size(); ++i)
        if (values[i] != centre && std::abs(values[i] - centre) > reach) found.push_back(i);
    return found;
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers from the same seed on every machine.
class splitmix64 {
public:
    explicit splitmix64(std::uint64_t seed) : state_(seed) {}
    std::uint64_t operator()() {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    /// 0 .. n-1 for n < 2^32, by the high half of a product: the bias is below n / 2^32.
    std::size_t below(std::size_t n) { return static_cast<std::size_t>(((*this)() >> 32) * n >> 32); }

private:
    std::uint64_t state_;
};

struct interval {
    double low, high;
};

/// Percentile bootstrap of the median: the medians of `resamples` samples drawn with replacement, and of those the
/// values that cut off (1 - confidence) / 2 at each end. Deterministic in `seed`.
template <class Stop = never_stop>
interval bootstrap_median(std::span<const double> values, double confidence = 0.95, std::size_t resamples = 2000,
                          std::uint64_t seed = 1, Stop&& stop = {}) {
    detail::check_sample(values);
    if (!(confidence > 0.0 && confidence < 1.0))
        throw std::invalid_argument("confidence must be between 0 and 1, not " + std::to_string(confidence));
    if (resamples == 0) throw std::invalid_argument("resamples must be at least 1");
    splitmix64 random(seed);
    std::vector<double> medians(resamples), draw(values.size());
    for (double& result : medians) {
        if (stop()) throw stopped();
        for (double& value : draw) value = values[random.below(values.size())];
        result = detail::median_of(draw);
    }
    std::sort(medians.begin(), medians.end());
    const auto cut = static_cast<std::size_t>((1.0 - confidence) / 2.0 * static_cast<double>(resamples));
    const std::size_t skip = std::min(cut, (resamples - 1) / 2);
    return {medians[skip], medians[resamples - 1 - skip]};
}

/// How two samples lie to each other: `greater` of the pairs have a > b, `less` have a < b, the rest are ties.
struct pair_counts {
    double greater = 0, less = 0, ties = 0;
};

inline pair_counts compare_pairs(std::span<const double> a, std::span<const double> b) {
    detail::check_sample(a);
    detail::check_sample(b);
    std::vector<double> sorted(b.begin(), b.end());
    std::sort(sorted.begin(), sorted.end());
    pair_counts counts;
    for (const double value : a) {
        const auto [first, last] = std::equal_range(sorted.begin(), sorted.end(), value);
        counts.greater += static_cast<double>(first - sorted.begin());
        counts.ties += static_cast<double>(last - first);
        counts.less += static_cast<double>(sorted.end() - last);
    }
    return counts;
}

/// Cliff's delta, an effect size from -1 (every a is below every b) to 1 (above); 0: neither tends to be larger.
inline double cliffs_delta(std::span<const double> a, std::span<const double> b) {
    const pair_counts counts = compare_pairs(a, b);
    return (counts.greater - counts.less) / (counts.greater + counts.less + counts.ties);
}

struct mann_whitney_result {
    double u;        // pairs with a > b, ties counted half
    double p_value;  // two-sided
};

namespace detail {

/// P(U <= u) for all orders of m + n different values being equally likely. The number of orders with a given U is
/// the number of partitions of U into at most m parts of at most n each: built up one part size at a time, as
/// probabilities, since the counts themselves outgrow a double's exact range.
inline double exact_lower_tail(std::size_t m, std::size_t n, double u) {
    const std::size_t most = m * n;
    // f(i, j): distribution of U for i and j values; the largest value is an `a` (adds j) or a `b` (adds nothing)
    std::vector<std::vector<double>> row(n + 1, std::vector<double>(1, 1.0));
    for (std::size_t i = 1; i <= m; ++i) {
        std::vector<std::vector<double>> next(n + 1);
        next[0] = {1.0};
        for (std::size_t j = 1; j <= n; ++j) {
            std::vector<double> f(i * j + 1, 0.0);
            const double share = static_cast<double>(i) / static_cast<double>(i + j);
            for (std::size_t k = 0; k < row[j].size(); ++k) f[k + j] += share * row[j][k];
            for (std::size_t k = 0; k < next[j - 1].size(); ++k) f[k] += (1.0 - share) * next[j - 1][k];
            next[j] = std::move(f);
        }
        row = std::move(next);
    }
    double tail = 0.0;
    for (std::size_t k = 0; k <= most && static_cast<double>(k) <= u; ++k) tail += row[n][k];
    return tail;
}

}  // namespace detail

/// Mann-Whitney U test (Wilcoxon rank-sum), two-sided. Exact for up to 25 values a side without ties; otherwise the
/// normal approximation with tie and continuity corrections.
inline mann_whitney_result mann_whitney(std::span<const double> a, std::span<const double> b) {
    const pair_counts counts = compare_pairs(a, b);
    const double u = counts.greater + counts.ties / 2.0;
    const auto m = static_cast<double>(a.size()), n = static_cast<double>(b.size()), total = m + n;

    std::vector<double> all(a.begin(), a.end());
    all.insert(all.end(), b.begin(), b.end());
    std::sort(all.begin(), all.end());
    double tied = 0.0;  // sum of t^3 - t over groups of t equal values
    for (auto from = all.begin(); from != all.end();) {
        const auto to = std::upper_bound(from, all.end(), *from);
        const auto t = static_cast<double>(to - from);
        tied += t * t * t - t;
        from = to;
    }
    const double smaller = std::min(u, m * n - u);
    if (tied == 0.0 && a.size() <= 25 && b.size() <= 25)
        return {u, std::min(1.0, 2.0 * detail::exact_lower_tail(a.size(), b.size(), smaller))};
    const double variance = m * n / 12.0 * (total + 1.0 - tied / (total * (total - 1.0)));
    if (variance <= 0.0) return {u, 1.0};  // all values are equal
    const double z = std::max(0.0, m * n / 2.0 - smaller - 0.5) / std::sqrt(variance);
    return {u, std::min(1.0, std::erfc(z / std::sqrt(2.0)))};
}

}  // namespace tenfold
