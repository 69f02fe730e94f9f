// bind_slots.hpp - PoolAllocator: memoryviews that own their memory, and every way to give one back wrongly.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "bind_common.hpp"
#include "py_slot.hpp"

namespace tenfold::boundary {

/// PoolAllocator. Its slots do not need it: they hold the pool, which is shared.
class py_allocator {
public:
    py_allocator(std::size_t capacity, std::size_t budget, bool debug, bool trace, py::object slot_type)
        : budget_(budget), trace_(trace), slot_type_(std::move(slot_type)) {
        sized_options options;
        options.budget = budget;
        options.debug = debug;
        pool_ = std::make_shared<slot_pool>(capacity, std::move(options));
    }

    py::object allocate(std::size_t size) {
        if (closed_) throw std::runtime_error("the pool is closed");
        py::object slot;
        try {
            slot = py_slot::make(slot_type_, pool_, size, trace_ ? caller() : std::string());
        } catch (const pool_exhausted&) {
            refuse(detail::join("all ", pool_->pool.capacity(), " slots of the pool are in use"));
        } catch (const budget_exceeded&) {
            refuse(detail::join(size, " bytes do not fit the pool's budget of ", budget_, ": ", pool_->pool.stats().live_bytes,
                                " are in use, ", pool_->pool.stats().bytes, " are held"));
        }
        auto view = py::reinterpret_steal<py::object>(PyMemoryView_FromObject(slot.ptr()));
        if (!view) throw py::error_already_set();
        return view;
    }

    void deallocate(py::handle view) {
        if (!PyMemoryView_Check(view.ptr()))
            throw py::type_error("deallocate takes a memoryview that allocate returned, not " + detail::type_of(view));
        const auto* const memory = reinterpret_cast<PyMemoryViewObject*>(view.ptr());
        const auto base = py::reinterpret_steal<py::object>(PyObject_GetAttr(view.ptr(), obj_.ptr()));
        if (!base) {  // ValueError: the view is released
            PyErr_Clear();
            throw py::value_error("double free: the view was released before");
        }
        if (!py::type::handle_of(base).is(slot_type_))
            throw py::value_error("foreign free: the view's memory is not from a pool");
        auto* const slot = reinterpret_cast<py_slot*>(base.ptr());
        if (slot->home != pool_) throw py::value_error("foreign free: the view's memory is from another pool");
        // Views of this view (slices, casts) share its managed buffer; arrays and the like are exports of the view itself.
        const Py_ssize_t others = (slot->exports - 1) + (memory->mbuf->exports - 1) + memory->exports;
        if (others > 0)
            throw py::buffer_error(detail::join("the slot of ", slot->size, " bytes is still in use: ", others,
                                                others == 1 ? " other view or array" : " other views or arrays",
                                                " of it; drop or release() what was made of the view first"));
        const auto released =
            py::reinterpret_steal<py::object>(PyObject_CallMethodObjArgs(view.ptr(), release_.ptr(), nullptr));
        if (!released) throw py::error_already_set();
        const py::scoped_critical_section lock{base};  // only without a GIL: somebody may have been faster
        if (slot->exports == 0) slot->give_back();  // else it goes back with the last view
    }

    /// (size, where) of each slot that is out. Nothing more is handed out from now on.
    py::list close() {
        closed_ = true;
        return live();
    }
    py::list live() const {
        py::list out;
        for (const auto& each : pool_->live()) out.append(py::make_tuple(each.size, each.where));
        return out;
    }

    bool closed() const noexcept { return closed_; }
    pool_allocator& pool() noexcept { return pool_->pool; }
    std::size_t budget() const noexcept { return budget_; }

private:
    [[noreturn]] static void refuse(const std::string& why) {
        PyErr_SetString(PyExc_MemoryError, why.c_str());
        throw py::error_already_set();
    }
    /// "file.py:12" of the Python code that called us: a C function has no frame of its own.
    static std::string caller() {
        PyFrameObject* const frame = PyEval_GetFrame();
        if (frame == nullptr) return {};
        const auto code = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
        return detail::join(std::string(py::str(code.attr("co_filename"))), ":", PyFrame_GetLineNumber(frame));
    }

