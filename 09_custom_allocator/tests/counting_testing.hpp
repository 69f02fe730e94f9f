// Every allocation of the program is counted: include in one .cpp of a program. Not under the sanitizers, which have operators of
// their own: there allocations() stays 0 and `counted` is false.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include <tenfold/alloc_poison.hpp>

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif

namespace counting_new {

inline std::atomic<long> count{0};
inline long allocations() { return count.load(); }

#if defined(UNDER_TSAN) || defined(TENFOLD_ALLOC_ASAN)
inline constexpr bool counted = false;
#else
inline constexpr bool counted = true;
inline void* allocate(std::size_t bytes, std::size_t alignment) {
    count.fetch_add(1, std::memory_order_relaxed);
    void* memory = nullptr;
    if (::posix_memalign(&memory, alignment < sizeof(void*) ? sizeof(void*) : alignment, bytes ? bytes : 1) != 0)
        throw std::bad_alloc();
    return memory;
}
#endif

}  // namespace counting_new

#if !defined(UNDER_TSAN) && !defined(TENFOLD_ALLOC_ASAN)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif
void* operator new(std::size_t bytes) { return counting_new::allocate(bytes, alignof(std::max_align_t)); }
void* operator new[](std::size_t bytes) { return counting_new::allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t a) { return counting_new::allocate(bytes, static_cast<std::size_t>(a)); }
void* operator new[](std::size_t bytes, std::align_val_t a) {
    return counting_new::allocate(bytes, static_cast<std::size_t>(a));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
#endif
