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
#include <utility>

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
    /// A new list of what a buffer holds; null with an error set.
    static PyObject* unpack(long kind, PyObject* data) {
        Py_buffer view;
        if (!known(kind) || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) != 0) return nullptr;
        auto out = py::reinterpret_steal<py::object>(PyList_New(view.len / width));
        const char* from = static_cast<const char*>(view.buf);
        for (Py_ssize_t i = 0; out && i < view.len / width; ++i, from += width) {
            PyObject* const item = make(kind, from);
            if (item != nullptr) PyList_SET_ITEM(out.ptr(), i, item);
            else out = py::object();
        }
        PyBuffer_Release(&view);
        return out.release().ptr();
    }
    static bool known(long kind) {
        if (kind != ints && kind != floats) PyErr_SetString(PyExc_ValueError, "a kind of numbers that is none");
        return kind == ints || kind == floats;
    }
    static PyObject* make(long kind, const char* from) {
        return kind == ints ? PyLong_FromLongLong(read<std::int64_t>(from)) : PyFloat_FromDouble(read<double>(from));
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

/// The number up to which batches are to stop; any thread may raise it.
using told_number = std::shared_ptr<std::atomic<std::int64_t>>;

/// A Python iterator over some of a batch's arguments, a list's or packed numbers, that ends when the batch is told to stop.
/// The first of all is never left out: its caller was told that it runs.
struct call_items {
    PyObject_HEAD PyObject* list;  // or null, and
    Py_buffer numbers;
    long kind;
    Py_ssize_t next, end;
    std::int64_t task;
    told_number* told;

    static PyObject* new_type() {
        static PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(&dealloc)},
                                      {Py_tp_iter, reinterpret_cast<void*>(&PyObject_SelfIter)},
                                      {Py_tp_iternext, reinterpret_cast<void*>(&get_next)},
                                      {0, nullptr}};
        static PyType_Spec spec = {"thread_pool._core.CallItems", sizeof(call_items), 0,
                                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
        return PyType_FromSpec(&spec);
    }
    /// A new reference, or null with an error set.
    static PyObject* make(PyObject* type, const told_number& told, long kind, PyObject* items, Py_ssize_t first,
                          Py_ssize_t count, std::int64_t task) {
        Py_buffer numbers{};
        const bool list = PyList_CheckExact(items);
        if (!list && (!plain_numbers::known(kind) || PyObject_GetBuffer(items, &numbers, PyBUF_SIMPLE) != 0)) return nullptr;
        auto* self = PyObject_New(call_items, reinterpret_cast<PyTypeObject*>(type));
        if (self == nullptr) {
            PyBuffer_Release(&numbers);
            return nullptr;
        }
        self->list = list ? Py_NewRef(items) : nullptr;
        self->numbers = numbers;
        self->kind = kind;
        self->next = std::max<Py_ssize_t>(first, 0);
        self->end = self->next + std::min(std::max<Py_ssize_t>(count, 0), PY_SSIZE_T_MAX - self->next);
        self->task = task;
        self->told = new told_number(told);
        return reinterpret_cast<PyObject*>(self);
    }

private:
    static void dealloc(PyObject* object) {
        auto* self = reinterpret_cast<call_items*>(object);
        PyTypeObject* type = Py_TYPE(object);
        Py_XDECREF(self->list);
        PyBuffer_Release(&self->numbers);  // of none: does nothing
        delete self->told;
        PyObject_Free(object);
        Py_DECREF(type);
    }
    static PyObject* get_next(PyObject* object) {
        auto* self = reinterpret_cast<call_items*>(object);
        const Py_ssize_t size = self->list ? PyList_GET_SIZE(self->list) : self->numbers.len / plain_numbers::width;
        // relaxed: it only has to be seen soon
        if (self->next >= std::min(self->end, size) ||
            (self->next > 0 && (*self->told)->load(std::memory_order_relaxed) >= self->task))
            return nullptr;
        const Py_ssize_t i = self->next++;
        if (self->list) return Py_NewRef(PyList_GET_ITEM(self->list, i));
        return plain_numbers::make(self->kind, static_cast<const char*>(self->numbers.buf) + i * plain_numbers::width);
    }
};

/// Python functions for a sub-interpreter.
class worker_functions {
public:
    /// {told, plain, pack, items}, or an exception.
    static py::tuple make(const told_number& told) {
        static PyMethodDef methods[] = {
            {"told", &get, METH_NOARGS, nullptr},
            {"plain", &plain, METH_O, nullptr},
            {"pack", &pack, METH_O, nullptr},
            {"items", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&items)), METH_FASTCALL, nullptr}};
        auto type = py::reinterpret_steal<py::object>(call_items::new_type());
        if (!type) throw py::error_already_set();
        const py::capsule held(new worker_functions{told, type.ptr()}, [](void* at) {
            auto* self = static_cast<worker_functions*>(at);
            Py_DECREF(self->type_);
            delete self;
        });
        type.release();
        py::tuple out(std::size(methods));
        for (std::size_t i = 0; i < std::size(methods); ++i) {
            auto function = py::reinterpret_steal<py::object>(PyCFunction_New(&methods[i], held.ptr()));
            if (!function) throw py::error_already_set();
            out[i] = function;
        }
        return out;
    }

private:
    worker_functions(told_number told, PyObject* type) : told_(std::move(told)), type_(type) {}

    static const worker_functions& of(PyObject* held) {
        return *static_cast<worker_functions*>(PyCapsule_GetPointer(held, nullptr));
    }
    static PyObject* get(PyObject* held, PyObject*) { return PyLong_FromLongLong(of(held).told_->load()); }
    static PyObject* plain(PyObject*, PyObject* items) { return PyBool_FromLong(only_plain_items(items)); }
    static PyObject* pack(PyObject*, PyObject* items) { return plain_numbers::pack(items); }
    static PyObject* items(PyObject* held, PyObject* const* args, Py_ssize_t count) {
        if (count != 5) {
            PyErr_SetString(PyExc_TypeError, "items(kind, list or buffer, first, count, task)");
            return nullptr;
        }
        const long kind = PyLong_AsLong(args[0]);
        const Py_ssize_t first = PyLong_AsSsize_t(args[2]), most = PyLong_AsSsize_t(args[3]);
        const std::int64_t task = PyLong_AsLongLong(args[4]);
        if (PyErr_Occurred()) return nullptr;
        return call_items::make(of(held).type_, of(held).told_, kind, args[1], first, most, task);
    }

    told_number told_;
    PyObject* type_;
};

}  // namespace tenfold::boundary
