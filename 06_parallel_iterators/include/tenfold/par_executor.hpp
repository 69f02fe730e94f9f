// tenfold/par_executor.hpp: who runs a parallel pipeline. Three executors and the concept that a fourth one has to meet.
//
// Why: a pipeline should not care whether OpenMP, a pool of yours or nobody helps. All it asks of an executor is
//     int concurrency() const;              how many may work at once, the caller included
//     void run(int workers, body) const;    body(0) here; body(1) ... body(workers - 1) elsewhere, each at most once; then
//                                           wait for those that have begun. body never throws.
//     double wake_ns() const;               (if it likes) below how much work, in ns, it is better left alone
// Work is handed out inside body, so helpers that come late find nothing to do, and helpers that never come are not missed.
//
// Copy: this file. Needs C++20 and, for openmp_executor, OpenMP (-fopenmp, or OpenMP::OpenMP_CXX in CMake); without OpenMP that
// executor works alone. submit_executor wants -pthread where the C library does not include threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#endif

#ifndef TENFOLD_NEVER_STOP
#define TENFOLD_NEVER_STOP
namespace tenfold {

struct never_stop {
    bool operator()() const noexcept { return false; }
};

struct stopped : std::exception {
    const char* what() const noexcept override { return "stopped"; }
};

}  // namespace tenfold
#endif

namespace tenfold {

namespace par_detail {

struct any_body {
    void operator()(int) const noexcept {}
};

inline int checked_threads(int threads) {
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    return threads;
}

// libgomp keeps its workers per thread that opened a region, whoever's library the region was in. fork() copies that bookkeeping
// but not the workers: a region of the thread that lived on in the child waits for ever. It is the child's first thread, so its id
// is the process's. Whether a process is such a child is told by its number, where it was seen before the fork, else by the kernel.
inline bool lived_through_a_fork() {
#ifdef __linux__
    static const bool born_by_fork = [] {
        std::ifstream stat("/proc/self/stat");
        std::string text(std::istreambuf_iterator<char>(stat), {});
        std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 1)));  // the name may hold anything
        std::string skipped;
        for (int i = 0; i < 6; ++i) fields >> skipped;
        unsigned long flags = 0;
        fields >> flags;
        return (flags & 0x40) != 0;  // PF_FORKNOEXEC
    }();
    static const pid_t first_seen = ::getpid();
    const pid_t pid = ::getpid();
    return (born_by_fork || first_seen != pid) && ::syscall(SYS_gettid) == pid;
#else
    return false;  // LLVM's libomp, the usual one elsewhere, starts anew in a child
#endif
}

// What it costs to wake OpenMP's threads. For some milliseconds after a region they spin, and waking is cheap; then they sleep, and
// it takes a system call, a processor that comes out of its own sleep, and, in a virtual machine, its host. How long is measured, and
// applies to the first pipeline after a quiet time; where one follows another, it pays to have them awake.
class wake_cost {
public:
    using clock = std::chrono::steady_clock;

    double ns() noexcept {
        const auto now = clock::now();
        quiet_ = now - last_;
        last_ = now;
        return quiet_ < std::chrono::microseconds(300) ? awake_ns : awake_ns + asleep_ns().load(std::memory_order_relaxed);
    }
    // After a region whose helpers began so much later than it did.
    void learn(clock::duration late) noexcept {
        if (quiet_ > std::chrono::milliseconds(8)) {
            const auto measured = static_cast<double>(std::chrono::duration_cast<std::chrono::nanoseconds>(late).count());
            const double before = asleep_ns().load(std::memory_order_relaxed);  // relaxed, here and below: a hint
            asleep_ns().store(0.75 * before + 0.25 * std::clamp(measured, 2e3, 150e3), std::memory_order_relaxed);
        }
        last_ = clock::now();
    }
    static wake_cost& of_this_thread() noexcept {
        static thread_local wake_cost own;
        return own;
    }

private:
    static constexpr double awake_ns = 12e3;
    static std::atomic<double>& asleep_ns() noexcept {
        static std::atomic<double> all{50e3};
        return all;
    }
    clock::time_point last_{};
    clock::duration quiet_{};
};

}  // namespace par_detail

