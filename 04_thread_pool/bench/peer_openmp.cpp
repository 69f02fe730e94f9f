// OpenMP: one region per request, opened by the main thread; tasks as its specification shows them.
#include <omp.h>

#include "peer_tasks.hpp"

namespace {

long fib(long n) {
    if (n < 2) return n;
    long a = 0;
#pragma omp task shared(a) firstprivate(n)
    a = fib(n - 1);
    const long b = fib(n - 2);
#pragma omp taskwait
    return a + b;
}

long fib_region(long n, int threads) {
    long answer = 0;
#pragma omp parallel num_threads(threads)
#pragma omp single
    answer = fib(n);
    return answer;
}

}  // namespace

int main() {
    const int threads = tenfold_peer::threads();
    return tenfold_peer::serve({
        {"fib", [&](long n) { return double(fib_region(n, threads)); }},
        {"empty",
         [&](long n) {
             peer_tasks::counts ran;
             for (long i = 0; i < n; ++i) {
#pragma omp parallel num_threads(threads)
                 ran.add(omp_get_thread_num());
             }
             return ran.exactly(threads, n);
         }},
        {"flat",
         [&](long n) {
             peer_tasks::counts ran;
#pragma omp parallel num_threads(threads)
#pragma omp single
             for (long i = 0; i < n; ++i) {
#pragma omp task
                 ran.add(omp_get_thread_num());
             }
             return ran.sum();
         }},
        {"idle", [&](long) { return peer_tasks::idle([&] { fib_region(20, threads); }); }},
    });
}
