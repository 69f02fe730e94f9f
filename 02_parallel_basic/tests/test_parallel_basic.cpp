// The array functions of lesson 02 against plain sequential code: values, bits, borders, errors, stops, fork.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <tenfold/filter.hpp>
#include <tenfold/map.hpp>
#include <tenfold/parallel.hpp>
#include <tenfold/reduce.hpp>
#include <tenfold/sort.hpp>

#include "tenfold_testing.hpp"

using tenfold_testing::run_child;

namespace {

constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int teams[] = {1, 2, 4, 7};

std::uint64_t bits(double x) { return std::bit_cast<std::uint64_t>(x); }

// Every size up to four AVX-512 vectors times four, then the borders of chunks.
std::vector<std::size_t> sizes() {
    std::vector<std::size_t> all;
    for (std::size_t n = 0; n <= 130; ++n) all.push_back(n);
    for (const std::size_t border : {4096u, 8192u, 16384u, 24576u, 32768u, 65536u, 131072u})
        for (const std::size_t n : {border - 1, border, border + 1, border + 33}) all.push_back(n);
    all.push_back(300'001);
    return all;
}

std::vector<double> random_doubles(std::size_t n, unsigned seed = 1) {
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> value(-1e6, 1e6);
    std::vector<double> all(n);
    for (double& x : all) x = value(random);
    return all;
}

// The definition of the sum: chunks of 4096 in 32 lanes, lanes folded by halves, chunk sums in order.
double sum_by_definition(std::span<const double> values, std::size_t chunk = 4096) {
    double total = 0.0;
    for (std::size_t begin = 0; begin < values.size(); begin += chunk) {
        const std::size_t end = std::min(begin + chunk, values.size());
        double lanes[32] = {};
        for (std::size_t i = begin; i < end; ++i) lanes[(i - begin) % 32] += values[i];
        for (int half = 16; half >= 1; half /= 2)
            for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
        total += lanes[0];
    }
    return total;
}

// The order of the sort: ascending, -0.0 before 0.0, NaN last, NaNs by their bits.
bool sorts_before(double a, double b) {
    if (std::isnan(a) || std::isnan(b)) return !std::isnan(a) || (std::isnan(b) && bits(a) < bits(b));
    return a < b || (a == b && std::signbit(a) && !std::signbit(b));
}

std::vector<std::uint64_t> all_bits(std::span<const double> values) {
    std::vector<std::uint64_t> out;
    for (const double x : values) out.push_back(bits(x));
    return out;
}

// Sorted with every team, in place and into another array: all must be the oracle's bits.
bool sorts_like_the_oracle(const std::vector<double>& values) {
    auto expected = values;
    std::sort(expected.begin(), expected.end(), sorts_before);
    const auto wanted = all_bits(expected);
    for (const int threads : teams) {
        auto in_place = values;
        tenfold::parallel_sort(in_place, threads);
        std::vector<double> out(values.size());
        tenfold::parallel_sort(values, out, threads);
        if (all_bits(in_place) != wanted || all_bits(out) != wanted) return false;
    }
    return true;
}

struct body_error : std::runtime_error {
    explicit body_error(std::size_t index) : std::runtime_error("body"), chunk(index) {}
    std::size_t chunk;
};

}  // namespace

TEST_CASE("the kernels were compiled for this machine", "[parallel_basic]") { CHECK(std::string(tenfold::simd_name()) != ""); }

TEST_CASE("parallel_chunks visits every item once, at the same borders for every team", "[parallel_basic]") {
    const auto how = GENERATE(tenfold::schedule::static_, tenfold::schedule::dynamic, tenfold::schedule::guided);
    for (const int threads : teams)
        for (const std::size_t n : {0u, 1u, 9u, 10u, 11u, 1000u})
            for (const std::size_t grain : {0u, 1u, 3u}) {
                std::vector<std::atomic<int>> seen(n);
                std::atomic<int> odd_chunks{0};
                tenfold::parallel_chunks(n, 10, threads,
                                         [&](std::size_t begin, std::size_t end) {
                                             if (begin % 10 != 0 || end != std::min(begin + 10, n)) ++odd_chunks;
                                             for (std::size_t i = begin; i < end; ++i) ++seen[i];
                                         },
                                         tenfold::never_stop{}, {.how = how, .grain = grain});
                CHECK(odd_chunks == 0);
                CHECK(std::all_of(seen.begin(), seen.end(), [](const auto& count) { return count == 1; }));
            }
}

TEST_CASE("parallel_chunks near the largest size does not overflow", "[parallel_basic]") {
    constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();
    std::atomic<std::size_t> last{0};
    tenfold::parallel_chunks(huge, huge / 2 + 1, 2, [&](std::size_t, std::size_t end) {
        if (end == huge) last = end;
    });
    CHECK(last == huge);
    CHECK_THROWS_AS(tenfold::parallel_chunks(1, 0, 1, [](std::size_t, std::size_t) {}), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::parallel_chunks(1, 1, 0, [](std::size_t, std::size_t) {}), std::invalid_argument);
}

TEST_CASE("the error of the lowest chunk that throws leaves the call", "[parallel_basic]") {
    const auto how = GENERATE(tenfold::schedule::static_, tenfold::schedule::dynamic, tenfold::schedule::guided);
    for (const int threads : teams)
        for (const std::size_t first : {0u, 3u, 49u, 99u})
            for (int round = 0; round < 20; ++round) {
                std::size_t caught = 1000;
                try {
                    tenfold::parallel_chunks(100, 1, threads,
                                             [&](std::size_t i, std::size_t) {
                                                 if (i == first) std::this_thread::yield();
                                                 if (i >= first) throw body_error(i);
                                             },
                                             tenfold::never_stop{}, {.how = how});
                } catch (const body_error& error) {
                    caught = error.chunk;
                }
                CHECK(caught == first);
            }
}

TEST_CASE("stop is asked on the calling thread only and ends the loop", "[parallel_basic]") {
    const auto how = GENERATE(tenfold::schedule::static_, tenfold::schedule::dynamic, tenfold::schedule::guided);
    for (const int threads : teams) {
        const auto caller = std::this_thread::get_id();
        std::atomic<int> ran{0}, asked_elsewhere{0};
        int asked = 0;
        const auto stop = [&] {
            if (std::this_thread::get_id() != caller) ++asked_elsewhere;
            return ++asked > 3;
        };
        // Endless for any thread that is not told: each chunk waits a little, and there are a million.
        CHECK_THROWS_AS(tenfold::parallel_chunks(1'000'000, 1, threads,
                                                 [&](std::size_t, std::size_t) {
                                                     ++ran;
                                                     std::this_thread::sleep_for(std::chrono::milliseconds(1));
                                                 },
                                                 stop, {.how = how}),
                        tenfold::stopped);
        CHECK(asked_elsewhere == 0);
        CHECK(ran < 10'000);
        CHECK_THROWS_AS(
            tenfold::parallel_chunks(
                10, 1, threads, [](std::size_t, std::size_t) {}, []() -> bool { throw body_error(7); }, {.how = how}),
            body_error);
    }
}

TEST_CASE("a caller that is done early still listens to stop", "[parallel_basic]") {
    // Static: the caller's chunk 0 is empty, the other thread's chunk 1 ends only when stop has been asked often.
    std::atomic<int> asked{0};
    const auto stop = [&] { return ++asked > 5; };
    CHECK_THROWS_AS(tenfold::parallel_chunks(2, 1, 2,
                                             [&](std::size_t i, std::size_t) {
                                                 for (int wait = 0; i == 1 && asked <= 5 && wait < 20'000; ++wait)
                                                     std::this_thread::sleep_for(std::chrono::milliseconds(1));
                                             },
                                             stop, {.how = tenfold::schedule::static_}),
                    tenfold::stopped);
}

TEST_CASE("a stop does not wait for the chunks that are left, however many", "[parallel_basic]") {
    // The other iterations of the OpenMP loop still come, empty: 10^12 of them would outlast every time limit.
    for (const auto how : {tenfold::schedule::static_, tenfold::schedule::dynamic, tenfold::schedule::guided})
        for (const std::size_t grain : {1, 7}) {
            std::atomic<int> asked{0}, begun{0};
            CHECK_THROWS_AS(tenfold::parallel_chunks(
                                1'000'000'000'000, 1, 2, [&](std::size_t, std::size_t) { ++begun; },
                                [&] { return ++asked > 100; }, {.how = how, .grain = grain}),
                            tenfold::stopped);
            CHECK(begun > 0);
            CHECK_THROWS_AS(tenfold::parallel_chunks(1'000'000'000'000, 1, 2,
                                                     [&](std::size_t begin, std::size_t) {
                                                         if (begin == 10) throw std::runtime_error("ten");
                                                     },
                                                     tenfold::never_stop{}, {.how = how, .grain = grain}),
                            std::runtime_error);
        }
}

TEST_CASE("a call from inside a region runs inline", "[parallel_basic]") {
    std::atomic<int> elsewhere{0}, ran{0};
    tenfold::parallel_chunks(8, 1, 4, [&](std::size_t, std::size_t) {
        const auto here = std::this_thread::get_id();
        tenfold::parallel_chunks(8, 1, 4, [&](std::size_t, std::size_t) {
            ++ran;
            if (std::this_thread::get_id() != here) ++elsewhere;
        });
    });
    CHECK(ran == 64);
#ifdef _OPENMP
    CHECK(elsewhere == 0);
#endif
}

TEST_CASE("independent calls from several threads at once", "[parallel_basic]") {
    const auto values = random_doubles(200'000);
    const double expected = sum_by_definition(values);
    std::atomic<int> wrong{0};
    std::vector<std::jthread> callers;
    for (int c = 0; c < 4; ++c)
        callers.emplace_back([&] {
            for (int i = 0; i < 20; ++i)
                if (bits(tenfold::parallel_sum(values, 3)) != bits(expected)) ++wrong;
        });
    callers.clear();
    CHECK(wrong == 0);
}

TEST_CASE("sum: the defined bits at every size and team", "[parallel_basic]") {
    for (const std::size_t n : sizes()) {
        const auto values = random_doubles(n, static_cast<unsigned>(n));
        const double expected = sum_by_definition(values);
        bool same = bits(tenfold::sequential_sum(values)) == bits(expected);
        for (const int threads : teams) same = same && bits(tenfold::parallel_sum(values, threads)) == bits(expected);
        INFO("n = " << n);
        CHECK(same);
    }
    CHECK(bits(tenfold::parallel_sum(std::vector<double>{}, 2)) == bits(0.0));
    CHECK(std::isnan(tenfold::parallel_sum(std::vector<double>{infinity, -infinity}, 2)));
    for (const auto how : {tenfold::schedule::static_, tenfold::schedule::dynamic, tenfold::schedule::guided}) {
        const auto values = random_doubles(100'000);
        CHECK(bits(tenfold::parallel_sum(values, 4, tenfold::never_stop{}, how)) == bits(sum_by_definition(values)));
    }
}

TEST_CASE("sum does not depend on the alignment of the array", "[parallel_basic]") {
    const auto values = random_doubles(50'001);
    for (std::size_t shift = 0; shift < 9; ++shift) {
        const std::span<const double> view(values.data() + shift, 40'000);
        CHECK(bits(tenfold::parallel_sum(view, 2)) == bits(sum_by_definition(view)));
    }
}

TEST_CASE("chunked sum: right for whole numbers, same bits for every team", "[parallel_basic]") {
    for (const std::size_t n : {0u, 1u, 5u, 4096u, 4097u, 30'000u, 100'003u})
        for (const std::size_t chunk : {1u, 2u, 3u, 100u, 4095u, 4096u, 4097u, 10'000u, 1'000'000u}) {
            std::vector<double> whole(n);
            for (std::size_t i = 0; i < n; ++i) whole[i] = static_cast<double>(i);
            const double expected = n == 0 ? 0.0 : static_cast<double>(n) * static_cast<double>(n - 1) / 2;
            const auto values = random_doubles(n);
            const double first = tenfold::parallel_sum_chunked(values, chunk, 1);
            bool same = true;
            for (const int threads : teams)
                same = same && tenfold::parallel_sum_chunked(whole, chunk, threads) == expected &&
                       bits(tenfold::parallel_sum_chunked(values, chunk, threads)) == bits(first);
            INFO("n = " << n << ", chunk = " << chunk);
            CHECK(same);
        }
    const auto values = random_doubles(100'000);
    CHECK(bits(tenfold::parallel_sum_chunked(values, 4096, 2)) == bits(tenfold::parallel_sum(values, 2)));
    CHECK(bits(tenfold::parallel_sum_chunked(values, std::numeric_limits<std::size_t>::max(), 2)) ==
          bits(tenfold::parallel_sum(values, 2)));
    CHECK_THROWS_AS(tenfold::parallel_sum_chunked(values, 0, 2), std::invalid_argument);
}

TEST_CASE("max: every position, NaN, infinities, zeros", "[parallel_basic]") {
    for (const int threads : teams) {
        CHECK(!tenfold::parallel_max(std::vector<double>{}, threads));
        CHECK(*tenfold::parallel_max(std::vector<double>{-infinity}, threads) == -infinity);
        CHECK(std::isnan(*tenfold::parallel_max(std::vector<double>{nan_value}, threads)));
    }
    for (const std::size_t n : sizes()) {
        if (n == 0) continue;
        auto values = random_doubles(n, static_cast<unsigned>(n));
        const std::size_t step = n <= 130 ? 1 : n / 37;
        bool same = true;
        for (std::size_t at = 0; at < n; at += step) {
            const int threads = teams[at % 4];
            const double before = std::exchange(values[at], 2e6);
            same = same && *tenfold::parallel_max(values, threads) == 2e6;
            values[at] = at % 2 == 0 ? nan_value : -nan_value;
            same = same && std::isnan(*tenfold::parallel_max(values, threads));
            values[at] = before;
        }
        INFO("n = " << n);
        CHECK(same);
    }
    for (const std::size_t n : {2u, 17u, 70'000u})
        for (const int threads : teams) {
            std::vector<double> zeros(n, -0.0);
            CHECK(bits(*tenfold::parallel_max(zeros, threads)) == bits(-0.0));
            zeros[n / 2] = 0.0;
            CHECK(bits(*tenfold::parallel_max(zeros, threads)) == bits(0.0));
            zeros[0] = -1.0;
            CHECK(bits(*tenfold::parallel_max(zeros, threads)) == bits(0.0));
        }
}

TEST_CASE("square and saxpy: every size, store, alignment and team, two roundings", "[parallel_basic]") {
    for (const std::size_t n : sizes())
        for (const auto how : {tenfold::stores::automatic, tenfold::stores::plain, tenfold::stores::nontemporal}) {
            const auto x = random_doubles(n + 1, 1), y = random_doubles(n + 1, 2);
            const double a = 1.0 / 3.0;
            bool same = true;
            for (const int threads : teams) {
                const std::size_t shift = static_cast<std::size_t>(threads) % 2;
                std::vector<double> squares(n + 3, -1.0), sums(n + 3, -1.0);
                tenfold::parallel_square({x.data(), n}, {squares.data() + 1 + shift, n}, threads, tenfold::never_stop{}, how);
                tenfold::parallel_saxpy(a, {x.data() + shift, n}, {y.data(), n}, {sums.data() + 1, n}, threads,
                                        tenfold::never_stop{}, how);
                same = same && squares[0] == -1.0 && squares[n + 1 + shift] == -1.0 && sums[0] == -1.0 && sums[n + 1] == -1.0;
                for (std::size_t i = 0; i < n; ++i) {
                    const volatile double product = a * x[i + shift];  // volatile: no compiler may fuse it with the addition
                    same = same && squares[i + 1 + shift] == x[i] * x[i] && sums[i + 1] == product + y[i];
                }
            }
            INFO("n = " << n << "; if only saxpy differs, the flag -ffp-contract=off is missing");
            CHECK(same);
        }
}

TEST_CASE("square and saxpy in place, and refusals", "[parallel_basic]") {
    for (const int threads : teams) {
        auto x = random_doubles(100'000);
        const auto before = x;
        tenfold::parallel_square(x, x, threads);
        bool same = true;
        for (std::size_t i = 0; i < x.size(); ++i) same = same && x[i] == before[i] * before[i];
        auto y = before;
        tenfold::parallel_saxpy(2.0, before, y, y, threads);
        for (std::size_t i = 0; i < y.size(); ++i) same = same && y[i] == 2.0 * before[i] + before[i];
        CHECK(same);
    }
    std::vector<double> three(3), two(2);
    CHECK_THROWS_AS(tenfold::parallel_square(three, two, 1), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::parallel_saxpy(1.0, three, two, three, 1), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::parallel_saxpy(1.0, three, three, two, 1), std::invalid_argument);
}

TEST_CASE("filter: evens in order, nothing written beside them", "[parallel_basic]") {
    std::mt19937_64 random(5);
    for (const std::size_t n : sizes())
        for (const int kept_of_8 : {0, 1, 4, 8}) {
            std::vector<std::int64_t> values(n), expected;
            for (auto& x : values) {
                x = static_cast<std::int64_t>(random()) | 1;
                if (static_cast<int>(random() % 8) < kept_of_8) x ^= 1;
            }
            if (n > 4) {
                values[0] = std::numeric_limits<std::int64_t>::min();
                values[1] = std::numeric_limits<std::int64_t>::max();
                values[2] = -1;
                values[3] = -2;
                values[4] = 0;
            }
            std::copy_if(values.begin(), values.end(), std::back_inserter(expected), [](std::int64_t x) { return x % 2 == 0; });
            bool same = true;
            for (const int threads : teams) {
                const tenfold::even_offsets offsets(values, threads);
                std::vector<std::int64_t> out(expected.size() + 2, 77);
                tenfold::write_even(values, offsets, std::span(out).subspan(1, expected.size()), threads);
                same = same && offsets.total() == expected.size() && out.front() == 77 && out.back() == 77 &&
                       std::equal(expected.begin(), expected.end(), out.begin() + 1);
                std::vector<std::int64_t> roomy(n + 1, 77);
                same = same && tenfold::parallel_filter_even(values, roomy, threads) == expected.size() &&
                       std::equal(expected.begin(), expected.end(), roomy.begin()) && roomy[expected.size()] == 77;
            }
            INFO("n = " << n << ", kept of 8: " << kept_of_8);
            CHECK(same);
        }
    const std::vector<std::int64_t> evens(100, 2);
    std::vector<std::int64_t> small(99);
    CHECK_THROWS_AS(tenfold::parallel_filter_even(evens, small, 2), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::write_even(std::span(evens).first(50), tenfold::even_offsets(evens, 2), small, 2),
                    std::invalid_argument);
}

TEST_CASE("sort: every size", "[parallel_basic]") {
    for (const std::size_t n : sizes()) {
        INFO("n = " << n);
        CHECK(sorts_like_the_oracle(random_doubles(n, static_cast<unsigned>(n))));
    }
    std::vector<double> three(3), two(2);
    CHECK_THROWS_AS(tenfold::parallel_sort(three, two, 1), std::invalid_argument);
}

TEST_CASE("sort: NaNs of every kind last, signed zeros in order", "[parallel_basic]") {
    const double specials[] = {nan_value,
                               -nan_value,
                               std::bit_cast<double>(0x7ff8000000000123u),
                               std::bit_cast<double>(0xfff80000000abcdeu),
                               std::bit_cast<double>(0x7ff0000000000001u),
                               infinity,
                               -infinity,
                               0.0,
                               -0.0,
                               std::numeric_limits<double>::denorm_min(),
                               -std::numeric_limits<double>::denorm_min(),
                               std::numeric_limits<double>::max(),
                               std::numeric_limits<double>::lowest(),
                               1.0,
                               -1.0};
    std::mt19937_64 random(9);
    for (const std::size_t n : {2u, 15u, 100u, 8192u, 20'000u, 100'000u}) {
        std::vector<double> only_specials(n), some(n), zeros(n), nans(n);
        for (std::size_t i = 0; i < n; ++i) {
            only_specials[i] = specials[random() % std::size(specials)];
            some[i] =
                random() % 50 == 0 ? specials[random() % std::size(specials)] : static_cast<double>(random() % 1000) - 500.0;
            zeros[i] = random() % 2 == 0 ? 0.0 : -0.0;
            nans[i] = specials[random() % 5];
        }
        INFO("n = " << n);
        CHECK(sorts_like_the_oracle(only_specials));
        CHECK(sorts_like_the_oracle(some));
        CHECK(sorts_like_the_oracle(zeros));
        CHECK(sorts_like_the_oracle(nans));
    }
}

TEST_CASE("sort: inputs that mislead pivots", "[parallel_basic]") {
    std::mt19937_64 random(11);
    for (const std::size_t n : {10'000u, 65'537u, 250'000u}) {
        std::vector<std::vector<double>> inputs(9, std::vector<double>(n));
        for (std::size_t i = 0; i < n; ++i) {
            const auto x = static_cast<double>(i);
            inputs[0][i] = 3.0;
            inputs[1][i] = x;
            inputs[2][i] = -x;
            inputs[3][i] = static_cast<double>(std::min(i, n - i));
            inputs[4][i] = static_cast<double>(random() % 2);
            inputs[5][i] = static_cast<double>(random() % 5);
            inputs[6][i] = random() % 10 != 0 ? 5.0 : static_cast<double>(random() % n);
            inputs[7][i] = static_cast<double>(i % 64);
            inputs[8][i] = i + 1 == n ? -1.0 : std::floor(std::sqrt(x));
        }
        for (std::size_t kind = 0; kind < inputs.size(); ++kind) {
            INFO("n = " << n << ", kind " << kind);
            CHECK(sorts_like_the_oracle(inputs[kind]));
        }
    }
}

TEST_CASE("a stopped sort keeps its values", "[parallel_basic]") {
    const auto values = random_doubles(2'500'000);
    for (const int threads : {1, 2})
        for (const int patience : {0, 3, 700}) {
            auto work = values;
            int asked = 0;
            bool ended = true;
            try {
                tenfold::parallel_sort(work, threads, [&] { return ++asked > patience; });
            } catch (const tenfold::stopped&) {
                ended = false;
            }
            CHECK((!ended || asked <= patience));
            tenfold::parallel_sort(work, 2);
            auto expected = values;
            tenfold::parallel_sort(expected, 2);
            CHECK(all_bits(work) == all_bits(expected));
        }
}

TEST_CASE("everything that takes long stops", "[parallel_basic]") {
    std::vector<double> x(300'000, 1.0), out(x.size());
    std::vector<std::int64_t> numbers(x.size(), 2), kept(x.size());
    const auto now = [] { return true; };
    for (const int threads : teams) {
        CHECK_THROWS_AS(tenfold::sequential_sum(x, now), tenfold::stopped);
        CHECK_THROWS_AS(tenfold::parallel_sum(x, threads, now), tenfold::stopped);
        CHECK_THROWS_AS(tenfold::parallel_sum_chunked(x, 1000, threads, now), tenfold::stopped);
        CHECK_THROWS_AS(tenfold::parallel_max(x, threads, now), tenfold::stopped);
        CHECK_THROWS_AS(tenfold::parallel_square(x, out, threads, now), tenfold::stopped);
        CHECK_THROWS_AS(tenfold::parallel_saxpy(2.0, x, x, out, threads, now), tenfold::stopped);
        CHECK_THROWS_AS(tenfold::parallel_filter_even(numbers, kept, threads, now), tenfold::stopped);
        CHECK_THROWS_AS(tenfold::parallel_sort(x, threads, now), tenfold::stopped);
    }
}

#if defined(__unix__) && defined(_OPENMP)
// Not under ThreadSanitizer: LLVM 14's Archer itself does not survive a region in a forked child.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TENFOLD_TEST_UNDER_TSAN
#endif
#endif
#ifndef TENFOLD_TEST_UNDER_TSAN
TEST_CASE("after a region, a forked child gets the answer", "[parallel_basic]") {
    const auto values = random_doubles(200'000);
    const double expected = tenfold::parallel_sum(values, 2);  // the region in the parent

    for (const int threads : {1, 2, 4, 7})
        CHECK(run_child(20, [&] {
                  for (int i = 0; i < 5; ++i)
                      if (bits(tenfold::parallel_sum(values, threads)) != bits(expected)) return 4;
                  return 3;
              }) == 3);
    // `stop` is asked by the thread that called, whoever opens the region.
    CHECK(run_child(20, [&] {
              const auto caller = std::this_thread::get_id();
              bool elsewhere = false;
              try {
                  tenfold::parallel_chunks(
                      1'000'000, 1, 2,
                      [](std::size_t, std::size_t) { std::this_thread::sleep_for(std::chrono::milliseconds(1)); },
                      [&] { return elsewhere |= std::this_thread::get_id() != caller, true; });
              } catch (const tenfold::stopped&) {
                  return elsewhere ? 4 : 3;
              }
              return 5;
          }) == 3);
    // The parent goes on.
    CHECK(bits(tenfold::parallel_sum(values, 2)) == bits(expected));
}

TEST_CASE("a child forked by a thread that never opened a region may open one", "[parallel_basic]") {
    const auto values = random_doubles(200'000);
    const double expected = sum_by_definition(values);
    int code = 0;
    std::jthread([&] {
        code = run_child(20, [&] { return bits(tenfold::parallel_sum(values, 2)) == bits(expected) ? 3 : 4; });
    }).join();
    CHECK(code == 3);
}
#endif
#endif
