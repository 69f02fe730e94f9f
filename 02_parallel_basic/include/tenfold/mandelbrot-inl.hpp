// tenfold/mandelbrot-inl.hpp: one row of the picture, compiled once per instruction set by simd.hpp.
//
// A pixel's loop is a chain in which each step waits for the one before (about ten cycles), so one vector leaves the
// arithmetic units idle most of the time: four vectors are in flight at once. And most steps of a picture belong to
// pixels far from escaping, so a block of steps is made without looking; only if a lane turns out to have escaped is
// the block made again, counting.
#if defined(TENFOLD_MANDELBROT_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef TENFOLD_MANDELBROT_INL_HPP_
#undef TENFOLD_MANDELBROT_INL_HPP_
#else
#define TENFOLD_MANDELBROT_INL_HPP_
#endif

#include <cstddef>
#include <cstdint>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tenfold::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A pixel per lane. One that has escaped goes on computing, towards infinity or NaN, but is never live again.
template <class D>
struct mandelbrot_pixels {
    using V = hn::Vec<D>;
    using DI = hn::RebindToSigned<D>;
    V cr, zr, zi;

    // The scalar loop's operations and roundings: doubling is exact, so 2 * zr * zi + ci is rounded twice in any of these
    // forms. (Not where the product underflows: the caller sees to it that ci hides that.) Two forms, because one keeps
    // the multipliers busy and the other the adders: with half the vectors in each, both work.
    HWY_ATTR HWY_INLINE void step(D d, V ci) {
        const V zr2 = hn::Mul(zr, zr), zi2 = hn::Mul(zi, zi);
        zi = hn::MulAdd(hn::Mul(zr, zi), hn::Set(d, 2.0), ci);
        zr = hn::Add(hn::Sub(zr2, zi2), cr);
    }
    HWY_ATTR HWY_INLINE void step_adding(D, V ci) {
        const V zr2 = hn::Mul(zr, zr), zi2 = hn::Mul(zi, zi), product = hn::Mul(zr, zi);
        zi = hn::Add(hn::Add(product, product), ci);
        zr = hn::Add(hn::Sub(zr2, zi2), cr);
    }
    HWY_ATTR HWY_INLINE V square(D) const { return hn::Add(hn::Mul(zr, zr), hn::Mul(zi, zi)); }
};

template <class D>
struct mandelbrot_slot {
    mandelbrot_pixels<D> z;
    hn::Mask<D> live;
    hn::Vec<hn::RebindToSigned<D>> steps;
    std::size_t column;
    std::uint64_t done;  // steps made, with those after an escape
    bool careful;        // count every step: a lane has just escaped, or might escape and come back
};

