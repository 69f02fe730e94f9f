// keyword_names.hpp: mends what CPython before 3.12.4 leaves of a sub-interpreter that is gone (its issue 119213).
//
// A C function with keyword arguments keeps the tuple of their names in a C static, made by whichever interpreter calls it
// first. Made in a sub-interpreter, it dangles once that has ended, and at exit the main interpreter frees it as its own:
// "free(): invalid size". So around each end, the tuples that are new are made anew here, and the old ones are left.
// To copy it: this file. From 3.12.4 on it does nothing.
#pragma once

#include <pybind11/pybind11.h>

#if PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030D0000
#include <unordered_set>
#endif

namespace tenfold::boundary {

/// With the main interpreter's GIL held: before the first sub-interpreter is made (`only_look`), and before and after each end.
inline void mend_keyword_names([[maybe_unused]] bool only_look) {
#if PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030D0000
    if (Py_Version >= 0x030C0400) return;
    static auto* const known = new std::unordered_set<const _PyArg_Parser*>;
    if (only_look && !known->empty()) return;
    static const char* const keywords[] = {"x", nullptr};
    auto* const newest = new _PyArg_Parser{};  // the first use puts it at the head of CPython's list, for good
    newest->keywords = keywords;
    newest->fname = "f";
    PyObject* values[1] = {};
    if (_PyArg_UnpackKeywords(nullptr, 0, nullptr, nullptr, newest, 0, 1, 0, values) == nullptr) PyErr_Clear();
    for (_PyArg_Parser* each = newest; each != nullptr; each = each->next) {
        if (!known->insert(each).second || only_look || each->initialized != 1 || each->kwtuple == nullptr) continue;
        const Py_ssize_t size = PyTuple_GET_SIZE(each->kwtuple);
        PyObject* names = PyTuple_New(size);
        for (Py_ssize_t i = 0; names != nullptr && i < size; ++i) {
            PyObject* const name = PyUnicode_InternFromString(each->keywords[each->pos + i]);
            if (name == nullptr) Py_CLEAR(names);
            else PyTuple_SET_ITEM(names, i, name);
        }
        if (names == nullptr) return PyErr_Clear();
        each->kwtuple = names;  // nobody waits for anything here: a reader takes either tuple, and both hold the same names
    }
#endif
}

}  // namespace tenfold::boundary
