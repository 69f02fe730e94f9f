// Exercise 3, solved: two places to look, the free list and the blocks never used.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace py = pybind11;

class block_pool {
public:
    block_pool(std::size_t size, std::size_t count)
        : size_((size + 15) / 16 * 16), count_(count), memory_(new std::byte[size_ * count_]) {}

    void* allocate() {
        if (first_free_ != nullptr) {
            free_block* const block = first_free_;
            first_free_ = block->next;
            return block;
        }
        if (used_ == count_) return nullptr;
        return memory_.get() + size_ * used_++;
    }
    void deallocate(void* block) { first_free_ = ::new (block) free_block{first_free_}; }

private:
    struct free_block {
        free_block* next;
    };

    std::size_t size_, count_;
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
