// tenfold/span_simd.hpp: one compilation of every kernel per instruction set; which one runs is chosen, and can be forced down.
//
// Why: -march=native makes a wheel that crashes on the neighbour's machine, and plain x86-64 leaves most of a core unused.
// Google Highway's foreach_target.h re-includes the kernel files (`*-inl.hpp`) once per instruction set, each time under another
// `#pragma target`; no compiler flag is needed. Whoever tests such code must run every compilation of it, not only the best:
//     tenfold::zero_copy::forced_level narrow(tenfold::zero_copy::simd_level::avx2);     // until the end of the scope
// The choice is one atomic number of this library's own: hwy::DisableTargets() would change every other user of Highway in
// the process, and is not meant for several threads. TENFOLD_ZERO_COPY_SIMD=baseline in the environment does it from outside.
//
// foreach_target.h works once per translation unit: a file that includes this header cannot have its own.
//
// Copy: span_simd.hpp, span_targets-inl.hpp and the families you want. Needs C++20 and Highway >= 1.0.3 (link hwy: -lhwy).
#pragma once

#ifdef HIGHWAY_HWY_FOREACH_TARGET_H_
#error "tenfold/span_simd.hpp: hwy/foreach_target.h is already used in this file; move one of the two to another .cpp"
#endif

// SSE-only machines take the baseline; later AVX-512 extensions (bits 0 to 7) and SVE (15 to 27: the width is not known when
// compiling) add nothing here. That is many instruction sets fewer to compile.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (0xFFLL | HWY_SSE4 | HWY_SSSE3 | ((1LL << 28) - (1LL << 15)))
#endif

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tenfold/span_targets-inl.hpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "tenfold/span_targets-inl.hpp"

namespace tenfold::zero_copy {

// avx2 means AVX2 with FMA; avx512 the F, CD, BW, DQ and VL of 2017's servers. On ARM the baseline has NEON already.
enum class simd_level { baseline, avx2, avx512, neon };

inline constexpr simd_level simd_levels[] = {simd_level::baseline, simd_level::neon, simd_level::avx2, simd_level::avx512};

constexpr const char* name(simd_level level) {
    switch (level) {
        case simd_level::baseline: return "baseline";
        case simd_level::avx2: return "avx2";
        case simd_level::avx512: return "avx512";
        case simd_level::neon: return "neon";
    }
    return "";
}

inline std::optional<simd_level> level_named(std::string_view text) {
    for (const simd_level level : simd_levels)
        if (text == name(level)) return level;
    return std::nullopt;
}

namespace detail {

// Highway's instruction sets that make up a level.
inline std::int64_t targets_of(simd_level level) {
    constexpr std::int64_t neon = HWY_NEON | (1LL << 29);  // bit 29: the NEON without AES of later Highways
    switch (level) {
        case simd_level::avx512: return HWY_AVX3;
        case simd_level::avx2: return HWY_AVX2;
        case simd_level::neon: return neon;
        case simd_level::baseline: break;
    }
    return HWY_STATIC_TARGET & ~neon;
}
inline bool compiled(simd_level level) { return (targets_of(level) & (HWY_TARGETS)) != 0; }
inline bool detected(simd_level level) {
    static const std::int64_t cpu = hwy::SupportedTargets();  // kept: asking the CPU is slow on a virtual machine
    return level == simd_level::baseline || (targets_of(level) & (cpu | (HWY_STATIC_TARGET))) != 0;
}
inline bool usable(simd_level level) { return compiled(level) && detected(level); }

inline simd_level best_level() {
    simd_level best = simd_level::baseline;
    for (const simd_level level : simd_levels)
        if (usable(level)) best = level;
    return best;
}

// What the tables of kernels are indexed with, and the level it stands for. Relaxed: each is a number of its own, and the
// tables are constants; a call that runs while another thread changes the level takes the old one or the new one throughout.
class level_choice {
public:
    level_choice() {
        const char* wanted = std::getenv("TENFOLD_ZERO_COPY_SIMD");
        const auto level = wanted == nullptr ? std::nullopt : level_named(wanted);
        if (level && usable(*level)) set(*level, true);
        else set(best_level(), false);
    }
    void set(simd_level level, bool forced) {
        hwy::ChosenTarget chosen;
        chosen.Update(targets_of(level) & (HWY_TARGETS));
        const bool one = ((HWY_TARGETS) & ((HWY_TARGETS)-1)) == 0;  // then the tables have one entry
        const auto index = one ? 0u : static_cast<std::uint32_t>(chosen.GetIndex());
        state_.store(index | static_cast<std::uint32_t>(level) << 16 | static_cast<std::uint32_t>(forced) << 24,
                     std::memory_order_relaxed);
    }
    std::size_t index() const { return state_.load(std::memory_order_relaxed) & 0xffff; }
    simd_level level() const { return static_cast<simd_level>(state_.load(std::memory_order_relaxed) >> 16 & 0xff); }
    bool forced() const { return state_.load(std::memory_order_relaxed) >> 24 != 0; }

private:
    std::atomic<std::uint32_t> state_{0};  // the three in one number, so that they change together
};

inline level_choice& choice() {
    static level_choice chosen;
    return chosen;
}

}  // namespace detail

inline simd_level selected_level() { return detail::choice().level(); }

/// From now on every call of this library uses that compilation, in all threads.
inline void force_level(simd_level level) {
    if (!detail::usable(level))
        throw std::invalid_argument(std::string(name(level)) + (detail::compiled(level) ? ": this CPU does not have it"
                                                                                        : ": not compiled for this platform"));
    detail::choice().set(level, true);
}

/// The best one again.
inline void choose_level() { detail::choice().set(detail::best_level(), false); }

class forced_level {
public:
    explicit forced_level(simd_level level) : before_(selected_level()), was_forced_(detail::choice().forced()) {
        force_level(level);
    }
    forced_level(const forced_level&) = delete;
    forced_level& operator=(const forced_level&) = delete;
    ~forced_level() { detail::choice().set(before_, was_forced_); }

private:
    simd_level before_;
    bool was_forced_;
};

}  // namespace tenfold::zero_copy

// Use as the body of an inline function in tenfold::zero_copy::detail: the table of the level that is chosen now. FUNCTION is a
// function in detail::HWY_NAMESPACE without arguments that returns a reference to its compilation's kernels.
#define TENFOLD_SPAN_TABLE(FUNCTION) \
    HWY_EXPORT(FUNCTION);            \
    return HWY_DISPATCH_TABLE(FUNCTION)[tenfold::zero_copy::detail::choice().index()]()

namespace tenfold::zero_copy {
namespace detail {

inline const simd_target& selected_target() { TENFOLD_SPAN_TABLE(compiled_target); }

}  // namespace detail

struct simd_report {
    std::vector<simd_level> detected, compiled, usable;  // from narrow to wide
    simd_level selected;
    bool forced;
    const char* target;  // Highway's name for it
    std::size_t vector_bytes;
};

inline simd_report simd_info() {
    simd_report report{{},
                       {},
                       {},
                       selected_level(),
                       detail::choice().forced(),
                       detail::selected_target().name,
                       detail::selected_target().vector_bytes};
    for (const simd_level level : simd_levels) {
        if (detail::detected(level)) report.detected.push_back(level);
        if (detail::compiled(level)) report.compiled.push_back(level);
        if (detail::usable(level)) report.usable.push_back(level);
    }
    return report;
}

}  // namespace tenfold::zero_copy
