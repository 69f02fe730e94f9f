// select over several channels, broadcast, and the four engines that are built from them.
#include <tenfold/channel_engines.hpp>
#include <tenfold/channel_select.hpp>
#include <tenfold_testing.hpp>

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace tenfold;
using namespace std::chrono_literals;
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

}  // namespace

TEST_CASE("select: one case happens, the others are untouched") {
    channel<int> numbers(2);
    spsc_channel<std::string> texts(2);
    fifo_channel<int> full(1);
    full.send(0);
    std::optional<int> number;
    std::optional<std::string> text;
    int value = 5;
    const std::array cases{recv_case(numbers, number), recv_case(texts, text), send_case(full, value)};
    CHECK(try_select(cases).status == channel_status::not_now);
    CHECK(select(cases, channel_clock::now() + 2ms).status == channel_status::timeout);
    CHECK(select(cases, no_deadline, [] { return true; }).status == channel_status::stopped);
    CHECK_THROWS_AS(select(std::span<const select_case>()), std::invalid_argument);

    texts.send("hello");
    auto done = select(cases);
    CHECK(done.index == 1);
    CHECK(done.status == channel_status::ok);
    CHECK(text == "hello");
    CHECK_FALSE(number.has_value());

    CHECK(full.recv() == 0);
    done = select(cases);
    CHECK(done.index == 2);
    CHECK(full.recv() == 5);

    full.send(0);
    {
        const std::jthread later([&] { numbers.send(42); });
        done = select(cases, no_deadline, never_stop{}, 0);
    }
    CHECK(done.index == 0);
    CHECK(number == 42);

    numbers.close();
    done = select(cases);
    CHECK(done.index == 0);
    CHECK(done.status == channel_status::closed);

    const std::array looks{readable_case(texts), writable_case(full)};
    CHECK(select(looks, channel_clock::now()).status == channel_status::timeout);
    texts.send("there");
    CHECK(select(looks).index == 0);
    CHECK(texts.depth() == 1);
}

TEST_CASE("select: a busy channel does not starve the other") {
    channel<int> busy, quiet;
    for (int i = 0; i < 4000; ++i) busy.send(i);
    for (int i = 0; i < 100; ++i) quiet.send(i);
    int out = 0, taken = 0;
    const std::array cases{recv_case(busy, out), recv_case(quiet, out)};
    while (quiet.depth() != 0 && select(cases).status == channel_status::ok) ++taken;
    CHECK(taken < 1000);  // 200 are expected; a choice that favoured the first would take 4100
}

TEST_CASE("select: many selecting threads over several channels, nothing lost, nothing twice") {
    for (const int threads : thread_counts) {
        const long n = stress(400);
        channel<long> a(1);
        fifo_channel<long> b(3);
        channel<long> c;
        std::atomic<long> sum{0}, count{0};
        std::atomic<int> sending{3};
        run_threads(threads + 3, [&](int who) {
            if (who < 3) {
                for (long i = 1; i <= n; ++i) who == 0 ? a.send(i) : who == 1 ? b.send(i) : c.send(i);
                if (sending.fetch_sub(1) == 1) a.close(), b.close(), c.close();
                return;
            }
            long out = 0;
            std::vector cases{recv_case(a, out), recv_case(b, out), recv_case(c, out)};
            while (!cases.empty()) {
                const auto done = select(cases, no_deadline, never_stop{}, who % 2);
                if (done.status == channel_status::closed) {
                    cases.erase(cases.begin() + static_cast<std::ptrdiff_t>(done.index));
                } else {
                    sum.fetch_add(out);
                    count.fetch_add(1);
                }
            }
        });
        CHECK(count == 3 * n);
        CHECK(sum == 3 * n * (n + 1) / 2);
    }
}

TEST_CASE("select: sends and receives at once, between two threads that do both") {
    const long n = stress(500);
    channel<long> there(1), back(1);
    std::array<long, 2> got{};
    run_threads(2, [&](int who) {
        auto& out_channel = who == 0 ? there : back;
        auto& in_channel = who == 0 ? back : there;
        long next = 1, in = 0, received = 0;
        while (next <= n || received < n) {
            std::vector<select_case> cases;
            if (received < n) cases.push_back(recv_case(in_channel, in));
            long value = next;
            if (next <= n) cases.push_back(send_case(out_channel, value));
            const auto done = select(cases, no_deadline, never_stop{}, 0);
            if (received < n && done.index == 0) {
                ++received;
                got[static_cast<std::size_t>(who)] += in;
            } else {
                ++next;
            }
        }
    });
    CHECK(got[0] == n * (n + 1) / 2);
    CHECK(got[1] == n * (n + 1) / 2);
}

