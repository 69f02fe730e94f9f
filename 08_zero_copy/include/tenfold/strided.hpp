// tenfold/strided.hpp: somebody else's numbers, looked at where they lie: a row of them, or a table, with a step between items.
//
// Why: std::span is the right argument for "n numbers side by side", and a std::vector by value the wrong one: it is a copy. But
// every second item of an array, a column, a table read backwards or a rectangle cut out of a picture are not side by side.
// They are an address, a size and a stride for each dimension; so are NumPy's arrays, Python's buffers and DLPack's tensors.
// Three rules for whoever writes through a view are checked here: the input itself is allowed as output, any other overlap is
// not, and an output must not visit an item twice.
//
// Strides count items, not bytes; they may be negative, and 0 in an input (one row for all rows, one number for all items).
// A view owns nothing: the memory must outlive it and be aligned for T.
//
// Copy: this file. Needs C++20; no flags, no libraries.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace tenfold::zero_copy {

template <class T>
struct view1d {
    T* data = nullptr;
    std::size_t size = 0;
    std::ptrdiff_t stride = 1;

    view1d() = default;
    view1d(T* data_, std::size_t size_, std::ptrdiff_t stride_ = 1) : data(data_), size(size_), stride(stride_) {}
    template <class U>
        requires std::convertible_to<U (*)[], T (*)[]>
    view1d(std::span<U> items) : view1d(items.data(), items.size()) {}
    template <class U>
        requires std::convertible_to<U (*)[], T (*)[]>
    view1d(const view1d<U>& other) : view1d(other.data, other.size, other.stride) {}

    T& operator[](std::size_t i) const { return data[static_cast<std::ptrdiff_t>(i) * stride]; }
    bool contiguous() const { return stride == 1 || size <= 1; }
};

template <class T>
struct view2d {
    T* data = nullptr;
    std::size_t rows = 0, columns = 0;
    std::ptrdiff_t row_stride = 0, column_stride = 1;

    view2d() = default;
    view2d(T* data_, std::size_t rows_, std::size_t columns_, std::ptrdiff_t row_stride_, std::ptrdiff_t column_stride_ = 1)
        : data(data_), rows(rows_), columns(columns_), row_stride(row_stride_), column_stride(column_stride_) {}
    /// Dense, row after row.
    view2d(T* data_, std::size_t rows_, std::size_t columns_)
        : view2d(data_, rows_, columns_, static_cast<std::ptrdiff_t>(columns_)) {}
    template <class U>
        requires std::convertible_to<U (*)[], T (*)[]>
    view2d(std::span<U> items) : view2d(items.data(), 1, items.size()) {}
    template <class U>
        requires std::convertible_to<U (*)[], T (*)[]>
    view2d(const view1d<U>& row)
        : view2d(row.data, 1, row.size, row.stride * static_cast<std::ptrdiff_t>(row.size), row.stride) {}
    template <class U>
        requires std::convertible_to<U (*)[], T (*)[]>
    view2d(const view2d<U>& other) : view2d(other.data, other.rows, other.columns, other.row_stride, other.column_stride) {}

    T* at(std::size_t row, std::size_t column) const {
        return data + static_cast<std::ptrdiff_t>(row) * row_stride + static_cast<std::ptrdiff_t>(column) * column_stride;
    }
    T& operator()(std::size_t row, std::size_t column) const { return *at(row, column); }
    view1d<T> row(std::size_t index) const { return {at(index, 0), columns, column_stride}; }
    view2d transposed() const { return {data, columns, rows, column_stride, row_stride}; }

    std::size_t size() const { return rows * columns; }
    bool dense_rows() const { return column_stride == 1 || columns <= 1; }
    /// One stride leads from each item to the next, row ends included: then the table is one row.
    bool one_row() const {
        return rows <= 1 || columns <= 1 || row_stride == column_stride * static_cast<std::ptrdiff_t>(columns);
    }
    view2d as_one_row() const { return {data, 1, size(), 0, columns <= 1 && rows > 1 ? row_stride : column_stride}; }
    bool contiguous() const { return one_row() && as_one_row().dense_rows(); }
    /// The same number everywhere.
    bool one_item() const { return (columns <= 1 || column_stride == 0) && (rows <= 1 || row_stride == 0); }
};

