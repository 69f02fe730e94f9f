// Exercise 1. dot(a, b) is parallel and almost right: its last digits change with the number of threads. Make it the same
// for every number: cut the arrays into chunks of 4096, add up each chunk from left to right in a double of its own, then
// add the chunks' sums in index order. tenfold::parallel_chunks cuts and runs; work on several threads all the same.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <span>
#include <vector>

#include "boundary.hpp"
#include "tenfold/parallel.hpp"

namespace py = pybind11;
using namespace py::literals;
using tenfold::boundary::list_of;

double dot(std::span<const double> a, std::span<const double> b, int threads) {
    double sum = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : sum)
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

PYBIND11_MODULE(parallel_dot, m) {
    m.def(
        "dot",
        [](const list_of<double, "a">& a, const list_of<double, "b">& b, int threads) {
            const auto left = a.read(), right = b.read();
            if (left.size() != right.size()) throw py::value_error("a and b must have the same length");
            py::gil_scoped_release free;
            return dot(left.span(), right.span(), threads);
        },
        "a"_a, "b"_a, "threads"_a);
}
