// Exercise 1. raise_to(maximum, value) makes `maximum` at least `value`, from any number of threads. It is almost right: between
// its load and its store another thread may have written something larger, which is then lost. Make it a loop around
//     bool maximum.compare_exchange_weak(seen, value)
// which writes `value` only if `maximum` still is `seen`; else it returns false, and `seen` is what `maximum` is now.
#include <pybind11/pybind11.h>

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

namespace py = pybind11;

template <class Atomic>
void raise_to(Atomic& maximum, long value) {
    const long seen = maximum.load();
    if (seen < value) maximum.store(value);
}

// ---- what the test looks at; nothing to do below

// An atomic with bad luck: right before the first write, "another thread" writes 90.
struct unlucky {
    long load() { return value; }
    void store(long desired) {
        interfere();
        value = desired;
    }
    bool compare_exchange_weak(long& expected, long desired) {
        interfere();
        if (value == expected) {
            value = desired;
            return true;
        }
        expected = value;
        return false;
    }
    bool compare_exchange_strong(long& expected, long desired) { return compare_exchange_weak(expected, desired); }
    void interfere() {
        if (!interfered) value = 90;
        interfered = true;
    }

    long value = 10;
    bool interfered = false;
};

PYBIND11_MODULE(atomic_maximum, m) {
    m.def("with_bad_luck", [](long value) {
        unlucky maximum;
        raise_to(maximum, value);
        return maximum.value;
    });
    m.def("from_threads", [](int threads, long values) {
        py::gil_scoped_release free;
        std::atomic<long> maximum = -1;
        std::latch start(threads);
        std::vector<std::jthread> team;
        for (int t = 0; t < threads; ++t)
            team.emplace_back([&, t] {
                start.arrive_and_wait();
                for (long i = 0; i < values; ++i) raise_to(maximum, i * threads + t);
            });
        team.clear();  // joins
        return maximum.load();
    });
}
