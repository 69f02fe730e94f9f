// bindings.cpp - the module performance_timing: what the calls take and where the GIL is. The loops are in
// bind_loops.hpp. Python callables are timed with the GIL held: giving it up would time the wait for it as well.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "bind_loops.hpp"
#include "boundary.hpp"
#include "tenfold/stream.hpp"
#include "tenfold/timing.hpp"

namespace py = pybind11;
using namespace py::literals;
using namespace tenfold::boundary;

template <>
class pybind11::detail::type_caster<tenfold::timer_result> : public tenfold::boundary::made_caster<tenfold::timer_result> {};
template <>
class pybind11::detail::type_caster<tenfold::timer> : public tenfold::boundary::made_caster<tenfold::timer> {};
template <>
class pybind11::detail::type_caster<tenfold::profiler> : public tenfold::boundary::made_caster<tenfold::profiler> {};

namespace {

/// A str; its errors name the argument.
template <name Arg>
struct text_of : detail::argument {
    static constexpr auto signature = py::detail::const_name("str");
    std::string value;

    bool load(py::handle source) {
        if (!PyUnicode_Check(source.ptr()))
            throw py::type_error(std::string(Arg.text) + " must be a str, not " + detail::type_of(source));
        Py_ssize_t size = 0;
        const char* const utf8 = PyUnicode_AsUTF8AndSize(source.ptr(), &size);
        if (utf8 == nullptr) throw py::error_already_set();
        value.assign(utf8, static_cast<std::size_t>(size));
        return true;
    }
};
using text_argument = text_of<"name">;

/// A sample: a list or a float64 array, at least one value.
template <name Arg>
struct sample_of : detail::argument {
    static constexpr auto signature =
        list_of<double, Arg>::signature + py::detail::const_name(" | ") + detail::array_signature<double>;

    bool load(py::handle source) { return list_.load(source) || array_.emplace().load(source); }

    /// Reads the data; the result must not outlive this argument.
    std::span<const double> read() {
        const auto values = array_ ? array_->span() : (numbers_ = list_.read()).span();
        if (values.empty()) throw py::value_error(std::string(Arg.text) + " must not be empty");
        return values;
    }

private:
    list_of<double, Arg> list_;
    std::optional<array_of<double, Arg>> array_;
    numbers<double> numbers_;
};

/// An int from 0 to 2**64 - 1.
struct seed_argument : detail::argument {
    static constexpr auto signature = py::detail::const_name("int");
    std::uint64_t value = 0;

    bool load(py::handle source) {
        const auto number =
            py::reinterpret_steal<py::object>(PyIndex_Check(source.ptr()) ? PyNumber_Index(source.ptr()) : nullptr);
        if (!number && PyErr_Occurred() != nullptr) throw py::error_already_set();
        if (!number) throw py::type_error("seed must be an int, not " + detail::type_of(source));
        value = PyLong_AsUnsignedLongLong(number.ptr());
        if (PyErr_Occurred() != nullptr) {
            PyErr_Clear();
            PyErr_SetString(PyExc_OverflowError, "seed must be from 0 to 2**64 - 1");
            throw py::error_already_set();
        }
        return true;
    }
};

/// Work that ends soon, or cannot be stopped.
auto without_gil(auto work) {
    return released([&](auto) { return work(); });
}

/// A callable; its errors name the argument.
struct function_argument : detail::argument {
    static constexpr auto signature = py::detail::const_name("collections.abc.Callable[[], object]");
    py::function value;

    bool load(py::handle source) {
        if (PyCallable_Check(source.ptr()) == 0) throw py::type_error("func must be callable, not " + detail::type_of(source));
        value = py::reinterpret_borrow<py::function>(source);
        return true;
    }
};

/// Calls a Python function again and again. Ctrl-C is looked for after each call (a function written in C never does so
/// itself), and other threads get the GIL at least every 50 ms.
class python_batch {
public:
    explicit python_batch(py::function function) : function_(std::move(function)) {}

