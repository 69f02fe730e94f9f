// bind_maps.hpp: as many numbers out as in. Arrays: read where they are, written into `out` or a new array.
// Lists: read into memory of ours, computed in place, turned into a list.
#pragma once

#include "bind_common.hpp"

namespace bind {

inline void check_divisor(double divisor) {
    if (divisor == 0.0) throw py::value_error("Division by zero");  // -0.0 too, and whether or not there are numbers
}

inline void divide(std::span<const double> in, std::span<double> out, double divisor, int num_threads) {
    pipeline(num_threads,
             [&](auto par) { par(in) | tenfold::map([=](double x) { return x / divisor; }) | tenfold::into(out); });
}

inline void zip_add(std::span<const double> a, std::span<const double> b, std::span<double> out, int num_threads) {
    const auto add = [](double x, double y) { return x + y; };
    pipeline(num_threads, [&](auto par) { par(a) | tenfold::zip_with(b, add) | tenfold::into(out); });
}

inline void check_lengths(std::size_t a, std::size_t b) {
    if (a != b) throw py::value_error("Vectors must have same length, not " + std::to_string(a) + " and " + std::to_string(b));
}

/// a * b + c * 2 - 1: three inputs, one pass.
inline void expression(std::span<const double> a, std::span<const double> b, std::span<const double> c, std::span<double> out,
                       int num_threads) {
    const auto multiply = [](double x, double y) { return x * y; };
    const auto add_twice = [](double x, double y) { return x + y * 2.0; };
    const auto less_one = [](double x) { return x - 1.0; };
    pipeline(num_threads, [&](auto par) {
        par(a) | tenfold::zip_with(b, multiply) | tenfold::zip_with(c, add_twice) | tenfold::map(less_one) | tenfold::into(out);
    });
}

inline void twice(std::span<const double> in, std::span<double> out, int num_threads) {
    pipeline(num_threads, [&](auto par) { par(in) | tenfold::map([](double x) { return x * 2.0; }) | tenfold::into(out); });
}

inline auto above_100(std::span<const double> in, int num_threads) {
    return pipeline(num_threads, [&](auto par) {
        return par(in) | tenfold::filter([](double x) { return x > 100.0; }) | tenfold::collect();
    });
}

inline void scan(std::span<const double> in, std::span<double> out, int num_threads) {
    pipeline(num_threads, [&](auto par) { par(in) | tenfold::inclusive_scan_into(out, std::plus<>()); });
}

/// How many windows there are; `size` is unknown while the data has not been read.
inline std::size_t windows_of(int64_t window, std::size_t size) {
    if (window < 1 || static_cast<std::size_t>(window) > size)
        throw py::value_error("Invalid window size: " + std::to_string(window) + " of " + std::to_string(size) + " numbers");
    return size - static_cast<std::size_t>(window) + 1;
}
inline void check_window(int64_t window) {
    if (window < 1) throw py::value_error("Invalid window size: window must be at least 1, not " + std::to_string(window));
}

inline void moving_average(std::span<const double> in, int64_t window, std::span<double> out, int num_threads) {
    released([&](auto stop) {
        tenfold::moving_average(in, static_cast<std::size_t>(window), out, tenfold::openmp_executor{num_threads}, stop);
    });
}

inline void transpose(std::span<const double> in, std::size_t rows, std::size_t cols, std::span<double> out, int num_threads) {
    released([&](auto stop) { tenfold::transpose(in, rows, cols, out, tenfold::openmp_executor{num_threads}, stop); });
}

inline void chain(std::span<const int64_t> a, std::span<const int64_t> b, std::span<int64_t> out, int num_threads) {
    pipeline(num_threads, [&](auto par) { par(a) | tenfold::chain(b) | tenfold::into(out); });
}

inline void bind_maps(py::module_& m) {
    const auto none = py::none();

    // Arrays come first in each pair: asking whether something is a buffer is cheap.
    m.def(
        "parallel_map_with_error",
        [](const float_array& numbers, real<"divisor"> divisor, threads num_threads, const float_out& out) {
            check_divisor(divisor);
            const auto in = numbers.span();
            auto result = out.or_new(in.size());
            check_same_or_apart(in, result.values, "numbers");
            divide(in, result.values, divisor, num_threads);
            return result.array;
        },
        "numbers"_a, "divisor"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, R"(
Each number divided by `divisor`, in order.

Parameters
----------
numbers : sequence of float, or 1-D float64 array
    An array is read where it is; a list is copied into C++ memory first.
divisor : float
num_threads : int, optional
    1 to 1024; all usable cores (affinity and cgroup limits respected) when None.
out : 1-D float64 array, optional
    With an array: filled and returned; it may be `numbers` itself.

Returns
-------
list of float, or array
    A list for a sequence, an array for an array.

Raises
------
ValueError
    "Division by zero", before anything is read or written.
)");
    m.def(
        "parallel_map_with_error",
        [](const floats& numbers, real<"divisor"> divisor, threads num_threads, const py::object& out) {
            check_no_out(out, "numbers");
            check_divisor(divisor);
            auto values = numbers.read();
            divide(values.span(), values.span(), divisor, num_threads);
            return to_list(values);
        },
        "numbers"_a, "divisor"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none);

    m.def(
        "parallel_zip_add",
        [](const array_of<double, "a">& a, const array_of<double, "b", "a">& b, threads num_threads, const float_out& out) {
            const auto left = a.span(), right = b.span();
            check_lengths(left.size(), right.size());
            auto result = out.or_new(left.size());
            check_same_or_apart(left, result.values, "a");
            check_same_or_apart(right, result.values, "b");
            zip_add(left, right, result.values, num_threads);
            return result.array;
        },
        "a"_a, "b"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, R"(
``a[i] + b[i]`` for each i.

Parameters
----------
a, b : sequences of float, or 1-D float64 arrays
    Both lists or both arrays, of one length.
num_threads : int, optional
    1 to 1024; all usable cores when None.
out : 1-D float64 array, optional
    With arrays: filled and returned; it may be `a` or `b` itself.

Returns
-------
list of float, or array

Raises
------
ValueError
    "Vectors must have same length"
)");
    m.def(
        "parallel_zip_add",
        [](const list_of<double, "a">& a, const list_of<double, "b", "a">& b, threads num_threads, const py::object& out) {
            check_no_out(out, "a");
            auto left = a.read();
            const auto right = b.read();
            check_lengths(left.size(), right.size());
            zip_add(left.span(), right.span(), left.span(), num_threads);
            return to_list(left);
        },
        "a"_a, "b"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none);

    m.def(
        "parallel_expression",
        [](const array_of<double, "a">& a, const array_of<double, "b", "a">& b, const array_of<double, "c", "a">& c,
           threads num_threads, const float_out& out) {
            const auto x = a.span(), y = b.span(), z = c.span();
            check_lengths(x.size(), y.size());
            check_lengths(x.size(), z.size());
            auto result = out.or_new(x.size());
            check_same_or_apart(x, result.values, "a");
            check_same_or_apart(y, result.values, "b");
            check_same_or_apart(z, result.values, "c");
            expression(x, y, z, result.values, num_threads);
            return result.array;
        },
        "a"_a, "b"_a, "c"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, R"(
``a * b + c * 2 - 1``, element by element, in one pass: NumPy makes three arrays on the way to the result.

Parameters
----------
a, b, c : sequences of float, or 1-D float64 arrays
    All lists or all arrays, of one length.
num_threads : int, optional
    1 to 1024; all usable cores when None.
out : 1-D float64 array, optional
    With arrays: filled and returned; it may be one of the three.

Returns
-------
list of float, or array
    The same bits as NumPy's.

Raises
------
ValueError
    "Vectors must have same length"
)");
    m.def(
        "parallel_expression",
        [](const list_of<double, "a">& a, const list_of<double, "b", "a">& b, const list_of<double, "c", "a">& c,
           threads num_threads, const py::object& out) {
            check_no_out(out, "a");
            auto x = a.read();
            const auto y = b.read(), z = c.read();
            check_lengths(x.size(), y.size());
            check_lengths(x.size(), z.size());
            expression(x.span(), y.span(), z.span(), x.span(), num_threads);
            return to_list(x);
        },
        "a"_a, "b"_a, "c"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none);

    m.def(
        "parallel_process_with_log",
        [](const float_array& numbers, threads num_threads, const float_out& out, bool return_log) -> py::object {
            const auto in = numbers.span();
            auto result = out.or_new(in.size());
            check_same_or_apart(in, result.values, "numbers");
            if (!return_log) {
                twice(in, result.values, num_threads);
                return result.array;
            }
            py::object log = to_array(above_100(in, num_threads));  // first: out may be numbers
            twice(in, result.values, num_threads);
            return py::make_tuple(result.array, log);
        },
        "numbers"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, "return_log"_a = false, R"(
Each number times two, in order; on request also a log of the large ones.

Parameters
----------
numbers : sequence of float, or 1-D float64 array
num_threads : int, optional
    1 to 1024; all usable cores when None.
out : 1-D float64 array, optional
    With an array: filled and returned; it may be `numbers` itself.
return_log : bool
    Whether to return the log too.

Returns
-------
list of float, or array; with `return_log` a tuple of two
    The numbers times two; the numbers (as given, not doubled) that are greater than 100, in order.
)");
    m.def(
        "parallel_process_with_log",
        [](const floats& numbers, threads num_threads, const py::object& out, bool return_log) -> py::object {
            check_no_out(out, "numbers");
            auto values = numbers.read();
            py::object log;
            if (return_log) log = to_list(above_100(values.span(), num_threads));
            twice(values.span(), values.span(), num_threads);
            py::object result = to_list(values);
            return return_log ? py::object(py::make_tuple(result, log)) : result;
        },
        "numbers"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, "return_log"_a = false);

    m.def(
        "parallel_scan",
        [](const float_array& numbers, threads num_threads, const float_out& out) {
            const auto in = numbers.span();
            auto result = out.or_new(in.size());
            check_same_or_apart(in, result.values, "numbers");
            scan(in, result.values, num_threads);
            return result.array;
        },
        "numbers"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, R"(
Running sums: entry i is the sum of ``numbers[0]`` to ``numbers[i]``.

Parameters
----------
numbers : sequence of float, or 1-D float64 array
num_threads : int, optional
    1 to 1024; all usable cores when None. It never changes the result's bits.
out : 1-D float64 array, optional
    With an array: filled and returned; it may be `numbers` itself.

Returns
-------
list of float, or array
    Equal to ``itertools.accumulate`` and ``numpy.cumsum`` up to rounding: blocks are scanned alone, then get the sum of those
    before them added.

Notes
-----
Blelloch, "Prefix sums and their applications" (1990); one pass, as in Merrill and Garland, "Single-pass parallel prefix scan"
(2016). Blocks have one size whatever the number of threads.
)");
    m.def(
        "parallel_scan",
        [](const floats& numbers, threads num_threads, const py::object& out) {
            check_no_out(out, "numbers");
            auto values = numbers.read();
            scan(values.span(), values.span(), num_threads);
            return to_list(values);
        },
        "numbers"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none);

    m.def(
        "parallel_moving_average",
        [](const float_array& numbers, whole<"window"> window, threads num_threads) {
            check_window(window);
            const auto in = numbers.span();
            auto result = new_array<double>(windows_of(window, in.size()));
            moving_average(in, window, result.values, num_threads);
            return result.array;
        },
        "numbers"_a, "window"_a, py::kw_only(), "num_threads"_a = none, R"(
Mean of each run of `window` neighbours.

Parameters
----------
numbers : sequence of float, or 1-D float64 array
window : int
    1 to the length of `numbers`.
num_threads : int, optional
    1 to 1024; all usable cores when None. It never changes the result's bits.

Returns
-------
list of float, or array
    ``len(numbers) - window + 1`` means. A NaN makes the windows that hold it NaN and no other.

Raises
------
ValueError
    "Invalid window size"

Notes
-----
Time does not grow with `window`, and nothing is subtracted, so no rounding is carried along: a window is the end of one block
and the beginning of the next, and the sums of both are at hand (after van Herk, "A fast algorithm for local minimum and
maximum filters", 1992).
)");
    m.def(
        "parallel_moving_average",
        [](const floats& numbers, whole<"window"> window, threads num_threads) {
            check_window(window);
            const auto in = numbers.read();
            tenfold::boundary::numbers<double> result;
            result.resize(windows_of(window, in.size()));
            moving_average(in.span(), window, result.span(), num_threads);
            return to_list(result);
        },
        "numbers"_a, "window"_a, py::kw_only(), "num_threads"_a = none);

    m.def(
        "parallel_matrix_transpose",
        [](const matrix_of<double, "matrix">& matrix, threads num_threads, const out_matrix_of<double, "out">& out) {
            const auto in = matrix.span();
            auto result = out.or_new(matrix.cols(), matrix.rows());
            check_apart(in, result.values, "matrix");
            transpose(in, matrix.rows(), matrix.cols(), result.values, num_threads);
            return result.array;
        },
        "matrix"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, R"(
Rows become columns.

Parameters
----------
matrix : sequence of sequences of float, or 2-D row-major float64 array
num_threads : int, optional
    1 to 1024; all usable cores when None.
out : 2-D float64 array, columns x rows, optional
    With an array: filled and returned; apart from `matrix`.

Returns
-------
list of list of float, or array
    Row-major memory of its own, unlike ``matrix.T``. An empty list for an empty list, and for rows without items.

Raises
------
ValueError
    A ragged row, named.
)");
    m.def(
        "parallel_matrix_transpose",
        [](const rows_of<double, "matrix">& matrix, threads num_threads, const py::object& out) {
            check_no_out(out, "matrix");
            const auto in = matrix.matrix();
            tenfold::boundary::numbers<double> result;
            result.resize(in.rows * in.cols);
            transpose(in.span(), in.rows, in.cols, result.span(), num_threads);
            return to_lists(result.span(), in.cols, in.rows);
        },
        "matrix"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none);

    m.def(
        "parallel_chain",
        [](const array_of<int64_t, "a">& a, const array_of<int64_t, "b", "a">& b, threads num_threads,
           const out_of<int64_t, "out">& out) {
            const auto left = a.span(), right = b.span();
            auto result = out.or_new(left.size() + right.size());
            check_apart(left, result.values, "a");
            check_apart(right, result.values, "b");
            chain(left, right, result.values, num_threads);
            return result.array;
        },
        "a"_a, "b"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, R"(
The ints of `a`, then those of `b`.

Parameters
----------
a, b : sequences of int, or 1-D int64 arrays
    Both lists or both arrays.
num_threads : int, optional
    1 to 1024; all usable cores when None.
out : 1-D int64 array, optional
    With arrays: filled and returned; apart from both.

Returns
-------
list of int, or array
)");
    m.def(
        "parallel_chain",
        [](const list_of<int64_t, "a">& a, const list_of<int64_t, "b", "a">& b, threads num_threads, const py::object& out) {
            check_no_out(out, "a");
            const auto left = a.read(), right = b.read();
            numbers<int64_t> result;
            result.resize(left.size() + right.size());
            chain(left.span(), right.span(), result.span(), num_threads);
            return to_list(result);
        },
        "a"_a, "b"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none);
}

}  // namespace bind
