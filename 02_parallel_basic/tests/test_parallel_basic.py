"""parallel_basic from Python: answers against Python and NumPy, bad input, threads, fork, Ctrl-C, the GIL."""

import array
import math
import struct
import sys
import threading
from collections import Counter

import numpy as np
import parallel_basic as pb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tenfold_testing import THREADS, interrupt_child, run_child, run_threads, runs_without_gil

CASES = settings(max_examples=220, deadline=None)
floats = st.floats(width=64)
float_lists = st.lists(floats, max_size=300)
SIZES = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 4095, 4096, 4097, 8191, 16383, 16384, 16385, 50_001]


def bits(value) -> bytes:
    return struct.pack("<d", value)


def same_bits(a, b) -> bool:
    return np.asarray(a, dtype=np.float64).tobytes() == np.asarray(b, dtype=np.float64).tobytes()


def numbers_of(size: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size) * 10.0 ** np.random.default_rng(seed + 1).integers(-3, 4, size)


def ints_of(size: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-(2**63), 2**63 - 1, size, dtype=np.int64)


# ---- sums


@CASES
@given(float_lists)
@example([1e308, 1e308, -math.inf])
@example([math.nan, 1.0])
@example([-0.0])
def test_sum(numbers):
    expected = pb.sequential_sum(numbers)
    assert type(expected) is float
    for threads in THREADS:
        assert bits(pb.parallel_sum(numbers, num_threads=threads)) == bits(expected)
    assert bits(pb.parallel_sum(np.array(numbers, dtype=float))) == bits(expected)
    finite = [x for x in numbers if math.isfinite(x) and abs(x) < 1e150]
    exact = math.fsum(finite)
    magnitude = math.fsum(abs(x) for x in finite)
    assert abs(pb.parallel_sum(finite) - exact) <= 1e-12 * magnitude
    if math.isnan(sum(numbers)):
        assert math.isnan(expected) or not all(map(math.isfinite, numbers)) or magnitude > 1e300


@pytest.mark.parametrize("size", SIZES)
def test_sum_is_the_same_at_every_thread_count_and_schedule(size):
    values = numbers_of(size)
    expected = pb.sequential_sum(values)
    assert math.isclose(expected, math.fsum(values), rel_tol=1e-12, abs_tol=1e-9)
    for threads in THREADS:
        for schedule in ("static", "dynamic", "guided"):
            assert bits(pb.parallel_sum(values, num_threads=threads, schedule=schedule)) == bits(expected)
        assert bits(pb.parallel_sum(values.tolist(), num_threads=threads)) == bits(expected)


@CASES
@given(float_lists, st.integers(1, 400))
def test_sum_chunked(numbers, chunk):
    expected = pb.parallel_sum_chunked(numbers, chunk, num_threads=1)
    for threads in THREADS[1:]:
        assert bits(pb.parallel_sum_chunked(numbers, chunk, num_threads=threads)) == bits(expected)
        assert bits(pb.parallel_sum_chunked(np.array(numbers, float), chunk, num_threads=threads)) == bits(expected)
    finite = [x for x in numbers if math.isfinite(x) and abs(x) < 1e150]
    magnitude = math.fsum(abs(x) for x in finite)
    assert abs(pb.parallel_sum_chunked(finite, chunk) - math.fsum(finite)) <= 1e-12 * magnitude
    assert pb.parallel_sum_chunked([1.0] * 10, 10**18) == 10.0


def test_empty():
    empty = np.array([])
    assert pb.parallel_sum([]) == 0.0 == pb.parallel_sum(empty) == pb.sequential_sum([]) == pb.parallel_sum_chunked([], 3)
    assert pb.parallel_max([]) is None and pb.parallel_max(empty) is None
    assert pb.parallel_square([]) == [] == pb.parallel_sort([]) == pb.parallel_filter_even([])
    assert pb.parallel_word_count([]) == [] and pb.parallel_word_frequencies([]) == {}
    for result in (pb.parallel_square(empty), pb.parallel_sort(empty), pb.parallel_filter_even(np.array([], dtype=np.int64))):
        assert isinstance(result, np.ndarray) and result.shape == (0,)


