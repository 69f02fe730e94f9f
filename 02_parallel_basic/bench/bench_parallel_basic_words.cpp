// Word count and word frequencies over 8 MiB of text with a Zipf-like vocabulary, against the code one would write first.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tenfold/words.hpp"

namespace {

constexpr std::size_t characters = std::size_t{8} << 20;

// Word k of the vocabulary comes up about 1/k as often as the first.
const std::string& corpus() {
    static const std::string made = [] {
        std::mt19937_64 random(1);
        std::uniform_real_distribution<double> rank(0, std::log(50000.0));
        std::string out;
        while (out.size() < characters) {
            const auto word = static_cast<std::uint64_t>(std::exp(rank(random)));
            for (std::uint64_t bits = word * 0x9e3779b97f4a7c15u >> (64 - 5 * (2 + word % 8)); bits != 0; bits >>= 5)
                out += static_cast<char>('a' + bits % 26);
            out += random() % 12 == 0 ? '\n' : ' ';
        }
        return out;
    }();
    return made;
}

// The same text in `kind` bytes per character, cut into `documents` of equal size.
struct texts {
    std::vector<std::uint8_t> bytes;
    std::vector<tenfold::text> views;

    texts(std::size_t kind, std::size_t documents) : bytes(corpus().size() * kind) {
        for (std::size_t i = 0; i < corpus().size(); ++i) {
            const auto c = static_cast<std::uint32_t>(corpus()[i]);
            if (kind == 1) bytes[i] = static_cast<std::uint8_t>(c);
            if (kind == 2) reinterpret_cast<std::uint16_t*>(bytes.data())[i] = static_cast<std::uint16_t>(c);
            if (kind == 4) reinterpret_cast<std::uint32_t*>(bytes.data())[i] = c;
        }
        const std::size_t size = corpus().size() / documents;
        for (std::size_t i = 0; i < documents; ++i)
            views.push_back({bytes.data() + i * size * kind, size, static_cast<int>(kind)});
    }
};

void count(benchmark::State& state) {
    const texts input(static_cast<std::size_t>(state.range(0)), static_cast<std::size_t>(state.range(1)));
    std::vector<std::int64_t> counts(input.views.size());
    for (auto _ : state) {
        tenfold::parallel_word_count(input.views, counts, static_cast<int>(state.range(2)));
        benchmark::DoNotOptimize(counts.data());
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(input.bytes.size()));
}

void frequencies(benchmark::State& state) {
    const texts input(static_cast<std::size_t>(state.range(0)), static_cast<std::size_t>(state.range(1)));
    for (auto _ : state) {
        const auto words = tenfold::parallel_word_frequencies(input.views, static_cast<int>(state.range(2)));
        benchmark::DoNotOptimize(words.size());
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(input.bytes.size()));
}

void stream_and_map(benchmark::State& state) {
    for (auto _ : state) {
        std::istringstream in(corpus());
        std::unordered_map<std::string, std::int64_t> words;
        for (std::string word; in >> word;) ++words[word];
        benchmark::DoNotOptimize(words.size());
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(corpus().size()));
}

void views_and_map(benchmark::State& state) {
    constexpr std::string_view white = "\t\n\v\f\r\x1c\x1d\x1e\x1f ";
    for (auto _ : state) {
        const std::string_view all = corpus();
        std::unordered_map<std::string_view, std::int64_t> words;
        for (std::size_t at = all.find_first_not_of(white); at != all.npos;) {
            const std::size_t end = std::min(all.find_first_of(white, at), all.size());
            ++words[all.substr(at, end - at)];
            at = all.find_first_not_of(white, end);
        }
        benchmark::DoNotOptimize(words.size());
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(corpus().size()));
}

void cases(benchmark::internal::Benchmark* bench) {
    bench->ArgNames({"kind", "documents", "threads"})->UseRealTime()->Unit(benchmark::kMillisecond);
    for (const int kind : {1, 2, 4})
        for (const int threads : {1, 2}) bench->Args({kind, 1000, threads});
    for (const int threads : {1, 2}) bench->Args({1, 1, threads});
}

BENCHMARK(count)->Apply(cases);
BENCHMARK(frequencies)->Apply(cases);
BENCHMARK(stream_and_map)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(views_and_map)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
