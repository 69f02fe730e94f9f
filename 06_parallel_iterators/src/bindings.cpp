// bindings.cpp - the module parallel_iterators: a list and an array overload of each call, each one a pipeline.
// Nothing algorithmic: the stages are in include/tenfold, the conversions in boundary.hpp. What is where:
//   bind_maps.hpp         as many numbers out as in: map, zip, scan, windows, transpose, chain
//   bind_selections.hpp   some of them: filter_map, partition, group_by, flat_map, strings
//   bind_reductions.hpp   one answer: fold, find, predicates, sums of chains
#include "bind_maps.hpp"
#include "bind_reductions.hpp"
#include "bind_selections.hpp"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used(), pybind11::multiple_interpreters::per_interpreter_gil()) {
    tenfold::boundary::begin_module();
    m.doc() = "Lesson 06: parallel pipelines - map, filter, flat_map, fold, scan, group_by, windows, find, in one pass.";
    bind::bind_maps(m);
    bind::bind_selections(m);
    bind::bind_reductions(m);
}
