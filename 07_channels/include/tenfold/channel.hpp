// tenfold/channel.hpp: hand messages from threads to threads, with back-pressure, an end, and waiting that burns no core.
//
//     tenfold::channel<T> c(1024);         any senders, any receivers; keeps the order of each sending thread; lock-free queue
//     tenfold::fifo_channel<T> c(1024);    any senders, any receivers; first in, first out over all of them; one lock
//     tenfold::spsc_channel<T> c(1024);    one sender, one receiver; first in, first out; the fastest by far
//
//     sender:    c.send(value);  ...  c.close();                     receiver:    for (T value : c) use(value);
//
// The capacity is exact; without one (or with tenfold::unbounded) a send never waits. After close() a send is refused, and
// receivers get what is left, then "closed": nothing that a send accepted is lost, nothing is received twice. Messages are
// moved, never copied. Every waiting call has a form with a deadline and a `stop` to ask.
// A channel belongs to the process that made it: in a forked child waiting throws std::runtime_error. And it outlives every
// call: a sender still looks for sleepers when its message has been received, so destroy it when the threads are joined.
//
// Copy: channel.hpp, channel_park.hpp, channel_wait.hpp, channel_store.hpp, channel_account.hpp, moodycamel_store.hpp,
// spsc_ring.hpp, and moodycamel's concurrentqueue.h (Debian: libconcurrentqueue-dev).   #include <tenfold/channel.hpp>   C++20, -pthread
#pragma once

#include <tenfold/channel_park.hpp>
#include <tenfold/channel_store.hpp>
#include <tenfold/channel_wait.hpp>
#include <tenfold/moodycamel_store.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <utility>

namespace tenfold {

struct channel_closed : std::runtime_error {
    channel_closed() : std::runtime_error("the channel is closed") {}
};

struct channel_counters {
    std::size_t depth, capacity;
    std::uint64_t reader_parks, writer_parks;  // how often a thread lay down to sleep on that side
    std::uint64_t reader_wakes, writer_wakes;  // how often one was woken
};

template <class T, class Store>
class basic_channel {
public:
    using value_type = T;

    explicit basic_channel(std::size_t capacity = unbounded) : store_(capacity) {}
    basic_channel(const basic_channel&) = delete;
    basic_channel& operator=(const basic_channel&) = delete;

    // ---- never wait

    /// ok, not_now (full) or closed. Moves from value only when ok.
    channel_status try_send(T&& value) { return put(std::move(value), pace::now); }
    /// ok, not_now (empty) or closed (and nothing left). Writes to out only when ok.
    channel_status try_recv(T& out) { return take(assign_to(out), pace::now); }
    channel_status try_recv(std::optional<T>& out) { return take(assign_to(out), pace::now); }
    /// Moves the first messages of first[0..count) that find room: {how many, ok if all, else not_now or closed}.
    template <std::forward_iterator It>
    batch_result try_send_batch(It first, std::size_t count) {
        const auto sent = send_some(first, count);
        if (sent.status != channel_status::ok || sent.count == count) return sent;
        return {sent.count, store_.is_closed() ? channel_status::closed : channel_status::not_now};
    }
    /// Takes what is there, up to max: {n, ok} or {0, not_now or closed}.
    template <class Out>
    batch_result try_recv_batch(Out out, std::size_t max) {
        return recv_some(out, max);
    }

    // ---- wait

