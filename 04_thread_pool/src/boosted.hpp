// boosted.hpp - the callable that @boost makes: forwards a plain call for a few nanoseconds, hands a list to Python.
//
// boosted_type() makes a heap type under a Python class, which brings all that is not the call: map, info, pickling, repr
// (thread_pool/boosting.py). A call compares two type pointers and goes on to the function with the arguments as they came
// (vectorcall: no tuple, no dict). A function that calls itself by name may have a twin, the same function with that name
// bound to the twin: inside it the calls are CPython's own again, which no wrapper can be. Copy: this file and boosting.py;
// it needs nothing but Python and, for one function at the end, pybind11.
#pragma once

#include <pybind11/pybind11.h>
#include <structmember.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#if defined(__linux__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace tenfold::boosting {

/// The C stack of this thread: where it ends, and how near one may come.
struct stack_end {
    std::uintptr_t bottom = 0, margin = 0;  // margin 0: not looked up yet
};
[[gnu::noinline]] inline stack_end find_stack_end() noexcept {
    std::size_t size = 0;
    std::uintptr_t bottom = 0;
#if defined(__linux__)
    pthread_attr_t attributes;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        void* low = nullptr;
        if (pthread_attr_getstack(&attributes, &low, &size) == 0) bottom = reinterpret_cast<std::uintptr_t>(low);
        pthread_attr_destroy(&attributes);
    }
#elif defined(__APPLE__)
    size = pthread_get_stacksize_np(pthread_self());
    bottom = reinterpret_cast<std::uintptr_t>(pthread_get_stackaddr_np(pthread_self())) - size;
#endif
    return bottom == 0 ? stack_end{0, 1} : stack_end{bottom, std::min<std::uintptr_t>(size / 4, 512 * 1024)};
}

#if defined(__linux__) && defined(__GNUC__)
#define TENFOLD_NEAR [[gnu::tls_model("initial-exec")]]  // 16 bytes, and no call to find them
#else
#define TENFOLD_NEAR
#endif
TENFOLD_NEAR inline thread_local constinit stack_end this_stack{};
#undef TENFOLD_NEAR

/// A Python function called from C takes C stack, and CPython counts that only from 3.12 on; counting here as well would
/// halve its limit. Before, nothing stood between a raised sys.setrecursionlimit() and a crash.
inline bool stack_used_up() noexcept {
    if (this_stack.margin == 0) [[unlikely]]
        this_stack = find_stack_end();
    char here = 0;
    return reinterpret_cast<std::uintptr_t>(&here) - this_stack.bottom < this_stack.margin;  // not on a fiber's stack: far away
}

struct boosted_object {
    PyObject ob_base;
    vectorcallfunc vectorcall;
    PyObject* function;  // never null after the making, until the collector clears
    PyObject* bound;  // the instance of a bound method, else null
    PyObject* whole;  // of a bound method: what it was bound from, else null
    PyObject* state;  // settings and counts, boosting.py's
    PyObject* dict;
    PyObject* weak_references;
    char is_method;  // the first argument is self: __set_name__ said so
    char in_class;  // defined in a class body, by its qualified name

    // The twin and what must still be so when it is used.
    std::atomic<char> settled;  // whether _settle() was asked; written before the question, so that it is asked once
    std::atomic<PyObject*> twin;  // written last: who sees it sees the rest
    PyObject *place, *name;  // the globals or the cell where the function finds its own name
    PyObject *code, *defaults, *keyword_defaults;
    unsigned long numbers;  // bit i: argument i must be an exact int or float
};

inline boosted_object* boosted(PyObject* self) noexcept { return reinterpret_cast<boosted_object*>(self); }

inline bool is_sequence(PyObject* value) noexcept { return PyList_CheckExact(value) || PyTuple_CheckExact(value); }
inline bool is_number(PyObject* value) noexcept { return PyLong_CheckExact(value) || PyFloat_CheckExact(value); }

inline PyObject* fails_stack() noexcept {
    PyErr_SetString(PyExc_RecursionError, "maximum recursion depth exceeded: the C stack is used up");
    return nullptr;
}

/// self._mapped(args, kwargs or None)
[[gnu::noinline]] inline PyObject* mapped(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
    if (stack_used_up()) return fails_stack();
    PyObject* const positional = PyTuple_New(count);
    if (positional == nullptr) return nullptr;
    for (Py_ssize_t i = 0; i < count; ++i) {
        Py_INCREF(args[i]);
        PyTuple_SET_ITEM(positional, i, args[i]);
    }
    PyObject* keywords = Py_None;
    Py_INCREF(keywords);
    if (names != nullptr && PyTuple_GET_SIZE(names) > 0) {
        Py_DECREF(keywords);
        keywords = PyDict_New();
        for (Py_ssize_t i = 0; keywords != nullptr && i < PyTuple_GET_SIZE(names); ++i)
            if (PyDict_SetItem(keywords, PyTuple_GET_ITEM(names, i), args[count + i]) < 0) Py_CLEAR(keywords);
    }
    PyObject* const result = keywords == nullptr ? nullptr : PyObject_CallMethod(self, "_mapped", "OO", positional, keywords);
    Py_XDECREF(keywords);
    Py_DECREF(positional);
    return result;
}

