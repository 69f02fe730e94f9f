// gil_observer.hpp - see who holds a lock, who waits for it and who runs free of it, thread by thread.
//
// A timeline keeps one lane per thread; the two guards wrap whatever gives the lock up (observed_release) or takes it
// (observed_acquire) and note the moments before and after. With pybind11's GIL guards it draws what the GIL does to
// a program; with a std::mutex it works just as well. "held" is noted after the lock is taken and until just before
// it is given up, so no two threads are ever shown holding it; what the taking and the giving up last is "waiting".
// Cost: a clock read and an append per change of state.
//
// Copy: this file.   #include <tenfold/gil_observer.hpp>   C++20, no library, no flag.
//
//   tenfold::timeline timeline;
//   auto& lane = timeline.add_lane("worker 0");                        // one per thread
//   tenfold::observed_acquire<py::gil_scoped_acquire> held(lane);      // waiting, then held
//   tenfold::observed_release<py::gil_scoped_release> free(lane);      // free; at its end waiting, then held
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tenfold {

enum class lock_state : std::uint8_t { held, waiting, free };

inline const char* name_of(lock_state state) {
    switch (state) {
        case lock_state::held: return "held";
        case lock_state::waiting: return "waiting";
        default: return "free";
    }
}

/// What every thread's relation to the lock was, from when to when, in nanoseconds since the timeline was made.
class timeline {
public:
    struct interval {
        int lane;
        lock_state state;
        std::int64_t begin, end;
    };

    /// One thread's row. Only that thread may call enter() and leave(); nobody reads it before that thread has
    /// been joined (the join is what makes its writes visible).
    class lane {
    public:
        lane(const timeline& owner, int index, std::string label) : owner_(owner), index_(index), label_(std::move(label)) {}

        void enter(lock_state state) {
            const std::int64_t now = owner_.now();
            close(now);
            open_ = interval{index_, state, now, now};
        }
        void leave() {
            close(owner_.now());
            open_.reset();
        }
        int index() const { return index_; }
        const std::string& label() const { return label_; }
        const std::vector<interval>& intervals() const { return intervals_; }

    private:
        void close(std::int64_t now) {
            if (!open_) return;
            open_->end = now;
            intervals_.push_back(*open_);
        }

        const timeline& owner_;
        int index_;
        std::string label_;
        std::optional<interval> open_;
        std::vector<interval> intervals_;
    };

    timeline() = default;
    timeline(const timeline&) = delete;
    timeline& operator=(const timeline&) = delete;

    /// Safe from any thread; the reference stays valid as long as the timeline (a deque never moves its elements).
    lane& add_lane(std::string label) {
        std::scoped_lock lock(mutex_);
        return lanes_.emplace_back(*this, static_cast<int>(lanes_.size()), std::move(label));
    }

    /// All intervals, lane by lane. Call it when the observed threads have been joined.
    std::vector<interval> intervals() const {
        std::scoped_lock lock(mutex_);
        std::vector<interval> all;
        for (const lane& l : lanes_) all.insert(all.end(), l.intervals().begin(), l.intervals().end());
        return all;
    }

    /// The same in the Chrome trace event format (JSON): open it in chrome://tracing, Perfetto or speedscope.
    std::string chrome_trace() const {
        std::scoped_lock lock(mutex_);
        std::string json = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [";
        const char* separator = "\n";
        for (const lane& l : lanes_) {
            const std::string thread = std::to_string(l.index());
            json += separator;
            json += R"({"ph": "M", "name": "thread_name", "pid": 0, "tid": )" + thread + R"(, "args": {"name": ")" +
                    escaped(l.label()) + "\"}}";
            separator = ",\n";
            for (const interval& i : l.intervals()) {
                json += separator;
                json += std::string(R"({"ph": "X", "cat": "lock", "name": ")") + name_of(i.state) + R"(", "pid": 0, "tid": )" +
                        thread + ", \"ts\": " + microseconds(i.begin) + ", \"dur\": " + microseconds(i.end - i.begin) + "}";
            }
        }
        return json + "\n]}\n";
    }

private:
    std::int64_t now() const {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - origin_).count();
    }
    static std::string microseconds(std::int64_t ns) {
        const std::string fraction = std::to_string(ns % 1000);
        return std::to_string(ns / 1000) + "." + std::string(3 - fraction.size(), '0') + fraction;
    }
    static std::string escaped(const std::string& text) {
        constexpr const char* hex = "0123456789abcdef";
        std::string out;
        for (unsigned char c : text) {
            if (c == '"' || c == '\\') out += '\\';
            if (c < 0x20) {
                out += "\\u00";
                out += hex[c >> 4];
                out += hex[c & 15];
            } else {
                out += static_cast<char>(c);
            }
        }
        return out;
    }

    const std::chrono::steady_clock::time_point origin_ = std::chrono::steady_clock::now();
    mutable std::mutex mutex_;  // guards the set of lanes, never what is in one
    std::deque<lane> lanes_;
};

/// Wraps a guard that gives the lock up while it lives. The thread is free, then waiting, then holds the lock again.
template <class Release>
class observed_release {
public:
    explicit observed_release(timeline::lane& lane) : lane_(lane) {
        lane_.enter(lock_state::waiting);  // giving up takes time too: CPython may wait until another thread has taken it
        release_.emplace();
        lane_.enter(lock_state::free);
    }
    ~observed_release() {
        lane_.enter(lock_state::waiting);
        release_.reset();
        lane_.enter(lock_state::held);
    }
    observed_release(const observed_release&) = delete;
    observed_release& operator=(const observed_release&) = delete;

private:
    timeline::lane& lane_;
    std::optional<Release> release_;
};

/// Wraps a guard that holds the lock while it lives. The thread waits, holds the lock, then is free of it.
template <class Acquire>
class observed_acquire {
public:
    template <class... Args>
    explicit observed_acquire(timeline::lane& lane, Args&&... args) : lane_(lane) {
        lane_.enter(lock_state::waiting);
        acquire_.emplace(std::forward<Args>(args)...);
        lane_.enter(lock_state::held);
    }
    ~observed_acquire() {
        lane_.enter(lock_state::waiting);
        acquire_.reset();
        lane_.enter(lock_state::free);
    }
    observed_acquire(const observed_acquire&) = delete;
    observed_acquire& operator=(const observed_acquire&) = delete;

private:
    timeline::lane& lane_;
    std::optional<Acquire> acquire_;
};

}  // namespace tenfold
