// tenfold/sliding_window.hpp: the sum of every window of `window` neighbours, without drift.
//
// Why: the textbook loop adds the value that comes in and subtracts the one that leaves. Each step rounds and nothing takes the
// error back: after a large value has passed through, what it swallowed is missing for good; after a NaN or an infinity every
// later sum is NaN. A difference of prefix sums has both faults too. Here a window's sum is made of its own values only:
// - up to 1,024 values: sums of 2, 4, 8, ... neighbours by doubling; the powers of two that make up the window are added. About
//   2 log2(window) vector additions per output, whatever the data;
// - longer windows: sums of 256 by doubling (rows of 256 columns), then for each column the two-stack window: a window of q rows is
//   the end of one block of q rows and the beginning of the next, both known as running sums. Three additions per output.
//
// Error: each value passes through at most d additions, d = 2 log2(window) or window / 256 + 20; so |sum - exact| <= d u / (1 - d u)
// times the sum of the window's |values|, u = 2^-53 (N. Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 4.2).
// Exact while no partial sum needs more than 53 bits: whole numbers below 2^53 in all. Sources of the parts: M. van Herk, Pattern
// Recognition Letters 13 (1992); J. Gil, M. Werman, IEEE PAMI 15 (1993), there for minima and maxima, which need no subtraction either.
// The order of additions depends on `window` and on the position alone: the same bits at every thread count and vector width.
//
// Copy: this file, chunk_team.hpp, simd_width.hpp, alloc_errors.hpp.   #include <tenfold/sliding_window.hpp>   C++20, GCC or
// Clang; link the platform's threads library (-pthread).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>

#include "tenfold/chunk_team.hpp"
#include "tenfold/simd_width.hpp"

namespace tenfold {
namespace alloc_detail {

inline constexpr std::size_t window_tile = 2048;  // outputs at once, so that a tile stays in the L1 or L2 cache
inline constexpr std::size_t longest_doubled = 1024;  // the longest window for doubling alone
inline constexpr std::size_t row_length = 256;  // longer ones: columns side by side
inline constexpr std::size_t windows_per_chunk = 16384;  // for one thread at a time

// to[i] = a[i] + b[i]; `to` may be a or b, and b may overlap what lies ahead of a.
struct add_arrays {
    const double *a, *b;
    double* to;
    std::size_t n;
    template <int Bytes>
    [[gnu::always_inline]] inline void run() const {
        using wide = doubles<Bytes>;
        typename wide::vector x, y;
        std::size_t i = 0;
        for (; i + wide::size <= n; i += wide::size) {
            wide::load(x, a + i);
            wide::load(y, b + i);
            x += y;
            wide::store(to + i, x);
        }
        for (; i < n; ++i) to[i] = a[i] + b[i];
    }
};

// out[i] = sum of values[i .. i + window), for i < count. `sums` has room for count + window.
struct doubled_windows {
    const double* values;
    std::size_t window;
    double* out;
    std::size_t count;
    double* sums;
    template <int Bytes>
    [[gnu::always_inline]] inline void run() const {
        const double* level = values;  // level[i] = the sum of `length` values from i
        std::size_t taken = 0;
        for (std::size_t length = 1; length <= window; length *= 2) {
            if (window & length) {
                if (taken == 0) std::copy_n(level, count, out);
                else add_arrays{out, level + taken, out, count}.run<Bytes>();
                taken += length;
            }
            if (2 * length > window) break;
            add_arrays{level, level + length, sums, count + window - 2 * length}.run<Bytes>();
            level = sums;
        }
    }
};

struct window_job {
    const double* data;
    std::size_t window;
    double* out;
    std::size_t outputs;
    vector_level level;

    void tile(std::size_t from, std::size_t of, double* to, std::size_t count, double* sums) const {
        run_vectors(doubled_windows{data + from, of, to, count, sums}, level);
    }
    void add(const double* a, const double* b, double* to, std::size_t n) const { run_vectors(add_arrays{a, b, to, n}, level); }

    static constexpr std::size_t short_scratch = window_tile + longest_doubled;
    void short_windows(std::size_t chunk, double* scratch) const {
        const std::size_t end = std::min(outputs, (chunk + 1) * windows_per_chunk);
        for (std::size_t i = chunk * windows_per_chunk; i < end; i += window_tile)
            tile(i, window, out + i, std::min(window_tile, end - i), scratch);
    }

