"""atomic_operations from Python: answers against plain Python and NumPy, bad input, threads, the GIL, Ctrl-C, exit, fork, asyncio."""

import array
import asyncio
import copy
import gc
import math
import os
import pickle
import shutil
import statistics as textbook
import subprocess
import sys
import threading
from fractions import Fraction
from itertools import chain

import atomic_operations as ao
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tenfold_testing import (
    HAS_GIL,
    THREADS,
    bound_classes,
    interrupt_child,
    refuses_what_was_never_made,
    run_child,
    run_threads,
    runs_without_gil,
)

CASES = settings(max_examples=220, deadline=None)
unsigned = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1])
signed = st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9) | st.sampled_from([-(2**63), 2**63 - 1])
signed_lists = st.lists(signed, max_size=200)
floats = st.floats(width=64)
ordinary = st.floats(-1e6, 1e6)
SIZES = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 2047, 2048, 2049, 4095, 4096, 4097, 10_001, 65_537]


class Five:
    def __index__(self):
        return 5


# ---- AtomicCounter


@CASES
@given(
    unsigned, st.lists(st.tuples(st.sampled_from(["increment", "add", "set", "cas", "get"]), unsigned, unsigned), max_size=30)
)
def test_counter_is_an_unsigned_int_modulo_2_to_the_64(initial, steps):
    counter, expected = ao.AtomicCounter(initial), initial
    for what, x, y in steps:
        if what == "increment":
            assert counter.increment() == expected
            expected = (expected + 1) % 2**64
        elif what == "add":
            assert counter.add(x) == expected
            expected = (expected + x) % 2**64
        elif what == "set":
            assert counter.set(x) is None
            expected = x
        elif what == "cas":
            current = expected if y % 2 else x
            assert counter.compare_and_swap(current, y) == (expected, current == expected)
            expected = y if current == expected else expected
        assert counter.get() == expected and type(counter.get()) is int


def test_counter_wraps():
    counter = ao.AtomicCounter(2**64 - 1)
    assert (counter.increment(), counter.get()) == (2**64 - 1, 0)
    assert (counter.add(2**64 - 3), counter.get()) == (0, 2**64 - 3)
    assert ao.AtomicCounter(2**64 - 5).parallel_increment(4, 2) == 3


def test_counter_takes_index_objects_and_keywords():
    counter = ao.AtomicCounter(initial=Five())
    assert counter.add(delta=np.int64(2)) == 5 and counter.add(True) == 7 and counter.get() == 8
    counter.set(value=1)
    assert counter.compare_and_swap(current=1, new=Five()) == (1, True)
    assert counter.parallel_increment(threads=2, increments=3) == 11
    assert type(counter.compare_and_swap(0, 0)) is tuple


@pytest.mark.parametrize(
    "call, argument",
    [
        (lambda x: ao.AtomicCounter(x), "initial"),
        (lambda x: ao.AtomicCounter(0).add(x), "delta"),
        (lambda x: ao.AtomicCounter(0).set(x), "value"),
        (lambda x: ao.AtomicCounter(0).compare_and_swap(x, 0), "current"),
        (lambda x: ao.AtomicCounter(0).compare_and_swap(0, x), "new"),
    ],
)
def test_counter_refuses_other_values(call, argument):
    for bad in (1.0, "1", b"1", None, [1], 1j):
        with pytest.raises(TypeError, match=f"{argument} must be an int"):
            call(bad)
    for bad in (-1, 2**64, -(2**70), 2**70):
        with pytest.raises(OverflowError, match=argument):
            call(bad)


def test_a_refused_value_changes_nothing():
    counter = ao.AtomicCounter(7)
    for bad in (-1, 2**64, 1.5):
        for call in (counter.add, counter.set, lambda x: counter.compare_and_swap(7, x)):
            with pytest.raises((TypeError, OverflowError)):
                call(bad)
    assert counter.get() == 7


def test_an_index_that_raises():
    class Bad:
        def __index__(self):
            raise LookupError("mine")

    for call in (ao.AtomicCounter, ao.AtomicCounter(0).add, ao.AtomicStats().record):
        with pytest.raises(LookupError, match="mine"):
            call(Bad())


@pytest.mark.parametrize("threads", THREADS)
def test_counter_from_python_threads(threads):
    counter, each = ao.AtomicCounter(10), 3000
    before = run_threads(threads, lambda i: [counter.increment() for _ in range(each)])
    assert sorted(chain.from_iterable(before)) == list(range(10, 10 + threads * each))  # each value was seen by one of them
    assert counter.get() == 10 + threads * each


@pytest.mark.parametrize("threads", THREADS)
def test_compare_and_swap_from_python_threads(threads):
    counter, each = ao.AtomicCounter(0), 2000

    def member(i):
        for _ in range(each):
            seen, success = counter.get(), False
            while not success:
                seen, success = counter.compare_and_swap(seen, seen + 3)

    run_threads(threads, member)
    assert counter.get() == 3 * threads * each


@pytest.mark.parametrize("threads", THREADS)
def test_parallel_increment(threads):
    counter = ao.AtomicCounter(100)
    assert counter.parallel_increment(threads, 0) == 100
    assert counter.parallel_increment(threads, 12_345) == 100 + threads * 12_345 == counter.get()
    totals = run_threads(3, lambda i: counter.parallel_increment(threads, 5_000))
    assert max(totals) == counter.get() == 100 + threads * (12_345 + 15_000)


def test_parallel_increment_counts():
    counter = ao.AtomicCounter(5)
    for bad, error in ((0, ValueError), (-1, ValueError), (1025, ValueError), (2**70, OverflowError), (1.0, TypeError)):
        with pytest.raises(error, match="threads"):
            counter.parallel_increment(bad, 1)
    for bad, error in ((-1, ValueError), (2**63, OverflowError), ("1", TypeError), (None, TypeError)):
        with pytest.raises(error, match="increments"):
            counter.parallel_increment(1, bad)
    assert counter.get() == 5
    assert counter.parallel_increment(64, 10) == 645


# ---- AtomicFlag


