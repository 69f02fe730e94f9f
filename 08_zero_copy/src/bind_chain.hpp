// bind_chain.hpp: expressions that are put together at run time, evaluated block by block.
#pragma once

#include <tuple>

#include "bind_operands.hpp"
#include "tenfold/span_chain.hpp"

namespace bind {

inline zc::chain_op operation(const std::string& name) {
    using zc::chain_op;
    static constexpr std::pair<std::string_view, chain_op> known[] = {
        {"add", chain_op::add},           {"subtract", chain_op::subtract},   {"multiply", chain_op::multiply},
        {"divide", chain_op::divide},     {"rsubtract", chain_op::rsubtract}, {"rdivide", chain_op::rdivide},
        {"minimum", chain_op::minimum},   {"maximum", chain_op::maximum},     {"add_scaled", chain_op::add_scaled},
        {"sqrt", chain_op::sqrt},         {"square", chain_op::square},       {"negate", chain_op::negate},
        {"absolute", chain_op::absolute},
    };
    std::string names;
    for (const auto& [known_name, op] : known) {
        if (known_name == name) return op;
        names += join(names.empty() ? "'" : ", '", known_name, "'");
    }
    throw py::value_error(join("a step must be one of ", names, ", not '", name, "'"));
}

/// The chain that Chain (in _chain.py) has put together.
inline py::object run_chain(const py::list& inputs, const py::list& steps, const array_out<"out">& out, int threads) {
    std::vector<std::string> names;
    std::vector<tensor> tensors;
    for (std::size_t i = 0; i < inputs.size(); ++i) names.push_back(join("inputs[", i, "]"));
    for (std::size_t i = 0; i < inputs.size(); ++i) tensors.push_back(look_at(inputs[i], {names[i].c_str()}));
    if (tensors.empty()) throw py::value_error("a chain needs at least one array");
    operands given;
    for (std::size_t i = 0; i < tensors.size(); ++i) given.add(names[i].c_str(), viewable(tensors[i], {names[i].c_str()}));
    std::vector<zc::chain_step> plan;
    for (const py::handle step : steps) {
        const auto [name, input, constant] = step.cast<std::tuple<std::string, int, double>>();
        if (input >= static_cast<int>(tensors.size())) throw py::value_error(join("there is no inputs[", input, "]"));
        plan.push_back({operation(name), input, constant});
    }
    return by_type(given.is_double(), [&]<class T>() -> py::object {
        std::vector<zc::view2d<const T>> in;
        T unused{};
        for (std::size_t i = 0; i < tensors.size(); ++i) in.push_back(given.view<T>(i, unused));
        auto result = out.or_new<T>(given.shape());
        for (std::size_t i = 0; i < in.size(); ++i) same_or_apart<T>(in[i], result.view, given.arg(i));
        released([&](auto stop) { zc::run_chain<T>(in, plan, result.view, threads, stop); });
        return result.array;
    });
}

inline void bind_chain(py::module_& m) {
    const auto none = py::none();
    m.def(
        "run_chain",
        [](const py::list& inputs, const py::list& steps, const array_out<"out">& out, threads num_threads) {
            return run_chain(inputs, steps, out, num_threads);
        },
        "inputs"_a, "steps"_a, py::kw_only(), "out"_a = none, "num_threads"_a = none, R"(
What :class:`Chain` calls: steps ``(name, input or -1, constant)``, applied to ``inputs[0]`` block by block, without temporaries.

Parameters
----------
inputs : list of float32 or float64 arrays of one dtype
steps : list of (str, int, float)
out : array, optional
num_threads : int, optional

Returns
-------
array
)");
}

}  // namespace bind