    void operator()(std::int64_t iterations) {
        std::int64_t until_look = 1, step = 1;
        auto last = clock::now();
        for (std::int64_t i = 0; i < iterations; ++i) {
            const auto result = py::reinterpret_steal<py::object>(PyObject_CallNoArgs(function_.ptr()));
            if (!result || PyErr_CheckSignals() != 0) throw py::error_already_set();
            if (--until_look > 0) continue;
            const auto now = clock::now();
            step = now - last < std::chrono::milliseconds(10) ? std::min<std::int64_t>(step * 2, 1 << 20) : 1;
            if (now - last >= std::chrono::milliseconds(5) || step == 1) {
                if (now - yielded_ >= std::chrono::milliseconds(50)) {
                    {
                        released_gil free;
                        free.finish();
                    }
                    yielded_ = clock::now();
                }
                last = now;
            }
            until_look = step;
        }
    }

private:
    using clock = std::chrono::steady_clock;
    py::function function_;
    clock::time_point yielded_ = clock::now();
};

tenfold::timer_result timed(const std::string& name, py::function function, std::int64_t iterations) {
    python_batch run(std::move(function));
    const tenfold::timer watch(name);
    run(iterations);
    return watch.stop(iterations);
}

std::tuple<double, double, double, double> statistical(py::function function, std::int64_t runs, std::int64_t iterations) {
    python_batch run(std::move(function));
    std::vector<double> seconds;
    double sum = 0.0;
    for (std::int64_t i = 0; i < runs; ++i) {
        const tenfold::timer watch;
        run(iterations);
        seconds.push_back(watch.elapsed());
        sum += seconds.back();
    }
    const auto [least, most] = std::minmax_element(seconds.begin(), seconds.end());
    const double mean = std::clamp(sum / static_cast<double>(runs), *least, *most);
    return {mean, tenfold::median(seconds), *least, *most};
}

/// Python functions, measured in interleaved rounds; the pauses are spent without the GIL.
std::vector<std::pair<std::int64_t, std::vector<double>>> compare(const std::vector<py::function>& functions,
                                                                  std::int64_t rounds, double min_time, double pause) {
    const tenfold::plan how{min_time, static_cast<int>(rounds), pause};
    std::vector<std::pair<std::string, tenfold::batch>> cases;
    for (const py::function& function : functions) cases.emplace_back("", python_batch(function));
    const auto stop = [] {
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        released_gil free;
        std::this_thread::yield();
        free.finish();
        return false;
    };
    std::vector<std::pair<std::int64_t, std::vector<double>>> result;
    for (auto& one : tenfold::compare(cases, how, stop).cases) result.emplace_back(one.iterations, std::move(one.seconds));
    return result;
}

template <class Values>
auto compare_sums(const Values& values, std::int64_t iterations, int num_threads) {
    return released([&](auto stop) {
        const auto run = [&](const char* name, int threads) {
            const tenfold::timer watch(name);
            for (std::int64_t i = 0; i < iterations; ++i) tenfold::keep(tenfold::sum_of_squares(values, threads, stop));
            return watch.stop(iterations);
        };
        return std::make_pair(run("Sequential", 1), run("Parallel", num_threads));
    });
}

/// Bytes that can be had without swapping, and the cgroup's limit where there is one.
double available_bytes() {
    double available = 1e18;
#ifdef __linux__
    std::ifstream memory("/proc/meminfo");
    for (std::string line; std::getline(memory, line);)
        if (line.rfind("MemAvailable:", 0) == 0) available = std::stod(line.substr(13)) * 1024;
    double most = 0, used = 0;
    if (std::ifstream("/sys/fs/cgroup/memory.max") >> most && std::ifstream("/sys/fs/cgroup/memory.current") >> used)
        available = std::min(available, std::max(0.0, most - used));
#endif
    return available;
}

void refuse_more_than_available(const char* name, std::int64_t size, double arrays) {
    const double wanted = 8.0 * static_cast<double>(size) * arrays, limit = 0.8 * available_bytes();
    if (wanted <= limit) return;
    PyErr_SetString(PyExc_MemoryError,
                    (std::string(name) + "=" + std::to_string(size) + " needs " + tenfold::detail::fixed(wanted * 1e-9, 1) +
                     " GB; the limit is 80 % of the memory available now, " + tenfold::detail::fixed(limit * 1e-9, 1) +
                     " GB: use at most " + tenfold::detail::fixed(std::floor(limit / 8.0 / arrays), 0))
                        .c_str());
    throw py::error_already_set();
}

/// A duration for Profiler.measure: the header refuses what is not finite.
class span {
public:
    span(tenfold::profiler& owner, std::string name)
        : owner_(py::cast(&owner, py::return_value_policy::reference)), profiler_(owner), name_(std::move(name)) {}
    void enter() {
        if (watch_) throw std::runtime_error("the span is already entered; ask the profiler for one per with statement");
        watch_.emplace(name_);
    }
    void exit() {
        if (!watch_) throw std::runtime_error("the span was not entered");
        profiler_.measure(name_, watch_->elapsed());
        watch_.reset();
    }

private:
    py::object owner_;  // the profiler's Python object, to keep it alive
    tenfold::profiler& profiler_;
    std::string name_;
    std::optional<tenfold::timer> watch_;
};

}  // namespace

