// Other people's queues, and the ring that is usually written, as a peer program. Tasks, with N messages of 8 bytes; the answer
// is their sum: boost_spsc, boost_spsc_batch (boost::lockfree::spsc_queue of 1024), moodycamel_spsc (ReaderWriterQueue),
// circular_spsc (its ReaderWriterCircularBuffer of 1024), ring_spsc (below); moodycamel_1x1, _2x2, _4x4 (ConcurrentQueue with
// tokens, consumers yield when there is nothing), boost_1x1, ... (boost::lockfree::queue of 1024). A library that is not
// installed leaves its tasks out. The SPSC queues wait as their own pages show it, by asking again, with one pause between two
// questions; with the suffix _backoff they are given our 32 pauses.
#include <array>
#include <atomic>
#include <barrier>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

#if __has_include(<boost/lockfree/spsc_queue.hpp>)
#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#define HAVE_BOOST 1
#endif
#if __has_include(<readerwriterqueue/readerwritercircularbuffer.h>)
#include <readerwriterqueue/readerwritercircularbuffer.h>
#include <readerwriterqueue/readerwriterqueue.h>
#define HAVE_READERWRITER 1
#elif __has_include(<readerwriterqueue.h>)
#include <readerwritercircularbuffer.h>
#include <readerwriterqueue.h>
#define HAVE_READERWRITER 1
#endif
#if __has_include(<concurrentqueue/moodycamel/concurrentqueue.h>)
#include <concurrentqueue/moodycamel/concurrentqueue.h>
#elif __has_include(<concurrentqueue/concurrentqueue.h>)
#include <concurrentqueue/concurrentqueue.h>
#else
#include <concurrentqueue.h>
#endif

#include "tenfold_peer.hpp"

namespace {

using message = std::uint64_t;

void pause(int times) {
    for (int i = 0; i < times; ++i) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("isb");
#endif
    }
}

// Pins the calling thread to the which-th of the CPUs it may use.
void pin(int which) {
#ifdef __linux__
    static const cpu_set_t allowed = [] {
        cpu_set_t set;
        sched_getaffinity(0, sizeof set, &set);
        return set;
    }();
    if (CPU_COUNT(&allowed) < 2) return;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(cpu, &allowed) && which-- == 0) {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof one, &one);
            return;
        }
#else
    (void)which;
#endif
}

// The ring of rigtorp's SPSCQueue in its idea: each side keeps a copy of the other's index, one slot stays empty, a compare
// wraps the index; one message at a time.
class ring {
public:
    explicit ring(std::size_t capacity) : slots_(capacity + 1) {}
    bool push(message value) {
        const auto at = write_.load(std::memory_order_relaxed);
        const auto next = at + 1 == slots_.size() ? 0 : at + 1;
        if (next == read_seen_ && next == (read_seen_ = read_.load(std::memory_order_acquire))) return false;
        slots_[at] = value;
        write_.store(next, std::memory_order_release);
        return true;
    }
    bool pop(message& value) {
        const auto at = read_.load(std::memory_order_relaxed);
        if (at == write_seen_ && at == (write_seen_ = write_.load(std::memory_order_acquire))) return false;
        value = slots_[at];
        read_.store(at + 1 == slots_.size() ? 0 : at + 1, std::memory_order_release);
        return true;
    }

private:
    std::vector<message> slots_;
    alignas(128) std::atomic<std::size_t> write_{0};
    alignas(128) std::size_t read_seen_ = 0;
    alignas(128) std::atomic<std::size_t> read_{0};
    alignas(128) std::size_t write_seen_ = 0;
};

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

template <int Pauses, class Push, class Pop>
tenfold_peer::timed one_by_one(long n, Push push, Pop pop) {
    return two_threads(
        [&] {
            for (message i = 1; i <= static_cast<message>(n); ++i)
                while (!push(i)) pause(Pauses);
        },
        [&] {
            message sum = 0, value = 0;
            for (long i = 0; i < n; ++i) {
                while (!pop(value)) pause(Pauses);
                sum += value;
            }
            return sum;
        });
}

// make() -> a {push, pop} pair per thread; both return false for "not now".
template <class Producer, class Consumer>
tenfold_peer::timed many(long n, int pairs, Producer producer, Consumer consumer) {
    std::barrier together(2 * pairs + 1);
    std::atomic<long> left{n};
    std::atomic<message> total{0};
    std::vector<std::jthread> threads;
    for (int p = 0; p < pairs; ++p) {
        threads.emplace_back([&, p] {
            auto push = producer();
            together.arrive_and_wait();
            for (long i = p + 1; i <= n; i += pairs)
                while (!push(static_cast<message>(i))) std::this_thread::yield();
        });
        threads.emplace_back([&] {
            auto pop = consumer();
            together.arrive_and_wait();
            message sum = 0, value = 0;
            long taken = 0;
            while (left.load(std::memory_order_relaxed) > 0) {
                if (pop(value)) {
                    sum += value;
                    if (++taken == 64) left.fetch_sub(std::exchange(taken, 0), std::memory_order_relaxed);
                } else {
                    left.fetch_sub(std::exchange(taken, 0), std::memory_order_relaxed);
                    std::this_thread::yield();
                }
            }
            total += sum;
        });
    }
    const auto start = std::chrono::steady_clock::now();  // before the last one arrives: nobody has started
    together.arrive_and_wait();
    threads.clear();
    return {tenfold_peer::seconds_since(start), static_cast<double>(total)};
}

