// What ours and oneTBB do: N numbers through source, stages and sink; the answer is a sum that every item has gone into. The
// bodies are the same functions on both sides.
//   tiny      source, a parallel stage of an integer multiplication, a parallel one of a shift, a sink that adds: all overhead
//   serial    the same with a serial stage between the two parallel ones
//   work100   a parallel stage of about 100 ns an item
//   work1000  about 1 us an item
#pragma once

#include <cstdint>

namespace peer_work {

using item = std::uint64_t;

inline constexpr auto mix = [](item x) { return x * 0x9e3779b97f4a7c15u ^ x; };
inline constexpr auto shift = [](item x) { return x ^ x >> 31; };
inline constexpr auto order = [](item x) { return x + 1; };

/// A chain of dependent steps that no compiler shortens: somewhat more than a nanosecond each.
template <int Steps>
struct work {
    item operator()(item x) const noexcept {
        for (int i = 0; i < Steps; ++i) x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
        return x;
    }
};
inline constexpr work<75> work100;
inline constexpr work<750> work1000;

/// What is added up, kept small enough to be exact as a double.
inline item taste(item x) { return x >> 40; }

}  // namespace peer_work
