// boundary.hpp: what crosses between Python and C++: lists, arrays, counts, and the GIL.
//
// The same file stands in lessons 02 to 10, byte for byte (a check keeps it so), because each lesson travels alone.
// Lesson 08 explains how it works, and why pybind11's own std::vector caster is several times slower.
//
//     m.def("parallel_sum", [](list_of<double, "numbers"> numbers, threads num_threads) {
//         const auto values = numbers.read();                                      // list -> memory, one pass
//         return released([&](auto stop) { return sum(values.span(), num_threads, stop); });
//     }, py::arg("numbers"), py::kw_only(), py::arg("num_threads") = py::none());
//
// A parameter's type names its argument, so that every error can. A call is matched by list or array alone; what is
// wrong with the data is told by .read() and .span(), after counts, which are checked while the call is matched.
// To copy it: this file, C++20, pybind11 >= 3.1; no flag, no library.
#pragma once

#include <pybind11/critical_section.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/typing.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>
#ifdef __linux__
#include <sched.h>
#endif

#ifndef TENFOLD_NEVER_STOP
#define TENFOLD_NEVER_STOP
namespace tenfold {
struct never_stop {
    bool operator()() const noexcept { return false; }
};
struct stopped : std::exception {
    const char* what() const noexcept override { return "stopped"; }
};
}  // namespace tenfold
#endif

namespace tenfold::boundary {
namespace py = pybind11;

/// A string as a template argument: list_of<double, "numbers">.
template <std::size_t N>
struct name {
    char text[N]{};
    consteval name(const char (&from)[N]) { std::copy_n(from, N, text); }
    static constexpr bool empty = N == 1;
};

/// Contiguous numbers, owned; growing does not write zeros that are overwritten at once.
template <class T>
struct uninitialised : std::allocator<T> {
    template <class U>
    struct rebind {
        using other = uninitialised<U>;
    };
    template <class... From>
    void construct(T* at, From... from) const noexcept {
        if constexpr (sizeof...(From) > 0) std::construct_at(at, from...);
    }
};
template <class T>
struct numbers : std::vector<T, uninitialised<T>> {
    std::span<T> span() noexcept { return *this; }
    std::span<const T> span() const noexcept { return *this; }
};

namespace detail {

/// A message made of strings and numbers.
template <class... Parts>
std::string join(const Parts&... parts) {
    std::string out;
    const auto add = [&out](const auto& part) {
        if constexpr (std::is_arithmetic_v<std::remove_cvref_t<decltype(part)>>) out += std::to_string(part);
        else out += part;
    };
    (add(parts), ...);
    return out;
}

/// Where a value came from, for messages: "numbers", "numbers[3]", "matrix[2][3]".
struct place {
    const char* arg;
    Py_ssize_t row = -1;

