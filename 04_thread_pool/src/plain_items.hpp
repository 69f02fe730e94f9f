// plain_items.hpp: which values marshal copies exactly, and lists of numbers as eight bytes each, which is quicker than marshal.
//
// To copy it: this file, C++20, pybind11, CPython >= 3.12.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>

namespace tenfold::boundary {
namespace py = pybind11;

/// Whether a list or tuple holds nothing but numbers, text, bytes and None, by type: what marshal copies exactly.
inline bool only_plain_items(PyObject* items) {
    if (!PyList_CheckExact(items) && !PyTuple_CheckExact(items)) return false;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items); ++i) {
        PyObject* const item = PySequence_Fast_GET_ITEM(items, i);
        if (!PyLong_CheckExact(item) && !PyFloat_CheckExact(item) && !PyUnicode_CheckExact(item) && item != Py_None &&
            !PyBool_Check(item) && !PyBytes_CheckExact(item))
            return false;
    }
    return true;
}

/// Lists of Python numbers of one type, as 64 bits each: exact ints that fit, or exact floats with all of their bits.
struct plain_numbers {
    static constexpr long ints = 3, floats = 4;  // worker.py's
    static constexpr Py_ssize_t width = 8;

    /// A new reference to (kind, bytes), to None if the list is of another kind; null with an error set.
    static PyObject* pack(PyObject* items) {
        const Py_ssize_t count = PyList_CheckExact(items) ? PyList_GET_SIZE(items) : 0;
        if (count == 0) return Py_NewRef(Py_None);
        const bool whole = PyLong_CheckExact(PyList_GET_ITEM(items, 0));
        auto bytes = py::reinterpret_steal<py::object>(PyBytes_FromStringAndSize(nullptr, count * width));
        if (!bytes) return nullptr;
        char* to = PyBytes_AS_STRING(bytes.ptr());
        for (Py_ssize_t i = 0; i < count; ++i, to += width)
            if (!(whole ? write_int(PyList_GET_ITEM(items, i), to) : write_float(PyList_GET_ITEM(items, i), to)))
                return Py_NewRef(Py_None);
        return Py_BuildValue("lN", whole ? ints : floats, bytes.release().ptr());
    }
    /// A new list of `count` items of a buffer from `first` on, fewer where it ends; null with an error set.
    static PyObject* unpack(long kind, PyObject* data, Py_ssize_t first, Py_ssize_t count) {
        Py_buffer view;
        if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) != 0) return nullptr;
        const Py_ssize_t size = view.len / width;
        first = std::clamp<Py_ssize_t>(first, 0, size);
        count = std::clamp<Py_ssize_t>(count, 0, size - first);
        auto out = py::reinterpret_steal<py::object>(PyList_New(count));
        const char* from = static_cast<const char*>(view.buf) + first * width;
        for (Py_ssize_t i = 0; out && i < count; ++i, from += width) {
            PyObject* const item =
                kind == ints ? PyLong_FromLongLong(read<std::int64_t>(from)) : PyFloat_FromDouble(read<double>(from));
            if (item != nullptr) PyList_SET_ITEM(out.ptr(), i, item);
            else out = py::object();
        }
        PyBuffer_Release(&view);
        return out.release().ptr();
    }

private:
    static bool write_int(PyObject* item, char* to) {
        int overflow = 0;
        if (!PyLong_CheckExact(item)) return false;
        const std::int64_t value = PyLong_AsLongLongAndOverflow(item, &overflow);
        std::memcpy(to, &value, width);
        return overflow == 0;
    }
    static bool write_float(PyObject* item, char* to) {
        if (!PyFloat_CheckExact(item)) return false;
        const double value = PyFloat_AS_DOUBLE(item);
        std::memcpy(to, &value, width);
        return true;
    }
    template <class T>
    static T read(const char* from) {
        T value;
        std::memcpy(&value, from, sizeof value);
        return value;
    }
};

/// Python functions for a sub-interpreter.
class worker_functions {
public:
    using number = std::shared_ptr<std::atomic<std::int64_t>>;

    /// {told, plain, pack, unpack}, or an exception. `told` is the number below which batches are to stop.
    static py::tuple make(const number& told) {
        static PyMethodDef methods[] = {
            {"told", &get, METH_NOARGS, nullptr},
            {"plain", &plain, METH_O, nullptr},
            {"pack", &pack, METH_O, nullptr},
            {"unpack", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&unpack)), METH_FASTCALL, nullptr}};
        const py::capsule held(new number(told), [](void* at) { delete static_cast<number*>(at); });
        py::tuple out(std::size(methods));
        for (std::size_t i = 0; i < std::size(methods); ++i) {
            auto function = py::reinterpret_steal<py::object>(PyCFunction_New(&methods[i], held.ptr()));
            if (!function) throw py::error_already_set();
            out[i] = function;
        }
        return out;
    }

private:
    static PyObject* get(PyObject* self, PyObject*) {
        return PyLong_FromLongLong((*static_cast<number*>(PyCapsule_GetPointer(self, nullptr)))->load());
    }
    static PyObject* plain(PyObject*, PyObject* items) { return PyBool_FromLong(only_plain_items(items)); }
    static PyObject* pack(PyObject*, PyObject* items) { return plain_numbers::pack(items); }
    static PyObject* unpack(PyObject*, PyObject* const* args, Py_ssize_t count) {
        if (count != 4) {
            PyErr_SetString(PyExc_TypeError, "unpack(kind, data, first, count)");
            return nullptr;
        }
        const long kind = PyLong_AsLong(args[0]);
        const Py_ssize_t first = PyLong_AsSsize_t(args[2]), most = PyLong_AsSsize_t(args[3]);
        return PyErr_Occurred() ? nullptr : plain_numbers::unpack(kind, args[1], first, most);
    }
};

}  // namespace tenfold::boundary