TEST_CASE("broadcast: everyone sees everything from its subscription on, in order") {
    for (const int readers : thread_counts)
        for (const std::size_t capacity : {1u, 2u, 3u, 64u}) {
            broadcast<long> news(capacity);
            const long n = stress(500);
            std::vector<broadcast<long>::subscriber> seats;
            for (int i = 0; i < readers; ++i) seats.push_back(news.subscribe());
            std::atomic<long> wrong{0}, too_deep{0};
            run_threads(readers + 1, [&](int who) {
                if (who == readers) {
                    for (long i = 0; i < n; ++i) {
                        news.send(i);
                        if (news.depth() > capacity) ++too_deep;
                    }
                    news.close();
                } else {
                    long expected = 0;
                    while (const auto heard = seats[static_cast<std::size_t>(who)].recv())
                        if (*heard != expected++) ++wrong;
                    if (expected != n) ++wrong;
                }
            });
            CHECK(wrong == 0);
            CHECK(too_deep == 0);
            CHECK(news.depth() == 0);
        }
}

TEST_CASE("broadcast: back-pressure, late and leaving subscribers, close") {
    broadcast<std::string> news(2);
    CHECK(news.send("to nobody"));
    auto early = news.subscribe();
    CHECK(news.try_send("one") == channel_status::ok);
    auto late = news.subscribe();
    CHECK(news.try_send("two") == channel_status::ok);
    std::string three = "three";
    CHECK(news.try_send(std::move(three)) == channel_status::not_now);
    CHECK(three == "three");
    CHECK(news.send_until("x", channel_clock::now() + 1ms) == channel_status::timeout);
    CHECK(late.recv() == "two");
    CHECK(news.depth() == 2);
    CHECK(early.depth() == 2);
    CHECK(early.recv() == "one");
    CHECK(news.writable());
    {
        auto slow = news.subscribe();
        CHECK(news.send("three"));
        CHECK(early.recv() == "two");
        CHECK(early.recv() == "three");
        CHECK(late.recv() == "three");
        CHECK(news.depth() == 1);
        CHECK(slow.readable());
    }  // the one that held "three" back has left
    CHECK(news.depth() == 0);
    CHECK(news.subscribers() == 2);
    std::optional<std::string> out;
    CHECK(early.try_recv(out) == channel_status::not_now);
    CHECK(early.recv_until(out, channel_clock::now() + 1ms) == channel_status::timeout);
    CHECK(early.wait_readable(no_deadline, [] { return true; }) == channel_status::stopped);
    int called = 0;
    auto watching = early.when_readable([&] { ++called; });
    CHECK(news.send("last"));
    CHECK(called == 1);
    news.close();
    CHECK_FALSE(news.send("refused"));
    CHECK(early.recv() == "last");
    CHECK_FALSE(early.recv().has_value());
    CHECK(late.recv() == "last");
    auto after = news.subscribe();
    CHECK_FALSE(after.recv().has_value());
}

TEST_CASE("broadcast: overflow::lag drops the oldest and says so") {
    broadcast<int> news(3, overflow::lag);
    auto seat = news.subscribe();
    for (int i = 0; i < 10; ++i) CHECK(news.try_send(int{i}) == channel_status::ok);
    CHECK(news.depth() == 3);
    CHECK(seat.depth() == 10);
    std::optional<int> out;
    CHECK(seat.try_recv(out) == channel_status::lagged);
    CHECK(seat.missed() == 7);
    for (int i = 7; i < 10; ++i) {
        CHECK(seat.try_recv(out) == channel_status::ok);
        CHECK(out == i);
    }
    CHECK(seat.try_recv(out) == channel_status::not_now);
    for (int i = 0; i < 4; ++i) news.send(i);
    CHECK_THROWS_AS(seat.recv(), channel_lagged);
    CHECK(seat.recv() == 1);
}