template <>
class pybind11::detail::type_caster<span> : public tenfold::boundary::made_caster<span> {};

namespace {

py::dict build_info() {
    py::dict info;
#if defined(__clang__)
    info["compiler"] = std::string("clang ") + __clang_version__;
#elif defined(__GNUC__)
    info["compiler"] = std::string("g++ ") + __VERSION__;
#else
    info["compiler"] = "unknown";
#endif
#ifdef TENFOLD_FLAGS
    info["flags"] = TENFOLD_FLAGS;
#else
    info["flags"] = "";
#endif
    info["nontemporal_stores"] = tenfold::has_nontemporal_stores;
    info["usable_cores"] = usable_cores();
    return info;
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
    tenfold::boundary::begin_module();
    m.doc() = "Lesson 03: timers, robust statistics, memory bandwidth, and thirteen loops.";
    using result = tenfold::timer_result;
    using runs_argument = count<"runs", 100'000'000>;

    py::class_<result>(m, "TimerResult", py::module_local(), "Seconds that a number of iterations took.")
        .def_readonly("name", &result::name)
        .def_readonly("duration_secs", &result::duration_secs)
        .def_readonly("iterations", &result::iterations)
        .def("per_iteration", &result::per_iteration, "Seconds per iteration; ``inf`` for 0 iterations.")
        .def("ops_per_second", &result::ops_per_second, "Iterations per second.")
        .def("__repr__", &result::to_string);

    py::class_<tenfold::timer>(m, "Timer", py::module_local(), R"(
A monotonic timer that starts when it is made, and again when a ``with`` block is entered.

Parameters
----------
name : str
    Goes into the result.
)")
        .def(py::init([](const text_argument& name) { return std::make_unique<tenfold::timer>(name.value); }), "name"_a)
        .def("elapsed", &tenfold::timer::elapsed, "Seconds since the start; can be asked at any time.")
        .def(
            "stop", [](const tenfold::timer& self, amount<"iterations"> iterations) { return self.stop(iterations); },
            "iterations"_a, R"(
What has passed since the start, as a TimerResult. The timer goes on.

Parameters
----------
iterations : int
    0 or more.
)")
        .def("__enter__",
             [](tenfold::timer& self) -> tenfold::timer& {
                 self.restart();
                 return self;
             })
        .def("__exit__", [](const tenfold::timer&, const py::args&) { return false; });

    m.def(
        "benchmark",
        [](const text_argument& name, const function_argument& func, count<"iterations"> iterations) {
            return timed(name.value, func.value, iterations);
        },
        "name"_a, "func"_a, "iterations"_a, R"(
Calls ``func()`` `iterations` times, with the GIL held, and returns the time as a TimerResult.

Raises
------
ValueError
    `iterations` is below 1.
BaseException
    Whatever `func` raises.
)");
    m.def(
        "benchmark_with_warmup",
        [](const text_argument& name, const function_argument& func, amount<"warmup"> warmup, count<"iterations"> iterations) {
            python_batch{func.value}(warmup);
            return timed(name.value, func.value, iterations);
        },
        "name"_a, "func"_a, "warmup"_a, "iterations"_a, R"(
Like :func:`benchmark`, after `warmup` (0 or more) calls that are not timed.
)");
    m.def(
        "benchmark_statistical",
        [](const text_argument&, const function_argument& func, runs_argument runs, count<"iterations_per_run"> iterations) {
            return statistical(func.value, runs, iterations);
        },
        "name"_a, "func"_a, "runs"_a, "iterations_per_run"_a, R"(
Times `runs` runs of `iterations_per_run` calls each.

Returns
-------
tuple of float
    ``(mean, median, min, max)``, seconds per run. Of an even number of runs the median is the mean of the middle two.
)");
    const char* const compare_doc = R"(
Times the sum of squares of `data` on one thread and on several; both compute the same bits.

Parameters
----------
data : list of float or float64 array
    An array is read where it is.
iterations : int
    At least 1.
num_threads : int, optional
    Default: the usable cores.

Returns
-------
tuple of TimerResult
    "Sequential" and "Parallel".
)";
    m.def(
        "compare_seq_vs_parallel",
        [](const list_of<double, "data">& data, count<"iterations"> iterations, threads num_threads) {
            const auto values = data.read();
            return compare_sums(values.span(), iterations, num_threads);
        },
        "data"_a, "iterations"_a, py::kw_only(), "num_threads"_a = py::none(), compare_doc);
    m.def(
        "compare_seq_vs_parallel",
        [](const array_of<double, "data">& data, count<"iterations"> iterations, threads num_threads) {
            return compare_sums(data.span(), iterations, num_threads);
        },
        "data"_a, "iterations"_a, py::kw_only(), "num_threads"_a = py::none(), compare_doc);
    m.def(
        "measure_memory_throughput",
        [](count<"size"> size, count<"iterations"> iterations) {
            refuse_more_than_available("size", size, 1);
            const double seconds =
                released([&](auto stop) { return tenfold::read_seconds(static_cast<std::size_t>(size), iterations, stop); });
            return 8e-9 * static_cast<double>(size) * static_cast<double>(iterations) / seconds;
        },
        "size"_a, "iterations"_a, R"(
Speed at which one thread reads an array: ``8 * size * iterations`` bytes over the time.

Parameters
----------
size : int
    float64s in the array.
iterations : int
    How often it is read.

Returns
-------
float
    GB/s (1e9 bytes).

Raises
------
MemoryError
    The array is larger than 80 % of the memory that is available now; nothing has been allocated.
)");
    m.def(
        "_stream",
        [](count<"sizes"> elements, threads num_threads, count<"repetitions", 1'000'000> repetitions, double min_time) {
            refuse_more_than_available("sizes", elements, 3);
            const auto rows = released([&](auto stop) {
                return tenfold::stream(static_cast<std::size_t>(elements), num_threads, static_cast<int>(repetitions), min_time,
                                       stop);
            });
            std::vector<std::tuple<std::string, std::string, int, std::size_t, std::vector<double>>> table;
            for (const auto& row : rows) table.emplace_back(row.kernel, row.stores, row.threads, row.bytes, row.seconds);
            return table;
        },
        "elements"_a, "num_threads"_a, "repetitions"_a, "min_time"_a, "See stream().");
    m.def(
        "_compare",
        [](const std::vector<py::function>& functions, count<"rounds", 1'000'000> rounds, double min_time, double pause) {
            return compare(functions, rounds, min_time, pause);
        },
        "functions"_a, "rounds"_a, "min_time"_a, "pause"_a, "See compare().");
    m.def("_build_info", &build_info, "Compiler, flags and usable cores.");

