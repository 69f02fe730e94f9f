// tenfold/par_source.hpp: what flows through a pipeline (batches) and where it comes from (ranges).
//
// Why: stages that hand over one item at a time cost a branch per item and keep the compiler from using vector instructions;
// stages that hand over whole arrays cost memory traffic. Here they hand over *batches*: a batch is a small object that knows how to
// compute its j-th item. Mapping wraps a batch in another; nothing is stored. Only what cannot be computed by index (what a
// filter keeps) goes through a buffer of 512 items, which stays in the first-level cache.
//     size()      items in this batch
//     at(j)       the j-th, computed now; everybody calls it once per item, in order
//     index(j)    where that item came from in the source: for errors and for find
//
// Copy: par_source.hpp and the headers that it includes. C++20.
#pragma once

#include <algorithm>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <ranges>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenfold/par_run.hpp"

namespace tenfold::par_detail {

// Values that may be copied into a buffer whether they are wanted or not.
template <class T>
inline constexpr bool cheap =
    std::is_trivially_copy_constructible_v<T> && std::is_trivially_destructible_v<T> && sizeof(T) <= 32;

template <class Batch>
using item_of = decltype(std::declval<const Batch&>().at(std::size_t{}));

// A function as a batch holds it: small ones by value, so that the compiler sees that stores to the output cannot change what
// they captured, and keeps it in a register; others by reference.
template <class F>
using held = std::conditional_t<std::is_trivially_copyable_v<F> && sizeof(F) <= 64, const F, const F&>;

// Runs body(j) for j in [begin, end); an exception is noted with the index of its item.
template <class Batch, class Body>
[[gnu::always_inline]] inline void each(const Batch& batch, std::size_t begin, std::size_t end, place& at, Body&& body) {
    std::size_t j = begin;
    try {
        for (; j < end; ++j) body(j);
    } catch (...) {
        at.note(batch.index(j));
        throw;
    }
}

// Items `first`, first + 1, ... of something with operator[]: a pointer, a random-access iterator.
template <class Iterator>
struct slice {
    Iterator items;
    std::size_t first, count;
    std::size_t size() const noexcept { return count; }
    decltype(auto) at(std::size_t j) const {
        if constexpr (std::is_pointer_v<Iterator>) return items[first + j];
        else return items[static_cast<std::iter_difference_t<Iterator>>(first + j)];
    }
    std::size_t index(std::size_t j) const noexcept { return first + j; }
};

// The same batch, its items counted from elsewhere (the second part of a chain).
template <class Batch>
struct shifted {
    Batch batch;
    std::size_t by;
    std::size_t size() const noexcept { return batch.size(); }
    decltype(auto) at(std::size_t j) const { return batch.at(j); }
    std::size_t index(std::size_t j) const noexcept { return by + batch.index(j); }
};

// A pipe: item, the type of its results; extent(), the items of its source; indexed, whether there is just one result per item of
// the source; grows, whether there may be more than one; drive(begin, end, place, local), which feeds the results of those items to `local` in batches.
struct pipe_base {};
template <class P>
concept pipe = std::derived_from<std::remove_cvref_t<P>, pipe_base>;
template <class P>
concept indexed_pipe = pipe<P> && std::remove_cvref_t<P>::indexed;

// An indexed pipe that can also make one batch of any run of items.
template <class P>
concept batched_pipe = indexed_pipe<P> && requires(const std::remove_cvref_t<P>& p) { p.batch(std::size_t{}, std::size_t{}); };

template <class Self>
struct batched_base : pipe_base {
    static constexpr bool indexed = true, grows = false;
    template <class Local>
    bool drive(std::size_t begin, std::size_t end, place& at, Local& local) const {
        return local.feed(static_cast<const Self&>(*this).batch(begin, end - begin), at);
    }
};

template <std::ranges::random_access_range View>
class source : public batched_base<source<View>> {
public:
    using item = std::ranges::range_reference_t<const View>;

