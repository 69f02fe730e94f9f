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

/// In a call with keywords pybind11 looks for every argument's name as an interned string. One that nobody keeps is put into the
/// interpreter's table and taken out again, at each call: for a small array that is a tenth of the time.
static py::tuple interned(std::initializer_list<const char*> names) {
    py::tuple kept(names.size());
    std::size_t i = 0;
    for (const char* const name : names) {
        auto text = py::reinterpret_steal<py::object>(PyUnicode_InternFromString(name));
        if (!text) throw py::error_already_set();
        kept[i++] = std::move(text);
    }
    return kept;
}

PYBIND11_MODULE(_core, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
    tenfold::boundary::begin_module();
    m.doc() = "Lesson 08: NumPy, buffers, Arrow and DLPack without copies; SIMD chosen at run time.";
    m.attr("_argument_names") = interned({"a", "b", "c", "data", "image", "kernel", "matrix", "vector", "out", "num_threads"});
    bind::bind_contract(m);
    bind::bind_elementwise(m);
    bind::bind_chain(m);
    bind::bind_matrix(m);
    bind::bind_pictures(m);
    bind::bind_simd(m);
    bind::bind_view(m);
    bind::bind_stream(m);
}