    using sample = sample_of<"values">;
    m.def(
        "median", [](sample& values) { return without_gil([from = values.read()] { return tenfold::median(from); }); },
        "values"_a, "Middle value; of an even number of values the mean of the middle two. NaN or no value: ValueError.");
    m.def(
        "mad", [](sample& values) { return without_gil([from = values.read()] { return tenfold::mad(from); }); }, "values"_a,
        "Median absolute deviation from the median, not scaled.");
    m.def(
        "outliers",
        [](sample& values, real<"limit"> limit) {
            return without_gil([&, from = values.read()] { return tenfold::outliers(from, limit); });
        },
        "values"_a, py::kw_only(), "limit"_a = 3.0,
        "Indices of values farther than ``limit * 1.4826 * mad(values)`` from the median.");
    m.def(
        "bootstrap_median",
        [](sample& values, real<"confidence"> confidence, count<"resamples", 10'000'000> resamples, seed_argument seed) {
            const auto numbers = values.read();
            const auto interval = released([&](auto stop) {
                return tenfold::bootstrap_median(numbers, confidence, static_cast<std::size_t>(resamples), seed.value, stop);
            });
            return std::make_pair(interval.low, interval.high);
        },
        "values"_a, py::kw_only(), "confidence"_a = 0.95, "resamples"_a = 2000, "seed"_a = 1, R"(
Percentile bootstrap interval of the median: ``(low, high)``. The same `seed`, an int from 0 to 2**64 - 1, gives the same interval everywhere.
)");
    m.def(
        "cliffs_delta",
        [](sample_of<"a">& a, sample_of<"b">& b) {
            return without_gil([x = a.read(), y = b.read()] { return tenfold::cliffs_delta(x, y); });
        },
        "a"_a, "b"_a, "Effect size of a over b: P(a > b) - P(a < b), from -1 to 1.");
    m.def(
        "mann_whitney",
        [](sample_of<"a">& a, sample_of<"b">& b) {
            const auto test = without_gil([x = a.read(), y = b.read()] { return tenfold::mann_whitney(x, y); });
            return std::make_pair(test.u, test.p_value);
        },
        "a"_a, "b"_a, R"(
Mann-Whitney U test, two-sided: ``(u, p_value)``. Exact up to 25 values a side without ties, else the normal approximation.
)");