def test_flag():
    flag = ao.AtomicFlag(initial=False)
    assert flag.get() is False
    assert flag.set(value=True) is None and flag.get() is True
    assert flag.swap(False) is True and flag.swap(value=False) is False
    assert flag.compare_and_swap(current=True, new=True) == (False, False) and flag.get() is False
    assert flag.compare_and_swap(False, True) == (False, True) and flag.get() is True
    assert all(type(x) is bool for x in flag.compare_and_swap(True, True))
    assert repr(flag) == "AtomicFlag(True)"
    assert bool(flag) is True and not ao.AtomicFlag(False)


@pytest.mark.parametrize("bad", [0, 1, 1.0, "True", None, np.bool_(True), Five()], ids=repr)
def test_flag_takes_bools_only(bad):
    flag = ao.AtomicFlag(True)
    for call, argument in (
        (ao.AtomicFlag, "initial"),
        (flag.set, "value"),
        (flag.swap, "value"),
        (lambda x: flag.compare_and_swap(x, True), "current"),
        (lambda x: flag.compare_and_swap(True, x), "new"),
    ):
        with pytest.raises(TypeError, match=f"{argument} must be True or False"):
            call(bad)
    assert flag.get() is True


@pytest.mark.parametrize("threads", THREADS)
def test_flag_has_one_winner(threads):
    for _ in range(100):
        flag = ao.AtomicFlag(False)
        assert sorted(run_threads(threads, lambda i, flag=flag: flag.swap(True))) == [False] + [True] * (threads - 1)


# ---- AtomicStats


def check_stats(stats, values):
    assert stats.count() == len(values)
    total = sum(values)
    if -(2**63) <= total < 2**63:
        assert stats.sum() == total
    else:
        with pytest.raises(OverflowError):
            stats.sum()
    mean, least, most = (total / len(values), min(values), max(values)) if values else (None, None, None)
    assert (stats.mean(), stats.min(), stats.max()) == (mean, least, most)
    assert stats.snapshot() == {"count": len(values), "sum": total, "mean": mean, "min": least, "max": most}
    shown = f"count={len(values)}, sum={total}, mean={mean or 0.0:.2f}, min={least or 0}, max={most or 0}"
    if abs(total) < 2**50:
        assert stats.summary() == repr(stats) == f"AtomicStats({shown})"


def test_stats_when_empty():
    stats = ao.AtomicStats()
    check_stats(stats, [])
    assert (stats.count(), stats.sum(), stats.mean(), stats.min(), stats.max()) == (0, 0, None, None, None)
    assert stats.summary() == "AtomicStats(count=0, sum=0, mean=0.00, min=0, max=0)"
    stats.parallel_record([])
    stats.parallel_record(np.array([], dtype=np.int64))
    check_stats(stats, [])


@CASES
@given(signed_lists)
@example([2**63 - 1] * 3)
@example([-(2**63)] * 5)
@example([2**63 - 1, -(2**63)])
def test_stats(values):
    one_by_one, lists, arrays = ao.AtomicStats(), ao.AtomicStats(), ao.AtomicStats()
    for value in values:
        assert one_by_one.record(value) is None
    assert lists.parallel_record(values, num_threads=2) is None
    arrays.parallel_record(np.array(values, dtype=np.int64))
    for stats in (one_by_one, lists, arrays):
        check_stats(stats, values)
    lists.parallel_record(tuple(values), num_threads=7)
    lists.record(4)
    check_stats(lists, values * 2 + [4])


@pytest.mark.parametrize("size", SIZES)
def test_stats_of_all_sizes(size):
    values = np.random.default_rng(size).integers(-(2**63), 2**63 - 1, size, dtype=np.int64)
    for threads in THREADS:
        stats = ao.AtomicStats()
        stats.parallel_record(values, num_threads=threads)
        check_stats(stats, values.tolist())


