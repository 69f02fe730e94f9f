// arguments.hpp - the argument types that this lesson needs beside boundary.hpp's: an unsigned 64-bit int, a bool that is
// one, a time limit. As there, a parameter's type names its argument, so that the error can.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include "boundary.hpp"

namespace tenfold::boundary {

/// An int in [0, 2**64): the values of an atomic counter.
template <name Arg>
struct unsigned_integer : detail::argument {
    static constexpr auto signature = py::detail::const_name("int");
    std::uint64_t value = 0;

    bool load(py::handle source) {
        if (detail::is_text(source) || PyIndex_Check(source.ptr()) == 0)
            throw py::type_error(detail::join(Arg.text, " must be an int, not ", detail::type_of(source)));
        const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(source.ptr()));
        if (!number) throw py::error_already_set();
        value = PyLong_AsUnsignedLongLong(number.ptr());
        if (value == static_cast<std::uint64_t>(-1) && PyErr_Occurred() != nullptr) {
            PyErr_Clear();
            throw std::overflow_error(
                detail::join(Arg.text, " must be in range(2**64): the counter is an unsigned 64-bit int"));
        }
        return true;
    }
    operator std::uint64_t() const noexcept { return value; }
};

/// True or False. An int is most likely a mistake: the flag would not give it back.
template <name Arg>
struct boolean : detail::argument {
    static constexpr auto signature = py::detail::const_name("bool");
    bool value = false;

    bool load(py::handle source) {
        if (!PyBool_Check(source.ptr()))
            throw py::type_error(
                detail::join(Arg.text, " must be True or False, not ", detail::type_of(source), "; use bool(", Arg.text, ")"));
        value = source.ptr() == Py_True;
        return true;
    }
    operator bool() const noexcept { return value; }
};

/// Seconds >= 0, infinity included.
template <name Arg, bool MayBeNone>
struct waiting_time : detail::argument {
    static constexpr auto signature = py::detail::const_name<MayBeNone>("float | None", "float");
    std::optional<double> seconds;

    bool load(py::handle source) {
        if (MayBeNone && source.is_none()) return true;
        seconds = detail::convert<double>(source, {Arg.text});
        if (!(*seconds >= 0)) throw py::value_error(detail::join(Arg.text, " must be at least 0, and not NaN"));
        return true;
    }
};

}  // namespace tenfold::boundary
