// Exercise 3. A pool of `count` blocks of `size` bytes in one piece of memory, without a list on the side: a free block holds
// the address of the next free one.
// Write allocate() and deallocate():
//   - allocate() hands out each block once, and nullptr when all are out;
//   - deallocate() puts a block in front: the next allocate() gives that one, which is still in the cache;
//   - allocate() takes blocks that were never used when no other is free. The memory is not touched before: no loop in the
//     constructor.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace py = pybind11;

class block_pool {
public:
    block_pool(std::size_t size, std::size_t count)
        : size_((size + 15) / 16 * 16), count_(count), memory_(new std::byte[size_ * count_]) {}

    void* allocate() { return nullptr; }
    void deallocate(void*) {}

private:
    struct free_block {
        free_block* next;
    };

    [[maybe_unused]] std::size_t size_, count_;
    std::unique_ptr<std::byte[]> memory_;
    free_block* first_free_ = nullptr;
    std::size_t used_ = 0;  // blocks from here on were never handed out
};

PYBIND11_MODULE(free_list, m) {
    py::class_<block_pool>(m, "Pool")
        .def(py::init<std::size_t, std::size_t>())
        .def("allocate", [](block_pool& pool) { return reinterpret_cast<std::uintptr_t>(pool.allocate()); })
        .def("deallocate", [](block_pool& pool, std::uintptr_t block) { pool.deallocate(reinterpret_cast<void*>(block)); })
        .def("fill", [](block_pool&, std::uintptr_t block, std::size_t size, int value) {
            for (std::size_t i = 0; i < size; ++i)
                reinterpret_cast<unsigned char*>(block)[i] = static_cast<unsigned char>(value);
        });
}
