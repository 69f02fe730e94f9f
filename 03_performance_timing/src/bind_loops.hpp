// bind_loops.hpp - the thirteen loops, each for lists and for arrays: read, give the GIL back, compute, return. Part of bindings.cpp.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "boundary.hpp"
#include "tenfold/loops.hpp"

namespace loops {

namespace py = pybind11;
using namespace py::literals;
using namespace tenfold::boundary;

using values = std::span<const double>;

/// out=: the input itself or memory apart from it.
inline void refuse_partial_overlap(values in, std::span<double> out) {
    if (overlaps(in, std::span<const double>(out)) && !same_memory(in, std::span<const double>(out)))
        throw py::value_error("out overlaps the input without being the same array; pass another array");
}

/// numbers -> as many numbers: loop(in, out, stop).
template <name Arg, class Loop>
void bind_map(py::module_& m, const char* function, Loop loop, const std::string& doc) {
    const std::string full = doc + R"(

Parameters
----------
)" + Arg.text + R"( : list of float or float64 array, shape (n,)
out : float64 array, shape (n,), optional
    With arrays only: filled and returned; may be the input.

Returns
-------
list of float or float64 array, shape (n,)
)";
    m.def(
        function,
        [loop](const list_of<double, Arg>& list) {
            auto numbers = list.read();
            released([&](auto stop) { loop(values(numbers.span()), numbers.span(), stop); });
            return to_list(numbers);
        },
        py::arg(Arg.text), full.c_str());
    m.def(
        function,
        [loop](const array_of<double, Arg>& array, const out_of<double, "out">& out) {
            const values in = array.span();
            auto [object, memory] = out.or_new(in.size());
            refuse_partial_overlap(in, memory);
            released([&, to = memory](auto stop) { loop(in, to, stop); });
            return object;
        },
        py::arg(Arg.text), py::kw_only(), "out"_a = py::none(), full.c_str());
}

/// two vectors -> one number: loop(a, b, stop).
template <class Loop>
void bind_pair(py::module_& m, const char* function, Loop loop, const std::string& doc) {
    const std::string full = doc + R"(

Parameters
----------
a, b : list of float or float64 array, shape (n,)
    Both lists or both arrays.

Returns
-------
float

Raises
------
ValueError
    The lengths differ.
)";
    m.def(
        function,
        [loop](const list_of<double, "a">& a, const list_of<double, "b", "a">& b) {
            const auto x = a.read(), y = b.read();
            return released([&](auto stop) { return loop(x.span(), y.span(), stop); });
        },
        "a"_a, "b"_a, full.c_str());
    m.def(
        function,
        [loop](const array_of<double, "a">& a, const array_of<double, "b", "a">& b) {
            const values x = a.span(), y = b.span();
            return released([&](auto stop) { return loop(x, y, stop); });
        },
        "a"_a, "b"_a, full.c_str());
}

inline py::dict to_dict(const std::vector<std::pair<tenfold::token_pair, std::int64_t>>& counts) {
    py::dict result;
    for (const auto& [pair, number] : counts) result[py::make_tuple(pair.first, pair.second)] = py::int_(number);
    return result;
}

inline void check_merges(std::size_t rows, std::size_t cols) {
    if (rows != 0 && cols != 2)
        throw py::value_error("merges must hold pairs (left, right), not rows of " + std::to_string(cols));
}

inline void check_new(std::int64_t first_new, std::size_t merges) {
    if (merges != 0 && first_new > std::numeric_limits<std::int64_t>::max() - static_cast<std::int64_t>(merges - 1))
        throw std::overflow_error("first_new + len(merges) - 1 does not fit int64");
}

