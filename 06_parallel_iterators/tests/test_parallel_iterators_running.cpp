// How a pipeline runs: lazily, in one pass, stopping early, with the lowest error, on any executor, after a fork.
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "par_testing.hpp"

using namespace tenfold;
using par_testing::executors;

namespace {

// Throws at and above an item; the lowest must win.
struct failing_from {
    std::size_t first;
    std::size_t operator()(std::size_t i) const {
        if (i >= first) throw std::domain_error("bad " + std::to_string(i));
        return i;
    }
};

template <class Run>
void check_error(std::size_t index, const std::string& what, const Run& run) {
    try {
        run();
        FAIL_CHECK("nothing was thrown");
    } catch (const par_error& error) {
        CHECK(error.index() == index);
        CHECK(error.what() == "item " + std::to_string(index) + ": " + what);
        CHECK(error.original());
        CHECK_THROWS_AS(error.rethrow_original(), std::domain_error);
    }
}

}  // namespace

TEST_CASE("nothing runs before the sink, and then each function once per item, whatever the cuts", "[parallel_iterators]") {
    for (const auto& executor : executors()) {
        std::vector<std::atomic<int>> mapped(100'003), looked(mapped.size()), tested(mapped.size());
        const auto chain = par(indices(mapped.size()), executor) | map([&](std::size_t i) {
                               ++mapped[i];
                               return i;
                           }) |
                           inspect([&](std::size_t i) { ++looked[i]; }) | filter([&](std::size_t i) {
                               ++tested[i];
                               return i % 7 == 0;
                           });
        CHECK(std::all_of(mapped.begin(), mapped.end(), [](const auto& calls) { return calls == 0; }));
        const auto once_more = [&](int times) {
            for (const auto* calls : {&mapped, &looked, &tested})
                CHECK(std::all_of(calls->begin(), calls->end(), [&](const auto& c) { return c == times; }));
        };
        CHECK((chain | count()) == 14287);
        once_more(1);
        CHECK((chain | collect()).size() == 14287);
        once_more(2);
        CHECK((chain | sum()) == std::size_t{7} * 14286 * 14287 / 2);
        once_more(3);
        CHECK((chain | partition([](std::size_t i) { return i < 100; })).yes.size() == 15);
        once_more(4);
        CHECK((chain | group_by(7, [](std::size_t i) { return i % 7; })).offset(1) == 14287);
        once_more(5);
    }
}

TEST_CASE("the lowest error wins, with its index in the source", "[parallel_iterators]") {
    constexpr std::size_t n = 40'000;
    for (const auto& executor : executors())
        for (const std::size_t first : {0u, 1u, 511u, 512u, 4095u, 20'001u, 39'999u}) {
            INFO(executor.name() << ", from item " << first);
            const auto what = "bad " + std::to_string(first);
            const failing_from fails{first};
            const auto start = [&] { return par(indices(n), executor); };
            std::vector<std::size_t> out(n);
            check_error(first, what, [&] { start() | map(fails) | into(out); });
            check_error(first, what, [&] { start() | map(fails) | collect(); });
            check_error(first, what,
                        [&] { start() | map(fails) | map([](std::size_t i) { return std::to_string(i); }) | collect(); });
            check_error(first, what, [&] { start() | map(fails) | sum(); });
            check_error(first, what, [&] { start() | map(fails) | sum_min_max(); });
            check_error(first, what, [&] { start() | map(fails) | count(); });
            check_error(first, what, [&] { start() | for_each(fails); });
            check_error(first, what, [&] { start() | map(fails) | inclusive_scan(std::plus<>{}); });
            check_error(first, what, [&] { start() | map(fails) | partition([](std::size_t) { return true; }); });
            check_error(first, what, [&] { start() | partition([&](std::size_t i) { return fails(i) % 2 == 0; }); });
            check_error(first, what, [&] { start() | map(fails) | reduce(std::size_t{0}, std::plus<>{}); });
            check_error(first, what, [&] { start() | filter([&](std::size_t i) { return fails(i) % 2 == 0; }) | collect(); });
            check_error(first, what, [&] { start() | filter([&](std::size_t i) { return fails(i) % 2 == 0; }) | sum(); });
            check_error(first, what,
                        [&] { start() | flat_map([&](std::size_t i) { return indices(fails(i) % 3); }) | collect(); });
            check_error(first, what, [&] { start() | chain(std::vector<std::size_t>{1}) | map(fails) | collect(); });
            // Dropped before it could fail: the first one that is kept does.
            const std::size_t kept = (first + 6) / 7 * 7;
            if (kept < n)
                check_error(kept, "bad " + std::to_string(kept),
                            [&] { start() | filter([](std::size_t i) { return i % 7 == 0; }) | map(fails) | collect(); });
            // Two stages fail: the item comes first, not the stage.
            const failing_from later{first + 1};
            check_error(first, what,
                        [&] { start() | filter([&](std::size_t i) { return later(i) == i; }) | map(fails) | collect(); });
            check_error(first, what,
                        [&] { start() | filter([&](std::size_t i) { return fails(i) == i; }) | map(later) | collect(); });
        }
}

TEST_CASE("an error of an operation has an index too", "[parallel_iterators]") {
    for (const auto& executor : executors()) {
        const auto plus_to = [](std::size_t limit) {
            return [limit](std::size_t a, std::size_t b) {
                if (a + b > limit) throw std::domain_error("too much");
                return a + b;
            };
        };
        const std::vector<std::size_t> ones(40'000, 1);
        check_error(30'000, "too much", [&] { par(ones, executor) | inclusive_scan(plus_to(30'000)); });
        try {
            par(ones, executor) | reduce(std::size_t{0}, plus_to(300));
            FAIL_CHECK("nothing was thrown");
        } catch (const par_error& error) {
            CHECK(error.index() == 300);
        } catch (const std::domain_error&) {
            // thrown while the blocks' results were combined: no item is to blame
        }
    }
}

