// An exception must be caught in the region that it was thrown in, by the thread that threw it: OpenMP says so, and nothing
// on the border can carry it across. It ends the process.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <stdexcept>
#include <string>

#include "tenfold/parallel.hpp"

namespace py = pybind11;

void work(std::size_t item) {
    if (item == 700) throw std::invalid_argument("item " + std::to_string(item) + " is bad");
}

PYBIND11_MODULE(exception_leaves_region, m) {
    m.def("wrong", [] {
        py::gil_scoped_release free;
#pragma omp parallel for num_threads(2)
        for (std::size_t i = 0; i < 1000; ++i) work(i);  // no try inside the region
    });
    m.def("right", [] {
        py::gil_scoped_release free;
        tenfold::parallel_chunks(1000, 10, 2, [](std::size_t begin, std::size_t end) {  // catches per chunk, rethrows here
            for (std::size_t i = begin; i < end; ++i) work(i);
        });
    });
}