inline void bind(py::module_& m) {
    bind_pair(
        m, "euclidean", [](values a, values b, auto& stop) { return tenfold::euclidean(a, b, stop); },
        "Euclidean distance of two points: the root of the sum of ``(a[i] - b[i]) ** 2``, added in order.");
    bind_pair(
        m, "dot_product", [](values a, values b, auto& stop) { return tenfold::dot_product(a, b, stop); },
        "Sum of ``a[i] * b[i]``, added in order.");
    bind_map<"pixels">(
        m, "normalize_pixels", [](values in, std::span<double> out, auto& stop) { tenfold::normalize_pixels(in, out, stop); },
        "Each pixel divided by 255.");
    bind_map<"numbers">(
        m, "running_mean", [](values in, std::span<double> out, auto& stop) { tenfold::running_mean(in, out, stop); },
        "Mean of the numbers so far: ``sum(numbers[:i + 1]) / (i + 1)``, added in order.");
    bind_map<"numbers">(
        m, "standard_scale", [](values in, std::span<double> out, auto& stop) { tenfold::standard_scale(in, out, stop); },
        "Numbers scaled to mean 0 and population standard deviation 1; without deviation they only lose their mean.");
    bind_map<"numbers">(
        m, "min_max_scale", [](values in, std::span<double> out, auto& stop) { tenfold::min_max_scale(in, out, stop); },
        "Numbers scaled to 0..1; equal numbers become 0, one NaN makes all NaN.");
    bind_map<"numbers">(
        m, "l2_normalize", [](values in, std::span<double> out, auto& stop) { tenfold::l2_normalize(in, out, stop); },
        "Numbers divided by their Euclidean length; a zero vector stays.");
    bind_map<"numbers">(
        m, "cumsum", [](values in, std::span<double> out, auto& stop) { tenfold::cumsum(in, out, stop); },
        "Sums of the numbers so far, added in order.");

    const char* const diff_doc = R"(
Differences of neighbours, ``numbers[i + 1] - numbers[i]``.

Parameters
----------
numbers : list of float or float64 array, shape (n,)

Returns
-------
list of float or float64 array, shape (max(n - 1, 0),)
)";
    const auto diff_into = [](values in, std::span<double> out) { released([&](auto stop) { tenfold::diff(in, out, stop); }); };
    const auto shorter = [](std::size_t n) { return n == 0 ? n : n - 1; };
    m.def(
        "diff",
        [=](const list_of<double, "numbers">& list) {
            const auto in = list.read();
            numbers<double> out;
            out.resize(shorter(in.size()));
            diff_into(in.span(), out.span());
            return to_list(out);
        },
        "numbers"_a, diff_doc);
    m.def(
        "diff",
        [=](const array_of<double, "numbers">& array) {
            auto [object, out] = new_array<double>(shorter(array.size()));
            diff_into(array.span(), out);
            return object;
        },
        "numbers"_a, diff_doc);

    const char* const average_doc = R"(
Mean of each window of `window` numbers, each summed from its first number to its last: no drift, no spreading NaN.

Parameters
----------
numbers : list of float or float64 array, shape (n,)
window : int
    1 to n.

Returns
-------
list of float or float64 array, shape (n - window + 1,)

Notes
-----
O(n * window) additions, several windows at once.
)";
    const auto average_into = [](values in, std::int64_t window, std::span<double> out) {
        released([&](auto stop) { tenfold::moving_average(in, static_cast<std::size_t>(window), out, stop); });
    };
    const auto windows = [](std::size_t n, std::int64_t window) {
        return tenfold::windows(n, static_cast<std::size_t>(window), "window", "numbers");
    };
    m.def(
        "moving_average",
        [=](const list_of<double, "numbers">& list, count<"window"> window) {
            const auto in = list.read();
            numbers<double> out;
            out.resize(windows(in.size(), window));
            average_into(in.span(), window, out.span());
            return to_list(out);
        },
        "numbers"_a, "window"_a, average_doc);
    m.def(
        "moving_average",
        [=](const array_of<double, "numbers">& array, count<"window"> window) {
            auto [object, out] = new_array<double>(windows(array.size(), window));
            average_into(array.span(), window, out);
            return object;
        },
        "numbers"_a, "window"_a, average_doc);

    const char* const convolve_doc = R"(
Convolution where the kernel lies wholly inside the signal, as ``numpy.convolve(signal, kernel, "valid")``, added in order.

Parameters
----------
signal : list of float or float64 array, shape (n,)
kernel : list of float or float64 array, shape (k,)
    1 <= k <= n.

