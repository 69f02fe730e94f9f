// py_select.hpp - select over channels of Python objects: find one that is ready, else wait for all at once without the GIL.
#pragma once

#include <cstdint>
#include <vector>

#include "fast_methods.hpp"
#include "py_channel.hpp"
#include "tenfold/channel_select.hpp"

namespace tenfold::boundary {

struct channel_case {
    py::object channel;
    py_channel* queue;
    py::object message;  // to send; none given: receive
};

inline std::vector<channel_case> read_cases(const py::object& cases) {
    const auto items = detail::snapshot(cases, {"cases"}, "channels");
    std::vector<channel_case> out;
    for (const py::handle item : items) {
        const bool pair = PyTuple_Check(item.ptr()) && PyTuple_GET_SIZE(item.ptr()) == 2;
        const auto channel = py::reinterpret_borrow<py::object>(pair ? py::handle(PyTuple_GET_ITEM(item.ptr(), 0)) : item);
        if (!py::isinstance<py_channel>(channel))
            throw py::type_error("cases[" + std::to_string(out.size()) +
                                 "] must be a Channel or a pair (Channel, object), not " +
                                 detail::type_of(pair ? py::handle(channel) : item));
        out.push_back({channel, &self_of<py_channel>(channel.ptr()),
                       pair ? py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(item.ptr(), 1)) : py::object()});
    }
    if (out.empty()) throw py::value_error("cases must name at least one channel");
    return out;
}

/// Does the first case that can go on now, beginning at `start`; none: no object. Receiving cases that have come to their end
/// are removed.
inline py::object try_cases(std::vector<channel_case>& cases, std::size_t start, const channel_errors& errors) {
    std::vector<const channel_case*> ended;
    for (std::size_t i = 0; i < cases.size(); ++i) {
        const auto& each = cases[(start + i) % cases.size()];
        if (each.message) {
            if (each.queue->try_send(each.message.ptr())) return py::make_tuple(each.channel, py::none());
            continue;
        }
        py_ref message;
        const auto status = each.queue->take(message);
        if (status == channel_status::ok)
            return py::make_tuple(each.channel, py::reinterpret_steal<py::object>(message.release()));
        if (status == channel_status::closed) ended.push_back(&each);
    }
    if (ended.size() == cases.size()) raise(errors.closed.ptr(), "all channels are closed and drained");
    std::vector<channel_case> left;
    for (auto& each : cases)
        if (std::ranges::find(ended, &each) == ended.end()) left.push_back(std::move(each));
    cases = std::move(left);
    return {};
}

inline py::object select_channel(const py::object& given, const time_limit& limit, const channel_errors& errors) {
    auto cases = read_cases(given);
    static std::atomic<std::uint32_t> turn{0};
    std::size_t start =
        turn.fetch_add(1, std::memory_order_relaxed);  // pairs with nothing: only so that no case is always first
    wait_times times;
    for (bool timed_out = false;;) {
        if (auto chosen = try_cases(cases, start, errors)) return chosen;
        if (timed_out) raise(PyExc_TimeoutError, "no channel was ready in time");
        std::vector<tenfold::select_case> waits;
        for (const auto& each : cases)
            waits.push_back(each.message ? writable_case(each.queue->underlying()) : readable_case(each.queue->underlying()));
        const auto wait = [&](auto until, auto& stop) {
            const auto chosen = tenfold::select(waits, until, stop, 0);
            start = chosen.index;  // the wake-up was for this one: it is tried first
            return chosen.status;
        };
        const auto pass_on = [&] {
            for (const auto& each : cases) each.queue->pass_on(!each.message);
        };
        timed_out = !wait_without_gil(limit, times, wait, pass_on);
    }
}

}  // namespace tenfold::boundary
