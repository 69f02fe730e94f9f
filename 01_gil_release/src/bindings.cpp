// bindings.cpp - the module gil_release: what the calls take, where they give the GIL back. Nothing algorithmic.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "gil.hpp"
#include "native_threads.hpp"
#include "tenfold/primes.hpp"
#include "tenfold/rendezvous.hpp"

namespace py = pybind11;
using namespace py::literals;
using namespace tenfold::boundary;

template <>
class pybind11::detail::type_caster<tenfold::rendezvous> : public tenfold::boundary::made_caster<tenfold::rendezvous> {};
template <>
class pybind11::detail::type_caster<gil_observer> : public tenfold::boundary::made_caster<gil_observer> {};

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

/// Nanoseconds of each release + reacquire, less the clock's own cost and the `released_for` seconds spent in between.
std::vector<double> round_trips(double seconds, double released_for) {
    constexpr std::size_t most_samples = 200'000;
    using duration = std::chrono::duration<double>;
    const auto ns = [](auto d) { return std::chrono::duration<double, std::nano>(d).count(); };
    double clock_cost = 1e9;
    for (int i = 0; i < 1000; ++i) {
        const auto a = clock_type::now();
        clock_cost = std::min(clock_cost, ns(clock_type::now() - a));
    }
    std::vector<double> samples;
    const auto begin = clock_type::now();
    auto now = begin;
    while (samples.size() < most_samples && duration(now - begin).count() < seconds) {
        const auto a = clock_type::now();
        auto last = a;
        {
            gil_release free;
            while (duration(last - a).count() < released_for) last = clock_type::now();
        }
        now = clock_type::now();
        samples.push_back(std::max(0.0, ns(now - last) - clock_cost));
        if (samples.size() % 256 == 0 && PyErr_CheckSignals() != 0) throw py::error_already_set();
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

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
    tenfold::boundary::begin_module();
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

Raises
------
TypeError, OverflowError
    `n` is not an int, or does not fit in 64 bits.
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

Raises
------
TypeError, OverflowError
    `n` is not an int, or does not fit in 64 bits.
ValueError
    `n` is too large.

Notes
-----
C. Bays and R. H. Hudson, "The segmented sieve of Eratosthenes", BIT 17 (1977). O(n log log n) steps.
)");
    m.def(
        "benchmark_gil_release",
        [](integer<"n"> n, integer<"iterations", 1, 1'000'000'000> iterations) { return benchmark(n, iterations); }, "n"_a,
        "iterations"_a, R"(
Total seconds of `iterations` blocking and `iterations` releasing calls, run in turn in one thread.

With one thread there is nothing to win: the difference is what releasing costs.

Parameters
----------
n : int
    Size of the work, as in :func:`compute_primes_blocking`.
iterations : int
    1 to 10**9.

Returns
-------
tuple of float
    ``(blocking_s, releasing_s)``, seconds, both > 0.
)");
    m.def(
        "parallel_compute",
        [](integer<"n", INT64_MIN, most_sieved> n, integer<"thread_count", 1, most_threads> thread_count) {
            return without_gil(
                [&](auto stop) { return tenfold::count_primes_parallel(n, static_cast<int>(thread_count), stop); });
        },
        "n"_a, "thread_count"_a, R"(
Counts primes on `thread_count` native threads, one contiguous range each, GIL released.

Parameters
----------
n : int
    Upper limit, at most 10**16 (the primes up to its root are kept).
thread_count : int
    1 to 1024 threads, started for this call.

Returns
-------
list of int
    Entry i is the number of primes in ``(i * step, (i + 1) * step]`` with ``step = n // thread_count``; the last
    range ends at `n`.

Raises
------
ValueError, TypeError, OverflowError
    An argument is out of range, not an int, or does not fit in 64 bits.

Examples
--------
>>> parallel_compute(10000, 4)
[367, 302, 281, 279]
)");
    m.def(
        "sleep_releasing",
        [](waiting_time<"seconds"> time) { without_gil([&](auto stop) { tenfold::sleep_for(time.seconds, stop); }); },
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
        [](const py::object& function, integer<"calls", 0, 10'000'000> calls,
           integer<"thread_count", 1, most_threads> thread_count) {
            if (PyCallable_Check(function.ptr()) == 0)
                throw py::type_error(std::string("function must be callable, not ") + Py_TYPE(function.ptr())->tp_name);
            return call_from_workers(py::reinterpret_borrow<py::function>(function), calls, thread_count);
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
    Results in the order of i.

Raises
------
Exception
    What the call of the lowest i that failed raised, with its traceback; calls not yet started are dropped. Ctrl-C
    drops them too, but a call that is running cannot be ended from outside: it is waited for.
RuntimeError
    The interpreter is shutting down.
)");
    m.def(
        "_round_trips", [](double seconds, double released_for) { return round_trips(seconds, released_for); }, "seconds"_a,
        "released_for"_a = 0.0,
        "Nanoseconds of each release + reacquire for `seconds` (at most 200,000). See measure_gil_cost.");

    m.def(
        "_release_and_reacquire", [](integer<"count", 0, 10'000'000> count, bool bare) { release_and_reacquire(count, bare); },
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
            [](tenfold::rendezvous& self, waiting_time<"timeout"> timeout, bool hold_gil) {
                const double limit = timeout.seconds;
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
    True: all were inside at the same moment. False: the time ran out, and this thread no longer counts.

Raises
------
ValueError
    `timeout` is negative, NaN, or too long to hold the GIL.
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
    At least 1; at most 1024 threads and 10**6 pieces in all.
release : bool
    Whether each piece releases the GIL while it computes.

Raises
------
ValueError, TypeError, OverflowError
    An argument is out of range, not an int, or does not fit in 64 bits.
RuntimeError
    The interpreter is shutting down.
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
