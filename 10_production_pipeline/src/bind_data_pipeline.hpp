// bind_data_pipeline.hpp: DataPipeline, PipelineStats, aggregate_pipeline. Results of arrays stay where C++ wrote them: the
// array owns a block of the pipeline's memory, which goes back to the pipeline when the array dies.
#pragma once

#include <cstddef>
#include <cstdio>
#include <memory>
#include <tuple>
#include <utility>

#include "boundary.hpp"
#include "tenfold/aggregate.hpp"
#include "tenfold/data_pipeline.hpp"

namespace bind {

namespace py = pybind11;
using namespace py::literals;
using namespace tenfold::boundary;
using tenfold::pipeline_stats;

/// The pipeline, ended without the GIL: its destructor joins threads.
class shared_pipeline {
public:
    shared_pipeline(int threads, std::size_t batch_size)
        : pipeline_(released([&](auto) { return std::make_unique<tenfold::data_pipeline>(threads, batch_size); })) {}
    shared_pipeline(const shared_pipeline&) = delete;
    shared_pipeline& operator=(const shared_pipeline&) = delete;
    ~shared_pipeline() {
        released_gil gil;
        pipeline_.reset();
        gil.finish();
    }
    tenfold::data_pipeline* operator->() const { return pipeline_.get(); }

private:
    std::unique_ptr<tenfold::data_pipeline> pipeline_;
};

}  // namespace bind

template <>
struct pybind11::detail::type_caster<bind::shared_pipeline> : tenfold::boundary::made_caster<bind::shared_pipeline> {};
template <>
struct pybind11::detail::type_caster<tenfold::pipeline_stats> : tenfold::boundary::made_caster<tenfold::pipeline_stats> {};

namespace bind {

/// An array that owns its block: nothing is copied.
inline array_object<double> to_array(tenfold::result_block&& block) {
    auto owned = std::make_unique<tenfold::result_block>(std::move(block));
    const auto values = owned->values();
    const py::capsule owner(owned.get(), [](void* pointer) { delete static_cast<tenfold::result_block*>(pointer); });
    (void)owned.release();
    return py::reinterpret_steal<array_object<double>>(
        py::array_t<double>(static_cast<py::ssize_t>(values.size()), values.data(), owner).release());
}

inline std::string text(const pipeline_stats& s) {
    char duration[32];
    std::snprintf(duration, sizeof duration, "%.6f", s.duration_secs);
    return "PipelineStats(items_processed=" + std::to_string(s.items_processed) +
           ", items_filtered=" + std::to_string(s.items_filtered) + ", items_failed=" + std::to_string(s.items_failed) +
           ", duration_secs=" + duration + ")";
}

inline auto summary(std::span<const double> data, int num_threads) {
    const auto all = released([&](auto stop) { return tenfold::aggregate(data, num_threads, stop); });
    return std::tuple(all.mean, all.stddev, all.min, all.max, all.count);
}

template <auto Process, class Class>
void bind_process(Class& pipeline, const char* name, const char* doc) {
    pipeline.def(
        name,
        [](const shared_pipeline& self, const array_of<double, "data">& data) {
            const auto in = data.span();
            auto answer = released([&](auto stop) { return Process(*self.operator->(), in, stop); });
            return std::pair(to_array(std::move(answer.values)), answer.stats);
        },
        "data"_a, doc);
    pipeline.def(
        name,
        [](const shared_pipeline& self, const list_of<double, "data">& data) {
            const auto values = data.read();
            const auto answer = released([&](auto stop) { return Process(*self.operator->(), values.span(), stop); });
            return std::pair(to_list(answer.values.values()), answer.stats);
        },
        "data"_a);
}

inline void bind_data_pipeline(py::module_& m) {
    py::class_<pipeline_stats>(m, "PipelineStats", py::module_local(), R"(
What one run of a DataPipeline counted; read-only.

Of the numbers given to it, `items_failed` were NaN or infinite, `items_filtered` of the others negative, and `items_processed`
came out.
)")
        .def_readonly("items_processed", &pipeline_stats::items_processed, "Numbers that came out.")
        .def_readonly("items_filtered", &pipeline_stats::items_filtered, "Finite numbers below zero.")
        .def_readonly("items_failed", &pipeline_stats::items_failed, "NaN, inf and -inf.")
        .def_readonly("duration_secs", &pipeline_stats::duration_secs,
                      "Seconds in C++, more than 0 after a run; conversion excluded.")
        .def("__repr__", &text);

    py::class_<shared_pipeline> pipeline(m, "DataPipeline", py::module_local(), R"(
Validates, filters and transforms floats on threads that it keeps, into memory that it keeps.

NaN and infinite numbers fail; of the others, those below zero are filtered (-0.0 is not); each that is left becomes
``2 * sqrt(x)``, in order. Any number of threads may use one pipeline at once.

Parameters
----------
thread_count : int
    1 to 1024 workers, started now.
batch_size : int
    Numbers that are the unit of work: `process_batched` hands out one batch at a time, `process` as many whole batches
    as are worth handing out.

Raises
------
RuntimeError
    From `process` in a forked child: the workers are in the parent.
)");
    pipeline.def(py::init([](count<"thread_count", 1024> threads, count<"batch_size"> batch_size) {
                     return std::make_unique<shared_pipeline>(static_cast<int>(threads.value),
                                                              static_cast<std::size_t>(batch_size.value));
                 }),
                 "thread_count"_a, "batch_size"_a);
    bind_process<[](tenfold::data_pipeline& p, std::span<const double> in, auto& stop) { return p.process(in, stop); }>(
        pipeline, "process", R"(
Runs all of `data` through the pipeline.

Parameters
----------
data : sequence of float, or 1-D float64 array
    An array is read where it is; a list is copied into C++ memory first.

Returns
-------
values : list of float, or array
    A list for a sequence, an array for an array. The array's memory goes back to the pipeline when the array dies.
stats : PipelineStats
    Of this run.
)");
    bind_process<[](tenfold::data_pipeline& p, std::span<const double> in, auto& stop) { return p.process_batched(in, stop); }>(
        pipeline, "process_batched", R"(
The same answer as `process`; workers take exactly one batch of `batch_size` at a time.

Parameters
----------
data : sequence of float, or 1-D float64 array

Returns
-------
values : list of float, or array
stats : PipelineStats
)");
    pipeline.def("get_stats", [](const shared_pipeline& self) { return self->get_stats(); }, R"(
Of the run that finished last; all zero before the first.

Returns
-------
PipelineStats
)");

    m.def(
        "aggregate_pipeline",
        [](const array_of<double, "data">& data, threads num_threads) { return summary(data.span(), num_threads); }, "data"_a,
        py::kw_only(), "num_threads"_a = py::none(), R"(
Mean, standard deviation, minimum, maximum and count of the finite numbers, in one pass (Welford's method, merged by Chan's).

Parameters
----------
data : sequence of float, or 1-D float64 array
num_threads : int, optional
    1 to 1024; all usable cores when None. It never changes the result's bits.

Returns
-------
mean, stddev, min, max : float
    `stddev` is the population's. ``(0.0, 0.0, inf, -inf, 0)`` when no number is finite.
count : int
)");
    m.def(
        "aggregate_pipeline",
        [](const list_of<double, "data">& data, threads num_threads) { return summary(data.read().span(), num_threads); },
        "data"_a, py::kw_only(), "num_threads"_a = py::none());
}

}  // namespace bind
