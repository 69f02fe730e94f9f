"""parallel_iterators from Python: answers against Python and NumPy, bad input, threads, fork, Ctrl-C, the GIL."""

import array
import collections
import math
import sys
import threading

import numpy as np
import parallel_iterators as pi
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tenfold_testing import THREADS, interrupt_child, run_child, run_threads, runs_without_gil

CASES = settings(max_examples=220, deadline=None)
LEAST, MOST = -(2**63), 2**63 - 1
floats = st.floats(width=64)
float_lists = st.lists(floats, max_size=300)
tame_lists = st.lists(st.floats(-1e100, 1e100), max_size=300)
int64s = st.integers(LEAST, MOST) | st.integers(-9, 9) | st.sampled_from([LEAST, MOST, 0, 3037000499, 3037000500])
int_lists = st.lists(int64s, max_size=300)
small_lists = st.lists(st.integers(-(2**31), 2**31) | st.integers(-9, 9), max_size=300)
SIZES = [0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1023, 1025, 4095, 4096, 4097, 8191, 16383, 16384, 16385, 50_001, 131_073]


def same_bits(a, b) -> bool:
    """The very same floats; one NaN is as good as another."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a.shape == b.shape and bool(np.all((a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))))


def floats_of(size: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size) * 10.0 ** np.random.default_rng(seed + 1).integers(-3, 4, size)


def ints_of(size: int, seed: int = 1, low: int = -(10**6), high: int = 10**6) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, size, dtype=np.int64)


def all_float(values) -> bool:
    return type(values) is list and all(type(x) is float for x in values)


def all_int(values) -> bool:
    return type(values) is list and all(type(x) is int for x in values)


# ---- map, zip, log


@CASES
@given(float_lists, floats.filter(lambda x: x != 0))
@example([1.0, -0.0, math.inf], math.inf)
@example([1.0], math.nan)
@example([5e-324, 1e308], 5e-324)
def test_map_with_error(numbers, divisor):
    with np.errstate(all="ignore"):
        expected = np.array(numbers, float) / divisor
    for threads in THREADS:
        result = pi.parallel_map_with_error(numbers, divisor, num_threads=threads)
        assert all_float(result) and same_bits(result, expected)
        result = pi.parallel_map_with_error(np.array(numbers, float), divisor, num_threads=threads)
        assert isinstance(result, np.ndarray) and same_bits(result, expected)


@pytest.mark.parametrize("divisor", [0.0, -0.0, 0, False])
def test_division_by_zero(divisor):
    for numbers in ([1.0, 2.0], [], np.ones(3), np.array([])):
        with pytest.raises(ValueError, match="^Division by zero$"):
            pi.parallel_map_with_error(numbers, divisor)
    out = np.full(3, 7.0)
    with pytest.raises(ValueError, match="Division by zero"):
        pi.parallel_map_with_error(np.ones(3), divisor, out=out)
    assert out.tolist() == [7.0] * 3


@CASES
@given(st.lists(st.tuples(floats, floats), max_size=300))
def test_zip_add(pairs):
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    expected = [x + y for x, y in pairs]
    for threads in THREADS:
        result = pi.parallel_zip_add(a, b, num_threads=threads)
        assert all_float(result) and same_bits(result, expected)
        result = pi.parallel_zip_add(np.array(a, float), np.array(b, float), num_threads=threads)
        assert isinstance(result, np.ndarray) and same_bits(result, expected)


@CASES
@given(
    st.lists(
        floats | st.floats(0, 300) | st.sampled_from([100.0, 100.00000000000001]),
        max_size=300,
    )
)
def test_process_with_log(numbers):
    doubled, logged = [x * 2 for x in numbers], [x for x in numbers if x > 100.0]
    for threads in THREADS:
        result = pi.parallel_process_with_log(numbers, num_threads=threads)
        assert all_float(result) and same_bits(result, doubled)
        result, log = pi.parallel_process_with_log(numbers, num_threads=threads, return_log=True)
        assert all_float(result) and all_float(log) and same_bits(result, doubled) and same_bits(log, logged)
        data = np.array(numbers, float)
        assert same_bits(pi.parallel_process_with_log(data, num_threads=threads), doubled)
        result, log = pi.parallel_process_with_log(data, num_threads=threads, return_log=True, out=data)
        assert result is data and same_bits(result, doubled)
        assert isinstance(log, np.ndarray) and log.dtype == np.float64 and same_bits(log, logged)


@CASES
@given(st.lists(st.tuples(floats, floats, floats), max_size=200))
def test_expression(triples):
    columns = [list(column) for column in zip(*triples)] or [[], [], []]
    expected = [x * y + z * 2 - 1 for x, y, z in triples]
    arrays = [np.array(column, float) for column in columns]
    for threads in THREADS:
        result = pi.parallel_expression(*columns, num_threads=threads)
        assert all_float(result) and same_bits(result, expected)
        assert same_bits(pi.parallel_expression(*arrays, num_threads=threads), expected)


@pytest.mark.parametrize("size", SIZES)
def test_into_out(size):
    x, y, z = floats_of(size), floats_of(size, 7), floats_of(size, 9)
    for name, call, expected in (
        ("map", lambda out, a, t: pi.parallel_map_with_error(a, 3.0, out=out, num_threads=t), x / 3.0),
        ("zip", lambda out, a, t: pi.parallel_zip_add(a, y, out=out, num_threads=t), x + y),
        ("zip, second", lambda out, a, t: pi.parallel_zip_add(y, a, out=out, num_threads=t), x + y),
        ("log", lambda out, a, t: pi.parallel_process_with_log(a, out=out, num_threads=t), x * 2),
        ("expression", lambda out, a, t: pi.parallel_expression(y, z, a, out=out, num_threads=t), y * z + x * 2 - 1),
    ):
        for threads in THREADS:
            wide = np.full(size + 3, 5.0)
            result = call(wide[1 : size + 1], x, threads)
            assert result.base is wide and same_bits(result, expected), name
            assert wide[0] == wide[size + 1] == wide[size + 2] == 5.0, name
            in_place = x.copy()
            assert call(in_place, in_place, threads) is in_place and same_bits(in_place, expected), name
    for threads in THREADS:
        in_place = x.copy()
        assert pi.parallel_scan(in_place, out=in_place, num_threads=threads) is in_place
        assert same_bits(in_place, pi.parallel_scan(x, num_threads=1))


# ---- flat_map


borders = st.integers(-50, 50) | st.sampled_from([LEAST, LEAST + 1, LEAST + 3, MOST, MOST - 2])


@st.composite
def range_lists(draw):
    """Pairs whose ranges are short or turned around: all values of int64 may be borders."""
    pairs = []
    for _ in range(draw(st.integers(0, 30))):
        start, end = draw(borders), draw(borders)
        pairs.append((start, end) if end - start < 200 else (end, start))
    return pairs


@CASES
@given(range_lists())
@example([(LEAST, LEAST + 5), (MOST - 5, MOST), (MOST, LEAST)])
def test_flat_map(pairs):
    expected = [i for start, end in pairs for i in range(start, end)]
    for threads in THREADS:
        result = pi.parallel_flat_map(pairs, num_threads=threads)
        assert all_int(result) and result == expected
        result = pi.parallel_flat_map(np.array(pairs, np.int64).reshape(-1, 2), num_threads=threads)
        assert isinstance(result, np.ndarray) and result.dtype == np.int64 and result.tolist() == expected


def test_flat_map_takes_any_pairs():
    rows = [[0, 2], (5, 7), np.array([8, 9]), array.array("q", [10, 11]), collections.deque([12, 13]), range(14, 16)]
    assert pi.parallel_flat_map(rows) == [0, 1, 5, 6, 8, 10, 12, 14]
    assert pi.parallel_flat_map(tuple(rows[:2])) == [0, 1, 5, 6]
    assert pi.parallel_flat_map([]) == []
    assert pi.parallel_flat_map(np.empty((0, 2), np.int64)).tolist() == []


@pytest.mark.parametrize("lengths", [[0, 1, 0, 0, 100_000, 0, 3], [1] * 10_000, [0] * 5_000, [70_001], [4096] * 40])
def test_flat_map_uneven(lengths):
    starts = ints_of(len(lengths))
    pairs = np.stack([starts, starts + np.array(lengths)], axis=1)
    expected = np.concatenate([np.arange(s, e) for s, e in pairs]) if len(pairs) else np.array([])
    for threads in THREADS:
        assert np.array_equal(pi.parallel_flat_map(pairs, num_threads=threads), expected)


@pytest.mark.parametrize("pairs", [[(LEAST, MOST)], [(LEAST, MOST)] * 3, [(0, 2**59)], [(0, 2**45), (0, 3)]])
def test_flat_map_refuses_more_than_memory_holds(pairs):
    for ranges in (pairs, np.array(pairs, np.int64)):
        with pytest.raises(MemoryError, match=r"ranges hold \d+ ints"):
            pi.parallel_flat_map(ranges)


# ---- filter_map, partition, group_by, chain


@CASES
@given(small_lists)
@example([3037000498, -3037000498])
def test_filter_map(numbers):
    expected = [x * x for x in numbers if x % 2 == 0]
    for threads in THREADS:
        result = pi.parallel_filter_map(numbers, num_threads=threads)
        assert all_int(result) and result == expected
        result = pi.parallel_filter_map(np.array(numbers, np.int64), num_threads=threads)
        assert result.dtype == np.int64 and result.tolist() == expected


@CASES
@given(int_lists)
@example([1, MOST, LEAST])
@example([3037000500])
@example([-3037000500, 3037000500])
def test_filter_map_overflow(numbers):
    first = next((i for i, x in enumerate(numbers) if x % 2 == 0 and x * x > MOST), None)
    for threads in THREADS:
        for data in (numbers, np.array(numbers, np.int64)):
            if first is None:
                assert list(pi.parallel_filter_map(data, num_threads=threads)) == [x * x for x in numbers if x % 2 == 0]
            else:
                with pytest.raises(OverflowError, match=rf"numbers\[{first}\] "):
                    pi.parallel_filter_map(data, num_threads=threads)


@pytest.mark.parametrize("size", SIZES)
def test_filter_map_sizes(size):
    values = ints_of(size)
    for data in (values, values | 1, values & ~1):
        expected = data[data % 2 == 0] ** 2
        for threads in THREADS:
            assert np.array_equal(pi.parallel_filter_map(data, num_threads=threads), expected)
    if size:
        for bad in {0, size // 3, size - 1}:
            spoilt = values.copy()
            spoilt[bad:] = 2**40
            for threads in THREADS:
                with pytest.raises(OverflowError, match=rf"numbers\[{bad}\] "):
                    pi.parallel_filter_map(spoilt, num_threads=threads)


@CASES
@given(int_lists, int64s)
def test_partition(numbers, threshold):
    expected = [x for x in numbers if x < threshold], [x for x in numbers if x >= threshold]
    for threads in THREADS:
        result = pi.parallel_partition(numbers, threshold, num_threads=threads)
        assert type(result) is tuple and result == expected and all(map(all_int, result))
        below, others = pi.parallel_partition(np.array(numbers, np.int64), threshold, num_threads=threads)
        assert below.dtype == others.dtype == np.int64 and (below.tolist(), others.tolist()) == expected


@pytest.mark.parametrize("size", SIZES)
def test_partition_and_group_by_sizes(size):
    values = ints_of(size)
    for threads in THREADS:
        below, others = pi.parallel_partition(values, 1000, num_threads=threads)
        assert np.array_equal(below, values[values < 1000]) and np.array_equal(others, values[values >= 1000])
        for modulo in (1, 2, 7, 1000):
            groups = pi.parallel_group_by_modulo(values, modulo, num_threads=threads)
            assert len(groups) == modulo and sum(map(len, groups)) == size
            for k in {0, 1, modulo // 2, modulo - 1} & set(range(modulo)):
                assert np.array_equal(groups[k], values[values % modulo == k])


@CASES
@given(int_lists, st.integers(1, 40))
@example([LEAST, MOST, -1, 0], 3)
def test_group_by_modulo(numbers, modulo):
    expected = [[x for x in numbers if x % modulo == k] for k in range(modulo)]
    for threads in THREADS:
        result = pi.parallel_group_by_modulo(numbers, modulo, num_threads=threads)
        assert type(result) is list and all(map(all_int, result)) and result == expected
        result = pi.parallel_group_by_modulo(np.array(numbers, np.int64), modulo, num_threads=threads)
        assert type(result) is list and [group.tolist() for group in result] == expected
        assert all(group.dtype == np.int64 for group in result)


def test_group_by_a_large_modulo():
    numbers = [5, -1, 200_000, 5 + 10**6]
    groups = pi.parallel_group_by_modulo(numbers, 10**6)
    assert len(groups) == 10**6
    assert {k: group for k, group in enumerate(groups) if group} == {5: [5, 10**6 + 5], 999_999: [-1], 200_000: [200_000]}
    groups = pi.parallel_group_by_modulo(np.array(numbers), 10**5, num_threads=2)
    assert len(groups) == 10**5 and groups[5].tolist() == [5, 10**6 + 5] and groups[0].tolist() == [200_000]


@CASES
@given(int_lists, int_lists)
def test_chain(a, b):
    for threads in THREADS:
        result = pi.parallel_chain(a, b, num_threads=threads)
        assert all_int(result) and result == a + b
        result = pi.parallel_chain(np.array(a, np.int64), np.array(b, np.int64), num_threads=threads)
        assert result.dtype == np.int64 and result.tolist() == a + b
        out = np.zeros(len(a) + len(b), np.int64)
        assert pi.parallel_chain(np.array(a, np.int64), np.array(b, np.int64), out=out, num_threads=threads) is out
        assert out.tolist() == a + b


# ---- fold, degree_days, scan, moving_average


@CASES
@given(float_lists)
@example([math.nan, 1.0])
@example([1.0, math.nan])
@example([math.inf, -math.inf])
@example([-0.0])
def test_fold(numbers):
    expected = pi.parallel_fold(numbers, num_threads=1)
    assert type(expected) is tuple and [type(x) for x in expected] == [float] * 3
    for threads in THREADS:
        for data in (numbers, np.array(numbers, float)):
            assert same_bits(pi.parallel_fold(data, num_threads=threads), expected)
    total, least, most = expected
    if not numbers:
        assert expected == (0.0, math.inf, -math.inf)
    elif any(map(math.isnan, numbers)):
        assert all(map(math.isnan, expected))
    else:
        assert least == min(numbers) and most == max(numbers)
        assert (
            math.isnan(total)
            or not math.isfinite(total)
            or math.isclose(
                total, math.fsum(numbers), rel_tol=1e-9, abs_tol=1e-12 * math.fsum(map(abs, filter(math.isfinite, numbers)))
            )
        )


@pytest.mark.parametrize("size", SIZES[1:])
def test_fold_sizes(size):
    values = floats_of(size)
    expected = pi.parallel_fold(values, num_threads=1)
    assert math.isclose(expected[0], math.fsum(values), rel_tol=1e-11, abs_tol=1e-9)
    assert expected[1:] == (values.min(), values.max())
    for threads in THREADS:
        assert same_bits(pi.parallel_fold(values, num_threads=threads), expected)
        assert same_bits(pi.parallel_fold(values.tolist(), num_threads=threads), expected)
    for at in {0, size // 2, size - 1}:
        spoilt = values.copy()
        spoilt[at] = math.nan
        assert all(all(map(math.isnan, pi.parallel_fold(spoilt, num_threads=t))) for t in THREADS)


@CASES
@given(st.lists(st.floats(-200, 200), max_size=300), st.floats(-50, 50))
def test_degree_days(fahrenheit, base):
    expected = pi.parallel_degree_days(fahrenheit, base, num_threads=1)
    assert type(expected) is float
    for threads in THREADS:
        for data in (fahrenheit, np.array(fahrenheit, float)):
            assert same_bits(pi.parallel_degree_days(data, base, num_threads=threads), expected)
    celsius = [(f - 32.0) * (5.0 / 9.0) for f in fahrenheit]
    assert math.isclose(expected, math.fsum(c - base for c in celsius if c > base), rel_tol=1e-12, abs_tol=1e-12)
    assert pi.parallel_degree_days(fahrenheit) == pi.parallel_degree_days(fahrenheit, 18.0)


@CASES
@given(tame_lists)
def test_scan(numbers):
    expected = pi.parallel_scan(numbers, num_threads=1)
    assert all_float(expected) and len(expected) == len(numbers)
    for threads in THREADS:
        assert same_bits(pi.parallel_scan(numbers, num_threads=threads), expected)
        assert same_bits(pi.parallel_scan(np.array(numbers, float), num_threads=threads), expected)
    magnitude = 0.0
    for i, prefix in enumerate(expected):
        magnitude += abs(numbers[i])
        assert abs(prefix - math.fsum(numbers[: i + 1])) <= 1e-13 * magnitude


@pytest.mark.parametrize("size", SIZES)
def test_scan_sizes(size):
    values = floats_of(size)
    expected = pi.parallel_scan(values, num_threads=1)
    np.testing.assert_allclose(expected, np.cumsum(values), rtol=1e-9, atol=1e-9 * np.abs(values).sum())
    for threads in THREADS:
        assert same_bits(pi.parallel_scan(values, num_threads=threads), expected)
        ones = pi.parallel_scan(np.ones(size), num_threads=threads)
        assert np.array_equal(ones, np.arange(1.0, size + 1.0))
    for at in {0, size // 2, size - 1} & set(range(size)):
        spoilt = values.copy()
        spoilt[at] = math.nan
        for threads in THREADS:
            assert np.array_equal(np.isnan(pi.parallel_scan(spoilt, num_threads=threads)), np.arange(size) >= at)


@CASES
@given(st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=300), st.data())
def test_moving_average(numbers, data):
    window = data.draw(st.integers(1, len(numbers)))
    expected = pi.parallel_moving_average(numbers, window, num_threads=1)
    assert all_float(expected) and len(expected) == len(numbers) - window + 1
    for threads in THREADS:
        assert same_bits(pi.parallel_moving_average(numbers, window, num_threads=threads), expected)
        assert same_bits(pi.parallel_moving_average(np.array(numbers, float), window, num_threads=threads), expected)
    for i, mean in enumerate(expected):
        items = numbers[i : i + window]
        assert abs(mean - math.fsum(items) / window) <= 1e-13 * math.fsum(map(abs, items)) / window


@CASES
@given(st.lists(st.sampled_from([math.nan, math.inf, -math.inf, 1.0, 0.0, -2.0]), min_size=1, max_size=100), st.data())
def test_moving_average_keeps_nan_and_infinity_where_they_belong(numbers, data):
    window = data.draw(st.integers(1, len(numbers)))
    expected = [sum(numbers[i : i + window]) / window for i in range(len(numbers) - window + 1)]
    for threads in THREADS:
        result = pi.parallel_moving_average(numbers, window, num_threads=threads)
        np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", SIZES[1:])
def test_moving_average_sizes(size):
    values = floats_of(size)
    for window in {1, 2, 3, 63, 64, 100, 4097, size // 2, size - 1, size} & set(range(1, size + 1)):
        expected = pi.parallel_moving_average(values, window, num_threads=1)
        assert expected.shape == (size - window + 1,)
        for i in {0, (size - window) // 2, size - window}:
            assert math.isclose(expected[i], math.fsum(values[i : i + window]) / window, rel_tol=1e-9, abs_tol=1e-9)
        for threads in THREADS[1:]:
            assert same_bits(pi.parallel_moving_average(values, window, num_threads=threads), expected)


def test_moving_average_does_not_drift():
    """A running sum that adds one and subtracts one would carry the huge number's rounding to the end."""
    values = np.full(200_000, 0.1)
    values[10] = 1e17
    for threads in THREADS:
        result = pi.parallel_moving_average(values, 5, num_threads=threads)
        assert np.all(np.abs(result[11:] - 0.1) < 1e-15)


