// tenfold/span_chain.hpp: a chain of element-wise steps that is known only when the program runs, in one pass over memory.
//
// Why: `a * b + c * 2 - 1` compiled as one loop is the fastest, but somebody must have compiled it. Without a compiler at hand the
// way between that and NumPy's temporaries is numexpr's: blocks of 1024 items go through all steps while they are in the
// first-level cache, so memory is read and written once, whatever the number of steps. Each step is one of the kernels of
// span_kernels.hpp, rounded as written: the same bits as step by step, at every thread count and instruction set.
//
// Copy: span_chain.hpp and what span_kernels.hpp needs. C++20, OpenMP (-fopenmp), Highway (-lhwy) and -ffp-contract=off.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "tenfold/span_kernels.hpp"

namespace tenfold::zero_copy {

// What a step does with the value so far, v, and its operand, o: v + o, v - o, v * o, v / o, o - v, o / v, the lesser, the greater
// (NaN stays NaN), v + o * constant; and with v alone: its square root, square, negative, absolute value.
enum class chain_op {
    add,
    subtract,
    multiply,
    divide,
    rsubtract,
    rdivide,
    minimum,
    maximum,
    add_scaled,
    sqrt,
    square,
    negate,
    absolute
};

struct chain_step {
    chain_op op;
    int operand = -1;  // which of the inputs; -1: the constant
    double constant = 0.0;  // add_scaled takes both
};

namespace detail {

constexpr bool takes_operand(chain_op op) { return op <= chain_op::add_scaled; }

constexpr map_op kernel_for(chain_op op) {
    switch (op) {
        case chain_op::add: return op_add;
        case chain_op::subtract:
        case chain_op::rsubtract: return op_subtract;
        case chain_op::multiply: return op_multiply;
        case chain_op::divide:
        case chain_op::rdivide: return op_divide;
        case chain_op::minimum: return op_minimum;
        case chain_op::maximum: return op_maximum;
        case chain_op::add_scaled: return op_triad;
        case chain_op::sqrt: return op_sqrt;
        case chain_op::square: return op_square;
        case chain_op::negate: return op_negate;
        case chain_op::absolute: return op_absolute;
    }
    return map_op_count;
}

// What one thread works in: the blocks of a chunk.
template <class T>
class chain_blocks {
public:
    chain_blocks(std::span<const view2d<const T>> inputs, std::span<const chain_step> steps)
        : inputs_(inputs),
          steps_(steps),
          memory_(std::make_unique_for_overwrite<T[]>((inputs.size() + steps.size() + 1) * map_block)),
          from_(inputs.size()) {
        for (std::size_t k = 0; k < inputs.size(); ++k)
            if (inputs[k].one_item()) std::fill_n(block(k), map_block, *inputs[k].data);
        for (std::size_t s = 0; s < steps.size(); ++s) {
            if (steps[s].operand < 0) std::fill_n(block(inputs.size() + s), map_block, static_cast<T>(steps[s].constant));
            kernels_.push_back(map_kernel_of<T>(kernel_for(steps[s].op)));
        }
    }

    // Up to map_block items of a row, from `column` on, into contiguous memory.
    void run(std::size_t row, std::size_t column, std::size_t n, T* out, bool stream) {
        for (std::size_t k = 0; k < inputs_.size(); ++k) {
            const auto& in = inputs_[k];
            from_[k] = in.one_item() ? block(k) : in.at(row, column);
            if (in.one_item() || in.dense_rows()) continue;
            gather(from_[k], in.column_stride, n, block(k));
            from_[k] = block(k);
        }
        T* const work = block(inputs_.size() + steps_.size());
        const T* value = from_[0];
        if (steps_.empty()) std::copy_n(value, n, out);
        for (std::size_t s = 0; s < steps_.size(); ++s) {
            const chain_step& step = steps_[s];
            const T* operand = step.operand < 0 ? block(inputs_.size() + s) : from_[static_cast<std::size_t>(step.operand)];
            const bool turned = step.op == chain_op::rsubtract || step.op == chain_op::rdivide, last = s + 1 == steps_.size();
            const T* const given[2] = {turned ? operand : value, turned ? value : operand};
            kernels_[s](given, static_cast<T>(step.constant), last ? out : work, n, last && stream);
            value = work;
        }
    }

private:
    T* block(std::size_t index) { return memory_.get() + index * map_block; }

    std::span<const view2d<const T>> inputs_;
    std::span<const chain_step> steps_;
    std::unique_ptr<T[]> memory_;  // a block for each input, each step's constant, and the value so far
    std::vector<const T*> from_;
    std::vector<map_kernel<T>> kernels_;
};

}  // namespace detail

/// The value starts as inputs[0]. a * b + c * 2 - 1 of {a, b, c}: {multiply, 1}, {add_scaled, 2, 2.0}, {subtract, -1, 1.0}.
template <class T, class Stop = never_stop>
void run_chain(std::span<const view2d<const std::type_identity_t<T>>> inputs, std::span<const chain_step> steps,
               view2d<std::type_identity_t<T>> out, int threads, Stop&& stop = {}, stores how = stores::automatic) {
    using namespace detail;
    if (inputs.empty()) throw std::invalid_argument("a chain needs an input to start from");
    for (const chain_step& step : steps) {
        if (step.operand >= static_cast<int>(inputs.size()))
            throw std::invalid_argument("a step names an input that there is not");
        if (step.op == chain_op::add_scaled && step.operand < 0)
            throw std::invalid_argument("add_scaled needs an input to scale");
    }
    check_output<T>(out);
    std::vector<view2d<const T>> in(inputs.begin(), inputs.end());
    bool in_place = false, flatten = out.one_row();
    for (const auto& each : in) {
        check_input<T>(out, each, "an input");
        in_place = in_place || same_view<T>(out, each);
        flatten = flatten && (each.one_row() || each.one_item());
    }
    if (flatten) {
        for (auto& each : in) each = each.one_item() ? view2d<const T>(each.data, 1, out.size(), 0, 0) : each.as_one_row();
        out = out.as_one_row();
    }
    const bool stream =
        out.dense_rows() && streams(how, static_cast<int>(in.size()), (in.size() + 1) * out.size() * sizeof(T), in_place);
    over_chunks(
        out.size(), map_chunk, threads,
        [&](std::size_t begin, std::size_t end) {
            chain_blocks<T> blocks(in, steps);
            std::vector<T> result(out.dense_rows() ? 0 : map_block);
            for_each_row(begin, end, out.columns, [&](std::size_t row, std::size_t column, std::size_t items) {
                for (std::size_t done = 0; done < items; done += map_block) {
                    const std::size_t n = std::min(map_block, items - done);
                    T* const to = out.at(row, column + done);
                    blocks.run(row, column + done, n, result.empty() ? to : result.data(), stream);
                    if (!result.empty()) scatter(result.data(), n, to, out.column_stride);
                }
            });
        },
        stop, deal::evenly, map_inline_below);
}

}  // namespace tenfold::zero_copy
