// Exercise 1, solved: the right half may be stolen, the left one runs here at once. The pool sees to the rest: a half that
// nobody stole is called like any function.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <utility>

#include "tenfold/thread_pool.hpp"

namespace py = pybind11;
using tenfold::pool_worker;

inline bool is_prime(std::int64_t n) {
    for (std::int64_t d = 2; d * d <= n; ++d)
        if (n % d == 0) return false;
    return n > 1;
}

// How many primes there are in [begin, end).
std::int64_t count(pool_worker& worker, std::int64_t begin, std::int64_t end) {
    if (end - begin <= 1000) {
        std::int64_t found = 0;
        for (std::int64_t n = begin; n < end; ++n) found += is_prime(n) ? 1 : 0;
        return found;
    }
    const std::int64_t middle = begin + (end - begin) / 2;
    const auto [left, right] = worker.join([=](pool_worker& mine) { return count(mine, begin, middle); },
                                           [=](pool_worker& mine) { return count(mine, middle, end); });
    return left + right;
}

PYBIND11_MODULE(fork_and_join, m) {
    // (primes below n, how often a worker has stolen)
    m.def("count_primes", [](std::int64_t n, int threads) {
        const py::gil_scoped_release free;
        tenfold::thread_pool pool(threads);
        const std::int64_t primes = pool.run([&](pool_worker& worker) { return count(worker, 0, n); });
        return std::pair(primes, pool.counters().steals);
    });
}
