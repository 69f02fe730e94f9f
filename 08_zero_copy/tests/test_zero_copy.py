"""zero_copy from Python: answers against NumPy at every instruction set, what may be written where, who owns what."""

import array
import ctypes
import math
import mmap
import sys
import tracemalloc

import numpy as np
import pytest
import zero_copy as zc
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tenfold_testing import (
    THREADS,
    bound_classes,
    interrupt_child,
    refuses_what_was_never_made,
    run_child,
    run_threads,
    runs_without_gil,
)

CASES = settings(max_examples=200, deadline=None)
LEVELS = zc.simd_info()["usable"]
DTYPES = [np.float64, np.float32]
SPECIAL = [math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 1.7e308, -1.0, 3.0]
floats = st.floats(width=64) | st.sampled_from(SPECIAL)
float_lists = st.lists(floats, max_size=300)
SIZES = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 4095, 4097, 50_001]

each_level = pytest.mark.parametrize("level", LEVELS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def numbers_of(size, seed=1, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=size) * 10.0 ** rng.integers(-3, 4, size)).astype(dtype)


def same(a, b):
    """Equal bits; any NaN is like any other."""
    a, b = np.asarray(a), np.asarray(b)
    ints = np.int64 if a.dtype == np.float64 else np.int32
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return (
        a.dtype == b.dtype and a.shape == b.shape and bool(np.all((a.view(ints) == b.view(ints)) | (np.isnan(a) & np.isnan(b))))
    )


def quiet(expression):
    with np.errstate(all="ignore"):
        return expression()


def layouts(values):
    """The same items in memory of every kind: (name, array, what lies around it and must stay)."""
    n = len(values)
    every_other = np.full(2 * n + 1, 7.0, values.dtype)
    every_other[1 : 2 * n : 2] = values
    backwards = np.full(n + 2, 7.0, values.dtype)
    backwards[1 : n + 1] = values[::-1]
    column = np.full((n, 3), 7.0, values.dtype)
    column[:, 1] = values
    shifted = np.full(n + 1, 7.0, values.dtype)  # starts on no vector's border
    shifted[1:] = values
    yield "contiguous", values.copy(), None
    yield "every other", every_other[1 : 2 * n : 2], every_other[::2]
    yield "backwards", backwards[1 : n + 1][::-1], backwards[[0, -1]]
    yield "column", column[:, 1], column[:, ::2]
    yield "shifted", shifted[1:], shifted[:1]


# ---- the five functions of the contract, against NumPy


@CASES
@given(float_lists)
@example([])
@example([1.0])
@example(SPECIAL)
def test_square_and_root(numbers):
    values = np.array(numbers, float)
    squares = quiet(lambda: np.square(values))
    roots = quiet(lambda: np.sqrt(2.0 * values))
    for threads in THREADS:
        before = list(numbers)
        result = zc.process_slice_inplace(numbers, num_threads=threads)
        assert type(result) is list and all(type(x) is float for x in result) and result is not numbers
        assert same(np.array(result, float), squares) and repr(numbers) == repr(before)
        assert same(np.array(zc.process_chunked_nocopy(numbers, 3, num_threads=threads), float), roots)
        for call, expected in (
            (zc.process_slice_inplace, squares),
            (lambda data, **more: zc.process_chunked_nocopy(data, 7, **more), roots),
        ):
            for name, data, around in layouts(values):
                assert call(data, num_threads=threads) is data
                assert same(data, expected), name
                assert around is None or np.all(around == 7.0), name


@CASES
@given(float_lists)
@example([])
@example([1e308, 1e308, -math.inf])
@example(SPECIAL)
def test_sum_and_reduce(numbers):
    values = np.array(numbers, float)
    expected = zc.sum_nocopy(numbers, num_threads=1)
    reduced = zc.parallel_reduce_nocopy(numbers, num_threads=1)
    assert type(expected) is float and [type(x) for x in reduced] == [float, float, float, int]
    for threads in THREADS:
        for _, data, _ in layouts(values):
            assert same(np.float64(zc.sum_nocopy(data, num_threads=threads)), np.float64(expected))
            assert same(np.array(zc.parallel_reduce_nocopy(data, num_threads=threads)), np.array(reduced))
    total, low, high, count = reduced
    assert count == len(numbers)
    finite = [x for x in numbers if math.isfinite(x) and abs(x) < 1e150]
    magnitude = math.fsum(map(abs, finite))
    assert abs(zc.sum_nocopy(finite) - math.fsum(finite)) <= 1e-12 * magnitude
    if not numbers:
        assert reduced == (0.0, math.inf, -math.inf, 0)
    elif np.isnan(values).any():
        assert math.isnan(total) and math.isnan(low) and math.isnan(high)
    else:
        assert (low, high) == (min(numbers), max(numbers))


@CASES
@given(st.integers(1, 40), st.integers(1, 70), st.integers(0, 2**32))
def test_matvec(rows, columns, seed):
    rng = np.random.default_rng(seed)
    matrix, vector = rng.normal(size=(rows, columns)), rng.normal(size=columns)
    bound = 1e-14 * (np.abs(matrix) @ np.abs(vector)) + 1e-300
    first = zc.matvec_multiply(matrix, vector, num_threads=1)
    assert isinstance(first, np.ndarray) and np.all(np.abs(first - matrix @ vector) <= bound)
    spread = np.zeros((rows * 2, columns * 3))
    spread[::2, ::3] = matrix
    for threads in THREADS:
        assert same(zc.matvec_multiply(matrix, vector, num_threads=threads), first)
        lists = zc.matvec_multiply(matrix.tolist(), vector.tolist(), num_threads=threads)
        assert type(lists) is list and type(lists[0]) is float and same(np.array(lists), first)
        for other in (np.asfortranarray(matrix), spread[::2, ::3], matrix[::-1].copy()[::-1]):
            out = np.full(2 * rows, 7.0)
            strided = zc.matvec_multiply(other, np.repeat(vector, 2)[::2], num_threads=threads, out=out[::2])
            assert strided.base is out and np.all(out[1::2] == 7.0)
            assert np.all(np.abs(out[::2] - matrix @ vector) <= bound)


@pytest.mark.parametrize("size", [50_001, 300_000])
def test_same_bits_at_every_thread_count(size):
    values = numbers_of(size)
    assert len({zc.sum_nocopy(values, num_threads=n) for n in THREADS}) == 1
    assert len({zc.parallel_reduce_nocopy(values, num_threads=n) for n in THREADS}) == 1
    assert math.isclose(zc.sum_nocopy(values), math.fsum(values), rel_tol=1e-12)
    matrix = numbers_of(size).reshape(-1, 3)
    assert len({zc.matvec_multiply(matrix, np.ones(3), num_threads=n).tobytes() for n in THREADS}) == 1
    assert len({zc.normalize(values, num_threads=n).tobytes() for n in THREADS}) == 1
    roots = {
        zc.process_chunked_nocopy(values.copy(), chunk, num_threads=n).tobytes() for n in THREADS for chunk in (1000, 10**9)
    }
    assert len(roots) == 1


# ---- every instruction set, every remainder, every start


def unaligned(values, shift):
    memory = np.full(len(values) + 8, 7.0, values.dtype)
    memory[shift : shift + len(values)] = values
    return memory[shift : shift + len(values)]


