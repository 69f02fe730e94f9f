// Exercise 3. count_collatz(n, threads) runs an OpenMP region with the GIL released, and Ctrl-C does not end it. Make it: run
// the loop with tenfold::parallel_chunks inside boundary.hpp's released(), and hand it the `stop` that released() gives you.
//     released([&](auto stop) { ... })     drops the GIL, runs the function; stop() is true once Ctrl-C was pressed
// parallel_chunks asks between chunks: a chunk is how long Ctrl-C waits, so make it milliseconds at most. It then throws
// tenfold::stopped, and released() turns that into KeyboardInterrupt. Chunks count from 0, the loop below from 1: steps(0) is 0.
// A whole number may be added up in any order: let each chunk add its count to one std::atomic. (A place for each chunk would
// be gigabytes here.)
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
std::int64_t count_long(std::size_t n, int threads) {
    std::int64_t found = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : found)
    for (std::size_t start = 1; start < n; ++start) found += steps(start) > 100 ? 1 : 0;
    return found;
}

PYBIND11_MODULE(stop_the_region, m) {
    m.def("count_collatz", [](std::size_t n, int threads) {
        py::gil_scoped_release free;
        return count_long(n, threads);
    });
}
