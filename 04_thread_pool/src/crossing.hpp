// crossing.hpp: what crosses from one Python interpreter to another: numbers, bytes, and buffers without a copy.
//
// No object of one interpreter may be touched under the GIL of another. So a tuple is read into plain memory under the one
// GIL, and made anew under the other. The memory of a buffer is held by a handle that both sides share; the object that
// exports it belongs to the side that looks at it. Whoever lets go last gives it back, under its owner's GIL.
// To copy it: this file, C++20, pybind11 >= 3.1, CPython >= 3.12.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace tenfold::boundary {
namespace py = pybind11;

/// Memory that several interpreters may look at. The last one to let go of it frees it, or has it freed.
class shared_memory {
public:
    using handle = std::shared_ptr<const shared_memory>;

    /// The memory of a Python object of the interpreter that runs now, exported for as long as the handle lives.
    static handle of_buffer(PyObject* exporter) {
        auto view = std::make_unique<Py_buffer>();
        if (PyObject_GetBuffer(exporter, view.get(), PyBUF_FULL_RO) != 0) throw py::error_already_set();
        return handle(new shared_memory(std::move(view), nullptr));
    }
    static handle copy_of(const void* from, std::size_t bytes) {
        std::unique_ptr<void, void (*)(void*)> block(std::malloc(std::max<std::size_t>(bytes, 1)), std::free);
        if (!block) throw std::bad_alloc();
        std::memcpy(block.get(), from, bytes);
        return handle(new shared_memory(nullptr, block.release()));
    }
    shared_memory(const shared_memory&) = delete;
    shared_memory& operator=(const shared_memory&) = delete;
    ~shared_memory() {
        std::free(block_);
        if (!view_) return;
        if (PyInterpreterState_Get() == home_) {
            PyBuffer_Release(view_.get());
            return;
        }
        const std::lock_guard lock(due_mutex());
        due().push_back(std::move(view_));
    }

    const Py_buffer& view() const { return *view_; }
    void* block() const { return block_; }

    /// Lets go of the main interpreter's buffers that others dropped. With its GIL held.
    static void release_due() {
        std::vector<std::unique_ptr<Py_buffer>> mine;
        {
            const std::lock_guard lock(due_mutex());
            mine.swap(due());
        }
        for (const auto& view : mine) PyBuffer_Release(view.get());
    }

private:
    shared_memory(std::unique_ptr<Py_buffer> view, void* block)
        : view_(std::move(view)), block_(block), home_(PyInterpreterState_Get()) {}
    static std::mutex& due_mutex() {
        static auto* const mutex = new std::mutex;  // never destroyed: interpreters may outlive static objects
        return *mutex;
    }
    static std::vector<std::unique_ptr<Py_buffer>>& due() {
        static auto* const views = new std::vector<std::unique_ptr<Py_buffer>>;
        return *views;
    }

    std::unique_ptr<Py_buffer> view_;
    void* block_;
    PyInterpreterState* home_;
};

/// A C-contiguous piece of shared memory and how it is to be read.
struct memory_view {
    shared_memory::handle memory;
    void* at = nullptr;
    Py_ssize_t bytes = 0, item_size = 1;
    bool read_only = true;
    std::string format = "B";
    std::vector<Py_ssize_t> shape, strides;

    static memory_view of(shared_memory::handle memory, void* at, const Py_buffer& view) {
        memory_view out{
            std::move(memory), at, view.len, view.itemsize, view.readonly != 0, view.format ? view.format : "B", {}, {}};
        out.shape.assign(view.shape, view.shape + view.ndim);
        out.strides.resize(out.shape.size());
        Py_ssize_t step = view.itemsize;
        for (std::size_t i = out.shape.size(); i-- > 0; step *= out.shape[i]) out.strides[i] = step;
        return out;
    }
    static memory_view bytes_of(shared_memory::handle memory, void* at, Py_ssize_t size) {
        return {std::move(memory), at, size, 1, true, "B", {size}, {1}};
    }
};

/// The Python object whose buffer is a memory_view. Each interpreter has a type of its own for it.
struct memory_object {
    PyObject_HEAD memory_view* view;

    static PyObject* new_type() {
        static PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(&dealloc)},
                                      {Py_bf_getbuffer, reinterpret_cast<void*>(&get_buffer)},
                                      {Py_tp_doc, const_cast<char*>("Memory of another interpreter.")},
                                      {0, nullptr}};
        static PyType_Spec spec = {"thread_pool._core.SharedMemory", sizeof(memory_object), 0,
                                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
        return PyType_FromSpec(&spec);
    }
    /// A memoryview of it, or null with an error set.
    static PyObject* look_at(PyObject* type, memory_view view) {
        auto* self = PyObject_New(memory_object, reinterpret_cast<PyTypeObject*>(type));
        if (self == nullptr) return nullptr;
        self->view = new memory_view(std::move(view));
        PyObject* looking = PyMemoryView_FromObject(reinterpret_cast<PyObject*>(self));
        Py_DECREF(self);
        return looking;
    }

