// The typed pipeline: order, counts, errors by policy, cancel, drain, at every thread count; batch and depth swept.
// TENFOLD_STRESS=long makes the sweeps longer.
#include <tenfold/pipeline.hpp>
#include <tenfold_testing.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <map>
#include <numeric>
#include <set>
#include <string>
#include <thread>

#include "pipeline_testing.hpp"

using namespace tenfold;
using namespace pipeline_testing;
using tenfold_testing::thread_counts;
using item = std::int64_t;

namespace {

struct collected {
    run_result result;
    std::vector<item> items;
    bool whole() const { return result.read == result.delivered + result.filtered + result.failed + result.dropped; }
};

template <class Pipeline, class Source, class Stop = never_stop>
collected run(const Pipeline& pipeline, Source source, bool here = false, Stop stop = {}) {
    collected all;
    const auto sink = [&](item x) { all.items.push_back(x); };
    all.result = here ? pipeline.run_here(source, sink, stop) : pipeline.run(source, sink, stop);
    return all;
}

pipeline_options with(int workers, std::size_t batch, std::size_t depth = 3, on_error errors = on_error::raise) {
    return {.workers = workers, .batch = batch, .depth = depth, .errors = errors};
}

std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) {
        return e.what();
    }
}

}  // namespace

TEST_CASE("items arrive in order, all of them, for every thread count, batch and depth") {
    const auto workers = GENERATE(1, 2, 4, 7);
    const std::size_t batch = GENERATE(1u, 3u, 64u, 1000u);
    const std::size_t depth = GENERATE(1u, 2u, 16u);
    const pipeline<item> source(with(workers, batch, depth));
    const auto p = source.parallel_map("triple", [](item x) { return 3 * x; })
                       .parallel_filter("odd", [](item x) { return x % 2 != 0; })
                       .map("plus one", [](item x) { return x + 1; })
                       .filter("not of ten", [](item x) { return x % 10 != 0; })
                       .parallel_map("back", [](item x) { return x - 1; });
    for (const item size : {0, 1, 2, 63, 64, 65, 1000, 5000}) {
        std::vector<item> right;
        for (item x = 0; x < size; ++x)
            if (3 * x % 2 != 0 && (3 * x + 1) % 10 != 0) right.push_back(3 * x);
        for (const bool here : {false, true})
            for (const std::size_t most : {std::size_t{1} << 20, std::size_t{7}}) {
                const auto got = run(p, counting_source{size, most}, here);
                REQUIRE(got.items == right);
                REQUIRE(got.result.status == run_status::finished);
                REQUIRE(got.result.read == static_cast<std::uint64_t>(size));
                REQUIRE(got.result.delivered == right.size());
                REQUIRE(got.result.filtered == static_cast<std::uint64_t>(size) - right.size());
                REQUIRE(got.result.failed + got.result.dropped == 0);
                REQUIRE(got.result.seconds > 0.0);
                REQUIRE(got.result.errors.empty());
            }
    }
}

TEST_CASE("a pipeline without stages, of serial stages only, of parallel ones only") {
    std::vector<item> numbers(3000);
    std::iota(numbers.begin(), numbers.end(), 0);
    const pipeline<item> bare(with(3, 64));
    CHECK(run(bare, numbers).items == numbers);
    CHECK(run(bare, std::span<const item>(numbers)).items == numbers);
    CHECK(run(bare, numbers, true).items == numbers);
    CHECK(run(bare.map("a", [](item x) { return x; }).map("b", [](item x) { return x; }), numbers).items == numbers);
    CHECK(run(bare.parallel_map("a", [](item x) { return x; }), numbers).items == numbers);
}

TEST_CASE("types change from stage to stage; strings are moved, not lost") {
    const auto p = pipeline<item>(with(2, 16))
                       .map("text", [](item x) { return std::string(40, 'x') + std::to_string(x); })
                       .parallel_filter("even", [](const std::string& s) { return (s.back() - '0') % 2 == 0; })
                       .parallel_map("length", [](std::string&& s) { return std::pair(s.size(), std::move(s)); });
    std::vector<std::pair<std::size_t, std::string>> got;
    const auto done =
        p.run(counting_source{1000}, [&](std::pair<std::size_t, std::string>&& each) { got.push_back(std::move(each)); });
    CHECK(done.delivered == 500);
    REQUIRE(got.size() == 500);
    for (std::size_t i = 0; i < got.size(); ++i) {
        CHECK(got[i].second == std::string(40, 'x') + std::to_string(2 * i));
        CHECK(got[i].first == got[i].second.size());
    }
}