TEST_CASE("whether a scan's operation refuses does not depend on who was quicker", "[parallel_iterators]") {
    // Blocks of 128 items. In the second one max - 4 and 5 overflow alone, but not after the -10 of the first.
    std::vector<std::int64_t> x(6400, 0);
    x[0] = -10;
    x[128] = std::numeric_limits<std::int64_t>::max() - 4;
    x[129] = 5;
    auto all = executors();
    all.emplace_back("helpers before the caller", submit_executor(2, [](auto task) { task(); }));
    for (const auto& executor : all) {
        INFO(executor.name());
        try {
            par(x, executor) | inclusive_scan(checked_add);
            FAIL_CHECK("nothing was thrown");
        } catch (const par_error& error) {
            CHECK(error.index() == 129);
        }
        const auto wrapping = par(x, executor) | inclusive_scan(std::plus<>{});
        CHECK(wrapping[6399] == std::numeric_limits<std::int64_t>::max() - 9);
    }
}

TEST_CASE("sizes that no memory holds are refused before anything is written", "[parallel_iterators]") {
    constexpr auto least = std::numeric_limits<std::int64_t>::min(), most = std::numeric_limits<std::int64_t>::max();
    const auto run = [=](std::size_t i) {  // the huge one comes after others in its block
        return i == 1 ? interval<std::int64_t>(least, most) : interval<std::int64_t>(0, 100);
    };
    CHECK_THROWS_AS(par(indices(200), sequential_executor{}) | flat_map(run) | collect(), std::bad_alloc);
    CHECK_THROWS_AS(par(indices(std::size_t{1} << 62)) | collect(), std::bad_alloc);
    const std::vector<int> empty;
    CHECK_THROWS_AS(par(empty) | group_by(std::numeric_limits<std::size_t>::max(), [](int i) { return i; }), std::length_error);
}