@each_level
@each_dtype
def test_remainders_at_every_level(level, dtype):
    ufuncs = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}
    with zc.simd_level(level):
        assert zc.simd_info()["selected"] == level
        for size in range(130):
            a, b, c = (numbers_of(size, seed, dtype) for seed in (size + 1, size + 1000, size + 2000))
            if size:
                a[size // 2], b[size // 3] = SPECIAL[size % 4], -0.0
            for shift in (0, 1, 3):
                x, y, z = (unaligned(each, (shift * k) % 8) for k, each in enumerate((a, b, c), 1))
                memory = np.full(size + 8, 7.0, dtype)
                out = memory[shift : shift + size]
                for name, ufunc in ufuncs.items():
                    assert getattr(zc, name)(x, y, out=out) is out
                    assert same(out, quiet(lambda: ufunc(a, b))), (name, size, shift)
                zc.fused(x, y, z, out=out)
                assert same(out, quiet(lambda: a * b + c * dtype(2) - dtype(1))), (size, shift)
                assert np.all(memory[:shift] == 7.0) and np.all(memory[shift + size :] == 7.0)
                changed = unaligned(a, shift)
                assert zc.scale_inplace(changed, 0.3) is changed and same(changed, quiet(lambda: a * dtype(0.3)))
                assert np.all(changed.base[:shift] == 7.0) and np.all(changed.base[shift + size :] == 7.0)
                if dtype is np.float64:
                    assert same(zc.process_slice_inplace(unaligned(a, shift)), quiet(lambda: a * a))
                    assert same(zc.process_chunked_nocopy(unaligned(a, shift), 5), quiet(lambda: np.sqrt(2 * a)))


def test_sums_have_the_same_bits_at_every_level_and_start():
    for size in [*range(130), 4095, 4096, 4097, 20_011]:
        values = numbers_of(size, size + 1)
        sums, reductions = set(), set()
        for level in LEVELS:
            with zc.simd_level(level):
                for shift in (0, 1, 5):
                    sums.add(zc.sum_nocopy(unaligned(values, shift)))
                    reductions.add(zc.parallel_reduce_nocopy(unaligned(values, shift)))
        assert len(sums) == 1 and len(reductions) == 1, size


@each_level
@each_dtype
def test_matrices_at_every_level(level, dtype):
    epsilon = np.finfo(dtype).eps
    with zc.simd_level(level):
        for size in [*range(1, 36), 63, 64, 65, 127, 128, 129]:
            rng = np.random.default_rng(size)
            a, b = rng.normal(size=(size % 17 + 1, size)).astype(dtype), rng.normal(size=(size, size % 23 + 1)).astype(dtype)
            expected = a.astype(float) @ b.astype(float)
            bound = 2 * (size + 2) * epsilon * (np.abs(a).astype(float) @ np.abs(b))
            for call in (zc.matmul_naive, zc.matmul_blocked, zc.matmul_simd, zc.matmul_threaded):
                for left, right in ((a, b), (np.asfortranarray(a), np.asfortranarray(b)), (np.flip(np.flip(a).copy()), b)):
                    result = call(left, right)
                    assert result.dtype == dtype and np.all(np.abs(result - expected) <= bound), (call.__name__, size)
            if dtype is np.float64:
                assert np.all(np.abs(zc.matvec_multiply(a, b[:, 0].copy()) - expected[:, 0]) <= bound[:, 0])
            assert same(zc.transpose(a), a.T.copy()) and same(zc.transpose(a[:, ::-1]), a[:, ::-1].T.copy())


@each_level
@each_dtype
def test_pictures_at_every_level(level, dtype):
    epsilon = np.finfo(dtype).eps
    with zc.simd_level(level):
        for columns in [*range(1, 40), 63, 64, 65, 129]:
            image = numbers_of(columns * 7, columns, dtype).reshape(7, columns)
            wide = np.full((7, columns + 5), 7.0, dtype)
            wide[:, 2 : columns + 2] = image
            cut = wide[:, 2 : columns + 2]
            for rows, width in ((1, 1), (3, 3), (5, 5), (2, 3), (7, 1)):
                if width > columns:
                    continue
                kernel = numbers_of(rows * width, rows, dtype).reshape(rows, width)
                windows = np.lib.stride_tricks.sliding_window_view(image.astype(float), (rows, width))
                expected = np.einsum("ijkl,kl->ij", windows, kernel.astype(float))
                bound = 4 * rows * width * epsilon * np.einsum("ijkl,kl->ij", np.abs(windows), np.abs(kernel.astype(float)))
                first = zc.correlate2d(image, kernel)
                assert first.shape == expected.shape and np.all(np.abs(first - expected) <= bound)
                assert same(zc.correlate2d(cut, kernel), first)
                assert same(zc.convolve2d(image, kernel[::-1, ::-1]), first)
                assert same(zc.convolve2d(image, np.asfortranarray(kernel[::-1, ::-1])), first)
            for window, stride in ((1, None), (2, None), (3, 1), (2, 3), (7, 2)):
                if window > columns:
                    continue
                step = stride or window
                expected = np.lib.stride_tricks.sliding_window_view(image, (window, window)).max((2, 3))[::step, ::step]
                assert same(zc.max_pool2d(image, window, stride), expected)
                assert same(zc.max_pool2d(cut, window, stride), expected)


# ---- element-wise work, both dtypes


@CASES
@given(float_lists, st.integers(0, 2**32), st.booleans())
def test_elementwise(numbers, seed, double):
    dtype = np.float64 if double else np.float32
    a = quiet(lambda: np.array(numbers, float).astype(dtype))
    b = np.random.default_rng(seed).permutation(quiet(lambda: np.r_[a[: len(a) // 2], numbers_of(len(a), 3, dtype)]))[: len(a)]
    expected = quiet(
        lambda: {"add": a + b, "subtract": a - b, "multiply": a * b, "divide": a / b, "fused": a * b + a * dtype(2) - dtype(1)}
    )
    for threads in THREADS:
        for name, wanted in expected.items():
            call = getattr(zc, name)
            operands = (a, b, a) if name == "fused" else (a, b)
            result = call(*operands, num_threads=threads)
            assert result.dtype == dtype and same(result, wanted), name
            for (_, x, _), (_, y, _), (_, out, around) in zip(layouts(a), layouts(b), layouts(np.zeros_like(a))):
                operands = (x, y, x) if name == "fused" else (x, y)
                assert call(*operands, out=out, num_threads=threads) is out and same(out, wanted), name
                assert around is None or np.all(around == 7.0)
            same_one = a.copy()
            assert call(*((same_one, b, same_one) if name == "fused" else (same_one, b)), out=same_one) is same_one
            assert same(same_one, wanted)


@each_dtype
def test_numbers_and_rows_stand_for_arrays(dtype):
    a = numbers_of(35, 1, dtype).reshape(5, 7)
    row = numbers_of(7, 2, dtype)
    assert same(zc.multiply(a, 2.5), a * dtype(2.5)) and same(zc.multiply(2, a), dtype(2) * a)
    assert same(zc.divide(1.0, a), dtype(1) / a) and same(zc.subtract(a, row), a - row) and same(zc.subtract(row, a), row - a)
    assert same(zc.add(a, np.array(1.5, dtype)), a + dtype(1.5))
    assert same(zc.fused(a, 0.5, row), a * dtype(0.5) + row * dtype(2) - dtype(1))
    assert same(zc.add(a.T, a.T), (a + a).T) and same(zc.add(a[:, ::2], a[:, ::-2]), a[:, ::2] + a[:, ::-2])
    cube = numbers_of(24, 3, dtype).reshape(2, 3, 4)
    assert same(zc.add(cube, cube), cube + cube) and same(zc.normalize(cube).ravel(), zc.normalize(cube.ravel()))
    assert zc.add(np.ones((0, 3)), 1.0).shape == (0, 3)
    assert same(zc.add(a, True), a + dtype(1))


@CASES
@given(st.integers(0, 3000), st.booleans(), st.integers(0, 2**32), st.sampled_from(THREADS))
def test_chain(size, double, seed, threads):
    dtype = np.float64 if double else np.float32
    a, b, c = (numbers_of(size, seed % 1000 + i, dtype) for i in range(3))
    fused = zc.Chain(a).multiply(b).add(c, times=2.0).subtract(1.0)
    wanted = a * b + c * dtype(2) - dtype(1)
    assert same(fused.run(num_threads=threads), wanted) and same(zc.fused(a, b, c, num_threads=threads), wanted)
    more = zc.Chain(a).square().add(1.0).sqrt().divide(b).negate().minimum(c).maximum(-2.0).absolute()
    more = more.subtract_from(0.25).divide_into(c).add(3, times=2.0)

    def expected():
        x = np.minimum(-(np.sqrt(a * a + dtype(1)) / b), c)
        return c / (dtype(0.25) - np.abs(np.maximum(x, dtype(-2)))) + dtype(6)

    out = a.copy()
    result = zc.Chain(out).square().run(out=out, num_threads=threads)
    assert result is out and same(out, a * a)
    assert same(more.run(num_threads=threads), quiet(expected))


def test_a_chain_is_a_value():
    base = zc.Chain(np.ones(3)).add(1.0)
    assert base.multiply(2.0).run().tolist() == [4.0] * 3 and base.run().tolist() == [2.0] * 3
    assert zc.Chain(np.ones(3)).run().tolist() == [1.0] * 3
    for wrong in ("x", None):  # None is no number and no array, least of all 0.0
        with pytest.raises(TypeError, match=r"inputs\[1\]"):
            zc.Chain(np.ones(3)).multiply(wrong).run()
    with pytest.raises(ValueError, match=r"inputs\[1\] has shape"):
        zc.Chain(np.ones(3)).add(np.ones(4)).run()
    cube = np.arange(24.0).reshape(2, 3, 4)
    assert same(zc.Chain(cube).square().run(), cube * cube)
    for strided in (cube[:, ::2], cube[::-1, ::-1, ::-1]):
        with pytest.raises(ValueError, match=r"inputs\[0\] has 3 dimensions and is not C-contiguous"):
            zc.Chain(strided).square().run()
        with pytest.raises(ValueError, match=r"inputs\[1\] has 3 dimensions"):
            zc.Chain(cube[: len(strided), : strided.shape[1]].copy()).add(strided).run()


@CASES
@given(st.lists(st.floats(-1e6, 1e6), max_size=200), st.booleans())
@example([2.0, 2.0, 2.0], True)
@example([math.nan, 1.0], True)
def test_normalize(numbers, double):
    dtype = np.float64 if double else np.float32
    values = np.array(numbers, dtype)
    result = zc.normalize(values)
    assert result.dtype == dtype and result.shape == values.shape
    if np.isnan(values).any():
        assert np.isnan(result).all()
    elif len(values):
        exact = values.astype(float)
        spread = exact.std()
        if (values == values[0]).all():
            assert np.all(result == 0)
        elif spread > 1e-4 * np.abs(exact).max():
            tolerance = 1e-3 if dtype is np.float32 else 1e-9
            np.testing.assert_allclose(result, (exact - exact.mean()) / spread, rtol=tolerance, atol=tolerance / 10)
    for _, data, around in layouts(values):
        assert zc.normalize(data, out=data) is data and same(data, result)
        assert around is None or np.all(around == 7.0)


@pytest.mark.parametrize("size", SIZES)
@each_dtype
def test_threads_never_change_a_bit(size, dtype):
    a, b = numbers_of(size, 1, dtype), numbers_of(size, 2, dtype)
    for call in (lambda n: zc.fused(a, b, a, num_threads=n), lambda n: zc.normalize(a, num_threads=n)):
        assert len({call(n).tobytes() for n in THREADS}) == 1


@each_dtype
def test_matrix_threads_never_change_a_bit(dtype):
    a, b = numbers_of(97 * 130, 1, dtype).reshape(97, 130), numbers_of(130 * 61, 2, dtype).reshape(130, 61)
    expected = zc.matmul_simd(a, b)
    image, kernel = numbers_of(200 * 300, 3, dtype).reshape(200, 300), numbers_of(9, 4, dtype).reshape(3, 3)
    for threads in THREADS:
        assert same(zc.matmul_threaded(a, b, num_threads=threads), expected)
        assert same(zc.correlate2d(image, kernel, num_threads=threads), zc.correlate2d(image, kernel, num_threads=1))
        assert same(zc.max_pool2d(image, 3, 2, num_threads=threads), zc.max_pool2d(image, 3, 2, num_threads=1))
        assert same(zc.transpose(image, num_threads=threads), image.T.copy())


@CASES
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.booleans(), st.integers(0, 2**32))
def test_matmul(m, k, n, double, seed):
    dtype = np.float64 if double else np.float32
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    bound = 2 * (k + 2) * np.finfo(dtype).eps * (np.abs(a).astype(float) @ np.abs(b))
    for call in (zc.matmul_naive, zc.matmul_blocked, zc.matmul_simd, zc.matmul_threaded):
        wide = np.full((m, n + 3), 7.0, dtype)
        result = call(a, b, out=wide[:, 1 : n + 1])
        assert result.base is wide and np.all(np.abs(result - a.astype(float) @ b.astype(float)) <= bound)
        assert np.all(wide[:, 0] == 7.0) and np.all(wide[:, n + 1 :] == 7.0)


def test_nan_stays_where_it_belongs():
    image = np.ones((9, 11))
    image[4, 5] = np.nan
    for call, size in ((lambda: zc.correlate2d(image, np.ones((3, 3))), 3), (lambda: zc.max_pool2d(image, 3, 1), 3)):
        result = call()
        expected = np.zeros_like(result, bool)
        expected[4 - size + 1 : 5, 5 - size + 1 : 6] = True
        assert np.array_equal(np.isnan(result), expected)


# ---- nothing is copied: addresses and counts


def address(buffer):
    return np.asarray(buffer).__array_interface__["data"][0]


def test_in_place_and_out_make_no_memory():
    a, b, c, out = (numbers_of(100_000, seed) for seed in (1, 2, 3, 4))
    picture, weights, pooled = a.reshape(250, 400), b[:9].reshape(3, 3), np.empty((125, 200))
    filtered = np.empty((248, 398))
    product, vector = np.empty((250, 250)), np.empty(250)
    calls = [
        lambda: zc.process_slice_inplace(a),
        lambda: zc.process_chunked_nocopy(a, 1000),
        lambda: zc.sum_nocopy(a[::2]),
        lambda: zc.parallel_reduce_nocopy(a),
        lambda: zc.matvec_multiply(picture, c[:400], out=vector),
        lambda: zc.scale_inplace(a, 0.5),
        lambda: zc.add(a, b, out=out),
        lambda: zc.fused(a[::2], b[::2], c[::2], out=out[::2]),
        lambda: zc.Chain(a).add(b, times=2.0).run(out=out),
        lambda: zc.normalize(a, out=out),
        lambda: zc.correlate2d(picture, weights, out=filtered),
        lambda: zc.max_pool2d(picture, 2, out=pooled),
        lambda: zc.transpose(picture, out=out.reshape(400, 250)),
        lambda: zc.matmul_naive(picture, picture.T, out=product),
    ]
    with np.errstate(all="ignore"):
        for call in calls:
            call()  # first calls may import
        before = zc.owners_made()
        for call in calls:
            tracemalloc.start()
            try:
                call()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak < 20_000, peak  # NumPy reports its memory to tracemalloc: a copy would be 400,000 bytes and more
        assert zc.owners_made() == before


def test_the_counter_sees_a_copy():
    """The proof's proof: what does make memory is counted, by both counters."""
    a = numbers_of(100_000)
    before = zc.owners_made()
    zc.add(a, a)
    assert zc.owners_made() == before + 1
    tracemalloc.start()
    try:
        zc.sum_nocopy(np.ascontiguousarray(a[::-1]))
        assert tracemalloc.get_traced_memory()[1] > 700_000
    finally:
        tracemalloc.stop()


def test_results_own_their_memory():
    before = zc.live_owners()
    result = zc.add(np.ones(1000), 1.0)
    assert zc.live_owners() == before + 1 and result.flags.writeable and not result.flags.owndata
    assert address(result) % 64 == 0
    view = result[::2].reshape(-1, 5).T
    del result
    assert zc.live_owners() == before + 1 and view.sum() == 1000.0
    many = [zc.multiply(view, float(i)) for i in range(10)]
    assert zc.live_owners() == before + 11
    seen = memoryview(many[3])
    del many
    assert zc.live_owners() == before + 2 and seen[0, 0] == 6.0
    del seen, view
    assert zc.live_owners() == before


def test_a_failed_call_leaves_no_memory():
    before = zc.live_owners()
    for _ in range(10):
        with pytest.raises(ValueError, match="shape"):
            zc.add(np.ones(3), np.ones(4))
        with pytest.raises(TypeError):
            zc.View(np.ones(3, np.int64))
    assert zc.live_owners() == before


# ---- other owners of memory


def test_memoryview_array_and_bytes():
    memory = array.array("d", [1.0, 2.0, 3.0])
    assert zc.process_slice_inplace(memory) is memory and memory.tolist() == [1.0, 4.0, 9.0]
    view = memoryview(memory)
    assert zc.process_chunked_nocopy(view[::2], 1)[0] == math.sqrt(2.0) and memory[1] == 4.0
    assert zc.sum_nocopy(view.toreadonly()) == math.fsum(memory)
    with pytest.raises(ValueError, match="read-only"):
        zc.process_slice_inplace(view.toreadonly())
    raw = bytearray(np.arange(4.0).tobytes())
    assert zc.sum_nocopy(memoryview(raw).cast("d")) == 6.0
    with pytest.raises(TypeError, match="float64"):
        zc.sum_nocopy(raw)
    assert zc.scale_inplace(array.array("f", [1.0, 2.0]), 2.0).tolist() == [2.0, 4.0]


def test_ctypes():
    """ctypes fills in no strides, whatever it is asked for."""
    memory = (ctypes.c_double * 3)(1.0, 2.0, 3.0)
    assert zc.sum_nocopy(memory) == 6.0
    assert zc.process_slice_inplace(memory) is memory and list(memory) == [1.0, 4.0, 9.0]
    assert zc.View(memory).address == ctypes.addressof(memory) and zc.View(memory).strides == (8,)
    table = ((ctypes.c_float * 3) * 2)((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert zc.add(table, 1.0).tolist() == [[2.0, 3.0, 4.0], [5.0, 6.0, 7.0]]
    assert zc.View(table).strides == (12, 4)
    with pytest.raises(TypeError, match="float64"):
        zc.sum_nocopy((ctypes.c_int * 3)())


def test_mmap(tmp_path):
    file = tmp_path / "numbers"
    file.write_bytes(np.arange(1000.0).tobytes())
    with open(file, "r+b") as handle, mmap.mmap(handle.fileno(), 0) as memory:
        view = memoryview(memory).cast("d")
        assert zc.sum_nocopy(view) == 499_500.0
        assert zc.process_slice_inplace(view) is view
        assert zc.View(view).address == address(view)
        view.release()
    assert np.array_equal(np.fromfile(file), np.arange(1000.0) ** 2)
    with open(file, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        view = memoryview(memory).cast("d")
        assert zc.parallel_reduce_nocopy(view)[3] == 1000
        with pytest.raises(ValueError, match="read-only"):
            zc.process_slice_inplace(view)
        view.release()


def test_memory_stays_while_a_view_looks_at_it():
    memory = array.array("d", [1.0, 2.0])
    view = zc.View(memory)
    with pytest.raises(BufferError):  # it cannot be resized under the view
        memory.append(3.0)
    del view
    memory.append(3.0)


def test_view():
    values = np.arange(12.0).reshape(3, 4)
    view = zc.View(values[:, ::2])
    assert (view.shape, view.strides, view.dtype, view.readonly, len(view)) == ((3, 2), (32, 16), "float64", False, 3)
    assert view.address == address(values)
    again = np.asarray(view)
    assert np.shares_memory(again, values) and again.strides == (32, 16) and np.array_equal(again, values[:, ::2])
    again[0, 0] = 100.0
    assert values[0, 0] == 100.0 and zc.View(view).address == view.address
    assert repr(view) == "View(float64, shape=(3, 2))"
    values.flags.writeable = False
    assert zc.View(values).readonly and memoryview(zc.View(values)).readonly
    with pytest.raises(ValueError, match="read-only"):
        zc.View(values, writable=True)
    assert zc.scale_inplace(zc.View(np.ones(3, np.float32)), 2.0).dtype == "float32"
    with pytest.raises(TypeError, match="no length"):
        len(zc.View(np.array(1.0)))


@pytest.mark.parametrize("kind", bound_classes(zc._core), ids=lambda kind: kind.__name__)
def test_objects_that_were_never_made(kind):
    refuses_what_was_never_made(kind)


def test_a_view_that_was_never_made_has_no_memory():
    child = run_child("""
        import zero_copy as zc
        for call in (memoryview, zc.View, zc.sum_nocopy, lambda view: zc.Stream([view])):
            try:
                print("returned", call(zc.View.__new__(zc.View)))
            except (TypeError, BufferError) as error:
                assert "View.__init__() has not been called" in f"{error} {error.__cause__}", (error, error.__cause__)
                print("refused")
    """)
    assert child.stdout == "refused\n" * 4, (child.stdout, child.stderr)
    stream = zc.Stream([np.ones(1)])
    assert iter(stream) is stream


# ---- DLPack


class OnlyDLPack:
    """A producer that speaks nothing else; `new` says whether it knows versions."""

    def __init__(self, source, device=(1, 0), new=True):
        self.source, self.device, self.new = source, device, new

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        if not self.new and options:
            raise TypeError("unexpected keyword argument")
        return self.source.__dlpack__(**options)


needs_versions = pytest.mark.skipif(
    tuple(map(int, np.__version__.split(".")[:2])) < (2, 1), reason="NumPy speaks versioned DLPack since 2.1"
)


@each_dtype
def test_dlpack_to_numpy(dtype):
    values = np.arange(12, dtype=dtype).reshape(3, 4)
    before = zc.live_exports()
    there = np.from_dlpack(zc.View(values[:, 1:3]))
    assert np.shares_memory(there, values) and np.array_equal(there, values[:, 1:3]) and there.dtype == dtype
    assert zc.live_exports() == before + 1
    there = there[1:]
    assert zc.live_exports() == before + 1
    del there
    assert zc.live_exports() == before


@needs_versions
def test_dlpack_keeps_read_only():
    values = np.arange(3.0)
    assert np.from_dlpack(zc.View(values)).flags.writeable
    values.flags.writeable = False
    assert not np.from_dlpack(zc.View(values)).flags.writeable
    copied = np.from_dlpack(zc.View(values), copy=True)
    assert copied.flags.writeable and not np.shares_memory(copied, values) and np.array_equal(copied, values)
    assert zc.View(OnlyDLPack(values)).readonly and not zc.View(OnlyDLPack(np.ones(2))).readonly


@pytest.mark.parametrize("new", [True, False])
def test_dlpack_from_numpy(new):
    values = np.arange(20.0).reshape(4, 5)
    view = zc.View(OnlyDLPack(values[::2, 1:], new=new))
    assert view.address == address(values[::2, 1:]) and view.shape == (2, 4) and view.strides == (80, 8)
    assert view.readonly is (not new or tuple(map(int, np.__version__.split(".")[:2])) < (2, 1))
    assert np.array_equal(np.asarray(view), values[::2, 1:])
    assert zc.sum_nocopy(OnlyDLPack(values[:, 2], new=new)) == values[:, 2].sum()
    assert same(zc.add(OnlyDLPack(values, new=new), 1.0), values + 1.0)


def test_dlpack_round_trip_through_itself():
    before = zc.live_exports(), zc.live_owners()
    result = zc.add(np.ones((3, 4), np.float32), 1.0)
    view = zc.View(OnlyDLPack(zc.View(OnlyDLPack(zc.View(result)))))
    assert view.address == address(result) and not view.readonly
    result = None
    assert zc.live_owners() == before[1] + 1 and np.asarray(view).sum() == 24.0
    del view
    assert (zc.live_exports(), zc.live_owners()) == before


@each_dtype
def test_dlpack_of_more_dimensions(dtype):
    cube = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    for source in (cube, cube[:, ::2], cube[::-1, :, ::-2], cube.T, cube[:, :0]):
        view = zc.View(OnlyDLPack(source))
        assert view.address == address(source) or source.size == 0
        assert np.array_equal(np.asarray(view), source)
        capsule = view.__dlpack__(copy=True, max_version=(1, 0))
        copied = zc.View(OnlyDLPack(type("Given", (), {"__dlpack__": lambda self, given=capsule, **options: given})()))
        assert np.array_equal(np.asarray(copied), source) and (copied.address != view.address or source.size == 0)
    assert same(zc.add(OnlyDLPack(cube), 1.0), cube + dtype(1))
    with pytest.raises(ValueError, match="a has 3 dimensions and is not C-contiguous"):
        zc.add(OnlyDLPack(cube[:, ::2]), 1.0)


def test_dlpack_capsules():
    before = zc.live_exports()
    view = zc.View(np.ones(3))
    for version, name in (
        ({}, "dltensor"),
        ({"max_version": (0, 8)}, "dltensor"),
        ({"max_version": (1, 0)}, "dltensor_versioned"),
    ):
        capsule = view.__dlpack__(**version)
        assert f'"{name}"' in repr(capsule) and zc.live_exports() == before + 1
        del capsule  # never consumed: freed all the same
        assert zc.live_exports() == before
    capsule = view.__dlpack__(max_version=(1, 1))
    holder = OnlyDLPack(view)
    holder.source = type("Once", (), {"__dlpack__": lambda self, given=[capsule], **options: given[0]})()
    taken = zc.View(holder)
    assert '"used_dltensor_versioned"' in repr(capsule)
    with pytest.raises(ValueError):  # a consumed capsule is no tensor any more
        zc.View(holder)
    del capsule, holder
    assert np.asarray(taken).sum() == 3.0 and zc.live_exports() == before + 1
    del taken
    assert zc.live_exports() == before
    assert view.__dlpack_device__() == (1, 0)


class Undecided:
    def __bool__(self):
        return 1 // 0


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda v: v.__dlpack__(stream=1), BufferError, "stream must be None"),
        (lambda v: v.__dlpack__(dl_device=(2, 0)), BufferError, "dl_device"),
        (lambda v: v.__dlpack__(max_version=3), TypeError, "indexing"),
        (lambda v: zc.View(OnlyDLPack(v, device=(2, 0))), ValueError, "CPU's memory"),
        (lambda v: zc.View(OnlyDLPack(v, device=None)), ValueError, "CPU's memory"),
        (lambda v: zc.View(OnlyDLPack(np.ones(3, np.int32))), TypeError, "float32 or float64"),
        (lambda v: v.__dlpack__(max_version="11"), TypeError, "integer"),
        (lambda v: v.__dlpack__(copy=Undecided()), ZeroDivisionError, "by zero"),
        (lambda v: zc.sum_nocopy(OnlyDLPack(np.ones(3, np.float32))), TypeError, "float64"),
        (lambda v: zc.process_slice_inplace(OnlyDLPack(v, new=False)), ValueError, "read-only"),
        (
            lambda v: zc.View(type("P", (), {"__dlpack__": 1, "__dlpack_device__": lambda s: (1, 0)})()),
            TypeError,
            "not callable",
        ),
        (
            lambda v: zc.View(type("P", (), {"__dlpack__": lambda s, **o: 3, "__dlpack_device__": lambda s: (1, 0)})()),
            ValueError,
            "PyCapsule",
        ),
    ],
)
def test_bad_dlpack(call, error, match):
    before = zc.live_exports()
    with pytest.raises(error, match=match):
        call(zc.View(np.ones(3)))
    assert zc.live_exports() == before


def test_read_only_unversioned_dlpack_is_refused():
    values = np.ones(3)
    values.flags.writeable = False
    with pytest.raises(BufferError, match="max_version"):
        zc.View(values).__dlpack__()
    assert zc.View(OnlyDLPack(type("C", (), {"__dlpack__": lambda s, **o: zc.View(values).__dlpack__(copy=True)})())).shape == (
        3,
    )


# ---- Arrow


def arrow():
    return pytest.importorskip("pyarrow", reason="pyarrow, the peer of these tests, is not installed")


class OnlyArrow:
    """Both capsules, kept: what a consumer does with them can be looked at."""

    def __init__(self, source):
        self.capsules = source.__arrow_c_array__()

    def __arrow_c_array__(self, requested_schema=None):
        return self.capsules


def test_arrow_round_trip_without_pyarrow():
    before = zc.live_exports()
    values = np.arange(5.0)
    holder = OnlyArrow(zc.View(values))
    assert zc.live_exports() == before + 2  # the schema and the array
    view = zc.View(holder)
    assert view.address == address(values) and view.readonly and np.array_equal(np.asarray(view), values)
    with pytest.raises(ValueError, match="consumed already"):
        zc.View(holder)
    del holder
    assert zc.live_exports() == before + 1
    del view
    assert zc.live_exports() == before
    zc.View(values).__arrow_c_array__()  # capsules that nobody consumes
    zc.View(values).__arrow_c_schema__()
    assert zc.live_exports() == before


@each_dtype
def test_arrow_from_pyarrow(dtype):
    pa = arrow()
    values = pa.array(np.arange(10, dtype=dtype))
    start = values.buffers()[1].address
    view = zc.View(values)
    assert view.address == start and view.readonly and view.dtype == dtype.__name__ and len(view) == 10
    cut = zc.View(values[3:7])
    assert cut.address == start + 3 * dtype().itemsize and np.asarray(cut).tolist() == [3.0, 4.0, 5.0, 6.0]
    del values
    assert np.asarray(view).sum() == 45.0
    if dtype is np.float64:
        assert zc.sum_nocopy(pa.array([1.0, 2.5])) == 3.5
        assert zc.parallel_reduce_nocopy(pa.array([], pa.float64())) == (0.0, math.inf, -math.inf, 0)
        assert zc.matvec_multiply(np.eye(2), pa.array([1.0, 2.0])).tolist() == [1.0, 2.0]
    assert zc.add(cut, 1.0).tolist() == [4.0, 5.0, 6.0, 7.0]


@each_dtype
def test_arrow_to_pyarrow(dtype):
    pa = arrow()
    before = zc.live_exports(), zc.live_owners()
    result = zc.add(np.arange(4, dtype=dtype), 1.0)
    there = pa.array(zc.View(result))
    assert there.buffers()[1].address == address(result) and there.to_pylist() == [1.0, 2.0, 3.0, 4.0]
    assert str(there.type) == ("double" if dtype is np.float64 else "float") and there.null_count == 0
    result = None
    cut = there.slice(1)
    del there
    assert zc.live_owners() == before[1] + 1 and cut.to_pylist() == [2.0, 3.0, 4.0]
    del cut
    assert (zc.live_exports(), zc.live_owners()) == before
    assert pa.array(zc.View(np.array([], dtype))).to_pylist() == []


def test_arrow_nulls_types_and_layouts():
    pa = arrow()
    with pytest.raises(ValueError, match="null"):
        zc.View(pa.array([1.0, None]))
    assert zc.sum_nocopy(pa.array([None, 1.0, 2.0])[1:]) == 3.0  # the null is cut off
    for bad in (pa.array([1, 2]), pa.array(["a"]), pa.array([1.0]).dictionary_encode(), pa.array([[1.0]])):
        with pytest.raises(TypeError, match="Arrow array of float32 or float64"):
            zc.View(bad)
    with pytest.raises(TypeError, match="Arrow array of float64"):
        zc.sum_nocopy(pa.array([1.0], pa.float32()))
    with pytest.raises(ValueError, match="1-D and contiguous"):
        pa.array(zc.View(np.arange(8.0)[::2]))
    with pytest.raises(ValueError, match="1-D and contiguous"):
        zc.View(np.ones((2, 2))).__arrow_c_array__()
    with pytest.raises(ValueError, match="read-only"):
        zc.process_slice_inplace(pa.array([1.0]))
    with pytest.raises(TypeError, match="stream of chunks"):
        zc.sum_nocopy(pa.chunked_array([[1.0]]))


def test_arrow_streams_from_pyarrow():
    pa = arrow()
    chunks = pa.chunked_array([np.arange(3.0), np.arange(4.0), np.array([])])
    views = list(zc.Stream(chunks))
    assert [view.address for view in views[:2]] == [chunk.buffers()[1].address for chunk in chunks.chunks[:2]]
    assert [zc.sum_nocopy(view) for view in views] == [3.0, 6.0, 0.0]
    assert list(zc.Stream(pa.chunked_array([], pa.float32()))) == []
    with pytest.raises(TypeError, match="float32 or float64"):
        zc.Stream(pa.chunked_array([[1, 2]]))
    with pytest.raises(ValueError, match="null"):
        list(zc.Stream(pa.chunked_array([[1.0, None]])))


@each_dtype
def test_arrow_streams_to_pyarrow(dtype):
    pa = arrow()
    before = zc.live_exports()
    parts = [np.arange(n, dtype=dtype) for n in (3, 0, 5)]
    there = pa.chunked_array(zc.Stream(parts))
    assert [len(chunk) for chunk in there.chunks if len(chunk)] == [3, 5]
    assert {chunk.buffers()[1].address for chunk in there.chunks if len(chunk)} == {address(parts[0]), address(parts[2])}
    assert there.to_pylist() == np.concatenate(parts).tolist()
    stream = zc.Stream(there)  # and back, the first chunk for us, the rest for whoever asks
    assert len(next(stream)) == 3
    assert sum(len(chunk) for chunk in pa.chunked_array(stream).chunks) == 5
    assert list(stream) == []
    del there, stream
    assert zc.live_exports() == before


def test_streams_without_pyarrow():
    before = zc.live_exports()
    parts = [array.array("d", [1.0, 2.0]), np.arange(3.0)]
    views = list(zc.Stream(zc.Stream(parts)))
    assert [view.address for view in views] == [parts[0].buffer_info()[0], address(parts[1])]
    assert list(zc.Stream([])) == []
    for bad, error in (
        ([np.ones(2), np.ones(2, np.float32)], TypeError),
        ([np.ones((2, 2))], ValueError),
        ([np.ones(4)[::2]], ValueError),
        (["a"], TypeError),
        (np.ones(3), TypeError),
        ("text", TypeError),
        (3, TypeError),
    ):
        with pytest.raises(error):
            zc.Stream(bad)
    del views
    assert zc.live_exports() == before


@pytest.mark.parametrize("threads", THREADS)
def test_threads_share_a_stream(threads):
    parts = [np.full(10, float(i)) for i in range(200)]
    stream = zc.Stream(zc.Stream(parts))
    found = run_threads(threads, lambda i: [np.asarray(view)[0] for view in stream])
    assert sorted(value for each in found for value in each) == [float(i) for i in range(200)]


def test_a_consumer_that_holds_the_gil_shares_a_stream():
    """The source is written in Python, so it wants the GIL; one thread waits for its next chunk, another asks from C with the GIL."""
    child = run_child("""
        import array, ctypes, threading, time
        import zero_copy as zc

        get, new = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_New
        get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        CALL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        FREE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


        class ArrowStream(ctypes.Structure):
            _fields_ = [("schema", CALL), ("next", CALL), ("error", CALL), ("release", FREE), ("data", ctypes.c_void_p)]


        def move(capsule, name, size, release, out):
            at = get(capsule, name)
            ctypes.memmove(out, at, size)
            ctypes.c_void_p.from_address(at + release).value = None


        left = list(range(200))


        def schema(stream, out):
            move(zc.View(array.array("d", [0.0])).__arrow_c_schema__(), b"arrow_schema", 72, 56, out)
            return 0


        def following(stream, out):
            time.sleep(0.0005)  # lets go of the GIL, and wants it back
            ctypes.memset(out, 0, 80)
            if left:
                move(zc.View(array.array("d", [left.pop()])).__arrow_c_array__()[1], b"arrow_array", 80, 64, out)
            return 0


        def release(stream):
            ctypes.c_void_p.from_address(stream + ArrowStream.release.offset).value = None


        written = ArrowStream(CALL(schema), CALL(following), CALL(lambda *_: 0), FREE(release), None)
        source = type("S", (), {"__arrow_c_stream__": lambda self: new(ctypes.addressof(written), b"arrow_array_stream", None)})()
        stream = zc.Stream(source)
        capsule = stream.__arrow_c_stream__()
        ours = get(capsule, b"arrow_array_stream")
        ask = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)  # keeps the GIL
        ask = ask(ctypes.c_void_p.from_address(ours + 8).value)
        found = []


        def iterate():
            found.extend(memoryview(view)[0] for view in stream)


        def consume():
            while True:
                chunk = (ctypes.c_byte * 80)()
                assert ask(ours, ctypes.addressof(chunk)) == 0
                at = ctypes.addressof(chunk)
                free = ctypes.c_void_p.from_address(at + 64).value
                if not free:
                    return
                buffers = ctypes.c_void_p.from_address(at + 40).value
                found.append(ctypes.c_double.from_address(ctypes.c_void_p.from_address(buffers + 8).value).value)
                FREE(free)(at)


        threads = [threading.Thread(target=each) for each in (iterate, consume, consume)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        print(sorted(found) == list(range(200)))
    """)
    assert (child.returncode, child.stdout) == (0, "True\n"), child.stderr


def test_a_release_on_a_thread_that_python_has_never_seen():
    """pyarrow's own threads let go of the exported memory: the keeper has to take the GIL there."""
    pa = arrow()
    import pyarrow.compute as compute

    before = zc.live_exports()
    for _ in range(20):
        there = pa.chunked_array(zc.Stream([np.arange(5000.0) for _ in range(8)]))
        table = pa.table({"x": there, "key": pa.array(np.arange(40_000) % 7)})
        del there
        assert table.group_by("key", use_threads=True).aggregate([("x", "sum")]).num_rows == 7
        assert compute.sum(table["x"]).as_py() == 8 * 4999 * 2500.0
        del table
    assert zc.live_exports() == before


def test_release_by_a_foreign_thread():
    """An exported DLPack tensor is let go by a C thread, without the GIL, through ctypes."""
    child = run_child("""
        import ctypes, threading, array, zero_copy as zc

        memory = array.array("d", [1.0, 2.0])
        capsule = zc.View(memory).__dlpack__(max_version=(1, 0))
        get, rename = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_SetName
        get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        rename.argtypes = [ctypes.py_object, ctypes.c_char_p]
        used = b"used_dltensor_versioned"
        managed = get(capsule, b"dltensor_versioned")
        rename(capsule, used)
        # struct DLManagedTensorVersioned { {u32, u32} version; void* ctx; void (*deleter)(self*); ... }
        deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(ctypes.c_void_p.from_address(managed + 16).value)
        assert zc.live_exports() == 1
        libc = ctypes.CDLL(None)
        thread = ctypes.c_ulong()
        libc.pthread_create.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        libc.pthread_join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
        entry = ctypes.c_void_p.from_address(managed + 16).value  # void f(void*): as good as a thread's start
        assert libc.pthread_create(ctypes.addressof(thread), None, entry, managed) == 0
        assert libc.pthread_join(thread, None) == 0  # ctypes gives the GIL up for it
        assert zc.live_exports() == 0
        memory.append(3.0)  # the buffer is no longer held
        print("released", len(memory))
    """)
    assert (child.returncode, child.stdout) == (0, "released 3\n"), child.stderr


def test_exports_that_outlive_the_interpreter():
    child = run_child("""
        import ctypes, numpy as np, zero_copy as zc
        capsule = zc.View(np.ones(3)).__dlpack__(max_version=(1, 0))
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(capsule))
        print("leaving")
    """)
    assert (child.returncode, child.stdout) == (0, "leaving\n"), child.stderr


# ---- bad input


F = [
    zc.process_slice_inplace,
    zc.sum_nocopy,
    zc.parallel_reduce_nocopy,
    lambda data, **more: zc.process_chunked_nocopy(data, 2, **more),
]


class Numbers:
    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@pytest.mark.parametrize("data", [(1, 2.5, True), Numbers(1, 2.5, True), [np.float64(1), np.float32(2.5), np.int8(1)]])
def test_any_sequence_of_numbers(data):
    assert zc.sum_nocopy(data) == 4.5 and zc.process_slice_inplace(data) == [1.0, 6.25, 1.0]
    assert zc.matvec_multiply([data, data], data) == [8.25, 8.25]


@pytest.mark.parametrize("call", F)
@pytest.mark.parametrize("bad", ["12", {1, 2}, {1: 2}, None, 3, iter([1.0]), (x for x in [1.0])])
def test_not_a_sequence(call, bad):
    with pytest.raises(TypeError, match="data"):
        call(bad)


@pytest.mark.parametrize("call", F)
def test_bad_items_are_named(call):
    with pytest.raises(TypeError, match=r"data\[2\]"):
        call([1.0, 2, "3", None])
    with pytest.raises(OverflowError, match=r"data\[1\]"):
        call([1.0, 10**400])


@pytest.mark.parametrize("call", F)
@pytest.mark.parametrize(
    ("make", "error", "cure"),
    [
        (lambda: np.arange(4), TypeError, "float64"),
        (lambda: np.arange(4, dtype=np.float32), TypeError, "float64"),
        (lambda: np.arange(4, dtype=">f8"), ValueError, "native byte order"),
        (lambda: np.ones((2, 2)), ValueError, r"must be 1-D, not 2-D; use data.reshape\(-1\)"),
        (lambda: np.array(1.0), ValueError, "must be 1-D"),
        (lambda: np.frombuffer(bytearray(17), np.uint8)[1:].view("f8"), ValueError, "aligned"),
        (lambda: np.zeros(3, [("a", "i4"), ("b", "f8")])["b"], ValueError, "aligned"),
        (lambda: np.array(["a"]), TypeError, "float64"),
        (lambda: np.array([object()]), TypeError, "float64"),
        (lambda: np.array(["2020"], "M8[Y]"), TypeError, "float64"),
        (lambda: np.ones(3, complex), TypeError, "float64"),
        (lambda: np.ones(3, np.float16), TypeError, "float64"),
        (lambda: np.ones(3, bool), TypeError, "float64"),
        (lambda: b"12345678", TypeError, "float64"),
        (lambda: np.ma.masked_array([1, 2]), TypeError, "float64"),
    ],
)
def test_bad_arrays_name_the_cure(call, make, error, cure):
    with pytest.raises(error, match=cure) as caught:
        call(make())
    assert str(caught.value).startswith("data ") and ";" in str(caught.value)


@pytest.mark.parametrize(
    "call", [zc.process_slice_inplace, lambda d: zc.process_chunked_nocopy(d, 2), lambda d: zc.scale_inplace(d, 2.0)]
)
def test_read_only_is_refused_before_anything_is_written(call):
    values = np.arange(5.0)
    locked = values.view()
    locked.flags.writeable = False
    for data in (locked, np.broadcast_to(values, (5,)), memoryview(values).toreadonly()):
        with pytest.raises(ValueError, match="data is read-only; pass a writable array"):
            call(data)
    assert np.array_equal(values, np.arange(5.0))
    assert zc.sum_nocopy(locked) == 10.0
    twice = np.lib.stride_tricks.as_strided(values, (5,), (0,))
    with pytest.raises(ValueError, match="several items in one place"):
        call(twice)
    assert np.array_equal(values, np.arange(5.0))
    assert zc.sum_nocopy(np.lib.stride_tricks.as_strided(np.ones(1), (5,), (0,))) == 5.0


A, M = np.ones(4), np.ones((4, 4))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: zc.sum_nocopy("no", num_threads=0), ValueError, "num_threads must be at least 1"),
        (lambda: zc.sum_nocopy(np.ones(2, int), num_threads=0), ValueError, "num_threads"),
        (lambda: zc.sum_nocopy(A, num_threads=10**6), ValueError, "at most 1024"),
        (lambda: zc.sum_nocopy(A, num_threads=2**70), OverflowError, "num_threads"),
        (lambda: zc.process_chunked_nocopy("no", 0), ValueError, "chunk_size must be at least 1"),
        (lambda: zc.process_chunked_nocopy(A, -1), ValueError, "chunk_size"),
        (lambda: zc.process_chunked_nocopy(A, 1.5), TypeError, "chunk_size"),
        (lambda: zc.matvec_multiply([[1.0, 2.0]], [1.0]), ValueError, "Invalid dimensions"),
        (lambda: zc.matvec_multiply([], []), ValueError, "Invalid dimensions"),
        (lambda: zc.matvec_multiply([[]], []), ValueError, "Invalid dimensions"),
        (lambda: zc.matvec_multiply([[1.0, 2.0], [3.0]], [1.0]), ValueError, r"matrix\[1\]"),
        (lambda: zc.matvec_multiply([[1.0, "x"]], [1.0, 2.0]), TypeError, r"matrix\[0\]\[1\]"),
        (lambda: zc.matvec_multiply(M, np.ones(3)), ValueError, "Invalid dimensions: matrix is 4 x 4, vector has 3"),
        (lambda: zc.matvec_multiply(np.ones((0, 3)), np.ones(3)), ValueError, "Invalid dimensions"),
        (lambda: zc.matvec_multiply(M, [1.0] * 4), TypeError, "two arrays or two lists"),
        (lambda: zc.matvec_multiply(M.tolist(), A), TypeError, "two lists or two arrays"),
        (lambda: zc.matvec_multiply(A, A), ValueError, "matrix must be 2-D"),
        (lambda: zc.matvec_multiply(M, M), ValueError, "vector must be 1-D"),
        (lambda: zc.matvec_multiply(M.astype(int), A), TypeError, "matrix"),
        (lambda: zc.matvec_multiply(M, A.astype(int)), TypeError, "vector"),
        (lambda: zc.matvec_multiply(M, A, out=A), ValueError, "out overlaps vector"),
        (lambda: zc.matvec_multiply(M, A, out=M[0]), ValueError, "out overlaps matrix"),
        (lambda: zc.matvec_multiply(M, A, out=np.ones(3)), ValueError, r"out has shape \(3,\), the result has shape \(4,\)"),
        (lambda: zc.matvec_multiply(M.tolist(), A.tolist(), out=A), TypeError, "out needs arrays"),
        (lambda: zc.add(A, np.ones(4, np.float32)), TypeError, "b is float32 but a is float64"),
        (lambda: zc.add([1.0], A), TypeError, "a must be an array of float32 or float64, not list"),
        (lambda: zc.add(1.0, 2.0), TypeError, "a or b must be an array"),
        (lambda: zc.add(A, "x"), TypeError, "b must be an array"),
        (lambda: zc.add(A, None), TypeError, "b must be an array"),
        (lambda: zc.add(A, 10**400), OverflowError, "b"),
        (lambda: zc.add(A, np.ones(3)), ValueError, r"b has shape \(3,\), which does not fit \(4,\)"),
        (lambda: zc.add(M, np.ones((4, 1))), ValueError, "does not fit"),
        (lambda: zc.add(A, A, out=np.ones(4, np.float32)), TypeError, "out is float32, the result is float64"),
        (lambda: zc.add(A, A, out=np.ones((2, 2))), ValueError, "out has shape"),
        (lambda: zc.add(A, A, out=[0.0] * 4), TypeError, "out must be an array"),
        (lambda: zc.add(A, A, out=np.broadcast_to(1.0, 4)), ValueError, "out is read-only"),
        (lambda: zc.add(A, A, num_threads=0), ValueError, "num_threads"),
        (lambda: zc.add(np.ones((2, 2, 4))[:, :, ::2], 1.0), ValueError, "ascontiguousarray"),
        (lambda: zc.scale_inplace([1.0], 2.0), TypeError, "data must be an array"),
        (lambda: zc.scale_inplace(A, "2"), TypeError, "factor must be a number"),
        (lambda: zc.normalize([1.0]), TypeError, "data must be an array"),
        (lambda: zc.matmul_naive(M, np.ones((3, 4))), ValueError, "Invalid matrix dimensions"),
        (lambda: zc.matmul_simd(np.ones((0, 4)), M), ValueError, "Invalid matrix dimensions"),
        (lambda: zc.matmul_blocked(M, M.astype(np.float32)), TypeError, "b is float32"),
        (lambda: zc.matmul_blocked(M, A), ValueError, "b must be 2-D"),
        (lambda: zc.matmul_threaded(M, M, out=M), ValueError, "out overlaps a"),
        (lambda: zc.matmul_threaded(M, M, out=np.ones((4, 8))[:, ::2]), ValueError, "rows contiguous"),
        (lambda: zc.transpose(M, out=M), ValueError, "out overlaps matrix"),
        (lambda: zc.transpose(A), ValueError, "matrix must be 2-D"),
        (lambda: zc.correlate2d(M, np.ones((5, 1))), ValueError, "kernel"),
        (lambda: zc.correlate2d(M, np.ones((0, 0))), ValueError, "kernel"),
        (lambda: zc.correlate2d(M, np.ones((2, 2), np.float32)), TypeError, "kernel is float32"),
        (lambda: zc.correlate2d(M[:, ::2], np.ones((1, 1))), ValueError, "ascontiguousarray"),
        (lambda: zc.correlate2d(M.astype(np.uint8), M), TypeError, "image must be an array of float32 or float64, not uint8"),
        (lambda: zc.correlate2d(M, np.ones((1, 1)), out=M), ValueError, "out overlaps image"),
        (lambda: zc.max_pool2d(M, 0), ValueError, "size must be at least 1"),
        (lambda: zc.max_pool2d("no", 2, 0), ValueError, "stride must be at least 1"),
        (lambda: zc.max_pool2d(M, 5), ValueError, "size"),
        (lambda: zc.max_pool2d(M, 2, 2**70), OverflowError, "stride"),
        (lambda: zc.force_simd("mmx"), ValueError, "'baseline', 'avx2'"),
        (lambda: zc.force_simd(3), TypeError, "level must be a str or None, not int"),
        (lambda: zc.force_simd("\ud800"), ValueError, "surrogates"),
    ],
)
def test_bad_arguments(call, error, match):
    made = zc.live_owners()
    with pytest.raises(error, match=match):
        call()
    assert np.all(A == 1.0) and np.all(M == 1.0)  # a failing call has changed nothing
    assert zc.live_owners() == made


def test_out_that_overlaps_in_part():
    memory = np.arange(20.0)
    before = memory.copy()
    for call in (zc.add, zc.divide):
        with pytest.raises(ValueError, match="out overlaps a in part"):
            call(memory[:10], 2.0, out=memory[5:15])
        with pytest.raises(ValueError, match="out overlaps a in part"):
            call(memory[:10], 2.0, out=memory[:10][::-1])
    with pytest.raises(ValueError, match="out overlaps data in part"):
        zc.normalize(memory[:10], out=memory[1:11])
    with pytest.raises(ValueError, match=r"out overlaps inputs\[1\] in part"):
        zc.Chain(np.ones(10)).add(memory[:10]).run(out=memory[1:11])
    assert np.array_equal(memory, before)
    zc.add(memory[::2], 1.0, out=memory[1::2])  # woven into each other, yet apart
    assert np.array_equal(memory[1::2], before[::2] + 1) and np.array_equal(memory[::2], before[::2])
    square = np.arange(16.0).reshape(4, 4)
    zc.multiply(square[:, :2], 2.0, out=square[:, 2:])
    assert np.array_equal(square[:, 2:], square[:, :2] * 2)


# ---- instruction sets


def test_simd_info():
    info, support = zc.simd_info(), zc.detect_simd_support()
    assert set(support) == {"baseline", "avx2", "avx512", "neon"} and support["baseline"] is True
    assert [name for name in support if support[name]] == sorted(info["detected"], key=list(support).index)
    assert set(info["usable"]) == set(info["detected"]) & set(info["compiled"]) and info["selected"] in info["usable"]
    assert isinstance(info["target"], str) and info["vector_bytes"] >= 16 and isinstance(info["forced"], bool)


def test_forcing_a_level():
    best = zc.simd_info()["usable"][-1]
    for level in LEVELS:
        zc.force_simd(level)
        assert zc.simd_info()["selected"] == level and zc.simd_info()["forced"]
    zc.force_simd(None)
    assert zc.simd_info()["selected"] == best and not zc.simd_info()["forced"]
    with zc.simd_level("baseline"):
        with zc.simd_level(best):
            assert zc.simd_info()["selected"] == best
        assert zc.simd_info()["selected"] == "baseline"
    assert not zc.simd_info()["forced"]
    for level in {"baseline", "avx2", "avx512", "neon"} - set(LEVELS):
        with pytest.raises(ValueError, match=level):
            zc.force_simd(level)


def test_forced_from_outside():
    child = run_child(
        """
        import os
        os.environ["TENFOLD_ZERO_COPY_SIMD"] = "baseline"
        import zero_copy as zc
        print(zc.simd_info()["selected"], zc.sum_nocopy([1.0, 2.0]))
        """
    )
    assert child.stdout == "baseline 3.0\n", child.stderr


# ---- threads, the GIL, Ctrl-C, fork, exit, sub-interpreters


@pytest.mark.parametrize("threads", THREADS)
def test_called_from_many_threads(threads):
    values, image, kernel = numbers_of(50_000), numbers_of(10_000).reshape(100, 100), numbers_of(9).reshape(3, 3)
    expected = zc.sum_nocopy(values), zc.fused(values, values, values), zc.correlate2d(image, kernel)

    def call(i):
        mine = values.copy()
        for _ in range(5):
            assert zc.sum_nocopy(values, num_threads=2) == expected[0]
            assert same(zc.fused(values, values, values, num_threads=2), expected[1])
            assert same(zc.correlate2d(image, kernel, num_threads=2), expected[2])
        assert same(zc.process_slice_inplace(mine, num_threads=2), values * values)

    before = zc.live_owners()
    run_threads(threads, call)
    assert zc.live_owners() == before


big = numbers_of(4_000_000)
table = big.reshape(2000, 2000)
scratch = big.copy()
GIL_FREE = {
    "square": lambda: zc.process_slice_inplace(scratch),
    "root": lambda: zc.process_chunked_nocopy(scratch, 1000),
    "sum": lambda: [zc.sum_nocopy(big) for _ in range(3)],
    "reduce": lambda: zc.parallel_reduce_nocopy(big),
    "matvec": lambda: zc.matvec_multiply(table, table[0]),
    "scale": lambda: zc.scale_inplace(scratch, 0.5),
    "add": lambda: zc.add(big, big),
    "fused": lambda: zc.fused(big, big, big),
    "chain": lambda: zc.Chain(big).multiply(big).sqrt().run(),
    "normalize": lambda: zc.normalize(big),
    "naive": lambda: zc.matmul_naive(table[:120], table[:, :120]),
    "blocked": lambda: zc.matmul_blocked(table[:120], table[:, :120]),
    "simd": lambda: zc.matmul_simd(table[:300], table[:, :300]),
    "threaded": lambda: zc.matmul_threaded(table[:300], table[:, :300]),
    "transpose": lambda: zc.transpose(table),
    "correlate": lambda: zc.correlate2d(table, table[:3, :3]),
    "convolve": lambda: zc.convolve2d(table, table[:3, :3]),
    "pool": lambda: zc.max_pool2d(table, 3),
}


@pytest.mark.parametrize("name", GIL_FREE)
def test_releases_the_gil(name):
    with np.errstate(all="ignore"):
        assert runs_without_gil(GIL_FREE[name])


@pytest.mark.parametrize(
    "call",
    [
        "zc.matmul_naive(np.ones((6000, 6000)), np.ones((6000, 6000)))",
        "zc.matmul_blocked(np.ones((9000, 9000)), np.ones((9000, 9000)))",
        "zc.matmul_threaded(np.ones((12000, 12000), 'f'), np.ones((12000, 12000), 'f'), num_threads=2)",
        "zc.correlate2d(np.ones((7000, 7000)), np.ones((201, 201)), num_threads=1)",
    ],
)
def test_ctrl_c(call):
    child = interrupt_child(f"""
        import numpy as np, zero_copy as zc
        print("ready")
        try:
            {call}
        except KeyboardInterrupt:
            print("interrupted", zc.live_owners())
    """)
    assert child.stdout == "interrupted 0\n", child.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_fork_after_a_parallel_call_gives_the_answer():
    child = run_child("""
        import os, signal, warnings, numpy as np, zero_copy as zc
        warnings.simplefilter("ignore")
        values = np.random.default_rng(1).normal(size=10**6)
        expected = zc.sum_nocopy(values, num_threads=2)
        zc.add(values, values, num_threads=2)
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            same = all(zc.sum_nocopy(values, num_threads=threads) == expected for threads in (1, 2, 4, 7) * 5)
            same = same and np.array_equal(zc.add(values, values, num_threads=2), 2 * values)
            os._exit(0 if same else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    assert (child.returncode, child.stdout) == (0, "0\n"), child.stderr


def test_exit_during_a_call_in_a_daemon_thread():
    child = run_child("""
        import threading, time, numpy as np, zero_copy as zc
        big = np.ones((6000, 6000))
        threading.Thread(target=lambda: zc.matmul_naive(big, big), daemon=True).start()
        time.sleep(0.3)
        print("leaving", flush=True)
    """)
    assert (child.returncode, child.stdout) == (0, "leaving\n"), child.stderr


@pytest.mark.skipif(sys.version_info < (3, 12), reason="own-GIL sub-interpreters came with CPython 3.12")
def test_in_a_sub_interpreter():
    """Lists, views and streams work there; NumPy, which does not load there, is not needed for them."""
    module = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    child = run_child(f"""
        import sys, {module} as interpreters, zero_copy
        for _ in range(2):
            name = interpreters.create()
            print(interpreters.run_string(name, '''if True:
                import sys; sys.path[:] = {[p for p in sys.path if p]!r}
                import array, zero_copy as zc
                assert zc.process_slice_inplace([1, 2, 3]) == [1.0, 4.0, 9.0]
                data, out = array.array("d", [0.5] * 100_000), array.array("d", bytes(800_000))
                assert zc.sum_nocopy(data, num_threads=2) == 50_000.0
                assert zc.add(data, data, out=out) is out and out[99_999] == 1.0
                class Taken:
                    def __init__(self, view): self.view = view
                    def __dlpack__(self, **options): return self.view.__dlpack__(**options)
                    def __dlpack_device__(self): return (1, 0)
                view = zc.View(Taken(zc.View(data)))
                assert zc.sum_nocopy(view) == 50_000.0
                views = list(zc.Stream(zc.Stream([data, out])))
                assert zc.sum_nocopy(views[1]) == 100_000.0
            '''))
            interpreters.destroy(name)
        assert zero_copy.live_exports() == 0
    """)
    assert (child.returncode, child.stdout) == (0, "None\nNone\n"), child.stdout + child.stderr


def test_importing_needs_no_numpy():
    child = run_child("""
        import sys, array, zero_copy as zc
        data = array.array("d", [3.0])
        zc.process_slice_inplace(data)
        print(zc.process_slice_inplace([2, 1]), data[0], zc.sum_nocopy(zc.View(data)), "numpy" in sys.modules)
    """)
    assert child.stdout == "[4.0, 1.0] 9.0 9.0 False\n", child.stderr


def test_errors_on_their_way_survive_a_destructor():
    class Fails:
        def __dlpack_device__(self):
            return (1, 0)

        def __dlpack__(self, **options):
            view = zc.View(np.ones(3))
            self.capsule = view.__dlpack__(max_version=(1, 0))
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        zc.View(Fails())


@pytest.mark.parametrize("what", ["a consumer of streams that holds the GIL", "a producer of the old DLPack"])
def test_exit_while_daemon_threads_are_inside(what):
    child = run_child(f"""
        import ctypes, sys, threading, time
        import numpy as np
        import zero_copy

        class Stream(ctypes.Structure):
            pass
        function = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)  # which keeps the GIL
        Stream._fields_ = [("schema", function), ("next", function), ("error", ctypes.c_void_p), ("release", ctypes.c_void_p)]
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        numbers = np.ones(3_000_000)

        class Old:
            def __dlpack_device__(self):
                return (1, 0)
            def __dlpack__(self):
                while True:
                    inside.set()
                    zero_copy.sum_nocopy(numbers)

        def read_streams():
            while True:
                capsule = zero_copy.Stream([np.ones(10)] * 3000).__arrow_c_stream__()
                at = pointer(capsule, b"arrow_array_stream")
                stream, into = Stream.from_address(at), ctypes.create_string_buffer(200)
                for _ in range(3000):
                    stream.next(at, ctypes.addressof(into))
                    inside.set()

        class Slow:
            def __del__(self, sleep=time.sleep, write=sys.stdout.write):
                sleep(0.3)  # finalization goes on, and the thread asks for the GIL meanwhile
                write("left")

        inside = threading.Event()
        run = read_streams if "streams" in {what!r} else lambda: zero_copy.sum_nocopy(Old())
        threading.Thread(target=run, daemon=True).start()
        inside.wait()
        time.sleep(0.1)
        sys.keep = Slow()
    """)
    assert (child.returncode, child.stdout) == (0, "left"), child.stderr
