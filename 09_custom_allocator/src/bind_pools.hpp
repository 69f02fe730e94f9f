// bind_pools.hpp - BufferPool and ObjectPool: conversions, the GIL, docstrings.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#include "bind_common.hpp"
#include "tenfold/buffer_pool.hpp"

namespace tenfold::boundary {

/// BufferPool: the blocks, and what lists are read into.
class py_buffer_pool {
public:
    py_buffer_pool(std::size_t doubles, std::size_t most)
        : size(doubles), capacity(most), blocks_(make()), process_(this_process()) {}

    /// The pool; a new one in a forked child: blocks that other threads had out at the fork will not come back there.
    buffer_pool& blocks() {
        const std::lock_guard guard(lock_);
        if (const auto now = this_process(); now != process_) {
            blocks_ = make();
            process_ = now;
        }
        return *blocks_;
    }

    std::size_t size, capacity;
    kept<row_scratch> scratch;

private:
    std::unique_ptr<buffer_pool> make() const {
        return std::make_unique<buffer_pool>(checked_product(size, sizeof(double)), capacity);
    }
    static long this_process() {
#if defined(__unix__) || defined(__APPLE__)
        return ::getpid();
#else
        return 0;
#endif
    }

    slot_lock lock_;
    std::unique_ptr<buffer_pool> blocks_;
    long process_;
};

/// ObjectPool: the objects, and what lists are read into.
struct py_object_pool {
    explicit py_object_pool(std::size_t object_bytes) : workspace(object_bytes) {}

    object_workspace workspace;
    kept<numbers<double>> scratch;
};

}  // namespace tenfold::boundary

template <>
class pybind11::detail::type_caster<tenfold::boundary::py_buffer_pool>
    : public tenfold::boundary::made_caster<tenfold::boundary::py_buffer_pool> {};
template <>
class pybind11::detail::type_caster<tenfold::boundary::py_object_pool>
    : public tenfold::boundary::made_caster<tenfold::boundary::py_object_pool> {};

