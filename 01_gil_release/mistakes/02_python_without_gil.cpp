// Everything that touches a Python object needs the GIL, a reference count too. Compiled without NDEBUG, pybind11
// checks that at every reference count and says so; compiled with NDEBUG, it corrupts memory now and then.
#undef NDEBUG
#include <pybind11/pybind11.h>

#include <vector>

namespace py = pybind11;

PYBIND11_MODULE(python_without_gil, m) {
    m.def("wrong", [](const py::list& numbers) {
        py::gil_scoped_release free;
        double sum = 0;
        for (py::handle item : numbers) sum += double(py::reinterpret_borrow<py::float_>(item));  // no GIL
        return sum;
    });
    m.def("right", [](const py::list& numbers) {
        std::vector<double> values;
        for (py::handle item : numbers) values.push_back(item.cast<double>());  // read everything first
        py::gil_scoped_release free;                                            // then let go
        double sum = 0;
        for (double value : values) sum += value;
        return sum;
    });
}
