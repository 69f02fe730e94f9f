// The same work as loops that one writes by hand with OpenMP: the same bodies, `simd` where it may be said, and no branch that
// depends on the data. The loops with the `if` that one writes first are there too, as ..._if.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "peer_data.hpp"

using peer_data::measure;
using peer_data::of;

namespace {

int team() { return tenfold_peer::threads(); }

tenfold_peer::timed expression(long n) {
    auto& d = of(n);
    const double *a = d.a.data(), *b = d.b.data(), *c = d.c.data();
    double* out = d.out.data();
    return measure(
        [&] {
#pragma omp parallel for simd schedule(static) num_threads(team())
            for (long i = 0; i < n; ++i) out[i] = a[i] * b[i] + c[i] * 2.0 - 1.0;
        },
        [&] { return peer_data::some_of(d.out); });
}

tenfold_peer::timed degree_days(long n) {
    const double* f = of(n).a.data();
    double total = 0.0;
    return measure(
        [&] {
#pragma omp parallel for simd schedule(static) reduction(+ : total) num_threads(team())
            for (long i = 0; i < n; ++i) {
                // The same as `celsius > 18.0 ? celsius - 18.0 : 0.0`, of which GCC 12 makes a branch: a subtraction may set a flag.
                const double above = (f[i] - 32.0) * (5.0 / 9.0) - 18.0;
                total += std::max(0.0, above);
            }
        },
        [&] { return total; });
}

tenfold_peer::timed degree_days_if(long n) {
    const double* f = of(n).a.data();
    double total = 0.0;
    return measure(
        [&] {
#pragma omp parallel for simd schedule(static) reduction(+ : total) num_threads(team())
            for (long i = 0; i < n; ++i) {
                const double celsius = (f[i] - 32.0) * (5.0 / 9.0);
                if (celsius > 18.0) total += celsius - 18.0;
            }
        },
        [&] { return total; });
}

// One loop per step, each with its result in memory: what the page starts from.
tenfold_peer::timed degree_days_3(long n) {
    const double* f = of(n).a.data();
    double total = 0.0;
    return measure(
        [&] {
            const auto size = static_cast<std::size_t>(n);
            const auto celsius = std::make_unique_for_overwrite<double[]>(size);
            const auto above = std::make_unique_for_overwrite<double[]>(size);
#pragma omp parallel for simd schedule(static) num_threads(team())
            for (long i = 0; i < n; ++i) celsius[static_cast<std::size_t>(i)] = (f[i] - 32.0) * (5.0 / 9.0);
#pragma omp parallel for simd schedule(static) num_threads(team())
            for (long i = 0; i < n; ++i) {
                const double c = celsius[static_cast<std::size_t>(i)];
                above[static_cast<std::size_t>(i)] = c > 18.0 ? c - 18.0 : 0.0;
            }
#pragma omp parallel for simd schedule(static) reduction(+ : total) num_threads(team())
            for (long i = 0; i < n; ++i) total += above[static_cast<std::size_t>(i)];
        },
        [&] { return total; });
}

tenfold_peer::timed even_squares(long n) {
    const std::int64_t* k = of(n).k.data();
    std::int64_t total = 0;
    return measure(
        [&] {
#pragma omp parallel for schedule(static) reduction(+ : total) num_threads(team())
            for (long i = 0; i < n; ++i) total += k[i] * k[i] & -static_cast<std::int64_t>(k[i] % 2 == 0);
        },
        [&] { return total; });
}

tenfold_peer::timed even_squares_if(long n) {
    const std::int64_t* k = of(n).k.data();
    std::int64_t total = 0;
    return measure(
        [&] {
#pragma omp parallel for simd schedule(static) reduction(+ : total) num_threads(team())
            for (long i = 0; i < n; ++i)
                if (k[i] % 2 == 0) total += k[i] * k[i];
        },
        [&] { return total; });
}

// Count, offsets, write: twice over the input, no branch that depends on it, memory that is not zeroed.
tenfold_peer::timed collect_squares(long n) {
    const std::int64_t* k = of(n).k.data();
    double answer = 0.0;
    const auto start = std::chrono::steady_clock::now();
    {
        std::vector<long> offsets(static_cast<std::size_t>(team()) + 1);
        std::unique_ptr<std::int64_t[]> out;
#pragma omp parallel num_threads(team())
        {
            const long t = omp_get_thread_num(), threads = omp_get_num_threads();
            const long begin = n * t / threads, end = n * (t + 1) / threads;
            long count = 0;
            for (long i = begin; i < end; ++i) count += k[i] % 2 == 0;
            offsets[static_cast<std::size_t>(t) + 1] = count;
#pragma omp barrier
#pragma omp single
            {
                for (std::size_t i = 1; i < offsets.size(); ++i) offsets[i] += offsets[i - 1];
                out = std::make_unique_for_overwrite<std::int64_t[]>(static_cast<std::size_t>(offsets.back()) + 1);
            }
            std::int64_t* to = out.get() + offsets[static_cast<std::size_t>(t)];
            std::int64_t* const last = out.get() + offsets[static_cast<std::size_t>(t) + 1];
            for (long i = begin; i < end && to < last; ++i) {
                *to = k[i] * k[i];
                to += k[i] % 2 == 0;
            }
        }
        const auto size = static_cast<std::size_t>(offsets.back());
        answer = static_cast<double>(size) + static_cast<double>(out[size / 2]);
    }
    return {tenfold_peer::seconds_since(start), answer};
}

tenfold_peer::timed scan(long n) {
    auto& d = of(n);
    const std::int64_t* k = d.k.data();
    std::int64_t* out = d.grouped.data();
    return measure(
        [&] {
            std::vector<std::int64_t> before(static_cast<std::size_t>(team()) + 1);
#pragma omp parallel num_threads(team())
            {
                const long t = omp_get_thread_num(), threads = omp_get_num_threads();
                const long begin = n * t / threads, end = n * (t + 1) / threads;
                std::int64_t sum = 0;
                for (long i = begin; i < end; ++i) sum += k[i];
                before[static_cast<std::size_t>(t) + 1] = sum;
#pragma omp barrier
                sum = 0;
                for (long i = 0; i <= t; ++i) sum += before[static_cast<std::size_t>(i)];
                for (long i = begin; i < end; ++i) out[i] = sum += k[i];
            }
        },
        [&] { return peer_data::some_of(d.grouped); });
}

tenfold_peer::timed find(long n) {
    const std::int64_t* k = of(n).k.data();
    std::atomic<long> found{n};
    return measure(
        [&] {
            constexpr long chunk = 4096;
#pragma omp parallel for schedule(dynamic) num_threads(team())
            for (long begin = 0; begin < n; begin += chunk) {
                if (begin > found.load(std::memory_order_relaxed)) continue;
                const long end = std::min(n, begin + chunk);
                for (long i = begin; i < end; ++i)
                    if (k[i] == peer_data::absent) {
                        long best = found.load(std::memory_order_relaxed);
                        while (i < best && !found.compare_exchange_weak(best, i, std::memory_order_relaxed)) {
                        }
                        break;
                    }
            }
        },
        [&] { return found < n ? 1 : 0; });
}

tenfold_peer::timed group(long n) {
    auto& d = of(n);
    const std::int64_t* k = d.k.data();
    std::int64_t* out = d.grouped.data();
    return measure(
        [&] {
            constexpr std::size_t groups = 16;
            std::vector<long> next(static_cast<std::size_t>(team()) * groups);
#pragma omp parallel num_threads(team())
            {
                const long t = omp_get_thread_num(), threads = omp_get_num_threads();
                const long begin = n * t / threads, end = n * (t + 1) / threads;
                long mine[groups] = {};
                for (long i = begin; i < end; ++i) ++mine[k[i] & 15];
                for (std::size_t g = 0; g < groups; ++g) next[static_cast<std::size_t>(t) * groups + g] = mine[g];
#pragma omp barrier
#pragma omp single
                {
                    long total = 0;
                    for (std::size_t g = 0; g < groups; ++g)
                        for (std::size_t s = 0; s < static_cast<std::size_t>(threads); ++s) {
                            const long count = next[s * groups + g];
                            next[s * groups + g] = total;
                            total += count;
                        }
                }
                for (std::size_t g = 0; g < groups; ++g) mine[g] = next[static_cast<std::size_t>(t) * groups + g];
                for (long i = begin; i < end; ++i) out[mine[k[i] & 15]++] = k[i];
            }
        },
        [&] { return peer_data::some_of(d.grouped); });
}

}  // namespace

int main() {
    return tenfold_peer::serve({{"expression", expression},
                                {"degree_days", degree_days},
                                {"degree_days_if", degree_days_if},
                                {"degree_days_3", degree_days_3},
                                {"even_squares", even_squares},
                                {"even_squares_if", even_squares_if},
                                {"collect", collect_squares},
                                {"scan", scan},
                                {"find", find},
                                {"group", group}});
}
