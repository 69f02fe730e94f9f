// The same work as one writes it with oneTBB, without branches that depend on the data, and, where it has no algorithm, the standard's
// parallel ones on top of it.
#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/parallel_reduce.h>

#include <algorithm>
#include <cstdint>
#include <execution>
#include <functional>
#include <numeric>
#include <vector>

#include "peer_data.hpp"

using peer_data::measure;
using peer_data::of;

namespace {

using range = tbb::blocked_range<std::size_t>;

tenfold_peer::timed expression(long n) {
    auto& d = of(n);
    return measure(
        [&] {
            tbb::parallel_for(range(0, d.a.size()),
                              [a = d.a.data(), b = d.b.data(), c = d.c.data(), out = d.out.data()](const range& r) {
                                  for (std::size_t i = r.begin(); i < r.end(); ++i) out[i] = a[i] * b[i] + c[i] * 2.0 - 1.0;
                              });
        },
        [&] { return peer_data::some_of(d.out); });
}

tenfold_peer::timed degree_days(long n) {
    auto& d = of(n);
    double total = 0.0;
    return measure(
        [&] {
            total = tbb::parallel_reduce(
                range(0, d.a.size()), 0.0,
                [f = d.a.data()](const range& r, double sum) {
                    for (std::size_t i = r.begin(); i < r.end(); ++i) {
                        const double above = (f[i] - 32.0) * (5.0 / 9.0) - 18.0;
                        sum += std::max(0.0, above);
                    }
                    return sum;
                },
                std::plus<>{});
        },
        [&] { return total; });
}

tenfold_peer::timed even_squares(long n) {
    auto& d = of(n);
    std::int64_t total = 0;
    return measure(
        [&] {
            total = tbb::parallel_reduce(
                range(0, d.k.size()), std::int64_t{0},
                [k = d.k.data()](const range& r, std::int64_t sum) {
                    for (std::size_t i = r.begin(); i < r.end(); ++i)
                        sum += k[i] * k[i] & -static_cast<std::int64_t>(k[i] % 2 == 0);
                    return sum;
                },
                std::plus<>{});
        },
        [&] { return total; });
}

tenfold_peer::timed collect_squares(long n) {
    auto& d = of(n);
    double answer = 0.0;
    const auto start = std::chrono::steady_clock::now();
    {
        std::vector<std::int64_t> kept(d.k.size());
        const auto end =
            std::copy_if(std::execution::par, d.k.begin(), d.k.end(), kept.begin(), [](std::int64_t v) { return v % 2 == 0; });
        std::for_each(std::execution::par, kept.begin(), end, [](std::int64_t& v) { v *= v; });
        const auto size = static_cast<std::size_t>(end - kept.begin());
        answer = static_cast<double>(size) + static_cast<double>(kept[size / 2]);
    }
    return {tenfold_peer::seconds_since(start), answer};
}

tenfold_peer::timed scan(long n) {
    auto& d = of(n);
    return measure([&] { std::inclusive_scan(std::execution::par, d.k.begin(), d.k.end(), d.grouped.begin()); },
                   [&] { return peer_data::some_of(d.grouped); });
}

tenfold_peer::timed find(long n) {
    auto& d = of(n);
    bool found = true;
    return measure([&] { found = std::find(std::execution::par, d.k.begin(), d.k.end(), peer_data::absent) != d.k.end(); },
                   [&] { return found ? 1 : 0; });
}

}  // namespace

int main() {
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                                    static_cast<std::size_t>(tenfold_peer::threads()));
    return tenfold_peer::serve({{"expression", expression},
                                {"degree_days", degree_days},
                                {"even_squares", even_squares},
                                {"collect", collect_squares},
                                {"scan", scan},
                                {"find", find}});
}