# ---- maximum, map


@CASES
@given(float_lists)
def test_max(numbers):
    for threads in THREADS:
        for data in (numbers, np.array(numbers, float)):
            found = pb.parallel_max(data, num_threads=threads)
            if not numbers:
                assert found is None
            elif any(map(math.isnan, numbers)):
                assert math.isnan(found)
            else:
                assert type(found) is float and found == max(numbers)


@pytest.mark.parametrize("size", SIZES[1:])
def test_max_finds_it_anywhere(size):
    values = np.full(size, -math.inf)
    for at in {0, size // 2, size - 1}:
        values[at] = 3.0
        assert [pb.parallel_max(values, num_threads=t) for t in THREADS] == [3.0] * len(THREADS)
        values[at] = math.nan
        assert all(math.isnan(pb.parallel_max(values, num_threads=t)) for t in THREADS)
        values[at] = -math.inf


@CASES
@given(float_lists)
def test_square(numbers):
    with np.errstate(all="ignore"):
        expected = np.square(np.array(numbers, float))
    for threads in THREADS:
        result = pb.parallel_square(numbers, num_threads=threads)
        assert type(result) is list and all(type(x) is float for x in result)
        assert same_values(result, expected)
        for stores in ("auto", "plain", "nontemporal"):
            assert same_values(pb.parallel_square(np.array(numbers, float), num_threads=threads, stores=stores), expected)


def same_values(a, b) -> bool:
    a, b = np.asarray(a, float), np.asarray(b, float)
    return a.shape == b.shape and bool(np.all((a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stores", ["auto", "plain", "nontemporal"])
def test_square_and_saxpy_into_out(size, stores):
    x, y = numbers_of(size), numbers_of(size, 7)
    for threads in THREADS:
        out = np.full(size + 3, 5.0)
        result = pb.parallel_square(x, out=out[1 : size + 1], num_threads=threads, stores=stores)
        assert result.base is out and same_values(out[1 : size + 1], x * x)
        assert out[0] == out[size + 1] == out[size + 2] == 5.0
        out = np.empty(size)
        assert pb.parallel_saxpy(0.1, x, y, out=out, num_threads=threads, stores=stores) is out
        np.testing.assert_allclose(out, 0.1 * x + y, rtol=1e-15, atol=1e-300)
        in_place = x.copy()
        assert pb.parallel_square(in_place, out=in_place, num_threads=threads, stores=stores) is in_place
        assert same_values(in_place, x * x)
    assert pb.parallel_saxpy(0.1, x.tolist(), y.tolist()) == pb.parallel_saxpy(0.1, x, y).tolist()


# ---- filter


@CASES
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5), max_size=300))
def test_filter_even(numbers):
    expected = [x for x in numbers if x % 2 == 0]
    for threads in THREADS:
        result = pb.parallel_filter_even(numbers, num_threads=threads)
        assert result == expected and all(type(x) is int for x in result)
        result = pb.parallel_filter_even(np.array(numbers, dtype=np.int64), num_threads=threads)
        assert result.dtype == np.int64 and result.tolist() == expected


@pytest.mark.parametrize("size", [*SIZES, 100_003])
def test_filter_even_sizes(size):
    values = ints_of(size)
    for data in (values, values | 1, values & ~1):
        for threads in THREADS:
            assert np.array_equal(pb.parallel_filter_even(data, num_threads=threads), data[data % 2 == 0])


# ---- sort


def key(x: float):
    return (1, 0.0, 0.0) if math.isnan(x) else (0, x, math.copysign(1.0, x))


@CASES
@given(float_lists)
@example([0.0, -0.0, 0.0, -0.0])
@example([math.nan, -math.inf, math.inf, math.nan, -math.nan])
def test_sort(numbers):
    expected = sorted(numbers, key=key)
    first = pb.parallel_sort(numbers, num_threads=1)
    assert type(first) is list and same_values(first, expected)
    for threads in THREADS:
        assert same_bits(pb.parallel_sort(numbers, num_threads=threads), first)
        array_in = np.array(numbers, float)
        assert same_bits(pb.parallel_sort(array_in, num_threads=threads), first)
        assert same_bits(array_in, numbers)  # the input is left alone


def shapes(size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    special = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0], size)
    return {
        "random": rng.normal(size=size),
        "equal": np.ones(size),
        "sorted": np.arange(size, dtype=float),
        "reversed": np.arange(size, dtype=float)[::-1].copy(),
        "organ pipe": np.concatenate([np.arange(size // 2), np.arange(size - size // 2)[::-1]]).astype(float),
        "two values": rng.integers(0, 2, size).astype(float),
        "special": special,
        "all nan": np.full(size, np.nan),
        "one odd": np.r_[np.zeros(max(size - 1, 0)), -1.0][:size],
    }


@pytest.mark.parametrize("size", [1, 9, 1000, 8191, 8193, 70_000, 300_000])
def test_sort_shapes(size):
    for name, values in shapes(size).items():
        expected = np.sort(values)  # NaN last; it leaves the order of zeros open
        first = pb.parallel_sort(values, num_threads=1)
        assert np.array_equal(first, expected, equal_nan=True), name
        zeros = np.signbit(first[first == 0])
        assert np.array_equal(zeros, np.sort(zeros)[::-1]), name  # -0.0 before 0.0
        for threads in THREADS[1:]:
            assert same_bits(pb.parallel_sort(values, num_threads=threads), first), name
        out = values.copy()
        assert pb.parallel_sort(out, out=out) is out and same_bits(out, first), name


# ---- words

words = st.text(
    st.characters() | st.sampled_from("ab \t\n\x1c\x1f\x85\xa0\u1680\u2003\u2028\u205f\u3000\U0001f600\ud800"), max_size=120
)


@CASES
@given(st.lists(words, max_size=12))
def test_words(documents):
    counts = [len(d.split()) for d in documents]
    frequencies = Counter(w for d in documents for w in d.split())
    for threads in THREADS:
        assert pb.parallel_word_count(documents, num_threads=threads) == counts
        result = pb.parallel_word_frequencies(documents, num_threads=threads)
        assert type(result) is dict and result == frequencies
        assert list(result) == list(frequencies)  # first occurrence first


def test_every_character_splits_as_python_says():
    every = [chr(c) for c in range(0x110000)]
    assert pb.parallel_word_count([f"a{c}b" for c in every]) == [len(f"a{c}b".split()) for c in every]


@pytest.mark.parametrize("filler", ["x", "\u00e9", "\u4e16", "\U0001f600"])
def test_words_in_one_huge_document(filler):
    rng = np.random.default_rng(5)
    text = "".join(filler * int(n) + " " * int(k) for n, k in zip(rng.integers(1, 40, 30_000), rng.integers(1, 4, 30_000)))
    text += filler * 200_000  # one word over several chunks
    expected = Counter(text.split())
    for threads in THREADS:
        assert pb.parallel_word_count([text], num_threads=threads) == [sum(expected.values())]
        result = pb.parallel_word_frequencies([text, "x", text], num_threads=threads)
        assert result == expected + expected + Counter(["x"])


# ---- matrices


@CASES
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
def test_matrix_multiply(m, k, n, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(m, k)), rng.normal(size=(k, n))
    expected = a @ b
    bound = 1e-14 * k * (np.abs(a) @ np.abs(b)) + 1e-300
    first = pb.parallel_matrix_multiply(a, b, num_threads=1)
    assert np.all(np.abs(first - expected) <= bound)
    for threads in THREADS[1:]:
        assert same_bits(pb.parallel_matrix_multiply(a, b, num_threads=threads), first)
    lists = pb.parallel_matrix_multiply(a.tolist(), b.tolist())
    assert type(lists) is list and type(lists[0]) is list and type(lists[0][0]) is float
    assert lists == first.tolist()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 500, 1), (500, 1, 500), (257, 300, 129), (97, 513, 260), (300, 300, 300)])
