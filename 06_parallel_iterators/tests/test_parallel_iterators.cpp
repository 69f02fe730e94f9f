// The stages and the plain sinks against sequential oracles: every executor, every thread count, sizes around every border.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <list>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <ranges>
#include <string>
#include <vector>

#include "par_testing.hpp"

using namespace tenfold;
using par_testing::executors;
using par_testing::sizes;

namespace {

std::vector<std::int64_t> numbers(std::size_t n) {
    std::mt19937_64 random(n);
    std::vector<std::int64_t> all(n);
    for (auto& x : all) x = static_cast<std::int64_t>(random() % 2001) - 1000;
    return all;
}

bool is_even(std::int64_t x) { return x % 2 == 0; }
std::int64_t square(std::int64_t x) { return x * x; }

// Same contents, told with the executor that failed.
template <class A, class B>
void check_same(const A& got, const B& wanted, const par_testing::any_executor& executor) {
    INFO(executor.name() << ", " << wanted.size() << " items");
    CHECK(got.size() == wanted.size());
    CHECK(std::equal(got.begin(), got.end(), wanted.begin(), wanted.end()));
}

}  // namespace

TEST_CASE("map | into and map | collect give what a loop gives", "[parallel_iterators]") {
    for (const std::size_t n : sizes()) {
        const auto x = numbers(n);
        std::vector<std::int64_t> wanted(n);
        std::transform(x.begin(), x.end(), wanted.begin(), square);
        for (const auto& executor : executors()) {
            std::vector<std::int64_t> out(n, -1);
            par(x, executor) | map(square) | into(out);
            check_same(out, wanted, executor);
            check_same(par(x, executor) | map(square) | collect(), wanted, executor);
            auto in_place = x;
            par(in_place, executor) | map(square) | into(in_place);
            check_same(in_place, wanted, executor);
        }
    }
}

TEST_CASE("filters keep the order and what follows sees only what they kept", "[parallel_iterators]") {
    for (const std::size_t n : sizes()) {
        const auto x = numbers(n);
        std::vector<std::int64_t> wanted;
        for (const auto v : x)
            if (is_even(v) && square(v) % 3 == 1) wanted.push_back(square(v) + 1);
        for (const auto& executor : executors()) {
            std::atomic<int> odd{0};
            const auto kept = [&] {
                return par(x, executor) | filter(is_even) | map([&](std::int64_t v) {
                           if (!is_even(v)) ++odd;
                           return square(v);
                       }) |
                       filter([](std::int64_t v) { return v % 3 == 1; }) | map([](std::int64_t v) { return v + 1; });
            };
            check_same(kept() | collect(), wanted, executor);
            auto parts = kept() | gather();
            CHECK(parts.size() == wanted.size());
            std::vector<std::int64_t> moved(parts.size());
            parts.move_to(moved, executor);
            check_same(moved, wanted, executor);
            CHECK((kept() | count()) == wanted.size());
            CHECK(odd == 0);
        }
    }
}

TEST_CASE("filter_map is a filter and a map", "[parallel_iterators]") {
    const auto roots = [](std::int64_t v) -> std::optional<double> {
        if (v < 0) return std::nullopt;
        return std::sqrt(static_cast<double>(v));
    };
    const auto words = [](std::int64_t v) -> std::optional<std::string> {
        if (v < 0) return std::nullopt;
        return std::to_string(v) + " and a text too long for a small string";
    };
    for (const std::size_t n : sizes()) {
        const auto x = numbers(n);
        std::vector<double> wanted;
        std::vector<std::string> texts;
        for (const auto v : x)
            if (v >= 0) wanted.push_back(*roots(v)), texts.push_back(*words(v));
        for (const auto& executor : executors()) {
            check_same(par(x, executor) | filter_map(roots) | collect(), wanted, executor);
            check_same(par(x, executor) | filter_map(words) | collect(), texts, executor);
        }
    }
}

