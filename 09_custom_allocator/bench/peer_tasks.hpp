// The work that every allocator does, as tasks of tenfold_peer. A Memory has   void* take(std::size_t bytes);
// void give(void*, std::size_t bytes);   void all_gone();   (the last after a round: an arena forgets). One with a member
// `frees_nothing` is not asked to free in bulk and tree: its times leave out what it leaves out.
//     bulk N        N blocks of 32 bytes, each written, then freed in order; twenty rounds, told is the time of one
//     cold N        one such round: after a pause, the caches are cold
//     objects N     as bulk, with objects whose destructor does something: nothing can be left out
//     hot N         one block of 32 bytes taken and freed, N times
//     tree D        a binary tree of depth D built and destroyed, 32 bytes a node
//     map N         std::map: N inserts in random order, then destroyed
//     churn N       1,000 blocks of 16-527 bytes alive, one of them replaced at random, N times; churn2: on two threads at once
//     remote N      N blocks of 64 bytes taken by one thread and freed by another
//     peak_rss 0    the most memory that this program has had, in KB
// Each answers with a number that is the same for every allocator. Memory is warm from the second call on; it is always written.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tenfold_peer.hpp"

namespace peer {

using clock = std::chrono::steady_clock;
using tenfold_peer::seconds_since;
using tenfold_peer::timed;
using task_map = std::map<std::string, tenfold_peer::task>;

// What the compiler cannot see through: without it a pair of malloc and free is optimised away.
inline void escape(void* pointer) { __asm__ __volatile__("" : : "g"(pointer) : "memory"); }

template <class Memory>
inline constexpr bool frees_nothing = requires { Memory::frees_nothing; };

struct node {
    node *left, *right;
    long value, padding;
};

inline long objects_ended = 0;
struct object {
    long value, padding[3];
    explicit object(long v) : value(v), padding{} {}
    ~object() { objects_ended += value; }
};

// A round takes some 10 us to 500 us. One alone, after the pause between two programs, would time how memory comes back into the
// caches and the processor out of its sleep: the same for every allocator, and more than an arena itself takes.
inline constexpr int warm_rounds = 20;

template <class Memory>
timed bulk(Memory& memory, long n, int rounds = warm_rounds) {
    static std::vector<long*> blocks;
    blocks.resize(static_cast<std::size_t>(n));
    double seconds = 0;
    long sum = 0;
    for (int round = 0; round < rounds; ++round) {
        auto start = clock::now();
        long i = 0;
        for (auto& each : blocks) {
            each = static_cast<long*>(memory.take(32));
            each[0] = each[3] = i++;
        }
        seconds += seconds_since(start);
        for (const auto* each : blocks) sum += each[0] + each[3];  // the check is nobody's time
        start = clock::now();
        if constexpr (!frees_nothing<Memory>)
            for (auto* each : blocks) memory.give(each, 32);
        memory.all_gone();
        seconds += seconds_since(start);
    }
    return {seconds / rounds, static_cast<double>(sum)};
}

template <class Memory>
timed objects(Memory& memory, long n) {
    static std::vector<object*> all;
    all.resize(static_cast<std::size_t>(n));
    objects_ended = 0;
    const auto start = clock::now();
    for (int round = 0; round < warm_rounds; ++round) {
        long i = 0;
        for (auto& each : all) {
            if constexpr (requires { memory.template create<object>(i); }) each = memory.template create<object>(i++);
            else each = ::new (memory.take(sizeof(object))) object(i++);
        }
        if constexpr (!requires { memory.template create<object>(i); })
            for (auto* each : all) {
                std::destroy_at(each);
                memory.give(each, sizeof(object));
            }
        memory.all_gone();
    }
    return {seconds_since(start) / warm_rounds, static_cast<double>(objects_ended)};
}

template <class Memory>
timed hot(Memory& memory, long n) {
    const auto start = clock::now();
    for (long i = 0; i < n; ++i) {
        auto* block = static_cast<long*>(memory.take(32));
        block[0] = i;
        escape(block);
        memory.give(block, 32);
    }
    memory.all_gone();
    return {seconds_since(start), static_cast<double>(n)};
}

template <class Memory>
node* build(Memory& memory, long depth) {
    auto* made = ::new (memory.take(sizeof(node))) node{nullptr, nullptr, depth, 0};
    if (depth > 0) {
        made->left = build(memory, depth - 1);
        made->right = build(memory, depth - 1);
    }
    return made;
}
inline long sum_of(const node* root) { return root ? root->value + sum_of(root->left) + sum_of(root->right) : 0; }
template <class Memory>
void destroy(Memory& memory, node* root) {
    if (root->left) {
        destroy(memory, root->left);
        destroy(memory, root->right);
    }
    memory.give(root, sizeof(node));
}
template <class Memory>
timed tree(Memory& memory, long depth) {
    auto start = clock::now();
    node* root = build(memory, depth);
    double seconds = seconds_since(start);
    const long sum = sum_of(root);
    start = clock::now();
    if constexpr (!frees_nothing<Memory>) destroy(memory, root);
    memory.all_gone();
    seconds += seconds_since(start);
    return {seconds, static_cast<double>(sum)};
}

template <class T, class Memory>
struct standard_allocator {
    using value_type = T;
    Memory* memory;
    explicit standard_allocator(Memory* from) : memory(from) {}
    template <class U>
    standard_allocator(const standard_allocator<U, Memory>& other) : memory(other.memory) {}
    T* allocate(std::size_t n) { return static_cast<T*>(memory->take(n * sizeof(T))); }
    void deallocate(T* block, std::size_t n) { memory->give(block, n * sizeof(T)); }
    template <class U>
    bool operator==(const standard_allocator<U, Memory>& other) const {
        return memory == other.memory;
    }
};
template <class Memory>
timed map(Memory& memory, long n) {
    using pairs = standard_allocator<std::pair<const long, long>, Memory>;
    static std::vector<long> keys;
    if (keys.size() != static_cast<std::size_t>(n)) {
        keys.resize(static_cast<std::size_t>(n));
        for (long i = 0; i < n; ++i) keys[static_cast<std::size_t>(i)] = i;
        std::shuffle(keys.begin(), keys.end(), std::mt19937(1));
    }
    double answer = 0;
    const auto start = clock::now();
    {
        std::map<long, long, std::less<>, pairs> index{std::less<>(), pairs(&memory)};
        for (const long key : keys) index.emplace(key, key);
        answer = static_cast<double>(index.size());
    }
    memory.all_gone();
    return {seconds_since(start), answer};
}

// The random numbers are drawn beforehand: drawing them would cost as much as the allocator.
struct churn_step {
    std::uint16_t slot, bytes;
};
inline const std::vector<churn_step>& churn_steps() {
    static const std::vector<churn_step> steps = [] {
        std::vector<churn_step> made(1 << 16);
        std::mt19937 random(1);
        for (auto& each : made)
            each = {static_cast<std::uint16_t>(random() % 1000), static_cast<std::uint16_t>(16 + random() % 512)};
        return made;
    }();
    return steps;
}
template <class Memory>
double churn_loop(Memory& memory, long n) {
    const auto& steps = churn_steps();
    std::array<std::pair<char*, std::size_t>, 1000> alive{};
    double bytes = 0;
    for (long i = 0; i < n; ++i) {
        const churn_step step = steps[static_cast<std::size_t>(i) % steps.size()];
        auto& [block, size] = alive[step.slot];
        if (block) memory.give(block, size);
        size = step.bytes;
        block = static_cast<char*>(memory.take(size));
        block[0] = block[size - 1] = 1;
        bytes += static_cast<double>(size);
    }
    for (auto& [block, size] : alive)
        if (block) memory.give(block, size);
    return bytes;
}
template <class Memory>
timed churn(Memory& memory, long n) {
    const auto start = clock::now();
    const double bytes = churn_loop(memory, n);
    return {seconds_since(start), bytes};
}
template <class Memory>
timed churn2(Memory& memory, long n) {
    churn_steps();
    std::barrier together(2);
    std::array<double, 2> bytes{};
    std::array<clock::time_point, 2> begins, ends;
    {
        std::array<std::jthread, 2> team;
        for (std::size_t i = 0; i < 2; ++i)
            team[i] = std::jthread([&, i] {
                churn_loop(memory, 3000);  // warm
                together.arrive_and_wait();
                begins[i] = clock::now();
                bytes[i] = churn_loop(memory, n);
                ends[i] = clock::now();
            });
    }
    const auto took = std::max(ends[0], ends[1]) - std::min(begins[0], begins[1]);
    return {std::chrono::duration<double>(took).count(), bytes[0] + bytes[1]};
}

template <class Memory>
timed remote(Memory& memory, long n) {
    constexpr long batch = 256, slots = 8;
    static std::array<std::array<long*, batch>, slots> ring;
    std::atomic<long> sent{0}, freed{0};
    long sum = 0;
    const long batches = n / batch;
    const auto start = clock::now();
    std::jthread consumer([&] {
        for (long b = 0; b < batches; ++b) {
            while (sent.load(std::memory_order_acquire) <= b) std::this_thread::yield();
            for (long* block : ring[static_cast<std::size_t>(b % slots)]) {
                sum += block[0];
                memory.give(block, 64);
            }
            freed.store(b + 1, std::memory_order_release);
        }
    });
    for (long b = 0; b < batches; ++b) {
        while (freed.load(std::memory_order_acquire) + slots <= b) std::this_thread::yield();
        for (long*& block : ring[static_cast<std::size_t>(b % slots)]) {
            block = static_cast<long*>(memory.take(64));
            block[0] = b;
        }
        sent.store(b + 1, std::memory_order_release);
    }
    consumer.join();
    return {seconds_since(start), static_cast<double>(sum)};
}

inline double peak_rss(long) {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss);
}