inline PyObject* bind(PyObject* self, PyObject* instance);

/// As method of its first argument: binds, then maps over the second.
[[gnu::noinline]] inline PyObject* mapped_method(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
    PyObject* const method = bind(self, args[0]);
    if (method == nullptr) return nullptr;
    PyObject* const result = mapped(method, args + 1, count - 1, names);
    Py_DECREF(method);
    return result;
}

/// self._settle() -> None or (twin, place, name, numbers). False: it raised.
[[gnu::noinline]] inline bool settle(boosted_object* self) {
    if (self->settled.exchange(1) != 0) return true;
    PyObject* const found = PyObject_CallMethod(reinterpret_cast<PyObject*>(self), "_settle", nullptr);
    if (found == nullptr) {
        self->settled.store(0);  // Ctrl-C: ask again
        return false;
    }
    if (PyTuple_Check(found) && PyTuple_GET_SIZE(found) == 4 && PyFunction_Check(self->function)) {
        auto* const function = reinterpret_cast<PyFunctionObject*>(self->function);
        const auto keep = [](PyObject*& field, PyObject* value) {
            Py_XINCREF(value);
            field = value;
        };
        keep(self->place, PyTuple_GET_ITEM(found, 1));
        keep(self->name, PyTuple_GET_ITEM(found, 2));
        keep(self->code, function->func_code);
        keep(self->defaults, function->func_defaults);
        keep(self->keyword_defaults, function->func_kwdefaults);
        self->numbers = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(found, 3));
        PyObject* const twin = PyTuple_GET_ITEM(found, 0);
        Py_INCREF(twin);
        self->twin.store(twin, std::memory_order_release);
    }
    Py_DECREF(found);
    return !PyErr_Occurred();
}

/// Whether the twin gives the function's own answer here: numbers where it counts on them, nothing changed since.
inline bool twin_fits(const boosted_object* self, PyObject* const* args, Py_ssize_t count) noexcept {
    unsigned long numbers = self->numbers;
    for (Py_ssize_t i = 0; numbers != 0; ++i, numbers >>= 1)
        if ((numbers & 1) != 0 && (i >= count || !is_number(args[i]))) return false;
    const auto* const function = reinterpret_cast<const PyFunctionObject*>(self->function);
    if (function->func_code != self->code || function->func_defaults != self->defaults ||
        function->func_kwdefaults != self->keyword_defaults)
        return false;
    PyObject* found = nullptr;  // borrowed, and only compared
    if (PyCell_Check(self->place)) {
        found = PyCell_GET(self->place);
    } else {
        found = PyDict_GetItemWithError(self->place, self->name);
        if (found == nullptr) PyErr_Clear();
    }
    return found == reinterpret_cast<const PyObject*>(self);
}

inline PyObject* call(PyObject* callable, PyObject* const* args, std::size_t flagged, PyObject* names) {
    boosted_object* const self = boosted(callable);
    const Py_ssize_t count = PyVectorcall_NARGS(flagged);
    PyObject* target = self->function;
    if (count > 0) {
        PyObject* const first = args[0];
        if (self->is_method != 0) {
            if (count > 1 && is_sequence(args[1])) [[unlikely]]
                return mapped_method(callable, args, count, names);
        } else if (is_sequence(first)) {
            return mapped(callable, args, count, names);
        } else if (is_number(first)) {
            if (self->settled.load(std::memory_order_relaxed) == 0) [[unlikely]]
                if (!settle(self)) return nullptr;
            PyObject* const twin = self->twin.load(std::memory_order_acquire);
            if (twin != nullptr && twin_fits(self, args, count)) target = twin;
        } else if (self->in_class != 0 && count > 1 && is_sequence(args[1])) [[unlikely]] {
            PyObject* const answer = PyObject_CallMethod(callable, "_takes_self", "O", first);  // a class method, perhaps
            const int yes = answer == nullptr ? -1 : PyObject_IsTrue(answer);
            Py_XDECREF(answer);
            if (yes < 0) return nullptr;
            if (yes > 0) return mapped_method(callable, args, count, names);
        }
    }
    if (stack_used_up()) [[unlikely]]
        return fails_stack();
    return PyObject_Vectorcall(target, args, flagged, names);
}

