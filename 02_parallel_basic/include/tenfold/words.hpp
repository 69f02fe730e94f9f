// tenfold/words.hpp: str.split() without the strings: how many words each text has, and how often each word occurs.
//
// Why: split() makes one object per word only for len() or a Counter to throw it away. Here white space becomes one bit per
// character, 64 characters to a mask, and words fall out of the masks with a few integer instructions; a word that is counted
// is looked up in a hash table of views into the texts, and only the distinct words ever become objects.
//     std::vector<tenfold::text> texts = {{data, size, kind}, ...};        // kind: 1, 2 or 4 bytes per character
//     tenfold::parallel_word_count(texts, counts, threads);                // counts[i] == len(texts[i].split())
//     const auto words = tenfold::parallel_word_frequencies(texts, threads);
//     words.for_each([](const tenfold::word& w) { ... });                  // in the order of first occurrence
// A text is what CPython holds (Latin-1, UCS-2 or UCS-4) and stays the caller's; the words point into it. A word is the same
// word in every kind. One long text is cut between threads as well: a word belongs to the piece that it starts in.
//
// Copy: this file, word_table.hpp and parallel.hpp. Needs C++20 and OpenMP (-fopenmp); -O3 turns the mask loops into SIMD on
// every target.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenfold/parallel.hpp"
#include "tenfold/word_table.hpp"

