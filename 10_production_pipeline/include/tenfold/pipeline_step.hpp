// tenfold/pipeline_step.hpp: the stages of a pipeline, each as a pass over a batch: map, filter, kernel.
//
// Why a pass per stage: the loop over one stage's function is compiled with it, so it is inlined and, where it allows,
// vectorised; one virtual call per batch joins loops of types that know nothing of each other. The batches in between stay in
// the L1 cache.
//
// What an exception does is the run's policy: raise - the items before it still arrive, then the run ends; skip - the item is
// left out and counted; collect - that, and a record is kept. Under `raise` the failure with the lowest index wins, whichever
// thread met which first: what comes after the lowest so far is not worked on, all before it is.
// A stage is called through const, and a parallel one by several threads at once.
//
// Copy: this file, item_batch.hpp, stage_metrics.hpp and what they name.   #include <tenfold/pipeline_step.hpp>   C++20, -pthread
#pragma once

#include <tenfold/item_batch.hpp>
#include <tenfold/stage_metrics.hpp>

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <numeric>
#include <span>
#include <string>
#include <utility>

namespace tenfold {

enum class on_error { raise, skip, collect };

namespace pipeline_detail {

// Fills a batch from the source; returns how many items.
struct feeder {
    virtual std::size_t fill(batch_head& batch) = 0;

protected:
    ~feeder() = default;
};

// What the threads of one run share.
class run_state {
public:
    run_state(on_error policy, std::size_t most_errors, feeder& from)
        : source(from), policy_(policy), most_errors_(most_errors) {}

    // Relaxed everywhere: who learns of an end late works for nothing, and the sink delivers nothing beyond it: the batch
    // that carries the error has come to it through the same channels as the ones before.
    bool over(std::uint64_t batch) const noexcept { return batch >= limit_.load(std::memory_order_relaxed); }
    void end_before(std::uint64_t batch) noexcept {
        std::uint64_t seen = limit_.load(std::memory_order_relaxed);
        while (batch < seen && !limit_.compare_exchange_weak(seen, batch, std::memory_order_relaxed));
    }

    // In a catch block. False: nothing behind this item is worked on.
    bool failed(std::size_t stage, const std::string& name, std::uint64_t index, batch_head& batch) {
        if (policy_ == on_error::skip) return true;
        if (policy_ == on_error::raise) batch.errors.clear();  // a stage before failed at a later item
        if (policy_ == on_error::raise || batch.errors.size() < most_errors_)
            batch.errors.push_back({stage, name, index, std::current_exception()});
        if (policy_ == on_error::collect) return true;
        end_before(batch.number + 1);
        return false;
    }

    // Not an item's failure but the engine's (no memory for an error record): the run is over.
    void broken() noexcept {
        const std::lock_guard lock(mutex_);
        if (!broken_) broken_ = std::current_exception();
        end_before(0);
    }
    std::exception_ptr what_broke() const noexcept { return broken_; }  // after the end

    on_error policy() const noexcept { return policy_; }
    std::size_t most_errors() const noexcept { return most_errors_; }
    feeder& source;

private:
    const on_error policy_;
    const std::size_t most_errors_;
    std::mutex mutex_;
    std::exception_ptr broken_;
    std::atomic<std::uint64_t> limit_{std::numeric_limits<std::uint64_t>::max()};  // batches from this number on are dropped
};

class step {
public:
    step(std::string called, bool by_workers) : name(std::move(called)), parallel(by_workers) {}
    step(const step&) = delete;
    step& operator=(const step&) = delete;
    virtual ~step() = default;

    virtual std::unique_ptr<batch_head> make_output(block_cache& blocks, std::size_t room) const = 0;
    virtual std::size_t output_bytes(std::size_t room) const = 0;
    virtual void pass(run_state& run, std::size_t stage, batch_head& in, batch_head& out, batch_note& note) const = 0;

