// Exercise 1. longest_collatz(n) computes for a long time and touches no Python object, yet it stops every other
// Python thread. Make it release the GIL while it computes. (The answer must stay the same.)
#include <pybind11/pybind11.h>

namespace py = pybind11;

// The start below n with the longest Collatz sequence.
long long longest(long long n) {
    long long best = 1, best_length = 1;
    for (long long start = 1; start < n; ++start) {
        long long length = 1;
        for (long long x = start; x != 1; x = x % 2 == 0 ? x / 2 : 3 * x + 1) ++length;
        if (length > best_length) {
            best = start;
            best_length = length;
        }
    }
    return best;
}

PYBIND11_MODULE(release_it, m) {
    m.def("longest_collatz", [](long long n) { return longest(n); });
}
