// bind_selections.hpp: how many come out is known only when all have been looked at. So the pipeline collects them in memory of
// its own, and an array that is returned takes that memory over.
#pragma once

#ifdef __unix__
#include <unistd.h>
#endif

#include <charconv>
#include <cstring>
#include <vector>

#include "bind_common.hpp"

namespace bind {

// ---- filter_map, partition, group_by

inline auto even_squares(std::span<const int64_t> in, int num_threads) {
    try {
        return pipeline(num_threads, [&](auto par) {
            return par(in) | tenfold::filter([](int64_t x) { return x % 2 == 0; }) |
                   tenfold::map([](int64_t x) { return tenfold::checked_square(x); }) | tenfold::collect();
        });
    } catch (const tenfold::par_error& error) {
        throw std::overflow_error("numbers[" + std::to_string(error.index()) + "] squared does not fit int64: it is " +
                                  std::to_string(in[error.index()]));
    }
}

inline auto split(std::span<const int64_t> in, int64_t threshold, int num_threads) {
    return pipeline(num_threads, [&](auto par) {
        auto parts = par(in) | tenfold::partition([=](int64_t x) { return x < threshold; });
        return std::pair(parts.yes.to_items(), parts.no.to_items());
    });
}

/// A group is a list or an array of Python's: so many would fill the memory before the numbers do.
using modulo_argument = count<"modulo", 10'000'000>;

/// Where each group begins in `out`, which gets them one after the other.
inline auto group(std::span<const int64_t> in, int64_t modulo, std::span<int64_t> out, int num_threads) {
    const auto key = [=](int64_t x) { return tenfold::floor_mod(x, modulo); };
    return pipeline(num_threads,
                    [&](auto par) { return par(in) | tenfold::group_by_into(static_cast<std::size_t>(modulo), key, out); });
}

/// A list of one Python object for each group; making ten million of them takes seconds, so Ctrl-C is looked for.
template <class Item>
auto list_of_groups(const std::vector<std::size_t>& offsets, auto&& make) {
    return detail::make_list<Item>(offsets.size() - 1, [&](std::size_t k) {
        if (k % 65536 == 65535 && PyErr_CheckSignals() != 0) throw py::error_already_set();
        return make(offsets[k], offsets[k + 1] - offsets[k]).release().ptr();
    });
}

// ---- flat_map

using int_range = tenfold::interval<int64_t>;

/// The ranges of `pairs` (start, end, start, end, ...), if what they hold fits this machine's memory.
inline std::vector<int_range> ranges_of(std::span<const int64_t> pairs, std::size_t bytes_per_int) {
    std::vector<int_range> ranges;
    ranges.reserve(pairs.size() / 2);
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
        const int64_t start = pairs[i], end = pairs[i + 1];
        const auto size = start < end ? static_cast<std::uint64_t>(end) - static_cast<std::uint64_t>(start) : 0;
        total = size > UINT64_MAX - total ? UINT64_MAX : total + size;
        ranges.emplace_back(start, end);
    }
    double memory = 1e18;
#ifdef __unix__
    memory = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
#endif
    const double wanted = static_cast<double>(total) * static_cast<double>(bytes_per_int);
    if (wanted > memory) {
        const auto gigabytes = [](double bytes) { return std::to_string(static_cast<std::uint64_t>(bytes / 1e9)) + " GB"; };
        const std::string text = "ranges hold " + std::to_string(total) + " ints, which need " + gigabytes(wanted) +
                                 " of this machine's " + gigabytes(memory) + "; take them in parts";
        PyErr_SetString(PyExc_MemoryError, text.c_str());
        throw py::error_already_set();
    }
    return ranges;
}

inline void expand(const std::vector<int_range>& ranges, std::span<int64_t> out, int num_threads) {
    pipeline(num_threads, [&](auto par) { par(tenfold::joined(ranges)) | tenfold::into(out); });
}

inline std::size_t total_of(const std::vector<int_range>& ranges) {
    std::size_t total = 0;
    for (const int_range& range : ranges) total += static_cast<std::size_t>(range.size());
    return total;
}

// ---- strings

/// An int64 in decimal digits: "-9223372036854775808" is the longest.
struct decimal {
    char text[20];
    unsigned char size;
};

inline decimal to_decimal(int64_t value) noexcept {
    decimal out;
    out.size = static_cast<unsigned char>(std::to_chars(out.text, out.text + sizeof out.text, value).ptr - out.text);
    return out;
}

/// The digits are made by all threads, the str objects by this one.
inline auto strings(std::span<const int64_t> in, int num_threads) {
    const auto digits =
        pipeline(num_threads, [&](auto par) { return par(in) | tenfold::map(to_decimal) | tenfold::collect(); });
    return detail::make_list<py::str>(digits.size(), [&](std::size_t i) {
        const decimal& number = digits.data()[i];
        PyObject* const string = PyUnicode_New(number.size, 127);
        if (string != nullptr) std::memcpy(PyUnicode_1BYTE_DATA(string), number.text, number.size);
        return string;
    });
}

