// released.hpp - run native work with a lock given back, and still be interruptible.
//
// The lock is Python's GIL in this lesson, but nothing here knows Python: `Release` is any guard that gives a lock up
// when it is constructed and takes it back when it is destroyed (pybind11::gil_scoped_release is one), and `check`
// asks, with the lock held, whether to give up (PyErr_CheckSignals does, after Ctrl-C). So that no other thread
// waits for us, the lock is held only for that question, every 50 ms.
//
// Copy: this file.   #include <tenfold/released.hpp>   C++20, no library, no flag.
//
//   long long primes = tenfold::released<py::gil_scoped_release>(
//       [] { return PyErr_CheckSignals() != 0; },
//       [&](auto stop) { return tenfold::count_primes(n, stop); });
#pragma once

#include <chrono>
#include <optional>

namespace tenfold {

// How long a call may run before it looks whether it should stop. A look costs one release and one reacquire of the
// lock: against a busy Python thread that may be 5 ms (sys.getswitchinterval()), so it must stay rare.
inline constexpr std::chrono::milliseconds poll_interval{50};

/// Takes the lock back for a moment.
template <class Release>
class retaken {
public:
    explicit retaken(std::optional<Release>& free) : free_(free) { free_.reset(); }
    ~retaken() { free_.emplace(); }
    retaken(const retaken&) = delete;
    retaken& operator=(const retaken&) = delete;

private:
    std::optional<Release>& free_;
};

/// Calls `work(stop)` with the lock released and returns its result. `stop()` is for the calling thread only, may be
/// called as often as the work likes (it reads a clock), and is true once `check()` has said so.
template <class Release, class Check, class Work>
decltype(auto) released(Check check, Work work) {
    std::optional<Release> free(std::in_place);
    auto next_look = std::chrono::steady_clock::now() + poll_interval;
    bool stopping = false;
    auto stop = [&] {
        if (stopping || std::chrono::steady_clock::now() < next_look) return stopping;
        {
            const retaken held(free);
            stopping = check();  // may throw: the work must unwind without the lock too
        }
        next_look = std::chrono::steady_clock::now() + poll_interval;
        return stopping;
    };
    return work(stop);  // by value or by exception, ~optional takes the lock back
}

}  // namespace tenfold