template <class E>
concept par_executor = std::copy_constructible<E> && requires(const E& executor, const par_detail::any_body& body) {
    { executor.concurrency() } -> std::convertible_to<int>;
    executor.run(1, body);
};

struct sequential_executor {
    int concurrency() const noexcept { return 1; }
    template <class Body>
    void run(int, Body&& body) const {
        body(0);
    }
};

// One OpenMP region per pipeline. Inside another region it works alone: nested teams would multiply the threads.
class openmp_executor {
public:
#ifdef _OPENMP
    openmp_executor() : threads_(omp_get_max_threads()) {}
#else
    openmp_executor() = default;
#endif
    explicit openmp_executor(int threads) : threads_(par_detail::checked_threads(threads)) {}

    int concurrency() const noexcept {
#ifdef _OPENMP
        return omp_in_parallel() ? 1 : threads_;
#else
        return 1;
#endif
    }

    double wake_ns() const noexcept { return par_detail::wake_cost::of_this_thread().ns(); }

    // Where this thread must not open a region, a new thread opens it for the helpers, and the caller works beside them.
    template <class Body>
    void run(int workers, Body&& body) const {
        if (workers <= 1) return body(0);
        if (!par_detail::lived_through_a_fork()) {
            using clock = par_detail::wake_cost::clock;
            const auto start = clock::now();
            auto began = start;  // written by one helper, read after the region
            region(workers, [&](int worker) {
                if (worker == 1) began = clock::now();
                body(worker);
            });
            return par_detail::wake_cost::of_this_thread().learn(began - start);
        }
        std::thread opener;
        try {
            opener = std::thread([&] { region(workers - 1, [&](int worker) { body(worker + 1); }); });
        } catch (const std::system_error&) {
            // No thread to be had: body(0) does it all.
        }
        body(0);
        if (opener.joinable()) opener.join();
    }

private:
    template <class Body>
    static void region(int workers, Body&& body) {
#ifdef _OPENMP
#pragma omp parallel num_threads(workers)
        body(omp_get_thread_num());
#else
        if (workers > 0) body(0);
#endif
    }

    int threads_ = 1;
};

// Any pool that takes a void() to run some time: submit_executor(threads, [&](auto task) { pool.detach(task); }).
// The caller never waits for a task that has not begun, so pipelines may run inside the pool's own tasks without deadlock; a
// task that begins after its pipeline has ended returns at once. Tasks are copyable and may outlive the pipeline.
template <class Submit>
class submit_executor {
public:
    submit_executor(int threads, Submit submit) : threads_(par_detail::checked_threads(threads)), submit_(std::move(submit)) {}

    int concurrency() const noexcept { return threads_; }

    template <class Body>
    void run(int workers, Body&& body) const {
        if (workers <= 1) return body(0);
        struct shared {
            std::mutex mutex;
            std::condition_variable left;
            int inside = 0;
            bool closed = false;
        };
        const auto state = std::make_shared<shared>();
        const auto close = [&]() noexcept {
            std::unique_lock lock(state->mutex);
            state->closed = true;
            state->left.wait(lock, [&] { return state->inside == 0; });
        };
        try {
            for (int worker = 1; worker < workers; ++worker)
                submit_([state, worker, pointer = &body] {
                    {
                        const std::lock_guard lock(state->mutex);
                        if (state->closed) return;  // `pointer` dangles from here on
                        ++state->inside;
                    }
                    (*pointer)(worker);
                    const std::lock_guard lock(state->mutex);
                    if (--state->inside == 0) state->left.notify_all();
                });
        } catch (...) {
            // A pool that refuses (shut down, out of memory) is not missed: the caller does the rest.
        }
        body(0);
        close();
    }

private:
    int threads_;
    Submit submit_;
};

}  // namespace tenfold
