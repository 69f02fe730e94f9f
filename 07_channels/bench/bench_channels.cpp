// The parts of a message's way, one thread: what a send and a receive cost when nobody waits. And two threads through each kind
// of channel. What others offer is in peer_*.cpp and peer_rust, one process each.
#include <benchmark/benchmark.h>
#include <tenfold/broadcast.hpp>
#include <tenfold/channel.hpp>

#include <thread>
#include <vector>

namespace {

using message = std::uint64_t;

template <class Channel>
void there_and_out(benchmark::State& state) {
    Channel channel(1024);
    message value = 0;
    for (auto _ : state) {
        channel.try_send(message{1});
        channel.try_recv(value);
        benchmark::DoNotOptimize(value);
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(there_and_out<tenfold::spsc_channel<message>>);
BENCHMARK(there_and_out<tenfold::fifo_channel<message>>);
BENCHMARK(there_and_out<tenfold::channel<message>>);

void ring_there_and_out(benchmark::State& state) {
    tenfold::spsc_ring<message> ring(1024);
    message value = 0;
    for (auto _ : state) {
        ring.try_push(message{1});
        ring.try_pop(value);
        benchmark::DoNotOptimize(value);
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(ring_there_and_out);

void fence_light(benchmark::State& state) {
    for (auto _ : state) tenfold::channel_detail::light_fence();
}
BENCHMARK(fence_light);
void fence_full(benchmark::State& state) {
    for (auto _ : state) tenfold::channel_detail::full_fence();
}
BENCHMARK(fence_full);
void fence_heavy(benchmark::State& state) {
    for (auto _ : state) tenfold::channel_detail::heavy_fence();
}
BENCHMARK(fence_heavy);

template <class Channel>
void two_threads(benchmark::State& state) {
    const auto capacity = static_cast<std::size_t>(state.range(0));
    const message n = capacity < 64 ? 1'000 : 100'000;
    for (auto _ : state) {
        Channel channel(capacity);
        std::jthread producer([&] {
            for (message i = 0; i < n; ++i) channel.send(i);
            channel.close();
        });
        message sum = 0, value = 0;
        while (channel.recv_until(value, tenfold::no_deadline) == tenfold::channel_status::ok) sum += value;
        benchmark::DoNotOptimize(sum);
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(n));
}
BENCHMARK(two_threads<tenfold::spsc_channel<message>>)->Arg(1)->Arg(64)->Arg(1024)->Arg(4096)->UseRealTime()->MinTime(0.1);
BENCHMARK(two_threads<tenfold::fifo_channel<message>>)->Arg(1024)->UseRealTime()->MinTime(0.1);
BENCHMARK(two_threads<tenfold::channel<message>>)->Arg(1024)->UseRealTime()->MinTime(0.1);

void broadcast_readers(benchmark::State& state) {
    tenfold::broadcast<message> news(1024);
    std::vector<tenfold::broadcast<message>::subscriber> seats;
    for (std::int64_t i = 0; i < state.range(0); ++i) seats.push_back(news.subscribe());
    std::optional<message> out;
    for (auto _ : state) {
        news.try_send(message{1});
        for (auto& seat : seats) seat.try_recv(out);
        benchmark::DoNotOptimize(out);
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(broadcast_readers)->Arg(1)->Arg(4);

}  // namespace
