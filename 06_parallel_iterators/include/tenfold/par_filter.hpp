// tenfold/par_filter.hpp: the stages after which nobody knows how many items there are: filter, filter_map, flat_map.
//
// Why: `if (wanted(x)) push_back(x)` mispredicts a branch for every second item when half of them stay, and its results cannot be
// computed several at a time. Here up to 512 items go into a buffer: each is written where the next one that stays belongs, and the
// place moves on by one if it does. No branch depends on the data, and what follows runs over a dense batch again.
//
// Copy: par_filter.hpp and the headers that it includes. C++20.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <variant>

#include "tenfold/par_sieve.hpp"
#include "tenfold/par_source.hpp"

namespace tenfold::par_detail {

inline constexpr std::size_t strip = 512;

// Room for `strip` values, and for each its place in the batch that it came from. T is trivially copied and destroyed.
template <class T>
struct strip_buffer {
    T* values() noexcept { return reinterpret_cast<T*>(bytes); }
    template <class From>
    void put(std::size_t i, From&& value) {
        ::new (static_cast<void*>(values() + i)) T(std::forward<From>(value));
    }

    alignas(T) std::byte bytes[strip * sizeof(T)];
    std::array<std::uint16_t, strip> offsets;
};

// What a strip kept.
template <class T, class Batch>
struct kept_batch {
    const T* values;
    const std::uint16_t* offsets;
    std::size_t count, first;
    const Batch& from;
    std::size_t size() const noexcept { return count; }
    decltype(auto) at(std::size_t j) const noexcept {
        if constexpr (std::is_pointer_v<T> && std::is_reference_v<item_of<Batch>>)
            return static_cast<item_of<Batch>>(*values[j]);
        else return static_cast<const T&>(values[j]);
    }
    std::size_t index(std::size_t j) const noexcept { return from.index(first + offsets[j]); }
};

// Items that come from one item of the batch before.
template <class Iterator, class Batch>
struct inner_batch {
    Iterator items;
    std::size_t count, offset;
    const Batch& from;
    std::size_t size() const noexcept { return count; }
    decltype(auto) at(std::size_t j) const { return items[static_cast<std::iter_difference_t<Iterator>>(j)]; }
    std::size_t index(std::size_t) const noexcept { return from.index(offset); }
};

// One item that cannot wait in a buffer: it is moved on at once.
template <class Item, class Batch>
struct single_batch {
    std::remove_reference_t<Item>& value;
    std::size_t offset;
    const Batch& from;
    std::size_t size() const noexcept { return 1; }
    Item&& at(std::size_t) const noexcept { return static_cast<Item&&>(value); }
    std::size_t index(std::size_t) const noexcept { return from.index(offset); }
};

// keep(j, buffer, k) writes the candidate of item j to buffer[k] and says whether it stays. When it throws, what was kept before
// goes on first: an error or a match further down came earlier in the source.
template <class T, class Batch, class Local, class Keep>
bool feed_kept(const Batch& batch, place& at, Local& local, const Keep& keep) {
    strip_buffer<T> buffer;
    for (std::size_t first = 0; first < batch.size(); first += strip) {
        const std::size_t count = std::min(batch.size() - first, strip);
        std::size_t kept = 0, j = 0;
        std::exception_ptr error;
        try {
            for (; j < count; ++j) {
                buffer.offsets[kept] = static_cast<std::uint16_t>(j);
                kept += keep(first + j, buffer, kept) ? 1 : 0;
            }
        } catch (...) {
            error = std::current_exception();
        }
        if (kept != 0 && !local.feed(kept_batch<T, Batch>{buffer.values(), buffer.offsets.data(), kept, first, batch}, at))
            return false;
        if (error) {
            at.note(batch.index(first + j));
            std::rethrow_exception(error);
        }
    }
    return true;
}

// Numbers that are computed, not read: a strip of them is computed first, several at a time, and picked over then.
template <class T, class Batch, class Local, class F>
bool feed_computed(const Batch& batch, place& at, Local& local, const F& wanted) {
    strip_buffer<T> buffer;
    std::array<T, strip> computed;
    for (std::size_t first = 0; first < batch.size(); first += strip) {
        const std::size_t count = std::min(batch.size() - first, strip);
        std::size_t kept = 0, j = 0, ready = 0;
        std::exception_ptr error;
        try {
            for (; ready < count; ++ready) computed[ready] = batch.at(first + ready);
        } catch (...) {
            error = std::current_exception();
            j = ready;
        }
        std::size_t i = 0;
        try {
            for (; i < ready; ++i) {
                buffer.offsets[kept] = static_cast<std::uint16_t>(i);
                buffer.put(kept, computed[i]);
                kept += std::invoke(wanted, std::as_const(computed[i])) ? 1 : 0;
            }
        } catch (...) {
            error = std::current_exception();
            j = i;  // below the other one
        }
        if (kept != 0 && !local.feed(kept_batch<T, Batch>{buffer.values(), buffer.offsets.data(), kept, first, batch}, at))
            return false;
        if (error) {
            at.note(batch.index(first + j));
            std::rethrow_exception(error);
        }
    }
    return true;
}

// The same for items that are not cheap: candidate(j) -> std::optional<T>, passed on one by one.
template <class T, class Batch, class Local, class Candidate>
bool feed_singles(const Batch& batch, place& at, Local& local, const Candidate& candidate) {
    bool more = true;
    for (std::size_t j = 0; more && j < batch.size(); ++j) {
        std::optional<T> value = [&] {
            try {
                return candidate(j);
            } catch (...) {
                at.note(batch.index(j));
                throw;
            }
        }();
        if (value) more = local.feed(single_batch<T, Batch>{*value, j, batch}, at);
    }
    return more;
}

template <class T, bool writable, class Local>
inline constexpr bool takes_number_sieve = [] {
    if constexpr (std::is_arithmetic_v<T>) return takes_sieve<Local, zero_blank<T, writable>>;
    else return false;
}();

template <class F>
struct keep_if {
    static constexpr bool grows = false;
    template <class Item>
    using item = Item;

