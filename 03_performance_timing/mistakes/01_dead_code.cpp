// A compiler may remove whatever cannot be observed. A result that nobody uses cannot: the loop goes, the clock stays.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <vector>

#include "tenfold/timing.hpp"

namespace py = pybind11;

inline double sum_of_squares(const std::vector<double>& values) {
    double sum = 0.0;
    for (std::size_t i = 0, n = values.size(); i < n; ++i) sum += values[i] * values[i];
    return sum;
}

PYBIND11_MODULE(dead_code, m) {
    m.def("wrong", [](std::size_t n) {
        const std::vector<double> values(n, 1.5);
        const tenfold::timer watch;
        (void)sum_of_squares(values);
        return watch.elapsed();
    });
    m.def("right", [](std::size_t n) {
        const std::vector<double> values(n, 1.5);
        const tenfold::timer watch;
        tenfold::keep(sum_of_squares(values));  // Google Benchmark: benchmark::DoNotOptimize
        return watch.elapsed();
    });
}
