// par() of a span, a view or a named range refers to it, so that a million numbers are not copied. They must live until the sink
// has run. par(std::move(v)) takes the numbers along.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "tenfold/par.hpp"

namespace py = pybind11;

auto pipeline_over_ones(std::size_t n) {
    std::vector<double> numbers(n, 1.0);
    const std::span<const double> view(numbers);
    return tenfold::par(view) | tenfold::map([](double x) { return x; });  // refers to numbers, which end here
}

auto pipeline_that_owns_ones(std::size_t n) {
    std::vector<double> numbers(n, 1.0);
    return tenfold::par(std::move(numbers)) | tenfold::map([](double x) { return x; });
}

PYBIND11_MODULE(dangling_range, m) {
    m.def("wrong", [](std::size_t n) {
        py::gil_scoped_release free;
        auto pipeline = pipeline_over_ones(n);
        const std::vector<double> others(n, 7.0);  // most likely where the ones were
        return std::move(pipeline) | tenfold::sum();
    });
    m.def("right", [](std::size_t n) {
        py::gil_scoped_release free;
        auto pipeline = pipeline_that_owns_ones(n);
        const std::vector<double> others(n, 7.0);
        return std::move(pipeline) | tenfold::sum();
    });
}
