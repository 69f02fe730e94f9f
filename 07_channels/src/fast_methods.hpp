// fast_methods.hpp - methods that Python calls directly, where a call costs more than what it does.
//
// pybind11 looks for the overload and converts each argument, which takes about as long as a whole C method; sending one
// object takes less than that. So the few methods that are called per object are plain C methods (METH_FASTCALL, as the
// standard library's own), put into the type that pybind11 makes. custom_type_setup hands that type over before it is
// finished, which is also where the garbage collector's two functions go.
#pragma once

#include <pybind11/pybind11.h>

#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <typeinfo>

namespace tenfold::boundary {
namespace py = pybind11;

/// The C++ object inside a Python object made by pybind11; null before its __init__.
template <class T>
T* value_of(PyObject* self) {
    if (!py::detail::is_holder_constructed(self)) return nullptr;
    return static_cast<T*>(reinterpret_cast<py::detail::instance*>(self)->get_value_and_holder().value_ptr());
}
/// The same without a question, for the one layout that nearly all have; null: ask self_of.
template <class T>
T* simple_value_of(PyObject* self) noexcept {
    auto* const instance = reinterpret_cast<py::detail::instance*>(self);
    return instance->simple_layout ? static_cast<T*>(instance->simple_value_holder[0]) : nullptr;
}
template <class T>
T& self_of(PyObject* self) {
    if (T* const value = simple_value_of<T>(self)) return *value;
    auto* const instance = reinterpret_cast<py::detail::instance*>(self);
    void* value = nullptr;
    if (!instance->simple_layout)  // it has several bases from C++
        value = instance->get_value_and_holder(py::detail::get_type_info(typeid(T), true)).value_ptr();
    if (value == nullptr) throw py::type_error(std::string(Py_TYPE(self)->tp_name) + ".__init__() has not been called");
    return *static_cast<T*>(value);
}

/// In a catch block: turns the C++ exception into Python's, as pybind11 does around its own methods.
[[gnu::noinline]] inline PyObject* raise_caught() {
    try {
        throw;
    } catch (py::error_already_set& error) {
        error.restore();
    } catch (const py::builtin_exception& error) {
        error.set_error();
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    } catch (const std::overflow_error& error) {
        PyErr_SetString(PyExc_OverflowError, error.what());
    } catch (const std::exception& error) {
        PyErr_SetString(PyExc_RuntimeError, error.what());
    }  // anything else goes on: it is a thread that Python ends at exit
    return nullptr;
}
template <class F>
PyObject* to_python(F&& f) {
    try {
        return f();
    } catch (...) {
        return raise_caught();
    }
}

/// The arguments of one METH_FASTCALL | METH_KEYWORDS call: `required` by position, then one that may be left out.
class call_arguments {
public:
    call_arguments(const char* method, PyObject* const* values, Py_ssize_t count, PyObject* names, Py_ssize_t required,
                   const char* last)
        : values_(values) {
        if (names == nullptr && count == required) [[likely]]
            return;
        if (count == required + 1) last_ = values[required];
        const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
        if (count < required || count > required + 1) wrong_number(method, required, count);
        for (Py_ssize_t i = 0; i < named; ++i) {
            PyObject* const name = PyTuple_GET_ITEM(names, i);
            if (PyUnicode_CompareWithASCIIString(name, last) != 0)
                throw py::type_error(std::string(method) + "() got an unexpected keyword argument '" +
                                     py::str(name).cast<std::string>() + "'");
            if (last_) throw py::type_error(std::string(method) + "() got multiple values for argument '" + last + "'");
            last_ = values[count + i];
        }
    }
    PyObject* operator[](Py_ssize_t i) const noexcept { return values_[i]; }
    py::handle last() const noexcept { return last_; }  // null: left out

private:
    [[noreturn]] static void wrong_number(const char* method, Py_ssize_t required, Py_ssize_t given) {
        throw py::type_error(std::string(method) + "() takes " + std::to_string(required) + " or " +
                             std::to_string(required + 1) + " arguments, " + std::to_string(given) + " given");
    }

    PyObject* const* values_;
    py::handle last_;
};

using fast_function = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);

/// `doc` begins with the signature: "send($self, obj, /, timeout=None)\n--\n\n...".
inline PyMethodDef fast_method(const char* name, fast_function function, const char* doc) {
    return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)), METH_FASTCALL | METH_KEYWORDS, doc};
}

/// For custom_type_setup: methods of the type, and T's traverse and clear for the garbage collector.
template <class T>
void collected(PyHeapTypeObject* heap_type, PyMethodDef* methods) {
    PyTypeObject* const type = &heap_type->ht_type;
    type->tp_methods = methods;
    type->tp_flags |= Py_TPFLAGS_HAVE_GC;
    type->tp_traverse = [](PyObject* self, visitproc visit, void* arg) {
        Py_VISIT(Py_TYPE(self));
        T* const value = value_of<T>(self);
        return value == nullptr ? 0 : value->traverse(visit, arg);
    };
    type->tp_clear = [](PyObject* self) {
        if (T* const value = value_of<T>(self)) value->clear();
        return 0;
    };
}

}  // namespace tenfold::boundary