    std::string at(Py_ssize_t index = -1) const {
        std::string out = arg;
        for (const Py_ssize_t i : {row, index})
            if (i >= 0) out += join("[", i, "]");
        return out;
    }
};

inline std::string type_of(py::handle object) { return Py_TYPE(object.ptr())->tp_name; }

inline bool is_text(py::handle object) {
    return PyUnicode_Check(object.ptr()) || PyBytes_Check(object.ptr()) || PyByteArray_Check(object.ptr());
}

template <class T>
constexpr bool is_real = std::is_floating_point_v<T>;

template <class T>
std::string dtype() {
    return join(is_real<T> ? "float" : std::is_signed_v<T> ? "int" : "uint", 8 * sizeof(T));
}

/// An exact int or float, read without running Python code; false: `convert` must look.
inline bool read_exact(PyObject* item, std::int64_t& to) {
    if (!PyLong_CheckExact(item)) return false;
#if PY_VERSION_HEX >= 0x030C0000
    if (const auto* integer = reinterpret_cast<PyLongObject*>(item); PyUnstable_Long_IsCompact(integer)) [[likely]] {
        to = PyUnstable_Long_CompactValue(integer);
        return true;
    }
#endif
    int overflow = 0;
    to = PyLong_AsLongLongAndOverflow(item, &overflow);
    return overflow == 0;
}
inline bool read_exact(PyObject* item, double& to) {
    if (PyFloat_CheckExact(item)) [[likely]] {
        to = PyFloat_AS_DOUBLE(item);
        return true;
    }
    std::int64_t integer = 0;
    const bool fits = read_exact(item, integer);
    to = static_cast<double>(integer);
    return fits;
}

/// Any item, by the rules of float() or operator.index(). It may run Python code, which may do anything.
template <class T>
T convert(py::handle item, const place& where, Py_ssize_t index = -1) {
    auto held = py::reinterpret_borrow<py::object>(item);
    const bool foreign = is_text(item) || PyComplex_Check(item.ptr());
    const PyNumberMethods* number = foreign ? nullptr : Py_TYPE(item.ptr())->tp_as_number;
    if (is_real<T> && number != nullptr && number->nb_float != nullptr && !PyLong_Check(item.ptr())) {
        const double value = PyFloat_AsDouble(item.ptr());
        if (value == -1.0 && PyErr_Occurred()) throw py::error_already_set();
        return static_cast<T>(value);
    }
    if (number == nullptr || number->nb_index == nullptr)
        throw py::type_error(
            join(where.at(index), is_real<T> ? " must be a number" : " must be an int", ", not ", type_of(item)));
    held = py::reinterpret_steal<py::object>(PyNumber_Index(item.ptr()));
    if (!held) throw py::error_already_set();
    if constexpr (is_real<T>) {
        const double value = PyLong_AsDouble(held.ptr());
        if (value != -1.0 || !PyErr_Occurred()) return value;
        PyErr_Clear();
    } else {
        int overflow = 0;
        const T value = PyLong_AsLongLongAndOverflow(held.ptr(), &overflow);
        if (overflow == 0) return value;
    }
    throw std::overflow_error(join(where.at(index), " is an int that does not fit ", dtype<T>()));
}

/// Any sequence, item by item. Nothing is allocated or repeated on the word of its __len__.
template <class Take>
void each_item(py::handle source, const place& where, const char* wanted, Take&& take) {
    if (!PySequence_Check(source.ptr()) || is_text(source) ||
        py::isinstance(source, py::module_::import("collections.abc").attr("Mapping")))
        throw py::type_error(join(where.at(), " must be a sequence of ", wanted, ", not ", type_of(source),
                                  Py_TYPE(source.ptr())->tp_iter && !is_text(source) ? "; pass list(...) of it" : ""));
    const Py_ssize_t size = PySequence_Size(source.ptr());
    const auto iterator = py::reinterpret_steal<py::object>(size < 0 ? nullptr : PyObject_GetIter(source.ptr()));
    if (!iterator) throw py::error_already_set();
    Py_ssize_t index = 0;
    while (const auto item = py::reinterpret_steal<py::object>(PyIter_Next(iterator.ptr()))) {
        if (index < size) take(item, index);
        if (++index > size || (index % 65536 == 0 && PyErr_CheckSignals() != 0)) break;
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    if (index != size) throw std::runtime_error(where.at() + " has a length that does not match its items");
}

/// Appends the numbers of one sequence.
template <class T>
void read_numbers(py::handle source, const place& where, numbers<T>& into) {
    if (!PyList_CheckExact(source.ptr()) && !PyTuple_CheckExact(source.ptr()))
        return each_item(source, where, is_real<T> ? "floats or a float64 array" : "ints or an int64 array",
                         [&](py::handle item, Py_ssize_t index) { into.push_back(convert<T>(item, where, index)); });
    const py::scoped_critical_section lock{source};  // only without a GIL: other threads leave the list alone
    const Py_ssize_t size = Py_SIZE(source.ptr());
    into.resize(into.size() + static_cast<std::size_t>(size));
    T* const to = into.data() + into.size() - size;
    PyObject** items = PySequence_Fast_ITEMS(source.ptr());
    for (Py_ssize_t i = 0; i < size; ++i) {
        if (read_exact(items[i], to[i])) [[likely]]
            continue;
        to[i] = convert<T>(items[i], where, i);
        if (Py_SIZE(source.ptr()) != size) throw std::runtime_error(where.at() + " changed length while it was read");
        items = PySequence_Fast_ITEMS(source.ptr());  // it may have moved
    }
}

/// The items as a tuple: held, and out of reach of code that changes the sequence.
inline py::tuple snapshot(py::handle source, const place& where, const char* wanted) {
    if (PyTuple_CheckExact(source.ptr())) return py::reinterpret_borrow<py::tuple>(source);
    auto items = py::reinterpret_borrow<py::object>(source);
    if (!PyList_CheckExact(source.ptr())) {
        items = py::list();
        each_item(source, where, wanted, [&](py::handle item, Py_ssize_t) {
            if (PyList_Append(items.ptr(), item.ptr()) != 0) throw py::error_already_set();
        });
    }
    items = py::reinterpret_steal<py::object>(PyList_AsTuple(items.ptr()));
    if (!items) throw py::error_already_set();
    return items;
}

/// Marks a parameter type for the type_caster at the end of this file.
struct argument {};

/// A list, or whatever else is no buffer. `Partner` is the data argument before this one, if there is one.
template <name Arg, name Partner>
class sequence_argument : public argument {
public:
    bool load(py::handle source) {
        source_ = py::reinterpret_borrow<py::object>(source);
        if (!PyObject_CheckBuffer(source.ptr())) return true;
        if constexpr (!Partner.empty)
            throw py::type_error(join(Arg.text, " is an array (", type_of(source), ") but ", Partner.text,
                                      " is not; pass two lists or two arrays"));
        return false;
    }

protected:
    py::object source_;
};

struct release_buffer {
    void operator()(Py_buffer* view) const {
        PyBuffer_Release(view);
        delete view;
    }
};
using buffer = std::unique_ptr<Py_buffer, release_buffer>;

/// A C-contiguous, aligned buffer of exactly T in native byte order, or an error that names the cure.
template <class T>
buffer request(py::handle source, const char* arg, int dimensions, bool writable) {
    const auto cast = [&](bool array) {
        return join(array ? "" : "numpy.asarray(", arg, array ? "" : ")", ".astype(numpy.", dtype<T>(), ")");
    };
    // What is written into a copy is lost, so a copy is a cure only where we read.
    const auto cure = [&](const std::string& copy) {
        return writable ? join("; pass a C-contiguous array of ", dtype<T>(), ", such as numpy.empty makes")
                        : join("; use ", copy);
    };
    const auto wrong_type = [&](std::string_view format) {
        const bool array = py::hasattr(source, "dtype");
        const std::string got = array ? std::string(py::str(source.attr("dtype"))) : join(format, " (", type_of(source), ")");
        return py::type_error(join(arg, " must be an array of ", dtype<T>(), ", not ", got, cure(cast(array))));
    };
    buffer view{new Py_buffer{}};
    if (PyObject_GetBuffer(source.ptr(), view.get(), PyBUF_FULL_RO) != 0) {
        py::error_already_set error;
        if (error.matches(PyExc_ValueError) && py::hasattr(source, "dtype")) throw wrong_type("");  // has no buffer format
        throw error;
    }
    std::string_view format = view->format != nullptr ? view->format : "B";
    const bool marked = format.find_first_of("@=<>!") == 0;
    const char order = marked ? format.front() : '@';
    if (marked) format.remove_prefix(1);
    constexpr std::string_view codes = !is_real<T> ? std::is_signed_v<T> ? "bhilqn" : "BHILQN" : sizeof(T) == 8 ? "d" : "f";
    if (format.size() != 1 || codes.find(format[0]) == codes.npos || view->itemsize != sizeof(T)) throw wrong_type(format);
    if (std::endian::native == std::endian::little ? order == '>' || order == '!' : order == '<')
        throw py::value_error(join(arg, " is not in native byte order", cure(cast(py::hasattr(source, "dtype")))));
    if (view->ndim != dimensions)
        throw py::value_error(join(arg, " must be ", dimensions, "-D, not ", view->ndim, "-D; use ", arg, ".reshape(",
                                   dimensions == 1 ? "-1)" : "rows, cols)"));
    if (writable && view->readonly) throw py::value_error(join(arg, " is read-only; pass a writable array"));
    if (!PyBuffer_IsContiguous(view.get(), 'C'))
        throw py::value_error(join(arg, " is not C-contiguous", cure(join("numpy.ascontiguousarray(", arg, ")"))));
    if (view->len != 0 && reinterpret_cast<std::uintptr_t>(view->buf) % alignof(T) != 0)
        throw py::value_error(join(arg, " is not aligned", cure(join(arg, ".copy()"))));
    return view;
}

template <class T>
constexpr auto array_signature =
    py::detail::const_name("numpy.typing.NDArray[") + py::detail::npy_format_descriptor<T>::name + py::detail::const_name("]");
template <class T>
constexpr auto number_signature = py::detail::const_name<is_real<T>>("float", "int");

/// A buffer, held from the load on. What is wrong with it is told when it is asked for.
template <class T, int Dimensions, bool Writable, name Arg>
class buffer_argument : public argument {
public:
    std::size_t size() const { return static_cast<std::size_t>(view().len) / sizeof(T); }
    std::size_t rows() const { return static_cast<std::size_t>(view().shape[0]); }
    std::size_t cols() const { return static_cast<std::size_t>(view().shape[Dimensions - 1]); }

protected:
    void acquire(py::handle source) {
        try {
            view_ = request<T>(source, Arg.text, Dimensions, Writable);
        } catch (...) {
            failure_ = std::current_exception();
        }
    }
    const Py_buffer& view() const {
        if (failure_) std::rethrow_exception(failure_);
        return *view_;
    }
    std::span<T> values() const { return {static_cast<T*>(view().buf), size()}; }

private:
    buffer view_;
    std::exception_ptr failure_;
};

template <class T, int Dimensions, name Arg, name Partner>
class array_argument : public buffer_argument<T, Dimensions, false, Arg> {
public:
    static constexpr auto signature = array_signature<T>;

    std::span<const T> span() const { return this->values(); }

    bool load(py::handle source) {
        const bool is_buffer = PyObject_CheckBuffer(source.ptr()) != 0;
        if (is_buffer) this->acquire(source);
        if constexpr (!Partner.empty)
            if (!is_buffer)
                throw py::type_error(join(Partner.text, " is an array but ", Arg.text, " (", type_of(source),
                                          ") is not; pass two arrays or two lists"));
        return is_buffer;
    }
};

inline PyObject* to_object(double value) { return PyFloat_FromDouble(value); }
inline PyObject* to_object(std::signed_integral auto value) { return PyLong_FromLongLong(value); }
inline PyObject* to_object(std::unsigned_integral auto value) { return PyLong_FromUnsignedLongLong(value); }
inline PyObject* to_object(std::string_view value) {
    return PyUnicode_FromStringAndSize(value.data(), static_cast<Py_ssize_t>(value.size()));
}

template <class Item>
py::typing::List<Item> make_list(std::size_t size, auto&& make) {
    auto list = py::reinterpret_steal<py::typing::List<Item>>(PyList_New(static_cast<Py_ssize_t>(size)));
    if (!list) throw py::error_already_set();
    for (std::size_t i = 0; i < size; ++i) {
        PyObject* const item = make(i);
        if (item == nullptr) throw py::error_already_set();
        PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), item);
    }
    return list;
}

}  // namespace detail

