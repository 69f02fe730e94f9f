// bind_channel.hpp - Channel and select as Python sees them: signatures, docstrings, conversions.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>

#include "boundary.hpp"
#include "fast_methods.hpp"
#include "py_channel.hpp"
#include "py_select.hpp"

namespace tenfold::boundary {

// ---- the methods that are called for each object

// The common case first and alone: no timeout, room (something there). All else is out of line.
[[gnu::noinline]] inline PyObject* channel_send_or_wait(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                                        PyObject* names) {
    return to_python([&] {
        const call_arguments call("send", args, count, names, 1, "timeout");
        self_of<py_channel>(self).send(call[0], time_limit(call.last()));
        return py::none().release().ptr();
    });
}
inline PyObject* channel_send(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
    auto* const channel = count == 1 && names == nullptr ? simple_value_of<py_channel>(self) : nullptr;
    try {
        if (channel != nullptr && channel->send_now(args[0])) [[likely]]
            return py::none().release().ptr();
    } catch (...) {
        return raise_caught();
    }
    return channel_send_or_wait(self, args, count, names);
}
inline PyObject* channel_try_send(PyObject* self, PyObject* object) {
    return to_python([&] { return py::bool_(self_of<py_channel>(self).try_send(object)).release().ptr(); });
}
/// Of Channel and Subscription.
template <class Source>
[[gnu::noinline]] PyObject* source_recv_or_wait(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
    return to_python([&] {
        const call_arguments call("recv", args, count, names, 0, "timeout");
        return self_of<Source>(self).recv(time_limit(call.last())).release();
    });
}
template <class Source>
PyObject* source_recv(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
    auto* const source = count == 0 && names == nullptr ? simple_value_of<Source>(self) : nullptr;
    try {
        py_ref message;
        if (source != nullptr && source->take(message) == channel_status::ok) [[likely]]
            return message.release();
    } catch (...) {
        return raise_caught();
    }
    return source_recv_or_wait<Source>(self, args, count, names);
}
template <class Source>
PyObject* source_try_recv(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
    return to_python([&] {
        const call_arguments call("try_recv", args, count, names, 0, "default");
        auto& source = self_of<Source>(self);
        py_ref message;
        if (source.try_recv(message)) return message.release();
        if (!call.last()) raise(source.errors().empty.ptr(), "nothing is there now");
        return py::reinterpret_borrow<py::object>(call.last()).release().ptr();
    });
}
/// tp_iternext: null without an error ends the loop.
template <class Source>
PyObject* source_next(PyObject* self) {
    return to_python([&] { return self_of<Source>(self).next().release(); });
}

inline PyMethodDef* channel_methods() {
    static PyMethodDef methods[] = {
        fast_method("send", channel_send, R"(send($self, obj, /, timeout=None)
--

Sends `obj`; waits while the channel is full, with the GIL released.

Parameters
----------
obj : object
timeout : float, optional
    Seconds to wait for room, 0 or more; None: as long as it takes.

Raises
------
ChannelClosed
    The channel is closed: `obj` was not sent.
TimeoutError
    There was no room in time: `obj` was not sent.
KeyboardInterrupt
    Ctrl-C came while it waited: `obj` was not sent.
)"),
        {"try_send", channel_try_send, METH_O, R"(try_send($self, obj, /)
--

Sends `obj` if there is room, without waiting.

Returns
-------
bool
    Whether it was sent; False: the channel is full.

Raises
------
ChannelClosed
    The channel is closed.
)"},
        fast_method("recv", source_recv<py_channel>, R"(recv($self, /, timeout=None)
--

Receives the oldest object; waits while the channel is empty, with the GIL released.

Parameters
----------
timeout : float, optional
    Seconds to wait, 0 or more; None: as long as it takes.

Returns
-------
object

Raises
------
ChannelClosed
    The channel is closed and drained.
TimeoutError
    Nothing came in time.
)"),
        fast_method("try_recv", source_try_recv<py_channel>, R"(try_recv($self, /, default=<unrepresentable>)
--

Receives the oldest object if there is one, without waiting.

Parameters
----------
default : object, optional
    What to return when the channel is empty.

Returns
-------
object

Raises
------
ChannelEmpty
    The channel is empty, and no `default` was given.
ChannelClosed
    The channel is closed and drained.
)"),
        {nullptr, nullptr, 0, nullptr}};
    return methods;
}

/// None or a count.
inline std::size_t capacity_of(const py::object& given) {
    if (given.is_none()) return unbounded;
    count<"capacity", (std::int64_t{1} << 32)> capacity;
    capacity.load(given);
    return static_cast<std::size_t>(capacity);
}

inline void bind_channel(py::module_& m, const channel_errors& errors) {
    const auto none = py::none();
    const auto set_up = [](PyHeapTypeObject* type) {
        collected<py_channel>(type, channel_methods());
        type->ht_type.tp_iter = PyObject_SelfIter;
        type->ht_type.tp_iternext = source_next<py_channel>;
        type->as_sequence.sq_length = [](PyObject* self) -> Py_ssize_t {
            if (auto* channel = value_of<py_channel>(self)) return static_cast<Py_ssize_t>(channel->depth());
            return 0;
        };
        type->as_number.nb_bool = [](PyObject*) { return 1; };  // an empty channel is still a channel
    };
    py::class_<py_channel>(m, "Channel", py::module_local(), py::custom_type_setup(set_up), R"(
A queue between threads and tasks: any number of senders and receivers, any objects, and an end.

What is sent first is received first, over all senders: one sender's objects arrive in the order in which it sent them,
and each object is received once. ``close()`` says that nothing more will come; what was sent before is still received.
Iteration receives until then, so ``for obj in channel`` is a whole consumer; several may share one channel.
``async for`` and the methods that end in ``_async`` do the same in tasks of asyncio, on the same channel.

Parameters
----------
capacity : int, optional
    How many objects it holds, 1 to 2**32; a sender waits when it is full. None: any number, senders never wait.
record : int
    Keep up to so many samples of the depth, for :meth:`depths`.

Notes
-----
Waiting releases the GIL, uses no CPU after a look of 0.1 ms at most, and ends within 100 ms of Ctrl-C. After ``fork()`` the
child can take out what is there, but waiting raises RuntimeError: the other threads stayed in the parent.
)")
        .def(py::init([errors](const py::object& capacity, amount<"record", 100'000'000> record) {
                 return std::make_unique<py_channel>(capacity_of(capacity), static_cast<std::size_t>(record), errors);
             }),
             py::arg("capacity") = none, py::kw_only(), py::arg("record") = 0)
        .def(
            "send_many",
            [](py_channel& self, const py::object& objects, const py::object& timeout) {
                self.send_many(objects, time_limit(timeout));
            },
            py::arg("objects"), py::arg("timeout") = none, R"(
Sends all objects, in order and one after the other; waits for room as often as it must.

Many at once cost a fraction of many calls of :meth:`send`. When the channel is full in between, other senders' objects
may come between two of these.

Parameters
----------
objects : iterable
    Read to its end before the first is sent.
timeout : float, optional
    Seconds to wait for room, in all; None: as long as it takes.

Raises
------
ChannelClosed, TimeoutError
    The error's attribute ``sent`` says how many were sent before.
)")
        .def(
            "recv_many",
            [](py_channel& self, const py::object& limit, const py::object& timeout) {
                count<"limit"> most;
                if (!limit.is_none()) most.load(limit);
                return self.recv_many(limit.is_none() ? unbounded : static_cast<std::size_t>(most), time_limit(timeout));
            },
            py::arg("limit") = none, py::arg("timeout") = none, R"(
Receives what is there, up to `limit` objects; waits only for the first.

Parameters
----------
limit : int, optional
    At least 1; None: everything.
timeout : float, optional
    Seconds to wait for the first.

Returns
-------
list
    At least one object, oldest first.

Raises
------
ChannelClosed
    The channel is closed and drained.
TimeoutError
    Nothing came in time.
)")
        .def("close", &py_channel::close, R"(
Says that nothing more will be sent. Receivers get what is left, then :class:`ChannelClosed`; senders get it at once,
those that wait for room too. Closing twice does nothing.
)")
        .def_property_readonly("closed", &py_channel::closed, "Whether `close` was called; objects may still be there.")
        .def_property_readonly(
            "capacity",
            [](const py_channel& self) -> std::optional<std::size_t> {
                if (self.capacity() == unbounded) return std::nullopt;
                return self.capacity();
            },
            "How many objects it holds; None: any number.")
        .def("depths", &py_channel::depths, R"(
How full the channel was, and when, if it was made with `record`.

Returns
-------
list of tuple
    ``(seconds, depth)`` after a send or receive, oldest first; seconds as of ``time.monotonic()``. When there were more
    than `record` of them, every second one, every fourth one, and so on.
)")
        .def("_stats", &py_channel::stats, "The fields of ChannelStats.")
        .def("_watch", &py_channel::watch, py::arg("receiving"), py::arg("callback"),
             "Has `callback()` called once, by whoever makes the channel ready; returns what to give to _unwatch.")
        .def("_unwatch", &py_channel::unwatch, py::arg("receiving"), py::arg("watch"), py::arg("tries_next"),
             "Ends a _watch; unless the caller `tries_next`, a wake-up that it had goes on to the next who waits.")
        .def(
            "__enter__", [](py::object self) { return self; }, "The channel itself.")
        .def(
            "__exit__", [](py_channel& self, const py::args&) { self.close(); }, "Closes the channel.")
        .def(
            "__repr__",
            [](const py::object& self) {
                const auto& channel = self.cast<const py_channel&>();
                const auto capacity = channel.capacity() == unbounded ? "None" : std::to_string(channel.capacity());
                return "<" + py::type::of(self).attr("__name__").cast<std::string>() + " capacity=" + capacity +
                       " depth=" + std::to_string(channel.depth()) + (channel.closed() ? " closed>" : ">");
            },
            "What it is, how full, and whether it is closed.");

    m.def(
        "select",
        [errors](const py::object& cases, const py::object& timeout) {
            return select_channel(cases, time_limit(timeout), errors);
        },
        py::arg("cases"), py::arg("timeout") = none, R"(
Waits for several channels at once and does one thing: receives from one of them, or sends to one.

Parameters
----------
cases : sequence of Channel or (Channel, object)
    A channel: receive from it. A pair: send that object to it. When several are ready, any of them may be chosen.
timeout : float, optional
    Seconds to wait; 0: try once; None: as long as it takes.

Returns
-------
tuple
    ``(channel, object)``: the channel that was chosen, and what was received, or None after a send.

Raises
------
ChannelClosed
    A channel to send to is closed, or all channels to receive from are closed and drained; those that are, while others
    are not, are passed over.
TimeoutError
    None was ready in time.
ValueError
    There is no case.
)");
}

}  // namespace tenfold::boundary
