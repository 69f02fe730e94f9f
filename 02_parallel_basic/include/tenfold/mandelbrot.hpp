// tenfold/mandelbrot.hpp: an escape-time picture of the Mandelbrot set, rows of very different cost on all threads.
//
// Why: the textbook example of work that must not be dealt out in equal shares: a row through the set costs a hundred
// times one beside it. Rows go to whoever is free; within a row four SIMD vectors of pixels are in flight at once
// (mandelbrot-inl.hpp). The counts equal those of a plain scalar loop exactly.
//
// Copy: mandelbrot.hpp, mandelbrot-inl.hpp, parallel.hpp, simd.hpp, simd-targets-inl.hpp. Needs C++20, OpenMP (-fopenmp),
// Google Highway (link hwy) and -ffp-contract=off: a fused multiply-add rounds once where the scalar loop rounds twice.
#pragma once

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <thread>

#include "tenfold/parallel.hpp"
#include "tenfold/simd.hpp"

namespace tenfold {

struct region {
    double x_min, x_max, y_min, y_max;
};

namespace detail {

inline bool mandelbrot_columns(double x_min, double x_extent, double width, double ci, std::uint32_t max_iter,
                               std::size_t begin, std::size_t end, std::uint32_t* out, bool (*ask)(void*), void* context) {
    TENFOLD_DISPATCH(mandelbrot_row, x_min, x_extent, width, ci, max_iter, begin, end, out, ask, context);
}

}  // namespace detail

/// One pixel by the plain loop: the definition, and the oracle of the tests.
inline std::uint32_t mandelbrot_pixel(double cr, double ci, std::uint32_t max_iter) {
    double zr = 0.0, zi = 0.0;
    std::uint32_t steps = 0;
    while (steps < max_iter && !(zr * zr + zi * zi > 4.0)) {
        const double next = zr * zr - zi * zi + cr;
        zi = 2.0 * zr * zi + ci;
        zr = next;
        ++steps;
    }
    return steps;
}

/// out[row * width + column] = steps until |z|^2 > 4, at most max_iter, for c = (x_min + column / width * (x_max - x_min),
/// y_min + row / height * (y_max - y_min)). Throws tenfold::stopped, within milliseconds, when stop() says so.
template <class Stop = never_stop>
void parallel_mandelbrot(const region& r, std::size_t width, std::size_t height, std::uint32_t max_iter,
                         std::span<std::uint32_t> out, int threads, Stop&& stop = {}, parallel_options options = {}) {
    if (height != 0 && out.size() / height < width) throw std::invalid_argument("out is too small for the picture");
    // One row may take longer than anybody wants to wait, so all threads ask inside it: the caller asks `stop`, the
    // others whether it has said yes. Relaxed: a late answer costs a few more steps; the result is thrown away.
    struct question {
        Stop& stop;
        std::thread::id caller = std::this_thread::get_id();
        std::atomic<bool> stopping{false};

        bool ask() {
            if (std::this_thread::get_id() == caller && stop()) stopping.store(true, std::memory_order_relaxed);
            return stopping.load(std::memory_order_relaxed);
        }
    } question{stop};
    parallel_chunks(
        height, 1, threads,
        [&](std::size_t row, std::size_t) {
            const double ci = r.y_min + static_cast<double>(row) / static_cast<double>(height) * (r.y_max - r.y_min);
            if (ci != 0.0 && std::abs(ci) < 1e-280) {  // products that underflow could show: the plain loop
                for (std::size_t column = 0; column < width; ++column) {
                    if (question.ask()) throw stopped();
                    const double cr = r.x_min + static_cast<double>(column) / static_cast<double>(width) * (r.x_max - r.x_min);
                    out[row * width + column] = mandelbrot_pixel(cr, ci, max_iter);
                }
                return;
            }
            const bool whole = detail::mandelbrot_columns(
                r.x_min, r.x_max - r.x_min, static_cast<double>(width), ci, max_iter, 0, width, out.data() + row * width,
                [](void* asked) { return static_cast<struct question*>(asked)->ask(); }, &question);
            if (!whole) throw stopped();
        },
        [&] { return question.ask(); }, options);
}

}  // namespace tenfold
