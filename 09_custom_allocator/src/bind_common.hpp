// bind_common.hpp: what the bindings of this module share: arguments that are a list or arrays, scratch memory that is kept.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "boundary.hpp"
#include "py_slot.hpp"
#include "tenfold/batch_work.hpp"

namespace tenfold::boundary {

using namespace py::literals;

/// Things that calls borrow and give back: as many as ever ran at once. After fork() the ones in use stay with the parent.
template <class T>
class kept {
public:
    class lease {
    public:
        lease(kept& home, std::unique_ptr<T> thing) : home_(home), thing_(std::move(thing)) {}
        lease(const lease&) = delete;
        lease& operator=(const lease&) = delete;
        ~lease() { home_.give_back(std::move(thing_)); }  // with the GIL
        T* operator->() const noexcept { return thing_.get(); }
        T& operator*() const noexcept { return *thing_; }

    private:
        kept& home_;
        std::unique_ptr<T> thing_;
    };

    /// `make()` is called when none is free.
    template <class Make>
    lease borrow(Make&& make) {
        std::unique_ptr<T> thing;
        {
            const std::lock_guard guard(lock_);
            if (!free_.empty()) {
                thing = std::move(free_.back());
                free_.pop_back();
            }
        }
        if (!thing) {
            thing = make();
            const std::lock_guard guard(lock_);
            free_.reserve(++made_);  // giving back never allocates
        }
        return lease(*this, std::move(thing));
    }

private:
    void give_back(std::unique_ptr<T> thing) noexcept {
        const std::lock_guard guard(lock_);
        free_.push_back(std::move(thing));
    }

    slot_lock lock_;
    std::size_t made_ = 0;
    std::vector<std::unique_ptr<T>> free_;
};

// ---- arguments ---------------------------------------------------------------------------------------------------

/// An array, or a list that is read into memory which is kept: one overload, because a second one costs pybind11 an allocation.
template <name Arg>
struct floats_of : detail::argument {
    static constexpr auto signature =
        py::detail::const_name("collections.abc.Sequence[float] | ") + detail::array_signature<double>;

    bool load(py::handle source) {
        is_array = array.load(source);
        if (!is_array) source_ = py::reinterpret_borrow<py::object>(source);
        return true;
    }
    void read(numbers<double>& into) const {
        into.clear();
        detail::read_numbers(source_, {Arg.text}, into);
    }

    array_of<double, Arg> array;
    bool is_array = false;

private:
    py::object source_;
};

/// Rows that lie one after the other: memory that is kept from call to call.
struct row_scratch {
    numbers<double> values;
    std::vector<std::size_t> offsets;
    std::vector<row> rows;
};

/// A 2-D array, a sequence of 1-D arrays, or a sequence of sequences of numbers; rows of any length.
template <name Arg>
struct batches_of : detail::argument {
    static constexpr auto signature = py::detail::const_name(
                                          "collections.abc.Sequence[collections.abc.Sequence[float]] | "
                                          "collections.abc.Sequence[") +
                                      detail::array_signature<double> + py::detail::const_name("] | ") +
                                      detail::array_signature<double>;
    enum class kind { lists, arrays, matrix };

    bool load(py::handle source) {
        if (matrix.load(source)) {
            given = kind::matrix;
            return true;
        }
        source_ = py::reinterpret_borrow<py::object>(source);
        PyObject* first = nullptr;
        if (PyList_CheckExact(source.ptr()) && PyList_GET_SIZE(source.ptr()) > 0) first = PyList_GET_ITEM(source.ptr(), 0);
        if (PyTuple_Check(source.ptr()) && PyTuple_GET_SIZE(source.ptr()) > 0) first = PyTuple_GET_ITEM(source.ptr(), 0);
        if (first != nullptr && PyObject_CheckBuffer(first) && !detail::is_text(first)) given = kind::arrays;
        return true;
    }

    /// Of a matrix or of arrays: where the rows are. Arrays stay held until `held` is destroyed, with the GIL.
    void find(std::vector<row>& rows, std::vector<detail::buffer>& held) const {
        rows.clear();
        if (given == kind::matrix) {
            const std::size_t cols = matrix.cols();
            for (std::size_t i = 0; i < matrix.rows(); ++i) rows.push_back(matrix.span().subspan(i * cols, cols));
            return;
        }
        const py::tuple items = detail::snapshot(source_, {Arg.text}, "rows");
        for (std::size_t i = 0; i < items.size(); ++i) {
            const py::handle item = PyTuple_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(i));
            const std::string where = detail::join(Arg.text, "[", i, "]");
            if (!PyObject_CheckBuffer(item.ptr()) || detail::is_text(item))
                throw py::type_error(detail::join(where, " must be an array like ", Arg.text, "[0], not ",
                                                  detail::type_of(item), "; pass only arrays or only lists"));
            held.push_back(detail::request<double>(item, where.c_str(), 1, false));
            const auto* const data = static_cast<const double*>(held.back()->buf);
            rows.emplace_back(data, static_cast<std::size_t>(held.back()->len) / sizeof(double));
        }
    }

    /// Of lists: the numbers.
    void read(row_scratch& into) const {
        into.values.clear();
        into.offsets.assign(1, 0);
        into.rows.clear();
        const py::tuple items = detail::snapshot(source_, {Arg.text}, "rows or a 2-D array");
        for (std::size_t i = 0; i < items.size(); ++i) {
            detail::read_numbers(PyTuple_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(i)),
                                 {Arg.text, static_cast<Py_ssize_t>(i)}, into.values);
            into.offsets.push_back(into.values.size());
        }
        const auto values = std::as_const(into.values).span();
        for (std::size_t i = 0; i + 1 < into.offsets.size(); ++i)
            into.rows.push_back(values.subspan(into.offsets[i], into.offsets[i + 1] - into.offsets[i]));
    }

    matrix_of<double, Arg> matrix;
    kind given = kind::lists;

private:
    py::object source_;
};

/// `out` is for arrays; with lists it may be named, but not used.
inline void check_no_out(bool given, const char* argument) {
    if (given) throw py::type_error(std::string("out needs arrays, but ") + argument + " is none; leave it out");
}

/// For element-wise work `out` may be the input, all of it or nothing.
inline void check_same_or_apart(std::span<const double> in, std::span<double> out, const char* argument) {
    if (overlaps(in, out) && !same_memory(in, out))
        throw py::value_error(std::string("out overlaps ") + argument + " in part; pass the same array, or one apart from it");
}
inline void check_apart(std::span<const double> in, std::span<double> out, const char* argument) {
    if (overlaps(in, out)) throw py::value_error(std::string("out overlaps ") + argument + "; pass an array apart from it");
}

}  // namespace tenfold::boundary
