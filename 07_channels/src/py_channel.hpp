// py_channel.hpp - a channel of Python objects: the lesson's own channel, with references as its messages.
//
// Messages move only while the GIL is held, so on ordinary builds the store needs no lock of its own: sending to a channel
// with room is an append and a look whether anybody sleeps. A thread that has to wait gives the GIL up, waits until it is
// worth trying again, takes the GIL and tries. Waiting touches no object.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "fast_methods.hpp"
#include "py_handover.hpp"
#include "py_waiting.hpp"
#include "tenfold/channel.hpp"

namespace tenfold::boundary {

/// One reference to a Python object. Moving it counts nothing; copying and dropping it needs the GIL.
class py_ref {
public:
    using relocates_bytewise = void;  // to a channel that grows

    py_ref() = default;
    static py_ref to(py::handle object) noexcept { return py_ref(object.inc_ref().ptr()); }
    py_ref(py_ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    py_ref(const py_ref& other) noexcept : object_(other.object_) { Py_XINCREF(object_); }
    py_ref& operator=(py_ref&& other) noexcept {
        const py_ref old(std::move(*this));
        object_ = std::exchange(other.object_, nullptr);
        return *this;
    }
    [[gnu::always_inline]] ~py_ref() {
        if (object_ != nullptr) [[unlikely]]  // mostly it has moved on
            Py_DECREF(object_);
    }

    PyObject* get() const noexcept { return object_; }
    PyObject* release() noexcept { return std::exchange(object_, nullptr); }

private:
    explicit py_ref(PyObject* stolen) noexcept : object_(stolen) {}
    PyObject* object_ = nullptr;
};

/// How full a channel was, and when. Beyond `most` samples every other one is dropped and only every second one kept.
class depth_record {
public:
    explicit depth_record(std::size_t most) : most_(std::max<std::size_t>(most, 2)) { samples_.reserve(most_); }

    [[gnu::noinline, gnu::cold]] void note(std::size_t depth) {
        const std::lock_guard guard(lock_);
        if (++calls_ % stride_ != 0) return;
        if (samples_.size() == most_) {
            for (std::size_t i = 0; 2 * i < samples_.size(); ++i) samples_[i] = samples_[2 * i];
            samples_.resize((samples_.size() + 1) / 2);
            stride_ *= 2;
        }
        samples_.emplace_back(std::chrono::duration<double>(channel_clock::now().time_since_epoch()).count(), depth);
    }
    std::vector<std::pair<double, std::size_t>> samples() const {
        const std::lock_guard guard(lock_);
        return samples_;
    }

private:
    mutable object_lock lock_;
    std::size_t most_, stride_ = 1, calls_ = 0;
    std::vector<std::pair<double, std::size_t>> samples_;
};

/// Channel, as Python has it.
class py_channel {
public:
    using queue = basic_channel<py_ref, locked_store<py_ref, object_lock>>;

    /// `samples`: how many depths to keep; 0: none.
    py_channel(std::size_t capacity, std::size_t samples, channel_errors errors)
        : queue_(capacity),
          errors_(std::move(errors)),
          record_(samples > 0 ? std::make_unique<depth_record>(samples) : nullptr) {}
    py_channel(const py_channel&) = delete;
    py_channel& operator=(const py_channel&) = delete;

    /// Whether it was sent, for those who ask again otherwise: nothing is raised.
    [[gnu::always_inline]] bool send_now(PyObject* object) {
        if (queue_.try_send(py_ref::to(object)) != channel_status::ok) return false;
        sent();
        return true;
    }
    bool try_send(PyObject* object) {
        if (send_now(object)) return true;
        if (closed()) raise_closed("send on a closed channel");
        return false;
    }
    void send(PyObject* object, const time_limit& limit) {
        while (!try_send(object)) wait_writable(limit);
    }

