// bindings.cpp - the module custom_allocator: conversions, GIL, docstrings. The algorithms are in include/tenfold. What is where:
//   bind_functions.hpp    sliding_window_sum, parallel_transform_preallocated, batch_process_arena
//   bind_pools.hpp        BufferPool, ObjectPool
//   bind_slots.hpp        PoolAllocator: memoryviews that own their slot (py_slot.hpp)
//   counting_new.hpp      this module's operator new, which counts
#include <pybind11/pybind11.h>

#include "counting_new.hpp"
//
#include "bind_functions.hpp"
#include "bind_pools.hpp"
#include "bind_slots.hpp"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used(), pybind11::multiple_interpreters::per_interpreter_gil()) {
    tenfold::boundary::begin_module();
    m.doc() = "Lesson 09: buffer pools, object pools, arenas, sliding windows, and memoryviews that own their memory.";
    tenfold::boundary::bind_functions(m);
    tenfold::boundary::bind_pools(m);
    tenfold::boundary::bind_slots(m);
}
