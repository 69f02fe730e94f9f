// The life of a pool: destruction while busy, shutdown, fork, no CPU when idle, no allocation per task.
#undef NDEBUG  // what a debug build refuses is tested, too

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <tenfold/plain_pool.hpp>
#include <tenfold/task_group.hpp>
#include <tenfold/thread_pool.hpp>

#include "tenfold_testing.hpp"

using tenfold::plain_pool;
using tenfold::pool_worker;
using tenfold::task_group;
using tenfold::thread_pool;
using tenfold_testing::run_child;
using tenfold_testing::run_threads;
using tenfold_testing::thread_counts;

// Every allocation of the program is counted; not under the sanitizers, which have operators of their own.
#if !defined(TENFOLD_POOL_TSAN) && !defined(__SANITIZE_ADDRESS__)
#define COUNTS_ALLOCATIONS 1
#endif
#ifdef COUNTS_ALLOCATIONS
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"  // inlined, GCC sees free() and misses that new is ours as well
#endif
namespace {
std::atomic<std::int64_t> allocations{0};
void* counted(std::size_t size, std::size_t alignment) {
    allocations.fetch_add(1, std::memory_order_relaxed);
    void* memory = nullptr;
    if (::posix_memalign(&memory, std::max(alignment, sizeof(void*)), size == 0 ? 1 : size) != 0) throw std::bad_alloc();
    return memory;
}
}  // namespace
void* operator new(std::size_t size) { return counted(size, alignof(std::max_align_t)); }
void* operator new[](std::size_t size) { return counted(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) { return counted(size, static_cast<std::size_t>(alignment)); }
void* operator new[](std::size_t size, std::align_val_t alignment) {
    return counted(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
#endif

namespace {

std::int64_t fib(pool_worker& worker, int n) {
    if (n < 2) return n;
    const auto [a, b] =
        worker.join([&](pool_worker& w) { return fib(w, n - 1); }, [&](pool_worker& w) { return fib(w, n - 2); });
    return a + b;
}

double process_cpu_seconds() {
    timespec time{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

void nap(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

}  // namespace

TEST_CASE("a debug build refuses to join on another thread's worker") {
    const auto nothing = [] {};
    thread_pool pool(2);
    pool.run([&](pool_worker& outer) {
        std::string refused;
        std::jthread([&] {  // where a stolen task is
            try {
                outer.join(nothing, nothing);
            } catch (const std::logic_error& error) {
                refused = error.what();
            }
        })
            .join();
        CHECK(refused.find("pool_worker& mine") != std::string::npos);
        outer.join([&](pool_worker& mine) { mine.join(nothing, nothing); },
                   [&](pool_worker& mine) { mine.join(nothing, nothing); });
    });
}

TEST_CASE("destruction while busy runs everything that was accepted, children included") {
    for (const int threads : thread_counts)
        for (int round = 0; round < 20; ++round) {
            std::atomic<int> ran{0};
            {
                thread_pool pool(threads);
                for (int i = 0; i < 50; ++i)
                    pool.detach([&] {
                        ++ran;
                        for (int j = 0; j < 3; ++j) pool.detach([&] { ++ran; });  // accepted also after shutdown has begun
                    });
            }
            REQUIRE(ran == 200);
        }
    for (const int threads : thread_counts) {
        std::atomic<int> ran{0};
        {
            plain_pool pool(threads);
            for (int i = 0; i < 50; ++i) pool.detach([&] { ++ran; });
        }
        REQUIRE(ran == 50);
    }
}

TEST_CASE("a pool that was never used, and many pools one after the other") {
    for (int i = 0; i < 50; ++i) {
        thread_pool pool(1 + i % 7);
        plain_pool plain(1 + i % 7);
        CHECK((pool.size() == 1 + i % 7 && plain.size() == 1 + i % 7));
    }
}

TEST_CASE("futures outlive their pool") {
    auto pool = std::make_unique<thread_pool>(2);
    auto future = pool->submit([] { return std::string("kept"); });
    pool.reset();
    CHECK(future.ready());
    CHECK(future.get() == "kept");
}

// With ASan, this failed: a thread that a task's end woke up took the lock of a pool that was gone.
TEST_CASE("the pool is destroyed while other threads wait for its futures") {
    for (int round = 0; round < 40; ++round) {
        auto pool = std::make_unique<thread_pool>(2);
        std::atomic<bool> begin{false};
        std::vector<tenfold::task_future<int>> futures;
        for (int i = 0; i < 40; ++i)
            futures.push_back(pool->submit([&] {
                while (!begin) nap(1);
                return 42;
            }));
        std::atomic<int> right{0};
        std::vector<std::jthread> threads;
        for (auto& future : futures) threads.emplace_back([&] { right += future.get() == 42; });
        nap(2);  // they sleep
        begin = true;
        pool.reset();
        threads.clear();
        REQUIRE(right == 40);
    }
}

TEST_CASE("futures are moved, not copied; waiting for the longest time there is") {
    static_assert(!std::is_copy_constructible_v<tenfold::task_future<int>>);
    static_assert(!std::is_copy_assignable_v<tenfold::task_future<void>>);
    static_assert(std::is_nothrow_move_constructible_v<tenfold::task_future<int>>);
    thread_pool pool(1);
    auto future = pool.submit([] { nap(50); });
    CHECK_FALSE(future.wait_for(std::chrono::nanoseconds::min()));
    CHECK(future.wait_for(std::chrono::nanoseconds::max()));
    tenfold::pool_options options;
    options.idle_spin = std::chrono::nanoseconds::max();  // search and never sleep
    thread_pool eager(1, options);
    CHECK(eager.submit([] { return 1; }).get() == 1);
}

TEST_CASE("stop() ends a call from outside that no worker has begun") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        std::atomic<bool> end{false};
        std::atomic<int> busy{0}, ran{0};
        for (int i = 0; i < threads; ++i)
            pool.detach([&] {
                ++busy;
                while (!end) nap(1);
            });
        while (busy < threads) nap(1);
        int asked = 0;
        const auto soon = [&] { return ++asked > 1; };
        CHECK_THROWS_AS(pool.run([&] { ++ran; }, soon), tenfold::stopped);
        asked = 0;
        CHECK_THROWS_AS(pool.for_chunks(9, [&](std::size_t, std::size_t) { ++ran; }, soon), tenfold::stopped);
        asked = 0;
        CHECK_THROWS_AS(pool.wait_idle(soon), tenfold::stopped);
        end = true;
        pool.wait_idle();  // what was taken back counts as finished
        CHECK(ran == 0);
        pool.run([&] { ++ran; }, [] { return false; });
        CHECK(ran == 1);
    }
}

TEST_CASE("stop() races with the worker that begins the call: it runs wholly or not at all") {
    thread_pool pool(2);
    int ran = 0, refused = 0;
    for (int round = 0; round < 300; ++round) {
        std::atomic<int> busy{0};
        for (int i = 0; i < 2; ++i)
            pool.detach([&busy, round] {
                ++busy;
                std::this_thread::sleep_for(std::chrono::microseconds(20 * (round % 20)));
            });
        while (busy < 2) std::this_thread::yield();
        int value = 0;
        try {
            pool.run([&] { value = 1; }, [] { return true; });
            REQUIRE(value == 1);
            ++ran;
        } catch (const tenfold::stopped&) {
            ++refused;
        }
        pool.wait_idle();
    }
    CHECK(ran + refused == 300);
}

TEST_CASE("stop() ends the wait of shutdown(), not the work") {
    thread_pool pool(2);
    std::atomic<bool> end{false};
    std::atomic<int> ran{0};
    pool.detach([&] {
        while (!end) nap(1);
        pool.detach([&] { ++ran; });
    });
    int asked = 0;
    CHECK_THROWS_AS(pool.shutdown([&] { return ++asked > 1; }), tenfold::stopped);
    CHECK(pool.is_shut_down());
    CHECK_THROWS_AS(pool.detach([] {}), std::runtime_error);
    run_threads(3, [&](int me) {
        if (me == 0) {
            nap(20);
            end = true;
        } else if (me == 1) {
            pool.shutdown();
        } else {
            try {
                pool.shutdown([] { return true; });
            } catch (const tenfold::stopped&) {
            }
        }
    });
    CHECK(ran == 1);
}

TEST_CASE("shutdown: refuses, twice and from several threads, not from inside") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        plain_pool plain(threads);
        CHECK_THROWS_AS(pool.run([&] { pool.shutdown(); }), std::logic_error);
        CHECK_THROWS_AS(pool.run([&] { pool.wait_idle(); }), std::logic_error);
        CHECK_THROWS_AS(plain.submit([&] { plain.shutdown(); }).get(), std::logic_error);
        std::atomic<int> ran{0};
        for (int i = 0; i < 100; ++i) {
            pool.detach([&] { ++ran; });
            plain.detach([&] { ++ran; });
        }
        std::atomic<int> early{0};
        run_threads(4, [&](int) {
            pool.shutdown();
            plain.shutdown();
            early += ran != 200;
        });
        CHECK(early == 0);
        pool.shutdown();
        CHECK(pool.is_shut_down());
        CHECK_THROWS_AS(pool.run([] {}), std::runtime_error);
        CHECK_THROWS_AS(pool.join([] {}, [] {}), std::runtime_error);
        CHECK_THROWS_AS(pool.submit([] {}), std::runtime_error);
        CHECK_THROWS_AS(pool.detach([] {}), std::runtime_error);
        CHECK_THROWS_AS(pool.broadcast([](int) {}), std::runtime_error);
        CHECK_THROWS_AS(pool.for_chunks(0, [](std::size_t, std::size_t) {}), std::runtime_error);
        CHECK_THROWS_AS(pool.for_chunks(9, [](std::size_t, std::size_t) {}), std::runtime_error);
        pool.wait_idle();
        task_group group(pool);
        CHECK_THROWS_AS(group.run([] {}), std::runtime_error);
        group.wait();
        CHECK_THROWS_AS(plain.submit([] {}), std::runtime_error);
        CHECK_THROWS_AS(plain.for_chunks(9, [](std::size_t, std::size_t) {}), std::runtime_error);
    }
}

TEST_CASE("shutdown while others use the pool: each call works or is refused") {
    for (int round = 0; round < 30; ++round) {
        thread_pool pool(2);
        std::atomic<std::int64_t> accepted{0}, ran{0}, wrong{0};
        run_threads(5, [&](int me) {
            if (me == 0) {
                while (ran < 20) std::this_thread::yield();
                pool.shutdown();
                return;
            }
            try {
                for (;;) {
                    pool.detach([&] { ++ran; });
                    ++accepted;
                    std::vector<int> hits(64, 0);
                    pool.for_chunks(64,
                                    [&](std::size_t b, std::size_t e) {
                                        while (b < e) ++hits[b++];
                                    },
                                    tenfold::never_stop{}, {.grain = 8});
                    wrong += std::count(hits.begin(), hits.end(), 1) != 64;
                    pool.broadcast([](int) {});
                }
            } catch (const std::runtime_error&) {
            }
        });
        CHECK(wrong == 0);
        CHECK(ran == accepted);
    }
}

TEST_CASE("start and stop hooks run on the workers") {
    std::atomic<int> started{0}, stopped{0};
    {
        tenfold::pool_options options;
        options.on_start = [&](int i) { started += 1 + (thread_pool::current()->index() != i) * 100; };
        options.on_stop = [&](int) { ++stopped; };
        thread_pool pool(3, options);
        pool.broadcast([](int) {});
        CHECK(started == 3);
    }
    CHECK(stopped == 3);
}

// A spin that never ends would use the whole window; what is measured is CPU time, not how long anything takes. The window
// opens 5 ms after the work; the best of a few, because a loaded machine may let the workers' 50 us spin come late.
TEST_CASE("an idle pool uses no CPU") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        double least = 1.0;
        for (int attempt = 0; attempt < 5 && least > 0.002; ++attempt) {
            pool.run([](pool_worker& w) { return fib(w, 15); });
            nap(5);
            const double before = process_cpu_seconds();
            nap(100);
            least = std::min(least, process_cpu_seconds() - before);
        }
        CHECK(least <= 0.002);
        // The same while somebody waits: a caller with stop() (it looks 20 times a second), workers beside a sleeping task.
        least = 1.0;
        for (int attempt = 0; attempt < 5 && least > 0.003; ++attempt) {
            pool.run(
                [&] {
                    const double before = process_cpu_seconds();
                    nap(100);
                    least = std::min(least, process_cpu_seconds() - before);
                },
                [] { return false; });
        }
        CHECK(least <= 0.003);
    }
}

