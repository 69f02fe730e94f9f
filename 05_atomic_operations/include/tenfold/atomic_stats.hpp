// tenfold/atomic_stats.hpp: count, sum, minimum and maximum of integers from many threads, never seen half-updated.
//
// Why: five atomics side by side are not an atomic five: a reader between two of them sees count 1 with no minimum, or a
// sum that belongs to another count. Here the numbers of a shard change under a sequence lock (seqlock.hpp), threads are spread
// over shards on lines of their own, and a snapshot reads all shards twice over: if no version has moved, there was a
// moment at which all of it was true together. Under a storm of writers it stops trying and takes the shards' locks instead.
//
// - record(): one value. record_all(), parallel_record(): a batch, summed up first with SIMD, then published in one step:
//   a reader sees all of it or nothing of it, and so does an interrupted call;
// - the sum has 128 bits: 2^64 values of any size fit, so nothing ever overflows but the conversion to 64 bits, which says so;
// - a process forked while another thread was recording: whoever meets that thread's lock gets std::runtime_error at once.
//
// Copy: this file, seqlock.hpp, simd_level.hpp and atomic_team.hpp.   #include <tenfold/atomic_stats.hpp>   C++20, GCC or Clang
// on a 64-bit platform; link the platform's threads library (-pthread).
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tenfold/atomic_team.hpp"
#include "tenfold/seqlock.hpp"
#include "tenfold/simd_level.hpp"

namespace tenfold {

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

struct stats_snapshot {
    std::uint64_t count = 0;
    int128 sum = 0;
    std::int64_t min = 0, max = 0;  // mean something only where count > 0

    bool empty() const noexcept { return count == 0; }
    bool sum_fits() const noexcept { return sum == static_cast<std::int64_t>(sum); }
    std::int64_t sum64() const {
        if (!sum_fits()) throw std::overflow_error("the sum does not fit in int64");
        return static_cast<std::int64_t>(sum);
    }

    /// sum / count rounded once, as Python divides its integers; NaN when empty.
    double mean() const noexcept {
        if (count == 0) return std::numeric_limits<double>::quiet_NaN();
        const bool negative = sum < 0;
        uint128 size = negative ? -static_cast<uint128>(sum) : static_cast<uint128>(sum);
        if (size == 0) return 0.0;
        const auto high = static_cast<std::uint64_t>(size >> 64);
        const int shift = high ? std::countl_zero(high) : 64 + std::countl_zero(static_cast<std::uint64_t>(size));
        size <<= shift;  // now the quotient has 64 bits or more, and one below the last tells whether anything was left over
        const uint128 quotient = size / count | (size % count != 0);
        const double result = std::ldexp(static_cast<double>(quotient), -shift);
        return negative ? -result : result;
    }

    void merge(const stats_snapshot& other) noexcept {
        if (other.count == 0) return;
        min = count == 0 ? other.min : std::min(min, other.min);
        max = count == 0 ? other.max : std::max(max, other.max);
        count += other.count;
        sum += other.sum;
    }
};

inline std::string to_string(int128 value) {
    uint128 size = value < 0 ? -static_cast<uint128>(value) : static_cast<uint128>(value);
    std::string digits;
    do digits += static_cast<char>('0' + static_cast<int>(size % 10));
    while ((size /= 10) != 0);
    if (value < 0) digits += '-';
    return {digits.rbegin(), digits.rend()};
}

/// `AtomicStats(count=2, sum=5, mean=2.50, min=1, max=4)`; zeros when empty.
inline std::string to_string(const stats_snapshot& stats) {
    char digits[64];  // not printf: its decimal point depends on the locale
    const auto end =
        std::to_chars(digits, digits + sizeof digits, stats.empty() ? 0.0 : stats.mean(), std::chars_format::fixed, 2);
    const std::string mean(digits, end.ptr);
    const stats_snapshot& shown = stats.empty() ? stats_snapshot{} : stats;
    return "AtomicStats(count=" + std::to_string(shown.count) + ", sum=" + to_string(shown.sum) + ", mean=" + mean +
           ", min=" + std::to_string(shown.min) + ", max=" + std::to_string(shown.max) + ")";
}

namespace atomic_detail {

// Count, sum, min and max of one block. With the sign bit flipped an int64 is an unsigned number: its two halves are summed
// apart, in lanes of 64 bits that 2^32 of them cannot overflow.
struct stats_kernel {
    const std::int64_t* values;
    std::size_t size;  // < 2^32

