// What the C++ tests of all lessons share: a thread sweep, threads that start together, a child process with a limit.
#pragma once

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <barrier>
#include <csignal>
#include <thread>
#include <vector>

namespace tenfold_testing {

/// The sweep that every thread test makes.
inline constexpr std::array<int, 4> thread_counts{1, 2, 4, 7};

/// Runs function(i) on `count` threads that leave a barrier together; returns when all have ended.
template <class Function>
void run_threads(int count, Function function) {
    std::barrier start(count);
    std::vector<std::jthread> threads;
    threads.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i)
        threads.emplace_back([&, i] {
            start.arrive_and_wait();
            function(i);
        });
}

/// Runs function() -> int in a forked child, which an alarm ends after `seconds`. Returns the child's exit code,
/// or minus the signal that ended it: -SIGALRM means that it hung.
template <class Function>
int run_child(unsigned seconds, Function function) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(seconds);
        ::_exit(function());
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace tenfold_testing
