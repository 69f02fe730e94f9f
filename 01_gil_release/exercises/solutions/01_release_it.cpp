// Exercise 1, solved: call_guard releases the GIL after the argument was converted, and takes it back before the
// result is.
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
    m.def("longest_collatz", [](long long n) { return longest(n); }, py::call_guard<py::gil_scoped_release>());
}
