// tenfold/pool_worker.hpp: one worker of the work-stealing pool, and what the workers of a pool share.
//
// Why two queues per worker: taking back one's own job from a deque that thieves can see costs a full fence, about twenty plain
// stores, and in fork-join nearly every job is taken back. So a worker pushes to a private stack, which costs two stores, and
// shows thieves only its *oldest* job (the largest piece of the recursion), and the next only when that one is gone. Work that
// nobody steals pays no fence, while a thief finds a job after the owner's next push or pop.
// The price: during a long leaf that neither pushes nor pops, the private jobs behind it are hidden. Callers with coarse tasks
// publish first: thread_pool::yield_work(), and every batch (for_chunks) does. The idea of a private and a public part: T. van
// Dijk, J. van de Pol, "Lace: non-blocking split deque for work-stealing", 2014; Acar, Chargueraud, Rainey, PPoPP 2013.
//
// The members that need to know the pool are in pool_core.hpp.
//
// Copy: comes with thread_pool.hpp. Needs C++20 and -pthread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include <tenfold/chase_lev_deque.hpp>
#include <tenfold/parking.hpp>
#include <tenfold/pool_counters.hpp>
#include <tenfold/pool_job.hpp>

namespace tenfold {

class pool_worker;

namespace pool_detail {
struct pool_core;
inline thread_local constinit pool_worker* current_worker = nullptr;
}  // namespace pool_detail

class pool_worker {
public:
    using job = pool_detail::pool_job;

    pool_worker(pool_detail::pool_core& core, int index, std::uint64_t seed);
    pool_worker(const pool_worker&) = delete;
    pool_worker& operator=(const pool_worker&) = delete;

    int index() const noexcept { return index_; }

    // Fork-join: g becomes stealable, f runs now, then g runs here unless somebody has it. See thread_pool::join().
    // Only for what runs on this worker: f and g join on the worker that they are given, for g may have been stolen.
    template <class F, class G>
    auto join(F&& f, G&& g) {
        check_thread();
        pool_detail::join_job<std::remove_reference_t<G>> right(g);
        push(&right);
        auto left = [&] {
            try {
                return pool_detail::call_for_value(f, *this);
            } catch (...) {
                abandon(right);
                throw;
            }
        }();
        using result = std::pair<decltype(left), typename decltype(right)::value>;
        // The usual case: g is called as what it is, inlined if the compiler likes, not through the job.
        if (pop_if(&right) || reclaim(right)) return result(std::move(left), pool_detail::call_for_value(g, *this));
        return result(std::move(left), right.take());
    }

    // Shows thieves everything that this worker has queued. Before a long piece of work that forks nothing.
    void yield_work() noexcept {
        if (tail_ != head_) publish(static_cast<std::size_t>(tail_ - head_));
    }

    // The rest is for the pool, its groups and futures.

    pool_detail::poller* exchange_poller(pool_detail::poller* other) noexcept { return std::exchange(poller_, other); }

    void push(job* j) {
        if (tail_ == limit_) [[unlikely]]
            make_room();
        *tail_++ = j;
        if (shared_.looks_empty()) [[unlikely]]
            publish();
    }

    // Works for others until wait.done(). Stack depth: a job found here runs on top of the waiting one.
    template <class Wait>
    void work_until(Wait&& wait) {
        while (!wait.done()) {
            if (poller_ != nullptr) poller_->ask(poller_);
            // Calls first, the rest every now and then: else a queue that never ends would keep callers waiting.
            job* j = called() || ++turns_ % 64 == 0 ? find_sent() : nullptr;
            if (j == nullptr) j = take_local();
            if (j == nullptr) j = find_remote();
            if (j == nullptr) j = search(wait);
            if (j != nullptr) execute(j);
        }
    }

    pool_detail::pool_core& core() noexcept { return core_; }
    pool_detail::block_cache& blocks() noexcept { return blocks_; }
    parking_lot::seat& seat() noexcept { return seat_; }
    pool_counters counters() const noexcept;

