// tenfold/object_pool.hpp: objects of one type from a fixed_pool, constructed and destroyed.
//
// Why: nodes of trees, graphs and queues are made and thrown away by the million, all of one type. A pool gives them back to back
// from its own chunks, and takes one back by writing a pointer:
//     tenfold::object_pool<node> nodes;
//     node* one = nodes.create(key, value);
//     nodes.destroy(one);
//     auto other = nodes.make(key, value);          // a std::unique_ptr that returns its object to the pool
//
// The pool must outlive its objects. Objects still alive when it goes: with checking::on their destructors run, in no order, so they
// must not destroy other objects of the pool; with checking::off only their memory is freed, since nobody knows which they are.
// One thread at a time: for several, sized_allocator.hpp.
//
// Copy: this file, fixed_pool.hpp, alloc_errors.hpp, alloc_poison.hpp.   #include <tenfold/object_pool.hpp>   C++20; no flags,
// no libraries.
#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <new>
#include <utility>

#include "tenfold/fixed_pool.hpp"

namespace tenfold {

template <class T, checking C = checking::off>
class object_pool {
public:
    struct deleter {
        object_pool* pool;
        void operator()(T* object) const { pool->destroy(object); }
    };
    using pointer = std::unique_ptr<T, deleter>;

    explicit object_pool(std::size_t budget = std::numeric_limits<std::size_t>::max())
        : blocks_(sizeof(T), alignof(T), budget) {}
    object_pool(const object_pool&) = delete;
    object_pool& operator=(const object_pool&) = delete;
    ~object_pool() {
        if constexpr (C == checking::on) blocks_.for_each_live([](void* object) { std::destroy_at(static_cast<T*>(object)); });
    }

    template <class... Arguments>
    T* create(Arguments&&... arguments) {
        void* block = blocks_.allocate();
        if constexpr (noexcept(T(std::forward<Arguments>(arguments)...))) {
            return ::new (block) T(std::forward<Arguments>(arguments)...);
        } else {
            try {
                return ::new (block) T(std::forward<Arguments>(arguments)...);
            } catch (...) {
                blocks_.deallocate(block);
                throw;
            }
        }
    }
    /// With checks, double_free and foreign_free come before the destructor. nullptr is ignored.
    void destroy(T* object) {
        if (!object) return;
        blocks_.verify(object);
        std::destroy_at(object);
        blocks_.deallocate(object);
    }
    template <class... Arguments>
    pointer make(Arguments&&... arguments) {
        return pointer(create(std::forward<Arguments>(arguments)...), deleter{this});
    }

    /// Takes memory for this many objects more than are alive now.
    void reserve(std::size_t objects) { blocks_.reserve(objects); }
    std::size_t live() const noexcept { return blocks_.live(); }
    std::size_t capacity() const noexcept { return blocks_.capacity(); }
    std::size_t reserved_bytes() const noexcept { return blocks_.reserved_bytes(); }
    bool owns(const T* object) const noexcept { return blocks_.owns(object); }

private:
    basic_fixed_pool<C> blocks_;
};

}  // namespace tenfold
