// Our pipeline as a peer program, batches of 1024 (the default). Tasks: see peer_work.hpp. With _here behind the name: the same
// stages on the calling thread alone. loop_...: a plain loop with the same bodies, the row that every pipeline must be seen beside.
#include <tenfold/pipeline.hpp>

#include <array>
#include <memory>

#include "peer_work.hpp"
#include "tenfold_peer.hpp"

namespace {

using namespace peer_work;

// The numbers 0 .. n - 1.
auto numbers(long n) {
    return [next = item{0}, n = static_cast<item>(n)](std::span<item> room) mutable {
        const auto count = static_cast<std::size_t>(std::min<item>(room.size(), n - next));
        for (std::size_t i = 0; i < count; ++i) room[i] = next + i;
        next += count;
        return count;
    };
}

template <class Pipeline>
double through(const Pipeline& pipeline, long n, bool here) {
    item sum = 0;
    const auto sink = [&](std::span<item> items) {
        for (const item x : items) sum += taste(x);
    };
    const auto done = here ? pipeline.run_here(numbers(n), sink) : pipeline.run(numbers(n), sink);
    done.rethrow();
    if (done.delivered != static_cast<std::uint64_t>(n)) throw std::runtime_error("items were lost");
    return static_cast<double>(sum);
}

template <class F>
double loop(long n, F body) {
    item sum = 0;
    for (item x = 0; x < static_cast<item>(n); ++x) sum += taste(body(x));
    return static_cast<double>(sum);
}

}  // namespace

int main() {
    const tenfold::pipeline<item> source({.workers = tenfold_peer::threads()});
    const auto tiny = source.parallel_map("mix", mix).parallel_map("shift", shift);
    const auto serial = source.parallel_map("mix", mix).map("order", order).parallel_map("shift", shift);
    const auto work100 = source.parallel_map("work", peer_work::work100);
    const auto work1000 = source.parallel_map("work", peer_work::work1000);
    return tenfold_peer::serve({
        {"tiny", [&](long n) { return through(tiny, n, false); }},
        {"tiny_here", [&](long n) { return through(tiny, n, true); }},
        {"serial", [&](long n) { return through(serial, n, false); }},
        {"serial_here", [&](long n) { return through(serial, n, true); }},
        {"work100", [&](long n) { return through(work100, n, false); }},
        {"work1000", [&](long n) { return through(work1000, n, false); }},
        {"loop_tiny", [&](long n) { return loop(n, [](item x) { return shift(mix(x)); }); }},
        {"loop_serial", [&](long n) { return loop(n, [](item x) { return shift(order(mix(x))); }); }},
        {"loop_work100", [&](long n) { return loop(n, peer_work::work100); }},
        {"loop_work1000", [&](long n) { return loop(n, peer_work::work1000); }},
    });
}