TEST_CASE("stages composed at run time, as a Python module does: function pointers on doubles") {
    pipeline<double> p(pipeline_options{.workers = 2, .batch = 100});
    double (*const stages[])(double) = {std::sqrt, std::floor, std::exp2};
    for (auto* const stage : stages) p = p.parallel_map("stage", stage);
    p = p.kernel("double", [](std::span<const double> in, std::span<double> out) {
        for (std::size_t i = 0; i < in.size(); ++i) out[i] = 2 * in[i];
    });
    std::vector<double> numbers(1234), got;
    std::iota(numbers.begin(), numbers.end(), 0.0);
    p.run(numbers, [&](std::span<double> batch) { got.insert(got.end(), batch.begin(), batch.end()); });
    REQUIRE(got.size() == numbers.size());
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == 2 * std::exp2(std::floor(std::sqrt(numbers[i]))));
}

TEST_CASE("raise: what stands before the failing item arrives, nothing after it, and its number in the source is told") {
    const auto workers = GENERATE(1, 2, 4, 7);
    const std::size_t batch = GENERATE(1u, 10u, 256u);
    const item bad = GENERATE(0, 1, 499, 500, 2999);
    const bool here = GENERATE(false, true);
    // Behind a filter positions are not numbers any more; a second failure further on must not win.
    const auto stays = [=](item x) { return x % 3 != 1 || x % 7 == 0 || x == bad; };
    const auto p = pipeline<item>(with(workers, batch))
                       .parallel_filter("stays", stays)
                       .parallel_map("fails", [=](item x) { return x == bad || x > bad + 5 ? throw failure(x) : x; })
                       .map("serial", [](item x) { return x; });
    std::vector<item> right;
    for (item x = 0; x < bad; ++x)
        if (stays(x)) right.push_back(x);
    const auto got = run(p, counting_source{3000}, here);
    REQUIRE(got.result.status == run_status::failed);
    REQUIRE(got.items == right);
    REQUIRE(got.result.errors.size() == 1);
    CHECK(got.result.errors[0].stage == 2);
    CHECK(got.result.errors[0].name == "fails");
    CHECK(got.result.errors[0].index == static_cast<std::uint64_t>(bad));
    CHECK(text_of(got.result.errors[0].error) == "item " + std::to_string(bad));
    CHECK(got.result.failed >= 1);
    CHECK(got.whole());
    CHECK_THROWS_AS(got.result.rethrow(), failure);
    const auto again =
        run(p, counting_source{std::min<item>(bad, 400)}, here);  // the same threads and batches, after a failure
    CHECK(again.result.status == run_status::finished);
    CHECK(again.whole());
}

TEST_CASE("raise: of two stages that fail, the lower item wins, not the earlier stage") {
    const std::size_t batch = GENERATE(1u, 64u, 1024u);
    const auto p = pipeline<item>(with(2, batch))
                       .parallel_map("early", [](item x) { return x == 90 ? throw failure(x) : x; })
                       .parallel_map("late", [](item x) { return x == 30 ? throw failure(x) : x; })
                       .map("last", [](item x) { return x == 29 ? throw failure(x) : x; });
    const auto got = run(p, counting_source{2000});
    REQUIRE(got.result.errors.size() == 1);
    CHECK(got.result.errors[0].index == 29);
    CHECK(got.result.errors[0].stage == 3);
    CHECK(got.items.size() == 29);
    CHECK(got.whole());
}

TEST_CASE("skip and collect: the failing items are left out, the rest arrives in order, records are complete") {
    const auto workers = GENERATE(1, 2, 4, 7);
    const std::size_t batch = GENERATE(1u, 7u, 512u);
    const auto policy = GENERATE(on_error::skip, on_error::collect);
    const bool here = GENERATE(false, true);
    const auto p = pipeline<item>(with(workers, batch, 2, policy))
                       .map("serial", [](item x) { return x % 11 == 0 ? throw failure(x) : x; })
                       .parallel_filter("filter", [](item x) { return x % 13 == 0 ? throw failure(x) : x % 2 == 0; })
                       .parallel_map("parallel", [](item x) { return x % 17 == 0 ? throw failure(x) : x; });
    std::vector<item> right;
    std::map<std::uint64_t, std::size_t> failures;
    for (item x = 0; x < 2000; ++x) {
        if (x % 11 == 0) failures[static_cast<std::uint64_t>(x)] = 1;
        else if (x % 13 == 0) failures[static_cast<std::uint64_t>(x)] = 2;
        else if (x % 2 == 0 && x % 17 == 0) failures[static_cast<std::uint64_t>(x)] = 3;
        else if (x % 2 == 0) right.push_back(x);
    }
    const auto got = run(p, counting_source{2000}, here);
    CHECK(got.result.status == run_status::finished);
    CHECK(got.items == right);
    CHECK(got.result.failed == failures.size());
    CHECK(got.result.dropped == 0);
    CHECK(got.whole());
    got.result.rethrow();  // does not
    if (policy == on_error::skip) {
        CHECK(got.result.errors.empty());
    } else {
        REQUIRE(got.result.errors.size() == failures.size());
        auto expected = failures.begin();
        for (const stage_error& each : got.result.errors) {
            CHECK(each.index == expected->first);
            CHECK(each.stage == expected->second);
            CHECK(text_of(each.error) == "item " + std::to_string(each.index));
            ++expected;
        }
    }
}

