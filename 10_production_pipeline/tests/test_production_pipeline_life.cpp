// A pipeline's life: bounded memory, no allocation once warm, many threads on one, stages that block, forks, metrics that are never
// torn, histograms. TENFOLD_STRESS=long makes the sweeps longer.
#include <tenfold/pipeline.hpp>
#include <tenfold_testing.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <barrier>
#include <latch>
#include <numeric>
#include <thread>

#include "pipeline_testing.hpp"

using namespace tenfold;
using namespace pipeline_testing;
using tenfold_testing::run_child;
using tenfold_testing::run_threads;
using tenfold_testing::thread_counts;
using item = std::int64_t;

namespace {

bool whole(const run_result& result) {
    return result.read == result.delivered + result.filtered + result.failed + result.dropped;
}

}  // namespace

TEST_CASE("memory is bounded: a source far larger than the budget, and a sink that does not keep up") {
    const auto workers = GENERATE(1, 2, 4, 7);
    const auto p = pipeline<item>({.workers = workers, .batch = 64, .depth = 3})
                       .parallel_map("same", [](item x) { return x; })
                       .map("serial", [](item x) { return x; });
    // Every batch of a run is in a link, or with the one thread that works on it.
    const std::size_t most = p.memory_bytes() / sizeof(item);
    const item size = static_cast<item>(100 * most);
    std::atomic<item> given{0};
    item got = 0, most_under_way = 0;
    auto source = [&, next = item{0}](std::span<item> room) mutable {
        std::size_t i = 0;
        while (i < room.size() && next < size) room[i++] = next++;
        given.store(next);
        return i;
    };
    const auto done = p.run(source, [&](item x) {
        REQUIRE(x == got);
        most_under_way = std::max(most_under_way, given.load() - got);
        if (++got % 4096 == 0) std::this_thread::yield();
    });
    CHECK(done.delivered == static_cast<std::uint64_t>(size));
    CHECK(most_under_way <= static_cast<item>(most));
    const long before = allocations.load();
    p.run(counting_source{200}, [](item) {});
    const long few = allocations.load() - before;
    p.run(counting_source{size}, [](item) {});
    const long many = allocations.load() - before - few;
    CHECK(many == few);  // what the result itself needs, however long the source
}

TEST_CASE("a full sink holds the source back: nothing is read that there is no room for") {
    const auto p = pipeline<item>({.workers = 2, .batch = 1, .depth = 2}).parallel_map("same", [](item x) { return x; });
    const auto room = static_cast<item>(p.memory_bytes() / pipeline_detail::item_batch<item>::bytes_for(1));
    std::atomic<item> given{0};
    std::atomic<bool> open{false};
    std::jthread later([&] {
        item seen = -1;
        for (int calm = 0; calm < 50; ++calm) {  // until the source has stood still for a while
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            if (std::exchange(seen, given.load()) != given.load()) calm = 0;
        }
        open.store(true);
        open.notify_all();
    });
    item got = 0, given_while_closed = 0;
    auto source = [&, next = item{0}](std::span<item> span) mutable {
        if (next == 1000) return std::size_t{0};
        span[0] = next++;
        given.store(next);
        return std::size_t{1};
    };
    p.run(source, [&](item) {
        if (got++ != 0) return;
        open.wait(false);
        given_while_closed = given.load();
    });
    CHECK(got == 1000);
    CHECK(given_while_closed <= room);
}

TEST_CASE("a stage that blocks holds the run, not the process: others go on, and it ends when the stage does") {
    std::latch release(1);
    const auto blocked = pipeline<item>({.workers = 2, .batch = 4}).parallel_map("blocks", [&](item x) {
        if (x == 100) release.wait();
        return x;
    });
    std::uint64_t delivered = 0;
    std::jthread user([&] { delivered = blocked.run(counting_source{1000}, [](item) {}).delivered; });
    while (blocked.metrics()[0].items_out < 100) std::this_thread::yield();  // readable meanwhile
    // The same pipeline, another run, not through that item.
    CHECK(blocked.run(counting_source{50}, [](item) {}).delivered == 50);
    release.count_down();
    user.join();
    CHECK(delivered == 1000);
}

