// The deque and the parking lot, on their own. TENFOLD_STRESS=long runs >= 1e7 operations of each.
#include <algorithm>
#include <atomic>
#include <barrier>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include <tenfold/chase_lev_deque.hpp>
#include <tenfold/parking.hpp>

#include "tenfold_testing.hpp"

using tenfold::chase_lev_deque;
using tenfold::parking_lot;
using tenfold::steal_result;
using tenfold_testing::run_threads;
using tenfold_testing::thread_counts;

namespace {

bool long_form() {
    const char* stress = std::getenv("TENFOLD_STRESS");
    return stress != nullptr && std::strcmp(stress, "long") == 0;
}

// Owner pushes `items` numbers, takes some back at random; `thieves` steal. Every number must come out exactly once.
struct outcome {
    std::vector<std::vector<std::int64_t>> got;  // [0]: the owner; then each thief, in the order it got them
};

outcome play(int thieves, std::int64_t items, std::size_t capacity, unsigned seed, int burst) {
    chase_lev_deque<std::int64_t> deque(capacity);
    outcome all;
    all.got.resize(static_cast<std::size_t>(thieves) + 1);
    std::atomic<bool> over{false};
    run_threads(thieves + 1, [&](int me) {
        auto& mine = all.got[static_cast<std::size_t>(me)];
        std::int64_t item = 0;
        if (me == 0) {
            std::mt19937 random(seed);
            for (std::int64_t next = 0; next < items;) {
                for (int pushes = 1 + static_cast<int>(random() % static_cast<unsigned>(burst)); pushes > 0 && next < items;
                     --pushes)
                    deque.push(next++);
                for (int takes = static_cast<int>(random() % static_cast<unsigned>(burst + 1)); takes > 0; --takes)
                    if (deque.take(item)) mine.push_back(item);
            }
            while (deque.take(item)) mine.push_back(item);
            over.store(true, std::memory_order_release);
        } else {
            for (;;) {
                const bool last = over.load(std::memory_order_acquire);
                const steal_result result = deque.steal(item);
                if (result == steal_result::stolen) mine.push_back(item);
                if (result == steal_result::empty && last) break;
            }
        }
    });
    return all;
}

}  // namespace

TEST_CASE("one thread: the deque is a stack for its owner and a queue for thieves") {
    chase_lev_deque<int> deque(2);
    std::deque<int> oracle;
    std::mt19937 random(7);
    for (int i = 0; i < 20'000; ++i) {
        int item = -1;
        switch (random() % 5) {
            case 0:
            case 1:
                deque.push(i);
                oracle.push_back(i);
                break;
            case 2:
            case 3:
                REQUIRE(deque.take(item) == !oracle.empty());
                if (!oracle.empty()) {
                    REQUIRE(item == oracle.back());
                    oracle.pop_back();
                }
                break;
            default:
                REQUIRE((deque.steal(item) == steal_result::stolen) == !oracle.empty());
                if (!oracle.empty()) {
                    REQUIRE(item == oracle.front());
                    oracle.pop_front();
                }
        }
        REQUIRE(deque.size() == oracle.size());
        REQUIRE(deque.looks_empty() == oracle.empty());
    }
}

TEST_CASE("the deque grows and keeps order") {
    chase_lev_deque<int> deque(2);
    for (int i = 0; i < 1000; ++i) deque.push(i);
    CHECK(deque.capacity() >= 1000);
    int item = -1;
    for (int i = 0; i < 500; ++i) {
        REQUIRE(deque.steal(item) == steal_result::stolen);
        REQUIRE(item == i);
        REQUIRE(deque.take(item));
        REQUIRE(item == 999 - i);
    }
    CHECK_FALSE(deque.take(item));
    CHECK(deque.steal(item) == steal_result::empty);
    CHECK(deque.size() == 0);
}

