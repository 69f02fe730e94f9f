// bind_contract.hpp: the four functions on numbers in a row that take lists as well. A list is copied once, into memory that the kernel then
// changes in place; an array is worked on where it is.
#pragma once

#include "bind_arguments.hpp"
#include "tenfold/span_kernels.hpp"
#include "tenfold/span_reduce.hpp"

namespace bind {

using float_list = list_of<double, "data">;
using read_array = array_in<"data", types::float64, false, true>;
using written_array = array_in<"data", types::float64, true, true>;

template <class Kernel>
py::object in_place(const written_array& data, Kernel kernel) {
    const auto view = data.get(1).view<double>();
    released([&](auto stop) { kernel(view, stop); });
    return data.object();
}
template <class Kernel>
py::typing::List<double> on_list(const float_list& data, Kernel kernel) {
    auto values = data.read();
    const zc::view2d<double> view(values.span());
    released([&](auto stop) { kernel(view, stop); });
    return to_list(values);
}

inline auto square_kernel(int threads) {
    return [threads](zc::view2d<double> view, auto& stop) { zc::square<double>(view, view, threads, stop); };
}
inline auto root_kernel(std::int64_t chunk, int threads) {
    return [=](zc::view2d<double> view, auto& stop) {
        zc::root2_chunked<double>(view, view, static_cast<std::size_t>(chunk), threads, stop);
    };
}
inline double sum_of(zc::view2d<const double> view, int threads) {
    return released([&](auto stop) { return zc::sum<double>(view, threads, stop); });
}
inline py::tuple reduction_of(zc::view2d<const double> view, int threads) {
    const auto found = released([&](auto stop) { return zc::reduce<double>(view, threads, stop); });
    return py::make_tuple(found.sum, found.min, found.max, found.count);
}

inline void bind_contract(py::module_& m) {
    const auto none = py::none();
    m.def(
        "process_slice_inplace",
        [](const written_array& data, threads num_threads) { return in_place(data, square_kernel(num_threads)); }, "data"_a,
        py::kw_only(), "num_threads"_a = none, R"(
Squares of floats: in place for an array, as a new list for a list.

Parameters
----------
data : sequence of float, or writable 1-D float64 array
    Any buffer; any strides, through which alone it is changed. A list is left alone.
num_threads : int, optional
    1 to 1024; all usable cores (affinity and cgroup limits respected) when None.

Returns
-------
list of float, or `data` itself

Raises
------
ValueError
    A read-only array, before anything is written; wrong byte order, alignment or number of dimensions.
TypeError
    An array of another dtype.
)");
    m.def(
        "process_slice_inplace",
        [](const float_list& data, threads num_threads) { return on_list(data, square_kernel(num_threads)); }, "data"_a,
        py::kw_only(), "num_threads"_a = none);

    m.def(
        "process_chunked_nocopy",
        [](const written_array& data, count<"chunk_size"> chunk_size, threads num_threads) {
            return in_place(data, root_kernel(chunk_size, num_threads));
        },
        "data"_a, "chunk_size"_a, py::kw_only(), "num_threads"_a = none, R"(
``sqrt(2 * x)`` of each float: in place for an array, as a new list for a list.

Parameters
----------
data : sequence of float, or writable 1-D float64 array
    As in :func:`process_slice_inplace`.
chunk_size : int
    At least 1: so many items are handed to a thread at once. It never changes the result.
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
list of float, or `data` itself
    NaN where an item is negative, as ``numpy.sqrt``.
)");
    m.def(
        "process_chunked_nocopy",
        [](const float_list& data, count<"chunk_size"> chunk_size, threads num_threads) {
            return on_list(data, root_kernel(chunk_size, num_threads));
        },
        "data"_a, "chunk_size"_a, py::kw_only(), "num_threads"_a = none);

    m.def(
        "sum_nocopy",
        [](const read_array& data, threads num_threads) { return sum_of(data.get(1).view<double>(), num_threads); }, "data"_a,
        py::kw_only(), "num_threads"_a = none, R"(
Sum of floats. The same bits at every thread count, instruction set and stride.

Parameters
----------
data : sequence of float, or 1-D float64 array
    An array is read where it is; read-only is fine.
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
float
    0.0 when empty.
)");
    m.def(
        "sum_nocopy", [](const float_list& data, threads num_threads) { return sum_of(data.read().span(), num_threads); },
        "data"_a, py::kw_only(), "num_threads"_a = none);

    m.def(
        "parallel_reduce_nocopy",
        [](const read_array& data, threads num_threads) { return reduction_of(data.get(1).view<double>(), num_threads); },
        "data"_a, py::kw_only(), "num_threads"_a = none, R"(
Sum, minimum, maximum and count in one pass.

Parameters
----------
data : sequence of float, or 1-D float64 array
num_threads : int, optional
    1 to 1024; all usable cores when None. It never changes the result's bits.

Returns
-------
(float, float, float, int)
    ``(0.0, inf, -inf, 0)`` when empty; NaN in all three when any item is NaN.
)");
    m.def(
        "parallel_reduce_nocopy",
        [](const float_list& data, threads num_threads) { return reduction_of(data.read().span(), num_threads); }, "data"_a,
        py::kw_only(), "num_threads"_a = none);
}

}  // namespace bind
