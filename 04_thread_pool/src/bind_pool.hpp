// bind_pool.hpp - ThreadPool and Future as Python sees them: arguments, overloads, docstrings. What they own and how it ends
// is in pool_object.hpp.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "boundary.hpp"
#include "pool_object.hpp"

template <>
class pybind11::detail::type_caster<tenfold::boundary::future>
    : public tenfold::boundary::made_caster<tenfold::boundary::future> {};
template <>
class pybind11::detail::type_caster<tenfold::boundary::python_pool>
    : public tenfold::boundary::made_caster<tenfold::boundary::python_pool> {};

namespace tenfold::boundary {

using namespace py::literals;
using std::int64_t;

using floats = list_of<double, "tasks">;
using float_array = array_of<double, "tasks">;
using float_out = out_of<double, "out">;
using int_costs = list_of<int64_t, "costs">;
using cost_array = array_of<int64_t, "costs">;
using cost_out = out_of<int64_t, "out">;

inline void check_no_out(const py::object& out, const char* argument) {
    if (!out.is_none()) throw py::type_error(std::string("out needs arrays, but ") + argument + " is none; leave it out");
}

/// `out` may be the input, all of it or nothing.
template <class T>
array_values<T> output_for(std::span<const T> in, const out_of<T, "out">& out, const char* argument) {
    auto result = out.or_new(in.size());
    if (overlaps(in, result.values) && !same_memory(in, result.values))
        throw py::value_error(std::string("out overlaps ") + argument + " in part; pass the same array, or one apart from it");
    return result;
}

inline void check_costs(std::span<const int64_t> costs) {
    for (std::size_t i = 0; i < costs.size(); ++i)
        if (costs[i] < 0)
            throw py::value_error("costs[" + std::to_string(i) + "] must be at least 0, not " + std::to_string(costs[i]));
}

inline void bind_future(py::module_& m) {
    py::class_<future>(m, "Future", py::module_local(), R"(
A job that a pool's threads run, and its result. Made by ``ThreadPool.submit_fib`` and ``ThreadPool.submit_burn``.

Any number of threads may wait for it. It does not keep its pool alive.
)")
        .def("result", &future::result, "timeout"_a = py::none(), R"(
The job's value; waits for it with the GIL released.

Parameters
----------
timeout : float, optional
    Seconds to wait at most; None waits until it is done or Ctrl-C is pressed.

Returns
-------
int

Raises
------
TimeoutError
    Not done in time. The job goes on.
concurrent.futures.CancelledError
    It was cancelled, or its pool ended before it.
RuntimeError
    This process is a fork, and the job runs in its parent.
)")
        .def("done", &future::done, "Whether it has ended: with a value, with an error, or cancelled.")
        .def("running", &future::running, "Whether a worker is at it.")
        .def("cancelled", &future::cancelled, "Whether it was cancelled.")
        .def("cancel", &future::cancel, R"(
Gives the job up. One that is running is told, and ends soon.

Returns
-------
bool
    True: there will be no value, :meth:`result` raises ``CancelledError``. False: it had ended before.
)")
        .def("__repr__", [](const future& self) {
            const char* const state = self.cancelled() ? "cancelled"
                                      : self.done()    ? "done"
                                      : self.running() ? "running"
                                                       : "pending";
            return std::string("<Future ") + state + ">";
        });
}

inline void bind_pool(py::module_& m, const std::shared_ptr<pool_registry>& registry) {
    py::class_<python_pool> pool(m, "ThreadPool", py::module_local(), R"(
Native threads that share work by stealing. A context manager; may be used from several Python threads at once.

Parameters
----------
size : int
    Threads to start, 1 to 1024.

Raises
------
TypeError, ValueError, OverflowError
    `size` is not an int, out of range, or does not fit 64 bits.
RuntimeError
    The threads cannot be started.

Notes
-----
Each worker has a deque of its own (D. Chase, Y. Lev, SPAA 2005; memory orders of N. M. Lê, A. Pop, A. Cohen, F. Zappa
Nardelli, PPoPP 2013), takes the newest task from its own end, and steals the oldest from a random other's. Idle workers
sleep. Threads are joined by :meth:`shutdown`, when the object goes, and at interpreter exit. A forked child has the object
but not the threads: what would need them raises ``RuntimeError`` there.
)");
    pool.def(py::init([registry](count<"size", most_threads> size) {
                 auto threads = released([&](auto) { return std::make_shared<live_pool>(static_cast<int>(size.value)); });
                 registry->add(threads);
                 return std::make_unique<python_pool>(std::move(threads));
             }),
             "size"_a);
    pool.def("size", &python_pool::size, "Number of threads.");
    pool.def(
        "execute_batch",
        [](python_pool& self, const float_array& tasks, const float_out& out) {
            self.check_open();
            const auto in = tasks.span();
            auto result = output_for(in, out, "tasks");
            self.square(in, result.values);
            return result.array;
        },
        "tasks"_a, py::kw_only(), "out"_a = py::none(), R"(
Square of each task, in order.

Parameters
----------
tasks : sequence of float, or 1-D float64 array
    An array is read where it is; a list is copied into C++ memory first.
out : 1-D float64 array, optional
    With an array: filled and returned; it may be `tasks` itself.

Returns
-------
list of float, or array
    A list for a sequence, an array for an array.

Raises
------
RuntimeError
    After :meth:`shutdown`.

Notes
-----
Fewer than 32768 squares are computed by the caller: they are done before a sleeping thread has woken up. For lists the pool
keeps up to 2**20 of the floats that it returned, and uses those again that nobody holds any more: one batch of a million keeps
40 MB, and only :meth:`shutdown` frees them.
)");
    pool.def(
        "execute_batch",
        [](python_pool& self, const floats& tasks, const py::object& out) {
            self.check_open();
            check_no_out(out, "tasks");
            auto values = tasks.read();
            self.square(values.span(), values.span());
            return self.to_list(values.span());
        },
        "tasks"_a, py::kw_only(), "out"_a = py::none());
    pool.def(
        "fib", [](python_pool& self, integer<"n", 0, largest_fib> n) { return self.fib(static_cast<int>(n.value)); }, "n"_a,
        R"(
Fibonacci number by its definition: each call forks one half, computes the other, and joins. No cut-off, so about
``1.6 ** n`` forks and next to no work: it shows what a fork costs.

Parameters
----------
n : int
    0 to 92.

Returns
-------
int
)");
    pool.def(
        "burn",
        [](python_pool& self, const cost_array& costs, const std::string& sharing, const cost_out& out) {
            const auto how = sharing_named(sharing);
            const auto in = costs.span();
            auto result = output_for(in, out, "costs");
            check_costs(in);
            auto seen = self.burn(in, result.values, how);
            return py::make_tuple(result.array, std::move(seen));
        },
        "costs"_a, py::kw_only(), "sharing"_a = "stealing", "out"_a = py::none(), R"(
Runs a task per cost, each for about so many microseconds, and tells which worker ran it when.

Parameters
----------
costs : sequence of int, or 1-D int64 array
    Units of work of each task, 0 or more; a unit is about a microsecond.
sharing : {"stealing", "fixed"}
    "fixed" cuts the tasks into one run of neighbours per worker beforehand, and nobody helps another.
out : 1-D int64 array, optional
    With an array: filled with the results; it may be `costs` itself.

Returns
-------
results : list of int, or array
    A number that each task computed; it depends on its cost only.
timeline : list of (int, int, float, float)
    ``(worker, task, begin, end)``, seconds since the call, by beginning.
)");
    pool.def(
        "burn",
        [](python_pool& self, const int_costs& costs, const std::string& sharing, const py::object& out) {
            const auto how = sharing_named(sharing);
            check_no_out(out, "costs");
            auto values = costs.read();
            check_costs(values.span());
            auto seen = self.burn(values.span(), values.span(), how);
            return py::make_tuple(to_list(values), std::move(seen));
        },
        "costs"_a, py::kw_only(), "sharing"_a = "stealing", "out"_a = py::none());
    pool.def(
        "submit_fib",
        [](python_pool& self, integer<"n", 0, largest_fib> n) { return self.submit_fib(static_cast<int>(n.value)); }, "n"_a, R"(
:meth:`fib` as a job of its own: returns at once.

Parameters
----------
n : int
    0 to 92.

Returns
-------
Future
)");
    pool.def("submit_burn", [](python_pool& self, amount<"cost"> cost) { return self.submit_burn(cost.value); }, "cost"_a, R"(
One task of :meth:`burn` as a job of its own: returns at once.

Parameters
----------
cost : int
    Units of work, 0 or more; a unit is about a microsecond.

Returns
-------
Future
)");
    pool.def("counters", &python_pool::counters, "worker"_a = py::none(), R"(
What the pool has done so far, in all or by one worker.

Parameters
----------
worker : int, optional
    0 to size - 1.

Returns
-------
dict of str to int
    ``executed`` jobs (forks that nobody stole are not counted); ``steals`` and ``failed_steals``; ``published``, private
    jobs shown to thieves, and ``taken_back``, those of them that nobody stole; ``parks``, how often a worker went to sleep.
)");
    pool.def("shutdown", &python_pool::shutdown, py::kw_only(), "cancel_futures"_a = false, R"(
Runs what was accepted, ends the threads and waits for them, with the GIL released. Again: does nothing.

Later calls, and calls that come while it waits, raise ``RuntimeError``. Ctrl-C ends the wait, not the work.

Parameters
----------
cancel_futures : bool
    Cancel jobs that have not begun, and tell :meth:`fib`, :meth:`burn` and their jobs to end.
)");
    pool.def("__repr__", [](const python_pool& self) {
        return "<ThreadPool size=" + std::to_string(self.size()) + (self.closed() ? " (shut down)>" : ">");
    });
    pool.def("__enter__", [](python_pool& self) -> python_pool& {
        self.check_open();
        return self;
    });
    pool.def(
        "__exit__", [](python_pool& self, const py::object& type, const py::args&) { self.shutdown(!type.is_none()); },
        "type"_a, "Shuts down; after an exception, with ``cancel_futures=True``.");
}

}  // namespace tenfold::boundary