    std::size_t budget_;
    bool trace_;
    std::atomic<bool> closed_{false};
    py::object slot_type_;
    const py::str obj_{"obj"}, release_{"release"};  // made once: they are looked up for every view
    std::shared_ptr<slot_pool> pool_;
};

}  // namespace tenfold::boundary

template <>
class pybind11::detail::type_caster<tenfold::boundary::py_allocator>
    : public tenfold::boundary::made_caster<tenfold::boundary::py_allocator> {};

namespace tenfold::boundary {

inline void bind_slots(py::module_& m) {
    const py::object slot_type = py_slot::make_type(m);
    m.attr("Slot") = slot_type;
    py::class_<py_allocator>(m, "PoolAllocator", py::module_local(), R"(
Memory that is handed out as memoryviews, and handed out again when they are gone. Any number of threads may use one pool.

Parameters
----------
capacity : int
    Slots that may be in use at once, 1 to 2**31.
budget : int, optional
    Bytes that the pool may hold, those of free slots included. None: no limit.
debug : bool
    Fill slots that come back with a pattern, and look for writes into it (`check`).
trace : bool
    Note the line of Python that asked for each slot; `close` names it for those that never came back.

Notes
-----
Sizes are rounded up to size classes. Without a budget each thread keeps free slots of each class; what another thread gives
back goes to the slot's own thread through a list without locks. With a budget all threads share the free slots.
)")
        .def(py::init([slot_type](count<"capacity", (std::int64_t{1} << 31)> capacity, const py::object& budget, bool debug,
                                  bool trace) {
                 std::size_t bytes = std::numeric_limits<std::size_t>::max();
                 if (count<"budget"> given; !budget.is_none() && given.load(budget)) bytes = static_cast<std::size_t>(given);
                 return std::make_unique<py_allocator>(static_cast<std::size_t>(capacity), bytes, debug, trace, slot_type);
             }),
             "capacity"_a, py::kw_only(), "budget"_a = py::none(), "debug"_a = false, "trace"_a = false)
        .def(
            "allocate", [](py_allocator& self, count<"size"> size) { return self.allocate(static_cast<std::size_t>(size)); },
            "size"_a, R"(
A writable view of `size` bytes. What is in them is what was left there.

Parameters
----------
size : int
    Bytes, at least 1.

Returns
-------
memoryview
    Format ``"B"``. The slot is its own for as long as the view, or anything made of it, is alive: a slice, a cast, an array
    of ``numpy.frombuffer``. ``view.release()``, the end of a ``with`` block, or its last reference going gives it back.

Raises
------
MemoryError
    All slots are in use, or the budget is used up.
RuntimeError
    The pool is closed; or, with `debug`, memory was written to after it had come back.
)")
        .def("deallocate", &py_allocator::deallocate, "view"_a, R"(
Releases the view and gives its slot back, if nothing else uses it.

Parameters
----------
view : memoryview

Raises
------
BufferError
    Other views or arrays of the slot are alive: nothing was changed.
ValueError
    The view was released before (a double free), or its memory is not from this pool (a foreign free).
)")
        .def(
            "available", [](py_allocator& self) { return self.pool().available(); }, R"(
How many slots may still be handed out.

Returns
-------
int
)")
        .def(
            "trim", [](py_allocator& self) { self.pool().trim(); },
            "Gives memory of free slots back to the system: this thread's, and that of threads that have ended.")
        .def(
            "check", [](py_allocator& self) { self.pool().check(); }, R"(
With `debug`: looks at the free slots that this thread keeps.

Raises
------
RuntimeError
    One was written to after it had come back: by a pointer, or an address, that was kept too long.
)")
        .def("live", &py_allocator::live, R"(
What is in use now, the oldest first.

Returns
-------
list of (int, str)
    Bytes of each slot, and with `trace` the line that asked for it.
)")
        .def_property_readonly(
            "capacity", [](py_allocator& self) { return self.pool().capacity(); }, "Slots that may be in use at once.")
        .def_property_readonly("closed", &py_allocator::closed, "Whether `close` was called.")
        .def("_close", &py_allocator::close, "Hands out nothing more; what is still in use, as from `live`.")
        .def(
            "_stats",
            [](py_allocator& self) {
                const auto s = self.pool().stats();
                return py::make_tuple(s.hits, s.misses, s.live, s.peak, s.bytes, s.live_bytes);
            },
            "See PoolStats.");
}

}  // namespace tenfold::boundary
