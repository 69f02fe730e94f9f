// sized_allocator, pool_allocator and the resources: one owner for each block under random work of many threads, frees by other
// threads, threads that end, allocators that end first, forks, budgets, refusals.
#include <tenfold/alloc_resources.hpp>
#include <tenfold/counting_resource.hpp>
#include <tenfold/pool_allocator.hpp>
#include <tenfold/sized_allocator.hpp>
#include <tenfold_testing.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory_resource>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "counting_testing.hpp"

using namespace tenfold;
using tenfold_testing::run_child;
using tenfold_testing::run_threads;
using tenfold_testing::thread_counts;

namespace {

constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();

bool aligned(const void* pointer, std::size_t alignment) { return reinterpret_cast<std::uintptr_t>(pointer) % alignment == 0; }

// A block whose whole content is a function of a stamp: two owners would see each other's writes.
struct stamped {
    unsigned char* memory = nullptr;
    std::size_t bytes = 0;
    unsigned char stamp = 0;

    void write(unsigned char with) {
        stamp = with;
        if (bytes) std::memset(memory, with, bytes);
    }
    bool intact() const {
        return std::all_of(memory, memory + bytes, [this](unsigned char c) { return c == stamp; });
    }
};

std::size_t some_size(std::mt19937& random) {
    switch (random() % 16) {
        case 0: return 0;
        case 1: return random() % 40'000;
        case 2: return random() % 8 == 0 ? 40'000 + random() % 300'000 : 16;
        default: return random() % 600;
    }
}

// Every thread allocates, stamps, checks, frees its own blocks, and frees blocks of others that it finds on the table.
void random_work(sized_allocator& memory, int threads, int steps, unsigned seed) {
    std::mutex mutex;
    std::vector<stamped> table;
    std::atomic<int> wrong{0};
    std::barrier end(threads);  // a thread that has ended passes its heap on: here each keeps its own
    run_threads(threads, [&](int who) {
        std::mt19937 random(seed + static_cast<unsigned>(who));
        std::vector<stamped> mine;
        const auto give_back = [&](const stamped& block) {
            if (!block.intact() || memory.usable_size(block.memory) < block.bytes) ++wrong;
            memory.deallocate(block.memory);
        };
        for (int i = 0; i < steps; ++i) {
            const unsigned what = random() % 8;
            if (what < 4) {
                stamped block{nullptr, some_size(random), 0};
                block.memory = static_cast<unsigned char*>(memory.allocate(block.bytes));
                if (!aligned(block.memory, 16)) ++wrong;
                block.write(static_cast<unsigned char>(random()));
                mine.push_back(block);
            } else if (!mine.empty()) {
                std::swap(mine[random() % mine.size()], mine.back());
                const stamped block = mine.back();
                mine.pop_back();
                if (what < 6) {
                    give_back(block);
                } else {
                    std::unique_lock lock(mutex);
                    table.push_back(block);
                    if (table.size() < 40) continue;
                    std::swap(table[random() % table.size()], table.back());
                    const stamped other = table.back();
                    table.pop_back();
                    lock.unlock();
                    give_back(other);
                }
            }
        }
        for (const stamped& block : mine) give_back(block);
        end.arrive_and_wait();
    });
    for (const stamped& block : table) {
        if (!block.intact()) ++wrong;
        memory.deallocate(block.memory);
    }
    REQUIRE(wrong == 0);
}

}  // namespace

TEST_CASE("size classes hold what they are for, waste at most a fifth, and are in order") {
    std::size_t before = 0;
    for (std::size_t bytes = 0; bytes <= 70'000; ++bytes) {
        const std::size_t index = size_class_of(bytes), holds = size_class_bytes(index);
        REQUIRE(holds >= bytes);
        REQUIRE(index >= before);
        REQUIRE((index == 0 || size_class_bytes(index - 1) < bytes));
        if (bytes > 128) REQUIRE((holds - bytes) * 5 <= holds);
        before = index;
    }
    REQUIRE(size_class_of(largest_class_bytes) == size_class_count - 1);
    REQUIRE(size_class_of(huge) > size_class_count);
}