def test_matrix_multiply_shapes(shape):
    m, k, n = shape
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(m, k)), rng.normal(size=(k, n))
    out = np.empty((m, n))
    for threads in THREADS:
        assert pb.parallel_matrix_multiply(a, b, num_threads=threads, out=out) is out
        np.testing.assert_allclose(out, a @ b, rtol=1e-11, atol=1e-11)
        assert same_bits(out, pb.parallel_matrix_multiply(a, b, num_threads=1))


def test_matrix_multiply_keeps_nan_and_infinity_where_they_belong():
    a, b = np.ones((30, 20)), np.ones((20, 30))
    a[3, 4], b[5, 6] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        expected = a @ b
    assert np.array_equal(pb.parallel_matrix_multiply(a, b), expected, equal_nan=True)


# ---- Mandelbrot


def mandelbrot(width, height, x_min, x_max, y_min, y_max, max_iter):
    rows = []
    for row in range(height):
        rows.append([])
        ci = y_min + (row / height) * (y_max - y_min)
        for column in range(width):
            cr = x_min + (column / width) * (x_max - x_min)
            zr = zi = 0.0
            steps = 0
            while steps < max_iter and zr * zr + zi * zi <= 4.0:
                zr, zi = zr * zr - zi * zi + cr, 2.0 * zr * zi + ci
                steps += 1
            rows[-1].append(steps)
    return rows