private:
    static void dealloc(PyObject* object) {
        PyTypeObject* type = Py_TYPE(object);
        delete reinterpret_cast<memory_object*>(object)->view;
        PyObject_Free(object);
        Py_DECREF(type);
    }
    static int get_buffer(PyObject* object, Py_buffer* out, int flags) {
        memory_view& view = *reinterpret_cast<memory_object*>(object)->view;
        const auto asked = [flags](int what) { return (flags & what) == what; };
        out->obj = nullptr;
        if ((asked(PyBUF_WRITABLE) && view.read_only) || (asked(PyBUF_F_CONTIGUOUS) && view.shape.size() > 1)) {
            PyErr_SetString(PyExc_BufferError, view.read_only ? "the memory is read-only" : "the memory is C-contiguous");
            return -1;
        }
        *out = {};
        out->buf = view.at;
        out->len = view.bytes;
        out->itemsize = view.item_size;
        out->readonly = view.read_only ? 1 : 0;
        out->format = asked(PyBUF_FORMAT) ? view.format.data() : nullptr;
        out->ndim = asked(PyBUF_ND) ? static_cast<int>(view.shape.size()) : 1;
        out->shape = asked(PyBUF_ND) ? view.shape.data() : nullptr;
        out->strides = asked(PyBUF_STRIDES) ? view.strides.data() : nullptr;
        out->obj = Py_NewRef(object);
        return 0;
    }
};

/// What a tuple holds, outside of any interpreter: None, numbers, bytes (short ones copied), tuples of memoryviews.
using crossing = std::variant<std::monostate, std::int64_t, std::string, memory_view, std::vector<memory_view>>;

inline constexpr Py_ssize_t worth_sharing = 1 << 16;  // bytes; below, copying is cheaper than an object that exports

inline memory_view copied_bytes(const char* at, Py_ssize_t size) {
    auto memory = shared_memory::copy_of(at, static_cast<std::size_t>(size));
    void* const block = memory->block();
    return memory_view::bytes_of(std::move(memory), block, size);
}
inline memory_view read_view(PyObject* object, PyObject* own) {
    if (!PyMemoryView_Check(object)) throw py::type_error("a memoryview is expected");
    if (PyBuffer_IsContiguous(PyMemoryView_GET_BUFFER(object), 'C') == 0) throw py::type_error("a memoryview has gaps");
    if (own == nullptr) {
        auto memory = shared_memory::of_buffer(object);
        const Py_buffer& view = memory->view();
        return memory_view::of(std::move(memory), view.buf, view);
    }
    const Py_buffer& view = *PyMemoryView_GET_BUFFER(object);
    PyObject* base = PyMemoryView_GET_BASE(object);
    while (base != nullptr && PyMemoryView_Check(base)) base = PyMemoryView_GET_BASE(base);
    if (base != nullptr && Py_IS_TYPE(base, reinterpret_cast<PyTypeObject*>(own)))
        return memory_view::of(reinterpret_cast<memory_object*>(base)->view->memory, view.buf, view);
    auto memory = shared_memory::copy_of(view.buf, static_cast<std::size_t>(view.len));
    void* const block = memory->block();
    return memory_view::of(std::move(memory), block, view);
}

/// A tuple of the interpreter that runs now. `own`: its type for memory that came from outside, which goes back as it is.
inline std::vector<crossing> read(PyObject* tuple, PyObject* own) {
    std::vector<crossing> out;
    if (!PyTuple_Check(tuple)) throw py::type_error("a tuple is expected");
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); ++i) {
        PyObject* const item = PyTuple_GET_ITEM(tuple, i);
        if (item == Py_None) {
            out.emplace_back();
        } else if (PyLong_Check(item)) {
            const std::int64_t value = PyLong_AsLongLong(item);
            if (value == -1 && PyErr_Occurred()) throw py::error_already_set();
            out.emplace_back(value);
        } else if (PyBytes_Check(item)) {
            char* const at = PyBytes_AS_STRING(item);
            const Py_ssize_t size = PyBytes_GET_SIZE(item);
            if (size < worth_sharing) out.emplace_back(std::string(at, static_cast<std::size_t>(size)));
            else if (own == nullptr) out.emplace_back(memory_view::bytes_of(shared_memory::of_buffer(item), at, size));
            else out.emplace_back(copied_bytes(at, size));
        } else if (PyTuple_Check(item)) {
            std::vector<memory_view> views;
            for (Py_ssize_t j = 0; j < PyTuple_GET_SIZE(item); ++j) views.push_back(read_view(PyTuple_GET_ITEM(item, j), own));
            out.emplace_back(std::move(views));
        } else {
            throw py::type_error("an item that cannot cross");
        }
    }
    return out;
}
inline PyObject* make_item(std::monostate, PyObject*) { return Py_NewRef(Py_None); }
inline PyObject* make_item(std::int64_t value, PyObject*) { return PyLong_FromLongLong(value); }
inline PyObject* make_item(const std::string& text, PyObject*) {
    return PyBytes_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
}
inline PyObject* make_item(memory_view& view, PyObject* type) { return memory_object::look_at(type, std::move(view)); }
inline PyObject* make_item(std::vector<memory_view>& views, PyObject* type) {
    auto tuple = py::reinterpret_steal<py::object>(PyTuple_New(static_cast<Py_ssize_t>(views.size())));
    for (std::size_t i = 0; tuple && i < views.size(); ++i) {
        PyObject* const item = make_item(views[i], type);
        if (item == nullptr) return nullptr;
        PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), item);
    }
    return tuple.release().ptr();
}

/// The tuple in the interpreter that runs now, or null with an error set.
inline PyObject* make(std::vector<crossing> items, PyObject* type) {
    auto tuple = py::reinterpret_steal<py::object>(PyTuple_New(static_cast<Py_ssize_t>(items.size())));
    for (std::size_t i = 0; tuple && i < items.size(); ++i) {
        PyObject* const item = std::visit([type](auto& value) { return make_item(value, type); }, items[i]);
        if (item == nullptr) return nullptr;
        PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), item);
    }
    return tuple.release().ptr();
}

}  // namespace tenfold::boundary
