// Correlation, convolution and pooling against loops over single pixels.
#define TENFOLD_WITHOUT_KERNELS
#define TENFOLD_WITHOUT_REDUCE
#define TENFOLD_WITHOUT_MATMUL
#define TENFOLD_WITHOUT_MATVEC
#define TENFOLD_WITHOUT_TRANSPOSE
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "tenfold/stencil.hpp"
#include "zero_copy_testing.hpp"

using namespace zero_copy_testing;

namespace {

template <class T>
using view = zc::view2d<T>;

// A result with a margin on the right that must stay as it is.
template <class T>
struct result {
    static constexpr std::size_t margin = 3;
    std::vector<T> memory;
    view<T> items;

    result(zc::shape2d shape, std::size_t start)
        : memory(start + shape.rows * (shape.columns + margin), T(77)),
          items(memory.data() + start, shape.rows, shape.columns, static_cast<std::ptrdiff_t>(shape.columns + margin)) {}
    bool margin_kept() const {
        for (std::size_t r = 0; r < items.rows; ++r)
            for (std::size_t c = 0; c < margin; ++c)
                if (*(items.at(r, 0) + items.columns + c) != T(77)) return false;
        return true;
    }
};

template <class T>
bool close(const result<T>& found, view<const T> x, view<const T> k, bool turned) {
    for (std::size_t r = 0; r < found.items.rows; ++r)
        for (std::size_t c = 0; c < found.items.columns; ++c) {
            long double exact = 0, size = 0;
            for (std::size_t i = 0; i < k.rows; ++i)
                for (std::size_t j = 0; j < k.columns; ++j) {
                    const T coefficient = turned ? k(k.rows - 1 - i, k.columns - 1 - j) : k(i, j);
                    const long double term = static_cast<long double>(x(r + i, c + j)) * coefficient;
                    exact += term;
                    size += std::abs(term);
                }
            const auto bound = static_cast<long double>(k.size() + 2) * (std::numeric_limits<T>::epsilon() / 2) * size;
            if (!(std::abs(found.items(r, c) - exact) <= bound)) return false;
        }
    return found.margin_kept();
}

}  // namespace

TEMPLATE_TEST_CASE("correlate2d: widths 1 to 129, kernels of every height to 9, cut-out pictures", "", double, float) {
    using T = TestType;
    at_each_level([] {
        for (std::size_t columns = 1; columns < 130; ++columns) {
            const std::size_t kr = 1 + columns % 9, kc = 1 + columns % std::min<std::size_t>(6, columns),
                              rows = kr + columns % 11;
            const std::size_t stride = columns + columns % 3;
            const auto x = numbers<T>(rows * stride + 1, 31), k = numbers<T>(kr * kc, 32);
            const view<const T> picture(x.data() + columns % 2, rows, columns, static_cast<std::ptrdiff_t>(stride)),
                kernel(k.data(), kr, kc);
            result<T> first(zc::valid_shape(rows, columns, kr, kc), columns % 5);
            zc::correlate2d<T>(picture, kernel, first.items, 1);
            INFO(rows << " x " << columns << ", kernel " << kr << " x " << kc);
            REQUIRE(close<T>(first, picture, kernel, false));
            result<T> turned(zc::valid_shape(rows, columns, kr, kc), 0);
            zc::convolve2d<T>(picture, kernel, turned.items, 1);
            REQUIRE(close<T>(turned, picture, kernel, true));
        }
        for (const auto& [kr, kc] : {std::pair<std::size_t, std::size_t>{12, 5}, {17, 17}, {1, 33}, {33, 1}}) {
            const auto x = numbers<T>(60 * 70, 33), k = numbers<T>(kr * kc, 34);
            const view<const T> picture(x.data(), 60, 70), kernel(k.data(), kr, kc);
            result<T> out(zc::valid_shape(60, 70, kr, kc), 1);
            zc::correlate2d<T>(picture, kernel, out.items, 2);
            REQUIRE(close<T>(out, picture, kernel, false));
        }
    });
}

