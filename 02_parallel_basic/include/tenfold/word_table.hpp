// tenfold/word_table.hpp: a hash table that counts words which stay where they are: in somebody's text.
//
// Why: a table of std::string copies every word, and a node per word is a cache miss per look-up. Here a word is a view plus
// its first sixteen bytes, so that most comparisons never touch the text; slots are eight bytes; words never move, so growing
// is cheap; and look-ups wait for their cache lines together instead of one after the other. The words keep the order in which
// they were first added. Equal words in Latin-1, UCS-2 and UCS-4 are one word: what is hashed is the narrowest spelling.
// The hash is seeded anew for each call, so texts cannot be written to make it slow; no order depends on it.
//
// Copy: with words.hpp, which is the interface. Needs C++20.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

namespace tenfold::detail {

template <class Function>
decltype(auto) with_units(const void* data, int kind, Function&& function) {
    switch (kind) {
        case 1: return function(static_cast<const std::uint8_t*>(data));
        case 2: return function(static_cast<const std::uint16_t*>(data));
        case 4: return function(static_cast<const std::uint32_t*>(data));
        default: throw std::invalid_argument("a text's kind must be 1, 2 or 4");
    }
}

inline std::uint64_t load8(const void* from) noexcept {
    std::uint64_t value;
    std::memcpy(&value, from, 8);
    return value;
}

inline void prefetch([[maybe_unused]] const void* address) noexcept {
#if defined(__GNUC__)
    __builtin_prefetch(address);
#endif
}

// Both halves of a 128-bit product, folded: every bit of the operands reaches many of the result's.
inline std::uint64_t fold_product(std::uint64_t a, std::uint64_t b) noexcept {
#if defined(__SIZEOF_INT128__)
    __extension__ using wide = unsigned __int128;
    const wide product = static_cast<wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
#else
    a = (a ^ (a >> 32)) * 0x9e3779b97f4a7c15u;
    b = (b ^ (b >> 29)) * 0xbf58476d1ce4e5b9u;
    return (a ^ (a >> 32)) + (b ^ (b >> 31)) * 0x94d049bb133111ebu;
#endif
}

// Drawn anew for each call: whoever writes the texts cannot know which words collide.
struct hash_seed {
    std::uint64_t first, second;
    static hash_seed draw() {
        std::random_device device;
        const auto next = [&] { return std::uint64_t{device()} << 32 | device(); };
        const std::uint64_t first = next();
        return {first, next()};
    }
};

inline std::uint32_t hash_bytes(const std::uint8_t* bytes, std::size_t size, const std::array<std::uint64_t, 2>& head,
                                const hash_seed& seed) noexcept {
    std::uint64_t hash = fold_product(head[0] ^ seed.first, head[1] ^ seed.second ^ size * 0x9e3779b97f4a7c15u);
    for (std::size_t at = 16; at < size; at += 16) {
        const std::uint8_t* from = bytes + std::min(at, size - 16);  // the last sixteen may overlap what went before
        hash = fold_product(load8(from) ^ seed.second, load8(from + 8) ^ hash);
    }
    hash = fold_product(hash ^ seed.second, 0x9e3779b97f4a7c15u);
    return static_cast<std::uint32_t>(hash ^ hash >> 32);
}

// A word and its count. `head` is its first sixteen bytes in the narrowest kind that can hold it (so the kind of the text does
// not show); `whole` says that this is kind 1 and all of the word.
struct word_entry {
    std::array<std::uint64_t, 2> head;
    const void* data;
    std::size_t size;
    std::int64_t count;
    std::uint32_t hash;
    std::uint8_t kind;
    bool whole;