TEST_CASE("parallel stages do run at the same time") {
    for (const int workers : thread_counts) {
        std::barrier<> meeting(workers);  // passed only if all workers are inside
        const auto p = pipeline<item>({.workers = workers, .batch = 1}).parallel_map("meets", [&](item x) {
            meeting.arrive_and_wait();
            return x;
        });
        CHECK(p.run(counting_source{10 * workers}, [](item) {}).delivered == static_cast<std::uint64_t>(10 * workers));
    }
}

TEST_CASE("one pipeline, many threads at once: each run has its own items, counts and errors") {
    const auto p = pipeline<item>({.workers = 2, .batch = 32, .depth = 2})
                       .filter("odd", [](item x) { return x % 2 != 0; })
                       .parallel_map("fails at", [](item x) { return x == 7001 ? throw failure(x) : x; });
    std::uint64_t all_read = 0;
    for (const int users : thread_counts) {
        std::atomic<int> wrong{0};
        std::atomic<std::uint64_t> read{0};
        run_threads(users, [&](int me) {
            for (long round = 0; round < stress(20); ++round) {
                const item size = 100 + 500 * ((me + round) % 20);
                item expected = 1, wrong_items = 0;
                const auto done = p.run(counting_source{size}, [&](item x) { wrong_items += x != expected, expected += 2; });
                const bool fails = size > 7001;
                if (wrong_items != 0 || !whole(done) || (done.status == run_status::failed) != fails) ++wrong;
                if (done.delivered != static_cast<std::uint64_t>(fails ? 3500 : size / 2)) ++wrong;
                if (fails && (done.errors.size() != 1 || done.errors[0].index != 7001)) ++wrong;
                read += done.read;
            }
        });
        CHECK(wrong == 0);
        all_read += read;
        CHECK(p.metrics()[0].items_out == all_read);
    }
}

TEST_CASE("metrics add up per stage, in the result and over all runs, copies of the pipeline included") {
    const auto workers = GENERATE(1, 2, 4, 7);
    const auto p = pipeline<item>({.workers = workers, .batch = 10, .errors = on_error::skip})
                       .filter("even", [](item x) { return x % 2 == 0; })
                       .parallel_map("fails", [](item x) { return x % 10 == 0 ? throw failure(x) : x; });
    const auto copy = p;
    const auto check = [](const std::vector<stage_metrics>& stages, std::uint64_t n) {
        REQUIRE(stages.size() == 4);
        CHECK(stages[0].name == "source");
        CHECK(stages[1].name == "even");
        CHECK(stages[2].name == "fails");
        CHECK(stages[3].name == "sink");
        CHECK(stages[0].items_out == n);
        CHECK(stages[1].items_in == n);
        CHECK(stages[1].filtered == n / 2);
        CHECK(stages[2].items_in == n / 2);
        CHECK(stages[2].failed == n / 10);
        CHECK(stages[2].items_out == n / 2 - n / 10);
        CHECK(stages[3].items_out == n / 2 - n / 10);
        for (const auto& each : stages) CHECK(each.latency.count() == each.items_in);
        CHECK(stages[1].batches >= n / 10);
        CHECK(stages[2].busy_seconds > 0.0);
    };
    for (std::uint64_t round = 1; round <= 3; ++round) {
        check((round == 2 ? copy : p).run(counting_source{1000}, [](item) {}).stages, 1000);
        check(p.metrics(), 2000 * round - 1000);
        check(p.run_here(counting_source{1000}, [](item) {}).stages, 1000);
        check(copy.metrics(), 2000 * round);
    }
}

TEST_CASE("a reader never sees torn metrics, and they only grow") {
    const auto p = pipeline<item>({.workers = 2, .batch = 7, .errors = on_error::skip})
                       .parallel_filter("some", [](item x) { return x % 3 == 0 ? throw failure(x) : x % 2 == 0; })
                       .map("same", [](item x) { return x; });
    std::atomic<bool> over{false};
    std::atomic<int> torn{0};
    std::jthread reader([&] {
        std::vector<stage_metrics> before = p.metrics();
        while (!over.load()) {
            const auto now = p.metrics();
            for (std::size_t i = 0; i < now.size(); ++i) {
                const auto& m = now[i];
                if (m.items_in != m.items_out + m.filtered + m.failed + m.dropped || m.latency.count() != m.items_in) ++torn;
                if (m.items_in < before[i].items_in || m.batches < before[i].batches) ++torn;
            }
            before = now;
        }
    });
    for (long round = 0; round < stress(20); ++round) p.run(counting_source{5000}, [](item) {});
    over.store(true);
    reader.join();
    CHECK(torn == 0);
    CHECK(p.metrics()[1].items_in == static_cast<std::uint64_t>(stress(20)) * 5000);
}

