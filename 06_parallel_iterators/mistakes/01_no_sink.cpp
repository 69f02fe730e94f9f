// Stages are lazy: par(x) | inspect(f) | map(g) only remembers what is to be done. A sink does it: into, collect, sum, for_each ...
#include <pybind11/pybind11.h>

#include <atomic>
#include <cstddef>
#include <vector>

#include "tenfold/par.hpp"

namespace py = pybind11;

PYBIND11_MODULE(no_sink, m) {
    m.def("wrong", [](std::size_t n) {
        const std::vector<double> numbers(n, 1.0);
        std::atomic<std::size_t> seen{0};
        auto recipe = tenfold::par(numbers) | tenfold::inspect([&](double) { ++seen; });  // and then?
        (void)recipe;
        return seen.load();
    });
    m.def("right", [](std::size_t n) {
        py::gil_scoped_release free;
        const std::vector<double> numbers(n, 1.0);
        std::atomic<std::size_t> seen{0};
        tenfold::par(numbers) | tenfold::for_each([&](double) { ++seen; });
        return seen.load();
    });
}