def test_mean_is_rounded_once():
    rng = np.random.default_rng(5)
    for bits in (3, 20, 53, 54, 60, 63):
        for size in (1, 3, 7, 10, 49, 1000):
            values = rng.integers(-(2**bits) // 3, 2**bits - 1, size, dtype=np.int64).tolist()
            stats = ao.AtomicStats()
            stats.parallel_record(values)
            assert stats.mean() == float(Fraction(sum(values), len(values)))


def test_summary_in_every_locale(tmp_path):
    if not shutil.which("localedef"):
        pytest.skip("no localedef to make a locale with")
    made = subprocess.run(["localedef", "-c", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")], capture_output=True)
    if not (tmp_path / "de_DE.UTF-8").is_dir():
        pytest.skip(f"no German locale: {made.stderr.decode(errors='replace')}")
    child = run_child(f"""
        import os
        os.environ["LOCPATH"] = {str(tmp_path)!r}
        import locale, atomic_operations as ao
        locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
        stats = ao.AtomicStats(); stats.parallel_record([1, 2])
        print(locale.localeconv()["decimal_point"], stats.summary())
    """)
    assert child.stdout == ", AtomicStats(count=2, sum=3, mean=1.50, min=1, max=2)\n", child.stdout + child.stderr


def test_the_sum_comes_back_into_range():
    stats = ao.AtomicStats()
    stats.parallel_record([2**63 - 1, 1])
    with pytest.raises(OverflowError, match="int64"):
        stats.sum()
    assert stats.snapshot()["sum"] == 2**63 and stats.mean() == 2.0**62
    assert stats.summary() == f"AtomicStats(count=2, sum={2**63}, mean={2.0**62:.2f}, min=1, max={2**63 - 1})"
    stats.record(-1)
    assert stats.sum() == 2**63 - 1


@pytest.mark.parametrize(
    "bad, error, words",
    [
        ([1, 2.5], TypeError, r"values\[1\] must be an int"),
        ([1, "2"], TypeError, r"values\[1\]"),
        ([1, None], TypeError, r"values\[1\]"),
        ([1, 2, 2**63], OverflowError, r"values\[2\]"),
        ([-(2**63) - 1], OverflowError, r"values\[0\]"),
        ("12", TypeError, "values must be a sequence"),
        ({1, 2}, TypeError, "values must be a sequence"),
        ((i for i in range(3)), TypeError, "values must be a sequence"),
        (None, TypeError, "values must be a sequence"),
        (np.array([1.0, 2.0]), TypeError, r"int64.*astype\(numpy.int64\)"),
        (np.array([1, 2], dtype=np.int32), TypeError, "int64"),
        (np.array([1, 2], dtype=np.uint64), TypeError, "int64"),
        (np.array([[1, 2]]), ValueError, "1-D"),
        (np.arange(10)[::2], ValueError, "ascontiguousarray"),
        (np.arange(3).astype(">i8"), ValueError, "byte order"),
        (b"12345678", TypeError, "int64"),
    ],
)
def test_a_bad_batch_records_nothing(bad, error, words):
    stats = ao.AtomicStats()
    stats.record(7)
    with pytest.raises(error, match=words):
        stats.parallel_record(bad)
    check_stats(stats, [7])


def test_record_refuses():
    stats = ao.AtomicStats()
    for bad, error in (
        (1.0, TypeError),
        ("1", TypeError),
        (None, TypeError),
        (2**63, OverflowError),
        (-(2**63) - 1, OverflowError),
    ):
        with pytest.raises(error, match="value"):
            stats.record(bad)
    for bad, error in ((0, ValueError), (1025, ValueError), (1.0, TypeError), (2**70, OverflowError)):
        with pytest.raises(error, match="num_threads"):
            stats.parallel_record([object()], num_threads=bad)  # counts are looked at before the data
    check_stats(stats, [])
    stats.record(Five())
    stats.record(value=True)
    check_stats(stats, [5, 1])


def test_stats_from_any_buffer():
    stats = ao.AtomicStats()
    stats.parallel_record(array.array("q", [3, 4]))
    stats.parallel_record(memoryview(array.array("q", [5])))
    read_only = np.array([6])
    read_only.flags.writeable = False
    stats.parallel_record(read_only)
    check_stats(stats, [3, 4, 5, 6])


@pytest.mark.parametrize("threads", THREADS)
def test_stats_from_python_threads(threads):
    stats = ao.AtomicStats()

    def member(i):
        for k in range(500):
            stats.record(i * 1000 + k)
            if k % 50 == 0:
                stats.parallel_record([i, -k], num_threads=2)

    run_threads(threads, member)
    values = [i * 1000 + k for i in range(threads) for k in range(500)]
    values += [x for i in range(threads) for k in range(0, 500, 50) for x in (i, -k)]
    check_stats(stats, values)


@pytest.mark.parametrize("threads", THREADS)
def test_no_reader_sees_half_a_batch(threads):
    stats, batch = ao.AtomicStats(), np.array([10, 20, 30] * 40, dtype=np.int64)
    stop = threading.Event()
    wrong = []

    def reader():
        while not stop.is_set():
            state = stats.snapshot()
            if state["count"] % len(batch) or state["sum"] != 20 * state["count"]:
                wrong.append(state)
            if state["count"] and (state["mean"], state["min"], state["max"]) != (20.0, 10, 30):
                wrong.append(state)

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        run_threads(threads, lambda i: [stats.parallel_record(batch, num_threads=2) for _ in range(60)])
    finally:
        stop.set()
        thread.join()
    assert not wrong, wrong[:3]
    assert stats.count() == threads * 60 * len(batch)


# ---- statistics


def close(a, b, tolerance=1e-9):
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-300)


def bits(found):
    return tuple(np.array([found.mean, found.variance, found.min, found.max]).view(np.int64).tolist()) + (found.count,)


def test_statistics_of_nothing():
    for found in (ao.statistics([]), ao.statistics(np.array([])), ao.Statistics(), ao.statistics([], algorithm="welford")):
        assert found.count == 0
        assert [found.mean, found.variance, found.sample_variance, found.stddev, found.min, found.max] == [None] * 6
        assert repr(found) == "Statistics(count=0, mean=None, variance=None, min=None, max=None)"


@CASES
@given(st.lists(ordinary, min_size=1, max_size=400))
@example([1e6] * 300)
@example([1e6 + 1e-3, 1e6 - 1e-3] * 50)
@example([0.0, -0.0])
def test_statistics(values):
    found = ao.statistics(values)
    exact = [Fraction(x) for x in values]
    mean = sum(exact) / len(exact)
    variance = sum((x - mean) ** 2 for x in exact) / len(exact)
    size = max(map(abs, values))
    assert found.count == len(values) and (found.min, found.max) == (min(values), max(values))
    assert math.isclose(found.mean, float(mean), rel_tol=1e-12, abs_tol=1e-12 * size)
    assert math.isclose(found.variance, float(variance), rel_tol=1e-9, abs_tol=1e-20 * size**2 + 1e-300)
    assert all(type(x) is float for x in (found.mean, found.variance, found.stddev, found.min, found.max))
    assert close(found.stddev, math.sqrt(found.variance), 1e-15)
    for threads in THREADS:
        assert bits(ao.statistics(values, num_threads=threads)) == bits(found)
        assert bits(ao.statistics(np.array(values), num_threads=threads)) == bits(found)
    scalar = ao.statistics(values, algorithm="welford")
    assert (scalar.count, scalar.min, scalar.max) == (found.count, found.min, found.max)
    assert math.isclose(scalar.mean, found.mean, rel_tol=1e-12, abs_tol=1e-12 * size)
    assert math.isclose(scalar.variance, found.variance, rel_tol=1e-8, abs_tol=1e-18 * size**2 + 1e-300)


@CASES
@given(st.lists(floats, min_size=1, max_size=100))
@example([math.inf])
@example([math.inf, -math.inf])
@example([math.nan])
@example([1.0, math.inf])
@example([-math.inf, 2.0])
def test_statistics_of_anything_follow_numpy(values):
    array_in = np.array(values)
    with np.errstate(all="ignore"):
        least, most, mean = array_in.min(), array_in.max(), array_in.mean()
    for found in (ao.statistics(values), ao.statistics(array_in, num_threads=2)):
        assert found.count == len(values)
        assert close(found.min, least) and close(found.max, most)
        if not np.isfinite(array_in).all():
            assert close(found.mean, mean) and math.isnan(found.variance) and math.isnan(found.stddev)


@pytest.mark.parametrize("size", SIZES[1:])
def test_statistics_of_all_sizes(size):
    values = 1e6 + np.random.default_rng(size).standard_normal(size)
    found = ao.statistics(values, num_threads=1)
    assert close(found.mean, values.mean(), 1e-13)
    assert math.isclose(found.variance, values.var(), rel_tol=1e-9, abs_tol=1e-25)
    assert (found.min, found.max) == (values.min(), values.max())
    if size > 1:
        assert math.isclose(found.sample_variance, values.var(ddof=1), rel_tol=1e-9, abs_tol=1e-25)
    else:
        assert math.isnan(found.sample_variance)
    for threads in THREADS:
        assert bits(ao.statistics(values, num_threads=threads)) == bits(found)
    for at in {0, size // 2, size - 1}:
        spoiled = values.copy()
        spoiled[at] = math.nan
        bad = ao.statistics(spoiled)
        assert all(map(math.isnan, (bad.mean, bad.variance, bad.min, bad.max))) and bad.count == size


@CASES
@given(st.lists(ordinary, max_size=60), st.lists(ordinary, max_size=60))
def test_merge(a, b):
    left, right = ao.statistics(a), ao.statistics(b)
    merged, whole = left.merge(right), ao.statistics(a + b)
    assert merged.count == whole.count and (merged.min, merged.max) == (whole.min, whole.max)
    assert bits(left) == bits(ao.statistics(a)) if a else left.count == 0  # not changed
    if a or b:
        size = max(map(abs, a + b))
        assert math.isclose(merged.mean, whole.mean, rel_tol=1e-12, abs_tol=1e-12 * size)
        assert math.isclose(merged.variance, whole.variance, rel_tol=1e-9, abs_tol=1e-18 * size**2 + 1e-300)
        swapped = right.merge(left)
        assert math.isclose(merged.variance, swapped.variance, rel_tol=1e-9, abs_tol=1e-18 * size**2 + 1e-300)


def test_statistics_against_the_standard_library():
    values = [2.5, 3.25, 5.5, 11.25, 11.75]
    found = ao.statistics(values)
    assert close(found.mean, textbook.fmean(values)) and close(found.variance, textbook.pvariance(values))
    assert close(found.sample_variance, textbook.variance(values)) and close(found.stddev, textbook.pstdev(values))


def test_statistics_refuses():
    for bad, error, words in (
        ([1.0, "2"], TypeError, r"values\[1\]"),
        ("12", TypeError, "values"),
        (np.array([1, 2]), TypeError, "float64"),
        (np.ones((2, 2)), ValueError, "1-D"),
        (np.ones(8)[::2], ValueError, "ascontiguousarray"),
        ([10**400], OverflowError, r"values\[0\]"),
    ):
        with pytest.raises(error, match=words):
            ao.statistics(bad)
    with pytest.raises(ValueError, match="algorithm must be one of 'vectorized', 'welford'"):
        ao.statistics([1.0], algorithm="fast")
    with pytest.raises(ValueError, match="num_threads"):
        ao.statistics([1.0], num_threads=0)
    assert ao.statistics([1, True]).mean == 1.0
    assert ao.simd_name()


# ---- progress


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("total", [0, 1, 6, 10_007])
def test_parallel_with_progress(total, threads):
    counter = ao.parallel_with_progress(total, threads)
    assert isinstance(counter, ao.AtomicCounter) and counter.get() == total
    assert counter.increment() == total  # an ordinary counter


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("total", [0, 1, 6, 100_003])
def test_start_with_progress(total, threads):
    run = ao.start_with_progress(total, thread_count=threads)
    assert isinstance(run, ao.Progress) and run.total == total
    assert run.wait() is True and run.poll() is True
    assert (run.done, run.fraction, run.cancelled) == (total, 1.0, False)
    assert repr(run) == f"Progress(done={total}, total={total}, ended)"
    assert run.wait(0) and run.wait(timeout=math.inf)
    run.cancel()
    assert run.cancelled is False  # it was over


def test_progress_is_seen_on_its_way():
    with ao.start_with_progress(60, 2, seconds_per_step=0.01) as run:
        assert run.wait(0.01) is False and run.poll() is False
        seen = [run.done]
        while not run.poll():
            seen.append(run.done)
            run.wait(0.002)
        assert "ended" in repr(run)
    assert seen == sorted(seen) and len(set(seen)) > 2 and seen[-1] <= 60
    assert run.done == 60


@pytest.mark.parametrize("threads", THREADS)
def test_cancel(threads):
    run = ao.start_with_progress(10**15, threads)
    assert run.wait(0.01) is False
    run.cancel()
    run.cancel()
    assert run.wait() is True and run.cancelled is True
    assert run.done < 10**15 and "cancelled" in repr(run)
    done = run.done
    assert run.wait(0.01) is True and run.done == done


def test_with_cancels_on_an_exception():
    with pytest.raises(LookupError):
        with ao.start_with_progress(10**15, 2) as run:
            raise LookupError
    assert run.poll() and run.cancelled
    with ao.start_with_progress(1000, 2) as run:
        pass
    assert run.poll() and run.done == 1000 and not run.cancelled


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_a_dropped_run_ends():
    before = set(os.listdir("/proc/self/task"))
    run = ao.start_with_progress(10**15, 2)
    assert len(set(os.listdir("/proc/self/task")) - before) == 2
    del run  # joined
    assert not set(os.listdir("/proc/self/task")) - before


def test_nobody_else_counts_the_steps():
    run = ao.start_with_progress(10, 1, seconds_per_step=1)
    assert not hasattr(run, "counter")  # an AtomicCounter has set()
    for name in ("done", "total", "fraction"):
        with pytest.raises(AttributeError):
            setattr(run, name, 99)
    assert 0 <= run.fraction <= 1


def test_cancelled_never_turns_back():
    for _ in range(200):
        run = ao.start_with_progress(3, 2)
        run.cancel()
        early = run.cancelled
        assert run.wait()
        assert run.cancelled == (run.done < 3) and not (early and not run.cancelled)
    run = ao.start_with_progress(2, 1, seconds_per_step=0.3)
    assert run.cancelled is False


@pytest.mark.parametrize("end", ["del run", "run.cancel(); run.wait()", "run.__exit__(ValueError, ValueError(), None)"])
def test_a_step_ends_with_its_run(end):
    child = run_child(
        f"""
        import time, atomic_operations as ao
        for _ in range(60):  # a minute, if each waited for its step
            run = ao.start_with_progress(10, 2, seconds_per_step=1)
            time.sleep(0.02)
            {end}
            if "run" in globals():
                assert run.poll() and run.done == 0 and run.cancelled
        print("ended")
        """,
        limit=30,
    )
    assert child.stdout == "ended\n", child.stderr


def test_ctrl_c_in_a_with_block_ends_the_run():
    child = interrupt_child("""
        import atomic_operations as ao
        print("ready")
        try:
            with ao.start_with_progress(100, 2, seconds_per_step=1) as run:
                pass
        except KeyboardInterrupt:
            print("interrupted", run.poll(), run.cancelled)
    """)
    assert child.stdout == "interrupted True True\n", child.stderr


def refuse_the_second_thread(code):
    """Runs the code where one thread fits into the memory that is allowed, and not two."""
    return run_child(
        """
        import ctypes, resource, sys, atomic_operations as ao
        libc = ctypes.CDLL(None)
        attributes = ctypes.create_string_buffer(128)
        libc.pthread_attr_init(attributes)
        libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(1 << 30))
        if libc.pthread_setattr_default_np(attributes):
            sys.exit("no default stack size")
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (7 << 28),) * 2)
        """
        + code
    )


@pytest.mark.skipif(sys.platform != "linux", reason="sets glibc's default stack size")
def test_aba_without_a_second_thread():
    child = refuse_the_second_thread("""
        try:
            ao.demonstrate_aba()
        except RuntimeError as error:
            print("refused")
    """)
    assert (child.returncode, child.stdout) == (0, "refused\n"), child.stdout + child.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="sets glibc's default stack size")
def test_a_run_without_a_second_thread():
    child = refuse_the_second_thread("""
        try:
            ao.start_with_progress(100, 2, seconds_per_step=1)
        except RuntimeError as error:
            print("refused")  # and the first thread, which may have begun a step, has been woken and joined
    """)
    assert (child.returncode, child.stdout) == (0, "refused\n"), child.stdout + child.stderr


def test_progress_from_many_threads():
    run = ao.start_with_progress(40, 3, seconds_per_step=0.003)
    assert run_threads(7, lambda i: run.wait()) == [True] * 7
    run = ao.start_with_progress(10**15, 2)

    def member(i):
        if i == 3:
            run.cancel()
        return run.wait(), run.cancelled, repr(run)[:9]

    assert run_threads(7, member) == [(True, True, "Progress(")] * 7


@pytest.mark.parametrize("function", [ao.parallel_with_progress, ao.start_with_progress])
def test_progress_counts(function):
    for bad, error in ((-1, ValueError), (2**63, OverflowError), (1.0, TypeError), (None, TypeError)):
        with pytest.raises(error, match="total"):
            function(bad, 1)
    for bad, error in ((0, ValueError), (1025, ValueError), (2**70, OverflowError), ("2", TypeError)):
        with pytest.raises(error, match="thread_count"):
            function(1, bad)


def test_times_are_checked():
    run = ao.start_with_progress(1, 1)
    for bad, error in ((-1, ValueError), (math.nan, ValueError), ("1", TypeError)):
        with pytest.raises(error, match="timeout"):
            run.wait(bad)
        with pytest.raises(error, match="seconds_per_step"):
            ao.start_with_progress(1, 1, seconds_per_step=bad)
    for bad in (1.5, math.inf):
        with pytest.raises(ValueError, match="seconds_per_step"):
            ao.start_with_progress(1, 1, seconds_per_step=bad)


def test_await():
    async def main():
        run = ao.start_with_progress(100, 2, seconds_per_step=0.001)
        ticks = 0

        async def ticking():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.002)
                ticks += 1

        other = asyncio.create_task(ticking())
        assert await run == 100
        other.cancel()
        assert ticks >= 1  # the loop went on meanwhile
        assert await run == 100  # again, after the end
        results = await asyncio.gather(*(ao.start_with_progress(n, 2, seconds_per_step=0.001) for n in (0, 5, 20)))
        assert results == [0, 5, 20]

    asyncio.run(main())


def test_async_with():
    async def main():
        ticks = 0

        async def ticking():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.002)
                ticks += 1

        other = asyncio.create_task(ticking())
        async with ao.start_with_progress(50, 2, seconds_per_step=0.002) as run:
            assert type(run) is ao.Progress and not run.poll()
        assert run.poll() and run.done == 50 and ticks >= 3  # the loop went on while the block waited
        with pytest.raises(LookupError):
            async with ao.start_with_progress(10, 2, seconds_per_step=1) as run:
                raise LookupError
        assert run.poll() and run.cancelled

        async def waiting(run):
            async with run:
                pass

        run = ao.start_with_progress(10**15, 2)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waiting(run), 0.02)
        assert run.poll() and run.cancelled
        other.cancel()

    asyncio.run(main())


