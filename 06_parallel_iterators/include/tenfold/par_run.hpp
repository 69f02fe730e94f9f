// tenfold/par_run.hpp: the engine under a pipeline: cuts the source into blocks, decides how many threads they are worth, hands
// them out, and finds out which error or match comes first.
//
// Why: four decisions are made here once, for every sink.
// - Block borders depend on the number of items only, never on threads or time. What is computed per block and combined in index
//   order has therefore the same bits on every machine.
// - The calling thread starts alone and times its first items. If all of them together are cheaper than waking somebody, it
//   stays alone; if not, the measured cost says how many blocks a thread takes at once. Cost decides who works, never the result.
// - Blocks are handed out in order. The first error or match lowers a limit: blocks above it are skipped, blocks below it still
//   run, and so the lowest one wins whatever the timing.
// - `stop` is asked on the calling thread only, about every millisecond; so is the wait for the others at the end.
//
// Copy: par_run.hpp, par_executor.hpp, par_error.hpp. C++20; -fopenmp for openmp_executor.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <limits>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenfold/par_error.hpp"
#include "tenfold/par_executor.hpp"

namespace tenfold::par_detail {

inline constexpr std::size_t nowhere = std::numeric_limits<std::size_t>::max();

// Where an exception or a match happened: written by the loop that saw it, read by whoever ends the block.
struct place {
    std::size_t index = nowhere;
    void note(std::size_t i) noexcept {
        if (index == nowhere) index = i;  // the innermost loop knows best
    }
};

// At most 64 blocks for a few items, so that even costly ones are shared out; at most `largest` items, so that a block stays in
// the cache. A function of n alone: it is part of what a floating-point result is.
inline constexpr std::size_t block_items(std::size_t n, std::size_t largest = 4096) {
    const std::size_t items = std::clamp<std::size_t>((n + 63) / 64, 1, largest);
    return items < 64 ? items : (items + 63) / 64 * 64;  // blocks begin at cache lines if the range does
}

class race {
public:
    explicit race(std::size_t blocks) : limit_(blocks) {}

    // Relaxed: a late reader does one block too many. What was noted is published by the mutex and by the executor's join.
    bool wanted(std::size_t block) const noexcept { return block < limit_.load(std::memory_order_relaxed); }

    void match(std::size_t block) noexcept { settle(block, nullptr, nowhere); }
    void fail(std::size_t block, std::size_t index) noexcept { settle(block, std::current_exception(), index); }
    void stop(std::exception_ptr reason) noexcept {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        error_ = std::move(reason);
        index_ = nowhere;
        limit_.store(0, std::memory_order_relaxed);
    }

    void rethrow() const {
        if (!error_) return;
        if (index_ == nowhere) std::rethrow_exception(error_);
        try {
            std::rethrow_exception(error_);
        } catch (const std::bad_alloc&) {
            throw;
        } catch (const stopped&) {
            throw;
        } catch (const std::exception& error) {
            throw par_error(index_, error.what());
        } catch (...) {
            throw par_error(index_, "an exception that is no std::exception");
        }
    }

private:
    void settle(std::size_t block, std::exception_ptr error, std::size_t index) noexcept {
        const std::lock_guard lock(mutex_);
        if (stopped_ || !wanted(block)) return;  // something lower was first
        limit_.store(block, std::memory_order_relaxed);
        error_ = std::move(error);
        index_ = index;
    }

    std::atomic<std::size_t> limit_;
    std::mutex mutex_;  // guards the three below while the pipeline runs
    bool stopped_ = false;
    std::size_t index_ = nowhere;
    std::exception_ptr error_;
};

// How many items to do between two looks at the clock: about a millisecond's worth.
class pace {
public:
    using clock = std::chrono::steady_clock;

    std::size_t items() const noexcept { return items_; }
    double item_ns() const noexcept { return item_ns_; }

