// bind_program.hpp: what Pipeline, in Python, leaves to C++: native stages, and histograms of latency.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "boundary.hpp"
#include "tenfold/kernel_program.hpp"
#include "tenfold/latency_histogram.hpp"

namespace bind {

namespace py = pybind11;
using namespace py::literals;
using namespace tenfold::boundary;

inline tenfold::kernel_program read_program(const py::sequence& steps) {
    std::vector<tenfold::kernel_step> read;
    for (const py::handle step : steps) {
        const auto [code, number, fails] = py::cast<std::tuple<int, double, bool>>(step);
        if (code < 0 || code >= static_cast<int>(tenfold::kernel_names.size())) throw py::value_error("no such kernel");
        read.push_back({static_cast<tenfold::kernel>(code), number, fails});
    }
    return tenfold::kernel_program(std::move(read));
}

/// (values, places or None, places of failures, how many were filtered)
template <class Values, class Places>
py::tuple outcome(const Values& values, const Places& places, bool all_kept, const tenfold::program_result& result) {
    return py::make_tuple(values, all_kept ? py::none() : py::object(places), to_list(result.failed), result.filtered);
}

/// A histogram that Python threads may share, with or without a GIL.
class shared_histogram {
public:
    shared_histogram() = default;
    shared_histogram(const shared_histogram& other) : histogram_(other.read()) {}
    shared_histogram& operator=(const shared_histogram&) = delete;

    tenfold::latency_histogram read() const {
        const std::lock_guard lock(mutex_);
        return histogram_;
    }
    template <class F>
    void change(F&& f) {
        const std::lock_guard lock(mutex_);
        f(histogram_);
    }

private:
    mutable std::mutex mutex_;  // nobody calls Python or waits under it
    tenfold::latency_histogram histogram_;
};

}  // namespace bind

template <>
struct pybind11::detail::type_caster<tenfold::kernel_program> : tenfold::boundary::made_caster<tenfold::kernel_program> {};
template <>
struct pybind11::detail::type_caster<bind::shared_histogram> : tenfold::boundary::made_caster<bind::shared_histogram> {};

namespace bind {

inline void bind_histogram(py::module_& m) {
    using ns = amount<"ns">;
    py::class_<shared_histogram>(m, "LatencyHistogram", py::module_local(), R"(
How long things took: counts in buckets of time, eight per doubling, so a quantile is right within some 10 %.
)")
        .def(py::init<>())
        .def(
            "record",
            [](shared_histogram& self, ns time, amount<"times"> times) {
                self.change([&](auto& h) { h.record(static_cast<std::uint64_t>(time), static_cast<std::uint64_t>(times)); });
            },
            "ns"_a, "times"_a = 1, "Counts one time, in nanoseconds, so many times.")
        .def(
            "record_many",
            [](shared_histogram& self, const list_of<std::int64_t, "ns">& times) {
                const auto values = times.read();
                self.change([&](auto& h) {
                    for (const std::int64_t time : values)
                        h.record(static_cast<std::uint64_t>(std::max<std::int64_t>(time, 0)));
                });
            },
            "ns"_a, "Counts a list of times, in nanoseconds.")
        .def(
            "merge",
            [](shared_histogram& self, const shared_histogram& other) {
                self.change([copy = other.read()](auto& h) { h.merge(copy); });
            },
            "other"_a, "Adds what another one counted.")
        .def(
            "quantile", [](const shared_histogram& self, real<"q"> q) { return self.read().quantile(q); }, "q"_a,
            "The time, in seconds, that the fraction q of all did not exceed; 0.0 when empty.")
        .def(
            "buckets",
            [](const shared_histogram& self) {
                const auto all = self.read();
                py::list found;
                for (std::size_t i = 0; i < all.buckets; ++i)
                    if (all.bucket(i) != 0) found.append(py::make_tuple(all.upper_bound(i), all.bucket(i)));
                return found;
            },
            "``(upper bound in seconds, count)`` of each bucket that is not empty, ascending.")
        .def(
            "copy", [](const shared_histogram& self) { return std::make_unique<shared_histogram>(self); }, "A copy.")
        .def_property_readonly(
            "count", [](const shared_histogram& self) { return self.read().count(); }, "Times counted.")
        .def_property_readonly(
            "sum_s", [](const shared_histogram& self) { return self.read().sum_seconds(); }, "Their sum, in seconds.");
}

inline void bind_program(py::module_& m) {
    py::dict codes;
    for (const auto& [name, op] : tenfold::kernel_names) codes[py::str(name.data(), name.size())] = static_cast<int>(op);
    m.attr("KERNELS") = codes;

    py::class_<tenfold::kernel_program>(m, "Program", py::module_local(), R"(
Native stages, put together: ``Program([(KERNELS["finite"], 0.0, True), (KERNELS["sqrt"], 0.0, False)])``.

Each step is (kernel, its number, whether what a test refuses has failed instead of being filtered).
)")
        .def(py::init(&read_program), "steps"_a)
        .def(
            "run",
            [](const tenfold::kernel_program& self, const array_of<double, "items">& items, bool places) {
                const auto in = items.span();
                auto [array, out] = new_array<double>(in.size());
                places = places && self.tests();
                auto [kept, kept_span] = new_array<std::int64_t>(places ? in.size() : 0);
                const auto result =
                    released([&](auto stop) { return self.run(in, out.data(), places ? kept_span.data() : nullptr, stop); });
                if (result.written == in.size()) return outcome(array, kept, true, result);
                const py::slice first(0, static_cast<py::ssize_t>(result.written), 1);
                py::object values = array[first];
                if (result.written < in.size() / 2) values = values.attr("copy")();  // or it keeps all of the block
                return outcome(values, py::object(kept[first]), !places, result);
            },
            "items"_a, "places"_a = false, R"(
The survivors, in order, the GIL released.

Parameters
----------
items : sequence of float, or 1-D float64 array
places : bool
    Whether to tell the survivors' positions.

Returns
-------
values : list of float, or array
kept : list of int, or int64 array, or None
    Positions of the survivors; None if all survived, or were not asked for.
failed : list of int
    Positions of those that a failing test refused, ascending.
filtered : int
    How many other tests refused.
)")
        .def(
            "run",
            [](const tenfold::kernel_program& self, const list_of<double, "items">& items, bool places) {
                auto values = items.read();
                const std::size_t size = values.size();
                places = places && self.tests();
                numbers<std::int64_t> kept;
                if (places) kept.resize(size);
                const auto result = released([&](auto stop) {
                    return self.run(values.span(), values.data(), places ? kept.data() : nullptr, stop);  // in place
                });
                values.resize(result.written);
                const bool all_kept = !places || result.written == size;
                kept.resize(all_kept ? 0 : result.written);
                return outcome(to_list(values), to_list(kept), all_kept, result);
            },
            "items"_a, "places"_a = false);
    bind_histogram(m);
}

}  // namespace bind