def test_await_by_several_tasks_and_loops():
    run = ao.start_with_progress(60, 2, seconds_per_step=0.003)

    async def wait_for_it():
        return await run

    async def main():
        return await asyncio.gather(*(wait_for_it() for _ in range(5)))

    assert run_threads(4, lambda i: asyncio.run(main())) == [[60] * 5] * 4


def test_await_a_cancelled_run():
    async def main():
        run = ao.start_with_progress(10**15, 2)
        waiting = asyncio.ensure_future(asyncio.wait_for(run, 30))
        await asyncio.sleep(0.01)
        run.cancel()
        done = await waiting
        assert run.cancelled and done == run.done < 10**15

    asyncio.run(main())


def test_cancelling_the_task_leaves_the_run():
    async def main():
        with ao.start_with_progress(50, 2, seconds_per_step=0.01) as run:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(run, 0.01)
            assert not run.poll()
        assert run.done == 50

    asyncio.run(main())


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are counted in /proc")
def test_await_leaks_no_descriptors():
    async def main():
        await ao.start_with_progress(10, 2)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(50):
            run = ao.start_with_progress(10, 2)
            await asyncio.gather(run, run)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ao.start_with_progress(10**15, 1), 0.0005)
        del run
        await asyncio.sleep(0.01)  # what the loop still refers to
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(main())