TEST_CASE("broadcast: a fast sender and lagging readers agree on what was missed") {
    const long n = stress(5'000);
    broadcast<long> news(8, overflow::lag);
    std::vector<broadcast<long>::subscriber> seats;
    for (int i = 0; i < 2; ++i) seats.push_back(news.subscribe());
    std::atomic<long> wrong{0};
    run_threads(3, [&](int who) {
        if (who == 2) {
            for (long i = 0; i < n; ++i) news.send(i);
            news.close();
            return;
        }
        auto& seat = seats[static_cast<std::size_t>(who)];
        long next = 0;
        for (std::optional<long> out;;) {
            const auto status = seat.recv_until(out, no_deadline);
            if (status == channel_status::closed) break;
            if (status == channel_status::lagged) next += static_cast<long>(seat.missed());
            else if (*out != next++) ++wrong;
        }
        if (next != n) ++wrong;
    });
    CHECK(wrong == 0);
}

TEST_CASE("producer_consumer and fan_out_fan_in: the same bits at every worker count") {
    for (const std::size_t n : {0u, 1u, 2u, 63u, 64u, 65u, 1000u, 100'003u}) {
        std::vector<double> items(n), expected(n), squares(n);
        for (std::size_t i = 0; i < n; ++i) items[i] = (static_cast<double>(i) - 500.0) * 0.3;
        for (std::size_t i = 0; i < n; ++i) expected[i] = items[i] * items[i];
        const double sum = fan_out_fan_in(items, 1);
        CHECK(std::abs(sum - std::accumulate(expected.begin(), expected.end(), 0.0)) <= 1e-12 * sum);
        for (const int workers : thread_counts) {
            std::fill(squares.begin(), squares.end(), -1.0);
            producer_consumer(items, squares, workers);
            CHECK(squares == expected);
            CHECK(fan_out_fan_in(items, workers) == sum);
        }
    }
    std::vector<double> one(1), two(2);
    CHECK_THROWS_AS(producer_consumer(one, one, 0), std::invalid_argument);
    CHECK_THROWS_AS(producer_consumer(one, two, 1), std::invalid_argument);
    CHECK_THROWS_AS(fan_out_fan_in(one, -1), std::invalid_argument);
}

TEST_CASE("pipeline_processing: order, limits, the first number that does not fit") {
    CHECK(pipeline_processing({}).size() == 0);
    std::vector<std::int64_t> numbers(10'007);
    std::iota(numbers.begin(), numbers.end(), -5'000);
    std::size_t batches = 0;
    const auto texts = pipeline_processing(numbers, never_stop{}, [&](const pipeline_depths&) { ++batches; });
    CHECK(batches == 5);
    std::size_t k = 0;
    bool right = true;
    for (const auto x : numbers)
        if (x % 2 == 0) right = right && texts[k++] == std::to_string(x * x);
    CHECK(right);
    CHECK(texts.size() == k);
    const std::vector<std::int64_t> limits{3037000498, -3037000498, std::numeric_limits<std::int64_t>::max()};
    CHECK(pipeline_processing(limits)[1] == "9223372024852248004");
    numbers[7'777] = std::int64_t{1} << 32;
    numbers[9'999] = std::numeric_limits<std::int64_t>::min();
    const auto message = [&]() -> std::string {
        try {
            pipeline_processing(numbers);
        } catch (const std::overflow_error& e) {
            return e.what();
        }
        return "";
    }();
    CHECK(message.find("numbers[7777]") == 0);
}

TEST_CASE("broadcast_compute: one value, every worker") {
    for (const int workers : thread_counts) {
        const auto products = broadcast_compute(1.5, workers);
        REQUIRE(products.size() == static_cast<std::size_t>(workers));
        for (std::size_t i = 0; i < products.size(); ++i) CHECK(products[i] == 1.5 * static_cast<double>(i + 1));
    }
    CHECK_THROWS_AS(broadcast_compute(1.0, 0), std::invalid_argument);
}

TEST_CASE("the engines stop when asked, on the calling thread, and let an exception of `stop` through") {
    std::vector<double> items(500'000, 1.0), squares(items.size());
    std::vector<std::int64_t> numbers(500'000, 2);
    const auto caller = std::this_thread::get_id();
    for (const int after : {0, 1, 5, 40}) {
        int asked = 0;
        bool elsewhere = false;
        const auto stop = [&] {
            elsewhere = elsewhere || std::this_thread::get_id() != caller;
            return asked++ >= after;
        };
        CHECK_THROWS_AS(producer_consumer(items, squares, 4, stop), stopped);
        asked = 0;
        CHECK_THROWS_AS(fan_out_fan_in(items, 4, stop), stopped);
        asked = 0;
        CHECK_THROWS_AS(pipeline_processing(numbers, stop), stopped);
        asked = 0;
        if (after == 0) CHECK_THROWS_AS(broadcast_compute(1.0, 4, stop), stopped);
        CHECK_FALSE(elsewhere);
    }
    int asked = 0;
    const auto angry = [&]() -> bool {
        if (++asked > 3) throw std::domain_error("no");
        return false;
    };
    CHECK_THROWS_AS(pipeline_processing(numbers, angry), std::domain_error);
    asked = 0;
    CHECK_THROWS_AS(fan_out_fan_in(items, 4, angry), std::domain_error);
}

TEST_CASE("what a worker throws leaves the engine that started it") {
    const auto boom = [](const channel_detail::piece& p) -> int {
        if (p.index == 3) throw std::domain_error("piece 3");
        return 0;
    };
    never_stop stop;
    for (const int workers : thread_counts)
        CHECK_THROWS_AS(channel_detail::deal_out<int>(100'000, workers, boom, [](int) {}, stop), std::domain_error);
}
