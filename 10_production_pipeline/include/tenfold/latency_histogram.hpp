// tenfold/latency_histogram.hpp: how long things took, as counts in buckets that grow with the time: eight per doubling.
//
// Why: a mean hides the one call in a thousand that takes a hundred times as long, and a list of all times grows for ever. Buckets
// of equal width are too coarse for microseconds or too many for minutes. Here a time is filed under its first four binary
// digits: exact below 16 ns, within 12.5 % up to 73 minutes, 2.5 KiB in all. Histograms add up bucket by bucket, so those of
// many threads merge into one without loss; a mean of percentiles would be wrong.
//
// Copy: this file.   #include <tenfold/latency_histogram.hpp>   C++20; no flags, no libraries.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace tenfold {

class latency_histogram {
public:
    static constexpr std::size_t buckets = 320;

    /// Where a time of that many nanoseconds is counted; 2^42 and more in the last one.
    static constexpr std::size_t index_of(std::uint64_t ns) noexcept {
        const int shift = std::max(static_cast<int>(std::bit_width(ns)) - 4, 0);
        return std::min(static_cast<std::size_t>(8 * shift) + static_cast<std::size_t>(ns >> shift), buckets - 1);
    }
    /// The smallest and the largest number of nanoseconds that is counted in the bucket.
    static constexpr std::uint64_t lowest_ns(std::size_t index) noexcept {
        return index < 8 ? index : static_cast<std::uint64_t>(index % 8 + 8) << (index / 8 - 1);
    }
    static constexpr std::uint64_t highest_ns(std::size_t index) noexcept {
        return index + 1 < buckets ? lowest_ns(index + 1) - 1 : std::numeric_limits<std::uint64_t>::max();
    }
    /// In seconds; infinity for the last.
    static constexpr double upper_bound(std::size_t index) noexcept {
        return index + 1 < buckets ? static_cast<double>(highest_ns(index)) * 1e-9 : std::numeric_limits<double>::infinity();
    }

    void record(std::uint64_t ns, std::uint64_t times = 1) noexcept {
        counts_[index_of(ns)] += times;
        sum_ns_ += ns * times;
    }
    /// What was counted elsewhere: `count` times in that bucket, and their sum.
    void add(std::size_t index, std::uint64_t count) noexcept { counts_[index] += count; }
    void add_sum(std::uint64_t ns) noexcept { sum_ns_ += ns; }

    void merge(const latency_histogram& other) noexcept {
        for (std::size_t i = 0; i < buckets; ++i) counts_[i] += other.counts_[i];
        sum_ns_ += other.sum_ns_;
    }

    std::uint64_t count() const noexcept {
        std::uint64_t all = 0;
        for (const std::uint64_t each : counts_) all += each;
        return all;
    }
    std::uint64_t bucket(std::size_t index) const noexcept { return counts_[index]; }
    double sum_seconds() const noexcept { return static_cast<double>(sum_ns_) * 1e-9; }
    double mean_seconds() const noexcept {
        const std::uint64_t n = count();
        return n == 0 ? 0.0 : sum_seconds() / static_cast<double>(n);
    }

    /// The time, in seconds, that the fraction q of all did not exceed: the middle of the bucket in which that one lies. 0 if empty.
    double quantile(double q) const noexcept {
        const std::uint64_t n = count();
        if (n == 0) return 0.0;
        const double wanted = std::clamp(q, 0.0, 1.0) * static_cast<double>(n);
        std::uint64_t before = 0;
        std::size_t last = 0;
        for (std::size_t i = 0; i < buckets; ++i) {
            if (counts_[i] == 0) continue;
            last = i;
            before += counts_[i];
            if (static_cast<double>(before) >= wanted) break;
        }
        const auto low = static_cast<double>(lowest_ns(last));
        return last + 1 < buckets ? (low + static_cast<double>(highest_ns(last))) / 2 * 1e-9 : low * 1e-9;
    }

    bool operator==(const latency_histogram&) const = default;

private:
    std::array<std::uint64_t, buckets> counts_{};
    std::uint64_t sum_ns_ = 0;
};

}  // namespace tenfold
