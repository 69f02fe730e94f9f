// The SPSC ring and the channels: exactly once, in order, bounded, closed, timed, destroyed. TENFOLD_STRESS=long makes the
// sweeps 100 times longer (more than 10^7 messages each).
#include <tenfold/boost_store.hpp>
#include <tenfold/channel.hpp>
#include <tenfold_testing.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

using namespace tenfold;
using namespace std::chrono_literals;
using tenfold_testing::run_child;
using tenfold_testing::run_threads;
using tenfold_testing::thread_counts;

#ifdef TENFOLD_CHANNEL_TSAN
// ConcurrentQueue orders the reuse of its blocks by fences, which ThreadSanitizer does not know; Boost.Lockfree builds nodes in memory
// that a slower thread may still read (and then discard). By file: -g1 leaves the namespaces out of the names.
extern "C" const char* __tsan_default_suppressions() { return "race:/concurrentqueue.h\nrace:/boost/lockfree/"; }
#endif

namespace {

long stress(long short_form) {
    const char* form = std::getenv("TENFOLD_STRESS");
    return form && std::strcmp(form, "long") == 0 ? short_form * 100 : short_form;
}

// Counts its living instances; movable only.
struct tracked {
    static inline std::atomic<long> alive{0};
    long value = 0;
    explicit tracked(long v = 0) : value(v) { alive.fetch_add(1, std::memory_order_relaxed); }
    tracked(tracked&& other) noexcept : value(std::exchange(other.value, -1)) { alive.fetch_add(1, std::memory_order_relaxed); }
    tracked& operator=(tracked&& other) noexcept {
        value = std::exchange(other.value, -1);
        return *this;
    }
    ~tracked() { alive.fetch_sub(1, std::memory_order_relaxed); }
};

// No default constructor, no assignment: all that a message needs is a move constructor.
struct austere {
    explicit austere(int v) : value(v) {}
    austere(austere&&) = default;
    austere& operator=(austere&&) = delete;
    int value;
};

struct message {
    int producer;
    long number;
};

// P producers send 0, 1, 2, ... each; C consumers take. Every message once; each consumer sees each producer's in order.
template <class Channel>
void exactly_once(int producers, int consumers, std::size_t capacity, long each, bool batches) {
    Channel channel(capacity);
    std::atomic<int> sending{producers};
    std::vector<std::vector<message>> got(static_cast<std::size_t>(consumers));
    std::atomic<bool> too_deep{false};
    run_threads(producers + consumers, [&](int who) {
        if (who < producers) {
            if (batches) {
                std::vector<message> box;
                for (long i = 0; i < each;) {
                    box.clear();
                    for (long k = 0; k < 37 && i < each; ++k) box.push_back({who, i++});
                    channel.send_batch(box.begin(), box.size());
                }
            } else {
                for (long i = 0; i < each; ++i) channel.send({who, i});
            }
            if (sending.fetch_sub(1) == 1) channel.close();
        } else {
            auto& mine = got[static_cast<std::size_t>(who - producers)];
            if (batches) {
                while (channel.recv_batch(std::back_inserter(mine), 23).status == channel_status::ok) {
                }
            } else {
                for (message m : channel) {
                    mine.push_back(m);
                    if (channel.depth() > capacity) too_deep = true;
                }
            }
        }
    });
    CHECK_FALSE(too_deep);
    std::vector<std::vector<char>> seen(static_cast<std::size_t>(producers), std::vector<char>(static_cast<std::size_t>(each)));
    bool ordered = true, once = true;
    for (const auto& mine : got) {
        std::vector<long> last(static_cast<std::size_t>(producers), -1);
        for (const message& m : mine) {
            const auto p = static_cast<std::size_t>(m.producer);
            ordered = ordered && m.number > last[p];
            last[p] = m.number;
            once = once && !std::exchange(seen[p][static_cast<std::size_t>(m.number)], char{1});
        }
    }
    for (const auto& of_producer : seen)
        for (const char each_seen : of_producer) once = once && each_seen;
    CHECK(ordered);
    CHECK(once);
    CHECK(channel.depth() == 0);
    CHECK(channel.try_send({0, 0}) == channel_status::closed);
}

}  // namespace

