// tenfold/arrow_abi.hpp: arrays and streams of arrays to and from Arrow, pyarrow, polars or DuckDB, without a copy and without
// linking any of them.
//
// Why: the Arrow C data and stream interfaces are three structs of pointers, fixed for good, that any two libraries can hand
// each other; the whole difficulty is who releases what, and when. The structs below are the published specification
// (https://arrow.apache.org/docs/format/CDataInterface.html and CStreamInterface.html); the rest keeps its rules:
// - a struct whose `release` is null is released; whoever moves one copies the bytes and nulls the source's `release`;
// - release is called exactly once, may come from any thread, and takes the producer's memory with it;
// - a consumer releases the parent only; what release leaves behind must not be read.
// What is exported here is counted, made and released, so that a test can prove "exactly once".
//
// Copy: this file and strided.hpp. Needs C++20; no flags, no libraries.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "tenfold/strided.hpp"

// ---- as published: do not change; the guards are the specification's, so that two copies in one program agree ----
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

extern "C" {

struct ArrowSchema {
    const char* format;
    const char* name;
    const char* metadata;
    std::int64_t flags;
    std::int64_t n_children;
    struct ArrowSchema** children;
    struct ArrowSchema* dictionary;
    void (*release)(struct ArrowSchema*);
    void* private_data;
};

struct ArrowArray {
    std::int64_t length;
    std::int64_t null_count;
    std::int64_t offset;
    std::int64_t n_buffers;
    std::int64_t n_children;
    const void** buffers;
    struct ArrowArray** children;
    struct ArrowArray* dictionary;
    void (*release)(struct ArrowArray*);
    void* private_data;
};

}  // extern "C"
#endif  // ARROW_C_DATA_INTERFACE

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE
extern "C" {

struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream*, struct ArrowSchema* out);
    int (*get_next)(struct ArrowArrayStream*, struct ArrowArray* out);
    const char* (*get_last_error)(struct ArrowArrayStream*);
    void (*release)(struct ArrowArrayStream*);
    void* private_data;
};

}  // extern "C"
#endif  // ARROW_C_STREAM_INTERFACE
// ---- end of the published part ----

namespace tenfold::zero_copy {

/// How many schemas, arrays and streams were exported here, and how many of them their consumers have released.
struct arrow_counts {
    std::uint64_t exported = 0, released = 0;
};

namespace detail {

// Relaxed: plain counts; nothing is published through them.
inline std::atomic<std::uint64_t> arrow_exported{0}, arrow_released{0};

inline void count_export() { arrow_exported.fetch_add(1, std::memory_order_relaxed); }
inline void count_release() { arrow_released.fetch_add(1, std::memory_order_relaxed); }

}  // namespace detail

inline arrow_counts arrow_exports() {
    const std::uint64_t released = detail::arrow_released.load(std::memory_order_relaxed);
    return {detail::arrow_exported.load(std::memory_order_relaxed), released};
}

/// Owns one of the three structs: releases it exactly once, unless it is handed on.
template <class C>
class arrow_owned {
public:
    arrow_owned() { std::memset(&value_, 0, sizeof value_); }
    /// Moves *from here, and marks it as released.
    explicit arrow_owned(C* from) : arrow_owned() { take(from); }
    arrow_owned(arrow_owned&& other) noexcept : arrow_owned() { take(&other.value_); }
    arrow_owned& operator=(arrow_owned&& other) noexcept {
        if (this != &other) {
            reset();
            take(&other.value_);
        }
        return *this;
    }
    ~arrow_owned() { reset(); }

    C* get() noexcept { return &value_; }
    const C* get() const noexcept { return &value_; }
    C* operator->() noexcept { return &value_; }
    const C* operator->() const noexcept { return &value_; }
    explicit operator bool() const noexcept { return value_.release != nullptr; }

