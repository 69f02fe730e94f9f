// The native half of Python's Future (src/native_future.hpp): a job ends exactly once, whoever is first.
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../src/native_future.hpp"
#include "tenfold/thread_pool.hpp"

using tenfold::boundary::job_closure;
using tenfold::boundary::native_job;
using namespace std::chrono_literals;

namespace {

const auto never = [] { return false; };
constexpr auto for_ever = native_job::clock::time_point::max();

}  // namespace

TEST_CASE("a job that has run has its value, for as many as ask") {
    auto job = std::make_shared<native_job>();
    const auto run = job_closure(job, [](native_job&) { return std::int64_t{42}; });
    CHECK(job->now() == native_job::state::pending);
    CHECK_FALSE(job->wait_until(native_job::clock::now() + 1ms, never));
    std::vector<std::thread> waiting;
    std::atomic<int> right{0};
    for (int i = 0; i < 4; ++i)
        waiting.emplace_back([&] { right += job->wait_until(for_ever, never) && job->value() == 42 ? 1 : 0; });
    run();
    for (auto& each : waiting) each.join();
    CHECK(right == 4);
    CHECK_FALSE(job->cancel());
    CHECK(job->value() == 42);
}

TEST_CASE("an error is kept, again and again") {
    auto job = std::make_shared<native_job>();
    job_closure(job, [](native_job&) -> std::int64_t { throw std::runtime_error("mine"); })();
    CHECK(job->over());
    for (int i = 0; i < 2; ++i) CHECK_THROWS_AS(job->value(), std::runtime_error);
}

TEST_CASE("a cancelled job does not begin, and a running one is told") {
    auto job = std::make_shared<native_job>();
    bool began = false;
    const auto run = job_closure(job, [&](native_job&) { return std::int64_t{began = true}; });
    CHECK(job->cancel());
    run();
    CHECK_FALSE(began);
    CHECK(job->now() == native_job::state::cancelled);

    auto running = std::make_shared<native_job>();
    job_closure(running, [](native_job& mine) {
        CHECK(mine.cancel());
        return std::int64_t{mine.given_up()};
    })();
    CHECK(running->now() == native_job::state::cancelled);  // what it returned is not wanted any more
}

TEST_CASE("a closure that is dropped cancels its job") {
    auto job = std::make_shared<native_job>();
    {
        auto run = std::make_optional(job_closure(job, [](native_job&) { return std::int64_t{1}; }));
        const auto copy = *run;
        run.reset();
        CHECK_FALSE(job->over());
    }
    CHECK(job->now() == native_job::state::cancelled);
}

TEST_CASE("only what has not begun can be withdrawn") {
    auto job = std::make_shared<native_job>();
    job_closure(job, [](native_job& mine) {
        CHECK_FALSE(mine.withdraw());
        return std::int64_t{1};
    })();
    CHECK(job->now() == native_job::state::done);
    native_job pending;
    CHECK(pending.withdraw());
    CHECK_FALSE(pending.begin());
}

TEST_CASE("waiting ends when stop says so") {
    native_job job;
    int asked = 0;
    CHECK_FALSE(job.wait_until(for_ever, [&] { return ++asked == 3; }));
    CHECK(asked == 3);
}

TEST_CASE("value or cancelled, never both, however close the race") {
    tenfold::thread_pool pool(2);
    int values = 0, cancelled = 0;
    for (int round = 0; round < 2000; ++round) {
        auto job = std::make_shared<native_job>();
        pool.detach(job_closure(job, [round](native_job&) { return std::int64_t{round}; }));
        if (round % 3 != 0) job->wait_until(native_job::clock::now() + std::chrono::microseconds(round % 40), never);
        const bool given_up = job->cancel();
        REQUIRE(job->wait_until(for_ever, never));
        REQUIRE(job->given_up() == given_up);
        if (!given_up) REQUIRE(job->value() == round);
        ++(given_up ? cancelled : values);
    }
    CHECK(values + cancelled == 2000);
}

TEST_CASE("a pool that drops its queue leaves no job pending") {
    std::vector<std::shared_ptr<native_job>> jobs;
    {
        tenfold::thread_pool pool(2);
        for (int i = 0; i < 500; ++i) {
            jobs.push_back(std::make_shared<native_job>());
            pool.detach(job_closure(jobs.back(), [i](native_job&) {
                if (i < 2) std::this_thread::sleep_for(5ms);
                return std::int64_t{i};
            }));
        }
        pool.cancel_pending();
    }
    for (const auto& job : jobs) CHECK(job->over());
}