/// Of a bound method: the instance goes before the arguments.
inline PyObject* call_bound(PyObject* callable, PyObject* const* args, std::size_t flagged, PyObject* names) {
    boosted_object* const self = boosted(callable);
    const Py_ssize_t count = PyVectorcall_NARGS(flagged);
    if (count > 0 && is_sequence(args[0])) return mapped(callable, args, count, names);
    if (stack_used_up()) [[unlikely]]
        return fails_stack();
    if ((flagged & PY_VECTORCALL_ARGUMENTS_OFFSET) != 0) {  // the caller lends us the place before its first argument
        PyObject** const whole = const_cast<PyObject**>(args) - 1;
        PyObject* const kept = whole[0];
        whole[0] = self->bound;
        PyObject* const result = PyObject_Vectorcall(self->function, whole, static_cast<std::size_t>(count) + 1, names);
        whole[0] = kept;
        return result;
    }
    const std::size_t all =
        static_cast<std::size_t>(count) + (names == nullptr ? 0 : static_cast<std::size_t>(PyTuple_GET_SIZE(names)));
    std::array<PyObject*, 8> few;
    PyObject** const copy = all < few.size() ? few.data() : PyMem_New(PyObject*, all + 1);
    if (copy == nullptr) return PyErr_NoMemory();
    copy[0] = self->bound;
    std::copy_n(args, all, copy + 1);
    PyObject* const result = PyObject_Vectorcall(self->function, copy, static_cast<std::size_t>(count) + 1, names);
    if (copy != few.data()) PyMem_Free(copy);
    return result;
}

inline boosted_object* allocate(PyTypeObject* type, PyObject* function) {
    PyObject* const made = type->tp_alloc(type, 0);  // all zero
    if (made == nullptr) return nullptr;
    boosted_object* const self = boosted(made);
    self->vectorcall = call;
    Py_INCREF(function);
    self->function = function;
    return self;
}

/// type(function, state, in_class)
inline PyObject* make(PyTypeObject* type, PyObject* args, PyObject* keywords) {
    PyObject *function = nullptr, *state = nullptr;
    int in_class = 0;
    if (keywords != nullptr && PyDict_GET_SIZE(keywords) > 0) {
        PyErr_Format(PyExc_TypeError, "%s() takes no keyword arguments", type->tp_name);
        return nullptr;
    }
    if (!PyArg_ParseTuple(args, "OOp:Boosted", &function, &state, &in_class)) return nullptr;
    if (!PyCallable_Check(function)) {
        PyErr_Format(PyExc_TypeError, "a callable is needed, not %.200s", Py_TYPE(function)->tp_name);
        return nullptr;
    }
    boosted_object* const self = allocate(type, function);
    if (self == nullptr) return nullptr;
    self->in_class = static_cast<char>(in_class != 0);
    Py_INCREF(state);
    self->state = state;
    return reinterpret_cast<PyObject*>(self);
}

/// A bound method; it has the attributes of what it is bound from.
inline PyObject* bind(PyObject* self, PyObject* instance) {
    boosted_object* const of = boosted(self);
    if (of->dict == nullptr && (of->dict = PyDict_New()) == nullptr) return nullptr;
    boosted_object* const method = allocate(Py_TYPE(self), of->function);
    if (method == nullptr) return nullptr;
    method->vectorcall = call_bound;
    method->settled.store(1);
    const auto keep = [](PyObject*& field, PyObject* value) {
        Py_INCREF(value);
        field = value;
    };
    keep(method->bound, instance);
    keep(method->whole, self);
    keep(method->dict, of->dict);
    keep(method->state, of->state);
    return reinterpret_cast<PyObject*>(method);
}

inline PyObject* get(PyObject* self, PyObject* instance, PyObject* owner) {
    Py_INCREF(self);
    PyObject* const function = boosted(self)->function;
    const descrgetfunc get_function = Py_TYPE(function)->tp_descr_get;
    if (instance == nullptr || instance == Py_None || boosted(self)->bound != nullptr || get_function == nullptr) return self;
    if (!PyFunction_Check(function)) {  // it binds, or not, as it would by itself
        PyObject* const other = get_function(function, instance, owner);
        Py_XDECREF(other);
        if (other == function) return self;
    }
    PyObject* const method = PyErr_Occurred() ? nullptr : bind(self, instance);
    Py_DECREF(self);
    return method;
}

