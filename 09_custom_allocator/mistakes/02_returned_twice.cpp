// Mistake: an object is given back twice to a pool that does not look. It is on the free list twice, so the next two who ask
// get the same memory. The cure is a pool that looks, or better: handles that give back by themselves.
#include <pybind11/pybind11.h>

#include <memory>
#include <string>

#include "tenfold/fixed_pool.hpp"

namespace {

template <class Pool>
std::string return_twice() {
    Pool pool(16);
    void* const order = pool.allocate();
    pool.deallocate(order);
    try {
        pool.deallocate(order);  // by another path through the program
    } catch (const tenfold::double_free&) {
        return "done";
    }
    auto* const balance = ::new (pool.allocate()) double(100.0);
    auto* const fee = ::new (pool.allocate()) double(0.5);
    *fee += 1.0;
    return *balance == 100.0 ? "done" : "a fee was added and the balance is " + std::to_string(*balance);
}

}  // namespace

PYBIND11_MODULE(returned_twice, m) {
    m.def("wrong", return_twice<tenfold::unchecked_fixed_pool>);
    m.def("right", return_twice<tenfold::fixed_pool>);
}
