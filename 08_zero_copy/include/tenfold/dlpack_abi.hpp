// tenfold/dlpack_abi.hpp: tensors to and from NumPy, PyTorch, JAX or CuPy through DLPack, versioned and not, without a copy.
//
// Why: DLPack is how array libraries hand each other memory: a struct with an address, a shape, strides in items and a deleter,
// which Python carries in a capsule. The structs below are the published ABI, version 1.1
// (https://dmlc.github.io/dlpack/latest/c_api.html); the rest keeps its rules: the consumer calls `deleter` exactly once, on
// any thread; only the versioned struct can say "read-only"; a major version that is not 1 may only be deleted.
// The names are in a namespace of their own: a program that includes dlpack.h as well keeps both, layout-compatible.
// What is exported here is counted, made and released.
//
// Copy: this file and strided.hpp. Needs C++20; no flags, no libraries.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenfold/strided.hpp"

namespace tenfold::zero_copy::dlpack {

// ---- as published ----
extern "C" {

struct DLPackVersion {
    std::uint32_t major, minor;
};
struct DLDevice {
    std::int32_t device_type;  // 1: CPU, 2: CUDA, 3: pinned host memory, ...
    std::int32_t device_id;
};
struct DLDataType {
    std::uint8_t code;  // 0: signed, 1: unsigned, 2: floating point, 4: bfloat16, 5: complex, 6: bool
    std::uint8_t bits;
    std::uint16_t lanes;
};
struct DLTensor {
    void* data;
    DLDevice device;
    std::int32_t ndim;
    DLDataType dtype;
    std::int64_t* shape;
    std::int64_t* strides;  // in items; null: dense, row-major
    std::uint64_t byte_offset;
};
struct DLManagedTensor {
    DLTensor dl_tensor;
    void* manager_ctx;
    void (*deleter)(struct DLManagedTensor* self);
};
struct DLManagedTensorVersioned {
    DLPackVersion version;
    void* manager_ctx;
    void (*deleter)(struct DLManagedTensorVersioned* self);
    std::uint64_t flags;
    DLTensor dl_tensor;
};

}  // extern "C"

inline constexpr std::uint32_t major_version = 1, minor_version = 1;
inline constexpr std::uint64_t flag_read_only = 1, flag_is_copied = 2;
inline constexpr std::int32_t device_cpu = 1;
inline constexpr std::uint8_t code_float = 2;
// ---- end of the published part ----

template <class T>
constexpr DLDataType data_type() {
    static_assert(std::is_same_v<T, double> || std::is_same_v<T, float>, "float64 and float32");
    return {code_float, static_cast<std::uint8_t>(8 * sizeof(T)), 1};
}

struct export_counts {
    std::uint64_t made = 0, released = 0;
};

namespace detail {

// Relaxed: plain counts; nothing is published through them.
inline std::atomic<std::uint64_t> made{0}, released{0};

// One block of memory: the struct that travels, the shape and strides that it points to, and the owner.
template <class Managed, class Owner>
struct held {
    Managed managed;
    Owner owner;
    std::vector<std::int64_t> shape, strides;
};

template <class Managed, class T, class Owner>
Managed* export_tensor(Owner owner, T* data, std::span<const std::int64_t> shape, std::span<const std::int64_t> strides) {
    if (!strides.empty() && strides.size() != shape.size())
        throw std::invalid_argument("as many strides as dimensions, or none");
    auto block = std::make_unique<held<Managed, Owner>>(
        held<Managed, Owner>{{}, std::move(owner), {shape.begin(), shape.end()}, {strides.begin(), strides.end()}});
    if (strides.empty()) {
        block->strides.resize(shape.size());
        std::int64_t step = 1;
        for (std::size_t i = shape.size(); i-- > 0; step *= shape[i]) block->strides[i] = step;
    }
    block->managed.dl_tensor = {const_cast<std::remove_const_t<T>*>(data),
                                {device_cpu, 0},
                                static_cast<std::int32_t>(shape.size()),
                                data_type<std::remove_const_t<T>>(),
                                block->shape.data(),
                                block->strides.data(),
                                0};
    block->managed.deleter = [](Managed* self) {
        delete static_cast<held<Managed, Owner>*>(self->manager_ctx);
        released.fetch_add(1, std::memory_order_relaxed);
    };
    block->managed.manager_ctx = block.get();
    made.fetch_add(1, std::memory_order_relaxed);
    return &block.release()->managed;
}

}  // namespace detail

inline export_counts exports() {
    const std::uint64_t released = detail::released.load(std::memory_order_relaxed);
    return {detail::made.load(std::memory_order_relaxed), released};
}

/// `owner` (anything that can be moved) is destroyed when the consumer calls the deleter, on whatever thread that happens. Data
/// that is const, or must not be written, is marked read-only.
template <class T, class Owner>
DLManagedTensorVersioned* export_versioned(Owner owner, T* data, std::span<const std::int64_t> shape,
                                           std::span<const std::int64_t> strides_in_items = {}, std::uint64_t flags = 0) {
    auto* managed = detail::export_tensor<DLManagedTensorVersioned>(std::move(owner), data, shape, strides_in_items);
    managed->version = {major_version, minor_version};
    managed->flags = flags | (std::is_const_v<T> ? flag_read_only : 0);
    return managed;
}

/// For consumers that know no versions. It cannot say "read-only": so no const data.
template <class T, class Owner>
DLManagedTensor* export_unversioned(Owner owner, T* data, std::span<const std::int64_t> shape,
                                    std::span<const std::int64_t> strides_in_items = {}) {
    static_assert(!std::is_const_v<T>, "an unversioned DLPack tensor cannot be read-only");
    return detail::export_tensor<DLManagedTensor>(std::move(owner), data, shape, strides_in_items);
}

inline bool version_fits(const DLManagedTensorVersioned& managed) { return managed.version.major == major_version; }
inline bool is_read_only(const DLManagedTensorVersioned& managed) { return (managed.flags & flag_read_only) != 0; }

/// Calls the deleter exactly once.
template <class Managed>
class managed_owner {
public:
    managed_owner() = default;
    explicit managed_owner(Managed* managed) : managed_(managed) {}
    managed_owner(managed_owner&& other) noexcept : managed_(std::exchange(other.managed_, nullptr)) {}
    managed_owner& operator=(managed_owner&& other) noexcept {
        std::swap(managed_, other.managed_);
        return *this;
    }
    ~managed_owner() {
        if (managed_ != nullptr && managed_->deleter != nullptr) managed_->deleter(managed_);
    }
    Managed* get() const noexcept { return managed_; }
    Managed* operator->() const noexcept { return managed_; }
    const DLTensor& tensor() const noexcept { return managed_->dl_tensor; }
    explicit operator bool() const noexcept { return managed_ != nullptr; }
    /// The caller's from now on.
    Managed* release() noexcept { return std::exchange(managed_, nullptr); }

private:
    Managed* managed_ = nullptr;
};

/// The numbers where they lie. Constness and flags are the caller's to mind.
template <class T>
view2d<T> view_of(const DLTensor& tensor) {
    constexpr DLDataType wanted = data_type<std::remove_const_t<T>>();
    if (tensor.device.device_type != device_cpu)
        throw std::invalid_argument("the DLPack tensor is not in the CPU's memory; copy it there first");
    if (tensor.dtype.code != wanted.code || tensor.dtype.bits != wanted.bits || tensor.dtype.lanes != 1)
        throw std::invalid_argument(std::string("the DLPack tensor's type is not ") + (sizeof(T) == 8 ? "float64" : "float32"));
    if (tensor.ndim < 0 || tensor.ndim > 2) throw std::invalid_argument("a DLPack tensor of one or two dimensions is needed");
    const auto dimension = [&](std::int32_t i) {
        if (tensor.shape[i] < 0) throw std::invalid_argument("the DLPack tensor has a negative size");
        return static_cast<std::size_t>(tensor.shape[i]);
    };
    const std::size_t rows = tensor.ndim == 2 ? dimension(0) : 1, columns = tensor.ndim == 0 ? 1 : dimension(tensor.ndim - 1);
    if (rows == 0 || columns == 0) return {nullptr, rows, columns};
    if (tensor.data == nullptr) throw std::invalid_argument("the DLPack tensor has no data");
    auto* bytes = static_cast<unsigned char*>(tensor.data) + tensor.byte_offset;
    if (reinterpret_cast<std::uintptr_t>(bytes) % alignof(T) != 0)
        throw std::invalid_argument("the DLPack tensor's data is not aligned");
    T* data = reinterpret_cast<T*>(bytes);
    if (tensor.strides == nullptr || tensor.ndim == 0) return {data, rows, columns};
    return {data, rows, columns, tensor.ndim == 2 ? static_cast<std::ptrdiff_t>(tensor.strides[0]) : 0,
            static_cast<std::ptrdiff_t>(tensor.strides[tensor.ndim - 1])};
}

}  // namespace tenfold::zero_copy::dlpack
