// tenfold/kernel_program.hpp: stages put together while the program runs, yet one pass over the numbers.
//
// Why: a pipeline whose stages are types (pipeline.hpp) is fused by the compiler, but what a user of Python chooses is known too late
// for that. Calling a function pointer per number costs more than the number's work. Here a step is applied to a block of 1024
// numbers that stays in the first-level cache, then the next step: the choice is made once per block, and each step is a loop
// that the compiler vectorises. Tests compact the block; the numbers' places in the input travel along, for whoever must name them.
//     const tenfold::kernel_program program({{tenfold::kernel::finite, 0, true}, {tenfold::kernel::at_least, 0.0, false},
//                                            {tenfold::kernel::sqrt, 0, false}});
//     std::vector<double> out(in.size());
//     auto result = program.run(in, out.data());      // result.written numbers; result.failed: places of those a failing test refused
// A program is never changed by running it: any number of threads may run it at once. `out` may be the input.
//
// Copy: this file.   #include <tenfold/kernel_program.hpp>   C++20; no flags, no libraries.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#ifndef TENFOLD_NEVER_STOP
#define TENFOLD_NEVER_STOP
namespace tenfold {
struct never_stop {
    bool operator()() const noexcept { return false; }
};
struct stopped : std::exception {
    const char* what() const noexcept override { return "stopped"; }
};
}  // namespace tenfold
#endif

namespace tenfold {

/// Tests first; each may be a filter, or a check whose refusals are failures.
enum class kernel : std::uint8_t {
    finite,
    at_least,
    at_most,
    above,
    below,
    times,
    plus,
    divided_by,
    sqrt,
    square,
    absolute,
    negative,
};

inline constexpr std::array<std::pair<std::string_view, kernel>, 12> kernel_names{{{"finite", kernel::finite},
                                                                                   {"at_least", kernel::at_least},
                                                                                   {"at_most", kernel::at_most},
                                                                                   {"above", kernel::above},
                                                                                   {"below", kernel::below},
                                                                                   {"times", kernel::times},
                                                                                   {"plus", kernel::plus},
                                                                                   {"divided_by", kernel::divided_by},
                                                                                   {"sqrt", kernel::sqrt},
                                                                                   {"square", kernel::square},
                                                                                   {"absolute", kernel::absolute},
                                                                                   {"negative", kernel::negative}}};

constexpr bool is_test(kernel op) noexcept { return op <= kernel::below; }

struct kernel_step {
    kernel op;
    double number = 0.0;
    bool fails = false;  // of a test: what it refuses has failed; else it is filtered
};

struct program_result {
    std::size_t written = 0;
    std::uint64_t filtered = 0;
    std::vector<std::int64_t> failed;  // places in the input, ascending
};

class kernel_program {
public:
    static constexpr std::size_t block = 1024;

    explicit kernel_program(std::vector<kernel_step> steps) : steps_(std::move(steps)) {
        for (const kernel_step& step : steps_) {
            if (step.op > kernel::negative) throw std::invalid_argument("no such kernel");
            if (step.fails && !is_test(step.op)) throw std::invalid_argument("only a test can fail");
            tests_ = tests_ || is_test(step.op);
            fails_ = fails_ || step.fails;
        }
    }

