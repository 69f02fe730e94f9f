// Element-wise kernels and chains against loops over single numbers: the same bits, at every instruction set and thread count.
#define TENFOLD_WITHOUT_MATMUL
#define TENFOLD_WITHOUT_MATVEC
#define TENFOLD_WITHOUT_STENCIL
#define TENFOLD_WITHOUT_TRANSPOSE
#include <catch2/catch_template_test_macros.hpp>

#include <array>
#include <atomic>
#include <functional>
#include <span>
#include <stdexcept>

#include "tenfold/span_chain.hpp"
#include "tenfold/span_kernels.hpp"
#include "zero_copy_testing.hpp"

using namespace zero_copy_testing;
using tenfold::never_stop;

namespace {

template <class T>
using view = zc::view2d<T>;

// Every operation, as a call of the library and as arithmetic on single numbers.
template <class T>
struct operation {
    const char* name;
    std::function<void(view<const T>, view<const T>, view<const T>, view<T>, int, zc::stores)> run;
    std::function<T(T, T, T)> one;
    int inputs;
};

template <class T>
std::vector<operation<T>> operations() {
    never_stop on;
    const T k = T(1.25);
    return {
        {"square", [=](auto a, auto, auto, auto o, int t, auto s) { zc::square<T>(a, o, t, on, s); },
         [](T a, T, T) { return a * a; }, 1},
        {"root2", [=](auto a, auto, auto, auto o, int t, auto s) { zc::root2<T>(a, o, t, on, s); },
         [](T a, T, T) { return std::sqrt(T(2) * a); }, 1},
        {"chunked", [=](auto a, auto, auto, auto o, int t, auto s) { zc::root2_chunked<T>(a, o, 7, t, on, s); },
         [](T a, T, T) { return std::sqrt(T(2) * a); }, 1},
        {"scale", [=](auto a, auto, auto, auto o, int t, auto s) { zc::scale<T>(a, k, o, t, on, s); },
         [=](T a, T, T) { return a * k; }, 1},
        {"add", [=](auto a, auto b, auto, auto o, int t, auto s) { zc::add<T>(a, b, o, t, on, s); },
         [](T a, T b, T) { return a + b; }, 2},
        {"subtract", [=](auto a, auto b, auto, auto o, int t, auto s) { zc::subtract<T>(a, b, o, t, on, s); },
         [](T a, T b, T) { return a - b; }, 2},
        {"multiply", [=](auto a, auto b, auto, auto o, int t, auto s) { zc::multiply<T>(a, b, o, t, on, s); },
         [](T a, T b, T) { return a * b; }, 2},
        {"divide", [=](auto a, auto b, auto, auto o, int t, auto s) { zc::divide<T>(a, b, o, t, on, s); },
         [](T a, T b, T) { return a / b; }, 2},
        {"triad", [=](auto a, auto b, auto, auto o, int t, auto s) { zc::triad<T>(a, b, k, o, t, on, s); },
         [=](T a, T b, T) { return a + k * b; }, 2},
        {"fused", [=](auto a, auto b, auto c, auto o, int t, auto s) { zc::fused_multiply<T>(a, b, c, o, t, on, s); },
         [](T a, T b, T c) { return a * b + c * T(2) - T(1); }, 3},
    };
}

template <class T>
std::vector<T> expected(const operation<T>& op, const std::vector<T>& a, const std::vector<T>& b, const std::vector<T>& c) {
    std::vector<T> out(a.size());
    for (std::size_t i = 0; i < a.size(); ++i) out[i] = op.one(a[i], b[i], c[i]);
    return out;
}

// Memory in which a view of `n` items lies with a start, a step and marked items around it.
template <class T>
struct field {
    static constexpr T mark = T(12345);
    std::vector<T> memory;
    zc::view1d<T> items;