    template <int Bytes>
    [[gnu::always_inline]] inline stats_snapshot run() const {
        using lanes = typename vector_of<std::int64_t, Bytes>::type;
        using ulanes = typename vector_of<std::uint64_t, Bytes>::type;
        constexpr std::size_t width = static_cast<std::size_t>(vector_of<std::int64_t, Bytes>::size);
        constexpr std::uint64_t flip = std::uint64_t{1} << 63;
        constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
        constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();

        ulanes low_a{}, low_b{}, high_a{}, high_b{};
        lanes min_a = lanes{} + highest, min_b = min_a, max_a = lanes{} + lowest, max_b = max_a;
        std::size_t i = 0;
        for (; i + 2 * width <= size; i += 2 * width) {
            lanes a, b;
            __builtin_memcpy(&a, values + i, Bytes);
            __builtin_memcpy(&b, values + i + width, Bytes);
            const ulanes ua = reinterpret_cast<ulanes>(a) ^ flip, ub = reinterpret_cast<ulanes>(b) ^ flip;
            low_a += ua & 0xffffffffu;
            low_b += ub & 0xffffffffu;
            high_a += ua >> 32;
            high_b += ub >> 32;
            min_a = a < min_a ? a : min_a;
            min_b = b < min_b ? b : min_b;
            max_a = a > max_a ? a : max_a;
            max_b = b > max_b ? b : max_b;
        }
        stats_snapshot result{size, 0, highest, lowest};
        for (std::size_t lane = 0; lane < width; ++lane) {
            result.sum += (static_cast<int128>(high_a[lane] + high_b[lane]) << 32) + low_a[lane] + low_b[lane];
            result.min = std::min<std::int64_t>(result.min, std::min<std::int64_t>(min_a[lane], min_b[lane]));
            result.max = std::max<std::int64_t>(result.max, std::max<std::int64_t>(max_a[lane], max_b[lane]));
        }
        result.sum -= static_cast<int128>(i) << 63;
        for (; i < size; ++i) {
            result.sum += values[i];
            result.min = std::min(result.min, values[i]);
            result.max = std::max(result.max, values[i]);
        }
        return size == 0 ? stats_snapshot{} : result;
    }
};

inline constexpr std::size_t stats_block = std::size_t{1} << 16;

inline void summarise_blocks(std::span<const std::int64_t> values, std::size_t begin, std::size_t end, stats_snapshot& into) {
    into.merge(run_simd(stats_kernel{values.data() + begin, end - begin}, simd_level::avx512));
}

}  // namespace atomic_detail

/// Count, sum, minimum and maximum, vectorised; no atomics.
inline stats_snapshot summarise(std::span<const std::int64_t> values) {
    stats_snapshot all;
    for (std::size_t begin = 0; begin < values.size(); begin += atomic_detail::stats_block)
        atomic_detail::summarise_blocks(values, begin, std::min(begin + atomic_detail::stats_block, values.size()), all);
    return all;
}

class atomic_stats {
public:
    // More shards than cores: threads are dealt to them in turn, and two that meet in one wait for each other.
    atomic_stats() : atomic_stats(static_cast<int>(std::clamp(4 * std::thread::hardware_concurrency(), 4u, 32u))) {}
    explicit atomic_stats(int shards)
        : size_(shards < 1 ? throw std::invalid_argument("shards must be >= 1") : std::bit_ceil(static_cast<unsigned>(shards))),
          shards_(std::make_unique<shard[]>(size_)) {}

    /// One value, from any thread.
    void record(std::int64_t value) { publish({1, value, value, value}); }

    /// The same, or false and nothing: another thread is at this shard, and record() would wait for it.
    bool try_record(std::int64_t value) {
        shard& mine = shards_[thread_index() & (size_ - 1)];
        if (!mine.version.try_lock()) return false;
        mine.add({1, value, value, value});
        return true;
    }

    /// A batch that appears at once.
    void record_all(std::span<const std::int64_t> values) { publish(summarise(values)); }

    /// What one or more values add up to, in one step.
    void publish(const stats_snapshot& batch) {
        if (batch.count == 0) return;
        shard& mine = shards_[thread_index() & (size_ - 1)];
        mine.version.lock();
        mine.add(batch);
    }

    /// Everything recorded before the call began, perhaps some of what is being recorded meanwhile, every record and batch whole.
    stats_snapshot snapshot() const {
        stats_snapshot all;
        for (int attempt = 0; attempt < 16; ++attempt)
            if (try_snapshot(all)) return all;
        return locked_snapshot();
    }
    /// One try: false when a writer was there, and then `all` is a mixture, to be thrown away.
    bool try_snapshot(stats_snapshot& all) const {
        all = {};
        std::uint64_t small[32];
        std::unique_ptr<std::uint64_t[]> large;
        std::uint64_t* const seen = size_ <= 32 ? small : (large = std::make_unique<std::uint64_t[]>(size_)).get();
        for (unsigned i = 0; i < size_; ++i) {
            seen[i] = shards_[i].version.current();
            if (seen[i] & 1) return false;
            all.merge(shards_[i].read(atomic_detail::word_load));
        }
        for (unsigned i = 0; i < size_; ++i)
            if (!shards_[i].version.unchanged(seen[i])) return false;
        return true;
    }

private:
    // One writer at a time, the holder of `version`; readers check it. Within one line, and no line is shared.
    struct alignas(atomic_detail::line_bytes) shard {
        atomic_detail::sequence version;
        std::atomic<std::uint64_t> count{0}, sum_low{0}, sum_high{0};
        std::atomic<std::int64_t> min{0}, max{0};

