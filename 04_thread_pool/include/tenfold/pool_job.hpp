// tenfold/pool_job.hpp: what a pool's queues hold. A queue holds pointers; this file says what they point to and who owns it.
//
// - stack_job: lives on the stack of a thread that waits for it (fork-join, run()). No allocation, no reference count: whoever
//   runs it must not touch it after finish(), because then the waiting thread returns and the stack frame is gone.
// - heap_job: owns its callable and frees itself after running (detach, submit, task_group). Callables up to 40 bytes fit a
//   64-byte block that is recycled through a list per worker; larger ones are allocated.
//
// Why not std::function: it allocates, may copy, and calls through two pointers. A job is one pointer to a function that knows
// the type; the un-stolen half of a fork-join is not even called through that.
//
// Copy: this file, parking.hpp, chase_lev_deque.hpp. Needs C++20 and -pthread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <tenfold/parking.hpp>

namespace tenfold {

class pool_worker;

namespace pool_detail {

struct pool_job {
    using runner = void (*)(pool_job*, pool_worker&) noexcept;
    explicit pool_job(runner function) noexcept : run(function) {}
    runner run;
};

// A callable may ask for the worker that runs it, which saves it the thread-local lookup.
template <class F>
decltype(auto) call(F& f, pool_worker& worker) {
    if constexpr (std::is_invocable_v<F&, pool_worker&>) return f(worker);
    else return f();
}
template <class F>
using raw_result = decltype(call(std::declval<F&>(), std::declval<pool_worker&>()));
// What join() hands back for it: void becomes monostate, references are kept as values.
template <class F>
using result_of = std::conditional_t<std::is_void_v<raw_result<F>>, std::monostate, std::decay_t<raw_result<F>>>;

template <class F>
result_of<F> call_for_value(F& f, pool_worker& worker) {
    if constexpr (std::is_void_v<raw_result<F>>) {
        call(f, worker);
        return {};
    } else {
        return call(f, worker);
    }
}

// "Is it done, and who wants to know?" in one word: 0 pending, 1 done, else the seat of the thread that waits.
class done_flag {
public:
    bool done() const noexcept {
        return word_.load(std::memory_order_acquire) == finished;  // acquire: pairs with the exchange in finish()
    }
    // The waiting thread, seated, asks to be woken. False: it is done already. Replaces an earlier request: a future may be
    // waited for several times, from several seats, one after the other.
    bool ask(parking_lot::seat* seat) noexcept {
        const auto wanted = reinterpret_cast<std::uintptr_t>(seat);
        std::uintptr_t before = word_.load(std::memory_order_acquire);  // acquire: as in done()
        while (before != finished)
            // acq_rel: release pairs with the exchange in finish() (it sees a complete seat); acquire as in done().
            if (word_.compare_exchange_weak(before, wanted, std::memory_order_acq_rel, std::memory_order_acquire)) return true;
        return false;
    }
    // The last thing that the finishing thread does to the job and everything around it: the flag may be gone after the
    // exchange. So the lot is found beforehand, and the lot copes with seats that are gone.
    void finish(parking_lot& lot) noexcept {
        // acq_rel: release: the result is seen by who sees done; acquire: pairs with ask().
        const std::uintptr_t before = word_.exchange(finished, std::memory_order_acq_rel);
        if (before != 0) lot.wake(reinterpret_cast<parking_lot::seat*>(before));
    }

    // For the next use, while nobody else looks at it.
    void reset() noexcept { word_.store(0, std::memory_order_relaxed); }

private:
    static constexpr std::uintptr_t finished = 1;
    std::atomic<std::uintptr_t> word_{0};
};

// Someone who must be asked now and then while a worker waits: the `stop` of a batch that this worker has started.
struct poller {
    void (*ask)(poller*) noexcept;
};
inline constexpr nanoseconds poll_slice = std::chrono::milliseconds(50);

// What a worker waits for while it works for others. done(): stop waiting? arm(): the worker is seated, ask for a wake-up;
// false: no need, it is done. slice: the longest sleep between two looks at done().
struct flag_wait {
    done_flag& flag;
    nanoseconds slice = for_ever;
    bool done() const noexcept { return flag.done(); }
    bool arm(parking_lot::seat* seat) const noexcept { return flag.ask(seat); }
};

// Jobs for one certain worker (broadcast). A letter hangs in the worker's list of mail; several may.
struct letter : pool_job {
    using pool_job::pool_job;
    letter* next = nullptr;
};
// The fast way, for one sender at a time: what the worker needs to know, and its answer, in one cache line that travels there
// and back. A worker that searches looks at `number` all the time. The line beside it stays empty: processors fetch lines in pairs,
// and whatever the worker writes there would travel too.
struct alignas(2 * cache_line) call_slot : pool_job {
    call_slot() noexcept : pool_job(nullptr) {}
    std::atomic<std::uint32_t> number{0};  // of the call; the worker compares it with the last that it has answered
    done_flag flag;
    alignas(8) std::byte message[cache_line - 24];
};
static_assert(sizeof(call_slot) == 2 * cache_line);

struct stack_job : pool_job {
    using pool_job::pool_job;
    done_flag flag;
};

parking_lot& lot_of(pool_worker& worker) noexcept;

// The half of a fork-join that may be stolen. Constructing it is three stores; the result is only ever there if it was stolen.
template <class G>
class join_job : public stack_job {
public:
    using value = result_of<G>;
    explicit join_job(G& g) noexcept : stack_job(&run_stolen), g_(g) {}
    join_job(const join_job&) = delete;
    join_job& operator=(const join_job&) = delete;
    ~join_job() {}  // a union member is destroyed by take() and drop()

