// bind_reductions.hpp: one answer from all numbers. Nothing is allocated; find and predicates stop early.
#pragma once

#include <cmath>
#include <optional>
#include <tuple>

#include "bind_common.hpp"

namespace bind {

inline auto fold(std::span<const double> in, int num_threads) {
    const auto all = pipeline(num_threads, [&](auto par) { return par(in) | tenfold::sum_min_max(); });
    return std::tuple(all.sum, all.min, all.max);
}

inline std::optional<std::size_t> find(std::span<const int64_t> in, int64_t target, int num_threads) {
    return pipeline(num_threads, [&](auto par) { return par(in) | tenfold::find_value(target); });
}

/// Whether any is negative, whether all are positive: one pass, for what comes before the first that is not positive
/// need not be looked at again.
inline std::pair<bool, bool> predicates(std::span<const int64_t> in, int num_threads) {
    return pipeline(num_threads, [&](auto par) {
        const auto first = par(in) | tenfold::find_first([](int64_t x) { return x <= 0; });
        if (!first) return std::pair(false, true);
        return std::pair(par(in.subspan(*first)) | tenfold::any([](int64_t x) { return x < 0; }), false);
    });
}

inline double degree_days(std::span<const double> fahrenheit, double base, int num_threads) {
    return pipeline(num_threads, [&](auto par) {
        return par(fahrenheit) | tenfold::map([](double f) { return (f - 32.0) * (5.0 / 9.0); }) |
               tenfold::filter([=](double celsius) { return celsius > base; }) |
               tenfold::map([=](double celsius) { return celsius - base; }) | tenfold::sum();
    });
}

inline void check_base(double base) {
    if (std::isnan(base)) throw py::value_error("base must not be NaN");
}

inline py::typing::Optional<py::int_> or_none(std::optional<std::size_t> index) {
    return index ? py::object(py::int_(*index)) : py::object(py::none());
}

inline void bind_reductions(py::module_& m) {
    const auto none = py::none();

    m.def(
        "parallel_fold", [](const float_array& numbers, threads num_threads) { return fold(numbers.span(), num_threads); },
        "numbers"_a, py::kw_only(), "num_threads"_a = none, R"(
Sum, minimum and maximum, in one pass.

Parameters
----------
numbers : sequence of float, or 1-D float64 array
    An array is read where it is; a list is copied into C++ memory first.
num_threads : int, optional
    1 to 1024; all usable cores (affinity and cgroup limits respected) when None. It never changes the result's bits.

Returns
-------
sum, min, max : float
    ``(0.0, inf, -inf)`` when empty; all NaN when any number is.
)");
    m.def(
        "parallel_fold", [](const floats& numbers, threads num_threads) { return fold(numbers.read().span(), num_threads); },
        "numbers"_a, py::kw_only(), "num_threads"_a = none);

    m.def(
        "parallel_degree_days",
        [](const array_of<double, "fahrenheit">& fahrenheit, real<"base"> base, threads num_threads) {
            check_base(base);
            return degree_days(fahrenheit.span(), base, num_threads);
        },
        "fahrenheit"_a, "base"_a = 18.0, py::kw_only(), "num_threads"_a = none, R"(
Cooling degree days: how far above `base` the daily temperatures were, added up.

With ``celsius = (fahrenheit - 32.0) * (5.0 / 9.0)``, the sum of ``celsius - base`` over those with ``celsius > base``: a map, a
filter, a map and a sum in one pass.

Parameters
----------
fahrenheit : sequence of float, or 1-D float64 array
    Temperatures; NaN (not measured) counts as not warm.
base : float
    In degrees Celsius.
num_threads : int, optional
    1 to 1024; all usable cores when None. It never changes the result's bits.

Returns
-------
float
    0.0 when empty.
)");
    m.def(
        "parallel_degree_days",
        [](const list_of<double, "fahrenheit">& fahrenheit, real<"base"> base, threads num_threads) {
            check_base(base);
            return degree_days(fahrenheit.read().span(), base, num_threads);
        },
        "fahrenheit"_a, "base"_a = 18.0, py::kw_only(), "num_threads"_a = none);

    m.def(
        "parallel_find",
        [](const int_array& numbers, whole<"target"> target, threads num_threads) {
            return or_none(find(numbers.span(), target, num_threads));
        },
        "numbers"_a, "target"_a, py::kw_only(), "num_threads"_a = none, R"(
Index of the first int that equals `target`. What comes after it is hardly looked at.

Parameters
----------
numbers : sequence of int, or 1-D int64 array
target : int
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
int or None
)");
    m.def(
        "parallel_find",
        [](const ints& numbers, whole<"target"> target, threads num_threads) {
            return or_none(find(numbers.read().span(), target, num_threads));
        },
        "numbers"_a, "target"_a, py::kw_only(), "num_threads"_a = none);

    m.def(
        "parallel_predicates",
        [](const int_array& numbers, threads num_threads) { return predicates(numbers.span(), num_threads); }, "numbers"_a,
        py::kw_only(), "num_threads"_a = none, R"(
Whether any int is negative, and whether all are positive. It stops as soon as both are known.

Parameters
----------
numbers : sequence of int, or 1-D int64 array
num_threads : int, optional
    1 to 1024; all usable cores when None.

Returns
-------
any_negative, all_positive : bool
    ``(False, True)`` when empty.
)");
    m.def(
        "parallel_predicates",
        [](const ints& numbers, threads num_threads) { return predicates(numbers.read().span(), num_threads); }, "numbers"_a,
        py::kw_only(), "num_threads"_a = none);
}

}  // namespace bind
