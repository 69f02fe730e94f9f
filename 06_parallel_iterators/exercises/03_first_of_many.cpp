// Exercise 3. find(x, target, threads) looks at everything and returns the match that was stored last. Make it return the index of
// the first match at every thread count, and stop early: threads take blocks in order, so a block that begins behind a match that
// is known need not be looked at, but one before it must be.
//     an atomic minimum: size_t seen = a.load(); while (mine < seen && !a.compare_exchange_weak(seen, mine)) {}
#include <pybind11/pybind11.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "boundary.hpp"
#include "tenfold/par.hpp"

namespace py = pybind11;
using namespace py::literals;
using tenfold::boundary::list_of;

constexpr std::size_t block = 4096;
constexpr std::size_t none = static_cast<std::size_t>(-1);

std::atomic<std::size_t> looked_at{0};  // blocks, for the test: count each one

std::size_t find(std::span<const std::int64_t> x, std::int64_t target, int threads) {
    std::atomic<std::size_t> next{0}, found{none};
    const auto worker = [&](int) noexcept {
        for (;;) {
            const std::size_t begin = block * next.fetch_add(1);
            if (begin >= x.size()) return;
            ++looked_at;
            const auto part = x.subspan(begin, std::min(block, x.size() - begin));
            const auto place = std::find(part.begin(), part.end(), target);
            if (place != part.end()) found = begin + static_cast<std::size_t>(place - part.begin());
        }
    };
    tenfold::openmp_executor{threads}.run(threads, worker);  // calls worker(0), worker(1), ... each in a thread of its own
    return found;
}

PYBIND11_MODULE(first_of_many, m) {
    m.def(
        "find",
        [](const list_of<std::int64_t, "x">& x, std::int64_t target, int threads) -> py::tuple {
            const auto values = x.read();
            looked_at = 0;
            std::size_t index = none;
            {
                py::gil_scoped_release free;
                index = find(values.span(), target, threads);
            }
            return py::make_tuple(index == none ? py::object(py::none()) : py::object(py::int_(index)), looked_at.load());
        },
        "x"_a, "target"_a, "threads"_a);
}