// ---- Lists -------------------------------------------------------------------------------------------------------

/// A list, tuple or other sequence of numbers, T being double or int64_t.
template <class T, name Arg, name Partner = "">
struct list_of : detail::sequence_argument<Arg, Partner> {
    static constexpr auto signature =
        py::detail::const_name("collections.abc.Sequence[") + detail::number_signature<T> + py::detail::const_name("]");

    numbers<T> read() const {
        numbers<T> values;
        detail::read_numbers(this->source_, {Arg.text}, values);
        return values;
    }
};

/// Rows of any length, one after the other in memory.
template <class T>
struct row_values {
    numbers<T> values;
    std::vector<std::size_t> offsets{0};  // row i is [offsets[i], offsets[i + 1])

    std::size_t size() const { return offsets.size() - 1; }
    std::span<const T> operator[](std::size_t row) const {
        return values.span().subspan(offsets[row], offsets[row + 1] - offsets[row]);
    }
};

/// Rows of one length, row-major.
template <class T>
struct matrix_values {
    numbers<T> values;
    std::size_t rows = 0, cols = 0;

    std::span<const T> span() const { return values.span(); }
};

/// A sequence of sequences of numbers: .read() for rows of any length, .matrix() for rows of one length.
template <class T, name Arg, name Partner = "">
struct rows_of : detail::sequence_argument<Arg, Partner> {
    static constexpr auto signature = py::detail::const_name("collections.abc.Sequence[collections.abc.Sequence[") +
                                      detail::number_signature<T> + py::detail::const_name("]]");

