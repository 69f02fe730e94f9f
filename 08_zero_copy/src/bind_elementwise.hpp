// bind_elementwise.hpp: one number out for one number in: arithmetic with out=, a fused expression, normalize.
#pragma once

#include "bind_operands.hpp"
#include "tenfold/span_kernels.hpp"
#include "tenfold/span_reduce.hpp"

namespace bind {

template <class Kernel>
void bind_binary(py::module_& m, const char* name, const char* what, Kernel kernel) {
    m.def(
        name,
        [kernel](const operand<"a">& a, const operand<"b">& b, const array_out<"out">& out, threads num_threads) {
            operands both;
            both.add(a), both.add(b);
            return elementwise<2>(both, out, num_threads, kernel);
        },
        "a"_a, "b"_a, py::kw_only(), "out"_a = py::none(), "num_threads"_a = py::none(),
        join("\n", what, R"(, element by element.

Parameters
----------
a, b : float32 or float64 arrays of one dtype, or a number for one of them
    Any strides up to 2-D, C-contiguous beyond. Of one shape; or one is a row of the other, or a number.
out : array, optional
    Filled and returned; it may be `a` or `b` itself, all of it or nothing.
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
array
    `out`, or a new NumPy array on memory that C++ owns. IEEE 754 all the way: x / 0 is infinite or NaN, no error.
)")
            .c_str());
}

inline void bind_elementwise(py::module_& m) {
    const auto none = py::none();
    bind_binary(m, "add", "``a + b``",
                []<class T>(auto& in, auto to, int threads, auto& stop) { zc::add<T>(in[0], in[1], to, threads, stop); });
    bind_binary(m, "subtract", "``a - b``",
                []<class T>(auto& in, auto to, int threads, auto& stop) { zc::subtract<T>(in[0], in[1], to, threads, stop); });
    bind_binary(m, "multiply", "``a * b``",
                []<class T>(auto& in, auto to, int threads, auto& stop) { zc::multiply<T>(in[0], in[1], to, threads, stop); });
    bind_binary(m, "divide", "``a / b``",
                []<class T>(auto& in, auto to, int threads, auto& stop) { zc::divide<T>(in[0], in[1], to, threads, stop); });

    m.def(
        "scale_inplace",
        [](const array_in<"data", types::either, true>& data, real<"factor"> factor, threads num_threads) {
            const tensor& all = data.get();
            by_type(all.is_double, [&]<class T>() {
                const auto view = all.view<T>();
                released([&](auto stop) { zc::scale<T>(view, static_cast<T>(factor), view, num_threads, stop); });
            });
            return data.object();
        },
        "data"_a, "factor"_a, py::kw_only(), "num_threads"_a = none, R"(
Multiplies every item by `factor`, where it is.

Parameters
----------
data : writable float32 or float64 array
    Any strides up to 2-D, through which alone it is changed; C-contiguous beyond.
factor : float
    Rounded to the array's dtype.
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
array
    `data` itself.
)");

    m.def(
        "fused",
        [](const operand<"a">& a, const operand<"b">& b, const operand<"c">& c, const array_out<"out">& out,
           threads num_threads) {
            operands three;
            three.add(a), three.add(b), three.add(c);
            return elementwise<3>(three, out, num_threads, []<class T>(auto& in, auto to, int threads, auto& stop) {
                zc::fused_multiply<T>(in[0], in[1], in[2], to, threads, stop);
            });
        },
        "a"_a, "b"_a, "c"_a, py::kw_only(), "out"_a = none, "num_threads"_a = none, R"(
``a * b + c * 2 - 1`` in one pass over memory, rounded at each step: the same bits as NumPy's four passes.

Parameters
----------
a, b, c : float32 or float64 arrays of one dtype, or numbers for some of them
out : array, optional
    Filled and returned; it may be one of the operands itself.
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
array

See Also
--------
Chain : the same for expressions of your own.
)");

    m.def(
        "normalize",
        [](const array_in<"data">& data, const array_out<"out">& out, threads num_threads) {
            const tensor& all = data.get();
            return by_type(all.is_double, [&]<class T>() -> py::object {
                auto result = out.or_new<T>(all.shape);
                const zc::view2d<const T> in = all.view<T>();
                same_or_apart<T>(in, result.view, "data");
                released([&](auto stop) { zc::normalize<T>(in, result.view, num_threads, stop); });
                return result.array;
            });
        },
        "data"_a, py::kw_only(), "out"_a = none, "num_threads"_a = none, R"(
``(data - mean) / standard deviation`` over all items.

Parameters
----------
data : float32 or float64 array
    Any strides up to 2-D, C-contiguous beyond.
out : array, optional
    Filled and returned; it may be `data` itself.
num_threads : int, optional
    1 to 1024; all usable cores when None. It never changes the result's bits.

Returns
-------
array
    Zeros where all items are equal; NaN everywhere when one is NaN or infinite.
)");
}

}  // namespace bind
