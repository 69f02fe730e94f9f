// What the tests of this lesson share: counted allocations (of the whole program: include it in one file), numbers of every kind,
// sources that fail, block or never end.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <random>
#include <span>
#include <stdexcept>
#include <vector>

namespace pipeline_testing {

inline std::atomic<long> allocations{0};
inline thread_local bool no_memory = false;  // for this thread

inline void* counted_or_null(std::size_t bytes, std::size_t alignment) noexcept {
    allocations.fetch_add(1, std::memory_order_relaxed);
    bytes = (bytes + alignment - 1) / alignment * alignment;
    return std::aligned_alloc(alignment, bytes == 0 ? alignment : bytes);
}
inline void* counted(std::size_t bytes, std::size_t alignment) {
    if (void* const found = no_memory ? nullptr : counted_or_null(bytes, alignment)) return found;
    throw std::bad_alloc();
}

/// TENFOLD_STRESS=long makes the sweeps longer.
inline long stress(long short_form) {
    const char* form = std::getenv("TENFOLD_STRESS");
    return form && std::strcmp(form, "long") == 0 ? short_form * 50 : short_form;
}

/// Usable numbers, negative ones, NaN, infinities, both zeros, the smallest and the largest, in a random order.
inline std::vector<double> mixed_numbers(std::size_t size, unsigned seed, int usable_percent = 60) {
    std::mt19937_64 random(seed);
    constexpr double inf = std::numeric_limits<double>::infinity();
    constexpr double special[] = {inf,
                                  -inf,
                                  std::numeric_limits<double>::quiet_NaN(),
                                  0.0,
                                  -0.0,
                                  5e-324,
                                  -5e-324,
                                  1.7976931348623157e308,
                                  -1.7976931348623157e308,
                                  1.0};
    std::vector<double> numbers(size);
    for (double& x : numbers) {
        const auto dice = static_cast<int>(random() % 100);
        const double size_of = static_cast<double>(random() % 1000000) / 64.0;
        x = dice < usable_percent ? size_of : dice < 85 ? -size_of : special[random() % std::size(special)];
    }
    return numbers;
}

/// 0, 1, 2, ... below `end`, at most `most` at a time.
struct counting_source {
    std::int64_t end;
    std::size_t most = std::numeric_limits<std::size_t>::max();
    std::int64_t next = 0;
    std::size_t operator()(std::span<std::int64_t> room) {
        std::size_t i = 0;
        while (i < room.size() && i < most && next < end) room[i++] = next++;
        return i;
    }
};

struct failure : std::runtime_error {
    explicit failure(std::int64_t item) : std::runtime_error("item " + std::to_string(item)) {}
};

}  // namespace pipeline_testing

// ThreadSanitizer's runtime brings its own, which a program cannot replace: there `allocations` stays 0.
#if defined(__SANITIZE_THREAD__)
#define PIPELINE_TESTING_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PIPELINE_TESTING_TSAN 1
#endif
#endif

#ifndef PIPELINE_TESTING_TSAN
// Not inline: GCC would complain that free() meets operator new.
[[gnu::noinline]] void* operator new(std::size_t bytes) { return pipeline_testing::counted(bytes, 16); }
[[gnu::noinline]] void* operator new[](std::size_t bytes) { return pipeline_testing::counted(bytes, 16); }
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t a) {
    return pipeline_testing::counted(bytes, static_cast<std::size_t>(a));
}
[[gnu::noinline]] void* operator new[](std::size_t bytes, std::align_val_t a) {
    return pipeline_testing::counted(bytes, static_cast<std::size_t>(a));
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return pipeline_testing::counted_or_null(bytes, 16);
}
[[gnu::noinline]] void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
    return pipeline_testing::counted_or_null(bytes, 16);
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
#endif