TEST_CASE("flat_map puts ranges of every length in a row", "[parallel_iterators]") {
    for (const std::size_t n : {0u, 1u, 65u, 513u, 5000u}) {
        const auto x = numbers(n);
        std::vector<std::int64_t> wanted;
        std::vector<std::string> texts;
        const auto run = [](std::int64_t v) {  // mostly short, some empty, some longer than the buffer
            return interval<std::int64_t>(v, v % 97 == 0 ? v + 1300 : v + std::abs(v) % 4);
        };
        const auto repeat = [](std::int64_t v) {
            return std::vector<std::string>(static_cast<std::size_t>(std::abs(v) % 3), std::to_string(v));
        };
        const auto listed = [](std::int64_t v) { return std::list<std::int64_t>{v, v + 1}; };  // no random access
        std::vector<std::int64_t> pairs;
        for (const auto v : x) {
            for (const auto w : run(v)) wanted.push_back(w);
            for (const auto& text : repeat(v)) texts.push_back(text);
            pairs.push_back(v);
            pairs.push_back(v + 1);
        }
        for (const auto& executor : executors()) {
            check_same(par(x, executor) | flat_map(run) | collect(), wanted, executor);
            check_same(par(x, executor) | flat_map(repeat) | collect(), texts, executor);
            check_same(par(x, executor) | flat_map(listed) | collect(), pairs, executor);
            CHECK((par(x, executor) | flat_map(run) | filter(is_even) | sum()) ==
                  std::accumulate(wanted.begin(), wanted.end(), std::int64_t{0},
                                  [](std::int64_t a, std::int64_t v) { return is_even(v) ? a + v : a; }));
        }
    }
}

