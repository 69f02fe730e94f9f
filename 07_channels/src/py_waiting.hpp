// py_waiting.hpp - how Python threads and tasks wait for a channel: without the GIL, with a limit, heard by Ctrl-C.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "boundary.hpp"
#include "tenfold/channel.hpp"

namespace tenfold::boundary {

#ifdef Py_GIL_DISABLED
using object_lock = channel_mutex;
#else
using object_lock = no_lock;  // whoever moves messages holds the GIL
#endif

/// `timeout=None`: seconds from now, or no end.
struct time_limit {
    channel_clock::time_point until = no_deadline;
    bool none_left = false;  // 0: try once

    time_limit() = default;
    explicit time_limit(py::handle timeout) {
        if (!timeout || timeout.is_none()) return;
        const auto seconds = detail::convert<double>(timeout, {"timeout"});
        if (!(seconds >= 0)) throw py::value_error("timeout must be a number of seconds >= 0, or None");
        none_left = seconds == 0;
        if (seconds < 1e9)
            until = channel_clock::now() +
                    std::chrono::duration_cast<channel_clock::duration>(std::chrono::duration<double>(seconds));
    }
};

[[noreturn]] inline void raise(PyObject* type, const char* message) {
    PyErr_SetString(type, message);
    throw py::error_already_set();
}

[[noreturn]] inline void raise(PyObject* type, const py::object& error) {
    PyErr_SetObject(type, error.ptr());
    throw py::error_already_set();
}

/// The module's exceptions, for those who raise them.
struct channel_errors {
    py::object closed, empty, lagged;
};

/// A figure that is only counted up. Without a GIL two threads may count at once and one be lost; nothing depends on it.
class tally {
public:
    void add(std::uint64_t more) noexcept {
        value_.store(get() + more, std::memory_order_relaxed);
    }  // pairs with get(): a figure
    void set(std::uint64_t value) noexcept { value_.store(value, std::memory_order_relaxed); }  // pairs with get()
    std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }             // pairs with add()

private:
    std::atomic<std::uint64_t> value_{0};
};

/// How often, and for how long, threads slept on one side.
struct wait_times {
    tally count, nanoseconds;
    double seconds() const noexcept { return 1e-9 * static_cast<double>(nanoseconds.get()); }
};

/// wait(deadline, stop) without the GIL; false when time is up. Ctrl-C raises KeyboardInterrupt, and `pass_on` gives a wake-up
/// that may have come meanwhile to the next who waits.
template <class Wait, class PassOn>
bool wait_without_gil(const time_limit& limit, wait_times& times, Wait wait, PassOn pass_on) {
    if (limit.none_left) return false;
    if (finalizing()) throw std::runtime_error("the interpreter is shutting down: there is no other thread left to wait for");
    const auto begin = channel_clock::now();
    channel_status status{};
    std::exception_ptr error;
    try {
        status = released([&](auto stop) { return wait(limit.until, stop); });
    } catch (...) {
        error = std::current_exception();
    }
    if (error) {  // outside `catch`: it may wake a task, in Python
        pass_on();
        std::rethrow_exception(std::move(error));
    }
    times.count.add(1);
    times.nanoseconds.add(static_cast<std::uint64_t>(std::chrono::nanoseconds(channel_clock::now() - begin).count()));
    return status != channel_status::timeout;
}

/// What tasks of asyncio leave with a channel: a Python function, called once, by whoever makes the channel ready. They are
/// kept here, and not in the channel's list, so that the garbage collector sees them.
class task_watches {
public:
    task_watches() = default;
    task_watches(const task_watches&) = delete;
    task_watches& operator=(const task_watches&) = delete;
    ~task_watches() { clear(); }

    /// `enrol(f)` is the channel's when_readable or when_writable; `pass_on()` gives a wake-up to the next who waits.
    template <class Enrol, class PassOn>
    std::uint64_t add(py::function callback, Enrol enrol, PassOn pass_on) {
        std::uint64_t id;
        {
            const std::lock_guard guard(kept_->lock);
            id = kept_->next++;
            kept_->entries[id].callback = std::move(callback);
        }
        try {
            // It may be called at once. Or late: whoever was about to call it may have waited for the GIL until all this is gone.
            auto started = enrol([kept = kept_, id, pass_on] {
                if (!fire(*kept, id)) pass_on();
            });
            const std::lock_guard guard(kept_->lock);
            if (const auto found = kept_->entries.find(id); found != kept_->entries.end())
                found->second.started.emplace(std::move(started));
        } catch (...) {
            remove(id);
            throw;
        }
        return id;
    }

    /// The task is done with it. True: it was woken, and unless it tries next, the wake-up is somebody else's.
    bool remove(std::uint64_t id) {
        entry gone;  // destroyed after the lock
        const std::lock_guard guard(kept_->lock);
        const auto found = kept_->entries.find(id);
        if (found == kept_->entries.end()) return false;
        gone = std::move(found->second);
        kept_->entries.erase(found);
        return gone.started && !gone.started->cancel();
    }

    int traverse(visitproc visit, void* arg) const {
        for (const auto& [id, each] : kept_->entries) Py_VISIT(each.callback.ptr());
        return 0;
    }
    void clear() { const auto gone = std::exchange(kept_->entries, {}); }
    void fire_all() {
        std::vector<std::uint64_t> all;
        {
            const std::lock_guard guard(kept_->lock);
            for (const auto& [id, each] : kept_->entries) all.push_back(id);
        }
        for (const auto id : all) fire(*kept_, id);
    }

private:
    struct entry {
        py::object callback;
        std::optional<watch> started;
    };
    struct shared {
        object_lock lock;
        std::uint64_t next = 1;
        std::map<std::uint64_t, entry> entries;
    };

    /// False: there is no task to wake any more.
    static bool fire(shared& kept, std::uint64_t id) {
        if (finalizing()) return true;  // no task will run again, and this thread may not take the GIL any more
        std::optional<py::gil_scoped_acquire> gil;  // mostly it is held already
        try {
            gil.emplace();
        } catch (const std::exception&) {
            throw;
        } catch (...) {  // Python is ending after all: see retake_gil()
            sleep_until_the_process_ends();
        }
        py::object callback;
        {
            const std::lock_guard guard(kept.lock);
            if (const auto found = kept.entries.find(id); found != kept.entries.end())
                callback = std::move(found->second.callback);
        }
        std::optional<py::error_already_set> error;
        try {
            if (callback) callback();
            return static_cast<bool>(callback);
        } catch (const py::error_already_set& raised) {
            error = raised;
        }
        if (error->matches(PyExc_KeyboardInterrupt)) PyErr_SetInterrupt();  // Ctrl-C, just then: raised as soon as we are out
        else if (!error->matches(PyExc_RuntimeError)) error->discard_as_unraisable("waking a task that waits for a channel");
        return false;  // its event loop is closed
    }

    const std::shared_ptr<shared> kept_ = std::make_shared<shared>();
};

}  // namespace tenfold::boundary
