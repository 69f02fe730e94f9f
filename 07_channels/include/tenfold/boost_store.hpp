// tenfold/boost_store.hpp: a channel on boost::lockfree::queue. First in, first out over all senders, without a lock.
//
//     tenfold::lockfree_channel<T> c(1024);
//
// What that queue asks in return: messages that are trivially copyable, and at most 65534 of them. All its memory is allocated
// at construction. It has no close() and no exact bound of its own; channel_account.hpp keeps both beside it. (For two threads
// Boost has spsc_queue, and this lesson spsc_channel.)
//
// Copy: this file and what channel.hpp names.   #include <tenfold/boost_store.hpp>   C++20, -pthread, Boost headers (Debian:
// libboost-dev). No -latomic: a queue of fixed size names its nodes by 16 bits and swaps 32.
#pragma once

#include <tenfold/channel.hpp>
#include <tenfold/channel_account.hpp>

#include <boost/lockfree/queue.hpp>

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <type_traits>

namespace tenfold {

template <class T>
class boost_store {
    static_assert(std::is_trivially_copyable_v<T>, "boost::lockfree::queue copies its messages bit by bit");

public:
    static constexpr std::size_t most = 65534;

    explicit boost_store(std::size_t capacity) : account_(checked(capacity)), queue_(capacity) {}

    channel_status push(T&& value, pace = pace::now) {
        if (const auto told = account_.announce(1); told.status != channel_status::ok) return told.status;
        put(value);
        account_.arrive(1);
        return channel_status::ok;
    }
    template <class It>
    batch_result push_some(It& first, std::size_t count) {
        if (count == 0) return {0, channel_status::ok};
        const auto told = account_.announce(count);
        if (told.status != channel_status::ok) return told;
        for (std::size_t i = 0; i < told.count; ++i, ++first) put(*first);
        account_.arrive(told.count);
        return told;
    }
    template <class F>
    channel_status pop(F&& f, pace = pace::now) {
        const auto taken = account_.take_off(1);
        if (taken.status == channel_status::ok) f(get());
        return taken.status;
    }
    template <class Out>
    batch_result pop_some(Out& out, std::size_t max) {
        if (max == 0) return {0, channel_status::ok};
        const auto taken = account_.take_off(max);
        for (std::size_t i = 0; i < taken.count; ++i, ++out) *out = get();
        return taken;
    }

    void close() noexcept { account_.close(); }
    bool is_closed() const noexcept { return account_.is_closed(); }
    std::size_t depth() const noexcept { return account_.depth(); }
    std::size_t capacity() const noexcept { return account_.capacity(); }
    bool drained() const noexcept { return account_.drained(); }
    bool readable() const noexcept { return account_.readable(); }
    bool writable() const noexcept { return account_.writable(); }

private:
    static std::size_t checked(std::size_t capacity) {
        if (capacity > most) throw std::invalid_argument("boost::lockfree::queue holds at most 65534 messages");
        return capacity;
    }
    // The account has made room (has a message) for us; the queue may be a moment behind, while a receiver (sender) finishes.
    void put(const T& value) noexcept {
        for (int tries = 0; !queue_.bounded_push(value); ++tries) channel_detail::wait_a_moment(tries);
    }
    T get() noexcept {
        T value;
        for (int tries = 0; !queue_.pop(value); ++tries) channel_detail::wait_a_moment(tries);
        return value;
    }

    channel_detail::account account_;
    boost::lockfree::queue<T, boost::lockfree::fixed_sized<true>> queue_;
};

template <class T>
using lockfree_channel = basic_channel<T, boost_store<T>>;

}  // namespace tenfold