    row_values<T> read() const { return read(false); }
    matrix_values<T> matrix() const {
        row_values<T> rows = read(true);
        return {std::move(rows.values), rows.size(), rows.size() == 0 ? 0 : rows.offsets[1]};
    }

private:
    row_values<T> read(bool same_length) const {
        row_values<T> out;
        const py::tuple rows = detail::snapshot(this->source_, {Arg.text}, "rows or a 2-D array");
        for (Py_ssize_t row = 0; row < PyTuple_GET_SIZE(rows.ptr()); ++row) {
            const detail::place where{Arg.text, row};
            const std::size_t before = out.values.size();
            detail::read_numbers(PyTuple_GET_ITEM(rows.ptr(), row), where, out.values);
            out.offsets.push_back(out.values.size());
            if (const std::size_t length = out.values.size() - before; same_length && length != out.offsets[1])
                throw py::value_error(detail::join(where.at(), " has ", length, " items, ", Arg.text, "[0] has ",
                                                   out.offsets[1], "; all rows must have the same length"));
        }
        return out;
    }
};

/// A str as CPython stores it: `length` code units of `kind` bytes (1, 2 or 4).
struct text {
    const void* data;
    std::size_t length;
    int kind;
};

/// Texts, and the references that keep them alive: to be destroyed with the GIL held.
struct text_values {
    py::tuple owner;
    std::vector<text> texts;