TEST_CASE("histograms: buckets hold what they say, merge is the sum, quantiles lie within an eighth") {
    using histogram = latency_histogram;
    for (std::size_t i = 0; i < histogram::buckets; ++i) {
        CHECK(histogram::index_of(histogram::lowest_ns(i)) == i);
        CHECK(histogram::index_of(histogram::highest_ns(i)) == i);
        if (i > 0) CHECK(histogram::highest_ns(i - 1) + 1 == histogram::lowest_ns(i));
        if (i > 0) CHECK(histogram::upper_bound(i) > histogram::upper_bound(i - 1));
    }
    CHECK(histogram{}.quantile(0.5) == 0.0);
    std::mt19937_64 random(1);
    histogram all, parts[3];
    std::vector<std::uint64_t> times;
    for (int i = 0; i < 30000; ++i) {
        const std::uint64_t ns = random() >> (22 + random() % 40);
        times.push_back(ns);
        all.record(ns);
        parts[i % 3].record(ns);
    }
    all.record(1000, 5);
    parts[0].record(1000, 5);
    times.insert(times.end(), 5, 1000);
    histogram merged;
    for (const auto& each : parts) merged.merge(each);
    CHECK(merged == all);
    CHECK(merged.count() == times.size());
    std::ranges::sort(times);
    for (const double q : {0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0}) {
        const auto rank = static_cast<std::size_t>(std::max(1.0, std::ceil(q * static_cast<double>(times.size()))));
        const double exact = static_cast<double>(times[rank - 1]) * 1e-9;
        CHECK(std::abs(all.quantile(q) - exact) <= exact / 8 + 1e-9);
    }
    const double sum = static_cast<double>(std::accumulate(times.begin(), times.end(), std::uint64_t{0})) * 1e-9;
    CHECK(std::abs(all.sum_seconds() - sum) <= 1e-9 * sum);
}

#ifndef PIPELINE_TESTING_TSAN  // which cannot follow a child that starts threads
TEST_CASE("after a fork the child runs the same pipeline with threads of its own; the parent's are left alone") {
    auto p = std::make_unique<pipeline<item>>(
        pipeline<item>({.workers = 2, .batch = 16}).parallel_map("same", [](item x) { return x; }));
    p->run(counting_source{1000}, [](item) {});
    const int code = run_child(20, [&] {
        const auto done = p->run(counting_source{1000}, [](item) {});
        const auto here = p->run_here(counting_source{1000}, [](item) {});
        p.reset();
        return done.delivered == 1000 && here.delivered == 1000 ? 0 : 1;
    });
    CHECK(code == 0);
    CHECK(p->run(counting_source{1000}, [](item) {}).delivered == 1000);
    // Forked while another thread is in the middle of a run.
    std::atomic<bool> inside{false}, go_on{false};
    std::jthread user([&] {
        p->run(counting_source{1000}, [&](item) {
            inside.store(true);
            while (!go_on.load()) std::this_thread::yield();
        });
    });
    while (!inside.load()) std::this_thread::yield();
    const int second = run_child(20, [&] {
        const auto done = p->run(counting_source{1000}, [](item) {});
        std::quick_exit(done.delivered == 1000 ? 0 : 1);
        return 2;
    });
    go_on.store(true);
    CHECK(second == 0);
}
#endif

TEST_CASE("pipelines come and go; a hundred leave nothing behind") {
    for (int i = 0; i < 100; ++i) {
        const auto p = pipeline<item>({.workers = 1 + i % 4, .batch = 8}).parallel_map("same", [](item x) { return x; });
        if (i % 3 != 0) CHECK(p.run(counting_source{100}, [](item) {}).delivered == 100);
    }
}
