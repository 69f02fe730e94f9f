// bind_progress.hpp - a run in the background as a Python object: to poll, wait for, cancel; and a file descriptor that
// becomes readable when it ends, so that an event loop can wait for it beside everything else.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "arguments.hpp"
#include "tenfold/progress.hpp"

namespace tenfold::boundary {

/// A pipe that holds one byte once the run has ended. Nobody reads it, so it stays readable for all who ask.
class ended_signal {
public:
    ended_signal() = default;
    ended_signal(const ended_signal&) = delete;
    ended_signal& operator=(const ended_signal&) = delete;
    ~ended_signal() {
        for (const int end : ends_)
            if (end >= 0) ::close(end);
    }

    /// Called by the last worker; needs no Python.
    void give() noexcept {
        const std::scoped_lock lock(mutex_);
        ended_ = true;
        write_one();
    }

    /// A new descriptor, the caller's to close. The pipe is made when it is first asked for.
    int descriptor() {
        const std::scoped_lock lock(mutex_);
        if (ends_[0] < 0) {
            std::array<int, 2> ends{};
#ifdef __linux__
            const bool made = ::pipe2(ends.data(), O_CLOEXEC) == 0;
#else
            const bool made = ::pipe(ends.data()) == 0;
            for (const int end : ends)
                if (made) ::fcntl(end, F_SETFD, FD_CLOEXEC);
#endif
            if (!made) throw std::system_error(errno, std::generic_category(), "pipe");
            ends_ = ends;
            if (ended_) write_one();
        }
        const int copy = ::fcntl(ends_[0], F_DUPFD_CLOEXEC, 0);
        if (copy < 0) throw std::system_error(errno, std::generic_category(), "dup");
        return copy;
    }

private:
    void write_one() noexcept {
        if (ends_[1] >= 0) [[maybe_unused]]
            const auto written = ::write(ends_[1], "", 1);  // an empty pipe has room for one byte
    }

    std::mutex mutex_;  // guards all below
    bool ended_ = false;
    std::array<int, 2> ends_{-1, -1};
};

/// A step's time, cut short by the end of the run.
class step_timer {
public:
    /// False: woken before the time was over.
    bool sleep(std::chrono::duration<double> time) {
        std::unique_lock lock(mutex_);
        return !woken_.wait_for(lock, time, [this] { return over_; });
    }
    void wake_all() {
        const std::scoped_lock lock(mutex_);
        over_ = true;
        woken_.notify_all();
    }

private:
    std::mutex mutex_;  // guards over_
    std::condition_variable woken_;
    bool over_ = false;
};

/// A run and its signal. The run's threads never touch Python; only waiting for them has to give the GIL up.
class progress_handle {
public:
    progress_handle(std::uint64_t total, int threads, double seconds_per_step)
        // Without the GIL: should a thread be refused, those before it are joined.
        : run_(released([&](auto) { return std::make_unique<progress_run>(start(total, threads, seconds_per_step)); })) {}
    progress_handle(const progress_handle&) = delete;
    progress_handle& operator=(const progress_handle&) = delete;
    ~progress_handle() {  // cancels and joins
        released_gil free;
        cancel();
        run_.reset();
        free.finish();
    }

    progress_run& run() const noexcept { return *run_; }
    bool left_behind() const noexcept { return run_->left_behind(); }
    /// Known once the run has ended: until then the last steps may still be done.
    bool cancelled() const { return !left_behind() && run_->finished() && run_->cancelled() && run_->done() < run_->total(); }
    void cancel() const {
        run_->cancel();
        if (::getpid() == process_) timer_->wake_all();  // in a fork nobody sleeps, and the mutex may be in somebody's hands
    }
    /// Cancels and waits for the end, deaf to signals: a step ends at once.
    void end() const {
        cancel();
        if (left_behind()) return;
        released([&](auto) { run_->wait(); });
    }

    bool wait(std::optional<double> timeout) const {
        return released([&](auto stop) {
            using namespace std::chrono;
            constexpr duration<double> slice{0.05};
            const auto begin = steady_clock::now();
            for (;;) {
                const duration<double> waited = steady_clock::now() - begin;
                const duration<double> left{timeout ? std::max(0.0, *timeout - waited.count()) : slice.count()};
                if (run_->wait_for(duration_cast<nanoseconds>(std::min(left, slice)))) return true;
                if (timeout && left.count() <= 0) return false;
                if (stop()) throw stopped();
            }
        });
    }

    int descriptor() const {
        if (::getpid() != process_) throw std::runtime_error("this run's threads are in the process that started it");
        return signal_->descriptor();
    }

private:
    progress_run start(std::uint64_t total, int threads, double seconds) const {
        // The threads share the work, and the last one to end destroys it: that is when the signal is given.
        const std::shared_ptr<void> ended(nullptr, [signal = signal_](void*) { signal->give(); });
        if (seconds == 0) return start_with_progress(total, threads, [ended](std::uint64_t) {});
        return start_with_progress(total, threads, [ended, timer = timer_, seconds](std::uint64_t) {
            return timer->sleep(std::chrono::duration<double>(seconds));
        });
    }

    const pid_t process_ = ::getpid();
    std::shared_ptr<ended_signal> signal_ = std::make_shared<ended_signal>();
    std::shared_ptr<step_timer> timer_ = std::make_shared<step_timer>();
    std::unique_ptr<progress_run> run_;
};

}  // namespace tenfold::boundary

