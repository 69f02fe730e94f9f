// primes.hpp - the lesson's work: count primes, by plain trial division and by a segmented sieve, stoppable.
//
// Trial division is deliberately the slow textbook method: a long, CPU-bound loop that touches no Python object is
// the kind of work that should never hold the GIL. The sieve stands beside it because a better algorithm on one
// thread beats a worse one on all of them.
//
// Copy: this file and team.hpp.   #include <tenfold/primes.hpp>   C++20; link the platform's threads library.
//
// Every function takes `stop`, a callable bool() that is called only by the thread that called the function, many times
// a second; when it returns true the function throws tenfold::stopped and has no other effect.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stop_token>
#include <thread>
#include <vector>

#include "team.hpp"

namespace tenfold {

namespace detail {

/// The largest r with r * r <= n.
inline std::int64_t integer_sqrt(std::int64_t n) {
    auto root = static_cast<std::int64_t>(std::sqrt(static_cast<double>(n)));
    while (root > 0 && root > n / root) --root;  // division: root * root may not fit
    while (root + 1 <= n / (root + 1)) ++root;
    return root;
}

/// Looks at `stop` once every 65,536 divisions: well under a millisecond, however large the numbers are.
template <class Stop>
class looker {
public:
    explicit looker(Stop& stop) : stop_(stop) {}
    void spend(std::size_t divisions) {
        if ((left_ -= static_cast<std::int64_t>(divisions)) > 0) return;
        left_ = budget;
        if (stop_()) throw stopped();
    }

private:
    static constexpr std::int64_t budget = 1 << 16;
    Stop& stop_;
    std::int64_t left_ = budget;
};

/// `odd` > 2 against the odd primes from 3 up, as far as their squares reach.
template <class Stop>
bool divides_none(std::int64_t odd, const std::vector<std::int64_t>& primes, looker<Stop>& look) {
    constexpr std::size_t run = 4096;
    for (std::size_t i = 0; i < primes.size(); ++i) {
        const std::int64_t p = primes[i];
        if (i % run == run - 1) look.spend(run);
        if (p > odd / p || odd % p == 0) {
            look.spend(i % run + 1);
            return p > odd / p;
        }
    }
    look.spend(1);
    return true;
}

}  // namespace detail

/// Number of primes <= n (0 for n < 2): each odd candidate is divided by the primes found so far, up to its root.
template <class Stop = never_stop>
std::int64_t count_primes(std::int64_t n, Stop stop = {}) {
    if (n < 2) return 0;
    const std::int64_t root = detail::integer_sqrt(n);
    std::vector<std::int64_t> primes;  // odd ones up to the root: no larger one is ever a divisor to try
    std::int64_t count = 1;            // 2
    detail::looker look(stop);
    for (std::int64_t candidate = 3; candidate <= n && candidate > 0; candidate += 2) {
        if (!detail::divides_none(candidate, primes, look)) continue;
        ++count;
        if (candidate <= root) primes.push_back(candidate);
        if (candidate > std::numeric_limits<std::int64_t>::max() - 2) break;
    }
    return count;
}

/// Number of primes in (low, high], given the odd primes up to the root of high.
template <class Stop = never_stop>
std::int64_t count_primes_between(std::int64_t low, std::int64_t high, const std::vector<std::int64_t>& odd_primes,
                                  Stop stop = {}) {
    std::int64_t count = low < 2 && high >= 2 ? 1 : 0;
    const std::int64_t first = std::max<std::int64_t>(3, low + 1 + low % 2);
    detail::looker look(stop);
    for (std::int64_t candidate = first; candidate <= high; candidate += 2) {
        count += detail::divides_none(candidate, odd_primes, look) ? 1 : 0;
        if (candidate > std::numeric_limits<std::int64_t>::max() - 2) break;
    }
    return count;
}

/// The odd primes <= n, ascending.
template <class Stop = never_stop>
std::vector<std::int64_t> odd_primes_up_to(std::int64_t n, Stop stop = {}) {
    std::vector<std::int64_t> primes;
    detail::looker look(stop);
    for (std::int64_t candidate = 3; candidate <= n; candidate += 2) {
        if (detail::divides_none(candidate, primes, look)) primes.push_back(candidate);
    }
    return primes;
}

/// `threads` threads, one contiguous range each: entry i counts (i * step, (i + 1) * step] with step = n / threads,
/// and the last one ends at n. The calling thread waits, looks at `stop` and passes it on.
template <class Stop = never_stop>
std::vector<std::int64_t> count_primes_parallel(std::int64_t n, int threads, Stop stop = {}) {
    n = std::max<std::int64_t>(n, 0);
    const std::vector<std::int64_t> odd_primes = odd_primes_up_to(detail::integer_sqrt(n), stop);
    const std::int64_t step = n / threads;
    std::vector<std::int64_t> counts(static_cast<std::size_t>(threads));
    run_team(
        threads,
        [&](int i, const std::stop_token& token) {
            const std::int64_t high = i + 1 == threads ? n : (i + 1) * step;
            counts[static_cast<std::size_t>(i)] =
                count_primes_between(i * step, high, odd_primes, [&] { return token.stop_requested(); });
        },
        stop);
    return counts;
}

/// Number of primes <= n by a segmented sieve of Eratosthenes over odd numbers (Bays and Hudson, BIT 17, 1977):
/// O(n log log n) steps in a segment that stays in the first-level cache, O(sqrt n) memory.
template <class Stop = never_stop>
std::int64_t count_primes_segmented(std::int64_t n, Stop stop = {}) {
    if (n < 2) return 0;
    constexpr std::int64_t segment = 1 << 15;  // odd numbers per segment, a byte each: 32 KiB
    const std::int64_t root = detail::integer_sqrt(n);
    std::vector<char> root_is_composite(static_cast<std::size_t>(root) + 1);
    struct base_prime {
        std::int64_t prime, next;  // `next`: the index, within the coming segment, of its next odd multiple
    };
    std::vector<base_prime> base;
    std::int64_t sieved = 3;  // base primes below this have been found

    std::vector<char> composite(segment);
    std::int64_t count = 1;  // 2
    const std::int64_t odd_numbers = (n - 1) / 2;  // index i stands for 2 i + 3
    for (std::int64_t begin = 0; begin < odd_numbers; begin += segment) {
        if (stop()) throw stopped();
        const std::int64_t size = std::min(segment, odd_numbers - begin);
        const std::int64_t last = 2 * (begin + size - 1) + 3;
        for (; sieved <= root && sieved <= last / sieved; sieved += 2) {
            if (root_is_composite[static_cast<std::size_t>(sieved)]) continue;
            for (std::int64_t m = sieved; m <= root / sieved; m += 2)
                root_is_composite[static_cast<std::size_t>(m * sieved)] = 1;
            base.push_back({sieved, (sieved * sieved - 3) / 2 - begin});
        }
        std::fill_n(composite.begin(), size, 0);
        for (auto& [prime, next] : base) {
            for (; next < size; next += prime) composite[static_cast<std::size_t>(next)] = 1;
            next -= size;
        }
        count += std::count(composite.begin(), composite.begin() + size, 0);
    }
    return count;
}

/// Waits `seconds` (infinity is allowed), waking to look at `stop`.
template <class Stop = never_stop>
void sleep_for(double seconds, Stop stop = {}) {
    using clock = std::chrono::steady_clock;
    const auto begin = clock::now();
    for (;;) {
        const double left = seconds - std::chrono::duration<double>(clock::now() - begin).count();
        if (!(left > 0)) return;
        std::this_thread::sleep_for(std::chrono::duration<double>(std::min(left, 0.02)));
        if (stop()) throw stopped();
    }
}

}  // namespace tenfold
