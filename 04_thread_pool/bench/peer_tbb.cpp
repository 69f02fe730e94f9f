// oneTBB: task_group, one per fork as its documentation shows it; the second half is called directly.
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include "peer_tasks.hpp"

namespace {

long fib(long n) {
    if (n < 2) return n;
    long a = 0;
    tbb::task_group group;
    group.run([&a, n] { a = fib(n - 1); });
    const long b = fib(n - 2);
    group.wait();
    return a + b;
}

}  // namespace

int main() {
    const int threads = tenfold_peer::threads();
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads));
    tbb::task_arena arena(threads);
    return tenfold_peer::serve({
        {"fib", [&](long n) { return arena.execute([n] { return double(fib(n)); }); }},
        // TBB promises no second thread: usually the caller has run both halves before one comes. Counted, but nothing to compare.
        {"empty",
         [&](long n) {
             peer_tasks::counts ran;
             arena.execute([&] {
                 for (long i = 0; i < n; ++i)
                     tbb::parallel_for(
                         0, threads, [&](int) { ran.add(tbb::this_task_arena::current_thread_index()); },
                         tbb::static_partitioner{});
             });
             return ran.exactly(threads, n) < 0 ? tenfold_peer::no_answer : ran.sum();
         }},
        {"flat",
         [&](long n) {
             peer_tasks::counts ran;
             arena.execute([&] {
                 tbb::task_group group;
                 for (long i = 0; i < n; ++i) group.run([&] { ran.add(tbb::this_task_arena::current_thread_index()); });
                 group.wait();
             });
             return ran.sum();
         }},
        {"idle", [&](long) { return peer_tasks::idle([&] { arena.execute([] { return fib(20); }); }); }},
    });
}
