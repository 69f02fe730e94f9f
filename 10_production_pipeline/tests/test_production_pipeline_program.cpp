// Catch2 tests of tenfold/kernel_program.hpp: every kernel and every chain against a loop over single numbers.
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <tenfold/kernel_program.hpp>
#include <thread>
#include <vector>

namespace {

using tenfold::kernel;
using tenfold::kernel_program;
using tenfold::kernel_step;

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

struct outcome {
    std::vector<double> values;
    std::vector<std::int64_t> places, failed;
    std::uint64_t filtered = 0;
};

bool passes(const kernel_step& step, double x) {
    switch (step.op) {
        case kernel::finite: return std::isfinite(x);
        case kernel::at_least: return x >= step.number;
        case kernel::at_most: return x <= step.number;
        case kernel::above: return x > step.number;
        default: return x < step.number;
    }
}

double computed(const kernel_step& step, double x) {
    switch (step.op) {
        case kernel::times: return x * step.number;
        case kernel::plus: return x + step.number;
        case kernel::divided_by: return x / step.number;
        case kernel::sqrt: return std::sqrt(x);
        case kernel::square: return x * x;
        case kernel::absolute: return std::fabs(x);
        default: return -x;
    }
}

outcome oracle(const std::vector<kernel_step>& steps, const std::vector<double>& in) {
    outcome all;
    for (std::size_t i = 0; i < in.size(); ++i) {
        std::optional<double> x = in[i];
        for (const kernel_step& step : steps) {
            if (!tenfold::is_test(step.op)) {
                x = computed(step, *x);
            } else if (!passes(step, *x)) {
                if (step.fails) all.failed.push_back(static_cast<std::int64_t>(i));
                else ++all.filtered;
                x.reset();
                break;
            }
        }
        if (!x) continue;
        all.values.push_back(*x);
        all.places.push_back(static_cast<std::int64_t>(i));
    }
    return all;
}

bool same(const std::vector<double>& a, const std::vector<double>& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (!(std::isnan(a[i]) && std::isnan(b[i])) && (a[i] != b[i] || std::signbit(a[i]) != std::signbit(b[i]))) return false;
    return true;
}

void check(const std::vector<kernel_step>& steps, const std::vector<double>& in) {
    const outcome expected = oracle(steps, in);
    const kernel_program program(steps);
    std::vector<double> out(in.size(), 42.0);
    std::vector<std::int64_t> places(in.size());
    for (const bool wanted : {true, false}) {
        const auto result = program.run(in, out.data(), wanted ? places.data() : nullptr);
        REQUIRE(same({out.begin(), out.begin() + static_cast<std::ptrdiff_t>(result.written)}, expected.values));
        REQUIRE(result.failed == expected.failed);
        REQUIRE(result.filtered == expected.filtered);
        if (wanted)
            REQUIRE(std::vector(places.begin(), places.begin() + static_cast<std::ptrdiff_t>(result.written)) ==
                    expected.places);
    }
    std::vector<double> in_place = in;
    const auto result = program.run(in_place, in_place.data());
    in_place.resize(result.written);
    REQUIRE(same(in_place, expected.values));
}

std::vector<double> numbers(std::size_t size, unsigned seed) {
    std::mt19937_64 random(seed);
    std::vector<double> made(size);
    for (double& x : made) {
        const auto kind = random() % 20;
        x = kind == 0   ? nan
            : kind == 1 ? inf
            : kind == 2 ? -inf
            : kind == 3 ? -0.0
            : kind == 4 ? std::numeric_limits<double>::denorm_min()
                        : std::normal_distribution<double>(0.0, 3.0)(random);
    }
    return made;
}

}  // namespace

TEST_CASE("every kernel, at every size around a block") {
    for (const auto& [name, op] : tenfold::kernel_names)
        for (const std::size_t size : {0u, 1u, 2u, 7u, 1023u, 1024u, 1025u, 2048u, 5000u})
            for (const bool fails : {false, true})
                if (!fails || tenfold::is_test(op)) check({{op, 1.5, fails}}, numbers(size, static_cast<unsigned>(size)));
}

TEST_CASE("random chains") {
    std::mt19937 random(7);
    for (unsigned round = 0; round < 300; ++round) {
        std::vector<kernel_step> steps;
        for (unsigned i = random() % 7; i > 0; --i) {
            const kernel op = tenfold::kernel_names[random() % tenfold::kernel_names.size()].second;
            steps.push_back({op, static_cast<double>(random() % 9) - 4.0, tenfold::is_test(op) && random() % 2 == 0});
        }
        check(steps, numbers(random() % 4000, round));
    }
}

TEST_CASE("what cannot be is refused") {
    CHECK_THROWS_AS(kernel_program({{kernel::sqrt, 0.0, true}}), std::invalid_argument);
    CHECK_THROWS_AS(kernel_program({{static_cast<kernel>(99), 0.0, false}}), std::invalid_argument);
}

TEST_CASE("it stops when asked") {
    const kernel_program program({{kernel::sqrt, 0.0, false}});
    std::vector<double> values(1 << 20, 1.0);
    int asked = 0;
    CHECK_THROWS_AS(program.run(values, values.data(), nullptr, [&] { return ++asked == 3; }), tenfold::stopped);
    CHECK(asked == 3);
}

TEST_CASE("one program, many threads") {
    const kernel_program program({{kernel::finite, 0.0, true}, {kernel::at_least, 0.0, false}, {kernel::sqrt, 0.0, false}});
    const auto in = numbers(20'000, 3);
    const outcome expected = oracle({program.steps().begin(), program.steps().end()}, in);
    std::vector<std::jthread> threads;
    std::vector<int> right(4);
    for (int& each : right)
        threads.emplace_back([&] {
            std::vector<double> out(in.size());
            const auto result = program.run(in, out.data());
            out.resize(result.written);
            each = same(out, expected.values) && result.failed == expected.failed;
        });
    threads.clear();
    CHECK(right == std::vector<int>(4, 1));
}
