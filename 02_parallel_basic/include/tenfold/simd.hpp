// tenfold/simd.hpp: one compilation of every SIMD kernel per instruction set, chosen when the program runs.
//
// Why: -march=native makes a wheel that crashes on the neighbour's machine, and plain x86-64 leaves three quarters of an
// AVX-512 core unused. Google Highway's foreach_target.h re-includes the kernel files once per instruction set (each time under
// another `#pragma target`), and a table filled once picks the best that this CPU has. No compiler flag is needed.
//
// The kernel files are the `*-inl.hpp` in this folder; simd-targets-inl.hpp takes those that are present, so a copy of one
// family works without the others. foreach_target.h works once per translation unit: a file that includes this header cannot
// have its own. Put such code in another .cpp; the inline functions of both meet at link time without harm.
//
// Copy: simd.hpp, simd-targets-inl.hpp and the families you want. Needs C++20 and Highway >= 1.0.3 (link hwy).
#pragma once

#ifdef HIGHWAY_HWY_FOREACH_TARGET_H_
#error "tenfold/simd.hpp: hwy/foreach_target.h is already used in this file; move one of the two to another .cpp"
#endif

// SSE-only CPUs take the baseline: two instruction sets fewer to compile, for machines older than 2013.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tenfold/simd-targets-inl.hpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "tenfold/simd-targets-inl.hpp"

// Calls the best compilation of KERNEL, a function in tenfold::detail::HWY_NAMESPACE. Use it as the body of an inline function
// in tenfold::detail: the table is then one object in the whole program, not one per file.
#define TENFOLD_DISPATCH(KERNEL, ...) \
    HWY_EXPORT(KERNEL);               \
    return HWY_DYNAMIC_DISPATCH(KERNEL)(__VA_ARGS__)

namespace tenfold {

// The instruction set the kernels run on here, for reports.
inline const char* simd_name() {
    const auto usable = hwy::SupportedTargets() & HWY_TARGETS;
    return hwy::TargetName(usable == 0 ? HWY_STATIC_TARGET : usable & -usable);
}

}  // namespace tenfold
