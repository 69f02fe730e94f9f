// tenfold/channel_engines.hpp: four shapes in which threads are put together with channels, each as a function.
//
//     producer_consumer     one producer, N workers that take the next piece of work, a collector
//     pipeline_processing   a thread per stage, a channel between two stages, order kept, back-pressure throughout
//     fan_out_fan_in        work out to N workers, partial results back in, combined in a fixed order: the same bits at every N
//     broadcast_compute     one message that every worker sees
//
// What they have in common is the ending: a worker that fails notes its exception and closes every channel, which wakes all
// the others; the threads are joined; the exception leaves the function that was called. A `stop` that says true, asked on the
// calling thread only, ends them the same way with tenfold::stopped. What travels are pieces of a few thousand items: a
// message per item would cost more than the item.
//
// Copy: this file, broadcast.hpp and what channel.hpp names.   #include <tenfold/channel_engines.hpp>   C++20, -pthread,
// moodycamel's concurrentqueue.h
#pragma once

#include <tenfold/broadcast.hpp>
#include <tenfold/channel.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace tenfold {

/// Many short texts in one piece of memory.
struct decimal_texts {
    std::string characters;
    std::vector<std::size_t> ends;

    std::size_t size() const noexcept { return ends.size(); }
    std::string_view operator[](std::size_t i) const noexcept {
        const std::size_t begin = i == 0 ? 0 : ends[i - 1];
        return std::string_view(characters).substr(begin, ends[i] - begin);
    }
};

/// How many messages wait before stage 2, before stage 3 and before the collector: a picture of back-pressure.
struct pipeline_depths {
    std::array<std::size_t, 3> waiting;
};

namespace channel_detail {

// Threads that end together. run(f) starts one; whoever fails first decides what the caller gets, and `end_all`, which closes
// the channels, lets everybody else come to an end.
class crew {
public:
    explicit crew(std::function<void()> end_all) : end_all_(std::move(end_all)) {}
    crew(const crew&) = delete;
    crew& operator=(const crew&) = delete;
    ~crew() {
        if (!joined_) end_all_();  // the caller leaves by an exception
    }

    template <class F>
    void run(F f) {
        threads_.emplace_back([this, f = std::move(f)]() mutable {
            try {
                f();
            } catch (...) {
                fail(std::current_exception());
            }
        });
    }
    void fail(std::exception_ptr error) {
        {
            const std::lock_guard lock(mutex_);
            if (!error_) error_ = std::move(error);
        }
        end_all_();
    }
    /// `ended`: why the collector came to its end.
    void join(channel_status ended) {
        if (ended == channel_status::stopped) end_all_();
        joined_ = true;
        threads_.clear();
        if (error_) std::rethrow_exception(error_);
        if (ended == channel_status::stopped) throw stopped();
    }

private:
    std::function<void()> end_all_;
    std::mutex mutex_;
    std::exception_ptr error_;
    bool joined_ = false;
    std::vector<std::jthread> threads_;  // last: joined first
};

// What a worker receives until the channel is closed and drained.
template <class T, class Store, class F>
void for_each(basic_channel<T, Store>& source, F f) {
    T message;
    while (source.recv_until(message, no_deadline) == channel_status::ok) f(message);
}

struct piece {
    std::size_t index, begin, end;
};

// Pieces depend on the number of items alone, so that results combined piece by piece are the same for every worker count.
inline std::size_t piece_size(std::size_t items) noexcept { return std::clamp<std::size_t>(items / 64, 1, 8192); }
inline std::size_t piece_count(std::size_t items) noexcept {
    const std::size_t size = piece_size(items);
    return items / size + (items % size != 0);
}

inline int checked_workers(int workers) {
    if (workers < 1) throw std::invalid_argument("workers must be >= 1");
    return workers;
}

// One producer deals pieces out, workers call work(piece) -> Result, the calling thread gets every collect(Result), in the
// order in which they are finished.
template <class Result, class Work, class Collect, class Stop>
void deal_out(std::size_t items, int workers, Work work, Collect collect, Stop& stop) {
    const std::size_t pieces = piece_count(items), size = piece_size(items);
    const int hands = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(workers), pieces));
    if (stop()) throw stopped();
    if (pieces == 0) return;

    channel<piece> todo(static_cast<std::size_t>(hands) * 4);  // bounded: the producer cannot run far ahead of the workers
    channel<Result> done(static_cast<std::size_t>(hands) * 4);
    std::atomic<int> working{hands};
    crew threads([&] {
        todo.close();
        done.close();
    });
    threads.run([&] {
        for (std::size_t i = 0; i < pieces; ++i)
            if (todo.send_until(piece{i, i * size, std::min(items, (i + 1) * size)}, no_deadline) != channel_status::ok) return;
        todo.close();
    });
    for (int w = 0; w < hands; ++w)
        threads.run([&] {
            for_each(todo, [&](piece& next) { done.send_until(work(next), no_deadline); });
            if (working.fetch_sub(1, std::memory_order_acq_rel) == 1) done.close();  // the last one out: all results are sent
        });

    Result result{};
    channel_status status;
    while ((status = done.recv_until(result, no_deadline, stop)) == channel_status::ok) {
        collect(result);
        if (stop()) {
            status = channel_status::stopped;
            break;
        }
    }
    threads.join(status);
}

}  // namespace channel_detail

/// squares[i] = items[i] * items[i]. Whichever worker takes a piece: a result has its item's place.
template <class Stop = never_stop>
void producer_consumer(std::span<const double> items, std::span<double> squares, int workers, Stop&& stop = {}) {
    channel_detail::checked_workers(workers);
    if (squares.size() != items.size()) throw std::invalid_argument("squares must be as long as items");
    const auto work = [&](const channel_detail::piece& next) {
        for (std::size_t i = next.begin; i != next.end; ++i) squares[i] = items[i] * items[i];
        return next.index;
    };
    channel_detail::deal_out<std::size_t>(items.size(), workers, work, [](std::size_t) {}, stop);
}

