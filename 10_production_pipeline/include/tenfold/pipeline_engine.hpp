// tenfold/pipeline_engine.hpp: the threads and links of a pipeline: who works on which batch, who hands it to whom.
//
// - Neighbouring parallel stages form one section with `workers` threads, a serial stage is a section with one; each batch passes
//   all stages of a section on one thread. Source: a thread of its own; sink: the thread that calls run().
// - Between two threads: a link, that is two single-producer single-consumer channels (lesson 07) between which a fixed number
//   of batches (lesson 09's blocks) goes round: filled ones one way, empty ones back. Whoever finds no empty one waits:
//   back-pressure, and the memory of a run is known before it starts.
// - An empty batch goes back with others, half of a link's at a time: a thread that waits for room wakes up for several.
// - Order without sorting: a serial thread deals batches to the workers in turn, and the next serial one collects them in the same
//   turn. The price: a worker with a slow batch makes the others wait once their links are full.
// - The end travels as a null pointer behind the last batch, also after an error or a cancel: batches that are not worked on
//   any more still go through, so nobody is left waiting and all batches are back in their places for the next run.
// - Between runs the threads sleep. An engine serves one run at a time and belongs to the process that made it.
//
// Copy: this file, pipeline_step.hpp and what it names, channel.hpp (lesson 07).   #include <tenfold/pipeline_engine.hpp>
// C++20, -pthread, moodycamel's concurrentqueue.h (named by channel.hpp)
#pragma once

#include <tenfold/channel.hpp>
#include <tenfold/pipeline_step.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace tenfold::pipeline_detail {

