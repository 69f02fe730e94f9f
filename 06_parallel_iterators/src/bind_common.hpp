// bind_common.hpp: what all of this module's bindings share: running a pipeline without the GIL, errors, `out`.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

#include "boundary.hpp"
#include "tenfold/par.hpp"

namespace bind {

namespace py = pybind11;
using namespace py::literals;
using namespace tenfold::boundary;
using std::int64_t;

using floats = list_of<double, "numbers">;
using ints = list_of<int64_t, "numbers">;
using float_array = array_of<double, "numbers">;
using int_array = array_of<int64_t, "numbers">;
using float_out = out_of<double, "out">;

/// Runs f(par), the GIL released: par(range) starts a pipeline on so many threads that Ctrl-C ends.
template <class F>
auto pipeline(int num_threads, F&& f) {
    return released([&](auto stop) {
        return f([&]<class Range>(Range&& range) {
            return tenfold::par(std::forward<Range>(range), tenfold::openmp_executor{num_threads}, stop);
        });
    });
}

/// `out` is for arrays; with lists it may be named, but not used.
inline void check_no_out(const py::object& out, const char* argument) {
    if (!out.is_none()) throw py::type_error(std::string("out needs arrays, but ") + argument + " is none; leave it out");
}

/// For element-wise work `out` may be the input, all of it or nothing.
template <class T>
void check_same_or_apart(std::span<const T> in, std::span<T> out, const char* argument) {
    if (overlaps(in, out) && !same_memory(in, out))
        throw py::value_error(std::string("out overlaps ") + argument + " in part; pass the same array, or one apart from it");
}

template <class T>
void check_apart(std::span<const T> in, std::span<T> out, const char* argument) {
    if (overlaps(in, out)) throw py::value_error(std::string("out overlaps ") + argument + "; pass an array apart from it");
}

/// Results that C++ owns, as an array that owns them: nothing is copied.
template <class T>
array_object<T> to_array(tenfold::items<T>&& results) {
    auto owned = std::make_unique<tenfold::items<T>>(std::move(results));
    const py::capsule owner(owned.get(), [](void* pointer) { delete static_cast<tenfold::items<T>*>(pointer); });
    const auto* const values = owned.release();
    return py::reinterpret_steal<array_object<T>>(
        py::array_t<T>(static_cast<py::ssize_t>(values->size()), values->data(), owner).release());
}

}  // namespace bind
