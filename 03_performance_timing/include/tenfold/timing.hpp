// timing.hpp - a monotonic timer, calibrated rounds, and an A/B comparison that survives a busy machine.
//
// Why: one call is shorter than the clock's own cost, two runs minutes apart measure the machine's mood, and a result
// that nobody uses is optimised away. So: iterations are calibrated until a batch fills `min_time`; rounds are
// interleaved (A B, B A, A B, ...), so that a slow moment hits both; the ratio is taken inside each round.
//
//     auto c = tenfold::compare({{"loop", [&](auto n) { while (n--) tenfold::keep(f()); }},
//                                {"simd", [&](auto n) { while (n--) tenfold::keep(g()); }}}, {});
//     double times_slower = tenfold::median(c.ratios(1));          // simd / loop, round by round
//
// Copy: this file and statistics.hpp beside it.   #include <tenfold/timing.hpp>   C++20, no library, no flag.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "statistics.hpp"

namespace tenfold {

/// Makes the compiler believe that `value` is used, and that memory may have been read and written.
template <class T>
inline void keep(const T& value) {
#if defined(__GNUC__) || defined(__clang__)
    asm volatile("" : : "r,m"(value) : "memory");
#else
    static volatile const void* sink;
    sink = &value;
#endif
}

namespace detail {

inline std::string fixed(double value, int digits) {
    char text[400];  // the largest double has 309 digits before the point
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

}  // namespace detail

/// Seconds taken by a number of iterations. With 0 iterations per_iteration() is inf, as the division says.
struct timer_result {
    std::string name;
    double duration_secs = 0.0;
    std::int64_t iterations = 0;

    double per_iteration() const { return duration_secs / static_cast<double>(iterations); }
    double ops_per_second() const { return static_cast<double>(iterations) / duration_secs; }
    std::string to_string() const {
        return "TimerResult(name='" + name + "', duration=" + detail::fixed(duration_secs, 6) +
               "s, iterations=" + std::to_string(iterations) + ", per_iter=" + detail::fixed(per_iteration(), 6) +
               "s, ops/sec=" + detail::fixed(ops_per_second(), 2) + ")";
    }
};

/// Starts when it is made. steady_clock never jumps: the wall clock does, when somebody sets it.
class timer {
public:
    using clock = std::chrono::steady_clock;

    explicit timer(std::string name = {}) : name_(std::move(name)), start_(clock::now()) {}
    double elapsed() const { return std::chrono::duration<double>(clock::now() - start_).count(); }
    timer_result stop(std::int64_t iterations) const { return {name_, elapsed(), iterations}; }
    void restart() { start_ = clock::now(); }
    const std::string& name() const { return name_; }

private:
    std::string name_;
    clock::time_point start_;
};

/// Runs its code this many times: `batch(n)`.
using batch = std::function<void(std::int64_t)>;

inline double seconds_of(const batch& run, std::int64_t iterations) {
    const timer watch;
    run(iterations);
    return watch.elapsed();
}

struct plan {
    double min_time = 0.02;  // seconds that one batch should take
    int rounds = 11;
    double pause = 0.0;      // seconds of silence before each batch: time for the last one's spinning threads to sleep
};

inline constexpr std::int64_t most_iterations = 1'000'000'000'000;

/// The number of iterations that fills `min_time`, found by growing a batch; this is the warm-up as well.
template <class Stop = never_stop>
std::int64_t calibrate(const batch& run, double min_time, Stop&& stop = {}) {
    std::int64_t iterations = 1;
    for (;;) {
        if (stop()) throw stopped();
        double seconds = seconds_of(run, iterations);
        // a batch that was interrupted looks long enough, and so does a first call that imports or compiles: ask twice
        if (min_time > 0.0 && seconds >= min_time) seconds = std::min(seconds, seconds_of(run, iterations));
        if (seconds >= min_time || iterations >= most_iterations) return iterations;
        // aim past the goal by a fifth, trust a short measurement no further than tenfold
        const double factor = seconds > 0 ? std::clamp(1.2 * min_time / seconds, 1.5, 10.0) : 10.0;
        iterations = std::min(most_iterations, static_cast<std::int64_t>(std::ceil(static_cast<double>(iterations) * factor)));
    }
}

/// Seconds per iteration, one value per round.
struct series {
    std::string name;
    std::int64_t iterations = 0;  // per round
    std::vector<double> seconds;
};

struct comparison {
    std::vector<series> cases;