    std::size_t size() const { return texts.size(); }
    std::span<const text> span() const { return texts; }
};

/// A sequence of str. Nothing is copied: a str never changes.
template <name Arg>
struct texts_of : detail::sequence_argument<Arg, ""> {
    static constexpr auto signature = py::detail::const_name("collections.abc.Sequence[str]");

    text_values read() const {
        text_values out{detail::snapshot(this->source_, {Arg.text}, "str"), {}};
        out.texts.reserve(out.owner.size());
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(out.owner.ptr()); ++i) {
            PyObject* const item = PyTuple_GET_ITEM(out.owner.ptr(), i);
            if (!PyUnicode_Check(item))
                throw py::type_error(detail::join(Arg.text, "[", i, "] must be a str, not ", detail::type_of(item)));
#if PY_VERSION_HEX < 0x030C0000
            if (PyUnicode_READY(item) != 0) throw py::error_already_set();
#endif
            out.texts.push_back({PyUnicode_DATA(item), static_cast<std::size_t>(PyUnicode_GET_LENGTH(item)),
                                 static_cast<int>(PyUnicode_KIND(item))});
        }
        return out;
    }
};

/// Contiguous numbers or strings -> list, in one pass.
template <std::ranges::contiguous_range Values>
auto to_list(const Values& values) {
    const auto* const from = std::ranges::data(values);
    return detail::make_list<std::ranges::range_value_t<Values>>(std::ranges::size(values),
                                                                 [from](std::size_t i) { return detail::to_object(from[i]); });
}

/// A row-major matrix -> list of lists.
template <class T>
auto to_lists(std::span<T> flat, std::size_t rows, std::size_t cols) {
    return detail::make_list<py::typing::List<std::remove_const_t<T>>>(
        rows, [&](std::size_t row) { return to_list(flat.subspan(row * cols, cols)).release().ptr(); });
}

// ---- Arrays ------------------------------------------------------------------------------------------------------

/// A 1-D array (any buffer) of exactly T, read where it is: .span(), .size().
template <class T, name Arg, name Partner = "">
using array_of = detail::array_argument<T, 1, Arg, Partner>;

/// A 2-D, row-major array of exactly T, read where it is: .span(), .rows(), .cols().
template <class T, name Arg, name Partner = "">
using matrix_of = detail::array_argument<T, 2, Arg, Partner>;

/// Any array object; signatures show it as an array of T.
template <class T>
struct array_object : py::object {
    using py::object::object;
};

/// An array to return, and its memory: `auto [array, values] = new_array<double>(n)`.
template <class T>
struct array_values {
    array_object<T> array;
    std::span<T> values;
};