    /// The survivors, in order. `out` has room for in.size() numbers, and so has `places` if it is given: there go the
    /// survivors' places in the input. Throws stopped when stop() says so, which is asked every 64 Ki numbers.
    template <class Stop = never_stop>
    program_result run(std::span<const double> in, double* out, std::int64_t* places = nullptr, Stop&& stop = {}) const {
        program_result result;
        alignas(64) std::array<double, block> values;
        std::array<std::uint32_t, block> kept;
        const bool tracked = tests_ && (fails_ || places != nullptr);
        for (std::size_t at = 0; at < in.size(); at += block) {
            if (at % (64 * block) == 0 && stop()) throw stopped();
            const std::size_t size = std::min(block, in.size() - at);
            std::copy_n(in.data() + at, size, values.data());
            if (tracked)
                for (std::size_t i = 0; i < size; ++i) kept[i] = static_cast<std::uint32_t>(i);
            const std::size_t failed_before = result.failed.size();
            std::size_t count = size;
            for (const kernel_step& step : steps_) {
                if (!is_test(step.op)) {
                    compute(step, {values.data(), count});
                    continue;
                }
                const std::size_t left = test(step, {values.data(), count}, tracked ? kept.data() : nullptr,
                                              static_cast<std::int64_t>(at), step.fails ? &result.failed : nullptr);
                if (!step.fails) result.filtered += count - left;
                count = left;
            }
            // two checks in one program find theirs one after the other
            std::sort(result.failed.begin() + static_cast<std::ptrdiff_t>(failed_before), result.failed.end());
            std::copy_n(values.data(), count, out + result.written);
            if (places != nullptr)
                for (std::size_t i = 0; i < count; ++i)
                    places[result.written + i] = static_cast<std::int64_t>(at + (tracked ? kept[i] : i));
            result.written += count;
        }
        return result;
    }

    std::span<const kernel_step> steps() const noexcept { return steps_; }
    bool tests() const noexcept { return tests_; }

private:
    static void compute(const kernel_step& step, std::span<double> values) {
        const double number = step.number;
        const auto each = [values](auto f) {
            for (double& x : values) x = f(x);
        };
        switch (step.op) {
            case kernel::times: return each([=](double x) { return x * number; });
            case kernel::plus: return each([=](double x) { return x + number; });
            case kernel::divided_by: return each([=](double x) { return x / number; });
            case kernel::sqrt:
                return each([](double x) { return x < 0.0 ? std::numeric_limits<double>::quiet_NaN() : std::sqrt(x); });
            case kernel::square: return each([](double x) { return x * x; });
            case kernel::absolute: return each([](double x) { return std::fabs(x); });
            default: return each([](double x) { return -x; });
        }
    }

    static std::size_t test(const kernel_step& step, std::span<double> values, std::uint32_t* kept, std::int64_t base,
                            std::vector<std::int64_t>* failed) {
        const double number = step.number;
        switch (step.op) {
            case kernel::finite:
                return keep([](double x) { return std::fabs(x) <= std::numeric_limits<double>::max(); }, values, kept, base,
                            failed);
            case kernel::at_least: return keep([=](double x) { return x >= number; }, values, kept, base, failed);
            case kernel::at_most: return keep([=](double x) { return x <= number; }, values, kept, base, failed);
            case kernel::above: return keep([=](double x) { return x > number; }, values, kept, base, failed);
            default: return keep([=](double x) { return x < number; }, values, kept, base, failed);
        }
    }

    template <class Test>
    static std::size_t keep(Test passes, std::span<double> values, std::uint32_t* kept, std::int64_t base,
                            std::vector<std::int64_t>* failed) {
        std::uint64_t good = 0;
        for (const double x : values) good += passes(x) ? 1 : 0;
        if (good == values.size()) return values.size();  // the common case is one vectorised look
        if (failed != nullptr)
            for (std::size_t i = 0; i < values.size(); ++i)
                if (!passes(values[i])) failed->push_back(base + kept[i]);
        std::size_t to = 0;  // without a branch, which would be guessed wrong half of the time
        if (kept == nullptr) {
            for (std::size_t i = 0; i < values.size(); ++i) {
                const double x = values[i];
                values[to] = x;
                to += passes(x) ? 1 : 0;
            }
        } else {
            for (std::size_t i = 0; i < values.size(); ++i) {
                const double x = values[i];
                values[to] = x;
                kept[to] = kept[i];
                to += passes(x) ? 1 : 0;
            }
        }
        return to;
    }

    std::vector<kernel_step> steps_;
    bool tests_ = false, fails_ = false;
};

}  // namespace tenfold