TEST_CASE("spsc_ring: exact capacity, order, batches over the edge of the memory") {
    for (const std::size_t capacity : {1u, 2u, 3u, 5u, 64u, 100u}) {
        spsc_ring<int> ring(capacity);
        REQUIRE(ring.capacity() == capacity);
        int out = 0, next_in = 0, next_out = 0;
        for (int round = 0; round < 50; ++round) {
            std::vector<int> in(capacity + 3);
            std::iota(in.begin(), in.end(), next_in);
            const std::size_t pushed = ring.push_some(in.begin(), in.size());
            REQUIRE(pushed == capacity);
            REQUIRE(ring.size() == capacity);
            REQUIRE_FALSE(ring.try_push(7));
            next_in += static_cast<int>(pushed);
            for (std::size_t i = 0; i < capacity / 2; ++i) {
                REQUIRE(ring.try_pop(out));
                REQUIRE(out == next_out++);
            }
            std::vector<int> rest(capacity + 3);
            const std::size_t popped = ring.pop_some(rest.begin(), rest.size());
            REQUIRE(popped == capacity - capacity / 2);
            for (std::size_t i = 0; i < popped; ++i) REQUIRE(rest[i] == next_out++);
            REQUIRE_FALSE(ring.try_pop(out));
            if (round % 3 == 0) {  // shift the phase
                REQUIRE(ring.try_push(next_in++));
                REQUIRE(ring.try_pop(out));
                REQUIRE(out == next_out++);
            }
        }
    }
    CHECK_THROWS_AS(spsc_ring<int>(0), std::invalid_argument);
    CHECK_THROWS_AS(spsc_ring<int>(std::numeric_limits<std::size_t>::max()), std::invalid_argument);
}

TEST_CASE("spsc_ring: two threads, single and batched, all capacities") {
    for (const std::size_t capacity : {1u, 2u, 3u, 64u, 1024u})
        for (const bool batches : {false, true}) {
            spsc_ring<long> ring(capacity);
            const long n = stress(capacity < 10 ? 4'000 : 20'000);
            bool ordered = true;
            run_threads(2, [&](int who) {
                if (who == 0) {
                    std::vector<long> box(batches ? 29 : 1);
                    for (long i = 0; i < n;) {
                        const auto k = std::min<long>(static_cast<long>(box.size()), n - i);
                        std::iota(box.begin(), box.end(), i);
                        for (long done = 0; done < k;) {
                            const long m =
                                batches
                                    ? static_cast<long>(ring.push_some(box.begin() + done, static_cast<std::size_t>(k - done)))
                                    : static_cast<long>(ring.try_push(box[0]));
                            if (m == 0) std::this_thread::yield();
                            done += m;
                        }
                        i += k;
                    }
                } else {
                    for (long expected = 0; expected < n;) {
                        const auto take = [&](long&& v) { ordered = ordered && v == expected++; };
                        if (batches ? ring.drain(take) == 0 : !ring.try_take(take)) std::this_thread::yield();
                    }
                }
            });
            CHECK(ordered);
            CHECK(ring.size() == 0);
        }
}

TEST_CASE("spsc_ring: messages are moved and destroyed exactly once") {
    {
        spsc_ring<tracked> ring(3);
        for (long i = 0; i < 5; ++i) {
            tracked t(i);
            const bool room = ring.try_push(std::move(t));
            CHECK(room == (i < 3));
            CHECK(t.value == (room ? -1 : i));  // untouched when there was no room
        }
        std::optional<tracked> out;
        CHECK(ring.try_pop(out));
        CHECK(out->value == 0);
        CHECK_THROWS_AS(ring.drain([](tracked&&) { throw 7; }), int);  // the message it was given counts as taken
        CHECK(ring.size() == 1);
        CHECK(tracked::alive == 2);  // one inside, one in `out`
    }
    CHECK(tracked::alive == 0);
}