    void learn(std::size_t items, clock::duration took) noexcept {
        if (items == 0) return;
        const double ns = static_cast<double>(std::chrono::duration_cast<std::chrono::nanoseconds>(took).count());
        item_ns_ = ns / static_cast<double>(items);
        const double slice = 1e6 / std::max(item_ns_, 0.01);
        items_ = slice < 1.0 ? 1 : static_cast<std::size_t>(slice);
    }

private:
    double item_ns_ = 0.0;
    std::size_t items_ = 1;
};

inline constexpr double task_ns = 50e3;  // what a thread takes at once

// Less work than this is done alone: to wake somebody costs more than it saves. An executor may know better: wake_ns().
template <class Executor>
double wake_ns(const Executor& executor) {
    if constexpr (requires { executor.wake_ns(); }) return executor.wake_ns();
    else return 12e3;
}

// A block that can be done in slices.
template <class Pipe, class Local>
class block_run {
public:
    block_run(const Pipe& pipe, std::size_t block, std::size_t begin, std::size_t end, Local local)
        : pipe_(pipe), local_(std::move(local)), block_(block), next_(begin), end_(end) {}

    bool done() const noexcept { return next_ == end_; }
    std::size_t left() const noexcept { return end_ - next_; }

    // The next items, at most `count`; true while there is more to do.
    bool advance(std::size_t count, race& state) noexcept {
        place at;
        try {
            const std::size_t end = next_ + std::min(count, end_ - next_);
            if (!pipe_.drive(next_, end, at, local_)) {
                local_.finish(at);
                state.match(block_);
                next_ = end_;
                return false;
            }
            next_ = end;
            if (next_ == end_) local_.finish(at);
        } catch (...) {
            state.fail(block_, at.index);
            next_ = end_;
        }
        return next_ != end_;
    }

private:
    const Pipe& pipe_;
    Local local_;
    std::size_t block_, next_, end_;
};

// How blocks reach threads. in_order: the lowest block that nobody has begun; for searches, and where later blocks wait for earlier
// ones; one_by_one: the same, never several at once. in_shares: each thread goes through a run of its own, the same in every call, so that it finds in its cache what it left
// there; then it helps the others with theirs.
enum class handing { in_order, one_by_one, in_shares };

class handout {
public:
    handout(handing how, std::size_t first, std::size_t blocks, std::size_t workers, std::size_t grain)
        : grain_(grain), shares_(how == handing::in_shares ? workers : 1) {
        for (std::size_t w = 0; w < shares_.size(); ++w) {
            shares_[w].next = std::max(first, blocks / shares_.size() * w);
            shares_[w].end = w + 1 == shares_.size() ? blocks : std::max(first, blocks / shares_.size() * (w + 1));
        }
    }