/// A new NumPy array that is not initialised, of one extent or more.
template <class T>
array_values<T> new_array(std::integral auto... extents) {
    py::array_t<T> array(std::vector<py::ssize_t>{static_cast<py::ssize_t>(extents)...});
    const std::span<T> values{array.mutable_data(), static_cast<std::size_t>(array.size())};
    return {py::reinterpret_steal<array_object<T>>(array.release()), values};
}
template <class T>
array_values<T> new_matrix(std::size_t rows, std::size_t cols) {
    return new_array<T>(rows, cols);
}

/// `out=None`: None or a writable array, to be filled and returned.
template <class T, int Dimensions, name Arg>
class output : public detail::buffer_argument<T, Dimensions, true, Arg> {
public:
    static constexpr auto signature = detail::array_signature<T> + py::detail::const_name(" | None");

    bool load(py::handle source) {
        if (source.is_none()) return true;
        if (!PyObject_CheckBuffer(source.ptr()))
            throw py::type_error(detail::join(Arg.text, " must be a writable ", detail::dtype<T>(), " array or None, not ",
                                              detail::type_of(source)));
        given_ = py::reinterpret_borrow<array_object<T>>(source);
        this->acquire(source);
        return true;
    }
    bool given() const { return static_cast<bool>(given_); }

    /// What was given, if it has these extents, or a new array of them.
    array_values<T> or_new(std::integral auto... extents) const {
        static_assert(sizeof...(extents) == Dimensions);
        if (!given()) return new_array<T>(extents...);
        const std::array<std::size_t, Dimensions> wanted{static_cast<std::size_t>(extents)...};
        if (this->rows() != wanted.front() || this->cols() != wanted.back())
            throw py::value_error(detail::join(Arg.text, " has shape ", shape(this->rows(), this->cols()),
                                               ", the result has shape ", shape(wanted.front(), wanted.back())));
        return {given_, this->values()};
    }

private:
    static std::string shape(std::size_t rows, std::size_t cols) {
        return Dimensions == 1 ? detail::join("(", rows, ",)") : detail::join("(", rows, ", ", cols, ")");
    }

    array_object<T> given_;
};

template <class T, name Arg>
using out_of = output<T, 1, Arg>;

template <class T, name Arg>
using out_matrix_of = output<T, 2, Arg>;

/// Whether two spans share a byte.
template <class T, class U>
bool overlaps(std::span<T> a, std::span<U> b) noexcept {
    const auto from = reinterpret_cast<std::uintptr_t>(a.data()), other = reinterpret_cast<std::uintptr_t>(b.data());
    return !a.empty() && !b.empty() && from < other + b.size_bytes() && other < from + a.size_bytes();
}

/// Whether two spans are the same bytes, which element-wise work may read and write.
template <class T, class U>
bool same_memory(std::span<T> a, std::span<U> b) noexcept {
    return overlaps(a, b) && std::as_bytes(a).data() == std::as_bytes(b).data() && a.size_bytes() == b.size_bytes();
}

// ---- Single numbers ----------------------------------------------------------------------------------------------

/// An int within limits.
template <name Arg, std::int64_t Least, std::int64_t Most = std::numeric_limits<std::int64_t>::max()>
struct integer : detail::argument {
    static constexpr auto signature = py::detail::const_name("int");
    std::int64_t value = 0;

    bool load(py::handle source) {
        value = detail::convert<std::int64_t>(source, {Arg.text});
        if (value < Least || value > Most)
            throw py::value_error(detail::join(Arg.text, " must be at ", value < Least ? "least " : "most ",
                                               value < Least ? Least : Most, ", not ", value));
        return true;
    }
    operator std::int64_t() const noexcept { return value; }
};

/// An int >= 1.
template <name Arg, std::int64_t Most = std::numeric_limits<std::int64_t>::max()>
using count = integer<Arg, 1, Most>;

/// An int >= 0.
template <name Arg, std::int64_t Most = std::numeric_limits<std::int64_t>::max()>
using amount = integer<Arg, 0, Most>;

/// Any int64.
template <name Arg>
using whole = integer<Arg, std::numeric_limits<std::int64_t>::min()>;