inline bool overlap_bytes(const void* a, std::size_t a_bytes, const void* b, std::size_t b_bytes) {
    const auto x = reinterpret_cast<std::uintptr_t>(a), y = reinterpret_cast<std::uintptr_t>(b);
    return a_bytes != 0 && b_bytes != 0 && x < y + b_bytes && y < x + a_bytes;
}

/// The same items in the same order.
template <class T>
bool same_view(view2d<const T> a, view2d<const T> b) {
    if (a.rows != b.rows || a.columns != b.columns) return false;
    if (a.size() == 0) return true;
    return a.data == b.data && (a.rows <= 1 || a.row_stride == b.row_stride) &&
           (a.columns <= 1 || a.column_stride == b.column_stride);
}

namespace detail {

// Lowest address and number of items up to the highest, without strides that are negative.
template <class T>
struct extent {
    const T* begin;
    std::size_t items;  // 0: empty
    std::size_t row_stride, row_items;

    explicit extent(view2d<const T> v) : begin(v.data), items(0), row_stride(0), row_items(0) {
        if (v.size() == 0) return;
        const auto length = [](std::ptrdiff_t stride) { return static_cast<std::size_t>(stride < 0 ? -stride : stride); };
        const auto rows = static_cast<std::ptrdiff_t>(v.rows - 1), columns = static_cast<std::ptrdiff_t>(v.columns - 1);
        if (v.row_stride < 0) begin += rows * v.row_stride;
        if (v.column_stride < 0) begin += columns * v.column_stride;
        std::size_t wide = length(v.column_stride), tall = length(v.row_stride);
        std::size_t width = v.columns, height = v.rows;
        if (wide > tall && height > 1) std::swap(wide, tall), std::swap(width, height);
        row_items = (width - 1) * wide + 1;
        row_stride = height == 1 ? 0 : tall;
        if (height == 1 && wide > 1) row_stride = wide, row_items = 1, height = width;  // a row of single items
        items = (height - 1) * row_stride + row_items;
    }
};

}  // namespace detail

/// Whether two views share an item. Exact for rectangles cut out of one array and for rows with equal steps; for stranger
/// pairs it says true when their address ranges meet.
template <class T>
bool overlap(view2d<const T> a, view2d<const T> b) {
    const detail::extent<T> x(a), y(b);
    if (!overlap_bytes(x.begin, x.items * sizeof(T), y.begin, y.items * sizeof(T))) return false;
    const std::size_t step = x.row_stride != 0 ? x.row_stride : y.row_stride;
    const auto apart = reinterpret_cast<std::intptr_t>(y.begin) - reinterpret_cast<std::intptr_t>(x.begin);
    const auto bytes = static_cast<std::intptr_t>(sizeof(T));
    if (step == 0 || apart % bytes != 0) return true;
    if ((x.row_stride != step && x.row_stride != 0) || (y.row_stride != step && y.row_stride != 0)) return true;
    if (x.row_items > step || y.row_items > step) return true;
    // Both repeat every `step` items: so their places within one step decide.
    const auto period = static_cast<std::intptr_t>(step);
    const auto shift = static_cast<std::size_t>(((apart / bytes) % period + period) % period);
    return shift < x.row_items || shift + y.row_items > step;
}

namespace detail {

template <class T>
void check_output(view2d<T> out) {
    if (out.size() == 0) return;
    if ((out.columns > 1 && out.column_stride == 0) || (out.rows > 1 && out.row_stride == 0))
        throw std::invalid_argument("out visits an item more than once (a broadcast array); use numpy.empty");
    if (out.columns <= 1 || out.rows <= 1) return;
    const extent<const T> shape{view2d<const T>(out)};
    if (shape.row_items > shape.row_stride)
        throw std::invalid_argument("the rows of out overlap each other (a sliding window); use numpy.empty");
}

template <class T>
void check_apart(view2d<T> out, view2d<const T> in, const char* name) {
    if (overlap<T>(out, in)) throw std::invalid_argument(std::string("out overlaps ") + name + "; give it memory of its own");
}

// An input of an element-wise call: broadcast or not, of out's shape; out itself or apart from it.
template <class T>
void check_input(view2d<T> out, view2d<const T> in, const char* name) {
    if (in.rows != out.rows || in.columns != out.columns)
        throw std::invalid_argument(std::string("out must have the shape of ") + name);
    if (!same_view<T>(out, in) && overlap<T>(out, in))
        throw std::invalid_argument(std::string("out overlaps ") + name +
                                    "; it may be that array itself or must be memory of its own");
}

}  // namespace detail
}  // namespace tenfold::zero_copy
