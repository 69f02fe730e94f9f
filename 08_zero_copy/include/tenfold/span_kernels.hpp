// tenfold/span_kernels.hpp: element-wise arithmetic on memory that is already there: in place, into `out`, through strides.
//
// Why: `a * b + c * 2 - 1` in NumPy walks through memory four times and makes three arrays that nobody keeps. One loop reads
// each number once and writes each result once; how fast that is, is then the memory's business:
// - strides: contiguous operands are used where they lie; others go through a block of 1024 items that stays in the first-level
//   cache. A number for all items or a row for all rows (stride 0) is read, not expanded;
// - a plain store first reads the cache line that it overwrites. Once the arrays together are larger than the cache, a
//   non-temporal store saves that read; while they fit, the same store is slower, because the next reader finds nothing in
//   the cache. stores::automatic decides by size and by how much the operation reads;
// - results are rounded as written, the same bits at every thread count and instruction set (compile with -ffp-contract=off).
// `out` may be one of the inputs itself; any other overlap is std::invalid_argument, before anything is written.
//
// Copy: span_kernels.hpp, span_kernels-inl.hpp, strided.hpp, span_team.hpp, span_simd.hpp, span_targets-inl.hpp.
// Needs C++20, OpenMP (-fopenmp), Highway (-lhwy) and -ffp-contract=off.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <stdexcept>
#include <type_traits>

#include "tenfold/span_simd.hpp"
#include "tenfold/span_team.hpp"
#include "tenfold/strided.hpp"

