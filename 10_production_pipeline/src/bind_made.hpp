// bind_made.hpp: objects whose __init__ never ran: `Class.__new__(Class)`, or a subclass that forgets super().__init__().
#pragma once

#include <pybind11/pybind11.h>

#include "boundary.hpp"

namespace bind {

/// For type_caster<T>: pybind11 would give a method memory in which nothing has been made yet, and for None a null pointer.
template <class T>
struct made_caster : pybind11::detail::type_caster_base<T> {
    bool load(pybind11::handle source, bool convert) {
        if (source.is_none()) return false;
        if (pybind11::isinstance<T>(source) && !pybind11::detail::is_holder_constructed(source.ptr()))
            throw pybind11::type_error(tenfold::boundary::detail::type_of(source) + ".__init__() has not been called");
        return pybind11::detail::type_caster_base<T>::load(source, convert);
    }
};

}  // namespace bind
