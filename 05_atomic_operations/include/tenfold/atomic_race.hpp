// tenfold/atomic_race.hpp: two measurements in one call each: an atomic against a mutex, and what false sharing costs.
//
// Why: both are claims that every machine should answer for itself. The threads leave a start line together, each does a fixed
// number of increments, the clock stops with the last one, the rounds of both sides alternate and the best of each counts:
// an interruption makes a round slower. One disturbance would make it faster, threads that share a core do not contend: so each is
// pinned to a core of its own (Linux), and a round in which one lost it is repeated. With more threads than cores that cannot be
// had; elsewhere leave the machine alone meanwhile, or call race_counter() round by round and take the median.
//
// Copy: this file, counters.hpp, single_writer.hpp and atomic_team.hpp.   #include <tenfold/atomic_race.hpp>   C++20; link the
// platform's threads library (-pthread).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "tenfold/counters.hpp"

namespace tenfold {

struct race_result {
    double atomic_seconds, mutex_seconds;
};

/// `increments` on each of `threads` threads: one seq_cst atomic against one mutex; the best of `rounds` of each, totals verified.
template <class Stop = never_stop>
race_result benchmark_atomic_vs_mutex(std::uint64_t increments, int threads, Stop stop = {}, int rounds = 5) {
    race_result best{std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
    for (int round = 0; round < std::max(rounds, 1); ++round) {
        best.atomic_seconds = std::min(best.atomic_seconds, race_counter(counter_kind::seq_cst, threads, increments, stop));
        best.mutex_seconds = std::min(best.mutex_seconds, race_counter(counter_kind::mutex, threads, increments, stop));
    }
    return best;
}

struct sharing_result {
    double packed_seconds, padded_seconds;
};

// rmw: fetch_add, a locked instruction. load_store: a plain addition by the cell's only writer, as in single_writer.hpp.
enum class sharing { rmw, load_store };

namespace atomic_detail {

template <class Stop>
team_time race_cells(std::size_t distance, int threads, std::uint64_t increments, sharing how, Stop& stop) {
    struct alignas(line_bytes) line {
        std::atomic<std::uint64_t> cells[line_bytes / sizeof(std::uint64_t)];
    };
    constexpr std::size_t per_line = line_bytes / sizeof(std::uint64_t);
    const std::size_t cells = static_cast<std::size_t>(threads) * distance;
    std::vector<line> lines(cells / per_line + 1);
    const auto cell_of = [&](std::size_t thread) -> std::atomic<std::uint64_t>& {
        return lines[thread * distance / per_line].cells[thread * distance % per_line];
    };
    const team_time time = measure_together(
        threads,
        [&](int thread, const std::atomic<bool>& cancelled) {
            auto& own = cell_of(static_cast<std::size_t>(thread));
            for (std::uint64_t left = increments; left != 0 && !cancelled.load(std::memory_order_relaxed);) {
                const std::uint64_t now = std::min<std::uint64_t>(left, 4096);
                // Relaxed: no two threads share a cell, and the joins publish the counts.
                if (how == sharing::rmw)
                    for (std::uint64_t i = 0; i < now; ++i) own.fetch_add(1, std::memory_order_relaxed);
                else
                    for (std::uint64_t i = 0; i < now; ++i)
                        own.store(own.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
                left -= now;
            }
        },
        stop, one_core_each);
    for (std::size_t thread = 0; thread < static_cast<std::size_t>(threads); ++thread)
        if (cell_of(thread).load(std::memory_order_relaxed) != increments) throw std::logic_error("a cell lost increments");
    return time;
}

}  // namespace atomic_detail

/// Every thread increments a cell of its own: cells side by side in one line against cells 128 bytes apart. No data is shared;
/// the difference is the line. Best of `rounds`.
template <class Stop = never_stop>
sharing_result measure_false_sharing(std::uint64_t increments, int threads, sharing how = sharing::load_store, Stop stop = {},
                                     int rounds = 3) {
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    constexpr std::size_t padded = atomic_detail::line_bytes / sizeof(std::uint64_t);
    const auto seconds = [&](std::size_t distance) {
        return atomic_detail::least_disturbed(
                   threads, [&] { return atomic_detail::race_cells(distance, threads, increments, how, stop); })
            .seconds;
    };
    sharing_result best{std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
    for (int round = 0; round < std::max(rounds, 1); ++round) {
        best.packed_seconds = std::min(best.packed_seconds, seconds(1));
        best.padded_seconds = std::min(best.padded_seconds, seconds(padded));
    }
    return best;
}

}  // namespace tenfold