# ---- find, predicates, strings, transpose


@CASES
@given(int_lists, int64s)
@example([1, 2, 1, 2], 2)
def test_find(numbers, target):
    expected = numbers.index(target) if target in numbers else None
    for threads in THREADS:
        for data in (numbers, np.array(numbers, np.int64)):
            found = pi.parallel_find(data, target, num_threads=threads)
            assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize("size", [*SIZES, 1_000_003])
def test_find_and_predicates_anywhere(size):
    ones = np.ones(size, np.int64)
    for threads in THREADS:
        assert pi.parallel_find(ones, 7, num_threads=threads) is None
        assert pi.parallel_predicates(ones, num_threads=threads) == (False, True)
    for at in sorted({0, size // 7, size // 2, size - 1} & set(range(size))):
        values = ones.copy()
        values[at:] = 7
        zero, negative = ones.copy(), ones.copy()
        zero[at], negative[at] = 0, -1
        for threads in THREADS:
            assert pi.parallel_find(values, 7, num_threads=threads) == at  # the first of many
            assert pi.parallel_predicates(zero, num_threads=threads) == (False, False)
            assert pi.parallel_predicates(negative, num_threads=threads) == (True, False)


@CASES
@given(int_lists)
def test_predicates(numbers):
    expected = any(x < 0 for x in numbers), all(x > 0 for x in numbers)
    for threads in THREADS:
        for data in (numbers, np.array(numbers, np.int64)):
            result = pi.parallel_predicates(data, num_threads=threads)
            assert type(result) is tuple and result == expected and all(type(x) is bool for x in result)


@CASES
@given(int_lists)
@example([LEAST, MOST, 0, -1])
def test_collect_string(numbers):
    for threads in THREADS:
        for data in (numbers, np.array(numbers, np.int64)):
            result = pi.parallel_collect_string(data, num_threads=threads)
            assert type(result) is list and result == [str(x) for x in numbers]
            assert all(type(x) is str for x in result)


@CASES
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32))
def test_transpose(rows, cols, seed):
    matrix = np.random.default_rng(seed).normal(size=(rows, cols))
    for threads in THREADS:
        result = pi.parallel_matrix_transpose(matrix, num_threads=threads)
        assert result.flags.c_contiguous and same_bits(result, matrix.T)
        lists = pi.parallel_matrix_transpose(matrix.tolist(), num_threads=threads)
        assert type(lists) is list and all(map(all_float, lists))
        assert lists == [list(row) for row in zip(*matrix.tolist())]