TEMPLATE_TEST_CASE("correlate2d: the same bits at every thread count and cut; kernels of any strides; upside down", "", double,
                   float) {
    using T = TestType;
    at_each_level([] {
        constexpr std::size_t rows = 211, columns = 307;
        const auto x = numbers<T>(rows * columns, 35), k = numbers<T>(100, 36);
        const view<const T> picture(x.data(), rows, columns);
        for (const auto& kernel :
             {view<const T>(k.data(), 3, 3), view<const T>(k.data(), 5, 4, 1, 20), view<const T>(&k[99], 4, 4, -10, -2)}) {
            result<T> whole(zc::valid_shape(rows, columns, kernel.rows, kernel.columns), 0);
            zc::correlate2d<T>(picture, kernel, whole.items, 1);
            REQUIRE(close<T>(whole, picture, kernel, false));
            for (const int threads : thread_counts) {
                result<T> again(zc::valid_shape(rows, columns, kernel.rows, kernel.columns), 0);
                zc::correlate2d<T>(picture, kernel, again.items, threads);
                REQUIRE(same(again.memory, whole.memory));
            }
            // A part of the picture gives that part of the result, to the bit.
            const view<const T> part(picture.at(13, 29), 50, 61, columns);
            result<T> piece(zc::valid_shape(50, 61, kernel.rows, kernel.columns), 3);
            zc::correlate2d<T>(part, kernel, piece.items, 1);
            for (std::size_t r = 0; r < piece.items.rows; ++r)
                for (std::size_t c = 0; c < piece.items.columns; ++c)
                    REQUIRE(same(piece.items(r, c), whole.items(13 + r, 29 + c)));
        }
        const view<const T> upside_down(picture.at(rows - 1, 0), rows, columns, -static_cast<std::ptrdiff_t>(columns)),
            kernel(k.data(), 3, 3);
        result<T> out(zc::valid_shape(rows, columns, 3, 3), 0);
        zc::correlate2d<T>(upside_down, kernel, out.items, 2);
        REQUIRE(close<T>(out, upside_down, kernel, false));
    });
}

TEMPLATE_TEST_CASE("correlate2d: NaN and infinity reach their windows and no other", "", double, float) {
    using T = TestType;
    at_each_level([] {
        for (const T special : {nan_of<T>, inf_of<T>})
            for (std::size_t place = 0; place < 40; ++place) {
                auto x = numbers<T>(12 * 40, 37);
                const auto k = numbers<T>(9, 38);
                x[5 * 40 + place] = special;
                std::vector<T> out(10 * 38);
                zc::correlate2d<T>({x.data(), 12, 40}, {k.data(), 3, 3}, {out.data(), 10, 38}, 1);
                for (std::size_t r = 0; r < 10; ++r)
                    for (std::size_t c = 0; c < 38; ++c)
                        REQUIRE(std::isfinite(out[r * 38 + c]) == !(r + 3 > 5 && r <= 5 && c + 3 > place && c <= place));
            }
    });
}

