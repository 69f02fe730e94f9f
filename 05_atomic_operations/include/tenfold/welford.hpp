// tenfold/welford.hpp: mean and variance of many numbers in one pass: the textbook loop, and one that is over twelve times faster.
//
// Why: "sum of squares minus square of the sum" cancels: numbers around 1e9 that differ by 1 get a variance of noise, or below
// zero. Welford's update is stable, but each step waits for a division that waits for the step before. Independent partial
// results have no such chain, and Chan's formula merges them: so the numbers are cut into blocks of 2048 that stay in the L1
// cache, each block is read twice with SIMD (its mean, then the squares about that mean), and the blocks are merged.
//
// B. P. Welford, Technometrics 4 (1962); T. F. Chan, G. H. Golub, R. J. LeVeque, Stanford STAN-CS-79-773 (1979).
// NaN among the values makes mean, m2, min and max NaN. With infinities min, max and mean are what NumPy's are, and m2 is NaN.
// The same values give the same bits at every thread count; other CPUs (other vector widths, fused multiply-add) may differ in the last ones.
//
// Copy: this file, simd_level.hpp and atomic_team.hpp.   #include <tenfold/welford.hpp>   C++20, GCC or Clang; link the platform's
// threads library (-pthread).
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <vector>

#include "tenfold/atomic_team.hpp"
#include "tenfold/simd_level.hpp"

namespace tenfold {

struct moments {
    std::uint64_t count = 0;
    double mean = 0.0;
    double m2 = 0.0;  // sum of squared deviations from the mean
    double min = std::numeric_limits<double>::infinity();
    double max = -std::numeric_limits<double>::infinity();

    /// One more value: Welford's update.
    void add(double x) noexcept {
        const double delta = x - mean;
        if (!(std::abs(delta) <= std::numeric_limits<double>::max())) [[unlikely]]  // NaN, infinite, or too far apart
            return merge({1, x, x - x, x, x});
        ++count;
        mean += delta / static_cast<double>(count);
        m2 += delta * (x - mean);
        if (x < min) min = x;
        if (x > max) max = x;
    }

    /// All values of `other` too: Chan, Golub and LeVeque.
    void merge(const moments& other) noexcept {
        if (other.count == 0) return;
        if (count == 0) {
            *this = other;
            return;
        }
        const double n = static_cast<double>(count + other.count);
        const double here = static_cast<double>(count), there = static_cast<double>(other.count);
        const double delta = other.mean - mean;
        if (std::abs(delta) <= std::numeric_limits<double>::max()) {
            mean += delta * (there / n);
            m2 += other.m2 + delta * (delta * (here * (there / n)));
        } else if (std::isfinite(mean) && std::isfinite(other.mean)) {  // too far apart to subtract
            mean = mean * (here / n) + other.mean * (there / n);
            m2 = std::isnan(m2 + other.m2) ? m2 + other.m2 : std::numeric_limits<double>::infinity();
        } else {
            mean += other.mean;  // infinite, or NaN if they are opposite
            m2 = std::numeric_limits<double>::quiet_NaN();
        }
        if (other.min < min || std::isnan(other.min)) min = other.min;
        if (other.max > max || std::isnan(other.max)) max = other.max;
        count += other.count;
    }

    /// Of the population; NaN when empty.
    double variance() const noexcept {
        return count == 0 ? std::numeric_limits<double>::quiet_NaN() : m2 / static_cast<double>(count);
    }
    /// With count - 1; NaN below two values.
    double sample_variance() const noexcept {
        return count < 2 ? std::numeric_limits<double>::quiet_NaN() : m2 / static_cast<double>(count - 1);
    }
    double stddev() const noexcept { return std::sqrt(variance()); }
};

/// Welford's loop, value by value: the oracle, and what the other is measured against. `stop` is asked about every millisecond.
template <class Stop = never_stop>
moments welford(std::span<const double> values, Stop stop = {}) {
    const auto piece_at = [&](std::size_t begin) {  // the loops themselves ask nothing
        if (stop()) throw stopped();
        return values.subspan(begin, std::min(std::size_t{1} << 16, values.size() - begin));
    };
    double n = 0.0, mean = 0.0, m2 = 0.0;
    double min = std::numeric_limits<double>::infinity(), max = -min;
    for (std::size_t begin = 0; begin < values.size(); begin += std::size_t{1} << 16)
        for (const double x : piece_at(begin)) {
            const double delta = x - mean;
            n += 1.0;
            mean += delta / n;
            m2 += delta * (x - mean);
            if (x < min) min = x;
            if (x > max) max = x;
        }
    if (std::isfinite(mean)) return {values.size(), mean, m2, min, max};
    moments all;  // once infinite or NaN, the mean stays so: again, by the rules
    for (std::size_t begin = 0; begin < values.size(); begin += std::size_t{1} << 16)
        for (const double x : piece_at(begin)) all.add(x);
    return all;
}

namespace atomic_detail {

inline constexpr std::size_t moments_block = 2048;  // 16 KiB: half of the smallest L1 cache around

// One block; m2 NaN or an infinite mean send the caller to the slow way.
struct moments_kernel {
    const double* values;
    std::size_t size;  // >= 1

