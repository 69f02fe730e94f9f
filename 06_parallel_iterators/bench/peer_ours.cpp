// Our side of the pipelines.
#include <cstdint>
#include <optional>
#include <span>

#include "peer_data.hpp"
#include "tenfold/par.hpp"

using namespace tenfold;
using peer_data::measure;
using peer_data::of;

namespace {

openmp_executor team() { return openmp_executor(tenfold_peer::threads()); }

constexpr bool is_even(std::int64_t v) { return v % 2 == 0; }
constexpr std::int64_t square(std::int64_t v) { return v * v; }

tenfold_peer::timed expression(long n) {
    auto& d = of(n);
    return measure(
        [&] {
            par(d.a, team()) | zip_with(d.b, [](double a, double b) { return a * b; }) |
                zip_with(d.c, [](double ab, double c) { return ab + c * 2.0 - 1.0; }) | into(d.out);
        },
        [&] { return peer_data::some_of(d.out); });
}

tenfold_peer::timed degree_days(long n) {
    auto& d = of(n);
    double total = 0.0;
    return measure(
        [&] {
            total = par(d.a, team()) | map([](double f) { return (f - 32.0) * (5.0 / 9.0); }) |
                    filter([](double c) { return c > 18.0; }) | map([](double c) { return c - 18.0; }) | sum();
        },
        [&] { return total; });
}

tenfold_peer::timed even_squares(long n) {
    auto& d = of(n);
    std::int64_t total = 0;
    return measure(
        [&] {
            total =
                par(d.k, team()) | filter([](auto v) { return is_even(v); }) | map([](auto v) { return square(v); }) | sum();
        },
        [&] { return total; });
}

tenfold_peer::timed collect_squares(long n) {
    auto& d = of(n);
    double answer = 0.0;
    const auto start = std::chrono::steady_clock::now();
    {
        const auto kept =
            par(d.k, team()) | filter([](auto v) { return is_even(v); }) | map([](auto v) { return square(v); }) | collect();
        answer = static_cast<double>(kept.size()) + static_cast<double>(kept[kept.size() / 2]);
    }
    return {tenfold_peer::seconds_since(start), answer};
}

tenfold_peer::timed scan(long n) {
    auto& d = of(n);
    return measure([&] { par(d.k, team()) | inclusive_scan_into(std::span(d.grouped), std::plus<>{}); },
                   [&] { return peer_data::some_of(d.grouped); });
}

tenfold_peer::timed find(long n) {
    auto& d = of(n);
    std::optional<std::size_t> found;
    return measure([&] { found = par(d.k, team()) | find_value(peer_data::absent); }, [&] { return found ? 1 : 0; });
}

tenfold_peer::timed group(long n) {
    auto& d = of(n);
    return measure([&] { par(d.k, team()) | group_by_into(16, [](std::int64_t v) { return v & 15; }, std::span(d.grouped)); },
                   [&] { return peer_data::some_of(d.grouped); });
}

}  // namespace

int main() {
    return tenfold_peer::serve({{"expression", expression},
                                {"degree_days", degree_days},
                                {"even_squares", even_squares},
                                {"collect", collect_squares},
                                {"scan", scan},
                                {"find", find},
                                {"group", group}});
}
