// bind_broadcast.hpp - Broadcast and Subscription as Python sees them: signatures, docstrings, conversions.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>

#include "bind_channel.hpp"
#include "boundary.hpp"
#include "fast_methods.hpp"
#include "py_broadcast.hpp"

namespace tenfold::boundary {

inline PyMethodDef* subscription_methods() {
    static PyMethodDef methods[] = {
        fast_method("recv", source_recv<py_subscription>, R"(recv($self, /, timeout=None)
--

Receives the next object; waits while there is none, with the GIL released.

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
    The broadcast is closed and everything was received, or the subscription is closed.
ChannelLagged
    Objects were overwritten before this subscription came to them.
TimeoutError
    Nothing was sent in time.
)"),
        fast_method("try_recv", source_try_recv<py_subscription>, R"(try_recv($self, /, default=<unrepresentable>)
--

Receives the next object if there is one, without waiting.

Parameters
----------
default : object, optional
    What to return when there is none.

Returns
-------
object

Raises
------
ChannelEmpty
    There is none, and no `default` was given.
ChannelClosed, ChannelLagged
    As :meth:`recv`.
)"),
        {nullptr, nullptr, 0, nullptr}};
    return methods;
}

inline void bind_broadcast(py::module_& m, const channel_errors& errors) {
    const auto none = py::none();
    static PyMethodDef no_methods[] = {{nullptr, nullptr, 0, nullptr}};
    py::class_<py_broadcast>(m, "Broadcast", py::module_local(),
                             py::custom_type_setup([](PyHeapTypeObject* type) { collected<py_broadcast>(type, no_methods); }),
                             R"(
A channel of which every subscription sees every object, in the order sent, each at its own pace.

Parameters
----------
capacity : int
    How many objects the slowest subscription may be behind, 1 to 2**32.
overflow : {"wait", "lag"}
    What happens then. "wait": senders wait for it. "lag": the oldest object is overwritten, and the subscription's next
    receive raises :class:`ChannelLagged`, once.

Notes
-----
An object that is sent while nobody subscribes is dropped.
)")
        .def(py::init([errors](count<"capacity", (std::int64_t{1} << 32)> capacity, const std::string& policy) {
                 if (policy != "wait" && policy != "lag")
                     throw py::value_error("overflow must be 'wait' or 'lag', not '" + policy + "'");
                 return std::make_unique<py_broadcast>(static_cast<std::size_t>(capacity),
                                                       policy == "wait" ? overflow::wait : overflow::lag, errors);
             }),
             py::arg("capacity"), py::kw_only(), py::arg("overflow") = "wait")
        .def(
            "send",
            [](py_broadcast& self, const py::object& obj, const py::object& timeout) {
                self.send(obj.ptr(), time_limit(timeout));
            },
            py::arg("obj"), py::arg("timeout") = none, R"(
Sends `obj` to all subscriptions; with overflow "wait" it waits for the slowest, with the GIL released.

Parameters
----------
obj : object
timeout : float, optional
    Seconds to wait for room, 0 or more; None: as long as it takes.

Raises
------
ChannelClosed
    The broadcast is closed: `obj` was not sent.
TimeoutError
    There was no room in time: `obj` was sent to nobody.
)")
        .def(
            "try_send", [](py_broadcast& self, const py::object& obj) { return self.try_send(obj.ptr()); }, py::arg("obj"), R"(
Sends `obj` if there is room, without waiting.

Returns
-------
bool
    Whether it was sent.
)")
        .def("close", &py_broadcast::close, R"(
Says that nothing more will be sent. Subscriptions receive what they have not seen yet.
)")
        .def_property_readonly(
            "closed", [](const py_broadcast& self) { return self.underlying().closed(); }, "Whether `close` was called.")
        .def_property_readonly(
            "capacity", [](const py_broadcast& self) { return self.underlying().capacity(); },
            "How many objects the slowest subscription may be behind.")
        .def_property_readonly(
            "subscriptions", [](const py_broadcast& self) { return self.underlying().subscribers(); }, "How many there are.")
        .def("_watch", &py_broadcast::watch, py::arg("receiving"), py::arg("callback"), "See Channel.")
        .def("_unwatch", &py_broadcast::unwatch, py::arg("receiving"), py::arg("watch"), py::arg("tries_next"), "See Channel.")
        .def(
            "__len__", [](const py_broadcast& self) { return self.underlying().depth(); },
            "How far behind the slowest subscription is.")
        .def(
            "__bool__", [](const py_broadcast&) { return true; }, "True.")
        .def(
            "__enter__", [](py::object self) { return self; }, "The broadcast itself.")
        .def("__exit__", [](py_broadcast& self, const py::args&) { self.close(); }, "Closes the broadcast.");

    const auto set_up = [](PyHeapTypeObject* type) {
        collected<py_subscription>(type, subscription_methods());
        type->ht_type.tp_iter = PyObject_SelfIter;
        type->ht_type.tp_iternext = source_next<py_subscription>;
        type->as_sequence.sq_length = [](PyObject* self) -> Py_ssize_t {
            if (auto* subscription = value_of<py_subscription>(self)) return static_cast<Py_ssize_t>(subscription->depth());
            return 0;
        };
        type->as_number.nb_bool = [](PyObject*) { return 1; };
    };
    py::class_<py_subscription>(m, "Subscription", py::module_local(), py::custom_type_setup(set_up), R"(
One reader's place in a :class:`Broadcast`: it receives every object sent since it was made. ``len()`` is how many it has
not received yet; iteration ends when the broadcast is closed and everything was received.

Parameters
----------
broadcast : Broadcast
)")
        .def(py::init([](const py::object& broadcast) {
                 if (!py::isinstance<py_broadcast>(broadcast))
                     throw py::type_error("broadcast must be a Broadcast, not " + detail::type_of(broadcast));
                 return std::make_unique<py_subscription>(broadcast);
             }),
             py::arg("broadcast"))
        .def("close", &py_subscription::close, R"(
Ends the subscription: what it has not received no longer counts, and its receivers get :class:`ChannelClosed`.
)")
        .def_property_readonly("closed", &py_subscription::closed, "Whether nothing will come any more.")
        .def("_watch", &py_subscription::watch, py::arg("receiving"), py::arg("callback"), "See Channel.")
        .def("_unwatch", &py_subscription::unwatch, py::arg("receiving"), py::arg("watch"), py::arg("tries_next"),
             "See Channel.")
        .def(
            "__enter__", [](py::object self) { return self; }, "The subscription itself.")
        .def("__exit__", [](py_subscription& self, const py::args&) { self.close(); }, "Closes the subscription.");
}

}  // namespace tenfold::boundary