TEMPLATE_TEST_CASE("max_pool2d: sizes and steps, odd ends, NaN, threads", "", double, float) {
    using T = TestType;
    at_each_level([] {
        for (std::size_t columns = 1; columns < 130; columns += 1 + columns / 40)
            for (std::size_t size = 1; size <= std::min<std::size_t>(columns, 5); ++size)
                for (std::size_t step = 1; step < 5; ++step) {
                    const std::size_t rows = size + columns % 8, stride = columns + 2;
                    auto x = numbers<T>(rows * stride, 39);
                    x[columns / 2] = nan_of<T>;
                    x[(rows - 1) * stride + columns - 1] = columns % 2 ? -inf_of<T> : nan_of<T>;
                    // What lies between the rows must not be looked at.
                    for (std::size_t r = 0; r < rows; ++r) x[r * stride + columns] = x[r * stride + columns + 1] = inf_of<T>;
                    const view<const T> picture(x.data(), rows, columns, static_cast<std::ptrdiff_t>(stride));
                    const auto shape = zc::pool_shape(rows, columns, size, step);
                    std::vector<T> want;
                    for (std::size_t r = 0; r < shape.rows; ++r)
                        for (std::size_t c = 0; c < shape.columns; ++c) {
                            T best = -inf_of<T>;
                            bool nan = false;
                            for (std::size_t i = 0; i < size; ++i)
                                for (std::size_t j = 0; j < size; ++j) {
                                    const T v = picture(r * step + i, c * step + j);
                                    nan = nan || std::isnan(v);
                                    best = std::max(best, v);
                                }
                            want.push_back(nan ? nan_of<T> : best);
                        }
                    for (const int threads : thread_counts) {
                        std::vector<T> out(want.size(), T(5));
                        zc::max_pool2d<T>(picture, size, step, view<T>(out.data(), shape.rows, shape.columns), threads);
                        INFO(rows << " x " << columns << ", size " << size << ", step " << step);
                        REQUIRE(same(out, want));
                    }
                }
        // Wider than a piece.
        const auto x = numbers<T>(4 * 20'001, 40);
        std::vector<T> out(3 * 20'000), small(2 * 10'000);
        zc::max_pool2d<T>({x.data(), 4, 20'001}, 2, 1, {out.data(), 3, 20'000}, 2);
        zc::max_pool2d<T>({x.data(), 4, 20'001}, 2, 2, {small.data(), 2, 10'000}, 2);
        for (std::size_t c = 0; c < 20'000; ++c) {
            REQUIRE(out[c] == std::max({x[c], x[c + 1], x[20'001 + c], x[20'001 + c + 1]}));
            if (c % 2 == 0) REQUIRE(small[c / 2] == out[c]);
        }
    });
}

TEST_CASE("stencils: what is refused, and a stop") {
    std::vector<double> x(1000 * 1000), out(1000 * 1000), k(9);
    const view<const double> picture(x.data(), 10, 10), kernel(k.data(), 3, 3);
    const auto refused = [&](view<const double> a, view<const double> b, view<double> c) {
        REQUIRE_THROWS_AS(zc::correlate2d<double>(a, b, c, 1), std::invalid_argument);
        REQUIRE_THROWS_AS(zc::convolve2d<double>(a, b, c, 1), std::invalid_argument);
    };
    refused(picture, {k.data(), 0, 3}, {out.data(), 8, 8});
    refused(picture, {k.data(), 3, 0}, {out.data(), 8, 8});
    refused({x.data(), 2, 10}, kernel, {out.data(), 8, 8});
    refused(picture, kernel, {out.data(), 8, 9});
    refused(picture, kernel, {x.data() + 20, 8, 8});
    refused(picture, {x.data(), 3, 3}, {x.data(), 8, 8});
    refused(picture, kernel, {k.data(), 8, 8});
    refused({x.data(), 10, 10, 20, 2}, kernel, {out.data(), 8, 8});
    refused(picture, kernel, {out.data(), 8, 8, 1, 8});
    REQUIRE_THROWS_AS(zc::correlate2d<double>(picture, kernel, {out.data(), 8, 8}, 0), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::max_pool2d<double>(picture, 0, 1, {out.data(), 8, 8}, 1), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::max_pool2d<double>(picture, 2, 0, {out.data(), 8, 8}, 1), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::max_pool2d<double>(picture, 11, 1, {out.data(), 8, 8}, 1), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::max_pool2d<double>(picture, 2, 2, {out.data(), 4, 5}, 1), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::max_pool2d<double>(picture, 2, 2, {x.data() + 1, 5, 5}, 1), std::invalid_argument);
    REQUIRE(zc::valid_shape(10, 12, 3, 5) == zc::shape2d{8, 8});
    REQUIRE(zc::pool_shape(10, 13, 3, 2) == zc::shape2d{4, 6});
    REQUIRE(zc::pool_shape(10, 10, 3, std::size_t(-1)) == zc::shape2d{1, 1});
    for (const int threads : thread_counts) {
        const auto yes = [] { return true; };
        REQUIRE_THROWS_AS(zc::correlate2d<double>({x.data(), 1000, 1000}, kernel, {out.data(), 998, 998}, threads, yes),
                          tenfold::stopped);
        REQUIRE_THROWS_AS(zc::max_pool2d<double>({x.data(), 1000, 1000}, 2, 1, {out.data(), 999, 999}, threads, yes),
                          tenfold::stopped);
    }
}
