// The pools: the same answers as a plain loop at every thread count, errors, cancelling, nesting, many callers.
// TENFOLD_STRESS=long runs >= 1e7 operations.
#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <latch>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <tenfold/adaptive.hpp>
#include <tenfold/plain_pool.hpp>
#include <tenfold/task_group.hpp>
#include <tenfold/task_queue.hpp>
#include <tenfold/thread_pool.hpp>

#include "tenfold_testing.hpp"

using tenfold::batch_options;
using tenfold::plain_pool;
using tenfold::pool_worker;
using tenfold::sharing;
using tenfold::stopped;
using tenfold::task_group;
using tenfold::thread_pool;
using tenfold_testing::run_threads;
using tenfold_testing::thread_counts;

namespace {

bool long_form() {
    const char* stress = std::getenv("TENFOLD_STRESS");
    return stress != nullptr && std::strcmp(stress, "long") == 0;
}

std::int64_t fib(pool_worker& worker, int n) {
    if (n < 2) return n;
    const auto [a, b] =
        worker.join([&](pool_worker& w) { return fib(w, n - 1); }, [&](pool_worker& w) { return fib(w, n - 2); });
    return a + b;
}
std::int64_t fib(thread_pool& pool, int n) {
    if (n < 2) return n;
    const auto [a, b] = pool.join([&] { return fib(pool, n - 1); }, [&] { return fib(pool, n - 2); });
    return a + b;
}
std::int64_t fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

}  // namespace

TEST_CASE("thread counts are checked") {
    CHECK_THROWS_AS(thread_pool(0), std::invalid_argument);
    CHECK_THROWS_AS(thread_pool(-1), std::invalid_argument);
    CHECK_THROWS_AS(thread_pool(1025), std::invalid_argument);
    CHECK_THROWS_AS(plain_pool(0), std::invalid_argument);
    CHECK_THROWS_AS(plain_pool(1025), std::invalid_argument);
    CHECK(thread_pool(3).size() == 3);
    CHECK(thread_pool::current() == nullptr);
}

TEST_CASE("fork-join gives the sequential answer, from inside and outside") {
    const int n = long_form() ? 34 : 20;
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        CHECK(pool.run([&](pool_worker& w) { return fib(w, n); }) == fib(n));
        CHECK(fib(pool, 15) == fib(15));  // the first join comes from outside
        auto [nothing, text] = pool.join([] {}, [] { return std::string("b"); });
        static_assert(std::is_same_v<decltype(nothing), std::monostate>);
        CHECK(text == "b");
    }
}

TEST_CASE("run: results, void, move-only, exceptions, nested runs") {
    thread_pool pool(2);
    CHECK(pool.run([] { return 7; }) == 7);
    CHECK(*pool.run([] { return std::make_unique<int>(3); }) == 3);
    int touched = 0;
    pool.run([&] { touched = 1; });
    CHECK(touched == 1);
    CHECK_THROWS_AS(pool.run([]() -> int { throw std::out_of_range("x"); }), std::out_of_range);
    CHECK_THROWS_AS(pool.run([] { throw std::out_of_range("x"); }), std::out_of_range);
    CHECK(pool.run([&] { return pool.run([&] { return pool.run([] { return 5; }); }); }) == 5);
    CHECK(pool.run([&] { return thread_pool::current() != nullptr; }));
    thread_pool other(1);
    CHECK(pool.run([&] { return other.run([&] { return pool.run([] { return 9; }); }); }) == 9);  // two pools, both waited for
}

TEST_CASE("join: an exception of f wins, g that has not begun never runs, one of g comes through") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        for (int i = 0; i < 200; ++i) {
            CHECK_THROWS_AS(pool.join([] { throw std::out_of_range("f"); }, [] { throw std::length_error("g"); }),
                            std::out_of_range);
            CHECK_THROWS_AS(pool.join([] { return 1; }, []() -> int { throw std::length_error("g"); }), std::length_error);
        }
        if (threads == 1) {
            bool ran = false;
            CHECK_THROWS(pool.join([] { throw 1; }, [&] { ran = true; }));
            CHECK_FALSE(ran);
        }
        // Deep inside: everything between is unwound, and the pool is as good as new.
        struct thrower {
            static int go(pool_worker& w, int depth) {
                if (depth == 0) throw std::runtime_error("deep");
                auto [a, b] =
                    w.join([&](pool_worker& v) { return go(v, depth - 1); }, [&](pool_worker& v) { return go(v, depth - 1); });
                return a + b;
            }
        };
        CHECK_THROWS_AS(pool.run([](pool_worker& w) { return thrower::go(w, 10); }), std::runtime_error);
        CHECK(pool.run([](pool_worker& w) { return fib(w, 12); }) == fib(12));
    }
}