TEMPLATE_TEST_CASE("a channel: what each call answers", "", channel<int>, fifo_channel<int>, spsc_channel<int>,
                   lockfree_channel<int>) {
    TestType c(3);
    int out = -1;
    CHECK(c.capacity() == 3);
    CHECK(c.try_recv(out) == channel_status::not_now);
    CHECK_FALSE(c.readable());
    CHECK(c.writable());
    for (int i = 0; i < 3; ++i) CHECK(c.try_send(int{i}) == channel_status::ok);
    CHECK(c.try_send(9) == channel_status::not_now);
    CHECK(c.depth() == 3);
    CHECK_FALSE(c.writable());
    CHECK(c.send_for(9, 1ms) == channel_status::timeout);
    CHECK(c.send_for(9, -1ms) == channel_status::timeout);
    CHECK(c.try_recv(out) == channel_status::ok);
    CHECK(out == 0);
    const std::vector<int> more{3, 4, 5};
    auto sent = c.try_send_batch(more.begin(), more.size());
    CHECK(sent.count == 1);
    CHECK(sent.status == channel_status::not_now);
    sent = c.send_batch(more.begin() + 1, 2, channel_clock::now() + 1ms);
    CHECK(sent.count == 0);
    CHECK(sent.status == channel_status::timeout);
    c.close();
    c.close();
    CHECK(c.closed());
    CHECK(c.writable());  // a send would not wait
    CHECK(c.try_send(7) == channel_status::closed);
    CHECK(c.send_for(7, 1h) == channel_status::closed);
    CHECK_THROWS_AS(c.send(7), channel_closed);
    CHECK(c.send_batch(more.begin(), 3).status == channel_status::closed);
    std::vector<int> rest;
    const auto got = c.recv_batch(std::back_inserter(rest), 10);
    CHECK(got.count == 3);
    CHECK(rest == std::vector<int>{1, 2, 3});
    CHECK(c.readable());  // a receive would not wait
    CHECK(c.try_recv(out) == channel_status::closed);
    CHECK(c.recv_for(out, 1h) == channel_status::closed);
    CHECK_FALSE(c.recv().has_value());
    CHECK(c.recv_batch(rest.begin(), 3).status == channel_status::closed);
    CHECK(c.begin() == c.end());
    CHECK_THROWS_AS(TestType(0), std::invalid_argument);
    CHECK_THROWS_AS(TestType((std::size_t{1} << 32) + 1), std::invalid_argument);
}

TEMPLATE_TEST_CASE("a channel: any message that can be moved", "", channel<austere>, fifo_channel<austere>,
                   spsc_channel<austere>) {
    TestType c(70);
    for (int i = 0; i < 70; ++i) c.send(austere(i));
    CHECK(c.recv()->value == 0);
    std::optional<austere> out;
    CHECK(c.try_recv(out) == channel_status::ok);
    CHECK(out->value == 1);
    CHECK(c.discard() == 68);
}

TEMPLATE_TEST_CASE("a channel: destroys what is left, loses nothing it refused", "", channel<tracked>, fifo_channel<tracked>,
                   spsc_channel<tracked>) {
    {
        TestType c(100);
        for (long i = 0; i < 90; ++i) c.send(tracked(i));
        std::vector<tracked> taken;
        CHECK(c.recv_batch(std::back_inserter(taken), 80).count == 80);
        for (long i = 0; i < 80; ++i) CHECK(taken[static_cast<std::size_t>(i)].value == i);
        std::vector<tracked> box;
        for (long i = 0; i < 95; ++i) box.emplace_back(i);
        CHECK(c.try_send_batch(box.begin(), box.size()).count == 90);
        CHECK(box[89].value == -1);
        CHECK(box[90].value == 90);
        c.close();
        tracked refused(5);
        CHECK(c.try_send(std::move(refused)) == channel_status::closed);
        CHECK(refused.value == 5);
    }
    CHECK(tracked::alive == 0);
}

TEMPLATE_TEST_CASE("MPMC: exactly once and in order for each producer", "", channel<message>, fifo_channel<message>,
                   lockfree_channel<message>) {
    const std::size_t capacity =
        GENERATE(std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{64}, std::size_t{1024}, unbounded);
    if (std::is_same_v<TestType, lockfree_channel<message>> && capacity == unbounded) return;
    for (const int producers : thread_counts)
        for (const int consumers : thread_counts)
            exactly_once<TestType>(producers, consumers, capacity, stress(capacity < 10 ? 150 : 600),
                                   (producers + consumers) % 2 == 0);
}

TEST_CASE("SPSC: exactly once and in order") {
    for (const std::size_t capacity : {1u, 2u, 3u, 64u, 1024u})
        for (const bool batches : {false, true})
            exactly_once<spsc_channel<message>>(1, 1, capacity, stress(capacity < 10 ? 2'000 : 30'000), batches);
}