    // After flag.done(), once: its result or its exception.
    value take() {
        if (failed_) {
            const std::exception_ptr error = std::move(error_);
            error_.~exception_ptr();
            std::rethrow_exception(error);
        }
        value result = std::move(value_);
        value_.~value();
        return result;
    }
    void drop() noexcept {
        if (failed_) error_.~exception_ptr();
        else value_.~value();
    }

protected:
    join_job(G& g, runner function) noexcept : stack_job(function), g_(g) {}
    void settle(pool_worker& worker) noexcept {
        try {
            ::new (static_cast<void*>(std::addressof(value_))) value(call_for_value(g_, worker));
            failed_ = false;
        } catch (...) {
            ::new (static_cast<void*>(std::addressof(error_))) std::exception_ptr(std::current_exception());
            failed_ = true;
        }
    }

private:
    static void run_stolen(pool_job* job, pool_worker& worker) noexcept {
        auto& self = *static_cast<join_job*>(job);
        parking_lot& lot = lot_of(worker);
        self.settle(worker);
        self.flag.finish(lot);
    }

    G& g_;
    bool failed_;  // like the union, written before flag.finish() and read after flag.done()
    union {
        value value_;
        std::exception_ptr error_;
    };
};

// Blocks for heap jobs. A cache belongs to one worker and needs no lock. The block of a stolen job goes to the thief's cache,
// so full caches hand half of what they have to the store, and empty ones fetch from it, 64 blocks under one lock.
struct alignas(cache_line) block {
    union {
        block* next;
        std::byte bytes[64];
    };
};

class block_store {
public:
    static constexpr int batch = 64;
    // A chain of `batch` blocks.
    block* fetch() {
        const std::lock_guard lock(mutex_);
        if (!chains_.empty()) {
            block* chain = chains_.back();
            chains_.pop_back();
            return chain;
        }
        if (chains_.capacity() <= slabs_.size()) chains_.reserve(2 * slabs_.size() + 8);  // so that give() never allocates
        slabs_.push_back(std::make_unique<block[]>(batch));
        block* const slab = slabs_.back().get();
        for (int i = 0; i + 1 < batch; ++i) slab[i].next = &slab[i + 1];
        slab[batch - 1].next = nullptr;
        return slab;
    }
    void give(block* chain) noexcept {
        const std::lock_guard lock(mutex_);
        chains_.push_back(chain);
    }

private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<block[]>> slabs_;
    std::vector<block*> chains_;
};

class block_cache {
public:
    explicit block_cache(block_store& store) noexcept : store_(store) {}
    void* get() {
        if (first_ == nullptr) [[unlikely]] {
            first_ = full_ != nullptr ? std::exchange(full_, nullptr) : store_.fetch();
            count_ = block_store::batch;
        }
        block* const b = first_;
        first_ = b->next;
        --count_;
        return b;
    }
    void put(void* memory) noexcept {
        if (count_ == block_store::batch) [[unlikely]] {
            if (full_ != nullptr) store_.give(full_);
            full_ = std::exchange(first_, nullptr);
            count_ = 0;
        }
        block* const b = ::new (memory) block;
        b->next = first_;
        first_ = b;
        ++count_;
    }

private:
    block_store& store_;
    block* first_ = nullptr;  // count_ blocks
    block* full_ = nullptr;  // none, or one more chain of exactly `batch`
    int count_ = 0;
};

}  // namespace pool_detail
}  // namespace tenfold
