// gil.hpp - the GIL at the C++ boundary: give it back, look for Ctrl-C, come back safely; and arguments whose errors name
// them. Copy it into your bindings together with <tenfold/released.hpp> and <tenfold/team.hpp>.
// (Lessons 02-10 carry the same ideas in boundary.hpp, next to the conversion of lists and buffers.)
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "tenfold/released.hpp"
#include "tenfold/team.hpp"

namespace tenfold::boundary {

namespace py = pybind11;

/// First in PYBIND11_MODULE. pybind11 3.1 finds a module's own types by the address of the interpreter that it served last on
/// this thread. A new interpreter may have the address of one that is gone: its import would end in "already registered".
inline void begin_module() {
#if defined(PYBIND11_HAS_SUBINTERPRETER_SUPPORT) && PYBIND11_VERSION_HEX < 0x03020000
    py::detail::get_local_internals_pp_manager().unref();
#endif
}

[[noreturn]] inline void sleep_until_the_process_ends() noexcept {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

/// PyEval_RestoreThread, safe at exit. While the interpreter shuts down, a daemon thread or a native one may still come
/// back from native code. CPython up to 3.13 ends it inside this call, by unwinding it through our destructors, and the
/// process would abort; so the thread sleeps until the process is gone, as CPython makes it do from 3.14 on.
inline void take_gil(PyThreadState* state) noexcept {
    try {
        PyEval_RestoreThread(state);
    } catch (...) {
        sleep_until_the_process_ends();
    }
}

/// py::gil_scoped_release with that way back. It uses the calling thread's own state only, as sub-interpreters need.
class gil_release {
public:
    gil_release() : state_(PyEval_SaveThread()) {}
    ~gil_release() { take_gil(state_); }
    gil_release(const gil_release&) = delete;
    gil_release& operator=(const gil_release&) = delete;

private:
    PyThreadState* state_;
};

inline bool finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing() != 0;
#else
    return _Py_IsFinalizing() != 0;
#endif
}

/// Signals are Python's to handle, in its main thread only. (While it shuts down nothing can be imported any more.) This runs
/// Python code: the GIL may pass to a thread that ends Python, and this one be unwound, so only plain pointers are on the way.
inline bool in_main_thread() {
    if (finalizing()) return false;
    PyObject *threading = nullptr, *main = nullptr, *ident = nullptr;
    try {
        threading = PyImport_ImportModule("threading");
        main = threading == nullptr ? nullptr : PyObject_CallMethod(threading, "main_thread", nullptr);
        ident = main == nullptr ? nullptr : PyObject_GetAttrString(main, "ident");
    } catch (...) {
        sleep_until_the_process_ends();
    }
    const bool same = ident != nullptr && PyLong_AsUnsignedLong(ident) == PyThread_get_thread_ident();
    Py_XDECREF(ident);
    Py_XDECREF(main);
    Py_XDECREF(threading);
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
    return same;
}

/// Runs `work(stop)` without the GIL. Outside the main thread looking for signals would cost a GIL round trip for
/// nothing, so there it is not done a second time.
template <class Work>
auto without_gil(Work work) {
    bool looking = true;
    const auto signal_arrived = [&] {
        if (!looking) return false;
        if (PyErr_CheckSignals() != 0) return true;
        looking = in_main_thread();  // runs Python code, so a handler may raise here too
        return false;
    };
    try {
        return released<gil_release>(signal_arrived, std::move(work));
    } catch (const stopped&) {
        throw py::error_already_set();  // the GIL is ours again, and so is the exception that the handler raised
    }
}

/// Runs `work(stop)` with the GIL held. The main thread handles its signals; any other lets go of the GIL for 0.2 ms
/// at each look, twenty times a second: else the main thread could neither see Ctrl-C nor leave the program.
template <class Work>
auto holding_gil(Work work) {
    auto next_look = std::chrono::steady_clock::now() + poll_interval;
    auto stop = [&] {
        if (std::chrono::steady_clock::now() < next_look) return false;
        if (in_main_thread()) {
            if (PyErr_CheckSignals() != 0) return true;
        } else {
            gil_release free;
            std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
        next_look = std::chrono::steady_clock::now() + poll_interval;
        return false;
    };
    try {
        return work(stop);
    } catch (const stopped&) {
        throw py::error_already_set();
    }
}

/// The text of an argument's name as a template parameter, so that a caster can name it in its errors.
template <std::size_t N>
struct argument_name {
    char text[N]{};
    consteval argument_name(const char (&s)[N]) {  // NOLINT: implicit on purpose
        for (std::size_t i = 0; i < N; ++i) text[i] = s[i];
    }
};

/// An int argument between Lowest and Highest. TypeError: not an int. OverflowError: no int64. ValueError: outside.
template <argument_name Name, std::int64_t Lowest = INT64_MIN, std::int64_t Highest = INT64_MAX>
struct integer {
    std::int64_t value = 0;
    operator std::int64_t() const { return value; }
};

/// Seconds to wait: a number >= 0, infinity included. The same errors.
template <argument_name Name>
struct waiting_time {
    double seconds = 0;
};

/// What a class that is bound derives its type_caster<T> from. On its own, pybind11 hands a method memory in which nothing has
/// been made when __init__ never ran: `T.__new__(T)`, or a subclass that calls a method before super().__init__(). Here that
/// is a TypeError, and so is None, which would be a null pointer.
template <class T>
struct made_caster : py::detail::type_caster_base<T> {
    bool load(py::handle source, bool convert) {
        if (!source || source.is_none()) return false;
        if (this->typeinfo != nullptr && Py_TYPE(source.ptr()) == this->typeinfo->type &&
            this->typeinfo->holder_enum_v != py::detail::holder_enum_t::smart_holder) {
            auto* const object = reinterpret_cast<py::detail::instance*>(source.ptr());
            if (object->simple_layout && object->simple_holder_constructed) [[likely]] {  // what load_impl finds, sooner
                this->value = object->simple_value_holder[0];
                return true;
            }
        }
        return this->template load_impl<made_caster>(source, convert);
    }
    /// load_impl calls this, for each base from C++ that an object has. What C++ only refers to is owned by somebody else.
    void load_value(py::detail::value_and_holder&& found) {
        if (found.inst->owned && !found.holder_constructed()) [[unlikely]]
            refuse(reinterpret_cast<PyObject*>(found.inst));
        py::detail::type_caster_base<T>::load_value(std::move(found));
    }

private:
    [[noreturn, gnu::cold, gnu::noinline]] static void refuse(PyObject* object) {
        throw py::type_error(std::string(Py_TYPE(object)->tp_name) + ".__init__() has not been called");
    }
};

inline bool is_number(py::handle value) {
    const PyNumberMethods* methods = Py_TYPE(value.ptr())->tp_as_number;
    return methods != nullptr && (methods->nb_float != nullptr || methods->nb_index != nullptr);
}

}  // namespace tenfold::boundary

template <tenfold::boundary::argument_name Name, std::int64_t Lowest, std::int64_t Highest>
struct pybind11::detail::type_caster<tenfold::boundary::integer<Name, Lowest, Highest>> {
    PYBIND11_TYPE_CASTER(PYBIND11_TYPE(tenfold::boundary::integer<Name, Lowest, Highest>), const_name("int"));