TEMPLATE_TEST_CASE("close() races with sends: what was accepted arrives, nothing else", "", channel<long>, fifo_channel<long>,
                   spsc_channel<long>, lockfree_channel<long>) {
    constexpr bool single = std::is_same_v<TestType, spsc_channel<long>>;
    for (const int producers : thread_counts) {
        if (single && producers > 1) break;
        for (long round = 0; round < stress(60); ++round) {
            TestType c(4);
            std::atomic<long> accepted{0}, received{0}, sum_in{0}, sum_out{0};
            std::atomic<bool> early{false};
            const int consumers = single ? 1 : 2;
            run_threads(producers + consumers + 1, [&](int who) {
                if (who == producers + consumers) {
                    for (long spin = 0; spin < round * 7 % 300; ++spin) channel_detail::cpu_pause();
                    c.close();
                    if (!single && c.try_send(1) != channel_status::closed) early = true;
                } else if (who < producers) {
                    for (long i = 1;; ++i) {
                        const auto status = c.send_until(long{i}, no_deadline);
                        if (status != channel_status::ok) break;
                        accepted.fetch_add(1);
                        sum_in.fetch_add(i);
                    }
                } else {
                    for (long v : c) {
                        received.fetch_add(1);
                        sum_out.fetch_add(v);
                    }
                }
            });
            REQUIRE(accepted == received);
            REQUIRE(sum_in == sum_out);
            REQUIRE_FALSE(early);
        }
    }
}

