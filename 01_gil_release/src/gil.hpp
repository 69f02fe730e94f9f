// gil.hpp - the GIL at the C++ boundary: give it back, look for Ctrl-C, come back safely, enter from native threads;
// and integer arguments whose errors name them. Copy it into your bindings together with <tenfold/released.hpp>.
// (Lessons 02-10 carry the same ideas in boundary.hpp, next to the conversion of lists and buffers.)
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "tenfold/released.hpp"
#include "tenfold/team.hpp"

namespace tenfold::boundary {

namespace py = pybind11;

inline bool finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing() != 0;
#else
    return _Py_IsFinalizing() != 0;
#endif
}

/// A daemon thread may still be in native code when the interpreter shuts down. CPython up to 3.13 ends such a thread
/// inside the call that takes the GIL, in the middle of our destructors, and the process dies with an abort; here it
/// sleeps until the process is gone, as CPython does from 3.14 on.
inline void sleep_forever_if_finalizing() {
    while (finalizing()) std::this_thread::sleep_for(std::chrono::hours(1));
}

/// py::gil_scoped_release with a way back that is safe at exit. (The body runs before the member's destructor.)
struct gil_release {
    ~gil_release() { sleep_forever_if_finalizing(); }
    py::gil_scoped_release release;
};

/// A native thread joins the interpreter that called us. py::gil_scoped_acquire would always join the main one,
/// which is the wrong one when this module was imported in a sub-interpreter. The thread state is kept: making a new
/// one for each entry costs several times more.
class interpreter_thread {
public:
    explicit interpreter_thread(PyInterpreterState* interpreter) : state_(PyThreadState_New(interpreter)) {}
    ~interpreter_thread() {
        enter();
        PyThreadState_Clear(state_);
        PyThreadState_DeleteCurrent();
    }
    interpreter_thread(const interpreter_thread&) = delete;
    interpreter_thread& operator=(const interpreter_thread&) = delete;

    /// Holds the GIL while it lives.
    class gil {
    public:
        explicit gil(interpreter_thread& thread) : thread_(thread) { thread_.enter(); }
        ~gil() { PyEval_SaveThread(); }
        gil(const gil&) = delete;
        gil& operator=(const gil&) = delete;

    private:
        interpreter_thread& thread_;
    };

private:
    void enter() {
        sleep_forever_if_finalizing();
        PyEval_RestoreThread(state_);
    }
    PyThreadState* state_;
};

/// Signals are Python's to handle, in its main thread only.
inline bool in_main_thread() {
    const py::object threading = py::module_::import("threading");
    return threading.attr("current_thread")().is(threading.attr("main_thread")());
}

/// Runs `work(stop)` without the GIL. Outside the main thread looking for signals would cost a GIL round trip for
/// nothing, so there it is not done a second time.
template <class Work>
auto without_gil(Work work) {
    std::optional<bool> main_thread;
    auto signal_arrived = [&] {
        if (!main_thread) main_thread = in_main_thread();
        return *main_thread && PyErr_CheckSignals() != 0;
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
            PyErr_SetString(PyExc_OverflowError, (argument + " does not fit in 64 bits: it must be between -2**63 and 2**63 - 1").c_str());
            throw error_already_set();
        }
        const std::string given = ", not " + std::to_string(value.value);
        if (value.value < Lowest) throw value_error(argument + " must be at least " + std::to_string(Lowest) + given);
        if (value.value > Highest) throw value_error(argument + " must be at most " + std::to_string(Highest) + given);
        return true;
    }
};