    // Jobs that are sent to this very worker and that nobody can steal. Any thread may send letters; the slot is for the one
    // that holds pool_core::calling: fill it, then ring(), then a seq_cst fence, then wake_for_call().
    void send(pool_detail::letter* j) noexcept;
    pool_detail::call_slot& slot() noexcept { return slot_; }
    void ring() noexcept {
        // release: pairs with the acquire in find_sent(): the slot is seen filled.
        slot_.number.store(slot_.number.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
    void wake_for_call() noexcept;
    // After a call the next one is often near: looks at nothing else for about a microsecond.
    void await_call() const noexcept {
        for (int i = 0; i < 64 && !called(); ++i) pool_detail::cpu_relax();
    }

    // Heap jobs made and run by this worker: see pool_core::idle().
    void count_created() noexcept {
        created_.store(created_.load(std::memory_order_relaxed) + 1, std::memory_order_release);  // pairs with idle()
    }
    void count_finished() noexcept {
        finished_.store(finished_.load(std::memory_order_relaxed) + 1, std::memory_order_release);  // pairs with idle()
    }
    void count_detached_error() noexcept { pool_detail::bump(detached_errors_); }

private:
    friend struct pool_detail::pool_core;

    // A private stack has one owner: two threads on it are a data race. Costs what it saves, so not in a release build.
    void check_thread() const {
#ifndef NDEBUG
        if (pool_detail::current_worker != this)
            throw std::logic_error(
                "pool_worker::join: this worker belongs to another thread. A task joins on the worker that runs it, which is "
                "its parameter: [&](pool_worker& mine) { mine.join(...); }");
#endif
    }

    bool pop_if(job* j) noexcept {
        if (tail_[-1] != j) return false;  // published (its slot is null then), or something was pushed above and not joined
        --tail_;
        if (shared_.looks_empty() && tail_ != head_) [[unlikely]]
            publish();
        return true;
    }

    job* take_local() noexcept {
        if (tail_ != head_) {
            job* const j = *--tail_;
            if (shared_.looks_empty() && tail_ != head_) publish();
            return j;
        }
        job* j = nullptr;
        if (!shared_.looks_empty() && shared_.take(j)) {
            pool_detail::bump(taken_back_);
            return j;
        }
        return nullptr;
    }

    // Several at once when there are many: a flat loop of small tasks would otherwise meet its thief at every single one.
    [[gnu::noinline]] void publish() noexcept {
        const auto have = static_cast<std::size_t>(tail_ - head_);
        if (have != 0) publish(have < 16 ? 1 : have < 512 ? have / 16 : 32);
    }
    void publish(std::size_t count) noexcept;
    // Out of line: inlined, its registers would be saved at every fork.
    [[gnu::noinline]] void make_room() {
        job** const first = slots_.get() + 1;
        const auto have = static_cast<std::size_t>(tail_ - head_);
        const auto size = static_cast<std::size_t>(limit_ - slots_.get());
        if (have > size / 2) {
            std::unique_ptr<job*[]> larger(new job*[2 * size]);
            larger[0] = nullptr;
            std::copy(head_, tail_, larger.get() + 1);
            slots_ = std::move(larger);
            limit_ = slots_.get() + 2 * size;
        } else {
            std::copy(head_, tail_, first);  // what was published has left room below
        }
        head_ = slots_.get() + 1;
        tail_ = head_ + have;
    }

    // True: the job is back, unstarted, and the caller runs it. False: a thief has finished it.
    [[gnu::noinline]] bool reclaim(pool_detail::stack_job& mine) {
        while (!mine.flag.done()) {
            job* const j = take_local();
            if (j == &mine) return true;
            if (j == nullptr) {
                work_until(pool_detail::flag_wait{mine.flag});
                return false;
            }
            execute(j);
        }
        return false;
    }
    // f has thrown: its partner must not outlive the frame. Dropped if nobody has begun it.
    template <class Job>
    void abandon(Job& right) noexcept {
        if (!pop_if(&right) && !reclaim(right)) right.drop();
    }

    void execute(job* j) noexcept {
        pool_detail::bump(executed_);
        j->run(j, *this);
    }
    bool called() const noexcept { return slot_.number.load(std::memory_order_acquire) != answered_; }  // pairs with ring()
    job* find_sent() noexcept;  // calls, letters, jobs from outside
    job* find_remote() noexcept;  // these, or steals

    // Nothing to do: look for a while, then sit down. Returns a job, or null when wait.done().
    template <class Wait>
    job* search(Wait& wait);

    std::uint32_t random() noexcept {  // xorshift (Marsaglia 2003): which victim comes first
        random_ ^= random_ << 13;
        random_ ^= random_ >> 7;
        random_ ^= random_ << 17;
        return static_cast<std::uint32_t>(random_ >> 32);
    }

    // Owner only, and hot: the private stack. Slots [head_, tail_) hold jobs, oldest first; the slot below head_ is null.
    job** tail_;
    job** head_;
    job** limit_;
    pool_detail::pool_core& core_;
    std::unique_ptr<job*[]> slots_;
    std::uint64_t random_;
    std::uint32_t turns_ = 0;
    pool_detail::poller* poller_ = nullptr;
    pool_detail::block_cache blocks_;
    const int index_;

    chase_lev_deque<job*> shared_;  // what thieves see; keeps its own cache lines

    pool_detail::call_slot slot_;
    std::uint32_t answered_ = 0;  // owner only: the last number seen in slot_
    alignas(pool_detail::cache_line) std::atomic<pool_detail::letter*> mail_{nullptr};  // newest first
    parking_lot::seat seat_;

    // Written by this worker alone.
    alignas(pool_detail::cache_line) std::atomic<std::uint64_t> created_{0};
    std::atomic<std::uint64_t> finished_{0}, executed_{0}, steals_{0}, failed_steals_{0}, published_{0}, taken_back_{0},
        parks_{0}, detached_errors_{0};
};

}  // namespace tenfold