inline void bind_selections(py::module_& m) {
    const auto none = py::none();

    m.def(
        "parallel_filter_map",
        [](const int_array& numbers, threads num_threads) { return to_array(even_squares(numbers.span(), num_threads)); },
        "numbers"_a, py::kw_only(), "num_threads"_a = none, R"(
The squares of the even ints, in order.

Parameters
----------
numbers : sequence of int, or 1-D int64 array
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
list of int, or array

Raises
------
OverflowError
    A square does not fit int64: the first such int is named.
)");
    m.def(
        "parallel_filter_map",
        [](const ints& numbers, threads num_threads) {
            const auto values = numbers.read();
            return to_list(even_squares(values.span(), num_threads));
        },
        "numbers"_a, py::kw_only(), "num_threads"_a = none);

    m.def(
        "parallel_partition",
        [](const int_array& numbers, whole<"threshold"> threshold, threads num_threads) {
            auto [below, others] = split(numbers.span(), threshold, num_threads);
            return std::pair(to_array(std::move(below)), to_array(std::move(others)));
        },
        "numbers"_a, "threshold"_a, py::kw_only(), "num_threads"_a = none, R"(
The ints below `threshold`, and the others.

Parameters
----------
numbers : sequence of int, or 1-D int64 array
threshold : int
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
below, at_or_above : lists of int, or arrays
    Both in order.
)");
    m.def(
        "parallel_partition",
        [](const ints& numbers, whole<"threshold"> threshold, threads num_threads) {
            const auto values = numbers.read();
            const auto [below, others] = split(values.span(), threshold, num_threads);
            return std::pair(to_list(below), to_list(others));
        },
        "numbers"_a, "threshold"_a, py::kw_only(), "num_threads"_a = none);

    m.def(
        "parallel_group_by_modulo",
        [](const int_array& numbers, modulo_argument modulo, threads num_threads) {
            const auto in = numbers.span();
            auto all = new_array<int64_t>(in.size());
            const auto offsets = group(in, modulo, all.values, num_threads);
            return list_of_groups<array_object<int64_t>>(offsets, [&](std::size_t begin, std::size_t size) {
                return py::array_t<int64_t>(static_cast<py::ssize_t>(size), all.values.data() + begin, all.array);
            });
        },
        "numbers"_a, "modulo"_a, py::kw_only(), "num_threads"_a = none, R"(
The ints by their remainder: group k holds those with ``x % modulo == k``, in order. Python's ``%``: a negative int lands in
0 .. modulo - 1 as well.

Parameters
----------
numbers : sequence of int, or 1-D int64 array
modulo : int
    1 to 10,000,000: there is a list or an array for each remainder.
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
list of `modulo` lists of int, or of arrays
    The arrays are parts of one array that holds them one after the other.
)");
    m.def(
        "parallel_group_by_modulo",
        [](const ints& numbers, modulo_argument modulo, threads num_threads) {
            const auto in = numbers.read();
            tenfold::boundary::numbers<int64_t> all;
            all.resize(in.size());
            const auto offsets = group(in.span(), modulo, all.span(), num_threads);
            return list_of_groups<py::typing::List<int64_t>>(
                offsets, [&](std::size_t begin, std::size_t size) { return to_list(all.span().subspan(begin, size)); });
        },
        "numbers"_a, "modulo"_a, py::kw_only(), "num_threads"_a = none);

    m.def(
        "parallel_flat_map",
        [](const matrix_of<int64_t, "ranges">& ranges, threads num_threads) {
            const auto pairs = ranges.span();
            if (ranges.cols() != 2)
                throw py::value_error("ranges must have shape (n, 2), not (" + std::to_string(ranges.rows()) + ", " +
                                      std::to_string(ranges.cols()) + ")");
            const auto all = ranges_of(pairs, sizeof(int64_t));
            auto result = new_array<int64_t>(total_of(all));
            expand(all, result.values, num_threads);
            return result.array;
        },
        "ranges"_a, py::kw_only(), "num_threads"_a = none, R"(
The ints of each range, one after the other: ``[i for start, end in ranges for i in range(start, end)]``.

Parameters
----------
ranges : sequence of pairs of int, or int64 array of shape (n, 2)
    Start and end of each; the end does not belong to it. Nothing comes from a range with start >= end.
num_threads : int, optional
    1 to 1024; all usable cores when None. They share the ints, not the ranges: one long range keeps all of them busy.

Returns
-------
list of int, or array

Raises
------
MemoryError
    The ranges hold more than this machine's memory does; told before anything is allocated.
)");
    m.def(
        "parallel_flat_map",
        [](const rows_of<int64_t, "ranges">& ranges, threads num_threads) {
            const auto rows = ranges.read();
            for (std::size_t i = 0; i < rows.size(); ++i)
                if (rows[i].size() != 2)
                    throw py::value_error("ranges[" + std::to_string(i) + "] must have two items, start and end, not " +
                                          std::to_string(rows[i].size()));
            const auto all = ranges_of(rows.values.span(), 6 * sizeof(int64_t));  // an int object and its place in the list
            numbers<int64_t> result;
            result.resize(total_of(all));
            expand(all, result.span(), num_threads);
            return to_list(result);
        },
        "ranges"_a, py::kw_only(), "num_threads"_a = none);

    m.def(
        "parallel_collect_string",
        [](const int_array& numbers, threads num_threads) { return strings(numbers.span(), num_threads); }, "numbers"_a,
        py::kw_only(), "num_threads"_a = none, R"(
``[str(x) for x in numbers]``.

Parameters
----------
numbers : sequence of int, or 1-D int64 array
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
list of str
    A list for arrays too.
)");
    m.def(
        "parallel_collect_string",
        [](const ints& numbers, threads num_threads) {
            const auto values = numbers.read();
            return strings(values.span(), num_threads);
        },
        "numbers"_a, py::kw_only(), "num_threads"_a = none);
}

}  // namespace bind