template <int Pauses>
tenfold_peer::timed ring_spsc(long n) {
    const auto queue = std::make_unique<ring>(1024);
    return one_by_one<Pauses>(n, [&](message v) { return queue->push(v); }, [&](message& v) { return queue->pop(v); });
}

template <int Pairs>
tenfold_peer::timed moodycamel_pairs(long n) {
    using queue_type = moodycamel::ConcurrentQueue<message>;
    queue_type queue;
    const auto producer = [&] {
        return [&queue, token = moodycamel::ProducerToken(queue)](message v) mutable { return queue.enqueue(token, v); };
    };
    const auto consumer = [&] {
        return [&queue, token = moodycamel::ConsumerToken(queue)](message& v) mutable { return queue.try_dequeue(token, v); };
    };
    return many(n, Pairs, producer, consumer);
}

#ifdef HAVE_BOOST
template <int Pauses>
tenfold_peer::timed boost_spsc(long n) {
    const auto queue = std::make_unique<boost::lockfree::spsc_queue<message>>(1024);
    return one_by_one<Pauses>(n, [&](message v) { return queue->push(v); }, [&](message& v) { return queue->pop(v); });
}

tenfold_peer::timed boost_spsc_batch(long n) {
    const auto queue = std::make_unique<boost::lockfree::spsc_queue<message>>(1024);
    return two_threads(
        [&] {
            std::array<message, 64> box;
            for (long sent = 0; sent < n;) {
                const auto count = static_cast<std::size_t>(std::min<long>(64, n - sent));
                std::iota(box.begin(), box.end(), static_cast<message>(sent) + 1);
                for (std::size_t done = 0; done < count;) {
                    const std::size_t some = queue->push(box.data() + done, count - done);
                    if (some == 0) pause(32);
                    done += some;
                }
                sent += static_cast<long>(count);
            }
        },
        [&] {
            message sum = 0;
            for (long got = 0; got < n;) {
                const std::size_t some = queue->consume_all([&](message value) { sum += value; });
                if (some == 0) pause(32);
                got += static_cast<long>(some);
            }
            return sum;
        });
}

template <int Pairs>
tenfold_peer::timed boost_pairs(long n) {
    boost::lockfree::queue<message, boost::lockfree::fixed_sized<true>> queue(1024);
    const auto producer = [&] { return [&](message v) { return queue.bounded_push(v); }; };
    const auto consumer = [&] { return [&](message& v) { return queue.pop(v); }; };
    return many(n, Pairs, producer, consumer);
}
#endif

#ifdef HAVE_READERWRITER
template <int Pauses>
tenfold_peer::timed moodycamel_spsc(long n) {
    const auto queue = std::make_unique<moodycamel::ReaderWriterQueue<message>>(1024);
    return one_by_one<Pauses>(
        n, [&](message v) { return queue->try_enqueue(v); }, [&](message& v) { return queue->try_dequeue(v); });
}

tenfold_peer::timed circular_spsc(long n) {
    const auto queue = std::make_unique<moodycamel::BlockingReaderWriterCircularBuffer<message>>(1024);
    return two_threads(
        [&] {
            for (message i = 1; i <= static_cast<message>(n); ++i) queue->wait_enqueue(i);
        },
        [&] {
            message sum = 0, value = 0;
            for (long i = 0; i < n; ++i) {
                queue->wait_dequeue(value);
                sum += value;
            }
            return sum;
        });
}
#endif

}  // namespace

int main() {
    std::map<std::string, tenfold_peer::task> tasks{
        {"ring_spsc", ring_spsc<1>},
        {"ring_spsc_backoff", ring_spsc<32>},
        {"moodycamel_1x1", moodycamel_pairs<1>},
        {"moodycamel_2x2", moodycamel_pairs<2>},
        {"moodycamel_4x4", moodycamel_pairs<4>},
    };
#ifdef HAVE_BOOST
    tasks.insert({{"boost_spsc", boost_spsc<1>},
                  {"boost_spsc_backoff", boost_spsc<32>},
                  {"boost_spsc_batch", boost_spsc_batch},
                  {"boost_1x1", boost_pairs<1>},
                  {"boost_2x2", boost_pairs<2>},
                  {"boost_4x4", boost_pairs<4>}});
#endif
#ifdef HAVE_READERWRITER
    tasks.insert({{"moodycamel_spsc", moodycamel_spsc<1>},
                  {"moodycamel_spsc_backoff", moodycamel_spsc<32>},
                  {"circular_blocking1024", circular_spsc}});
#endif
    return tenfold_peer::serve(tasks);
}
