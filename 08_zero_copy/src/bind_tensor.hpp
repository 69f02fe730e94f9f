// bind_tensor.hpp: memory that somebody else owns, as the kernels want it: address, shape, strides, and what keeps it alive.
//
// Three protocols lead here and none copies: the buffer protocol (NumPy, memoryview, mmap, array.array, our own View),
// Arrow's C data interface (__arrow_c_array__) and DLPack (__dlpack__). What cannot be read where it is is an error that
// names the cure.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bind_keeper.hpp"
#include "boundary.hpp"
#include "tenfold/strided.hpp"

namespace bind {

namespace py = pybind11;
namespace zc = tenfold::zero_copy;
using tenfold::boundary::detail::join;
using tenfold::boundary::detail::type_of;

enum class types { float64, either };

/// A length or a stride per dimension: few in place, because most arrays have one or two and a call is short; more on the heap.
class extents {
public:
    extents() = default;
    extents(std::initializer_list<Py_ssize_t> values) { assign(values.begin(), values.end()); }

    template <class From>
    void assign(const From* first, const From* last) {
        resize(static_cast<std::size_t>(last - first));
        std::copy(first, last, begin());
    }
    void resize(std::size_t size) {
        if (size > few_.size()) many_.resize(size);
        size_ = size;
    }
    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    Py_ssize_t* begin() { return size_ <= few_.size() ? few_.data() : many_.data(); }
    const Py_ssize_t* begin() const { return size_ <= few_.size() ? few_.data() : many_.data(); }
    const Py_ssize_t* end() const { return begin() + size_; }
    Py_ssize_t& operator[](std::size_t i) { return begin()[i]; }
    Py_ssize_t operator[](std::size_t i) const { return begin()[i]; }
    std::vector<Py_ssize_t> vector() const { return {begin(), end()}; }
    friend bool operator==(const extents& a, const extents& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

private:
    std::array<Py_ssize_t, 4> few_{};
    std::vector<Py_ssize_t> many_;
    std::size_t size_ = 0;
};

struct tensor {
    void* data = nullptr;
    bool is_double = true, read_only = true;
    extents shape, strides;  // strides in items
    keeper owner;

    std::size_t size() const {
        std::size_t all = 1;
        for (const Py_ssize_t extent : shape) all *= static_cast<std::size_t>(extent);
        return all;
    }
    bool dense() const {  // C-contiguous
        Py_ssize_t step = 1;
        for (std::size_t i = shape.size(); i-- > 0; step *= shape[i])
            if (shape[i] != 1 && strides[i] != step) return size() == 0;
        return true;
    }

    /// As rows and columns; what has no dimension is one row, and so is what has more: only viewable() ones.
    template <class T>
    zc::view2d<T> view() const {
        auto* const at = static_cast<T*>(data);
        const auto extent = [&](std::size_t i) { return static_cast<std::size_t>(shape[i]); };
        if (shape.size() == 1) return zc::view2d<T>{at, 1, extent(0), strides[0] * shape[0], strides[0]};
        if (shape.size() == 2) return zc::view2d<T>{at, extent(0), extent(1), strides[0], strides[1]};
        return zc::view2d<T>{at, 1, size(), static_cast<std::ptrdiff_t>(size()), 1};
    }
    template <class T>
    zc::view1d<T> line() const {
        return zc::view1d<T>{static_cast<T*>(data), static_cast<std::size_t>(shape[0]), strides[0]};
    }
};

inline std::string shape_text(const extents& shape) {
    std::ostringstream text;
    for (const char* before = "("; const Py_ssize_t extent : shape) text << std::exchange(before, ", ") << extent;
    text << (shape.size() == 1 ? ",)" : ")");
    return shape.size() == 0 ? "()" : text.str();
}

/// How messages speak of an argument, and what it must be.
struct wanted {
    const char* arg;
    types type = types::either;
    bool writable = false;