TEST_CASE("joined sees many ranges as one", "[parallel_iterators]") {
    std::vector<std::vector<int>> rows{{}, {1, 2}, {}, {}, {3}, std::vector<int>(100'000, 7), {}, {4, 5}, {}};
    std::vector<int> wanted;
    for (const auto& row : rows) wanted.insert(wanted.end(), row.begin(), row.end());
    for (const auto& executor : executors()) {
        const auto all = joined(rows);
        CHECK(all.size() == wanted.size());
        check_same(par(all, executor) | collect(), wanted, executor);
        std::vector<int> out(all.size());
        par(all, executor) | map([](int v) { return v; }) | into(out);
        check_same(out, wanted, executor);
        CHECK((par(joined(std::vector<std::vector<int>>{}), executor) | count()) == 0);
        CHECK((par(all, executor) | find_value(4)) == std::optional<std::size_t>(100'003));
    }
    const interval<std::int64_t> huge(0, std::int64_t{1} << 62);
    CHECK_THROWS_AS(joined(std::vector{huge, huge}), std::length_error);
}

TEST_CASE("zip, zip_with, chain, enumerate", "[parallel_iterators]") {
    for (const std::size_t n : sizes()) {
        const auto a = numbers(n);
        std::vector<double> b(n);
        for (std::size_t i = 0; i < n; ++i) b[i] = static_cast<double>(i) / 4;
        std::vector<double> sums(n);
        for (std::size_t i = 0; i < n; ++i) sums[i] = static_cast<double>(a[i]) + b[i];
        auto twice = a;
        twice.insert(twice.end(), a.begin(), a.end());
        for (const auto& executor : executors()) {
            check_same(
                par(a, executor) | zip_with(b, [](std::int64_t x, double y) { return static_cast<double>(x) + y; }) | collect(),
                sums, executor);
            check_same(par(a, executor) | zip(b) |
                           map([](auto pair) { return static_cast<double>(pair.first) + pair.second; }) | collect(),
                       sums, executor);
            check_same(par(a, executor) | chain(a) | collect(), twice, executor);
            check_same(par(a, executor) | filter([](auto) { return true; }) | chain(std::vector<std::int64_t>(a)) | collect(),
                       twice, executor);
            CHECK((par(a, executor) | enumerate() | all([&](const auto& pair) { return pair.second == a[pair.first]; })));
        }
    }
    const std::vector<int> three{1, 2, 3}, two{1, 2};
    CHECK_THROWS_AS(par(three) | zip(two) | count(), std::invalid_argument);
}

TEST_CASE("windows and chunks are spans of neighbours", "[parallel_iterators]") {
    for (const std::size_t n : {0u, 1u, 2u, 3u, 100u, 5000u}) {
        const auto x = numbers(n);
        std::vector<std::int64_t> in_windows, in_chunks;
        for (std::size_t i = 0; i + 3 <= n; ++i) in_windows.push_back(x[i] + 10 * x[i + 1] + 100 * x[i + 2]);
        for (std::size_t i = 0; i < n; i += 3)
            in_chunks.push_back(std::accumulate(x.begin() + static_cast<std::ptrdiff_t>(i),
                                                x.begin() + static_cast<std::ptrdiff_t>(std::min(n, i + 3)), std::int64_t{0}));
        for (const auto& executor : executors()) {
            check_same(par(x, executor) | windows(3) | map([](auto w) { return w[0] + 10 * w[1] + 100 * w[2]; }) | collect(),
                       in_windows, executor);
            check_same(par(x, executor) | chunks(3) |
                           map([](auto c) { return std::accumulate(c.begin(), c.end(), std::int64_t{0}); }) | collect(),
                       in_chunks, executor);
        }
    }
}

TEST_CASE("for_each may write to the items, before and after a filter", "[parallel_iterators]") {
    for (const auto& executor : executors()) {
        auto x = numbers(70'001);
        auto wanted = x;
        for (auto& v : wanted) v = is_even(v) ? 0 : v + 1;
        par(x, executor) | filter([](const std::int64_t& v) { return is_even(v); }) | for_each([](std::int64_t& v) { v = -2; });
        par(x, executor) | for_each([](std::int64_t& v) { v = v == -2 ? 0 : v + 1; });
        check_same(x, wanted, executor);
    }
}

TEST_CASE("count, any, all, none, find_first", "[parallel_iterators]") {
    for (const std::size_t n : sizes()) {
        std::vector<int> x(n, 1);
        for (const auto& executor : executors()) {
            CHECK((par(x, executor) | count()) == n);
            CHECK((par(x, executor) | all([](int v) { return v == 1; })));
            CHECK((par(x, executor) | none([](int v) { return v == 2; })));
            CHECK_FALSE((par(x, executor) | any([](int v) { return v == 2; })));
            CHECK((par(x, executor) | find_value(2)) == std::nullopt);
            if (n == 0) continue;
            for (const std::size_t at : {std::size_t{0}, n / 2, n - 1}) {
                x[at] = 2;
                x[n - 1] = 2;
                CHECK((par(x, executor) | find_value(2)) == at);
                CHECK((par(x, executor) | filter([](int v) { return v != 1; }) | find_first([](int) { return true; })) == at);
                CHECK((par(x, executor) | any([](int v) { return v == 2; })));
                CHECK_FALSE((par(x, executor) | all([](int v) { return v == 1; })));
                x[at] = x[n - 1] = 1;
            }
        }
    }
}

TEST_CASE("fold and reduce keep the order of what does not commute", "[parallel_iterators]") {
    for (const std::size_t n : {0u, 1u, 65u, 4097u}) {
        const auto x = numbers(n);
        std::string wanted;
        for (const auto v : x) wanted += std::to_string(v) + ",";
        for (const auto& executor : executors()) {
            const auto append = [](std::string all, const std::string& next) { return std::move(all) + next; };
            CHECK((par(x, executor) | map([](std::int64_t v) { return std::to_string(v) + ","; }) |
                   reduce(std::string(), append)) == wanted);
            CHECK((par(x, executor) |
                   fold(
                       std::string(), [](std::string all, std::int64_t v) { return std::move(all) + std::to_string(v) + ","; },
                       append)) == wanted);
        }
    }
}

TEST_CASE("types that only move, cannot be made from nothing, or are bool", "[parallel_iterators]") {
    struct named {
        explicit named(std::size_t i) : name(std::to_string(i)), value(std::make_unique<std::size_t>(i)) {}
        std::string name;
        std::unique_ptr<std::size_t> value;
    };
    for (const auto& executor : executors()) {
        const auto all = par(indices(5000), executor) | map([](std::size_t i) { return named(i); }) | collect();
        CHECK(all.size() == 5000);
        CHECK(std::all_of(all.begin(), all.end(), [&](const named& x) { return x.name == std::to_string(*x.value); }));
        const auto odd = par(indices(5000), executor) | map([](std::size_t i) { return named(i); }) |
                         filter([](const named& x) { return *x.value % 2 == 1; }) | collect();
        CHECK(odd.size() == 2500);
        CHECK(*odd[2499].value == 4999);
        const auto flags = par(indices(5000), executor) | map([](std::size_t i) { return i % 3 == 0; }) | collect();
        CHECK(std::count(flags.begin(), flags.end(), true) == 1667);
    }
    auto copy = (par(indices(3)) | collect()).to_vector();
    CHECK(copy == std::vector<std::size_t>{0, 1, 2});
}

TEST_CASE("a function captured by reference, a mutable range, a range that the pipeline keeps", "[parallel_iterators]") {
    int factor = 3;
    const auto chain_kept = par(std::vector<int>{1, 2, 3}) | map([&](int v) { return v * factor; });
    CHECK((chain_kept | sum()) == 18);
    factor = 4;
    CHECK((chain_kept | sum()) == 24);  // an lvalue pipeline runs again, as it is now
    const std::list<int> not_indexed{1};
    static_assert(!par_detail::par_range<decltype((not_indexed))>);
}