namespace tenfold {

struct text {
    const void* data;
    std::size_t size;  // characters, not bytes
    int kind;          // bytes per character: 1 (Latin-1), 2 (UCS-2) or 4 (UCS-4)
};

struct word {
    const void* data;  // in a text, or in the word_frequencies
    std::size_t size;
    int kind;  // not always the narrowest that would do
    std::int64_t count;
};

struct word_options {
    std::size_t chunk = std::size_t{1} << 16;  // characters that are one unit of work
};

namespace detail {

// The 29 characters that str.split() splits at: those of Latin-1, and these.
struct character_range {
    std::uint16_t first, last;
};
inline constexpr std::array<character_range, 6> wide_spaces{
    {{0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}}};

// 1 or 0 in the unit's own width: the narrower, the more lanes.
template <class Unit>
constexpr Unit is_between(Unit unit, unsigned first, unsigned last) noexcept {
    return static_cast<Unit>(static_cast<Unit>(unit - first) <= static_cast<Unit>(last - first));
}

template <class Unit>
constexpr Unit is_latin_space(Unit unit) noexcept {
    return static_cast<Unit>(is_between(unit, 0x09, 0x0d) | is_between(unit, 0x1c, 0x20) | is_between(unit, 0x85, 0x85) |
                             is_between(unit, 0xa0, 0xa0));
}

template <class Unit>
constexpr bool is_space(Unit unit) noexcept {
    if constexpr (sizeof(Unit) > 1) {
        for (const auto& range : wide_spaces)
            if (is_between(unit, range.first, range.last) != 0) return true;
    }
    return is_latin_space(unit) != 0;
}

// Bit i is set when character i is white space. `count` < 64: what is missing counts as white space.
template <class Unit>
std::uint64_t space_mask(const Unit* units, std::size_t count) noexcept {
    if (count < 64) {
        std::uint64_t mask = ~std::uint64_t{0} << count;
        for (std::size_t i = 0; i < count; ++i) mask |= static_cast<std::uint64_t>(is_space(units[i])) << i;
        return mask;
    }
    alignas(64) std::array<Unit, 64> found;
    for (std::size_t i = 0; i < 64; ++i) found[i] = is_latin_space(units[i]);
    if constexpr (sizeof(Unit) > 1) {
        Unit all = 0;
        for (std::size_t i = 0; i < 64; ++i) all |= units[i];
        if (all > 0xff) {
            // A pass per range: in one pass GCC makes a bit test of them, which has no SIMD form.
            for (const auto& range : wide_spaces)
                for (std::size_t i = 0; i < 64; ++i) found[i] |= is_between(units[i], range.first, range.last);
        }
    }
    alignas(64) std::array<std::uint8_t, 64> flags;
    for (std::size_t i = 0; i < 64; ++i) flags[i] = static_cast<std::uint8_t>(found[i]);
    std::uint64_t mask = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        std::uint64_t eight;
        std::memcpy(&eight, flags.data() + 8 * i, 8);
        // Gathers the lowest bit of each byte, the first byte in memory lowest.
        constexpr bool little = std::endian::native == std::endian::little;
        mask |= (eight * (little ? 0x0102040810204080u : 0x8040201008040201u)) >> 56 << (8 * i);
    }
    return mask;
}

// What is_space says of the character before `at`: a piece may begin inside a word that is not its own.
template <class Unit>
std::uint64_t space_before(const Unit* units, std::size_t at) noexcept {
    return at == 0 || is_space(units[at - 1]);
}

template <class Unit>
std::int64_t count_words(const Unit* units, std::size_t begin, std::size_t end) noexcept {
    std::int64_t words = 0;
    std::uint64_t before = space_before(units, begin);
    for (std::size_t at = begin; at < end; at += 64) {
        const std::uint64_t spaces = space_mask(units + at, std::min<std::size_t>(end - at, 64));
        words += std::popcount(~spaces & (spaces << 1 | before));
        before = spaces >> 63;
    }
    return words;
}

// Calls found(first, last) for every word that starts in [begin, end); it may reach beyond `end`.
template <class Unit, class Found>
void each_word(const Unit* units, std::size_t size, std::size_t begin, std::size_t end, Found&& found) {
    constexpr std::size_t none = std::numeric_limits<std::size_t>::max();
    const auto whole = [&](std::size_t last) {  // the end of a word that is open at `end`
        while (last < size && !is_space(units[last])) ++last;
        return last;
    };
    std::size_t first = none;  // none inside a word: it began before `begin`
    std::uint64_t before = space_before(units, begin);
    for (std::size_t at = begin; at < end; at += 64) {
        const std::uint64_t spaces = space_mask(units + at, std::min<std::size_t>(end - at, 64));
        std::uint64_t edges = spaces ^ (spaces << 1 | before);
        const bool open = before == 0;
        before = spaces >> 63;
        if (edges == 0) continue;
        if (open) {
            const std::size_t last = at + static_cast<std::size_t>(std::countr_zero(edges));
            edges &= edges - 1;
            if (first != none) found(first, last < end ? last : whole(last));
        }
        while (edges != 0) {
            first = at + static_cast<std::size_t>(std::countr_zero(edges));
            edges &= edges - 1;
            if (edges == 0) break;
            const std::size_t last = at + static_cast<std::size_t>(std::countr_zero(edges));
            edges &= edges - 1;
            found(first, last < end ? last : whole(last));
        }
    }
    if (before == 0 && first != none) found(first, whole(end));
}

// All texts as one line of positions, cut into chunks. Each text is one longer than its characters, so that empty ones
// cost something too.
class text_line {
public:
    explicit text_line(std::span<const text> texts) : texts_(texts), starts_(texts.size() + 1) {
        for (std::size_t i = 0; i < texts.size(); ++i) starts_[i + 1] = starts_[i] + texts[i].size + 1;
    }
    std::size_t size() const { return starts_.back(); }

    // Calls visit(index, first, last) for the part of each text that lies in [begin, end).
    template <class Visit>
    void each(std::size_t begin, std::size_t end, Visit&& visit) const {
        auto index = static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), begin) - starts_.begin()) - 1;
        for (; index < texts_.size() && starts_[index] < end; ++index) {
            const std::size_t first = begin > starts_[index] ? begin - starts_[index] : 0;
            const std::size_t last = std::min(end - starts_[index], texts_[index].size);
            if (first < last) visit(index, first, last);
        }
    }

private:
    std::span<const text> texts_;
    std::vector<std::size_t> starts_;
};