@pytest.mark.parametrize("shape", [(1, 100_000), (100_000, 1), (64, 64), (65, 63), (1000, 333), (511, 1025), (3, 0), (0, 3)])
def test_transpose_shapes(shape):
    matrix = np.random.default_rng(2).normal(size=shape)
    for threads in THREADS:
        out = np.full(shape[::-1], 5.0)
        assert pi.parallel_matrix_transpose(matrix, out=out, num_threads=threads) is out
        assert np.array_equal(out, matrix.T)


def test_nothing_in_nothing_out():
    empty, none = np.array([]), np.array([], np.int64)
    assert pi.parallel_map_with_error([], 2.0) == pi.parallel_zip_add([], []) == pi.parallel_process_with_log([]) == []
    assert pi.parallel_filter_map([]) == pi.parallel_chain([], []) == pi.parallel_collect_string([]) == []
    assert pi.parallel_matrix_transpose([]) == pi.parallel_matrix_transpose([[], []]) == pi.parallel_scan([]) == []
    assert pi.parallel_partition([], 0) == ([], []) and pi.parallel_group_by_modulo([], 3) == [[], [], []]
    assert pi.parallel_process_with_log([], return_log=True) == ([], [])
    assert pi.parallel_fold([]) == pi.parallel_fold(empty) == (0.0, math.inf, -math.inf)
    assert pi.parallel_find([], 0) is None and pi.parallel_predicates([]) == (False, True)
    assert pi.parallel_degree_days([]) == 0.0 == pi.parallel_degree_days(empty)
    for result in (pi.parallel_map_with_error(empty, 2.0), pi.parallel_zip_add(empty, empty), pi.parallel_scan(empty)):
        assert isinstance(result, np.ndarray) and result.shape == (0,) and result.dtype == np.float64
    for result in (pi.parallel_filter_map(none), pi.parallel_chain(none, none), *pi.parallel_partition(none, 1)):
        assert isinstance(result, np.ndarray) and result.shape == (0,) and result.dtype == np.int64
    assert pi.parallel_collect_string(none) == [] and [len(g) for g in pi.parallel_group_by_modulo(none, 2)] == [0, 0]


