// counting_new.hpp - this module's operator new, which counts: the proof of "no allocation after warm-up", from Python.
//
// C++ lets a program replace operator new; a module that is loaded as Python loads it replaces it for itself. What we get comes
// from malloc as before, so it does not matter who frees it. Include it in exactly one source file. Only where modules are ELF
// files (Linux): elsewhere `counted` is false and nothing is counted.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace tenfold::boundary {

struct allocation_tally {
    std::atomic<std::uint64_t> count{0}, bytes{0};

    void add(std::size_t size) noexcept {
        count.fetch_add(1, std::memory_order_relaxed);  // pairs with the reader's load: a figure, nothing hangs on it
        bytes.fetch_add(size, std::memory_order_relaxed);  // the same
    }
};
inline allocation_tally allocations_made;

#ifdef __ELF__
inline constexpr bool counted = true;

inline void* counted_new(std::size_t size, std::size_t alignment) {
    allocations_made.add(size);
    if (size == 0) size = 1;
    if (size > SIZE_MAX - alignment) throw std::bad_alloc();  // rounding up would wrap
    for (;;) {
        void* const memory =
            alignment == 0 ? std::malloc(size) : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
        if (memory != nullptr) return memory;
        if (const auto handler = std::get_new_handler()) handler();
        else throw std::bad_alloc();
    }
}
#else
inline constexpr bool counted = false;
#endif

}  // namespace tenfold::boundary

#ifdef __ELF__
void* operator new(std::size_t size) { return tenfold::boundary::counted_new(size, 0); }
void* operator new(std::size_t size, std::align_val_t alignment) {
    return tenfold::boundary::counted_new(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size) { return tenfold::boundary::counted_new(size, 0); }
void* operator new[](std::size_t size, std::align_val_t alignment) {
    return tenfold::boundary::counted_new(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
#endif