// Adds `later`'s counts to the words of `base`; what is new there keeps its count. Its words differ from each other, so no
// two threads ever add to the same word.
template <class Stop>
void absorb_known(const word_table& base, const word_table& later, int threads, Stop& stop) {
    parallel_chunks(
        later.size(), 4096, threads,
        [&](std::size_t begin, std::size_t end) {
            for (std::size_t i = begin; i < end; ++i) {
                if (i + 16 < end) base.prefetch_slot(later[i + 16]);
                if (auto* known = base.find(later[i])) known->count += std::exchange(later[i].count, 0);
            }
        },
        stop);
}

}  // namespace detail

/// The distinct words of some texts (which must outlive it) in the order of their first occurrence.
class word_frequencies {
public:
    explicit word_frequencies(std::vector<std::unique_ptr<detail::word_run>> runs) : runs_(std::move(runs)) {
        for_each([this](const word&) { ++size_; });
    }

    std::size_t size() const noexcept { return size_; }

    template <class Function>
    void for_each(Function&& function) const {
        for (const auto& run : runs_)
            for (std::size_t i = 0; i < run->table.size(); ++i)
                if (const auto& w = run->table[i]; w.count != 0)
                    function(w.whole ? word{w.head.data(), w.size, 1, w.count} : word{w.data, w.size, w.kind, w.count});
    }

private:
    std::vector<std::unique_ptr<detail::word_run>> runs_;  // a count of 0: the word is in an earlier run
    std::size_t size_ = 0;
};

/// counts[i] = the number of words of texts[i], as len(text.split()) counts them.
template <class Stop = never_stop>
void parallel_word_count(std::span<const text> texts, std::span<std::int64_t> counts, int threads, Stop&& stop = {},
                         word_options options = {}) {
    if (counts.size() != texts.size()) throw std::invalid_argument("counts must have one item per text");
    std::fill(counts.begin(), counts.end(), 0);
    const detail::text_line line(texts);
    parallel_chunks(
        line.size(), options.chunk, threads,
        [&](std::size_t begin, std::size_t end) {
            line.each(begin, end, [&](std::size_t index, std::size_t first, std::size_t last) {
                const std::int64_t words = detail::with_units(
                    texts[index].data, texts[index].kind, [&](auto* units) { return detail::count_words(units, first, last); });
            // Two threads may hold pieces of one text; the end of the loop publishes the sum.
#pragma omp atomic
                counts[index] += words;
            });
        },
        stop);
}

/// How often each word of the texts occurs, equal words being equal in every kind. The same words in the same order at every
/// number of threads.
template <class Stop = never_stop>
word_frequencies parallel_word_frequencies(std::span<const text> texts, int threads, Stop&& stop = {},
                                           word_options options = {}) {
    const detail::text_line line(texts);
    detail::word_runs runs(detail::hash_seed::draw());
    parallel_chunks(line.size(), options.chunk, threads,
                    [&](std::size_t begin, std::size_t end) {
                        auto run = runs.take(begin);
                        line.each(begin, end, [&](std::size_t index, std::size_t first, std::size_t last) {
                            detail::with_units(texts[index].data, texts[index].kind, [&](auto* units) {
                                run->table.add_words(units, texts[index].size, first, last);
                            });
                        });
                        run->table.flush();
                        runs.give(std::move(run), end);
                    },
                    stop, {.how = schedule::static_});

    auto all = runs.in_order();
    while (all.size() > 1) {
        detail::word_table &base = all[0]->table, &later = all[1]->table;
        detail::absorb_known(base, later, threads, stop);
        if (all.size() == 2) break;  // nobody looks for the last run's words: they need not move
        for (std::size_t i = 0; i < later.size(); ++i)
            if (later[i].count != 0) base.add(later[i]);
        all.erase(all.begin() + 1);
    }
    return word_frequencies(std::move(all));
}

}  // namespace tenfold