    /// ok, closed, timeout or stopped. Moves from value only when ok.
    template <class Stop = never_stop>
    channel_status send_until(T&& value, channel_clock::time_point deadline, Stop&& stop = {},
                              int spin = channel_detail::default_spin) {
        const auto attempt = [&] { return put(std::move(value), pace::now); };
        const auto status = put(std::move(value), pace::gather);  // who may wait lets a batch build up
        return status != channel_status::not_now ? status : channel_detail::wait_for(writers_, attempt, deadline, stop, spin);
    }
    template <class Stop = never_stop>
    channel_status recv_until(T& out, channel_clock::time_point deadline, Stop&& stop = {},
                              int spin = channel_detail::default_spin) {
        return recv_into(out, deadline, stop, spin);
    }
    template <class Stop = never_stop>
    channel_status recv_until(std::optional<T>& out, channel_clock::time_point deadline, Stop&& stop = {},
                              int spin = channel_detail::default_spin) {
        return recv_into(out, deadline, stop, spin);
    }
    template <class Rep, class Period>
    channel_status send_for(T&& value, std::chrono::duration<Rep, Period> time) {
        return send_until(std::move(value), after(time));
    }
    template <class Out, class Rep, class Period>
    channel_status recv_for(Out& out, std::chrono::duration<Rep, Period> time) {
        return recv_until(out, after(time));
    }
    /// Throws channel_closed.
    TENFOLD_CHANNEL_HOT void send(T value) {
        if (put(std::move(value), pace::gather) != channel_status::ok) [[unlikely]]
            wait_to_send(std::move(value));
    }
    /// Nothing once closed and drained.
    std::optional<T> recv() {
        std::optional<T> out;
        recv_until(out, no_deadline);
        return out;
    }
    /// Sends all of first[0..count), waiting for room as often as needed: {how many were accepted, why it ended}.
    template <std::forward_iterator It, class Stop = never_stop>
    batch_result send_batch(It first, std::size_t count, channel_clock::time_point deadline = no_deadline, Stop&& stop = {}) {
        std::size_t done = 0;
        auto status = channel_status::ok;
        const auto attempt = [&] {
            const auto sent = send_some(first, count - done);
            done += sent.count;
            return sent.status;
        };
        while (done < count && status == channel_status::ok) {
            status = attempt();
            if (status == channel_status::not_now)
                status = channel_detail::wait_for(writers_, attempt, deadline, stop, channel_detail::default_spin);
        }
        return {done, status};
    }
    /// Waits for one message at least, then takes what is there, up to max.
    template <class Out, class Stop = never_stop>
    batch_result recv_batch(Out out, std::size_t max, channel_clock::time_point deadline = no_deadline, Stop&& stop = {}) {
        std::size_t done = 0;
        const auto attempt = [&] {
            const auto got = recv_some(out, max);
            done = got.count;
            return got.status;
        };
        auto status = attempt();
        if (status == channel_status::not_now)
            status = channel_detail::wait_for(readers_, attempt, deadline, stop, channel_detail::default_spin);
        return {done, status};
    }

    // ---- wait without touching a message: for callers who take it under a lock of their own (Python's GIL)

    /// ok: try_recv may succeed, or say closed. Whoever gets ok and then does not try calls pass_on_readable().
    template <class Stop = never_stop>
    channel_status wait_readable(channel_clock::time_point deadline, Stop&& stop = {}, int spin = 0) {
        return wait_ready(readers_, [&] { return store_.readable(); }, deadline, stop, spin);
    }
    template <class Stop = never_stop>
    channel_status wait_writable(channel_clock::time_point deadline, Stop&& stop = {}, int spin = 0) {
        return wait_ready(writers_, [&] { return store_.writable(); }, deadline, stop, spin);
    }
    void pass_on_readable() { readers_.notify(1); }
    void pass_on_writable() { writers_.notify(1); }
    /// Calls `callback` once when there may be something to receive (to send: room), or the channel is closed; see watch.
    watch when_readable(std::function<void()> callback) {
        return watch(readers_, std::move(callback), [this] { return store_.readable(); });
    }
    watch when_writable(std::function<void()> callback) {
        return watch(writers_, std::move(callback), [this] { return store_.writable(); });
    }

    // ---- the end

    /// Sends are refused from here on; every message accepted before will be received. May be called again.
    void close() {
        store_.close();
        wake_everybody();
    }
    bool closed() const noexcept { return store_.is_closed(); }
    /// Destroys what is in the channel now; returns how many.
    std::size_t discard() {
        std::size_t n = 0;
        while (take([](T&& value) { [[maybe_unused]] const T gone(std::move(value)); }, pace::now) == channel_status::ok) ++n;
        return n;
    }

    /// f(const T&) for each message, oldest first, without taking any lock: nothing else may be using the channel. Only for a
    /// store that can show its messages (locked_store).
    template <class F>
    void for_each(F&& f) const {
        store_.for_each(f);
    }

    // ---- what an onlooker sees: true a moment ago

    std::size_t depth() const noexcept { return store_.depth(); }
    std::size_t capacity() const noexcept { return store_.capacity(); }
    bool readable() const noexcept { return store_.readable(); }
    bool writable() const noexcept { return store_.writable(); }
    channel_counters counters() const {
        return {depth(), capacity(), readers_.parks(), writers_.parks(), readers_.wakes(), writers_.wakes()};
    }

    // ---- for (T value : channel)

    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = T;
        using difference_type = std::ptrdiff_t;
        using pointer = T*;
        using reference = T&&;

