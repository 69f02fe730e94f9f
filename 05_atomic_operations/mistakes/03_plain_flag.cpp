// The compiler may assume that nobody else writes a plain variable, so it reads `ready` once, before the loop: the thread that
// waits never sees it change. An atomic is read again and again, and release/acquire carries `answer` along with it.
#include <pybind11/pybind11.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace py = pybind11;

template <class Flag>
int wait_for_answer() {
    static Flag ready{false};
    static int answer = 0;
    py::gil_scoped_release free;
    std::jthread writer([] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        answer = 42;
        ready = true;  // atomic: a store that releases `answer`
    });
    volatile unsigned long turns = 0;            // (a loop that does nothing at all may be removed altogether)
    while (!ready) turns = turns + 1;            // atomic: a load that acquires it
    return answer;
}

PYBIND11_MODULE(plain_flag, m) {
    m.def("wrong", wait_for_answer<bool>);
    m.def("right", wait_for_answer<std::atomic<bool>>);
}
