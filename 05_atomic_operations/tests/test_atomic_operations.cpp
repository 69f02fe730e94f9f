// Counters, the fast counter's threads that come and go, races that end on request, progress handles.
// TENFOLD_STRESS=long makes the stress runs at least 1e7 operations long.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <tenfold/atomic_race.hpp>
#include <tenfold/counters.hpp>
#include <tenfold/progress.hpp>
#include <tenfold/single_writer.hpp>

#include "tenfold_testing.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif

namespace {

using namespace std::chrono_literals;
using tenfold_testing::run_threads;

constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();

bool long_stress() {
    const char* const wish = std::getenv("TENFOLD_STRESS");
    return wish && std::strcmp(wish, "long") == 0;
}
std::uint64_t operations(std::uint64_t brief) { return long_stress() ? 10'000'000 : brief; }

template <class Counter>
void counts_exactly() {
    for (const int threads : tenfold_testing::thread_counts) {
        Counter counter;
        const std::uint64_t each = operations(1'000'000) / static_cast<std::uint64_t>(threads);
        run_threads(threads, [&](int) {
            for (std::uint64_t i = 0; i < each; ++i) counter.increment();
            counter.add(5);
            counter.add(most);  // -1
        });
        REQUIRE(counter.get() == static_cast<std::uint64_t>(threads) * (each + 4));
    }
}

// true from the n-th question on
struct stop_after {
    int questions;
    int* asked;
    bool operator()() const { return ++*asked > questions; }
};

}  // namespace

TEST_CASE("atomic_counter: values before, wrap-around, compare and swap") {
    tenfold::atomic_counter counter(40);
    CHECK(counter.increment() == 40);
    CHECK(counter.add(1) == 41);
    CHECK(counter.get() == 42);
    CHECK(counter.compare_and_swap(42, 7) == std::pair<std::uint64_t, bool>(42, true));
    CHECK(counter.compare_and_swap(42, 9) == std::pair<std::uint64_t, bool>(7, false));
    CHECK(counter.get() == 7);
    counter.set(most);
    CHECK(counter.increment() == most);
    CHECK(counter.get() == 0);
    CHECK(counter.add(most) == 0);
    CHECK(counter.get() == most);
}