    /// ok, not_now or closed.
    channel_status take(py_ref& message) {
        const auto status = queue_.try_recv(message);
        if (status == channel_status::ok) [[likely]]
            received(1);
        return status;
    }
    bool try_recv(py_ref& message) {
        const auto status = take(message);
        if (status == channel_status::closed) raise_closed("the channel is closed and drained");
        return status == channel_status::ok;
    }
    py_ref recv(const time_limit& limit) {
        py_ref message;
        while (!try_recv(message)) wait_readable(limit);
        return message;
    }
    /// For iteration: an empty reference when the channel is closed and drained.
    py_ref next() {
        py_ref message;
        while (take(message) == channel_status::not_now) wait_readable({});
        return message;
    }

    void send_many(const py::object& objects, const time_limit& limit) {
#ifndef Py_GIL_DISABLED
        // A list that fits is sent as it lies there: nothing else runs meanwhile.
        if (PyList_CheckExact(objects.ptr()) &&
            queue_.capacity() - queue_.depth() >= static_cast<std::size_t>(Py_SIZE(objects.ptr())) && !closed()) {
            queue_.try_send_batch(references{reinterpret_cast<PyListObject*>(objects.ptr())->ob_item},
                                  static_cast<std::size_t>(Py_SIZE(objects.ptr())));
            return sent();
        }
#endif
        const auto items = py::reinterpret_steal<py::tuple>(PySequence_Tuple(objects.ptr()));
        if (!items) throw py::error_already_set();
        const std::size_t size = items.size();
        std::size_t done = 0;
        try {
            for (;;) {
                if (closed()) raise_closed("send on a closed channel");
                const auto [count, status] = queue_.try_send_batch(
                    references{reinterpret_cast<PyTupleObject*>(items.ptr())->ob_item + done}, size - done);
                done += count;
                sent();
                if (done == size) return;
                if (status != channel_status::closed) wait_writable(limit);
            }
        } catch (py::error_already_set& error) {
            if (error.matches(errors_.closed) || error.matches(PyExc_TimeoutError)) error.value().attr("sent") = done;
            throw;
        }
    }

    py::list recv_many(std::size_t most, const time_limit& limit) {
        for (;;) {
            // The list first: making it may run the garbage collector, and that any code. And none while we wait: others would
            // find it in gc.get_objects(), with places that hold nothing.
            if (const std::size_t depth = queue_.depth(); depth > 0) {
                auto list = py::reinterpret_steal<py::list>(PyList_New(static_cast<Py_ssize_t>(std::min(most, depth))));
                if (!list) throw py::error_already_set();
                const auto room = list.size();
                const std::size_t count =
                    queue_.try_recv_batch(places{reinterpret_cast<PyListObject*>(list.ptr())->ob_item}, room).count;
                if (count > 0) received(count);
                if (count < room &&
                    PyList_SetSlice(list.ptr(), static_cast<Py_ssize_t>(count), static_cast<Py_ssize_t>(room), nullptr) != 0)
                    throw py::error_already_set();
                if (count > 0) return list;
            }
            if (drained()) raise_closed("the channel is closed and drained");
            wait_readable(limit);
        }
    }

    void close() { queue_.close(); }
    bool closed() const { return queue_.closed(); }
    bool drained() const { return queue_.closed() && queue_.depth() == 0; }
    std::size_t depth() const { return queue_.depth(); }
    std::size_t capacity() const { return queue_.capacity(); }
    queue& underlying() noexcept { return queue_; }
    const channel_errors& errors() const noexcept { return errors_; }

    std::uint64_t watch(bool receiving, py::function callback) {
        const auto enrol = [&](auto fire) {
            return receiving ? queue_.when_readable(std::move(fire)) : queue_.when_writable(std::move(fire));
        };
        return watches_.add(std::move(callback), enrol, [this, receiving] { pass_on(receiving); });
    }
    void unwatch(bool receiving, std::uint64_t id, bool tries_next) {
        if (watches_.remove(id) && !tries_next) pass_on(receiving);
    }
    void pass_on(bool receiving) { receiving ? queue_.pass_on_readable() : queue_.pass_on_writable(); }