@CASES
@given(
    st.integers(1, 19),
    st.integers(1, 9),
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.integers(0, 70),
)
def test_mandelbrot(width, height, x_min, x_max, y_min, y_max, max_iter):
    region = (width, height, x_min, x_max, y_min, y_max, max_iter)
    expected = mandelbrot(*region)
    for threads in THREADS:
        result = pb.parallel_mandelbrot(*region, num_threads=threads)
        assert result == expected and type(result[0][0]) is int
    out = np.empty((height, width), np.uint32)
    for schedule in ("static", "dynamic", "guided"):
        assert pb.parallel_mandelbrot(*region, out=out, schedule=schedule, grain=2) is out
        assert out.tolist() == expected


def test_mandelbrot_contract_example():
    assert pb.parallel_mandelbrot(2, 2, -2.5, 1, -1, 1, 10) == [[1, 3], [1, 10]]
    assert pb.parallel_mandelbrot(67, 41, -2.5, 1, -1, 1, 500) == mandelbrot(67, 41, -2.5, 1, -1, 1, 500)
    assert pb.parallel_mandelbrot(1, 1, 0, 0, 0, 0, 0) == [[0]]


# ---- lists, arrays and other sequences


class Numbers:
    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@pytest.mark.parametrize("data", [(1, 2.5, True), Numbers(1, 2.5, True), [np.float64(1), np.float32(2.5), np.int8(1)]])
def test_any_sequence_of_numbers(data):
    assert pb.parallel_sum(data) == 4.5
    assert pb.parallel_square(data) == [1.0, 6.25, 1.0]


@pytest.mark.parametrize("make", [lambda v: array.array("d", v), lambda v: memoryview(array.array("d", v))])
def test_any_float64_buffer(make):
    assert pb.parallel_sum(make([1.0, 2.5])) == 3.5
    assert pb.parallel_square(make([3.0])).tolist() == [9.0]


def test_read_only_input_is_fine():
    values = np.arange(5.0)
    values.flags.writeable = False
    assert pb.parallel_sum(values) == 10.0
    with pytest.raises(ValueError, match="out is read-only"):
        pb.parallel_square(np.arange(5.0), out=values)


# ---- bad input

F = [pb.parallel_sum, pb.sequential_sum, pb.parallel_max, pb.parallel_square, pb.parallel_sort]


@pytest.mark.parametrize("call", [*F, pb.parallel_filter_even])
@pytest.mark.parametrize("bad", ["12", b"12", {1, 2}, {1: 2}, None, 3, iter([1.0]), (x for x in [1.0])])
def test_not_a_sequence(call, bad):
    with pytest.raises(TypeError, match="numbers"):
        call(bad)


