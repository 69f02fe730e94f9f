// stream.hpp - how fast memory is: copy, scale, add and triad (J. D. McCalpin's STREAM), per thread count and size,
// with plain stores and with stores that go past the cache.
//
// Why: a loop that does little arithmetic per number cannot beat memory, so its speed is a fraction of what this
// prints. A plain store first reads the line that it overwrites; a non-temporal one does not, which wins when the
// arrays are larger than the cache and loses when they fit. As in STREAM, that extra read is not counted.
//
//     for (const auto& row : tenfold::stream(1 << 24, 2)) std::printf("%s %.1f GB/s\n", row.kernel, row.best_gb_per_s());
//
// Copy: this file.   #include <tenfold/stream.hpp>   C++20, -fopenmp for more than one thread (optional).
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <future>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#endif
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <sstream>
#endif

#ifndef TENFOLD_NEVER_STOP
#define TENFOLD_NEVER_STOP
namespace tenfold {

struct never_stop {
    bool operator()() const noexcept { return false; }
};

struct stopped : std::exception {
    const char* what() const noexcept override { return "stopped"; }
};

}  // namespace tenfold
#endif

namespace tenfold {

struct stream_row {
    const char* kernel;         // "copy", "scale", "add", "triad"
    const char* stores;         // "plain", "nontemporal"
    int threads;                // that OpenMP gave
    std::size_t elements;       // float64s per array
    std::size_t bytes;          // moved by one pass, as STREAM counts: 16 or 24 per element
    std::vector<double> seconds;  // per pass, one value per repetition

