// The pools that one size or one thread make simple: buffer_pool, arena, fixed_pool, object_pool. What must never happen is a block
// with two owners; what must happen is a refusal, a report, a reuse.
#include <tenfold/arena.hpp>
#include <tenfold/buffer_pool.hpp>
#include <tenfold/object_pool.hpp>
#include <tenfold_testing.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "counting_testing.hpp"

using namespace tenfold;
using tenfold_testing::run_child;
using tenfold_testing::run_threads;
using tenfold_testing::thread_counts;

namespace {

constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();

bool poisoned([[maybe_unused]] const void* address) {
#ifdef TENFOLD_ALLOC_ASAN
    return __asan_address_is_poisoned(address) != 0;
#else
    return true;  // only ASan can say
#endif
}

bool aligned(const void* pointer, std::size_t alignment) { return reinterpret_cast<std::uintptr_t>(pointer) % alignment == 0; }

struct tracked {
    static inline int alive = 0;
    static inline std::vector<int> ended;
    int value;
    explicit tracked(int v) : value(v) {
        if (v < 0) throw std::runtime_error("no");
        ++alive;
    }
    ~tracked() {
        --alive;
        ended.push_back(value);
    }
};

}  // namespace

// ---- buffer_pool

TEST_CASE("buffer_pool: blocks are reused, last in first out, and counted") {
    buffer_pool pool(100, 3);
    CHECK(pool.block_bytes() == 100);
    CHECK(pool.capacity() == 3);
    buffer first = pool.acquire();
    std::byte* address = first.data();
    REQUIRE(first.size() == 100);
    std::memset(first.data(), 1, 100);
    first.reset();
    CHECK_FALSE(first);
    CHECK(first.size() == 0);
    CHECK(poisoned(address));
    CHECK(poisoned(address + 99));
    for (int i = 0; i < 100; ++i) {
        const buffer again = pool.acquire();
        REQUIRE(again.data() == address);
        REQUIRE(pool.live() == 1);
    }
    const auto stats = pool.stats();
    CHECK(stats.hits == 100);
    CHECK(stats.misses == 1);
    CHECK(stats.extra == 0);
    CHECK(stats.live == 0);
    CHECK(stats.peak == 1);
    CHECK(stats.available == 3);
    CHECK(stats.bytes >= 300);
}