namespace tenfold::zero_copy {

enum class stores { automatic, plain, nontemporal };

/// Bytes read and written from which stores::automatic goes past the cache. A constant on purpose: what the system reports is the
/// whole package's last-level cache (hundreds of MB on a virtual machine with two cores), not the part that these cores share.
constexpr std::size_t streaming_above(int inputs) {
    // The more of the traffic is stores, the later they pay: a line that is only written can stay in the cache.
    return (inputs == 1 ? std::size_t{48} : std::size_t{32}) << 20;
}

/// What stores::automatic decides. In place nothing is saved: the line was read anyway.
constexpr bool streams(stores how, int inputs, std::size_t bytes_touched, bool in_place) {
    if (how == stores::automatic) return !in_place && bytes_touched > streaming_above(inputs);
    return how == stores::nontemporal;
}

namespace detail {

inline const map_table<double>& map_table_f64() { TENFOLD_SPAN_TABLE(map_f64); }
inline const map_table<float>& map_table_f32() { TENFOLD_SPAN_TABLE(map_f32); }
template <class T>
map_kernel<T> map_kernel_of(map_op op) {
    static_assert(std::is_same_v<T, double> || std::is_same_v<T, float>, "float64 and float32");
    if constexpr (std::is_same_v<T, double>) return map_table_f64().kernels[op];
    else return map_table_f32().kernels[op];
}

inline constexpr std::size_t map_block =
    1024;  // of what is gathered: with four operands in float64 the first-level cache's size
inline constexpr std::size_t map_chunk = 16 * 1024;  // of what a thread takes at once
inline constexpr std::size_t map_inline_below = 16 * 1024;

// Calls piece(row, first column, items) for the row-major items begin..end of a table with `columns` columns.
template <class Piece>
void for_each_row(std::size_t begin, std::size_t end, std::size_t columns, Piece&& piece) {
    while (begin < end) {
        const std::size_t row = begin / columns, column = begin % columns;
        const std::size_t items = std::min(columns - column, end - begin);
        piece(row, column, items);
        begin += items;
    }
}

template <class T>
void gather(const T* from, std::ptrdiff_t stride, std::size_t n, T* to) {
    for (std::size_t i = 0; i < n; ++i, from += stride) to[i] = *from;
}
template <class T>
void scatter(const T* from, std::size_t n, T* to, std::ptrdiff_t stride) {
    for (std::size_t i = 0; i < n; ++i, to += stride) *to = from[i];
}

// Items begin..end of all operands: straight from memory where they are contiguous, through blocks where not.
template <std::size_t inputs, class Step, class T>
void map_piece(const Step& step, const std::array<view2d<const T>, inputs>& in, view2d<T> out, std::size_t begin,
               std::size_t end) {
    alignas(64) T block[inputs + 1][map_block];
    bool direct = out.dense_rows();
    for (std::size_t k = 0; k < inputs; ++k) {
        if (in[k].one_item()) std::fill_n(block[k], map_block, *in[k].data);  // once, for all blocks
        direct = direct && in[k].dense_rows() && !in[k].one_item();
    }
    for_each_row(begin, end, out.columns, [&](std::size_t row, std::size_t column, std::size_t items) {
        for (std::size_t done = 0; done < items;) {
            const std::size_t n = direct ? items : std::min(map_block, items - done);
            std::array<const T*, inputs> from;
            for (std::size_t k = 0; k < inputs; ++k) {
                from[k] = in[k].one_item() ? block[k] : in[k].at(row, column + done);
                if (!in[k].one_item() && !in[k].dense_rows()) {
                    gather(from[k], in[k].column_stride, n, block[k]);
                    from[k] = block[k];
                }
            }
            T* to = out.at(row, column + done);
            if (out.dense_rows()) {
                step(from.data(), to, n);
            } else {
                step(from.data(), block[inputs], n);
                scatter(block[inputs], n, to, out.column_stride);
            }
            done += n;
        }
    });
}

// step(inputs, out, n, stream) for contiguous memory, over all items of strided operands on a team.
template <std::size_t inputs, class T, class Step, class Stop>
void map_views(const Step& step, std::array<view2d<const T>, inputs> in, view2d<T> out, int threads, Stop& stop, stores how,
               std::size_t chunk = map_chunk) {
    check_output(out);
    constexpr std::array<const char*, 3> names{"the first input", "the second input", "the third input"};
    bool in_place = false, flatten = out.one_row();
    std::size_t from_memory = 0;
    for (std::size_t k = 0; k < inputs; ++k) {
        check_input<T>(out, in[k], inputs == 1 ? "the input" : names[k]);
        in_place = in_place || same_view<T>(out, in[k]);
        flatten = flatten && (in[k].one_row() || in[k].one_item());
        from_memory += !in[k].one_item();
    }
    if (flatten) {
        for (auto& each : in) each = each.one_item() ? view2d<const T>(each.data, 1, out.size(), 0, 0) : each.as_one_row();
        out = out.as_one_row();
    }
    const bool stream =
        out.dense_rows() && streams(how, static_cast<int>(from_memory), (from_memory + 1) * out.size() * sizeof(T), in_place);
    over_chunks(
        out.size(), chunk, threads,
        [&](std::size_t begin, std::size_t end) {
            map_piece<inputs>([&](const T* const* from, T* to, std::size_t n) { step(from, to, n, stream && n >= 64); }, in,
                              out, begin, end);
        },
        stop, deal::evenly, map_inline_below);
}

template <std::size_t inputs, class T, class Stop>
void map_operation(map_op op, T factor, std::array<view2d<const T>, inputs> in, view2d<T> out, int threads, Stop& stop,
                   stores how, std::size_t chunk = map_chunk) {
    const auto kernel = map_kernel_of<T>(op);
    map_views<inputs, T>([&](const T* const* from, T* to, std::size_t n, bool stream) { kernel(from, factor, to, n, stream); },
                         in, out, threads, stop, how, chunk);
}

template <class T>
using input = view2d<const std::type_identity_t<T>>;
template <class T>
using output = view2d<std::type_identity_t<T>>;

}  // namespace detail

/// out = x * x. In place: square<double>(x, x, threads).
template <class T, class Stop = never_stop>
void square(detail::input<T> x, detail::output<T> out, int threads, Stop&& stop = {}, stores how = stores::automatic) {
    detail::map_operation<1, T>(detail::op_square, T(0), {x}, out, threads, stop, how);
}

/// out = sqrt(2 x); NaN where x is negative.
template <class T, class Stop = never_stop>
void root2(detail::input<T> x, detail::output<T> out, int threads, Stop&& stop = {}, stores how = stores::automatic) {
    detail::map_operation<1, T>(detail::op_root2, T(0), {x}, out, threads, stop, how);
}

/// The same in chunks of a size that the caller chooses; small ones are handed out several at a time, large ones in parts.
template <class T, class Stop = never_stop>
void root2_chunked(detail::input<T> x, detail::output<T> out, std::size_t chunk, int threads, Stop&& stop = {},
                   stores how = stores::automatic) {
    if (chunk == 0) throw std::invalid_argument("chunk_size must be >= 1");
    constexpr std::size_t most = std::size_t{1} << 20;
    if (chunk < detail::map_chunk) chunk *= detail::map_chunk / chunk;
    detail::map_operation<1, T>(detail::op_root2, T(0), {x}, out, threads, stop, how, std::min(chunk, most));
}

/// out = x * factor
template <class T, class Stop = never_stop>
void scale(detail::input<T> x, std::type_identity_t<T> factor, detail::output<T> out, int threads, Stop&& stop = {},
           stores how = stores::automatic) {
    detail::map_operation<1, T>(detail::op_scale, factor, {x}, out, threads, stop, how);
}

template <class T, class Stop = never_stop>
void add(detail::input<T> x, detail::input<T> y, detail::output<T> out, int threads, Stop&& stop = {},
         stores how = stores::automatic) {
    detail::map_operation<2, T>(detail::op_add, T(0), {x, y}, out, threads, stop, how);
}
template <class T, class Stop = never_stop>
void subtract(detail::input<T> x, detail::input<T> y, detail::output<T> out, int threads, Stop&& stop = {},
              stores how = stores::automatic) {
    detail::map_operation<2, T>(detail::op_subtract, T(0), {x, y}, out, threads, stop, how);
}
template <class T, class Stop = never_stop>
void multiply(detail::input<T> x, detail::input<T> y, detail::output<T> out, int threads, Stop&& stop = {},
              stores how = stores::automatic) {
    detail::map_operation<2, T>(detail::op_multiply, T(0), {x, y}, out, threads, stop, how);
}
/// As IEEE 754 has it: x / 0 is infinite, 0 / 0 NaN.
template <class T, class Stop = never_stop>
void divide(detail::input<T> x, detail::input<T> y, detail::output<T> out, int threads, Stop&& stop = {},
            stores how = stores::automatic) {
    detail::map_operation<2, T>(detail::op_divide, T(0), {x, y}, out, threads, stop, how);
}

/// out = x + factor * y: STREAM's triad.
template <class T, class Stop = never_stop>
void triad(detail::input<T> x, detail::input<T> y, std::type_identity_t<T> factor, detail::output<T> out, int threads,
           Stop&& stop = {}, stores how = stores::automatic) {
    detail::map_operation<2, T>(detail::op_triad, factor, {x, y}, out, threads, stop, how);
}

/// out = a * b + c * 2 - 1, rounded after each step.
template <class T, class Stop = never_stop>
void fused_multiply(detail::input<T> a, detail::input<T> b, detail::input<T> c, detail::output<T> out, int threads,
                    Stop&& stop = {}, stores how = stores::automatic) {
    detail::map_operation<3, T>(detail::op_fused_multiply, T(0), {a, b, c}, out, threads, stop, how);
}

}  // namespace tenfold::zero_copy
