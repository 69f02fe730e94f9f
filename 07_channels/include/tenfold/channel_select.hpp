// tenfold/channel_select.hpp: wait for several channels at once, to receive or to send, and do exactly one of them.
//
//     std::optional<int> number;  std::optional<std::string> text;
//     std::array cases{tenfold::recv_case(numbers, number), tenfold::recv_case(texts, text)};
//     auto [chosen, status] = tenfold::select(cases);          // one of them has happened, or its channel is closed
//
// Fair: it looks at the cases in turn, from a random one, so a busy channel cannot starve the others. A case whose channel is
// closed (and, for receiving, drained) is chosen with status closed: leave it out of the next call.
//
// Copy: this file and what channel.hpp names.   #include <tenfold/channel_select.hpp>   C++20, -pthread
#pragma once

#include <tenfold/channel_park.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <stdexcept>

namespace tenfold {

/// What may happen: made by recv_case() and its siblings. Refers to the channel and to the variable it was given.
struct select_case {
    void* channel;
    void* value;
    channel_status (*attempt)(void* channel, void* value);
    channel_detail::wait_queue* queue;
};

struct select_result {
    std::size_t index;
    channel_status status;  // ok or closed: what became of case `index`. timeout, stopped, not_now: none of them
};

/// `out` is written only if this case is chosen with ok.
template <class Channel, class Out>
select_case recv_case(Channel& channel, Out& out) {
    const auto attempt = [](void* c, void* v) { return static_cast<Channel*>(c)->try_recv(*static_cast<Out*>(v)); };
    return {&channel, &out, attempt, &channel.readers()};
}
/// `value` is moved from only if this case is chosen with ok.
template <class Channel>
select_case send_case(Channel& channel, typename Channel::value_type& value) {
    using T = typename Channel::value_type;
    const auto attempt = [](void* c, void* v) { return static_cast<Channel*>(c)->try_send(std::move(*static_cast<T*>(v))); };
    return {&channel, &value, attempt, &channel.writers()};
}
/// Chosen with ok when try_recv (try_send) would not say not_now; takes nothing. Whoever is chosen and does not try then calls
/// the channel's pass_on_readable() (pass_on_writable()).
template <class Channel>
select_case readable_case(Channel& channel) {
    const auto attempt = [](void* c, void*) {
        return static_cast<Channel*>(c)->readable() ? channel_status::ok : channel_status::not_now;
    };
    return {&channel, nullptr, attempt, &channel.readers()};
}
template <class Channel>
select_case writable_case(Channel& channel) {
    const auto attempt = [](void* c, void*) {
        return static_cast<Channel*>(c)->writable() ? channel_status::ok : channel_status::not_now;
    };
    return {&channel, nullptr, attempt, &channel.writers()};
}

namespace channel_detail {

inline std::size_t random_start(std::size_t count) noexcept {
    thread_local std::uint64_t state = reinterpret_cast<std::uintptr_t>(&state) | 1;  // xorshift: fair is enough
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<std::size_t>(state % count);
}

}  // namespace channel_detail

/// One look at each. not_now if none can happen.
inline select_result try_select(std::span<const select_case> cases) {
    if (cases.empty()) throw std::invalid_argument("select needs a case");
    const std::size_t start = channel_detail::random_start(cases.size());
    for (std::size_t k = 0; k < cases.size(); ++k) {
        const std::size_t i = (start + k) % cases.size();
        const auto status = cases[i].attempt(cases[i].channel, cases[i].value);
        if (status != channel_status::not_now) return {i, status};
    }
    return {0, channel_status::not_now};
}

/// Waits until one happens.
template <class Stop = never_stop>
select_result select(std::span<const select_case> cases, channel_clock::time_point deadline = no_deadline, Stop&& stop = {},
                     int spin = channel_detail::default_spin) {
    if (const auto done = try_select(cases); done.status != channel_status::not_now) return done;
    if (deadline != no_deadline && channel_clock::now() >= deadline) return {0, channel_status::timeout};
    if (!channel_detail::spinning_helps()) spin = 0;
    for (int i = 0; i < spin; ++i) {
        channel_detail::between_looks(i);
        if (const auto done = try_select(cases); done.status != channel_status::not_now) return done;
    }
    for (;;) {
        channel_detail::signal sleeper;  // one for all queues: the first channel that has something sets it
        std::deque<channel_detail::enrolment> places;
        for (const select_case& each : cases) places.emplace_back(*each.queue, sleeper);
        channel_detail::heavy_fence();  // pairs with light_fence() in wait_queue::notify
        auto done = try_select(cases);
        auto slept = channel_status::ok;
        if (done.status == channel_status::not_now) {
            slept = channel_detail::sleep_on(sleeper, deadline, stop);
            done = try_select(cases);
        }
        // A wake-up by a channel that was not chosen in the end is passed on to the next that waits there.
        for (std::size_t i = 0; i < places.size(); ++i)
            if (places[i].leave() && !(done.status == channel_status::ok && done.index == i)) cases[i].queue->notify(1);
        if (done.status != channel_status::not_now) return done;
        if (slept != channel_status::ok) return {0, slept};
    }
}

}  // namespace tenfold
