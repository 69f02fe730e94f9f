// tenfold/span_team.hpp: run a loop over chunks on an OpenMP team; an exception, a stop and a fork leave it the way they should.
//
// Why: the kernels of this lesson work on one piece of memory, on one thread. over_chunks() cuts an array into pieces whose
// borders depend on its size only, deals them out to a team, and gives the caller the exception of the lowest piece that threw.
// Lesson 02 explains it; this is what of it the lesson needs, so that the folder stands alone.
// `stop`, a callable bool(), is asked on the calling thread only, between chunks; when it says true: tenfold::stopped.
//
// Copy: this file. Needs C++20 and OpenMP (-fopenmp, or OpenMP::OpenMP_CXX in CMake); without OpenMP everything runs inline.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <future>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <type_traits>

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

namespace tenfold::zero_copy {

// How chunks reach threads: in equal runs, dealt out beforehand, or one by one to whoever is free.
enum class deal { evenly, on_demand };

namespace detail {

// libgomp keeps its worker threads per thread that opened a region, whoever's library the region was in. fork() copies that
// bookkeeping but not the workers: a region opened by the thread that lived on in the child would wait for ever. It is the
// child's first thread, so its id is the process's. Whether a process is a child that never called exec() is told by its
// number, where it was seen before the fork, else by the kernel.
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

inline bool inside_region() {
#ifdef _OPENMP
    return omp_in_parallel() != 0;
#else
    return true;
#endif
}

// What the threads of one region share. Chunks above `limit_` are skipped: the first error lowers it to its own chunk, so
// every lower chunk still runs and the lowest error wins, whatever the schedule; a stop lowers it to zero.
class region_state {
public:
    explicit region_state(std::size_t chunks) : limit_(chunks) {}

    // Relaxed: a late reader does one chunk too many. Results and error_ are published by the barrier that ends the region.
    bool wanted(std::size_t chunk) const noexcept { return chunk < limit_.load(std::memory_order_relaxed); }
    bool ended() const noexcept { return limit_.load(std::memory_order_relaxed) == 0; }

    void fail(std::size_t chunk) noexcept {
        const std::lock_guard lock(mutex_);
        if (stopped_ || !wanted(chunk)) return;
        error_ = std::current_exception();
        limit_.store(chunk, std::memory_order_relaxed);
    }
    void stop() noexcept {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        limit_.store(0, std::memory_order_relaxed);
    }
    // `stop` itself may throw: that ends the loop like a stop and wins over errors of chunks.
    void stop_with_error() noexcept {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        stop_error_ = std::current_exception();
        limit_.store(0, std::memory_order_relaxed);
    }
    void rethrow() {
        if (stop_error_) std::rethrow_exception(stop_error_);
        if (stopped_) throw stopped();
        if (error_) std::rethrow_exception(error_);
    }

    std::atomic<int> done{0};  // threads that have no chunk left

private:
    std::atomic<std::size_t> limit_;
    std::mutex mutex_;  // guards the three below while the region runs
    bool stopped_ = false;
    std::exception_ptr error_, stop_error_;
};

template <class Stop>
void poll(region_state& state, Stop& stop) noexcept {
    try {
        if (!state.ended() && stop()) state.stop();
    } catch (...) {
        state.stop_with_error();
    }
}

template <class Body, class Stop>
void chunks_inline(std::size_t n_items, std::size_t chunk, Body& body, Stop& stop) {
    for (std::size_t begin = 0; begin < n_items;) {
        if (stop()) throw stopped();
        const std::size_t end = n_items - begin > chunk ? begin + chunk : n_items;
        body(begin, end);
        begin = end;
    }
}

}  // namespace detail

// Calls body(begin, end) for [0, chunk), [chunk, 2*chunk), ... until n_items, on at most `threads` threads and never more than
// there are chunks; up to `inline_below` items on the calling thread, where opening a region would cost more than the work. A
// call from inside a region runs inline: nested teams would multiply the threads.
template <class Body, class Stop = never_stop>
void over_chunks(std::size_t n_items, std::size_t chunk, int threads, Body&& body, Stop&& stop = {},
                 [[maybe_unused]] deal how = deal::on_demand, std::size_t inline_below = 0) {
    if (chunk == 0) throw std::invalid_argument("chunk must be >= 1");
    if (threads < 1) throw std::invalid_argument("threads must be >= 1");
    const std::size_t chunks = n_items / chunk + (n_items % chunk != 0);
    const int team = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(threads), chunks));
    if (team <= 1 || n_items <= inline_below || detail::inside_region()) {
        detail::chunks_inline(n_items, chunk, body, stop);
        return;
    }
#ifdef _OPENMP
    detail::region_state state(chunks);
    const bool elsewhere = detail::lived_through_a_fork();
    constexpr bool polls = !std::is_same_v<std::remove_cvref_t<Stop>, never_stop>;
    if (stop()) throw stopped();  // once for certain: the other threads may be done before the caller takes its first chunk

    // An OpenMP loop cannot be left: after a stop or an error its other iterations run empty. A million of those are over in
    // milliseconds, a thousand million would keep a Ctrl-C waiting for seconds, so beyond a million several chunks go out at once.
    const std::size_t together = (chunks >> 20) + 1;
    const std::size_t pieces = chunks / together + (chunks % together != 0);

    const auto run = [&](std::size_t piece) noexcept {
        for (std::size_t index = piece * together; index < chunks && index - piece * together < together; ++index) {
            if constexpr (polls)
                if (!elsewhere && omp_get_thread_num() == 0) detail::poll(state, stop);
            if (!state.wanted(index)) return;
            try {
                const std::size_t begin = index * chunk;
                body(begin, n_items - begin > chunk ? begin + chunk : n_items);
            } catch (...) {
                state.fail(index);  // an exception that crosses the region's border ends the process
            }
        }
    };

    const auto region = [&]() noexcept {
#pragma omp parallel num_threads(team)
        {
            if (how == deal::evenly) {
#pragma omp for schedule(static) nowait
                for (std::size_t i = 0; i < pieces; ++i) run(i);
            } else {
#pragma omp for schedule(dynamic) nowait
                for (std::size_t i = 0; i < pieces; ++i) run(i);
            }
            if constexpr (polls) {
                // The caller may be done long before the others (static chunks of unequal cost): it goes on asking `stop`
                // here, because the barrier below listens to nobody.
                state.done.fetch_add(1, std::memory_order_relaxed);
                if (!elsewhere && omp_get_thread_num() == 0) {
                    const int members = omp_get_num_threads();
                    for (int spins = 0; state.done.load(std::memory_order_relaxed) < members; ++spins) {
                        std::this_thread::yield();
                        if (spins < 4000) continue;  // a millisecond or so: as long as the barrier itself would spin
                        detail::poll(state, stop);
                        std::this_thread::sleep_for(std::chrono::microseconds(200));
                    }
                }
            }
        }  // barrier: everything the chunks wrote is visible from here on
    };
    if (!elsewhere) {
        region();
    } else {  // a new thread has no workers that are gone; `stop` is still asked here
        auto over = std::async(std::launch::async, region);
        while (over.wait_for(std::chrono::milliseconds(10)) != std::future_status::ready)
            if constexpr (polls) detail::poll(state, stop);
    }
    state.rethrow();
#endif
}

}  // namespace tenfold::zero_copy