# ---- what counts as a list, what as an array


def test_any_sequence_is_a_list_and_any_buffer_an_array():
    assert pi.parallel_zip_add((1, True), range(2)) == [1.0, 2.0]
    assert pi.parallel_chain(range(2), (5,)) == [0, 1, 5]
    assert pi.parallel_filter_map(collections.deque([1, 2, True])) == [4]
    result = pi.parallel_filter_map(array.array("q", [1, 2]))
    assert isinstance(result, np.ndarray) and result.tolist() == [4]
    assert pi.parallel_scan(memoryview(array.array("d", [1.0, 2.0]))).tolist() == [1.0, 3.0]
    readonly = np.arange(4.0)
    readonly.flags.writeable = False
    assert pi.parallel_scan(readonly).tolist() == [0.0, 1.0, 3.0, 6.0]


def test_results_outlive_the_call_and_are_writable():
    results = [pi.parallel_filter_map(np.arange(0, 2000, 2)) for _ in range(50)]
    groups = pi.parallel_group_by_modulo(np.arange(1000), 3)
    below, others = pi.parallel_partition(np.arange(1000), 500)
    for result in (*results, *groups, below, others):
        result += 1
    assert all(np.array_equal(result, np.arange(0, 2000, 2) ** 2 + 1) for result in results)
    assert np.array_equal(np.sort(np.concatenate(groups)), np.arange(1000) + 1)
    assert np.array_equal(np.concatenate([below, others]), np.arange(1000) + 1)