    double best_gb_per_s() const { return gb_per_s(*std::min_element(seconds.begin(), seconds.end())); }
    double gb_per_s(double one_pass) const { return static_cast<double>(bytes) / one_pass * 1e-9; }
};

namespace detail {

#if defined(__SSE2__) || defined(_M_X64)
inline constexpr bool has_nontemporal_stores = true;
inline void store_past_cache(double* to, double first, double second) { _mm_stream_pd(to, _mm_set_pd(second, first)); }
/// Non-temporal stores are not ordered with later ones: the fence makes them visible before threads meet.
inline void finish_stores() { _mm_sfence(); }
#elif defined(__clang__)
inline constexpr bool has_nontemporal_stores = true;
inline void store_past_cache(double* to, double first, double second) {
    __builtin_nontemporal_store(first, to);
    __builtin_nontemporal_store(second, to + 1);
}
inline void finish_stores() { std::atomic_thread_fence(std::memory_order_seq_cst); }
#else
inline constexpr bool has_nontemporal_stores = false;
inline void store_past_cache(double* to, double first, double second) {
    to[0] = first;
    to[1] = second;
}
inline void finish_stores() {}
#endif

/// to[i] = value(i); `begin` is even and `to` is aligned to a cache line, as the intrinsic demands.
template <bool PastCache, class Value>
void fill(double* __restrict to, std::size_t begin, std::size_t end, Value value) {
    if constexpr (PastCache) {
        std::size_t i = begin;
        for (; i + 8 <= end; i += 8) {  // a whole line at once, so that it leaves in one piece
            store_past_cache(to + i, value(i), value(i + 1));
            store_past_cache(to + i + 2, value(i + 2), value(i + 3));
            store_past_cache(to + i + 4, value(i + 4), value(i + 5));
            store_past_cache(to + i + 6, value(i + 6), value(i + 7));
        }
        for (; i < end; ++i) to[i] = value(i);
    } else {
        for (std::size_t i = begin; i < end; ++i) to[i] = value(i);
    }
}

struct line_deleter {
    void operator()(double* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
using line_array = std::unique_ptr<double[], line_deleter>;

/// Aligned to a cache line and not touched: pages belong to the thread that writes them first.
inline line_array new_line_array(std::size_t n) {
    if (n > std::numeric_limits<std::size_t>::max() / 64) throw std::bad_alloc();
    return line_array(static_cast<double*>(::operator new[](n * sizeof(double), std::align_val_t{64})));
}

/// Whether this thread is the one that fork() left in a child process. libgomp's threads are not there, but its memory of
/// them is, so a region opened by this thread would wait for ever, whoever's library used OpenMP before. Such a thread is the
/// child's first, so its id is the process's; the kernel tells a child that never called exec().
inline bool lived_through_a_fork() {
#ifdef __linux__
    static const bool born_by_fork = [] {
        std::ifstream stat("/proc/self/stat");
        std::string text(std::istreambuf_iterator<char>(stat), {});
        std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 1)));  // the name may hold anything
        std::string skipped;
        for (int i = 0; i < 6; ++i) fields >> skipped;
        unsigned long flags = 0;
        fields >> flags;
        return (flags & 0x40) != 0;  // PF_FORKNOEXEC
    }();
    static const pid_t first_seen = ::getpid();
    const pid_t pid = ::getpid();
    return (born_by_fork || first_seen != pid) && ::syscall(SYS_gettid) == pid;
#else
    return false;  // LLVM's libomp, the usual one elsewhere, starts anew in a child
#endif
}

/// Calls body(part) for all parts below `threads` on an OpenMP team; part 0 is the caller's. Returns the team's size,
/// which is smaller where OpenMP gives fewer (OMP_THREAD_LIMIT, a surrounding region, built without it).
template <class Body>
int on_team(int threads, Body body) {
    int given = 1;
#ifdef _OPENMP
    if (threads > 1 && omp_in_parallel() == 0) {
        const auto team = [&](int first, int wanted) {  // parts first, first + 1, ...
#pragma omp parallel num_threads(wanted)
            {
                const int members = omp_get_num_threads();
                if (omp_get_thread_num() == 0) given = members;
                for (int part = first + omp_get_thread_num(); part < threads; part += members) body(part);
            }
        };
        if (lived_through_a_fork()) {  // part 0 stays here, the region is opened by a thread that has no past
            auto others = std::async(std::launch::async, [&] { team(1, threads - 1); });
            body(0);
            others.get();
            return given + 1;
        }
        team(0, threads);
        return given;
    }
#endif
    for (int part = 0; part < threads; ++part) body(part);
    return given;
}

/// Memory at `p` may have changed, for all the compiler knows: a pass is not merged with the next.
inline void touch(const void* p) {
#if defined(__GNUC__) || defined(__clang__)
    asm volatile("" : : "r"(p) : "memory");
#else
    static std::atomic<const void*> seen;
    seen.store(p);
#endif
}

/// The part of n that belongs to one thread; borders at whole cache lines.
inline std::pair<std::size_t, std::size_t> part_of(std::size_t n, int threads, int index) {
    const std::size_t lines = (n + 7) / 8, count = static_cast<std::size_t>(threads), i = static_cast<std::size_t>(index);
    const auto border = [&](std::size_t k) { return std::min(n, (lines / count * k + std::min(k, lines % count)) * 8); };
    return {border(i), border(i + 1)};
}

struct stream_arrays {
    line_array a, b, c;
};

/// What the arrays hold at the start: small integers, so that every kernel's results are exact.
inline double stream_value(int array, std::size_t i) {
    return static_cast<double>((i * 7 + static_cast<std::size_t>(array) * 3) % 1021);
}

}  // namespace detail

/// Whether `stream` really has non-temporal stores in this build; without them those rows are left out.
inline constexpr bool has_nontemporal_stores = detail::has_nontemporal_stores;