inline std::uint64_t now_ns() noexcept {
    return static_cast<std::uint64_t>(std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
}

// How often a thread looks for a batch before it sleeps. After the fourth look the channel would yield in between, and where more
// threads than cores want to run, a yield is a time slice for somebody else; who sleeps is back as soon as it is woken.
inline constexpr int looks = 4;

class link {
public:
    template <class Make>
    link(std::size_t depth, const Make& make) : filled(depth + 1), empty(depth), half_(std::max<std::size_t>(depth / 2, 1)) {
        used_.reserve(half_);  // filled: + 1 for the end
        for (std::size_t i = 0; i < depth; ++i) {
            batches_.push_back(make());
            empty.try_send(batches_.back().get());
        }
    }

    // By the receiving thread. What it holds back is less than half: the sender always finds the rest.
    void give_back(batch_head* batch) {
        used_.push_back(batch);
        if (used_.size() == half_) flush();
    }
    void flush() {
        empty.send_batch(used_.begin(), used_.size());
        used_.clear();
    }

    spsc_channel<batch_head*> filled, empty;

private:
    const std::size_t half_;
    std::vector<batch_head*> used_;
    std::vector<std::unique_ptr<batch_head>> batches_;
};

// The links that one thread receives from, in turn.
class inlet {
public:
    explicit inlet(std::vector<link*> links) : links_(std::move(links)) {}

    // nullptr: the end. `stop` is asked while it waits; when it says true the wait goes on: the end will come.
    template <class Stop = never_stop>
    batch_head* take(Stop&& stop = {}) {
        last_ = links_[turn_];
        batch_head* batch = receive(*last_, stop);
        turn_ = turn_ + 1 == links_.size() ? 0 : turn_ + 1;
        if (batch != nullptr) return batch;
        for (std::size_t others = links_.size() - 1; others != 0; --others) {
            receive(*links_[turn_], stop);
            turn_ = turn_ + 1 == links_.size() ? 0 : turn_ + 1;
        }
        turn_ = 0;
        for (link* each : links_) each->flush();
        return nullptr;
    }
    void give_back(batch_head* batch) { last_->give_back(batch); }
    std::size_t depth() const noexcept {
        std::size_t waiting = 0;
        for (const link* each : links_) waiting += each->filled.depth();
        return waiting;
    }

private:
    template <class Stop>
    static batch_head* receive(link& from, Stop& stop) {
        batch_head* batch = nullptr;
        while (from.filled.recv_until(batch, no_deadline, stop, looks) == channel_status::stopped);
        return batch;
    }

    const std::vector<link*> links_;
    std::size_t turn_ = 0;
    link* last_ = nullptr;
};

// The links that one thread sends to, in turn.
class outlet {
public:
    explicit outlet(std::vector<link*> links) : links_(std::move(links)) {}

    // An empty batch; it must be sent.
    batch_head& room() {
        batch_head* batch = nullptr;
        links_[turn_]->empty.recv_until(batch, no_deadline, never_stop{}, looks);
        return *batch;
    }
    void send(batch_head& batch) {
        links_[turn_]->filled.send_until(&batch, no_deadline);
        turn_ = turn_ + 1 == links_.size() ? 0 : turn_ + 1;
    }
    void end() {
        turn_ = 0;
        for (link* each : links_) each->filled.send_until(nullptr, no_deadline);
    }

private:
    const std::vector<link*> links_;
    std::size_t turn_ = 0;
};

// Steps that a batch passes one after the other on one thread, with the batches in between and the counters.
class chain {
public:
    struct part {
        const step* made_by;
        std::size_t stage;
        stage_cells* cells;
        std::unique_ptr<batch_head> scratch;  // of all but the last
    };
    chain(std::vector<part> parts) : parts_(std::move(parts)) {}

    bool empty() const noexcept { return parts_.empty(); }

    // note: what the first step is told of waiting and depth. Never throws: an engine that fails ends the run.
    void pass(run_state& run, batch_head& in, batch_head& out, batch_note note, std::uint64_t start) noexcept {
        batch_head* from = &in;
        for (part& each : parts_) {
            batch_head& to = each.scratch ? *each.scratch : out;
            try {
                each.made_by->pass(run, each.stage, *from, to, note);
            } catch (...) {
                run.broken();
                to.size = 0;
            }
            const std::uint64_t end = now_ns();
            note.busy_ns = end - start;
            if (note.items_in != 0) note.item_ns = note.busy_ns / note.items_in;
            each.cells->add(note);
            note = {};
            start = end;
            from = &to;
        }
    }

private:
    std::vector<part> parts_;
};

// The source's turn: fills one batch. False: nothing more will come.
inline bool read_source(run_state& run, batch_head& batch, std::uint64_t number, std::uint64_t& read, stage_cells& cells,
                        batch_note note) {
    bool more = false;
    batch.number = number;
    batch.first = read;
    batch.gaps = false;
    batch.size = 0;
    batch.errors.clear();
    const std::uint64_t start = now_ns();
    try {
        const std::size_t count = run.source.fill(batch);
        if (count > batch.capacity) throw std::logic_error("the source says that it gave more items than there was room for");
        batch.size = count;
        more = count != 0;
    } catch (...) {  // whatever the policy: there is no item to skip
        run.end_before(number + 1);
        try {
            batch.errors.push_back({0, "source", read, std::current_exception()});
        } catch (...) {
            run.broken();
        }
    }
    batch.born_ns = now_ns();
    note.items_in = note.items_out = batch.size;
    note.busy_ns = batch.born_ns - start;
    if (batch.size != 0) note.item_ns = note.busy_ns / batch.size;
    cells.add(note);
    read += batch.size;
    return more;
}

struct engine_plan {
    std::vector<std::shared_ptr<const step>> steps;
    std::unique_ptr<batch_head> (*make_source_batch)(block_cache&, std::size_t room);
    std::size_t workers, batch, depth;
};

class engine {
public:
    // Without threads: for run_here(), where the caller does everything.
    engine(const engine_plan& plan, block_cache& blocks, bool threads)
        : cells_(std::make_unique<std::vector<std::vector<std::unique_ptr<stage_cells>>>>(plan.steps.size() + 2)) {
        try {
            threads ? build(plan, blocks) : build_here(plan, blocks);
        } catch (...) {
            end_threads();
            throw;
        }
    }
    engine(const engine&) = delete;
    engine& operator=(const engine&) = delete;
    ~engine() { end_threads(); }

    bool left_behind() const noexcept { return home_.left(); }  // by a fork: then it must not be used, nor destroyed

    void start(run_state& run) {
        for (auto& each : lanes_) each->go.send_until(&run, no_deadline);
    }
    inlet& sink() noexcept { return *sink_; }
    stage_cells& cells(std::size_t stage) noexcept { return *(*cells_)[stage].front(); }
    chain& whole() noexcept { return *whole_; }
    batch_head& first() noexcept { return *first_; }
    batch_head& last() noexcept { return last_ ? *last_ : *first_; }

    void read(std::vector<stage_metrics>& into) const {
        for (std::size_t stage = 0; stage < cells_->size(); ++stage)
            for (const auto& each : (*cells_)[stage]) into[stage].merge(each->read());
    }
    void clear() {
        for (auto& stage : *cells_)
            for (auto& each : stage) each->clear();
    }

private:
    struct lane {
        spsc_channel<run_state*> go{1};
        std::function<void(run_state&)> work;
        std::thread thread;
    };

    void build_here(const engine_plan& plan, block_cache& blocks) {
        add_cells(0);
        first_ = plan.make_source_batch(blocks, plan.batch);
        whole_ = std::make_unique<chain>(parts_of(plan, blocks, 0, plan.steps.size()));
        if (!plan.steps.empty()) last_ = plan.steps.back()->make_output(blocks, plan.batch);
        add_cells(plan.steps.size() + 1);
    }

    void build(const engine_plan& plan, block_cache& blocks) {
        const auto width_of = [&](std::size_t first) {
            return first < plan.steps.size() && plan.steps[first]->parallel ? plan.workers : std::size_t{1};
        };
        const auto connect = [&](std::size_t count, const auto& make) {
            std::vector<link*> made;
            for (std::size_t i = 0; i < count; ++i) {
                links_.push_back(std::make_unique<link>(plan.depth, make));
                made.push_back(links_.back().get());
            }
            return made;
        };
        std::vector<link*> behind = connect(width_of(0), [&] { return plan.make_source_batch(blocks, plan.batch); });
        stage_cells& source_cells = add_cells(0);
        add_lane([out = outlet(behind), &source_cells](run_state& run) mutable {
            std::uint64_t read = 0;
            bool more = true;
            for (std::uint64_t number = 0; more && !run.over(number); ++number) {
                const std::uint64_t start = now_ns();
                batch_head& batch = out.room();
                batch_note note;
                note.wait_ns = now_ns() - start;
                more = read_source(run, batch, number, read, source_cells, note);
                out.send(batch);
            }
            out.end();
        });

        for (std::size_t first = 0, last; first < plan.steps.size(); first = last) {
            last = first + 1;
            const std::size_t width = width_of(first);
            while (last < plan.steps.size() && plan.steps[first]->parallel && plan.steps[last]->parallel) ++last;
            const std::vector<link*> before = std::move(behind);
            const step& ending = *plan.steps[last - 1];
            behind = connect(std::max(width, width_of(last)), [&] { return ending.make_output(blocks, plan.batch); });
            for (std::size_t i = 0; i < width; ++i) {
                auto steps = std::make_shared<chain>(parts_of(plan, blocks, first, last));
                // A worker has one link on each side; a serial thread has all of them.
                const auto mine = [&](const std::vector<link*>& all) { return width == 1 ? all : std::vector<link*>{all[i]}; };
                add_lane([in = inlet(mine(before)), out = outlet(mine(behind)), steps](run_state& run) mutable {
                    for (std::uint64_t start = now_ns();;) {
                        batch_note note;
                        note.queue_depth = in.depth();
                        batch_head* const batch = in.take();
                        if (batch == nullptr) break;
                        batch_head& made = out.room();
                        const std::uint64_t ready = now_ns();
                        note.wait_ns = ready - start;
                        steps->pass(run, *batch, made, note, ready);
                        start = now_ns();
                        in.give_back(batch);
                        out.send(made);
                    }
                    out.end();  // the last that this run hears of this thread
                });
            }
        }
        sink_ = std::make_unique<inlet>(std::move(behind));
        add_cells(plan.steps.size() + 1);
        for (auto& each : lanes_)
            each->thread = std::thread([me = each.get()] {
                for (run_state* run = nullptr; me->go.recv_until(run, no_deadline) == channel_status::ok && run;)
                    me->work(*run);
            });
    }

    stage_cells& add_cells(std::size_t stage) { return *(*cells_)[stage].emplace_back(std::make_unique<stage_cells>()); }
    std::vector<chain::part> parts_of(const engine_plan& plan, block_cache& blocks, std::size_t first, std::size_t last) {
        std::vector<chain::part> parts;
        for (std::size_t i = first; i < last; ++i) {
            const step& each = *plan.steps[i];
            auto scratch = i + 1 < last ? each.make_output(blocks, plan.batch) : nullptr;
            parts.push_back({&each, i + 1, &add_cells(i + 1), std::move(scratch)});
        }
        return parts;
    }
    template <class F>
    void add_lane(F work) {
        lanes_.push_back(std::make_unique<lane>());
        lanes_.back()->work = std::move(work);
    }
    void end_threads() noexcept {
        for (auto& each : lanes_) {
            if (!each->thread.joinable()) continue;
            each->go.send_until(nullptr, no_deadline);
            each->thread.join();
        }
    }

    channel_detail::home_process home_;
    std::unique_ptr<std::vector<std::vector<std::unique_ptr<stage_cells>>>> cells_;  // by stage, one per thread of it
    std::vector<std::unique_ptr<link>> links_;
    std::unique_ptr<inlet> sink_;
    std::unique_ptr<chain> whole_;  // these three without threads
    std::unique_ptr<batch_head> first_, last_;
    std::vector<std::unique_ptr<lane>> lanes_;  // last: the threads go before what they use
};

}  // namespace tenfold::pipeline_detail
