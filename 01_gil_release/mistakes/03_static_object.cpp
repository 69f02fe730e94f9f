// A function-local static has a lock of its own. One thread takes that lock and, while it imports, lets the GIL go;
// another takes the GIL and waits for the static's lock. Neither can go on.
#include <pybind11/gil_safe_call_once.h>
#include <pybind11/pybind11.h>

namespace py = pybind11;

// Stands for any import or call that lets the GIL go for a moment: most do.
py::object slow_import() {
    py::module_::import("time").attr("sleep")(0.5);
    return py::module_::import("fractions").attr("Fraction");
}

PYBIND11_MODULE(static_object, m) {
    m.def("wrong", [](int n) {
        static const py::object fraction = slow_import();
        return fraction(n);
    });
    m.def("right", [](int n) {
        PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> storage;
        return storage.call_once_and_store_result(slow_import).get_stored()(n);
    });
}