TEST_CASE("atomic_counter: every value before is given out once") {
    const int threads = GENERATE(1, 2, 4, 7);
    tenfold::atomic_counter counter;
    const std::uint64_t each = operations(20'000) / 10 / static_cast<std::uint64_t>(threads);
    std::vector<std::vector<std::uint64_t>> tickets(static_cast<std::size_t>(threads));
    run_threads(threads, [&](int i) {
        for (std::uint64_t k = 0; k < each; ++k) tickets[static_cast<std::size_t>(i)].push_back(counter.increment());
    });
    std::vector<std::uint64_t> all;
    for (const auto& some : tickets) {
        CHECK(std::is_sorted(some.begin(), some.end()));
        all.insert(all.end(), some.begin(), some.end());
    }
    std::sort(all.begin(), all.end());
    bool exact = all.size() == each * static_cast<std::uint64_t>(threads);
    for (std::size_t i = 0; i < all.size(); ++i) exact = exact && all[i] == i;
    CHECK(exact);
}

TEST_CASE("atomic_counter: compare and swap has one winner for each value") {
    const int threads = GENERATE(1, 2, 4, 7);
    tenfold::atomic_counter counter;
    std::atomic<std::uint64_t> wins{0};
    constexpr std::uint64_t goal = 5'000;
    run_threads(threads, [&](int) {
        for (std::uint64_t value = 0; value < goal;) {
            const auto [previous, success] = counter.compare_and_swap(value, value + 1);
            if (success) wins.fetch_add(1);
            value = success ? value + 1 : previous;
        }
    });
    CHECK(counter.get() == goal);
    CHECK(wins == goal);
}

TEST_CASE("atomic_switch: swap and compare and swap; one winner") {
    tenfold::atomic_switch flag;
    CHECK_FALSE(flag.get());
    CHECK_FALSE(flag.swap(true));
    CHECK(flag.swap(true));
    CHECK(flag.compare_and_swap(true, false) == std::pair<bool, bool>(true, true));
    CHECK(flag.compare_and_swap(true, false) == std::pair<bool, bool>(false, false));
    flag.set(true);
    CHECK(flag.get());
    CHECK(tenfold::atomic_switch(true).get());

    const int threads = GENERATE(1, 2, 4, 7);
    for (int round = 0; round < 50; ++round) {
        tenfold::atomic_switch gate;
        std::atomic<int> winners{0};
        run_threads(threads, [&](int) { winners += !gate.swap(true); });
        REQUIRE(winners == 1);
    }
}

TEST_CASE("every kind of counter counts exactly") {
    SECTION("relaxed") { counts_exactly<tenfold::relaxed_counter>(); }
    SECTION("acquire and release") { counts_exactly<tenfold::acq_rel_counter>(); }
    SECTION("seq_cst") { counts_exactly<tenfold::seq_cst_counter>(); }
    SECTION("CAS loop") { counts_exactly<tenfold::cas_counter>(); }
    SECTION("mutex") { counts_exactly<tenfold::mutex_counter>(); }
    SECTION("packed shards") { counts_exactly<tenfold::packed_shards_counter>(); }
    SECTION("padded shards") { counts_exactly<tenfold::padded_shards_counter>(); }
    SECTION("single writer") { counts_exactly<tenfold::single_writer_counter>(); }
}

TEST_CASE("an acquire-release count publishes what was written before it") {
    for (int round = 0; round < 500; ++round) {
        tenfold::acq_rel_counter ready;
        int message = 0;  // not atomic: TSan would see a missing pairing
        run_threads(2, [&](int i) {
            if (i == 0) {
                message = 42;
                ready.increment();
            } else {
                while (ready.get() == 0) std::this_thread::yield();
                if (message != 42) std::abort();
            }
        });
    }
}

TEST_CASE("shards: what the names say about addresses") {
    CHECK(sizeof(tenfold::packed_shards_counter) <= 128);
    CHECK(sizeof(tenfold::padded_shards_counter) == 128 * tenfold::padded_shards_counter::shards);
    CHECK(alignof(tenfold::padded_shards_counter) == 128);
}

TEST_CASE("single_writer_counter: a reader sees a count that only grows, and all of it after the join") {
    const int threads = GENERATE(1, 2, 4, 7);
    tenfold::single_writer_counter counter;
    const std::uint64_t each = operations(1'000'000) / static_cast<std::uint64_t>(threads);
    std::atomic<int> running{threads};
    std::atomic<bool> shrunk{false};
    run_threads(threads + 1, [&](int i) {
        if (i == threads) {
            for (std::uint64_t before = 0; running.load() != 0;) {
                const std::uint64_t now = counter.get();
                if (now < before) shrunk = true;
                before = now;
                std::this_thread::yield();
            }
            return;
        }
        auto mine = counter.mine();
        for (std::uint64_t k = 0; k < each; ++k) k % 2 ? counter.increment() : mine.increment();
        --running;
    });
    CHECK_FALSE(shrunk);
    CHECK(counter.get() == each * static_cast<std::uint64_t>(threads));
}

TEST_CASE("single_writer_counter: counts outlive their threads, and new threads take over their cells") {
    tenfold::single_writer_counter counter;
    for (int round = 0; round < 200; ++round) run_threads(2, [&](int) { counter.add(10); });
    CHECK(counter.get() == 4000);
    counter.increment();  // this thread's own
    CHECK(counter.get() == 4001);
}

TEST_CASE("single_writer_counter: threads outlive counters; the next counter starts at zero") {
    std::atomic<int> step{0};
    std::atomic<tenfold::single_writer_counter*> current{nullptr};
    const std::jthread worker([&] {
        for (int seen = 0; seen < 50;) {
            if (step.load() == seen) {
                std::this_thread::yield();
                continue;
            }
            ++seen;
            current.load()->add(3);
            current = nullptr;  // done with this one
        }
    });
    for (int round = 0; round < 50; ++round) {
        auto counter = std::make_unique<tenfold::single_writer_counter>();
        REQUIRE(counter->get() == 0);
        current = counter.get();
        ++step;
        while (current.load() != nullptr) std::this_thread::yield();
        counter->add(4);
        REQUIRE(counter->get() == 7);
    }
}

TEST_CASE("single_writer_counter: many counters, used by threads that meet them in different order") {
    std::vector<std::unique_ptr<tenfold::single_writer_counter>> counters;
    for (int i = 0; i < 300; ++i) counters.push_back(std::make_unique<tenfold::single_writer_counter>());
    auto first = counters[0]->mine();  // stays good while the row behind it grows
    first.increment();
    run_threads(4, [&](int thread) {
        auto early = counters[0]->mine();
        for (std::size_t k = 0; k < counters.size(); ++k) {
            counters[thread % 2 ? counters.size() - 1 - k : k]->add(k % 2 ? 2 : 2);
            if (k % 50 == 0) early.increment();
        }
    });
    for (std::size_t i = 1; i < counters.size(); ++i) REQUIRE(counters[i]->get() == 8);
    CHECK(counters[0]->get() == 8 + 4 * 6 + 1);
    first.increment();
    CHECK(counters[0]->get() == 8 + 4 * 6 + 2);
    counters.erase(counters.begin() + 100, counters.begin() + 200);
    for (int i = 0; i < 100; ++i) {
        tenfold::single_writer_counter again;
        again.increment();
        REQUIRE(again.get() == 1);
    }
}

namespace {
struct late_counting {  // its destructor runs when the thread's row is already gone
    tenfold::single_writer_counter* counter = nullptr;
    std::atomic<bool>* refused = nullptr;
    ~late_counting() {
        if (!counter) return;
        counter->add(100);
        try {
            counter->mine();
        } catch (const std::logic_error&) {
            *refused = true;
        }
    }
};
thread_local late_counting late;
}  // namespace

TEST_CASE("single_writer_counter: a destructor of a thread-local may still count") {
    tenfold::single_writer_counter counter;
    std::atomic<bool> refused{false};
    std::jthread([&] {
        late.counter = &counter;  // constructed before the row is taken, so destroyed after it is given back
        late.refused = &refused;
        counter.increment();
    }).join();
    CHECK(counter.get() == 101);
    CHECK(refused);
}

#ifndef UNDER_TSAN  // which does not follow threads into a forked child
TEST_CASE("single_writer_counter: a forked child goes on counting, whatever other threads did at that moment") {
    tenfold::single_writer_counter counter;
    counter.add(5);
    std::atomic<bool> over{false};
    std::jthread disturber([&] {
        while (!over) {  // takes the registry's mutex again and again
#ifndef __SANITIZE_ADDRESS__  // whose allocator a fork leaves locked when another thread is inside
            std::jthread([&] { counter.add(0); }).join();
#endif
            counter.get();
        }
    });
    int exact = 0;
    for (int round = 0; round < 20; ++round)
        exact += tenfold_testing::run_child(10, [&] {
                     counter.increment();
                     tenfold::single_writer_counter fresh;
                     for (int i = 0; i < 3; ++i) std::jthread([&] { fresh.increment(), counter.increment(); }).join();
                     return counter.get() == 9 && fresh.get() == 3 ? 7 : 1;
                 }) == 7;
    over = true;
    CHECK(exact == 20);
    CHECK(counter.get() == 5);
}
#endif

TEST_CASE("parallel_increment and the race: totals, bad arguments, stops") {
    const int threads = GENERATE(1, 2, 4, 7);
    tenfold::atomic_counter counter(10);
    tenfold::parallel_increment(counter, threads, 10'001);
    CHECK(counter.get() == 10 + static_cast<std::uint64_t>(threads) * 10'001);
    tenfold::parallel_increment(counter, threads, 0);
    CHECK(counter.get() == 10 + static_cast<std::uint64_t>(threads) * 10'001);

    std::set<std::string_view> names;
    for (const auto kind : tenfold::counter_kinds) {
        names.insert(name(kind));
        CHECK(tenfold::race_counter(kind, threads, 5'000) > 0);
        CHECK(tenfold::race_counter(kind, threads, 0) > 0);
    }
    CHECK(names.size() == tenfold::counter_kinds.size());
    const auto [atomic_seconds, mutex_seconds] = tenfold::benchmark_atomic_vs_mutex(1'000, threads);
    CHECK(atomic_seconds > 0);
    CHECK(mutex_seconds > 0);
    for (const auto how : {tenfold::sharing::rmw, tenfold::sharing::load_store}) {
        const auto result = tenfold::measure_false_sharing(3'000, threads, how);
        CHECK(result.packed_seconds > 0);
        CHECK(result.padded_seconds > 0);
    }
    CHECK_THROWS_AS(tenfold::parallel_increment(counter, 0, 1), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::race_counter(tenfold::counter_kind::mutex, -1, 1), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::measure_false_sharing(1, 0), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::benchmark_atomic_vs_mutex(1, 0), std::invalid_argument);
}

TEST_CASE("an endless count ends when stop says so, and stop is asked on the calling thread") {
    const int threads = GENERATE(1, 2, 4, 7);
    tenfold::atomic_counter counter;
    int asked = 0;
    CHECK_THROWS_AS(tenfold::parallel_increment(counter, threads, most / 8, stop_after{2, &asked}), tenfold::stopped);
    CHECK(asked == 3);
    const std::uint64_t after = counter.get();
    std::this_thread::sleep_for(2ms);
    CHECK(counter.get() == after);  // nobody is left

    const auto caller = std::this_thread::get_id();
    const auto angry = [caller] {
        static int calls = 0;
        if (std::this_thread::get_id() != caller) std::abort();
        if (++calls % 2 == 0) throw std::runtime_error("enough");
        return false;
    };
    CHECK_THROWS_AS(tenfold::race_counter(tenfold::counter_kind::single_writer, threads, most / 8, angry), std::runtime_error);
    CHECK_THROWS_AS(tenfold::parallel_increment(counter, threads, 1, [] { return true; }), tenfold::stopped);
    CHECK(counter.get() == after);
}

#if defined(__linux__)
namespace {
// Looks at this process's threads until so many of them are pinned to a core, for two seconds at most; then says "stop".
struct watch_cores {
    int wanted;
    std::size_t* cores;  // how many different ones
    int questions = 0;
    bool operator()() {
        std::set<int> seen;
        int pinned = 0;
        for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
            cpu_set_t allowed;
            if (::sched_getaffinity(std::stoi(task.path().filename()), sizeof allowed, &allowed) != 0) continue;
            if (CPU_COUNT(&allowed) != 1) continue;
            ++pinned;
            for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
                if (CPU_ISSET(cpu, &allowed)) seen.insert(cpu);
        }
        *cores = std::max(*cores, seen.size());
        return pinned >= wanted || ++questions > 200;
    }
};
}  // namespace

TEST_CASE("measurements pin each thread to a core, parallel_increment does not") {
    cpu_set_t allowed;
    REQUIRE(::sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    if (CPU_COUNT(&allowed) < 2) return;
    constexpr std::uint64_t endless = std::uint64_t{1} << 60;
    std::size_t cores = 0;
    const watch_cores watch{2, &cores};
    CHECK_THROWS_AS(tenfold::race_counter(tenfold::counter_kind::relaxed, 2, endless, watch), tenfold::stopped);
    CHECK(cores == 2);
    cores = 0;
    CHECK_THROWS_AS(tenfold::measure_false_sharing(endless, 2, tenfold::sharing::load_store, watch), tenfold::stopped);
    CHECK(cores == 2);
    cores = 0;
    tenfold::atomic_counter counter;
    CHECK_THROWS_AS(tenfold::parallel_increment(counter, 2, endless, watch_cores{2, &cores, 195}), tenfold::stopped);
    CHECK(cores == 0);
    cpu_set_t after;
    REQUIRE(::sched_getaffinity(0, sizeof after, &after) == 0);
    CHECK(CPU_EQUAL(&allowed, &after));  // the calling thread's are what they were
}
#endif

TEST_CASE("the team: the lowest worker's exception, and its wish ends the others") {
    const int threads = GENERATE(1, 2, 4, 7);
    const auto team = [threads] {
        tenfold::atomic_detail::run_together(
            threads,
            [](int i, const std::atomic<bool>& cancelled) {
                if (i == 0) throw std::runtime_error("worker 0");
                while (!cancelled) std::this_thread::yield();
                throw std::logic_error("later");
            },
            tenfold::never_stop{});
    };
    CHECK_THROWS_AS(team(), std::runtime_error);
}

TEST_CASE("parallel_with_progress adds exactly the total") {
    const int threads = GENERATE(1, 2, 4, 7);
    for (const std::uint64_t total : {0ull, 1ull, 6ull, 10'007ull}) {
        tenfold::atomic_counter counter(3);
        tenfold::parallel_with_progress(counter, total, threads);
        CHECK(counter.get() == total + 3);
    }
    tenfold::atomic_counter counter;
    int asked = 0;
    CHECK_THROWS_AS(tenfold::parallel_with_progress(counter, most, threads, stop_after{2, &asked}), tenfold::stopped);
    CHECK_THROWS_AS(tenfold::parallel_with_progress(counter, 1, 0), std::invalid_argument);
}

TEST_CASE("progress: every unit once, the handle sees the end") {
    const int threads = GENERATE(1, 2, 4, 7);
    for (const std::uint64_t total : {0ull, 1ull, 63ull, 64ull, 65ull, 5'000ull}) {
        std::vector<std::atomic<int>> units(total);
        auto run = tenfold::start_with_progress(total, threads, [&](std::uint64_t i) { ++units[i]; });
        std::uint64_t before = 0;
        while (!run.wait_for(1ms)) {
            const std::uint64_t now = run.done();
            REQUIRE(now >= before);
            REQUIRE(now <= total);
            before = now;
        }
        CHECK(run.finished());
        CHECK_FALSE(run.cancelled());
        CHECK(run.done() == total);
        CHECK(run.fraction() == 1.0);
        CHECK(run.threads() == threads);
        CHECK(std::all_of(units.begin(), units.end(), [](const auto& times) { return times == 1; }));
        run.wait();  // again: returns at once
    }
}

TEST_CASE("progress: few units are shared out, one to each thread") {
    const int threads = GENERATE(1, 2, 4, 7);
    std::atomic<int> inside{0};
    std::atomic<bool> alone{false};
    auto run = tenfold::start_with_progress(static_cast<std::uint64_t>(threads), threads, [&](std::uint64_t) {
        const auto limit = std::chrono::steady_clock::now() + 20s;
        ++inside;
        while (inside < threads) {  // every unit waits for all the others
            if (std::chrono::steady_clock::now() > limit) alone = true;
            if (alone) return;
            std::this_thread::yield();
        }
    });
    run.wait();
    CHECK_FALSE(alone);
}

TEST_CASE("progress: the handle comes at once; cancel stops the count for good") {
    const int threads = GENERATE(1, 2, 4, 7);
    auto run = tenfold::start_with_progress(most, threads);
    CHECK(run.total() == most);
    CHECK_FALSE(run.wait_for(1ms));
    while (run.done() == 0) std::this_thread::yield();
    run.cancel();
    run.wait();
    CHECK(run.finished());
    CHECK(run.cancelled());
    const std::uint64_t after = run.done();
    std::this_thread::sleep_for(2ms);
    CHECK(run.done() == after);
}

TEST_CASE("progress: destruction cancels and joins; handles move") {
    const int threads = GENERATE(1, 2, 4, 7);
    std::atomic<std::uint64_t> first{0}, second{0};
    {
        auto run = tenfold::start_with_progress(most, threads, [&](std::uint64_t) { ++first; });
        auto moved = std::move(run);
        moved = tenfold::start_with_progress(most, threads, [&](std::uint64_t) { ++second; });  // the first one ends here
        const std::uint64_t after = first;
        std::this_thread::sleep_for(2ms);
        CHECK(first == after);
    }
    const std::uint64_t after = second;
    std::this_thread::sleep_for(2ms);
    CHECK(second == after);
    static_assert(!std::is_copy_constructible_v<tenfold::progress_run>);
}

TEST_CASE("progress: what the work throws ends the run and leaves wait") {
    const int threads = GENERATE(1, 2, 4, 7);
    auto run = tenfold::start_with_progress(1'000'000'000, threads, [](std::uint64_t i) {
        if (i == 500) throw std::range_error("unit 500");
    });
    CHECK_THROWS_AS(run.wait(), std::range_error);
    CHECK_THROWS_AS(run.wait_for(1ms), std::range_error);
    CHECK(run.finished());
    CHECK(run.cancelled());
    CHECK(run.done() < 1'000'000'000);
    CHECK_THROWS_AS(tenfold::start_with_progress(1, 0), std::invalid_argument);
}

TEST_CASE("progress: work that says false ends its thread, uncounted") {
    auto run = tenfold::start_with_progress(100, 1, [](std::uint64_t i) { return i < 30; });
    run.wait();
    CHECK(run.done() == 30);
    CHECK_FALSE(run.cancelled());
}

TEST_CASE("progress: the longest times do not overflow") {
    auto run = tenfold::start_with_progress(20, 1, [](std::uint64_t) { std::this_thread::sleep_for(1ms); });
    CHECK(run.wait_for(std::chrono::hours::max()));
    CHECK(run.done() == 20);
    auto again = tenfold::start_with_progress(20, 1, [](std::uint64_t) { std::this_thread::sleep_for(1ms); });
    CHECK_FALSE(again.wait_for(std::chrono::hours::min()));
    CHECK(again.wait_for(std::chrono::nanoseconds::max()));
    CHECK(again.done() == 20);
    CHECK(again.wait_for(std::chrono::duration<double>(std::numeric_limits<double>::infinity())));
}

TEST_CASE("progress: stop leaves wait, the run goes on; many may wait at once") {
    auto run = tenfold::start_with_progress(most, 2);
    int asked = 0;
    CHECK_THROWS_AS(run.wait(stop_after{0, &asked}), tenfold::stopped);
    CHECK_FALSE(run.finished());
    std::atomic<int> back{0};
    run_threads(5, [&](int i) {
        if (i == 4) return run.cancel();
        run.wait();
        ++back;
    });
    CHECK(back == 4);
}

#ifndef UNDER_TSAN
TEST_CASE("progress: a forked child can look, is refused a wait, and destroys the handle without a hang") {
    auto run = std::make_unique<tenfold::progress_run>(tenfold::start_with_progress(most, 2));
    while (run->done() == 0) std::this_thread::yield();
    const int code = tenfold_testing::run_child(10, [&] {
        if (run->done() == 0) return 1;
        run->cancel();
        try {
            run->wait();
            return 2;
        } catch (const std::runtime_error&) {
        }
        try {
            static_cast<void>(run->finished());
            return 4;
        } catch (const std::runtime_error&) {
        }
        run.reset();
        auto fresh = tenfold::start_with_progress(1'000, 2);
        fresh.wait();
        return fresh.done() == 1'000 ? 7 : 3;
    });
    CHECK(code == 7);
    CHECK_FALSE(run->finished());  // the parent's run has not noticed
}
#endif