TEST_CASE("collect keeps as many records as it may, and counts all failures") {
    auto options = with(2, 100, 4, on_error::collect);
    options.most_errors = 10;
    const auto p = pipeline<item>(options).parallel_map("all fail", [](item x) -> item { throw failure(x); });
    const auto got = run(p, counting_source{5000});
    CHECK(got.result.failed == 5000);
    REQUIRE(got.result.errors.size() == 10);
    for (std::size_t i = 0; i < 10; ++i) CHECK(got.result.errors[i].index == i);
    options.errors = on_error::raise;  // one is needed to end the run
    options.most_errors = 0;
    const auto raised = run(pipeline<item>(options).map("fails", [](item x) -> item { throw failure(x); }), counting_source{5});
    CHECK_THROWS_AS(raised.result.rethrow(), failure);
}

TEST_CASE("a kernel that throws fails its batch") {
    const auto policy = GENERATE(on_error::raise, on_error::collect);
    const auto p =
        pipeline<item>(with(2, 10, 2, policy)).parallel_kernel("kernel", [](std::span<const item> in, std::span<item> out) {
            if (in.front() == 50) throw failure(50);
            std::copy(in.begin(), in.end(), out.begin());
        });
    const auto got = run(p, counting_source{100});
    CHECK(got.result.failed == 10);
    REQUIRE(got.result.errors.size() == 1);
    CHECK(got.result.errors[0].index == 50);
    CHECK(got.items.size() == (policy == on_error::raise ? 50 : 90));
    CHECK(got.whole());
}

TEST_CASE("a source that dies: what it gave arrives, then its error, whatever the policy") {
    const auto policy = GENERATE(on_error::raise, on_error::skip, on_error::collect);
    const auto workers = GENERATE(1, 2, 4, 7);
    const bool here = GENERATE(false, true);
    const auto p = pipeline<item>(with(workers, 32, 3, policy)).parallel_map("same", [](item x) { return x; });
    const auto dying = [next = item{0}](std::span<item> room) mutable {
        if (next == 777) throw failure(777);
        room[0] = next++;
        return std::size_t{1};
    };
    const auto got = run(p, dying, here);
    CHECK(got.result.status == run_status::failed);
    CHECK(got.items.size() == 777);
    CHECK(got.result.delivered == 777);
    REQUIRE(got.result.errors.size() == 1);
    CHECK(got.result.errors[0].stage == 0);
    CHECK(got.result.errors[0].name == "source");
    CHECK(got.result.errors[0].index == 777);
    CHECK_THROWS_AS(got.result.rethrow(), failure);
    // Dead behind an item that fails: the item's failure came first.
    const auto both =
        run(pipeline<item>(with(workers, 4)).parallel_map("fails", [](item x) { return x == 770 ? throw failure(x) : x; }),
            dying, here);
    CHECK(both.items.size() == 770);
    REQUIRE(both.result.errors.size() == 1);
    CHECK(both.result.errors[0].index == 770);
    const auto lies = run(p, [](std::span<item> room) { return room.size() + 1; }, here);
    CHECK(lies.result.status == run_status::failed);
    CHECK(lies.items.empty());
    CHECK_THROWS_AS(lies.result.rethrow(), std::logic_error);
}

#ifndef PIPELINE_TESTING_TSAN
TEST_CASE("no memory for the record of a failure: the run ends all the same, and says so") {
    const auto policy = GENERATE(on_error::raise, on_error::collect);
    const bool here = GENERATE(false, true), in_source = GENERATE(false, true);
    const auto fail = [](item x) {
        if (x == 5) no_memory = true;
        return x == 5 ? throw 5 : x;
    };
    const auto p = pipeline<item>(with(2, 4, 2, policy)).parallel_map("stage", [=](item x) { return in_source ? x : fail(x); });
    const auto source = [=, next = item{0}](std::span<item> room) mutable {
        room[0] = in_source ? fail(next) : next;
        return std::size_t{++next <= 100};
    };
    bool told = false;
    try {
        run(p, source, here);
    } catch (const std::bad_alloc&) {
        told = true;
    }
    no_memory = false;  // Catch2 wants some
    CHECK(told);
}
#endif