    std::vector<std::pair<double, std::size_t>> depths() const {
        return record_ ? record_->samples() : std::vector<std::pair<double, std::size_t>>{};
    }
    py::tuple stats() const {
        const auto received = received_.get();
        return py::make_tuple(received + depth(), received, depth(), peak_.get(), full_.count.get(), full_.seconds(),
                              empty_.count.get(), empty_.seconds());
    }

    [[noreturn]] void raise_closed(const char* message) const { raise(errors_.closed.ptr(), message); }

    int traverse(visitproc visit, void* arg) const {
        int result = 0;
        queue_.for_each([&](const py_ref& message) {
            if (result == 0 && message.get() != nullptr) result = visit(message.get(), arg);
        });
        return result != 0 ? result : watches_.traverse(visit, arg);
    }
    void clear() {
        queue_.discard();
        watches_.clear();
    }

private:
    /// References to the objects of an array, made one by one as they are taken.
    struct references {
        using value_type = py_ref;
        using difference_type = std::ptrdiff_t;
        using iterator_category = std::forward_iterator_tag;
        PyObject* const* at = nullptr;
        py_ref operator*() const noexcept { return py_ref::to(*at); }
        references& operator++() noexcept { return ++at, *this; }
        references operator++(int) noexcept { return {at++}; }
        bool operator==(const references&) const = default;
    };
    /// The free places of a new list, which take references as they are.
    struct places {
        PyObject** at;
        void* place(std::size_t n) noexcept { return std::exchange(at, at + n); }
        places& operator*() noexcept { return *this; }
        places& operator++() noexcept { return *this; }
        places& operator=(py_ref&& message) noexcept {
            *at++ = message.release();
            return *this;
        }
    };

    void wait_readable(const time_limit& limit) {
        const auto wait = [this](auto until, auto& stop) {
            const waiting_side::seat seat(receivers_);
            if (capacity() != unbounded && receivers_.look([this] { return receivers_turn(); }, until))
                return channel_status::ok;
            return queue_.wait_readable(until, stop);
        };
        if (!wait_without_gil(limit, empty_, wait, [this] { pass_on(true); }) && !queue_.readable())
            raise(PyExc_TimeoutError, "nothing came in time: the channel is empty");
    }
    void wait_writable(const time_limit& limit) {
        const auto wait = [this](auto until, auto& stop) {
            const waiting_side::seat seat(senders_);
            if (senders_.look([this] { return senders_turn(); }, until)) return channel_status::ok;
            return queue_.wait_writable(until, stop);
        };
        if (!wait_without_gil(limit, full_, wait, [this] { pass_on(false); }) && !queue_.writable())
            raise(PyExc_TimeoutError, "no room in time: the channel is full");
    }
#ifdef Py_GIL_DISABLED
    bool receivers_turn() const noexcept { return queue_.readable(); }
    bool senders_turn() const noexcept { return queue_.writable(); }
#else
    /// The other side has gone as far as it can and waits: the GIL is free, and there is most to do.
    bool receivers_turn() const noexcept { return closed() || (depth() == capacity() && senders_.anybody()); }
    bool senders_turn() const noexcept { return closed() || (depth() == 0 && receivers_.anybody()); }
#endif

    void sent() {
        const std::size_t depth = queue_.depth();
        if (depth > peak_.get()) peak_.set(depth);
        if (record_) [[unlikely]]
            record_->note(depth);
    }
    void received(std::size_t count) {
        received_.add(count);
        if (record_) [[unlikely]]
            record_->note(queue_.depth());
    }

    queue queue_;
    channel_errors errors_;
    tally received_, peak_;
    wait_times full_, empty_;
    waiting_side senders_, receivers_;
    const std::unique_ptr<depth_record> record_;
    task_watches watches_;  // last: its watches end before the channel that they watch
};

}  // namespace tenfold::boundary

template <>
class pybind11::detail::type_caster<tenfold::boundary::py_channel>
    : public tenfold::boundary::made_caster<tenfold::boundary::py_channel> {};
