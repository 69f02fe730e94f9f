// libgomp keeps its workers between regions. fork() copies the note that they exist, but no threads: the next region in
// the child waits for workers that are not there. (LLVM's libomp starts anew in the child.)
#include <pybind11/pybind11.h>

#include <atomic>
#include <cstddef>

#include "tenfold/parallel.hpp"

namespace py = pybind11;

PYBIND11_MODULE(fork_after_openmp, m) {
    m.def("wrong", [] {
        py::gil_scoped_release free;
        std::atomic<int> done{0};
#pragma omp parallel for num_threads(2)
        for (int i = 0; i < 100; ++i) ++done;
    });
    m.def("right", [] {
        py::gil_scoped_release free;
        std::atomic<int> done{0};
        tenfold::parallel_chunks(100, 1, 2, [&](std::size_t, std::size_t) { ++done; });  // knows who has forked
    });
}
