// bind_experiments.hpp - the measurements and demonstrations of this lesson, as Python functions that return dicts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arguments.hpp"
#include "tenfold/aba.hpp"
#include "tenfold/atomic_race.hpp"
#include "tenfold/counters.hpp"
#include "tenfold/litmus.hpp"
#include "tenfold/lockfree.hpp"
#include "torn_reads.hpp"

namespace tenfold::boundary {

using increments_argument = amount<"increments">;
using thread_count_argument = count<"thread_count", 1024>;

/// One of a few words, or an error that lists them.
template <class Value>
Value choice(const std::string& given, const char* argument, std::initializer_list<std::pair<std::string_view, Value>> known) {
    std::string names;
    for (const auto& [word, value] : known) {
        if (word == given) return value;
        names += detail::join(names.empty() ? "'" : ", '", word, "'");
    }
    throw py::value_error(detail::join(argument, " must be one of ", names, ", not '", given, "'"));
}

inline litmus_order order_named(const std::string& given) {
    return choice<litmus_order>(given, "order",
                                {{"relaxed", litmus_order::relaxed},
                                 {"acquire_release", litmus_order::acquire_release},
                                 {"seq_cst", litmus_order::seq_cst}});
}

/// The middle one. Not the least: a round in which the threads happened to share one core had no contention to measure.
inline double median(std::vector<double> times) {
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    return *middle;
}

/// Median of `rounds` times, the kinds taking turns so that a slow moment meets all of them.
template <class Stop>
std::vector<double> race_counters(std::span<const counter_kind> kinds, int threads, std::uint64_t increments, int rounds,
                                  Stop stop) {
    std::vector<std::vector<double>> times(kinds.size());
    for (int round = 0; round < rounds; ++round)
        for (std::size_t i = 0; i < kinds.size(); ++i) times[i].push_back(race_counter(kinds[i], threads, increments, stop));
    std::vector<double> medians;
    for (auto& each : times) medians.push_back(median(std::move(each)));
    return medians;
}

/// What the lock-free containers are measured against.
class locked_queue {
public:
    explicit locked_queue(std::size_t capacity) : capacity_(capacity) {}

    bool push(std::int64_t item) {
        const std::scoped_lock lock(mutex_);
        if (items_.size() == capacity_) return false;
        items_.push_back(item);
        return true;
    }
    std::optional<std::int64_t> pop() {
        const std::scoped_lock lock(mutex_);
        if (items_.empty()) return std::nullopt;
        const std::int64_t item = items_.front();
        items_.pop_front();
        return item;
    }

private:
    const std::size_t capacity_;
    std::mutex mutex_;  // guards items_
    std::deque<std::int64_t> items_;
};

/// Seconds for moving all items through one container, each of them proven to have arrived once.
template <class Container, class Stop>
double time_transfer(std::size_t capacity, int producers, int consumers, std::uint64_t items, Stop stop) {
    const auto round = [&] {
        Container container(capacity);
        const transfer_result result = transfer(container, producers, consumers, items, stop);
        if (result.lost != 0 || result.duplicates != 0)
            throw std::runtime_error(detail::join(result.lost, " items lost, ", result.duplicates, " twice"));
        return atomic_detail::team_time{result.seconds, result.disturbed};
    };
    return atomic_detail::least_disturbed(producers + consumers, round).seconds;
}

}  // namespace tenfold::boundary

template <>
class pybind11::detail::type_caster<tenfold::lockfree_stack> : public tenfold::boundary::made_caster<tenfold::lockfree_stack> {
};
template <>
class pybind11::detail::type_caster<tenfold::lockfree_queue> : public tenfold::boundary::made_caster<tenfold::lockfree_queue> {
};

