// tenfold/aggregate.hpp: mean, standard deviation, minimum, maximum and count of the finite numbers among many.
//
// Why: one NaN makes every one of these NaN, and "sum of squares minus square of the sum" cancels. Here blocks of 2048 numbers
// go through lesson 05's SIMD lanes (Welford and Chan; welford.hpp); a block whose mean comes out finite had no NaN and no
// infinity in it, the others are packed first. Blocks are merged in groups whose borders depend on the size alone: the same bits at
// every thread count.
// The squares of huge numbers overflow although their deviation does not, those of tiny ones vanish: then a second pass
// works on the numbers times a power of two, which is exact.
//
// Copy: this file, and welford.hpp, simd_level.hpp, atomic_team.hpp (lesson 05).   #include <tenfold/aggregate.hpp>
// C++20, GCC or Clang, -pthread
#pragma once

#include <tenfold/welford.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <vector>

namespace tenfold {

struct aggregate_result {
    double mean = 0.0, stddev = 0.0;  // of the population
    double min = std::numeric_limits<double>::infinity(), max = -std::numeric_limits<double>::infinity();
    std::uint64_t count = 0;  // of the finite numbers
};

namespace pipeline_detail {

inline moments finite_block(std::span<const double> values, double scale, simd_level level) noexcept {
    if (scale == 1.0) {
        const moments block = atomic_detail::run_simd(atomic_detail::moments_kernel{values.data(), values.size()}, level);
        if (std::isfinite(block.mean)) return block;
    }
    double packed[atomic_detail::moments_block];
    std::size_t size = 0;
    for (const double x : values) {
        packed[size] = x * scale;
        size += std::abs(x) <= std::numeric_limits<double>::max();
    }
    return size == 0 ? moments{} : atomic_detail::block_moments({packed, size}, level);
}

template <class Stop>
moments finite_moments(std::span<const double> values, int threads, double scale, simd_level level, Stop& stop) {
    constexpr std::size_t block = atomic_detail::moments_block, group = 32 * block;
    const std::size_t groups = (values.size() + group - 1) / group;
    const auto moments_of_group = [&](std::size_t index) {
        moments merged;
        const std::size_t end = std::min((index + 1) * group, values.size());
        for (std::size_t i = index * group; i < end; i += block)
            merged.merge(finite_block(values.subspan(i, std::min(block, end - i)), scale, level));
        return merged;
    };
    moments all;
    const auto team = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(threads), groups / 4));
    if (team <= 1) {  // starting a thread costs as much as some hundred thousand numbers
        for (std::size_t i = 0; i < groups; ++i) {
            if (i % 16 == 0 && stop()) throw stopped();
            all.merge(moments_of_group(i));
        }
        return all;
    }
    std::vector<moments> results(groups);
    std::atomic<std::size_t> next{0};
    atomic_detail::run_together(
        team,
        [&](int, const std::atomic<bool>& cancelled) {
            // Relaxed: fetch_add hands out each group once; the joins publish the results.
            for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < groups;) {
                if (cancelled.load(std::memory_order_relaxed)) return;
                results[i] = moments_of_group(i);
            }
        },
        stop);
    for (const moments& each : results) all.merge(each);
    return all;
}

}  // namespace pipeline_detail

template <class Stop = never_stop>
aggregate_result aggregate(std::span<const double> values, int threads = 1, Stop&& stop = {},
                           simd_level level = simd_level::avx512) {
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    const moments seen = pipeline_detail::finite_moments(values, threads, 1.0, level, stop);
    if (seen.count == 0) return {};
    moments exact = seen;
    double scale = 1.0;
    if (!std::isfinite(seen.m2)) scale = 0x1p-540;
    else if (seen.min < seen.max && seen.m2 < 0x1p-900) scale = 0x1p540;  // then all numbers are below 2^-396
    if (scale != 1.0) exact = pipeline_detail::finite_moments(values, threads, scale, level, stop);
    // Rounding may put the mean of equal numbers one step outside.
    const double mean = std::clamp(exact.mean / scale, seen.min, seen.max);
    return {mean, exact.stddev() / scale, seen.min, seen.max, seen.count};
}

}  // namespace tenfold
