// sample_tasks.hpp: two kinds of work to try a pool with.
//
// fib is all fork and join: each call forks one and computes the other, down to fib(1), with no cut-off. It measures what
// a fork costs and nothing else. burn is the opposite, work of a chosen length that nothing can shorten, so tasks can be
// made as uneven as one likes. A running task cannot be ended from outside, so both ask `give_up` now and then: any
// callable bool() that may be asked on every thread. Once it has said true, the answer means nothing.
//
// To copy it: #include <tenfold/sample_tasks.hpp>, `-std=c++20 -pthread`, with thread_pool.hpp and what that includes.
#pragma once

#include <cstdint>

#include <tenfold/thread_pool.hpp>

namespace tenfold {

/// fib(n) by its definition, as a task of a pool: about 1.6^n forks.
template <class GiveUp>
std::int64_t fib(pool_worker& worker, int n, const GiveUp& give_up) {
    if (n < 2) return n;
    if (n > 16 && give_up()) return 0;
    const auto [a, b] = worker.join([&](pool_worker& mine) { return fib(mine, n - 1, give_up); },
                                    [&](pool_worker& mine) { return fib(mine, n - 2, give_up); });
    return a + b;
}

/// About a microsecond per unit: each step needs the one before. The same answer everywhere.
template <class GiveUp>
std::int64_t burn(std::int64_t units, const GiveUp& give_up) {
    std::uint64_t x = static_cast<std::uint64_t>(units) + 0x9E3779B97F4A7C15u;
    for (std::int64_t unit = 0; unit < units && !give_up(); ++unit)
        for (int step = 0; step < 500; ++step) {  // xorshift64, G. Marsaglia 2003
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
    return static_cast<std::int64_t>(x >> 1);
}

}  // namespace tenfold
