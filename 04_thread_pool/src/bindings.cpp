// bindings.cpp - the module thread_pool: lists and arrays in, squares out; the GIL is released in between. The work is in
// include/tenfold, ThreadPool and Future in bind_pool.hpp, the conversions in boundary.hpp.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bind_pool.hpp"
#include "boosted.hpp"
#include "boundary.hpp"
#include "interpreter.hpp"
#include "pool_object.hpp"
#include "tenfold/adaptive.hpp"
#include "tenfold/task_queue.hpp"
#include "tenfold/thread_pool.hpp"

namespace py = pybind11;
using namespace py::literals;
using namespace tenfold::boundary;
using std::int64_t;

namespace {

using thread_count = count<"thread_count", most_threads>;

// ---- functions that start their own threads

void square_stealing(std::span<const double> in, std::span<double> out, int threads) {
    if (in.empty()) return;
    released([&](auto stop) {
        tenfold::thread_pool pool(static_cast<int>(std::min<std::size_t>(in.size(), static_cast<std::size_t>(threads))));
        pool.for_chunks(
            in.size(),
            [&](std::size_t begin, std::size_t end) {
                for (std::size_t i = begin; i < end; ++i) out[i] = in[i] * in[i];
            },
            stop);
    });
}

py::object with_choice(py::object result, const tenfold::thread_choice& choice, bool wanted) {
    if (!wanted) return result;
    return py::make_tuple(
        std::move(result),
        py::dict("threads"_a = choice.threads, "seconds_per_task"_a = choice.seconds_per_task, "measured"_a = choice.measured));
}

tenfold::thread_choice square_adaptive(std::span<const double> in, std::span<double> out, int usable) {
    return released([&](auto stop) {
        return tenfold::adaptive_for(
            in.size(), usable,
            [&](std::size_t begin, std::size_t end) {
                for (std::size_t i = begin; i < end; ++i) out[i] = in[i] * in[i];
            },
            stop);
    });
}

// ---- a queue of tasks

class python_queue {
public:
    python_queue(std::span<const double> tasks, bool array) : tasks_({tasks.begin(), tasks.end()}), array_(array) {}

    std::size_t remaining() const {
        check();
        return tasks_.remaining();
    }
    py::object process(int threads) {
        check();
        std::vector<double> squares = released([&](auto stop) {
            struct counted {
                std::atomic<int>& busy;
                explicit counted(std::atomic<int>& of) : busy(of) { ++busy; }
                ~counted() { --busy; }
            } const counting(busy_);
            return tasks_.process(threads, [](double x) { return x * x; }, stop);
        });
        if (!array_) return to_list(squares);
        auto [array, values] = new_array<double>(squares.size());
        std::copy(squares.begin(), squares.end(), values.begin());
        return std::move(array);
    }

private:
    void check() const {  // its lock may have been held by a thread that is not here
        if (process_.forked() && busy_ > 0) throw std::runtime_error("the queue was in use when the process forked");
    }

    tenfold::task_queue<double> tasks_;
    bool array_;
    std::atomic<int> busy_{0};
    this_process process_;
};

}  // namespace

template <>
class pybind11::detail::type_caster<python_queue> : public tenfold::boundary::made_caster<python_queue> {};