        stats_snapshot read(std::memory_order order) const noexcept {
            const uint128 high = sum_high.load(order), low = sum_low.load(order);
            return {count.load(order), static_cast<int128>(high << 64 | low), min.load(order), max.load(order)};
        }
        void write(const stats_snapshot& now) noexcept {
            constexpr std::memory_order order = atomic_detail::word_store;  // see atomic_detail::sequence
            count.store(now.count, order);
            sum_low.store(static_cast<std::uint64_t>(now.sum), order);
            sum_high.store(static_cast<std::uint64_t>(static_cast<uint128>(now.sum) >> 64), order);
            min.store(now.min, order);
            max.store(now.max, order);
        }
        // For the holder of `version`; opens it.
        void add(const stats_snapshot& batch) noexcept {
            stats_snapshot now = read(std::memory_order_relaxed);  // no other writer is inside
            now.merge(batch);
            write(now);
            version.unlock();
        }
    };

    static unsigned thread_index() noexcept {
        static std::atomic<unsigned> next{0};
        static constinit thread_local unsigned mine = ~0u;
        if (mine == ~0u) mine = next.fetch_add(1, std::memory_order_relaxed) & 0x7fffffff;  // any number will do
        return mine;
    }

    // Shards are locked in order, and a writer never holds more than one: no circle can form.
    stats_snapshot locked_snapshot() const {
        struct unlock {
            shard* shards;
            unsigned held = 0;
            ~unlock() {
                while (held != 0) shards[--held].version.unlock();
            }
        } locks{shards_.get()};
        for (; locks.held < size_; ++locks.held) shards_[locks.held].version.lock();
        stats_snapshot all;
        for (unsigned i = 0; i < size_; ++i) all.merge(shards_[i].read(std::memory_order_relaxed));
        return all;
    }

    const unsigned size_;  // a power of two
    const std::unique_ptr<shard[]> shards_;
};

/// Records all values or, stopped or failing, none: the threads sum up parts, the calling thread publishes them in one step.
template <class Stop = never_stop>
void parallel_record(atomic_stats& stats, std::span<const std::int64_t> values, int threads, Stop stop = {}) {
    constexpr std::size_t block = atomic_detail::stats_block;
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    const std::size_t blocks = (values.size() + block - 1) / block;
    const int team = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(threads), blocks / 4));
    stats_snapshot all;
    if (team <= 1) {  // starting a thread costs as much as summing up some hundred thousand values
        for (std::size_t i = 0; i < blocks; ++i) {
            if (i % 64 == 0 && stop()) throw stopped();
            atomic_detail::summarise_blocks(values, i * block, std::min((i + 1) * block, values.size()), all);
        }
    } else {
        struct alignas(atomic_detail::line_bytes) part {
            stats_snapshot stats;
        };
        std::vector<part> parts(static_cast<std::size_t>(team));
        std::atomic<std::size_t> next{0};
        atomic_detail::run_together(
            team,
            [&](int thread, const std::atomic<bool>& cancelled) {
                stats_snapshot mine;
                // Relaxed: fetch_add hands each block out once in any order; the joins publish the parts.
                for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < blocks;) {
                    if (cancelled.load(std::memory_order_relaxed)) return;
                    atomic_detail::summarise_blocks(values, i * block, std::min((i + 1) * block, values.size()), mine);
                }
                parts[static_cast<std::size_t>(thread)].stats = mine;
            },
            stop);
        for (const auto& each : parts) all.merge(each.stats);
    }
    stats.publish(all);
}

/// Records value by value from several threads at once. Stopped: what was recorded until then stays.
template <class Stop = never_stop>
void parallel_record_each(atomic_stats& stats, std::span<const std::int64_t> values, int threads, Stop stop = {}) {
    atomic_detail::run_together(
        threads,
        [&](int thread, const std::atomic<bool>& cancelled) {
            const auto part = static_cast<std::size_t>(thread), parts = static_cast<std::size_t>(threads);
            const std::size_t share = values.size() / parts, extra = values.size() % parts;
            std::size_t i = part * share + std::min(part, extra);
            const std::size_t end = i + share + (part < extra);
            for (; i < end && (i % 1024 != 0 || !cancelled.load(std::memory_order_relaxed)); ++i) stats.record(values[i]);
        },
        stop);
}

}  // namespace tenfold
