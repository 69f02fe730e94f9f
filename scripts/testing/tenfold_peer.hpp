// A bench's peer as a program of its own, so that one library's idle spinning threads cannot slow another down.
//
//     int main() { return tenfold_peer::serve({{"fib", [](long n) { return double(fib(n)); }}}); }
//
// serve() reads lines "TASK N", runs the task once and answers "SECONDS ANSWER". tenfold_bench.Remote is the other end.
#pragma once

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <variant>

namespace tenfold_peer {

/// The answer of a task for which there is nothing to compare.
inline constexpr double no_answer = std::numeric_limits<double>::quiet_NaN();

/// What a task returns that does its own timing, to leave out what comes before the start.
struct timed {
    double seconds;
    double answer;
};

struct task {
    std::function<std::variant<double, timed>(long)> run;
    template <class Function>
    task(Function function) : run([function](long n) -> std::variant<double, timed> { return function(n); }) {}
};

/// Threads to use: TENFOLD_THREADS, 2 unless it is set.
inline int threads() {
    const char* text = std::getenv("TENFOLD_THREADS");
    const int count = text ? std::atoi(text) : 2;
    return count > 0 ? count : 2;
}

inline double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Answers requests until its input ends.
inline int serve(const std::map<std::string, task>& tasks) {
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::string name;
        long n = 0;
        words >> name >> n;
        const auto found = tasks.find(name);
        if (found == tasks.end()) {
            std::printf("unknown task %s\n", name.c_str());
        } else {
            try {
                const auto start = std::chrono::steady_clock::now();
                const auto result = found->second.run(n);
                const double seconds = seconds_since(start);
                if (const auto* own = std::get_if<timed>(&result)) std::printf("%.9g %.17g\n", own->seconds, own->answer);
                else std::printf("%.9g %.17g\n", seconds, std::get<double>(result));
            } catch (const std::exception& error) {
                std::printf("failed: %s\n", error.what());
            }
        }
        std::fflush(stdout);
    }
    return 0;
}

}  // namespace tenfold_peer