    template <class Batch, class Local>
    static bool feed(const F& function, const Batch& batch, place& at, Local& local) {
        using got = item_of<Batch>;
        using value = std::remove_cvref_t<got>;
        constexpr bool writable = std::is_lvalue_reference_v<got> && !std::is_const_v<std::remove_reference_t<got>>;
        const held<F> wanted = function;
        if constexpr (takes_number_sieve<value, writable, Local>) {
            return local.template feed_sieve<zero_blank<value, writable>>(sieve<value, Batch, F>{batch, wanted}, at);
        } else if constexpr (std::is_arithmetic_v<value> && !std::is_reference_v<got>) {
            return feed_computed<value>(batch, at, local, wanted);
        } else if constexpr (cheap<value> && !writable) {
            return feed_kept<value>(batch, at, local, [&](std::size_t j, auto& buffer, std::size_t k) {
                const value candidate = batch.at(j);
                buffer.put(k, candidate);
                return static_cast<bool>(std::invoke(wanted, candidate));
            });
        } else if constexpr (std::is_lvalue_reference_v<got>) {
            using target = std::remove_reference_t<got>;
            return feed_kept<target*>(batch, at, local, [&](std::size_t j, auto& buffer, std::size_t k) {
                target& candidate = batch.at(j);
                buffer.put(k, std::addressof(candidate));
                return static_cast<bool>(std::invoke(wanted, std::as_const(candidate)));
            });
        } else {
            return feed_singles<value>(batch, at, local, [&](std::size_t j) {
                std::optional<value> candidate(batch.at(j));
                if (!std::invoke(wanted, std::as_const(*candidate))) candidate.reset();
                return candidate;
            });
        }
    }
};

template <class F>
struct keep_mapped {
    static constexpr bool grows = false;
    template <class Item>
    using item = typename std::invoke_result_t<const F&, Item>::value_type;

    template <class Batch, class Local>
    static bool feed(const F& function, const Batch& batch, place& at, Local& local) {
        using value = item<item_of<Batch>>;
        const held<F> called = function;
        if constexpr (cheap<value> && std::is_default_constructible_v<value>) {
            return feed_kept<value>(batch, at, local, [&](std::size_t j, auto& buffer, std::size_t k) {
                const std::optional<value> candidate = std::invoke(called, batch.at(j));
                buffer.put(k, candidate ? *candidate : value());
                return candidate.has_value();
            });
        } else {
            return feed_singles<value>(batch, at, local, [&](std::size_t j) { return std::invoke(called, batch.at(j)); });
        }
    }
};

// Short inner ranges of cheap items are put together in a buffer; others are batches of their own, or passed on one by one.
template <class F>
struct keep_all {
    static constexpr bool grows = true;
    template <class Item>
    using range_of = std::remove_reference_t<std::invoke_result_t<const F&, Item>>;
    template <class Item>
    using item = std::ranges::range_reference_t<range_of<Item>>;

