// reduction(+ : sum) gives each thread a share that depends on how many there are. Floating-point addition rounds, so other
// shares are other last digits: results change from machine to machine.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <vector>

#include "tenfold/parallel.hpp"

namespace py = pybind11;

std::vector<double> values(std::size_t n) {
    std::vector<double> out(n);
    for (std::size_t i = 0; i < n; ++i) out[i] = 1.0 / static_cast<double>(i + 1);
    return out;
}

PYBIND11_MODULE(sum_by_reduction, m) {
    m.def("wrong", [](int threads) {
        const auto numbers = values(1'000'000);
        double sum = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : sum)
        for (std::size_t i = 0; i < numbers.size(); ++i) sum += numbers[i];
        return sum;
    });
    m.def("right", [](int threads) {
        const auto numbers = values(1'000'000);
        constexpr std::size_t chunk = 4096;  // the same chunks for every team
        std::vector<double> sums(numbers.size() / chunk + 1);
        tenfold::parallel_chunks(numbers.size(), chunk, threads, [&](std::size_t begin, std::size_t end) {
            for (std::size_t i = begin; i < end; ++i) sums[begin / chunk] += numbers[i];
        });
        double sum = 0;
        for (const double each : sums) sum += each;  // in index order
        return sum;
    });
}