    // The next blocks for this worker: [first, second). Nothing left: equal.
    std::pair<std::size_t, std::size_t> take(std::size_t worker) noexcept {
        for (std::size_t i = 0; i < shares_.size(); ++i) {
            share& s = shares_[(worker + i) % shares_.size()];
            // acquire here, acq_rel below: whoever sees a share used up sees that its takers are busy (run_blocks).
            if (s.next.load(std::memory_order_acquire) >= s.end) continue;  // spares the line a write
            const std::size_t from = s.next.fetch_add(grain_, std::memory_order_acq_rel);
            if (from < s.end) return {from, std::min(from + grain_, s.end)};
        }
        return {0, 0};
    }

private:
    struct alignas(64) share {
        std::atomic<std::size_t> next{0};
        std::size_t end = 0;
    };
    std::size_t grain_;
    std::vector<share> shares_;
};

// Pipe: extent(), the number of items in the source, and
//       drive(begin, end, place&, local) -> bool, which feeds the items of [begin, end) to `local`; false: a match, stop here.
// make(block, begin, end) -> local, with feed(batch, place&) -> bool and finish(place&); called on the thread that runs the block.
template <class Pipe, class Executor, class Stop, class Make>
void run_blocks(const Pipe& pipe, const Executor& executor, Stop& stop, std::size_t block, handing how, const Make& make) {
    using clock = pace::clock;
    using local = std::remove_cvref_t<std::invoke_result_t<const Make&, std::size_t, std::size_t, std::size_t>>;
    constexpr bool polls = !std::is_same_v<std::remove_cvref_t<Stop>, never_stop>;
    const std::size_t n = pipe.extent();
    if (stop()) throw stopped();
    if (n == 0) return;
    const std::size_t blocks = (n - 1) / block + 1;
    race state(blocks);

    const auto poll = [&]() noexcept {
        if constexpr (polls) {
            try {
                if (state.wanted(0) && stop()) state.stop(std::make_exception_ptr(stopped()));
            } catch (...) {
                state.stop(std::current_exception());  // `stop` itself threw: that wins over errors of items
            }
        }
    };
    const auto open = [&](std::size_t index) {
        const std::size_t begin = index * block;
        const std::size_t end = begin + std::min(block, n - begin);
        return block_run<Pipe, local>(pipe, index, begin, end, make(index, begin, end));
    };
    // One block to its end. Looks at the clock only where a block takes longer than a slice.
    const auto run_block = [&](std::size_t index, pace& speed, bool caller) noexcept {
        try {
            auto run = open(index);
            while (run.advance(speed.items(), state)) {
                if (!state.wanted(index)) return;
                if (caller) poll();
            }
        } catch (...) {
            state.fail(index, nowhere);  // make() had no memory
        }
    };

    // Alone, until enough has been done to tell what an item costs.
    pace speed;
    std::size_t first = 0;  // blocks below are done or begun
    std::optional<block_run<Pipe, local>> begun;
    int workers = 1;
    {
        const int available = executor.concurrency();
        const double alone_ns = wake_ns(executor);
        const auto start = clock::now();
        std::size_t tried = 0;
        bool timed = false;
        for (std::size_t slice = 1; !timed && first < blocks && (first == 0 || state.wanted(first - 1)); ++first) {
            try {
                begun.emplace(open(first));
            } catch (...) {
                state.fail(first, nowhere);
                return state.rethrow();
            }
            while (!begun->done() && !timed) {
                const std::size_t before = begun->left();
                begun->advance(slice, state);
                tried += before - begun->left();
                slice = std::min(slice * 8, block);
                // One cheap item says little: the first ones wait for memory and for the instructions themselves.
                const auto took = clock::now() - start;
                const auto ns = static_cast<double>(std::chrono::duration_cast<std::chrono::nanoseconds>(took).count());
                timed = ns >= alone_ns / 6 && (tried >= 8 || ns >= alone_ns);
                if (timed) speed.learn(tried, took);
            }
            poll();
        }
        // A match or an error so early leaves nothing to share out. (Blocks below are done.)
        if (!state.wanted(first - 1)) return state.rethrow();
        const double rest_ns = speed.item_ns() * static_cast<double>(n - std::min(n, first * block) + begun->left());
        if (available > 1 && rest_ns > alone_ns)
            workers = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(available), blocks - first + 1));
    }

    const double block_ns = std::max(speed.item_ns() * static_cast<double>(block), 1.0);
    const auto share =
        (blocks - first) / (static_cast<std::size_t>(workers) * 8);  // the end comes to all at about the same time
    const std::size_t grain =
        std::clamp<std::size_t>(static_cast<std::size_t>(task_ns / block_ns), 1, std::max<std::size_t>(share, 1));

    handout tasks(how, first, blocks, static_cast<std::size_t>(workers), how == handing::one_by_one ? 1 : grain);
    std::atomic<int> busy{0};
    const auto work = [&](int worker) noexcept {
        const bool caller = worker == 0;
        // Relaxed: published by the acq_rel in take(), from where the caller's last, empty take() reads it (acquire).
        if (!caller) busy.fetch_add(1, std::memory_order_relaxed);
        pace mine = speed;
        if (caller)
            while (!begun->done() && state.wanted(first - 1)) {
                begun->advance(mine.items(), state);
                poll();
            }
        for (auto last = clock::now();;) {
            const auto [from, to] = tasks.take(static_cast<std::size_t>(worker));
            if (from == to || (how != handing::in_shares && !state.wanted(from))) break;
            for (std::size_t index = from; index < to && state.wanted(index); ++index) run_block(index, mine, caller);
            const auto now = clock::now();
            mine.learn((to - from) * block, now - last);
            last = now;
            if (caller) poll();
        }
        if (!caller) {
            busy.fetch_sub(1, std::memory_order_release);
        } else if constexpr (polls) {
            // acquire: pairs with the helpers' release; the executor's join publishes their results anyway.
            for (int spins = 0; busy.load(std::memory_order_acquire) != 0; ++spins) {
                std::this_thread::yield();
                if (spins < 2000) continue;
                poll();
                std::this_thread::sleep_for(std::chrono::microseconds(200));
            }
        }
    };
    if (workers > 1) executor.run(workers, work);
    else work(0);
    state.rethrow();
}

}  // namespace tenfold::par_detail