    template <class Batch, class Local>
    static bool feed(const F& function, const Batch& batch, place& at, Local& local) {
        using inner = range_of<item_of<Batch>>;
        using got = std::ranges::range_reference_t<inner>;
        using value = std::remove_cvref_t<got>;
        constexpr bool by_index = std::ranges::random_access_range<inner> && std::ranges::sized_range<inner>;
        constexpr bool writable = std::is_lvalue_reference_v<got> && !std::is_const_v<std::remove_reference_t<got>>;
        constexpr bool buffered = cheap<value> && !writable;
        constexpr std::size_t short_range = 64;
        std::conditional_t<buffered, strip_buffer<value>, std::monostate> buffer;
        std::size_t waiting = 0, first = 0;  // items in the buffer, and the first item of the batch that has some there
        const auto flush = [&] {
            const std::size_t count = std::exchange(waiting, 0);
            if constexpr (buffered) {
                if (count == 0) return true;
                return local.feed(kept_batch<value, Batch>{buffer.values(), buffer.offsets.data(), count, first, batch}, at);
            } else {
                return count == 0;
            }
        };
        for (std::size_t j = 0; j < batch.size(); ++j) {
            std::exception_ptr error;
            try {
                auto&& range = std::invoke(function, batch.at(j));
                if constexpr (by_index) {
                    const auto size = static_cast<std::size_t>(std::ranges::size(range));
                    if (!buffered || size > short_range) {
                        using iterator = std::ranges::iterator_t<inner>;
                        if (!flush()) return false;
                        if (!local.feed(inner_batch<iterator, Batch>{std::ranges::begin(range), size, j, batch}, at))
                            return false;
                        continue;
                    }
                }
                for (auto&& x : range) {
                    if constexpr (buffered) {
                        if ((waiting == strip || j - first > 0xffff) && !flush()) return false;
                        if (waiting == 0) first = j;
                        buffer.put(waiting, x);
                        buffer.offsets[waiting++] = static_cast<std::uint16_t>(j - first);
                    } else {
                        if (!local.feed(single_batch<got, Batch>{x, j, batch}, at)) return false;
                    }
                }
            } catch (...) {
                error = std::current_exception();
            }
            if (error) {
                if (!flush()) return false;  // what came before goes on first, as in feed_kept
                at.note(batch.index(j));  // nothing, if the error came from further down: that has been noted
                std::rethrow_exception(error);
            }
        }
        return flush();
    }
};

template <pipe P, class F, template <class> class How>
class dropping : public pipe_base {
public:
    using item = typename How<F>::template item<typename P::item>;
    static constexpr bool indexed = false, grows = P::grows || How<F>::grows;

    dropping(P from, F function) : from_(std::move(from)), function_(std::move(function)) {}
    std::size_t extent() const { return from_.extent(); }

    template <class Local>
    bool drive(std::size_t begin, std::size_t end, place& at, Local& local) const {
        passing<Local> through{function_, local};
        return from_.drive(begin, end, at, through);
    }

private:
    template <class Local>
    struct passing {
        const F& function;
        Local& next;
        template <class Batch>
        bool feed(const Batch& batch, place& at) {
            return How<F>::feed(function, batch, at, next);
        }
    };

    P from_;
    F function_;
};

template <template <class> class How, class F>
auto dropping_stage(F function) {
    return stage([function = std::move(function)]<class P>(P from) { return dropping<P, F, How>(std::move(from), function); });
}

}  // namespace tenfold::par_detail

namespace tenfold {

// Items for which wanted(item) is true.
template <class F>
auto filter(F wanted) {
    return par_detail::dropping_stage<par_detail::keep_if>(std::move(wanted));
}

// function(item) -> std::optional<T>: the values there are. Where the test is cheap and the function is not, filter | map is faster:
// the function then runs without a branch, for the items that stay.
template <class F>
auto filter_map(F function) {
    return par_detail::dropping_stage<par_detail::keep_mapped>(std::move(function));
}

// function(item) -> a range: all items of all those ranges. Shared out by outer items; where one inner range can be huge,
// see joined().
template <class F>
auto flat_map(F function) {
    return par_detail::dropping_stage<par_detail::keep_all>(std::move(function));
}

}  // namespace tenfold
