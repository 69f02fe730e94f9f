// A stage's function is called by several threads at once, and block by block: neither is `position` safe to change, nor is it
// the item's place. enumerate() hands each item its place.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <utility>
#include <vector>

#include "tenfold/par.hpp"

namespace py = pybind11;

// Each item should be its own place.
std::size_t wrong_places(const std::vector<std::size_t>& places) {
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < places.size(); ++i) wrong += places[i] != i;
    return wrong;
}

PYBIND11_MODULE(state_in_a_stage, m) {
    m.def("wrong", [](std::size_t n) {
        py::gil_scoped_release free;
        const std::vector<double> ones(n, 1.0);
        std::vector<std::size_t> out(n);
        std::size_t position = 0;
        tenfold::par(ones, tenfold::openmp_executor{4}) | tenfold::map([&](double) { return position++; }) |
            tenfold::into(std::span(out));
        return wrong_places(out);
    });
    m.def("right", [](std::size_t n) {
        py::gil_scoped_release free;
        const std::vector<double> ones(n, 1.0);
        std::vector<std::size_t> out(n);
        tenfold::par(ones, tenfold::openmp_executor{4}) | tenfold::enumerate() |
            tenfold::map([](const auto& item) { return item.first; }) | tenfold::into(std::span(out));
        return wrong_places(out);
    });
}