// Exactly once, and what linearizability adds to it: steals take the oldest, so each thief's items rise; and a thief never
// gets an item that is older than one stolen before by anybody, which is checked through the order of each list and the
// fact that the lists together are a permutation.
TEST_CASE("randomised: every item comes out exactly once, thieves see them in order") {
    const std::int64_t items = long_form() ? 1'000'000 : 60'000;
    for (const int thieves : thread_counts)
        for (const std::size_t capacity : {std::size_t{2}, std::size_t{1024}})
            for (const int burst : {1, 3, 40}) {
                const outcome all = play(thieves, items, capacity, static_cast<unsigned>(thieves * 100 + burst), burst);
                std::vector<unsigned char> seen(static_cast<std::size_t>(items), 0);
                std::int64_t total = 0, disorder = 0, repeated = 0;
                for (std::size_t who = 0; who < all.got.size(); ++who) {
                    std::int64_t before = -1;
                    for (const std::int64_t item : all.got[who]) {
                        repeated += seen[static_cast<std::size_t>(item)]++ != 0;
                        disorder += who > 0 && item <= before;
                        before = item;
                        ++total;
                    }
                }
                REQUIRE(total == items);
                REQUIRE(repeated == 0);
                REQUIRE(disorder == 0);
            }
}

// The linearization order of steals is the order of their compare-exchanges. A ticket drawn before and one drawn after each
// operation bound that point; whatever order is chosen within the bounds, a steal that ended before another began must have
// taken the older item, and an item cannot come out before it went in.
TEST_CASE("steals are linearizable: real-time order agrees with queue order") {
    struct event {
        std::uint64_t begin, end;
        std::int64_t item;
    };
    const std::int64_t items = long_form() ? 400'000 : 20'000;
    for (const int thieves : thread_counts) {
        chase_lev_deque<std::int64_t> deque(4);
        std::atomic<std::uint64_t> clock{0};
        std::vector<event> pushed(static_cast<std::size_t>(items));
        std::vector<std::vector<event>> stolen(static_cast<std::size_t>(thieves));
        std::atomic<std::int64_t> left{items};
        run_threads(thieves + 1, [&](int me) {
            if (me == 0) {
                for (std::int64_t i = 0; i < items; ++i) {
                    const std::uint64_t begin = clock.fetch_add(1);
                    deque.push(i);
                    pushed[static_cast<std::size_t>(i)] = {begin, clock.fetch_add(1), i};
                }
                return;
            }
            auto& mine = stolen[static_cast<std::size_t>(me - 1)];
            while (left.load() > 0) {
                std::int64_t item = 0;
                const std::uint64_t begin = clock.fetch_add(1);
                if (deque.steal(item) != steal_result::stolen) continue;
                mine.push_back({begin, clock.fetch_add(1), item});
                left.fetch_sub(1);
            }
        });
        std::vector<event> by_item(static_cast<std::size_t>(items));
        std::size_t count = 0, too_early = 0, overtaken = 0;
        for (const auto& list : stolen)
            for (const event& e : list) {
                by_item[static_cast<std::size_t>(e.item)] = e;
                too_early += e.end < pushed[static_cast<std::size_t>(e.item)].begin;
                ++count;
            }
        REQUIRE(count == static_cast<std::size_t>(items));
        // No newer item's steal may end before an older item's steal begins: with a running minimum of `end` from the newest.
        std::uint64_t earliest_end = UINT64_MAX;
        for (std::size_t i = by_item.size(); i-- > 0;) {
            overtaken += earliest_end < by_item[i].begin;
            earliest_end = std::min(earliest_end, by_item[i].end);
        }
        CHECK(too_early == 0);
        CHECK(overtaken == 0);
    }
}

TEST_CASE("the last item goes to exactly one of owner and thieves") {
    const int rounds = long_form() ? 3'000'000 : 30'000;
    for (const int thieves : {1, 3}) {
        chase_lev_deque<std::int64_t> deque(2);
        std::atomic<int> round{0};
        std::atomic<std::int64_t> taken{0}, wrong{0};
        std::atomic<std::int64_t> last{-1};
        run_threads(thieves + 1, [&](int me) {
            std::int64_t item = 0;
            const auto got = [&] {
                if (last.exchange(item) == item) wrong.fetch_add(1);  // the same item twice in a row
                taken.fetch_add(1);
            };
            if (me == 0) {
                for (int i = 0; i < rounds; ++i) {
                    deque.push(i);
                    if ((i & 1) != 0) tenfold::pool_detail::cpu_relax();
                    if (deque.take(item)) got();
                    // False means that a thief has it or will report it: wait, so that there is never more than one item.
                    while (taken.load() != i + 1) std::this_thread::yield();
                }
                round.store(1);
            } else {
                while (round.load() == 0) {
                    if (deque.steal(item) == steal_result::stolen) got();
                    else std::this_thread::yield();
                }
            }
        });
        CHECK(taken.load() == rounds);
        CHECK(wrong.load() == 0);
    }
}

