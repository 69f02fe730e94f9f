// Matrix times vector, the four products and the transposition, against sums in long double and against each other.
#define TENFOLD_WITHOUT_KERNELS
#define TENFOLD_WITHOUT_REDUCE
#define TENFOLD_WITHOUT_STENCIL
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <span>
#include <stdexcept>

#include "tenfold/matmul.hpp"
#include "tenfold/matvec.hpp"
#include "tenfold/transpose.hpp"
#include "zero_copy_testing.hpp"

using namespace zero_copy_testing;

namespace {

template <class T>
using view = zc::view2d<T>;

// The same numbers in other orders of memory.
template <class T>
struct laid_out {
    std::vector<T> memory;
    view<const T> items;

    laid_out(const std::vector<T>& values, std::size_t rows, std::size_t columns, int how) {
        const auto r = static_cast<std::ptrdiff_t>(rows), c = static_cast<std::ptrdiff_t>(columns);
        memory.assign(2 * values.size() + 7 * rows + 20, nan_of<T>);
        view<T> v;
        if (how == 0) v = {memory.data() + 1, rows, columns};                   // C order, unaligned
        if (how == 1) v = {memory.data(), rows, columns, 1, r};                 // Fortran order
        if (how == 2) v = {memory.data(), rows, columns, c + 7, 1};             // part of a wider one
        if (how == 3) v = {memory.data(), rows, columns, 2 * c, 2};             // every other column
        if (how == 4 && rows * columns != 0) v = {&memory[values.size() - 1], rows, columns, -c, -1};  // turned
        if (how == 4 && rows * columns == 0) v = {memory.data(), rows, columns};
        for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t j = 0; j < columns; ++j) v(i, j) = values[i * columns + j];
        items = v;
    }
};

// |found - exact| within (k + 8) units in the last place of sum |a||b|.
template <class T>
bool close(T found, const T* a, std::ptrdiff_t a_step, const T* b, std::ptrdiff_t b_step, std::size_t k) {
    long double exact = 0, size = 0;
    for (std::size_t p = 0; p < k; ++p) {
        const auto i = static_cast<std::ptrdiff_t>(p);
        const long double term = static_cast<long double>(a[i * a_step]) * b[i * b_step];
        exact += term;
        size += std::abs(term);
    }
    return std::abs(found - exact) <= static_cast<long double>(k + 8) * (std::numeric_limits<T>::epsilon() / 2) * size;
}

}  // namespace

TEMPLATE_TEST_CASE("matvec: sizes around the vectors, every order of memory, bits at every thread count", "", double, float) {
    using T = TestType;
    at_each_level([] {
        std::vector<std::pair<std::size_t, std::size_t>> shapes{{0, 0},     {0, 5},      {5, 0},    {1, 1},
                                                                {500, 300}, {3, 40'000}, {2500, 7}, {70, 16'385}};
        for (std::size_t n = 1; n < 130; ++n) shapes.push_back({1 + n % 17, n});
        for (std::size_t n = 1; n < 130; n += 3) shapes.push_back({n, 1 + n % 11});
        for (const auto& [m, n] : shapes)
            for (int how = 0; how < 5; ++how) {
                const auto values = numbers<T>(m * n, 21), x = numbers<T>(n, 22);
                const laid_out<T> a(values, m, n, how);
                std::vector<T> first;
                for (const int threads : thread_counts) {
                    std::vector<T> y(m + 3, T(99));
                    zc::matvec<T>(a.items, std::span<const T>(x), std::span(y).first(m), threads);
                    if (first.empty()) first = y;
                    INFO(m << " x " << n << ", order " << how << ", " << threads << " threads");
                    REQUIRE(same(y, first));
                }
                for (std::size_t i = 0; i < m; ++i) REQUIRE(close(first[i], values.data() + i * n, 1, x.data(), 1, n));
                REQUIRE((first[m] == T(99) && first[m + 2] == T(99)));
            }
    });
}

// What a matrix larger than the caches takes, without one: neither the fetching ahead nor a row's neighbours may change its bits.
TEMPLATE_TEST_CASE("matvec: fetched ahead or not, alone or among others, a row has the same bits", "", double, float) {
    using T = TestType;
    at_each_level([] {
        const auto rows_of = zc::detail::matvec_kernels_of<T>().rows;
        for (std::size_t n = 0; n < 130; ++n)
            for (const std::size_t m : {1, 3, 4, 5, 8, 12, 15, 17})
                for (const std::size_t start : {0, 1, 3}) {
                    // As long as its rows and no longer: what reads past the last one is caught by the address sanitizer.
                    auto memory = numbers<T>(start + m * n, 23);
                    const auto x = numbers<T>(n, 24);
                    const T* const a = memory.data() + start;
                    const auto stride = static_cast<std::ptrdiff_t>(n);
                    std::vector<T> near(m, T(1)), far(m, T(1)), alone(m, T(1));
                    rows_of(a, stride, m, n, x.data(), near.data(), true, false);
                    rows_of(a, stride, m, n, x.data(), far.data(), true, true);
                    for (std::size_t i = 0; i < m; ++i) rows_of(a + i * n, stride, 1, n, x.data(), &alone[i], true, true);
                    INFO(m << " x " << n << " from " << start);
                    REQUIRE((same(near, far) && same(near, alone)));
                }
    });
}

