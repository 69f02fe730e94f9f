// bind_view.hpp: View, an array that belongs to somebody else, handed on in whichever protocol the next one speaks.
#pragma once

#include <algorithm>

#include "bind_arguments.hpp"

namespace bind {

/// Any array as Python's buffer, as Arrow, as DLPack: one address, one owner, many names.
class view {
public:
    view(py::handle source, bool writable) : tensor_(look_at(source, {"source", types::either, writable})) {}
    explicit view(tensor seen) : tensor_(std::move(seen)) {}

    const tensor& seen() const { return tensor_; }
    Py_ssize_t itemsize() const { return tensor_.is_double ? 8 : 4; }
    std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(tensor_.data); }
    std::vector<Py_ssize_t> byte_strides() const {
        std::vector<Py_ssize_t> bytes = tensor_.strides.vector();
        for (Py_ssize_t& step : bytes) step *= itemsize();
        return bytes;
    }
    py::buffer_info buffer() const {
        return py::buffer_info(tensor_.data, itemsize(), tensor_.is_double ? "d" : "f",
                               static_cast<Py_ssize_t>(tensor_.shape.size()), tensor_.shape.vector(), byte_strides(),
                               tensor_.read_only);
    }

private:
    tensor tensor_;
};

}  // namespace bind

template <>
class pybind11::detail::type_caster<bind::view> : public tenfold::boundary::made_caster<bind::view> {};

namespace bind {

inline int major_of(const py::object& version) {
    const auto first = py::reinterpret_steal<py::object>(PySequence_GetItem(version.ptr(), 0));
    const long major = first ? PyLong_AsLong(first.ptr()) : -1;
    if (major == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
    return static_cast<int>(std::clamp(major, 0L, 1L << 16));
}

inline py::object dlpack(const view& self, const py::object& stream, const py::object& max_version, const py::object& dl_device,
                         const py::object& copy) {
    if (!stream.is_none()) throw py::buffer_error("stream must be None: this memory is the CPU's");
    if (!dl_device.is_none() && !dl_device.equal(py::make_tuple(1, 0)))
        throw py::buffer_error("dl_device must be (1, 0): this memory is the CPU's");
    const bool versioned = !max_version.is_none() && major_of(max_version) >= 1;
    const int copied = copy.is_none() ? 0 : PyObject_IsTrue(copy.ptr());
    if (copied < 0) throw py::error_already_set();
    return export_dlpack(self.seen(), versioned, copied != 0);
}

template <class Numbers>
py::tuple tuple_of(const Numbers& numbers) {
    py::tuple out(numbers.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) out[i] = numbers[i];
    return out;
}

inline void bind_view(py::module_& m) {
    const auto none = py::none();
    py::class_<view>(m, "View", py::module_local(), py::buffer_protocol(), R"(
An array of float32 or float64 where it is, whoever owns it.

Reads the buffer protocol, ``__arrow_c_array__`` and ``__dlpack__``, and offers all three, so it also translates between
them. The memory stays alive as long as a view, or anything made from one, does. Nothing is copied.

Parameters
----------
source : object
    A NumPy array, memoryview, mmap cast to "d", array.array, ctypes array, Arrow array without nulls, DLPack tensor, or view.
writable : bool
    Whether a read-only source is an error.

Raises
------
TypeError
    Another dtype, or none of the protocols.
ValueError
    Nulls, another device than the CPU, foreign byte order, unaligned items, read-only memory when `writable`.

Examples
--------
>>> import array, zero_copy
>>> view = zero_copy.View(array.array("d", [1.0, 2.0]))
>>> view.shape, view.dtype, view.readonly
((2,), 'float64', False)
)")
        .def(py::init([](const py::object& source, bool writable) { return view(source, writable); }), "source"_a,
             py::kw_only(), "writable"_a = false)
        .def_buffer([](const view& self) { return self.buffer(); })
        .def_property_readonly(
            "shape", [](const view& self) { return tuple_of(self.seen().shape); }, "Items in each dimension.")
        .def_property_readonly(
            "strides", [](const view& self) { return tuple_of(self.byte_strides()); },
            "Bytes from one item to the next, in each dimension.")
        .def_property_readonly(
            "dtype", [](const view& self) { return self.seen().is_double ? "float64" : "float32"; }, "'float64' or 'float32'.")
        .def_property_readonly(
            "readonly", [](const view& self) { return self.seen().read_only; }, "Whether writing is forbidden.")
        .def_property_readonly("address", &view::address,
                               "Where the first item is: equal addresses prove that nothing was copied.")
        .def("__len__",
             [](const view& self) {
                 if (self.seen().shape.empty()) throw py::type_error("a 0-D view has no length");
                 return self.seen().shape[0];
             })
        .def("__repr__",
             [](const view& self) {
                 return join("View(", self.seen().is_double ? "float64" : "float32", ", shape=", shape_text(self.seen().shape),
                             self.seen().read_only ? ", readonly)" : ")");
             })
        .def(
            "__dlpack_device__", [](const view&) { return py::make_tuple(1, 0); }, "(1, 0): the CPU.")
        .def("__dlpack__", &dlpack, py::kw_only(), "stream"_a = none, "max_version"_a = none, "dl_device"_a = none,
             "copy"_a = none, R"(
A DLPack capsule: versioned if `max_version` is at least (1, 0), which a read-only view needs.

Returns
-------
capsule
    "dltensor_versioned" or "dltensor". It keeps the memory alive until its consumer lets go.
)")
        .def(
            "__arrow_c_schema__", [](const view& self) { return arrow_schema_of(self.seen()); }, "The Arrow type as a capsule.")
        .def(
            "__arrow_c_array__", [](const view& self, const py::object&) { return arrow_capsules(self.seen()); },
            "requested_schema"_a = none, R"(
The view as an Arrow array: it must be 1-D and contiguous. Arrow's arrays never change, so leave the memory alone now.

Parameters
----------
requested_schema : capsule, optional
    Ignored, as the protocol allows: no other type could be had without a copy.

Returns
-------
(capsule, capsule)
    "arrow_schema" and "arrow_array".
)");
}

}  // namespace bind