class Angry:
    def __index__(self):
        raise LookupError("from __index__")

    def __float__(self):
        raise LookupError("from __float__")


class Liar(collections.abc.Sequence):
    def __len__(self):
        return 10**15

    def __getitem__(self, i):
        if i < 3:
            return i
        raise IndexError


A, N, M = np.arange(4.0), np.arange(4), np.ones((2, 2))
FLOATS = [
    lambda data, **more: pi.parallel_map_with_error(data, 2.0, **more),
    pi.parallel_fold,
    lambda data, **more: pi.parallel_moving_average(data, 1, **more),
    pi.parallel_process_with_log,
    pi.parallel_scan,
]
INTS = [
    pi.parallel_filter_map,
    lambda data, **more: pi.parallel_partition(data, 3, **more),
    lambda data, **more: pi.parallel_group_by_modulo(data, 3, **more),
    lambda data, **more: pi.parallel_find(data, 3, **more),
    pi.parallel_predicates,
    pi.parallel_collect_string,
]
BOTH = [
    ("numbers", FLOATS, A, np.float32, "float64"),
    ("numbers", INTS, N, np.int32, "int64"),
    ("a", [lambda data, **more: pi.parallel_zip_add(data, A, **more)], A, np.int64, "float64"),
    ("a", [lambda data, **more: pi.parallel_chain(data, N, **more)], N, np.float64, "int64"),
    ("fahrenheit", [pi.parallel_degree_days], A, np.int64, "float64"),
]


@pytest.mark.parametrize("argument, calls, good, other, dtype", BOTH)
def test_arrays_that_do_not_fit(argument, calls, good, other, dtype):
    for call in calls:
        for bad, error, match in (
            (good.astype(other), TypeError, rf"{argument} must be an array of {dtype}"),
            (good.astype(good.dtype.newbyteorder()), ValueError, f"{argument} is not in native byte order"),
            (good[::2], ValueError, rf"numpy.ascontiguousarray\({argument}\)"),
            (good.reshape(2, 2), ValueError, rf"{argument} must be 1-D, not 2-D; use {argument}.reshape\(-1\)"),
            (np.frombuffer(b"\0" * 33, np.uint8)[1:].view(good.dtype), ValueError, f"{argument} is not aligned"),
            (b"12345678", TypeError, argument),
        ):
            with pytest.raises(error, match=match):
                call(bad)


