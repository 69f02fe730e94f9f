// The standard library's memory resources. The tasks are in peer_tasks.hpp, with a prefix for each: monotonic_ (frees nothing before
// the end of a round), unsynchronized_, synchronized_.
#include <memory_resource>

#include "peer_tasks.hpp"

namespace {

template <class Resource>
struct standard {
    Resource resource;
    void* take(std::size_t bytes) { return resource.allocate(bytes, 16); }
    void give(void* block, std::size_t bytes) { resource.deallocate(block, bytes, 16); }
    void all_gone() {}
};

// release() gives all memory back to the system, so the next round would begin cold; over a buffer of its own it does not.
struct monotonic {
    static constexpr bool frees_nothing = true;
    static constexpr std::size_t room = std::size_t{64} << 20;
    std::unique_ptr<std::byte[]> buffer = std::make_unique_for_overwrite<std::byte[]>(room);
    std::pmr::monotonic_buffer_resource resource{buffer.get(), room};
    void* take(std::size_t bytes) { return resource.allocate(bytes, 16); }
    void give(void*, std::size_t) {}
    void all_gone() { resource.release(); }
};

}  // namespace

int main() {
    peer::task_map tasks{{"peak_rss", peer::peak_rss}};
    peer::add_one_thread(tasks, "monotonic_", [](std::size_t) { return std::make_unique<monotonic>(); });
    const auto unsynchronized = [](std::size_t) {
        return std::make_unique<standard<std::pmr::unsynchronized_pool_resource>>();
    };
    const auto synchronized = [](std::size_t) { return std::make_unique<standard<std::pmr::synchronized_pool_resource>>(); };
    peer::add_one_thread(tasks, "unsynchronized_", unsynchronized);
    peer::add_any_size(tasks, "unsynchronized_", unsynchronized);
    peer::add_one_thread(tasks, "synchronized_", synchronized);
    peer::add_any_size(tasks, "synchronized_", synchronized);
    peer::add_threads(tasks, "synchronized_", synchronized);
    return tenfold_peer::serve(tasks);
}