    template <int Bytes>
    [[gnu::always_inline]] inline moments run() const {
        using lanes = typename vector_of<double, Bytes>::type;
        constexpr std::size_t width = static_cast<std::size_t>(vector_of<double, Bytes>::size);
        const std::size_t whole = size - size % (4 * width);
        lanes a, b, c, d;

        lanes sum_a{}, sum_b{}, sum_c{}, sum_d{};
        lanes min_a = lanes{} + values[0], min_b = min_a, max_a = min_a, max_b = min_a;
        for (std::size_t i = 0; i < whole; i += 4 * width) {
            __builtin_memcpy(&a, values + i, Bytes);
            __builtin_memcpy(&b, values + i + width, Bytes);
            __builtin_memcpy(&c, values + i + 2 * width, Bytes);
            __builtin_memcpy(&d, values + i + 3 * width, Bytes);
            sum_a += a;
            sum_b += b;
            sum_c += c;
            sum_d += d;
            min_a = a < min_a ? a : min_a;
            max_a = a > max_a ? a : max_a;
            min_b = b < min_b ? b : min_b;
            max_b = b > max_b ? b : max_b;
            min_a = c < min_a ? c : min_a;
            max_a = c > max_a ? c : max_a;
            min_b = d < min_b ? d : min_b;
            max_b = d > max_b ? d : max_b;
        }
        moments block;
        block.count = size;
        sum_a = (sum_a + sum_b) + (sum_c + sum_d);
        double sum = 0.0;
        for (std::size_t lane = 0; lane < width; ++lane) {
            sum += sum_a[lane];
            block.min = std::min(block.min, min_a[lane] < min_b[lane] ? min_a[lane] : min_b[lane]);
            block.max = std::max(block.max, max_a[lane] > max_b[lane] ? max_a[lane] : max_b[lane]);
        }
        for (std::size_t i = whole; i < size; ++i) {
            sum += values[i];
            block.min = std::min(block.min, values[i]);
            block.max = std::max(block.max, values[i]);
        }
        block.mean = sum / static_cast<double>(size);

        const lanes mean = lanes{} + block.mean;
        lanes m2_a{}, m2_b{}, m2_c{}, m2_d{};
        for (std::size_t i = 0; i < whole; i += 4 * width) {
            __builtin_memcpy(&a, values + i, Bytes);
            __builtin_memcpy(&b, values + i + width, Bytes);
            __builtin_memcpy(&c, values + i + 2 * width, Bytes);
            __builtin_memcpy(&d, values + i + 3 * width, Bytes);
            a -= mean;
            b -= mean;
            c -= mean;
            d -= mean;
            m2_a += a * a;
            m2_b += b * b;
            m2_c += c * c;
            m2_d += d * d;
        }
        m2_a = (m2_a + m2_b) + (m2_c + m2_d);
        for (std::size_t lane = 0; lane < width; ++lane) block.m2 += m2_a[lane];
        for (std::size_t i = whole; i < size; ++i) block.m2 += (values[i] - block.mean) * (values[i] - block.mean);
        return block;
    }
};

// NaN and infinity by the rules, and finite values whose sum is not, by merging as Welford does.
inline moments block_moments(std::span<const double> values, simd_level level) noexcept {
    const moments block = run_simd(moments_kernel{values.data(), values.size()}, level);
    return std::isfinite(block.mean) ? block : welford(values);
}

template <class Stop>
moments moments_of(std::span<const double> values, int threads, simd_level level, Stop& stop) {
    // Blocks are merged in groups whose borders depend on nothing but the size, groups in order: the same bits for every team.
    constexpr std::size_t group = 32 * moments_block;
    const std::size_t groups = (values.size() + group - 1) / group;
    const auto group_moments = [&](std::size_t index) {
        const auto part = values.subspan(index * group, std::min(group, values.size() - index * group));
        moments merged;
        for (std::size_t i = 0; i < part.size(); i += moments_block)
            merged.merge(block_moments(part.subspan(i, std::min(moments_block, part.size() - i)), level));
        return merged;
    };
    moments all;
    const int team = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(threads), groups / 4));
    if (team <= 1) {  // starting a thread costs as much as some hundred thousand values
        for (std::size_t i = 0; i < groups; ++i) {
            if (i % 64 == 0 && stop()) throw stopped();
            all.merge(group_moments(i));
        }
        return all;
    }
    std::vector<moments> results(groups);
    std::atomic<std::size_t> next{0};
    run_together(
        team,
        [&](int, const std::atomic<bool>& cancelled) {
            // Relaxed: fetch_add hands out each group once; the joins publish the results.
            for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < groups;) {
                if (cancelled.load(std::memory_order_relaxed)) return;
                results[i] = group_moments(i);
            }
        },
        stop);
    for (const moments& each : results) all.merge(each);
    return all;
}

}  // namespace atomic_detail

/// The same results from blocks in SIMD lanes.
inline moments vector_moments(std::span<const double> values, simd_level level = simd_level::avx512) {
    never_stop stop;
    return atomic_detail::moments_of(values, 1, level, stop);
}

/// The same bits, from several threads.
template <class Stop = never_stop>
moments parallel_moments(std::span<const double> values, int threads, Stop stop = {}) {
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    return atomic_detail::moments_of(values, threads, simd_level::avx512, stop);
}

}  // namespace tenfold