namespace tenfold::boundary {

template <class Container>
void bind_container(py::module_& m, const char* class_name, const char* text) {
    using namespace py::literals;
    py::class_<Container>(m, class_name, py::module_local(), text)
        .def(py::init([](count<"capacity", 65534> capacity) {
                 return std::make_unique<Container>(static_cast<std::size_t>(capacity.value));
             }),
             "capacity"_a)
        .def(
            "push", [](Container& self, whole<"value"> value) { return self.push(value); }, "value"_a, R"(
Adds an int64.

Returns
-------
bool
    False: it is full, and nothing was added.
)")
        .def(
            "pop",
            [](Container& self) {
                const auto value = self.pop();
                return value ? py::object(py::int_(*value)) : py::none();
            },
            R"(
Takes one out.

Returns
-------
int or None
    None: it is empty.
)")
        .def("empty", &Container::empty, R"(
Whether it was empty a moment ago.

Returns
-------
bool
)")
        .def("__reduce_ex__", [class_name](const Container&, int) -> py::object {
            throw py::type_error(detail::join(class_name, " cannot be pickled: it belongs to the threads of one process"));
        });
}

inline void bind_experiments(py::module_& m) {
    using namespace py::literals;

    m.def(
        "benchmark_atomic_vs_mutex",
        [](increments_argument increments, thread_count_argument thread_count) {
            const race_result result = released([&](auto stop) {
                return benchmark_atomic_vs_mutex(static_cast<std::uint64_t>(increments.value),
                                                 static_cast<int>(thread_count.value), stop);
            });
            return std::pair(result.atomic_seconds, result.mutex_seconds);
        },
        "increments"_a, "thread_count"_a, R"(
The same counting with an atomic counter and with a mutex: `thread_count` threads, `increments` each, all on one counter.

Parameters
----------
increments : int
    Per thread, 0 or more.
thread_count : int
    1 to 1024.

Returns
-------
tuple of float
    ``(atomic_s, mutex_s)``: seconds from a common start to the last thread's end, best of five each, both > 0.

Notes
-----
On Linux each thread is pinned to a core while this and the other three benchmarks run: threads that share one do not contend.
A round in which the system took one away is repeated.
)");
    m.def(
        "benchmark_counters",
        [](increments_argument increments, thread_count_argument thread_count, count<"rounds", 1000> rounds) {
            const auto seconds = released([&](auto stop) {
                return race_counters(counter_kinds, static_cast<int>(thread_count.value),
                                     static_cast<std::uint64_t>(increments.value), static_cast<int>(rounds.value), stop);
            });
            py::dict result;
            for (std::size_t i = 0; i < counter_kinds.size(); ++i)
                result[py::str(std::string(tenfold::name(counter_kinds[i])))] = seconds[i];
            return result;
        },
        "increments"_a, "thread_count"_a, py::kw_only(), "rounds"_a = 3, R"(
The same counting by every kind of counter; each total is checked.

Parameters
----------
increments : int
    Per thread, 0 or more.
thread_count : int
    1 to 1024.
rounds : int
    The kinds take turns so many times; the median time of each counts.

Returns
-------
dict of str to float
    Seconds by kind: ``"relaxed"``, ``"acquire_release"``, ``"seq_cst"`` (one ``fetch_add`` in three memory orders),
    ``"cas_loop"`` (compare-and-swap until it succeeds), ``"packed_shards"`` (a part per thread, neighbours in memory),
    ``"padded_shards"`` (128 bytes apart), ``"mutex"``, ``"single_writer"`` (a part per thread that only this thread
    writes, with a plain load and store), and ``"single_writer_mine"`` (the same, with that part looked up once).

Notes
-----
The last is the idea of Java's LongAdder and folly's ThreadCachedInt; the whole ladder is Travis Downs' "A concurrency cost
hierarchy" (2020).
)");
    m.def(
        "benchmark_false_sharing",
        [](increments_argument increments, thread_count_argument thread_count, const std::string& access,
           count<"rounds", 1000> rounds) {
            const auto how = choice<sharing>(access, "access", {{"load_store", sharing::load_store}, {"rmw", sharing::rmw}});
            std::vector<double> packed, padded;
            released([&](auto stop) {
                for (std::int64_t round = 0; round < rounds; ++round) {
                    const sharing_result once = measure_false_sharing(static_cast<std::uint64_t>(increments.value),
                                                                      static_cast<int>(thread_count.value), how, stop, 1);
                    packed.push_back(once.packed_seconds);
                    padded.push_back(once.padded_seconds);
                }
            });
            return std::pair(median(packed), median(padded));
        },
        "increments"_a, "thread_count"_a, py::kw_only(), "access"_a = "load_store", "rounds"_a = 3, R"(
False sharing: each thread counts in a number of its own, with these side by side in a cache line, then 128 bytes apart.

Parameters
----------
increments : int
    Per thread, 0 or more.
thread_count : int
    1 to 1024.
access : {"load_store", "rmw"}
    A plain load and store, or an atomic read-modify-write.
rounds : int
    The median of so many counts.

Returns
-------
tuple of float
    ``(packed_s, padded_s)``, seconds.
)");
    m.def(
        "count_torn_reads",
        [](count<"writes"> writes, const std::string& guard) {
            const bool guarded = choice<bool>(guard, "guard", {{"none", false}, {"seqlock", true}});
            const torn_result found =
                released([&](auto stop) { return count_torn_reads(guarded, static_cast<std::uint64_t>(writes.value), stop); });
            return py::dict("reads"_a = found.reads, "torn"_a = found.torn, "retries"_a = found.retries);
        },
        "writes"_a, py::kw_only(), "guard"_a = "none", R"(
One thread writes eight words, all the same number, again and again; another reads them meanwhile.

Parameters
----------
writes : int
    At least 1.
guard : {"none", "seqlock"}
    Nothing but each word being an atomic, or a sequence lock around all eight.

Returns
-------
dict of str to int
    ``"reads"``; ``"torn"``, how many of them had words of two writes (never with the seqlock); ``"retries"``, how many tries
    the seqlock threw away because the writer was there.

Notes
-----
H.-J. Boehm, "Can seqlocks get along with programming language memory models?", MSPC 2012.
)");
    m.def(
        "litmus_store_buffering",
        [](count<"rounds"> rounds, const std::string& order) {
            const auto how = order_named(order);
            const litmus_result found =
                released([&](auto stop) { return store_buffering(how, static_cast<std::uint64_t>(rounds.value), stop); });
            return py::dict("both_zero"_a = found.both_zero, "first_only"_a = found.first_only,
                            "second_only"_a = found.second_only, "both_one"_a = found.both_one);
        },
        "rounds"_a, py::kw_only(), "order"_a = "relaxed", R"(
The store-buffering litmus test: thread 1 does ``x = 1; r1 = y``, thread 2 ``y = 1; r2 = x``, at the same time.

Whichever store comes first, the other thread's load should see it, unless a processor lets its load overtake its own store.
C++ allows that for ``"relaxed"`` and ``"acquire_release"``. x86 shows both; AArch64 shows it for the first, and for the second
only where acquire loads become LDAPR. Portably only ``"seq_cst"`` forbids it.

Parameters
----------
rounds : int
    At least 1.
order : {"relaxed", "acquire_release", "seq_cst"}
    Of the four operations.

Returns
-------
dict of str to int
    How many rounds ended with r1 == r2 == 0 (``"both_zero"``: the reordering), only r1 == 1 (``"first_only"``), only
    r2 == 1 (``"second_only"``), both 1 (``"both_one"``).
)");
    m.def(
        "litmus_message_passing",
        [](count<"rounds"> rounds, const std::string& order) {
            const auto how = order_named(order);
            const message_result found =
                released([&](auto stop) { return message_passing(how, static_cast<std::uint64_t>(rounds.value), stop); });
            return py::dict("not_seen"_a = found.not_seen, "seen_fresh"_a = found.seen_fresh,
                            "seen_stale"_a = found.seen_stale);
        },
        "rounds"_a, py::kw_only(), "order"_a = "relaxed", R"(
The message-passing litmus test: one thread writes data, then a flag; the other reads the flag, then the data.

With ``"relaxed"`` C++ allows ``"seen_stale"``: flag seen, data not. x86 hardware never shows it, ARM does; the compiler may
bring it about on either. From ``"acquire_release"`` on it is forbidden everywhere.

Parameters
----------
rounds : int
    At least 1.
order : {"relaxed", "acquire_release", "seq_cst"}

Returns
-------
dict of str to int
    Rounds by outcome: ``"not_seen"``, ``"seen_fresh"``, ``"seen_stale"``.
)");
    m.def(
        "demonstrate_aba",
        [](boolean<"tagged"> tagged) {
            const aba_report report = released([&](auto) { return tagged ? show_aba_tagged() : show_aba_naive(); });
            return py::dict(
                "swapped"_a = report.swapped, "corrupt"_a = report.corrupt,
                "handed_out"_a = to_list(std::vector<std::int64_t>(report.handed_out.begin(), report.handed_out.end())));
        },
        py::kw_only(), "tagged"_a = false, R"(
The ABA problem, on purpose: a thread in the middle of ``pop`` is held up while another pops two nodes and pushes the first back.

The top of the stack is what it was, so the late compare-and-swap succeeds, and makes a node the top that somebody else owns by
now. With a tag that counts changes beside the pointer, it fails and the pop starts again.

Parameters
----------
tagged : bool
    Whether the stack's top carries a tag.

Returns
-------
dict
    ``"swapped"``: whether the late compare-and-swap succeeded; ``"corrupt"``: whether a node was handed out twice;
    ``"handed_out"``: the nodes in the order in which they were popped.

Notes
-----
The cure is IBM's (System/370 Principles of Operation, 1983) and Boost.Lockfree's.
)");
    m.def(
        "benchmark_containers",
        [](amount<"items"> items, count<"producers", 512> producers, count<"consumers", 512> consumers,
           count<"capacity", 65534> capacity, count<"rounds", 1000> rounds) {
            if (items > 10'000'000 / producers) throw py::value_error("producers * items must be at most 10**7");
            const auto each = static_cast<std::uint64_t>(items.value);
            const auto room = static_cast<std::size_t>(capacity.value);
            const int from = static_cast<int>(producers.value), to = static_cast<int>(consumers.value);
            const bool alone = from == 1 && to == 1;
            std::vector<std::pair<const char*, std::vector<double>>> seconds{{"mutex_deque", {}}, {"stack", {}}, {"queue", {}}};
            if (alone) seconds.push_back({"spsc_queue", {}});
            released([&](auto stop) {
                for (std::int64_t round = 0; round < rounds; ++round) {
                    seconds[0].second.push_back(time_transfer<locked_queue>(room, from, to, each, stop));
                    seconds[1].second.push_back(time_transfer<lockfree_stack>(room, from, to, each, stop));
                    seconds[2].second.push_back(time_transfer<lockfree_queue>(room, from, to, each, stop));
                    if (alone) seconds[3].second.push_back(time_transfer<lockfree_spsc>(room, from, to, each, stop));
                }
            });
            py::dict result;
            for (const auto& [container, times] : seconds) result[container] = median(times);
            return result;
        },
        "items"_a, py::kw_only(), "producers"_a = 1, "consumers"_a = 1, "capacity"_a = 1024, "rounds"_a = 3, R"(
Moves items from producer threads to consumer threads through Boost.Lockfree's containers and through a deque with a mutex.

Parameters
----------
items : int
    Per producer, 0 or more; 10**7 in all. Each is proven to have arrived once.
producers, consumers : int
    Threads, 1 to 512 each.
capacity : int
    1 to 65534 places.
rounds : int
    The containers take turns so many times; the median time of each counts.

Returns
-------
dict of str to float
    Seconds for ``"mutex_deque"``, ``"stack"``, ``"queue"``, and with one producer and one consumer ``"spsc_queue"``.
)");
    bind_container<lockfree_stack>(m, "LockFreeStack", R"(
boost::lockfree::stack of int64: last in, first out, any number of threads, no lock, `capacity` places.

Parameters
----------
capacity : int
    1 to 65534, all allocated at once.
)");
    bind_container<lockfree_queue>(m, "LockFreeQueue", R"(
boost::lockfree::queue of int64: first in, first out, any number of threads, no lock, `capacity` places.

Parameters
----------
capacity : int
    1 to 65534, all allocated at once.
)");
}

}  // namespace tenfold::boundary