TEST_CASE("a sink that fails: the run ends there, or goes on, by the policy") {
    const auto policy = GENERATE(on_error::raise, on_error::skip, on_error::collect);
    const bool here = GENERATE(false, true);
    const auto p = pipeline<item>(with(2, 16, 2, policy)).parallel_map("same", [](item x) { return x; });
    std::vector<item> got;
    const auto sink = [&](item x) {
        if (x == 100 || x == 200) throw failure(x);
        got.push_back(x);
    };
    const auto done = here ? p.run_here(counting_source{1000}, sink) : p.run(counting_source{1000}, sink);
    CHECK(done.read == done.delivered + done.filtered + done.failed + done.dropped);
    CHECK(done.delivered == got.size());
    CHECK(done.failed == (policy == on_error::raise ? 1 : 2));
    CHECK(got.size() == (policy == on_error::raise ? 100 : 998));
    CHECK(done.errors.size() == (policy == on_error::raise ? 1 : policy == on_error::skip ? 0 : 2));
    if (!done.errors.empty()) {
        CHECK(done.errors[0].stage == 2);
        CHECK(done.errors[0].name == "sink");
        CHECK(done.errors[0].index == 100);
    }
}

TEST_CASE("cancelled at any point: what arrived is a beginning of the input, and nothing is unaccounted for") {
    const auto workers = GENERATE(1, 2, 4, 7);
    const bool here = GENERATE(false, true);
    const auto p = pipeline<item>(with(workers, 8, 2))
                       .filter("not 5", [](item x) { return x % 5 != 0; })
                       .parallel_map("same", [](item x) { return x; })
                       .map("same", [](item x) { return x; });
    for (long when = 0; when < stress(60); ++when) {
        long asked = 0;
        const auto got = run(p, counting_source{2000}, here, [&] { return asked++ == when; });
        REQUIRE(got.whole());
        REQUIRE(got.result.delivered == got.items.size());
        REQUIRE((got.result.status == run_status::cancelled) == (asked > when));
        for (std::size_t i = 0; i < got.items.size(); ++i) REQUIRE(got.items[i] == static_cast<item>(i + i / 4 + 1));
    }
    // Cancelled by another thread, while a source that never ends goes on.
    std::stop_source wish;
    std::atomic<long> arrived{0};
    std::jthread other([&] {
        while (arrived.load() < 1000) std::this_thread::yield();
        wish.request_stop();
    });
    const auto sink = [&](item) { arrived.fetch_add(1); };
    auto endless = counting_source{std::numeric_limits<item>::max()};
    const auto asks = [&] { return wish.stop_requested(); };
    const auto done = here ? p.run_here(endless, sink, asks) : p.run(endless, sink, asks);
    CHECK(done.status == run_status::cancelled);
    CHECK(done.read == done.delivered + done.filtered + done.dropped);
    CHECK(done.delivered == static_cast<std::uint64_t>(arrived.load()));
}

TEST_CASE("what stop throws is thrown, after the threads have come to their end") {
    const auto p = pipeline<item>(with(2, 4)).parallel_map("same", [](item x) { return x; });
    const auto throws = []() -> bool { throw failure(-1); };
    const auto sink = [](item) {};
    CHECK_THROWS_AS(p.run(counting_source{1000}, sink, throws), failure);
    CHECK_THROWS_AS(p.run_here(counting_source{1000}, sink, throws), failure);
    CHECK(run(p, counting_source{1000}).items.size() == 1000);
}

TEST_CASE("drain: the source is told to end, and all that it had given arrives") {
    const auto workers = GENERATE(1, 2, 4, 7);
    std::stop_source enough;
    std::atomic<std::int64_t> given{0};
    const auto p = pipeline<item>(with(workers, 16)).parallel_map("same", [](item x) { return x; });
    const auto endless = [&, next = item{0}](std::span<item> room) mutable {
        room[0] = next++;
        given.store(next);
        return std::size_t{1};
    };
    std::vector<item> got;
    const auto done = p.run(drain_when(enough.get_token(), endless), [&](item x) {
        got.push_back(x);
        if (got.size() == 500) enough.request_stop();
    });
    CHECK(done.status == run_status::finished);
    CHECK(done.dropped == 0);
    CHECK(static_cast<std::int64_t>(got.size()) == given.load());
    CHECK(got.size() >= 500);
}

TEST_CASE("options that make no sense are refused") {
    CHECK_THROWS_AS(pipeline<item>(with(-1, 1)), std::invalid_argument);
    CHECK_THROWS_AS(pipeline<item>(with(1025, 1)), std::invalid_argument);
    CHECK_THROWS_AS(pipeline<item>(with(1, 0)), std::invalid_argument);
    CHECK_THROWS_AS(pipeline<item>(with(1, std::size_t{1} << 25)), std::invalid_argument);
    CHECK_THROWS_AS(pipeline<item>(with(1, 1, 0)), std::invalid_argument);
    CHECK(pipeline<item>(with(0, 1)).options().workers >= 1);
}
