// bindings.cpp - the module production_pipeline: conversions, GIL, docstrings. The algorithms are in include/tenfold.
#include <pybind11/pybind11.h>

#include "bind_calls.hpp"
#include "bind_data_pipeline.hpp"
#include "bind_program.hpp"

namespace py = pybind11;

PYBIND11_MODULE(_core, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
    tenfold::boundary::begin_module();
    m.doc() =
        "Lesson 10: a production pipeline - DataPipeline, aggregate_pipeline, and what Pipeline's native stages are made of.";
    bind::bind_data_pipeline(m);
    bind::bind_program(m);
    bind::bind_calls(m);
    m.def("usable_cores", &tenfold::boundary::usable_cores, R"(
The cores that this process may use: affinity and cgroup limits respected.

Returns
-------
int
)");
}