/// A number by the rules of float().
template <name Arg>
struct real : detail::argument {
    static constexpr auto signature = py::detail::const_name("float");
    double value = 0.0;

    bool load(py::handle source) {
        value = detail::convert<double>(source, {Arg.text});
        return true;
    }
    operator double() const noexcept { return value; }
};

/// The cores this process may use: its CPU affinity, and its cgroup's CPU quota rounded up.
inline int usable_cores() {
#ifdef __linux__
    static const double quota = [] {
        double time = 0, period = 0;
        if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); !(v2 >> time >> period)) {
            std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> time;
            std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
        }
        return time > 0 && period > 0 ? std::ceil(time / period) : 1024.0;
    }();
    if (cpu_set_t mine; sched_getaffinity(0, sizeof mine, &mine) == 0)
        return static_cast<int>(std::clamp<double>(CPU_COUNT(&mine), 1.0, quota));
#endif
    return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 1024u));  // slow: it reads a file
}

/// `num_threads=None`: the usable cores, or a count up to 1024.
struct threads : detail::argument {
    static constexpr auto signature = py::detail::const_name("int | None");
    int value = 1;

    bool load(py::handle source) {
        count<"num_threads", 1024> given;
        value = source.is_none() ? usable_cores() : given.load(source) ? static_cast<int>(given.value) : 1;
        return true;
    }
    operator int() const noexcept { return value; }
};

// ---- Classes -----------------------------------------------------------------------------------------------------

/// What a class that is bound derives its type_caster<T> from, before the first use of T. On its own, pybind11 hands a method
/// memory in which nothing has been made when __init__ never ran: `T.__new__(T)`, or a subclass that calls a method before
/// super().__init__(). Here that is a TypeError, and so is None, which would be a null pointer.
template <class T>
struct made_caster : py::detail::type_caster_base<T> {
    bool load(py::handle source, bool convert) {
        if (!source || source.is_none()) return false;
        if (this->typeinfo != nullptr && Py_TYPE(source.ptr()) == this->typeinfo->type &&
            this->typeinfo->holder_enum_v != py::detail::holder_enum_t::smart_holder) {
            auto* const object = reinterpret_cast<py::detail::instance*>(source.ptr());
            if (object->simple_layout && object->simple_holder_constructed) [[likely]] {  // what load_impl finds, sooner
                this->value = object->simple_value_holder[0];
                return true;
            }
        }
        return this->template load_impl<made_caster>(source, convert);
    }
    /// load_impl calls this, for each base from C++ that an object has. What C++ only refers to is owned by somebody else.
    void load_value(py::detail::value_and_holder&& found) {
        if (found.inst->owned && !found.holder_constructed()) [[unlikely]]
            refuse(reinterpret_cast<PyObject*>(found.inst));
        py::detail::type_caster_base<T>::load_value(std::move(found));
    }

private:
    [[noreturn, gnu::cold, gnu::noinline]] static void refuse(PyObject* object) {
        throw py::type_error(detail::type_of(object) + ".__init__() has not been called");
    }
};

// ---- The GIL -----------------------------------------------------------------------------------------------------

/// First in PYBIND11_MODULE. pybind11 3.1 finds a module's own types by the address of the interpreter that it served last on
/// this thread. A new interpreter may have the address of one that is gone: its import would end in "already registered".
inline void begin_module() {
#if defined(PYBIND11_HAS_SUBINTERPRETER_SUPPORT) && PYBIND11_VERSION_HEX < 0x03020000
    py::detail::get_local_internals_pp_manager().unref();
#endif
}

/// Python is ending: its threads get the GIL no more. Asked with or without the GIL.
inline bool finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing() != 0;
#else
    return _Py_IsFinalizing() != 0;
#endif
}

