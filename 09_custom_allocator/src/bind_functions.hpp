// bind_functions.hpp - sliding_window_sum, parallel_transform_preallocated, batch_process_arena: conversions, GIL, docstrings.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bind_common.hpp"
#include "tenfold/batch_work.hpp"
#include "tenfold/sliding_window.hpp"

namespace tenfold::boundary {

/// How many windows there are. The window alone is checked first, before the data has been read.
inline void check_window(std::int64_t window) {
    if (window < 1) throw py::value_error("Invalid window size: window must be at least 1, not " + std::to_string(window));
}
inline std::size_t windows_of(std::int64_t window, std::size_t size) {
    if (static_cast<std::uint64_t>(window) > size)
        throw py::value_error("Invalid window size: " + std::to_string(window) + " of " + std::to_string(size) + " numbers");
    return size - static_cast<std::size_t>(window) + 1;
}

inline void window_sums(std::span<const double> in, std::int64_t window, std::span<double> out, int num_threads) {
    released([&](auto stop) { sliding_window_sum(in, static_cast<std::size_t>(window), out, num_threads, stop); });
}

inline py::object arena_squares(const batches_of<"batches">& batches, int num_threads, const out_of<double, "out">& out) {
    using kind = batches_of<"batches">::kind;
    if (batches.given == kind::lists) {
        check_no_out(out.given(), "batches");
        row_scratch scratch;
        batches.read(scratch);
        numbers<double> squares;
        squares.resize(scratch.values.size());
        released([&](auto stop) { batch_squares_arena(scratch.rows, squares.span(), num_threads, stop); });
        return to_list(squares);
    }
    std::vector<row> rows;
    std::vector<detail::buffer> held;
    batches.find(rows, held);
    auto result = out.or_new(total_length(rows));
    for (const row& each : rows) check_apart(each, result.values, "batches");
    released([&](auto stop) { batch_squares_arena(rows, result.values, num_threads, stop); });
    return std::move(result.array);
}

inline void bind_functions(py::module_& m) {
    const auto none = py::none();
    m.def(
        "sliding_window_sum",
        [](const array_of<double, "data">& data, whole<"window"> window, threads num_threads,
           const out_of<double, "out">& out) {
            check_window(window);
            const auto in = data.span();
            auto result = out.or_new(windows_of(window, in.size()));
            check_apart(in, result.values, "data");
            window_sums(in, window, result.values, num_threads);
            return result.array;
        },
        "data"_a, "window"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, R"(
Sum of each run of `window` neighbours.

Parameters
----------
data : sequence of float, or 1-D float64 array
window : int
    1 to the length of `data`.
num_threads : int, optional
    1 to 1024; all usable cores (affinity and cgroup limits respected) when None. It never changes the result's bits.
out : 1-D float64 array of ``len(data) - window + 1``, optional
    With an array: filled and returned; apart from `data`.

Returns
-------
list of float, or array
    ``len(data) - window + 1`` sums. A NaN or infinity is in the windows that hold it and in no other.

Raises
------
ValueError
    "Invalid window size"

Notes
-----
Time does not grow with `window`, and nothing is ever subtracted, so no rounding is carried along: a window is the end of one
block and the beginning of the next, and the sums of both are at hand (after van Herk, "A fast algorithm for local minimum and
maximum filters", 1992).
)");
    m.def(
        "sliding_window_sum",
        [](const list_of<double, "data">& data, whole<"window"> window, threads num_threads, const py::object& out) {
            check_window(window);
            check_no_out(!out.is_none(), "data");
            const auto in = data.read();
            numbers<double> sums;
            sums.resize(windows_of(window, in.size()));
            window_sums(in.span(), window, sums.span(), num_threads);
            return to_list(sums);
        },
        "data"_a, "window"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none);

    m.def(
        "parallel_transform_preallocated",
        [](const array_of<double, "data">& data, threads num_threads, const out_of<double, "out">& out) {
            const auto in = data.span();
            auto result = out.or_new(in.size());
            check_same_or_apart(in, result.values, "data");
            released([&](auto stop) { parallel_sqrt(in, result.values, num_threads, stop); });
            return result.array;
        },
        "data"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, R"(
Square root of each number, into memory that is there already.

Parameters
----------
data : sequence of float, or 1-D float64 array
num_threads : int, optional
    1 to 1024; all usable cores when None.
out : 1-D float64 array, optional
    With an array: filled and returned; it may be `data` itself. Pass the same one call after call: fresh memory costs a page
    fault for every 4 KiB.

Returns
-------
list of float, or array
    NaN for negative numbers; -0.0 for -0.0.
)");
    m.def(
        "parallel_transform_preallocated",
        [](const list_of<double, "data">& data, threads num_threads, const py::object& out) {
            check_no_out(!out.is_none(), "data");
            auto values = data.read();
            released([&](auto stop) { parallel_sqrt(std::as_const(values).span(), values.span(), num_threads, stop); });
            return to_list(values);
        },
        "data"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none);

    m.def(
        "batch_process_arena",
        [](const batches_of<"batches">& batches, threads num_threads, const out_of<double, "out">& out) {
            return arena_squares(batches, num_threads, out);
        },
        "batches"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, R"(
Squares of all numbers of all batches, one after the other. What a batch needs on the way is taken from an arena, one for each
thread, which is reset after every batch, and after every 2**20 numbers of a longer one.

Parameters
----------
batches : sequence of sequences of float, sequence of 1-D float64 arrays, or 2-D float64 array
    Batches of any length. Arrays are read where they are.
num_threads : int, optional
    1 to 1024; all usable cores when None.
out : 1-D float64 array, as long as all batches, optional
    With arrays: filled and returned; apart from `batches`.

Returns
-------
list of float, or 1-D array
    Flat, in order.
)");

    m.def(
        "_allocation_counts",
        [] {
            const auto& made = allocations_made;
            return py::make_tuple(made.count.load(std::memory_order_relaxed), made.bytes.load(std::memory_order_relaxed));
        },
        "See allocation_counts.");
    m.attr("_COUNTED") = counted;
}

}  // namespace tenfold::boundary
