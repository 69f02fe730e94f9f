// bind_pictures.hpp: what moves a window over a picture.
#pragma once

#include "bind_arguments.hpp"
#include "tenfold/stencil.hpp"

namespace bind {

/// Rows of a picture: contiguous each, however far apart.
inline const tensor& picture(const array_in<"image">& image) {
    const tensor& seen = image.get(2);
    if (seen.shape[1] > 1 && seen.strides[1] != 1)
        throw py::value_error("image must have its rows contiguous; use numpy.ascontiguousarray(image)");
    return seen;
}
template <class T>
zc::view2d<T> rows_of_picture(zc::view2d<T> view) {
    view.column_stride = 1;
    return view;
}
template <class T>
made<T> picture_out(const array_out<"out">& out, zc::shape2d shape) {
    auto result = out.or_new<T>({static_cast<Py_ssize_t>(shape.rows), static_cast<Py_ssize_t>(shape.columns)});
    if (result.view.column_stride != 1 && result.view.columns > 1)
        throw py::value_error("out must have its rows contiguous; pass a C-contiguous array");
    result.view.column_stride = 1;
    return result;
}

template <class Kernel>
void bind_filter(py::module_& m, const char* name, const char* what, Kernel kernel) {
    m.def(
        name,
        [kernel](const array_in<"image">& image, const array_in<"kernel">& weights, const array_out<"out">& out,
                 threads num_threads) {
            const tensor &seen = picture(image), &mask = weights.get(2);
            same_type(seen, "image", mask, "kernel");
            return by_type(seen.is_double, [&]<class T>() -> py::object {
                const zc::view2d<const T> x = rows_of_picture<const T>(seen.view<T>()), k = mask.view<T>();
                auto result = picture_out<T>(out, zc::valid_shape(x.rows, x.columns, k.rows, k.columns));
                apart<T>(x, result.view, "image"), apart<T>(k, result.view, "kernel");
                released([&](auto stop) { kernel.template operator()<T>(x, k, result.view, num_threads, stop); });
                return result.array;
            });
        },
        "image"_a, "kernel"_a, py::kw_only(), "out"_a = py::none(), "num_threads"_a = py::none(),
        join("\n", what, R"(

Parameters
----------
image : 2-D float32 or float64 array, rows contiguous
kernel : 2-D array of the same dtype
    Not larger than `image`; any strides.
out : 2-D array, optional
    Filled and returned; rows contiguous, apart from `image` and `kernel`.
num_threads : int, optional
    1 to 1024; all usable cores when None. It never changes the result's bits.

Returns
-------
array
    ``(rows - kernel rows + 1, columns - kernel columns + 1)``: only where the kernel fits ("valid").

Notes
-----
Sums run down the kernel's columns, in bands of up to seven of its rows, with fused multiply-adds where the CPU has them.
)")
            .c_str());
}

inline void bind_pictures(py::module_& m) {
    const auto none = py::none();
    bind_filter(m, "correlate2d", "The kernel laid over the image at every place, products summed.",
                []<class T>(auto x, auto k, auto to, int threads, auto& stop) { zc::correlate2d<T>(x, k, to, threads, stop); });
    bind_filter(m, "convolve2d", "As :func:`correlate2d`, the kernel turned by 180 degrees: convolution.",
                []<class T>(auto x, auto k, auto to, int threads, auto& stop) { zc::convolve2d<T>(x, k, to, threads, stop); });

    m.def(
        "max_pool2d",
        [](const array_in<"image">& image, count<"size"> size, const py::object& stride, const array_out<"out">& out,
           threads num_threads) {
            count<"stride"> step{};
            if (stride.is_none()) step.value = size;
            else step.load(stride);
            const tensor& seen = picture(image);
            return by_type(seen.is_double, [&]<class T>() -> py::object {
                const zc::view2d<const T> x = rows_of_picture<const T>(seen.view<T>());
                const auto window = static_cast<std::size_t>(size.value), by = static_cast<std::size_t>(step.value);
                auto result = picture_out<T>(out, zc::pool_shape(x.rows, x.columns, window, by));
                apart<T>(x, result.view, "image");
                released([&](auto stop) { zc::max_pool2d<T>(x, window, by, result.view, num_threads, stop); });
                return result.array;
            });
        },
        "image"_a, "size"_a, "stride"_a = none, py::kw_only(), "out"_a = none, "num_threads"_a = none, R"(
The largest item of each `size` x `size` window.

Parameters
----------
image : 2-D float32 or float64 array, rows contiguous
size : int
    At least 1, at most the image's height and width.
stride : int, optional
    From one window to the next; `size` when None.
out : 2-D array, optional
    Filled and returned; rows contiguous, apart from `image`.
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
array
    ``((rows - size) // stride + 1, (columns - size) // stride + 1)``; NaN where a window has one.
)");
}

}  // namespace bind
