// interpreter.hpp: a Python interpreter with a GIL of its own, for one thread, kept warm; tuples go in and come back.
//
// The thread that makes an interpreter calls it and closes it; an entry is a swap of two thread states that are both kept.
//
//     sub_interpreter worker(code);                // marshalled code: becomes the module _tenfold_worker in there
//     py::tuple reply = worker.call(request);      // its serve(request), without the caller's GIL
//
// No C++ exception that holds a Python object leaves the inside. To copy it: this file, C++20, pybind11 >= 3.1, CPython >= 3.12.
#pragma once

#include <pybind11/pybind11.h>

namespace tenfold::boundary {
inline void bind_in_main(pybind11::module_& m) {
    m.def(
        "in_main_interpreter", [] { return PyInterpreterState_Get() == PyInterpreterState_Main(); },
        "Whether this is the interpreter that the process started with.");
}
}  // namespace tenfold::boundary

#ifdef PYBIND11_HAS_SUBINTERPRETER_SUPPORT
#include <marshal.h>
#include <pybind11/subinterpreter.h>
#ifndef _WIN32
#include <unistd.h>
#endif

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "boundary.hpp"
#include "crossing.hpp"
#include "keyword_names.hpp"
#include "plain_items.hpp"

namespace tenfold::boundary {

class sub_interpreter {
public:
    explicit sub_interpreter(const py::bytes& code) : type_(py::reinterpret_steal<py::object>(memory_object::new_type())) {
        if (!type_) throw py::error_already_set();
        if (PyInterpreterState_Get() != PyInterpreterState_Main())
            throw std::runtime_error("sub-interpreters are started from the main interpreter only");
        mend_keyword_names(true);
        // pybind11 3.1 takes a new interpreter for the one that had its address before.
        py::detail::get_internals_pp_manager().unref();
        py::detail::get_local_internals_pp_manager().unref();
        create();
        std::exception_ptr error;
        try {
            state_ = std::make_unique<py::subinterpreter_thread_state>(interpreter_);
            const std::string text = code;
            const std::string wrong = inside([&] { start(text); });
            if (!wrong.empty()) throw std::runtime_error(wrong);
        } catch (...) {
            error = std::current_exception();
        }
        if (!error) return;
        end();  // outside `catch`: see retake_gil()
        std::rethrow_exception(std::move(error));
    }
    sub_interpreter(const sub_interpreter&) = delete;
    sub_interpreter& operator=(const sub_interpreter&) = delete;
    ~sub_interpreter() {
        if (state_) mine() ? static_cast<void>(close(0.0)) : abandon();
    }

    py::tuple call(const py::tuple& request) {
        if (!state_) throw std::runtime_error("the interpreter is closed");
        if (!mine()) throw std::runtime_error("an interpreter is called by the thread that made it");
        std::vector<crossing> there = read(request.ptr(), nullptr), back;
        const std::string wrong = inside([&] {
            PyObject* const argument = make(std::move(there), inner_type_);  // no destructor must meet what inside() is wary of
            PyObject* const result = argument ? PyObject_CallOneArg(serve_, argument) : nullptr;
            Py_XDECREF(argument);
            const auto reply = py::reinterpret_steal<py::object>(result);
            if (!reply) throw py::error_already_set();
            back = read(reply.ptr(), inner_type_);
        });
        shared_memory::release_due();
        if (!wrong.empty()) throw std::runtime_error(wrong);
        auto reply = py::reinterpret_steal<py::tuple>(make(std::move(back), type_.ptr()));
        if (!reply) throw py::error_already_set();
        return reply;
    }

    /// Any thread: the batches up to this one are to stop.
    void tell(std::int64_t task) noexcept {
        std::int64_t now = told_->load();
        while (now < task && !told_->compare_exchange_weak(now, task)) {
        }
    }

    /// Ends the interpreter. False: threads that tasks started in it still run after so many seconds, so it is left as it is
    /// (CPython would abort the process).
    bool close(double patience) {
        if (!state_) return ended_;
        if (!mine()) throw std::runtime_error("an interpreter is closed by the thread that made it");
        bool alone = false;
        inside([&] {
            const auto left = py::reinterpret_steal<py::object>(PyObject_CallFunction(farewell_, "d", patience));
            alone =
                left && left.ptr() == Py_True && thread_states() == 1 + (PY_VERSION_HEX < 0x030D0000);  // 3.12 keeps the first
            PyErr_Clear();
            if (!alone) return;
            Py_CLEAR(serve_);
            Py_CLEAR(farewell_);
            Py_CLEAR(inner_type_);
        });
        if (alone) {
            end();
        } else {
            abandon();
        }
        shared_memory::release_due();
        return ended_;
    }

