// tenfold/batch_work.hpp: the work that this lesson does in its pools: roots into a given array, squares through an arena and
// through a buffer_pool, x + x*x through pooled objects.
//
// Why: each function shows where the memory of a computation may come from, and none allocates once it is warm, apart from the
// start of threads: the caller's own array; scratch that is forgotten after each batch; blocks that go round; objects of one size.
//
// x + x*x is rounded twice, as written: compile with -ffp-contract=off, or GCC fuses it where the machine can. Results are the
// same bits at every thread count and vector width.
//
// Copy: this file, arena.hpp, buffer_pool.hpp, buffer_core.hpp, fixed_pool.hpp, chunk_team.hpp, simd_width.hpp, alloc_errors.hpp,
// alloc_poison.hpp.   #include <tenfold/batch_work.hpp>   C++20, GCC or Clang; -ffp-contract=off, -pthread.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "tenfold/arena.hpp"
#include "tenfold/buffer_pool.hpp"
#include "tenfold/chunk_team.hpp"
#include "tenfold/fixed_pool.hpp"
#include "tenfold/simd_width.hpp"

namespace tenfold {

using row = std::span<const double>;

namespace alloc_detail {

struct square_array {
    const double* x;
    double* to;
    std::size_t n;
    template <int Bytes>
    [[gnu::always_inline]] inline void run() const {
        using wide = doubles<Bytes>;
        typename wide::vector v;
        std::size_t i = 0;
        for (; i + wide::size <= n; i += wide::size) {
            wide::load(v, x + i);
            v *= v;
            wide::store(to + i, v);
        }
        for (; i < n; ++i) to[i] = x[i] * x[i];
    }
};

// The compilers' vector types know no square root, and std::sqrt in a loop is a call for errno's sake. All of these round correctly.
// (The masked form with all lanes on is the plain instruction; GCC 12 warns about its own header in the other.)
#if defined(__x86_64__)
__attribute__((target("avx512f"))) inline std::size_t sqrt_avx512(const double* x, double* to, std::size_t n) {
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8) _mm512_storeu_pd(to + i, _mm512_maskz_sqrt_pd(0xFF, _mm512_loadu_pd(x + i)));
    return i;
}
__attribute__((target("avx2"))) inline std::size_t sqrt_avx2(const double* x, double* to, std::size_t n) {
    std::size_t i = 0;
    for (; i + 4 <= n; i += 4) _mm256_storeu_pd(to + i, _mm256_sqrt_pd(_mm256_loadu_pd(x + i)));
    return i;
}
#endif
inline void sqrt_array(const double* x, double* to, std::size_t n, [[maybe_unused]] vector_level level) {
    std::size_t i = 0;
#if defined(__x86_64__)
    level = std::min(level, best_vector_level());
    if (level == vector_level::avx512) i = sqrt_avx512(x, to, n);
    else if (level == vector_level::avx2) i = sqrt_avx2(x, to, n);
    for (; i + 2 <= n; i += 2) _mm_storeu_pd(to + i, _mm_sqrt_pd(_mm_loadu_pd(x + i)));
#endif
    for (; i < n; ++i) to[i] = std::sqrt(x[i]);
}

inline constexpr std::size_t values_per_chunk = 16384;
// Below a hundred thousand values starting a thread costs more than it saves.
inline int worthwhile(int threads, std::size_t values) { return values < 100'000 ? std::min(threads, 1) : threads; }

}  // namespace alloc_detail

/// out[i] = sqrt(data[i]), NaN below zero. `out` may be `data` itself.
template <class Stop = never_stop>
void parallel_sqrt(row data, std::span<double> out, int threads, Stop&& stop = {}, vector_level level = best_vector_level()) {
    using namespace alloc_detail;
    if (out.size() != data.size()) throw std::invalid_argument("out must have as many items as data");
    run_chunks((data.size() + values_per_chunk - 1) / values_per_chunk, worthwhile(threads, data.size()),
               [&](std::size_t chunk, int) {
                   const std::size_t from = chunk * values_per_chunk, n = std::min(values_per_chunk, data.size() - from);
                   sqrt_array(data.data() + from, out.data() + from, n, level);
               },
               stop);
}

/// How many values the rows hold together.
inline std::size_t total_length(std::span<const row> rows) {
    std::size_t total = 0;
    for (const row& each : rows) {
        if (each.size() > std::numeric_limits<std::size_t>::max() / sizeof(double) - total) throw std::bad_array_new_length();
        total += each.size();
    }
    return total;
}

/// The squares of all batches one after the other. A batch is computed in memory from an arena, which is reset after it; each
/// thread has an arena of its own. Of a batch longer than 2^20 values one part after the other is a batch.
template <class Stop = never_stop>
void batch_squares_arena(std::span<const row> batches, std::span<double> out, int threads, Stop&& stop = {}) {
    using namespace alloc_detail;
    if (out.size() != total_length(batches)) throw std::invalid_argument("out must have one place for each value");
    constexpr std::size_t longest = std::size_t{1} << 20;
    struct group {
        std::size_t batch, from, at;  // it begins at this value of this batch, and goes to this place in out
    };
    std::vector<group> groups;  // of neighbours, some thousand values together: small batches are not worth a hand-over each
    for (std::size_t i = 0, at = 0; i < batches.size(); ++i)
        for (std::size_t from = 0, n = batches[i].size(); from == 0 || from < n; from += longest) {
            if (groups.empty() || from > 0 || at - groups.back().at >= values_per_chunk ||
                i - groups.back().batch >= values_per_chunk)
                groups.push_back({i, from, at});
            at += std::min(longest, n - from);
        }
    const std::size_t count = groups.size();
    groups.push_back({batches.size(), 0, out.size()});

    const int team = worthwhile(threads, out.size());
    if (team < 1) throw std::invalid_argument("threads must be >= 1");
    const std::size_t workers = std::min(count, static_cast<std::size_t>(team));
    const auto arenas = std::make_unique<arena[]>(std::max<std::size_t>(workers, 1));
    run_chunks(
        count, team,
        [&](std::size_t chunk, int worker) {
            arena& scratch = arenas[static_cast<std::size_t>(worker)];
            auto [i, from, at] = groups[chunk];
            const group& end = groups[chunk + 1];
            for (; i < end.batch || (i == end.batch && from < end.from); ++i, from = 0) {
                const row batch = batches[i].subspan(from, (i == end.batch ? end.from : batches[i].size()) - from);
                const std::span<double> squares = scratch.uninitialized_span<double>(batch.size());
                run_vectors(square_array{batch.data(), squares.data(), batch.size()}, best_vector_level());
                std::copy(squares.begin(), squares.end(), out.begin() + static_cast<std::ptrdiff_t>(at));
                at += batch.size();
                scratch.reset();
            }
        },
        stop);
}

/// The squares of all rows one after the other, each row through one block of the pool after the other. Several threads may
/// share the pool: while all blocks are out, a thread waits; none holds one while it does.
template <class Stop = never_stop>
void square_rows(buffer_pool& pool, std::span<const row> rows, std::span<double> out, Stop&& stop = {}) {
    using namespace alloc_detail;
    if (pool.block_bytes() < sizeof(double)) throw std::invalid_argument("a block must hold at least one value");
    if (out.size() != total_length(rows)) throw std::invalid_argument("out must have one place for each value");
    const std::size_t most = pool.block_bytes() / sizeof(double);
    double* to = out.data();
    std::size_t since_asked = values_per_chunk;
    for (const row& each : rows) {
        for (std::size_t from = 0; from < each.size();) {
            const std::size_t n = std::min(most, each.size() - from);
            if (since_asked >= values_per_chunk) {
                if (stop()) throw stopped();
                since_asked = 0;
            }
            const buffer block = pool.acquire_wait(stop);
            const std::span<double> squares = block.as<double>().first(n);
            run_vectors(square_array{each.data() + from, squares.data(), n}, best_vector_level());
            to = std::copy(squares.begin(), squares.end(), to);
            from += n;
            since_asked += n + 16;
        }
    }
}

/// x + x*x, each through an object of the given size from a pool. Calls from several threads take a pool each; the pools are
/// kept, so that a second call allocates nothing.
class object_workspace {
public:
    explicit object_workspace(std::size_t object_bytes) : object_bytes_(object_bytes) {
        if (object_bytes == 0) throw std::invalid_argument("the size of an object must be >= 1");
        give_back(make_pool());  // refuses sizes that cannot be
    }
    object_workspace(const object_workspace&) = delete;
    object_workspace& operator=(const object_workspace&) = delete;
    ~object_workspace() {
        for (auto& each : kept_) std::unique_ptr<unchecked_fixed_pool>(each.load(std::memory_order_relaxed));  // frees it
    }