    void reset() noexcept {
        if (value_.release != nullptr) value_.release(&value_);
        value_.release = nullptr;
    }
    /// Hands it on: *to becomes the owner.
    void release_to(C* to) noexcept {
        *to = value_;
        value_.release = nullptr;
    }

private:
    void take(C* from) noexcept {
        value_ = *from;
        from->release = nullptr;
    }
    C value_;
};

template <class T>
constexpr const char* arrow_format() {
    static_assert(std::is_same_v<T, double> || std::is_same_v<T, float>, "float64 and float32");
    return std::is_same_v<T, double> ? "g" : "f";
}

template <class T>
void export_schema(ArrowSchema* schema) {
    *schema = {arrow_format<T>(), "", nullptr, 0, 0, nullptr, nullptr, nullptr, nullptr};
    schema->release = [](ArrowSchema* self) {
        self->release = nullptr;
        detail::count_release();
    };
    detail::count_export();
}

/// `n` numbers at `data`, which stay where they are; `owner` (anything that can be moved) is destroyed when the consumer releases
/// the array, on whatever thread that happens.
template <class T, class Owner>
void export_array(Owner owner, const T* data, std::size_t n, ArrowArray* array) {
    struct held {
        Owner owner;
        const void* buffers[2];  // validity: none, nothing is null; then the data
    };
    if (n > static_cast<std::size_t>(std::numeric_limits<std::int64_t>::max())) throw std::invalid_argument("array too large");
    auto keeper = std::make_unique<held>(held{std::move(owner), {nullptr, data}});
    *array = {static_cast<std::int64_t>(n), 0, 0, 2, 0, keeper->buffers, nullptr, nullptr, nullptr, nullptr};
    array->release = [](ArrowArray* self) {
        delete static_cast<held*>(std::exchange(self->private_data, nullptr));
        self->release = nullptr;
        detail::count_release();
    };
    array->private_data = keeper.release();
    detail::count_export();
}
template <class T, class Owner>
void export_array(Owner owner, const T* data, std::size_t n, ArrowSchema* schema, ArrowArray* array) {
    export_array<T>(std::move(owner), data, n, array);
    export_schema<T>(schema);
}

namespace detail {

template <class T>
void check_format(const ArrowSchema& schema) {
    if (schema.release == nullptr) throw std::invalid_argument("the Arrow schema is released already");
    if (schema.dictionary != nullptr || std::strcmp(schema.format, arrow_format<T>()) != 0)
        throw std::invalid_argument(std::string("the Arrow array's format is '") + schema.format + "', '" + arrow_format<T>() +
                                    "' (" + (sizeof(T) == 8 ? "float64" : "float32") + ") is needed; cast it");
}

// The number of nulls may be unknown (-1): then the bits decide.
inline bool has_nulls(const ArrowArray& array) {
    const auto* valid = static_cast<const unsigned char*>(array.buffers[0]);
    if (array.null_count == 0 || valid == nullptr) return false;
    if (array.null_count > 0) return true;
    for (std::int64_t i = array.offset; i < array.offset + array.length; ++i)
        if ((valid[i / 8] >> (i % 8) & 1) == 0) return true;
    return false;
}

template <class T>
view1d<const T> array_items(const ArrowArray& array) {
    if (array.release == nullptr) throw std::invalid_argument("the Arrow array is released already");
    if (array.n_buffers != 2 || array.n_children != 0 || array.dictionary != nullptr || array.length < 0 || array.offset < 0)
        throw std::invalid_argument("not an Arrow array of plain numbers");
    if (array.length == 0) return {};
    if (has_nulls(array)) throw std::invalid_argument("the Arrow array has nulls; use fill_null or drop_null first");
    const T* data = static_cast<const T*>(array.buffers[1]);
    if (data == nullptr) throw std::invalid_argument("the Arrow array has no data");
    if (reinterpret_cast<std::uintptr_t>(data) % alignof(T) != 0)
        throw std::invalid_argument("the Arrow array's data is not aligned");
    return {data + array.offset, static_cast<std::size_t>(array.length)};
}

}  // namespace detail

/// The numbers where they lie; valid until the array is released.
template <class T>
view1d<const T> import_array(const ArrowSchema& schema, const ArrowArray& array) {
    detail::check_format<T>(schema);
    return detail::array_items<T>(array);
}

/// A stream whose consumer asks next(ArrowArray* out) for one array after the other; false ends it. What next throws becomes an
/// error code and a text. The protocol has one consumer at a time: calls are not serialised here.
template <class T, class Next>
void export_stream(Next next, ArrowArrayStream* stream) {
    struct held {
        Next next;
        std::string error;
    };
    auto keeper = std::make_unique<held>(held{std::move(next), {}});
    stream->get_schema = [](ArrowArrayStream*, ArrowSchema* out) {
        export_schema<T>(out);
        return 0;
    };
    stream->get_next = [](ArrowArrayStream* self, ArrowArray* out) {
        auto& state = *static_cast<held*>(self->private_data);
        std::memset(out, 0, sizeof *out);  // released: the end
        try {
            state.error.clear();
            if (!state.next(out)) out->release = nullptr;
            return 0;
        } catch (const std::bad_alloc&) {
            state.error = "out of memory";
            return ENOMEM;
        } catch (const std::exception& error) {
            state.error = error.what();
        } catch (...) {
            state.error = "unknown error";
        }
        return EIO;
    };
    stream->get_last_error = [](ArrowArrayStream* self) -> const char* {
        const auto& text = static_cast<held*>(self->private_data)->error;
        return text.empty() ? nullptr : text.c_str();
    };
    stream->release = [](ArrowArrayStream* self) {
        delete static_cast<held*>(std::exchange(self->private_data, nullptr));
        self->release = nullptr;
        detail::count_release();
    };
    stream->private_data = keeper.release();
    detail::count_export();
}

/// Reads somebody's stream of plain numbers. One thread at a time: get_next is not thread-safe. The destructor releases the
/// stream, and a stream that Python made takes the GIL for it: nobody may wait for this thread holding it.
template <class T>
class stream_reader {
public:
    explicit stream_reader(ArrowArrayStream* from) : stream_(from) {
        if (!stream_) throw std::invalid_argument("the Arrow stream is released already");
        arrow_owned<ArrowSchema> schema;
        check(stream_->get_schema(stream_.get(), schema.get()));
        detail::check_format<T>(*schema.get());
    }

    /// False at the end. The array is the caller's; view() shows what is in it.
    bool next(arrow_owned<ArrowArray>& out) {
        out.reset();
        check(stream_->get_next(stream_.get(), out.get()));
        return static_cast<bool>(out);
    }
    static view1d<const T> view(const ArrowArray& array) { return detail::array_items<T>(array); }

private:
    void check(int code) {
        if (code == 0) return;
        const char* text = stream_->get_last_error(stream_.get());
        throw std::runtime_error(std::string("Arrow stream: ") + (text != nullptr ? text : std::strerror(code)));
    }
    arrow_owned<ArrowArrayStream> stream_;
};

}  // namespace tenfold::zero_copy