TEST_CASE("join inside detached and grouped tasks: what is pushed in between is not confused with the partner") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        std::atomic<int> detached{0};
        const auto sum = pool.run([&](pool_worker& w) {
            auto [a, b] = w.join(
                [&] {
                    for (int i = 0; i < 50; ++i) pool.detach([&] { ++detached; });
                    task_group group(pool);
                    std::atomic<int> here{0};
                    for (int i = 0; i < 50; ++i) group.run([&] { ++here; });
                    group.wait();
                    return here.load();
                },
                [&](pool_worker& v) { return fib(v, 15); });
            return a + b;
        });
        CHECK(sum == 50 + fib(15));
        pool.wait_idle();
        CHECK(detached.load() == 50);
    }
}

TEST_CASE("for_chunks: every index once, both ways of sharing, both pools") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        plain_pool plain(threads);
        for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{63}, std::size_t{64},
                                    std::size_t{1000}, std::size_t{10'007}})
            for (const std::size_t grain : {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{100'000}}) {
                std::vector<int> hits(n, 0);
                const auto body = [&](std::size_t begin, std::size_t end) {
                    for (; begin < end; ++begin) ++hits[begin];
                };
                const auto once = [&] {
                    const bool all = std::all_of(hits.begin(), hits.end(), [](int h) { return h == 1; });
                    std::fill(hits.begin(), hits.end(), 0);
                    return all;
                };
                pool.for_chunks(n, body, tenfold::never_stop{}, {.grain = grain});
                REQUIRE(once());
                pool.for_chunks(n, body, tenfold::never_stop{}, {.grain = grain, .how = sharing::fixed});
                REQUIRE(once());
                pool.run([&] { pool.for_chunks(n, body, tenfold::never_stop{}, {.grain = grain}); });
                REQUIRE(once());
                plain.for_chunks(n, body, tenfold::never_stop{}, grain);
                REQUIRE(once());
            }
    }
}

TEST_CASE("for_chunks: the lowest failing chunk is reported, whatever the sharing") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        plain_pool plain(threads);
        const auto body = [](std::size_t begin, std::size_t end) {
            for (; begin < end; ++begin)
                if (begin % 100 == 37) throw std::out_of_range(std::to_string(begin));
        };
        const auto message = [&](auto call) {
            try {
                call();
            } catch (const std::out_of_range& error) {
                return std::string(error.what());
            }
            return std::string("none");
        };
        for (int i = 0; i < 20; ++i) {
            CHECK(message([&] { pool.for_chunks(1000, body, tenfold::never_stop{}, {.grain = 3}); }) == "37");
            CHECK(message([&] { pool.for_chunks(1000, body, tenfold::never_stop{}, {.grain = 3, .how = sharing::fixed}); }) ==
                  "37");
            CHECK(message([&] { pool.run([&] { pool.for_chunks(1000, body, tenfold::never_stop{}, {.grain = 3}); }); }) ==
                  "37");
            CHECK(message([&] { plain.for_chunks(1000, body, tenfold::never_stop{}, 3); }) == "37");
        }
    }
}

