// tenfold/par_group.hpp: partition (two heaps) and group_by (many), both in input order and both really parallel.
//
// Why: appending to a list per group under a lock is neither ordered nor parallel. Counting is both: each segment of the input counts
// its keys, running sums over (group, segment) say where each segment's share of each group begins, and all segments write at once
// without meeting. The key function is called once per item; its answers are kept in a byte each where there are at most 256 groups.
//
// Copy: par_group.hpp and the headers that it includes. C++20.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenfold/par_filter.hpp"
#include "tenfold/par_sinks.hpp"

namespace tenfold {

template <class T>
struct partitioned {
    pieces<T> yes, no;
};

// All items, group after group: group(g) is data()[offset(g)] ... data()[offset(g + 1) - 1].
template <class T>
class groups {
public:
    groups(items<T> values, std::vector<std::size_t> offsets) : values_(std::move(values)), offsets_(std::move(offsets)) {}
    std::size_t count() const noexcept { return offsets_.size() - 1; }
    std::size_t size() const noexcept { return values_.size(); }
    const T* data() const noexcept { return values_.data(); }
    std::size_t offset(std::size_t g) const noexcept { return offsets_[g]; }
    std::span<const std::size_t> offsets() const noexcept { return offsets_; }
    std::span<const T> group(std::size_t g) const noexcept {
        return {values_.data() + offsets_[g], offsets_[g + 1] - offsets_[g]};
    }

private:
    items<T> values_;
    std::vector<std::size_t> offsets_;
};

namespace par_detail {

// Each item goes to the end of both buffers; one of the two ends moves on.
template <class T, class F>
struct parting {
    typename row_of_blocks<T>::writer yes, no;
    const F& wanted;

    template <class Batch>
    bool feed(const Batch& batch, place& at) {
        const held<F> test = wanted;
        strip_buffer<T> taken, left;
        for (std::size_t first = 0; first < batch.size(); first += strip) {
            const std::size_t count = std::min(batch.size() - first, strip);
            std::size_t to_yes = 0, to_no = 0;
            each(batch, first, first + count, at, [&](std::size_t j) {
                const T item = batch.at(j);
                taken.put(to_yes, item);
                left.put(to_no, item);
                const bool is = static_cast<bool>(std::invoke(test, item));
                to_yes += is ? 1 : 0;
                to_no += is ? 0 : 1;
            });
            yes.append(slice<const T*>{taken.values(), 0, to_yes}, at);
            no.append(slice<const T*>{left.values(), 0, to_no}, at);
        }
        return true;
    }
    void finish(place&) {
        yes.finish();
        no.finish();
    }
};

// Keys of contiguous items, and how many of each segment are in each group.
template <class Key, class Id>
struct keying {
    const Key& key;
    std::size_t groups;
    Id* id;
    std::size_t* counts;

    template <class Batch>
    bool feed(const Batch& batch, place& at) {
        Id* const to = id;
        each(batch, 0, batch.size(), at, [&](std::size_t j) {
            const auto group = std::invoke(key, batch.at(j));
            static_assert(std::is_integral_v<decltype(group)>, "group_by: the key is a group's number, 0 to groups - 1");
            if (!std::in_range<std::size_t>(group) || static_cast<std::size_t>(group) >= groups)
                throw std::out_of_range("the key is not one of the " + std::to_string(groups) + " groups");
            to[j] = static_cast<Id>(group);
            ++counts[static_cast<std::size_t>(group)];
        });
        id += batch.size();
        return true;
    }
    void finish(place&) noexcept {}
};

template <class T, class Id>
struct scattering {
    T* out;
    const Id* id;
    std::size_t* next;  // of each group: where this segment's next item goes