def test_awaiting_burns_no_cpu():
    child = run_child("""
        import asyncio, time, atomic_operations as ao
        async def main():
            run = ao.start_with_progress(4, 2, seconds_per_step=0.25)
            begin = time.process_time()
            assert await run == 4
            print(time.process_time() - begin < 0.25)
        asyncio.run(main())
    """)
    assert child.stdout == "True\n", child.stderr


# ---- experiments: that they run, and that what must hold holds; never how fast


def test_benchmark_atomic_vs_mutex():
    for increments, threads in ((0, 1), (1, 1), (1000, 2), (300, 7)):
        result = ao.benchmark_atomic_vs_mutex(increments, thread_count=threads)
        assert type(result) is tuple and len(result) == 2 and all(type(x) is float and x > 0 for x in result)


def test_benchmark_counters():
    kinds = ["relaxed", "acquire_release", "seq_cst", "cas_loop", "packed_shards", "padded_shards", "mutex"]
    kinds += ["single_writer", "single_writer_mine"]
    for threads in THREADS:
        found = ao.benchmark_counters(1000, threads, rounds=2)
        assert sorted(found) == sorted(kinds) and all(type(x) is float and x > 0 for x in found.values())


def test_benchmark_false_sharing():
    for access in ("load_store", "rmw"):
        packed, padded = ao.benchmark_false_sharing(1000, 2, access=access, rounds=1)
        assert packed > 0 and padded > 0
    with pytest.raises(ValueError, match="access must be one of 'load_store', 'rmw'"):
        ao.benchmark_false_sharing(1, 1, access="cas")