    bool load(handle source, bool) {
        const std::string argument = Name.text;
        const object index = reinterpret_steal<object>(PyNumber_Index(source.ptr()));
        if (!index) {
            if (!PyErr_ExceptionMatches(PyExc_TypeError) || PyIndex_Check(source.ptr())) throw error_already_set();
            PyErr_Clear();
            throw type_error(argument + " must be an int, not " + Py_TYPE(source.ptr())->tp_name);
        }
        int overflow = 0;
        value.value = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
        if (overflow != 0) {
            PyErr_SetString(PyExc_OverflowError,
                            (argument + " does not fit in 64 bits: it must be between -2**63 and 2**63 - 1").c_str());
            throw error_already_set();
        }
        const std::string given = ", not " + std::to_string(value.value);
        if (value.value < Lowest) throw value_error(argument + " must be at least " + std::to_string(Lowest) + given);
        if (value.value > Highest) throw value_error(argument + " must be at most " + std::to_string(Highest) + given);
        return true;
    }
};

template <tenfold::boundary::argument_name Name>
struct pybind11::detail::type_caster<tenfold::boundary::waiting_time<Name>> {
    PYBIND11_TYPE_CASTER(PYBIND11_TYPE(tenfold::boundary::waiting_time<Name>), const_name("float"));

    bool load(handle source, bool) {
        const std::string argument = Name.text;
        if (!tenfold::boundary::is_number(source))
            throw type_error(argument + " must be a number, not " + Py_TYPE(source.ptr())->tp_name);
        value.seconds = PyFloat_AsDouble(source.ptr());
        if (value.seconds == -1.0 && PyErr_Occurred() != nullptr) {
            if (!PyErr_ExceptionMatches(PyExc_OverflowError)) throw error_already_set();
            PyErr_Clear();
            throw std::overflow_error(argument + " does not fit a float: pass inf to wait for ever");
        }
        if (!(value.seconds >= 0))
            throw value_error(argument + " must be 0 or more (inf waits for ever), not " + repr(source).cast<std::string>());
        return true;
    }
};
