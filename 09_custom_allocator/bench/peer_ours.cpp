// This lesson's allocators. The tasks are in peer_tasks.hpp, with a prefix for each: arena_ (frees nothing before the end of a round,
// but runs the destructors of objects), pool_, checked_ (a fixed_pool without and with checks), classes_ (pool_resource), sized_.
#include <tenfold/alloc_resources.hpp>
#include <tenfold/arena.hpp>
#include <tenfold/fixed_pool.hpp>
#include <tenfold/sized_allocator.hpp>

#include "peer_tasks.hpp"

namespace {

struct in_arena {
    static constexpr bool frees_nothing = true;
    tenfold::arena memory;
    void* take(std::size_t bytes) { return memory.allocate(bytes, 16); }
    void give(void*, std::size_t) {}
    void all_gone() { memory.reset(); }
    template <class T>
    T* create(long value) {
        return memory.create<T>(value);
    }
};

template <tenfold::checking C>
struct in_pool {
    tenfold::basic_fixed_pool<C> pool;
    explicit in_pool(std::size_t bytes) : pool(bytes) {}
    void* take(std::size_t) { return pool.allocate(); }
    void give(void* block, std::size_t) { pool.deallocate(block); }
    void all_gone() {}
};

struct in_classes {
    tenfold::pool_resource resource;
    void* take(std::size_t bytes) { return resource.allocate(bytes, 16); }
    void give(void* block, std::size_t bytes) { resource.deallocate(block, bytes, 16); }
    void all_gone() {}
};

struct in_sized {
    tenfold::sized_allocator memory;
    void* take(std::size_t bytes) { return memory.allocate(bytes); }
    void give(void* block, std::size_t) { memory.deallocate(block); }
    void all_gone() {}
};

}  // namespace

int main() {
    using tenfold::checking;
    peer::task_map tasks{{"peak_rss", peer::peak_rss}};
    const auto classes = [](std::size_t) { return std::make_unique<in_classes>(); };
    const auto sized = [](std::size_t) { return std::make_unique<in_sized>(); };
    peer::add_one_thread(tasks, "arena_", [](std::size_t) { return std::make_unique<in_arena>(); });
    peer::add_one_thread(tasks, "pool_", [](std::size_t bytes) { return std::make_unique<in_pool<checking::off>>(bytes); });
    peer::add_one_thread(tasks, "checked_", [](std::size_t bytes) { return std::make_unique<in_pool<checking::on>>(bytes); });
    peer::add_one_thread(tasks, "classes_", classes);
    peer::add_any_size(tasks, "classes_", classes);
    peer::add_one_thread(tasks, "sized_", sized);
    peer::add_any_size(tasks, "sized_", sized);
    peer::add_threads(tasks, "sized_", sized);
    return tenfold_peer::serve(tasks);
}