        iterator() = default;
        explicit iterator(basic_channel& source) : source_(&source) { ++*this; }
        T&& operator*() const noexcept { return std::move(*value_); }
        iterator& operator++() {
            if (source_->recv_until(value_, no_deadline) != channel_status::ok) source_ = nullptr;
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const noexcept { return source_ == nullptr; }

    private:
        basic_channel* source_ = nullptr;
        mutable std::optional<T> value_;
    };
    iterator begin() { return iterator(*this); }
    std::default_sentinel_t end() const noexcept { return {}; }

    // Where select() and a caller's own waiting enrol.
    channel_detail::wait_queue& readers() noexcept { return readers_; }
    channel_detail::wait_queue& writers() noexcept { return writers_; }

private:
    static auto assign_to(T& out) {
        return [&](T&& value) { out = std::move(value); };
    }
    static auto assign_to(std::optional<T>& out) {
        return [&](T&& value) { out.emplace(std::move(value)); };
    }
    TENFOLD_CHANNEL_COLD void wait_to_send(T value) {  // by value: `value` of send() can stay in a register
        if (send_until(std::move(value), no_deadline) != channel_status::ok) throw channel_closed();
    }
    TENFOLD_CHANNEL_HOT channel_status put(T&& value, pace how) {
        const auto status = repairing([&] { return store_.push(std::move(value), how); });
        if (status == channel_status::ok) readers_.notify(1);
        return status;
    }
    template <class F>
    TENFOLD_CHANNEL_HOT channel_status take(F&& f, pace how) {
        const after_taking taken{*this};
        return taken.told(store_.pop(f, how), 1);
    }
    template <class It>
    batch_result send_some(It& first, std::size_t count) {
        const auto sent = repairing([&] { return store_.push_some(first, count); });
        if (sent.count != 0) readers_.notify(sent.count);
        return sent;
    }
    template <class Out>
    batch_result recv_some(Out& out, std::size_t max) {
        const after_taking taken{*this};
        const auto got = store_.pop_some(out, max);
        taken.told(got.status, got.count);
        return got;
    }

    // Room has become free: for the writers; and the last message of a closed channel is gone: for the readers. Also when the
    // receiver's own code threw after the message had left.
    struct after_taking {
        basic_channel& channel;
        mutable std::size_t count = unbounded;
        channel_status told(channel_status status, std::size_t n) const noexcept {
            count = status == channel_status::ok ? n : 0;
            return status;
        }
        ~after_taking() {
            if (count == 0) return;
            channel.writers_.notify(count);
            if (channel.store_.drained()) [[unlikely]]
                channel.readers_.notify_all();
        }
    };
    // A store that could not get memory has given room back, and may have drained a closed channel.
    template <class Push>
    TENFOLD_CHANNEL_HOT auto repairing(Push push) {
        try {
            return push();
        } catch (...) {
            wake_everybody();
            throw;
        }
    }
    TENFOLD_CHANNEL_COLD void wake_everybody() {
        readers_.notify_all();
        writers_.notify_all();
    }

    template <class Out, class Stop>
    TENFOLD_CHANNEL_HOT channel_status recv_into(Out& out, channel_clock::time_point deadline, Stop& stop, int spin) {
        const auto attempt = [&] { return take(assign_to(out), pace::now); };
        const auto status = take(assign_to(out), pace::gather);
        if (status != channel_status::not_now) [[likely]]
            return status;
        return channel_detail::wait_for(readers_, attempt, deadline, stop, spin);
    }
    template <class Ready, class Stop>
    static channel_status wait_ready(channel_detail::wait_queue& queue, Ready ready, channel_clock::time_point deadline,
                                     Stop& stop, int spin) {
        const auto attempt = [&] { return ready() ? channel_status::ok : channel_status::not_now; };
        const auto status = attempt();
        return status != channel_status::not_now ? status : channel_detail::wait_for(queue, attempt, deadline, stop, spin);
    }
    template <class Rep, class Period>
    static channel_clock::time_point after(std::chrono::duration<Rep, Period> time) {
        using seconds = std::chrono::duration<double>;
        const auto now = channel_clock::now();
        if (time <= time.zero()) return now;  // before any conversion: the largest durations overflow in nanoseconds
        if (!(seconds(time) < seconds(no_deadline - now) / 2)) return no_deadline;
        return now + std::chrono::duration_cast<channel_clock::duration>(time);
    }

    Store store_;
    alignas(128) channel_detail::wait_queue readers_;
    channel_detail::wait_queue writers_;
};

template <class T>
using channel = basic_channel<T, moodycamel_store<T>>;
template <class T>
using fifo_channel = basic_channel<T, locked_store<T>>;
template <class T>
using spsc_channel = basic_channel<T, spsc_store<T>>;

}  // namespace tenfold