    explicit source(View view) : view_(std::move(view)) {}
    std::size_t extent() const { return static_cast<std::size_t>(std::ranges::size(view_)); }
    auto batch(std::size_t begin, std::size_t count) const {
        if constexpr (std::ranges::contiguous_range<View>)
            return slice<decltype(std::ranges::data(view_))>{std::ranges::data(view_), begin, count};
        else return slice<std::ranges::iterator_t<const View>>{std::ranges::begin(view_), begin, count};
    }
    const View& view() const noexcept { return view_; }

private:
    View view_;
};

// An lvalue range, referred to, and an rvalue range, kept and shared by the pipeline's copies. (Not std::views::all: Clang before 16
// does not understand the views of libstdc++.)
template <class Range>
class referred_range {
public:
    explicit referred_range(Range& range) : range_(&range) {}
    auto begin() const { return std::ranges::begin(*range_); }
    auto end() const { return std::ranges::end(*range_); }

private:
    Range* range_;
};
template <class Range>
class kept_range {
public:
    explicit kept_range(Range range) : range_(std::make_shared<const Range>(std::move(range))) {}
    auto begin() const { return std::ranges::begin(*range_); }
    auto end() const { return std::ranges::end(*range_); }

private:
    std::shared_ptr<const Range> range_;
};

template <class Range>
auto view_of(Range&& range) {
    using own = std::remove_cvref_t<Range>;
    if constexpr (std::ranges::view<own>) return own(std::forward<Range>(range));
    else if constexpr (std::is_lvalue_reference_v<Range>) return referred_range<std::remove_reference_t<Range>>(range);
    else return kept_range<own>(std::forward<Range>(range));
}
template <class Range>
using view_of_t = decltype(view_of(std::declval<Range>()));
template <class Range>
using source_of = source<view_of_t<Range>>;

template <class Range>
concept par_range = std::ranges::random_access_range<Range> && std::ranges::sized_range<Range>;

// The items of many ranges, in a row: item i is found through the ranges' running sizes. Copies share everything.
template <std::ranges::random_access_range Ranges>
class joined_source : public pipe_base {
    using inner = std::remove_cvref_t<std::ranges::range_reference_t<const Ranges>>;
    using iterator = std::ranges::iterator_t<const inner>;

public:
    using item = std::iter_reference_t<iterator>;
    static constexpr bool indexed = true, grows = false;

    explicit joined_source(Ranges ranges) {
        std::vector<std::size_t> starts;
        starts.reserve(static_cast<std::size_t>(std::ranges::size(ranges)) + 1);
        std::size_t total = 0;
        for (const auto& range : ranges) {
            starts.push_back(total);
            const auto size = static_cast<std::size_t>(std::ranges::size(range));
            if (size > std::size_t{std::numeric_limits<std::int64_t>::max()} - total)
                throw std::length_error("the ranges have more than 2^63 - 1 items together");
            total += size;
        }
        starts.push_back(total);
        shared_ = std::make_shared<const parts>(parts{std::move(ranges), std::move(starts)});
    }

    std::size_t extent() const noexcept { return shared_->starts.back(); }
    std::size_t size() const noexcept { return extent(); }

    template <class Local>
    bool drive(std::size_t begin, std::size_t end, place& at, Local& local) const {
        const auto& [ranges, starts] = *shared_;
        // The last range that starts at or before `begin`: empty ones before it are skipped.
        auto range = static_cast<std::size_t>(std::upper_bound(starts.begin(), starts.end(), begin) - starts.begin()) - 1;
        for (; begin < end; ++range) {
            const std::size_t to = std::min(end, starts[range + 1]);
            if (to == begin) continue;
            const inner& items = std::ranges::begin(ranges)[static_cast<std::ranges::range_difference_t<const Ranges>>(range)];
            const slice<iterator> part{std::ranges::begin(items), begin - starts[range], to - begin};
            if (!local.feed(shifted<slice<iterator>>{part, starts[range]}, at)) return false;
            begin = to;
        }
        return true;
    }

private:
    struct parts {
        Ranges ranges;
        std::vector<std::size_t> starts;
    };
    std::shared_ptr<const parts> shared_;
};

// `stop` as the pipeline holds it: an lvalue is referred to, an rvalue kept.
template <class Stop>
class held_stop {
public:
    explicit held_stop(Stop stop) : stop_(std::move(stop)) {}
    Stop& get() const noexcept { return stop_; }

private:
    mutable Stop stop_;
};
template <class Stop>
class held_stop<Stop&> {
public:
    explicit held_stop(Stop& stop) : stop_(&stop) {}
    Stop& get() const noexcept { return *stop_; }

private:
    Stop* stop_;
};

}  // namespace tenfold::par_detail

namespace tenfold {

// A pipeline: a chain of stages, who runs it, and when to stop. Nothing happens until a sink ends it.
template <par_detail::pipe Pipe, par_executor Executor, class Stop>
class pipeline {
public:
    pipeline(Pipe chain, Executor executor, par_detail::held_stop<Stop> stop)
        : pipe_(std::move(chain)), executor_(std::move(executor)), stop_(std::move(stop)) {}

    const Pipe& pipe() const noexcept { return pipe_; }
    const Executor& executor() const noexcept { return executor_; }
    auto& stop() const noexcept { return stop_.get(); }
    std::size_t extent() const { return pipe_.extent(); }  // items in the source

