// The SIMD picture against the plain loop, count by count.
#include <catch2/catch_test_macros.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "tenfold/mandelbrot.hpp"
#include "tenfold_testing.hpp"

namespace {

std::vector<std::uint32_t> plain(const tenfold::region& r, std::size_t width, std::size_t height, std::uint32_t max_iter) {
    std::vector<std::uint32_t> out;
    for (std::size_t row = 0; row < height; ++row)
        for (std::size_t column = 0; column < width; ++column)
            out.push_back(tenfold::mandelbrot_pixel(
                r.x_min + static_cast<double>(column) / static_cast<double>(width) * (r.x_max - r.x_min),
                r.y_min + static_cast<double>(row) / static_cast<double>(height) * (r.y_max - r.y_min), max_iter));
    return out;
}

void compare(const tenfold::region& r, std::size_t width, std::size_t height, std::uint32_t max_iter) {
    const auto expected = plain(r, width, height, max_iter);
    for (int threads : tenfold_testing::thread_counts)
        for (auto how : {tenfold::schedule::static_, tenfold::schedule::dynamic, tenfold::schedule::guided}) {
            std::vector<std::uint32_t> out(width * height, 12345);
            tenfold::parallel_mandelbrot(r, width, height, max_iter, out, threads, tenfold::never_stop(), {.how = how});
            REQUIRE(out == expected);
        }
}

}  // namespace

TEST_CASE("counts equal the plain loop, whatever the width, the limit and the threads") {
    const tenfold::region whole{-2.5, 1.0, -1.0, 1.0};
    for (std::size_t width : {1, 2, 3, 7, 8, 9, 15, 31, 32, 33, 63, 65, 100}) compare(whole, width, 5, 60);
    for (std::uint32_t max_iter : {0, 1, 2, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 33, 100, 1000})
        compare(whole, 37, 11, max_iter);
    compare(whole, 160, 120, 1000);
    compare({-0.7436, -0.7435, 0.1314, 0.1315}, 64, 48, 3000);  // deep in a spiral
}

TEST_CASE("points where an escape is a matter of the last bit") {
    compare({-2.0000000001, -1.9999999999, -1e-9, 1e-9}, 65, 9, 500);
    compare({-2.0, -2.0, 0.0, 0.0}, 5, 3, 100);
    compare({1.9999999, 2.0000001, -1e-7, 1e-7}, 65, 9, 50);
    compare({-1.5, 1.5, -1.5, 1.5}, 71, 71, 200);
}

TEST_CASE("extreme coordinates") {
    constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
    compare({-1e308, 1e308, -1.0, 1.0}, 33, 3, 50);  // the extent overflows: c is infinite or NaN
    compare({nan, 1.0, 0.0, 1.0}, 9, 2, 30);
    compare({0.0, 1.0, nan, nan}, 9, 2, 30);
    compare({-inf, inf, 0.0, 1.0}, 9, 2, 30);
    compare({-2.0, 0.25, 1e-300, 3e-300}, 40, 4, 3000);  // products underflow
    compare({-2.0, 0.25, 1e-279, 2e-279}, 40, 4, 3000);
    compare({1e-200, 1e-199, 1e-200, 1e-199}, 9, 3, 200);
}

TEST_CASE("it can be stopped, also inside a row, and refuses memory that is too small") {
    std::vector<std::uint32_t> out(100 * 4);
    for (int threads : tenfold_testing::thread_counts) {
        int asked = 0;
        const auto stop = [&] { return ++asked > 3; };
        REQUIRE_THROWS_AS(tenfold::parallel_mandelbrot({-0.1, 0.1, -0.1, 0.1}, 100, 4, 4'000'000'000u, out, threads, stop),
                          tenfold::stopped);
    }
    REQUIRE_THROWS_AS(tenfold::parallel_mandelbrot({-1, 1, -1, 1}, 100, 5, 10, out, 2), std::invalid_argument);
}