    bool same(const word_entry& other) const noexcept {
        if (head != other.head || size != other.size || whole != other.whole) return false;
        return whole || same_characters(other);
    }

private:
    bool same_characters(const word_entry& other) const noexcept {
        if (kind == other.kind) return std::memcmp(data, other.data, size * kind) == 0;
        return with_units(data, kind, [&](auto* mine) {
            return with_units(other.data, other.kind, [&](auto* theirs) {
                for (std::size_t i = 0; i < size; ++i)
                    if (static_cast<std::uint32_t>(mine[i]) != static_cast<std::uint32_t>(theirs[i])) return false;
                return true;
            });
        });
    }
};

// Open addressing over eight-byte slots (hash, place in the list of words); the words themselves never move. One thread at a
// time adds; find() may run on many threads while nobody adds.
class word_table {
public:
    explicit word_table(const hash_seed& seed) : seed_(seed), slots_(4096) {}
    word_table(const word_table&) = delete;
    word_table& operator=(const word_table&) = delete;

    std::size_t size() const noexcept { return size_; }
    word_entry& operator[](std::size_t index) const noexcept { return blocks_[index / block][index % block]; }

    // Adds the words that start in [begin, end) of a text.
    template <class Unit>
    void add_words(const Unit* units, std::size_t size, std::size_t begin, std::size_t end) {
        each_word(units, size, begin, end, [&](std::size_t first, std::size_t last) {
            waiting_[waiting_count_] = entry(units + first, last - first, size - first);
            prefetch(&slots_[waiting_[waiting_count_].hash & (slots_.size() - 1)]);
            if (++waiting_count_ == waiting_.size()) flush();
        });
    }

    // Words wait for the cache lines that they need, many at a time: a large table is never in a near cache.
    void flush() {
        for (std::size_t i = 0; i < waiting_count_; ++i) {
            const slot& here = slots_[waiting_[i].hash & (slots_.size() - 1)];
            if (here.place != 0) prefetch(&(*this)[here.place - 1]);
        }
        for (std::size_t i = 0; i < waiting_count_; ++i) add(waiting_[i]);
        waiting_count_ = 0;
    }

    void add(const word_entry& entry) {
        slot& here = slots_[probe(entry)];
        if (here.place != 0) {
            (*this)[here.place - 1].count += entry.count;
            return;
        }
        if (size_ == std::numeric_limits<std::uint32_t>::max()) throw std::length_error("more than 2^32 - 1 different words");
        if (size_ % block == 0) blocks_.push_back(std::make_unique_for_overwrite<word_entry[]>(block));
        (*this)[size_] = entry;
        here = {entry.hash, static_cast<std::uint32_t>(++size_)};
        if (size_ > slots_.size() / 2) grow();
    }

    word_entry* find(const word_entry& entry) const noexcept {
        const slot& here = slots_[probe(entry)];
        return here.place != 0 ? &(*this)[here.place - 1] : nullptr;
    }
    void prefetch_slot(const word_entry& entry) const noexcept { prefetch(&slots_[entry.hash & (slots_.size() - 1)]); }

private:
    struct slot {
        std::uint32_t hash;
        std::uint32_t place;  // 1 + index of the word; 0: empty
    };
    static constexpr std::size_t block = 2048;

    // Where the word is, or the empty slot where it belongs.
    std::size_t probe(const word_entry& entry) const noexcept {
        std::size_t at = entry.hash & (slots_.size() - 1);
        while (slots_[at].place != 0 && (slots_[at].hash != entry.hash || !(*this)[slots_[at].place - 1].same(entry)))
            at = (at + 1) & (slots_.size() - 1);
        return at;
    }

    void grow() {
        std::vector<slot> wider(2 * slots_.size());
        for (const slot& old : slots_) {
            if (old.place == 0) continue;
            std::size_t at = old.hash & (wider.size() - 1);
            while (wider[at].place != 0) at = (at + 1) & (wider.size() - 1);
            wider[at] = old;
        }
        slots_ = std::move(wider);
    }

