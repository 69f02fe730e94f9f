// py_broadcast.hpp - Broadcast and Subscription: every subscription receives every object, each at its own pace.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "py_channel.hpp"
#include "tenfold/broadcast.hpp"

namespace tenfold::boundary {

class py_broadcast {
public:
    using ring = broadcast<py_ref, object_lock>;

    py_broadcast(std::size_t capacity, overflow policy, channel_errors errors)
        : ring_(capacity, policy), errors_(std::move(errors)) {}
    py_broadcast(const py_broadcast&) = delete;
    py_broadcast& operator=(const py_broadcast&) = delete;

    bool try_send(PyObject* object) {
        const auto status = ring_.try_send(py_ref::to(object));
        if (status == channel_status::closed) raise(errors_.closed.ptr(), "send on a closed broadcast");
        return status == channel_status::ok;
    }
    void send(PyObject* object, const time_limit& limit) {
        const auto wait = [this](auto until, auto& stop) { return ring_.wait_writable(until, stop); };
        while (!try_send(object))
            if (!wait_without_gil(limit, full_, wait, [this] { ring_.pass_on_writable(); }) && !ring_.writable())
                raise(PyExc_TimeoutError, "no room in time: a subscription is too far behind");
    }
    void close() { ring_.close(); }
    ring& underlying() noexcept { return ring_; }
    const ring& underlying() const noexcept { return ring_; }
    const channel_errors& errors() const noexcept { return errors_; }

    std::uint64_t watch(bool, py::function callback) {  // only senders wait here
        return watches_.add(
            std::move(callback), [this](auto fire) { return ring_.when_writable(std::move(fire)); },
            [this] { ring_.pass_on_writable(); });
    }
    void unwatch(bool, std::uint64_t id, bool tries_next) {
        if (watches_.remove(id) && !tries_next) ring_.pass_on_writable();
    }

    int traverse(visitproc visit, void* arg) const {
        int result = 0;
        ring_.for_each([&](const py_ref& message) {
            if (result == 0 && message.get() != nullptr) result = visit(message.get(), arg);
        });
        return result != 0 ? result : watches_.traverse(visit, arg);
    }
    void clear() { watches_.clear(); }  // the messages go with the subscriptions, which are in the same cycle

private:
    ring ring_;
    channel_errors errors_;
    wait_times full_;
    task_watches watches_;
};

class py_subscription {
public:
    explicit py_subscription(py::object owner)
        : owner_(std::move(owner)), ring_(&self_of<py_broadcast>(owner_.ptr())), seat_(ring_->underlying().subscribe()) {}
    py_subscription(const py_subscription&) = delete;
    py_subscription& operator=(const py_subscription&) = delete;

    const channel_errors& errors() const noexcept { return ring_->errors(); }
    bool closed() const noexcept { return closed_ || (ring_->underlying().closed() && depth() == 0); }
    std::size_t depth() const noexcept { return seat_ ? seat_->depth() : 0; }

    channel_status take(py_ref& message) {
        if (closed_ || !seat_) return channel_status::closed;
        std::optional<py_ref> next;
        const auto status = seat_->try_recv(next);
        if (status == channel_status::ok) message = std::move(*next);
        if (status == channel_status::lagged) raise_lagged();
        return status;
    }
    bool try_recv(py_ref& message) {
        const auto status = take(message);
        if (status == channel_status::closed)
            raise(errors().closed.ptr(), "the broadcast is closed, and everything was received");
        return status == channel_status::ok;
    }
    py_ref recv(const time_limit& limit) {
        py_ref message;
        while (!try_recv(message)) wait(limit);
        return message;
    }
    py_ref next() {
        py_ref message;
        while (take(message) == channel_status::not_now) wait({});
        return message;
    }

    /// Ends the subscription: nobody waits for it any more.
    void close() {
        closed_ = true;
        if (inside_ > 0) seat_->readers().notify_all();  // others' receivers wake too, look, and sleep on
        watches_.fire_all();
        leave();
    }

    std::uint64_t watch(bool, py::function callback) {
        if (closed_ || !seat_) raise(errors().closed.ptr(), "the subscription is closed");
        return watches_.add(std::move(callback), [this](auto fire) { return seat_->when_readable(std::move(fire)); }, [] {});
    }
    void unwatch(bool, std::uint64_t id, bool) { watches_.remove(id); }

    int traverse(visitproc visit, void* arg) const {
        Py_VISIT(owner_.ptr());
        return watches_.traverse(visit, arg);
    }
    void clear() {
        watches_.clear();
        close();
    }

private:
    [[noreturn]] void raise_lagged() const {
        const auto error = errors().lagged("this subscription was too slow: " + std::to_string(seat_->missed()) +
                                           " objects were overwritten before it came to them");
        error.attr("missed") = seat_->missed();
        raise(errors().lagged.ptr(), error);
    }
    void wait(const time_limit& limit) {
        struct inside {  // the seat stays while a thread looks at it
            py_subscription& self;
            explicit inside(py_subscription& s) : self(s) { ++self.inside_; }
            ~inside() {
                --self.inside_;
                if (self.closed_) self.leave();
            }
        } const waiting(*this);
        const auto look = [this](auto until, auto& stop) {
            return seat_->wait_readable(until, [&] { return closed_.load() || stop(); });
        };
        if (!wait_without_gil(limit, empty_, look, [] {}) && !closed_ && !seat_->readable())
            raise(PyExc_TimeoutError, "nothing was sent in time");
    }
    void leave() {
        if (inside_ == 0) seat_.reset();
    }

    py::object owner_;
    py_broadcast* ring_;
    std::optional<py_broadcast::ring::subscriber> seat_;
    std::atomic<bool> closed_{false};
    std::atomic<int> inside_{0};
    wait_times empty_;
    task_watches watches_;  // last: it goes before the seat that it watches
};

}  // namespace tenfold::boundary

template <>
class pybind11::detail::type_caster<tenfold::boundary::py_broadcast>
    : public tenfold::boundary::made_caster<tenfold::boundary::py_broadcast> {};
template <>
class pybind11::detail::type_caster<tenfold::boundary::py_subscription>
    : public tenfold::boundary::made_caster<tenfold::boundary::py_subscription> {};
