// A DLPack capsule, twice: with pybind11's void(*)(void*) destructor, and with one that looks at the capsule's name.
#include <pybind11/pybind11.h>

#include "tenfold/dlpack_abi.hpp"

namespace py = pybind11;
using tenfold::zero_copy::dlpack::DLManagedTensor;

static int freed = 0;

static DLManagedTensor* make() {
    auto* const made = new DLManagedTensor{};
    made->deleter = [](DLManagedTensor*) { ++freed; };  // counts, so that this program survives what would be a double free
    return made;
}

PYBIND11_MODULE(freed_twice, m) {
    m.def("wrong", [] {
        return py::capsule(make(), "dltensor", [](void* p) {
            auto* const tensor = static_cast<DLManagedTensor*>(p);
            tensor->deleter(tensor);
        });
    });
    m.def("right", [] {
        return py::capsule(make(), "dltensor", [](PyObject* capsule) {
            if (!PyCapsule_IsValid(capsule, "dltensor")) return;  // renamed: a consumer has it
            auto* const tensor = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
            tensor->deleter(tensor);
        });
    });
    m.def("consume", [](const py::capsule& capsule) {  // what numpy.from_dlpack does
        auto* const tensor = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
        PyCapsule_SetName(capsule.ptr(), "used_dltensor");
        tensor->deleter(tensor);
    });
    m.def("freed", [] { return freed; });
}