    // A chunk of long windows: those that start in one block of q rows.
    std::size_t rows() const { return window / row_length; }
    std::size_t block() const { return rows() * row_length; }
    // Of the ends of a block, those that outputs need: whole tiles.
    std::size_t kept() const { return std::min(block(), (outputs + window_tile - 1) / window_tile * window_tile); }
    std::size_t long_scratch() const { return kept() + row_length + 2 * window_tile + short_scratch; }
    template <class Stop>
    void long_windows(std::size_t chunk, double* scratch, Stop&& stop) const {
        const std::size_t base = chunk * block(), count = std::min(block(), outputs - base), rest = window - block();
        double *ends = scratch, *begins = ends + kept(), *row_sums = begins + row_length, *rest_sums = row_sums + window_tile;
        double* sums = rest_sums + window_tile;

        // ends[a]: rows a to q - 1 of this block. Columns beyond the last output, which only a last chunk has, are not there.
        const std::size_t there = std::min(block(), outputs + window - base - row_length);
        const double* after = nullptr;  // the sums of the rows from the one that comes next
        for (std::size_t until = block(); until > 0;) {
            if (stop()) throw stopped();
            const std::size_t from = (until - 1) / window_tile * window_tile;
            const std::size_t known = std::min(until, there) - std::min(from, there);
            double* to = from < kept() ? ends + from : row_sums;
            if (known > 0) tile(base + from, row_length, to, known, sums);
            std::fill(to + known, to + (until - from), 0.0);
            for (double* row = to + (until - from); row > to; after = row) {
                row -= row_length;
                if (after) add(row, after, row, row_length);
            }
            if (from >= kept()) after = std::copy_n(after, row_length, begins) - row_length;  // the next tile goes there too
            until = from;
        }
        // begins: rows q to q + a - 1, which are the first rows of the next block.
        for (std::size_t i = 0; i < count; i += window_tile) {
            if (stop()) throw stopped();
            const std::size_t here = std::min(window_tile, count - i);
            if (rest > 0) tile(base + block() + i, rest, rest_sums, here, sums);
            const std::size_t first = std::max(i, row_length);  // the first output row takes none of the next block
            if (first < i + here) tile(base + block() + first - row_length, row_length, row_sums, i + here - first, sums);
            for (std::size_t at = i; at < i + here; at += row_length) {
                const std::size_t n = std::min(row_length, i + here - at);
                double* to = out + base + at;
                if (at == 0) {
                    std::copy_n(ends, n, to);
                } else {
                    const double* next = row_sums + (at - first);
                    if (at == row_length) std::copy_n(next, n, begins);
                    else add(next, begins, begins, n);
                    add(ends + at, begins, to, n);
                }
                if (rest > 0) add(to, rest_sums + (at - i), to, n);
            }
        }
    }
};

}  // namespace alloc_detail

/// out[i] = data[i] + ... + data[i + window - 1]. A NaN or infinity is in the windows that hold it and in no other.
/// std::invalid_argument("Invalid window size") unless 1 <= window <= data.size(). `out` has data.size() - window + 1 places
/// and must not overlap `data`.
template <class Stop = never_stop>
void sliding_window_sum(std::span<const double> data, std::size_t window, std::span<double> out, int threads, Stop&& stop = {},
                        vector_level level = best_vector_level()) {
    using namespace alloc_detail;
    if (window < 1 || window > data.size()) throw std::invalid_argument("Invalid window size");
    if (out.size() != data.size() - window + 1) throw std::invalid_argument("out must have one place for each window");
    if (std::less<>()(out.data(), data.data() + data.size()) && std::less<>()(data.data(), out.data() + out.size()))
        throw std::invalid_argument("out must not overlap data");
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");

    const window_job job{data.data(), window, out.data(), out.size(), level};
    const bool small = window <= longest_doubled;
    const std::size_t each = small ? windows_per_chunk : job.block(), chunks = (out.size() + each - 1) / each;
    const std::size_t scratch = small ? job.short_scratch : job.long_scratch();
    // Below a hundred thousand values starting a thread costs more than it saves.
    const auto team = data.size() < 100'000 ? 1 : std::min(chunks, static_cast<std::size_t>(threads));
    const auto memory = std::make_unique_for_overwrite<double[]>(scratch * team);
    // A chunk of long windows takes as long as its window is: so it can be stopped in between. Only the calling thread, which is
    // worker 0, may ask; relaxed: the others need to see it soon, not what came before it.
    std::atomic<bool> halted{false};
    const auto ask = [&] {
        if (stop()) halted.store(true, std::memory_order_relaxed);
        return halted.load(std::memory_order_relaxed);
    };
    run_chunks(
        chunks, static_cast<int>(team),
        [&](std::size_t chunk, int worker) {
            double* own = memory.get() + scratch * static_cast<std::size_t>(worker);
            if (small) job.short_windows(chunk, own);
            else job.long_windows(chunk, own, [&] { return worker == 0 ? ask() : halted.load(std::memory_order_relaxed); });
        },
        ask);
}

}  // namespace tenfold
