// bind_arguments.hpp: what the bound functions take and give: arrays of either dtype with any strides, numbers that stand
// for arrays, `out=`, and new arrays whose memory C++ owns.
#pragma once

#include <optional>
#include <utility>

#include "bind_arrow.hpp"
#include "bind_dlpack.hpp"
#include "bind_tensor.hpp"

namespace bind {

using namespace py::literals;
using namespace tenfold::boundary;

inline bool has(py::handle source, const char* method) {
    return PyObject_HasAttrString((PyObject*)Py_TYPE(source.ptr()), method) != 0;
}

/// Something whose memory can be looked at; a list is none, and finding that out is cheap.
inline bool is_array(py::handle source) {
    if (PyObject_CheckBuffer(source.ptr()) != 0) return true;
    if (PyList_CheckExact(source.ptr()) || PyTuple_CheckExact(source.ptr()) || PyType_Check(source.ptr())) return false;
    return has(source, "__arrow_c_array__") || has(source, "__dlpack__") || has(source, "__arrow_c_stream__");
}

inline tensor look_at(py::handle source, const wanted& want) {
    if (PyObject_CheckBuffer(source.ptr()) != 0) return from_buffer(source, want);
    const bool array = is_array(source);
    if (array && has(source, "__arrow_c_array__")) return from_arrow(source, want);
    if (array && has(source, "__dlpack__")) return from_dlpack(source, want);
    if (array) throw py::type_error(join(want.arg, " is a stream of chunks; iterate zero_copy.Stream(", want.arg, ")"));
    throw want.wrong_type(type_of(source));
}

/// An array. With a list overload after it, what is none is not matched; what is wrong is told by get(), after counts.
template <name Arg, types Type = types::either, bool Writable = false, bool ListsFollow = false>
class array_in : public detail::argument {
public:
    static constexpr auto signature = py::detail::const_name("numpy.typing.NDArray[numpy.floating]");

    bool load(py::handle source) {
        if (ListsFollow && !is_array(source)) return false;
        object_ = py::reinterpret_borrow<py::object>(source);
        try {
            tensor_ = look_at(source, want());
            if (Writable) written_once(*tensor_);
        } catch (...) {
            failure_ = std::current_exception();
        }
        return true;
    }
    /// The array, which must have so many dimensions (-1: any, but strides only up to two).
    const tensor& get(int dimensions = -1) const {
        if (failure_) std::rethrow_exception(failure_);
        if (dimensions >= 0 && tensor_->shape.size() != static_cast<std::size_t>(dimensions))
            throw py::value_error(join(Arg.text, " must be ", dimensions, "-D, not ", tensor_->shape.size(), "-D; use ",
                                       Arg.text, ".reshape(", dimensions == 1 ? "-1)" : "rows, columns)"));
        return viewable(*tensor_, want());
    }
    const py::object& object() const { return object_; }

protected:
    static wanted want() { return {Arg.text, Type, Writable}; }
    /// No two items in one place, as numpy.lib.stride_tricks can make them: they would be written twice.
    static void written_once(const tensor& to) {
        if (to.dense()) return;
        std::vector<std::pair<Py_ssize_t, Py_ssize_t>> steps;
        for (std::size_t i = 0; i < to.shape.size(); ++i)
            if (to.shape[i] > 1) steps.emplace_back(std::abs(to.strides[i]), to.shape[i]);
        std::sort(steps.begin(), steps.end());
        Py_ssize_t reach = 1;
        for (const auto& [step, extent] : steps) {
            if (step < reach && to.size() != 0)
                throw py::value_error(join(Arg.text, " has several items in one place", want().cure("")));
            reach += step * (extent - 1);
        }
    }

    py::object object_;
    std::optional<tensor> tensor_;
    std::exception_ptr failure_;
};

/// An array, or a number that stands for an array full of it.
template <name Arg>
class operand : public array_in<Arg> {
public:
    static constexpr auto signature = py::detail::const_name("numpy.typing.NDArray[numpy.floating] | float");

    bool load(py::handle source) {
        if (!PyFloat_CheckExact(source.ptr()) && !PyLong_CheckExact(source.ptr()) && !PyBool_Check(source.ptr()))
            return array_in<Arg>::load(source);
        number_ = detail::convert<double>(source, {Arg.text});
        return true;
    }
    bool is_number() const { return number_.has_value(); }
    double number() const { return *number_; }

private:
    std::optional<double> number_;
};

/// A new array and the kernels' view of it. The memory is C++'s: NumPy holds a capsule that frees it.
template <class T>
struct made {
    py::object array;
    zc::view2d<T> view;
};

template <class T>
made<T> new_owned(const extents& shape) {
    std::size_t size = 1;
    for (const Py_ssize_t extent : shape) size *= static_cast<std::size_t>(extent);
    auto memory = std::make_unique<zc::owned_buffer<T>>(size);
    T* const data = memory->data();
    const py::capsule owner(memory.get(), [](void* pointer) { delete static_cast<zc::owned_buffer<T>*>(pointer); });
    memory.release();
    tensor seen;
    seen.data = data;
    seen.shape = shape;
    seen.strides.resize(shape.size());
    Py_ssize_t step = 1;
    for (std::size_t i = shape.size(); i-- > 0; step *= shape[i]) seen.strides[i] = step;
    return {py::array_t<T>(shape.vector(), data, owner), seen.view<T>()};
}

/// `out=None`: None or a writable array, to be filled and returned.
template <name Arg, types Type = types::either>
class array_out : public array_in<Arg, Type, true> {
public:
    static constexpr auto signature = py::detail::const_name("numpy.typing.NDArray[numpy.floating] | None");

    bool load(py::handle source) { return source.is_none() || array_in<Arg, Type, true>::load(source); }
    bool given() const { return static_cast<bool>(this->object_); }

    template <class T>
    made<T> or_new(const extents& shape) const {
        if (!given()) return new_owned<T>(shape);
        const tensor& to = this->get();
        if (to.is_double != std::is_same_v<T, double>)
            throw py::type_error(join(Arg.text, " is ", to.is_double ? "float64" : "float32", ", the result is ",
                                      to.is_double ? "float32" : "float64", "; pass a writable array of that"));
        if (to.shape != shape)
            throw py::value_error(
                join(Arg.text, " has shape ", shape_text(to.shape), ", the result has shape ", shape_text(shape)));
        return {this->object_, to.view<T>()};
    }
};

/// Calls f<double>() or f<float>().
template <class F>
auto by_type(bool is_double, F&& f) {
    return is_double ? f.template operator()<double>() : f.template operator()<float>();
}

template <class T>
void apart(zc::view2d<const T> in, zc::view2d<T> out, const char* arg) {
    if (zc::overlap<T>(in, out)) throw py::value_error(join("out overlaps ", arg, "; pass an array apart from it"));
}
template <class T>
void same_or_apart(zc::view2d<const T> in, zc::view2d<T> out, const char* arg) {
    if (zc::overlap<T>(in, out) && !zc::same_view<T>(in, out))
        throw py::value_error(join("out overlaps ", arg, " in part; pass the same array, or one apart from it"));
}

inline void same_type(const tensor& a, const char* first, const tensor& b, const char* second) {
    if (a.is_double != b.is_double)
        throw py::type_error(join(second, " is ", b.is_double ? "float64" : "float32", " but ", first, " is ",
                                  a.is_double ? "float64" : "float32", "; use ", second, ".astype(", first, ".dtype)"));
}

}  // namespace bind
