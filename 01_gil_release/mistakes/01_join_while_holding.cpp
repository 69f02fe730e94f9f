// A native thread calls Python, so it needs the GIL; whoever waits for it must not be holding the GIL.
#include <pybind11/pybind11.h>

#include <thread>

namespace py = pybind11;

PYBIND11_MODULE(join_while_holding, m) {
    m.def("wrong", [](const py::function& function) {
        std::thread worker([&] {
            py::gil_scoped_acquire gil;  // waits for the GIL, which the caller below never gives back
            function();
        });
        worker.join();
    });
    m.def("right", [](const py::function& function) {
        py::gil_scoped_release free;  // the caller waits without the GIL
        std::thread worker([&] {
            py::gil_scoped_acquire gil;
            function();
        });
        worker.join();
    });
}
