// parallel_word_count and parallel_word_frequencies against a plain reading of str.split(), without Python.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tenfold/words.hpp"

namespace {

using tenfold::text;
using frequencies = std::vector<std::pair<std::u32string, std::int64_t>>;

// The white space of str.split(), written down once more and differently.
const std::u32string white =
    U"\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\x1680\x2000\x2001\x2002\x2003\x2004\x2005\x2006\x2007"
    U"\x2008\x2009\x200a\x2028\x2029\x202f\x205f\x3000";

bool white_space(char32_t c) { return white.find(c) != std::u32string::npos; }

// A text in the kind asked for, at an address of its own, so that a read past its end is seen by the sanitizers.
struct document {
    std::u32string characters;
    int kind;
    std::vector<std::uint8_t> bytes;

    document(std::u32string from, int to)
        : characters(std::move(from)), kind(to), bytes(characters.size() * static_cast<std::size_t>(to)) {
        for (std::size_t i = 0; i < characters.size(); ++i) {
            const char32_t c = characters[i];
            const auto narrow = static_cast<std::uint8_t>(c);
            const auto middle = static_cast<std::uint16_t>(c);
            const void* source = kind == 1   ? static_cast<const void*>(&narrow)
                                 : kind == 2 ? static_cast<const void*>(&middle)
                                             : &c;
            std::memcpy(bytes.data() + i * static_cast<std::size_t>(kind), source, static_cast<std::size_t>(kind));
        }
        bytes.shrink_to_fit();
    }
};

int narrowest(const std::u32string& characters) {
    const char32_t widest = characters.empty() ? 0 : *std::max_element(characters.begin(), characters.end());
    return widest < 0x100 ? 1 : widest < 0x10000 ? 2 : 4;
}

std::vector<text> views(const std::vector<document>& documents) {
    std::vector<text> out;
    for (const auto& d : documents) out.push_back({d.bytes.data(), d.characters.size(), d.kind});
    return out;
}

std::vector<std::u32string> split(const std::u32string& characters) {
    std::vector<std::u32string> words;
    bool open = false;
    for (const char32_t c : characters) {
        if (!white_space(c) && !open) words.emplace_back();
        open = !white_space(c);
        if (open) words.back() += c;
    }
    return words;
}

std::vector<std::int64_t> expected_counts(const std::vector<document>& documents) {
    std::vector<std::int64_t> out;
    for (const auto& d : documents) out.push_back(static_cast<std::int64_t>(split(d.characters).size()));
    return out;
}

frequencies expected_frequencies(const std::vector<document>& documents) {
    frequencies out;
    std::map<std::u32string, std::size_t> places;
    for (const auto& d : documents)
        for (auto& w : split(d.characters)) {
            const auto [place, fresh] = places.emplace(w, out.size());
            if (fresh) out.emplace_back(w, 0);
            ++out[place->second].second;
        }
    return out;
}

std::u32string characters_of(const tenfold::word& w) {
    std::u32string out;
    for (std::size_t i = 0; i < w.size; ++i) {
        const auto* at = static_cast<const std::uint8_t*>(w.data) + i * static_cast<std::size_t>(w.kind);
        std::uint16_t middle = 0;
        char32_t wide = *at;
        if (w.kind == 2) std::memcpy(&middle, at, 2), wide = middle;
        if (w.kind == 4) std::memcpy(&wide, at, 4);
        out += wide;
    }
    return out;
}

std::vector<std::int64_t> counted(const std::vector<document>& documents, int threads, std::size_t chunk) {
    const auto texts = views(documents);
    std::vector<std::int64_t> counts(texts.size(), -1);
    tenfold::parallel_word_count(texts, counts, threads, tenfold::never_stop{}, {.chunk = chunk});
    return counts;
}

frequencies listed(const std::vector<document>& documents, int threads, std::size_t chunk) {
    const auto texts = views(documents);
    const auto words = tenfold::parallel_word_frequencies(texts, threads, tenfold::never_stop{}, {.chunk = chunk});
    frequencies out;
    words.for_each([&](const tenfold::word& w) { out.emplace_back(characters_of(w), w.count); });
    CHECK(words.size() == out.size());
    return out;
}

// Words of all lengths up to `longest` over few letters of the kind, with runs of every white space between them.
std::u32string random_text(std::mt19937& random, std::size_t size, int kind, std::size_t longest) {
    const std::u32string letters = kind == 1 ? U"ab\xe9" : kind == 2 ? U"ab\x4e00" : U"ab\x1f600";
    std::u32string out;
    while (out.size() < size) {
        for (std::size_t n = random() % (longest + 1); n > 0; --n) out += letters[random() % letters.size()];
        for (std::size_t n = 1 + random() % 2; n > 0; --n) {
            const char32_t c = white[random() % white.size()];
            out += kind == 1 && c > 0xff ? U' ' : c;
        }
    }
    return out.substr(0, size);
}

}  // namespace