/// All kernels with both kinds of stores on three arrays of `elements` float64s. A repetition makes as many passes as fill
/// `min_time`. Every result is compared with the answer; a wrong one is std::runtime_error.
template <class Stop = never_stop>
std::vector<stream_row> stream(std::size_t elements, int threads, int repetitions = 7, double min_time = 2e-3,
                               Stop&& stop = {}) {
    if (elements == 0) throw std::invalid_argument("elements must be at least 1");
    if (threads < 1) throw std::invalid_argument("threads must be at least 1");
    if (repetitions < 1) throw std::invalid_argument("repetitions must be at least 1");
    using clock = std::chrono::steady_clock;
    constexpr std::size_t block = std::size_t{1} << 18;  // 2 MiB of output: short enough to ask `stop` in between
    std::atomic<bool> stopping{false};  // relaxed: it only ends loops early

    detail::stream_arrays x{detail::new_line_array(elements), detail::new_line_array(elements),
                            detail::new_line_array(elements)};
    double *const a = x.a.get(), *const b = x.b.get(), *const c = x.c.get();

    // body(begin, end) over every thread's part, block by block; stop() is asked by the calling thread alone
    int members = threads;
    const auto sweep = [&](std::int64_t passes, auto body) {
        const int given = detail::on_team(members, [&](int thread) {
            const auto [begin, end] = detail::part_of(elements, members, thread);
            for (std::int64_t pass = 0; pass < passes; ++pass) {
                for (std::size_t from = begin; from < end; from += block) {
                    if (thread == 0 && stop()) stopping.store(true, std::memory_order_relaxed);
                    if (stopping.load(std::memory_order_relaxed)) return;
                    body(from, std::min(end, from + block));
                }
                for (const auto* array : {&x.a, &x.b, &x.c}) detail::touch(array->get());
            }
            detail::finish_stores();
        });
        if (stopping.load(std::memory_order_relaxed)) throw stopped();
        return given;
    };

    const int team = sweep(1, [=](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            a[i] = detail::stream_value(0, i);
            b[i] = detail::stream_value(1, i);
            c[i] = std::numeric_limits<double>::quiet_NaN();
        }
    });

    std::vector<stream_row> rows;
    const auto kernel = [&]<bool PastCache>(std::bool_constant<PastCache>, const char* name, std::size_t bytes, auto value) {
        sweep(1, [=](std::size_t begin, std::size_t end) {  // a pass that does not happen must not go unnoticed
            std::fill(c + begin, c + end, std::numeric_limits<double>::quiet_NaN());
        });
        const auto run = [&](std::int64_t passes) {
            const auto start = clock::now();
            sweep(passes, [=](std::size_t begin, std::size_t end) { detail::fill<PastCache>(c, begin, end, value); });
            return std::max(1e-9, std::chrono::duration<double>(clock::now() - start).count());
        };
        std::int64_t passes = 1;
        const auto best_of_three = [&] { return std::min({run(passes), run(passes), run(passes)}); };  // one may be interrupted
        const auto calibrate = [&] {
            for (double seconds = best_of_three(); seconds < min_time && passes < 1'000'000'000; seconds = best_of_three())
                passes = static_cast<std::int64_t>(
                    std::ceil(static_cast<double>(passes) * std::clamp(1.2 * min_time / seconds, 1.5, 100.0)));
        };
        members = 1;  // first alone: on a busy machine starting a team takes longer than many passes, and would pass for them
        calibrate();
        members = threads;
        calibrate();
        stream_row row{name, PastCache ? "nontemporal" : "plain", team, elements, elements * bytes, {}};
        for (int repetition = 0; repetition < repetitions; ++repetition)
            row.seconds.push_back(run(passes) / static_cast<double>(passes));
        std::atomic<bool> right{true};
        sweep(1, [&](std::size_t begin, std::size_t end) {
            for (std::size_t i = begin; i < end; ++i)
                if (c[i] != value(i)) right.store(false, std::memory_order_relaxed);
        });
        if (!right) throw std::runtime_error(std::string("stream: ") + name + " computed a wrong result");
        rows.push_back(std::move(row));
    };
    const auto all = [&](auto past_cache) {
        kernel(past_cache, "copy", 16, [=](std::size_t i) { return a[i]; });
        kernel(past_cache, "scale", 16, [=](std::size_t i) { return 3.0 * a[i]; });
        kernel(past_cache, "add", 24, [=](std::size_t i) { return a[i] + b[i]; });
        kernel(past_cache, "triad", 24, [=](std::size_t i) { return a[i] + 3.0 * b[i]; });
    };
    all(std::false_type());
    if constexpr (has_nontemporal_stores) all(std::true_type());
    return rows;
}