TEST_CASE("for_chunks: stop is asked on the calling thread only and ends the batch") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        plain_pool plain(threads);
        const auto slow = [](std::size_t, std::size_t) { std::this_thread::sleep_for(std::chrono::milliseconds(1)); };
        const auto check = [&](auto call) {
            const auto me = std::this_thread::get_id();
            bool elsewhere = false;
            int asked = 0;
            CHECK_THROWS_AS(call([&] {
                                elsewhere |= std::this_thread::get_id() != me;
                                return ++asked >= 2;
                            }),
                            stopped);
            CHECK_FALSE(elsewhere);
        };
        check([&](auto stop) { pool.for_chunks(100'000, slow, stop, {.grain = 1}); });
        check([&](auto stop) { pool.for_chunks(100'000, slow, stop, {.grain = 1, .how = sharing::fixed}); });
        check([&](auto stop) { plain.for_chunks(100'000, slow, stop, 1); });
        // Inside a task the caller is a worker: it is asked while it works and while it waits for what was stolen.
        std::atomic<int> asked{0}, elsewhere{0};
        CHECK_THROWS_AS(pool.run([&](pool_worker& w) {
            pool.for_chunks(100'000, slow,
                            [&] {
                                elsewhere += thread_pool::current() != &w;
                                return ++asked >= 20;
                            },
                            {.grain = 1});
        }),
                        stopped);
        CHECK(elsewhere == 0);
        asked = 0;
        CHECK_THROWS_AS(pool.run([&] {
            pool.for_chunks(100'000, slow, [&] { return ++asked >= 3; }, {.grain = 1, .how = sharing::fixed});
        }),
                        stopped);
        // A stop that throws ends the batch with its own exception.
        CHECK_THROWS_AS(pool.for_chunks(100'000, slow, []() -> bool { throw std::domain_error("stop"); }, {.grain = 1}),
                        std::domain_error);
        std::vector<int> hits(100, 0);
        pool.for_chunks(100, [&](std::size_t b, std::size_t e) {
            while (b < e) ++hits[b++];
        });
        CHECK(std::count(hits.begin(), hits.end(), 1) == 100);
    }
}

TEST_CASE("the trace has one interval per chunk, and workers do not overlap themselves") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        for (const auto how : {sharing::stealing, sharing::fixed}) {
            tenfold::task_trace trace(threads, 64);
            pool.for_chunks(100, [](std::size_t, std::size_t) {}, tenfold::never_stop{},
                            {.grain = 3, .how = how, .trace = &trace});
            const auto all = trace.intervals();
            REQUIRE(all.size() == 34);
            std::set<std::size_t> tasks;
            std::vector<std::int64_t> free_from(static_cast<std::size_t>(threads), -1);
            for (const auto& interval : all) {
                tasks.insert(interval.task);
                REQUIRE(interval.worker >= 0);
                REQUIRE(interval.worker < threads);
                REQUIRE(interval.begin_ns <= interval.end_ns);
                REQUIRE(interval.begin_ns >= free_from[static_cast<std::size_t>(interval.worker)]);
                free_from[static_cast<std::size_t>(interval.worker)] = interval.end_ns;
                if (how == sharing::fixed && threads == 2) REQUIRE(interval.worker == (interval.task < 51 ? 0 : 1));
            }
            CHECK(tasks.size() == 34);
        }
    }
}

TEST_CASE("broadcast runs once on every worker, at the same time") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        std::vector<int> hits(static_cast<std::size_t>(threads), 0);
        for (int round = 0; round < 100; ++round) {
            std::latch all(threads);  // passes only if all are inside together
            pool.broadcast([&](int i) {
                all.arrive_and_wait();
                ++hits[static_cast<std::size_t>(i)];
            });
        }
        CHECK(std::count(hits.begin(), hits.end(), 100) == threads);
        pool.run([&] { pool.broadcast([&](int i) { ++hits[static_cast<std::size_t>(i)]; }); });
        CHECK(std::count(hits.begin(), hits.end(), 101) == threads);
        try {
            pool.broadcast([](int i) { throw i; });
            FAIL("no exception");
        } catch (int lowest) {
            CHECK(lowest == 0);
        }
    }
    thread_pool many(40);  // more letters than fit on the stack
    std::atomic<int> count{0};
    many.broadcast([&](int) { ++count; });
    CHECK(count == 40);
}

TEST_CASE("yield_work: what is queued can be stolen during a long leaf") {
    thread_pool pool(2);
    std::atomic<int> began{0};
    // The two halves of the inner join wait for each other: possible only if one is stolen while the other already runs.
    pool.run([&](pool_worker& w) {
        w.join(
            [&] {
                w.join(
                    [&] {
                        thread_pool::yield_work();
                        ++began;
                        while (began < 2) std::this_thread::yield();
                    },
                    [&] {
                        ++began;
                        while (began < 2) std::this_thread::yield();
                    });
            },
            [&] {});
    });
    CHECK(began == 2);
}

TEST_CASE("futures: values, void, exceptions, waiting, one get") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        auto number = pool.submit([] { return 42; });
        auto nothing = pool.submit([] {});
        auto owner = pool.submit([p = std::make_unique<int>(8)] { return *p; });
        auto error = pool.submit([]() -> int { throw std::out_of_range("task"); });
        CHECK(number.valid());
        CHECK(number.get() == 42);
        CHECK_FALSE(number.valid());
        CHECK_THROWS_AS(number.get(), std::future_error);
        nothing.get();
        CHECK(owner.get() == 8);
        error.wait();
        CHECK(error.ready());
        CHECK_THROWS_AS(error.get(), std::out_of_range);

        std::atomic<bool> go{false};
        auto slow = pool.submit([&] {
            while (!go) std::this_thread::yield();
            return 1;
        });
        CHECK_FALSE(slow.wait_for(std::chrono::milliseconds(5)));
        int asked = 0;
        CHECK_THROWS_AS(slow.get([&] { return ++asked == 1; }), stopped);
        CHECK(slow.valid());
        go = true;
        CHECK(slow.get() == 1);
        CHECK_THROWS_AS(tenfold::task_future<int>().get(), std::future_error);
        static_cast<void>(pool.submit([] { return std::vector<int>(1000); }));  // dropped
    }
}

TEST_CASE("futures: tasks wait for tasks, with fewer workers than waits") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        struct chain {
            static std::int64_t go(thread_pool& p, int depth) {
                if (depth == 0) return 1;
                auto left = p.submit([&p, depth] { return go(p, depth - 1); });
                auto right = p.submit([&p, depth] { return go(p, depth - 1); });
                return left.get() + right.get();
            }
        };
        CHECK(pool.submit([&] { return chain::go(pool, 8); }).get() == 256);
    }
}

TEST_CASE("cancelling: tokens, cancel_pending") {
    thread_pool pool(1);
    std::stop_source source;
    std::atomic<bool> go{false}, inside{false};
    auto first = pool.submit(
        [&](std::stop_token token) {
            inside = true;
            while (!token.stop_requested()) std::this_thread::yield();
            return 5;
        },
        source.get_token());
    auto second = pool.submit([] { return 6; }, source.get_token());
    while (!inside) std::this_thread::yield();
    source.request_stop();
    CHECK(first.get() == 5);  // it had begun: its result counts
    CHECK_THROWS_AS(second.get(), stopped);

    int ran = 0;
    inside = false;
    auto busy = pool.submit([&] {
        inside = true;
        while (!go) std::this_thread::yield();
    });
    while (!inside) std::this_thread::yield();
    auto dropped = pool.submit([&] { ++ran; });
    pool.detach([&] { ++ran; });
    pool.cancel_pending();
    go = true;
    busy.get();
    CHECK_THROWS_AS(dropped.get(), stopped);
    pool.shutdown();
    CHECK(ran == 0);
}

TEST_CASE("detached tasks: all run, errors are counted and the first is kept") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        std::atomic<int> ran{0};
        for (int i = 0; i < 1000; ++i) pool.detach([&] { ++ran; });
        pool.run([&] {
            for (int i = 0; i < 1000; ++i) pool.detach([&ran, big = std::array<char, 200>{}] { ran += 1 + big[7]; });
        });
        pool.wait_idle();
        CHECK(ran == 2000);
        CHECK(pool.take_detached_error() == nullptr);
        for (int i = 0; i < 10; ++i) pool.detach([] { throw std::out_of_range("detached"); });
        pool.wait_idle();
        CHECK(pool.counters().detached_errors == 10);
        CHECK_THROWS_AS(std::rethrow_exception(pool.take_detached_error()), std::out_of_range);
        CHECK(pool.take_detached_error() == nullptr);
    }
}