def test_benchmark_containers():
    assert list(ao.benchmark_containers(1000, rounds=1)) == ["mutex_deque", "stack", "queue", "spsc_queue"]
    found = ao.benchmark_containers(500, producers=3, consumers=2, capacity=16, rounds=1)
    assert list(found) == ["mutex_deque", "stack", "queue"] and all(x > 0 for x in found.values())
    assert all(x >= 0 for x in ao.benchmark_containers(0, capacity=1, rounds=1).values())
    with pytest.raises(ValueError, match="at most"):
        ao.benchmark_containers(10**6, producers=11)


@pytest.mark.parametrize(
    "call, argument",
    [
        (lambda x: ao.benchmark_atomic_vs_mutex(1, x), "thread_count"),
        (lambda x: ao.benchmark_counters(1, x), "thread_count"),
        (lambda x: ao.benchmark_counters(1, 1, rounds=x), "rounds"),
        (lambda x: ao.benchmark_false_sharing(1, x), "thread_count"),
        (lambda x: ao.benchmark_containers(1, producers=x), "producers"),
        (lambda x: ao.benchmark_containers(1, consumers=x), "consumers"),
        (lambda x: ao.benchmark_containers(1, capacity=x), "capacity"),
        (lambda x: ao.count_torn_reads(x), "writes"),
        (lambda x: ao.litmus_store_buffering(x), "rounds"),
        (lambda x: ao.litmus_message_passing(x), "rounds"),
        (lambda x: ao.LockFreeStack(x), "capacity"),
        (lambda x: ao.LockFreeQueue(x), "capacity"),
    ],
)
def test_counts_of_experiments(call, argument):
    for bad, error in ((0, ValueError), (-3, ValueError), (2**70, OverflowError), (1.0, TypeError), (None, TypeError)):
        with pytest.raises(error, match=argument):
            call(bad)
    if argument not in ("rounds", "writes"):
        with pytest.raises(ValueError, match=argument):
            call(2**62)


def test_litmus():
    for order in ("relaxed", "acquire_release", "seq_cst"):
        found = ao.litmus_store_buffering(2000, order=order)
        assert list(found) == ["both_zero", "first_only", "second_only", "both_one"] and sum(found.values()) == 2000
        if order == "seq_cst":
            assert found["both_zero"] == 0
        found = ao.litmus_message_passing(2000, order=order)
        assert list(found) == ["not_seen", "seen_fresh", "seen_stale"] and sum(found.values()) == 2000
        if order != "relaxed":
            assert found["seen_stale"] == 0
    with pytest.raises(ValueError, match="order must be one of 'relaxed', 'acquire_release', 'seq_cst', not 'sc'"):
        ao.litmus_store_buffering(1, order="sc")


def test_torn_reads():
    found = ao.count_torn_reads(20_000, guard="seqlock")
    assert list(found) == ["reads", "torn", "retries"] and found["torn"] == 0
    # Without a guard they are torn as a rule; the two must meet, though.
    assert any(ao.count_torn_reads(20_000)["torn"] > 0 for _ in range(200))
    assert ao.count_torn_reads(1, guard="none")["retries"] == 0
    with pytest.raises(ValueError, match="guard must be one of 'none', 'seqlock'"):
        ao.count_torn_reads(1, guard="mutex")


def test_aba():
    naive, tagged = ao.demonstrate_aba(), ao.demonstrate_aba(tagged=True)
    assert naive["swapped"] is True and naive["corrupt"] is True
    assert tagged["swapped"] is False and tagged["corrupt"] is False
    assert len(set(naive["handed_out"])) < len(naive["handed_out"])
    assert len(set(tagged["handed_out"])) == len(tagged["handed_out"])
    with pytest.raises(TypeError, match="tagged"):
        ao.demonstrate_aba(tagged=1)


# ---- Boost's containers


@pytest.mark.parametrize("kind, first", [(ao.LockFreeStack, -1), (ao.LockFreeQueue, 0)])
def test_container(kind, first):
    container = kind(capacity=3)
    assert container.empty() is True and container.pop() is None
    assert [container.push(value) for value in (1, -(2**63), 2**63 - 1)] == [True] * 3
    assert container.push(value=4) is False and container.empty() is False
    order = [1, -(2**63), 2**63 - 1]
    assert [container.pop() for _ in range(4)] == [*(order if first == 0 else order[::-1]), None]
    for bad, error in ((1.0, TypeError), ("1", TypeError), (2**63, OverflowError)):
        with pytest.raises(error, match="value"):
            container.push(bad)


@pytest.mark.parametrize("kind", [ao.LockFreeStack, ao.LockFreeQueue])
@pytest.mark.parametrize("threads", THREADS)
def test_container_from_python_threads(kind, threads):
    container, each, taken = kind(64), 1000, ao.AtomicCounter(0)

    def member(i):
        mine, pushed = [], 0
        while taken.get() < threads * each:
            if pushed < each and container.push(i * each + pushed):
                pushed += 1
            value = container.pop()
            if value is not None:
                mine.append(value)
                taken.increment()
        return mine

    assert sorted(chain.from_iterable(run_threads(threads, member))) == list(range(threads * each))