TEMPLATE_TEST_CASE("no wake-up is lost: ping-pong through capacity 1, asleep each time", "", channel<int>, fifo_channel<int>,
                   spsc_channel<int>) {
    TestType there(1), back(1);
    const long n = stress(1'500);
    bool right = true;
    run_threads(2, [&](int who) {
        for (long i = 0; i < n; ++i) {
            const int spin = static_cast<int>(i % 3);  // parks at once, or looks once or twice before
            int out = -1;
            if (who == 0) {
                there.send_until(static_cast<int>(i), no_deadline, never_stop{}, spin);
                back.recv_until(out, no_deadline, never_stop{}, spin);
            } else {
                there.recv_until(out, no_deadline, never_stop{}, spin);
                back.send_until(int{out}, no_deadline, never_stop{}, spin);
            }
            if (who == 0) right = right && out == static_cast<int>(i);
        }
    });
    CHECK(right);
    CHECK(there.counters().reader_parks > 0);
}

TEMPLATE_TEST_CASE("no wake-up is lost: waiters that give up hand theirs on", "", channel<long>, fifo_channel<long>) {
    // Half of the consumers wait microseconds only, half for ever; a wake-up that meets one who is just giving up must reach
    // another, or the test hangs.
    TestType c(2);
    const long n = stress(3'000);
    std::atomic<long> sum{0}, received{0};
    run_threads(5, [&](int who) {
        if (who == 0) {
            for (long i = 1; i <= n; ++i) {
                if (c.send_until(long{i}, no_deadline, never_stop{}, 0) != channel_status::ok) std::abort();
                if (i % 16 == 0) std::this_thread::yield();
            }
            c.close();
        } else {
            for (long v = 0;;) {
                const auto deadline = who % 2 ? channel_clock::now() + std::chrono::microseconds(who * 20) : no_deadline;
                const auto status = c.recv_until(v, deadline, never_stop{}, 0);
                if (status == channel_status::closed) break;
                if (status == channel_status::ok) {
                    sum.fetch_add(v);
                    received.fetch_add(1);
                }
            }
        }
    });
    CHECK(received == n);
    CHECK(sum == n * (n + 1) / 2);
}

TEMPLATE_TEST_CASE("waiting without taking, stopping, being called back", "", channel<int>, fifo_channel<int>,
                   spsc_channel<int>) {
    TestType c(1);
    int asked = 0;
    CHECK(c.wait_readable(no_deadline, [&] { return ++asked == 3; }) == channel_status::stopped);
    CHECK(c.wait_readable(channel_clock::now() + 1ms) == channel_status::timeout);
    CHECK(c.wait_writable(no_deadline) == channel_status::ok);
    int out = 0;
    CHECK(c.recv_until(out, no_deadline, [] { return true; }) == channel_status::stopped);

    std::atomic<int> called{0};
    {
        watch dropped = c.when_readable([&] { ++called; });
    }
    watch cancelled = c.when_readable([&] { ++called; });
    CHECK(cancelled.cancel());
    CHECK_FALSE(cancelled.cancel());
    watch first = c.when_readable([&] { ++called; });
    watch second = std::move(first);
    c.send(1);
    CHECK(called == 1);
    CHECK_FALSE(second.cancel());
    watch at_once = c.when_readable([&] { ++called; });
    CHECK(called == 2);
    watch room = c.when_writable([&] { called += 10; });
    CHECK(c.try_recv(out) == channel_status::ok);
    CHECK(called == 12);
    watch until_closed = c.when_readable([&] { called += 100; });
    std::jthread([&] { c.close(); }).join();
    CHECK(called == 112);
}

TEST_CASE("a callback is called exactly once, whoever comes first") {
    for (long round = 0; round < stress(300); ++round) {
        fifo_channel<int> c(8);
        std::atomic<int> called{0};
        std::atomic<bool> cancelled{false};
        run_threads(3, [&](int who) {
            if (who == 0) {
                auto w = c.when_readable([&] { ++called; });
                cancelled = w.cancel();
            } else {
                c.send(who);
            }
        });
        // Either it was cancelled or it was called; a call that had begun may still run when cancel() says false.
        REQUIRE(called + (cancelled ? 1 : 0) == 1);
    }
}

TEST_CASE("a closed channel of which the last message is taken wakes the other receivers") {
    for (int round = 0; round < 50; ++round) {
        channel<int> c;
        std::atomic<int> got{0};
        run_threads(5, [&](int who) {
            if (who == 0) {
                c.send(1);
                c.close();
            } else {
                for (int out = 0; c.recv_until(out, no_deadline, never_stop{}, 0) == channel_status::ok;) ++got;
            }
        });
        REQUIRE(got == 1);
    }
}

TEST_CASE("after fork() the child is told instead of waiting for ever") {
    fifo_channel<int> fifo(1);
    spsc_channel<int> spsc(1);
    channel<int> mpmc(1);
    const auto refuses = [](auto& c) {
        if (c.try_send(1) != channel_status::ok) return false;  // does not wait: works on the copy
        try {
            c.send(2);
            return false;
        } catch (const std::runtime_error& e) {
            return std::string(e.what()).find("fork") != std::string::npos;
        }
    };
    CHECK(run_child(10, [&] { return refuses(fifo) && refuses(spsc) && refuses(mpmc) ? 0 : 1; }) == 0);
    fifo.send(3);  // the parent's are as before
    CHECK(fifo.recv() == 3);
}

// Its move takes as long as the test likes: a sender can be stopped in the middle of a send.
std::atomic<bool> moves_wait{false}, one_is_moving{false};
struct slow_to_move {
    slow_to_move() = default;
    slow_to_move(slow_to_move&&) noexcept {
        while (moves_wait.load()) one_is_moving = true, std::this_thread::yield();
    }
    slow_to_move& operator=(slow_to_move&&) noexcept { return *this; }
};

TEST_CASE("a child that is forked in the middle of a send can close its copy") {
    spsc_channel<slow_to_move> c(4);
    moves_wait = true;
    std::thread sender([&] {
        slow_to_move message;
        c.try_send(std::move(message));
    });
    while (!one_is_moving.load()) std::this_thread::yield();
    CHECK(run_child(10, [&] {
              c.close();
              return c.closed() ? 0 : 1;
          }) == 0);
    moves_wait = false;
    sender.join();
    CHECK(c.depth() == 1);
}

TEST_CASE("times beyond the clock's: for ever, or already over") {
    using days = std::chrono::duration<double, std::ratio<86400>>;
    channel<int> c(1);
    const auto waits = [&](auto time) {
        std::optional<int> out;
        std::thread sender([&] {
            std::this_thread::sleep_for(2ms);
            c.send(1);
        });
        const bool received = c.recv_for(out, time) == channel_status::ok;
        sender.join();
        return received;
    };
    CHECK(waits(std::chrono::hours::max()));
    CHECK(waits(std::chrono::nanoseconds::max()));
    CHECK(waits(days(1e300)));
    CHECK(waits(days(std::numeric_limits<double>::infinity())));
    std::optional<int> out;
    CHECK(c.recv_for(out, std::chrono::hours::min()) == channel_status::timeout);
    CHECK(c.recv_for(out, days(-std::numeric_limits<double>::infinity())) == channel_status::timeout);
    CHECK(c.recv_for(out, 0s) == channel_status::timeout);
}

TEST_CASE("waking everybody ends, even if those who were woken come back at once") {
    channel_detail::wait_queue queue;
    std::vector<std::unique_ptr<watch>> watches;
    int calls = 0;
    std::function<void()> again = [&] {
        if (++calls < 1000) watches.push_back(std::make_unique<watch>(queue, again, [] { return false; }));
    };
    for (int i = 0; i < 3; ++i) watches.push_back(std::make_unique<watch>(queue, again, [] { return false; }));
    queue.notify_all();
    CHECK(calls == 3);
}
