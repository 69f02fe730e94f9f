// A function that doubles an array in place, twice: with the array_t that everybody writes, and with noconvert.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace py = pybind11;

template <class Array>
static void twice(Array& values) {
    double* const data = values.mutable_data();
    for (py::ssize_t i = 0; i < values.size(); ++i) data[i] *= 2.0;
}

PYBIND11_MODULE(lost_in_a_copy, m) {
    // array_t's default is forcecast: what is not float64 is converted, into a copy that nobody ever sees.
    m.def("wrong", [](py::array_t<double> values) { twice(values); });
    m.def("right", [](py::array_t<double, py::array::c_style> values) { twice(values); }, py::arg("values").noconvert());
}