#ifdef COUNTS_ALLOCATIONS
TEST_CASE("nothing is allocated per fork, per chunk, or per task once warm") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        const auto count = [&](auto work) {
            work();
            work();  // warm: deques grown, blocks made
            std::int64_t least = INT64_MAX;
            for (int i = 0; i < 5; ++i) {
                const std::int64_t before = allocations.load();
                work();
                least = std::min(least, allocations.load() - before);
            }
            return least;
        };
        // The queue for jobs from outside may take one block from the allocator every 64 jobs: that is not per task.
        CHECK(count([&] { pool.run([](pool_worker& w) { return fib(w, 18); }); }) <= 1);
        std::vector<double> data(100'000, 3.0);
        CHECK(count([&] {
                  pool.for_chunks(data.size(),
                                  [&](std::size_t b, std::size_t e) {
                                      while (b < e) data[b++] += 1.0;
                                  },
                                  tenfold::never_stop{}, {.grain = 10});
              }) <= 1);
        CHECK(count([&] { pool.broadcast([](int) {}); }) <= 1);
        std::atomic<int> ran{0};
        // Which worker's list holds the free blocks is chance: a few slabs of 64 may be added, 5000 allocations may not.
        CHECK(count([&] {
                  pool.run([&] {
                      task_group group(pool);
                      for (int i = 0; i < 5000; ++i) group.run([&] { ran.fetch_add(1, std::memory_order_relaxed); });
                      group.wait();
                  });
              }) <= 20);
        CHECK(count([&] {
                  pool.run([&] {
                      for (int i = 0; i < 5000; ++i) pool.detach([&] { ran.fetch_add(1, std::memory_order_relaxed); });
                  });
                  pool.wait_idle();
              }) <= 20);
    }
}