TEMPLATE_TEST_CASE("matvec: strided vectors, NaN stays in its row, what is refused", "", double, float) {
    using T = TestType;
    at_each_level([] {
        auto a = numbers<T>(20 * 50, 23);
        const auto x = numbers<T>(100, 24);
        a[7 * 50 + 49] = nan_of<T>;
        a[8 * 50] = inf_of<T>;
        std::vector<T> dense_x, y(60, T(1)), want(20);
        for (std::size_t i = 0; i < 50; ++i) dense_x.push_back(x[99 - 2 * i]);
        zc::matvec<T>(view<const T>(a.data(), 20, 50), std::span<const T>(dense_x), std::span(want), 1);
        zc::matvec<T>(view<const T>(a.data(), 20, 50), zc::view1d<const T>(&x[99], 50, -2), zc::view1d<T>(&y[2], 20, 3), 2);
        for (std::size_t i = 0; i < 20; ++i) {
            REQUIRE(same(y[2 + 3 * i], want[i]));
            REQUIRE((y[3 * i] == T(1) && y[3 * i + 1] == T(1)));
            REQUIRE(std::isfinite(want[i]) == (i != 7 && i != 8));
        }
    });
    std::vector<T> a(12, T(1)), x(4), y(3);
    const view<const T> matrix(a.data(), 3, 4);
    REQUIRE_THROWS_WITH(zc::matvec<T>(matrix, std::span<const T>(x).first(3), std::span(y), 1), "Invalid dimensions");
    REQUIRE_THROWS_WITH(zc::matvec<T>(matrix, std::span<const T>(x), std::span(y).first(2), 1), "Invalid dimensions");
    REQUIRE_THROWS_AS(zc::matvec<T>(matrix, std::span<const T>(x), std::span(y), 0), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::matvec<T>(matrix, std::span<const T>(x), std::span(x).first(3), 1), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::matvec<T>(matrix, std::span<const T>(x), std::span(a).first(3), 1), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::matvec<T>(matrix, std::span<const T>(x), std::span(y), 2, [] { return true; }), tenfold::stopped);
}

TEMPLATE_TEST_CASE("matmul: the four products, every border, every order of memory", "", double, float) {
    using T = TestType;
    at_each_level([] {
        std::vector<std::array<std::size_t, 3>> shapes{{0, 3, 4},     {3, 0, 4},       {3, 4, 0},   {1, 1, 1},
                                                       {97, 257, 49}, {200, 300, 100}, {8, 600, 30}};
        for (std::size_t n = 1; n < 130; n += 4) shapes.push_back({1 + n % 19, 1 + n % 7, n});
        for (std::size_t n = 1; n < 60; n += 5) shapes.push_back({n, 3, 1 + n % 5});
        int how = 0;
        for (const auto& shape : shapes) {
            const std::size_t m = shape[0], k = shape[1], n = shape[2];
            how = (how + 1) % 25;
            const auto a = numbers<T>(m * k, 25), b = numbers<T>(k * n, 26);
            const laid_out<T> x(a, m, k, how % 5), y(b, k, n, how / 5);
            constexpr std::size_t margin = 5;
            const auto product = [&](int which, int threads) {
                std::vector<T> c(m * (n + margin) + 1, T(77));
                const view<T> out(c.data() + 1, m, n, static_cast<std::ptrdiff_t>(n + margin));
                if (which == 0) zc::matmul_naive<T>(x.items, y.items, out);
                if (which == 1) zc::matmul_blocked<T>(x.items, y.items, out);
                if (which == 2) zc::matmul_simd<T>(x.items, y.items, out);
                if (which == 3) zc::matmul_threaded<T>(x.items, y.items, out, threads);
                return c;
            };
            const auto simd = product(2, 1);
            for (int which = 0; which < 3; ++which) {
                const auto c = which == 2 ? simd : product(which, 1);
                INFO("product " << which << ", " << m << " x " << k << " x " << n << ", order " << how);
                for (std::size_t i = 0; i < m; ++i) {
                    for (std::size_t j = 0; j < n; ++j)
                        REQUIRE(close(c[1 + i * (n + margin) + j], a.data() + i * k, 1, b.data() + j,
                                      static_cast<std::ptrdiff_t>(n), k));
                    for (std::size_t j = n; j < n + margin; ++j) REQUIRE(c[1 + i * (n + margin) + j] == T(77));
                }
            }
            for (const int threads : thread_counts) REQUIRE(same(product(3, threads), simd));
        }
    });
}