/// The sum of the squares; pieces are added up in the order of their index.
template <class Stop = never_stop>
double fan_out_fan_in(std::span<const double> tasks, int workers, Stop&& stop = {}) {
    channel_detail::checked_workers(workers);
    struct partial {
        std::size_t index;
        double sum;
    };
    const auto work = [&](const channel_detail::piece& next) {
        std::array<double, 8> lane{};  // eight sums that do not wait for each other
        std::size_t i = next.begin;
        for (; next.end - i >= lane.size(); i += lane.size())
            for (std::size_t k = 0; k < lane.size(); ++k) lane[k] += tasks[i + k] * tasks[i + k];
        for (; i != next.end; ++i) lane[0] += tasks[i] * tasks[i];
        return partial{next.index, ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]))};
    };
    std::vector<double> sums(channel_detail::piece_count(tasks.size()));
    channel_detail::deal_out<partial>(tasks.size(), workers, work, [&](const partial& p) { sums[p.index] = p.sum; }, stop);
    double total = 0.0;
    for (const double sum : sums) total += sum;
    return total;
}

/// The even numbers, squared, as decimal texts, in order: a thread per stage. `watch_depths(pipeline_depths)` is called on the
/// calling thread each time a batch arrives there. std::overflow_error names the first number whose square does not fit.
template <class Stop = never_stop, class Watch = void (*)(const pipeline_depths&)>
decimal_texts pipeline_processing(
    std::span<const std::int64_t> numbers, Stop&& stop = {}, Watch watch_depths = [](const pipeline_depths&) {}) {
    using channel_detail::for_each;
    constexpr std::size_t batch = 2048;
    struct some_numbers {
        std::size_t begin = 0;  // where in `numbers` they come from
        std::vector<std::int64_t> values;
    };
    if (stop()) throw stopped();
    spsc_channel<some_numbers> evens(16), squares(16);
    spsc_channel<decimal_texts> texts(16);
    channel_detail::crew threads([&] {
        evens.close();
        squares.close();
        texts.close();
    });

    threads.run([&] {
        for (std::size_t begin = 0; begin < numbers.size(); begin += batch) {
            some_numbers kept{begin, {}};
            kept.values.reserve(batch);
            for (const std::int64_t x : numbers.subspan(begin, std::min(batch, numbers.size() - begin)))
                if (x % 2 == 0) kept.values.push_back(x);
            if (evens.send_until(std::move(kept), no_deadline) != channel_status::ok) return;
        }
        evens.close();
    });
    threads.run([&] {
        for_each(evens, [&](some_numbers& next) {
            for (std::size_t i = 0; i < next.values.size(); ++i) {
                const std::int64_t x = next.values[i];
                if (!__builtin_mul_overflow(x, x, &next.values[i])) continue;
                std::size_t at = next.begin;  // only now look for where it stood
                for (std::size_t evens_before = i + 1; evens_before != 0; ++at)
                    if (numbers[at] % 2 == 0) --evens_before;
                throw std::overflow_error("numbers[" + std::to_string(at - 1) + "]: the square of " + std::to_string(x) +
                                          " does not fit in 64 bits");
            }
            squares.send_until(std::move(next), no_deadline);
        });
        squares.close();
    });
    threads.run([&] {
        for_each(squares, [&](some_numbers& next) {
            decimal_texts written;
            written.ends.reserve(next.values.size());
            for (const std::int64_t x : next.values) {
                std::array<char, 24> digits;
                const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), x).ptr;
                written.characters.append(digits.data(), end);
                written.ends.push_back(written.characters.size());
            }
            texts.send_until(std::move(written), no_deadline);
        });
        texts.close();
    });

    decimal_texts all, next;
    channel_status status;
    while ((status = texts.recv_until(next, no_deadline, stop)) == channel_status::ok) {
        watch_depths(pipeline_depths{{evens.depth(), squares.depth(), texts.depth()}});
        const std::size_t before = all.characters.size();
        all.characters += next.characters;
        for (const std::size_t end : next.ends) all.ends.push_back(before + end);
        if (stop()) {
            status = channel_status::stopped;
            break;
        }
    }
    threads.join(status);
    return all;
}

/// Entry i is value * (i + 1): each of the workers subscribes, all get the one message.
template <class Stop = never_stop>
std::vector<double> broadcast_compute(double value, int workers, Stop&& stop = {}) {
    struct answer {
        std::size_t worker;
        double product;
    };
    const auto count = static_cast<std::size_t>(channel_detail::checked_workers(workers));
    if (stop()) throw stopped();
    broadcast<double> news(1);
    channel<answer> answers;
    std::vector<broadcast<double>::subscriber> seats;  // taken before the message is sent, so nobody misses it
    seats.reserve(count);
    for (std::size_t i = 0; i < count; ++i) seats.push_back(news.subscribe());

    channel_detail::crew threads([&] {
        news.close();
        answers.close();
    });
    for (std::size_t i = 0; i < count; ++i)
        threads.run([&, i] {
            while (const auto heard = seats[i].recv())
                answers.send_until(answer{i, *heard * static_cast<double>(i + 1)}, no_deadline);
        });
    news.send(value);
    news.close();

    std::vector<double> products(count);
    auto status = channel_status::ok;
    for (std::size_t got = 0; got < count && status == channel_status::ok; ++got) {
        answer next{};
        status = answers.recv_until(next, no_deadline, stop);
        if (status == channel_status::ok) products[next.worker] = next.product;
    }
    threads.join(status);
    return products;
}

}  // namespace tenfold
