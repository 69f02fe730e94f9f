// tenfold/filter.hpp: keep the even numbers of an array, in order, on all cores.
//
// Why: where a value goes depends on how many before it were kept, which looks sequential. Two passes make it parallel: count
// per chunk, turn the counts into offsets, then every chunk writes at its own offset. Counting first also gives the exact size,
// so the caller can allocate a result that is neither too large nor grown step by step. No branch depends on the data:
// a branch per value costs a misprediction for every second one when half of them are kept.
//
// Copy: filter.hpp, parallel.hpp, simd.hpp, simd-targets-inl.hpp, arrays-inl.hpp, compress-inl.hpp. C++20, -fopenmp, Highway (-lhwy).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <vector>

#include "tenfold/parallel.hpp"
#include "tenfold/simd.hpp"

namespace tenfold {

namespace detail {

inline std::size_t count_even_chunk(const std::int64_t* values, std::size_t n) {
    TENFOLD_DISPATCH(count_even_kernel, values, n);
}
inline void copy_even_chunk(const std::int64_t* values, std::size_t n, std::int64_t* out, std::size_t count) {
    TENFOLD_DISPATCH(copy_even_kernel, values, n, out, count);
}

inline constexpr std::size_t filter_chunk = 16 * 1024;
inline constexpr std::size_t filter_inline_below = 16 * 1024;

}  // namespace detail

// The first pass: where the kept values of each chunk go. total() is the number kept.
class even_offsets {
public:
    template <class Stop = never_stop>
    even_offsets(std::span<const std::int64_t> values, int threads, Stop&& stop = {})
        : size_(values.size()), offsets_(values.size() / detail::filter_chunk + 2, 0) {
        parallel_chunks(values.size(), detail::filter_chunk, threads,
                        [&](std::size_t begin, std::size_t end) {
                            offsets_[begin / detail::filter_chunk + 1] =
                                detail::count_even_chunk(values.data() + begin, end - begin);
                        },
                        stop, {.inline_below = detail::filter_inline_below});
        for (std::size_t i = 1; i < offsets_.size(); ++i) offsets_[i] += offsets_[i - 1];
    }

    std::size_t total() const noexcept { return offsets_.back(); }
    std::size_t source_size() const noexcept { return size_; }
    std::size_t operator[](std::size_t chunk) const noexcept { return offsets_[chunk]; }

private:
    std::size_t size_;
    std::vector<std::size_t> offsets_;  // entry i: values kept before chunk i
};

// The second pass. `out` has at least offsets.total() items and does not overlap `values`, which have not changed since they
// were counted (a value that did change can be missed, but nothing is written outside `out`).
template <class Stop = never_stop>
void write_even(std::span<const std::int64_t> values, const even_offsets& offsets, std::span<std::int64_t> out, int threads,
                Stop&& stop = {}) {
    if (values.size() != offsets.source_size()) throw std::invalid_argument("values are not those that were counted");
    if (out.size() < offsets.total()) throw std::invalid_argument("out is too small for the values kept");
    parallel_chunks(values.size(), detail::filter_chunk, threads,
                    [&](std::size_t begin, std::size_t end) {
                        const std::size_t chunk = begin / detail::filter_chunk;
                        detail::copy_even_chunk(values.data() + begin, end - begin, out.data() + offsets[chunk],
                                                offsets[chunk + 1] - offsets[chunk]);
                    },
                    stop, {.inline_below = detail::filter_inline_below});
}

// Both passes into memory that is there already; returns how many values were written.
template <class Stop = never_stop>
std::size_t parallel_filter_even(std::span<const std::int64_t> values, std::span<std::int64_t> out, int threads,
                                 Stop&& stop = {}) {
    const even_offsets offsets(values, threads, stop);
    write_even(values, offsets, out, threads, stop);
    return offsets.total();
}

}  // namespace tenfold