@pytest.mark.parametrize("calls, kind", [(FLOATS, float), (INTS, int)])
@pytest.mark.parametrize("bad", ["123", {1, 2}, {1: 2}, (x for x in "12"), None, 3, object()])
def test_not_a_sequence(calls, kind, bad):
    for call in calls:
        with pytest.raises(TypeError, match="numbers must be a sequence"):
            call(bad)


@pytest.mark.parametrize("calls, kind", [(FLOATS, float), (INTS, int)])
def test_bad_items(calls, kind):
    for call in calls:
        for bad in ("x", None, 1j, b"1", [1]):
            with pytest.raises(TypeError, match=r"numbers\[2\] must be an? (number|int)"):
                call([1, 2, bad])
        with pytest.raises(LookupError, match="from __"):
            call([1, Angry()])
        with pytest.raises(OverflowError, match=r"numbers\[1\]"):
            call([1, 10**400])
        with pytest.raises((RuntimeError, TypeError), match="length"):
            call(Liar())
        if kind is int:
            with pytest.raises(OverflowError, match=r"numbers\[1\] is an int that does not fit int64"):
                call([1, 2**63])
            with pytest.raises(TypeError, match=r"numbers\[1\] must be an int, not float"):
                call([1, 2.0])


@pytest.mark.parametrize("call", [*FLOATS, *INTS])
def test_bad_thread_counts(call):
    for threads, error in ((0, ValueError), (-1, ValueError), (1025, ValueError), (2**70, OverflowError), (2.0, TypeError)):
        with pytest.raises(error, match="num_threads"):
            call("no data", num_threads=threads)  # counts are checked before the data
    with pytest.raises(TypeError):
        call([1], 2, 3)  # num_threads is keyword-only


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: pi.parallel_map_with_error([1.0], "2"), TypeError, "divisor must be a number"),
        (lambda: pi.parallel_map_with_error([1.0], 10**400), OverflowError, "divisor"),
        (lambda: pi.parallel_flat_map([(1, 2), (1, 2, 3)]), ValueError, r"ranges\[1\] must have two items.*not 3"),
        (lambda: pi.parallel_flat_map([(1,)]), ValueError, r"ranges\[0\] must have two items"),
        (lambda: pi.parallel_flat_map([(1, 2.0)]), TypeError, r"ranges\[0\]\[1\] must be an int"),
        (lambda: pi.parallel_flat_map([(1, 2), 3]), TypeError, r"ranges\[1\] must be a sequence"),
        (lambda: pi.parallel_flat_map(["12"]), TypeError, r"ranges\[0\] must be a sequence"),
        (lambda: pi.parallel_flat_map([(0, 2**63)]), OverflowError, r"ranges\[0\]\[1\]"),
        (lambda: pi.parallel_flat_map({(1, 2)}), TypeError, "ranges must be a sequence"),
        (lambda: pi.parallel_flat_map(N), ValueError, "ranges must be 2-D"),
        (
            lambda: pi.parallel_flat_map(np.zeros((2, 3), np.int64)),
            ValueError,
            r"ranges must have shape \(n, 2\), not \(2, 3\)",
        ),
        (lambda: pi.parallel_flat_map(M), TypeError, "ranges must be an array of int64"),
        (lambda: pi.parallel_flat_map(np.zeros((2, 2), np.int64).T[::-1]), ValueError, "ascontiguousarray"),
        (lambda: pi.parallel_partition([1], 1.5), TypeError, "threshold must be an int, not float"),
        (lambda: pi.parallel_partition([1], 2**63), OverflowError, "threshold"),
        (lambda: pi.parallel_partition(N, None), TypeError, "threshold"),
        (lambda: pi.parallel_group_by_modulo([1], 0), ValueError, "modulo must be at least 1, not 0"),
        (lambda: pi.parallel_group_by_modulo([1], -3), ValueError, "modulo must be at least 1, not -3"),
        (lambda: pi.parallel_group_by_modulo("no", 0), ValueError, "modulo"),
        (lambda: pi.parallel_group_by_modulo(N, 10**15), ValueError, "modulo must be at most 10000000"),
        (lambda: pi.parallel_group_by_modulo(N, 2**63), OverflowError, "modulo"),
        (lambda: pi.parallel_group_by_modulo(N, 2.0), TypeError, "modulo"),
        (lambda: pi.parallel_find([1], 2**63), OverflowError, "target"),
        (lambda: pi.parallel_find([1], 1.0), TypeError, "target must be an int"),
        (lambda: pi.parallel_find([1], "1"), TypeError, "target"),
        (lambda: pi.parallel_zip_add([1.0], [1.0, 2.0]), ValueError, "Vectors must have same length"),
        (lambda: pi.parallel_zip_add(A, np.ones(3)), ValueError, "Vectors must have same length"),
        (lambda: pi.parallel_zip_add(A, [1.0] * 4), TypeError, "two (arrays|lists) or two (arrays|lists)"),
        (lambda: pi.parallel_zip_add([1.0] * 4, A), TypeError, "two (arrays|lists) or two (arrays|lists)"),
        (lambda: pi.parallel_zip_add(["x"], [1.0]), TypeError, r"a\[0\]"),
        (lambda: pi.parallel_zip_add([1.0], [None]), TypeError, r"b\[0\]"),
        (lambda: pi.parallel_chain(N, [1]), TypeError, "two (arrays|lists) or two (arrays|lists)"),
        (lambda: pi.parallel_chain([1], N), TypeError, "two (arrays|lists) or two (arrays|lists)"),
        (lambda: pi.parallel_chain([1], [1.0]), TypeError, r"b\[0\] must be an int"),
        (lambda: pi.parallel_expression(A, A, np.ones(3)), ValueError, "Vectors must have same length"),
        (lambda: pi.parallel_expression(A, A, [1.0] * 4), TypeError, "two (arrays|lists) or two (arrays|lists)"),
        (lambda: pi.parallel_moving_average([1.0], 0), ValueError, "Invalid window size"),
        (lambda: pi.parallel_moving_average([1.0], -1), ValueError, "Invalid window size"),
        (lambda: pi.parallel_moving_average("no", 0), ValueError, "Invalid window size"),
        (lambda: pi.parallel_moving_average([1.0], 2), ValueError, "Invalid window size"),
        (lambda: pi.parallel_moving_average([], 1), ValueError, "Invalid window size"),
        (lambda: pi.parallel_moving_average(A, 5), ValueError, "Invalid window size"),
        (lambda: pi.parallel_moving_average(A, 2**63), OverflowError, "window"),
        (lambda: pi.parallel_moving_average(A, 2.0), TypeError, "window"),
        (lambda: pi.parallel_matrix_transpose([[1.0, 2.0], [3.0]]), ValueError, r"matrix\[1\] has 1 items"),
        (lambda: pi.parallel_matrix_transpose([[1.0], ["x"]]), TypeError, r"matrix\[1\]\[0\]"),
        (lambda: pi.parallel_matrix_transpose([1.0]), TypeError, r"matrix\[0\]"),
        (lambda: pi.parallel_matrix_transpose(A), ValueError, "matrix must be 2-D"),
        (lambda: pi.parallel_matrix_transpose(np.ones((2, 3)).T), ValueError, "ascontiguousarray"),
        (lambda: pi.parallel_matrix_transpose(M, out=M), ValueError, "out overlaps matrix"),
        (lambda: pi.parallel_matrix_transpose(np.ones((2, 3)), out=np.ones((2, 3))), ValueError, r"out has shape \(2, 3\)"),
        (lambda: pi.parallel_matrix_transpose([[1.0]], out=M), TypeError, "out needs arrays"),
        (lambda: pi.parallel_map_with_error([1.0], 2.0, out=A), TypeError, "out needs arrays"),
        (lambda: pi.parallel_zip_add([1.0], [1.0], out=A), TypeError, "out needs arrays"),
        (lambda: pi.parallel_scan([1.0], out=A), TypeError, "out needs arrays"),
        (lambda: pi.parallel_chain([1], [1], out=N), TypeError, "out needs arrays"),
        (lambda: pi.parallel_process_with_log([1.0], out=A), TypeError, "out needs arrays"),
        (lambda: pi.parallel_scan(A, out=np.ones(3)), ValueError, "out has shape"),
        (lambda: pi.parallel_scan(A, out=np.ones(4, np.float32)), TypeError, "out must be an array of float64"),
        (lambda: pi.parallel_scan(A, out=[0.0] * 4), TypeError, "out must be a writable"),
        (lambda: pi.parallel_scan(A, out=np.broadcast_to(1.0, 4)), ValueError, "out is read-only"),
        (lambda: pi.parallel_chain(N, N, out=np.zeros(7, np.int64)), ValueError, "out has shape"),
        (lambda: pi.parallel_process_with_log([1.0], return_log="yes"), TypeError, "return_log"),
        (lambda: pi.parallel_degree_days([1.0], "x"), TypeError, "base must be a number"),
        (lambda: pi.parallel_degree_days([1.0], math.nan), ValueError, "base must not be NaN"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_overlapping_out_changes_nothing():
    memory = np.arange(10.0)
    before = memory.copy()
    for call in (
        lambda a, out: pi.parallel_map_with_error(a, 2.0, out=out),
        lambda a, out: pi.parallel_process_with_log(a, out=out),
        lambda a, out: pi.parallel_scan(a, out=out),
        lambda a, out: pi.parallel_zip_add(a, np.ones(8), out=out),
        lambda a, out: pi.parallel_zip_add(np.ones(8), a, out=out),
        lambda a, out: pi.parallel_expression(np.ones(8), np.ones(8), a, out=out),
    ):
        for part, out in ((memory[:8], memory[2:]), (memory[2:], memory[:8])):
            with pytest.raises(ValueError, match="out overlaps (numbers|a|b|c) in part"):
                call(part, out)
    ints = np.arange(8)
    with pytest.raises(ValueError, match="out overlaps a"):
        pi.parallel_chain(ints[:4], ints[4:], out=ints)
    with pytest.raises(ValueError, match="out overlaps matrix"):
        pi.parallel_matrix_transpose(memory[:4].reshape(2, 2), out=memory[2:6].reshape(2, 2))
    assert np.array_equal(memory, before) and np.array_equal(ints, np.arange(8))


def test_no_out_may_be_said():
    assert pi.parallel_map_with_error([1.0], 2.0, out=None) == [0.5]
    assert pi.parallel_zip_add(a=[1.0], b=[2.0], num_threads=None, out=None) == [3.0]
    assert pi.parallel_chain(a=[1], b=[2], out=None) == [1, 2]
    assert pi.parallel_matrix_transpose(matrix=[[1.0, 2.0]], out=None) == [[1.0], [2.0]]


# ---- threads, the GIL, Ctrl-C, fork, exit


@pytest.mark.parametrize("threads", THREADS)
def test_called_from_many_threads(threads):
    values, ints = floats_of(50_000), ints_of(50_000)
    expected = (pi.parallel_fold(values), pi.parallel_scan(values), ints[ints % 2 == 0] ** 2, values * 2)

    def call(i):
        for _ in range(5):
            assert same_bits(pi.parallel_fold(values, num_threads=2), expected[0])
            assert same_bits(pi.parallel_scan(values, num_threads=2), expected[1])
            assert np.array_equal(pi.parallel_filter_map(ints, num_threads=2), expected[2])
            assert same_bits(pi.parallel_process_with_log(values, num_threads=2), expected[3])
            assert pi.parallel_find(ints, 10**7, num_threads=2) is None

    run_threads(threads, call)


big = floats_of(3_000_000)
big_ints = ints_of(3_000_000)
big_out = np.empty_like(big)
GIL_FREE = {
    "map": lambda: pi.parallel_map_with_error(big, 3.0, out=big_out),
    "flat_map": lambda: pi.parallel_flat_map(np.array([[0, 3_000_000]])),
    "filter_map": lambda: pi.parallel_filter_map(big_ints),
    "fold": lambda: pi.parallel_fold(big),
    "partition": lambda: pi.parallel_partition(big_ints, 0),
    "group_by": lambda: pi.parallel_group_by_modulo(big_ints, 7),
    "find": lambda: [pi.parallel_find(big_ints, 10**9) for _ in range(3)],
    "predicates": lambda: [pi.parallel_predicates(big_ints | 2**40) for _ in range(3)],
    "zip": lambda: pi.parallel_zip_add(big, big, out=big_out),
    "windows": lambda: pi.parallel_moving_average(big, 50),
    "strings": lambda: pi.parallel_collect_string(big_ints[:500_000]),
    "transpose": lambda: pi.parallel_matrix_transpose(big.reshape(1500, 2000)),
    "chain": lambda: pi.parallel_chain(big_ints, big_ints),
    "log": lambda: pi.parallel_process_with_log(big, out=big_out),
    "scan": lambda: pi.parallel_scan(big, out=big_out),
    "degree_days": lambda: pi.parallel_degree_days(big),
    "expression": lambda: pi.parallel_expression(big, big, big, out=big_out),
}


@pytest.mark.parametrize("name", GIL_FREE)
def test_releases_the_gil(name):
    assert runs_without_gil(GIL_FREE[name])


# No call on data that fits a test's memory lasts long, so one call's data is a mapped file's worth of the same zeros: pages
# that are never written cost nothing.
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "call",
    [
        "pi.parallel_find(np.zeros(3 * 10**8, np.int64), 1, num_threads={0})",
        "pi.parallel_fold(np.zeros(3 * 10**8), num_threads={0})",
        "[pi.parallel_scan(a, out=a, num_threads={0}) for a in [np.zeros(10**7)] for _ in range(10**6)]",
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="needs memory that is promised and not used")
def test_ctrl_c(call, threads):
    child = interrupt_child(f"""
        import numpy as np, parallel_iterators as pi
        print("ready")
        try:
            while True:
                {call.format(threads)}
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert child.stdout == "interrupted\n", child.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_fork_after_a_parallel_call_is_an_error_not_a_hang():
    child = run_child("""
        import os, warnings, numpy as np, parallel_iterators as pi
        warnings.simplefilter("ignore")
        values = np.ones(10**6)
        assert pi.parallel_fold(values, num_threads=2) == (1e6, 1.0, 1.0)
        pid = os.fork()
        if pid == 0:
            assert pi.parallel_fold(values, num_threads=1) == (1e6, 1.0, 1.0)
            try:
                answer = pi.parallel_fold(values, num_threads=2)
            except RuntimeError as error:
                os._exit(0 if "spawn" in str(error) else 1)
            os._exit(0 if answer == (1e6, 1.0, 1.0) else 2)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    assert (child.returncode, child.stdout) == (0, "0\n"), child.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_fork_before_any_parallel_call_gives_the_answer():
    child = run_child("""
        import os, numpy as np, parallel_iterators as pi
        pid = os.fork()
        if pid == 0:
            os._exit(0 if pi.parallel_fold(np.ones(10**6), num_threads=2) == (1e6, 1.0, 1.0) else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    assert (child.returncode, child.stdout) == (0, "0\n"), child.stderr


def test_exit_during_a_call_in_a_daemon_thread():
    child = run_child("""
        import threading, time, numpy as np, parallel_iterators as pi
        values = np.ones(2 * 10**7)
        def work():
            while True:
                pi.parallel_scan(values, out=values)
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
        print("leaving", flush=True)
    """)
    assert (child.returncode, child.stdout) == (0, "leaving\n"), child.stderr


@pytest.mark.skipif(sys.version_info < (3, 12), reason="own-GIL sub-interpreters came with CPython 3.12")
def test_lists_in_a_sub_interpreter():
    module = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    child = run_child(f"""
        import sys, {module} as interpreters, parallel_iterators
        name = interpreters.create()
        print(interpreters.run_string(name, '''if True:
            import sys; sys.path[:] = {[p for p in sys.path if p]!r}
            import parallel_iterators as pi
            assert pi.parallel_filter_map([1, 2, 3, 4]) == [4, 16]
            assert pi.parallel_collect_string([1, -2]) == ["1", "-2"]
            assert pi.parallel_fold([0.5] * 100_000, num_threads=2) == (50_000.0, 0.5, 0.5)
            assert pi.parallel_group_by_modulo([5, 6], 2) == [[6], [5]]
        '''))
        interpreters.destroy(name)
    """)
    assert (child.returncode, child.stdout) == (0, "None\n"), child.stdout + child.stderr


def test_importing_needs_no_numpy():
    child = run_child("import parallel_iterators as pi, sys; print(pi.parallel_filter_map([2, 1]), 'numpy' in sys.modules)")
    assert child.stdout == "[4] False\n", child.stderr


def test_a_list_that_another_thread_changes():
    numbers = [float(i) for i in range(20_000)]
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
            assert len(pi.parallel_scan(numbers)) in (20_000, 20_001)
    finally:
        done.set()
        thread.join()


def test_every_function_has_num_threads():
    for name in pi.__all__:
        assert "num_threads: int | None = None" in getattr(pi, name).__doc__, name
