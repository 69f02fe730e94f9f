// bindings.cpp - the module zero_copy: a table of contents. What crosses, and how, is in bind_*.hpp; the loops are in
// include/tenfold. Every function looks at foreign memory, releases the GIL, and lets a kernel work on it where it is.
#include "bind_chain.hpp"
#include "bind_contract.hpp"
#include "bind_elementwise.hpp"
#include "bind_matrix.hpp"
#include "bind_pictures.hpp"
#include "bind_simd.hpp"
#include "bind_stream.hpp"
#include "bind_view.hpp"

namespace py = pybind11;

PYBIND11_MODULE(_core, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
    tenfold::boundary::begin_module();
    m.doc() = "Lesson 08: NumPy, buffers, Arrow and DLPack without copies; SIMD chosen at run time.";
    bind::bind_contract(m);
    bind::bind_elementwise(m);
    bind::bind_chain(m);
    bind::bind_matrix(m);
    bind::bind_pictures(m);
    bind::bind_simd(m);
    bind::bind_view(m);
    bind::bind_stream(m);
}
