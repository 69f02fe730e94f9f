// tenfold/adaptive.hpp: how many threads is this work worth? Measured on the work itself.
//
// Why: a thread costs tens of microseconds to start, so a thousand squares are slower on eight threads than on one, and a
// thousand simulations are not. The caller seldom knows which of the two it has. So the first tasks run on the calling thread
// and are timed (they are real work, not a trial), and the rest gets one thread per `worth` thread starts of remaining time,
// within the cores that this process may use.
//     const auto choice = tenfold::adaptive_for(n, cores, [&](std::size_t begin, std::size_t end) { ... });  // choice.threads
// The measured tasks speak for the rest: if the first are cheap and the last are not, too few threads are chosen.
//
// Copy: as thread_pool.hpp, plus this file. Needs C++20 and -pthread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <stdexcept>

#include <tenfold/thread_pool.hpp>

namespace tenfold {

struct thread_choice {
    int threads = 1;
    double seconds_per_task = 0.0;
    std::size_t measured = 0;  // tasks that ran while measuring
};

struct adaptive_costs {
    double start_thread = 60e-6;  // seconds until a new thread has taken work
    double worth = 4.0;  // a thread must have this many times its start to do
    double measure = 200e-6;  // seconds of tasks that are enough to judge by
};

// The rule on its own.
inline int choose_threads(double remaining_seconds, std::size_t remaining_tasks, int usable,
                          adaptive_costs costs = {}) noexcept {
    const double price = costs.start_thread * costs.worth;
    double threads = price > 0.0 ? remaining_seconds / price : static_cast<double>(usable);
    threads = std::min({threads, static_cast<double>(usable), static_cast<double>(remaining_tasks),
                        static_cast<double>(pool_detail::most_threads)});
    return threads > 1.0 ? static_cast<int>(threads) : 1;
}

// Runs body(begin, end) on the first tasks, in runs of 1, 2, 4, ..., until it can tell what a task costs or none is left.
template <class Body, class Stop = never_stop, class Clock = std::chrono::steady_clock>
thread_choice measure_tasks(std::size_t tasks, int usable, Body&& body, Stop&& stop = {}, adaptive_costs costs = {},
                            Clock = {}) {
    if (usable < 1) throw std::invalid_argument("usable must be >= 1");
    using seconds = std::chrono::duration<double>;
    thread_choice choice;
    const auto start = Clock::now();
    for (std::size_t run = 1; choice.measured < tasks; run *= 2) {
        if (stop()) throw stopped();
        run = std::min(run, tasks - choice.measured);
        const auto before = Clock::now();
        body(choice.measured, choice.measured + run);
        const auto after = Clock::now();
        choice.measured += run;
        // The last run is the largest and the warmest: it decides.
        choice.seconds_per_task = seconds(after - before).count() / static_cast<double>(run);
        if (seconds(after - start).count() >= costs.measure) break;
    }
    const std::size_t rest = tasks - choice.measured;
    choice.threads = choose_threads(choice.seconds_per_task * static_cast<double>(rest), rest, usable, costs);
    return choice;
}

// All of it: measures, then runs the rest on as many threads as it has chosen. Errors and stop as in thread_pool::for_chunks.
template <class Body, class Stop = never_stop>
thread_choice adaptive_for(std::size_t tasks, int usable, Body&& body, Stop&& stop = {}, adaptive_costs costs = {}) {
    const thread_choice choice = measure_tasks(tasks, usable, body, stop, costs);
    const std::size_t rest = tasks - choice.measured;
    const auto shifted = [&](std::size_t begin, std::size_t end) { body(choice.measured + begin, choice.measured + end); };
    if (choice.threads > 1) {
        thread_pool pool(choice.threads);
        pool.for_chunks(rest, shifted, stop);
        return choice;
    }
    // One thread: the calling one, with a look at stop() every millisecond or so.
    const double per_task = std::max(choice.seconds_per_task, 1e-9);
    const auto run = static_cast<std::size_t>(std::max(1.0, 1e-3 / per_task));
    for (std::size_t begin = 0; begin < rest;) {
        if (stop()) throw stopped();
        const std::size_t end = rest - begin > run ? begin + run : rest;
        shifted(begin, end);
        begin = end;
    }
    return choice;
}

}  // namespace tenfold
