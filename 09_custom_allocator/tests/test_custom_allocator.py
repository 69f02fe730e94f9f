"""Lesson 09 from Python: pools, windows, arenas; views that own their memory, given back rightly and wrongly; threads, exit, fork."""

import array
import ctypes
import fractions
import gc
import inspect
import itertools
import math
import pickle
import queue
import random
import sys
import threading
import warnings
import weakref

import custom_allocator as ca
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tenfold_testing import THREADS, interrupt_child, run_child, run_threads, runs_without_gil

CASES = settings(max_examples=220, deadline=None)
floats = st.floats(width=64)
float_lists = st.lists(floats, max_size=120)
batch_lists = st.lists(st.lists(floats, max_size=40), max_size=12)
SIZES = [0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1023, 1025, 4095, 4097, 50_001, 131_073]
CAN_COUNT = sys.platform.startswith("linux")
needs_counting = pytest.mark.skipif(not CAN_COUNT, reason="a module has its own operator new on Linux only")


def same_bits(a, b) -> bool:
    """The very same floats; one NaN is as good as another."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a.shape == b.shape and bool(np.all((a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))))


def floats_of(size: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size) * 10.0 ** np.random.default_rng(seed + 1).integers(-3, 4, size)


def all_float(values) -> bool:
    return type(values) is list and all(type(x) is float for x in values)


def address(buffer) -> int:
    return np.frombuffer(buffer, np.uint8).__array_interface__["data"][0]


def squares(numbers):
    with np.errstate(all="ignore"):
        return np.square(np.asarray(numbers, float))


# ---- sliding_window_sum


def check_windows(result, data, window):
    """Each sum against the exact one: as much error as adding its own numbers in any order makes, and no more."""
    assert len(result) == len(data) - window + 1
    for i, got in enumerate(result):
        part = data[i : i + window]
        if any(x != x for x in part) or {math.inf, -math.inf} <= set(part):
            assert math.isnan(got), (i, part)
        elif any(math.isinf(x) for x in part):
            assert got == next(x for x in part if math.isinf(x)), (i, part)
        else:
            exact = sum(map(fractions.Fraction, part), fractions.Fraction(0))
            bound = fractions.Fraction(window, 2**52) * sum((abs(fractions.Fraction(x)) for x in part), fractions.Fraction(0))
            assert abs(fractions.Fraction(float(got)) - exact) <= bound, (i, part)


tame = st.floats(-1e300, 1e300) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 1e16, 1.0, -1e16])


@CASES
@given(st.lists(tame, min_size=1, max_size=60), st.integers(1, 60))
@example([1.0, math.nan, 2.0, 3.0, 4.0], 2)
@example([math.inf, 1.0, -math.inf, 2.0, 3.0], 2)
@example([1e16, 1.0, -1e16, 1.0, 1.0, 1.0, 1.0], 3)
def test_sliding_window_sum(data, window):
    window = min(window, len(data))
    result = ca.sliding_window_sum(data, window)
    assert all_float(result)
    check_windows(result, data, window)
    for threads in THREADS:
        assert same_bits(ca.sliding_window_sum(data, window, num_threads=threads), result)
        arrays = ca.sliding_window_sum(np.array(data), window, num_threads=threads)
        assert isinstance(arrays, np.ndarray) and arrays.dtype == np.float64 and same_bits(arrays, result)


@pytest.mark.parametrize("size", SIZES[1:])
def test_sliding_window_sum_sizes(size):
    data = floats_of(size)
    for window in {1, 2, 3, 7, 8, 9, 64, 100, 1000, 4096, size // 2, size - 1, size} & set(range(1, size + 1)):
        expected = np.lib.stride_tricks.sliding_window_view(data, window).sum(axis=1) if size <= 4097 else None
        first = ca.sliding_window_sum(data, window, num_threads=1)
        if expected is None:
            sums = np.array([math.fsum(data[i : i + window]) for i in range(0, size - window + 1, 1 + size // 40)])
            first_some = first[:: 1 + size // 40]
        else:
            sums, first_some = expected, first
        scale = np.abs(data).max() * window
        assert np.allclose(first_some, sums, rtol=1e-12, atol=1e-12 * scale)
        for threads in THREADS[1:]:
            assert same_bits(ca.sliding_window_sum(data, window, num_threads=threads), first)


def test_a_large_number_leaves_no_trace():
    """A running sum adds what enters and subtracts what leaves: 1e16 would take the small numbers after it along."""
    data = np.full(100_000, 0.1)
    data[50] = 1e16
    sums = ca.sliding_window_sum(data, 10)
    assert same_bits(sums[60:], np.full(len(sums) - 60, sums[60])) and sums[60] == pytest.approx(1.0, rel=1e-15)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("window", [1, 2, 7, 64, 1000])
def test_one_spoilt_number_spoils_its_windows_only(bad, window):
    for place in (0, 1, 500, 4095, 4096, 9998, 9999):
        data = np.ones(10_000)
        data[place] = bad
        for threads in THREADS:
            sums = ca.sliding_window_sum(data, window, num_threads=threads)
            spoilt = np.flatnonzero(~np.isfinite(sums))
            expected = range(max(0, place - window + 1), min(place, len(sums) - 1) + 1)
            assert spoilt.tolist() == list(expected)
            assert np.all(sums[np.isfinite(sums)] == window)


def test_negative_zero_and_one_window():
    assert str(ca.sliding_window_sum([-0.0, 1.0], 1)) == "[-0.0, 1.0]"
    assert ca.sliding_window_sum([1, 2, True], 3) == [4.0]
    assert ca.sliding_window_sum((5.0,), 1) == [5.0]


@pytest.mark.parametrize("window", [0, -1, 4, 2**62])
@pytest.mark.parametrize("make", [list, np.array])
def test_invalid_window(window, make):
    with pytest.raises(ValueError, match="^Invalid window size"):
        ca.sliding_window_sum(make([1.0, 2.0, 3.0]), window)
    with pytest.raises(ValueError, match="^Invalid window size"):
        ca.sliding_window_sum(make([]), 1)


def test_the_window_is_checked_before_the_data():
    with pytest.raises(ValueError, match="Invalid window size"):
        ca.sliding_window_sum(["bad data"], 0)
    with pytest.raises(TypeError):
        ca.sliding_window_sum(["bad data"], 1)
    with pytest.raises(OverflowError):
        ca.sliding_window_sum([1.0], 2**70)
    for window in (1.0, "1", None):
        with pytest.raises(TypeError):
            ca.sliding_window_sum([1.0], window)


def test_windows_into_out():
    data = floats_of(5000)
    expected = ca.sliding_window_sum(data, 100)
    out = np.full(4901, 7.0)
    assert ca.sliding_window_sum(data, 100, out=out) is out and same_bits(out, expected)
    with pytest.raises(ValueError, match=r"out has shape \(4900,\), the result has shape \(4901,\)"):
        ca.sliding_window_sum(data, 100, out=out[1:])
    with pytest.raises(ValueError, match="overlaps"):
        ca.sliding_window_sum(data, 100, out=data[:4901])
    with pytest.raises(TypeError, match="out needs arrays"):
        ca.sliding_window_sum(data.tolist(), 100, out=out)


# ---- parallel_transform_preallocated


@CASES
@given(float_lists)
@example([math.nan, -1.0, -0.0, math.inf, -math.inf, 5e-324])
def test_square_roots(data):
    with np.errstate(all="ignore"):
        expected = np.sqrt(np.array(data, float))
    for threads in THREADS:
        result = ca.parallel_transform_preallocated(data, num_threads=threads)
        assert all_float(result) and same_bits(result, expected)
        result = ca.parallel_transform_preallocated(np.array(data, float), num_threads=threads)
        assert isinstance(result, np.ndarray) and same_bits(result, expected)


@pytest.mark.parametrize("size", SIZES)
def test_square_roots_into_out(size):
    data = np.abs(floats_of(size))
    for threads in THREADS:
        wide = np.full(size + 3, 5.0)
        result = ca.parallel_transform_preallocated(data, out=wide[1 : size + 1], num_threads=threads)
        assert result.base is wide and same_bits(result, np.sqrt(data))
        assert wide[0] == wide[size + 1] == wide[size + 2] == 5.0
        in_place = data.copy()
        assert ca.parallel_transform_preallocated(in_place, out=in_place, num_threads=threads) is in_place
        assert same_bits(in_place, np.sqrt(data))


def test_nothing_is_copied_on_the_way():
    data, out = np.ones(1000), np.empty(1000)
    before = out.__array_interface__["data"][0]
    result = ca.parallel_transform_preallocated(data, out=out)
    assert result is out and out.__array_interface__["data"][0] == before and out.sum() == 1000
    data.flags.writeable = False
    assert ca.parallel_transform_preallocated(data).sum() == 1000
    with pytest.raises(ValueError, match="read-only"):
        ca.parallel_transform_preallocated(out, out=data)


# ---- BufferPool


@CASES
@given(batch_lists, st.integers(1, 20), st.integers(1, 5))
@example([[]], 1, 1)
@example([], 3, 2)
@example([[1.0] * 33, [], [math.nan, -0.0, math.inf]], 8, 2)
def test_process_batch(data, size, capacity):
    pool = ca.BufferPool(size, capacity)
    expected = [squares(row).tolist() for row in data]
    for _ in range(2):
        result = pool.process_batch(data)
        assert type(result) is list and all(map(all_float, result)) and len(result) == len(data)
        assert all(map(same_bits, result, expected))
        arrays = pool.process_batch([np.array(row, float) for row in data])
        assert type(arrays) is list and all(map(same_bits, arrays, expected))
        assert all(isinstance(row, np.ndarray) for row in arrays) or not data
    stats = pool.get_stats()
    assert stats.live == 0 and stats.peak <= capacity and stats.available == capacity


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("length", SIZES)
def test_rows_of_any_length(size, length):
    pool, row = ca.BufferPool(size, 3), floats_of(length)
    result = pool.process_batch([row.tolist(), [1.0], row.tolist()])
    assert same_bits(result[0], row * row) and result[1] == [1.0] and result[2] == result[0]
    assert same_bits(pool.process_batch([row])[0], row * row)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (3, 7), (40, 1000), (1, 70_001)])
def test_matrices(shape):
    matrix = floats_of(shape[0] * shape[1]).reshape(shape)
    pool = ca.BufferPool(64, 2)
    result = pool.process_batch(matrix)
    assert isinstance(result, np.ndarray) and same_bits(result, matrix * matrix)
    out = np.full(shape, 3.0)
    assert pool.process_batch(matrix, out=out) is out and same_bits(out, result)
    in_place = matrix.copy()
    assert pool.process_batch(in_place, out=in_place) is in_place and same_bits(in_place, result)


def test_blocks_are_reused():
    pool = ca.BufferPool(100, 4)
    rows = [[1.0] * 350] * 10
    pool.process_batch(rows)
    warm = pool.get_stats()
    assert 1 <= warm.misses <= 4 and warm.bytes >= 800 * warm.misses
    for _ in range(20):
        pool.process_batch(rows)
    stats = pool.get_stats()
    assert stats.misses == warm.misses and stats.bytes == warm.bytes and stats.peak == warm.peak
    assert stats.hits + stats.misses >= 21 * 10 * 4  # a row of 350 takes four blocks of 100


def test_reserve_takes_all_memory_at_once():
    pool = ca.BufferPool(100, 8)
    assert pool.get_stats().bytes < 8 * 800
    pool.reserve()
    assert pool.get_stats().bytes >= 8 * 800
    before = pool.get_stats().misses
    pool.process_batch([[1.0] * 1000] * 3)
    assert pool.get_stats().misses == before


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("capacity", [1, 2, 16])
def test_one_buffer_pool_for_many_threads(threads, capacity):
    pool = ca.BufferPool(16, capacity)

    def work(i):
        rng = random.Random(i)
        for _ in range(60):
            rows = [[rng.random() for _ in range(rng.randrange(60))] for _ in range(rng.randrange(8))]
            assert pool.process_batch(rows) == [[x * x for x in row] for row in rows]
            matrix = np.full((5, 33), float(i))
            assert np.all(pool.process_batch(matrix) == float(i) ** 2)
        return True

    assert all(run_threads(threads, work))
    stats = pool.get_stats()
    assert stats.live == 0 and stats.available == capacity and stats.bytes <= capacity * (16 * 8 + 64) + 4096


def test_batch_errors_name_the_row():
    pool = ca.BufferPool(4, 2)
    for data, error, match in [
        ([[1.0], [2.0, "3"]], TypeError, r"data\[1\]\[1\] must be a number, not str"),
        ([[1.0], None], TypeError, r"data\[1\] must be a sequence"),
        ([[1.0], "ab"], TypeError, r"data\[1\] must be a sequence"),
        ([[1.0], [10**400]], OverflowError, r"data\[1\]\[0\]"),
        ("ab", TypeError, "data must be a sequence"),
        (None, TypeError, "data must be a sequence"),
        ({1.0}, TypeError, "data must be a sequence"),
        (([1.0] for _ in range(2)), TypeError, "data must be a sequence"),
        ([np.ones(2), np.arange(3)], TypeError, r"data\[1\] must be an array of float64, not int64"),
        ([np.ones(2), [1.0]], TypeError, r"data\[1\] must be an array like data\[0\], not list"),
        ([np.ones(2), np.ones((2, 2))], ValueError, r"data\[1\] must be 1-D"),
        ([np.ones(4)[::2]], ValueError, "ascontiguousarray"),
        ([np.ones(4, ">f8")], ValueError, "byte order"),
        (np.ones(3), ValueError, "data must be 2-D"),
        (np.ones((2, 2), np.float32), TypeError, "float64"),
        (np.ones((2, 4))[:, ::2], ValueError, "C-contiguous"),
    ]:
        with pytest.raises(error, match=match):
            pool.process_batch(data)
    assert pool.get_stats().live == 0 and pool.process_batch([[2.0]]) == [[4.0]]


def test_out_of_process_batch():
    pool, matrix = ca.BufferPool(4, 2), np.ones((2, 3))
    with pytest.raises(ValueError, match="shape"):
        pool.process_batch(matrix, out=np.empty((3, 2)))
    with pytest.raises(TypeError, match="out needs arrays"):
        pool.process_batch([[1.0]], out=matrix)
    with pytest.raises(TypeError, match="out needs arrays"):
        pool.process_batch([np.ones(3)], out=matrix)
    with pytest.raises(TypeError, match="float64"):
        pool.process_batch(matrix, out=np.empty((2, 3), np.float32))
    wide = np.ones(12)
    with pytest.raises(ValueError, match="overlaps data in part"):
        pool.process_batch(wide[:6].reshape(2, 3), out=wide[3:9].reshape(2, 3))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0, 1), ValueError),
        ((1, 0), ValueError),
        ((-1, 1), ValueError),
        ((2**62, 1), ValueError),
        ((1, 2**62), ValueError),
        ((2**70, 1), OverflowError),
        ((1.0, 1), TypeError),
        ((1, "1"), TypeError),
        ((1,), TypeError),
    ],
)
def test_bad_buffer_pools(arguments, error):
    with pytest.raises(error):
        ca.BufferPool(*arguments)


def test_blocks_that_memory_does_not_hold():
    with pytest.raises(MemoryError):
        ca.BufferPool(2**40, 3).process_batch([[1.0]])
    assert ca.BufferPool(size=2, capacity=2**16).capacity == 2**16


# ---- ObjectPool


@CASES
@given(float_lists, st.sampled_from([1, 7, 8, 9, 16, 64, 100, 4096]))
@example([math.nan, -0.0, math.inf, -1.0], 8)
def test_process_with_pooling(items, object_size):
    pool = ca.ObjectPool(object_size)
    expected = [x + x * x for x in items]
    for _ in range(2):
        result = pool.process_with_pooling(items)
        assert all_float(result) and same_bits(result, expected)
        result = pool.process_with_pooling(np.array(items, float))
        assert isinstance(result, np.ndarray) and same_bits(result, expected)


@pytest.mark.parametrize("size", SIZES)
def test_object_pool_into_out(size):
    pool, items = ca.ObjectPool(32), floats_of(size)
    expected = items + items * items
    out = np.empty(size)
    assert pool.process_with_pooling(items, out=out) is out and same_bits(out, expected)
    in_place = items.copy()
    assert pool.process_with_pooling(in_place, out=in_place) is in_place and same_bits(in_place, expected)
    with pytest.raises(TypeError, match="out needs arrays"):
        pool.process_with_pooling(items.tolist(), out=out)


@pytest.mark.parametrize("threads", THREADS)
def test_one_object_pool_for_many_threads(threads):
    pool = ca.ObjectPool(24)

    def work(i):
        for n in range(50):
            items = [float(i + k) for k in range(n * 7)]
            assert pool.process_with_pooling(items) == [x + x * x for x in items]
            assert pool.process_with_pooling(np.full(1000, float(i)))[-1] == i + i * i
        return True

    assert all(run_threads(threads, work))
    stats = pool.get_stats()
    assert 1 <= stats.allocations <= 4 * threads + 4 and stats.bytes <= 200_000 * threads


def test_an_item_that_uses_the_same_pool():
    """Reading a list may run any Python code: this one calls the pool that is just reading it."""
    objects, buffers = ca.ObjectPool(8), ca.BufferPool(4, 1)

    class Nested:
        def __float__(self):
            assert objects.process_with_pooling([1.0, 2.0]) == [2.0, 6.0]
            assert buffers.process_batch([[3.0], [4.0]]) == [[9.0], [16.0]]
            return 5.0

    assert objects.process_with_pooling([1.0, Nested(), 3.0]) == [2.0, 30.0, 12.0]
    assert buffers.process_batch([[1.0], [Nested(), 2.0]]) == [[1.0], [25.0, 4.0]]


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-5, ValueError), (2**60, ValueError), ("8", TypeError)])
def test_bad_object_pools(size, error):
    with pytest.raises(error):
        ca.ObjectPool(size)
    assert ca.ObjectPool(object_size=8).object_size == 8


# ---- batch_process_arena


@CASES
@given(batch_lists)
@example([[], [], []])
@example([])
@example([[math.nan, -0.0], [math.inf]])
def test_batch_process_arena(batches):
    expected = squares(list(itertools.chain.from_iterable(batches)))
    for threads in THREADS:
        result = ca.batch_process_arena(batches, num_threads=threads)
        assert all_float(result) and same_bits(result, expected)
        if batches:
            arrays = ca.batch_process_arena([np.array(batch, float) for batch in batches], num_threads=threads)
            assert isinstance(arrays, np.ndarray) and arrays.ndim == 1 and same_bits(arrays, expected)


@pytest.mark.parametrize("size", SIZES)
def test_batches_of_all_sizes(size):
    batches = [floats_of(n) for n in (size, 0, 3, size)]
    expected = squares(np.concatenate(batches))
    for threads in THREADS:
        assert same_bits(ca.batch_process_arena(batches, num_threads=threads), expected)
        out = np.empty(2 * size + 3)
        assert ca.batch_process_arena(batches, num_threads=threads, out=out) is out and same_bits(out, expected)
    matrix = floats_of(3 * size).reshape(3, size)
    assert same_bits(ca.batch_process_arena(matrix), squares(matrix.ravel()))


def test_bad_batches():
    with pytest.raises(TypeError, match=r"batches\[1\]\[0\]"):
        ca.batch_process_arena([[1.0], [None]])
    with pytest.raises(ValueError, match=r"out has shape \(3,\), the result has shape \(4,\)"):
        ca.batch_process_arena(np.ones((2, 2)), out=np.empty(3))
    flat = np.ones(4)
    with pytest.raises(ValueError, match="overlaps"):
        ca.batch_process_arena(flat.reshape(2, 2), out=flat)
    with pytest.raises(TypeError, match="out needs arrays"):
        ca.batch_process_arena([[1.0]], out=np.empty(1))
    for threads in (0, -1, 1025):
        with pytest.raises(ValueError):
            ca.batch_process_arena(["bad data, but the count is looked at first"], num_threads=threads)


# ---- what all of them refuse


FLAT = {
    "sliding_window_sum": lambda data: ca.sliding_window_sum(data, 1),
    "parallel_transform_preallocated": ca.parallel_transform_preallocated,
    "process_with_pooling": lambda data: ca.ObjectPool(8).process_with_pooling(data),
}


@pytest.mark.parametrize("function", FLAT)
@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        ([1.0, "2"], TypeError, r"\[1\] must be a number, not str"),
        ([1.0, None], TypeError, r"\[1\]"),
        ("12", TypeError, "not str"),
        (None, TypeError, "not NoneType"),
        ({1.0}, TypeError, "not set"),
        ({1.0: 2}, TypeError, "not dict"),
        ((x for x in [1.0]), TypeError, "generator"),
        ([1.0, 10**400], OverflowError, r"\[1\]"),
        (np.arange(3), TypeError, "float64"),
        (np.ones(3, np.float32), TypeError, "float64"),
        (b"12345678", TypeError, "float64"),
        (np.zeros((2, 2)), ValueError, "1-D"),
        (np.zeros(6)[::2], ValueError, "ascontiguousarray"),
        (np.zeros(3, ">f8"), ValueError, "byte order"),
        (np.frombuffer(bytes(33), np.uint8)[1:].view(np.float64), ValueError, "aligned"),
    ],
)
def test_bad_data(function, data, error, match):
    with pytest.raises(error, match=match):
        FLAT[function](data)


def test_other_sequences_and_buffers():
    for data in ((1, 4.0), array.array("d", [1, 4]), memoryview(np.array([1.0, 4.0])), range(1, 5, 3)):
        assert list(ca.parallel_transform_preallocated(data)) == [1.0, 2.0]
        assert list(ca.ObjectPool(8).process_with_pooling(data)) == [2.0, 20.0]
        assert list(ca.sliding_window_sum(data, 2)) == [5.0]
    assert ca.BufferPool(2, 1).process_batch(([1, 2], (True,), range(2))) == [[1.0, 4.0], [1.0], [0.0, 1.0]]
    rows = [array.array("d", [1, 2]), memoryview(np.array([3.0]))]
    assert [row.tolist() for row in ca.BufferPool(2, 1).process_batch(rows)] == [[1.0, 4.0], [9.0]]


def test_parameter_names():
    assert ca.BufferPool(size=2, capacity=1).process_batch(data=[[2.0]]) == [[4.0]]
    assert ca.ObjectPool(object_size=8).process_with_pooling(items=[2.0]) == [6.0]
    assert ca.sliding_window_sum(data=[2.0], window=1) == [2.0]
    assert ca.parallel_transform_preallocated(data=[4.0]) == [2.0]
    assert ca.batch_process_arena(batches=[[2.0]]) == [4.0]
    assert len(ca.PoolAllocator(capacity=1).allocate(size=5)) == 5


def test_classes_that_were_not_made():
    for kind, call in (
        (ca.BufferPool, lambda pool: pool.process_batch([[1.0]])),
        (ca.ObjectPool, lambda pool: pool.process_with_pooling([1.0])),
        (ca.PoolAllocator, lambda pool: pool.allocate(1)),
        (ca.PoolAllocator, lambda pool: pool.get_stats()),
        (ca.BufferPool, lambda pool: pool.get_stats()),
    ):
        with pytest.raises(TypeError):
            call(kind.__new__(kind))
    pool = ca.BufferPool(2, 1)
    pool.__init__(3, 4)
    assert pool.process_batch([[2.0]]) == [[4.0]]


# ---- PoolAllocator


def test_a_view_owns_its_slot():
    pool = ca.PoolAllocator(4)
    view = pool.allocate(100)
    assert type(view) is memoryview and view.format == "B" and view.nbytes == len(view) == 100 and not view.readonly
    assert view.c_contiguous and view.ndim == 1
    view[:] = bytes(range(100))
    assert bytes(view) == bytes(range(100)) and pool.available() == 3
    pool.deallocate(view)
    assert pool.available() == 4
    with pytest.raises(ValueError, match="released"):
        view[0]


def test_the_address_is_used_again():
    pool = ca.PoolAllocator(4)
    view = pool.allocate(1000)
    first = address(view)
    pool.deallocate(view)
    for _ in range(10):
        view = pool.allocate(1000)
        assert address(view) == first
        pool.deallocate(view)
    stats = pool.get_stats()
    assert stats.misses == 1 and stats.hits == 10 and stats.peak == 1


def test_numpy_writes_into_the_slot():
    pool = ca.PoolAllocator(2)
    view = pool.allocate(800)
    numbers = np.frombuffer(view, np.float64)
    numbers[:] = np.arange(100)
    assert memoryview(view).cast("d")[99] == 99.0
    assert numbers.__array_interface__["data"][0] == address(view)
    del numbers
    pool.deallocate(view)


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 63, 64, 65, 127, 129, 1000, 4096, 32768, 32769, 100_000, 3_000_001])
def test_slots_do_not_overlap(size):
    pool = ca.PoolAllocator(40)
    views = [pool.allocate(size) for _ in range(40)]
    for i, view in enumerate(views):
        view[0], view[-1] = i, i
        assert address(view) % 16 == 0
    places = sorted(map(address, views))
    assert all(b - a >= size for a, b in zip(places, places[1:]))
    assert all(view[0] == view[-1] == i for i, view in enumerate(views))
    for view in random.Random(size).sample(views, 40):
        pool.deallocate(view)
    assert pool.get_stats().live == 0


@pytest.mark.parametrize(
    "use",
    [
        lambda view: np.frombuffer(view, np.uint8),
        lambda view: np.frombuffer(view, np.uint8)[3:5],
        lambda view: view[10:20],
        lambda view: view[10:20][2:],
        lambda view: view.cast("d"),
        lambda view: memoryview(view),
        lambda view: memoryview(view.obj),
        lambda view: view.toreadonly(),
        lambda view: (ctypes.c_char * 8).from_buffer(view),
    ],
    ids=["array", "slice of an array", "slice", "slice of a slice", "cast", "view", "view of the slot", "read-only", "ctypes"],
)
def test_deallocate_refuses_while_something_uses_the_slot(use):
    pool = ca.PoolAllocator(1)
    view = pool.allocate(80)
    view[0] = 42
    used = use(view)
    for _ in range(2):
        with pytest.raises(BufferError, match="still in use: 1 other"):
            pool.deallocate(view)
        assert view[0] == 42 and pool.available() == 0  # nothing was changed
    del used
    gc.collect()
    pool.deallocate(view)
    assert pool.available() == 1


def test_what_was_made_of_a_view_keeps_the_slot():
    pool = ca.PoolAllocator(1)
    for make in (lambda v: v[5:], lambda v: np.frombuffer(v, np.uint8), lambda v: v.cast("I"), lambda v: v.obj):
        view = pool.allocate(8)
        part = make(view)
        del view
        gc.collect()
        assert pool.available() == 0
        with pytest.raises(MemoryError, match="all 1 slots"):
            pool.allocate(8)
        del part
        assert pool.available() == 1


def test_every_way_to_give_back():
    pool = ca.PoolAllocator(1)
    pool.deallocate(pool.allocate(8))
    with pool.allocate(8) as view:
        view[0] = 1
    pool.allocate(8).release()
    view = pool.allocate(8)
    del view
    part = pool.allocate(8)[4:]
    pool.deallocate(part)  # the last view, whichever it is
    assert pool.available() == 1 and pool.get_stats().hits + pool.get_stats().misses == 5


def test_double_free_is_refused():
    pool = ca.PoolAllocator(2)
    view = pool.allocate(8)
    pool.deallocate(view)
    with pytest.raises(ValueError, match="double free"):
        pool.deallocate(view)
    other = pool.allocate(8)  # the same slot
    with pytest.raises(ValueError, match="double free"):
        pool.deallocate(view)
    assert pool.get_stats().live == 1
    pool.deallocate(other)
    with pool.allocate(8) as view:
        pass
    with pytest.raises(ValueError, match="double free"):
        pool.deallocate(view)
    view = pool.allocate(8)
    part = view[2:4]
    view.release()
    with pytest.raises(ValueError, match="^double free: the view was released before$"):  # its slot is not back: `part`
        pool.deallocate(view)
    assert pool.get_stats().live == 1
    pool.deallocate(part)
    assert pool.get_stats().live == 0


def test_foreign_free_is_refused():
    pool, other = ca.PoolAllocator(2), ca.PoolAllocator(2)
    view = other.allocate(8)
    with pytest.raises(ValueError, match="foreign free: .* another pool"):
        pool.deallocate(view)
    for foreign in (memoryview(b"12345678"), memoryview(bytearray(8)), memoryview(np.ones(2))):
        with pytest.raises(ValueError, match="foreign free"):
            pool.deallocate(foreign)
        foreign[0]  # not released
    array_of_a_slot = np.frombuffer(view, np.uint8)
    with pytest.raises(ValueError, match="foreign free"):
        other.deallocate(memoryview(array_of_a_slot))
    for wrong in (None, b"1", array_of_a_slot, view.obj, 5):
        with pytest.raises(TypeError, match="memoryview"):
            other.deallocate(wrong)
    del array_of_a_slot
    other.deallocate(view)


def test_a_slot_that_was_given_back_shows_nothing():
    pool = ca.PoolAllocator(2)
    view = pool.allocate(8)
    slot = view.obj
    assert "8 bytes" in repr(slot)
    pool.deallocate(view)
    with pytest.raises(BufferError, match="given back"):
        memoryview(slot)
    assert "given back" in repr(slot) and pool.available() == 2
    with pytest.raises(TypeError):
        type(slot)()


@pytest.mark.parametrize(
    ("size", "error"), [(0, ValueError), (-1, ValueError), (2**70, OverflowError), (1.0, TypeError), (None, TypeError)]
)
def test_bad_sizes(size, error):
    pool = ca.PoolAllocator(2)
    with pytest.raises(error):
        pool.allocate(size)
    assert pool.available() == 2


def test_more_than_memory():
    pool = ca.PoolAllocator(2)
    for size in (2**62, 2**63 - 1):
        with pytest.raises(MemoryError):
            pool.allocate(size)
    assert pool.available() == 2 and len(pool.allocate(10)) == 10


def test_the_budget_is_named():
    pool = ca.PoolAllocator(1000, budget=1_000_000)
    views = []
    with pytest.raises(MemoryError, match=r"100000 bytes do not fit the pool's budget of 1000000: \d+ are in use"):
        while True:
            views.append(pool.allocate(100_000))
    assert 5 <= len(views) <= 10
    stats = pool.get_stats()
    assert stats.live == len(views) and 100_000 * len(views) <= stats.live_bytes <= stats.bytes <= 1_000_000
    pool.deallocate(views.pop())
    views.append(pool.allocate(100_000))
    for view in views:
        pool.deallocate(view)
    assert pool.get_stats().live == 0


def test_a_budget_is_for_all_threads():
    """What one thread gave back serves another, although both live on: the rounds would run into the budget otherwise."""
    pool = ca.PoolAllocator(64, budget=1_048_576)
    there, back = queue.Queue(), queue.Queue()

    def consume():
        while (view := there.get()) is not None:
            pool.deallocate(view)
            del view
            back.put(None)
        pool.deallocate(pool.allocate(900_000))  # all that the other one has used so far is free

    consumer = threading.Thread(target=consume)
    consumer.start()
    try:
        for _ in range(20):
            for view in [pool.allocate(32_768) for _ in range(24)]:
                there.put(view)
            del view
            for _ in range(24):
                back.get(timeout=30)
    finally:
        there.put(None)
        consumer.join(30)
    assert pool.get_stats().live == 0 and pool.get_stats().misses < 24 * 20 / 4
    pool.deallocate(pool.allocate(900_000))


def test_slots_are_counted():
    pool = ca.PoolAllocator(3)
    views = [pool.allocate(10) for _ in range(3)]
    with pytest.raises(MemoryError, match="all 3 slots of the pool are in use"):
        pool.allocate(10)
    assert pool.available() == 0 and pool.get_stats().live == 3 and pool.get_stats().peak == 3
    assert 30 <= pool.get_stats().live_bytes <= 48
    pool.deallocate(views[1])
    assert pool.available() == 1 and pool.get_stats().live == 2 and pool.get_stats().peak == 3
    pool.allocate(5)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"capacity": 0}, ValueError),
        ({"capacity": -1}, ValueError),
        ({"capacity": 2**62}, ValueError),
        ({"capacity": 1, "budget": 0}, ValueError),
        ({"capacity": 1, "budget": 1.5}, TypeError),
        ({"capacity": "1"}, TypeError),
        ({}, TypeError),
    ],
)
def test_bad_allocators(arguments, error):
    with pytest.raises(error):
        ca.PoolAllocator(**arguments)


def test_trim_gives_memory_back():
    pool = ca.PoolAllocator(1000)
    views = [pool.allocate(100_000) for _ in range(50)]
    most = pool.get_stats().bytes
    assert most >= 5_000_000
    del views
    pool.trim()
    assert pool.get_stats().bytes < most / 10
    pool.deallocate(pool.allocate(100_000))


# ---- a pool that ends before its views


def test_views_outlive_their_pool():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        pool = ca.PoolAllocator(2)
        view = pool.allocate(1000)
        view[:] = b"x" * 1000
        pool.close()
        with pytest.raises(RuntimeError, match="closed"):
            pool.allocate(5)
        gone = weakref.ref(pool)
        del pool
        gc.collect()
        assert gone() is None
    numbers = np.frombuffer(view, np.uint8)
    del view
    assert np.all(numbers == ord("x"))


def test_a_view_may_be_given_back_after_close():
    pool = ca.PoolAllocator(2)
    view = pool.allocate(10)
    with pytest.warns(ResourceWarning):
        pool.close()
    pool.deallocate(view)
    assert pool.get_stats().live == 0


def test_close_names_what_was_not_given_back():
    pool = ca.PoolAllocator(20, trace=True)
    views = [pool.allocate(size) for size in (10, 20)]
    here = inspect.currentframe().f_lineno - 1
    kept = pool.allocate(5)
    pool.deallocate(kept)
    assert pool.live() == [(10, f"{__file__}:{here}"), (20, f"{__file__}:{here}")]
    with pytest.warns(ResourceWarning, match="2 slots were not given back: 10 bytes .*:.*, 20 bytes") as told:
        pool.close()
    assert f"({__file__}:{here})" in str(told[0].message) and told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool.close()  # once is enough
        views.clear()
        del pool


def test_leaks_of_with_blocks_and_of_garbage():
    with pytest.warns(ResourceWarning, match="1 slot was not given back: 7 bytes$"):
        with ca.PoolAllocator(2) as pool:
            view = pool.allocate(7)
    assert pool.closed
    del view
    left = ca.PoolAllocator(20)
    views = [left.allocate(i + 1) for i in range(8)]
    with pytest.warns(ResourceWarning, match="8 slots were not given back: 1 bytes, .*5 bytes, and 3 more"):
        del left
        gc.collect()
    views.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ca.PoolAllocator(2) as pool:
            pool.deallocate(pool.allocate(7))
        del pool
        ca.PoolAllocator(2)
        gc.collect()


def test_leaks_are_told_at_exit():
    code = """
        import custom_allocator
        pool = custom_allocator.PoolAllocator(5, trace=True)
        view = pool.allocate(123)
    """
    child = run_child("import warnings; warnings.simplefilter('always')\n" + inspect.cleandoc(code))
    assert child.returncode == 0 and child.stderr.count("not given back") == 1, child.stderr
    assert "1 slot was not given back: 123 bytes (<string>:" in child.stderr
    child = run_child("import warnings; warnings.simplefilter('always')\n" + inspect.cleandoc(code + "    view.release()"))
    assert (child.returncode, child.stderr) == (0, "")


def test_a_pool_is_open_to_the_very_end():
    child = run_child("""
        import atexit

        @atexit.register
        def last():
            with pool.allocate(5) as view:
                view[:] = b"hello"
                print(bytes(view))

        import custom_allocator  # after the registration, so what it registers itself runs before
        pool = custom_allocator.PoolAllocator(5)
    """)
    assert (child.returncode, child.stdout, child.stderr) == (0, "b'hello'\n", "")


# ---- writing to memory that was given back


def test_debug_sees_a_write_through_a_stale_address():
    pool = ca.PoolAllocator(4, debug=True)
    view = pool.allocate(64)
    stale = address(view)
    pool.deallocate(view)
    pool.check()
    ctypes.memset(stale + 20, 7, 1)
    with pytest.raises(RuntimeError, match="after"):
        pool.check()


def test_debug_lets_right_code_pass():
    pool = ca.PoolAllocator(100, debug=True)
    rng = random.Random(9)
    views = []
    for _ in range(2000):
        if views and rng.random() < 0.5:
            pool.deallocate(views.pop(rng.randrange(len(views))))
        elif pool.available():
            view = pool.allocate(rng.randrange(1, 5000))
            view[:] = bytes([rng.randrange(256)]) * len(view)
            views.append(view)
    pool.check()
    views.clear()
    pool.check()


# ---- threads


@pytest.mark.parametrize("threads", THREADS)
def test_one_allocator_for_many_threads(threads):
    pool = ca.PoolAllocator(50 * threads)

    def work(i):
        rng = random.Random(i)
        mine = []
        for n in range(1500):
            if mine and (len(mine) == 50 or rng.random() < 0.5):
                view, mark = mine.pop(rng.randrange(len(mine)))
                assert view[0] == view[-1] == mark
                pool.deallocate(view)
            else:
                view = pool.allocate(rng.choice([8, 24, 100, 700, 5000, 40_000]))
                view[0] = view[-1] = mark = (i * 31 + n) % 256
                mine.append((view, mark))
        while mine:
            view, mark = mine.pop()
            assert view[0] == view[-1] == mark
            pool.deallocate(view)
        return True

    assert all(run_threads(threads, work))
    stats = pool.get_stats()
    assert stats.live == 0 and stats.live_bytes == 0 and stats.peak <= 50 * threads and pool.available() == 50 * threads


@pytest.mark.parametrize("pairs", [1, 2, 4])
def test_given_back_by_another_thread(pairs):
    pool = ca.PoolAllocator(64 * pairs)
    rings = [queue.Queue(32) for _ in range(pairs)]

    def work(i):
        ring = rings[i // 2]
        if i % 2 == 0:
            for n in range(3000):
                view = pool.allocate(16 + n % 100)
                view[0] = n % 251
                ring.put((view, n))
            ring.put(None)
            return 3000
        count = 0
        while (item := ring.get()) is not None:
            view, n = item
            assert view[0] == n % 251
            pool.deallocate(view)
            count += 1
        return count

    assert run_threads(2 * pairs, work) == [3000] * (2 * pairs)
    stats = pool.get_stats()
    assert stats.live == 0 and stats.hits + stats.misses == 3000 * pairs
    assert stats.bytes < 10_000_000  # what came back was used again


def test_threads_end_before_their_slots():
    pool = ca.PoolAllocator(400)
    views = []
    for _ in range(20):
        run_threads(4, lambda i: views.extend(pool.allocate(100) for _ in range(5)))
    assert len(set(map(address, views))) == 400 and pool.available() == 0
    held = pool.get_stats().bytes
    while views:
        pool.deallocate(views.pop())
    for _ in range(20):
        run_threads(4, lambda i: [pool.deallocate(pool.allocate(100)) for _ in range(5)])
    assert pool.get_stats().live == 0 and pool.get_stats().bytes <= 2 * held + 2_000_000


def test_threads_race_to_give_one_view_back():
    pool = ca.PoolAllocator(1)

    def outcome(view):
        try:
            pool.deallocate(view)
        except (ValueError, BufferError):
            return 0
        return 1

    for _ in range(200):
        view = pool.allocate(10)
        assert sum(run_threads(4, lambda i, view=view: outcome(view))) == 1
        assert pool.available() == 1


def test_views_in_cycles_come_back():
    pool = ca.PoolAllocator(10)

    class Holder:
        pass

    for _ in range(10):
        holder = Holder()
        holder.itself, holder.view = holder, pool.allocate(50)
    del holder
    gc.collect()
    assert pool.available() == 10


def test_a_pool_in_a_cycle_is_collected():
    class Holder(ca.PoolAllocator):
        pass

    holder = Holder(3)
    holder.itself = holder
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None


# ---- no allocation after warm-up


@needs_counting
def test_the_counter_counts():
    with ca.count_allocations() as counter:
        ca.BufferPool(100, 4).process_batch([[1.0] * 50])
    assert counter.allocations >= 3 and counter.bytes >= 800 and str(counter.allocations) in repr(counter)
    before = ca.allocation_counts()
    with ca.count_allocations() as counter:
        pass
    assert counter.allocations == counter.bytes == 0 and ca.allocation_counts() == before
    with pytest.raises(KeyError), ca.count_allocations() as counter:
        raise KeyError
    assert counter.allocations == 0


@needs_counting
def test_no_allocation_after_warm_up():
    objects, buffers, views = ca.ObjectPool(64), ca.BufferPool(100, 4), ca.PoolAllocator(8)
    items = [float(i) for i in range(5000)]
    rows = [items[:n] for n in (0, 10, 1000, 99, 100, 101)]
    data, matrix = np.array(items), np.ones((30, 70))
    out, out_matrix = np.empty(5000), np.empty((30, 70))
    for call, arrays in (
        (lambda: objects.process_with_pooling(items), 0),
        (lambda: objects.process_with_pooling(data, out=out), 2),
        (lambda: buffers.process_batch(rows), 0),
        (lambda: buffers.process_batch(matrix, out=out_matrix), 2),
        (lambda: views.deallocate(views.allocate(1000)), 0),
        (lambda: views.allocate(20_000).release(), 0),
    ):
        for _ in range(3):
            call()
        with ca.count_allocations() as counter:
            for _ in range(10):
                call()
        # Holding an array takes a Py_buffer, 80 bytes, whatever its size.
        assert counter.allocations == 10 * arrays and counter.bytes <= 10 * arrays * 96, (call, counter)
    assert objects.get_stats().allocations <= 4 and buffers.get_stats().misses == 1


@needs_counting
def test_an_arena_allocates_for_the_largest_batch_only():
    few, many = np.ones((5, 1000)), np.ones((1000, 1000))
    ca.batch_process_arena(many, num_threads=1)
    counts = []
    for batches in (few, many):
        with ca.count_allocations() as counter:
            ca.batch_process_arena(batches, num_threads=1)
        counts.append(counter)
    assert counts[1].allocations - counts[0].allocations < 30  # vectors that grow, nothing for each batch
    assert counts[1].bytes < 200_000  # of 8 MB


@needs_counting
def test_one_long_window_needs_little_memory():
    data = np.ones(2_000_000)
    with ca.count_allocations() as counter:
        assert ca.sliding_window_sum(data, len(data), num_threads=1).tolist() == [2e6]
    assert counter.bytes < 200_000


# ---- the GIL, Ctrl-C, exit, fork, sub-interpreters

BIG = """
        import custom_allocator as ca, numpy as np
        big = np.ones(3_000_000)
        matrix = big.reshape(3000, 1000)
        out = np.empty_like(big)
        buffers, objects = ca.BufferPool(256, 4), ca.ObjectPool(16)
        calls = {
            "windows": lambda: ca.sliding_window_sum(big, 1000),
            "roots": lambda: ca.parallel_transform_preallocated(big, out=out),
            "arena": lambda: ca.batch_process_arena(matrix),
            "buffers": lambda: buffers.process_batch(matrix),
            "rows": lambda: buffers.process_batch(list(matrix)),
            "objects": lambda: objects.process_with_pooling(big, out=out),
        }
