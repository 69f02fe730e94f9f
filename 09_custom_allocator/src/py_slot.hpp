// py_slot.hpp - one slot of a pool as a Python object, which memoryview(slot) keeps alive.
//
// Who holds what: a view, and every slice, cast and NumPy array made of it, holds a reference to the slot (that is the `obj` of
// a Py_buffer); the slot holds the pool's memory (a shared_ptr). So memory goes back when the last view is gone, never earlier,
// in whatever order Python lets go, also after PoolAllocator.close() and after the pool's own end. The slot counts its exports:
// giving it back by hand is refused while there is another one. To copy it: this file, and whatever pool you have.
#pragma once

#include <pybind11/critical_section.h>
#include <pybind11/pybind11.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "tenfold/pool_allocator.hpp"

namespace tenfold::boundary {
namespace py = pybind11;

#ifdef Py_GIL_DISABLED
using slot_lock = std::mutex;
#else
struct slot_lock {  // the GIL is the lock: whoever makes or drops a slot holds it
    void lock() noexcept {}
    void unlock() noexcept {}
};
#endif

struct py_slot;

/// A pool, and which of its slots are out: what slots share, and outlive PoolAllocator with.
class slot_pool {
public:
    struct leak {
        std::size_t size;
        std::string where;
    };

    slot_pool(std::size_t capacity, tenfold::sized_options options) : pool(capacity, std::move(options)) {}

    void add(py_slot* slot) noexcept;
    void remove(py_slot* slot) noexcept;
    std::vector<leak> live() const;

    tenfold::pool_allocator pool;

private:
    mutable slot_lock lock_;
    py_slot* first_ = nullptr;
};

/// The Python object. Its memory is C's; the members that are C++ are made in make() and unmade in dealloc().
struct py_slot {
    PyObject ob_base;
    std::shared_ptr<slot_pool> home;
    void* data;  // null: given back
    std::size_t size;
    std::atomic<Py_ssize_t> exports;
    std::string where;
    py_slot *before, *after;  // slot_pool's list

    /// The Python type, one per interpreter.
    static py::object make_type(py::module_& m);
    /// A slot of `size` bytes; MemoryError (std::bad_alloc) when the budget does not have them.
    static py::object make(py::handle type, std::shared_ptr<slot_pool> home, std::size_t size, std::string where);

    /// Back into the pool; the object stays, empty.
    void give_back() noexcept {
        if (data == nullptr) return;
        home->remove(this);
        try {
            home->pool.deallocate(std::exchange(data, nullptr));
        } catch (const std::bad_alloc&) {
            // Not even a note for another thread's slot could be had: the slot stays out until the pool goes.
        }
    }

private:
    static PyObject* refuse(PyTypeObject*, PyObject*, PyObject*) {
        PyErr_SetString(PyExc_TypeError, "a Slot is made by PoolAllocator.allocate()");
        return nullptr;
    }
    static int get_buffer(PyObject* self, Py_buffer* view, int flags) {
        auto* const slot = reinterpret_cast<py_slot*>(self);
        const py::scoped_critical_section lock{py::handle(self)};  // only without a GIL: nobody gives it back meanwhile
        if (slot->data == nullptr) {
            view->obj = nullptr;
            PyErr_SetString(PyExc_BufferError, "the slot was given back to its pool");
            return -1;
        }
        if (PyBuffer_FillInfo(view, self, slot->data, static_cast<Py_ssize_t>(slot->size), 0, flags) != 0) return -1;
        ++slot->exports;
        return 0;
    }
    static void release_buffer(PyObject* self, Py_buffer*) { --reinterpret_cast<py_slot*>(self)->exports; }
    static void dealloc(PyObject* self) {
        auto* const slot = reinterpret_cast<py_slot*>(self);
        PyTypeObject* const type = Py_TYPE(self);
        slot->give_back();
        std::destroy_at(&slot->where);
        std::destroy_at(&slot->home);  // maybe the last who holds the pool's memory
        type->tp_free(self);
        Py_DECREF(type);
    }
    static PyObject* repr(PyObject* self) {
        auto* const slot = reinterpret_cast<py_slot*>(self);
        if (slot->data == nullptr) return PyUnicode_FromString("<custom_allocator.Slot, given back>");
        return PyUnicode_FromFormat("<custom_allocator.Slot of %zu bytes at %p>", slot->size, slot->data);
    }
};

inline void slot_pool::add(py_slot* slot) noexcept {
    const std::lock_guard guard(lock_);
    slot->before = nullptr;
    slot->after = first_;
    if (first_ != nullptr) first_->before = slot;
    first_ = slot;
}

inline void slot_pool::remove(py_slot* slot) noexcept {
    const std::lock_guard guard(lock_);
    (slot->before != nullptr ? slot->before->after : first_) = slot->after;
    if (slot->after != nullptr) slot->after->before = slot->before;
}

/// What is out, the oldest first.
inline std::vector<slot_pool::leak> slot_pool::live() const {
    std::vector<leak> out;
    const std::lock_guard guard(lock_);
    for (const py_slot* slot = first_; slot != nullptr; slot = slot->after) out.push_back({slot->size, slot->where});
    return {out.rbegin(), out.rend()};
}

inline py::object py_slot::make_type(py::module_& m) {
    static PyType_Slot slots[] = {
        {Py_tp_doc,
         const_cast<char*>("Memory of a pool, as a view's ``obj``: it goes back to the pool when nothing holds it any "
                           "more. Only `PoolAllocator.allocate` makes one.")},
        {Py_tp_new, reinterpret_cast<void*>(refuse)},
        {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
        {Py_tp_repr, reinterpret_cast<void*>(repr)},
        {Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
        {Py_bf_releasebuffer, reinterpret_cast<void*>(release_buffer)},
        {0, nullptr},
    };
    static PyType_Spec spec = {"custom_allocator.Slot", sizeof(py_slot), 0, Py_TPFLAGS_DEFAULT, slots};
    auto type = py::reinterpret_steal<py::object>(PyType_FromModuleAndSpec(m.ptr(), &spec, nullptr));
    if (!type) throw py::error_already_set();
    return type;
}

inline py::object py_slot::make(py::handle type, std::shared_ptr<slot_pool> home, std::size_t size, std::string where) {
    void* const data = home->pool.allocate(size).data();
    auto* const heap_type = reinterpret_cast<PyTypeObject*>(type.ptr());
    PyObject* const self = heap_type->tp_alloc(heap_type, 0);
    if (self == nullptr) {
        home->pool.deallocate(data);
        throw py::error_already_set();
    }
    auto* const slot = reinterpret_cast<py_slot*>(self);
    std::construct_at(&slot->home, std::move(home));
    std::construct_at(&slot->where, std::move(where));
    std::construct_at(&slot->exports, 0);
    slot->data = data;
    slot->size = size;
    slot->home->add(slot);
    return py::reinterpret_steal<py::object>(self);
}

}  // namespace tenfold::boundary
