// bindings.cpp - the module gil_release: what the calls take, where they give the GIL back. Nothing algorithmic.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gil.hpp"
#include "tenfold/gil_observer.hpp"
#include "tenfold/primes.hpp"
#include "tenfold/rendezvous.hpp"
#include "tenfold/team.hpp"

namespace py = pybind11;
using namespace py::literals;
using namespace tenfold::boundary;

namespace {

using clock_type = std::chrono::steady_clock;
constexpr std::int64_t most_threads = 1024;
constexpr std::int64_t most_sieved = 10'000'000'000'000'000;  // its root, 10^8, is the sieve's memory in bytes

std::int64_t primes_blocking(std::int64_t n) {
#ifdef Py_GIL_DISABLED
    // A free-threaded build has no GIL to hold: this lock stands for it. Waiting for it must not hold anything else.
    static std::mutex stand_in;
    std::unique_lock lock(stand_in, std::try_to_lock);
    if (!lock) {
        gil_release free;
        lock.lock();
    }
#endif
    return holding_gil([&](auto stop) { return tenfold::count_primes(n, stop); });
}

std::int64_t primes_releasing(std::int64_t n) {
    return without_gil([&](auto stop) { return tenfold::count_primes(n, stop); });
}

std::pair<double, double> benchmark(std::int64_t n, std::int64_t iterations) {
    clock_type::duration blocking{}, releasing{};
    for (std::int64_t i = 0; i < iterations; ++i) {  // side by side, so that a busy machine slows both
        const auto a = clock_type::now();
        primes_blocking(n);
        const auto b = clock_type::now();
        primes_releasing(n);
        blocking += b - a;
        releasing += clock_type::now() - b;
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    }
    using seconds = std::chrono::duration<double>;
    return {seconds(blocking).count(), seconds(releasing).count()};
}

/// Nanoseconds of each release + reacquire, the clock's own cost taken off. `bare`: the C-API pair, no guard.
std::vector<double> round_trips(double seconds, bool bare) {
    constexpr std::size_t most_samples = 200'000;
    const auto ns = [](auto d) { return std::chrono::duration<double, std::nano>(d).count(); };
    double clock_cost = 1e9;
    for (int i = 0; i < 1000; ++i) {
        const auto a = clock_type::now();
        clock_cost = std::min(clock_cost, ns(clock_type::now() - a));
    }
    std::vector<double> samples;
    const auto begin = clock_type::now();
    auto now = begin;
    while (samples.size() < most_samples && std::chrono::duration<double>(now - begin).count() < seconds) {
        const auto a = clock_type::now();
        if (bare) {
            PyEval_RestoreThread(PyEval_SaveThread());
        } else {
            gil_release free;
        }
        now = clock_type::now();
        samples.push_back(std::max(0.0, ns(now - a) - clock_cost));
        if (samples.size() % 4096 == 0 && PyErr_CheckSignals() != 0) throw py::error_already_set();
    }
    return samples;
}

/// `count` times release + reacquire and nothing else, for the bench.
void release_and_reacquire(std::int64_t count, bool bare) {
    for (std::int64_t i = 0; i < count; ++i) {
        if (bare) {
            PyEval_RestoreThread(PyEval_SaveThread());
        } else {
            gil_release free;
        }
    }
}

/// Calls `function(i)` for i in [0, calls) from native threads, each of which takes the GIL for its call.
py::list call_from_workers(const py::function& function, std::int64_t calls, std::int64_t thread_count) {
    py::list results(calls);
    for (py::size_t i = 0; i < results.size(); ++i) results[i] = py::none();
    std::atomic<std::int64_t> next{0};
    std::int64_t first_failed = calls;  // this and `failure` are touched only with the GIL held
    std::exception_ptr failure;
    PyInterpreterState* interpreter = PyInterpreterState_Get();
    const int size = static_cast<int>(std::min(thread_count, calls));
    const auto member = [&](int, const std::stop_token& token) {
        interpreter_thread python(interpreter);
        while (!token.stop_requested()) {
            // relaxed: each index is handed out once, and what the calls share is ordered by the GIL
            const std::int64_t i = next.fetch_add(1, std::memory_order_relaxed);
            if (i >= calls) return;
            interpreter_thread::gil held(python);
            if (i > first_failed) return;
            try {
                results[static_cast<py::size_t>(i)] = function(i);
            } catch (...) {
                if (i < first_failed) failure = std::current_exception();
                first_failed = std::min(first_failed, i);
            }
        }
    };
    without_gil([&](auto stop) { tenfold::run_team(size, member, stop); });  // waits without the GIL: they need it
    if (failure) std::rethrow_exception(failure);
    return results;
}

class gil_observer {
public:
    void run(std::int64_t n, std::int64_t threads, std::int64_t pieces, bool release) {
        auto finished = std::make_unique<tenfold::timeline>();
        std::vector<tenfold::timeline::lane*> lanes;
        for (std::int64_t t = 0; t < threads; ++t) lanes.push_back(&finished->add_lane("thread " + std::to_string(t)));
        PyInterpreterState* interpreter = PyInterpreterState_Get();
        const auto member = [&](int index, const std::stop_token& token) {
            const auto stop = [&] { return token.stop_requested(); };
            tenfold::timeline::lane& lane = *lanes[static_cast<std::size_t>(index)];
            interpreter_thread python(interpreter);
            for (std::int64_t piece = 0; piece < pieces && !stop(); ++piece) {
                tenfold::observed_acquire<interpreter_thread::gil> held(lane, python);
                std::optional<tenfold::observed_release<py::gil_scoped_release>> free;
                if (release) free.emplace(lane);
                tenfold::count_primes(n, stop);
            }
            lane.leave();
        };
        without_gil([&](auto stop) { tenfold::run_team(static_cast<int>(threads), member, stop); });
        timeline_.store(std::move(finished));  // a failed run leaves the last good one in place
    }