    field(const std::vector<T>& values, std::size_t start, std::ptrdiff_t step) {
        const std::size_t wide = static_cast<std::size_t>(std::abs(step));
        memory.assign(start + values.size() * wide + 5, mark);
        T* first = memory.data() + start;
        if (step < 0 && !values.empty()) first += (values.size() - 1) * wide;
        items = {first, values.size(), step};
        for (std::size_t i = 0; i < values.size(); ++i) items[i] = values[i];
    }
    std::vector<T> values() const {
        std::vector<T> all(items.size);
        for (std::size_t i = 0; i < items.size; ++i) all[i] = items[i];
        return all;
    }
    // Nothing but the view was written.
    bool rest_untouched() const {
        std::vector<T> copy = memory;
        for (std::size_t i = 0; i < items.size; ++i) copy[static_cast<std::size_t>(&items[i] - memory.data())] = mark;
        for (const T x : copy)
            if (x != mark) return false;
        return true;
    }
};

}  // namespace

TEMPLATE_TEST_CASE("element-wise: sizes 0 to 129, unaligned starts, both kinds of stores", "", double, float) {
    using T = TestType;
    at_each_level([] {
        for (const auto& op : operations<T>()) {
            INFO(op.name);
            for (std::size_t n = 0; n < 130; ++n) {
                const auto a = awkward<T>(n, 1), b = awkward<T>(n, 2), c = awkward<T>(n, 3);
                const auto want = expected(op, a, b, c);
                const std::size_t start = n % 9;
                const field<T> x(a, start, 1), y(b, (start + 3) % 8, 1), z(c, (start + 5) % 7, 1);
                for (const auto how : {zc::stores::plain, zc::stores::nontemporal}) {
                    field<T> out(std::vector<T>(n, T(7)), (start + 1) % 17, 1);
                    op.run(x.items, y.items, z.items, out.items, 1, how);
                    INFO(n << " items");
                    REQUIRE(same(out.values(), want));
                    REQUIRE(out.rest_untouched());
                }
            }
        }
    });
}

TEMPLATE_TEST_CASE("element-wise: every pair of strides, backwards too", "", double, float) {
    using T = TestType;
    at_each_level([] {
        for (const auto& op : operations<T>())
            for (const std::size_t n : {std::size_t{1}, std::size_t{129}, std::size_t{2500}})
                for (const std::ptrdiff_t in : {1, 2, 3, -1, -2})
                    for (const std::ptrdiff_t to : {1, 2, -1, -3}) {
                        const auto a = awkward<T>(n, 4), b = awkward<T>(n, 5), c = awkward<T>(n, 6);
                        const field<T> x(a, 1, in), y(b, 0, in == 1 ? 2 : 1), z(c, 2, in);
                        field<T> out(std::vector<T>(n, T(0)), 3, to);
                        op.run(x.items, y.items, z.items, out.items, 2, zc::stores::automatic);
                        INFO(op.name << ", " << n << " items, strides " << in << " and " << to);
                        REQUIRE(same(out.values(), expected(op, a, b, c)));
                        REQUIRE(out.rest_untouched());
                    }
    });
}

TEMPLATE_TEST_CASE("element-wise: tables, parts of tables, transposed, one number or one row for all", "", double, float) {
    using T = TestType;
    at_each_level([] {
        constexpr std::size_t rows = 37, columns = 61;
        const auto a = awkward<T>(rows * columns, 1), b = awkward<T>(rows * columns, 2);
        const view<const T> whole(a.data(), rows, columns), other(b.data(), rows, columns);
        const T number = T(0.75);
        const struct {
            const char* name;
            view<const T> x, y;
        } pairs[] = {
            {"whole", whole, other},
            {"a part", {a.data() + columns + 2, 30, 50, columns}, {b.data(), 30, 50, columns}},
            {"transposed", whole.transposed(), other.transposed()},
            {"transposed and not", view<const T>(a.data(), 37, 37, columns).transposed(), {b.data(), 37, 37, columns}},
            {"upside down", {a.data() + (rows - 1) * columns, rows, columns, -static_cast<std::ptrdiff_t>(columns)}, other},
            {"one number", whole, {&number, rows, columns, 0, 0}},
            {"one row", whole, {b.data(), rows, columns, 0, 1}},
            {"one column", whole, {b.data(), rows, columns, 1, 0}},
            {"a column of a table", {a.data() + 3, rows, 1, columns, 1}, {b.data(), rows, 1, 1, 999}},
        };
        for (const auto& [name, x, y] : pairs)
            for (const int threads : thread_counts) {
                std::vector<T> out(x.size(), T(9));
                zc::subtract<T>(x, y, view<T>(out.data(), x.rows, x.columns), threads);
                bool right = true;
                for (std::size_t i = 0; i < x.rows; ++i)
                    for (std::size_t j = 0; j < x.columns; ++j)
                        right = right && same<T>(out[i * x.columns + j], x(i, j) - y(i, j));
                INFO(name << ", " << threads << " threads");
                REQUIRE(right);
            }
    });
}

