// tenfold/pipeline.hpp: stages that run at the same time on a stream of items: typed, ordered, bounded, observable, stoppable.
//
//     auto p = tenfold::pipeline<double>({.workers = 4})
//                  .filter("positive", [](double x) { return x > 0; })          // serial: in order, one thread
//                  .parallel_map("root", [](double x) { return std::sqrt(x); })  // the workers; order is restored behind them
//                  .map("text", [](double x) { return std::to_string(x); });
//     tenfold::run_result done = p.run(source, sink);
//
// The source, `std::size_t source(std::span<In> room)`, fills what it can and returns how much, 0 at the end; a contiguous range
// will do, too. The sink gets items in the order of the source, `void sink(Out&&)` or `void sink(std::span<Out>)`, on
// the calling thread. What happens in between, and on which threads: pipeline_engine.hpp; to failing items: pipeline_step.hpp.
//
// run() never loses an item without saying so: read == delivered + filtered + failed + dropped, dropped being what was under way
// when the run failed or was cancelled. Cancel: `stop` says true (asked on the calling thread, at least every 25 ms). Drain: the
// source ends, for instance by drain_when(). A stage that blocks for ever cannot be interrupted.
// A pipeline is a value; copies share threads and metrics. Any number of threads may run one at the same time, each run with
// threads and batches of its own, which are kept for the next.
//
// Copy: this file, pipeline_core.hpp and what that names.   #include <tenfold/pipeline.hpp>   C++20, -pthread, moodycamel's
// concurrentqueue.h (named by channel.hpp)
#pragma once

#include <tenfold/pipeline_core.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <ranges>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace tenfold {

/// A source that ends when `token` is stopped: what has been read still arrives.
template <class Source>
auto drain_when(std::stop_token token, Source source) {
    return [token = std::move(token), source = std::move(source)](auto room) mutable -> std::size_t {
        return token.stop_requested() ? 0 : source(room);
    };
}

template <class In, class Out = In>
class pipeline {
public:
    explicit pipeline(pipeline_options options = {})
        requires std::same_as<In, Out>
    {
        if (options.workers < 0 || options.workers > 1024) throw std::invalid_argument("workers must be between 1 and 1024");
        if (options.batch < 1 || options.batch > (std::size_t{1} << 24))
            throw std::invalid_argument("batch must be between 1 and 2**24");
        if (options.depth < 1 || options.depth > (std::size_t{1} << 16))
            throw std::invalid_argument("depth must be between 1 and 2**16");
        if (options.workers == 0) options.workers = atomic_detail::allowed_cores();
        core_ = std::make_shared<core>(
            pipeline_detail::engine_plan{
                {}, &pipeline_detail::make_batch<In>, static_cast<std::size_t>(options.workers), options.batch, options.depth},
            options);
    }

    /// U f(Out&&), item by item, in order.
    template <class F>
    auto map(std::string name, F f) const {
        return mapped(std::move(name), false, std::move(f));
    }
    /// The same by the workers, several items at once.
    template <class F>
    auto parallel_map(std::string name, F f) const {
        return mapped(std::move(name), true, std::move(f));
    }
    /// bool f(const Out&): true keeps.
    template <class F>
    auto filter(std::string name, F f) const {
        return then<Out>(std::make_shared<pipeline_detail::filter_step<Out, F>>(std::move(name), false, std::move(f)));
    }
    template <class F>
    auto parallel_filter(std::string name, F f) const {
        return then<Out>(std::make_shared<pipeline_detail::filter_step<Out, F>>(std::move(name), true, std::move(f)));
    }
    /// void f(std::span<const Out> in, std::span<U> out): a whole batch, item for item.
    template <class U = Out, class F>
    auto kernel(std::string name, F f) const {
        return then<U>(std::make_shared<pipeline_detail::kernel_step<Out, U, F>>(std::move(name), false, std::move(f)));
    }
    template <class U = Out, class F>
    auto parallel_kernel(std::string name, F f) const {
        return then<U>(std::make_shared<pipeline_detail::kernel_step<Out, U, F>>(std::move(name), true, std::move(f)));
    }

    /// Never throws what a stage, the source or the sink threw: result.errors has it, result.rethrow() throws it. What `stop`
    /// throws cancels the run and is thrown.
    template <class Source, class Sink, class Stop = never_stop>
    run_result run(Source&& source, Sink&& sink, Stop&& stop = {}) const {
        return carry_out(source, sink, stop, true,
                         [](auto& mine, auto& run, auto& wish, auto& deliver) noexcept {  // the threads use `run` until the end
                             mine->start(run);
                             for (;;) {
                                 const std::uint64_t start = pipeline_detail::now_ns();
                                 pipeline_detail::batch_note note;
                                 note.queue_depth = mine->sink().depth();
                                 pipeline_detail::batch_head* const batch = mine->sink().take(wish);
                                 if (batch == nullptr) return;
                                 note.wait_ns = pipeline_detail::now_ns() - start;
                                 wish();
                                 deliver(*batch, note);
                                 mine->sink().give_back(batch);
                             }
                         });
    }

    /// The same, all of it on the calling thread, batch after batch: for little work, and to compare with.
    template <class Source, class Sink, class Stop = never_stop>
    run_result run_here(Source&& source, Sink&& sink, Stop&& stop = {}) const {
        return carry_out(source, sink, stop, false, [](auto& mine, auto& run, auto& wish, auto& deliver) {
            std::uint64_t read = 0;
            bool more = true;
            for (std::uint64_t number = 0; more && !wish() && !run.over(number); ++number) {
                pipeline_detail::batch_head& batch = mine->first();
                more = pipeline_detail::read_source(run, batch, number, read, mine->cells(0), {});
                mine->whole().pass(run, batch, mine->last(), {}, pipeline_detail::now_ns());
                deliver(mine->last(), {});
            }
        });
    }