    template <class Batch>
    bool feed(const Batch& batch, place&) {
        for (std::size_t j = 0; j < batch.size(); ++j) ::new (static_cast<void*>(out + next[id[j]]++)) T(batch.at(j));
        id += batch.size();
        return true;
    }
    void finish(place&) noexcept {}
};

// As many segments as make the counts cheap beside the items, at most 64. A function of the sizes alone.
inline std::size_t segment_items(std::size_t n, std::size_t groups) {
    const std::size_t least = std::max<std::size_t>(16 * 1024, groups > n / 4 ? n : 4 * groups);
    return std::max<std::size_t>(std::max(least, (n + 63) / 64), 1);
}

template <class Id, class P, class T, class Key>
std::vector<std::size_t> group_contiguous(const P& chain, std::size_t groups, const Key& key, T* out) {
    const std::size_t n = chain.extent(), segment = segment_items(n, groups), segments = blocks_of(n, segment);
    raw_memory<Id> ids(n);
    std::vector<std::size_t> counts(segments * groups), offsets(groups + 1);
    run(chain, segment, [&](std::size_t index, std::size_t begin, std::size_t) {
        return keying<Key, Id>{key, groups, ids.get() + begin, counts.data() + index * groups};
    });
    std::size_t total = 0;
    for (std::size_t g = 0; g < groups; ++g) {
        offsets[g] = total;
        for (std::size_t s = 0; s < segments; ++s) total += std::exchange(counts[s * groups + g], total);
    }
    offsets[groups] = total;
    run(chain, segment, [&](std::size_t index, std::size_t begin, std::size_t) {
        return scattering<T, Id>{out, ids.get() + begin, counts.data() + index * groups};
    });
    return offsets;
}

template <class P, class T, class Key>
std::vector<std::size_t> group_any(const P& chain, std::size_t groups, const Key& key, T* out) {
    if (groups == 0) throw std::invalid_argument("group_by needs at least one group");
    if (groups == std::numeric_limits<std::size_t>::max()) throw std::length_error("group_by: too many groups");  // + 1 offsets
    if (groups <= 256) return group_contiguous<std::uint8_t>(chain, groups, key, out);
    if (groups <= std::numeric_limits<std::uint32_t>::max()) return group_contiguous<std::uint32_t>(chain, groups, key, out);
    return group_contiguous<std::size_t>(chain, groups, key, out);
}

template <class P, class Key>
auto group_plain(const P& chain, std::size_t count, const Key& key) {
    using T = value_of<P>;
    raw_memory<T> memory(chain.extent());
    auto offsets = group_any(chain, count, key, memory.get());
    return groups<T>(items<T>(std::move(memory), chain.extent()), std::move(offsets));
}

// Whether the items lie in memory, so that reading them twice calls nobody.
template <class P>
inline constexpr bool is_plain = false;
template <std::ranges::contiguous_range View, class E, class S>
inline constexpr bool is_plain<pipeline<source<View>, E, S>> = true;

}  // namespace par_detail

// Two heaps: those for which wanted(item) is true, and the others.
template <class F>
auto partition(F wanted) {
    return par_detail::sink([wanted = std::move(wanted)]<class P>(const P& chain) {
        using T = par_detail::value_of<P>;
        static_assert(par_detail::cheap<T>,
                      "partition takes values that are cheap to copy; partition pointers or indices instead");
        static_assert(!par_detail::may_grow<P>, "partition: collect() the flat_map first");
        const std::size_t n = chain.extent(), block = par_detail::block_items(n, par_detail::large_block);
        auto [for_yes, for_no] = par_detail::raw_memory<T>::halves(n);
        const std::size_t blocks = par_detail::blocks_of(n, block);
        par_detail::row_of_blocks<T> yes(std::move(for_yes), block, blocks), no(std::move(for_no), block, blocks);
        par_detail::run(
            chain, block,
            [&](std::size_t index, std::size_t, std::size_t) {
                return par_detail::parting<T, F>{{yes, index}, {no, index}, wanted};
            },
            par_detail::handing::in_order);
        return partitioned<T>{pieces<T>(std::move(yes).take()), pieces<T>(std::move(no).take())};
    });
}

// key(item) is the number of its group, 0 to count - 1; anything else is std::out_of_range. Items of stages are collected first.
template <class Key>
auto group_by(std::size_t count, Key key) {
    return par_detail::sink([count, key = std::move(key)]<class P>(const P& chain) {
        using T = par_detail::value_of<P>;
        static_assert(std::is_trivially_copyable_v<T>, "group_by takes plain values; group pointers or indices instead");
        if constexpr (par_detail::is_plain<P>) {
            return par_detail::group_plain(chain, count, key);
        } else {
            const items<T> values = chain | collect();
            const auto again = par(std::span<const T>(values.data(), values.size()), chain.executor(), chain.stop());
            return par_detail::group_plain(again, count, key);
        }
    });
}

// The same into memory that is there; returns the count + 1 offsets. For contiguous ranges; `out` does not overlap the input.
template <class Key, class T>
auto group_by_into(std::size_t count, Key key, std::span<T> out) {
    return par_detail::sink([count, key = std::move(key), out]<class P>(const P& chain) {
        static_assert(par_detail::is_plain<P>, "group_by_into comes right after par(contiguous range)");
        if (out.size() != chain.extent()) throw std::invalid_argument("out must have as many items as the range");
        return par_detail::group_any(chain, count, key, out.data());
    });
}

}  // namespace tenfold