TEST_CASE("task_group: flat, nested, from outside, errors cancel the rest, reuse") {
    const int n = long_form() ? 2'000'000 : 20'000;
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        const auto flat = [&] {
            task_group group(pool);
            std::atomic<int> ran{0};
            for (int round = 0; round < 2; ++round) {
                for (int i = 0; i < n; ++i) group.run([&] { ran.fetch_add(1, std::memory_order_relaxed); });
                group.wait();
                if (ran != (round + 1) * n) return false;
            }
            return true;
        };
        CHECK(pool.run(flat));
        CHECK(flat());
        struct tree {
            static void grow(task_group& group, std::atomic<int>& leaves, int depth) {
                if (depth == 0) {
                    ++leaves;
                    return;
                }
                for (int i = 0; i < 2; ++i) group.run([&, depth] { grow(group, leaves, depth - 1); });
            }
        };
        for (int round = 0; round < 5; ++round) {
            std::atomic<int> leaves{0};
            task_group outside(pool);
            tree::grow(outside, leaves, 9);
            outside.wait();
            CHECK(leaves == 512);
            leaves = 0;
            pool.run([&] {
                task_group inside(pool);
                tree::grow(inside, leaves, 9);
                inside.wait();
            });
            CHECK(leaves == 512);
        }
        std::atomic<int> after{0};
        task_group failing(pool);
        failing.run([] { throw std::out_of_range("group"); });
        CHECK_THROWS_AS(failing.wait(), std::out_of_range);
        failing.run([&] { ++after; });
        failing.wait();
        CHECK(after == 1);
        failing.cancel();
        failing.run([&] { ++after; });
        CHECK_THROWS_AS(failing.wait(), stopped);
        CHECK(after == 1);
        {
            task_group left_alone(pool);
            for (int i = 0; i < 100; ++i) left_alone.run([&] { ++after; });
        }  // waits, drops what has not begun
        std::stop_source source;
        task_group with_token(pool, source.get_token());
        source.request_stop();
        with_token.run([&] { after = 1000; });
        CHECK_THROWS_AS(with_token.wait(), stopped);
        CHECK(after < 1000);
        if (threads > 1) CHECK_THROWS_AS(pool.run([&] { with_token.wait(); }), std::logic_error);
    }
}