/// Calls `visit` on each field that holds a reference; not zero ends it.
template <class Visit>
int for_each_field(boosted_object* self, Visit&& visit) {
    PyObject** const fields[] = {&self->function, &self->bound, &self->whole, &self->state,    &self->dict,
                                 &self->place,    &self->name,  &self->code,  &self->defaults, &self->keyword_defaults};
    for (PyObject** const field : fields)
        if (const int stop = visit(*field)) return stop;
    return 0;
}

inline int traverse(PyObject* object, visitproc visit, void* arg) {
#if PY_VERSION_HEX >= 0x03090000
    Py_VISIT(Py_TYPE(object));
#endif
    Py_VISIT(boosted(object)->twin.load(std::memory_order_relaxed));
    return for_each_field(boosted(object), [&](PyObject* field) {
        Py_VISIT(field);
        return 0;
    });
}

/// The collector's. The function stays callable in between: it becomes None, which is not.
inline int clear(PyObject* object) {
    boosted_object* const self = boosted(object);
    PyObject* const twin = self->twin.exchange(nullptr);
    Py_XDECREF(twin);
    return for_each_field(self, [&](PyObject*& field) {
        PyObject* const old = field;
        field = nullptr;
        if (&field == &self->function) {
            Py_INCREF(Py_None);
            field = Py_None;
        }
        Py_XDECREF(old);
        return 0;
    });
}

inline void deallocate(PyObject* object) {
    boosted_object* const self = boosted(object);
    PyTypeObject* const type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_TRASHCAN_BEGIN(object, deallocate) if (self->weak_references != nullptr) PyObject_ClearWeakRefs(object);
    clear(object);
    Py_CLEAR(self->function);
    type->tp_free(object);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

/// A type whose instances are boosted functions and whose other attributes are those of `companion`, a class with
/// ``__slots__ = ()``. With `method` a call ``x.f(y)`` comes as ``f(x, y)``, as for Python's own functions, without an
/// object in between; then is_method or _takes_self() tells what the first argument is.
inline pybind11::object boosted_type(const pybind11::type& companion, bool method) {
    static PyMemberDef members[] = {
        {"__vectorcalloffset__", T_PYSSIZET, offsetof(boosted_object, vectorcall), READONLY, nullptr},
        {"__dictoffset__", T_PYSSIZET, offsetof(boosted_object, dict), READONLY, nullptr},
        {"__weaklistoffset__", T_PYSSIZET, offsetof(boosted_object, weak_references), READONLY, nullptr},
        {"_function", T_OBJECT, offsetof(boosted_object, function), READONLY, nullptr},
        {"_bound", T_OBJECT, offsetof(boosted_object, bound), READONLY, nullptr},
        {"_state", T_OBJECT, offsetof(boosted_object, state), READONLY, nullptr},
        {"_twin", T_OBJECT, offsetof(boosted_object, twin), READONLY, nullptr},
        {"__self__", T_OBJECT_EX, offsetof(boosted_object, bound), READONLY, nullptr},
        {"__func__", T_OBJECT_EX, offsetof(boosted_object, whole), READONLY, nullptr},
        {"_is_method", T_BOOL, offsetof(boosted_object, is_method), 0, nullptr},
        {"_in_class", T_BOOL, offsetof(boosted_object, in_class), READONLY, nullptr},
        {nullptr, 0, 0, 0, nullptr},
    };
    static PyGetSetDef properties[] = {
        {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
        {nullptr, nullptr, nullptr, nullptr, nullptr},
    };
    static PyType_Slot slots[] = {
        {Py_tp_new, reinterpret_cast<void*>(make)},
        {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
        {Py_tp_descr_get, reinterpret_cast<void*>(get)},
        {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
        {Py_tp_clear, reinterpret_cast<void*>(clear)},
        {Py_tp_dealloc, reinterpret_cast<void*>(deallocate)},
        {Py_tp_members, members},
        {Py_tp_getset, properties},
        {0, nullptr},
    };
    const unsigned flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL;
    PyType_Spec spec{"thread_pool.boosting.Boosted", sizeof(boosted_object), 0,
                     static_cast<unsigned>(flags | (method ? Py_TPFLAGS_METHOD_DESCRIPTOR : 0)), slots};
    PyObject* const made = PyType_FromSpecWithBases(&spec, pybind11::make_tuple(companion).ptr());
    if (made == nullptr) throw pybind11::error_already_set();
#if PY_VERSION_HEX >= 0x030A0000
    // CPython remembers where it found a method only if the method's type is immutable. Asking for that in the spec is
    // refused where the base is a Python class; the call, which is what is remembered, is not the base's.
    reinterpret_cast<PyTypeObject*>(made)->tp_flags |= Py_TPFLAGS_IMMUTABLETYPE;
#endif
    return pybind11::reinterpret_steal<pybind11::object>(made);
}

}  // namespace tenfold::boosting
