// bind_calls.hpp: a Python stage called for item after item, each call timed.
//
// Why: in Python a look at the clock, a subtraction and two appends cost some 100 ns an item; here they cost half of that.
#pragma once

#include <chrono>
#include <cstdint>

#include "bind_program.hpp"

namespace bind {

inline void timed_calls(const py::object& function, const py::list& values, amount<"at"> at, const py::list& results,
                        const py::list& halt, shared_histogram& times) {
    using clock = std::chrono::steady_clock;
    constexpr auto longest_turn = std::chrono::milliseconds(5);  // as long as Python lets a thread keep the GIL
    struct recorder {  // what was timed is told however this ends
        shared_histogram& times;
        tenfold::latency_histogram local{};
        ~recorder() {
            times.change([this](auto& h) { h.merge(local); });
        }
    } made{times};
    auto before = clock::now(), turn = before;
    for (auto i = static_cast<py::ssize_t>(at); i < PyList_Size(values.ptr()); ++i) {
        if (PyList_Size(halt.ptr()) != 0) return;
        const auto item = py::reinterpret_borrow<py::object>(PyList_GetItem(values.ptr(), i));
        const auto result =
            py::reinterpret_steal<py::object>(PyObject_CallFunctionObjArgs(function.ptr(), item.ptr(), nullptr));
        if (!result || PyList_Append(results.ptr(), result.ptr()) != 0) throw py::error_already_set();
        const auto now = clock::now();
        made.local.record(static_cast<std::uint64_t>(std::chrono::nanoseconds(now - before).count()));
        before = now;
        // A function in C looks at neither signals nor the GIL that others wait for.
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        if (now - turn > longest_turn) {
            released_gil().finish();
            before = turn = clock::now();  // the wait is no item's time
        }
    }
}

inline void bind_calls(py::module_& m) {
    m.def("timed_calls", &timed_calls, "function"_a, "values"_a, "at"_a, "results"_a, "halt"_a, "times"_a, R"(
``results.append(function(value))`` for each of ``values[at:]``.

Ends when `halt` is not empty, and with the exception of a call; `results` has what came before.

Parameters
----------
function : callable
values, results, halt : list
at : int
times : LatencyHistogram
    Counts how long each call took that returned.
)");
}

}  // namespace bind
