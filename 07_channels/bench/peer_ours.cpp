// Our channels as a peer program. Tasks, each with N messages of 8 bytes; the answer is their sum:
//   spsc, spsc_batch          spsc_ring, both sides polling, one message at a time / batches of 64 and draining
//   blocking1024, blocking64, blocking1024_batch    spsc_channel of that capacity, which sleeps when there is nothing to do
//   mpmc_1x1, mpmc_2x2, mpmc_4x4, fifo_1x1, ...     channel and fifo_channel of 1024, producers x consumers
//   rtt                       N times there and back through two spsc_channels of 1
// The two threads of the first two groups are pinned to two CPUs where the machine has them.
#include <tenfold/channel.hpp>

#ifdef __linux__
#include <sched.h>
#endif

#include <array>
#include <barrier>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "tenfold_peer.hpp"

namespace {

using message = std::uint64_t;

// Pins the calling thread to the which-th of the CPUs it may use.
void pin(int which) {
#ifdef __linux__
    cpu_set_t allowed, one;
    static const cpu_set_t at_start = [] {
        cpu_set_t set;
        sched_getaffinity(0, sizeof set, &set);
        return set;
    }();
    allowed = at_start;
    if (CPU_COUNT(&allowed) < 2) return;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(cpu, &allowed) && which-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof one, &one);
            return;
        }
#else
    (void)which;
#endif
}

// Producer and consumer start together; measured until the consumer has everything.
template <class Produce, class Consume>
tenfold_peer::timed two_threads(Produce produce, Consume consume) {
    pin(0);
    std::barrier together(2);
    std::jthread producer([&] {
        pin(1);
        together.arrive_and_wait();
        produce();
    });
    const auto start = std::chrono::steady_clock::now();
    together.arrive_and_wait();
    const message sum = consume();
    return {tenfold_peer::seconds_since(start), static_cast<double>(sum)};
}

tenfold_peer::timed spsc(long n) {
    const auto ring = std::make_unique<tenfold::spsc_ring<message>>(1024);
    return two_threads(
        [&] {
            for (message i = 1; i <= static_cast<message>(n); ++i)
                while (!ring->try_push(i, tenfold::pace::gather)) tenfold::channel_detail::back_off();
        },
        [&] {
            message sum = 0, value = 0;
            for (long i = 0; i < n; ++i) {
                while (!ring->try_pop(value, tenfold::pace::gather)) tenfold::channel_detail::back_off();
                sum += value;
            }
            return sum;
        });
}

tenfold_peer::timed spsc_batch(long n) {
    const auto ring = std::make_unique<tenfold::spsc_ring<message>>(1024);
    return two_threads(
        [&] {
            std::array<message, 64> box;
            for (long sent = 0; sent < n;) {
                const auto count = static_cast<std::size_t>(std::min<long>(64, n - sent));
                std::iota(box.begin(), box.end(), static_cast<message>(sent) + 1);
                for (std::size_t done = 0; done < count;) {
                    const std::size_t some = ring->push_some(box.data() + done, count - done);
                    if (some == 0) tenfold::channel_detail::back_off();
                    done += some;
                }
                sent += static_cast<long>(count);
            }
        },
        [&] {
            message sum = 0;
            for (long got = 0; got < n;) {
                const std::size_t some = ring->drain([&](message&& value) { sum += value; });
                if (some == 0) tenfold::channel_detail::back_off();
                got += static_cast<long>(some);
            }
            return sum;
        });
}

tenfold_peer::timed blocking(long n, std::size_t capacity) {
    tenfold::spsc_channel<message> channel(capacity);
    return two_threads(
        [&, n] {
            for (message i = 1; i <= static_cast<message>(n); ++i) channel.send(i);
            channel.close();
        },
        [&] {
            message sum = 0, value = 0;
            while (channel.recv_until(value, tenfold::no_deadline) == tenfold::channel_status::ok) sum += value;
            return sum;
        });
}

tenfold_peer::timed blocking_batch(long n) {
    tenfold::spsc_channel<message> channel(1024);
    return two_threads(
        [&, n] {
            std::array<message, 64> box;
            for (long sent = 0; sent < n; sent += 64) {
                std::iota(box.begin(), box.end(), static_cast<message>(sent) + 1);
                channel.send_batch(box.begin(), static_cast<std::size_t>(std::min<long>(64, n - sent)));
            }
            channel.close();
        },
        [&] {
            std::array<message, 256> box;
            message sum = 0;
            for (;;) {
                const auto got = channel.recv_batch(box.begin(), box.size());
                if (got.status != tenfold::channel_status::ok) return sum;
                sum = std::accumulate(box.begin(), box.begin() + static_cast<std::ptrdiff_t>(got.count), sum);
            }
        });
}

template <class Channel>
tenfold_peer::timed many(long n, int pairs) {
    Channel channel(1024);
    std::barrier together(2 * pairs + 1);
    std::atomic<int> sending{pairs};
    std::atomic<message> total{0};
    std::vector<std::jthread> threads;
    for (int p = 0; p < pairs; ++p) {
        threads.emplace_back([&, p] {
            together.arrive_and_wait();
            for (long i = p + 1; i <= n; i += pairs) channel.send(static_cast<message>(i));
            if (sending.fetch_sub(1) == 1) channel.close();
        });
        threads.emplace_back([&] {
            together.arrive_and_wait();
            message sum = 0, value = 0;
            while (channel.recv_until(value, tenfold::no_deadline) == tenfold::channel_status::ok) sum += value;
            total += sum;
        });
    }
    const auto start = std::chrono::steady_clock::now();  // before the last one arrives: nobody has started
    together.arrive_and_wait();
    threads.clear();
    return {tenfold_peer::seconds_since(start), static_cast<double>(total)};
}

tenfold_peer::timed rtt(long n) {
    tenfold::spsc_channel<message> there(1), back(1);
    return two_threads(
        [&] {
            message value = 0;
            while (there.recv_until(value, tenfold::no_deadline) == tenfold::channel_status::ok) back.send(value);
        },
        [&] {
            message sum = 0, value = 0;
            for (long i = 1; i <= n; ++i) {
                there.send(static_cast<message>(i));
                back.recv_until(value, tenfold::no_deadline);
                sum += value;
            }
            there.close();
            return sum;
        });
}

template <class Channel, int Pairs>
tenfold_peer::timed pairs_of(long n) {
    return many<Channel>(n, Pairs);
}

}  // namespace

int main() {
    using tenfold::channel;
    using tenfold::fifo_channel;
    return tenfold_peer::serve({
        {"spsc", spsc},
        {"spsc_batch", spsc_batch},
        {"blocking1024", [](long n) { return blocking(n, 1024); }},
        {"blocking64", [](long n) { return blocking(n, 64); }},
        {"blocking1", [](long n) { return blocking(n, 1); }},
        {"blocking1024_batch", blocking_batch},
        {"mpmc_1x1", pairs_of<channel<message>, 1>},
        {"mpmc_2x2", pairs_of<channel<message>, 2>},
        {"mpmc_4x4", pairs_of<channel<message>, 4>},
        {"fifo_1x1", pairs_of<fifo_channel<message>, 1>},
        {"fifo_2x2", pairs_of<fifo_channel<message>, 2>},
        {"fifo_4x4", pairs_of<fifo_channel<message>, 4>},
        {"rtt", rtt},
    });
}
