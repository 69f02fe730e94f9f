// tenfold/moodycamel_store.hpp: a channel's messages in moodycamel::ConcurrentQueue, with what that queue leaves out.
//
// The queue is fast because it is one sub-queue per sending thread: messages of one thread keep their order, those of two
// threads have none. It has no close(), its bound is rounded to blocks, and a consumer may find it "empty" while another one
// is half way through taking. What it lacks, channel_account.hpp keeps beside it. A try_recv may say not_now while a send is
// still on its way, even if a later send of another thread has returned.
//
// Copy: this file, channel_account.hpp, channel_store.hpp, channel_wait.hpp, spsc_ring.hpp and moodycamel's concurrentqueue.h
// (Simplified BSD or Boost licence; Debian: libconcurrentqueue-dev).   #include <tenfold/moodycamel_store.hpp>   C++20, -pthread
#pragma once

#include <tenfold/channel_account.hpp>
#include <tenfold/channel_store.hpp>

#if __has_include(<concurrentqueue/moodycamel/concurrentqueue.h>)
#include <concurrentqueue/moodycamel/concurrentqueue.h>
#elif __has_include(<concurrentqueue/concurrentqueue.h>)
#include <concurrentqueue/concurrentqueue.h>
#else
#include <concurrentqueue.h>
#endif

namespace tenfold {

template <class T>
class moodycamel_store {
    static_assert(std::is_nothrow_move_constructible_v<T>, "a move that throws would lose the message half way");

public:
    explicit moodycamel_store(std::size_t capacity) : account_(capacity) {}

    channel_status push(T&& value, pace = pace::now) {
        if (const auto told = account_.announce(1); told.status != channel_status::ok) return told.status;
        if (!queue_.enqueue(std::move(value))) account_.withdraw(1);
        account_.arrive(1);
        return channel_status::ok;
    }
    template <class It>
    batch_result push_some(It& first, std::size_t count) {
        std::size_t done = 0;
        while (done < count) {
            const auto told = account_.announce(count - done);
            if (told.status != channel_status::ok) return {done, done == 0 ? told.status : channel_status::ok};
            if (!queue_.enqueue_bulk(std::make_move_iterator(first), told.count)) account_.withdraw(told.count);
            account_.arrive(told.count);
            std::advance(first, told.count);
            done += told.count;
        }
        return {done, channel_status::ok};
    }

    template <class F>
    channel_status pop(F&& f, pace = pace::now) {
        const auto taken = account_.take_off(1);
        if (taken.status != channel_status::ok) return taken.status;
        channel_detail::landing<T, 1> landed;
        into target{&landed};
        for (int tries = 0; !queue_.try_dequeue(target); ++tries) channel_detail::wait_a_moment(tries);
        f(std::move(*landed.data()));
        return channel_status::ok;
    }
    template <class Out>
    batch_result pop_some(Out& out, std::size_t max) {
        std::size_t done = 0;
        while (done < max) {
            channel_detail::landing<T> landed;
            const auto taken = account_.take_off(std::min(max - done, landed.room));
            if (taken.status != channel_status::ok) return {done, done == 0 ? taken.status : channel_status::ok};
            std::size_t got = 0;
            for (int tries = 0; got < taken.count; ++tries) {
                const std::size_t n = queue_.try_dequeue_bulk(into_iterator{&landed}, taken.count - got);
                if (n == 0) channel_detail::wait_a_moment(tries);
                got += n;
            }
            landed.give(out);
            done += got;
            if (got < landed.room) break;
        }
        return {done, channel_status::ok};
    }

    void close() noexcept { account_.close(); }
    bool is_closed() const noexcept { return account_.is_closed(); }
    std::size_t depth() const noexcept { return account_.depth(); }
    std::size_t capacity() const noexcept { return account_.capacity(); }
    bool drained() const noexcept { return account_.drained(); }
    bool readable() const noexcept { return account_.readable(); }
    bool writable() const noexcept { return account_.writable(); }

private:
    struct into {  // what the queue "assigns" a message to
        channel_detail::landing<T, 1>* landed;
        void operator=(T&& value) noexcept { landed->take(std::move(value)); }
    };
    struct into_iterator {
        struct proxy {
            channel_detail::landing<T>* landed;
            void operator=(T&& value) noexcept { landed->take(std::move(value)); }
        };
        channel_detail::landing<T>* landed;
        proxy operator*() const noexcept { return {landed}; }
        into_iterator& operator++() noexcept { return *this; }
        into_iterator operator++(int) noexcept { return *this; }
    };

    moodycamel::ConcurrentQueue<T> queue_{0};
    channel_detail::account account_;
};

}  // namespace tenfold