// ---- parking ----------------------------------------------------------------------------------------------------------

// Producers publish tokens and call notify_work(); workers follow the protocol and sleep without a time limit. A lost wake-up
// leaves a token behind with everybody asleep: the test would hang, and its time limit says so.
TEST_CASE("parking: no wake-up is lost") {
    const int tokens = long_form() ? 2'000'000 : 20'000;
    for (const int workers : thread_counts) {
        parking_lot lot;
        std::atomic<int> available{0}, consumed{0};
        std::atomic<bool> over{false};
        std::vector<parking_lot::seat> seats(static_cast<std::size_t>(workers));
        const auto take = [&] {
            int n = available.load(std::memory_order_relaxed);
            while (n > 0)
                if (available.compare_exchange_weak(n, n - 1)) return true;
            return false;
        };
        run_threads(workers + 1, [&](int me) {
            if (me == 0) {
                std::mt19937 random(3);
                for (int i = 0; i < tokens; ++i) {
                    available.fetch_add(1, std::memory_order_relaxed);  // the lot's fence must do
                    lot.notify_work();
                    if (random() % 16 == 0)  // often wait for the workers to be at the point of sleeping
                        while (consumed.load() < i - 1) std::this_thread::yield();
                }
                while (consumed.load() < tokens) std::this_thread::yield();
                over.store(true);
                tenfold::pool_detail::fence(std::memory_order_seq_cst);
                lot.wake_workers();
                return;
            }
            parking_lot::seat& seat = seats[static_cast<std::size_t>(me - 1)];
            for (;;) {
                while (take()) consumed.fetch_add(1);
                lot.start_search();
                bool found = false;
                while (!(found = take()) && !over.load()) {
                    lot.sit(seat);
                    if ((found = take()) || over.load()) {
                        lot.stand(seat);
                        break;
                    }
                    lot.sleep(seat);
                }
                lot.end_search();
                if (found) consumed.fetch_add(1);
                if (!found && over.load()) return;
            }
        });
        CHECK(consumed.load() == tokens);
        CHECK(lot.sleeping() == 0);
        CHECK(lot.searching() == 0);
    }
}

TEST_CASE("parking: waking a seat that is gone does nothing") {
    parking_lot lot;
    auto guest = std::make_unique<parking_lot::seat>(true);
    const volatile auto address = reinterpret_cast<std::uintptr_t>(guest.get());  // volatile: GCC need not follow
    lot.sit(*guest);
    lot.stand(*guest);
    guest.reset();
    lot.wake(reinterpret_cast<parking_lot::seat*>(address));
    lot.wake_worker();
    lot.wake_workers();
    lot.wake_guests();
    CHECK(lot.sleeping() == 0);
}

TEST_CASE("parking: a time limit ends the sleep, and the seat is free again") {
    parking_lot lot;
    parking_lot::seat seat;
    lot.start_search();
    for (int i = 0; i < 3; ++i) {
        lot.sit(seat);
        CHECK(lot.sleeping() == 1);
        lot.sleep(seat, std::chrono::milliseconds(1));
        CHECK(lot.sleeping() == 0);
        CHECK(lot.searching() == 1);
    }
    lot.end_search();
    CHECK(lot.searching() == 0);
}

// Two threads wake each other in turn, through seats of guests on their stacks.
TEST_CASE("parking: ping-pong between guests") {
    const int turns = long_form() ? 200'000 : 3'000;
    parking_lot lot;
    std::atomic<int> turn{0};
    parking_lot::seat seats[2] = {parking_lot::seat(true), parking_lot::seat(true)};
    run_threads(2, [&](int me) {
        for (int i = me; i < turns; i += 2) {
            while (turn.load() != i) {
                lot.sit(seats[me]);
                if (turn.load() != i) lot.sleep(seats[me]);
                else lot.stand(seats[me]);
            }
            turn.store(i + 1);
            tenfold::pool_detail::fence(std::memory_order_seq_cst);
            lot.wake(&seats[1 - me]);
        }
    });
    CHECK(turn.load() == turns);
}
