// bind_simd.hpp: which instruction sets there are, which one runs, and counters that prove who owns what.
#pragma once

#include "bind_arguments.hpp"
#include "tenfold/span_simd.hpp"

namespace bind {

inline void bind_simd(py::module_& m) {
    m.def(
        "detect_simd_support",
        [] {
            py::typing::Dict<py::str, py::bool_> support;
            const auto detected = zc::simd_info().detected;
            for (const auto level :
                 {zc::simd_level::baseline, zc::simd_level::avx2, zc::simd_level::avx512, zc::simd_level::neon})
                support[zc::name(level)] = std::find(detected.begin(), detected.end(), level) != detected.end();
            return support;
        },
        R"(
Which instruction sets this CPU and its operating system have.

Returns
-------
dict of str to bool
    "baseline" (what every CPU of this architecture has), "avx2" (with FMA), "avx512", "neon".
)");

    m.def(
        "simd_info",
        [] {
            const auto info = zc::simd_info();
            const auto names = [](const std::vector<zc::simd_level>& levels) {
                py::list out;
                for (const auto level : levels) out.append(zc::name(level));
                return out;
            };
            py::dict out;
            out["detected"] = names(info.detected);
            out["compiled"] = names(info.compiled);
            out["usable"] = names(info.usable);
            out["selected"] = zc::name(info.selected);
            out["forced"] = info.forced;
            out["target"] = info.target;
            out["vector_bytes"] = info.vector_bytes;
            return out;
        },
        R"(
What the kernels can use and what they use.

Returns
-------
dict
    "detected", "compiled", "usable" (both): lists of names, from narrow to wide; "selected": the one that runs; "forced":
    whether :func:`force_simd` chose it; "target": Highway's name for it; "vector_bytes".
)");

    m.def(
        "force_simd",
        [](const py::object& level) {
            if (level.is_none()) return zc::choose_level();
            if (!PyUnicode_Check(level.ptr())) throw py::type_error(join("level must be a str or None, not ", type_of(level)));
            const char* const name = PyUnicode_AsUTF8(level.ptr());
            if (name == nullptr) throw py::error_already_set();  // half of a surrogate pair
            const auto known = zc::level_named(name);
            if (!known)
                throw py::value_error(join("level must be one of 'baseline', 'avx2', 'avx512', 'neon', not '", name, "'"));
            zc::force_level(*known);
        },
        "level"_a, R"(
Makes all kernels of this process use one instruction set, for tests and comparisons; None goes back to the best one.

Parameters
----------
level : {"baseline", "avx2", "avx512", "neon"} or None

Raises
------
ValueError
    This CPU, or this build, does not have it.

See Also
--------
simd_level : the same for a ``with`` block.
)");

    m.def("live_owners", [] { return zc::owned_buffers().live(); }, R"(
How many pieces of memory of this module's are alive, each owned by the arrays made on it.

Returns
-------
int
)");
    m.def("owners_made", [] { return zc::owned_buffers().made; }, R"(
How many pieces of memory this module has ever made: a call that leaves it alone has copied nothing here.

Returns
-------
int
)");
    m.def(
        "live_exports",
        [] {
            const auto arrow = zc::arrow_exports();
            const auto dlpack = dl::exports();
            return (arrow.exported - arrow.released) + (dlpack.made - dlpack.released);
        },
        R"(
How many exported Arrow structs and DLPack tensors nobody has released yet.

Returns
-------
int
)");
}

}  // namespace bind