# ---- copying, pickling, constructing twice


@pytest.mark.parametrize(
    "thing",
    [
        ao.AtomicCounter(1),
        ao.AtomicFlag(True),
        ao.AtomicStats(),
        ao.LockFreeStack(2),
        ao.LockFreeQueue(2),
        ao.start_with_progress(1, 1),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_shared_state_is_not_copied(thing):
    for call in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=f"{type(thing).__name__} cannot be"):
            call(thing)


def test_statistics_can_be_pickled():
    for found in (ao.statistics([1.0, 2.5, -3.0]), ao.Statistics()):
        for again in (pickle.loads(pickle.dumps(found)), copy.copy(found), copy.deepcopy(found)):
            assert repr(again) == repr(found)
            assert repr(again.merge(ao.statistics([4.0]))) == repr(found.merge(ao.statistics([4.0])))
    with pytest.raises((TypeError, ValueError)):
        ao.Statistics.__new__(ao.Statistics).__setstate__(())


def test_reprs():
    assert repr(ao.AtomicCounter(2**64 - 1)) == f"AtomicCounter({2**64 - 1})"
    assert repr(ao.AtomicFlag(False)) == "AtomicFlag(False)"
    assert repr(ao.statistics([1.0, 3.0])) == "Statistics(count=2, mean=2.0, variance=1.0, min=1.0, max=3.0)"


def test_init_twice_and_not_at_all():
    counter = ao.AtomicCounter(3)
    counter.__init__(9)
    assert counter.get() == 3
    run = ao.start_with_progress(5, 1)
    run.__init__(7, 1)
    assert run.wait() and run.done == 5
    for kind in (ao.AtomicCounter, ao.AtomicFlag, ao.AtomicStats, ao.Progress):

        class Lazy(kind):
            def __init__(self):
                pass

        with pytest.raises(TypeError):
            Lazy()


@pytest.mark.parametrize("kind", bound_classes(ao._core), ids=lambda kind: kind.__name__)
def test_objects_that_were_never_made(kind):
    refuses_what_was_never_made(kind)


def test_statistics_that_were_never_made():
    for call in (ao.Statistics().merge, pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"Statistics\.__init__\(\) has not been called"):
            call(ao.Statistics.__new__(ao.Statistics))
    with pytest.raises(TypeError, match="other: .*Statistics"):
        ao.Statistics().merge(None)
    made = ao.Statistics.__new__(ao.Statistics)
    made.__setstate__(ao.statistics([1.0, 3.0]).__getstate__())
    assert made.mean == 2.0


# ---- the GIL, Ctrl-C, exit, fork, sub-interpreters


@pytest.mark.skipif(not HAS_GIL, reason="there is no GIL to release")
@pytest.mark.parametrize(
    "call",
    [
        lambda: ao.AtomicCounter(0).parallel_increment(2, 1_000_000),
        lambda: ao.parallel_with_progress(1_000_000, 2),
        lambda: ao.start_with_progress(4, 2, seconds_per_step=0.002).wait(),
        lambda: ao.AtomicStats().parallel_record(BIG_INTS, num_threads=1),
        lambda: ao.statistics(BIG_FLOATS, num_threads=1),
        lambda: ao.statistics(BIG_FLOATS, algorithm="welford"),
        lambda: ao.benchmark_atomic_vs_mutex(50_000, 2),
        lambda: ao.benchmark_counters(50_000, 2, rounds=1),
        lambda: ao.benchmark_false_sharing(100_000, 2),
        lambda: ao.benchmark_containers(20_000, rounds=1),
        lambda: ao.count_torn_reads(20_000),
        lambda: ao.litmus_store_buffering(20_000),
        lambda: ao.litmus_message_passing(20_000),
    ],
    ids=[
        "parallel_increment",
        "parallel_with_progress",
        "wait",
        "parallel_record",
        "statistics",
        "welford",
        "atomic_vs_mutex",
        "counters",
        "false_sharing",
        "containers",
        "torn_reads",
        "store_buffering",
        "message_passing",
    ],
)
def test_the_gil_is_released(call):
    assert runs_without_gil(call)


BIG_INTS = np.arange(4_000_000)
BIG_FLOATS = np.arange(4_000_000, dtype=float)


LONG_CALLS = [
    "ao.AtomicCounter(0).parallel_increment(2, 10**18)",
    "ao.AtomicCounter(0).parallel_increment(1, 2**63 - 1)",
    "ao.parallel_with_progress(2**63 - 1, 2)",
    "ao.start_with_progress(2**63 - 1, 2).wait()",
    "ao.start_with_progress(2**63 - 1, 2).wait(1e9)",
    "ao.start_with_progress(2**63 - 1, 2).__enter__().__exit__(None, None, None)",
    "ao.benchmark_atomic_vs_mutex(10**15, 2)",
    "ao.benchmark_counters(10**15, 2)",
    "ao.benchmark_false_sharing(10**15, 2)",
    "ao.benchmark_containers(10**6, rounds=1000)",
    "ao.count_torn_reads(10**15)",
    "ao.litmus_store_buffering(10**15)",
    "ao.litmus_message_passing(10**15)",
    "asyncio.run(awaiting())",
]


@pytest.mark.parametrize("call", LONG_CALLS)
def test_ctrl_c(call):
    child = interrupt_child(f"""
        import asyncio, time, atomic_operations as ao
        async def awaiting():
            async with ao.start_with_progress(2**63 - 1, 2) as run:
                await run
        print("ready")
        try:
            {call}
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert child.stdout == "interrupted\n", child.stderr


def test_ctrl_c_in_the_textbook_loop():
    child = interrupt_child("""
        import functools, itertools, operator, numpy as np, atomic_operations as ao
        zeros = np.zeros(2**30)  # all of it one page
        begun = itertools.count()
        arrays = map(operator.itemgetter(0), zip(itertools.repeat(zeros, 2), begun))
        print("ready")
        try:  # no Python code runs between the two calls: only the first itself can hear Ctrl-C before the second begins
            list(map(functools.partial(ao.statistics, algorithm="welford"), arrays))
        except KeyboardInterrupt:
            print("interrupted in call", next(begun))
    """)
    assert child.stdout == "interrupted in call 1\n", child.stderr


def test_ctrl_c_keeps_what_was_counted():
    child = interrupt_child("""
        import atomic_operations as ao
        counter = ao.AtomicCounter(0)
        print("ready")
        try:
            counter.parallel_increment(2, 10**18)
        except KeyboardInterrupt:
            first = counter.get()
            print(0 < first < 10**18, first == counter.get())
    """)
    assert child.stdout == "True True\n", child.stderr


@pytest.mark.parametrize(
    "call",
    [
        "ao.AtomicCounter(0).parallel_increment(2, 10**18)",
        "ao.parallel_with_progress(2**63 - 1, 2)",
        "ao.start_with_progress(2**63 - 1, 2).wait()",
        "ao.benchmark_counters(10**15, 2)",
    ],
)
def test_exit_during_a_call_in_a_daemon_thread(call):
    child = run_child(f"""
        import threading, time, atomic_operations as ao
        threading.Thread(target=lambda: {call}, daemon=True).start()
        time.sleep(0.2)
        print("leaving", flush=True)
    """)
    assert (child.returncode, child.stdout) == (0, "leaving\n"), child.stderr


@pytest.mark.parametrize("keep", ["run", "run.cancelled_by = run", "import builtins; builtins.run = run"])
def test_exit_while_a_run_goes_on(keep):
    child = run_child(f"""
        import atomic_operations as ao
        run = ao.start_with_progress(2**63 - 1, 2)
        {keep}
        print("leaving", flush=True)
    """)
    assert (child.returncode, child.stdout) == (0, "leaving\n"), child.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_fork_with_a_run_going_on():
    child = run_child("""
        import asyncio, os, warnings, atomic_operations as ao
        warnings.simplefilter("ignore")
        counter, stats = ao.AtomicCounter(5), ao.AtomicStats()
        stats.record(3)
        run = ao.start_with_progress(2**63 - 1, 2)
        run.wait(0.01)
        pid = os.fork()
        if pid == 0:
            assert counter.parallel_increment(2, 1000) == 2005 and stats.summary().startswith("AtomicStats(count=1,")
            stats.parallel_record([4] * 10_000, num_threads=2)
            assert stats.count() == 10_001
            assert run.done >= 0 and run.total == 2**63 - 1
            async def awaiting():
                await run
            refused = 0
            for call in (run.wait, lambda: run.wait(0.1), lambda: asyncio.run(awaiting()), run.poll, run.poll):
                run.cancel()
                try:
                    call()
                except RuntimeError:
                    refused += 1
            assert "left in the parent" in repr(run) and not run.cancelled
            assert ao.start_with_progress(100, 2).wait()
            assert ao.statistics([1.0] * 100_000, num_threads=2).mean == 1.0
            del run  # joins no threads: they are not here
            os._exit(0 if refused == 5 else 1)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        before = run.done
        while run.done == before:  # it goes on here
            run.wait(0.01)
        print(code, run.done > before)
        with run:
            run.cancel()
    """)
    assert (child.returncode, child.stdout) == (0, "0 True\n"), child.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_fork_while_others_record():
    child = run_child("""
        import os, threading, time, warnings, atomic_operations as ao
        warnings.simplefilter("ignore")
        stats, stop = ao.AtomicStats(), threading.Event()
        batch = list(range(3000))
        def member():
            while not stop.is_set():
                stats.parallel_record(batch, num_threads=2)
        threads = [threading.Thread(target=member) for _ in range(2)]
        for thread in threads:
            thread.start()
        codes = set()
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                try:
                    stats.record(1)
                    state = stats.snapshot()
                    os._exit(0 if (state["count"] - 1) % 3000 == 0 else 2)
                except RuntimeError:
                    os._exit(1)
            codes.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        stop.set()
        for thread in threads:
            thread.join()
        print(codes <= {0, 1})
    """)
    assert (child.returncode, child.stdout) == (0, "True\n"), child.stdout + child.stderr


@pytest.mark.skipif(sys.version_info < (3, 12), reason="own-GIL sub-interpreters came with CPython 3.12")
def test_in_a_sub_interpreter():
    module = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    child = run_child(f"""
        import sys, {module} as interpreters, atomic_operations
        name = interpreters.create()
        print(interpreters.run_string(name, '''if True:
            import sys; sys.path[:] = {[p for p in sys.path if p]!r}
            import atomic_operations as ao
            assert ao.AtomicCounter(1).parallel_increment(2, 10) == 21
            assert ao.parallel_with_progress(10, 2).get() == 10
            run = ao.start_with_progress(2**60, 2)
            assert ao.start_with_progress(10, 2).wait()
            stats = ao.AtomicStats(); stats.parallel_record([1, 2, 3], num_threads=2)
            assert stats.mean() == 2.0
        '''))
        interpreters.destroy(name)
    """)
    assert (child.returncode, child.stdout) == (0, "None\n"), child.stdout + child.stderr


def test_importing_needs_no_numpy():
    child = run_child("""
        import sys, atomic_operations as ao
        stats = ao.AtomicStats(); stats.parallel_record([2, 1])
        print(stats.mean(), ao.statistics([1.0, 3.0]).mean, "numpy" in sys.modules)
    """)
    assert child.stdout == "1.5 2.0 False\n", child.stderr


def test_a_list_that_another_thread_changes():
    values, done = list(range(20_000)), threading.Event()

    def change():
        while not done.is_set():
            values.append(1)
            del values[-1:]

    thread = threading.Thread(target=change)
    thread.start()
    stats = ao.AtomicStats()
    try:
        for _ in range(100):
            stats.parallel_record(values, num_threads=2)
    finally:
        done.set()
        thread.join()
    assert 100 * 20_000 <= stats.count() <= 100 * 20_001


def test_every_name_has_a_docstring():
    for name in ao.__all__:
        thing = getattr(ao, name)
        assert (thing.__doc__ or "").strip(), name
        if isinstance(thing, type):
            for member, value in vars(thing).items():
                if not member.startswith("_"):
                    assert (value.__doc__ or "").strip(), (name, member)
