// Exercise 1. count_primes(n) cuts its range in halves until a piece is small, but one thread does all the pieces. Let the
// pool's workers share them: replace the two recursive calls by worker.join(left, right). It takes two functions, returns a
// pair of their results, and `right` may run on another worker meanwhile. So each function has a parameter pool_worker& mine,
// the worker that runs it, and goes on with that one: `worker` may be another thread's by then.
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
    const std::int64_t left = count(worker, begin, middle);
    const std::int64_t right = count(worker, middle, end);
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
