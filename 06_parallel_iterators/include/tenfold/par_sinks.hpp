// tenfold/par_sinks.hpp: the sinks that end a pipeline: into, collect, gather, for_each, fold, count, find_first, find_value, any,
// all, none. (Sums, minima and other reductions are in par_reduce.hpp.)
//
// Why: a sink is what each block does with its batches, plus what is done with the blocks' results, in index order, at the end.
// Searches end a block early and lower the limit for all others: the first match in index order wins, not the first in time, and an
// error after the match never happened, just as in a loop.
//
// Copy: par_sinks.hpp and the headers that it includes. C++20.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenfold/par_items.hpp"
#include "tenfold/par_source.hpp"
#include "tenfold/par_stream.hpp"

namespace tenfold {

namespace par_detail {

template <class P>
using value_of = std::remove_cvref_t<typename std::remove_cvref_t<decltype(std::declval<const P&>().pipe())>::item>;
template <class P>
inline constexpr bool may_grow = std::remove_cvref_t<decltype(std::declval<const P&>().pipe())>::grows;
template <class P>
inline constexpr bool is_indexed = std::remove_cvref_t<decltype(std::declval<const P&>().pipe())>::indexed;

// Runs a pipeline: make(block, begin, end) -> what feeds on a block's batches.
template <class P, class Make>
void run(const P& chain, std::size_t block, const Make& make, handing how = handing::in_shares) {
    run_blocks(chain.pipe(), chain.executor(), chain.stop(), block, how, make);
}

inline constexpr std::size_t blocks_of(std::size_t n, std::size_t block) { return n / block + (n % block != 0); }

// Block sizes where no result depends on them: larger, so that less is done per block.
inline constexpr std::size_t large_block = 16 * 1024;

template <class T>
struct assigning {
    T* out;
    template <class Batch>
    bool feed(const Batch& batch, place& at) {
        T* const to = out;
        each(batch, 0, batch.size(), at, [&](std::size_t j) { to[j] = batch.at(j); });
        out += batch.size();
        return true;
    }
    void finish(place&) noexcept {}
};

// Constructs items where there were none; *built counts those that need a destructor.
template <class T>
struct constructing {
    T* out;
    std::size_t* built;
    template <class Batch>
    bool feed(const Batch& batch, place& at) {
        T* const to = out;
        each(batch, 0, batch.size(), at, [&](std::size_t j) {
            ::new (static_cast<void*>(to + j)) T(batch.at(j));
            if constexpr (!std::is_trivially_destructible_v<T>) ++*built;
        });
        out += batch.size();
        return true;
    }
    void finish(place&) noexcept {}
};

// Where no item of the source gives more than one result, there is an upper bound, and blocks can be put in a row at once.
template <class T>
struct lining_up {
    typename row_of_blocks<T>::writer row;
    template <class Batch>
    bool feed(const Batch& batch, place& at) {
        row.append(batch, at);
        return true;
    }
    void finish(place&) { row.finish(); }
};
template <class P>
auto line_up(const P& chain) {
    using T = value_of<P>;
    const std::size_t n = chain.extent(), block = block_items(n, large_block);
    row_of_blocks<T> row(raw_memory<T>(n), block, blocks_of(n, block));
    run(
        chain, block, [&](std::size_t index, std::size_t, std::size_t) { return lining_up<T>{{row, index}}; },
        handing::in_order);
    return std::move(row).take();
}

template <class T>
struct gathering {
    bag<T>* to;
    bag<T> own;
    template <class Batch>
    bool feed(const Batch& batch, place& at) {
        own.append(batch, at);
        return true;
    }
    void finish(place&) noexcept { *to = std::move(own); }
};
template <class P>
auto gather_pieces(const P& chain) {
    using T = value_of<P>;
    if constexpr (!may_grow<P>) {
        return pieces<T>(line_up(chain));
    } else {
        const std::size_t n = chain.extent(), block = block_items(n);
        std::vector<bag<T>> bags(blocks_of(n, block));
        run(chain, block, [&](std::size_t index, std::size_t, std::size_t) { return gathering<T>{&bags[index], {}}; });
        return pieces<T>(std::move(bags));
    }
}

template <class P>
auto collect_items(const P& chain) {
    using T = value_of<P>;
    const std::size_t n = chain.extent();
    raw_memory<T> memory(n);
    const std::size_t block = block_items(n, large_block);
    std::vector<std::size_t> built(std::is_trivially_destructible_v<T> ? 0 : blocks_of(n, block));
    try {
        run(chain, block, [&](std::size_t index, std::size_t begin, std::size_t) {
            return constructing<T>{memory.get() + begin, built.empty() ? nullptr : &built[index]};
        });
    } catch (...) {
        for (std::size_t i = 0; i < built.size(); ++i) std::destroy_n(memory.get() + i * block, built[i]);
        throw;
    }
    return items<T>(std::move(memory), n);
}

template <class F>
struct calling {
    const F& function;
    template <class Batch>
    bool feed(const Batch& batch, place& at) {
        each(batch, 0, batch.size(), at, [&](std::size_t j) { std::invoke(function, batch.at(j)); });
        return true;
    }
    void finish(place&) noexcept {}
};

template <class T, class Step>
struct folding {
    T value;
    const Step& step;
    T* result;
    template <class Batch>
    bool feed(const Batch& batch, place& at) {
        each(batch, 0, batch.size(), at, [&](std::size_t j) { value = std::invoke(step, std::move(value), batch.at(j)); });
        return true;
    }
    void finish(place&) noexcept(std::is_nothrow_move_assignable_v<T>) { *result = std::move(value); }
};

struct counting {
    std::size_t value = 0;
    std::size_t* result;
    template <class Batch>
    bool feed(const Batch& batch, place& at) {
        // Computed and dropped: what a map does may be wanted, and a plain range costs nothing.
        each(batch, 0, batch.size(), at, [&](std::size_t j) { static_cast<void>(batch.at(j)); });
        value += batch.size();
        return true;
    }
    void finish(place&) noexcept { *result = value; }
};

// Sixteen items are tested before anyone looks at the answers: no branch per item. An error among them counts if none before it
// matched.
template <class F>
class searching {
public:
    searching(const F& wanted, std::size_t* found) : wanted_(wanted), found_(found) {}
    template <class Batch>
    bool feed(const Batch& batch, place& at) {
        constexpr std::size_t row = 16;
        const held<F> test = wanted_;
        std::array<bool, row> matches;
        std::size_t j = 0;
        for (; j + row <= batch.size(); j += row) {
            bool any = false;
            std::size_t i = 0;
            try {
                for (; i < row; ++i) any |= matches[i] = static_cast<bool>(std::invoke(test, batch.at(j + i)));
            } catch (...) {
                if (const std::size_t first = first_of(matches, i); first < i) return matched(batch.index(j + first));
                at.note(batch.index(j + i));
                throw;
            }
            if (any) return matched(batch.index(j + first_of(matches, row)));
        }
        std::size_t match = nowhere;
        each(batch, j, batch.size(), at, [&](std::size_t k) {
            if (match == nowhere && std::invoke(test, batch.at(k))) match = k;
        });
        return match == nowhere || matched(batch.index(match));
    }
    void finish(place&) noexcept { *found_ = here_; }

private:
    bool matched(std::size_t index) {
        here_ = index;
        return false;
    }
    template <class Matches>
    static std::size_t first_of(const Matches& matches, std::size_t end) {
        return static_cast<std::size_t>(std::find(matches.begin(), matches.begin() + static_cast<std::ptrdiff_t>(end), true) -
                                        matches.begin());
    }

