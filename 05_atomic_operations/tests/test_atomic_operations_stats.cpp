// What must never be seen half-written: the seqlock and AtomicStats, hunted by readers; and the sums and moments themselves.
// TENFOLD_STRESS=long makes the hunts at least 1e7 operations long.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <tenfold/atomic_stats.hpp>
#include <tenfold/seqlock.hpp>
#include <tenfold/welford.hpp>

#include "tenfold_testing.hpp"

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif

namespace {

using tenfold::int128;
using tenfold_testing::run_threads;

constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();
constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

std::uint64_t operations(std::uint64_t brief) {
    const char* const wish = std::getenv("TENFOLD_STRESS");
    return wish && std::strcmp(wish, "long") == 0 ? 10'000'000 : brief;
}

struct triple {  // not a multiple of eight bytes
    std::uint32_t a, b, c;
};

tenfold::stats_snapshot by_hand(std::span<const std::int64_t> values) {
    tenfold::stats_snapshot all;
    if (values.empty()) return all;
    all = {0, 0, highest, lowest};
    for (const std::int64_t x : values) {
        ++all.count;
        all.sum += x;
        all.min = std::min(all.min, x);
        all.max = std::max(all.max, x);
    }
    return all;
}

bool same(const tenfold::stats_snapshot& a, const tenfold::stats_snapshot& b) {
    return a.count == b.count && a.sum == b.sum && a.min == b.min && a.max == b.max;
}

std::vector<std::int64_t> random_integers(std::size_t n, unsigned seed = 1) {
    std::mt19937_64 random(seed);
    std::vector<std::int64_t> all(n);
    for (auto& x : all) x = static_cast<std::int64_t>(random());
    return all;
}

std::vector<double> random_doubles(std::size_t n, double mean, double spread, unsigned seed = 1) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> value(mean, spread);
    std::vector<double> all(n);
    for (double& x : all) x = value(random);
    return all;
}

tenfold::moments two_pass(std::span<const double> values) {  // in long double: the oracle
    tenfold::moments all;
    all.count = values.size();
    long double sum = 0, squares = 0;
    for (const double x : values) {
        sum += x;
        all.min = std::min(all.min, x);
        all.max = std::max(all.max, x);
    }
    const long double mean = values.empty() ? 0 : sum / static_cast<long double>(values.size());
    for (const double x : values) squares += (x - mean) * (x - mean);
    all.mean = static_cast<double>(mean);
    all.m2 = static_cast<double>(squares);
    return all;
}

bool close(double a, double b, double tolerance = 1e-12) {
    return a == b || (std::isnan(a) && std::isnan(b)) || std::abs(a - b) <= tolerance * std::max(std::abs(a), std::abs(b));
}
bool close(const tenfold::moments& a, const tenfold::moments& b, double tolerance = 1e-12) {
    return a.count == b.count && close(a.mean, b.mean, tolerance) && close(a.m2, b.m2, tolerance) && close(a.min, b.min) &&
           close(a.max, b.max);
}
bool same_bits(const tenfold::moments& a, const tenfold::moments& b) {
    const auto bits = [](double x) { return std::bit_cast<std::uint64_t>(x); };
    return a.count == b.count && bits(a.mean) == bits(b.mean) && bits(a.m2) == bits(b.m2) && bits(a.min) == bits(b.min) &&
           bits(a.max) == bits(b.max);
}

}  // namespace

// ---- seqlock

TEST_CASE("seqlock: one thread") {
    tenfold::seqlock<triple> lock({1, 2, 3});
    CHECK(lock.load().c == 3);
    CHECK(lock.version() == 0);
    lock.store({4, 5, 6});
    lock.update([&lock](triple& value) {
        triple seen{};
        CHECK_FALSE(lock.try_load(seen));  // a writer is inside
        value.b += 10;
    });
    const triple now = lock.load();
    CHECK(now.a == 4);
    CHECK(now.b == 15);
    CHECK(now.c == 6);
    CHECK(lock.version() == 2);
    CHECK_THROWS_AS(lock.update([](triple& value) {
        value.a = 0;
        throw std::runtime_error("no");
    }),
                    std::runtime_error);
    CHECK(lock.load().a == 4);  // unchanged, and not locked for ever
    CHECK(tenfold::seqlock<char>('x').load() == 'x');
}

