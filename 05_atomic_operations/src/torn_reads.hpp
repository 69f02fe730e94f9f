// torn_reads.hpp - an experiment for the page: one thread writes eight words that belong together, another reads them, with a
// seqlock and without. Each word is an atomic in either case: that a word is whole says nothing about the eight.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tenfold/atomic_team.hpp"
#include "tenfold/seqlock.hpp"

namespace tenfold {

struct torn_result {
    std::uint64_t reads = 0;    // while the writer was writing
    std::uint64_t torn = 0;     // of them: words of more than one write
    std::uint64_t retries = 0;  // the seqlock's: reads that met the writer and were thrown away
};

template <class Stop = never_stop>
torn_result count_torn_reads(bool guarded, std::uint64_t writes, Stop stop = {}) {
    using words = std::array<std::uint64_t, 8>;
    seqlock<words> lock;
    std::array<std::atomic<std::uint64_t>, 8> plain{};
    std::atomic<bool> writing{true};
    torn_result result;
    const auto write = [&](std::uint64_t number) {
        words next;
        next.fill(number);
        if (guarded) return lock.store(next);
        for (std::size_t i = 0; i < next.size(); ++i) plain[i].store(next[i], std::memory_order_relaxed);
    };
    const auto read = [&](words& copy) {
        if (guarded) return lock.try_load(copy);
        for (std::size_t i = 0; i < copy.size(); ++i) copy[i] = plain[i].load(std::memory_order_relaxed);
        return true;
    };
    atomic_detail::run_together(
        2,
        [&](int thread, const std::atomic<bool>& cancelled) {
            if (thread == 0) {
                for (std::uint64_t i = 1; i <= writes && !cancelled.load(std::memory_order_relaxed); ++i) {
                    write(i);
                    for (int pause = 0; pause < 8; ++pause)
                        atomic_detail::pause_cpu();  // or the reader never meets a quiet moment
                }
                writing.store(false, std::memory_order_relaxed);
                return;
            }
            words copy{};
            while (writing.load(std::memory_order_relaxed)) {
                if (!read(copy)) {
                    ++result.retries;
                    continue;
                }
                ++result.reads;
                result.torn += std::count(copy.begin(), copy.end(), copy[0]) != 8;
            }
        },
        stop);
    return result;
}

}  // namespace tenfold
