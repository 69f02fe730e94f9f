// Exercise 3. count_perfect(n) releases the GIL, but Ctrl-C does not end it. Use tenfold::released, so that it does.
#include <pybind11/pybind11.h>

#include "tenfold/released.hpp"

namespace py = pybind11;

// How many perfect numbers there are up to n (6, 28, 496, ...), by adding up all divisors.
long long perfect(long long n) {
    long long count = 0;
    for (long long number = 2; number <= n; ++number) {
        long long sum = 1;
        for (long long d = 2; d < number; ++d)
            if (number % d == 0) sum += d;
        count += sum == number ? 1 : 0;
    }
    return count;
}

PYBIND11_MODULE(hear_ctrl_c, m) {
    m.def("count_perfect", [](long long n) {
        py::gil_scoped_release free;
        return perfect(n);
    });
}
