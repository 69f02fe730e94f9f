// tenfold/channel_park.hpp: the three ways to wait in a channel's wait_queue: sleep, sleep in several at once, be called back.
//
// All three follow one order: enrol, heavy_fence(), look again, only then sleep (channel_wait.hpp says why). And one rule: a
// wake-up is meant for one waiter. Whoever was woken and takes nothing (it timed out meanwhile, was stopped, found something
// elsewhere) wakes the next one in its place.
//
// Copy: this file and channel_wait.hpp.   #include <tenfold/channel_park.hpp>   C++20, -pthread
#pragma once

#include <tenfold/channel_wait.hpp>

namespace tenfold {
namespace channel_detail {

// Looks before sleeping: a few soon after each other, then with the CPU offered to others in between, for where threads are more
// than CPUs the other side may be waiting for this very one. All in all about what sleeping and being woken would cost.
inline constexpr int default_spin = 12;

inline void between_looks(int looks_before) noexcept {
    back_off(looks_before);
    if (looks_before >= 4) std::this_thread::yield();
}

// `stop` is asked this often while its thread sleeps.
inline constexpr auto stop_slice = std::chrono::milliseconds(25);

inline bool spinning_helps() {
    static const bool several = std::thread::hardware_concurrency() > 1;
    return several;
}

// A thread's place in a queue. Leaves it on every way out, and passes a wake-up on that was not used.
class enrolment {
public:
    enrolment(wait_queue& queue, signal& sleeper) : queue_(queue) {
        node_.sleeper = &sleeper;
        queue_.add(node_);
    }
    enrolment(const enrolment&) = delete;
    enrolment& operator=(const enrolment&) = delete;
    ~enrolment() {
        if (leave()) queue_.notify(1);
    }
    /// True if a wake-up was spent on this place: the caller now uses it, or calls notify(1).
    bool leave() {
        if (left_) return false;
        left_ = true;
        return !queue_.remove(node_);
    }

private:
    wait_queue& queue_;
    wait_node node_;
    bool left_ = false;
};

// Sleeps until set, the deadline or a stop. ok: set.
template <class Stop>
channel_status sleep_on(signal& sleeper, channel_clock::time_point deadline, Stop& stop) {
    constexpr bool polls = !std::is_same_v<std::remove_cvref_t<Stop>, never_stop>;
    while (!sleeper.is_set()) {
        if constexpr (polls)
            if (stop()) return channel_status::stopped;
        auto until = deadline;
        if (polls || deadline != no_deadline) {
            const auto now = channel_clock::now();
            if (now >= deadline) return channel_status::timeout;
            if constexpr (polls) until = std::min(deadline, now + stop_slice);
        }
        sleeper.wait_until(until);
    }
    return channel_status::ok;
}

// attempt() -> channel_status, not_now: keep waiting. It has been tried once before this is called.
template <class Attempt, class Stop>
TENFOLD_CHANNEL_COLD channel_status wait_for(wait_queue& queue, Attempt attempt, channel_clock::time_point deadline, Stop& stop,
                                             int spin) {
    if (deadline != no_deadline && channel_clock::now() >= deadline) return channel_status::timeout;
    if (!spinning_helps()) spin = 0;
    for (int i = 0; i < spin; ++i) {
        between_looks(i);
        if (const auto status = attempt(); status != channel_status::not_now) return status;
    }
    for (;;) {
        signal sleeper;
        enrolment place(queue, sleeper);
        heavy_fence();  // pairs with light_fence() in wait_queue::notify
        if (const auto status = attempt(); status != channel_status::not_now) return status;
        const auto slept = sleep_on(sleeper, deadline, stop);
        const bool claimed = place.leave();
        if (slept == channel_status::ok || claimed) {
            if (const auto status = attempt(); status != channel_status::not_now) return status;
            if (slept == channel_status::ok) continue;  // somebody who did not wait was faster
            queue.notify(1);
        }
        return slept;
    }
}

}  // namespace channel_detail

/// A callback that waits for one side of a channel. It is called once, from any thread, with no lock held; or never, if
/// cancel() returned true or the watch was destroyed before. The channel must outlive the watch.
class watch {
public:
    watch() = default;
    watch(watch&& other) noexcept : queue_(std::exchange(other.queue_, nullptr)), node_(std::move(other.node_)) {}
    watch& operator=(watch&& other) {
        if (this != &other) {
            cancel();
            queue_ = std::exchange(other.queue_, nullptr);
            node_ = std::move(other.node_);
        }
        return *this;
    }
    ~watch() { cancel(); }

    /// `ready` is asked once the callback is enrolled: if it says true, the callback is called here and now.
    template <class Ready>
    watch(channel_detail::wait_queue& queue, std::function<void()> callback, Ready ready)
        : queue_(&queue), node_(std::make_shared<channel_detail::wait_node>()) {
        node_->callback = std::move(callback);
        node_->self = node_;
        queue.add(*node_);
        channel_detail::heavy_fence();  // pairs with light_fence() in wait_queue::notify
        if (ready() && queue.remove(*node_)) node_->callback();
    }

    /// True: the callback has not been called and never will be. False: it has been, or is about to be, or was cancelled before.
    bool cancel() { return queue_ != nullptr && std::exchange(queue_, nullptr)->remove(*node_); }

private:
    channel_detail::wait_queue* queue_ = nullptr;
    std::shared_ptr<channel_detail::wait_node> node_;
};

}  // namespace tenfold
