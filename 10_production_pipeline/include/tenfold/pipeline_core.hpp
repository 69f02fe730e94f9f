// tenfold/pipeline_core.hpp: what a pipeline's runs share: options, result, the engines that wait for the next run, the counts so far.
//
// Why engines are kept: a run of a few milliseconds should not pay for starting threads and touching fresh memory. A run takes an
// idle engine or makes one, so as many are kept as there ever were runs at the same time; they go with the last copy of the
// pipeline. Counts of a run that has ended are added to the totals; those of the others are read where they are.
// After a fork the child leaves the parent's engines alone (their threads are not there) and makes its own.
//
// Copy: this file, pipeline_engine.hpp and what that names.   #include <tenfold/pipeline_core.hpp>   C++20, -pthread, moodycamel's
// concurrentqueue.h (named by channel.hpp)
#pragma once

#include <tenfold/pipeline_engine.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

namespace tenfold {

struct pipeline_options {
    int workers = 0;  // threads of a parallel section; 0: the cores that this process may use
    std::size_t batch = 1024;  // items that travel together; 1 for slow stages that must not wait for each other
    std::size_t depth = 16;  // batches per link
    on_error errors = on_error::raise;
    std::size_t most_errors = 1000;  // records kept; all failures are counted
};

enum class run_status { finished, failed, cancelled };

struct run_result {
    run_status status = run_status::finished;
    std::uint64_t read = 0, delivered = 0, filtered = 0, failed = 0, dropped = 0;
    double seconds = 0.0;
    std::vector<stage_error> errors;  // in the order of the items
    std::vector<stage_metrics> stages;  // source, stages, sink

    void rethrow() const {
        if (status == run_status::failed && !errors.empty()) std::rethrow_exception(errors.back().error);
    }
};

namespace pipeline_detail {

template <class In, class Source>
class feeder_of final : public feeder {
public:
    explicit feeder_of(Source& source) : source_(source) {
        if constexpr (is_range) all_ = std::span<const In>(source);
    }
    std::size_t fill(batch_head& batch) override {
        const std::span<In> room(static_cast<item_batch<In>&>(batch).items, batch.capacity);
        if constexpr (is_range) {
            const std::size_t count = std::min(room.size(), all_.size());
            std::copy_n(all_.begin(), count, room.begin());
            all_ = all_.subspan(count);
            return count;
        } else {
            return source_(room);
        }
    }

private:
    static constexpr bool is_range = std::constructible_from<std::span<const In>, Source&>;
    Source& source_;
    std::span<const In> all_;
};

// The caller's wish to stop, asked on its thread. Once true, or thrown, it is not asked again.
template <class Stop>
class stop_wish {
public:
    stop_wish(Stop& stop, run_state& run) : stop_(stop), run_(run) {}
    bool operator()() noexcept {
        if (asked) return false;
        try {
            asked = stop_();
        } catch (...) {
            asked = true;
            error = std::current_exception();
        }
        if (asked) run_.end_before(0);
        return asked;
    }
    bool asked = false;
    std::exception_ptr error;

private:
    Stop& stop_;
    run_state& run_;
};

// What the pipelines that are copies of each other share: the plan, the engines that are idle, and what has been counted.
class pipeline_core {
public:
    pipeline_core(engine_plan stages, pipeline_options chosen)
        : plan(std::move(stages)), options(chosen), totals_(plan.steps.size() + 2) {
        totals_.front().name = "source";
        for (std::size_t i = 0; i < plan.steps.size(); ++i) totals_[i + 1].name = plan.steps[i]->name;
        totals_.back().name = "sink";
        names_ = totals_;
    }
    ~pipeline_core() {
        for (auto* idle : {&idle_threaded_, &idle_plain_})
            for (auto& each : *idle)
                if (each->left_behind()) static_cast<void>(each.release());  // its threads are in the parent
    }

    // An engine for one run; kept for the next when this goes.
    class lease {
    public:
        lease(pipeline_core& core, bool threads) : core_(core), threads_(threads), mine(core.take(threads)) {}
        lease(const lease&) = delete;
        lease& operator=(const lease&) = delete;
        ~lease() { core_.give_back(std::move(mine), threads_); }
        engine* operator->() const noexcept { return mine.get(); }

    private:
        pipeline_core& core_;
        const bool threads_;
        std::unique_ptr<engine> mine;
    };

    std::vector<stage_metrics> metrics() const {
        const std::lock_guard lock(mutex_);
        std::vector<stage_metrics> all = totals_;
        for (const engine* each : active_) each->read(all);
        return all;
    }
    std::vector<stage_metrics> names() const { return names_; }

    const engine_plan plan;
    const pipeline_options options;
    block_cache blocks;

private:
    std::unique_ptr<engine> take(bool threads) {
        {
            const std::lock_guard lock(mutex_);
            auto& idle = threads ? idle_threaded_ : idle_plain_;
            while (!idle.empty()) {
                auto found = std::move(idle.back());
                idle.pop_back();
                if (found->left_behind()) {
                    static_cast<void>(found.release());
                    continue;
                }
                active_.push_back(found.get());
                return found;
            }
        }
        auto made = std::make_unique<engine>(plan, blocks, threads);
        const std::lock_guard lock(mutex_);
        idle_threaded_.reserve(active_.size() + idle_threaded_.size() + 1);  // so that giving back cannot fail
        idle_plain_.reserve(active_.size() + idle_plain_.size() + 1);
        active_.push_back(made.get());
        return made;
    }
    void give_back(std::unique_ptr<engine> used, bool threads) {
        const std::lock_guard lock(mutex_);
        used->read(totals_);
        for (auto& each : totals_) each.queue_depth = 0;
        used->clear();
        std::erase(active_, used.get());
        (threads ? idle_threaded_ : idle_plain_).push_back(std::move(used));
    }

    mutable channel_mutex mutex_;  // guards all below; a forked child cannot hang on it
    std::vector<std::unique_ptr<engine>> idle_threaded_, idle_plain_;
    std::vector<const engine*> active_;
    std::vector<stage_metrics> totals_, names_;
};

}  // namespace pipeline_detail

}  // namespace tenfold