Returns
-------
list of float or float64 array, shape (n - k + 1,)
)";
    const auto convolve_into = [](values signal, values kernel, std::span<double> out) {
        released([&](auto stop) { tenfold::convolve1d(signal, kernel, out, stop); });
    };
    const auto positions = [](values signal, values kernel) {
        return tenfold::windows(signal.size(), kernel.size(), "the length of kernel", "signal");
    };
    m.def(
        "convolve1d",
        [=](const list_of<double, "signal">& list, const list_of<double, "kernel", "signal">& weights) {
            const auto signal = list.read(), kernel = weights.read();
            numbers<double> out;
            out.resize(positions(signal.span(), kernel.span()));
            convolve_into(signal.span(), kernel.span(), out.span());
            return to_list(out);
        },
        "signal"_a, "kernel"_a, convolve_doc);
    m.def(
        "convolve1d",
        [=](const array_of<double, "signal">& array, const array_of<double, "kernel", "signal">& weights) {
            auto [object, out] = new_array<double>(positions(array.span(), weights.span()));
            convolve_into(array.span(), weights.span(), out);
            return object;
        },
        "signal"_a, "kernel"_a, convolve_doc);

    const char* const pairs_doc = R"(
How often each pair of neighbours occurs: the counting step of byte pair encoding (P. Gage, 1994).

Parameters
----------
tokens : list of int or int64 array, shape (n,)

Returns
-------
dict
    ``{(left, right): count}`` in the order of first appearance.
)";
    const auto count_pairs = [](tenfold::tokens ids) {
        return to_dict(released([&](auto stop) { return tenfold::count_pairs(ids, stop); }));
    };
    m.def(
        "count_pairs", [=](const list_of<std::int64_t, "tokens">& list) { return count_pairs(list.read().span()); }, "tokens"_a,
        pairs_doc);
    m.def(
        "count_pairs", [=](const array_of<std::int64_t, "tokens">& array) { return count_pairs(array.span()); }, "tokens"_a,
        pairs_doc);

    const char* const bpe_doc = R"(
Applies merges in order: merge number m replaces each of its pairs, left to right, by the token ``first_new + m``.

Parameters
----------
tokens : list of int or int64 array, shape (n,)
merges : list of pairs of int, or int64 array, shape (m, 2)
first_new : int
    Token of the first merge.

Returns
-------
list of int or int64 array
)";
    const auto encode = [](std::span<std::int64_t> ids, tenfold::tokens merges, std::int64_t first_new) {
        check_new(first_new, merges.size() / 2);
        return released([&](auto stop) { return tenfold::bpe_encode(ids, merges, first_new, stop); });
    };
    m.def(
        "bpe_encode",
        [=](const list_of<std::int64_t, "tokens">& list, const rows_of<std::int64_t, "merges", "tokens">& pairs,
            whole<"first_new"> first_new) {
            auto ids = list.read();
            const auto merges = pairs.matrix();
            check_merges(merges.rows, merges.cols);
            return to_list(ids.span().first(encode(ids.span(), merges.span(), first_new)));
        },
        "tokens"_a, "merges"_a, py::kw_only(), "first_new"_a = 256, bpe_doc);
    m.def(
        "bpe_encode",
        [=](const array_of<std::int64_t, "tokens">& array, const matrix_of<std::int64_t, "merges", "tokens">& merges,
            whole<"first_new"> first_new) {
            check_merges(merges.rows(), merges.cols());
            numbers<std::int64_t> ids;
            ids.assign(array.span().begin(), array.span().end());
            const std::size_t size = encode(ids.span(), merges.span(), first_new);
            auto [object, out] = new_array<std::int64_t>(size);
            std::copy_n(ids.begin(), size, out.begin());
            return object;
        },
        "tokens"_a, "merges"_a, py::kw_only(), "first_new"_a = 256, bpe_doc);

    // For the bench: what crossing alone costs.
    m.def(
        "_copy_floats",
        [](const list_of<double, "values">& list, bool back) -> py::object {
            const auto in = list.read();
            return back ? py::object(to_list(in)) : py::none();
        },
        "values"_a, "back"_a, "A list to memory, and back to a new list.");
    m.def(
        "_copy_ints",
        [](const list_of<std::int64_t, "values">& list, bool back) -> py::object {
            const auto in = list.read();
            return back ? py::object(to_list(in)) : py::none();
        },
        "values"_a, "back"_a, "A list to memory, and back to a new list.");
}

}  // namespace loops