TEST_CASE("white space is what str.split() splits at, and nothing else") {
    for (char32_t c = 0; c <= 0x10ffff; ++c)
        for (const int kind : {1, 2, 4}) {
            if (kind < narrowest(std::u32string(1, c))) continue;
            const bool space = kind == 1   ? tenfold::detail::is_space(static_cast<std::uint8_t>(c))
                               : kind == 2 ? tenfold::detail::is_space(static_cast<std::uint16_t>(c))
                                           : tenfold::detail::is_space(static_cast<std::uint32_t>(c));
            if (space != white_space(c)) FAIL("character " << static_cast<std::uint32_t>(c) << " in kind " << kind);
        }
    CHECK(white.size() == 29);
}

TEST_CASE("every white space ends a word in every kind") {
    std::vector<document> documents;
    for (const char32_t c : white)
        for (const int kind : {1, 2, 4})
            if (kind >= narrowest(std::u32string(1, c))) documents.emplace_back(std::u32string{U'a', c, c, U'b', c}, kind);
    CHECK(counted(documents, 2, 3) == std::vector<std::int64_t>(documents.size(), 2));
    CHECK(listed(documents, 2, 3) == expected_frequencies(documents));
}

TEST_CASE("a word may begin and end anywhere around the 64-character blocks") {
    const int kind = GENERATE(1, 2, 4);
    std::vector<document> documents;
    for (std::size_t size = 0; size <= 200; ++size) documents.emplace_back(std::u32string(size, U'x'), kind);
    for (std::size_t begin = 55; begin < 70; ++begin)
        for (std::size_t size = 1; size < 80; size += size < 20 ? 1 : 13) {
            std::u32string spaced(150, U' ');
            std::fill_n(spaced.begin() + static_cast<std::ptrdiff_t>(begin), size, U'y');
            documents.emplace_back(spaced, kind);
        }
    const auto chunk = static_cast<std::size_t>(GENERATE(1, 63, 64, 65, 1000));
    CHECK(counted(documents, 2, chunk) == expected_counts(documents));
    CHECK(listed(documents, 2, chunk) == expected_frequencies(documents));
}

TEST_CASE("random texts: the same answer at every thread count and chunk") {
    std::mt19937 random(20);
    std::vector<document> documents;
    for (int i = 0; i < 120; ++i) {
        const int kind = 1 << random() % 3;
        documents.emplace_back(random_text(random, random() % 700, kind, i % 3 == 0 ? 90 : 6), kind);
    }
    const auto counts = expected_counts(documents);
    const auto words = expected_frequencies(documents);
    for (const int threads : {1, 2, 4, 7})
        for (const std::size_t chunk : {17u, 256u, 4096u, 1u << 16}) {
            CHECK(counted(documents, threads, chunk) == counts);
            CHECK(listed(documents, threads, chunk) == words);
        }
}

TEST_CASE("many different words: tables grow, and threads share few of them") {
    std::u32string characters;
    for (int i = 0; i < 30000; ++i) {
        for (const char digit : std::to_string(i * 7919 % 25000)) characters += static_cast<char32_t>(digit);
        characters += U' ';
    }
    const int kind = GENERATE(1, 4);
    const std::vector<document> documents = {{characters, kind}};
    const auto words = expected_frequencies(documents);
    for (const int threads : {1, 2, 4, 7}) CHECK(listed(documents, threads, 4096) == words);
}

