// bindings.cpp - the module channels: conversions, GIL, docstrings. The algorithms are in include/tenfold.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <span>

#include "bind_broadcast.hpp"
#include "bind_channel.hpp"
#include "boundary.hpp"
#include "tenfold/channel_engines.hpp"

namespace py = pybind11;
using namespace py::literals;
using namespace tenfold::boundary;

namespace {

using worker_count = count<"worker_count", 1024>;

py::object exception(py::module_& m, const char* name, PyObject* base, const char* doc) {
    auto type = py::reinterpret_steal<py::object>(
        PyErr_NewExceptionWithDoc((std::string("channels.") + name).c_str(), doc, base, nullptr));
    if (!type) throw py::error_already_set();
    m.attr(name) = type;
    return type;
}

py::list texts(const tenfold::decimal_texts& from) {
    py::list list(from.size());
    for (std::size_t i = 0; i < from.size(); ++i) {
        const std::string_view text = from[i];
        PyObject* const string = PyUnicode_New(static_cast<Py_ssize_t>(text.size()), 127);
        if (string == nullptr) throw py::error_already_set();
        text.copy(static_cast<char*>(PyUnicode_DATA(string)), text.size());
        PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), string);
    }
    return list;
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
    tenfold::boundary::begin_module();
    m.doc() = "Lesson 07: channels between threads - producer and consumer, pipelines, fan-out and fan-in, broadcast.";

    const channel_errors errors{
        exception(m, "ChannelClosed", PyExc_RuntimeError,
                  "The channel is closed: it takes nothing more, or it is drained and nothing more will come."),
        exception(m, "ChannelEmpty", PyExc_LookupError, "Nothing is in the channel now, and the call does not wait."),
        exception(
            m, "ChannelLagged", PyExc_RuntimeError,
            "A subscription was so slow that objects were overwritten; ``missed`` says how many. It goes on with the oldest "
            "that is left."),
    };

    m.def(
        "producer_consumer",
        [](const array_of<double, "items">& items, worker_count workers) {
            const auto in = items.span();
            auto [array, squares] = new_array<double>(in.size());
            released([&](auto stop) { tenfold::producer_consumer(in, squares, static_cast<int>(workers), stop); });
            return array;
        },
        "items"_a, "worker_count"_a, R"(
Squares of floats: a producer deals out chunks through a bounded channel, workers consume them.

Parameters
----------
items : sequence of float, or 1-D float64 array
    An array is read where it is.
worker_count : int
    1 to 1024.

Returns
-------
list of float, or array
    The squares. Each worker writes where its chunk came from, so they are in order, although nothing here promises it.

Raises
------
TypeError, ValueError, OverflowError
    `items` are not numbers, or `worker_count` is out of range.
)");
    m.def(
        "producer_consumer",
        [](const list_of<double, "items">& items, worker_count workers) {
            auto values = items.read();
            numbers<double> squares;
            squares.resize(values.size());
            released([&](auto stop) {
                tenfold::producer_consumer(std::as_const(values).span(), squares.span(), static_cast<int>(workers), stop);
            });
            return to_list(squares);
        },
        "items"_a, "worker_count"_a);

    m.def(
        "pipeline_processing",
        [](const array_of<std::int64_t, "numbers">& given) {
            const auto in = given.span();
            return texts(released([&](auto stop) { return tenfold::pipeline_processing(in, stop); }));
        },
        "numbers"_a, R"(
A pipeline of three stages, one thread each: keep the even numbers, square them, write them in decimal.

Parameters
----------
numbers : sequence of int, or 1-D int64 array

Returns
-------
list of str
    In the order of the input.

Raises
------
OverflowError
    The square of an even number does not fit int64; the error names the first one's index.
)");
    m.def(
        "pipeline_processing",
        [](const list_of<std::int64_t, "numbers">& given) {
            const auto values = given.read();
            return texts(released([&](auto stop) { return tenfold::pipeline_processing(values.span(), stop); }));
        },
        "numbers"_a);

    using workers_count = count<"workers", 1024>;
    m.def(
        "fan_out_fan_in",
        [](const array_of<double, "tasks">& tasks, workers_count workers) {
            const auto in = tasks.span();
            return released([&](auto stop) { return tenfold::fan_out_fan_in(in, static_cast<int>(workers), stop); });
        },
        "tasks"_a, "workers"_a, R"(
Sum of squares: chunks fan out to the workers, their partial sums fan in.

Parameters
----------
tasks : sequence of float, or 1-D float64 array
workers : int
    1 to 1024. It never changes the result: partial sums are added in the order of the chunks.

Returns
-------
float
    0.0 when empty.
)");
    m.def(
        "fan_out_fan_in",
        [](const list_of<double, "tasks">& tasks, workers_count workers) {
            const auto values = tasks.read();
            return released([&](auto stop) { return tenfold::fan_out_fan_in(values.span(), static_cast<int>(workers), stop); });
        },
        "tasks"_a, "workers"_a);

    m.def(
        "broadcast_compute",
        [](real<"value"> value, worker_count workers) {
            return to_list(released([&](auto stop) {
                return tenfold::broadcast_compute(static_cast<double>(value), static_cast<int>(workers), stop);
            }));
        },
        "value"_a, "worker_count"_a, R"(
Sends one value to every worker; worker i computes ``value * (i + 1)``.

Parameters
----------
value : float
worker_count : int
    1 to 1024 threads, started for this call.

Returns
-------
list of float
    Entry i is worker i's.
)");

    bind_channel(m, errors);
    bind_broadcast(m, errors);
}
