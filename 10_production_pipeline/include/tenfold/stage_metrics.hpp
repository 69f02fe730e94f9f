// tenfold/stage_metrics.hpp: what a stage of a pipeline has done so far, counted by its threads at the price of plain stores and read
// by anybody at any time, never torn.
//
// Why: a dashboard that reads one counter before a batch and the next one after it shows a stage that gave out more than it
// took. Each thread of a stage writes cells of its own (lesson 05's single writer), a batch's figures all in one step under a
// sequence lock; a reader copies the cells and does it again if a step came in between. Threads' copies add up.
//
// Copy: this file, latency_histogram.hpp, and seqlock.hpp, atomic_team.hpp (lesson 05).   #include <tenfold/stage_metrics.hpp>
// C++20; link the platform's threads library (-pthread).
#pragma once

#include <tenfold/latency_histogram.hpp>
#include <tenfold/seqlock.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace tenfold {

struct stage_metrics {
    std::string name;
    // items_in == items_out + filtered + failed + dropped
    std::uint64_t items_in = 0, items_out = 0, filtered = 0, failed = 0, dropped = 0, batches = 0;
    double busy_seconds = 0.0, wait_seconds = 0.0;  // in the stage's own code; waiting for input and for room behind
    std::uint64_t queue_depth = 0, queue_peak = 0;  // batches in front of the stage, when it last took one; the most ever
    latency_histogram latency;  // per item: a batch's time divided by its items. At the sink: from the source to there

    void merge(const stage_metrics& other) {
        items_in += other.items_in;
        items_out += other.items_out;
        filtered += other.filtered;
        failed += other.failed;
        dropped += other.dropped;
        batches += other.batches;
        busy_seconds += other.busy_seconds;
        wait_seconds += other.wait_seconds;
        queue_depth += other.queue_depth;
        queue_peak = std::max(queue_peak, other.queue_peak);
        latency.merge(other.latency);
    }
};

namespace pipeline_detail {

// One batch, as its stage saw it.
struct batch_note {
    std::uint64_t items_in = 0, items_out = 0, filtered = 0, failed = 0, dropped = 0;
    std::uint64_t busy_ns = 0, wait_ns = 0, queue_depth = 0;
    std::uint64_t item_ns = 0;  // goes into the histogram, items_in times
};

// Written by one thread at a time.
class stage_cells {
public:
    void add(const batch_note& note) {
        version_.lock();  // no other writer: always at once
        bump(0, note.items_in);
        bump(1, note.items_out);
        bump(2, note.filtered);
        bump(3, note.failed);
        bump(4, note.dropped);
        bump(5, 1);
        bump(6, note.busy_ns);
        bump(7, note.wait_ns);
        set(8, note.queue_depth);
        set(9, std::max(note.queue_depth, get(9)));
        if (note.items_in != 0) {
            bump(10, note.item_ns * note.items_in);
            bump(first_bucket + latency_histogram::index_of(note.item_ns), note.items_in);
        }
        version_.unlock();
    }
    void clear() {
        version_.lock();
        for (std::size_t i = 0; i < words_.size(); ++i) set(i, 0);
        version_.unlock();
    }

    stage_metrics read() const {
        std::array<std::uint64_t, first_bucket + latency_histogram::buckets> copy;
        if (!try_copy(copy)) {
            atomic_detail::patience wait(version_);
            do wait();
            while (!try_copy(copy));
        }
        stage_metrics seen;
        seen.items_in = copy[0];
        seen.items_out = copy[1];
        seen.filtered = copy[2];
        seen.failed = copy[3];
        seen.dropped = copy[4];
        seen.batches = copy[5];
        seen.busy_seconds = static_cast<double>(copy[6]) * 1e-9;
        seen.wait_seconds = static_cast<double>(copy[7]) * 1e-9;
        seen.queue_depth = copy[8];
        seen.queue_peak = copy[9];
        seen.latency.add_sum(copy[10]);
        for (std::size_t i = 0; i < latency_histogram::buckets; ++i) seen.latency.add(i, copy[first_bucket + i]);
        return seen;
    }

private:
    static constexpr std::size_t first_bucket = 11;

    template <class Array>
    bool try_copy(Array& copy) const noexcept {
        const std::uint64_t seen = version_.current();
        if (seen & 1) return false;
        for (std::size_t i = 0; i < copy.size(); ++i) copy[i] = words_[i].load(atomic_detail::word_load);
        return version_.unchanged(seen);
    }
    // Relaxed load: this thread wrote it. The stores are ordered by the version; see atomic_detail::sequence.
    std::uint64_t get(std::size_t i) const noexcept { return words_[i].load(std::memory_order_relaxed); }
    void set(std::size_t i, std::uint64_t value) noexcept { words_[i].store(value, atomic_detail::word_store); }
    void bump(std::size_t i, std::uint64_t by) noexcept {
        if (by != 0) set(i, get(i) + by);
    }

    alignas(atomic_detail::line_bytes) atomic_detail::sequence version_;
    std::array<std::atomic<std::uint64_t>, first_bucket + latency_histogram::buckets> words_{};
};

}  // namespace pipeline_detail
}  // namespace tenfold