    /// Ends the interpreters that were left, from any thread; how many remain because threads run in them still. CPython 3.12
    /// aborts at its end if there are any.
    static std::size_t end_abandoned(double patience) {
        std::vector<orphan> todo;
        todo.swap(orphans());
        for (orphan& each : todo) {
            if (each.process != process_id()) {
                each.interpreter.disarm();
                continue;
            }
            PyThreadState* const mine = PyThreadState_New(each.kept->interp);
            PyThreadState* const outside = PyThreadState_Swap(mine);
            PyObject* const left = PyObject_CallFunction(each.farewell, "d", patience);
            const bool alone = left == Py_True && thread_states() == 2 + (PY_VERSION_HEX < 0x030D0000);
            Py_XDECREF(left);
            PyErr_Clear();
            if (alone) {
                PyThreadState_Clear(each.kept);
                PyThreadState_Delete(each.kept);
            }
            PyThreadState_Clear(mine);
            PyThreadState_Swap(outside);
            PyThreadState_Delete(mine);
            if (!alone) {
                orphans().push_back(std::move(each));
                continue;
            }
            mend_keyword_names(false);
            { const auto gone = std::move(each.interpreter); }
            mend_keyword_names(false);
        }
        shared_memory::release_due();
        return orphans().size();
    }

private:
    /// Whether this thread may enter. A forked child has lost the thread, and CPython has taken the interpreter from it.
    bool mine() const { return owner_ == std::this_thread::get_id() && process_ == process_id() && !finalizing(); }
    static long process_id() {
#ifdef _WIN32
        return 0;
#else
        return static_cast<long>(getpid());
#endif
    }

    void create() {
#if PY_VERSION_HEX < 0x030D0000
        // 3.12 makes them one at a time; pybind11 would wait for its turn with the GIL held, which the other may need.
        static auto* const turn = new std::mutex;
        PyThreadState* const state = PyEval_SaveThread();
        const std::lock_guard lock(*turn);
        retake_gil(state);
#endif
        interpreter_ = py::subinterpreter::create();
    }
    void end() {
        state_.reset();
        mend_keyword_names(false);  // before: others run, and may be looking; after: its end may have made some more
        { const auto gone = std::move(interpreter_); }
        mend_keyword_names(false);
        ended_ = true;
    }
    /// Left for the end of the process: the thread that made it is gone, or other threads run in it.
    void abandon() noexcept {
        if (process_ == process_id() && !finalizing())
            orphans().push_back({std::move(interpreter_), state_->raw_thread_state(), farewell_, process_});
        else interpreter_.disarm();
        static_cast<void>(state_.release());
    }

    struct orphan {
        py::subinterpreter interpreter;
        PyThreadState* kept;
        PyObject* farewell;
        long process;
    };
    static std::vector<orphan>& orphans() {  // under the main interpreter's GIL
        static auto* const all = new std::vector<orphan>;
        return *all;
    }

    /// Runs f under the other interpreter's GIL; the text of what went wrong. When the process ends meanwhile, CPython before
    /// 3.14 unwinds threads that ask for a GIL, and destructors would free Python objects without it: so sleep instead.
    template <class F>
    std::string inside(F&& f) noexcept {
        try {
            std::string wrong;
            PyThreadState* const outside = PyThreadState_Swap(state_->raw_thread_state());
            try {
                f();
            } catch (const py::error_already_set& error) {
                wrong = error.what();
            } catch (const std::exception& error) {
                wrong = error.what();
            }
            if (PyErr_Occurred()) PyErr_Clear();
            PyThreadState_Swap(outside);
            return wrong;
        } catch (...) {
            for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
        }
    }

