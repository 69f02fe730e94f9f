// tenfold/par_stages.hpp: stages that give one result per item and store nothing: map, inspect, enumerate, zip, zip_with, chain,
// windows, chunks. (What drops or adds items is in par_filter.hpp.)
//
// Why: each is a few lines, because a stage only says how its batches come from the batches before it (par_source.hpp). Functions
// are called exactly once per item, through const&, from several threads at once: they must be safe for that. The compiler sees
// the whole chain as one type and makes one loop of it.
//
// Copy: par_stages.hpp and the headers that it includes. C++20.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <functional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "tenfold/par_sieve.hpp"
#include "tenfold/par_source.hpp"

namespace tenfold::par_detail {

// ---- stages that make one batch from one: Make(batch) -> batch

template <pipe P, class Make>
class wrapped : public pipe_base {
public:
    using item = typename Make::template item<typename P::item>;
    static constexpr bool indexed = P::indexed, grows = P::grows;

    wrapped(P from, Make make) : from_(std::move(from)), make_(std::move(make)) {}
    std::size_t extent() const { return from_.extent(); }
    auto batch(std::size_t begin, std::size_t count) const
        requires batched_pipe<P>
    {
        return make_(from_.batch(begin, count));
    }

    template <class Local>
    bool drive(std::size_t begin, std::size_t end, place& at, Local& local) const {
        passing<Local> through{make_, local};
        return from_.drive(begin, end, at, through);
    }

private:
    template <class Local>
    struct passing {
        const Make& make;
        Local& next;
        template <class Batch>
        bool feed(const Batch& batch, place& at) {
            return next.feed(make(batch), at);
        }
        template <class Blank>
        static constexpr bool sieves = Make::template sieves<Local, Blank>;
        template <class Blank, class Sieve>
        bool feed_sieve(const Sieve& from, place& at) {
            return make.template feed_sieve<Blank>(from, at, next);
        }
    };

    P from_;
    Make make_;
};

template <class Batch, class F>
struct mapped_batch {
    Batch from;
    held<F> function;
    std::size_t size() const noexcept { return from.size(); }
    decltype(auto) at(std::size_t j) const { return std::invoke(function, from.at(j)); }
    std::size_t index(std::size_t j) const noexcept { return from.index(j); }
};
template <class F>
struct make_mapped {
    template <class Item>
    using item = std::invoke_result_t<const F&, Item>;
    F function;
    template <class Batch>
    auto operator()(const Batch& batch) const {
        return mapped_batch<Batch, F>{batch, function};
    }
    template <class Local, class Blank>
    static constexpr bool sieves = [] {
        if constexpr (blankable<F, Blank>) return takes_sieve<Local, mapped_blank<F, Blank>>;
        else return false;
    }();
    template <class Blank, class Sieve, class Local>
    static bool feed_sieve(const Sieve& from, place& at, Local& next) {
        return next.template feed_sieve<mapped_blank<F, Blank>>(mapped_sieve<Sieve, F, Blank>{from, F{}}, at);
    }
};

// inspect: look at the item, pass it on.
template <class F>
struct looking {
    F function;
    template <class Item>
    Item operator()(Item&& item) const {
        std::invoke(function, std::as_const(item));
        return std::forward<Item>(item);
    }
};

template <class Batch>
struct numbered_batch {
    Batch from;
    std::size_t size() const noexcept { return from.size(); }
    auto at(std::size_t j) const { return std::pair<std::size_t, item_of<Batch>>(from.index(j), from.at(j)); }
    std::size_t index(std::size_t j) const noexcept { return from.index(j); }
};
struct make_numbered {
    template <class Item>
    using item = std::pair<std::size_t, Item>;
    template <class Batch>
    auto operator()(const Batch& batch) const {
        return numbered_batch<Batch>{batch};
    }
    template <class Local, class Blank>
    static constexpr bool sieves = false;
};

// ---- two ranges side by side

template <class A, class B, class F>
struct zipped_batch {
    A a;
    B b;
    held<F> function;
    std::size_t size() const noexcept { return a.size(); }
    decltype(auto) at(std::size_t j) const { return std::invoke(function, a.at(j), b.at(j)); }
    std::size_t index(std::size_t j) const noexcept { return a.index(j); }
};

template <batched_pipe A, batched_pipe B, class F>
class zipped : public batched_base<zipped<A, B, F>> {
public:
    using item = std::invoke_result_t<const F&, typename A::item, typename B::item>;

    zipped(A a, B b, F function) : a_(std::move(a)), b_(std::move(b)), function_(std::move(function)) {}

    std::size_t extent() const {
        const std::size_t a = a_.extent(), b = b_.extent();
        if (a != b)
            throw std::invalid_argument("zip needs ranges of the same length, not " + std::to_string(a) + " and " +
                                        std::to_string(b));
        return a;
    }
    auto batch(std::size_t begin, std::size_t count) const {
        using first = decltype(a_.batch(begin, count));
        using second = decltype(b_.batch(begin, count));
        return zipped_batch<first, second, F>{a_.batch(begin, count), b_.batch(begin, count), function_};
    }

private:
    A a_;
    B b_;
    F function_;
};

// References stay references (the items can be written to), values are values.
struct as_pair {
    template <class A, class B>
    std::pair<A, B> operator()(A&& a, B&& b) const {
        return {std::forward<A>(a), std::forward<B>(b)};
    }
};

// ---- one range after the other

template <pipe A, pipe B>
class chained : public pipe_base {
public:
    using item = std::common_reference_t<typename A::item, typename B::item>;
    static_assert(std::is_same_v<std::remove_cvref_t<typename A::item>, std::remove_cvref_t<typename B::item>>,
                  "chain: both parts must have items of the same type; map one of them");
    static constexpr bool indexed = A::indexed && B::indexed, grows = A::grows || B::grows;