TEST_CASE("a queue that never ends does not keep callers from outside waiting") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        std::atomic<bool> end{false};
        struct endless {
            thread_pool& pool;
            std::atomic<bool>& end;
            void operator()() const {
                if (!end) pool.detach(*this);
            }
        };
        for (int i = 0; i < threads; ++i) pool.detach(endless{pool, end});
        CHECK(pool.run([] { return 3; }) == 3);
        std::atomic<int> heard{0};
        pool.broadcast([&](int) { ++heard; });
        CHECK(heard == threads);
        end = true;
        pool.wait_idle();
    }
}

TEST_CASE("task_group: stop during wait") {
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        const auto stops = [&] {
            task_group group(pool);
            for (int i = 0; i < 5000; ++i) group.run([] { std::this_thread::sleep_for(std::chrono::milliseconds(1)); });
            int asked = 0;
            try {
                group.wait([&] { return ++asked >= 2; });
            } catch (const stopped&) {
                return true;
            }
            return false;
        };
        CHECK(stops());
        CHECK(pool.run(stops));
    }
}

TEST_CASE("many threads from outside use one pool at once") {
    const int rounds = long_form() ? 20'000 : 60;
    for (const int threads : thread_counts) {
        thread_pool pool(threads);
        std::atomic<int> wrong{0};
        std::atomic<int> detached{0};
        run_threads(7, [&](int me) {
            std::vector<int> hits(500);
            for (int round = 0; round < rounds; ++round) {
                std::fill(hits.begin(), hits.end(), 0);
                pool.for_chunks(hits.size(),
                                [&](std::size_t b, std::size_t e) {
                                    while (b < e) ++hits[b++];
                                },
                                tenfold::never_stop{},
                                {.grain = 10, .how = (round + me) % 3 == 0 ? sharing::fixed : sharing::stealing});
                wrong += std::count(hits.begin(), hits.end(), 1) != 500;
                wrong += fib(pool, 8) != 21;
                auto future = pool.submit([me] { return me; });
                pool.detach([&] { ++detached; });
                wrong += future.get() != me;
                pool.broadcast([&](int) {});
            }
        });
        CHECK(wrong == 0);
        pool.wait_idle();
        CHECK(detached == 7 * rounds);
    }
}

TEST_CASE("stealing happens, and is counted") {
    thread_pool pool(2);
    // Each half waits for the other, so both workers must take part.
    std::atomic<int> inside{0};
    pool.join(
        [&] {
            ++inside;
            while (inside < 2) std::this_thread::yield();
        },
        [&] {
            ++inside;
            while (inside < 2) std::this_thread::yield();
        });
    const auto total = pool.counters();
    CHECK(total.steals >= 1);
    CHECK(total.published >= 1);
    CHECK(total.executed >= 2);
    CHECK(pool.counters(0).steals + pool.counters(1).steals == total.steals);
    CHECK_THROWS_AS(pool.counters(2), std::out_of_range);
}