TEST_CASE("sized_allocator: every block has one owner, frees by any thread") {
    const std::size_t budget = GENERATE(as<std::size_t>{}, huge, std::size_t{1} << 30);  // with one, all threads share a heap
    for (const bool debug : {false, true})
        for (const int threads : thread_counts) {
            leak_report told;
            {
                sized_allocator memory(
                    {.budget = budget, .debug = debug, .on_leak = [&](const leak_report& report) { told = report; }});
                for (unsigned round = 0; round < 3; ++round) {
                    random_work(memory, threads, debug ? 1500 : 4000, 100 * round);
                    const auto stats = memory.stats();
                    REQUIRE(stats.live == 0);
                    REQUIRE(stats.live_bytes == 0);
                    REQUIRE(stats.refused == 0);
                    REQUIRE(stats.hits + stats.misses == stats.frees);
                    if (threads > 1) REQUIRE((stats.remote_frees > 0) == (budget == huge));
                    // Threads of the second round take over what those of the first left behind.
                    REQUIRE(stats.caches <= (budget == huge ? static_cast<std::size_t>(threads) + 1 : 0));
                }
                memory.check();
                memory.trim();
                REQUIRE(memory.stats().bytes == 0);
            }
            CHECK(told.blocks == 0);
        }
}

TEST_CASE("sized_allocator: memory is reused, also what other threads free, and what ended threads had") {
    sized_allocator memory;
    std::vector<void*> blocks(5000);
    const auto fill = [&] {
        for (auto& each : blocks) each = memory.allocate(100);
    };
    fill();
    for (void* each : blocks) memory.deallocate(each);
    const std::size_t bytes = memory.stats().bytes;
    for (int round = 0; round < 20; ++round) {
        fill();
        std::jthread([&] {
            for (void* each : blocks) memory.deallocate(each);
        }).join();
    }
    CHECK(memory.stats().bytes == bytes);
    CHECK(memory.stats().misses == 5000);
    for (int round = 0; round < 20; ++round)  // each thread ends before the next begins
        std::jthread([&] {
            fill();
            for (void* each : blocks) memory.deallocate(each);
        }).join();
    CHECK(memory.stats().bytes <= 2 * bytes);
    fill();
    CHECK(memory.stats().bytes <= 2 * bytes);
    CHECK(memory.stats().caches <= 2);
    for (void* each : blocks) memory.deallocate(each);
    CHECK(memory.stats().live == 0);
}

TEST_CASE("sized_allocator: a thread that needs memory takes what ended threads left") {
    sized_allocator memory;
    std::vector<void*> left;
    std::jthread([&] {
        for (int i = 0; i < 3000; ++i) left.push_back(memory.allocate(100));
        for (int i = 0; i < 2000; ++i) memory.deallocate(left[static_cast<std::size_t>(i)]);
    }).join();
    left.erase(left.begin(), left.begin() + 2000);
    const std::size_t bytes = memory.stats().bytes;
    void* own = memory.allocate(100);  // this thread's first: it takes the heap over
    std::vector<void*> more;
    for (int i = 0; i < 1999; ++i) more.push_back(memory.allocate(100));
    CHECK(memory.stats().bytes == bytes);
    for (void* each : left) memory.deallocate(each);
    for (void* each : more) memory.deallocate(each);
    memory.deallocate(own);
    CHECK(memory.stats().live == 0);

    // And a thread that lives already.
    std::jthread([&] {
        std::vector<void*> some;
        for (int i = 0; i < 3000; ++i) some.push_back(memory.allocate(2000));
        for (void* each : some) memory.deallocate(each);
    }).join();
    const std::size_t most = memory.stats().bytes;
    std::vector<void*> some;
    for (int i = 0; i < 3000; ++i) some.push_back(memory.allocate(2000));
    CHECK(memory.stats().bytes == most);
    for (void* each : some) memory.deallocate(each);
    memory.trim();
    CHECK(memory.stats().bytes == 0);
}