    std::vector<std::tuple<std::string, std::string, double, double>> intervals() const {
        const auto timeline = timeline_.load();
        std::vector<std::tuple<std::string, std::string, double, double>> rows;
        for (const auto& i : timeline->intervals())
            rows.emplace_back("thread " + std::to_string(i.lane), tenfold::name_of(i.state),
                              static_cast<double>(i.begin) * 1e-9, static_cast<double>(i.end) * 1e-9);
        return rows;
    }
    std::string chrome_trace() const { return timeline_.load()->chrome_trace(); }

private:
    // atomic: one thread may run while another reads the last result, on a free-threaded build at the same moment
    std::atomic<std::shared_ptr<tenfold::timeline>> timeline_{std::make_shared<tenfold::timeline>()};
};

double waiting_time(const py::object& value, const char* name) {
    const double seconds = PyFloat_AsDouble(value.ptr());
    if (seconds == -1.0 && PyErr_Occurred() != nullptr) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw py::error_already_set();
        PyErr_Clear();
        throw py::type_error(std::string(name) + " must be a number, not " + Py_TYPE(value.ptr())->tp_name);
    }
    if (std::isnan(seconds) || seconds < 0)
        throw py::value_error(std::string(name) + " must be 0 or more (inf waits for ever), not " +
                              py::repr(value).cast<std::string>());
    return seconds;
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
    m.doc() = "Lesson 01: when to release the GIL, what it costs, what it buys.";