#endif

#if !defined(TENFOLD_POOL_TSAN)  // which cannot follow a child of a process with threads
TEST_CASE("a child of a process with a pool gets an error, never a hang; a new pool works there") {
    thread_pool pool(3);
    plain_pool plain(3);
    CHECK(pool.run([](pool_worker& w) { return fib(w, 10); }) == 55);
    const auto refuses = [](auto call) {
        try {
            call();
        } catch (const std::runtime_error& error) {
            return std::string(error.what()).find("fork") != std::string::npos;
        }
        return false;
    };
    const int code = run_child(20, [&] {
        if (!refuses([&] { pool.run([] {}); })) return 1;
        if (!refuses([&] { pool.for_chunks(10, [](std::size_t, std::size_t) {}); })) return 2;
        if (!refuses([&] { pool.submit([] {}); })) return 3;
        if (!refuses([&] { pool.detach([] {}); })) return 4;
        if (!refuses([&] { pool.wait_idle(); })) return 5;
        if (!refuses([&] { pool.broadcast([](int) {}); })) return 6;
        if (!refuses([&] { task_group group(pool); })) return 7;
        if (!refuses([&] { plain.submit([] {}); })) return 8;
        if (!refuses([&] { plain.for_chunks(10, [](std::size_t, std::size_t) {}); })) return 9;
        pool.shutdown();
        plain.shutdown();
        thread_pool fresh(2);
        if (fresh.run([](pool_worker& w) { return fib(w, 15); }) != 610) return 10;
        return 0;
    });
    CHECK(code == 0);
    // Destructors in the child join nothing; forked while the workers are busy with locks of their own.
    for (int round = 0; round < 10; ++round) {
        auto busy = std::make_unique<thread_pool>(2);
        auto busy_plain = std::make_unique<plain_pool>(2);
        for (int i = 0; i < 500; ++i) {
            busy->detach([] {});
            busy_plain->detach([] {});
        }
        REQUIRE(run_child(20, [&] {
                    busy.reset();
                    busy_plain.reset();
                    return 0;
                }) == 0);
    }
    CHECK(pool.run([](pool_worker& w) { return fib(w, 12); }) == 144);  // the parent is as before
}

// A fork can copy a lock that some thread held: here one that is never given back.
TEST_CASE("a forked child asks a pool nothing that needs its locks") {
    for (int which = 0; which < 3; ++which) {
        std::atomic<bool> end{false};
        auto pool = std::make_unique<thread_pool>(1);
        auto late = pool->submit([&] {
            while (!end) nap(1);
        });
        std::atomic<bool> over{false};
        // Two threads hold both locks most of the time.
        std::jthread first([&] {
            while (!over) static_cast<void>(pool->is_shut_down());
        });
        std::jthread second([&] {
            while (!over) static_cast<void>(pool->take_detached_error());
        });
        int worst = 0;
        for (int round = 0; round < 30 && worst == 0; ++round)
            worst = run_child(5, [&] {
                if (which == 0) return pool->is_shut_down() ? 0 : 1;
                if (which == 1) return pool->take_detached_error() == nullptr ? 0 : 2;
                try {
                    late.get();
                } catch (const std::runtime_error&) {
                    pool.reset();
                    return 0;
                }
                return 3;
            });
        over = true;
        end = true;
        CHECK(worst == 0);
    }
}
#endif
