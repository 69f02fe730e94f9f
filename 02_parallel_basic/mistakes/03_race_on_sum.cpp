// sum += x is three steps: read, add, write. Threads that share one sum overwrite each other's.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <vector>

#include "tenfold/parallel.hpp"

namespace py = pybind11;

PYBIND11_MODULE(race_on_sum, m) {
    m.def("wrong", [](std::size_t n) {
        py::gil_scoped_release free;
        const std::vector<double> ones(n, 1.0);
        double sum = 0;
#pragma omp parallel for num_threads(4)
        for (std::size_t i = 0; i < n; ++i) sum += ones[i];  // shared by all four
        return sum;
    });
    m.def("right", [](std::size_t n) {
        py::gil_scoped_release free;
        const std::vector<double> ones(n, 1.0);
        constexpr std::size_t chunk = 4096;
        std::vector<double> sums((n + chunk - 1) / chunk);
        tenfold::parallel_chunks(n, chunk, 4, [&](std::size_t begin, std::size_t end) {
            double mine = 0;  // nobody else sees it
            for (std::size_t i = begin; i < end; ++i) mine += ones[i];
            sums[begin / chunk] = mine;
        });
        double sum = 0;
        for (const double each : sums) sum += each;
        return sum;
    });
}