TEST_CASE("one word is one word in every kind") {
    const auto word =
        GENERATE(std::u32string(U"a"), std::u32string(U"caf\xe9"), std::u32string(16, U'\xff'), std::u32string(17, U'q'),
                 std::u32string(300, U'\xe9'), std::u32string(7, U'\x4e00'), std::u32string(40, U'\x4e00'),
                 std::u32string(5, U'\x1f600'), std::u32string(1, U'\0'), std::u32string(18, U'\0'));
    std::vector<document> documents;
    for (int round = 0; round < 2; ++round)
        for (const int kind : {4, 2, 1})
            if (kind >= narrowest(word)) documents.emplace_back(word + U" " + word + U"x ", kind);
    const auto each = static_cast<std::int64_t>(documents.size());
    CHECK(listed(documents, 2, 5) == frequencies{{word, each}, {word + U"x", each}});
}

TEST_CASE("NUL and lone surrogates are ordinary characters") {
    const std::vector<document> documents = {{std::u32string(U"a\0b a\0c a\0b a", 13), 1},
                                             {std::u32string(U"a\0b", 3), 2},
                                             {std::u32string{0xd800, U' ', 0xdfff, U' ', 0xd800}, 2},
                                             {std::u32string{0xd800}, 4}};
    CHECK(counted(documents, 2, 2) == std::vector<std::int64_t>{4, 1, 3, 1});
    CHECK(listed(documents, 2, 2) == expected_frequencies(documents));
}

TEST_CASE("words that differ late, or only in length, are different") {
    std::u32string characters;
    for (const std::size_t size : {8u, 15u, 16u, 17u, 31u, 32u, 33u, 64u, 200u})
        for (const char32_t last : {U'a', U'b', U'\xe9'}) characters += std::u32string(size - 1, U'a') + last + U' ';
    const std::vector<document> documents = {{characters, 1}, {characters, 2}, {characters, 4}};
    CHECK(listed(documents, 2, 64) == expected_frequencies(documents));
}

TEST_CASE("nothing, and nothing but white space") {
    CHECK(counted({}, 2, 64).empty());
    CHECK(listed({}, 2, 64).empty());
    const std::vector<document> documents = {{U"", 1},  {U"   ", 1}, {U"", 4},
                                             {U"a", 2}, {U"", 2},    {std::u32string(1000, U'\n'), 2}};
    CHECK(counted(documents, 4, 1) == std::vector<std::int64_t>{0, 0, 0, 1, 0, 0});
    CHECK(listed(documents, 4, 1) == frequencies{{U"a", 1}});
    CHECK(counted(std::vector<document>(5000, document{U"", 1}), 4, 64) == std::vector<std::int64_t>(5000, 0));
}

TEST_CASE("a stop ends the call") {
    std::u32string characters;
    while (characters.size() < std::size_t{1} << 21) characters += U"some words ";
    const std::vector<document> documents = {{characters, 1}, {U"last", 4}};
    const auto texts = views(documents);
    std::vector<std::int64_t> counts(texts.size());
    for (const int threads : {1, 2, 4, 7}) {
        // The other threads may have finished before this one asks for the first time: then there is nothing to stop.
        bool told = false, ended = false;
        const auto at_once = [&] { return told = true; };
        const auto run = [&](auto&& call) {
            told = ended = false;
            try {
                call();
            } catch (const tenfold::stopped&) {
                ended = true;
            }
            CHECK(ended == told);
            if (threads == 1) CHECK(told);
        };
        run([&] { tenfold::parallel_word_count(texts, counts, threads, at_once, {.chunk = 256}); });
        run([&] { tenfold::parallel_word_frequencies(texts, threads, at_once, {.chunk = 256}); });
        int asked = 0;
        const auto never = [&] { return ++asked < 0; };  // counted without a lock: only this thread may ask
        tenfold::parallel_word_count(texts, counts, threads, never, {.chunk = 4096});
        CHECK(counts == expected_counts(documents));
    }
}

TEST_CASE("arguments that make no sense are refused") {
    const std::string three = "abc";
    const std::vector<text> wrong_kind = {{three.data(), 1, 3}};
    std::vector<std::int64_t> one(1), two(2);
    CHECK_THROWS_AS(tenfold::parallel_word_count(wrong_kind, one, 1), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::parallel_word_frequencies(wrong_kind, 1), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::parallel_word_count(wrong_kind, two, 1), std::invalid_argument);
    CHECK_THROWS_AS(tenfold::parallel_word_count(wrong_kind, one, 0), std::invalid_argument);
}
