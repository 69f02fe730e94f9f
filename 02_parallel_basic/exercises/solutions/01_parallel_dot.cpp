// Exercise 1, solved: what a chunk's sum is depends on its borders only, and these on 4096 only.
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
    constexpr std::size_t chunk = 4096;
    std::vector<double> sums((a.size() + chunk - 1) / chunk);
    tenfold::parallel_chunks(a.size(), chunk, threads, [&](std::size_t begin, std::size_t end) {
        double sum = 0;
        for (std::size_t i = begin; i < end; ++i) sum += a[i] * b[i];
        sums[begin / chunk] = sum;
    });
    double sum = 0;
    for (const double each : sums) sum += each;
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