TEMPLATE_TEST_CASE("element-wise: the same bits at every thread count, in place and not", "", double, float) {
    using T = TestType;
    constexpr std::size_t n = 200'003;
    const auto a = awkward<T>(n, 7), b = awkward<T>(n, 8), c = awkward<T>(n, 9);
    at_each_level([&] {
        for (const auto& op : operations<T>()) {
            const auto want = expected(op, a, b, c);
            for (const int threads : thread_counts)
                for (const auto how : {zc::stores::plain, zc::stores::nontemporal}) {
                    INFO(op.name << ", " << threads << " threads");
                    std::vector<T> out(n);
                    op.run(std::span(a), std::span(b), std::span(c), std::span(out), threads, how);
                    REQUIRE(same(out, want));
                    std::vector<T> x = a, y = b;  // each input in turn is the output
                    op.run(std::span(x), std::span(b), std::span(c), std::span(x), threads, how);
                    REQUIRE(same(x, want));
                    if (op.inputs < 2) continue;
                    op.run(std::span(a), std::span(y), std::span(c), std::span(y), threads, how);
                    REQUIRE(same(y, want));
                }
        }
    });
}

TEMPLATE_TEST_CASE("element-wise: all inputs and the output are one array", "", double, float) {
    using T = TestType;
    at_each_level([] {
        auto x = awkward<T>(1000, 3);
        auto want = x;
        for (T& each : want) each = each + each;
        zc::add<T>(std::span(x), std::span(x), std::span(x), 2);
        REQUIRE(same(x, want));
        std::vector<T> y = awkward<T>(999, 4), twice = y;  // every third, through the view only
        for (std::size_t i = 0; i < twice.size(); i += 3) twice[i] = twice[i] * twice[i];
        zc::view1d<T> third(y.data(), 333, 3);
        zc::square<T>(third, third, 2);
        REQUIRE(same(y, twice));
    });
}

TEST_CASE("overlap is refused before anything is written, and only overlap") {
    std::vector<double> x(100, 2.0);
    const auto before = x;
    const std::span<double> all(x);
    const auto refused = [&](zc::view2d<const double> in, zc::view2d<double> out) {
        REQUIRE_THROWS_AS(zc::square<double>(in, out, 1), std::invalid_argument);
        REQUIRE(x == before);
    };
    refused(all.subspan(0, 50), all.subspan(1, 50));
    refused(all.subspan(49, 50), all.subspan(0, 50));
    refused(zc::view1d<double>(&x[99], 100, -1), all);             // the same items in another order
    refused(zc::view1d<double>(&x[0], 20, 3), zc::view1d<double>(&x[3], 20, 3));
    refused(zc::view1d<double>(&x[0], 20, 2), zc::view1d<double>(&x[0], 20, 3));
    refused({&x[0], 10, 5, 10}, {&x[4], 10, 5, 10});
    refused({&x[0], 10, 10, 10}, zc::view2d<double>(&x[0], 10, 10, 1, 10));  // its own transposition
    refused(all.subspan(0, 1), zc::view2d<double>(&x[0], 1, 2));             // shapes
    refused({&x[0], 1, 4, 0, 0}, {&x[8], 1, 4, 0, 0});                       // an output that is one item
    refused({&x[0], 3, 4, 0, 0}, {&x[8], 3, 4, 1, 1});                       // rows of an output that overlap
    refused({&x[0], 1, 4, 0, 0}, {&x[0], 1, 4});                             // one number for all, and written meanwhile

    // Neighbours that share no item are fine.
    zc::square<double>(zc::view1d<double>(&x[0], 50, 2), zc::view1d<double>(&x[1], 50, 2), 1);
    REQUIRE((x[1] == 4.0 && x[99] == 4.0 && x[0] == 2.0 && x[98] == 2.0));
    zc::square<double>(zc::view2d<double>(&x[0], 10, 5, 10), zc::view2d<double>(&x[5], 10, 5, 10), 1);
    zc::square<double>(zc::view2d<double>(&x[5], 10, 5, 10), zc::view2d<double>(&x[0], 10, 5, 10), 1);
    zc::square<double>(zc::view2d<double>(&x[0], 10, 3, 10, 2), zc::view2d<double>(&x[6], 10, 3, 10), 1);
    zc::square<double>(zc::view2d<double>(&x[0], 10, 1, 10), zc::view2d<double>(&x[3], 10, 1, 10), 1);
    zc::square<double>(zc::view2d<double>(&x[0], 2, 0), zc::view2d<double>(&x[0], 2, 0), 1);  // nothing at all
}