TEST_CASE("what an error leaves behind is destroyed, once", "[parallel_iterators]") {
    static std::atomic<int> alive{0};
    struct counted {
        explicit counted(std::size_t) { ++alive; }
        counted(counted&&) noexcept { ++alive; }
        ~counted() { --alive; }
    };
    for (const auto& executor : executors()) {
        const auto make = map([](std::size_t i) { return counted(failing_from{31'000}(i)); });
        CHECK_THROWS_AS(par(indices(40'000), executor) | make | collect(), par_error);
        CHECK(alive == 0);
        CHECK_THROWS_AS(par(indices(40'000), executor) | make | filter([](const counted&) { return true; }) | collect(),
                        par_error);
        CHECK(alive == 0);
        {
            const auto kept = par(indices(30'000), executor) | make | filter([](const counted&) { return true; }) | collect();
            CHECK(alive == 30'000);
        }
        CHECK(alive == 0);
    }
}

TEST_CASE("exceptions of every kind arrive; memory errors as they are", "[parallel_iterators]") {
    for (const auto& executor : executors()) {
        CHECK_THROWS_AS(par(indices(100), executor) | for_each([](std::size_t) { throw std::bad_alloc(); }), std::bad_alloc);
        CHECK_THROWS_AS(par(indices(100), executor) | for_each([](std::size_t) { throw stopped(); }), stopped);
        try {
            par(indices(100), executor) | for_each([](std::size_t) { throw 42; });
        } catch (const par_error& error) {
            CHECK(error.index() == 0);
            CHECK_THROWS_AS(error.rethrow_original(), int);
        }
        const auto inner = [&](std::size_t i) { return par(indices(10)) | map(failing_from{i % 10}) | sum(); };
        try {
            par(indices(100), executor) | map(inner) | sum();
        } catch (const par_error& error) {
            CHECK(error.index() == 0);
            CHECK_THROWS_AS(error.rethrow_original(), par_error);
        }
    }
    CHECK_THROWS_AS(par(std::vector<int>{1}) | windows(0), std::invalid_argument);
    CHECK_THROWS_AS(par(std::vector<int>{1}) | chunks(0), std::invalid_argument);
    std::vector<int> two(2);
    CHECK_THROWS_AS(par(std::vector<int>{1}) | into(two), std::invalid_argument);
    CHECK_THROWS_AS(par(std::vector<int>{1}) | inclusive_scan_into(std::span(two), std::plus<>{}), std::invalid_argument);
    CHECK_THROWS_AS(openmp_executor(0), std::invalid_argument);
}

TEST_CASE("a search stops early", "[parallel_iterators]") {
    constexpr std::size_t n = 10'000'000, here = 1000;
    for (const auto& executor : executors()) {
        INFO(executor.name());
        std::atomic<std::size_t> visited{0};
        std::atomic<bool> reached{false};
        // Whoever is ahead waits for the thread that has the match: the system may hold that one up for long.
        const auto visit = [&](std::size_t i) {
            visited.fetch_add(1, std::memory_order_relaxed);
            if (i == here) reached = true;
            while (i > here && !reached) std::this_thread::yield();
            return i;
        };
        const auto match = [&](std::size_t i) { return visit(i) >= here; };
        const auto stopped_early = [&](auto search) {
            visited = 0;
            reached = false;
            search(par(indices(n), executor));
            CHECK(visited > here);
            CHECK(visited < n / 10);
        };
        stopped_early([&](auto items) { CHECK((items | find_first(match)) == here); });
        stopped_early([&](auto items) { CHECK((items | any(match))); });
        stopped_early([&](auto items) { CHECK_FALSE((items | none(match))); });
        stopped_early([&](auto items) { CHECK_FALSE((items | map(match) | all([](bool above) { return !above; }))); });
        // An error ends the work as a match does. One item fails, so that no other thread ends for a reason of its own.
        const auto fails = [&](std::size_t i) {
            if (visit(i) == here) throw std::domain_error("here");
            return i;
        };
        stopped_early([&](auto items) { CHECK_THROWS_AS(items | map(fails) | count(), par_error); });
    }
}

TEST_CASE("match and error: whichever comes first in index order decides", "[parallel_iterators]") {
    for (const auto& executor : executors())
        for (const std::size_t at : {100u, 5000u, 39'000u}) {
            const auto search = [&](std::size_t match, std::size_t error) {
                return par(indices(40'000), executor) | map(failing_from{error}) |
                       find_first([match](std::size_t i) { return i == match; });
            };
            CHECK(search(at, at + 1) == at);
            CHECK(search(at, 39'999) == at);
            check_error(at, "bad " + std::to_string(at), [&] { search(at + 1, at); });
            const auto filtered = [&](std::size_t match, std::size_t error) {
                return par(indices(40'000), executor) | filter([error](std::size_t i) { return failing_from{error}(i) == i; }) |
                       find_first([match](std::size_t i) { return i == match; });
            };
            CHECK(filtered(at, at + 1) == at);
            check_error(at, "bad " + std::to_string(at), [&] { filtered(at + 1, at); });
        }
}

TEST_CASE("stop is asked on the calling thread only, and ends the work", "[parallel_iterators]") {
    const auto caller = std::this_thread::get_id();
    for (const auto& executor : executors()) {
        INFO(executor.name());
        std::atomic<int> elsewhere{0}, items_done{0};
        int asked = 0;
        const auto stop = [&] {
            if (std::this_thread::get_id() != caller) ++elsewhere;
            return ++asked > 20;
        };
        const auto slow = [&](std::size_t i) {
            ++items_done;
            std::this_thread::sleep_for(std::chrono::microseconds(200));
            return i;
        };
        CHECK_THROWS_AS(par(indices(1'000'000), executor, stop) | map(slow) | sum(), stopped);
        CHECK(elsewhere == 0);
        CHECK(items_done < 100'000);
        CHECK_THROWS_AS(par(indices(10), executor, [] { return true; }) | count(), stopped);
        CHECK_THROWS_AS(
            par(indices(1'000'000), executor, [&]() -> bool { throw std::length_error("from stop"); }) | map(slow) | sum(),
            std::length_error);
    }
}

TEST_CASE("the caller asks stop while it waits for a long item of somebody else", "[parallel_iterators]") {
    const auto caller = std::this_thread::get_id();
    std::atomic<bool> asked_while_waiting{false}, helper_inside{false};
    const auto stop = [&] {
        if (helper_inside) asked_while_waiting = true;
        return false;
    };
    par_testing::small_pool pool(1);
    const tenfold::submit_executor two(2, [&](std::function<void()> task) { pool.add(std::move(task)); });
    const par_testing::any_executor executor("pool", two);
    par(indices(64), executor, stop) | for_each([&](std::size_t i) {
        if (std::this_thread::get_id() == caller) {
            while (i != 0 && !helper_inside) std::this_thread::yield();  // leaves it an item
        } else if (!helper_inside.exchange(true)) {
            while (!asked_while_waiting) std::this_thread::yield();  // returns only when the caller has asked
        }
    });
    CHECK(asked_while_waiting);
}

TEST_CASE("several threads take part, and a few costly items are shared out", "[parallel_iterators]") {
    for (const auto& executor : executors()) {
        if (executor.concurrency() < 2) continue;
        std::mutex mutex;
        std::condition_variable another;
        std::set<std::thread::id> seen;
        bool in_vain = false;
        const auto meet = [&](std::size_t i) {
            std::unique_lock lock(mutex);
            seen.insert(std::this_thread::get_id());
            another.notify_all();
            if (i == 0 || in_vain) return;  // item 0 is done alone: it tells the cost
            in_vain = !another.wait_for(lock, std::chrono::seconds(10), [&] { return seen.size() >= 2; });
        };
        par(indices(8), executor) | for_each(meet);
        INFO(executor.name());
        CHECK(seen.size() >= 2);
    }
}

TEST_CASE("pipelines nest: in a region inline, in a pool without deadlock", "[parallel_iterators]") {
    for (const auto& executor : executors()) {
        const auto inner = [&](std::size_t i) {
            return par(indices(i * 1000), executor) | map([](std::size_t j) { return j % 3; }) | sum();
        };
        std::size_t wanted = 0;
        for (std::size_t i = 0; i < 50; ++i) wanted += i * 1000 / 3 * 3 + (i * 1000 % 3 == 2 ? 1 : 0);
        INFO(executor.name());
        CHECK((par(indices(50), executor) | map(inner) | sum()) == wanted);
    }
}

TEST_CASE("a pool that refuses, runs late, or forgets is not missed", "[parallel_iterators]") {
    const auto wanted = par(indices(200'000), sequential_executor{}) | map([](std::size_t i) { return i % 11; }) | sum();
    const auto run = [](auto executor) {
        return par(indices(200'000), par_testing::any_executor("", executor)) | map([](std::size_t i) { return i % 11; }) |
               sum();
    };
    std::vector<std::function<void()>> kept;
    CHECK(run(submit_executor(4, [](auto) { throw std::runtime_error("shut down"); })) == wanted);
    CHECK(run(submit_executor(4, [](auto) {})) == wanted);
    CHECK(run(submit_executor(4, [&](std::function<void()> task) { kept.push_back(std::move(task)); })) == wanted);
    for (const auto& task : kept) task();  // long after: must find the door closed
    CHECK(kept.size() == 3);
    CHECK(run(submit_executor(4, [](auto task) { task(); })) == wanted);  // a "pool" that runs tasks at once
}

TEST_CASE("several threads run pipelines at once", "[parallel_iterators]") {
    std::atomic<int> wrong{0};
    tenfold_testing::run_threads(4, [&](int t) {
        for (int round = 0; round < 5; ++round) {
            const auto& executor = executors()[static_cast<std::size_t>(t + round) % executors().size()];
            const auto kept = par(indices(50'000), executor) | filter([](std::size_t i) { return i % 2 == 0; }) | collect();
            if (kept.size() != 25'000 || kept[24'999] != 49'998) ++wrong;
        }
    });
    CHECK(wrong == 0);
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TENFOLD_TEST_TSAN
#endif
#endif
#ifndef TENFOLD_TEST_TSAN  // which starts no threads after a fork
TEST_CASE("a forked child gets its answer", "[parallel_iterators]") {
    const auto answer = [] {
        return par(indices(200'000), par_testing::any_executor("", openmp_executor(4))) |
               map([](std::size_t i) { return i % 5; }) | sum();
    };
    CHECK(answer() == 400'000);
    const int result = tenfold_testing::run_child(20, [&] { return answer() == 400'000 && answer() == 400'000 ? 0 : 1; });
    CHECK(result == 0);
    CHECK(answer() == 400'000);
}
#endif
