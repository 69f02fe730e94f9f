// team.hpp - start threads, wait for all of them, pass a wish to stop on to them, bring their first exception back.
//
// Whoever waits for threads must not hold a lock that they need: call run_team with the GIL released. And whoever
// waits must still notice Ctrl-C: `stop` is looked at by the waiting thread only, the members get a std::stop_token.
// (Threads are started for each call. That is plain and costs tens of microseconds each; lesson 04 builds a pool.)
//
// Copy: this file.   #include <tenfold/team.hpp>   C++20; link the platform's threads library.
#pragma once

#include <chrono>
#include <exception>
#include <future>
#include <stop_token>
#include <vector>

namespace tenfold {

#ifndef TENFOLD_NEVER_STOP  // the same few lines in every header that can be stopped, so that each travels alone
#define TENFOLD_NEVER_STOP
struct stopped : std::exception {
    const char* what() const noexcept override { return "stopped"; }
};
struct never_stop {
    bool operator()() const noexcept { return false; }
};
#endif

/// Runs `member(i, token)` on its own thread for i in [0, size) and returns when all have ended. Throws what the
/// member of the lowest index threw, or tenfold::stopped when `stop()` was true first, or what `stop()` itself threw; each
/// of them tells the others to stop.
template <class Member, class Stop = never_stop>
void run_team(int size, Member member, Stop stop = {}) {
    std::stop_source cancel;
    std::vector<std::future<void>> members;
    std::exception_ptr failure;
    try {
        members.reserve(static_cast<std::size_t>(size));
        for (int i = 0; i < size; ++i)
            members.push_back(std::async(std::launch::async, [&member, i, token = cancel.get_token()] { member(i, token); }));
    } catch (...) {  // no more threads to be had: those that run are still waited for below
        failure = std::current_exception();
        cancel.request_stop();
    }
    for (auto& running : members) {
        while (running.wait_for(std::chrono::milliseconds(10)) != std::future_status::ready) {
            try {
                if (!cancel.stop_requested() && stop()) throw stopped();
            } catch (...) {
                failure = std::current_exception();
                cancel.request_stop();
            }
        }
        try {
            running.get();
        } catch (...) {
            if (!failure) failure = std::current_exception();
            cancel.request_stop();
        }
    }
    if (failure) std::rethrow_exception(failure);
}

}  // namespace tenfold