TEST_CASE("task_queue: drains once, puts back on failure, shared by several calls") {
    for (const int threads : thread_counts) {
        std::vector<std::int64_t> items(5000);
        std::iota(items.begin(), items.end(), 0);
        tenfold::task_queue<std::int64_t> queue(items);
        CHECK(queue.remaining() == 5000);
        CHECK_THROWS_AS(queue.process(threads,
                                      [](std::int64_t x) -> int {
                                          if (x == 3777) throw std::out_of_range("x");
                                          return 0;
                                      }),
                        std::out_of_range);
        CHECK(queue.remaining() == 5000);
        CHECK_THROWS_AS(queue.process(
                            threads,
                            [](std::int64_t x) {
                                std::this_thread::sleep_for(std::chrono::microseconds(100));
                                return x;
                            },
                            [] { return true; }),
                        stopped);
        CHECK(queue.remaining() == 5000);
        std::vector<std::vector<std::int64_t>> parts(3);
        run_threads(3, [&](int me) {
            parts[static_cast<std::size_t>(me)] = queue.process(threads, [](std::int64_t x) { return x * x; });
        });
        std::vector<std::int64_t> all, expected;
        for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
        for (const auto x : items) expected.push_back(x * x);
        std::sort(all.begin(), all.end());
        CHECK(all == expected);
        CHECK(queue.remaining() == 0);
        CHECK(queue.process(threads, [](std::int64_t x) { return x; }).empty());
    }
    CHECK_THROWS_AS(tenfold::task_queue<int>({1}).process(0, [](int x) { return x; }), std::invalid_argument);
}

namespace {

// A clock that a test moves: measuring is deterministic.
struct hand_clock {
    using duration = std::chrono::nanoseconds;
    using time_point = std::chrono::time_point<hand_clock, duration>;
    static inline duration at{0};
    static time_point now() { return time_point(at); }
};

}  // namespace

TEST_CASE("adaptive: the rule, the measuring, the whole") {
    using namespace std::chrono_literals;
    CHECK(tenfold::choose_threads(0.0, 0, 8) == 1);
    CHECK(tenfold::choose_threads(100e-6, 1000, 8) == 1);  // less than one thread start is worth
    CHECK(tenfold::choose_threads(1.0, 1000, 8) == 8);
    CHECK(tenfold::choose_threads(1.0, 3, 8) == 3);
    CHECK(tenfold::choose_threads(500e-6, 1000, 8) == 2);
    std::size_t done = 0;
    const auto costing = [&](auto per_task) {
        return [&done, per_task](std::size_t begin, std::size_t end) {
            done += end - begin;
            hand_clock::at += per_task * (end - begin);
        };
    };
    auto choice = tenfold::measure_tasks(1'000'000, 4, costing(10ns), tenfold::never_stop{}, {}, hand_clock{});
    CHECK(choice.threads == 4);
    CHECK(choice.measured == done);
    CHECK(choice.measured < 100'000);
    choice = tenfold::measure_tasks(1000, 4, costing(10ns), tenfold::never_stop{}, {}, hand_clock{});
    CHECK(choice.threads == 1);
    CHECK(choice.measured == 1000);
    choice = tenfold::measure_tasks(100, 64, costing(1ms), tenfold::never_stop{}, {}, hand_clock{});
    CHECK(choice.measured == 1);
    CHECK(choice.threads == 64);
    CHECK(tenfold::measure_tasks(0, 4, costing(1ms), tenfold::never_stop{}, {}, hand_clock{}).threads == 1);
    CHECK_THROWS_AS(tenfold::measure_tasks(10, 0, costing(1ms)), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::measure_tasks(10, 1, costing(1ms), [] { return true; }), stopped);

    for (const int threads : thread_counts)
        for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{1000}, std::size_t{200'000}}) {
            std::vector<int> hits(n, 0);
            const auto made = tenfold::adaptive_for(n, threads,
                                                    [&](std::size_t b, std::size_t e) {
                                                        while (b < e) ++hits[b++];
                                                    },
                                                    tenfold::never_stop{}, {.start_thread = 1e-9, .measure = 1e-6});
            CHECK(made.threads >= 1);
            CHECK(made.threads <= threads);
            CHECK(static_cast<std::size_t>(std::count(hits.begin(), hits.end(), 1)) == n);
        }
}