    const F& wanted_;
    std::size_t* found_;
    std::size_t here_ = nowhere;
};

template <class P, class F>
std::optional<std::size_t> search(const P& chain, const F& wanted) {
    const std::size_t n = chain.extent(), block = block_items(n);
    std::vector<std::size_t> found(blocks_of(n, block), nowhere);
    run(
        chain, block, [&](std::size_t index, std::size_t, std::size_t) { return searching<F>(wanted, &found[index]); },
        handing::in_order);
    for (const std::size_t index : found)
        if (index != nowhere) return index;
    return std::nullopt;
}

}  // namespace par_detail

// Writes result i to out[i]. For pipelines that know their size. `out` may be the input where each result needs its own item only.
template <class T>
auto into(std::span<T> out) {
    return par_detail::sink([out]<class P>(const P& chain) {
        static_assert(par_detail::is_indexed<P>,
                      "into: nobody knows how many items a filter leaves; use gather() or collect()");
        const std::size_t n = chain.extent();
        if (out.size() != n)
            throw std::invalid_argument("out has " + std::to_string(out.size()) + " items, the pipeline " + std::to_string(n));
        const std::size_t block = par_detail::block_items(n, par_detail::large_block);
        if constexpr (par_detail::can_stream<T>)
            if (out.size_bytes() > par_detail::last_cache_bytes())
                return par_detail::run(chain, block, [&](std::size_t, std::size_t begin, std::size_t) {
                    return par_detail::streaming<T>{out.data() + begin};
                });
        par_detail::run(chain, block, [&](std::size_t, std::size_t begin, std::size_t) {
            return par_detail::assigning<T>{out.data() + begin};
        });
    });
}
template <std::ranges::contiguous_range Out>
auto into(Out& out) {
    return into(std::span(out));
}

// All results as items<T>: constructed where they stay if the pipeline knows its size, else gathered and moved once.
inline auto collect() {
    return par_detail::sink([]<class P>(const P& chain) {
        if constexpr (par_detail::is_indexed<P>) return par_detail::collect_items(chain);
        else if constexpr (!par_detail::may_grow<P>) return par_detail::line_up(chain);
        else return par_detail::gather_pieces(chain).to_items(chain.executor(), chain.stop());
    });
}

// All results as pieces<T>: ask size(), allocate, move_to().
inline auto gather() {
    return par_detail::sink([]<class P>(const P& chain) { return par_detail::gather_pieces(chain); });
}

template <class F>
auto for_each(F function) {
    return par_detail::sink([function = std::move(function)]<class P>(const P& chain) {
        par_detail::run(chain, par_detail::block_items(chain.extent(), par_detail::large_block),
                        [&](std::size_t, std::size_t, std::size_t) { return par_detail::calling<F>{function}; });
    });
}

// step(T, item) -> T from `identity` along each block, then combine(T, T) -> T over the blocks, both in index order. The same bits
// everywhere; the bits of one loop if combining is associative and `identity` neutral.
template <class T, class Step, class Combine>
auto fold(T identity, Step step, Combine combine) {
    return par_detail::sink([=]<class P>(const P& chain) -> T {
        const std::size_t n = chain.extent(), block = par_detail::block_items(n);
        std::vector<std::optional<T>> results(par_detail::blocks_of(n, block));
        for (auto& result : results) result.emplace(identity);
        par_detail::run(chain, block, [&](std::size_t index, std::size_t, std::size_t) {
            return par_detail::folding<T, Step>{identity, step, &*results[index]};
        });
        T total = identity;
        for (auto& result : results) total = std::invoke(combine, std::move(total), std::move(*result));
        return total;
    });
}

inline auto count() {
    return par_detail::sink([]<class P>(const P& chain) {
        const std::size_t n = chain.extent(), block = par_detail::block_items(n);
        std::vector<std::size_t> counts(par_detail::blocks_of(n, block));
        par_detail::run(chain, block,
                        [&](std::size_t index, std::size_t, std::size_t) { return par_detail::counting{0, &counts[index]}; });
        std::size_t total = 0;
        for (const std::size_t c : counts) total += c;
        return total;
    });
}

// Where in the source the first item comes from for which wanted(item) is true. Blocks above a match are skipped.
template <class F>
auto find_first(F wanted) {
    return par_detail::sink(
        [wanted = std::move(wanted)]<class P>(const P& chain) { return par_detail::search(chain, wanted); });
}
template <class T>
auto find_value(T value) {
    return find_first([value = std::move(value)](const auto& item) { return item == value; });
}

template <class F>
auto any(F wanted) {
    return par_detail::sink(
        [wanted = std::move(wanted)]<class P>(const P& chain) { return par_detail::search(chain, wanted).has_value(); });
}
template <class F>
auto none(F wanted) {
    return par_detail::sink(
        [wanted = std::move(wanted)]<class P>(const P& chain) { return !par_detail::search(chain, wanted); });
}
template <class F>
auto all(F wanted) {
    return par_detail::sink([wanted = std::move(wanted)]<class P>(const P& chain) {
        return !par_detail::search(chain, [&](const auto& item) { return !std::invoke(wanted, item); });
    });
}

}  // namespace tenfold