    chained(A a, B b) : a_(std::move(a)), b_(std::move(b)) {}
    std::size_t extent() const { return a_.extent() + b_.extent(); }

    template <class Local>
    bool drive(std::size_t begin, std::size_t end, place& at, Local& local) const {
        const std::size_t border = a_.extent();
        if (begin < border && !a_.drive(begin, std::min(end, border), at, local)) return false;
        if (end <= border) return true;
        moving<Local> through{local, border};
        place there;
        try {
            const bool more = b_.drive(std::max(begin, border) - border, end - border, there, through);
            return more;
        } catch (...) {
            if (there.index != nowhere) at.note(there.index);
            throw;
        }
    }

private:
    template <class Local>
    struct moving {
        Local& next;
        std::size_t by;
        template <class Batch>
        bool feed(const Batch& batch, place& at) {
            return next.feed(shifted<Batch>{batch, by}, at);
        }
    };

    A a_;
    B b_;
};

// ---- views of several neighbours

template <std::ranges::contiguous_range View>
auto neighbours_of(const source<View>& from) {
    return std::span(std::ranges::data(from.view()), from.extent());
}

template <class T>
struct window_batch {
    T* items;
    std::size_t first, count, width;
    std::size_t size() const noexcept { return count; }
    std::span<T> at(std::size_t j) const noexcept { return {items + first + j, width}; }
    std::size_t index(std::size_t j) const noexcept { return first + j; }
};
template <class T>
struct chunk_batch {
    T* items;
    std::size_t first, count, width, total;
    std::size_t size() const noexcept { return count; }
    std::span<T> at(std::size_t j) const noexcept {
        const std::size_t begin = (first + j) * width;
        return {items + begin, std::min(width, total - begin)};
    }
    std::size_t index(std::size_t j) const noexcept { return first + j; }
};

// Steps of one item (windows) or of `width` items (chunks, the last one may be shorter).
template <class Source, bool overlapping>
class neighbours : public batched_base<neighbours<Source, overlapping>> {
public:
    using span = decltype(neighbours_of(std::declval<const Source&>()));
    using item = std::span<const typename span::element_type>;

    neighbours(Source from, std::size_t width) : from_(std::move(from)), width_(width) {
        if (width == 0) throw std::invalid_argument(overlapping ? "a window must be >= 1" : "a chunk must be >= 1");
    }
    std::size_t extent() const {
        const std::size_t n = from_.extent();
        if constexpr (overlapping) return n < width_ ? 0 : n - width_ + 1;
        else return n / width_ + (n % width_ != 0);
    }
    auto batch(std::size_t begin, std::size_t count) const {
        const span all = neighbours_of(from_);
        using element = const typename span::element_type;
        if constexpr (overlapping) return window_batch<element>{all.data(), begin, count, width_};
        else return chunk_batch<element>{all.data(), begin, count, width_, all.size()};
    }

private:
    Source from_;
    std::size_t width_;
};

template <bool overlapping>
auto neighbours_stage(std::size_t width) {
    return stage([width]<class P>(P from) {
        static_assert(requires { neighbours_of(from); }, "windows and chunks come right after par(contiguous range)");
        return neighbours<P, overlapping>(std::move(from), width);
    });
}

}  // namespace tenfold::par_detail

namespace tenfold {

template <class F>
auto map(F function) {
    return par_detail::stage([function = std::move(function)]<class P>(P from) {
        using make = par_detail::make_mapped<F>;
        return par_detail::wrapped<P, make>(std::move(from), make{function});
    });
}

// function(item) is called for its effect; the items pass unchanged.
template <class F>
auto inspect(F function) {
    return map(par_detail::looking<F>{std::move(function)});
}

// Pairs of (index in the source, item).
inline auto enumerate() {
    return par_detail::stage(
        []<class P>(P from) { return par_detail::wrapped<P, par_detail::make_numbered>(std::move(from), {}); });
}

// function(item, other[i]). The lengths are compared when the pipeline runs: std::invalid_argument.
template <par_detail::par_range Other, class F>
auto zip_with(Other&& other, F function) {
    return par_detail::stage(
        [second = par_detail::source_of<Other>(par_detail::view_of(std::forward<Other>(other))), function]<class P>(P first) {
            static_assert(par_detail::batched_pipe<P>,
                          "zip: what flanks it must know its size; collect() a filtered pipeline first");
            using second_type = std::remove_cvref_t<decltype(second)>;
            return par_detail::zipped<P, second_type, F>(std::move(first), second, function);
        });
}
template <par_detail::par_range Other>
auto zip(Other&& other) {
    return zip_with(std::forward<Other>(other), par_detail::as_pair{});
}

// The items of `other` after those of the pipeline. Index i of `other` is index extent() + i.
template <par_detail::par_range Other>
auto chain(Other&& other) {
    return par_detail::stage(
        [second = par_detail::source_of<Other>(par_detail::view_of(std::forward<Other>(other)))]<class P>(P first) {
            return par_detail::chained<P, std::remove_cvref_t<decltype(second)>>(std::move(first), second);
        });
}

// Spans of `width` neighbours, n - width + 1 of them (none if width > n); and of `width` items each, the last one may be shorter.
inline auto windows(std::size_t width) { return par_detail::neighbours_stage<true>(width); }
inline auto chunks(std::size_t width) { return par_detail::neighbours_stage<false>(width); }

}  // namespace tenfold
