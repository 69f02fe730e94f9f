// Exercise 3, solved: the loop asks `stop` now and then; whoever stops says so, and the pending KeyboardInterrupt is
// raised when the GIL is held again.
#include <pybind11/pybind11.h>

#include <optional>

#include "tenfold/released.hpp"

namespace py = pybind11;

// How many perfect numbers there are up to n (6, 28, 496, ...), by adding up all divisors; nothing when stopped.
template <class Stop>
std::optional<long long> perfect(long long n, Stop stop) {
    long long count = 0;
    for (long long number = 2; number <= n; ++number) {
        if (stop()) return std::nullopt;
        long long sum = 1;
        for (long long d = 2; d < number; ++d)
            if (number % d == 0) sum += d;
        count += sum == number ? 1 : 0;
    }
    return count;
}

PYBIND11_MODULE(hear_ctrl_c, m) {
    m.def("count_perfect", [](long long n) {
        const auto count = tenfold::released<py::gil_scoped_release>([] { return PyErr_CheckSignals() != 0; },
                                                                     [&](auto stop) { return perfect(n, stop); });
        if (!count) throw py::error_already_set();
        return *count;
    });
}