    using profiler = tenfold::profiler;
    py::class_<span>(m, "_Span", py::module_local(), "What Profiler.span returns.")
        .def("__enter__",
             [](span& self) -> span& {
                 self.enter();
                 return self;
             })
        .def("__exit__", [](span& self, const py::args&) {
            self.exit();
            return false;
        });
    py::class_<profiler>(m, "Profiler", py::module_local(),
                         "Named durations in the order in which they came; any thread may add.")
        .def(py::init<>())
        .def(
            "measure",
            [](profiler& self, const text_argument& name, real<"duration_secs"> seconds) {
                self.measure(name.value, seconds + 0.0);
            },
            "name"_a, "duration_secs"_a, "Adds a duration in seconds; negative or not finite: ValueError.")
        .def("results", &profiler::results, "list of ``(name, seconds)``, in order.")
        .def("summary", &profiler::summary, "A heading with the total, and a line per entry with its share.")
        .def("to_json", &profiler::to_json,
             "The same as JSON: ``{\"total_secs\", \"spans\": [{\"name\", \"duration_secs\", \"share\"}]}``.")
        .def(
            "span", [](profiler& self, const text_argument& name) { return span(self, name.value); }, "name"_a,
            "A context manager whose duration is added when it ends, also by an exception, which goes on.");
    loops::bind(m);
}