    template <class Stop = never_stop>
    void x_plus_x2(row items, std::span<double> out, Stop&& stop = {}) {
        if (out.size() != items.size()) throw std::invalid_argument("out must have as many items as there are");
        struct loan {
            object_workspace* home;
            std::unique_ptr<unchecked_fixed_pool> pool;
            std::size_t bytes, chunks;
            ~loan() {
                home->reserved_.fetch_add(pool->reserved_bytes() - bytes, std::memory_order_relaxed);
                home->allocations_.fetch_add(pool->chunks() - chunks, std::memory_order_relaxed);
                home->give_back(std::move(pool));
            }
        } loan{this, take(), 0, 0};
        loan.bytes = loan.pool->reserved_bytes();
        loan.chunks = loan.pool->chunks();
        std::array<double*, most_alive> objects;
        // Many at once, for speed, but not many of the large ones. A power of two.
        const std::size_t at_once =
            std::bit_floor(std::clamp<std::size_t>((std::size_t{1} << 20) / object_bytes_, 1, most_alive));
        loan.pool->reserve(std::min(at_once, items.size()));  // from here on nothing can fail but `stop`
        for (std::size_t from = 0; from < items.size(); from += at_once) {
            if (from % alloc_detail::values_per_chunk == 0 && stop()) throw stopped();
            const std::size_t n = std::min(at_once, items.size() - from);
            for (std::size_t i = 0; i < n; ++i) objects[i] = ::new (loan.pool->allocate()) double(items[from + i]);
            for (std::size_t i = 0; i < n; ++i) out[from + i] = *objects[i] + *objects[i] * *objects[i];
            for (std::size_t i = n; i-- > 0;) loan.pool->deallocate(objects[i]);
        }
    }

