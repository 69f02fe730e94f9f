// Exercise 1. power(x, level) adds up (v - level)^2 over the v > level. It makes two vectors on the way. Write it as one
// pipeline that makes none, on `threads` threads:
//     tenfold::par(range, tenfold::openmp_executor{threads}) | tenfold::map(f) | tenfold::filter(f) | ... | tenfold::sum()
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
    (void)threads;
    std::vector<double> above;
    for (const double v : x)
        if (v > level) above.push_back(v - level);
    std::vector<double> squares(above.size());
    for (std::size_t i = 0; i < above.size(); ++i) squares[i] = above[i] * above[i];
    double sum = 0;
    for (const double square : squares) sum += square;
    return sum;
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