TEST_CASE("buffer_pool: blocks do not overlap and are aligned, for odd sizes and many segments") {
    for (const std::size_t size : {1ul, 7ul, 64ul, 65ul, 4096ul, 100'000ul})
        for (const std::size_t alignment : {1ul, 16ul, 64ul, 4096ul}) {
            constexpr std::size_t capacity = 300;
            buffer_pool pool(size, capacity, {.alignment = alignment});
            std::vector<buffer> all;
            std::set<std::byte*> starts;
            for (std::size_t i = 0; i < capacity; ++i) {
                all.push_back(pool.try_acquire());
                REQUIRE(all.back());
                REQUIRE(all.back().pooled());
                REQUIRE(aligned(all.back().data(), alignment));
                starts.insert(all.back().data());
            }
            CHECK_FALSE(pool.try_acquire());
            REQUIRE(starts.size() == capacity);
            for (auto at = starts.begin(); std::next(at) != starts.end(); ++at)
                REQUIRE(static_cast<std::size_t>(*std::next(at) - *at) >= size);
            for (std::size_t i = 0; i < capacity; i += 17) std::memset(all[i].data(), static_cast<int>(i), size);
            CHECK(pool.available() == 0);
        }
}

TEST_CASE("buffer_pool: beyond capacity an extra block, a refusal, or an empty handle, as asked") {
    buffer_pool pool(64, 2);
    buffer a = pool.acquire(), b = pool.acquire(), extra = pool.acquire();
    CHECK(extra);
    CHECK_FALSE(extra.pooled());
    std::memset(extra.data(), 1, extra.size());
    CHECK_FALSE(pool.try_acquire());
    auto stats = pool.stats();
    CHECK(stats.live == 3);
    CHECK(stats.peak == 3);
    CHECK(stats.extra == 1);
    CHECK(stats.misses == 3);
    CHECK(stats.available == 0);
    extra.reset();
    CHECK(pool.stats().live == 2);
    CHECK(pool.available() == 0);

    buffer_pool strict(64, 1, {.beyond = when_full::refuse});
    const buffer only = strict.acquire();
    CHECK_THROWS_AS(strict.acquire(), pool_exhausted);
    CHECK_THROWS_AS(strict.allocate(), pool_exhausted);
    CHECK_THROWS_AS(pool.allocate(), pool_exhausted);
    CHECK(strict.live() == 1);
}

TEST_CASE("buffer_pool: handles move, typed views hold what fits") {
    buffer_pool pool(100, 2);
    buffer a = pool.acquire();
    CHECK(a.as<double>().size() == 12);
    CHECK(a.bytes().size() == 100);
    std::byte* at = a.data();
    buffer b = std::move(a);
    CHECK_FALSE(a);
    CHECK(b.data() == at);
    buffer c = pool.acquire();
    c = std::move(b);  // gives its own back
    CHECK(c.data() == at);
    CHECK(pool.live() == 1);
    buffer& self = c;
    c = std::move(self);
    CHECK(c.data() == at);
    CHECK(buffer().as<int>().empty());
}

TEST_CASE("buffer_pool: double, foreign and mistaken frees are refused and change nothing") {
    buffer_pool pool(64, 4), other(64, 4);
    std::byte* block = pool.allocate();
    std::byte* foreign = other.allocate();
    int on_stack = 0;
    const auto heap = std::make_unique<int>();
    CHECK_THROWS_AS(pool.deallocate(foreign), foreign_free);
    CHECK_THROWS_AS(pool.deallocate(&on_stack), foreign_free);
    CHECK_THROWS_AS(pool.deallocate(heap.get()), foreign_free);
    CHECK_THROWS_AS(pool.deallocate(block + 1), foreign_free);
    CHECK_THROWS_AS(pool.deallocate(reinterpret_cast<void*>(16)), foreign_free);
    buffer held = pool.acquire();
    CHECK_THROWS_AS(pool.deallocate(held.data()), bad_free);
    pool.deallocate(nullptr);
    CHECK(pool.live() == 2);
    CHECK(pool.leaks().blocks == 1);
    pool.deallocate(block);
    CHECK_THROWS_AS(pool.deallocate(block), double_free);
    CHECK(pool.live() == 1);
    other.deallocate(foreign);
}

TEST_CASE("buffer_pool: one block freed by several threads at once is freed once") {
    for (const int threads : thread_counts) {
        buffer_pool pool(64, 4);
        for (int round = 0; round < 200; ++round) {
            std::byte* block = pool.allocate();
            std::atomic<int> freed{0};
            run_threads(threads, [&](int) {
                try {
                    pool.deallocate(block);
                    ++freed;
                } catch (const double_free&) {
                }
            });
            REQUIRE(freed == 1);
            REQUIRE(pool.live() == 0);
        }
        std::set<std::byte*> all{pool.allocate(), pool.allocate(), pool.allocate(), pool.allocate()};
        CHECK(all.size() == 4);
        for (std::byte* each : all) pool.deallocate(each);
    }
}

TEST_CASE("buffer_pool: a block has one owner at a time, whatever the threads do") {
    for (const int threads : thread_counts) {
        for (const std::size_t capacity : {1ul, 3ul, 64ul}) {
            buffer_pool pool(sizeof(std::atomic<int>) * 4, capacity);
            std::mutex mutex;
            std::vector<buffer> shared;  // blocks that one thread took and another will give back
            std::atomic<int> overlaps{0};
            run_threads(threads, [&](int who) {
                std::mt19937 random(static_cast<unsigned>(who) + 1);
                std::vector<buffer> mine;
                for (int i = 0; i < 3000; ++i) {
                    if (random() % 2) {
                        buffer block = random() % 4 ? pool.acquire() : pool.try_acquire();
                        if (block) {
                            const auto values = block.as<int>();
                            std::fill(values.begin(), values.end(), who * 10'000 + i);
                            std::this_thread::yield();
                            if (std::count(values.begin(), values.end(), who * 10'000 + i) != 4) ++overlaps;
                            mine.push_back(std::move(block));
                        }
                    } else if (!mine.empty()) {
                        const std::lock_guard lock(mutex);
                        shared.push_back(std::move(mine.back()));
                        mine.pop_back();
                        if (shared.size() > 8) {
                            std::swap(shared[random() % shared.size()], shared.back());
                            shared.pop_back();
                        }
                    }
                }
            });
            shared.clear();
            CHECK(overlaps == 0);
            CHECK(pool.live() == 0);
            CHECK(pool.available() == capacity);
            std::vector<buffer> all;
            for (std::size_t i = 0; i < capacity; ++i) all.push_back(pool.try_acquire());
            CHECK(std::all_of(all.begin(), all.end(), [](const buffer& each) { return bool(each); }));
        }
    }
}

TEST_CASE("buffer_pool: waiting bounds memory and loses no wake-up") {
    for (const int threads : thread_counts) {
        buffer_pool pool(64, 2);
        std::atomic<long> sum{0};
        run_threads(threads, [&](int) {
            for (int i = 0; i < 2000; ++i) {
                const buffer block = pool.acquire_wait();
                ++sum;
            }
        });
        CHECK(sum == threads * 2000);
        CHECK(pool.stats().peak <= 2);
        CHECK(pool.stats().extra == 0);
        CHECK(pool.live() == 0);
    }
}

TEST_CASE("buffer_pool: a wait can be stopped") {
    buffer_pool pool(64, 1);
    const buffer held = pool.acquire();
    int asked = 0;
    CHECK_THROWS_AS(pool.acquire_wait([&] { return ++asked == 3; }), stopped);
    CHECK(asked == 3);
    struct own {};
    CHECK_THROWS_AS(pool.acquire_wait([]() -> bool { throw own(); }), own);
    CHECK(pool.live() == 1);
}

TEST_CASE("buffer_pool: handles outlive the pool; what allocate() gave is reported and freed") {
    leak_report told;
    buffer survivor;
    {
        buffer_pool pool(32, 4, {.on_leak = [&](const leak_report& report) { told = report; }});
        survivor = pool.acquire();
        static_cast<void>(pool.allocate());
        static_cast<void>(pool.allocate());
    }
    CHECK(told.blocks == 2);
    CHECK(told.bytes == 64);
    std::memset(survivor.data(), 5, survivor.size());
    CHECK(survivor.size() == 32);
    survivor.reset();

    told = {};
    {
        buffer_pool pool(32, 4, {.on_leak = [&](const leak_report& report) { told = report; }});
    }
    CHECK(told.blocks == 0);
}

TEST_CASE("buffer_pool: a write after the return is found in debug mode") {
    if (built_with_asan) return;  // ASan ends the program at the write itself: see below
    buffer_pool pool(64, 2, {.debug = true});
    buffer block = pool.acquire();
    std::byte* stale = block.data();
    block.reset();
    stale[40] = std::byte{1};
    CHECK_THROWS_AS(pool.acquire(), use_after_return);
    CHECK(pool.live() == 0);
    buffer good = pool.acquire(), better = pool.acquire();  // nothing was lost
    CHECK(good);
    CHECK(better.pooled());
}

#ifdef TENFOLD_ALLOC_ASAN
TEST_CASE("under AddressSanitizer the use of returned memory ends the program") {
    CHECK(run_child(20, [] {
              buffer_pool pool(64, 2);
              buffer block = pool.acquire();
              volatile std::byte* stale = block.data();
              block.reset();
              return static_cast<int>(stale[8]);
          }) != 0);
    CHECK(run_child(20, [] {
              arena memory;
              volatile int* stale = memory.create<int>(0);
              memory.reset();
              return *stale;
          }) != 0);
    CHECK(run_child(20, [] {
              object_pool<std::array<int, 8>> pool;
              auto* object = pool.create();
              volatile int* stale = object->data() + 4;
              pool.destroy(object);
              return *stale;
          }) != 0);
}
#endif

TEST_CASE("buffer_pool: bad arguments") {
    CHECK_THROWS_AS(buffer_pool(0, 1), std::invalid_argument);
    CHECK_THROWS_AS(buffer_pool(1, 0), std::invalid_argument);
    CHECK_THROWS_AS(buffer_pool(1, 1, {.alignment = 3}), std::invalid_argument);
    CHECK_THROWS_AS(buffer_pool(1, 1, {.alignment = 0}), std::invalid_argument);
    CHECK_THROWS_AS(buffer_pool(huge, 1), std::bad_alloc);
    CHECK_THROWS_AS(buffer_pool(huge / 4, 1000), std::bad_alloc);
    CHECK_THROWS_AS(buffer_pool(8, huge), std::bad_alloc);
    buffer_pool wide(1, 1'000'000'000);  // capacity costs nothing until it is used
    CHECK(wide.acquire());
    CHECK(wide.stats().bytes < 1'000'000);
    buffer_pool large(std::size_t{1} << 45, 2);  // more than there is
    if (counting_new::counted) CHECK_THROWS_AS(large.acquire(), std::bad_alloc);
    CHECK(large.live() == 0);
}

TEST_CASE("buffer_pool: nothing is allocated once it is warm, or from the start if reserved") {
    if (!counting_new::counted) return;
    buffer_pool pool(1000, 16);
    std::array<buffer, 16> held;
    for (auto& each : held) each = pool.acquire();
    for (auto& each : held) each.reset();
    long before = counting_new::allocations();
    for (int i = 0; i < 1000; ++i) {
        for (auto& each : held) each = pool.acquire();
        for (auto& each : held) each.reset();
    }
    CHECK(counting_new::allocations() == before);
    CHECK(pool.stats().misses == 16);

    buffer_pool reserved(1000, 500);
    reserved.reserve();
    reserved.reserve();
    before = counting_new::allocations();
    std::array<buffer, 500> many;
    for (auto& each : many) each = reserved.try_acquire();
    CHECK(counting_new::allocations() == before);
    CHECK(reserved.stats().misses == 0);
    CHECK(reserved.stats().hits == 500);
}

#ifndef UNDER_TSAN  // which does not follow a child of a process with threads
TEST_CASE("buffer_pool: a forked child goes on, whatever other threads did at that moment") {
    buffer_pool pool(64, 4);
    std::atomic<bool> over{false};
    std::vector<std::jthread> busy;
    for (int i = 0; i < 3; ++i)
        busy.emplace_back([&] {
            while (!over) const buffer block = pool.acquire_wait();
        });
    const buffer mine = pool.acquire_wait();
    for (int round = 0; round < 20; ++round) {
        const int code = run_child(20, [&] {
            // Blocks that other threads held are gone in the child; at least the one given back here goes round.
            std::byte* block = nullptr;
            buffer_pool own(64, 1);
            {
                const buffer one = own.acquire_wait();
                block = one.data();
            }
            const buffer again = own.acquire_wait();
            if (again.data() != block) return 1;
            for (int i = 0; i < 100; ++i)
                if (!pool.acquire()) return 2;  // an extra one if need be
            return 0;
        });
        REQUIRE(code == 0);
    }
    over = true;
}
#endif

// ---- arena

TEST_CASE("arena: allocations are aligned, apart and writable; reset brings them again") {
    arena memory(128);
    std::mt19937 random(7);
    std::vector<std::pair<unsigned char*, std::size_t>> first;
    for (int round = 0; round < 3; ++round) {
        random.seed(7);
        std::vector<std::pair<unsigned char*, std::size_t>> all;
        for (int i = 0; i < 500; ++i) {
            const std::size_t bytes = random() % 300, alignment = std::size_t{1} << random() % 9;
            auto* block = static_cast<unsigned char*>(memory.allocate(bytes, alignment));
            REQUIRE(block);
            REQUIRE(aligned(block, alignment));
            REQUIRE((bytes == 0 || memory.owns(block)));
            std::memset(block, i & 0xFF, bytes);
            all.emplace_back(block, bytes);
        }
        for (std::size_t i = 0; i < all.size(); ++i)
            REQUIRE(std::all_of(all[i].first, all[i].first + all[i].second, [&](unsigned char c) { return c == (i & 0xFF); }));
        if (round == 0) first = all;
        else CHECK(all == first);  // the same demands, the same places
        CHECK(memory.blocks() > 3);
        CHECK(memory.used() <= memory.reserved());
        memory.reset();
        CHECK(memory.used() == 0);
        CHECK(poisoned(all[0].first));
        CHECK_FALSE(memory.owns(all[0].first));
        CHECK(memory.peak() > 0);
    }
    memory.release();
    CHECK(memory.reserved() == 0);
    CHECK(memory.blocks() == 0);
    CHECK(memory.create<int>(3));
}

TEST_CASE("arena: zero bytes are pointers of their own") {
    arena memory;
    void *a = memory.allocate(0, 1), *b = memory.allocate(0, 1);
    CHECK(a);
    CHECK(a != b);
    CHECK(memory.make_span<int>(0).empty());
}

TEST_CASE("arena: destructors run at reset, last first, and not for what was never made") {
    tracked::ended.clear();
    {
        arena memory(64);
        for (int i = 0; i < 5; ++i) memory.create<tracked>(i);
        CHECK_THROWS_AS(memory.create<tracked>(-1), std::runtime_error);
        CHECK(tracked::alive == 5);
        memory.reset();
        CHECK(tracked::alive == 0);
        CHECK(tracked::ended == std::vector<int>{4, 3, 2, 1, 0});
        memory.create<tracked>(9);
        memory.create<std::string>("long enough to be on the heap, so that a leak would be seen");
    }
    CHECK(tracked::alive == 0);
}

TEST_CASE("arena: rewind frees what came after the mark") {
    tracked::ended.clear();
    arena memory(256);
    const auto empty = memory.mark();
    auto* keep = memory.create<tracked>(1);
    const auto mark = memory.mark();
    const std::size_t used = memory.used();
    for (int round = 0; round < 3; ++round) {
        memory.create<tracked>(2);
        memory.make_span<double>(1000);
        memory.create<tracked>(3);
        memory.rewind(mark);
        CHECK(memory.used() == used);
        CHECK(tracked::alive == 1);
        CHECK(keep->value == 1);
    }
    CHECK(memory.blocks() == 2);
    memory.rewind(empty);
    CHECK(tracked::alive == 0);
    CHECK(memory.used() == 0);
    CHECK(tracked::ended == std::vector<int>{3, 2, 3, 2, 3, 2, 1});
}

TEST_CASE("arena: the budget holds, and what it refuses changes nothing") {
    arena memory({.first_block = 1024, .budget = 4096});
    std::size_t got = 0;
    try {
        for (;;) {
            memory.allocate(100);
            got += 100;
        }
    } catch (const budget_exceeded&) {
    }
    CHECK(got >= 3000);
    CHECK(memory.reserved() <= 4096);
    CHECK_THROWS_AS(memory.allocate(5000), budget_exceeded);
    memory.reset();
    CHECK(memory.allocate(100));
}

TEST_CASE("arena: demands that grow replace the block that became too small") {
    arena memory(1024);
    std::size_t most = 0;
    for (std::size_t bytes = 1 << 20; bytes < 3 << 20; bytes += 1000) {
        std::memset(memory.allocate(bytes), 7, bytes);
        memory.reset();
        most = std::max(most, memory.reserved());
    }
    CHECK(most < 3 * (3 << 20));
    arena large(1024);
    for (std::size_t bytes = 80 << 20; bytes < 90 << 20; bytes += 1 << 20) {
        large.allocate(bytes);
        large.reset();
    }
    CHECK(large.reserved() < 2 * (90 << 20));
    CHECK(large.blocks() <= 3);
}

TEST_CASE("arena: unused blocks make room within the budget") {
    arena memory({.first_block = 1024, .budget = 1 << 20});
    for (int i = 0; i < 700; ++i) memory.allocate(1000);
    memory.reset();
    CHECK(memory.allocate(900'000));
    CHECK(memory.reserved() <= 1 << 20);
    CHECK_THROWS_AS(memory.allocate(900'000), budget_exceeded);
    memory.reset();
    CHECK(memory.allocate(900'000));
}

TEST_CASE("arena: random demands stay apart, whatever was asked for before") {
    arena memory(64);
    std::mt19937 random(11);
    for (int round = 0; round < 300; ++round) {
        std::vector<std::pair<unsigned char*, std::size_t>> all;
        std::size_t total = 0;
        arena::marker mark = memory.mark();
        std::size_t marked = 0;
        for (int i = 0, n = static_cast<int>(random() % 30); i < n; ++i) {
            const std::size_t bytes = random() % (random() % 8 == 0 ? 100'000 : 500);
            auto* block = static_cast<unsigned char*>(memory.allocate(bytes, std::size_t{1} << random() % 10));
            std::memset(block, i, bytes);
            all.emplace_back(block, bytes);
            total += bytes;
            if (random() % 10 == 0) mark = memory.mark(), marked = all.size();
            if (random() % 10 == 0) memory.rewind(mark), all.resize(marked);
        }
        for (std::size_t i = 0; i < all.size(); ++i) {
            if (all[i].second == 0) continue;
            REQUIRE(memory.owns(all[i].first));
            for (std::size_t j = 0; j < i; ++j)
                REQUIRE((all[i].first >= all[j].first + all[j].second || all[j].first >= all[i].first + all[i].second));
        }
        REQUIRE(memory.used() <= memory.reserved());
        memory.reset();
    }
}

TEST_CASE("arena: sizes that overflow, alignments that are none") {
    arena memory;
    CHECK_THROWS_AS(memory.allocate(huge), std::bad_alloc);
    CHECK_THROWS_AS(memory.allocate(huge - 100, 64), std::bad_alloc);
    CHECK_THROWS_AS(memory.uninitialized_span<double>(huge / 4), std::bad_array_new_length);
    CHECK_THROWS_AS(memory.make_span<double>(huge), std::bad_array_new_length);
    CHECK_THROWS_AS(memory.allocate(8, 0), std::invalid_argument);
    CHECK_THROWS_AS(memory.allocate(8, 24), std::invalid_argument);
    CHECK_THROWS_AS(arena(0), std::invalid_argument);
    CHECK(memory.allocate(8));
    CHECK_THROWS_AS(memory.allocate(8, 24), std::invalid_argument);
    CHECK(aligned(memory.allocate(10, 1 << 16), 1 << 16));
}

TEST_CASE("arena: a write after reset is found in debug mode") {
    if (built_with_asan) return;
    arena memory({.debug = true});
    const auto values = memory.make_span<double>(10);
    memory.reset();
    values[3] = 1.0;
    memory.allocate(16);
    CHECK_THROWS_AS(memory.make_span<double>(9), use_after_return);
    CHECK(memory.make_span<double>(9)[8] == 0.0);
    memory.reset();
    memory.reset();
    CHECK(memory.make_span<double>(10).size() == 10);
}

TEST_CASE("arena: nothing is allocated once it is warm") {
    if (!counting_new::counted) return;
    arena memory(1000);
    const auto work = [&] {
        for (int i = 0; i < 100; ++i) {
            memory.make_span<double>(static_cast<std::size_t>(i));
            memory.create<std::array<char, 77>>();
        }
        memory.reset();
    };
    work();
    const long before = counting_new::allocations();
    for (int i = 0; i < 100; ++i) work();
    CHECK(counting_new::allocations() == before);
}

// ---- fixed_pool, object_pool

TEMPLATE_TEST_CASE("fixed_pool: blocks are apart, aligned, reused", "", fixed_pool, unchecked_fixed_pool) {
    for (const std::size_t size : {1ul, 8ul, 24ul, 100ul, 5000ul, 3'000'000ul})
        for (const std::size_t alignment : {1ul, 16ul, 256ul}) {
            TestType pool(size, alignment);
            std::vector<void*> out;
            std::set<void*> ever;
            std::mt19937 random(3);
            for (int i = 0; i < (size > 10'000 ? 30 : 2000); ++i) {
                if (random() % 3 || out.empty()) {
                    out.push_back(pool.allocate());
                    ever.insert(out.back());
                    REQUIRE(aligned(out.back(), alignment));
                    std::memset(out.back(), i, size);
                } else {
                    std::swap(out[random() % out.size()], out.back());
                    pool.deallocate(out.back());
                    out.pop_back();
                }
                REQUIRE(pool.live() == out.size());
            }
            std::sort(out.begin(), out.end());
            for (std::size_t i = 1; i < out.size(); ++i)
                REQUIRE(static_cast<std::size_t>(static_cast<char*>(out[i]) - static_cast<char*>(out[i - 1])) >= size);
            CHECK(ever.size() <= pool.capacity());
            CHECK(pool.reserved_bytes() >= pool.capacity() * size);
            CHECK(pool.owns(out[0]));
            CHECK_FALSE(pool.owns(&pool));
            pool.release();
            CHECK(pool.live() == 0);
            CHECK(pool.reserved_bytes() == 0);
        }
}

TEST_CASE("fixed_pool: with checks, double and foreign frees are refused and change nothing") {
    fixed_pool pool(40), other(40);
    void *a = pool.allocate(), *b = pool.allocate(), *foreign = other.allocate();
    int on_stack = 0;
    CHECK_THROWS_AS(pool.deallocate(foreign), foreign_free);
    CHECK_THROWS_AS(pool.deallocate(&on_stack), foreign_free);
    CHECK_THROWS_AS(pool.deallocate(static_cast<char*>(a) + 8), foreign_free);
    // The next block of the chunk, which has never been out.
    CHECK_THROWS_AS(pool.deallocate(static_cast<char*>(b) + (static_cast<char*>(b) - static_cast<char*>(a))), foreign_free);
    pool.deallocate(nullptr);
    CHECK(pool.live() == 2);
    pool.deallocate(a);
    CHECK_THROWS_AS(pool.deallocate(a), double_free);
    CHECK(pool.live() == 1);
    CHECK(pool.allocate() == a);
    CHECK(pool.allocate() != a);
    CHECK(poisoned(static_cast<char*>(b) + 4000));
}

TEST_CASE("fixed_pool: with checks, a write after the return is found") {
    if (built_with_asan) return;
    fixed_pool pool(40);
    auto* block = static_cast<char*>(pool.allocate());
    pool.deallocate(block);
    block[0] = 1;
    CHECK_THROWS_AS(pool.allocate(), use_after_return);
    CHECK(pool.allocate() == block);
}

TEMPLATE_TEST_CASE("fixed_pool: budget and sizes", "", fixed_pool, unchecked_fixed_pool) {
    TestType pool(1000, 16, 10'000);
    std::vector<void*> out;
    try {
        for (;;) out.push_back(pool.allocate());
    } catch (const budget_exceeded&) {
    }
    CHECK(out.size() == 9);  // of 1,008 bytes each
    CHECK(pool.reserved_bytes() <= 10'000);
    pool.deallocate(out.back());
    CHECK(pool.allocate() == out.back());
    CHECK_THROWS_AS(pool.reserve(1), budget_exceeded);
    CHECK_THROWS_AS(pool.reserve(huge / 8), std::bad_array_new_length);
    CHECK_THROWS_AS(TestType(0), std::invalid_argument);
    CHECK_THROWS_AS(TestType(8, 12), std::invalid_argument);
    CHECK_THROWS_AS(TestType(huge), std::bad_alloc);
    CHECK(pool.live() == 9);
}

TEST_CASE("object_pool: constructs, destroys, survives throwing constructors") {
    tracked::ended.clear();
    object_pool<tracked> pool;
    tracked* a = pool.create(1);
    CHECK_THROWS_AS(pool.create(-1), std::runtime_error);
    CHECK(pool.live() == 1);
    {
        const auto b = pool.make(2);
        CHECK(b->value == 2);
        CHECK(tracked::alive == 2);
    }
    CHECK(tracked::ended == std::vector<int>{2});
    pool.destroy(a);
    pool.destroy(nullptr);
    CHECK(tracked::alive == 0);
    CHECK(pool.live() == 0);
}

TEST_CASE("object_pool: with checks, refuses before the destructor and destroys what is left at its end") {
    tracked::ended.clear();
    {
        object_pool<tracked, checking::on> pool;
        tracked* a = pool.create(1);
        for (int i = 0; i < 3000; ++i) pool.create(7);
        tracked foreign(5);
        CHECK_THROWS_AS(pool.destroy(&foreign), foreign_free);
        pool.destroy(a);
        const int alive = tracked::alive;
        CHECK_THROWS_AS(pool.destroy(a), double_free);
        CHECK(tracked::alive == alive);
    }
    CHECK(tracked::alive == 0);
}

TEMPLATE_TEST_CASE("object_pool: nothing is allocated once it is warm", "", (object_pool<std::array<long, 5>, checking::off>),
                   (object_pool<std::array<long, 5>, checking::on>)) {
    if (!counting_new::counted) return;
    TestType pool;
    pool.reserve(5000);
    std::vector<std::array<long, 5>*> all(5000);
    const long before = counting_new::allocations();
    for (int round = 0; round < 5; ++round) {
        for (auto& each : all) each = pool.create();
        for (auto* each : all) pool.destroy(each);
    }
    CHECK(counting_new::allocations() == before);
}