TEST_CASE("overlap agrees with a comparison item by item, for rectangles cut out of one array") {
    std::vector<double> x(64);
    int checked = 0;
    const auto cut = [&](std::size_t code) {
        const std::size_t row = code % 3, column = code / 3 % 4, rows = 1 + code / 12 % 3, columns = 1 + code / 36 % 4;
        return zc::view2d<const double>(&x[row * 8 + column], rows, columns, 8);
    };
    for (std::size_t i = 0; i < 144; ++i)
        for (std::size_t j = 0; j < 144; ++j) {
            const auto a = cut(i), b = cut(j);
            bool shared = false;
            for (std::size_t r = 0; r < a.size(); ++r)
                for (std::size_t s = 0; s < b.size(); ++s)
                    shared = shared || a.at(r / a.columns, r % a.columns) == b.at(s / b.columns, s % b.columns);
            if (zc::overlap<double>(a, b) != shared) {
                // One row has no row stride to compare with: it may be called an overlap that is none, never the reverse.
                REQUIRE_FALSE(shared);
            }
            ++checked;
        }
    REQUIRE(checked == 144 * 144);
    REQUIRE_FALSE(zc::overlap<double>({&x[0], 4, 4, 8}, {&x[4], 4, 4, 8}));
}

TEST_CASE("what stores::automatic decides") {
    using zc::stores;
    REQUIRE(zc::streams(stores::nontemporal, 1, 8, true));
    REQUIRE_FALSE(zc::streams(stores::plain, 3, std::size_t{1} << 40, false));
    REQUIRE_FALSE(zc::streams(stores::automatic, 2, 1 << 20, false));
    REQUIRE(zc::streams(stores::automatic, 2, std::size_t{1} << 30, false));
    REQUIRE_FALSE(zc::streams(stores::automatic, 2, std::size_t{1} << 30, true));
}

