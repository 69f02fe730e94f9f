// Boost.Lockfree's containers: every item exactly once. The ABA problem, on purpose. Litmus tests: what must never be seen.
// TENFOLD_STRESS=long makes the transfers at least 1e7 items long.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

#include <tenfold/aba.hpp>
#include <tenfold/litmus.hpp>
#include <tenfold/lockfree.hpp>

#include "tenfold_testing.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

// Boost.Lockfree's nodes are plain memory: a slow pop may read one that another thread is filling again, finds its tag outdated
// and throws away what it read. In the C++ model that is a data race, and ThreadSanitizer says so. Nothing of ours is hidden:
// what the tests hand from thread to thread is checked all the same. By file: -g1 leaves the namespaces out of the names.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() { return "race:/boost/lockfree/\n"; }

namespace {

using tenfold_testing::run_threads;

std::uint64_t operations(std::uint64_t brief) {
    const char* const wish = std::getenv("TENFOLD_STRESS");
    return wish && std::strcmp(wish, "long") == 0 ? 10'000'000 : brief;
}

template <class Container>
void bounded() {
    Container container(3);
    CHECK(container.capacity() == 3);
    CHECK(container.empty());
    CHECK_FALSE(container.pop());
    for (const std::int64_t item : {10, 20, 30}) CHECK(container.push(item));
    CHECK_FALSE(container.push(40));
    CHECK_FALSE(container.empty());
    std::vector<std::int64_t> items;
    while (const auto item = container.pop()) items.push_back(*item);
    CHECK(items.size() == 3);
    CHECK(container.push(std::numeric_limits<std::int64_t>::min()));
    CHECK(container.pop() == std::numeric_limits<std::int64_t>::min());
    CHECK_THROWS_AS(Container(0), std::invalid_argument);
    CHECK_THROWS_AS(Container(Container::max_capacity + 1), std::invalid_argument);
}

template <class Container>
void exactly_once(bool fifo) {
    const int producers = GENERATE(1, 2, 4, 7);
    const int consumers = GENERATE(1, 2, 4, 7);
    const std::size_t capacity = GENERATE(1u, 1000u);
    Container container(capacity);
    const auto each = (capacity == 1 ? 500 : operations(20'000)) / static_cast<std::uint64_t>(producers);
    const auto result = tenfold::transfer(container, producers, consumers, each);
    CHECK(result.sent == each * static_cast<std::uint64_t>(producers));
    CHECK(result.received == result.sent);
    CHECK(result.duplicates == 0);
    CHECK(result.lost == 0);
    CHECK(result.seconds > 0);
    if (fifo) CHECK(result.fifo_per_producer);
    CHECK(container.empty());
}

}  // namespace

TEST_CASE("lockfree: capacity is what was asked for, order is first or last in") {
    SECTION("queue") { bounded<tenfold::lockfree_queue>(); }
    SECTION("stack") { bounded<tenfold::lockfree_stack>(); }
    SECTION("spsc") { bounded<tenfold::lockfree_spsc>(); }
    SECTION("order") {
        tenfold::lockfree_queue queue(2);
        tenfold::lockfree_stack stack(2);
        for (const std::int64_t item : {1, 2}) {
            queue.push(item);
            stack.push(item);
        }
        CHECK(queue.pop() == 1);
        CHECK(stack.pop() == 2);
    }
    SECTION("the largest") {
        tenfold::lockfree_queue queue(tenfold::lockfree_queue::max_capacity);
        tenfold::lockfree_stack stack(tenfold::lockfree_stack::max_capacity);
        std::size_t queued = 0, stacked = 0;
        while (queue.push(1)) ++queued;
        while (stack.push(1)) ++stacked;
        CHECK(queued == tenfold::lockfree_queue::max_capacity);
        CHECK(stacked == tenfold::lockfree_stack::max_capacity);
    }
}

TEST_CASE("lockfree queue: every item exactly once, each producer's in order") { exactly_once<tenfold::lockfree_queue>(true); }
TEST_CASE("lockfree stack: every item exactly once") { exactly_once<tenfold::lockfree_stack>(false); }

TEST_CASE("lockfree spsc: every item exactly once, in order") {
    const std::size_t capacity = GENERATE(1u, 2u, 1000u);
    tenfold::lockfree_spsc queue(capacity);
    const auto result = tenfold::transfer(queue, 1, 1, capacity == 1000 ? operations(50'000) : 2'000);
    CHECK(result.received == result.sent);
    CHECK(result.duplicates + result.lost == 0);
    CHECK(result.fifo_per_producer);
    CHECK_THROWS_AS(tenfold::transfer(queue, 2, 1, 1), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::transfer(queue, 1, 2, 1), std::invalid_argument);
}

TEST_CASE("transfer: bad arguments, stops, nothing to send") {
    tenfold::lockfree_queue queue(4);
    CHECK_THROWS_AS(tenfold::transfer(queue, 0, 1, 1), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::transfer(queue, 1, 0, 1), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::transfer(queue, 1, 1, (std::uint64_t{1} << 32) + 1), std::invalid_argument);
    CHECK(tenfold::transfer(queue, 2, 2, 0).received == 0);
    int asked = 0;
    CHECK_THROWS_AS(tenfold::transfer(queue, 2, 2, 100'000'000, [&asked] { return ++asked > 2; }), tenfold::stopped);
}

namespace {
// Loses and doubles on purpose: the check must notice.
struct liar {
    tenfold::lockfree_queue inner{64};
    std::atomic<int> pushes{0}, pops{0};
    bool push(std::int64_t item) { return ++pushes % 100 == 50 || inner.push(item); }  // "pushed"
    std::optional<std::int64_t> pop() {
        const auto item = inner.pop();
        if (item && ++pops % 100 == 60) inner.push(*item);
        return item;
    }
};
}  // namespace

#if defined(__linux__)
namespace {
// A container that looks where its callers may run: items are its own business.
struct watched {
    tenfold::lockfree_queue inner{64};
    std::atomic<int> free{0};
    static thread_local int cores;
    void look() {
        cpu_set_t allowed;
        if (cores == 0 && ::sched_getaffinity(0, sizeof allowed, &allowed) == 0) cores = CPU_COUNT(&allowed);
        free += cores != 1;
    }
    bool push(std::int64_t item) {
        look();
        return inner.push(item);
    }
    std::optional<std::int64_t> pop() {
        look();
        return inner.pop();
    }
};
thread_local int watched::cores = 0;
}  // namespace

TEST_CASE("transfer: every thread stays on one core") {
    const int side = GENERATE(1, 3);
    watched container;
    const auto result = tenfold::transfer(container, side, side, 1'000);
    CHECK(result.lost == 0);
    CHECK(container.free == 0);
}
#endif

TEST_CASE("transfer notices what is lost and what comes twice") {
    liar container;
    const auto result = tenfold::transfer(container, 1, 1, 10'000);
    CHECK(result.lost > 0);
    CHECK(result.duplicates > 0);
    CHECK_FALSE(result.fifo_per_producer);
    CHECK(result.received == result.sent - result.lost + result.duplicates);
}

TEST_CASE("ABA: the naive stack hands out an index twice, the tagged one does not; every time") {
    for (int round = 0; round < 50; ++round) {
        const auto naive = tenfold::show_aba_naive();
        REQUIRE(naive.swapped);
        REQUIRE(naive.corrupt);
        REQUIRE(naive.handed_out == std::vector<std::uint32_t>{1, 0, 1, 2});
        const auto tagged = tenfold::show_aba_tagged();
        REQUIRE_FALSE(tagged.swapped);
        REQUIRE_FALSE(tagged.corrupt);
        REQUIRE(tagged.handed_out == std::vector<std::uint32_t>{1, 0, 2});
    }
}

TEST_CASE("tagged_stack: a free list under threads never gives one index to two") {
    const int threads = GENERATE(1, 2, 4, 7);
    constexpr std::uint32_t capacity = 5;
    tenfold::tagged_stack stack(capacity);
    for (std::uint32_t i = 0; i < capacity; ++i) stack.push(i);
    std::vector<std::uint64_t> slots(capacity);  // not atomic: whoever holds an index owns its slot, and TSan watches
    const std::uint64_t each = operations(200'000) / static_cast<std::uint64_t>(threads);
    std::atomic<std::uint64_t> written{0};
    run_threads(threads, [&](int) {
        for (std::uint64_t k = 0; k < each; ++k)
            if (const auto index = stack.pop()) {
                ++slots[*index];
                stack.push(*index);
                written.fetch_add(1, std::memory_order_relaxed);
            }
    });
    std::uint64_t total = 0, indices = 0;
    for (const std::uint64_t slot : slots) total += slot;
    while (stack.pop()) ++indices;
    CHECK(total == written);
    CHECK(indices == capacity);
    CHECK_THROWS_AS(stack.push(capacity), std::out_of_range);
    CHECK_THROWS_AS(tenfold::tagged_stack(0xffffffff), std::invalid_argument);
}

TEST_CASE("litmus: seq_cst forbids what the others allow; an acquired flag brings its data") {
    using tenfold::litmus_order;
    const auto order = GENERATE(litmus_order::relaxed, litmus_order::acquire_release, litmus_order::seq_cst);
    const std::uint64_t rounds = operations(5'000) / 4;
    const auto seen = tenfold::store_buffering(order, rounds);
    CHECK(seen.total() == rounds);
    if (order == litmus_order::seq_cst) CHECK(seen.both_zero == 0);  // allowed elsewhere, but luck: not required
    const auto message = tenfold::message_passing(order, rounds);
    CHECK(message.not_seen + message.seen_fresh + message.seen_stale == rounds);
    if (order != litmus_order::relaxed) CHECK(message.seen_stale == 0);
    CHECK(tenfold::store_buffering(order, 0).total() == 0);
}

TEST_CASE("litmus: an endless run can be stopped") {
    int asked = 0;
    const auto stop = [&asked] { return ++asked > 2; };
    CHECK_THROWS_AS(tenfold::store_buffering(tenfold::litmus_order::relaxed, 1'000'000'000'000, stop), tenfold::stopped);
    asked = 0;
    CHECK_THROWS_AS(tenfold::message_passing(tenfold::litmus_order::relaxed, 1'000'000'000'000, stop), tenfold::stopped);
}