    std::string kind() const { return type == types::float64 ? "float64" : "float32 or float64"; }
    std::string cure(std::string_view copy) const {  // what is written into a copy is lost
        return writable ? join("; pass a writable array of ", kind()) : join("; use ", copy);
    }
    py::type_error wrong_type(const std::string& got) const {
        return py::type_error(
            join(arg, " must be an array of ", kind(), ", not ", got, cure(join("numpy.asarray(", arg, ", numpy.float64)"))));
    }
    void may_write(bool read_only) const {
        if (writable && read_only) throw py::value_error(join(arg, " is read-only; pass a writable array"));
    }
};

/// Strides in up to two dimensions are the kernels' business; beyond, an array must be one row.
inline const tensor& viewable(const tensor& seen, const wanted& want) {
    if (seen.shape.size() > 2 && !seen.dense())
        throw py::value_error(join(want.arg, " has ", seen.shape.size(), " dimensions and is not C-contiguous",
                                   want.cure(join("numpy.ascontiguousarray(", want.arg, ")"))));
    return seen;
}

/// A buffer and what holds it, in one allocation. Not to be moved: an exporter's `shape` may point into its own Py_buffer.
struct held_buffer {
    Py_buffer view{};
    PyInterpreterState* interpreter = PyInterpreterState_Get();

    held_buffer() = default;
    held_buffer(const held_buffer&) = delete;
    held_buffer& operator=(const held_buffer&) = delete;
    ~held_buffer() {
        if (view.obj == nullptr) return;
        with_gil_of(interpreter, [&] {
            const py::error_scope kept;  // a destructor must not disturb an error that is on its way
            PyBuffer_Release(&view);
        });
    }
};

/// The buffer protocol, strides and all.
inline tensor from_buffer(py::handle source, const wanted& want) {
    auto held = std::make_shared<held_buffer>();
    const Py_buffer* const got = &held->view;
    if (PyObject_GetBuffer(source.ptr(), &held->view, PyBUF_FULL_RO) != 0) {
        py::error_already_set error;
        if (error.matches(PyExc_ValueError) && py::hasattr(source, "dtype"))  // a dtype that has no buffer format
            throw want.wrong_type(py::str(source.attr("dtype")));
        throw error;
    }
    tensor out;
    out.owner = std::move(held);
    const char* format = got->format != nullptr ? got->format : "B";
    const char first = format[0];
    const bool marked = first == '@' || first == '=' || first == '<' || first == '>' || first == '!';
    const char order = marked ? first : '@';
    if (marked) ++format;
    const char letter = format[0] != '\0' && format[1] == '\0' ? format[0] : '\0';
    if (letter != 'd' && (letter != 'f' || want.type == types::float64))
        throw want.wrong_type(py::hasattr(source, "dtype") ? std::string(py::str(source.attr("dtype")))
                                                           : join("'", format, "' (", type_of(source), ")"));
    out.is_double = letter == 'd';
    if (std::endian::native == std::endian::little ? order == '>' || order == '!' : order == '<')
        throw py::value_error(join(want.arg, " is not in native byte order",
                                   want.cure(join(want.arg, ".astype(numpy.", out.is_double ? "float64)" : "float32)"))));
    want.may_write(got->readonly != 0);
    out.read_only = got->readonly != 0;
    out.data = got->buf;
    out.shape.assign(got->shape, got->shape + got->ndim);
    out.strides.resize(out.shape.size());
    const int shift = out.is_double ? 3 : 2;  // not a division: a call may be that short
    const Py_ssize_t last = (Py_ssize_t{1} << shift) - 1;
    bool aligned = (reinterpret_cast<std::uintptr_t>(got->buf) & static_cast<std::uintptr_t>(last)) == 0;
    Py_ssize_t step = 1;
    for (std::size_t i = out.shape.size(); i-- > 0; step *= out.shape[i]) {
        out.strides[i] = step;
        if (got->strides == nullptr) continue;  // C order: ctypes gives none, although it was asked
        out.strides[i] = got->strides[i] >> shift;
        aligned = aligned && ((got->strides[i] & last) == 0 || out.shape[i] < 2);
    }
    if (got->suboffsets != nullptr || (!aligned && out.size() != 0))
        throw py::value_error(join(want.arg, " is not aligned", want.cure(join(want.arg, ".copy()"))));
    return out;
}

}  // namespace bind
