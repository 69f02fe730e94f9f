// bindings.cpp - the module atomic_operations: its counter, flag and statistics; runs in the background and experiments are
// in the two bind_*.hpp. Nothing algorithmic: that is in include/tenfold, the conversions in boundary.hpp.
//
// A single operation keeps the GIL: it takes nanoseconds, a release and reacquire would cost more. All that takes a thread
// count, or has to wait, gives the GIL up. The objects need no GIL themselves: C++ threads and free-threaded Python may use them as they are.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "arguments.hpp"
#include "bind_experiments.hpp"
#include "bind_progress.hpp"
#include "boundary.hpp"
#include "tenfold/atomic_stats.hpp"
#include "tenfold/counters.hpp"
#include "tenfold/welford.hpp"

namespace py = pybind11;
using namespace py::literals;
using namespace tenfold::boundary;
using std::int64_t;
using tenfold::atomic_counter;
using tenfold::atomic_stats;
using tenfold::atomic_switch;
using tenfold::moments;

template <>
class pybind11::detail::type_caster<atomic_switch> : public tenfold::boundary::made_caster<atomic_switch> {};
template <>
class pybind11::detail::type_caster<atomic_stats> : public tenfold::boundary::made_caster<atomic_stats> {};
template <>
class pybind11::detail::type_caster<moments> : public tenfold::boundary::made_caster<moments> {};