@pytest.mark.parametrize("call", F)
def test_bad_items_are_named(call):
    with pytest.raises(TypeError, match=r"numbers\[2\]"):
        call([1.0, 2, "3", None])
    with pytest.raises(OverflowError, match=r"numbers\[1\]"):
        call([1.0, 10**400])


def test_filter_refuses_floats_and_large_ints():
    with pytest.raises(TypeError, match=r"numbers\[1\]"):
        pb.parallel_filter_even([2, 2.0])
    with pytest.raises(OverflowError, match=r"numbers\[0\]"):
        pb.parallel_filter_even([2**63])
    with pytest.raises(TypeError, match="int64"):
        pb.parallel_filter_even(np.array([1.0]))


@pytest.mark.parametrize("call", F)
@pytest.mark.parametrize(
    ("make", "error", "cure"),
    [
        (lambda: np.arange(4), TypeError, "astype"),
        (lambda: np.arange(4, dtype=np.float32), TypeError, "astype"),
        (lambda: np.arange(4, dtype=">f8"), ValueError, "astype"),
        (lambda: np.arange(8.0)[::2], ValueError, "ascontiguousarray"),
        (lambda: np.arange(8.0)[::-1], ValueError, "ascontiguousarray"),
        (lambda: np.ones((2, 2)), ValueError, "must be 1-D"),
        (lambda: np.array(1.0), ValueError, "must be 1-D"),
        (lambda: np.frombuffer(bytes(17), np.uint8)[1:].view("f8"), ValueError, "aligned"),
        (lambda: np.array(["a"]), TypeError, "float64"),
        (lambda: np.array([object()]), TypeError, "float64"),
    ],
)
def test_bad_arrays_name_the_cure(call, make, error, cure):
    with pytest.raises(error, match=cure) as caught:
        call(make())
    assert "numbers" in str(caught.value)