    // The same chain, one stage longer.
    template <class Grow>
    auto with(Grow&& grow) && {
        using longer = decltype(std::forward<Grow>(grow)(std::move(pipe_)));
        return pipeline<longer, Executor, Stop>(std::forward<Grow>(grow)(std::move(pipe_)), std::move(executor_),
                                                std::move(stop_));
    }

private:
    Pipe pipe_;
    Executor executor_;
    par_detail::held_stop<Stop> stop_;
};

namespace par_detail {
template <class T>
inline constexpr bool is_pipeline = false;
template <class P, class E, class S>
inline constexpr bool is_pipeline<pipeline<P, E, S>> = true;

// What stands to the right of `|`: a stage makes the chain longer, a sink runs it.
template <class Grow>
struct stage {
    explicit stage(Grow function) : grow(std::move(function)) {}
    Grow grow;
};
template <class Run>
struct sink {
    explicit sink(Run function) : run(std::move(function)) {}
    Run run;
};
}  // namespace par_detail

template <class P, class Grow>
    requires par_detail::is_pipeline<std::remove_cvref_t<P>>
auto operator|(P&& chain, const par_detail::stage<Grow>& stage) {
    std::remove_cvref_t<P> own(std::forward<P>(chain));  // an lvalue stays usable: it is copied
    return std::move(own).with(stage.grow);
}

template <class P, class Run>
    requires par_detail::is_pipeline<std::remove_cvref_t<P>>
decltype(auto) operator|(P&& chain, const par_detail::sink<Run>& sink) {
    return sink.run(std::as_const(chain));
}

// The whole numbers first, first + 1, ... up to, but not including, last; none if last <= first. A range.
template <std::integral T>
class interval {
public:
    class iterator {
    public:
        using value_type = T;
        using difference_type = std::ptrdiff_t;
        using iterator_category = std::input_iterator_tag;  // of C++17, where a forward iterator has real references
        using iterator_concept = std::random_access_iterator_tag;

        iterator() = default;
        explicit iterator(T value) : value_(value) {}
        T operator*() const noexcept { return value_; }
        T operator[](difference_type i) const noexcept { return moved(i).value_; }
        iterator& operator++() noexcept { return *this = moved(1); }
        iterator& operator--() noexcept { return *this = moved(-1); }
        iterator operator++(int) noexcept { return std::exchange(*this, moved(1)); }
        iterator operator--(int) noexcept { return std::exchange(*this, moved(-1)); }
        iterator& operator+=(difference_type i) noexcept { return *this = moved(i); }
        iterator& operator-=(difference_type i) noexcept { return *this = moved(-i); }
        friend iterator operator+(iterator a, difference_type i) noexcept { return a.moved(i); }
        friend iterator operator+(difference_type i, iterator a) noexcept { return a.moved(i); }
        friend iterator operator-(iterator a, difference_type i) noexcept { return a.moved(-i); }
        friend difference_type operator-(iterator a, iterator b) noexcept {
            return static_cast<difference_type>(static_cast<std::size_t>(a.value_) - static_cast<std::size_t>(b.value_));
        }
        friend auto operator<=>(iterator, iterator) = default;

    private:
        // Unsigned: the distance between two numbers may be more than a signed one holds.
        iterator moved(difference_type i) const noexcept {
            return iterator(static_cast<T>(static_cast<std::size_t>(value_) + static_cast<std::size_t>(i)));
        }
        T value_{};
    };

    interval() = default;
    interval(T first, T last) : first_(first), last_(std::max(first, last)) {}
    iterator begin() const noexcept { return iterator(first_); }
    iterator end() const noexcept { return iterator(last_); }
    std::size_t size() const noexcept { return static_cast<std::size_t>(last_) - static_cast<std::size_t>(first_); }

private:
    T first_{}, last_{};
};

}  // namespace tenfold

template <class T>
inline constexpr bool std::ranges::enable_view<tenfold::interval<T>> = true;

namespace tenfold {

// The numbers 0 ... n-1.
inline interval<std::size_t> indices(std::size_t n) { return {0, n}; }

// Many ranges seen as one, which is shared out by items: one huge range among tiny ones does not end up on one thread.
// An lvalue is referred to, as in par().
template <par_detail::par_range Ranges>
    requires std::ranges::random_access_range<std::ranges::range_reference_t<Ranges>>
auto joined(Ranges&& ranges) {
    return par_detail::joined_source<par_detail::view_of_t<Ranges>>(par_detail::view_of(std::forward<Ranges>(ranges)));
}

// A range, or what joined() returns. Lvalues are referred to and must outlive the pipeline; rvalues move into it. `stop` likewise.
template <class Range, par_executor Executor = openmp_executor, class Stop = never_stop>
    requires(par_detail::par_range<Range> || par_detail::pipe<Range>)
auto par(Range&& range, Executor executor = {}, Stop&& stop = {}) {
    par_detail::held_stop<Stop> held(std::forward<Stop>(stop));
    if constexpr (par_detail::pipe<Range>) {
        using chain = std::remove_cvref_t<Range>;
        return pipeline<chain, Executor, Stop>(std::forward<Range>(range), std::move(executor), std::move(held));
    } else {
        using chain = par_detail::source_of<Range>;
        return pipeline<chain, Executor, Stop>(chain(par_detail::view_of(std::forward<Range>(range))), std::move(executor),
                                               std::move(held));
    }
}

}  // namespace tenfold