namespace {

using integers = list_of<int64_t, "values">;
using integer_array = array_of<int64_t, "values">;
using floats = list_of<double, "values">;
using float_array = array_of<double, "values">;

/// A copy would be a second counter, and a pickle a snapshot: neither is what copying shared state suggests.
template <class Class>
void refuse_copies(Class& bound, const char* class_name, const char* cure) {
    bound.def("__reduce_ex__", [class_name, cure](const py::object&, int) -> py::object {
        throw py::type_error(tenfold::boundary::detail::join(
            class_name, " cannot be copied or pickled: it is shared by the threads of one process; ", cure));
    });
}

void bind_counter(py::module_& m) {
    py::class_<atomic_counter, std::shared_ptr<atomic_counter>> counter(m, "AtomicCounter", py::module_local(), R"(
A counter that any number of threads may use at once: an unsigned 64-bit int that wraps from 2**64 - 1 to 0.

It cannot be copied or pickled: it is shared by the threads of one process.

Parameters
----------
initial : int
    0 to 2**64 - 1.

Raises
------
TypeError, OverflowError
    `initial` is not an int, or not in ``range(2**64)``; so for each value below.
)");
    counter
        .def(py::init([](unsigned_integer<"initial"> initial) { return std::make_shared<atomic_counter>(initial); }),
             "initial"_a)
        .def("increment", &atomic_counter::increment, R"(
Adds 1.

Returns
-------
int
    The value before.
)")
        .def(
            "add", [](atomic_counter& self, unsigned_integer<"delta"> delta) { return self.add(delta); }, "delta"_a, R"(
Adds `delta` modulo 2**64; to subtract d, add ``2**64 - d``.

Returns
-------
int
    The value before.
)")
        .def("get", &atomic_counter::get, R"(
The value.

Returns
-------
int
)")
        .def(
            "set", [](atomic_counter& self, unsigned_integer<"value"> value) { self.set(value); }, "value"_a, R"(
Replaces the value. What happened between your :meth:`get` and this is lost; :meth:`compare_and_swap` would notice.
)")
        .def(
            "compare_and_swap",
            [](atomic_counter& self, unsigned_integer<"current"> current, unsigned_integer<"new"> desired) {
                return self.compare_and_swap(current, desired);
            },
            "current"_a, "new"_a, R"(
Makes it `new` if it is `current`, in one step.

Returns
-------
tuple of (int, bool)
    The value before, and whether it was replaced. Not being `current` is no error.
)")
        .def(
            "parallel_increment",
            [](atomic_counter& self, count<"threads", 1024> threads, amount<"increments"> increments) {
                return released([&](auto stop) {
                    tenfold::parallel_increment(self, static_cast<int>(threads.value),
                                                static_cast<std::uint64_t>(increments.value), stop);
                    return self.get();
                });
            },
            "threads"_a, "increments"_a, R"(
Increments it from C++ threads, `increments` times each, GIL released.

Parameters
----------
threads : int
    1 to 1024 threads, started for this call.
increments : int
    0 or more, by each thread.

Returns
-------
int
    The value after all have joined (others may have changed it as well).

Raises
------
KeyboardInterrupt
    Ctrl-C: what was counted until then stays.
)")
        .def("__repr__", [](const atomic_counter& self) { return "AtomicCounter(" + std::to_string(self.get()) + ")"; });
    refuse_copies(counter, "AtomicCounter", "pass on get()");
}

void bind_flag(py::module_& m) {
    py::class_<atomic_switch> flag(m, "AtomicFlag", py::module_local(), R"(
A bool that any number of threads may use at once. Only ``True`` and ``False`` are taken, no ints.

It cannot be copied or pickled: it is shared by the threads of one process.

Parameters
----------
initial : bool

Raises
------
TypeError
    `initial` is not a bool; so for each value below.
)");
    flag.def(py::init([](boolean<"initial"> initial) { return std::make_unique<atomic_switch>(initial.value); }), "initial"_a)
        .def("get", &atomic_switch::get, R"(
The value.

Returns
-------
bool
)")
        .def(
            "set", [](atomic_switch& self, boolean<"value"> value) { self.set(value); }, "value"_a, "Replaces the value.")
        .def(
            "swap", [](atomic_switch& self, boolean<"value"> value) { return self.swap(value); }, "value"_a, R"(
Replaces the value, in one step with reading it: of several threads that swap in True, one gets False back.

Returns
-------
bool
    The value before.
)")
        .def(
            "compare_and_swap",
            [](atomic_switch& self, boolean<"current"> current, boolean<"new"> desired) {
                return self.compare_and_swap(current, desired);
            },
            "current"_a, "new"_a, R"(
Makes it `new` if it is `current`, in one step.

Returns
-------
tuple of (bool, bool)
    The value before, and whether it was `current`.
)")
        .def("__bool__", &atomic_switch::get, "The value: ``if flag`` asks the flag.")
        .def("__repr__", [](const atomic_switch& self) { return self.get() ? "AtomicFlag(True)" : "AtomicFlag(False)"; });
    refuse_copies(flag, "AtomicFlag", "pass on get()");
}

/// 128 bits as a Python int.
py::object exact_sum(const tenfold::stats_snapshot& state) {
    const auto high = py::int_(static_cast<int64_t>(state.sum >> 64));
    const auto low = py::int_(static_cast<std::uint64_t>(state.sum));
    return (high << py::int_(64)) | low;
}

template <class Value>
py::object or_none(const tenfold::stats_snapshot& state, Value value) {
    return state.empty() ? py::object(py::none()) : py::cast(value);
}

// Both try once, which takes nanoseconds. Who meets another writer gives the GIL up to wait.
void record_one(atomic_stats& stats, whole<"value"> value) {
    if (!stats.try_record(value)) released([&](auto) { stats.record(value); });
}
tenfold::stats_snapshot snapshot_of(const atomic_stats& stats) {
    tenfold::stats_snapshot state;
    return stats.try_snapshot(state) ? state : released([&](auto) { return stats.snapshot(); });
}

void record_batch(atomic_stats& stats, std::span<const int64_t> values, int num_threads) {
    released([&](auto stop) { tenfold::parallel_record(stats, values, num_threads, stop); });
}

void bind_stats(py::module_& m) {
    const auto none = py::none();
    py::class_<atomic_stats> stats(m, "AtomicStats", py::module_local(), R"(
Count, sum, mean, minimum and maximum of int64 values that any number of threads record at once.

A reader sees each value and each batch recorded in all five or in none, never a state between. Two methods called one after
the other may see two states: :meth:`snapshot` reads all five at once. It cannot be copied or pickled: it is shared by the threads
of one process.
)");
    stats.def(py::init<>())
        .def("record", &record_one, "value"_a, R"(
Records one value.

Raises
------
TypeError, OverflowError
    `value` is not an int, or no int64.
)")
        .def(
            "parallel_record",
            [](atomic_stats& self, const integer_array& values, threads num_threads) {
                record_batch(self, values.span(), num_threads);
            },
            "values"_a, py::kw_only(), "num_threads"_a = none, R"(
Records a batch, GIL released. A reader sees all of it or nothing of it.

Parameters
----------
values : sequence of int, or 1-D int64 array
    An array is read where it is.
num_threads : int, optional
    1 to 1024; all usable cores when None.

Raises
------
TypeError, OverflowError
    An item is not an int, or no int64; the first is named, and nothing is recorded.
KeyboardInterrupt
    Ctrl-C: nothing is recorded.
)")
        .def(
            "parallel_record",
            [](atomic_stats& self, const integers& values, threads num_threads) {
                const auto read = values.read();
                record_batch(self, read.span(), num_threads);
            },
            "values"_a, py::kw_only(), "num_threads"_a = none)
        .def(
            "count", [](const atomic_stats& self) { return snapshot_of(self).count; }, R"(
How many values were recorded.

Returns
-------
int
)")
        .def(
            "sum", [](const atomic_stats& self) { return snapshot_of(self).sum64(); }, R"(
Their sum, kept in 128 bits.

Returns
-------
int

Raises
------
OverflowError
    It does not fit in int64 (now; a later one may). :meth:`snapshot` has it all the same.
)")
        .def(
            "mean",
            [](const atomic_stats& self) {
                const auto state = snapshot_of(self);
                return or_none(state, state.mean());
            },
            R"(
Their mean, rounded once: what ``sum(values) / len(values)`` gives in Python.

Returns
-------
float or None
    None when empty.
)")
        .def(
            "min",
            [](const atomic_stats& self) {
                const auto state = snapshot_of(self);
                return or_none(state, state.min);
            },
            R"(
The least.

Returns
-------
int or None
    None when empty.
)")
        .def(
            "max",
            [](const atomic_stats& self) {
                const auto state = snapshot_of(self);
                return or_none(state, state.max);
            },
            R"(
The largest.

Returns
-------
int or None
    None when empty.
)")
        .def(
            "snapshot",
            [](const atomic_stats& self) {
                const auto state = snapshot_of(self);
                return py::dict("count"_a = state.count, "sum"_a = exact_sum(state), "mean"_a = or_none(state, state.mean()),
                                "min"_a = or_none(state, state.min), "max"_a = or_none(state, state.max));
            },
            R"(
All five of one moment.

Returns
-------
dict
    ``count``, ``sum`` (an int of any size), ``mean``, ``min``, ``max``; the last three are None when empty.
)")
        .def(
            "summary", [](const atomic_stats& self) { return to_string(snapshot_of(self)); }, R"(
All five of one moment as text, zeros when empty.

Returns
-------
str
    ``AtomicStats(count=C, sum=S, mean=M.2, min=m, max=M)``
)")
        .def("__repr__", [](const atomic_stats& self) { return to_string(snapshot_of(self)); });
    refuse_copies(stats, "AtomicStats", "pass on snapshot()");
}

// ---- statistics of floats

template <class Value>
py::object or_none(const moments& of, Value value) {
    return of.count == 0 ? py::object(py::none()) : py::float_(value);
}

moments statistics_of(std::span<const double> values, int num_threads, const std::string& algorithm) {
    const bool textbook = choice<bool>(algorithm, "algorithm", {{"vectorized", false}, {"welford", true}});
    return released([&](auto stop) {
        return textbook ? tenfold::welford(values, stop) : tenfold::parallel_moments(values, num_threads, stop);
    });
}

void bind_statistics(py::module_& m) {
    const auto none = py::none();
    const auto property = [](auto value) { return [value](const moments& self) { return or_none(self, value(self)); }; };
    py::class_<moments>(m, "Statistics", py::module_local(), R"(
What :func:`statistics` found; it never changes. ``Statistics()`` is that of no values.
)")
        .def(py::init<>())
        .def_readonly("count", &moments::count, "int: how many values.")
        .def_property_readonly("mean", property([](const moments& s) { return s.mean; }), "float or None: None when empty.")
        .def_property_readonly("variance", property([](const moments& s) { return s.variance(); }),
                               "float or None: of the population, as ``numpy.var``; None when empty.")
        .def_property_readonly(
            "sample_variance", property([](const moments& s) { return s.sample_variance(); }),
            "float or None: divided by count - 1, as ``numpy.var(ddof=1)``; NaN for one value, None when empty.")
        .def_property_readonly("stddev", property([](const moments& s) { return s.stddev(); }),
                               "float or None: root of the variance; None when empty.")
        .def_property_readonly("min", property([](const moments& s) { return s.min; }), "float or None: None when empty.")
        .def_property_readonly("max", property([](const moments& s) { return s.max; }), "float or None: None when empty.")
        .def(
            "merge",
            [](const moments& self, const moments& other) {
                moments result = self;
                result.merge(other);
                return result;
            },
            "other"_a, R"(
The statistics of both sets of values together; neither is changed.

Parameters
----------
other : Statistics

Returns
-------
Statistics

Notes
-----
T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
)")
        .def("__repr__",
             [](const moments& self) {
                 std::string out = "Statistics(count=" + std::to_string(self.count);
                 for (const auto& [word, value] : {std::pair("mean", self.mean), std::pair("variance", self.variance()),
                                                   std::pair("min", self.min), std::pair("max", self.max)})
                     out += std::string(", ") + word + "=" + std::string(py::str(or_none(self, value)));
                 return out + ")";
             })
        .def(py::pickle([](const moments& self) { return py::make_tuple(self.count, self.mean, self.m2, self.min, self.max); },
                        [](const py::tuple& state) {
                            if (state.size() != 5) throw py::value_error("not the state of a Statistics");
                            return moments{state[0].cast<std::uint64_t>(), state[1].cast<double>(), state[2].cast<double>(),
                                           state[3].cast<double>(), state[4].cast<double>()};
                        }));

    m.def(
        "statistics",
        [](const float_array& values, threads num_threads, const std::string& algorithm) {
            return statistics_of(values.span(), num_threads, algorithm);
        },
        "values"_a, py::kw_only(), "num_threads"_a = none, "algorithm"_a = "vectorized", R"(
Count, mean, variance, minimum and maximum of floats in one pass, GIL released. The same bits at every thread count.

Parameters
----------
values : sequence of float, or 1-D float64 array
    An array is read where it is.
num_threads : int, optional
    1 to 1024; all usable cores when None.
algorithm : {"vectorized", "welford"}
    Blocks in SIMD lanes, merged; or the textbook loop in the calling thread, for comparison. They round differently.

Returns
-------
Statistics
    A NaN makes all but the count NaN. Infinities are in mean, min and max as in NumPy's; the variance is then NaN.

Notes
-----
B. P. Welford, "Note on a method for calculating corrected sums of squares and products", Technometrics 4 (1962); merged as in
:meth:`Statistics.merge`.
)");
    m.def(
        "statistics",
        [](const floats& values, threads num_threads, const std::string& algorithm) {
            const auto read = values.read();
            return statistics_of(read.span(), num_threads, algorithm);
        },
        "values"_a, py::kw_only(), "num_threads"_a = none, "algorithm"_a = "vectorized");
    m.def("simd_name", [] { return std::string(tenfold::name(tenfold::best_simd())); }, R"(
The instruction set that :func:`statistics` uses on this machine.

Returns
-------
str
)");
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
    tenfold::boundary::begin_module();
    m.doc() = "Lesson 05: atomic counters, flags and statistics, seqlocks, lock-free containers.";
    bind_counter(m);
    bind_flag(m);
    bind_stats(m);
    bind_statistics(m);
    bind_progress(m);
    bind_experiments(m);
}