A = np.ones(4)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: pb.parallel_sum("no", num_threads=0), ValueError, "num_threads must be at least 1"),
        (lambda: pb.parallel_sum([1.0], num_threads=-1), ValueError, "num_threads"),
        (lambda: pb.parallel_sum([1.0], num_threads=10**6), ValueError, "num_threads must be at most 1024"),
        (lambda: pb.parallel_sum([1.0], num_threads=2**70), OverflowError, "num_threads"),
        (lambda: pb.parallel_sum([1.0], num_threads=2.0), TypeError, "num_threads"),
        (lambda: pb.parallel_sum([1.0], schedule="fast"), ValueError, "'static', 'dynamic', 'guided'"),
        (lambda: pb.parallel_square(A, stores="fast"), ValueError, "stores"),
        (lambda: pb.parallel_sum_chunked("no", 0), ValueError, "chunk_size must be at least 1"),
        (lambda: pb.parallel_sum_chunked([1.0], 1.5), TypeError, "chunk_size"),
        (lambda: pb.parallel_square(A, out=np.ones(3)), ValueError, "out has shape"),
        (lambda: pb.parallel_square(A, out=[0.0] * 4), TypeError, "out"),
        (lambda: pb.parallel_square(A, out=np.ones(4, np.float32)), TypeError, "out"),
        (lambda: pb.parallel_saxpy(1, A, [1.0] * 4), TypeError, "two (arrays|lists) or two (arrays|lists)"),
        (lambda: pb.parallel_saxpy(1, [1.0] * 4, A), TypeError, "two (arrays|lists) or two (arrays|lists)"),
        (lambda: pb.parallel_saxpy(1, A, np.ones(3)), ValueError, "same length"),
        (lambda: pb.parallel_saxpy("1", A, A), TypeError, "a must be a number"),
        (lambda: pb.parallel_word_count("a b"), TypeError, "documents"),
        (lambda: pb.parallel_word_count(["a", 3]), TypeError, r"documents\[1\]"),
        (lambda: pb.parallel_word_frequencies([b"a"]), TypeError, r"documents\[0\]"),
        (lambda: pb.parallel_matrix_multiply([[1.0, 2.0]], [[1.0, 2.0]]), ValueError, "Invalid matrix dimensions"),
        (lambda: pb.parallel_matrix_multiply([], [[1.0]]), ValueError, "Invalid matrix dimensions"),
        (lambda: pb.parallel_matrix_multiply([[]], []), ValueError, "Invalid matrix dimensions"),
        (lambda: pb.parallel_matrix_multiply(np.ones((2, 3)), np.ones((2, 3))), ValueError, "Invalid matrix dimensions"),
        (lambda: pb.parallel_matrix_multiply(np.ones((0, 3)), np.ones((3, 0))), ValueError, "Invalid matrix dimensions"),
        (lambda: pb.parallel_matrix_multiply([[1.0, 2.0], [3.0]], [[1.0]]), ValueError, r"a\[1\]"),
        (lambda: pb.parallel_matrix_multiply([[1.0]], [[1.0], [1.0, 2.0]]), ValueError, r"b\[1\]"),
        (lambda: pb.parallel_matrix_multiply([[1.0, "x"]], [[1.0], [2.0]]), TypeError, r"a\[0\]\[1\]"),
        (
            lambda: pb.parallel_matrix_multiply(np.ones((2, 2)), [[1.0, 1.0], [1.0, 1.0]]),
            TypeError,
            "two (arrays|lists) or two (arrays|lists)",
        ),
        (lambda: pb.parallel_matrix_multiply(np.ones((2, 2)).T[:, ::-1], np.ones((2, 2))), ValueError, "ascontiguousarray"),
        (lambda: pb.parallel_matrix_multiply(A.reshape(2, 2), A.reshape(2, 2), out=A.reshape(2, 2)), ValueError, "overlap"),
        (lambda: pb.parallel_mandelbrot(0, 2, 0, 1, 0, 1, 5), ValueError, "width must be at least 1"),
        (lambda: pb.parallel_mandelbrot(2, 0, 0, 1, 0, 1, 5), ValueError, "height"),
        (lambda: pb.parallel_mandelbrot(10**5, 10**5, 0, 1, 0, 1, 5), ValueError, r"width \* height"),
        (lambda: pb.parallel_mandelbrot(10**9, 1, 0, 1, 0, 1, 5), ValueError, "width"),
        (lambda: pb.parallel_mandelbrot(2, 2, 0, 1, 0, 1, -1), ValueError, "max_iter"),
        (lambda: pb.parallel_mandelbrot(2, 2, 0, 1, 0, 1, 2**32), ValueError, "max_iter"),
        (lambda: pb.parallel_mandelbrot(2, 2, -1e308, 1e308, 0, 1, 5), ValueError, "x_max - x_min"),
        (lambda: pb.parallel_square([1.0], out=np.zeros(1)), TypeError, "out needs arrays, but numbers is none"),
        (lambda: pb.parallel_sort([1.0], out=np.zeros(1)), TypeError, "out needs arrays"),
        (lambda: pb.parallel_saxpy(1, [1.0], [1.0], out=np.zeros(1)), TypeError, "out needs arrays"),
        (lambda: pb.parallel_matrix_multiply([[1.0]], [[1.0]], out=np.zeros((1, 1))), TypeError, "out needs arrays"),
        (lambda: pb.parallel_matrix_multiply(np.ones(3), np.ones((2, 2), np.float32)), ValueError, "a must be 2-D"),
        (lambda: pb.parallel_mandelbrot(2, 2, math.nan, 1, 0, 1, 5), ValueError, "x_min must be finite"),
        (lambda: pb.parallel_mandelbrot(2, 2, 0, 1, 0, math.inf, 5), ValueError, "y_max must be finite"),
        (lambda: pb.parallel_mandelbrot(2, 2, 0, 1, 0, 1, 5, out=np.ones((2, 2))), TypeError, "uint32"),
        (lambda: pb.parallel_mandelbrot(2, 2, 0, 1, 0, 1, 5, out=np.ones((2, 3), np.uint32)), ValueError, "out has shape"),
        (lambda: pb.parallel_mandelbrot(2, 2, 0, 1, 0, 1, 5, grain=0), ValueError, "grain"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_partly_overlapping_out_changes_nothing():
    memory = np.arange(10.0)
    before = memory.copy()
    for call in (pb.parallel_square, pb.parallel_sort):
        with pytest.raises(ValueError, match="overlaps numbers in part"):
            call(memory[:8], out=memory[2:])
    with pytest.raises(ValueError, match="overlaps y in part"):
        pb.parallel_saxpy(2.0, np.ones(8), memory[:8], out=memory[2:])
    assert np.array_equal(memory, before)


# ---- threads, the GIL, Ctrl-C, fork, exit


@pytest.mark.parametrize("threads", THREADS)
def test_called_from_many_threads(threads):
    values = numbers_of(50_000)
    text = " ".join(map(str, range(20_000)))
    expected = (pb.sequential_sum(values), np.sort(values), pb.parallel_word_count([text]))

    def call(i):
        for _ in range(5):
            assert bits(pb.parallel_sum(values, num_threads=2)) == bits(expected[0])
            assert np.array_equal(pb.parallel_sort(values, num_threads=2), expected[1])
            assert pb.parallel_word_count([text], num_threads=2) == expected[2]

    run_threads(threads, call)


big = numbers_of(4_000_000)
GIL_FREE = {
    "sum": lambda: [pb.parallel_sum(big) for _ in range(3)],
    "sequential": lambda: pb.sequential_sum(big),
    "max": lambda: [pb.parallel_max(big) for _ in range(3)],
    "square": lambda: pb.parallel_square(big),
    "sort": lambda: pb.parallel_sort(big[:500_000]),
    "filter": lambda: pb.parallel_filter_even(big.view(np.int64)),
    "matrix": lambda: pb.parallel_matrix_multiply(big[:160_000].reshape(400, 400), big[:160_000].reshape(400, 400)),
    "mandelbrot": lambda: pb.parallel_mandelbrot(200, 200, -2, 1, -1, 1, 500, out=np.empty((200, 200), np.uint32)),
    "words": lambda: pb.parallel_word_count(["word " * 500_000]),
}


@pytest.mark.parametrize("name", GIL_FREE)
def test_releases_the_gil(name):
    assert runs_without_gil(GIL_FREE[name])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "call",
    [
        "pb.parallel_mandelbrot(10**4, 10**4, -0.1, 0.1, -0.1, 0.1, 2**32 - 1, out=np.empty((10**4, 10**4), np.uint32), num_threads={0})",
        "pb.parallel_matrix_multiply(np.ones((9000, 9000)), np.ones((9000, 9000)), num_threads={0})",
    ],
)
def test_ctrl_c(call, threads):
    child = interrupt_child(f"""
        import numpy as np, parallel_basic as pb
        print("ready")
        try:
            {call.format(threads)}
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert child.stdout == "interrupted\n", child.stderr


@pytest.mark.parametrize("wrong", [3, None, b"static", ["static"]])
def test_words_that_are_no_strings(wrong):
    kind = type(wrong).__name__
    for numbers in ([1.0], np.ones(1)):
        with pytest.raises(TypeError, match=f"^schedule must be a str, not {kind}$"):
            pb.parallel_sum(numbers, schedule=wrong)
        with pytest.raises(TypeError, match=f"^stores must be a str, not {kind}$"):
            pb.parallel_square(numbers, stores=wrong)
    with pytest.raises(TypeError, match=f"^schedule must be a str, not {kind}$"):
        pb.parallel_mandelbrot(2, 2, -2.5, 1, -1, 1, 10, schedule=wrong)


@pytest.mark.parametrize(
    "out",
    [np.empty(8)[::2], np.empty(4, np.float32), np.empty(4, ">f8"), np.empty((2, 2))[:, 0]],
    ids=lambda out: str(out.dtype),
)
def test_the_cure_for_out_is_no_copy(out):
    with pytest.raises((TypeError, ValueError), match=r"^out .*; (pass|use out\.reshape)") as raised:
        pb.parallel_square(np.ones(4), out=out)
    assert "astype" not in str(raised.value) and "ascontiguousarray" not in str(raised.value)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_fork_after_a_parallel_call_gives_the_answer():
    child = run_child("""
        import os, signal, warnings, numpy as np, parallel_basic as pb
        warnings.simplefilter("ignore")
        values = np.random.default_rng(1).normal(size=10**6)
        expected = pb.parallel_sum(values, num_threads=2)
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            same = all(pb.parallel_sum(values, num_threads=threads) == expected for threads in (1, 2, 4, 7) * 5)
            os._exit(0 if same else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    assert (child.returncode, child.stdout) == (0, "0\n"), child.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_ctrl_c_in_a_forked_child():
    child = run_child("""
        import os, signal, threading, warnings, numpy as np, parallel_basic as pb
        warnings.simplefilter("ignore")
        assert pb.parallel_sum(np.ones(10**6), num_threads=2) == 1e6
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                pb.parallel_mandelbrot(10**4, 10**4, -0.1, 0.1, -0.1, 0.1, 2**32 - 1,
                                       num_threads=2, out=np.empty((10**4, 10**4), np.uint32))
            except KeyboardInterrupt:
                os._exit(0)
            os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    assert (child.returncode, child.stdout) == (0, "0\n"), child.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_fork_before_any_parallel_call_gives_the_answer():
    child = run_child("""
        import os, numpy as np, parallel_basic as pb
        pid = os.fork()
        if pid == 0:
            os._exit(0 if pb.parallel_sum(np.ones(10**6), num_threads=2) == 1e6 else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    assert (child.returncode, child.stdout) == (0, "0\n"), child.stderr


def test_exit_during_a_call_in_a_daemon_thread():
    child = run_child("""
        import threading, time, numpy as np, parallel_basic as pb
        out = np.empty((10**4, 10**4), np.uint32)
        work = lambda: pb.parallel_mandelbrot(10**4, 10**4, -0.1, 0.1, -0.1, 0.1, 2**32 - 1, out=out)
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
        print("leaving", flush=True)
    """)
    assert (child.returncode, child.stdout) == (0, "leaving\n"), child.stderr


@pytest.mark.skipif(sys.version_info < (3, 12), reason="own-GIL sub-interpreters came with CPython 3.12")
def test_lists_in_a_sub_interpreter():
    module = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    child = run_child(f"""
        import sys, {module} as interpreters, parallel_basic
        name = interpreters.create()
        print(interpreters.run_string(name, '''if True:
            import sys; sys.path[:] = {[p for p in sys.path if p]!r}
            import parallel_basic as pb
            assert pb.parallel_square([1, 2, 3]) == [1.0, 4.0, 9.0]
            assert pb.parallel_word_frequencies(["a b a"]) == dict(a=2, b=1)
            assert pb.parallel_sum([0.5] * 100_000, num_threads=2) == 50_000.0
        '''))
        interpreters.destroy(name)
    """)
    assert (child.returncode, child.stdout) == (0, "None\n"), child.stdout + child.stderr


def test_importing_needs_no_numpy():
    child = run_child("import parallel_basic as pb, sys; print(pb.parallel_sort([2, 1]), 'numpy' in sys.modules)")
    assert child.stdout == "[1.0, 2.0] False\n", child.stderr


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
            assert len(pb.parallel_square(numbers)) in (20_000, 20_001)
    finally:
        done.set()
        thread.join()


def test_no_out_may_be_said():
    assert pb.parallel_square([2.0], out=None, stores="auto") == [4.0]
    assert pb.parallel_sort([2.0, 1.0], out=None) == [1.0, 2.0]
    assert pb.parallel_saxpy(1.0, [2.0], [3.0], out=None, stores="plain") == [5.0]
    assert pb.parallel_matrix_multiply([[2.0]], [[3.0]], out=None) == [[6.0]]