TEMPLATE_TEST_CASE("a chain has the bits of its steps", "", double, float) {
    using T = TestType;
    using zc::chain_op;
    at_each_level([] {
        for (const std::size_t n :
             {std::size_t{0}, std::size_t{1}, std::size_t{77}, std::size_t{1024}, std::size_t{5000}, std::size_t{60'001}}) {
            const auto a = awkward<T>(n, 1), b = awkward<T>(n, 2), c = awkward<T>(n, 3);
            const std::array<zc::view2d<const T>, 3> inputs{std::span(a), std::span(b), std::span(c)};
            const T half = T(0.5);
            const zc::chain_step steps[] = {{chain_op::multiply, 1},
                                            {chain_op::add_scaled, 2, 2.0},
                                            {chain_op::subtract, -1, 1.0},
                                            {chain_op::minimum, 2},
                                            {chain_op::maximum, -1, -3.0},
                                            {chain_op::absolute},
                                            {chain_op::sqrt},
                                            {chain_op::rsubtract, 0},
                                            {chain_op::negate},
                                            {chain_op::rdivide, -1, 0.5},
                                            {chain_op::add, 0},
                                            {chain_op::divide, 1},
                                            {chain_op::square}};
            std::vector<T> want(n);
            for (std::size_t i = 0; i < n; ++i) {
                T v = a[i] * b[i] + c[i] * T(2) - T(1);
                v = v < c[i] || std::isnan(v) ? v : c[i];
                v = v > T(-3) || std::isnan(v) ? v : T(-3);
                v = -(a[i] - std::sqrt(std::abs(v)));
                v = (half / v + a[i]) / b[i];
                want[i] = v * v;
            }
            for (const int threads : thread_counts) {
                std::vector<T> out(n, T(5));
                zc::run_chain<T>(inputs, steps, std::span(out), threads);
                INFO(n << " items, " << threads << " threads");
                REQUIRE(same(out, want));
                auto place = a;  // in place, past the cache
                const std::array<zc::view2d<const T>, 3> in{std::span(place), std::span(b), std::span(c)};
                zc::run_chain<T>(in, steps, std::span(place), threads, never_stop{}, zc::stores::nontemporal);
                REQUIRE(same(place, want));
            }
        }
    });
}

TEST_CASE("a chain over strides, and what it refuses") {
    using zc::chain_op;
    std::vector<double> a(3000, 3.0), b(3000, 0.5), out(9000, -1.0);
    const double two = 2.0;
    const std::array<zc::view2d<const double>, 3> inputs{zc::view1d<const double>(a.data(), 1500, 2),
                                                         zc::view1d<const double>(&b[2999], 1500, -2),
                                                         zc::view2d<const double>(&two, 1, 1500, 0, 0)};
    const zc::chain_step steps[] = {{chain_op::multiply, 1}, {chain_op::add, 2}};
    zc::run_chain<double>(inputs, steps, zc::view1d<double>(out.data(), 1500, 6), 2);
    for (std::size_t i = 0; i < out.size(); ++i) REQUIRE(out[i] == (i % 6 == 0 ? 3.5 : -1.0));
    zc::run_chain<double>(inputs, {}, zc::view1d<double>(out.data(), 1500), 2);  // no step: a copy
    REQUIRE(out[1499] == 3.0);
    const zc::chain_step wrong[] = {{chain_op::add, 3}}, unscaled[] = {{chain_op::add_scaled, -1, 2.0}};
    REQUIRE_THROWS_AS(zc::run_chain<double>(inputs, wrong, zc::view1d<double>(out.data(), 1500), 1), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::run_chain<double>(inputs, unscaled, zc::view1d<double>(out.data(), 1500), 1), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::run_chain<double>({}, steps, zc::view1d<double>(out.data(), 1500), 1), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::run_chain<double>(inputs, steps, zc::view1d<double>(a.data() + 1, 1500), 1), std::invalid_argument);
}

TEST_CASE("chunks of any size, and the wrong ones") {
    const auto x = numbers<double>(70'000, 1);
    std::vector<double> want(x.size()), out(x.size());
    zc::root2<double>(std::span(x), std::span(want), 1);
    for (const std::size_t chunk :
         {std::size_t{1}, std::size_t{3}, std::size_t{16'384}, std::size_t{16'385}, std::size_t{1} << 60, ~std::size_t{0}})
        for (const int threads : thread_counts) {
            std::fill(out.begin(), out.end(), 0.0);
            zc::root2_chunked<double>(std::span(x), std::span(out), chunk, threads);
            REQUIRE(same(out, want));
        }
    REQUIRE_THROWS_AS(zc::root2_chunked<double>(std::span(x), std::span(out), 0, 1), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::square<double>(std::span(x), std::span(out), 0), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::square<double>(std::span(x), std::span(out), -3), std::invalid_argument);
}

TEST_CASE("a stop ends every kind of loop; what it throws arrives") {
    std::vector<double> x(2'000'000, 1.0), out(x.size());
    struct broken {};
    for (const int threads : thread_counts) {
        int asked = 0;
        const auto third = [&] { return ++asked == 3; };
        REQUIRE_THROWS_AS(zc::square<double>(std::span(x), std::span(out), threads, third), tenfold::stopped);
        REQUIRE_THROWS_AS(zc::square<double>(std::span(x), std::span(out), threads, []() -> bool { throw broken(); }), broken);
        const std::array<zc::view2d<const double>, 1> in{std::span(x)};
        const zc::chain_step steps[] = {{zc::chain_op::square}};
        REQUIRE_THROWS_AS(zc::run_chain<double>(in, steps, std::span(out), threads, [] { return true; }), tenfold::stopped);
    }
}
