// The same numbers for every peer (peer_rust makes them by the same formulas), made once per size and process.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "tenfold_peer.hpp"

namespace peer_data {

// splitmix64. A plain multiplication looks random too, but not to a branch predictor.
inline std::uint64_t mixed(std::size_t i) {
    std::uint64_t x = (i + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (x ^ (x >> 31)) % 1000003u;
}

struct arrays {
    explicit arrays(std::size_t n) : a(n), b(n), c(n), out(n), k(n), grouped(n) {
        for (std::size_t i = 0; i < n; ++i) {
            a[i] = static_cast<double>(mixed(i)) / 10000.0;  // 0 to 100: Fahrenheit for degree_days
            b[i] = static_cast<double>(mixed(i + 1)) / 10000.0;
            c[i] = static_cast<double>(mixed(i + 2)) / 10000.0;
            k[i] = static_cast<std::int64_t>(mixed(i)) - 500000;
        }
    }
    std::vector<double> a, b, c, out;
    std::vector<std::int64_t> k, grouped;
};

inline arrays& of(long n) {
    static std::map<long, arrays> all;
    return all.try_emplace(n, static_cast<std::size_t>(n)).first->second;
}

inline constexpr std::int64_t absent = 1 << 30;

// Runs body() and times it; answer() is worked out afterwards.
template <class Body, class Answer>
tenfold_peer::timed measure(const Body& body, const Answer& answer) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const double seconds = tenfold_peer::seconds_since(start);
    return {seconds, static_cast<double>(answer())};
}

template <class T>
double some_of(const T& values) {
    double total = 0.0;
    for (std::size_t i = 0; i < values.size(); i += 997) total += static_cast<double>(values[i]);
    return total;
}

}  // namespace peer_data
