// tenfold/par_reduce.hpp: sum, min, max, all three in one pass, and reductions with an operation of your own.
//
// Why: `reduction(+ : sum)` gives a result that changes with the number of threads. Here blocks depend on the number of items only
// (par_run.hpp), lanes within a block on the place of the item (par_lanes.hpp), and blocks are added in index order: one thread
// and seven give the same bits, faster than one accumulator could.
//
// NaN goes through every one of these. Of zeros, -0.0 is the smaller. Integer sums wrap unless the operation says otherwise
// (reduce with checked_add).
//
// Copy: par_reduce.hpp and the headers that it includes. C++20; -ffp-contract=off for the same bits on machines with fused multiply-add.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenfold/par_lanes.hpp"
#include "tenfold/par_sieve.hpp"
#include "tenfold/par_sinks.hpp"

namespace tenfold {

template <class T>
struct sum_min_max_of {
    T sum, min, max;
    friend bool operator==(const sum_min_max_of&, const sum_min_max_of&) = default;
};

namespace par_detail {

template <class T, class... Ops>
struct laned {
    lane_set<T, Ops...> sums;
    typename lane_set<T, Ops...>::results* result;
    sieve_choice* choice = nullptr;
    bool try_now = false;
    template <class Batch>
    bool feed(const Batch& batch, place& at) {
        sums.add(batch, at);
        return true;
    }
    // A sum takes zeros for what a filter drops.
    template <class Blank>
    static constexpr bool sieves = (std::is_same_v<Ops, lane_sum> && ...) && std::is_arithmetic_v<T>;
    template <class Blank, class Sieve>
    bool feed_sieve(const Sieve& from, place& at) {
        add_sieve<T>(sums, from, *choice, std::exchange(try_now, false), at);
        return true;
    }
    void finish(place&) { *result = sums.total(); }
};

template <class T, class... Ops, class P>
auto reduce_lanes(const P& chain) {
    using set = lane_set<T, Ops...>;
    const std::size_t n = chain.extent(), block = block_items(n);
    std::vector<typename set::results> results(blocks_of(n, block), set::nothing);
    sieve_choice choice{sieve_way::untried};
    run(chain, block, [&](std::size_t index, std::size_t, std::size_t) {
        return laned<T, Ops...>{set(), &results[index], &choice, index % 16 == 0};
    });
    auto total = set::nothing;
    for (const auto& result : results) {
        std::size_t op = 0;
        ((total[op] = Ops::merge(total[op], result[op]), ++op), ...);
    }
    return total;
}

// Whether there was an item at all: 1 + 1 + ... in another lane would cost as much as the minimum.
template <class T, class... Ops>
struct counted {
    laned<T, Ops...> values;
    std::size_t* count;
    std::size_t seen = 0;
    template <class Batch>
    bool feed(const Batch& batch, place& at) {
        seen += batch.size();
        return values.feed(batch, at);
    }
    void finish(place& at) {
        values.finish(at);
        *count = seen;
    }
};
template <class T, class... Ops, class P>
std::optional<typename lane_set<T, Ops...>::results> reduce_some(const P& chain) {
    using set = lane_set<T, Ops...>;
    const std::size_t n = chain.extent(), block = block_items(n);
    std::vector<typename set::results> results(blocks_of(n, block), set::nothing);
    std::vector<std::size_t> counts(results.size());
    run(chain, block, [&](std::size_t index, std::size_t, std::size_t) {
        return counted<T, Ops...>{{set(), &results[index]}, &counts[index]};
    });
    auto total = set::nothing;
    for (const auto& result : results) {
        std::size_t op = 0;
        ((total[op] = Ops::merge(total[op], result[op]), ++op), ...);
    }
    if (std::all_of(counts.begin(), counts.end(), [](std::size_t c) { return c == 0; })) return std::nullopt;
    return total;
}

// Sums of narrow integers in 64 bits, as a reader expects.
template <class T>
using sum_type = std::conditional_t<std::is_integral_v<T> && sizeof(T) < 8,
                                    std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>, T>;

}  // namespace par_detail

inline auto sum() {
    return par_detail::sink([]<class P>(const P& chain) {
        using T = par_detail::sum_type<par_detail::value_of<P>>;
        static_assert(std::is_arithmetic_v<T>, "sum() adds numbers; use reduce() or fold() for other types");
        return par_detail::reduce_lanes<T, par_detail::lane_sum>(chain)[0];
    });
}
inline auto min() {
    return par_detail::sink([]<class P>(const P& chain) -> std::optional<par_detail::value_of<P>> {
        using T = par_detail::value_of<P>;
        static_assert(std::is_arithmetic_v<T>, "min() compares numbers; use reduce() or fold() for other types");
        using namespace par_detail;
        if constexpr (std::is_integral_v<T>) {
            const auto total = reduce_some<T, lane_min>(chain);
            return total ? std::optional<T>((*total)[0]) : std::nullopt;
        } else {
            const auto total = reduce_some<T, lane_min, mark_nan, mark_minus_zero>(chain);
            return total ? std::optional<T>(marked_min((*total)[0], (*total)[1], (*total)[2])) : std::nullopt;
        }
    });
}
inline auto max() {
    return par_detail::sink([]<class P>(const P& chain) -> std::optional<par_detail::value_of<P>> {
        using T = par_detail::value_of<P>;
        static_assert(std::is_arithmetic_v<T>, "max() compares numbers; use reduce() or fold() for other types");
        using namespace par_detail;
        if constexpr (std::is_integral_v<T>) {
            const auto total = reduce_some<T, lane_max>(chain);
            return total ? std::optional<T>((*total)[0]) : std::nullopt;
        } else {
            const auto total = reduce_some<T, lane_max, mark_nan, mark_plus_zero>(chain);
            return total ? std::optional<T>(marked_max((*total)[0], (*total)[1], (*total)[2])) : std::nullopt;
        }
    });
}

// Sum, smallest and largest in one pass; 0 and the ends of the number line (infinities for floats) if there is nothing.
inline auto sum_min_max() {
    return par_detail::sink([]<class P>(const P& chain) {
        using T = par_detail::value_of<P>;
        using namespace par_detail;
        if constexpr (std::is_integral_v<T>) {
            const auto total = reduce_lanes<T, lane_sum, lane_min, lane_max>(chain);
            return sum_min_max_of<T>{total[0], total[1], total[2]};
        } else {
            const auto t = reduce_lanes<T, lane_sum, lane_min, lane_max, mark_nan, mark_minus_zero, mark_plus_zero>(chain);
            return sum_min_max_of<T>{t[0], marked_min(t[1], t[3], t[4]), marked_max(t[2], t[3], t[5])};
        }
    });
}

// op is associative, `identity` changes nothing. Items are combined in order, so op need not be commutative.
template <class T, class Op>
auto reduce(T identity, Op op) {
    return fold(std::move(identity), op, op);
}

}  // namespace tenfold