    m.def("compute_primes_blocking", [](integer<"n"> n) { return primes_blocking(n); }, "n"_a, R"(
Number of primes up to and including `n`, computed while HOLDING the GIL.

Every other Python thread stands still for as long as it runs. It is here to be compared with
:func:`compute_primes_releasing`. On a free-threaded build a lock stands for the GIL.

Parameters
----------
n : int
    Upper limit, any int64; 0 primes for n < 2.

Returns
-------
int

Raises
------
TypeError, OverflowError
    `n` is not an int, or does not fit in 64 bits.

Notes
-----
Trial division of the odd numbers by the primes found so far, up to the root: O(n ** 1.5 / log n). Ctrl-C works.
)");
    m.def("compute_primes_releasing", [](integer<"n"> n) { return primes_releasing(n); }, "n"_a, R"(
Number of primes up to and including `n`: the same work as :func:`compute_primes_blocking`, GIL released.

Parameters
----------
n : int
    Upper limit, any int64; 0 primes for n < 2.

Returns
-------
int
)");
    m.def(
        "compute_primes_segmented",
        [](integer<"n", INT64_MIN, most_sieved> n) {
            return without_gil([&](auto stop) { return tenfold::count_primes_segmented(n, stop); });
        },
        "n"_a, R"(
Number of primes up to and including `n` by a segmented sieve of Eratosthenes, GIL released.

Parameters
----------
n : int
    Upper limit, at most 10**16 (the sieve needs the root of `n` bytes).

Returns
-------
int

Notes
-----
C. Bays and R. H. Hudson, "The segmented sieve of Eratosthenes", BIT 17 (1977). O(n log log n) steps.
)");
    m.def(
        "benchmark_gil_release",
        [](integer<"n"> n, integer<"iterations", 1, 1'000'000'000> iterations) { return benchmark(n, iterations); },
        "n"_a, "iterations"_a, R"(
Total seconds of `iterations` blocking and `iterations` releasing calls, run in turn in one thread.

With one thread there is nothing to win: the difference is what releasing costs.

Parameters
----------
n : int
    Size of the work, as in :func:`compute_primes_blocking`.
iterations : int
    At least 1.

Returns
-------
tuple of float
    ``(blocking_s, releasing_s)``, seconds, both > 0.
)");
    m.def(
        "parallel_compute",
        [](integer<"n"> n, integer<"thread_count", 1, most_threads> thread_count) {
            return without_gil(
                [&](auto stop) { return tenfold::count_primes_parallel(n, static_cast<int>(thread_count), stop); });
        },
        "n"_a, "thread_count"_a, R"(
Counts primes on `thread_count` native threads, one contiguous range each, GIL released.

Parameters
----------
n : int
    Upper limit, any int64.
thread_count : int
    1 to 1024.

Returns
-------
list of int
    Entry i is the number of primes in ``(i * step, (i + 1) * step]`` with ``step = n // thread_count``; the last
    range ends at `n`.

Examples
--------
>>> parallel_compute(10000, 4)
[367, 302, 281, 279]
)");
    m.def(
        "sleep_releasing",
        [](const py::object& seconds) {
            const double limit = waiting_time(seconds, "seconds");
            without_gil([&](auto stop) { tenfold::sleep_for(limit, stop); });
        },
        "seconds"_a, R"(
Waits with the GIL released; Ctrl-C wakes it.

Parameters
----------
seconds : float
    0 or more; ``inf`` waits until Ctrl-C.

Raises
------
ValueError
    `seconds` is negative or NaN.
)");
    m.def(
        "call_from_workers",
        [](const py::function& function, integer<"calls", 0, 10'000'000> calls,
           integer<"thread_count", 1, most_threads> thread_count) {
            return call_from_workers(function, calls, thread_count);
        },
        "function"_a, "calls"_a, "thread_count"_a, R"(
Calls ``function(i)`` for i in ``range(calls)`` from native threads: each call takes the GIL back.

This is the callback trap: however many threads there are, Python code runs in one at a time, so a parallel C++
loop around a Python callback is as slow as the callback.

Parameters
----------
function : callable
    Called with one int.
calls : int
    0 to 10**7.
thread_count : int
    Native threads, 1 to 1024.

Returns
-------
list
    Results in the order of i. The exception of the lowest i that failed is raised, with its traceback; calls not
    yet started are dropped.
)");
    m.def(
        "_round_trips",
        [](double seconds, bool bare) { return round_trips(seconds, bare); }, "seconds"_a, "bare"_a = false,
        "Nanoseconds of each release + reacquire for `seconds` (at most 200,000). See measure_gil_cost.");

    m.def(
        "_release_and_reacquire", [](integer<"count", 0, 1'000'000'000> count, bool bare) { release_and_reacquire(count, bare); },
        "count"_a, "bare"_a = false, "`count` times release + reacquire, by our guard or by the bare C-API pair.");

    py::class_<tenfold::rendezvous>(m, "Rendezvous", py::module_local(), R"(
A meeting point that proves, without a clock, that threads are in native code at the same time.

Parameters
----------
parties : int
    How many threads have to be inside :meth:`meet` at once, 1 to 1024.
)")
        .def(py::init([](integer<"parties", 1, most_threads> parties) {
                 return std::make_unique<tenfold::rendezvous>(static_cast<int>(parties));
             }),
             "parties"_a)
        .def(
            "meet",
            [](tenfold::rendezvous& self, const py::object& timeout, bool hold_gil) {
                const double limit = waiting_time(timeout, "timeout");
                if (hold_gil) {  // for good: nothing else runs, not even a signal handler, so there is a limit
                    if (limit > 10) throw py::value_error("timeout must be at most 10 with hold_gil=True");
                    return self.meet(limit, tenfold::never_stop());
                }
                return without_gil([&](auto stop) {
                    bool interrupted = false;
                    const bool met = self.meet(limit, [&] { return interrupted = stop(); });
                    if (interrupted) throw tenfold::stopped();
                    return met;
                });
            },
            "timeout"_a = 5.0, py::kw_only(), "hold_gil"_a = false, R"(
Waits inside native code until all parties are here.

Parameters
----------
timeout : float
    Seconds, 0 or more; at most 10 with `hold_gil`.
hold_gil : bool
    Keep the GIL while waiting: then no other thread can get in, and the rendezvous must fail. This is the control.

Returns
-------
bool
    True: all were inside at the same moment. False: the time ran out.
)");

    py::class_<gil_observer>(m, "GilObserver", py::module_local(), R"(
Records, for native threads that count primes, when each held the GIL, waited for it, or ran free of it.
)")
        .def(py::init<>())
        .def(
            "run",
            [](gil_observer& self, integer<"n"> n, integer<"threads", 1, most_threads> threads,
               integer<"pieces", 1, 1'000'000> pieces, bool release) { self.run(n, threads, pieces, release); },
            "n"_a, py::kw_only(), "threads"_a = 2, "pieces"_a = 8, "release"_a = true, R"(
Runs `threads` native threads. Each takes the GIL `pieces` times and counts the primes up to `n` each time.

Parameters
----------
n : int
    Size of one piece, as in :func:`compute_primes_blocking`.
threads, pieces : int
    At least 1.
release : bool
    Whether each piece releases the GIL while it computes.
)")
        .def("intervals", &gil_observer::intervals, R"(
The last run's timeline.

Returns
-------
list of tuple
    ``(thread, state, begin_s, end_s)``; state is ``"held"``, ``"waiting"`` or ``"free"``; seconds since the start.
)")
        .def("chrome_trace", &gil_observer::chrome_trace, R"(
The last run's timeline as Chrome trace event JSON, for chrome://tracing, Perfetto or speedscope.

Returns
-------
str
)");
}