template <>
class pybind11::detail::type_caster<tenfold::atomic_counter> : public tenfold::boundary::made_caster<tenfold::atomic_counter> {
};
template <>
class pybind11::detail::type_caster<tenfold::boundary::progress_handle>
    : public tenfold::boundary::made_caster<tenfold::boundary::progress_handle> {};

namespace tenfold::boundary {

inline void bind_progress(py::module_& m) {
    using namespace py::literals;
    constexpr std::int64_t most_threads = 1024;

    m.def(
        "parallel_with_progress",
        [](amount<"total"> total, count<"thread_count", most_threads> thread_count) {
            auto result = std::make_shared<atomic_counter>(0);
            released([&](auto stop) {
                parallel_with_progress(*result, static_cast<std::uint64_t>(total.value), static_cast<int>(thread_count.value),
                                       stop);
            });
            return result;
        },
        "total"_a, "thread_count"_a, R"(
Counts `total` steps on `thread_count` threads, GIL released.

Parameters
----------
total : int
    0 or more.
thread_count : int
    1 to 1024 threads, started for this call.

Returns
-------
AtomicCounter
    At `total`. To watch it on its way, see :func:`start_with_progress`.
)");

    py::class_<progress_handle>(m, "Progress", py::module_local(), R"(
A run in the background: `total` steps on `thread_count` threads that never touch Python.

Made by :func:`start_with_progress`. Any thread may use it. It counts while it is referred to: dropping the last reference
cancels it. It cannot be pickled, and its threads stay in the process that started it: in a forked child `done` stays as it
was, and polling or waiting raises RuntimeError unless the run had ended before.

Parameters
----------
total : int
    Steps, 0 or more.
thread_count : int
    1 to 1024.
seconds_per_step : float
    How long each step waits before it counts, 0 to 1: stands for work.
)")
        .def(py::init([](amount<"total"> total, count<"thread_count", most_threads> thread_count,
                         waiting_time<"seconds_per_step", false> seconds_per_step) {
                 if (*seconds_per_step.seconds > 1) throw py::value_error("seconds_per_step must be at most 1");
                 return std::make_unique<progress_handle>(static_cast<std::uint64_t>(total.value),
                                                          static_cast<int>(thread_count.value), *seconds_per_step.seconds);
             }),
             "total"_a, "thread_count"_a, py::kw_only(), "seconds_per_step"_a = 0.0)
        .def_property_readonly(
            "total", [](const progress_handle& self) { return self.run().total(); }, "int: steps in all.")
        .def_property_readonly(
            "done", [](const progress_handle& self) { return self.run().done(); },
            "int: steps done so far; never more than `total`, and it never falls.")
        .def_property_readonly(
            "fraction", [](const progress_handle& self) { return self.run().fraction(); },
            "float: done / total, 1.0 for no steps.")
        .def_property_readonly("cancelled", &progress_handle::cancelled,
                               "bool: whether it has ended, by :meth:`cancel`, with steps that were not done.")
        .def(
            "poll", [](const progress_handle& self) { return self.run().finished(); }, R"(
Whether the run has ended, completed or cancelled. Never waits.

Returns
-------
bool

Raises
------
RuntimeError
    The process is a fork of the one that started the run, and the run had not ended then.
)")
        .def(
            "wait",
            [](const progress_handle& self, waiting_time<"timeout", true> timeout) { return self.wait(timeout.seconds); },
            "timeout"_a = py::none(), R"(
Waits for the end, GIL released. Ctrl-C ends the waiting, not the run.

Parameters
----------
timeout : float, optional
    Seconds, 0 or more; None and ``inf`` wait for ever.

Returns
-------
bool
    True: the run has ended. False: the time is over.

Raises
------
ValueError
    `timeout` is negative or NaN.
RuntimeError
    The process is a fork of the one that started the run, and the run had not ended then.
)")
        .def("cancel", &progress_handle::cancel, R"(
Asks the threads to end; the steps that they are in are not counted. Does not wait, and may be called any number of times.
)")
        .def(
            "__enter__", [](progress_handle& self) -> progress_handle& { return self; },
            "The run itself: ``with start_with_progress(...) as run``.")
        .def(
            "__exit__",
            [](const progress_handle& self, const py::object& type, const py::object&, const py::object&) {
                if (!type.is_none()) self.cancel();
                std::exception_ptr error;
                try {
                    self.wait(std::nullopt);
                } catch (...) {
                    error = std::current_exception();
                }
                if (!error) return;
                self.end();  // outside `catch`: see retake_gil()
                std::rethrow_exception(std::move(error));
            },
            "type"_a, "value"_a, "traceback"_a,
            "Waits for the end; an exception, or Ctrl-C meanwhile, cancels the run first. In a coroutine use ``async with``.")
        .def("__repr__",
             [](const progress_handle& self) {
                 const progress_run& run = self.run();
                 const char* const state = self.left_behind() ? "left in the parent process"
                                           : self.cancelled() ? "cancelled"
                                           : run.finished()   ? "ended"
                                                              : "running";
                 return detail::join("Progress(done=", run.done(), ", total=", run.total(), ", ", state, ")");
             })
        .def("__reduce_ex__",
             [](const py::object&, int) -> py::object {
                 throw py::type_error("Progress cannot be copied or pickled: its threads are in one process; pass on done");
             })
        .def("_ended_descriptor", &progress_handle::descriptor,
             "A new file descriptor that becomes readable when the run has ended; the caller closes it.");
}

}  // namespace tenfold::boundary
