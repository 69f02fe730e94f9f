// bind_keeper.hpp: keeps foreign memory alive, and lets go of it from any thread.
//
// Who consumes an exported Arrow array or DLPack tensor frees it when and where it likes: on a thread that Python has never
// seen, without the GIL, or while the interpreter ends. What holds Python objects must then take the GIL itself.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "boundary.hpp"

namespace bind {

namespace py = pybind11;
using tenfold::boundary::finalizing;
using tenfold::boundary::retake_gil;

/// This thread's Python state while it is attached (holds the GIL, where there is one), else null.
inline PyThreadState* attached_state() {
#if PY_VERSION_HEX >= 0x030D0000
    return PyThreadState_GetUnchecked();
#elif PY_VERSION_HEX >= 0x030C0000
    return _PyThreadState_UncheckedGet();
#else
    return PyGILState_Check() != 0 ? PyGILState_GetThisThreadState() : nullptr;  // UncheckedGet: whoever's the GIL is
#endif
}

/// While it lives this thread has let go of the GIL, if it held it: before waiting for somebody who may want it.
class without_gil {
public:
    without_gil() : attached_(attached_state() != nullptr ? PyEval_SaveThread() : nullptr) {}
    without_gil(const without_gil&) = delete;
    without_gil& operator=(const without_gil&) = delete;
    ~without_gil() {
        if (attached_ != nullptr) retake_gil(attached_);
    }

private:
    PyThreadState* attached_;
};

/// Runs f with the GIL of that interpreter; not at all when Python is ending: what is left then belongs to the system.
template <class F>
void with_gil_of([[maybe_unused]] PyInterpreterState* interpreter, F&& f) noexcept {
    if (Py_IsInitialized() == 0 || finalizing()) return;
#if PY_VERSION_HEX >= 0x030C0000
    PyThreadState* const attached = attached_state();
    if (attached != nullptr && PyThreadState_GetInterpreter(attached) == interpreter) return f();
    if (attached != nullptr) PyEval_SaveThread();
    PyThreadState* const own = PyThreadState_New(interpreter);  // PyGILState_Ensure would always choose the main interpreter
    retake_gil(own);
    f();
    PyThreadState_Clear(own);
    PyThreadState_DeleteCurrent();
    if (attached != nullptr) retake_gil(attached);
#else
    const PyGILState_STATE state = PyGILState_Ensure();
    f();
    PyGILState_Release(state);
#endif
}

/// Shared by everything that looks at one piece of memory; the last one frees it.
using keeper = std::shared_ptr<void>;

template <class T, class Free>
keeper keep(T* held, Free free) {
    PyInterpreterState* const interpreter = PyInterpreterState_Get();
    return {held, [interpreter, free](T* last) {
                with_gil_of(interpreter, [&] {
                    const py::error_scope kept;  // a destructor must not disturb an error that is on its way
                    free(last);
                });
            }};
}

}  // namespace bind