namespace tenfold::boundary {

using batch_data = batches_of<"data">;

inline py::object process_lists(py_buffer_pool& self, const batch_data& data) {
    const auto scratch = self.scratch.borrow([] { return std::make_unique<row_scratch>(); });
    data.read(*scratch);
    auto& blocks = self.blocks();
    released([&](auto stop) { square_rows(blocks, scratch->rows, scratch->values.span(), stop); });
    return detail::make_list<py::list>(scratch->rows.size(),
                                       [&](std::size_t i) { return to_list(scratch->rows[i]).release().ptr(); });
}

inline py::object process_arrays(py_buffer_pool& self, const batch_data& data) {
    std::vector<row> rows;
    std::vector<detail::buffer> held;
    data.find(rows, held);
    std::vector<std::span<double>> squares;
    auto list = detail::make_list<py::object>(rows.size(), [&](std::size_t i) {
        auto [array, values] = new_array<double>(rows[i].size());
        squares.push_back(values);
        return array.release().ptr();
    });
    auto& blocks = self.blocks();
    released([&](auto stop) {
        for (std::size_t i = 0; i < rows.size(); ++i) square_rows(blocks, {&rows[i], 1}, squares[i], stop);
    });
    return list;
}

inline py::object process_matrix(py_buffer_pool& self, const batch_data& data, const out_matrix_of<double, "out">& out) {
    const auto in = data.matrix.span();
    auto result = out.or_new(data.matrix.rows(), data.matrix.cols());
    check_same_or_apart(in, result.values, "data");
    // To the pool a matrix is one long row: it takes several blocks anyway, and none is left half empty.
    auto& blocks = self.blocks();
    released([&](auto stop) { square_rows(blocks, {&in, 1}, result.values, stop); });
    return std::move(result.array);
}

inline void bind_pools(py::module_& m) {
    py::class_<py_buffer_pool>(m, "BufferPool", py::module_local(), R"(
Blocks of memory for numbers, reused from call to call. Any number of threads may use one pool.

Parameters
----------
size : int
    Numbers (float64) in a block, 1 to 2**40.
capacity : int
    Blocks that there are at most, 1 to 2**31. Each is taken from the system when it is first needed, and kept. A call that finds
    all of them in use waits, with the GIL released.

Raises
------
MemoryError
    So many bytes cannot be addressed.
)")
        .def(py::init([](count<"size", (std::int64_t{1} << 40)> size, count<"capacity", (std::int64_t{1} << 31)> capacity) {
                 return std::make_unique<py_buffer_pool>(static_cast<std::size_t>(size), static_cast<std::size_t>(capacity));
             }),
             "size"_a, "capacity"_a)
        .def(
            "process_batch",
            [](py_buffer_pool& self, const batch_data& data, const out_matrix_of<double, "out">& out) {
                if (data.given == batch_data::kind::matrix) return process_matrix(self, data, out);
                check_no_out(out.given(), data.given == batch_data::kind::lists ? "data" : "data (a sequence of arrays)");
                return data.given == batch_data::kind::lists ? process_lists(self, data) : process_arrays(self, data);
            },
            "data"_a, py::kw_only(), "out"_a = py::none(), R"(
Squares of all numbers, worked out in blocks of the pool.

Parameters
----------
data : sequence of sequences of float, sequence of 1-D float64 arrays, or 2-D float64 array
    Rows of any length; a row longer than a block takes several. Arrays are read where they are.
out : 2-D float64 array, optional
    With a 2-D array: filled and returned; it may be `data` itself.

Returns
-------
list of list of float, list of array, or 2-D array
    As `data` was: lists for lists, arrays for arrays.

Notes
-----
After a first call of the same size nothing is allocated in C++: neither for blocks nor for what lists are read into.
)")
        .def(
            "reserve", [](py_buffer_pool& self) { self.blocks().reserve(); }, R"(
Takes the memory of all blocks from the system now, so that no later call has to.

Raises
------
MemoryError
)")
        .def_property_readonly(
            "size", [](const py_buffer_pool& self) { return self.size; }, "Numbers in a block.")
        .def_property_readonly(
            "capacity", [](const py_buffer_pool& self) { return self.capacity; }, "Blocks that there are at most.")
        .def(
            "_stats",
            [](py_buffer_pool& self) {
                const auto s = self.blocks().stats();
                return py::make_tuple(s.hits, s.misses, s.live, s.peak, s.bytes, s.available);
            },
            "See BufferPoolStats.");

    py::class_<py_object_pool>(m, "ObjectPool", py::module_local(), R"(
Objects of one size that are made once and then passed from item to item. Any number of threads may use one pool.

Parameters
----------
object_size : int
    Bytes of an object, 1 to 2**30.
)")
        .def(py::init([](count<"object_size", (std::int64_t{1} << 30)> object_size) {
                 return std::make_unique<py_object_pool>(static_cast<std::size_t>(object_size));
             }),
             "object_size"_a)
        .def(
            "process_with_pooling",
            [](py_object_pool& self, const floats_of<"items">& items, const out_of<double, "out">& out) -> py::object {
                auto& workspace = self.workspace;
                if (items.is_array) {
                    const auto in = items.array.span();
                    auto result = out.or_new(in.size());
                    check_same_or_apart(in, result.values, "items");
                    released([&](auto stop) { workspace.x_plus_x2(in, result.values, stop); });
                    return std::move(result.array);
                }
                check_no_out(out.given(), "items");
                const auto values = self.scratch.borrow([] { return std::make_unique<numbers<double>>(); });
                items.read(*values);
                released([&](auto stop) { workspace.x_plus_x2(values->span(), values->span(), stop); });
                return to_list(*values);
            },
            "items"_a, py::kw_only(), "out"_a = py::none(), R"(
``x + x * x`` of each item, each held in an object of the pool on the way.

Parameters
----------
items : sequence of float, or 1-D float64 array
out : 1-D float64 array, optional
    With an array: filled and returned; it may be `items` itself.

Returns
-------
list of float, or array

Notes
-----
After a first call of the same size nothing is allocated in C++.
)")
        .def_property_readonly(
            "object_size", [](const py_object_pool& self) { return self.workspace.object_bytes(); }, "Bytes of an object.")
        .def(
            "_stats",
            [](const py_object_pool& self) {
                return py::make_tuple(self.workspace.allocations(), self.workspace.reserved_bytes());
            },
            "See ObjectPoolStats.");
}

}  // namespace tenfold::boundary