TEMPLATE_TEST_CASE("matmul: NaN and infinity go where they belong; what is refused", "", double, float) {
    using T = TestType;
    at_each_level([] {
        auto a = numbers<T>(30 * 40, 27), b = numbers<T>(40 * 50, 28);
        a[3 * 40 + 5] = nan_of<T>;
        b[6 * 50 + 44] = inf_of<T>;
        std::vector<T> c(30 * 50);
        zc::matmul_threaded<T>({a.data(), 30, 40}, {b.data(), 40, 50}, {c.data(), 30, 50}, 2);
        for (std::size_t i = 0; i < 30; ++i)
            for (std::size_t j = 0; j < 50; ++j) REQUIRE(std::isfinite(c[i * 50 + j]) == (i != 3 && j != 44));
    });
    std::vector<T> a(12), b(12), c(16);
    using call = std::function<void(view<const T>, view<const T>, view<T>)>;
    const call calls[] = {[](auto x, auto y, auto z) { zc::matmul_naive<T>(x, y, z); },
                          [](auto x, auto y, auto z) { zc::matmul_blocked<T>(x, y, z); },
                          [](auto x, auto y, auto z) { zc::matmul_simd<T>(x, y, z); },
                          [](auto x, auto y, auto z) { zc::matmul_threaded<T>(x, y, z, 2); }};
    for (const call& multiply : calls) {
        REQUIRE_THROWS_WITH(multiply({a.data(), 3, 4}, {b.data(), 3, 4}, {c.data(), 3, 4}), "Invalid matrix dimensions");
        REQUIRE_THROWS_WITH(multiply({a.data(), 3, 4}, {b.data(), 4, 3}, {c.data(), 4, 4}), "Invalid matrix dimensions");
        REQUIRE_THROWS_AS(multiply({a.data(), 3, 4}, {b.data(), 4, 3}, {c.data(), 3, 3, 1, 3}), std::invalid_argument);
        REQUIRE_THROWS_AS(multiply({a.data(), 3, 4}, {b.data(), 4, 3}, {a.data(), 3, 3}), std::invalid_argument);
        REQUIRE_THROWS_AS(multiply({a.data(), 3, 4}, {b.data(), 4, 3}, {b.data() + 3, 3, 3}), std::invalid_argument);
    }
    std::vector<T> big(300 * 300), out(300 * 300);
    const auto yes = [] { return true; };
    REQUIRE_THROWS_AS(zc::matmul_naive<T>({big.data(), 300, 300}, {big.data(), 300, 300}, {out.data(), 300, 300}, yes),
                      tenfold::stopped);
    REQUIRE_THROWS_AS(zc::matmul_blocked<T>({big.data(), 300, 300}, {big.data(), 300, 300}, {out.data(), 300, 300}, yes),
                      tenfold::stopped);
    for (const int threads : thread_counts)
        REQUIRE_THROWS_AS(
            zc::matmul_threaded<T>({big.data(), 300, 300}, {big.data(), 300, 300}, {out.data(), 300, 300}, threads, yes),
            tenfold::stopped);
}

TEMPLATE_TEST_CASE("transpose: every size to 70, every order of memory, bits kept", "", double, float) {
    using T = TestType;
    at_each_level([] {
        for (std::size_t m = 0; m < 70; m += m < 10 ? 1 : 7)
            for (std::size_t n = 0; n < 70; n += n < 10 ? 1 : 9)
                for (int how = 0; how < 5; ++how) {
                    const auto values = awkward<T>(m * n, 29);
                    const laid_out<T> x(values, m, n, how);
                    std::vector<T> want(m * n);
                    for (std::size_t i = 0; i < m * n; ++i) want[i % n * m + i / n] = values[i];
                    std::vector<T> out(m * n, T(3)), fortran(m * n, T(3));
                    zc::transpose<T>(x.items, view<T>(out.data(), n, m), 2);
                    REQUIRE(same(out, want));
                    zc::transpose<T>(x.items, view<T>(fortran.data(), n, m, 1, static_cast<std::ptrdiff_t>(n)), 1);
                    REQUIRE(same(fortran, values));  // transposed twice
                }
        const auto values = numbers<T>(700 * 333, 30);
        for (const int threads : thread_counts) {
            std::vector<T> out(values.size()), back(values.size());
            zc::transpose<T>(view<const T>(values.data(), 700, 333), view<T>(out.data(), 333, 700), threads);
            REQUIRE(out[5 * 700 + 600] == values[600 * 333 + 5]);
            zc::transpose<T>(view<const T>(out.data(), 333, 700), view<T>(back.data(), 700, 333), threads);
            REQUIRE(same(back, values));
        }
    });
    std::vector<T> x(1'000'000), out(1'000'000);
    REQUIRE_THROWS_AS(zc::transpose<T>(view<const T>(x.data(), 2, 3), view<T>(out.data(), 2, 3), 1), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::transpose<T>(view<const T>(x.data(), 3, 3), view<T>(x.data(), 3, 3), 1), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::transpose<T>(view<const T>(x.data(), 3, 3), view<T>(out.data(), 3, 3), 0), std::invalid_argument);
    REQUIRE_THROWS_AS(
        zc::transpose<T>(view<const T>(x.data(), 1000, 1000), view<T>(out.data(), 1000, 1000), 2, [] { return true; }),
        tenfold::stopped);
}
