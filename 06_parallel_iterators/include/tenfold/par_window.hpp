// tenfold/par_window.hpp: moving averages in linear time without drift, and matrix transposition in tiles.
//
// Why: "add the new value, subtract the old one" drifts, and one NaN or infinity stays in the sum for ever. Nothing is subtracted
// here: cut the input into groups of G values; a window is the end of one group, whole groups, and the beginning of another.
// Sums of ends and beginnings are made once per group, so a window costs three additions whatever its width, and only its own
// values take part in it. (M. van Herk 1992, J. Gil and M. Werman 1993, for minima.) Groups lie at multiples of G in the input, so
// results have the same bits at every thread count.
//
// Copy: par_window.hpp and the headers that it includes. C++20; -ffp-contract=off for the same bits on machines with fused multiply-add.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "tenfold/par_sinks.hpp"

namespace tenfold {

namespace par_detail {

// Calls work(unit) for the units 0 ... count - 1, as a pipeline of indices would, but without blocks of them.
template <class Executor, class Stop, class Work>
void for_units(std::size_t count, const Executor& executor, Stop& stop, const Work& work) {
    const auto chain = par(indices(count), executor, stop);
    run(chain, 1, [&](std::size_t, std::size_t, std::size_t) { return calling<Work>{work}; });
}

inline constexpr double no_sum = -0.0;  // adding it changes no number, -0.0 included
inline constexpr std::size_t short_window = 16;
inline constexpr std::size_t unit_outputs = 4096;  // about what a thread computes between two looks around

// Short windows: each sum from left to right, neighbours side by side in vector registers.
inline void average_short(const double* x, std::size_t window, double* out, std::size_t count) {
    constexpr std::size_t width = 64;
    const auto divisor = static_cast<double>(window);
    for (std::size_t first = 0; first < count; first += width) {
        double sums[width];
        const std::size_t here = std::min(width, count - first);
        const double* const from = x + first;
        std::copy_n(from, here, sums);
        for (std::size_t k = 1; k < window; ++k)
            for (std::size_t j = 0; j < here; ++j) sums[j] += from[j + k];
        for (std::size_t j = 0; j < here; ++j) out[first + j] = sums[j] / divisor;
    }
}

inline double group_sum(const double* x, std::size_t n) {
    constexpr std::size_t chains = 8;
    double sums[chains];
    std::fill_n(sums, chains, no_sum);
    std::size_t j = 0;
    for (; j + chains <= n; j += chains)
        for (std::size_t lane = 0; lane < chains; ++lane) sums[lane] += x[j + lane];
    for (std::size_t lane = 0; j < n; ++j, ++lane) sums[lane] += x[j];
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

// Window [i, i + w) begins in group g and ends before item i + w, which lies in group m: it is the end of g from i on, the whole
// groups between, and the beginning of m.
class window_sums {
public:
    window_sums(std::span<const double> x, std::size_t window, std::span<double> out)
        : x_(x), out_(out), window_(window), group_(std::max(std::min<std::size_t>(window, 1024), window / 1024)) {}

    std::size_t group() const noexcept { return group_; }
    std::size_t groups() const noexcept { return (out_.size() - 1) / group_ + 1; }
    bool needs_totals() const noexcept { return window_ > group_; }  // else no window holds a whole group besides its first

    double total(std::size_t g) const noexcept { return group_sum(x_.data() + g * group_, group_); }

    // The windows that begin in group g. `ends` is room for one group.
    void compute(std::size_t g, std::span<const double> totals, double* ends) const {
        const std::size_t begin = g * group_, end = std::min(begin + group_, out_.size());
        const auto divisor = static_cast<double>(window_);
        double sum = no_sum;
        for (std::size_t i = group_; i-- > 0;) ends[i] = sum = x_[begin + i] + sum;

        std::size_t m = (begin + window_) / group_;
        double middle = no_sum, beginning = no_sum;
        for (std::size_t k = g + 1; k < m; ++k) middle += totals[k];
        for (std::size_t j = m * group_; j < begin + window_; ++j) beginning += x_[j];
        for (std::size_t i = begin;;) {
            out_[i] = (ends[i - begin] + middle + beginning) / divisor;
            const std::size_t border = std::min(end, (m + 1) * group_ - window_);  // where the windows reach the end of m
            while (++i < border) {
                beginning += x_[i + window_ - 1];
                out_[i] = (ends[i - begin] + middle + beginning) / divisor;
            }
            if (i == end) return;
            middle += totals[m++];
            beginning = no_sum;
        }
    }

private:
    std::span<const double> x_;
    std::span<double> out_;
    std::size_t window_, group_;
};

}  // namespace par_detail

// out[i] = mean of x[i] ... x[i + window - 1], for each of the x.size() - window + 1 windows. `out` does not overlap x.
template <par_executor Executor = openmp_executor, class Stop = never_stop>
void moving_average(std::span<const double> x, std::size_t window, std::span<double> out, Executor executor = {},
                    Stop&& stop = {}) {
    if (window < 1 || window > x.size()) throw std::invalid_argument("the window must be between 1 and the number of values");
    if (out.size() != x.size() - window + 1) throw std::invalid_argument("out must have one item per window");
    using par_detail::unit_outputs;
    if (window <= par_detail::short_window) {
        par_detail::for_units((out.size() - 1) / unit_outputs + 1, executor, stop, [&](std::size_t unit) {
            const std::size_t begin = unit * unit_outputs;
            par_detail::average_short(x.data() + begin, window, out.data() + begin, std::min(unit_outputs, out.size() - begin));
        });
        return;
    }
    const par_detail::window_sums sums(x, window, out);
    std::vector<double> totals(sums.needs_totals() ? x.size() / sums.group() : 0);
    const std::size_t groups_at_once = std::max<std::size_t>(unit_outputs / sums.group(), 1);
    const auto units = [&](std::size_t groups) { return (groups + groups_at_once - 1) / groups_at_once; };
    par_detail::for_units(units(totals.size()), executor, stop, [&](std::size_t unit) {
        const std::size_t end = std::min(totals.size(), (unit + 1) * groups_at_once);
        for (std::size_t g = unit * groups_at_once; g < end; ++g) totals[g] = sums.total(g);
    });
    par_detail::for_units(units(sums.groups()), executor, stop, [&](std::size_t unit) {
        const par_detail::raw_memory<double> ends(sums.group());
        const std::size_t end = std::min(sums.groups(), (unit + 1) * groups_at_once);
        for (std::size_t g = unit * groups_at_once; g < end; ++g) sums.compute(g, totals, ends.get());
    });
}

// out (columns x rows) = the transpose of in (rows x columns), both row-major and apart. Tile by tile: a row of a large matrix
// and a column of it do not fit in the cache together, 32 x 32 values of both do.
template <class T, par_executor Executor = openmp_executor, class Stop = never_stop>
void transpose(std::span<const T> in, std::size_t rows, std::size_t columns, std::span<T> out, Executor executor = {},
               Stop&& stop = {}) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (rows != 0 && columns > in.size() / rows) throw std::invalid_argument("in must have rows x columns items");
    if (in.size() != rows * columns || out.size() != in.size())
        throw std::invalid_argument("in and out must have rows x columns items");
    constexpr std::size_t tile = 32;
    const std::size_t down = par_detail::blocks_of(rows, tile), across = par_detail::blocks_of(columns, tile);
    const T* const from = in.data();
    T* const to = out.data();
    par_detail::for_units(down * across, executor, stop, [=](std::size_t unit) {
        const std::size_t row = unit % down * tile, column = unit / down * tile;
        const std::size_t row_end = std::min(rows, row + tile), column_end = std::min(columns, column + tile);
        for (std::size_t c = column; c < column_end; ++c)
            for (std::size_t r = row; r < row_end; ++r) to[c * rows + r] = from[r * columns + c];
    });
}

}  // namespace tenfold
