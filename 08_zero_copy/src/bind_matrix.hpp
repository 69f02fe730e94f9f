// bind_matrix.hpp: the matrix product in four stages, transpose, matrix times vector (of lists, too).
#pragma once

#include "bind_arguments.hpp"
#include "tenfold/matmul.hpp"
#include "tenfold/matvec.hpp"
#include "tenfold/transpose.hpp"

namespace bind {

/// kernel<T>(a, b, c, threads, stop).
template <class Kernel>
py::object product(const array_in<"a">& a, const array_in<"b">& b, const array_out<"out">& out, int threads, Kernel kernel) {
    const tensor &left = a.get(2), &right = b.get(2);
    same_type(left, "a", right, "b");
    if (left.size() == 0 || right.size() == 0 || left.shape[1] != right.shape[0])
        throw py::value_error(join("Invalid matrix dimensions: a is ", left.shape[0], " x ", left.shape[1], ", b is ",
                                   right.shape[0], " x ", right.shape[1],
                                   "; a needs as many columns as b has rows, at least one"));
    return by_type(left.is_double, [&]<class T>() -> py::object {
        auto result = out.or_new<T>({left.shape[0], right.shape[1]});
        const zc::view2d<const T> x = left.view<T>(), y = right.view<T>();
        apart<T>(x, result.view, "a"), apart<T>(y, result.view, "b");
        if (result.view.column_stride != 1 && result.view.columns > 1)
            throw py::value_error("out must have its rows contiguous; pass a C-contiguous array");
        result.view.column_stride = 1;
        released([&](auto stop) { kernel.template operator()<T>(x, y, result.view, threads, stop); });
        return result.array;
    });
}

template <class Kernel>
void bind_product(py::module_& m, const char* name, const char* how, Kernel kernel) {
    const std::string doc = join("\nMatrix product: ", how, R"(

Parameters
----------
a, b : 2-D float32 or float64 arrays of one dtype
    Any strides; as many columns in `a` as rows in `b`.
out : 2-D array, optional
    Filled and returned; its rows contiguous, apart from `a` and `b`.
)");
    const std::string rest = R"(
Returns
-------
array

Raises
------
ValueError
    "Invalid matrix dimensions".
)";
    if constexpr (Kernel::threaded)
        m.def(
            name,
            [kernel](const array_in<"a">& a, const array_in<"b">& b, const array_out<"out">& out, threads num_threads) {
                return product(a, b, out, num_threads, kernel);
            },
            "a"_a, "b"_a, py::kw_only(), "out"_a = py::none(), "num_threads"_a = py::none(),
            join(
                doc,
                "num_threads : int, optional\n    1 to 1024; all usable cores when None. It never changes the result's bits.\n",
                rest)
                .c_str());
    else
        m.def(
            name,
            [kernel](const array_in<"a">& a, const array_in<"b">& b, const array_out<"out">& out) {
                return product(a, b, out, 1, kernel);
            },
            "a"_a, "b"_a, py::kw_only(), "out"_a = py::none(), join(doc, rest).c_str());
}

template <bool Threaded, class Call>
struct stage : Call {
    static constexpr bool threaded = Threaded;
    using Call::operator();
};
template <bool Threaded, class Call>
stage<Threaded, Call> as_stage(Call call) {
    return {call};
}

inline void product_shape(std::size_t rows, std::size_t columns, std::size_t size) {
    if (rows == 0 || columns == 0 || columns != size)
        throw py::value_error(join("Invalid dimensions: matrix is ", rows, " x ", columns, ", vector has ", size,
                                   " items; it needs as many as matrix has columns, at least one"));
}