"""
CALLS = ["windows", "roots", "arena", "buffers", "rows", "objects"]


@pytest.mark.parametrize("name", CALLS)
def test_the_gil_is_released(name):
    scope = {}
    exec(inspect.cleandoc(BIG), scope)
    assert runs_without_gil(scope["calls"][name])


@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c(name):
    child = interrupt_child(f"""{BIG}
        call = calls[{name!r}]
        print("ready")
        try:
            while True:
                call()
        except KeyboardInterrupt:
            print("interrupted")
        assert buffers.get_stats().live == 0
        call()
    """)
    assert (child.returncode, child.stdout) == (0, "interrupted\n"), child.stderr


def test_exit_while_daemon_threads_work():
    child = run_child(f"""{BIG}
        import threading, time
        views = ca.PoolAllocator(100)
        calls["views"] = lambda: [views.allocate(100) for _ in range(50)]
        def work(call):
            while True:
                call()
        for call in calls.values():
            threading.Thread(target=work, args=(call,), daemon=True).start()
        time.sleep(0.3)
        print("leaving", flush=True)
    """)
    assert (child.returncode, child.stdout) == (0, "leaving\n"), child.stderr


def test_views_alive_at_exit():
    child = run_child("""
        import custom_allocator, numpy, sys
        pool = custom_allocator.PoolAllocator(5)
        view = pool.allocate(100)
        numbers = numpy.frombuffer(pool.allocate(80), float)
        class Last:
            pass
        last = Last()
        last.itself, last.view, last.pool = last, view[5:], pool
        sys.modules["last"] = last
        print("leaving", flush=True)
    """)
    assert (child.returncode, child.stdout, child.stderr) == (0, "leaving\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_fork_while_threads_work():
    child = run_child(
        f"""{BIG}
        import os, threading, time, warnings
        warnings.simplefilter("ignore")
        views = ca.PoolAllocator(1000)
        narrow = ca.BufferPool(64, 1)  # its only block is out at nearly every fork
        kept = views.allocate(100)
        kept[:] = b"k" * 100
        stop = threading.Event()
        def work(call):
            while not stop.is_set():
                call()
        some = [*calls.values(), lambda: [views.allocate(100) for _ in range(50)], lambda: narrow.process_batch(matrix)]
        threads = [threading.Thread(target=work, args=(call,)) for call in some]
        for thread in threads:
            thread.start()
        results = []
        for _ in range(5):
            time.sleep(0.02)
            pid = os.fork()
            if pid == 0:
                import signal
                signal.alarm(60)
                try:
                    assert bytes(kept) == b"k" * 100
                    views.deallocate(kept)
                    mine = [views.allocate(100) for _ in range(100)]
                    for view in mine:
                        views.deallocate(view)
                    for call in calls.values():
                        call()
                    assert buffers.process_batch([[2.0] * 1000]) == [[4.0] * 1000]
                    assert narrow.process_batch([[3.0] * 1000]) == [[9.0] * 1000]
                    assert objects.process_with_pooling([2.0]) == [6.0]
                    os._exit(0)
                except BaseException:
                    import traceback
                    traceback.print_exc()
                    os._exit(1)
            results.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        stop.set()
        for thread in threads:
            thread.join()
        print(results)
    """,
        limit=150,
    )
    assert (child.returncode, child.stdout) == (0, "[0, 0, 0, 0, 0]\n"), child.stderr


@pytest.mark.skipif(sys.version_info < (3, 12), reason="own-GIL sub-interpreters came with CPython 3.12")
def test_in_a_sub_interpreter():
    module = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    child = run_child(f"""
        import sys, {module} as interpreters, custom_allocator
        for _ in range(2):
            name = interpreters.create()
            print(interpreters.run_string(name, '''if True:
                import sys; sys.path[:] = {[p for p in sys.path if p]!r}
                import custom_allocator as ca
                pool = ca.PoolAllocator(3)
                view = pool.allocate(80)
                view.cast("d")[9] = 1.5
                pool.deallocate(view)
                left = pool.allocate(10)
                assert ca.BufferPool(2, 2).process_batch([[1.0, 2.0, 3.0]]) == [[1.0, 4.0, 9.0]]
                assert ca.ObjectPool(8).process_with_pooling([1, 2]) == [2.0, 6.0]
                assert ca.sliding_window_sum([1.0] * 10_000, 10, num_threads=2) == [10.0] * 9991
                assert ca.parallel_transform_preallocated([4.0]) == [2.0]
                assert ca.batch_process_arena([[1.0], [2.0, 3.0]]) == [1.0, 4.0, 9.0]
                assert "numpy" not in sys.modules
            '''))
            interpreters.destroy(name)
    """)
    assert (child.returncode, child.stdout) == (0, "None\nNone\n"), child.stdout + child.stderr


def test_importing_needs_no_numpy():
    child = run_child("""
        import custom_allocator as ca, sys
        ca.PoolAllocator(1).allocate(8)
        print(ca.sliding_window_sum([1, 2], 2), ca.BufferPool(1, 1).process_batch([[2]]), "numpy" in sys.modules)
    """)
    assert child.stdout == "[3.0] [[4.0]] False\n", child.stderr


def test_a_list_that_another_thread_changes():
    numbers, pool = [float(i) for i in range(20_000)], ca.ObjectPool(8)
    done = threading.Event()

    def change():
        while not done.is_set():
            numbers.append(1.0)
            del numbers[-1:]
            numbers[0] = 0.0

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(200):
            assert len(pool.process_with_pooling(numbers)) in (20_000, 20_001)
    finally:
        done.set()
        thread.join()


def test_statistics_are_tuples_with_names():
    stats = ca.PoolAllocator(3).get_stats()
    assert stats == (0, 0, 0, 0, stats.bytes, 0) and stats._fields == ("hits", "misses", "live", "peak", "bytes", "live_bytes")
    assert pickle.loads(pickle.dumps(stats)) == stats
    assert ca.BufferPool(3, 2).get_stats().available == 2
    assert ca.ObjectPool(3).get_stats()._fields == ("allocations", "bytes")


def test_every_public_name_has_a_docstring():
    for name in ca.__all__:
        thing = getattr(ca, name)
        assert thing.__doc__.strip(), name
        if inspect.isclass(thing):
            for member in dir(thing):
                if not member.startswith("_") and not issubclass(thing, tuple):
                    assert (getattr(thing, member).__doc__ or "").strip(), f"{name}.{member}"


def test_num_threads_where_the_contract_has_it():
    for name in ("sliding_window_sum", "parallel_transform_preallocated", "batch_process_arena"):
        assert "num_threads: int | None = None" in getattr(ca, name).__doc__, name
        for bad in (0, -1, 1025):
            with pytest.raises(ValueError, match="num_threads"):
                getattr(ca, name)(["bad"], *([1] if name == "sliding_window_sum" else []), num_threads=bad)