    void start(const std::string& text) {
        py::detail::get_internals().tstate = state_->raw_thread_state();  // for gil_scoped_acquire of modules used in there
        inner_type_ = memory_object::new_type();
        const auto code = py::reinterpret_steal<py::object>(
            inner_type_ ? PyMarshal_ReadObjectFromString(text.data(), static_cast<Py_ssize_t>(text.size())) : nullptr);
        if (!code) throw py::error_already_set();
        const auto module = py::reinterpret_steal<py::object>(PyImport_ExecCodeModule("_tenfold_worker", code.ptr()));
        if (!module) throw py::error_already_set();
        module.attr("start")(*worker_functions::make(told_));
        serve_ = py::object(module.attr("serve")).release().ptr();
        farewell_ = py::object(module.attr("farewell")).release().ptr();
    }

    static int thread_states() {  // more than our own, and Py_EndInterpreter would abort
        int count = 0;
        PyInterpreterState* const here = PyInterpreterState_Get();
        for (PyThreadState* each = PyInterpreterState_ThreadHead(here); each; each = PyThreadState_Next(each)) ++count;
        return count;
    }

    py::object type_;  // of the interpreter outside; the three below belong to the one inside
    PyObject *inner_type_ = nullptr, *serve_ = nullptr, *farewell_ = nullptr;
    std::shared_ptr<std::atomic<std::int64_t>> told_ = std::make_shared<std::atomic<std::int64_t>>(0);
    std::thread::id owner_ = std::this_thread::get_id();
    long process_ = process_id();
    bool ended_ = false;
    py::subinterpreter interpreter_;
    std::unique_ptr<py::subinterpreter_thread_state> state_;  // before interpreter_ when destroyed
};

}  // namespace tenfold::boundary

template <>
class pybind11::detail::type_caster<tenfold::boundary::sub_interpreter>
    : public tenfold::boundary::made_caster<tenfold::boundary::sub_interpreter> {};

namespace tenfold::boundary {

inline void bind_interpreter(py::module_& m) {
    bind_in_main(m);
    m.def(
        "only_plain_items",
        [](const py::object& items) {
            const py::scoped_critical_section guard(items);
            return only_plain_items(items.ptr());
        },
        py::arg("items"), "Whether a list or tuple holds nothing but exact ints, floats, bools, strings, bytes and None.");
    const auto made = [](PyObject* object) {
        if (object == nullptr) throw py::error_already_set();
        return py::reinterpret_steal<py::object>(object);
    };
    m.def(
        "pack_numbers",
        [made](const py::object& items) {
            const py::scoped_critical_section guard(items);  // on a free-threaded build another thread may change the list
            return made(plain_numbers::pack(items.ptr()));
        },
        py::arg("items"), "(kind, bytes) of a list of exact ints that fit in 64 bits, or of exact floats; None of any other.");
    m.def(
        "unpack_numbers", [made](long kind, const py::object& data) { return made(plain_numbers::unpack(kind, data.ptr())); },
        py::arg("kind"), py::arg("data"), "The list again.");
    m.def("end_abandoned_interpreters", &sub_interpreter::end_abandoned, py::arg("patience") = 0.0,
          "Ends interpreters that their threads have not closed; how many remain, as threads of tasks run in them.");
    py::class_<sub_interpreter>(m, "Interpreter", py::module_local(), R"(
A Python interpreter with a GIL of its own, for the thread that makes it.

Parameters
----------
code : bytes
    Marshalled code that becomes the module ``_tenfold_worker`` in there, with `start`, `serve` and `farewell`.
)")
        .def(py::init<const py::bytes&>(), py::arg("code"))
        .def("call", &sub_interpreter::call, py::arg("request"), R"(
The reply of ``serve(request)``. Other threads run meanwhile.

Parameters
----------
request : tuple
    Of ints, bytes, None and tuples of contiguous memoryviews; these arrive as views of the same memory.

Returns
-------
tuple
    Of the same kinds. A view of the request's memory comes back as one; another buffer as a view of a copy.
)")
        .def("tell", &sub_interpreter::tell, py::arg("task"), "Lets the tasks up to this number know that they are cancelled.")
        .def("close", &sub_interpreter::close, py::arg("patience") = 5.0, R"(
Ends the interpreter, on the thread that made it.

Parameters
----------
patience : float
    How many seconds to wait for threads that tasks have started in it.

Returns
-------
bool
    False if such threads still run: then it is left to them, as CPython can not end it.
)");
}

}  // namespace tenfold::boundary
#else
namespace tenfold::boundary {
inline void bind_interpreter(pybind11::module_& m) {
    bind_in_main(m);
}  // no interpreters with a GIL of their own before CPython 3.12
}  // namespace tenfold::boundary
#endif
