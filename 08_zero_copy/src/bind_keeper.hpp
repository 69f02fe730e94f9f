// bind_keeper.hpp: keeps foreign memory alive, and lets go of it from any thread.
//
// Who consumes an exported Arrow array or DLPack tensor frees it when and where it likes: on a thread that Python has never
// seen, without the GIL, or while the interpreter ends. What holds Python objects must then take the GIL itself.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

namespace bind {

namespace py = pybind11;

/// Runs f with the GIL of that interpreter; not at all when Python is ending: what is left then belongs to the system.
template <class F>
void with_gil_of([[maybe_unused]] PyInterpreterState* interpreter, F&& f) noexcept {
#if PY_VERSION_HEX >= 0x030D0000
    if (Py_IsInitialized() == 0 || Py_IsFinalizing() != 0) return;
#else
    if (Py_IsInitialized() == 0 || _Py_IsFinalizing() != 0) return;
#endif
#if PY_VERSION_HEX >= 0x030C0000
#if PY_VERSION_HEX >= 0x030D0000
    PyThreadState* const attached = PyThreadState_GetUnchecked();
#else
    PyThreadState* const attached = _PyThreadState_UncheckedGet();
#endif
    if (attached != nullptr && PyThreadState_GetInterpreter(attached) == interpreter) return f();
    if (attached != nullptr) PyEval_SaveThread();
    PyThreadState* const own = PyThreadState_New(interpreter);  // PyGILState_Ensure would always choose the main interpreter
    PyEval_RestoreThread(own);
    f();
    PyThreadState_Clear(own);
    PyThreadState_DeleteCurrent();
    if (attached != nullptr) PyEval_RestoreThread(attached);
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
