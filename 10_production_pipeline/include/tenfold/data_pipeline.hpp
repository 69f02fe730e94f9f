// tenfold/data_pipeline.hpp: numbers in, 2 * sqrt(x) of the usable ones out, in order, on workers and memory that are kept.
//
//     tenfold::data_pipeline pipeline(threads, batch_size);
//     auto [values, stats] = pipeline.process(numbers);      // NaN, inf -> failed; below zero -> filtered; the rest -> values
//
// A run cuts the numbers into batches for the workers of a pool (lesson 04): first they count what each batch keeps, then,
// when its place is known, write it there (clean_roots.hpp says why). process() hands out as many whole batches at a time as are
// worth a worker's attention; process_batched() exactly one. Answers, and the memory of the counts, are blocks that come back
// (lesson 09): once warm, a run allocates nothing and faults no page.
//
// Any number of threads may use one pipeline at once. In a forked child a run that needs the workers throws
// std::runtime_error: they are in the parent.
//
// Copy: this file, block_cache.hpp, clean_roots.hpp, and from the lessons before: thread_pool.hpp (04), seqlock.hpp and
// simd_level.hpp (05), channel_wait.hpp (07), buffer_pool.hpp (09), each with what it names.
// #include <tenfold/data_pipeline.hpp>   C++20, GCC or Clang, -pthread
#pragma once

#include <tenfold/block_cache.hpp>
#include <tenfold/clean_roots.hpp>
#include <tenfold/seqlock.hpp>
#include <tenfold/thread_pool.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <utility>

namespace tenfold {

struct pipeline_stats {
    std::uint64_t items_processed = 0, items_filtered = 0, items_failed = 0;
    double duration_secs = 0.0;  // > 0 after a run
};

/// Numbers in a block of the pipeline, which gets it back when this is destroyed, whenever and by whichever thread; also when the
/// pipeline is gone.
class result_block {
public:
    result_block() noexcept = default;
    result_block(buffer memory, std::size_t size) noexcept : memory_(std::move(memory)), size_(size) {}

    double* data() const noexcept { return reinterpret_cast<double*>(memory_.data()); }
    std::size_t size() const noexcept { return size_; }
    std::span<double> values() const noexcept { return {data(), size_}; }

private:
    buffer memory_;
    std::size_t size_ = 0;
};

class data_pipeline {
public:
    struct answer {
        result_block values;
        pipeline_stats stats;
    };

    data_pipeline(int thread_count, std::size_t batch_size)
        : batch_size_(batch_size != 0 ? batch_size : throw std::invalid_argument("batch_size must be >= 1")),
          workers_(thread_count) {}

    int thread_count() const noexcept { return workers_.size(); }
    std::size_t batch_size() const noexcept { return batch_size_; }

    /// Throws tenfold::stopped once stop(), asked on the calling thread, has said true.
    template <class Stop = never_stop>
    answer process(std::span<const double> data, Stop&& stop = {}) {
        // Whole batches, as few as make a chunk that takes a worker longer than being told about it.
        const std::size_t batches = worth_handing_out / batch_size_ + (worth_handing_out % batch_size_ != 0);
        return run(data, batches * batch_size_, stop);
    }
    template <class Stop = never_stop>
    answer process_batched(std::span<const double> data, Stop&& stop = {}) {
        return run(data, batch_size_, stop);
    }

    /// Of the run that has finished last; zeros before.
    pipeline_stats get_stats() const { return last_.load(); }

    /// An unused block of that many numbers, content unspecified: to read a list into.
    result_block scratch(std::size_t size) { return {memory_.acquire_for<double>(size), size}; }
    block_stats memory() const { return memory_.stats(); }
    void trim() { memory_.trim(); }

private:
    static constexpr std::size_t worth_handing_out = 8192;

    template <class Stop>
    answer run(std::span<const double> data, std::size_t chunk, Stop& stop) {
        const auto start = std::chrono::steady_clock::now();
        if (stop()) throw stopped();
        answer made =
            data.size() / 2 <= chunk || thread_count() == 1 ? run_here(data, stop) : run_on_workers(data, chunk, stop);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        made.stats.duration_secs = std::max(took.count(), 1e-9);  // even where the clock stands still
        last_.store(made.stats);
        return made;
    }

    template <class Stop>
    answer run_on_workers(std::span<const double> data, std::size_t chunk, Stop& stop) {
        const std::size_t chunks = data.size() / chunk + (data.size() % chunk != 0);
        struct place {
            root_counts counts;
            std::uint64_t begin;  // of the chunk's results among all
        };
        const buffer table = memory_.acquire_for<place>(chunks);
        const auto places = table.as<place>().first(chunks);
        const batch_options one_chunk_each{.grain = chunk};
        workers_.for_chunks(
            data.size(),
            [&](std::size_t begin, std::size_t end) {
                places[begin / chunk].counts = pipeline_detail::count_roots(data.subspan(begin, end - begin));
            },
            stop, one_chunk_each);

        root_counts all;
        for (place& each : places) {
            each.begin = all.kept;
            all += each.counts;
        }
        answer made = room_for(all);
        workers_.for_chunks(
            data.size(),
            [&](std::size_t begin, std::size_t end) {
                const place& own = places[begin / chunk];
                pipeline_detail::write_roots(data.subspan(begin, end - begin), made.values.data() + own.begin, own.counts.kept);
            },
            stop, one_chunk_each);
        return made;
    }

    template <class Stop>
    answer run_here(std::span<const double> data, Stop& stop) {
        constexpr std::size_t piece = std::size_t{1} << 16;  // `stop` is asked in between
        const auto each_piece = [&](auto use) {
            for (std::size_t begin = 0; begin < data.size(); begin += piece) {
                if (begin != 0 && stop()) throw stopped();
                use(data.subspan(begin, std::min(piece, data.size() - begin)));
            }
        };
        root_counts all;
        each_piece([&](std::span<const double> part) { all += pipeline_detail::count_roots(part); });
        answer made = room_for(all);
        double* out = made.values.data();
        each_piece([&](std::span<const double> part) {
            const auto kept = static_cast<std::size_t>(pipeline_detail::count_roots(part).kept);
            pipeline_detail::write_roots(part, out, kept);
            out += kept;
        });
        return made;
    }

    answer room_for(const root_counts& counts) {
        const auto kept = static_cast<std::size_t>(counts.kept);
        return {{memory_.acquire_for<double>(kept), kept}, {counts.kept, counts.filtered, counts.failed, 0.0}};
    }

    const std::size_t batch_size_;
    block_cache memory_;
    seqlock<pipeline_stats> last_;
    thread_pool workers_;  // last: the first to go
};

}  // namespace tenfold
