"""Lesson 03 - measure. `python test_example.py` tells the story; `pytest test_example.py` checks it, without a clock."""

from __future__ import annotations

import json
import os
import timeit

# A team of threads that spins while it waits burns the core that another program (or the slower thread) could use.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import performance_timing as timing
from performance_timing import loops as python


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:10,.1f} us"


# ---- what must be true on every machine


def test_the_loops_give_python_s_answers_to_the_last_bit():
    numbers = [((i * 37) % 101) / 7 for i in range(1000)]
    for name in ("cumsum", "running_mean", "standard_scale", "min_max_scale", "l2_normalize", "diff", "normalize_pixels"):
        assert getattr(timing, name)(numbers) == getattr(python, name)(numbers), name
    assert timing.dot_product(numbers, numbers) == python.dot_product(numbers, numbers)
    assert timing.moving_average(numbers, 16) == python.moving_average(numbers, 16)
    tokens = list(b"the cat sat on the mat")
    assert timing.count_pairs(tokens) == python.count_pairs(tokens)


def test_a_disturbed_round_moves_the_mean_not_the_median():
    rounds = [1.0, 1.1, 0.9, 1.0, 50.0]
    assert timing.median(rounds) == 1.0
    assert sum(rounds) / 5 == 10.8
    assert timing.outliers(rounds) == [4]


def test_every_function_is_called_in_every_round():
    calls = {"a": 0, "b": 0}

    def count(name):
        calls[name] += 1

    result = timing.compare({"a": lambda: count("a"), "b": lambda: count("b")}, rounds=5, min_time=0)
    assert len(result.measurements["a"].seconds) == len(result.ratios["b"].per_round) == 5
    assert calls == {"a": 6, "b": 6}  # one call each to calibrate


def test_stream_has_every_kernel_at_every_size():
    rows = timing.stream([1000, 2000], [1, 2], repetitions=1, min_time=0)
    assert {row.kernel for row in rows} == {"copy", "scale", "add", "triad"}
    assert {row.working_set for row in rows} == {24_000, 48_000}


# ---- the story


def main() -> None:
    less, more = [0.5] * 10_000, [0.5] * 10_200
    print("Which takes longer: to add up 10,000 numbers, or 10,200? The answer is known: 2 %.\n")
    singles = [timeit.timeit(lambda: sum(more), number=20) / timeit.timeit(lambda: sum(less), number=20) for _ in range(100)]
    wrong = sum(ratio < 1 for ratio in singles)
    print(f"  one timeit run of each, 100 times: ratios from {min(singles):.2f} to {max(singles):.2f}, {wrong} have it wrong")
    sums = timing.compare({"10,000": lambda: sum(less), "10,200": lambda: sum(more)}, rounds=31, min_time=0.002)
    ratio = sums.ratios["10,200"]
    print(f"  31 interleaved rounds:             {ratio.median:.3f}, 95 % interval {ratio.low:.3f} to {ratio.high:.3f}")
    odd = sums.measurements["10,000"].outliers
    print(f"  {len(odd)} of the 31 rounds of the first were disturbed; the median does not mind.\n")

    numbers = [float(i % 255) for i in range(100_000)]
    profiler = timing.Profiler()
    with profiler.span("make an array"):
        import numpy

        array = numpy.array(numbers)
    print("  standard_scale of 100,000 numbers, 7 rounds each:")
    with profiler.span("compare loops"):
        loops = timing.compare(
            {
                "C++, list": lambda: timing.standard_scale(numbers),
                "C++, array": lambda: timing.standard_scale(array),
                "Python, list": lambda: python.standard_scale(numbers),
                "NumPy, array": lambda: (array - array.mean()) / array.std(),
            },
            rounds=7,
        )
    medians = {name: one.median for name, one in loops.measurements.items()}
    for name, seconds in medians.items():
        print(f"    {name:<13} {microseconds(seconds)}")
    share = 1 - medians["C++, array"] / medians["C++, list"]
    print(f"    given a list, {share:.0%} of the C++ time is conversion.\n")

    print("  memory, triad, GB/s (plain and non-temporal stores):")
    with profiler.span("stream"):
        rows = [row for row in timing.stream((4_000, 8_000_000), repetitions=3) if row.kernel == "triad"]
    for size, threads in sorted({(row.elements, row.threads) for row in rows}):
        speeds = [f"{row.gb_per_s:6.1f}" for row in rows if (row.elements, row.threads) == (size, threads)]
        print(f"    {24 * size / 2**20:6.1f} MiB, {threads} thread{'s' if threads > 1 else ' '}  {' '.join(speeds)}")

    print("\n  sum of squares, one thread against two:")
    with profiler.span("sequential and parallel"):
        for size in (10_000, 4_000_000):
            sequential, parallel = timing.compare_seq_vs_parallel(numpy.ones(size), 20_000_000 // size, num_threads=2)
            times = f"{microseconds(sequential.per_iteration())} {microseconds(parallel.per_iteration())}"
            print(f"    {size:>9,} numbers {times}   {sequential.duration_secs / parallel.duration_secs:.2f} x")

    print()
    print("  " + profiler.summary().replace("\n", "\n  ").rstrip())

    measured(
        ("2 % more work, 31 rounds", f"{ratio.median:.3f} x", f"single runs: {wrong} of 100 wrong"),
        ("standard_scale, list", f"{medians['Python, list'] / medians['C++, list']:.1f} x", "Python loop"),
        ("standard_scale, array", f"{medians['NumPy, array'] / medians['C++, array']:.2f} x", "NumPy"),
        ("memory, triad", f"{max(row.gb_per_s for row in rows if row.elements == 8_000_000):.0f} GB/s", ""),
    )


def measured(*rows: tuple[str, str, str]) -> None:
    """Hands figures to ./scripts/learn, when it is what runs us."""
    path = os.environ.get("TENFOLD_MEASURED")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            for what, value, against in rows:
                file.write(json.dumps({"lesson": "03", "what": what, "value": value, "against": against}) + "\n")


if __name__ == "__main__":
    main()
