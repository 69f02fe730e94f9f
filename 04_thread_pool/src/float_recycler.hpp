// float_recycler.hpp: a free list for the float objects of results, so that batch after batch makes none.
//
// A list of a million floats is a million objects. Making and dropping them takes several times longer than reading the
// input, computing, and filling the list (CPython's own free list holds 100 floats). So a pool keeps a reference to the
// floats that it has handed out. At the next batch, one whose only reference is that one can be seen by nobody else: it
// gets the new value. Floats that somebody still holds are never touched.
//
// For CPython with the GIL: all of it runs with the GIL held. Where a reference count does not prove that nobody looks
// (free-threaded builds, PyPy, GraalPy), nothing is kept and each float is made anew.
// The price: one batch of a million keeps 40 MB, 32 bytes per float and 8 for the pointer to it (`most` is the limit), and
// keeps it until clear(), however small the later batches are.
// To copy it: this file, pybind11, C++20.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/typing.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#if defined(Py_GIL_DISABLED) || defined(PYPY_VERSION) || defined(GRAALVM_PYTHON)
#define TENFOLD_COUNTS_PROVE 0
#else
#define TENFOLD_COUNTS_PROVE 1  // a float with one reference is seen by its owner alone
#endif

namespace tenfold::boundary {

class float_recycler {
public:
    static constexpr std::size_t most = std::size_t{1} << 20;

    float_recycler() = default;
    float_recycler(const float_recycler&) = delete;
    float_recycler& operator=(const float_recycler&) = delete;
    ~float_recycler() { clear(); }

    /// Contiguous doubles -> list of float.
    pybind11::typing::List<double> to_list(std::span<const double> values) {
        auto list = pybind11::reinterpret_steal<pybind11::typing::List<double>>(PyList_New(Py_ssize_t(values.size())));
        if (!list) throw pybind11::error_already_set();
        const std::size_t keep = std::min(values.size(), most);
#if TENFOLD_COUNTS_PROVE
        const bool some_free = worth_a_look(keep);
#endif
        for (std::size_t i = 0; i < values.size(); ++i) {
#if TENFOLD_COUNTS_PROVE
            PyObject* const mine = some_free && i < kept_.size() ? kept_[i] : nullptr;
            if (mine != nullptr && Py_REFCNT(mine) == 1) {
                reinterpret_cast<PyFloatObject*>(mine)->ob_fval = values[i];
                Py_INCREF(mine);
                PyList_SET_ITEM(list.ptr(), Py_ssize_t(i), mine);
                continue;
            }
#endif
            PyObject* const item = PyFloat_FromDouble(values[i]);
            if (item == nullptr) throw pybind11::error_already_set();
            PyList_SET_ITEM(list.ptr(), Py_ssize_t(i), item);
            if (i < keep) remember(i, item);
        }
        return list;
    }

    void clear() noexcept {
#if TENFOLD_COUNTS_PROVE
        for (PyObject* const item : std::exchange(kept_, {})) Py_DECREF(item);
#endif
    }

private:
    /// Whoever keeps the results makes us look at a million counts for nothing: so look at a few first.
    bool worth_a_look(std::size_t wanted) const noexcept {
        const std::size_t there = std::min(wanted, kept_.size()), step = there / 64 + 1;
        std::size_t looked = 0, free = 0;
        for (std::size_t i = 0; i < there; i += step, ++looked) free += Py_REFCNT(kept_[i]) == 1 ? 1 : 0;
        return 2 * free > looked;
    }

    void remember([[maybe_unused]] std::size_t at, [[maybe_unused]] PyObject* item) {
#if TENFOLD_COUNTS_PROVE
        if (at < kept_.size()) {
            Py_INCREF(item);
            Py_DECREF(std::exchange(kept_[at], item));  // the end of a float runs no Python code
        } else {
            kept_.push_back(item);  // may throw: the reference is taken after it
            Py_INCREF(item);
        }
#endif
    }

    std::vector<PyObject*> kept_;
};

}  // namespace tenfold::boundary
