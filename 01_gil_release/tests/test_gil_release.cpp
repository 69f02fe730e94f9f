// The lesson's headers without Python: the guards run over a std::mutex, the counts against a plain sieve.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <mutex>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tenfold/gil_observer.hpp"
#include "tenfold/primes.hpp"
#include "tenfold/released.hpp"
#include "tenfold/rendezvous.hpp"
#include "tenfold/team.hpp"
#include "tenfold_testing.hpp"

using tenfold_testing::run_threads;
using tenfold_testing::thread_counts;

namespace {

// prime_counts[n] for n < limit, by the shortest sieve there is: the oracle.
std::vector<std::int64_t> prime_counts(std::size_t limit) {
    std::vector<char> prime(limit, 1);
    std::vector<std::int64_t> counts(limit, 0);
    for (std::size_t i = 2; i < limit; ++i) {
        counts[i] = counts[i - 1] + prime[i];
        if (prime[i])
            for (std::size_t m = 2 * i; m < limit; m += i) prime[m] = 0;
    }
    return counts;
}

// A lock held by the current thread, in the two shapes that Python's guards have.
std::mutex lock;
struct acquire {
    acquire() { lock.lock(); }
    ~acquire() { lock.unlock(); }
};
struct release {
    release() { lock.unlock(); }
    ~release() { lock.lock(); }
};

}  // namespace

