// Our side of the native table, as a program of its own like every peer: see scripts/testing/tenfold_peer.hpp.
#include <tenfold/task_group.hpp>
#include <tenfold/thread_pool.hpp>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "peer_tasks.hpp"

namespace {

using tenfold::pool_worker;

long fib(pool_worker& worker, long n) {
    if (n < 2) return n;
    const auto [a, b] =
        worker.join([n](pool_worker& w) { return fib(w, n - 1); }, [n](pool_worker& w) { return fib(w, n - 2); });
    return a + b;
}

// The same without a pool: what a fork costs on top of a call.
long fib_plain(long n) { return n < 2 ? n : fib_plain(n - 1) + fib_plain(n - 2); }

// The same without the worker handed down: each fork looks its worker up in a thread-local variable.
long fib_lookup(tenfold::thread_pool& pool, long n) {
    if (n < 2) return n;
    const auto [a, b] = pool.join([&] { return fib_lookup(pool, n - 1); }, [&] { return fib_lookup(pool, n - 2); });
    return a + b;
}

// Primes below 400,000 by trial division, by `count` plain threads that take the numbers in small pieces: what a second thread
// gains on this machine at this moment.
double loops(int count) {
    std::atomic<long> next{0}, primes{0};
    const auto work = [&] {
        long found = 0;
        for (long begin; (begin = next.fetch_add(1000, std::memory_order_relaxed)) < 400'000;) {
            for (long n = std::max(begin, 2L); n < begin + 1000; ++n) {
                long i = 2;
                while (i * i <= n && n % i != 0) ++i;
                found += i * i > n;
            }
        }
        primes.fetch_add(found, std::memory_order_relaxed);
    };
    {
        std::vector<std::jthread> others;
        for (int i = 1; i < count; ++i) others.emplace_back(work);
        work();
    }
    return static_cast<double>(primes.load());
}

}  // namespace

int main() {
    const int threads = tenfold_peer::threads();
    tenfold::thread_pool pool(threads);
    return tenfold_peer::serve({
        {"fib", [&](long n) { return double(pool.run([n](pool_worker& w) { return fib(w, n); })); }},
        {"fib_plain", [](long n) { return double(fib_plain(n)); }},
        {"fib_lookup", [&](long n) { return double(pool.run([&pool, n] { return fib_lookup(pool, n); })); }},
        // One worker opens the regions, as the OpenMP program's main thread does; each of the two counts in each region.
        {"empty",
         [&](long n) {
             peer_tasks::counts ran;
             pool.run([&] {
                 for (long i = 0; i < n; ++i) pool.broadcast([&](int worker) { ran.add(worker); });
             });
             return ran.exactly(threads, n);
         }},
        {"flat",
         [&](long n) {
             peer_tasks::counts ran;
             pool.run([&] {
                 tenfold::task_group group(pool);
                 for (long i = 0; i < n; ++i) group.run([&](pool_worker& w) { ran.add(w.index()); });
                 group.wait();
             });
             return ran.sum();
         }},
        {"flat_detach",
         [&](long n) {
             peer_tasks::counts ran;
             pool.run([&] {
                 for (long i = 0; i < n; ++i) pool.detach([&](pool_worker& w) { ran.add(w.index()); });
             });
             pool.wait_idle();
             return ran.sum();
         }},
        {"flat_from_outside",
         [&](long n) {
             peer_tasks::counts ran;
             for (long i = 0; i < n; ++i) pool.detach([&](pool_worker& w) { ran.add(w.index()); });
             pool.wait_idle();
             return ran.sum();
         }},
        {"loops", [](long n) { return loops(static_cast<int>(n)); }},
        {"idle", [&](long) { return peer_tasks::idle([&] { pool.run([](pool_worker& w) { return fib(w, 20); }); }); }},
    });
}
