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

// The allocator of AddressSanitizer (GCC 12's, say) is not made ready for a fork, as glibc's malloc is: where another thread is
// inside it at that moment, as a thread that is just ending is, the child waits for ever for that thread's lock. A child that hangs
// for a reason of ours does so in the next try, too, and without AddressSanitizer at once.
#ifdef __SANITIZE_ADDRESS__
inline constexpr int child_tries = 4;
#else
inline constexpr int child_tries = 1;
#endif

/// Runs function() -> int in a forked child, which an alarm ends after `seconds`. Returns the child's exit code,
/// or minus the signal that ended it: -SIGALRM means that it hung.
template <class Function>
int run_child(unsigned seconds, Function function) {
    int result = 0;
    for (int tried = 0; tried == 0 || (result == -SIGALRM && tried < child_tries); ++tried) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::alarm(seconds);
            ::_exit(function());
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        result = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    }
    return result;
}

}  // namespace tenfold_testing
