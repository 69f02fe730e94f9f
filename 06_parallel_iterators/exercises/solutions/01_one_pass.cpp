// Exercise 1, solved: what leaves the filter goes straight into the map and the sum, number by number.
#include <pybind11/pybind11.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <span>
#include <vector>

#include "boundary.hpp"
#include "tenfold/par.hpp"

namespace py = pybind11;
using namespace py::literals;
using tenfold::boundary::list_of;

double power(std::span<const double> x, double level, int threads) {
    return tenfold::par(x, tenfold::openmp_executor{threads}) | tenfold::filter([=](double v) { return v > level; }) |
           tenfold::map([=](double v) { return (v - level) * (v - level); }) | tenfold::sum();
}

// ---- What the test needs: how many bytes `power` asked for. Leave it as it is.

std::atomic<std::size_t> bytes_asked{0};

void* operator new(std::size_t size) {
    bytes_asked += size;
    if (void* memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

PYBIND11_MODULE(one_pass, m) {
    m.def(
        "power",
        [](const list_of<double, "x">& x, double level, int threads) {
            const auto values = x.read();
            const std::size_t before = bytes_asked;
            double result = 0;
            {
                py::gil_scoped_release free;
                result = power(values.span(), level, threads);
            }
            return py::make_tuple(result, bytes_asked - before);
        },
        "x"_a, "level"_a, "threads"_a);
}