// make(bytes) -> a std::unique_ptr<Memory> for blocks of at most that size; one for each task, kept between calls.
template <class Make>
void add_one_thread(task_map& tasks, const std::string& prefix, Make make) {
    const auto add = [&](const char* name, std::size_t bytes, auto work) {
        std::shared_ptr memory = make(bytes);
        tasks.emplace(prefix + name, [memory, work](long n) { return work(*memory, n); });
    };
    add("bulk", 32, [](auto& memory, long n) { return bulk(memory, n); });
    add("cold", 32, [](auto& memory, long n) { return bulk(memory, n, 1); });
    add("objects", sizeof(object), [](auto& memory, long n) { return objects(memory, n); });
    add("hot", 32, [](auto& memory, long n) { return hot(memory, n); });
    add("tree", sizeof(node), [](auto& memory, long n) { return tree(memory, n); });
    add("map", 64, [](auto& memory, long n) { return map(memory, n); });
}
template <class Make>
void add_any_size(task_map& tasks, const std::string& prefix, Make make) {
    std::shared_ptr memory = make(std::size_t{527});
    tasks.emplace(prefix + "churn", [memory](long n) { return churn(*memory, n); });
}
template <class Make>
void add_threads(task_map& tasks, const std::string& prefix, Make make) {
    std::shared_ptr memory = make(std::size_t{527});
    tasks.emplace(prefix + "churn2", [memory](long n) { return churn2(*memory, n); });
    tasks.emplace(prefix + "remote", [memory](long n) { return remote(*memory, n); });
}

// A program whose allocator is a pair of functions.
template <void* (*Take)(std::size_t), void (*Give)(void*)>
struct functions {
    void* take(std::size_t bytes) { return Take(bytes); }
    void give(void* block, std::size_t) { Give(block); }
    void all_gone() {}
};
template <void* (*Take)(std::size_t), void (*Give)(void*)>
int serve_functions() {
    task_map tasks{{"peak_rss", peak_rss}};
    const auto make = [](std::size_t) { return std::make_unique<functions<Take, Give>>(); };
    add_one_thread(tasks, "", make);
    add_any_size(tasks, "", make);
    add_threads(tasks, "", make);
    return tenfold_peer::serve(tasks);
}

}  // namespace peer