namespace {

// ---- classes

void bind_queue(py::module_& m) {
    py::class_<python_queue>(m, "TaskQueue", py::module_local(), R"(
Numbers that wait to be squared. Several Python threads may drain it at once: each number is processed once.

Parameters
----------
tasks : sequence of float, or 1-D float64 array
    Copied: the queue owns what is in it.
)")
        .def(py::init([](const float_array& tasks) { return std::make_unique<python_queue>(tasks.span(), true); }), "tasks"_a)
        .def(py::init([](const floats& tasks) { return std::make_unique<python_queue>(tasks.read().span(), false); }),
             "tasks"_a)
        .def("remaining", &python_queue::remaining, "How many numbers no thread has taken yet.")
        .def(
            "process_parallel",
            [](python_queue& self, thread_count threads) { return self.process(static_cast<int>(threads.value)); },
            "thread_count"_a, R"(
Drains the queue with threads started for this call.

Parameters
----------
thread_count : int
    1 to 1024.

Returns
-------
list of float, or array
    The squares of the numbers that this call took, in any order; a list if the queue was made from a list.

Notes
-----
After Ctrl-C nothing is lost: what the call had taken is in the queue again.
)");
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
    tenfold::boundary::begin_module();
    m.doc() = "Lesson 04: thread pools - work stealing, fork-join, futures, adaptive sizing.";
    const auto none = py::none();
    const auto registry = std::make_shared<pool_registry>();
    bind_future(m);
    bind_pool(m, registry);
    bind_queue(m);
    bind_interpreter(m);
    py::module_::import("atexit").attr("register")(
        py::cpp_function([registry] { released([&](auto) { registry->end_all(); }); }));

    m.def("boosted_type", &tenfold::boosting::boosted_type, "companion"_a, "method"_a,
          "A type of callables that map over lists, with the attributes of `companion`: what @boost is made of.");

    m.def(
        "process_work_stealing",
        [](const float_array& tasks, thread_count threads, const float_out& out) {
            const auto in = tasks.span();
            auto result = output_for(in, out, "tasks");
            square_stealing(in, result.values, static_cast<int>(threads.value));
            return result.array;
        },
        "tasks"_a, "thread_count"_a, py::kw_only(), "out"_a = none, R"(
Square of each task, in order, by a work-stealing pool that lives for this call.

Parameters
----------
tasks : sequence of float, or 1-D float64 array
thread_count : int
    1 to 1024; not more threads are started than there are tasks.
out : 1-D float64 array, optional
    With an array: filled and returned; it may be `tasks` itself.

Returns
-------
list of float, or array
    A list for a sequence, an array for an array.

Notes
-----
Starting a thread costs as much as tens of thousands of squares: keep a :class:`ThreadPool` where calls repeat.
)");
    m.def(
        "process_work_stealing",
        [](const floats& tasks, thread_count threads, const py::object& out) {
            check_no_out(out, "tasks");
            auto values = tasks.read();
            square_stealing(values.span(), values.span(), static_cast<int>(threads.value));
            return to_list(values);
        },
        "tasks"_a, "thread_count"_a, py::kw_only(), "out"_a = none);

    m.def(
        "adaptive_parallel",
        [](const float_array& tasks, threads num_threads, const float_out& out, bool return_choice) {
            const auto in = tasks.span();
            auto result = output_for(in, out, "tasks");
            const auto choice = square_adaptive(in, result.values, num_threads);
            return with_choice(result.array, choice, return_choice);
        },
        "tasks"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, "return_choice"_a = false, R"(
Square of each task, in order, by as many threads as pay: measured, not guessed.

Parameters
----------
tasks : sequence of float, or 1-D float64 array
num_threads : int, optional
    The most threads it may choose, 1 to 1024; all usable cores when None.
out : 1-D float64 array, optional
    With an array: filled and returned; it may be `tasks` itself.
return_choice : bool
    Return ``(squares, choice)``.

Returns
-------
squares : list of float, or array
    A list for a sequence, an array for an array.
choice : dict, if `return_choice`
    ``threads`` that it took, ``seconds_per_task`` that it measured, and on how many tasks, ``measured``.

Notes
-----
The first tasks run on the calling thread, in growing portions, until their time is known. The rest gets another thread for
each share that is worth several times what starting a thread costs.
)");
    m.def(
        "adaptive_parallel",
        [](const floats& tasks, threads num_threads, const py::object& out, bool return_choice) {
            check_no_out(out, "tasks");
            auto values = tasks.read();
            const auto choice = square_adaptive(values.span(), values.span(), num_threads);
            return with_choice(to_list(values), choice, return_choice);
        },
        "tasks"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, "return_choice"_a = false);
}
