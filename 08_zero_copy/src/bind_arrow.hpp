// bind_arrow.hpp: Arrow's PyCapsule protocol: __arrow_c_array__ in and out. The structs, moved and released exactly once, are
// arrow_abi.hpp's; here are the capsules around them and who owns what they point at.
#pragma once

#include "bind_tensor.hpp"
#include "tenfold/arrow_abi.hpp"

namespace bind {

/// A new struct in a capsule that releases what nobody has moved out of it.
template <class C>
py::capsule arrow_capsule(std::unique_ptr<C> made, const char* name) {
    auto capsule = py::reinterpret_steal<py::capsule>(PyCapsule_New(made.get(), name, [](PyObject* object) {
        const py::error_scope kept;
        auto* const held = static_cast<C*>(PyCapsule_GetPointer(object, PyCapsule_GetName(object)));
        if (held->release != nullptr) held->release(held);
        delete held;
    }));
    if (!capsule) {
        if (made->release != nullptr) made->release(made.get());
        throw py::error_already_set();
    }
    made.release();
    return capsule;
}

template <class C>
C* arrow_pointer(py::handle capsule, const char* name) {
    void* const pointer = PyCapsule_GetPointer(capsule.ptr(), name);
    if (pointer == nullptr) throw py::error_already_set();
    return static_cast<C*>(pointer);
}

/// Whether a schema says float64 (true) or float32; anything else is a TypeError.
inline bool arrow_is_double(const ArrowSchema& schema, const wanted& want) {
    const std::string_view format = schema.format;
    if ((format != "g" && format != "f") || (format == "f" && want.type == types::float64) || schema.dictionary != nullptr)
        throw py::type_error(
            join(want.arg, " must be an Arrow array of ", want.kind(), ", not of format '", format, "'; use .cast('double')"));
    return format == "g";
}

/// What one Arrow array holds; the struct stays alive as long as somebody looks.
inline tensor from_arrow_array(const ArrowSchema& schema, zc::arrow_owned<ArrowArray>&& array, const wanted& want) {
    tensor out;
    out.is_double = arrow_is_double(schema, want);
    auto* const held = new zc::arrow_owned<ArrowArray>(std::move(array));
    out.owner = keep(held, [](zc::arrow_owned<ArrowArray>* last) { delete last; });
    const auto look = [&]<class T>(T) {
        const zc::view1d<const T> seen = zc::import_array<T>(schema, *held->get());
        out.data = const_cast<T*>(seen.data);
        out.shape = {static_cast<Py_ssize_t>(seen.size)};
        out.strides = {1};
    };
    try {
        out.is_double ? look(double{}) : look(float{});
    } catch (const std::invalid_argument& error) {
        throw py::value_error(join(want.arg, ": ", error.what()));
    }
    want.may_write(true);  // Arrow's arrays never change
    return out;
}

inline tensor from_arrow(py::handle source, const wanted& want) {
    const py::object pair = source.attr("__arrow_c_array__")();
    if (!PyTuple_Check(pair.ptr()) || PyTuple_GET_SIZE(pair.ptr()) != 2)
        throw py::type_error(join(want.arg, ".__arrow_c_array__() must return two capsules"));
    const auto* const schema = arrow_pointer<ArrowSchema>(PyTuple_GET_ITEM(pair.ptr(), 0), "arrow_schema");
    auto* const array = arrow_pointer<ArrowArray>(PyTuple_GET_ITEM(pair.ptr(), 1), "arrow_array");
    if (schema->release == nullptr || array->release == nullptr)
        throw py::value_error(join(want.arg, ".__arrow_c_array__() gave capsules that somebody has consumed already"));
    return from_arrow_array(*schema, zc::arrow_owned<ArrowArray>(array), want);
}

/// One array as Arrow's structs; the memory stays until both sides have let go.
inline void export_arrow(const tensor& what, ArrowSchema* schema, ArrowArray* array) {
    if (what.shape.size() != 1 || !what.dense())
        throw py::value_error("an Arrow array is 1-D and contiguous, not of shape " + shape_text(what.shape) +
                              "; use numpy.ascontiguousarray and .ravel()");
    const auto give = [&]<class T>(T) {
        zc::export_array<T>(what.owner, static_cast<const T*>(what.data), what.size(), schema, array);
    };
    what.is_double ? give(double{}) : give(float{});
}

inline py::tuple arrow_capsules(const tensor& what) {
    auto schema = std::make_unique<ArrowSchema>();
    auto array = std::make_unique<ArrowArray>();
    export_arrow(what, schema.get(), array.get());
    const py::capsule first = arrow_capsule(std::move(schema), "arrow_schema");
    return py::make_tuple(first, arrow_capsule(std::move(array), "arrow_array"));
}

inline py::capsule arrow_schema_of(const tensor& what) { return arrow_capsules(what)[0].cast<py::capsule>(); }

}  // namespace bind
