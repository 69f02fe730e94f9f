// bind_dlpack.hpp: DLPack's Python protocol, in and out. The structs are dlpack_abi.hpp's; here are the capsules.
//
// A capsule is consumed once: the consumer renames it ("used_..."), and only a capsule that kept its name frees its tensor.
// So the destructor must look at the name, which py::capsule's void(*)(void*) form never does: that one frees twice.
#pragma once

#include <array>
#include <utility>

#include "bind_tensor.hpp"
#include "tenfold/dlpack_abi.hpp"
#include "tenfold/owned_buffer.hpp"

namespace bind {

namespace dl = zc::dlpack;
using tenfold::boundary::released;

template <class Managed>
constexpr const char* capsule_name = std::is_same_v<Managed, dl::DLManagedTensorVersioned> ? "dltensor_versioned" : "dltensor";
template <class Managed>
constexpr const char* used_name =
    std::is_same_v<Managed, dl::DLManagedTensorVersioned> ? "used_dltensor_versioned" : "used_dltensor";

template <class Managed>
py::object dlpack_capsule(Managed* made) {
    auto capsule = py::reinterpret_steal<py::object>(PyCapsule_New(made, capsule_name<Managed>, [](PyObject* object) {
        if (PyCapsule_IsValid(object, capsule_name<Managed>) == 0) return;  // consumed: not ours any more
        const py::error_scope kept;
        auto* const held = static_cast<Managed*>(PyCapsule_GetPointer(object, capsule_name<Managed>));
        if (held->deleter != nullptr) held->deleter(held);
    }));
    if (!capsule) {
        made->deleter(made);
        throw py::error_already_set();
    }
    return capsule;
}

/// Takes a tensor out of its capsule: from here on the deleter is ours to call.
template <class Managed>
tensor consume(py::handle capsule, const wanted& want) {
    auto* const managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), capsule_name<Managed>));
    if (managed == nullptr) throw py::error_already_set();
    tensor out;
    if constexpr (std::is_same_v<Managed, dl::DLManagedTensorVersioned>) {
        if (!dl::version_fits(*managed))
            throw py::buffer_error(join(want.arg, " speaks DLPack ", managed->version.major, ", this module version 1"));
        out.read_only = dl::is_read_only(*managed);
    }  // the old struct cannot say so: read-only, as NumPy takes it
    const dl::DLTensor& seen = managed->dl_tensor;
    out.is_double = seen.dtype.bits == 64;
    if (seen.dtype.code != 2 || seen.dtype.lanes != 1 || (seen.dtype.bits != 64 && seen.dtype.bits != 32) ||
        (want.type == types::float64 && !out.is_double))
        throw want.wrong_type(join("a DLPack tensor of code ", int{seen.dtype.code}, " with ", int{seen.dtype.bits}, " bits"));
    want.may_write(out.read_only);
    out.shape.assign(seen.shape, seen.shape + seen.ndim);
    dl::DLTensor checked = seen;
    std::int64_t all = 1;
    if (seen.ndim > 2) {  // the address and its checks are those of a row; strides are minded by viewable()
        for (const Py_ssize_t extent : out.shape) all = extent < 0 || all < 0 ? -1 : all * extent;
        checked.ndim = 1, checked.shape = &all, checked.strides = nullptr;
    }
    const auto look = [&]<class T>(T) { out.data = dl::view_of<T>(checked).data; };
    try {
        out.is_double ? look(double{}) : look(float{});
    } catch (const std::invalid_argument& error) {
        throw py::value_error(join(want.arg, ": ", error.what()));
    }
    out.strides.resize(out.shape.size());
    Py_ssize_t step = 1;
    for (std::size_t i = out.shape.size(); i-- > 0; step *= out.shape[i])
        out.strides[i] = seen.strides ? seen.strides[i] : step;
    if (PyCapsule_SetName(capsule.ptr(), used_name<Managed>) != 0) throw py::error_already_set();
    out.owner = keep(new dl::managed_owner<Managed>(managed), [](dl::managed_owner<Managed>* last) { delete last; });
    return out;
}

inline tensor from_dlpack(py::handle source, const wanted& want) {
    const py::object device = source.attr("__dlpack_device__")();
    if (!PyTuple_Check(device.ptr()) || PyTuple_GET_SIZE(device.ptr()) != 2 ||
        PyLong_AsLong(PyTuple_GET_ITEM(device.ptr(), 0)) != 1) {
        PyErr_Clear();
        throw py::value_error(join(want.arg, " is not in the CPU's memory; copy it there first"));
    }
    py::object capsule;
    try {
        capsule = source.attr("__dlpack__")(py::arg("max_version") = py::make_tuple(1, 1));
    } catch (const py::error_already_set& error) {
        if (!error.matches(PyExc_TypeError)) throw;
    }
    if (!capsule) capsule = source.attr("__dlpack__")();  // an old producer does not know the word
    if (PyCapsule_IsValid(capsule.ptr(), capsule_name<dl::DLManagedTensorVersioned>) != 0)
        return consume<dl::DLManagedTensorVersioned>(capsule, want);
    return consume<dl::DLManagedTensor>(capsule, want);
}

/// Items in row-major order, whatever their strides; returns where the next one would go.
template <class T>
T* copy_items(const tensor& what, const T* from, T* to, std::size_t dimension = 0) {
    if (dimension == what.shape.size()) {
        *to = *from;
        return to + 1;
    }
    for (Py_ssize_t i = 0; i < what.shape[dimension]; ++i)
        to = copy_items<T>(what, from + i * what.strides[dimension], to, dimension + 1);
    return to;
}

/// What `__dlpack__` returns: the versioned struct for who asked for it, the old one only where nothing is lost by it.
inline py::object export_dlpack(const tensor& what, bool versioned, bool copy) {
    const auto give = [&]<class T>(T) -> py::object {
        std::vector<std::int64_t> shape(what.shape.begin(), what.shape.end()),
            strides(what.strides.begin(), what.strides.end());
        auto* data = static_cast<T*>(what.data);
        keeper owner = what.owner;
        std::uint64_t flags = what.read_only ? dl::flag_read_only : 0;
        if (copy) {
            auto made = std::make_shared<zc::owned_buffer<T>>(what.size());
            released([&](auto) { copy_items<T>(what, data, made->data()); });
            data = made->data();
            owner = std::move(made);
            strides.clear();
            flags = dl::flag_is_copied;
        }
        if (versioned) return dlpack_capsule(dl::export_versioned<T>(std::move(owner), data, shape, strides, flags));
        if ((flags & dl::flag_read_only) != 0)
            throw py::buffer_error("a read-only view needs DLPack 1.0; pass max_version=(1, 0) or copy=True");
        return dlpack_capsule(dl::export_unversioned<T>(std::move(owner), data, shape, strides));
    };
    return what.is_double ? give(double{}) : give(float{});
}

}  // namespace bind
