// Python handles signals between two of its own instructions: never, while native code runs. A loop that may run for
// long has to ask.
#include <pybind11/pybind11.h>

#include <chrono>

#include "tenfold/released.hpp"

namespace py = pybind11;
using clock_type = std::chrono::steady_clock;

PYBIND11_MODULE(deaf_to_ctrl_c, m) {
    m.def("wrong", [](double seconds) {
        py::gil_scoped_release free;
        const auto end = clock_type::now() + std::chrono::duration<double>(seconds);
        while (clock_type::now() < end) {
        }
    });
    m.def("right", [](double seconds) {
        const auto end = clock_type::now() + std::chrono::duration<double>(seconds);
        const bool stopped = tenfold::released<py::gil_scoped_release>([] { return PyErr_CheckSignals() != 0; },
                                                                       [&](auto stop) {
                                                                           while (clock_type::now() < end)
                                                                               if (stop()) return true;
                                                                           return false;
                                                                       });
        if (stopped) throw py::error_already_set();
    });
}