TEST_CASE("sized_allocator: alignments") {
    sized_allocator memory;
    std::vector<void*> all;
    for (std::size_t alignment = 1; alignment <= 65'536; alignment *= 2)
        for (const std::size_t bytes : {0ul, 1ul, 17ul, 129ul, 1000ul, 5000ul, 33'000ul, 100'000ul}) {
            all.push_back(memory.allocate(bytes, alignment));
            REQUIRE(aligned(all.back(), alignment));
            REQUIRE(memory.usable_size(all.back()) >= bytes);
            if (bytes) std::memset(all.back(), 1, bytes);
        }
    for (void* each : all) memory.deallocate(each);
    CHECK(memory.stats().live == 0);
    for (const std::size_t none : {0ul, 3ul, 24ul, 131'072ul, huge})
        CHECK_THROWS_AS(memory.allocate(8, none), std::invalid_argument);
}

TEST_CASE("sized_allocator: sizes that overflow, and nothing") {
    sized_allocator memory;
    CHECK_THROWS_AS(memory.allocate(huge), std::bad_alloc);
    CHECK_THROWS_AS(memory.allocate(huge - 10'000), std::bad_alloc);
    if (counting_new::counted) CHECK_THROWS_AS(memory.allocate(std::size_t{1} << 60), std::bad_alloc);
    CHECK_THROWS_AS(memory.allocate_array(huge / 2, 3), std::bad_array_new_length);
    CHECK_THROWS_AS(memory.allocate_array(3, huge / 2), std::bad_array_new_length);
    void *a = memory.allocate(0), *b = memory.allocate_array(0, 8), *c = memory.allocate_array(8, 0);
    CHECK(a != b);
    CHECK(b != c);
    memory.deallocate(a);
    memory.deallocate(b);
    memory.deallocate(c);
    memory.deallocate(nullptr);
    CHECK(memory.stats().live == 0);
    CHECK(memory.stats().refused == 0);
}

TEST_CASE("sized_allocator: double and foreign frees are refused and change nothing") {
    sized_allocator memory, other;
    void *small = memory.allocate(100), *large = memory.allocate(100'000), *foreign = other.allocate(100);
    void* foreign_large = other.allocate(100'000);
    int on_stack = 0;
    const auto heap = std::make_unique<int>();
    const std::vector<void*> none{foreign,
                                  foreign_large,
                                  &on_stack,
                                  heap.get(),
                                  static_cast<char*>(small) + 16,
                                  static_cast<char*>(small) + 1,
                                  static_cast<char*>(large) + 16,
                                  static_cast<char*>(large) + 65'536,
                                  static_cast<char*>(small) + 112 * 50,  // has never been out
                                  reinterpret_cast<void*>(8),
                                  reinterpret_cast<void*>(~std::uintptr_t{0})};
    for (void* each : none) CHECK_THROWS_AS(memory.deallocate(each), foreign_free);
    CHECK_THROWS_AS(memory.usable_size(&on_stack), foreign_free);
    CHECK(memory.owns(small));
    CHECK_FALSE(memory.owns(foreign));
    CHECK(memory.stats().live == 2);
    CHECK(memory.stats().refused == none.size());
    memory.deallocate(small);
    CHECK_THROWS_AS(memory.deallocate(small), double_free);
    CHECK_THROWS_AS(memory.usable_size(small), foreign_free);
    memory.deallocate(large);
    CHECK_THROWS_AS(memory.deallocate(large), double_free);
    memory.trim();
    CHECK_THROWS_AS(memory.deallocate(small), foreign_free);
    CHECK_THROWS_AS(memory.deallocate(large), foreign_free);
    CHECK(memory.stats().live == 0);
    CHECK(other.leaks().blocks == 2);

    void* remote = memory.allocate(100);
    int refused = 0;
    std::jthread([&] {
        memory.deallocate(remote);
        try {
            memory.deallocate(remote);
        } catch (const double_free&) {
            ++refused;
        }
    }).join();
    CHECK(refused == 1);
    CHECK_THROWS_AS(memory.deallocate(remote), double_free);
    CHECK(memory.allocate(100) != nullptr);
}

TEST_CASE("sized_allocator: several threads free one block: the lists stay sound") {
    for (const int threads : thread_counts) {
        sized_allocator memory;
        long extra = 0;
        for (int round = 0; round < 300; ++round) {
            void* block = memory.allocate(64);
            std::atomic<int> freed{0};
            run_threads(threads, [&](int) {  // none of them is the owner: exactly one wins
                try {
                    memory.deallocate(block);
                    ++freed;
                } catch (const double_free&) {
                }
            });
            REQUIRE(freed == 1);
            if (threads == 1) continue;
            // The owner joins in: it may win together with one of the others, but no list gets the block twice.
            block = memory.allocate(64);
            freed = 0;
            std::jthread other([&] {
                try {
                    memory.deallocate(block);
                    ++freed;
                } catch (const double_free&) {
                }
            });
            try {
                memory.deallocate(block);
                ++freed;
            } catch (const double_free&) {
            }
            other.join();
            REQUIRE(freed >= 1);
            extra += freed - 1;
        }
        std::vector<void*> all(2000);
        for (auto& each : all) each = memory.allocate(64);
        std::sort(all.begin(), all.end());
        REQUIRE(std::adjacent_find(all.begin(), all.end()) == all.end());
        for (void* each : all) memory.deallocate(each);
        if (threads > 1) CHECK(memory.stats().refused + static_cast<std::uint64_t>(extra) > 0);
    }
}

TEST_CASE("sized_allocator: the budget bounds what the system gave, and unused memory makes room") {
    sized_allocator memory({.budget = 1 << 20});
    std::vector<void*> all;
    const auto fill = [&](std::size_t bytes) {
        for (;;) try {
                all.push_back(memory.allocate(bytes));
            } catch (const budget_exceeded&) {
                return;
            }
    };
    const auto drop = [&] {
        for (void* each : all) memory.deallocate(each);
        all.clear();
    };
    for (const std::size_t bytes : {100ul, 1000ul, 30'000ul, 200'000ul, 16ul, 100ul}) {
        fill(bytes);
        CHECK(all.size() * bytes > (1 << 20) * 6 / 10);
        CHECK(memory.stats().bytes <= 1 << 20);
        drop();  // the next size needs all of it
    }
    CHECK(memory.stats().peak_bytes <= 1 << 20);
    const std::size_t held = memory.stats().bytes;
    CHECK_THROWS_AS(memory.allocate(2 << 20), budget_exceeded);
    CHECK(memory.stats().bytes == held);  // what can never fit throws nothing out
    fill(100);
    std::jthread([&] { drop(); }).join();  // freed elsewhere: comes back to this thread when it needs it
    CHECK(memory.allocate(500'000) != nullptr);
}

TEST_CASE("sized_allocator: within a budget, what one thread gave back serves the others while it lives") {
    sized_allocator memory({.budget = 1 << 20});
    std::barrier step(2);
    std::vector<void*> handed;
    const auto take = [&](std::size_t bytes, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) handed.push_back(memory.allocate(bytes));
    };
    std::jthread consumer([&] {
        for (int round = 0; round < 50; ++round) {
            step.arrive_and_wait();
            for (void* each : handed) memory.deallocate(each);
            handed.clear();
            step.arrive_and_wait();
        }
        for (int i = 0; i < 3; ++i) take(300'000, 1);  // nor does it matter who asks for the large ones
        for (void* each : handed) memory.deallocate(each);
        handed.clear();
        step.arrive_and_wait();  // it lives on, with nothing
        step.arrive_and_wait();
    });
    bool refused = false;
    for (int round = 0; round < 50; ++round) {
        try {
            take(round % 2 ? 32'768 : 1000, round % 2 ? 24 : 900);
        } catch (const budget_exceeded&) {
            refused = true;
        }
        step.arrive_and_wait();
        step.arrive_and_wait();
    }
    step.arrive_and_wait();
    try {
        take(30'000, 30);
    } catch (const budget_exceeded&) {
        refused = true;
    }
    for (void* each : handed) memory.deallocate(each);
    step.arrive_and_wait();
    CHECK_FALSE(refused);
    CHECK(memory.stats().live == 0);
}

TEST_CASE("sized_allocator: large blocks of many sizes come and go") {
    sized_allocator memory;
    std::mt19937 random(5);
    std::vector<stamped> all;
    for (int i = 0; i < 4000; ++i) {
        if (random() % 2 || all.empty()) {
            stamped block{nullptr, 33'000 + random() % 400'000, 0};
            block.memory = static_cast<unsigned char*>(memory.allocate(block.bytes));
            block.stamp = static_cast<unsigned char>(random());
            block.memory[0] = block.memory[block.bytes - 1] = block.stamp;
            all.push_back(block);
        } else {
            std::swap(all[random() % all.size()], all.back());
            const stamped block = all.back();
            all.pop_back();
            REQUIRE((block.memory[0] == block.stamp && block.memory[block.bytes - 1] == block.stamp));
            memory.deallocate(block.memory);
            REQUIRE_THROWS_AS(memory.deallocate(block.memory), double_free);
        }
        if (i % 500 == 0) memory.trim();
    }
    REQUIRE(memory.stats().live == all.size());
    for (const stamped& block : all) memory.deallocate(block.memory);
    memory.trim();
    CHECK(memory.stats().bytes == 0);
}

TEST_CASE("sized_allocator: leaks are reported, by size") {
    leak_report told;
    {
        sized_allocator memory({.on_leak = [&](const leak_report& report) { told = report; }});
        static_cast<void>(memory.allocate(100));
        std::jthread([&] { static_cast<void>(memory.allocate(1000)); }).join();
        memory.deallocate(memory.allocate(50));
        CHECK(memory.leaks().blocks == 2);
    }
    CHECK(told.blocks == 2);
    CHECK(told.bytes == 112 + 1024);
}

TEST_CASE("sized_allocator: a write after the return is found in debug mode") {
    if (built_with_asan) return;
    for (const std::size_t bytes : {16ul, 100ul, 4000ul, 100'000ul})
        for (const std::size_t at : {0ul, 8ul, 15ul}) {
            sized_allocator memory({.debug = true});
            auto* first = static_cast<char*>(memory.allocate(bytes));
            auto* stale = static_cast<char*>(memory.allocate(bytes));
            memory.deallocate(first);
            memory.deallocate(stale);
            memory.check();
            stale[at] ^= 0x55;
            if (bytes < 50'000) CHECK_THROWS_AS(memory.check(), use_after_return);
            // A large block may be served first by the one that is sound.
            bool found = false;
            for (int i = 0; i < 3 && !found; ++i) try {
                    static_cast<void>(memory.allocate(bytes));
                } catch (const use_after_return&) {
                    found = true;
                }
            CHECK(found);
            auto* again = static_cast<char*>(memory.allocate(bytes));
            std::memset(again, 0, bytes);
            memory.deallocate(again);
        }
}

#ifdef TENFOLD_ALLOC_ASAN
TEST_CASE("sized_allocator: under AddressSanitizer the use of returned memory ends the program") {
    for (const std::size_t bytes : {16ul, 100ul, 100'000ul}) {
        CHECK(run_child(20, [&] {
                  sized_allocator memory;
                  volatile char* stale = static_cast<char*>(memory.allocate(bytes));
                  memory.deallocate(const_cast<char*>(stale));
                  return static_cast<int>(stale[8]);
              }) != 0);
        CHECK(run_child(20, [&] {
                  sized_allocator memory;
                  volatile char* block = static_cast<char*>(memory.allocate(bytes));
                  return static_cast<int>(block[0] - block[0]);
              }) == 0);
    }
}
#endif

TEST_CASE("sized_allocator: threads outlive it, it outlives threads, many come and go") {
    for (const int threads : thread_counts) {
        std::optional<sized_allocator> memory(std::in_place);
        std::barrier gate(threads + 1);
        std::vector<std::jthread> team;
        for (int i = 0; i < threads; ++i)
            team.emplace_back([&] {
                for (int round = 0; round < 3; ++round) {
                    for (int k = 0; k < 100; ++k) memory->deallocate(memory->allocate(static_cast<std::size_t>(k)));
                    static_cast<void>(memory->allocate(100));  // left to the destructor
                    gate.arrive_and_wait();
                    gate.arrive_and_wait();  // meanwhile another allocator is in its place
                }
            });
        for (int round = 0; round < 3; ++round) {
            gate.arrive_and_wait();
            CHECK(memory->stats().live == static_cast<std::uint64_t>(threads));
            memory.emplace();
            gate.arrive_and_wait();
        }
    }
    // More allocators than a thread finds at once, in turn.
    std::vector<std::unique_ptr<sized_allocator>> many;
    for (int i = 0; i < 40; ++i) many.push_back(std::make_unique<sized_allocator>());
    std::vector<void*> blocks;
    for (int round = 0; round < 3; ++round)
        for (auto& each : many) blocks.push_back(each->allocate(64));
    for (std::size_t i = 0; i < blocks.size(); ++i) many[i % many.size()]->deallocate(blocks[i]);
    for (auto& each : many) CHECK(each->stats().live == 0);
}

namespace {
sized_allocator* late_memory = nullptr;
void* late_block = nullptr;
struct late {
    ~late() {  // runs after the thread's heap has gone back, if it was made before
        late_memory->deallocate(late_block);
        for (int i = 0; i < 100; ++i) late_memory->deallocate(late_memory->allocate(64));
        late_block = late_memory->allocate(64);
        late_memory->deallocate(late_memory->allocate(100'000));
    }
};
}  // namespace

TEST_CASE("sized_allocator: destructors of thread-locals may still allocate and free") {
    sized_allocator memory;
    late_memory = &memory;
    for (int round = 0; round < 3; ++round) {
        std::jthread([] {
            static thread_local late one;
            static_cast<void>(&one);
            late_block = late_memory->allocate(64);
        }).join();
        memory.deallocate(late_block);
        CHECK(memory.stats().live == 0);
    }
    memory.trim();
}

#ifndef UNDER_TSAN  // which does not follow a child of a process with threads
TEST_CASE("sized_allocator: a forked child goes on with what its thread had, whatever the others did") {
    sized_allocator memory({.budget = GENERATE(as<std::size_t>{}, huge, std::size_t{1} << 30)});
    std::atomic<bool> over{false};
    std::mutex mutex;
    void* theirs = nullptr;
    std::vector<std::jthread> busy;
    for (int i = 0; i < 3; ++i)
        busy.emplace_back([&, i] {
            std::mt19937 random(static_cast<unsigned>(i));
            while (!over) {
                void* block = memory.allocate(random() % 2000);
                {
                    const std::lock_guard lock(mutex);
                    std::swap(block, theirs);
                }
                memory.deallocate(block);
            }
        });
    std::vector<void*> mine;
    for (std::size_t i = 0; i < 200; ++i) mine.push_back(memory.allocate(i * 10));
    for (int round = 0; round < 20; ++round) {
        int code = 0;
        {
            const std::lock_guard lock(mutex);
            code = run_child(20, [&] {
                memory.deallocate(theirs);
                for (void* each : mine) memory.deallocate(each);
                try {
                    memory.deallocate(mine[0]);
                    return 1;
                } catch (const double_free&) {
                }
                for (int i = 0; i < 3; ++i) {
                    for (std::size_t k = 0; k < mine.size(); ++k) {
                        mine[k] = memory.allocate(k * 10);
                        std::memset(mine[k], 1, k * 10);
                    }
                    for (void* each : mine) memory.deallocate(each);
                }
                std::thread([&] { memory.deallocate(memory.allocate(100)); }).join();
                sized_allocator own;
                own.deallocate(own.allocate(100));
                memory.trim();
                return own.stats().live == 0 ? 0 : 2;
            });
        }
        REQUIRE(code == 0);
    }
    over = true;
    busy.clear();
    memory.deallocate(theirs);
    for (void* each : mine) memory.deallocate(each);
    CHECK(memory.stats().live == 0);
}
#endif

TEST_CASE("sized_allocator: nothing is allocated once it is warm") {
    if (!counting_new::counted) return;
    sized_allocator memory;
    std::vector<void*> all(3000);
    const auto work = [&] {
        for (std::size_t i = 0; i < all.size(); ++i) all[i] = memory.allocate(i % 500 + (i % 100 == 0 ? 50'000 : 0));
        for (void* each : all) memory.deallocate(each);
    };
    work();
    const long before = counting_new::allocations();
    const std::uint64_t misses = memory.stats().misses;
    for (int i = 0; i < 10; ++i) work();
    CHECK(counting_new::allocations() == before);
    CHECK(memory.stats().misses == misses);
}

// ---- pool_allocator

TEST_CASE("pool_allocator: so many at once, exact counts, zero sizes") {
    pool_allocator pool(3);
    const auto a = pool.allocate(10), b = pool.allocate(0), c = pool.allocate(100'000);
    CHECK(a.size() == 10);
    CHECK(b.empty());
    CHECK(b.data() != nullptr);
    CHECK(pool.available() == 0);
    CHECK_THROWS_AS(pool.allocate(1), pool_exhausted);
    pool.deallocate(a.data());
    CHECK_THROWS_AS(pool.deallocate(a.data()), double_free);
    int other = 0;
    CHECK_THROWS_AS(pool.deallocate(&other), foreign_free);
    CHECK(pool.available() == 1);
    CHECK(pool.allocate(12).data() == a.data());
    const auto stats = pool.stats();
    CHECK(stats.hits == 1);
    CHECK(stats.misses == 3);
    CHECK(stats.live == 3);
    CHECK(stats.peak == 3);
    CHECK(pool.leaks().blocks == 3);
    pool.deallocate(a.data());
    pool.deallocate(b.data());
    pool.deallocate(c.data());
    CHECK(pool.stats().live_bytes == 0);
    CHECK_THROWS_AS(pool_allocator(0), std::invalid_argument);

    pool_allocator poor(100, {.budget = 100'000});
    CHECK_THROWS_AS(poor.allocate(200'000), budget_exceeded);
    CHECK_THROWS_AS(poor.allocate(huge), std::bad_alloc);
    CHECK(poor.live() == 0);
}

TEST_CASE("pool_allocator: the limit holds under threads") {
    for (const int threads : thread_counts) {
        pool_allocator pool(5);
        std::atomic<int> out{0}, too_many{0}, refused{0};
        run_threads(threads, [&](int) {
            for (int i = 0; i < 2000; ++i) try {
                    const auto block = pool.allocate(64), second = pool.allocate(64);
                    if ((out += 2) > 5) ++too_many;
                    out -= 2;
                    pool.deallocate(block.data());
                    pool.deallocate(second.data());
                } catch (const pool_exhausted&) {
                    ++refused;
                }
        });
        CHECK(too_many == 0);
        CHECK(pool.stats().peak <= 5);
        // A thread that was refused its second block leaks the first: so every refusal left at most one block out.
        CHECK(pool.live() <= static_cast<std::size_t>(refused.load()));
    }
}

// ---- resources

TEST_CASE("resources: containers live in them and give everything back") {
    sized_allocator sized;
    arena memory;
    pool_resource pool;
    arena_resource in_arena(memory);
    sized_resource in_sized(sized);
    for (std::pmr::memory_resource* below :
         {static_cast<std::pmr::memory_resource*>(&pool), static_cast<std::pmr::memory_resource*>(&in_arena),
          static_cast<std::pmr::memory_resource*>(&in_sized)}) {
        counting_resource counted(below);
        {
            std::pmr::map<int, std::pmr::string> index(&counted);
            std::pmr::unordered_map<int, int> table(&counted);
            std::pmr::vector<double> values(&counted);
            std::map<int, std::string> same;
            std::mt19937 random(5);
            for (int i = 0; i < 5000; ++i) {
                const int key = static_cast<int>(random() % 1000);
                if (random() % 3) {
                    const std::string text(random() % 200, 'a');
                    index.insert_or_assign(key, std::pmr::string(text, &counted));
                    same.insert_or_assign(key, text);
                } else {
                    index.erase(key);
                    same.erase(key);
                }
                table[key] = i;
                values.push_back(i);
            }
            REQUIRE(index.size() == same.size());
            REQUIRE(std::equal(index.begin(), index.end(), same.begin(), [](const auto& a, const auto& b) {
                return a.first == b.first && std::string_view(a.second) == b.second;
            }));
            REQUIRE(values.size() == 5000);
            CHECK(counted.bytes_live() > 0);
        }
        CHECK(counted.bytes_live() == 0);
        CHECK(counted.allocations() == counted.deallocations());
        CHECK(counted.allocations() > 5000);
        CHECK(counted.bytes_peak() <= counted.bytes_allocated());
        for (std::size_t alignment = 1; alignment <= 4096; alignment *= 2)
            for (const std::size_t bytes : {1ul, 100ul, 3000ul, 50'000ul}) {
                void* block = counted.allocate(bytes, alignment);
                REQUIRE(aligned(block, alignment));
                std::memset(block, 1, bytes);
                counted.deallocate(block, bytes, alignment);
            }
    }
    CHECK(pool.live() == 0);
    CHECK(pool.reserved_bytes() > 0);
    CHECK(sized.stats().live == 0);
    CHECK(in_arena == arena_resource(memory));
    CHECK(in_sized == sized_resource(sized));
    CHECK_FALSE(in_sized == in_arena);
    CHECK_FALSE(pool == pool_resource());
}

TEST_CASE("resources: a list that grows and shrinks allocates nothing once its pool is warm") {
    counting_resource below;
    pool_resource pool(&below);
    const auto work = [&] {
        std::pmr::map<int, int> index(&pool);
        for (int i = 0; i < 1000; ++i) index[i] = i;
    };
    work();
    const std::size_t reserved = pool.reserved_bytes();
    const long before = counting_new::allocations();
    for (int i = 0; i < 10; ++i) work();
    CHECK(counting_new::allocations() == before);
    CHECK(pool.reserved_bytes() == reserved);
    CHECK(below.allocations() == 0);  // only what is above 32 KB
}