    /// All that has been counted since the pipeline was made, runs that go on included. From any thread.
    std::vector<stage_metrics> metrics() const { return core_->metrics(); }
    const pipeline_options& options() const noexcept { return core_->options; }
    /// What the items of one run can take up at most, whatever the length of the source.
    std::size_t memory_bytes() const {
        const auto& plan = core_->plan;
        const auto parallel = [&](std::size_t i) { return i < plan.steps.size() && plan.steps[i]->parallel; };
        std::size_t bytes =
            plan.depth * (parallel(0) ? plan.workers : 1) * pipeline_detail::item_batch<In>::bytes_for(plan.batch);
        for (std::size_t i = 0; i < plan.steps.size(); ++i) {
            const std::size_t one = plan.steps[i]->output_bytes(plan.batch);
            if (parallel(i) && parallel(i + 1)) bytes += plan.workers * one;  // in between, inside a section
            else bytes += plan.depth * (parallel(i) || parallel(i + 1) ? plan.workers : 1) * one;
        }
        return bytes;
    }

private:
    template <class, class>
    friend class pipeline;
    using core = pipeline_detail::pipeline_core;
    explicit pipeline(std::shared_ptr<core> made) : core_(std::move(made)) {}

    template <class F>
    auto mapped(std::string name, bool parallel, F f) const {
        using made = pipeline_detail::map_step<Out, F>;
        return then<typename made::out_type>(std::make_shared<made>(std::move(name), parallel, std::move(f)));
    }
    template <class U>
    pipeline<In, U> then(std::shared_ptr<const pipeline_detail::step> next) const {
        pipeline_detail::engine_plan plan = core_->plan;
        plan.steps.push_back(std::move(next));
        return pipeline<In, U>(std::make_shared<core>(std::move(plan), core_->options));
    }

    template <class Source, class Sink, class Stop, class Body>
    run_result carry_out(Source& source, Sink& sink, Stop& stop, bool threads, Body body) const {
        using namespace pipeline_detail;
        const std::uint64_t start = now_ns();
        const std::size_t last_stage = core_->plan.steps.size() + 1;
        feeder_of<In, Source> from(source);
        run_state run(core_->options.errors, core_->options.most_errors, from);
        stop_wish<Stop> wish(stop, run);
        run_result result;
        result.stages = core_->names();
        {
            core::lease mine(*core_, threads);
            auto deliver = [&](batch_head& batch, batch_note note) {
                try {
                    give(sink, static_cast<item_batch<Out>&>(batch), run, last_stage, note);
                    keep_errors(result, batch, run);
                } catch (...) {  // no memory for an error record; the threads must come to their end all the same
                    run.broken();
                }
                mine->cells(last_stage).add(note);
            };
            body(mine, run, wish, deliver);
            mine->read(result.stages);
        }
        if (run.what_broke()) std::rethrow_exception(run.what_broke());
        if (wish.error) std::rethrow_exception(wish.error);
        if (wish.asked && result.status == run_status::finished) result.status = run_status::cancelled;
        result.read = result.stages.front().items_out;
        result.delivered = result.stages.back().items_out;
        for (const stage_metrics& each : result.stages) {
            result.filtered += each.filtered;
            result.failed += each.failed;
            result.dropped += each.dropped;
        }
        result.seconds = static_cast<double>(now_ns() - start) * 1e-9;
        return result;
    }

    // Hands a batch to the sink.
    template <class Sink>
    static void give(Sink& sink, pipeline_detail::item_batch<Out>& batch, pipeline_detail::run_state& run, std::size_t stage,
                     pipeline_detail::batch_note& note) {
        const std::uint64_t start = pipeline_detail::now_ns();
        note.items_in = batch.size;
        note.item_ns = start - batch.born_ns;
        const bool over = run.over(batch.number);
        constexpr bool whole = std::invocable<Sink&, std::span<Out>>;
        for (std::size_t j = 0; j < batch.size && !over;) {
            const std::size_t taken = whole ? batch.size : 1;
            try {
                if constexpr (whole) sink(batch.all());
                else sink(std::move(batch.items[j]));
                note.items_out += taken;
            } catch (...) {
                note.failed += taken;
                if (!run.failed(stage, "sink", batch.index(j), batch)) break;
            }
            j += taken;
        }
        note.dropped = batch.size - note.items_out - note.failed;
        note.busy_ns = pipeline_detail::now_ns() - start;
    }

    static void keep_errors(run_result& result, pipeline_detail::batch_head& batch, const pipeline_detail::run_state& run) {
        if (batch.errors.empty()) return;
        if (run.over(batch.number)) return batch.errors.clear();  // a failure before these, or a cancel, has ended the run
        if (batch.errors.size() > 1) std::ranges::stable_sort(batch.errors, {}, &stage_error::index);
        for (stage_error& each : batch.errors) {
            const bool ends = run.policy() == on_error::raise || each.stage == 0;
            if (ends) result.status = run_status::failed;
            if (ends || result.errors.size() < run.most_errors()) result.errors.push_back(std::move(each));
        }
        batch.errors.clear();
    }

    std::shared_ptr<core> core_;
};

}  // namespace tenfold