// Columns [begin, end) of one row into out[0, end - begin). `ask(context)` is called about 20,000 times a second; when it
// says true the call returns false, and `out` is not whole.
HWY_ATTR inline bool mandelbrot_row(double x_min, double x_extent, double width, double ci, std::uint32_t max_iter,
                                    std::size_t begin, std::size_t end, std::uint32_t* out, bool (*ask)(void*), void* context) {
    const hn::ScalableTag<double> d;
    const hn::RebindToSigned<decltype(d)> di;
    using slot = mandelbrot_slot<decltype(d)>;
    constexpr int block = 24, careful_block = 8, blocks_between = 512, most_blocks = 16;
    const std::size_t lanes = hn::Lanes(d);
    const auto imaginary = hn::Set(d, ci), four = hn::Set(d, 4.0);
    HWY_ALIGN std::int64_t counted[hn::MaxLanes(d)];

    slot slots[4];
    std::size_t next = begin;
    int busy = 0;
    // A slot's next pixels: c = x_min + (column / width) * (x_max - x_min), in this order.
    const auto fill = [&](slot& s) HWY_ATTR {
        s.column = next;
        s.done = 0;
        s.z.cr = s.z.zr = s.z.zi = hn::Zero(d);
        s.live = hn::Gt(s.z.zr, s.z.zr);
        s.steps = hn::Zero(di);
        s.careful = false;
        if (next >= end) return;
        const auto at = hn::Add(hn::Set(d, static_cast<double>(next)), hn::Iota(d, 0.0));
        s.z.cr = hn::Add(hn::Set(d, x_min), hn::Mul(hn::Div(at, hn::Set(d, width)), hn::Set(d, x_extent)));
        s.live = hn::Eq(s.z.zr, s.z.zr);
        s.careful = true;  // most pixels outside the set escape at once
        next += lanes;
        ++busy;
    };
    // Not looking is right only if |z| > 2 stays so. |z'| >= |z|^2 - |c|: with |c|^2 < 3.9 that is over 1.01 |z|, and with
    // |c|^2 > 4.1 over 1.02 |z| because |z| >= |c| from the first step on; rounding is 1e-15 of it. In between, and for a
    // NaN in c, which Python never sees escape, every step is counted.
    const auto never_returns = [&](const slot& s) HWY_ATTR {
        const auto c2 = hn::Add(hn::Mul(s.z.cr, s.z.cr), hn::Mul(imaginary, imaginary));
        return hn::AllTrue(d, hn::Or(hn::Lt(c2, hn::Set(d, 3.9)), hn::Gt(c2, hn::Set(d, 4.1))));
    };
    const auto count_block = [&](slot& s) HWY_ATTR {
        auto z = s.z;
        auto live = s.live;
        auto steps = s.steps;
        for (int i = 0; i < careful_block; ++i) {
            live = hn::AndNot(hn::Gt(z.square(d), four), live);  // NaN is not > 4: it stays live, as in Python
            steps = hn::Sub(steps, hn::VecFromMask(di, hn::RebindMask(di, live)));
            z.step(d, imaginary);
        }
        // Quiet again (nobody lost): the next block need not look.
        s.careful = hn::CountTrue(d, live) != hn::CountTrue(d, s.live) || !never_returns(s);
        s.z = z;
        s.live = live;
        s.steps = steps;
        s.done += careful_block;
    };
    // Steps past max_iter may have been counted in the last block: a lane that was live until then has max_iter.
    const auto empty = [&](const slot& s) HWY_ATTR {
        hn::Store(s.steps, di, counted);
        for (std::size_t i = 0; i < lanes && s.column + i < end; ++i) {
            const auto steps = static_cast<std::uint64_t>(counted[i]);
            out[s.column + i - begin] = steps < max_iter ? static_cast<std::uint32_t>(steps) : max_iter;
        }
        --busy;
    };

    // Counts until the slot may go on without looking; one whose pixels are done gets the next. Not for ever: some must
    // always look, and somebody may want to stop.
    const auto settle = [&](slot& s) HWY_ATTR {
        for (int blocks = 0; s.column < end && blocks < most_blocks;) {
            if (s.done >= max_iter || hn::AllFalse(d, s.live)) {
                empty(s);
                fill(s);
            } else if (s.careful) {
                count_block(s);
                ++blocks;
            } else {
                return;
            }
        }
    };

    for (int i = 0; i < 4; ++i) {
        fill(slots[i]);
        settle(slots[i]);
    }
    for (int until_asked = blocks_between; busy > 0;) {
        if (--until_asked == 0) {
            if (ask(context)) return false;
            until_asked = blocks_between;
        }
        auto z0 = slots[0].z, z1 = slots[1].z, z2 = slots[2].z, z3 = slots[3].z;
        for (int i = 0; i < block; ++i) {
            z0.step(d, imaginary);
            z1.step(d, imaginary);
            z2.step_adding(d, imaginary);
            z3.step_adding(d, imaginary);
        }
        const auto finish = [&](slot& s, const mandelbrot_pixels<decltype(d)>& z) HWY_ATTR {
            if (s.column >= end) return;
            const auto within = hn::And(s.live, hn::Le(z.square(d), four));  // false for NaN: an escape's way to infinity
            if (!s.careful && hn::CountTrue(d, within) == hn::CountTrue(d, s.live)) {
                s.z = z;
                s.steps = hn::IfThenElse(hn::RebindMask(di, s.live), hn::Add(s.steps, hn::Set(di, block)), s.steps);
                s.done += block;
            } else {
                s.careful = true;
            }
            settle(s);
        };
        finish(slots[0], z0);
        finish(slots[1], z1);
        finish(slots[2], z2);
        finish(slots[3], z3);
    }
    return true;
}

}  // namespace HWY_NAMESPACE
}  // namespace tenfold::detail
HWY_AFTER_NAMESPACE();
#endif
