// counter += 1 is three steps: read, add, write. Threads that take them at once overwrite each other's; volatile only keeps
// the compiler from taking the steps away. An atomic does the three in one.
#include <pybind11/pybind11.h>

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

namespace py = pybind11;

template <class Increment>
void on_each(int threads, Increment increment) {
    py::gil_scoped_release free;
    std::latch start(threads);
    std::vector<std::jthread> team;
    for (int t = 0; t < threads; ++t)
        team.emplace_back([&] {
            start.arrive_and_wait();
            increment();
        });
}

PYBIND11_MODULE(plain_counter, m) {
    m.def("wrong", [](int threads, long increments) {
        volatile long counter = 0;
        on_each(threads, [&] {
            for (long i = 0; i < increments; ++i) counter = counter + 1;
        });
        return long(counter);
    });
    m.def("right", [](int threads, long increments) {
        std::atomic<long> counter = 0;
        on_each(threads, [&] {
            for (long i = 0; i < increments; ++i) counter.fetch_add(1, std::memory_order_relaxed);  // ordered by the join
        });
        return counter.load();
    });
}