    /// Time of case i over the time of case 0 in the same round: above 1, case 0 is faster.
    std::vector<double> ratios(std::size_t i) const {
        std::vector<double> result;
        for (std::size_t round = 0; round < cases.at(i).seconds.size(); ++round)
            result.push_back(cases[i].seconds[round] / cases[0].seconds[round]);
        return result;
    }
};

/// Measures all cases in every round, forwards and backwards in turn, so that neither position nor drift favours one.
template <class Stop = never_stop>
comparison compare(const std::vector<std::pair<std::string, batch>>& cases, const plan& how, Stop&& stop = {}) {
    if (cases.empty()) throw std::invalid_argument("there is nothing to compare");
    if (how.rounds < 1) throw std::invalid_argument("rounds must be at least 1");
    if (!(how.min_time >= 0.0 && how.pause >= 0.0)) throw std::invalid_argument("min_time and pause must be 0 or more");
    const auto be_quiet = [&] {
        const timer watch;
        for (;;) {
            if (stop()) throw stopped();
            const double left = how.pause - watch.elapsed();
            if (left <= 0.0) return;
            std::this_thread::sleep_for(std::chrono::duration<double>(std::min(left, 0.01)));
        }
    };
    comparison result;
    for (const auto& [name, run] : cases) {
        be_quiet();
        result.cases.push_back({name, calibrate(run, how.min_time, stop), {}});
    }
    for (int round = 0; round < how.rounds; ++round)
        for (std::size_t i = 0; i < cases.size(); ++i) {
            const std::size_t turn = round % 2 == 0 ? i : cases.size() - 1 - i;
            series& one = result.cases[turn];
            be_quiet();
            one.seconds.push_back(seconds_of(cases[turn].second, one.iterations) / static_cast<double>(one.iterations));
        }
    return result;
}

/// One case alone: seconds per iteration of each round.
template <class Stop = never_stop>
series measure(const batch& run, const plan& how, Stop&& stop = {}) {
    return compare({{"", run}}, how, stop).cases.front();
}

/// Named durations in the order in which they came; any thread may add.
class profiler {
public:
    using entry = std::pair<std::string, double>;

    void measure(std::string name, double duration_secs) {
        if (!std::isfinite(duration_secs) || duration_secs < 0.0)
            throw std::invalid_argument("duration_secs must be finite and 0 or more, not " + std::to_string(duration_secs));
        const std::lock_guard lock(mutex_);
        entries_.emplace_back(std::move(name), duration_secs);
    }

    std::vector<entry> results() const {
        const std::lock_guard lock(mutex_);
        return entries_;
    }

    std::string summary() const {
        const auto entries = results();
        const double total = total_of(entries);
        std::string text = "Profiler Summary (Total: " + detail::fixed(total, 6) + "s)\n";
        for (const auto& [name, seconds] : entries)
            text += "  " + name + ": " + detail::fixed(seconds, 6) + "s (" + detail::fixed(share(seconds, total) * 100.0, 1) +
                    "%)\n";
        return text;
    }

    std::string to_json() const {
        const auto entries = results();
        const double total = total_of(entries);
        std::string text = "{\"total_secs\": " + number(total) + ", \"spans\": [";
        for (std::size_t i = 0; i < entries.size(); ++i)
            text += (i == 0 ? "{\"name\": " : ", {\"name\": ") + quoted(entries[i].first) +
                    ", \"duration_secs\": " + number(entries[i].second) +
                    ", \"share\": " + number(share(entries[i].second, total)) + "}";
        return text + "]}";
    }

private:
    static double total_of(const std::vector<entry>& entries) {
        double total = 0.0;
        for (const auto& one : entries) total += one.second;
        return total;
    }
    static double share(double part, double total) { return total > 0.0 ? part / total : 0.0; }
    static std::string number(double value) {
        if (!std::isfinite(value)) return "null";  // finite entries may add up to more than a double holds
        char text[32];
        std::snprintf(text, sizeof text, "%.17g", value);
        return text;
    }
    static std::string quoted(const std::string& text) {
        std::string out = "\"";
        for (const char c : text) {
            const auto byte = static_cast<unsigned char>(c);
            if (c == '"' || c == '\\') {
                out += '\\';
                out += c;
            } else if (byte < 0x20) {
                char escape[8];
                std::snprintf(escape, sizeof escape, "\\u%04x", byte);
                out += escape;
            } else {
                out += c;
            }
        }
        return out + '"';
    }

    mutable std::mutex mutex_;  // guards entries_
    std::vector<entry> entries_;
};

/// From its making to its end, into a profiler; also when an exception ends it.
class span_timer {
public:
    span_timer(profiler& into, std::string name) : into_(into), watch_(std::move(name)) {}
    ~span_timer() { into_.measure(watch_.name(), watch_.elapsed()); }
    span_timer(const span_timer&) = delete;
    span_timer& operator=(const span_timer&) = delete;

private:
    profiler& into_;
    timer watch_;
};

}  // namespace tenfold
