// Exercise 3, solved: parallel_chunks asks `stop` on the calling thread between chunks and throws tenfold::stopped when all
// threads have left; released() turns that into the KeyboardInterrupt. Chunks stay short, so the answer comes soon.
#include <pybind11/pybind11.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "boundary.hpp"
#include "tenfold/parallel.hpp"

namespace py = pybind11;
using tenfold::boundary::released;

// Steps that the Collatz sequence takes from `start` down to 1; 0 for 0.
inline int steps(std::uint64_t start) {
    int count = 0;
    for (std::uint64_t x = start; x > 1; x = x % 2 == 0 ? x / 2 : 3 * x + 1) ++count;
    return count;
}

// How many starts below n take more than 100 steps.
template <class Stop>
std::int64_t count_long(std::size_t n, int threads, Stop stop) {
    std::atomic<std::int64_t> found{0};
    tenfold::parallel_chunks(
        n, 1000, threads,
        [&](std::size_t begin, std::size_t end) {
            std::int64_t mine = 0;
            for (std::size_t start = begin; start < end; ++start) mine += steps(start) > 100 ? 1 : 0;
            found.fetch_add(mine, std::memory_order_relaxed);  // read after the region's barrier
        },
        stop);
    return found;
}

PYBIND11_MODULE(stop_the_region, m) {
    m.def("count_collatz",
          [](std::size_t n, int threads) { return released([&](auto stop) { return count_long(n, threads, stop); }); });
}