    // `readable`: characters from `units` to the end of the text.
    template <class Unit>
    word_entry entry(const Unit* units, std::size_t size, std::size_t readable) {
        if constexpr (sizeof(Unit) == 1) {
            return entry_of(units, size, readable, {{}, units, size, 1, 0, 1, size <= 16});
        } else {
            Unit all = 0;
            for (std::size_t i = 0; i < size; ++i) all |= units[i];
            const word_entry wide{{}, units, size, 1, 0, sizeof(Unit), all < 0x100 && size <= 16};
            if (wide.whole) {
                std::array<std::uint8_t, 16> narrow{};
                for (std::size_t i = 0; i < size; ++i) narrow[i] = static_cast<std::uint8_t>(units[i]);
                return entry_of(narrow.data(), size, narrow.size(), wide);
            }
            if (all < 0x100) return entry_of(narrowed<std::uint8_t>(units, size), size, size, wide);
            if (sizeof(Unit) == 2 || all >= 0x10000)
                return entry_of(reinterpret_cast<const std::uint8_t*>(units), size * sizeof(Unit), readable * sizeof(Unit),
                                wide);
            return entry_of(narrowed<std::uint16_t>(units, size), size * 2, size * 2, wide);
        }
    }

    word_entry entry_of(const std::uint8_t* bytes, std::size_t size, std::size_t readable, word_entry made) const noexcept {
        if (std::endian::native == std::endian::little && readable >= 16) [[likely]] {
            const auto lowest = [](std::size_t count) { return count == 0 ? 0 : ~std::uint64_t{0} >> (64 - 8 * count); };
            made.head[0] = load8(bytes) & lowest(std::min<std::size_t>(size, 8));
            made.head[1] = load8(bytes + 8) & (size > 8 ? lowest(std::min<std::size_t>(size - 8, 8)) : 0);
        } else {
            std::array<std::uint8_t, 16> padded{};
            std::memcpy(padded.data(), bytes, std::min<std::size_t>(size, 16));
            made.head = {load8(padded.data()), load8(padded.data() + 8)};
        }
        made.hash = hash_bytes(bytes, size, made.head, seed_);
        return made;
    }

    template <class Narrow, class Unit>
    const std::uint8_t* narrowed(const Unit* units, std::size_t size) {
        scratch_.resize(std::max(scratch_.size(), size * sizeof(Narrow)));
        for (std::size_t i = 0; i < size; ++i) {
            const auto narrow = static_cast<Narrow>(units[i]);
            std::memcpy(scratch_.data() + i * sizeof(Narrow), &narrow, sizeof(Narrow));
        }
        return scratch_.data();
    }

    hash_seed seed_;
    std::vector<slot> slots_;  // a power of two, at most half full
    std::vector<std::unique_ptr<word_entry[]>> blocks_;
    std::size_t size_ = 0;
    std::array<word_entry, 64> waiting_;
    std::size_t waiting_count_ = 0;
    std::vector<std::uint8_t> scratch_;
};

// One table per run of chunks that follow each other: each run knows its own words in the order of their first occurrence, so
// the runs' words one after the other, without repeats, are everybody's.
struct word_run {
    word_run(std::size_t at, const hash_seed& seed) : begin(at), end(at), table(seed) {}

    std::size_t begin, end;
    word_table table;
};

class word_runs {
public:
    explicit word_runs(const hash_seed& seed) : seed_(seed) {}

    // The run that ends where this chunk begins, or a new one. It is this thread's until it is given back.
    std::unique_ptr<word_run> take(std::size_t begin) {
        {
            const std::lock_guard lock(mutex_);
            for (auto& idle : idle_) {
                if (idle->end != begin) continue;
                std::swap(idle, idle_.back());
                auto taken = std::move(idle_.back());
                idle_.pop_back();
                return taken;
            }
        }
        return std::make_unique<word_run>(begin, seed_);
    }
    void give(std::unique_ptr<word_run> done, std::size_t end) {
        done->end = end;
        const std::lock_guard lock(mutex_);
        idle_.push_back(std::move(done));
    }
    std::vector<std::unique_ptr<word_run>> in_order() {
        std::sort(idle_.begin(), idle_.end(), [](auto& a, auto& b) { return a->begin < b->begin; });
        return std::move(idle_);
    }

private:
    hash_seed seed_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<word_run>> idle_;  // guarded by mutex_
};

}  // namespace tenfold::detail
