// tenfold/pool_broadcast.hpp: one call on every worker of a pool, all at the same time if all are free.
//
// What OpenMP calls a parallel region. Its cost is the way of a cache line from core to core and back, so the usual case needs
// no more than that: function, small arguments and answer share one line per worker (call_slot). Only one broadcast at a time
// can have it; others that come meanwhile, nested ones included, send letters.
//
// Copy: comes with thread_pool.hpp. Needs C++20 and -pthread.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <type_traits>

#include <tenfold/pool_core.hpp>

namespace tenfold::pool_detail {

// What the workers of one round share; lives on the stack of the worker that has called.
struct round_errors {
    void add(int worker) noexcept {
        const std::lock_guard lock(mutex);
        if (error && worker > lowest) return;
        lowest = worker;
        error = std::current_exception();
    }
    std::mutex mutex;  // guards the two below while the round lasts
    int lowest = 0;
    std::exception_ptr error;
};

// The message in a slot. A small callable without state of its own to change is copied into it: one line less to fetch.
template <class F>
struct spoken {
    static constexpr bool by_value = std::is_trivially_copyable_v<F> && std::is_invocable_v<const F&, int> && sizeof(F) <= 32;
    round_errors* errors;
    std::conditional_t<by_value, const F, F&> f;

    static void hear(pool_job* job, pool_worker& worker) noexcept {
        auto& slot = *static_cast<call_slot*>(job);
        const auto& self = *std::launder(reinterpret_cast<spoken*>(slot.message));
        parking_lot& lot = lot_of(worker);
        try {
            self.f(worker.index());
        } catch (...) {
            self.errors->add(worker.index());
        }
        slot.flag.finish(lot);
        worker.await_call();
    }
};

template <class F>
struct written final : letter {
    written(F& callable, round_errors& e) noexcept : letter(&read), f(callable), errors(e) {}
    static void read(pool_job* job, pool_worker& worker) noexcept {
        auto& self = *static_cast<written*>(job);
        parking_lot& lot = lot_of(worker);
        try {
            self.f(worker.index());
        } catch (...) {
            self.errors.add(worker.index());
        }
        self.flag.finish(lot);
    }
    F& f;
    round_errors& errors;
    done_flag flag;
};

// Mostly the others are as fast as we are: look at the flag alone for a while, then work for others.
inline void wait_for_answer(pool_worker& me, done_flag& flag) {
    for (int i = 0; i < 128; ++i) {
        if (flag.done()) return;
        cpu_relax();
    }
    me.work_until(flag_wait{flag});
}

template <class F>
void play_own_part(pool_worker& me, F& f, round_errors& errors) noexcept {
    try {
        f(me.index());
    } catch (...) {
        errors.add(me.index());
    }
}

template <class F>
void call_through_slots(pool_worker& me, F& f, round_errors& errors) {
    static_assert(sizeof(spoken<F>) <= sizeof(call_slot::message) && std::is_trivially_destructible_v<spoken<F>>);
    auto& workers = me.core().workers;
    for (auto& worker : workers) {
        if (worker.get() == &me) continue;
        call_slot& slot = worker->slot();
        slot.flag.reset();
        slot.run = &spoken<F>::hear;
        ::new (static_cast<void*>(slot.message)) spoken<F>{&errors, f};
        worker->ring();
    }
    fence(std::memory_order_seq_cst);  // pairs with the fence in sit(): calls first, then the look at the seats
    for (auto& worker : workers)
        if (worker.get() != &me) worker->wake_for_call();
    play_own_part(me, f, errors);
    for (auto& worker : workers)
        if (worker.get() != &me) wait_for_answer(me, worker->slot().flag);
}

template <class F>
void call_by_letter(pool_worker& me, F& f, round_errors& errors) {
    auto& workers = me.core().workers;
    constexpr std::size_t few = 16;  // letters on the stack
    alignas(written<F>) std::byte room[few * sizeof(written<F>)];
    const std::unique_ptr<std::byte[]> more(workers.size() > few ? new std::byte[workers.size() * sizeof(written<F>)]
                                                                 : nullptr);
    std::byte* const paper = more ? more.get() : room;
    const auto letter_to = [&](std::size_t i) { return reinterpret_cast<written<F>*>(paper + i * sizeof(written<F>)); };
    for (std::size_t i = 0; i < workers.size(); ++i)
        if (workers[i].get() != &me) workers[i]->send(::new (static_cast<void*>(letter_to(i))) written<F>(f, errors));
    play_own_part(me, f, errors);
    for (std::size_t i = 0; i < workers.size(); ++i)
        if (workers[i].get() != &me) wait_for_answer(me, std::launder(letter_to(i))->flag);
}

// f(i) on every worker i. Called on one of them.
template <class F>
void on_each(pool_worker& me, F&& f) {
    using callable = std::remove_reference_t<F>;
    round_errors errors;
    std::atomic<bool>& calling = me.core().calling;
    // acquire: pairs with the release below: the slots are as the round before has left them.
    if (!calling.load(std::memory_order_relaxed) && !calling.exchange(true, std::memory_order_acquire)) {
        call_through_slots<callable>(me, f, errors);
        calling.store(false, std::memory_order_release);
    } else {
        call_by_letter<callable>(me, f, errors);
    }
    if (errors.error) std::rethrow_exception(errors.error);
}

}  // namespace tenfold::pool_detail
