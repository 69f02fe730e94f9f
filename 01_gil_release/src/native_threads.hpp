// native_threads.hpp - native threads that enter Python: what they must bring, and what can happen to them.
#pragma once

#include <pybind11/pybind11.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gil.hpp"
#include "tenfold/gil_observer.hpp"
#include "tenfold/primes.hpp"
#include "tenfold/team.hpp"

namespace tenfold::boundary {

/// A native thread joins the interpreter that called us. py::gil_scoped_acquire would always join the main one,
/// which is the wrong one when this module was imported in a sub-interpreter. The thread state is kept: making a new
/// one for each entry costs several times more.
class interpreter_thread {
public:
    explicit interpreter_thread(PyInterpreterState* interpreter) : state_(PyThreadState_New(interpreter)) {
        if (state_ == nullptr) throw std::bad_alloc();
    }
    ~interpreter_thread() {
        take_gil(state_);
        PyThreadState_Clear(state_);
        PyThreadState_DeleteCurrent();
    }
    interpreter_thread(const interpreter_thread&) = delete;
    interpreter_thread& operator=(const interpreter_thread&) = delete;

    /// Holds the GIL while it lives.
    class gil {
    public:
        explicit gil(interpreter_thread& thread) { take_gil(thread.state_); }
        ~gil() { PyEval_SaveThread(); }
        gil(const gil&) = delete;
        gil& operator=(const gil&) = delete;
    };

private:
    PyThreadState* state_;
};

/// A shutting-down interpreter lets no new thread in: whoever waited for one would wait for ever.
inline void refuse_at_shutdown() {
    if (finalizing()) throw std::runtime_error("the interpreter is shutting down: native threads can no longer enter it");
}

/// function(i). While the interpreter shuts down, CPython ends a thread inside this call by unwinding it: only plain
/// pointers may be on the way, and nobody may catch it and go on.
inline py::object call_in_native_thread(const py::function& function, const py::int_& i) {
    PyObject* result = nullptr;
    try {
        result = PyObject_CallFunctionObjArgs(function.ptr(), i.ptr(), nullptr);
    } catch (...) {
        sleep_until_the_process_ends();
    }
    if (result == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(result);
}

/// Calls `function(i)` for i in [0, calls) from native threads, each of which takes the GIL for its call.
inline py::list call_from_workers(const py::function& function, std::int64_t calls, std::int64_t thread_count) {
    refuse_at_shutdown();
    py::list results(calls);
    for (py::size_t i = 0; i < results.size(); ++i) results[i] = py::none();
    std::atomic<std::int64_t> next{0};
    std::mutex mutex;  // guards the two below: on a free-threaded build the GIL does not
    std::int64_t first_failed = calls;
    std::exception_ptr failure;
    const pid_t process = ::getpid();
    PyInterpreterState* interpreter = PyInterpreterState_Get();

    const auto call = [&](std::int64_t i) {
        std::exception_ptr error;  // one that is not kept ends unlocked, outside `catch`: its end may run Python code
        try {
            results[static_cast<py::size_t>(i)] = call_in_native_thread(function, py::int_(i));
            return;
        } catch (...) {
            error = std::current_exception();
        }
        const std::scoped_lock lock(mutex);
        if (i > first_failed) return;
        first_failed = i;
        failure.swap(error);
    };
    const auto member = [&](int, const std::stop_token& token) {
        interpreter_thread python(interpreter);
        while (!token.stop_requested()) {
            // relaxed: each index is handed out once, and what the calls share is ordered by the locks
            const std::int64_t i = next.fetch_add(1, std::memory_order_relaxed);
            if (i >= calls) return;
            interpreter_thread::gil held(python);
            {
                const std::scoped_lock lock(mutex);
                if (i > first_failed) return;
            }
            call(i);
            if (::getpid() != process) {  // the callback forked, and this is the child: the caller's thread is not in it
                std::fputs("call_from_workers: a callback forked; the child process cannot go on\n", stderr);
                ::_exit(1);
            }
        }
    };
    const int size = static_cast<int>(std::min(thread_count, calls));
    without_gil([&](auto stop) { run_team(size, member, stop); });  // waits without the GIL: the members need it
    if (failure) std::rethrow_exception(std::exchange(failure, nullptr));
    return results;
}

class gil_observer {
public:
    void run(std::int64_t n, std::int64_t threads, std::int64_t pieces, bool release) {
        constexpr std::int64_t most = 1'000'000;
        if (threads > most / pieces) throw py::value_error("threads * pieces must be at most " + std::to_string(most));
        refuse_at_shutdown();
        const auto finished = std::make_shared<timeline>();
        std::vector<timeline::lane*> lanes;
        for (std::int64_t t = 0; t < threads; ++t) lanes.push_back(&finished->add_lane("thread " + std::to_string(t)));
        PyInterpreterState* interpreter = PyInterpreterState_Get();
        const auto member = [&](int index, const std::stop_token& token) {
            const auto stop = [&] { return token.stop_requested(); };
            timeline::lane& lane = *lanes[static_cast<std::size_t>(index)];
            interpreter_thread python(interpreter);
            for (std::int64_t piece = 0; piece < pieces && !stop(); ++piece) {
                observed_acquire<interpreter_thread::gil> held(lane, python);
                std::optional<observed_release<gil_release>> free;
                if (release) free.emplace(lane);
                count_primes(n, stop);
            }
            lane.leave();
        };
        without_gil([&](auto stop) { run_team(static_cast<int>(threads), member, stop); });
        const std::scoped_lock lock(mutex_);
        timeline_ = finished;  // a run that failed leaves the last good one in place
    }

    std::vector<std::tuple<std::string, std::string, double, double>> intervals() const {
        std::vector<std::tuple<std::string, std::string, double, double>> rows;
        for (const auto& i : last()->intervals())
            rows.emplace_back("thread " + std::to_string(i.lane), name_of(i.state), static_cast<double>(i.begin) * 1e-9,
                              static_cast<double>(i.end) * 1e-9);
        return rows;
    }
    std::string chrome_trace() const { return last()->chrome_trace(); }

private:
    std::shared_ptr<const timeline> last() const {
        const std::scoped_lock lock(mutex_);
        return timeline_;
    }

    mutable std::mutex mutex_;  // guards the pointer: one thread may run while another reads the last result
    std::shared_ptr<const timeline> timeline_ = std::make_shared<timeline>();
};

}  // namespace tenfold::boundary
