// What the C++ peers of this lesson share: the clock of the process, counters that no two threads share, and the idle task.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <thread>

#include "tenfold_peer.hpp"

namespace peer_tasks {

/// One count per thread, each on a cache line (or two) of its own: proof of who worked, at the price of one addition.
class counts {
public:
    void add(int thread) noexcept { ++all_[static_cast<std::size_t>(thread) % all_.size()].value; }
    double sum() const {
        double total = 0;
        for (const auto& one : all_) total += static_cast<double>(one.value);
        return total;
    }
    /// The sum if `threads` threads have each done exactly `each`, else -1: no answer that a peer could agree with.
    double exactly(int threads, long each) const {
        int right = 0;
        for (const auto& one : all_) right += one.value == each;
        return right == threads ? sum() : -1.0;
    }

private:
    struct alignas(128) own_line {
        long value = 0;
    };
    std::array<own_line, 64> all_{};
};

inline double cpu_seconds() {
    timespec time{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// CPU seconds that all threads of the process use between 5 and 205 ms after work().
template <class Work>
tenfold_peer::timed idle(Work work) {
    work();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const double before = cpu_seconds();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    return {cpu_seconds() - before, tenfold_peer::no_answer};
}

}  // namespace peer_tasks
