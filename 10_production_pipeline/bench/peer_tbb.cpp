// oneTBB's parallel_pipeline with the same bodies, an item a token, as its documentation shows it; source and sink serial and in
// order. With _batched behind the name: tokens of 1024 items, put together by hand, as ours does it for its users.
#include <tbb/global_control.h>
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "peer_work.hpp"
#include "tenfold_peer.hpp"

namespace {

using namespace peer_work;
using tbb::filter_mode;

constexpr std::size_t tokens = 16;  // as in its documentation's example

template <class Middle>
double by_item(long n, Middle middle) {
    item next = 0, sum = 0;
    tbb::parallel_pipeline(
        tokens, tbb::make_filter<void, item>(filter_mode::serial_in_order,
                                             [&](tbb::flow_control& control) {
                                                 if (next == static_cast<item>(n)) control.stop();
                                                 return next == static_cast<item>(n) ? next : next++;
                                             }) &
                    middle & tbb::make_filter<item, void>(filter_mode::serial_in_order, [&](item x) { sum += taste(x); }));
    return static_cast<double>(sum);
}

using batch = std::vector<item>;
constexpr std::size_t batch_size = 1024;

template <class Middle>
double by_batch(long n, Middle middle) {
    item next = 0, sum = 0;
    std::vector<batch> ring(2 * tokens, batch(batch_size));  // reused, as ours are
    std::size_t turn = 0;
    tbb::parallel_pipeline(
        tokens, tbb::make_filter<void, batch*>(filter_mode::serial_in_order,
                                               [&](tbb::flow_control& control) -> batch* {
                                                   if (next == static_cast<item>(n)) {
                                                       control.stop();
                                                       return nullptr;
                                                   }
                                                   batch& made = ring[turn++ % ring.size()];
                                                   made.resize(std::min<std::size_t>(batch_size, static_cast<item>(n) - next));
                                                   for (item& x : made) x = next++;
                                                   return &made;
                                               }) &
                    middle & tbb::make_filter<batch*, void>(filter_mode::serial_in_order, [&](batch* items) {
                        for (const item x : *items) sum += taste(x);
                    }));
    return static_cast<double>(sum);
}

template <class F>
auto one(filter_mode mode, F f) {
    return tbb::make_filter<item, item>(mode, f);
}
template <class F>
auto many(filter_mode mode, F f) {
    return tbb::make_filter<batch*, batch*>(mode, [f](batch* items) {
        for (item& x : *items) x = f(x);
        return items;
    });
}

}  // namespace

int main() {
    constexpr auto parallel = filter_mode::parallel, in_order = filter_mode::serial_in_order;
    const int threads = tenfold_peer::threads();
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads));
    tbb::task_arena arena(threads);
    const auto in_arena = [&](auto task) { return [&arena, task](long n) { return arena.execute([&] { return task(n); }); }; };
    return tenfold_peer::serve({
        {"tiny", in_arena([=](long n) { return by_item(n, one(parallel, mix) & one(parallel, shift)); })},
        {"serial",
         in_arena([=](long n) { return by_item(n, one(parallel, mix) & one(in_order, order) & one(parallel, shift)); })},
        {"work100", in_arena([=](long n) { return by_item(n, one(parallel, work100)); })},
        {"work1000", in_arena([=](long n) { return by_item(n, one(parallel, work1000)); })},
        {"tiny_batched", in_arena([=](long n) { return by_batch(n, many(parallel, mix) & many(parallel, shift)); })},
        {"serial_batched",
         in_arena([=](long n) { return by_batch(n, many(parallel, mix) & many(in_order, order) & many(parallel, shift)); })},
        {"work100_batched", in_arena([=](long n) { return by_batch(n, many(parallel, work100)); })},
        {"work1000_batched", in_arena([=](long n) { return by_batch(n, many(parallel, work1000)); })},
    });
}