TEST_CASE("the three counts equal a plain sieve") {
    const auto expected = prime_counts(200'000);
    for (std::int64_t n = -3; n < 3000; ++n) {
        const std::int64_t primes = n < 0 ? 0 : expected[static_cast<std::size_t>(n)];
        REQUIRE(tenfold::count_primes(n) == primes);
        REQUIRE(tenfold::count_primes_segmented(n) == primes);
    }
    // around the sieve's segments (32768 odd numbers each) and around squares of primes
    for (std::int64_t n : {65'534, 65'535, 65'536, 65'537, 65'538, 65'539, 131'070, 131'071, 131'072, 131'073, 10'200, 10'201,
                           10'202, 199'999}) {
        REQUIRE(tenfold::count_primes(n) == expected[static_cast<std::size_t>(n)]);
        REQUIRE(tenfold::count_primes_segmented(n) == expected[static_cast<std::size_t>(n)]);
    }
    REQUIRE(tenfold::count_primes_segmented(10'000'000) == 664'579);
    REQUIRE(tenfold::count_primes(std::numeric_limits<std::int64_t>::min()) == 0);
}

TEST_CASE("the root of the largest int64 is exact") {
    using tenfold::detail::integer_sqrt;
    REQUIRE(integer_sqrt(std::numeric_limits<std::int64_t>::max()) == 3'037'000'499);
    for (std::int64_t r : {1LL, 2LL, 1000LL, 94'906'267LL, 3'037'000'499LL}) {
        REQUIRE(integer_sqrt(r * r) == r);
        REQUIRE(integer_sqrt(r * r - 1) == r - 1);
    }
    REQUIRE(integer_sqrt(0) == 0);
}

TEST_CASE("ranges in parallel add up and end where they should") {
    const auto expected = prime_counts(20'001);
    for (int threads : thread_counts)
        for (std::int64_t n : {-5, 0, 1, 2, 3, 6, 7, 100, 9'999, 20'000}) {
            const auto counts = tenfold::count_primes_parallel(n, threads);
            REQUIRE(counts.size() == static_cast<std::size_t>(threads));
            const std::int64_t step = std::max<std::int64_t>(n, 0) / threads;
            for (int i = 0; i < threads; ++i) {
                const auto low = static_cast<std::size_t>(i * step);
                const auto high = static_cast<std::size_t>(i + 1 == threads ? std::max<std::int64_t>(n, 0) : (i + 1) * step);
                REQUIRE(counts[static_cast<std::size_t>(i)] == expected[high] - expected[low]);
            }
        }
    REQUIRE(tenfold::count_primes_parallel(10'000, 4) == std::vector<std::int64_t>{367, 302, 281, 279});
}

TEST_CASE("a look at stop is never far away, however large the numbers") {
    // 60 million divisions: at least 900 looks. A loop that counted candidates instead would look a few times.
    const auto primes = tenfold::odd_primes_up_to(30'000'000 / 8);
    std::int64_t looks = 0;
    constexpr std::int64_t high = 14'000'000'000'000;
    tenfold::count_primes_between(high - 6000, high, primes, [&] {
        ++looks;
        return false;
    });
    REQUIRE(looks >= 100);
}

TEST_CASE("every loop can be stopped") {
    int looks = 0;
    const auto stop = [&] { return ++looks > 3; };
    constexpr auto endless = std::numeric_limits<std::int64_t>::max();
    REQUIRE_THROWS_AS(tenfold::count_primes(endless, stop), tenfold::stopped);
    looks = 0;
    REQUIRE_THROWS_AS(tenfold::count_primes_segmented(1'000'000'000'000, stop), tenfold::stopped);
    looks = 0;
    REQUIRE_THROWS_AS(tenfold::sleep_for(std::numeric_limits<double>::infinity(), stop), tenfold::stopped);
    for (int threads : thread_counts) {
        std::atomic<bool> now{false};
        std::jthread later([&] { now = true; });
        REQUIRE_THROWS_AS(tenfold::count_primes_parallel(10'000'000'000, threads, [&] { return now.load(); }),
                          tenfold::stopped);
    }
}

TEST_CASE("a team brings back the exception of its lowest member, and stops the others") {
    for (int threads : thread_counts) {
        std::atomic<int> ended{0};
        try {
            tenfold::run_team(threads, [&](int i, const std::stop_token& token) {
                if (i == 0) {
                    ++ended;
                    throw std::out_of_range("0");
                }
                while (!token.stop_requested()) std::this_thread::yield();
                ++ended;
                throw std::runtime_error("later");
            });
            FAIL("nothing was thrown");
        } catch (const std::out_of_range&) {
        }
        REQUIRE(ended == threads);
    }
}

TEST_CASE("released gives the lock up while the work runs, and holds it for the question") {
    acquire held;
    bool others_got_in = false;
    int questions = 0;
    const int result = tenfold::released<release>(
        [&] {
            std::jthread([&] { others_got_in = others_got_in || lock.try_lock(); }).join();
            return ++questions == 2;
        },
        [&](auto stop) {
            std::jthread([] { acquire in_another_thread; }).join();  // would hang if the lock were held
            while (!stop()) std::this_thread::yield();
            return stop() ? 42 : 0;
        });
    REQUIRE(result == 42);
    REQUIRE(questions == 2);
    REQUIRE_FALSE(others_got_in);
    std::jthread([&] { others_got_in = lock.try_lock(); }).join();
    REQUIRE_FALSE(others_got_in);  // it came back holding the lock
    REQUIRE_THROWS_AS(tenfold::released<release>([] { return false; }, [](auto) { throw std::runtime_error("work failed"); }),
                      std::runtime_error);
    std::jthread([&] { others_got_in = lock.try_lock(); }).join();
    REQUIRE_FALSE(others_got_in);  // also after an exception
}

TEST_CASE("a question that throws leaves the work unwinding without the lock") {
    acquire held;
    bool free_while_unwinding = false;
    struct probe {
        bool& free;
        ~probe() {
            std::jthread([&] {
                if (lock.try_lock()) {
                    free = true;
                    lock.unlock();
                }
            }).join();
        }
    };
    REQUIRE_THROWS_AS(tenfold::released<release>([]() -> bool { throw std::out_of_range("handler"); },
                                                 [&](auto stop) {
                                                     const probe at_the_end{free_while_unwinding};
                                                     while (!stop()) std::this_thread::yield();
                                                 }),
                      std::out_of_range);
    REQUIRE(free_while_unwinding);
    for (int threads : thread_counts)  // and a team is told to stop, not waited for to the end of its work
        REQUIRE_THROWS_AS(tenfold::run_team(
                              threads,
                              [](int, const std::stop_token& token) {
                                  while (!token.stop_requested()) std::this_thread::yield();
                              },
                              []() -> bool { throw std::out_of_range("handler"); }),
                          std::out_of_range);
}

TEST_CASE("a timeline never shows two threads holding the lock") {
    for (int threads : thread_counts) {
        tenfold::timeline timeline;
        std::vector<tenfold::timeline::lane*> lanes;
        for (int i = 0; i < threads; ++i) lanes.push_back(&timeline.add_lane("thread"));
        run_threads(threads, [&](int i) {
            auto& lane = *lanes[static_cast<std::size_t>(i)];
            for (int piece = 0; piece < 50; ++piece) {
                tenfold::observed_acquire<acquire> held(lane);
                tenfold::count_primes(300);
                tenfold::observed_release<release> free(lane);
                tenfold::count_primes(300);
            }
            lane.leave();
        });
        auto all = timeline.intervals();
        REQUIRE(all.size() >= static_cast<std::size_t>(threads) * 50 * 5);
        std::vector<tenfold::timeline::interval> held;
        for (int lane = 0; lane < threads; ++lane) {
            std::int64_t end = 0;
            for (const auto& i : all) {
                if (i.lane != lane) continue;
                REQUIRE(i.begin <= i.end);
                REQUIRE((end == 0 || i.begin == end));  // no gap: a thread is always in one state
                end = i.end;
                if (i.state == tenfold::lock_state::held) held.push_back(i);
            }
        }
        std::sort(held.begin(), held.end(), [](auto& a, auto& b) { return a.begin < b.begin; });
        for (std::size_t i = 1; i < held.size(); ++i) REQUIRE(held[i - 1].end <= held[i].begin);
        REQUIRE(held.size() >= static_cast<std::size_t>(threads) * 50);
    }
}

TEST_CASE("the Chrome trace is JSON with escaped labels") {
    tenfold::timeline timeline;
    auto& lane = timeline.add_lane("a \"quoted\"\\\n label");
    lane.enter(tenfold::lock_state::held);
    lane.leave();
    const std::string json = timeline.chrome_trace();
    REQUIRE(json.find(R"("name": "a \"quoted\"\\\u000a label")") != std::string::npos);
    REQUIRE(json.find(R"("name": "held")") != std::string::npos);
    REQUIRE(json.find("\"dur\": ") != std::string::npos);
}

TEST_CASE("threads meet, again and again; one alone gives up and is not counted") {
    for (int threads : thread_counts) {
        tenfold::rendezvous meeting(threads);
        std::atomic<int> met{0};
        run_threads(threads, [&](int) {
            for (int round = 0; round < 20; ++round) met += meeting.meet(60.0, tenfold::never_stop());
        });
        REQUIRE(met == threads * 20);
    }
    tenfold::rendezvous pair(2);
    REQUIRE_FALSE(pair.meet(0.0, tenfold::never_stop()));
    REQUIRE_FALSE(pair.meet(60.0, [] { return true; }));
    REQUIRE_THROWS_AS(pair.meet(60.0, []() -> bool { throw std::out_of_range("handler"); }), std::out_of_range);
    REQUIRE_FALSE(pair.meet(0.01, tenfold::never_stop()));  // the three that left must not count
}