    const std::string name;
    const bool parallel;

protected:
    // body(j, k) makes what is to stand at k from item j and says whether it stays. A body that always says yes (Dense) leaves
    // the places alone as long as nothing fails.
    template <bool Dense, class Body>
    void each_item(run_state& run, std::size_t stage, batch_head& in, batch_head& out, batch_note& note, Body body) const {
        constexpr std::size_t some = 64;  // items between two looks at the end of the run
        out.descend_from(in);
        const bool had_gaps = out.gaps;
        const auto place = [&](std::size_t j) { return had_gaps ? out.places[j] : static_cast<std::uint32_t>(j); };
        std::size_t j = 0, k = 0;
        note.items_in = in.size;
        while (j < in.size && !run.over(out.number)) {
            const std::size_t end = std::min(in.size, j + some);
            const bool complete = Dense && k == j;
            try {
                if (complete) {
                    for (; j < end; ++j) body(j, j);
                    k = j;
                } else {
                    out.gaps = true;
                    for (; j < end; ++j) {
                        const std::uint32_t at = place(j);
                        const bool stays = body(j, k);
                        out.places[k] = at;
                        k += stays;
                    }
                }
            } catch (...) {
                ++note.failed;
                if (complete) k = j;
                if (!run.failed(stage, name, out.first + place(j), out)) {
                    ++j;
                    break;
                }
                if (complete && !out.gaps) std::iota(out.places, out.places + k, 0u);  // from here on there are gaps
                ++j;
            }
        }
        out.size = k;
        note.filtered = j - k - note.failed;
        note.dropped = in.size - j;
        note.items_out = k;
    }
};

template <class In, class F>
class map_step final : public step {
public:
    using out_type = std::remove_cvref_t<std::invoke_result_t<const F&, In&&>>;

    map_step(std::string called, bool by_workers, F f) : step(std::move(called), by_workers), f_(std::move(f)) {}

    std::unique_ptr<batch_head> make_output(block_cache& blocks, std::size_t room) const override {
        return make_batch<out_type>(blocks, room);
    }
    std::size_t output_bytes(std::size_t room) const override { return item_batch<out_type>::bytes_for(room); }

    void pass(run_state& run, std::size_t stage, batch_head& in, batch_head& out, batch_note& note) const override {
        In* const from = static_cast<item_batch<In>&>(in).items;
        out_type* const to = static_cast<item_batch<out_type>&>(out).items;
        each_item<true>(run, stage, in, out, note, [&, from, to](std::size_t j, std::size_t k) {
            to[k] = f_(std::move(from[j]));
            return true;
        });
    }

private:
    const F f_;
};

template <class In, class F>
class filter_step final : public step {
public:
    filter_step(std::string called, bool by_workers, F f) : step(std::move(called), by_workers), f_(std::move(f)) {}

    std::unique_ptr<batch_head> make_output(block_cache& blocks, std::size_t room) const override {
        return make_batch<In>(blocks, room);
    }
    std::size_t output_bytes(std::size_t room) const override { return item_batch<In>::bytes_for(room); }

    void pass(run_state& run, std::size_t stage, batch_head& in, batch_head& out, batch_note& note) const override {
        In* const from = static_cast<item_batch<In>&>(in).items;
        In* const to = static_cast<item_batch<In>&>(out).items;
        each_item<false>(run, stage, in, out, note, [&, from, to](std::size_t j, std::size_t k) -> bool {
            const bool stays = f_(std::as_const(from[j]));
            if constexpr (std::is_trivially_copyable_v<In>) to[k] = from[j];  // no branch
            else if (stays) to[k] = std::move(from[j]);
            return stays;
        });
    }

private:
    const F f_;
};

// f(span<const In>, span<Out>): the whole batch at once, item for item. If it throws, all of the batch has failed.
template <class In, class Out, class F>
class kernel_step final : public step {
public:
    kernel_step(std::string called, bool by_workers, F f) : step(std::move(called), by_workers), f_(std::move(f)) {}

    std::unique_ptr<batch_head> make_output(block_cache& blocks, std::size_t room) const override {
        return make_batch<Out>(blocks, room);
    }
    std::size_t output_bytes(std::size_t room) const override { return item_batch<Out>::bytes_for(room); }

    void pass(run_state& run, std::size_t stage, batch_head& in, batch_head& out, batch_note& note) const override {
        out.descend_from(in);
        note.items_in = in.size;
        if (in.size == 0) return;
        if (run.over(out.number)) {
            note.dropped = in.size;
            return;
        }
        try {
            const std::span<const In> from(static_cast<item_batch<In>&>(in).items, in.size);
            f_(from, std::span<Out>(static_cast<item_batch<Out>&>(out).items, in.size));
            note.items_out = out.size = in.size;
        } catch (...) {
            note.failed = in.size;
            run.failed(stage, name, out.index(0), out);
        }
    }

private:
    const F f_;
};

}  // namespace pipeline_detail
}  // namespace tenfold
