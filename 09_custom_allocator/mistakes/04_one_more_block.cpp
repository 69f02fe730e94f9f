// Mistake: waiting for a second block while holding a first. When every thread does so and the pool has no more blocks than
// threads, all of them wait for all of them. The cure: a pool as large as what all need at once, or nothing held while waiting.
#include <pybind11/pybind11.h>

#include <barrier>
#include <thread>

#include "tenfold/buffer_pool.hpp"

namespace {

void run(std::size_t blocks) {
    tenfold::buffer_pool pool(4096, blocks);
    std::barrier both_hold_one(2);
    const auto work = [&] {
        const tenfold::buffer in = pool.acquire_wait();
        both_hold_one.arrive_and_wait();
        const tenfold::buffer out = pool.acquire_wait();
    };
    std::jthread other(work);
    work();
}

}  // namespace

PYBIND11_MODULE(one_more_block, m) {
    m.def("wrong", [] { run(2); }, pybind11::call_guard<pybind11::gil_scoped_release>());
    m.def("right", [] { run(4); }, pybind11::call_guard<pybind11::gil_scoped_release>());
}