inline void bind_matrix(py::module_& m) {
    const auto none = py::none();
    bind_product(
        m, "matmul_naive", "three loops, as on paper.",
        as_stage<false>([]<class T>(auto x, auto y, auto to, int, auto& stop) { zc::matmul_naive<T>(x, y, to, stop); }));
    bind_product(
        m, "matmul_blocked", "the same three loops over tiles that stay in the cache.",
        as_stage<false>([]<class T>(auto x, auto y, auto to, int, auto& stop) { zc::matmul_blocked<T>(x, y, to, stop); }));
    bind_product(
        m, "matmul_simd", "packed panels, and a tile of the result in vector registers.",
        as_stage<false>([]<class T>(auto x, auto y, auto to, int, auto& stop) { zc::matmul_simd<T>(x, y, to, stop); }));
    bind_product(m, "matmul_threaded", "the bits of :func:`matmul_simd`, on several cores.",
                 as_stage<true>([]<class T>(auto x, auto y, auto to, int threads, auto& stop) {
                     zc::matmul_threaded<T>(x, y, to, threads, stop);
                 }));

    m.def(
        "transpose",
        [](const array_in<"matrix">& matrix, const array_out<"out">& out, threads num_threads) {
            const tensor& seen = matrix.get(2);
            return by_type(seen.is_double, [&]<class T>() -> py::object {
                auto result = out.or_new<T>({seen.shape[1], seen.shape[0]});
                const zc::view2d<const T> in = seen.view<T>();
                apart<T>(in, result.view, "matrix");
                released([&](auto stop) { zc::transpose<T>(in, result.view, num_threads, stop); });
                return result.array;
            });
        },
        "matrix"_a, py::kw_only(), "out"_a = none, "num_threads"_a = none, R"(
The transposed matrix, written out. (``matrix.T`` only turns the strides: that is the zero-copy transpose.)

Parameters
----------
matrix : 2-D float32 or float64 array
    Any strides.
out : 2-D array, optional
    Filled and returned; apart from `matrix`.
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
array
)");

    m.def(
        "matvec_multiply",
        [](const array_in<"matrix", types::float64, false, true>& matrix, const array_in<"vector", types::float64>& vector,
           threads num_threads, const array_out<"out", types::float64>& out) {
            if (!is_array(vector.object()))
                throw py::type_error(join("matrix is an array but vector (", type_of(vector.object()),
                                          ") is not; pass two arrays or two lists"));
            const auto a = matrix.get(2).view<double>();
            const auto x = vector.get(1).line<double>();
            product_shape(a.rows, a.columns, x.size);
            auto result = out.or_new<double>({static_cast<Py_ssize_t>(a.rows)});
            apart<double>(a, result.view, "matrix");
            apart<double>(vector.get().view<double>(), result.view, "vector");
            const zc::view1d<double> y{result.view.data, a.rows, result.view.column_stride};
            released([&](auto stop) { zc::matvec<double>(a, x, y, num_threads, stop); });
            return result.array;
        },
        "matrix"_a, "vector"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none, R"(
Matrix times vector.

Parameters
----------
matrix : sequence of sequences of float, or 2-D float64 array
    Any strides; rows that are contiguous in memory, or columns that are, are fastest.
vector : sequence of float, or 1-D float64 array
    Both lists or both arrays; as many items as `matrix` has columns.
num_threads : int, optional
    1 to 1024; all usable cores when None. It never changes the result's bits.
out : 1-D float64 array, optional
    With arrays: filled and returned; apart from `matrix` and `vector`.

Returns
-------
list of float, or array

Raises
------
ValueError
    "Invalid dimensions"; or a ragged row, named.
)");
    m.def(
        "matvec_multiply",
        [](const rows_of<double, "matrix">& matrix, const list_of<double, "vector", "matrix">& vector, threads num_threads,
           const py::object& out) {
            if (!out.is_none()) throw py::type_error("out needs arrays, but matrix is none; leave it out");
            const auto a = matrix.matrix();
            const auto x = vector.read();
            product_shape(a.rows, a.cols, x.size());
            numbers<double> y;
            y.resize(a.rows);
            released([&](auto stop) {
                zc::matvec<double>(zc::view2d<const double>(a.span().data(), a.rows, a.cols), x.span(), y.span(), num_threads,
                                   stop);
            });
            return to_list(y);
        },
        "matrix"_a, "vector"_a, py::kw_only(), "num_threads"_a = none, "out"_a = none);
}

}  // namespace bind