[[noreturn]] inline void sleep_until_the_process_ends() noexcept {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

/// PyEval_RestoreThread. Before 3.14 a finalizing interpreter ends the threads that ask for the GIL by unwinding them, and
/// destructors would then free Python objects without it. So such a thread sleeps until the process is gone, as in 3.14. Not
/// inside `catch`: there the unwinding would be a std::terminate().
inline void retake_gil(PyThreadState* state) noexcept {
    try {
        PyEval_RestoreThread(state);
    } catch (...) {
        sleep_until_the_process_ends();
    }
}

/// The GIL, released and retaken with nothing but the thread's own state: right in every sub-interpreter.
class released_gil {
public:
    released_gil() : state_(PyEval_SaveThread()) {}
    released_gil(const released_gil&) = delete;
    released_gil& operator=(const released_gil&) = delete;

    /// Runs Python's signal handlers every 50 ms; true once one has raised. Only for the thread that released.
    bool interrupted() {
        const auto now = clock::now();
        if (next_ == clock::time_point{}) next_ = now + interval;
        if (now < next_ || error_) return error_.has_value();
        retake_gil(state_);
        bool again = false;
        try {
            if (PyErr_CheckSignals() != 0) throw py::error_already_set();
            again = in_main_thread();
        } catch (const py::error_already_set& error) {
            error_ = error;
        } catch (const std::exception&) {
            throw;
        } catch (...) {  // the thread is being ended, see retake_gil()
            sleep_until_the_process_ends();
        }
        state_ = PyEval_SaveThread();
        next_ = again ? clock::now() + interval : clock::time_point::max();
        return error_.has_value();
    }

    /// Retakes the GIL and raises what a signal handler raised.
    void finish() {
        retake_gil(state_);
        if (error_) throw *std::exchange(error_, std::nullopt);
    }

private:
    using clock = std::chrono::steady_clock;
    static constexpr std::chrono::milliseconds interval{50};

    /// Python handles signals there only: elsewhere another look would cost a GIL round trip for nothing. This runs Python
    /// code, so a signal handler may raise in it too, or the GIL pass to a thread that ends Python: plain pointers only.
    static bool in_main_thread() {
        if (finalizing()) return false;  // nothing can be imported any more
        PyObject *threading = nullptr, *main = nullptr, *ident = nullptr;
        try {
            threading = PyImport_ImportModule("threading");
            main = threading == nullptr ? nullptr : PyObject_CallMethod(threading, "main_thread", nullptr);
            ident = main == nullptr ? nullptr : PyObject_GetAttrString(main, "ident");
        } catch (...) {
            sleep_until_the_process_ends();
        }
        const bool same = ident != nullptr && PyLong_AsUnsignedLong(ident) == PyThread_get_thread_ident();
        Py_XDECREF(ident);
        Py_XDECREF(main);
        Py_XDECREF(threading);
        if (PyErr_Occurred() != nullptr) throw py::error_already_set();
        return same;
    }

    PyThreadState* state_;
    clock::time_point next_{};
    std::optional<py::error_already_set> error_;
};

/// Runs f(stop) without the GIL; f must not touch Python objects, not even copy or drop them. Ctrl-C makes stop()
/// true: f then returns or throws as it likes, and KeyboardInterrupt is raised from here.
template <class F>
auto released(F&& f) {
    released_gil gil;
    const auto stop = [&gil] { return gil.interrupted(); };
    using result = std::invoke_result_t<F&, decltype(stop)>;
    static_assert(!std::is_base_of_v<py::handle, result>, "no Python object without the GIL");
    // The exception is kept, as the GIL is not to be retaken inside `catch`.
    std::exception_ptr error;
    if constexpr (std::is_void_v<result>) {
        try {
            f(stop);
        } catch (...) {
            error = std::current_exception();
        }
        gil.finish();
        if (error) std::rethrow_exception(std::move(error));
    } else {
        std::optional<result> value;
        try {
            value.emplace(f(stop));
        } catch (...) {
            error = std::current_exception();
        }
        gil.finish();
        if (error) std::rethrow_exception(std::move(error));
        return std::move(*value);
    }
}

}  // namespace tenfold::boundary

namespace pybind11::detail {

template <class T>
struct handle_type_name<tenfold::boundary::array_object<T>> {
    static constexpr auto name = tenfold::boundary::detail::array_signature<T>;
};

template <std::derived_from<tenfold::boundary::detail::argument> Argument>
class type_caster<Argument> {
public:
    static constexpr auto name = Argument::signature;
    template <class T>
    using cast_op_type = movable_cast_op_type<T>;

    bool load(handle source, bool) { return value_.load(source); }
    operator Argument&() { return value_; }
    operator Argument&&() && { return std::move(value_); }

private:
    Argument value_;
};

}  // namespace pybind11::detail