    std::size_t object_bytes() const noexcept { return object_bytes_; }
    /// Bytes in all pools, and how often one went to the system for memory.
    std::size_t reserved_bytes() const noexcept { return reserved_.load(std::memory_order_relaxed); }
    std::uint64_t allocations() const noexcept { return allocations_.load(std::memory_order_relaxed); }

private:
    static constexpr std::size_t most_alive = 64;

    std::unique_ptr<unchecked_fixed_pool> make_pool() const {
        return std::make_unique<unchecked_fixed_pool>(std::max(object_bytes_, sizeof(double)));
    }
    // Acquire and release: a pool and what is in it go from the thread that put it here to the one that takes it.
    std::unique_ptr<unchecked_fixed_pool> take() {
        for (auto& each : kept_)
            if (auto* pool = each.exchange(nullptr, std::memory_order_acquire))
                return std::unique_ptr<unchecked_fixed_pool>(pool);
        allocations_.fetch_add(1, std::memory_order_relaxed);
        return make_pool();
    }
    void give_back(std::unique_ptr<unchecked_fixed_pool> pool) noexcept {
        for (auto& each : kept_) {
            unchecked_fixed_pool* empty = nullptr;
            if (each.compare_exchange_strong(empty, pool.get(), std::memory_order_release, std::memory_order_relaxed)) {
                pool.release();
                return;
            }
        }
        reserved_.fetch_sub(pool->reserved_bytes(), std::memory_order_relaxed);  // more threads than places: this one is freed
    }

    std::size_t object_bytes_;
    std::array<std::atomic<unchecked_fixed_pool*>, 16> kept_{};
    std::atomic<std::size_t> reserved_{0};
    std::atomic<std::uint64_t> allocations_{0};
};

}  // namespace tenfold
