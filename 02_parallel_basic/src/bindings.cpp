// bindings.cpp - the module parallel_basic: a list and an array overload of each call; the GIL is released in between.
// Nothing algorithmic: the loops are in include/tenfold, the conversions in boundary.hpp.
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "boundary.hpp"
#include "tenfold/filter.hpp"
#include "tenfold/mandelbrot.hpp"
#include "tenfold/map.hpp"
#include "tenfold/matrix.hpp"
#include "tenfold/reduce.hpp"
#include "tenfold/sort.hpp"
#include "tenfold/words.hpp"

namespace py = pybind11;
using namespace py::literals;
using namespace tenfold::boundary;
using std::int64_t;

namespace {

using floats = list_of<double, "numbers">;
using ints = list_of<int64_t, "numbers">;
using float_array = array_of<double, "numbers">;
using int_array = array_of<int64_t, "numbers">;
using float_out = out_of<double, "out">;

constexpr int64_t most_pixels = 100'000'000;

/// A str argument; anything else is a TypeError that names it.
template <name Arg>
struct word : detail::argument {
    static constexpr auto signature = py::detail::const_name("str");
    std::string value;

    bool load(py::handle source) {
        if (!PyUnicode_Check(source.ptr()))
            throw py::type_error(detail::join(Arg.text, " must be a str, not ", detail::type_of(source)));
        value = source.cast<std::string>();
        return true;
    }
    operator const std::string&() const noexcept { return value; }
};

/// One of a few words, or an error that lists them.
template <class Value>
Value choice(const std::string& given, const char* argument, std::initializer_list<std::pair<std::string_view, Value>> known) {
    std::string names;
    for (const auto& [name, value] : known) {
        if (name == given) return value;
        names += (names.empty() ? "'" : ", '") + std::string(name) + "'";
    }
    throw py::value_error(std::string(argument) + " must be one of " + names + ", not '" + given + "'");
}

tenfold::schedule schedule_named(const std::string& name) {
    using tenfold::schedule;
    return choice<schedule>(name, "schedule",
                            {{"static", schedule::static_}, {"dynamic", schedule::dynamic}, {"guided", schedule::guided}});
}

tenfold::stores stores_named(const std::string& name) {
    using tenfold::stores;
    return choice<stores>(name, "stores",
                          {{"auto", stores::automatic}, {"plain", stores::plain}, {"nontemporal", stores::nontemporal}});
}

/// `out` and `stores` are for arrays; with lists they may be given, but not used.
void check_no_out(const py::object& out, const char* argument) {
    if (!out.is_none()) throw py::type_error(std::string("out needs arrays, but ") + argument + " is none; leave it out");
}

/// For element-wise work `out` may be the input, all of it or nothing.
void check_overlap(std::span<const double> in, std::span<double> out, const char* argument) {
    if (overlaps(in, out) && !same_memory(in, out))
        throw py::value_error(std::string("out overlaps ") + argument + " in part; pass the same array, or one apart from it");
}

// ---- sums, maximum

double sum(std::span<const double> values, int num_threads, const std::string& schedule) {
    const auto how = schedule_named(schedule);
    return released([&](auto stop) { return tenfold::parallel_sum(values, num_threads, stop, how); });
}
double sum_in_sequence(std::span<const double> values) {
    return released([&](auto stop) { return tenfold::sequential_sum(values, stop); });
}
double sum_chunked(std::span<const double> values, std::size_t chunk, int num_threads) {
    return released([&](auto stop) { return tenfold::parallel_sum_chunked(values, chunk, num_threads, stop); });
}
py::object maximum(std::span<const double> values, int num_threads) {
    const auto largest = released([&](auto stop) { return tenfold::parallel_max(values, num_threads, stop); });
    return largest ? py::object(py::float_(*largest)) : py::none();
}

// ---- matrices

struct shape {
    std::size_t m, k, n;
};
shape product_shape(std::size_t a_rows, std::size_t a_cols, std::size_t b_rows, std::size_t b_cols) {
    if (a_rows == 0 || a_cols == 0 || b_cols == 0 || a_cols != b_rows)
        throw py::value_error("Invalid matrix dimensions: a is " + std::to_string(a_rows) + " x " + std::to_string(a_cols) +
                              ", b is " + std::to_string(b_rows) + " x " + std::to_string(b_cols) +
                              "; a needs as many columns as b has rows, at least one");
    return {a_rows, a_cols, b_cols};
}
void multiply(std::span<const double> a, std::span<const double> b, std::span<double> c, shape s, int num_threads) {
    released([&](auto stop) { tenfold::parallel_matrix_multiply(a, b, c, s.m, s.k, s.n, num_threads, stop); });
}

// ---- words

std::vector<tenfold::text> views(std::span<const text> texts) {
    std::vector<tenfold::text> out;
    out.reserve(texts.size());
    for (const text& t : texts) out.push_back({t.data, t.length, t.kind});
    return out;
}

py::object string_of(const tenfold::word& word) {
    auto string = py::reinterpret_steal<py::object>(
        PyUnicode_FromKindAndData(word.kind, word.data, static_cast<Py_ssize_t>(word.size)));  // narrows by itself
    if (!string) throw py::error_already_set();
    return string;
}

// ---- Mandelbrot

struct picture {
    std::size_t width, height;
    tenfold::region region;
    std::uint32_t max_iter;
    int num_threads;
    tenfold::parallel_options options;
};

void render(const picture& p, std::span<std::uint32_t> out) {
    released([&](auto stop) {
        tenfold::parallel_mandelbrot(p.region, p.width, p.height, p.max_iter, out, p.num_threads, stop, p.options);
    });
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
    tenfold::boundary::begin_module();
    m.doc() = "Lesson 02: OpenMP from Python - map, filter, reduce, sort, matrix product, word count, Mandelbrot.";
    const auto none = py::none();

    // Arrays come first in each pair: asking whether something is a buffer is cheap.
    m.def(
        "parallel_sum",
        [](const float_array& numbers, threads num_threads, const word<"schedule">& schedule) {
            return sum(numbers.span(), num_threads, schedule);
        },
        "numbers"_a, py::kw_only(), "num_threads"_a = none, "schedule"_a = "static", R"(
Sum of floats. The same bits at every thread count, for every `schedule`, and as :func:`sequential_sum`.

Parameters
----------
numbers : sequence of float, or 1-D float64 array
    An array is read where it is; a list is copied into C++ memory first.
num_threads : int, optional
    1 to 1024; all usable cores (affinity and cgroup limits respected) when None.
schedule : {"static", "dynamic", "guided"}
    How OpenMP deals the chunks out.

Returns
-------
float
    0.0 when empty; NaN and infinities as IEEE 754 addition has them.

Notes
-----
Chunks of 4096 are summed in a fixed lane order and combined in index order, so threads only change who adds.
)");
    m.def(
        "parallel_sum",
        [](const floats& numbers, threads num_threads, const word<"schedule">& schedule) {
            return sum(numbers.read().span(), num_threads, schedule);
        },
        "numbers"_a, py::kw_only(), "num_threads"_a = none, "schedule"_a = "static");

    m.def("sequential_sum", [](const float_array& numbers) { return sum_in_sequence(numbers.span()); }, "numbers"_a, R"(
Sum of floats in the calling thread: the same bits as :func:`parallel_sum`.

Parameters
----------
numbers : sequence of float, or 1-D float64 array

Returns
-------
float
)");
    m.def("sequential_sum", [](const floats& numbers) { return sum_in_sequence(numbers.read().span()); }, "numbers"_a);

    m.def(
        "parallel_sum_chunked",
        [](const float_array& numbers, count<"chunk_size"> chunk_size, threads num_threads) {
            return sum_chunked(numbers.span(), chunk_size, num_threads);
        },
        "numbers"_a, "chunk_size"_a, py::kw_only(), "num_threads"_a = none, R"(
Sum of floats by chunks of `chunk_size`: each chunk's sum, then the sums added in index order (those of chunks under
4096 first in groups of ``4096 // chunk_size``).

Parameters
----------
numbers : sequence of float, or 1-D float64 array
chunk_size : int
    At least 1. It is part of the result's definition: another size may round differently.
num_threads : int, optional
    1 to 1024; all usable cores when None. It never changes the result.

Returns
-------
float
)");
    m.def(
        "parallel_sum_chunked",
        [](const floats& numbers, count<"chunk_size"> chunk_size, threads num_threads) {
            return sum_chunked(numbers.read().span(), chunk_size, num_threads);
        },
        "numbers"_a, "chunk_size"_a, py::kw_only(), "num_threads"_a = none);

    m.def(
        "parallel_max", [](const float_array& numbers, threads num_threads) { return maximum(numbers.span(), num_threads); },
        "numbers"_a, py::kw_only(), "num_threads"_a = none, R"(
Largest of floats.

Parameters
----------
numbers : sequence of float, or 1-D float64 array
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
float or None
    None when empty; NaN when any item is NaN, as ``numpy.max``.
)");
    m.def(
        "parallel_max", [](const floats& numbers, threads num_threads) { return maximum(numbers.read().span(), num_threads); },
        "numbers"_a, py::kw_only(), "num_threads"_a = none);

    m.def(
        "parallel_square",
        [](const float_array& numbers, threads num_threads, const float_out& out, const word<"stores">& stores) {
            const auto how = stores_named(stores);
            const auto in = numbers.span();
            auto result = out.or_new(in.size());
            check_overlap(in, result.values, "numbers");
            released([&](auto stop) { tenfold::parallel_square(in, result.values, num_threads, stop, how); });
            return result.array;
        },
        "numbers"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, "stores"_a = "auto", R"(
Square of each float, in order.

Parameters
----------
numbers : sequence of float, or 1-D float64 array
num_threads : int, optional
    1 to 1024; all usable cores when None.
out : 1-D float64 array, optional
    With an array: filled and returned; it may be `numbers` itself.
stores : {"auto", "plain", "nontemporal"}
    With an array: whether results bypass the cache. "auto" does so when they are too large to stay in it.

Returns
-------
list of float, or array
    A list for a sequence, an array for an array.
)");
    m.def(
        "parallel_square",
        [](const floats& numbers, threads num_threads, const py::object& out, const word<"stores">& stores) {
            check_no_out(out, "numbers");
            stores_named(stores);
            auto values = numbers.read();
            released([&](auto stop) { tenfold::parallel_square(values.span(), values.span(), num_threads, stop); });
            return to_list(values);
        },
        "numbers"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, "stores"_a = "auto");

    m.def(
        "parallel_saxpy",
        [](real<"a"> a, const array_of<double, "x">& x, const array_of<double, "y", "x">& y, threads num_threads,
           const float_out& out, const word<"stores">& stores) {
            const auto how = stores_named(stores);
            if (x.span().size() != y.span().size()) throw py::value_error("x and y must have the same length");
            auto result = out.or_new(x.span().size());
            check_overlap(x.span(), result.values, "x");
            check_overlap(y.span(), result.values, "y");
            released([&](auto stop) { tenfold::parallel_saxpy(a, x.span(), y.span(), result.values, num_threads, stop, how); });
            return result.array;
        },
        "a"_a, "x"_a, "y"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, "stores"_a = "auto", R"(
``a * x + y``, element by element.

Parameters
----------
a : float
x, y : sequences of float, or 1-D float64 arrays
    Both lists or both arrays, of one length.
num_threads : int, optional
    1 to 1024; all usable cores when None.
out : 1-D float64 array, optional
    With arrays: filled and returned; it may be `x` or `y` itself.
stores : {"auto", "plain", "nontemporal"}
    With arrays: whether results bypass the cache.

Returns
-------
list of float, or array
)");
    m.def(
        "parallel_saxpy",
        [](real<"a"> a, const list_of<double, "x">& x, const list_of<double, "y", "x">& y, threads num_threads,
           const py::object& out, const word<"stores">& stores) {
            check_no_out(out, "x");
            stores_named(stores);
            const auto in = x.read();
            auto values = y.read();
            if (in.size() != values.size()) throw py::value_error("x and y must have the same length");
            released(
                [&](auto stop) { tenfold::parallel_saxpy(a, in.span(), values.span(), values.span(), num_threads, stop); });
            return to_list(values);
        },
        "a"_a, "x"_a, "y"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, "stores"_a = "auto");

    m.def(
        "parallel_filter_even",
        [](const int_array& numbers, threads num_threads) {
            const auto in = numbers.span();
            const auto kept = released([&](auto stop) { return tenfold::even_offsets(in, num_threads, stop); });
            auto result = new_array<int64_t>(kept.total());
            released([&](auto stop) { tenfold::write_even(in, kept, result.values, num_threads, stop); });
            return result.array;
        },
        "numbers"_a, py::kw_only(), "num_threads"_a = none, R"(
The even ints, in order (negative ones and 0 too).

Parameters
----------
numbers : sequence of int, or 1-D int64 array
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
list of int, or array

Notes
-----
Two passes: each chunk is counted, then written at its place. Vectorised compress, no branch to mispredict.
)");
    m.def(
        "parallel_filter_even",
        [](const ints& numbers, threads num_threads) {
            const auto values = numbers.read();
            tenfold::boundary::numbers<int64_t> kept;
            kept.resize(values.size());
            const std::size_t size = released(
                [&](auto stop) { return tenfold::parallel_filter_even(values.span(), kept.span(), num_threads, stop); });
            return to_list(kept.span().first(size));
        },
        "numbers"_a, py::kw_only(), "num_threads"_a = none);

    m.def(
        "parallel_sort",
        [](const float_array& numbers, threads num_threads, const float_out& out) {
            const auto in = numbers.span();
            auto result = out.or_new(in.size());
            check_overlap(in, result.values, "numbers");
            released([&](auto stop) { tenfold::parallel_sort(in, result.values, num_threads, stop); });
            return result.array;
        },
        "numbers"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, R"(
Floats in ascending order: -0.0 before 0.0, NaN last. The same bits at every thread count.

Parameters
----------
numbers : sequence of float, or 1-D float64 array
    Left alone, unless it is `out`.
num_threads : int, optional
    1 to 1024; all usable cores when None.
out : 1-D float64 array, optional
    With an array: filled and returned; it may be `numbers` itself (sorted in place).

Returns
-------
list of float, or array

Notes
-----
Vectorised partition by a sampled pivot, then Highway's vqsort on the parts: Blacher, Giesen, Sanders, Wassenberg,
"Vectorized and performance-portable Quicksort" (2022).
)");
    m.def(
        "parallel_sort",
        [](const floats& numbers, threads num_threads, const py::object& out) {
            check_no_out(out, "numbers");
            auto values = numbers.read();
            released([&](auto stop) { tenfold::parallel_sort(values.span(), num_threads, stop); });
            return to_list(values);
        },
        "numbers"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none);

    m.def(
        "parallel_word_count",
        [](const texts_of<"documents">& documents, threads num_threads) {
            const auto texts = documents.read();
            std::vector<int64_t> counts(texts.size());
            const auto all = views(texts.span());
            released([&](auto stop) { tenfold::parallel_word_count(all, counts, num_threads, stop); });
            return to_list(counts);
        },
        "documents"_a, py::kw_only(), "num_threads"_a = none, R"(
Number of words of each document, as ``len(document.split())`` counts them: for every str, all of Unicode.

Parameters
----------
documents : sequence of str
    Read where they are, without encoding or copying.
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
list of int
)");

    m.def(
        "parallel_word_frequencies",
        [](const texts_of<"documents">& documents, threads num_threads) {
            const auto texts = documents.read();
            const auto all = views(texts.span());
            const auto found = released([&](auto stop) { return tenfold::parallel_word_frequencies(all, num_threads, stop); });
            py::typing::Dict<py::str, py::int_> frequencies;
            found.for_each([&](const tenfold::word& word) {
                if (PyDict_SetItem(frequencies.ptr(), string_of(word).ptr(), py::int_(word.count).ptr()) != 0)
                    throw py::error_already_set();
            });
            return frequencies;
        },
        "documents"_a, py::kw_only(), "num_threads"_a = none, R"(
How often each word occurs in all documents together.

Parameters
----------
documents : sequence of str
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
dict of str to int
    Equal to ``Counter(word for document in documents for word in document.split())``, in the order in which the
    words first occur.
)");

    m.def(
        "parallel_matrix_multiply",
        [](const matrix_of<double, "a">& a, const matrix_of<double, "b", "a">& b, threads num_threads,
           const out_matrix_of<double, "out">& out) {
            a.span(), b.span();  // the first bad one is named
            const shape s = product_shape(a.rows(), a.cols(), b.rows(), b.cols());
            auto result = out.or_new(s.m, s.n);
            if (overlaps(a.span(), result.values) || overlaps(b.span(), result.values))
                throw py::value_error("out overlaps a or b; pass an array apart from both");
            multiply(a.span(), b.span(), result.values, s, num_threads);
            return result.array;
        },
        "a"_a, "b"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, R"(
Matrix product.

Parameters
----------
a, b : sequences of sequences of float, or 2-D row-major float64 arrays
    Both lists or both arrays; as many columns in `a` as rows in `b`.
num_threads : int, optional
    1 to 1024; all usable cores when None. It never changes the result's bits.
out : 2-D float64 array, optional
    With arrays: filled and returned; apart from `a` and `b`.

Returns
-------
list of list of float, or array

Raises
------
ValueError
    "Invalid matrix dimensions"; or a ragged row, named.

Notes
-----
Packed panels and a register-blocked kernel: Goto and van de Geijn, "Anatomy of High-Performance Matrix
Multiplication" (2008). Fused multiply-add is used where the CPU has it: results equal NumPy's up to rounding.
)");
    m.def(
        "parallel_matrix_multiply",
        [](const rows_of<double, "a">& a, const rows_of<double, "b", "a">& b, threads num_threads, const py::object& out) {
            check_no_out(out, "a");
            const auto left = a.matrix();
            const auto right = b.matrix();
            const shape s = product_shape(left.rows, left.cols, right.rows, right.cols);
            numbers<double> product;
            product.resize(s.m * s.n);
            multiply(left.span(), right.span(), product.span(), s, num_threads);
            return to_lists(product.span(), s.m, s.n);
        },
        "a"_a, "b"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none);

    m.def(
        "parallel_mandelbrot",
        [](count<"width", most_pixels> width, count<"height", most_pixels> height, real<"x_min"> x_min, real<"x_max"> x_max,
           real<"y_min"> y_min, real<"y_max"> y_max, amount<"max_iter", UINT32_MAX> max_iter, threads num_threads,
           const out_matrix_of<std::uint32_t, "out">& out, const word<"schedule">& schedule,
           count<"grain"> grain) -> py::object {
            if (width > most_pixels / height)
                throw py::value_error("width * height must be at most " + std::to_string(most_pixels) + "; render it in parts");
            for (const auto& [value, name] :
                 {std::pair{x_min.value, "x_min"}, {x_max.value, "x_max"}, {y_min.value, "y_min"}, {y_max.value, "y_max"}})
                if (!std::isfinite(value)) throw py::value_error(std::string(name) + " must be finite");
            if (!std::isfinite(x_max - x_min) || !std::isfinite(y_max - y_min))
                throw py::value_error("x_max - x_min and y_max - y_min must be finite");
            const picture p{static_cast<std::size_t>(width),
                            static_cast<std::size_t>(height),
                            {x_min, x_max, y_min, y_max},
                            static_cast<std::uint32_t>(max_iter),
                            num_threads,
                            {.how = schedule_named(schedule), .grain = static_cast<std::size_t>(grain)}};
            if (out.given()) {
                auto result = out.or_new(p.height, p.width);
                render(p, result.values);
                return result.array;
            }
            numbers<std::uint32_t> counts;
            counts.resize(p.width * p.height);
            render(p, counts.span());
            return to_lists(counts.span(), p.height, p.width);
        },
        "width"_a, "height"_a, "x_min"_a, "x_max"_a, "y_min"_a, "y_max"_a, "max_iter"_a, py::kw_only(), "num_threads"_a = none,
        "out"_a = none, "schedule"_a = "dynamic", "grain"_a = 1, R"(
Escape-time picture of the Mandelbrot set.

Parameters
----------
width, height : int
    Pixels, at least 1, at most 10**8 together.
x_min, x_max, y_min, y_max : float
    The region, finite. Pixel (row, column) is c = x_min + (column / width) * (x_max - x_min), and so for y.
max_iter : int
    0 to 2**32 - 1. ``|z|**2 > 4`` is asked before each step.
num_threads : int, optional
    1 to 1024; all usable cores when None.
out : 2-D uint32 array, height x width, optional
    Filled and returned instead of lists.
schedule : {"dynamic", "static", "guided"}
    How OpenMP deals the rows out: their cost differs a hundredfold.
grain : int
    Rows handed out at once by dynamic; the fewest by guided. static ignores it.

Returns
-------
list of list of int, or `out`
    Steps taken, 0 to `max_iter`: exactly those of a plain Python loop.
)");

    m.def("simd_name", [] { return std::string(tenfold::simd_name()); }, R"(
The instruction set that the kernels use on this machine, for reports.

Returns
-------
str
)");
}