TEST_CASE("seqlock: no reader sees a mixture, no writer is lost") {
    struct wide {
        std::uint64_t words[7];
    };
    const int writers = GENERATE(1, 2, 4, 7);
    tenfold::seqlock<wide> lock;
    const std::uint64_t each = operations(200'000) / static_cast<std::uint64_t>(writers);
    std::atomic<int> running{writers};
    std::atomic<std::uint64_t> torn{0}, backwards{0}, reads{0};
    run_threads(writers + 2, [&](int i) {
        if (i < writers) {
            for (std::uint64_t k = 0; k < each; ++k)
                lock.update([](wide& value) {
                    for (std::uint64_t& word : value.words) ++word;
                });
            --running;
            return;
        }
        std::uint64_t before = 0;
        do {
            const wide value = lock.load();
            for (const std::uint64_t word : value.words) torn += word != value.words[0];
            backwards += value.words[0] < before;
            before = value.words[0];
            ++reads;
        } while (running != 0);
    });
    CHECK(torn == 0);
    CHECK(backwards == 0);
    CHECK(reads > 0);
    CHECK(lock.load().words[6] == each * static_cast<std::uint64_t>(writers));
    CHECK(lock.version() == each * static_cast<std::uint64_t>(writers));
}

TEST_CASE("seqlock: without the version, the same words do get mixed up: the hunt above can find something") {
    std::atomic<std::uint64_t> words[16]{};
    std::atomic<bool> over{false};
    std::uint64_t torn = 0;
    run_threads(2, [&](int i) {
        if (i == 0) {
            for (std::uint64_t k = 1; !over; ++k)
                for (auto& word : words) word.store(k, std::memory_order_relaxed);
        } else {
            const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(5);
            while (torn == 0 && std::chrono::steady_clock::now() < limit)
                for (int tries = 0; tries < 1000; ++tries) torn += words[15].load() != words[0].load();
            over = true;
        }
    });
    CHECK(torn > 0);
}

#ifndef UNDER_TSAN
TEST_CASE("seqlock, stats: forked while a writer was inside: the child gets an error, not a hang") {
    tenfold::seqlock<triple> lock;
    std::atomic<bool> inside{false}, leave{false};
    std::jthread writer([&] {
        lock.update([&](triple&) {
            inside = true;
            while (!leave) std::this_thread::yield();
        });
    });
    while (!inside) std::this_thread::yield();
    const int code = tenfold_testing::run_child(10, [&] {
        const auto begin = std::chrono::steady_clock::now();
        int refused = 0;
        try {
            lock.load();
        } catch (const std::runtime_error&) {
            ++refused;
        }
        try {
            lock.store({});
        } catch (const std::runtime_error&) {
            ++refused;
        }
        const bool at_once = std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(500);
        return refused == 2 && at_once ? 7 : 1;
    });
    leave = true;
    CHECK(code == 7);
}

TEST_CASE("seqlock: in a child, a writer that is there is waited for, however long it takes") {
    tenfold::seqlock<long> lock(7);
    lock.store(8);
    const int code = tenfold_testing::run_child(20, [&] {
        std::atomic<bool> inside{false};
        std::jthread writer([&] {
            lock.update([&](long& value) {
                inside = true;
                std::this_thread::sleep_for(std::chrono::milliseconds(1500));
                value = 9;
            });
        });
        while (!inside) std::this_thread::yield();
        return lock.load() == 9 && lock.version() == 2 ? 7 : 1;
    });
    CHECK(code == 7);
}
#endif

// ---- AtomicStats

TEST_CASE("stats: one try records, or not") {
    tenfold::atomic_stats stats;
    std::uint64_t recorded = 0;
    for (int i = 0; i < 100; ++i) recorded += stats.try_record(2);
    tenfold::stats_snapshot state;
    while (!stats.try_snapshot(state)) continue;
    CHECK(recorded > 0);  // compare_exchange_weak may fail for nothing
    CHECK(same(state, {recorded, int128{2} * recorded, 2, 2}));
}

TEST_CASE("stats: empty, one value, text, limits") {
    tenfold::atomic_stats stats;
    CHECK(stats.snapshot().empty());
    CHECK(std::isnan(stats.snapshot().mean()));
    CHECK(to_string(stats.snapshot()) == "AtomicStats(count=0, sum=0, mean=0.00, min=0, max=0)");
    stats.record_all({});
    CHECK(stats.snapshot().empty());
    stats.record(-5);
    CHECK(same(stats.snapshot(), {1, -5, -5, -5}));
    stats.record(8);
    CHECK(to_string(stats.snapshot()) == "AtomicStats(count=2, sum=3, mean=1.50, min=-5, max=8)");
    stats.record(highest);
    CHECK_THROWS_AS(stats.snapshot().sum64(), std::overflow_error);
    stats.record(lowest);
    CHECK(stats.snapshot().sum64() == 2);
    for (int i = 0; i < 3; ++i) stats.record(lowest);
    CHECK(stats.snapshot().sum == int128{lowest} * 3 + 2);
    CHECK_FALSE(stats.snapshot().sum_fits());
    CHECK(to_string(stats.snapshot()).find("sum=-27670116110564327422") != std::string::npos);
    CHECK_THROWS_AS(tenfold::atomic_stats(0), std::invalid_argument);
}

TEST_CASE("stats: the mean is rounded once") {
    const auto mean = [](int128 sum, std::uint64_t count) { return tenfold::stats_snapshot{count, sum, 0, 0}.mean(); };
    CHECK(mean(0, 3) == 0.0);
    CHECK(mean(10, 4) == 2.5);
    CHECK(mean(-10, 4) == -2.5);
    CHECK(mean(1, 3) == 1.0 / 3.0);
    CHECK(mean(-2, 3) == -2.0 / 3.0);
    CHECK(mean(highest, 1) == 9223372036854775807.0);
    CHECK(mean((int128{1} << 53) + 1, 1) == 9007199254740992.0);  // a tie, to even
    CHECK(mean((int128{1} << 54) + 2 + 1, 2) == 9007199254740994.0);  // just above a tie
    CHECK(mean((int128{highest} + 1) * 1000, 1000) == 9223372036854775808.0);
    CHECK(mean(int128{1} << 126, std::uint64_t{1} << 63) == std::ldexp(1.0, 63));
}

TEST_CASE("summarise: every length and the borders, extreme values") {
    const auto values = random_integers(300'000);
    std::vector<std::size_t> lengths;
    for (std::size_t n = 0; n < 140; ++n) lengths.push_back(n);
    for (const std::size_t n : {65'535, 65'536, 65'537, 131'072, 262'143, 300'000}) lengths.push_back(n);
    for (const std::size_t n : lengths) {
        const std::span<const std::int64_t> part(values.data() + n % 3, std::min(n, values.size() - 3));
        REQUIRE(same(tenfold::summarise(part), by_hand(part)));
    }
    for (const std::int64_t x : {lowest, std::int64_t{-1}, std::int64_t{0}, highest}) {
        const std::vector<std::int64_t> many(100'001, x);
        REQUIRE(same(tenfold::summarise(many), by_hand(many)));
    }
    for (const auto level : {tenfold::simd_level::baseline, tenfold::simd_level::avx2, tenfold::simd_level::avx512}) {
        const tenfold::atomic_detail::stats_kernel kernel{values.data(), 60'001};
        REQUIRE(same(tenfold::atomic_detail::run_simd(kernel, level), by_hand({values.data(), 60'001})));
    }
}

TEST_CASE("stats: threads, shards, batches: the totals are exact") {
    const int threads = GENERATE(1, 2, 4, 7);
    const int shards = GENERATE(1, 2, 5, 40);
    const auto values = random_integers(2'000);
    tenfold::atomic_stats stats(shards);
    run_threads(threads, [&](int i) {
        if (i % 2)
            for (int k = 0; k < 5; ++k) stats.record_all(values);
        else
            for (int k = 0; k < 5; ++k)
                for (const std::int64_t x : values) stats.record(x);
    });
    auto expected = by_hand(values);
    expected.count *= 5 * static_cast<std::uint64_t>(threads);
    expected.sum *= 5 * threads;
    CHECK(same(stats.snapshot(), expected));
}

TEST_CASE("parallel_record: the oracle at every thread count, small and large") {
    const int threads = GENERATE(1, 2, 4, 7);
    for (const std::size_t n : {0, 1, 1000, 262'143, 1'000'001}) {
        const auto values = random_integers(n, 7);
        tenfold::atomic_stats stats, each;
        tenfold::parallel_record(stats, values, threads);
        CHECK(same(stats.snapshot(), by_hand(values)));
        if (n > 1000) continue;
        tenfold::parallel_record_each(each, values, threads);
        CHECK(same(each.snapshot(), by_hand(values)));
    }
    tenfold::atomic_stats stats;
    const auto values = random_integers(1'000'000);
    CHECK_THROWS_AS(tenfold::parallel_record(stats, values, threads, [] { return true; }), tenfold::stopped);
    CHECK(stats.snapshot().empty());  // all or nothing
    CHECK_THROWS_AS(tenfold::parallel_record(stats, values, 0), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::parallel_record_each(stats, values, 0), std::invalid_argument);
}

TEST_CASE("stats: readers find no torn state while values and batches pour in") {
    const int writers = GENERATE(1, 2, 4, 7);
    // Every value is 3 or 1003, batches are five of each: so sum, count, min and max tell what must belong together.
    const std::vector<std::int64_t> batch{3, 1003, 3, 1003, 3, 1003, 3, 1003, 3, 1003};
    tenfold::atomic_stats stats(GENERATE(1, 4));
    const std::uint64_t each = operations(200'000) / static_cast<std::uint64_t>(writers);
    std::atomic<int> running{writers};
    std::atomic<std::uint64_t> torn{0}, backwards{0};
    run_threads(writers + 2, [&](int i) {
        if (i < writers) {
            for (std::uint64_t k = 0; k < each; ++k) stats.record_all(batch);
            --running;
            return;
        }
        std::uint64_t before = 0;
        do {
            const auto now = stats.snapshot();
            torn += now.count % 10 != 0 || now.sum != static_cast<int128>(now.count) * 503;
            torn += now.count != 0 && (now.min != 3 || now.max != 1003);
            backwards += now.count < before;
            before = now.count;
        } while (running != 0);
    });
    CHECK(torn == 0);
    CHECK(backwards == 0);
    CHECK(stats.snapshot().count == each * 10 * static_cast<std::uint64_t>(writers));
}

TEST_CASE("stats: a snapshot has whatever happened before it, in every shard") {
    tenfold::atomic_stats stats(8);
    std::atomic<std::uint64_t> finished{0};
    std::atomic<bool> over{false};
    std::atomic<std::uint64_t> missing{0};
    run_threads(4, [&](int i) {
        if (i < 3) {
            for (int k = 0; k < 5'000; ++k) {
                stats.record(1);
                finished.fetch_add(1);  // after the record
            }
            if (finished == 15'000) over = true;
        } else {
            while (!over) {
                const std::uint64_t at_least = finished;
                missing += stats.snapshot().count < at_least;
            }
        }
    });
    CHECK(missing == 0);
}

TEST_CASE("stats: a snapshot is one moment, not one per shard") {
    // The first records a 1, then the second a 1000, then the first again: at any moment there are as many, or one more 1.
    tenfold::atomic_stats stats(1024);
    std::atomic<int> turn{-1};
    std::atomic<bool> over{false};
    std::uint64_t impossible = 0, snapshots = 0;
    const auto record_in_turn = [&](int me, std::int64_t value) {
        for (int k = 0; k < 5'000; ++k) {
            while (turn != me) std::this_thread::yield();
            stats.record(value);
            turn = 1 - me;
        }
    };
    {
        tenfold::atomic_stats elsewhere;
        std::jthread first([&] {
            elsewhere.record(0);  // takes its number, and so its shard, now
            turn = -2;
            record_in_turn(0, 1);
        });
        while (turn != -2) std::this_thread::yield();
        for (int i = 0; i < 300; ++i) std::jthread([&] { elsewhere.record(0); }).join();  // the second's is far from it
        std::jthread second([&] { record_in_turn(1, 1000); });
        std::jthread reader([&] {
            do {
                const auto now = stats.snapshot();
                impossible += static_cast<std::uint64_t>(now.sum) != now.count / 2 * 1001 + now.count % 2;
                ++snapshots;
            } while (!over);
        });
        turn = 0;
        first.join();
        second.join();
        over = true;
    }
    CHECK(impossible == 0);
    CHECK(snapshots > 0);
    CHECK(stats.snapshot().count == 10'000);
}

// ---- moments

TEST_CASE("moments: nothing, one, two") {
    const tenfold::moments none = tenfold::vector_moments({});
    CHECK(none.count == 0);
    CHECK(none.min == infinity);
    CHECK(none.max == -infinity);
    CHECK(std::isnan(none.variance()));
    const double one[] = {4.0};
    CHECK(tenfold::vector_moments(one).variance() == 0.0);
    CHECK(std::isnan(tenfold::vector_moments(one).sample_variance()));
    const double two[] = {4.0, 8.0};
    CHECK(tenfold::vector_moments(two).mean == 6.0);
    CHECK(tenfold::vector_moments(two).variance() == 4.0);
    CHECK(tenfold::vector_moments(two).sample_variance() == 8.0);
    CHECK(tenfold::vector_moments(two).stddev() == 2.0);
}

TEST_CASE("moments: every length and level against two passes in long double") {
    const auto values = random_doubles(200'000, 1e6, 3.0);
    std::vector<std::size_t> lengths;
    for (std::size_t n = 0; n < 200; ++n) lengths.push_back(n);
    for (const std::size_t n : {2047, 2048, 2049, 4096, 65'535, 65'536, 65'537, 199'999}) lengths.push_back(n);
    for (const std::size_t n : lengths) {
        const std::span<const double> part(values.data() + n % 5, std::min(n, values.size() - 5));
        const auto expected = two_pass(part);
        for (const auto level : {tenfold::simd_level::baseline, tenfold::simd_level::avx2, tenfold::simd_level::avx512})
            REQUIRE(close(tenfold::vector_moments(part, level), expected, 1e-9));
        REQUIRE(close(tenfold::welford(part), expected, 1e-8));
    }
}

TEST_CASE("moments: Welford's loops can be stopped, both of them") {
    std::vector<double> values(300'000, 1.0);
    int asked = 0;
    CHECK(tenfold::welford(values, [&] { return ++asked, false; }).mean == 1.0);
    CHECK(asked == 5);
    CHECK_THROWS_AS(tenfold::welford(values, [] { return true; }), tenfold::stopped);
    values[0] = infinity;
    asked = 0;
    CHECK_THROWS_AS(tenfold::welford(values, [&] { return ++asked == 8; }), tenfold::stopped);
    CHECK(asked == 8);
}

TEST_CASE("moments: an offset of 1e9 does not cancel") {
    const auto values = random_doubles(100'000, 1e9, 1.0, 3);
    const auto expected = two_pass(values);
    CHECK(close(tenfold::vector_moments(values).variance(), expected.variance(), 1e-9));
}

TEST_CASE("moments: the same bits at every thread count") {
    const auto values = random_doubles(1'000'003, 5.0, 2.0);
    const auto once = tenfold::vector_moments(values);
    for (const int threads : {1, 2, 4, 7}) REQUIRE(same_bits(tenfold::parallel_moments(values, threads), once));
    CHECK_THROWS_AS(tenfold::parallel_moments(values, 0), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::parallel_moments(values, 2, [] { return true; }), tenfold::stopped);
}

TEST_CASE("moments: merging in any order agrees to 1e-12") {
    const auto values = random_doubles(100'000, 1e4, 10.0);
    std::mt19937_64 random(5);
    const auto all = tenfold::vector_moments(values);
    for (int round = 0; round < 50; ++round) {
        std::vector<tenfold::moments> parts;
        for (std::size_t begin = 0; begin < values.size();) {
            const std::size_t size = std::min<std::size_t>(1 + random() % 5'000, values.size() - begin);
            parts.push_back(tenfold::vector_moments({values.data() + begin, size}));
            begin += size;
        }
        std::shuffle(parts.begin(), parts.end(), random);
        while (parts.size() > 1) {  // a random tree
            const std::size_t i = random() % (parts.size() - 1);
            parts[i].merge(parts[i + 1]);
            parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        }
        REQUIRE(close(parts[0], all));
    }
}

TEST_CASE("moments: NaN and infinities, wherever they stand, are the same for both loops") {
    const std::size_t at = GENERATE(0, 1, 31, 2047, 2048, 4999);
    auto values = random_doubles(5'000, 0.0, 1.0);
    const auto check = [&](double mean, double min, double max) {
        for (const auto& all :
             {tenfold::vector_moments(values), tenfold::welford(values), tenfold::parallel_moments(values, 3)}) {
            CHECK(all.count == values.size());
            CHECK(close(all.mean, mean));
            CHECK(std::isnan(all.m2));
            CHECK(close(all.min, min));
            CHECK(close(all.max, max));
        }
    };
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    const double least =
        at == static_cast<std::size_t>(low - values.begin()) ? *std::min_element(values.begin() + 5, values.end()) : *low;
    const double largest = *high;
    values[at] = nan_value;
    check(nan_value, nan_value, nan_value);
    values[at] = infinity;
    check(infinity, least, infinity);
    values[(at + 2500) % 5'000] = -infinity;
    check(nan_value, -infinity, infinity);
    values[(at + 2500) % 5'000] = infinity;
    values[at] = -infinity;
    check(nan_value, -infinity, infinity);
    values[(at + 2500) % 5'000] = 0.0;
    check(-infinity, -infinity, largest);
    const double alone[] = {infinity};
    CHECK(tenfold::vector_moments(alone).mean == infinity);
    CHECK(std::isnan(tenfold::vector_moments(alone).m2));
}

TEST_CASE("moments: the largest numbers overflow in the variance only") {
    std::vector<double> values(5'000, 1.5e308);
    CHECK(close(tenfold::vector_moments(values).mean, 1.5e308));
    CHECK(tenfold::vector_moments(values).m2 == 0.0);
    for (std::size_t i = 0; i < values.size(); i += 2) values[i] = -1.5e308;
    for (const auto& all : {tenfold::vector_moments(values), tenfold::welford(values)}) {
        CHECK(std::abs(all.mean) < 1e306);
        CHECK(all.m2 == infinity);
        CHECK(all.min == -1.5e308);
        CHECK(all.max == 1.5e308);
    }
}