namespace detail {

/// Sums with eight independent chains, so that memory is the limit and not the latency of one addition.
template <class Term>
double sum_lanes(std::span<const double> values, Term term) {
    double lanes[8] = {};
    std::size_t i = 0;
    for (; i + 8 <= values.size(); i += 8)
        for (std::size_t k = 0; k < 8; ++k) lanes[k] += term(values[i + k]);
    double rest = 0.0;
    for (; i < values.size(); ++i) rest += term(values[i]);
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7])) + rest;
}

inline constexpr std::size_t sum_chunk = 1 << 14;

}  // namespace detail

/// Sum of squares: fixed chunks, combined in index order, so the same bits at every thread count.
template <class Stop = never_stop>
double sum_of_squares(std::span<const double> values, int threads = 1, Stop&& stop = {}) {
    const std::size_t chunks = (values.size() + detail::sum_chunk - 1) / detail::sum_chunk;
    const int team = static_cast<int>(std::clamp<std::size_t>(chunks, 1, static_cast<std::size_t>(std::max(threads, 1))));
    std::vector<double> partial(chunks);
    std::atomic<bool> stopping{false};  // relaxed: it only ends loops early
    detail::on_team(team, [&](int thread) {
        const std::size_t count = static_cast<std::size_t>(team), index = static_cast<std::size_t>(thread);
        for (std::size_t k = chunks * index / count; k < chunks * (index + 1) / count; ++k) {
            if (thread == 0 && k % 16 == 0 && stop()) stopping.store(true, std::memory_order_relaxed);
            if (stopping.load(std::memory_order_relaxed)) return;
            const std::size_t begin = k * detail::sum_chunk;
            partial[k] = detail::sum_lanes(values.subspan(begin, std::min(detail::sum_chunk, values.size() - begin)),
                                           [](double x) { return x * x; });
        }
    });
    if (stopping.load(std::memory_order_relaxed) || (chunks == 0 && stop())) throw stopped();
    double sum = 0.0;
    for (const double part : partial) sum += part;
    return sum;
}

/// Seconds that one thread takes to read `elements` float64s `iterations` times.
template <class Stop = never_stop>
double read_seconds(std::size_t elements, std::int64_t iterations, Stop&& stop = {}) {
    const detail::line_array data = detail::new_line_array(elements);
    constexpr std::size_t block = std::size_t{1} << 18;
    for (std::size_t from = 0; from < elements; from += block) {
        if (stop()) throw stopped();
        std::fill(data.get() + from, data.get() + std::min(elements, from + block), 1.0);
    }
    const auto start = std::chrono::steady_clock::now();
    double total = 0.0;
    std::size_t read_since = 0;
    for (std::int64_t i = 0; i < iterations; ++i)
        for (std::size_t from = 0; from < elements; from += block) {
            const std::size_t count = std::min(block, elements - from);
            read_since += count + 16;
            if (read_since >= block && (read_since = 0, stop())) throw stopped();
            total += detail::sum_lanes({data.get() + from, count}, [](double x) { return x; });
            detail::touch(data.get());
        }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const double expected = static_cast<double>(elements) * static_cast<double>(iterations);
    if (std::abs(total - expected) > 1e-9 * expected) throw std::runtime_error("read_seconds: wrong sum");
    return std::max(seconds, 1e-9);
}

}  // namespace tenfold
