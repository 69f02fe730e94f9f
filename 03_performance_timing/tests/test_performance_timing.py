"""performance_timing from Python: answers, formats, bad input, threads, Ctrl-C, and proof that the GIL is released."""

import itertools
import json
import math
import random
import statistics
import struct
import time

import numpy as np
import performance_timing as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from performance_timing import loops
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

PROPERTY = settings(max_examples=200, deadline=None)
FLOATS = st.lists(st.floats(width=64), max_size=70)
FINITE = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)
INT64 = st.integers(-(2**63), 2**63 - 1)
TOKENS = st.lists(st.integers(-2, 3) | INT64, max_size=60)
MAPS = ["normalize_pixels", "running_mean", "standard_scale", "min_max_scale", "l2_normalize", "cumsum"]


def bits(values):
    """Values as bits, all NaN being one: Python says nothing about the sign and payload of a NaN."""
    if isinstance(values, float):
        return "nan" if values != values else struct.pack("<d", values)
    return [bits(float(value)) for value in values]


def oracle(name, *args):
    return getattr(loops, name)(*args)


# ---- Timer, TimerResult, benchmarks


def test_timer():
    timer = pt.Timer("work")
    first = timer.elapsed()
    assert 0 <= first <= timer.elapsed()
    result = timer.stop(10)
    assert isinstance(result, pt.TimerResult)
    assert (result.name, result.iterations) == ("work", 10)
    assert result.duration_secs >= first
    assert result.per_iteration() == result.duration_secs / 10
    assert result.ops_per_second() == 10 / result.duration_secs
    assert repr(result) == (
        f"TimerResult(name='work', duration={result.duration_secs:.6f}s, iterations=10, "
        f"per_iter={result.per_iteration():.6f}s, ops/sec={result.ops_per_second():.2f})"
    )
    assert pt.Timer(name="x").stop(iterations=0).per_iteration() == math.inf
    for attribute in ("name", "duration_secs", "iterations"):
        with pytest.raises(AttributeError):
            setattr(result, attribute, 1)


def test_timer_is_a_context_manager():
    timer = pt.Timer("t")
    with timer as inside:
        assert inside is timer
    with pytest.raises(KeyError, match="mine"):
        with timer:
            raise KeyError("mine")


@pytest.mark.parametrize(
    "bad, error", [(-1, ValueError), (1.0, TypeError), (None, TypeError), ("1", TypeError), (2**63, OverflowError)]
)
def test_timer_stop_refuses(bad, error):
    with pytest.raises(error, match="iterations"):
        pt.Timer("t").stop(bad)


def test_benchmarks_call_as_often_as_they_say():
    calls = []
    assert pt.benchmark("b", lambda: calls.append(1), 7).iterations == 7
    assert len(calls) == 7
    result = pt.benchmark_with_warmup(name="w", func=lambda: calls.append(1), warmup=3, iterations=2)
    assert (len(calls), result.iterations, result.name) == (12, 2, "w")
    pt.benchmark_with_warmup("w", lambda: calls.append(1), 0, 1)
    assert len(calls) == 13
    mean, median, least, most = pt.benchmark_statistical("s", lambda: calls.append(1), 4, 5)
    assert len(calls) == 33
    assert 0 <= least <= median <= most and least <= mean <= most
    one = pt.benchmark_statistical("s", lambda: None, runs=1, iterations_per_run=1)
    assert len(set(one)) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda f: pt.benchmark("b", f, 3),
        lambda f: pt.benchmark_with_warmup("b", f, 3, 3),
        lambda f: pt.benchmark_statistical("b", f, 3, 3),
        lambda f: pt.measure(f, rounds=2, min_time=0),
        lambda f: pt.compare({"a": lambda: 1, "b": f}, rounds=2, min_time=0),
    ],
)
def test_exceptions_propagate_from_the_first_call_that_fails(call):
    calls = []

    def fails():
        calls.append(1)
        raise LookupError("from the function")

    with pytest.raises(LookupError, match="from the function"):
        call(fails)
    assert len(calls) == 1
    with pytest.raises(TypeError):
        call("not callable")


@pytest.mark.parametrize(
    "bad, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError), (None, TypeError), (2**70, OverflowError)]
)
def test_counts_are_refused_before_anything_is_called(bad, error):
    def never():
        raise AssertionError("called")

    calls = [
        lambda: pt.benchmark("b", never, bad),
        lambda: pt.benchmark_with_warmup("b", never, 1, bad),
        lambda: pt.benchmark_statistical("b", never, bad, 1),
        lambda: pt.benchmark_statistical("b", never, 1, bad),
        lambda: pt.measure(never, rounds=bad),
        lambda: pt.compare_seq_vs_parallel([object()], bad),
        lambda: pt.measure_memory_throughput(bad, 1),
        lambda: pt.measure_memory_throughput(1, bad),
    ]
    for call in calls:
        with pytest.raises(error):
            call()
    with pytest.raises(ValueError, match="warmup"):
        pt.benchmark_with_warmup("b", never, -1, 1)


# ---- the two measurements of the contract


@pytest.mark.parametrize("threads", [None, *THREADS])
@pytest.mark.parametrize("data", [[], [1, 2.5, True], (3.0,), np.arange(50_000.0)], ids=["empty", "mixed", "tuple", "array"])
def test_compare_seq_vs_parallel(data, threads):
    results = pt.compare_seq_vs_parallel(data, iterations=3, num_threads=threads)
    assert isinstance(results, tuple)
    assert [r.name for r in results] == ["Sequential", "Parallel"]
    assert all(r.iterations == 3 and r.duration_secs >= 0 for r in results)


@pytest.mark.parametrize(
    "data, error, says",
    [
        (None, TypeError, "data"),
        ("123", TypeError, "data"),
        ({1.0}, TypeError, "data"),
        ((x for x in [1.0]), TypeError, "data"),
        ([1.0, "x"], TypeError, r"data\[1\]"),
        ([1.0, None], TypeError, r"data\[1\]"),
        ([1, 10**400], OverflowError, r"data\[1\]"),
        (np.arange(3), TypeError, "float64"),
        (np.ones(4)[::2], ValueError, "ascontiguousarray"),
        (np.ones(3, ">f8"), ValueError, "astype"),
        (np.ones((2, 2)), ValueError, "1-D"),
    ],
)
def test_bad_data(data, error, says):
    with pytest.raises(error, match=says):
        pt.compare_seq_vs_parallel(data, 1)
    for name in (*MAPS, "diff"):
        with pytest.raises(error):
            getattr(pt, name)(data)


def test_num_threads_is_checked():
    for bad, error in ((0, ValueError), (1025, ValueError), (1.0, TypeError), ("1", TypeError)):
        with pytest.raises(error, match="num_threads"):
            pt.compare_seq_vs_parallel([1.0], 1, num_threads=bad)


def test_memory_throughput():
    assert pt.measure_memory_throughput(size=1000, iterations=5) > 0
    assert pt.measure_memory_throughput(1, 1) > 0
    for huge in (2**40, 2**62):
        with pytest.raises(MemoryError, match="size.*limit"):
            pt.measure_memory_throughput(huge, 1)
        with pytest.raises(MemoryError, match="sizes.*limit"):
            pt.stream([huge], [1])


# ---- Profiler


def test_a_span_is_entered_once_at_a_time():
    profiler = pt.Profiler()
    span = profiler.span("outer")
    with span:
        with pytest.raises(RuntimeError, match="already entered"):
            span.__enter__()
        with profiler.span("inner"):
            pass
    with span:  # again, after it ended
        pass
    assert [name for name, _ in profiler.results()] == ["inner", "outer", "outer"]


def test_profiler():
    profiler = pt.Profiler()
    assert profiler.results() == []
    assert profiler.summary() == "Profiler Summary (Total: 0.000000s)\n"
    assert profiler.measure("load", 1) is None
    profiler.measure(name='a "quoted" \\ ü\n', duration_secs=0.5)
    profiler.measure("load", 0.5)
    assert profiler.results() == [("load", 1.0), ('a "quoted" \\ ü\n', 0.5), ("load", 0.5)]
    assert profiler.summary() == (
        "Profiler Summary (Total: 2.000000s)\n  load: 1.000000s (50.0%)\n"
        '  a "quoted" \\ ü\n: 0.500000s (25.0%)\n  load: 0.500000s (25.0%)\n'
    )
    told = json.loads(profiler.to_json())
    assert told["total_secs"] == 2.0
    assert [(s["name"], s["duration_secs"]) for s in told["spans"]] == profiler.results()
    assert [s["share"] for s in told["spans"]] == [0.5, 0.25, 0.25]
    for bad in (-1e-300, math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="duration_secs"):
            profiler.measure("x", bad)
    with pytest.raises(TypeError):
        profiler.measure("x", "1")
    assert len(profiler.results()) == 3
    zero = pt.Profiler()
    zero.measure("z", 0.0)
    assert zero.summary() == "Profiler Summary (Total: 0.000000s)\n  z: 0.000000s (0.0%)\n"


def test_spans():
    profiler = pt.Profiler()
    with profiler.span("outer"):
        with profiler.span("inner"):
            pass
    with pytest.raises(KeyError):
        with profiler.span("failed"):
            raise KeyError
    names = [name for name, seconds in profiler.results() if seconds >= 0]
    assert names == ["inner", "outer", "failed"]
    with pytest.raises(RuntimeError, match="entered"):
        profiler.span("x").__exit__(None, None, None)


@pytest.mark.parametrize("threads", THREADS)
def test_profiler_is_shared_by_threads(threads):
    profiler = pt.Profiler()

    def work(i):
        for _ in range(200):
            with profiler.span(str(i)):
                pass

    run_threads(threads, work)
    counts = [name for name, _ in profiler.results()]
    assert sorted(counts) == sorted(str(i) for i in range(threads) for _ in range(200))


@pytest.mark.parametrize("kind", bound_classes(pt._core), ids=lambda kind: kind.__name__)
def test_objects_that_were_never_made(kind):
    refuses_what_was_never_made(kind)


def test_subclasses_with_several_bases():
    child = run_child("""
        import gc, weakref, performance_timing as pt

        def refused(call, *args):
            try:
                call(*args)
            except TypeError as error:
                assert type(call.__self__).__name__ + ".__init__() has not been called" in str(error), error
            else:
                raise AssertionError("not refused")

        class Late(pt.Profiler):
            def __init__(self):
                refused(self.summary)
                super().__init__()

        class Both(Late, pt.Timer):
            def __init__(self):
                Late.__init__(self)
                refused(self.stop, 1)
                pt.Timer.__init__(self, "both")

        both = Both()
        with both as entered, both.span("inside") as span:
            assert entered is both and both.stop(1).name == "both" and type(span).__name__ == "_Span"
        assert [name for name, _ in both.results()] == ["inside"]
        left, later = weakref.ref(both), both.span("later")
        del both, entered, span
        with later:  # keeps its profiler alive
            assert left() is not None
        del later
        gc.collect()
        assert left() is None
        print("done")
    """)
    assert child.stdout == "done\n", child.stderr


# ---- statistics


@PROPERTY
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=50))
def test_median_and_mad(values):
    ordered, n = sorted(values), len(values)
    assert pt.median(values) == (
        ordered[n // 2]
        if n % 2 or ordered[n // 2 - 1] == ordered[n // 2]
        else ordered[n // 2 - 1] * 0.5 + ordered[n // 2] * 0.5
    )
    assert math.isclose(pt.mad(values), statistics.median([abs(x - pt.median(values)) for x in values]), rel_tol=1e-12)
    limit = 3 * 1.4826 * pt.mad(values)
    assert pt.outliers(values) == [i for i, x in enumerate(values) if abs(x - pt.median(values)) > limit]


def splitmix(seed):
    mask = 2**64 - 1
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        yield z ^ (z >> 31)


@settings(max_examples=200, deadline=None)
@given(FINITE, st.sampled_from([0.5, 0.9, 0.95]), st.integers(1, 40), st.integers(0, 2**64 - 1))
def test_bootstrap(values, confidence, resamples, seed):
    draws, n, medians = splitmix(seed), len(values), []
    for _ in range(resamples):
        draw = sorted(values[(next(draws) >> 32) * n >> 32] for _ in range(n))
        middle = draw[n // 2] if n % 2 or draw[n // 2 - 1] == draw[n // 2] else draw[n // 2 - 1] * 0.5 + draw[n // 2] * 0.5
        medians.append(middle)
    medians.sort()
    skip = min(int((1 - confidence) / 2 * resamples), (resamples - 1) // 2)
    assert pt.bootstrap_median(values, confidence=confidence, resamples=resamples, seed=seed) == (
        medians[skip],
        medians[-1 - skip],
    )


@PROPERTY
@given(FINITE, FINITE)
def test_cliffs_delta(a, b):
    signs = [(x > y) - (x < y) for x in a for y in b]
    assert math.isclose(pt.cliffs_delta(a, b), sum(signs) / len(signs), abs_tol=1e-15)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.randoms(use_true_random=False))
def test_mann_whitney_exact(m, n, rng):
    """All ways to choose which ranks belong to a."""
    ranks = list(range(m + n))
    rng.shuffle(ranks)
    a, b = ranks[:m], ranks[m:]

    def u_of(chosen):
        others = set(range(m + n)) - set(chosen)
        return sum(x > y for x in chosen for y in others)

    all_u = [u_of(chosen) for chosen in itertools.combinations(range(m + n), m)]
    u, p = pt.mann_whitney(a, b)
    assert u == u_of(a)
    extreme = min(u, m * n - u)
    assert math.isclose(p, min(1.0, 2 * sum(x <= extreme for x in all_u) / len(all_u)), rel_tol=1e-12)


def test_mann_whitney_with_ties_and_bad_samples():
    # ranks 1, 2.5, 4 | 2.5, 5, 6; one group of two ties
    u, p = pt.mann_whitney([1, 2, 3], [2, 4, 5])
    z = (4.5 - 1.5 - 0.5) / math.sqrt(9 / 12 * (7 - (2**3 - 2) / (6 * 5)))
    assert (u, p) == (1.5, pytest.approx(math.erfc(z / math.sqrt(2))))
    assert pt.mann_whitney([1, 1], [1])[1] == 1.0
    for function in (pt.median, pt.mad, pt.outliers, pt.bootstrap_median):
        for bad in ([], [1.0, math.nan]):
            with pytest.raises(ValueError):
                function(bad)
    for function in (pt.cliffs_delta, pt.mann_whitney):
        with pytest.raises(ValueError):
            function([1.0], [])
    for confidence in (0, 1, -1, math.nan):
        with pytest.raises(ValueError, match="confidence"):
            pt.bootstrap_median([1.0], confidence=confidence)


def test_samples_may_be_arrays():
    np = pytest.importorskip("numpy")
    values = [3.0, 1.0, 2.5, 40.0, 2.0, 1.5, 2.25, 3.5]
    for function in (pt.median, pt.mad, pt.outliers, pt.bootstrap_median):
        assert function(np.array(values)) == function(values)
        with pytest.raises(ValueError, match="^values must not be empty"):
            function(np.array([]))
        with pytest.raises(ValueError, match="^values must not be empty"):
            function([])
        with pytest.raises(TypeError, match="^values must be an array of float64, not int64"):
            function(np.arange(3))
    for function in (pt.cliffs_delta, pt.mann_whitney):
        assert function(np.array(values), [1.0, 2.0]) == function(values, np.array([1.0, 2.0]))
        with pytest.raises(ValueError, match="^b must not be empty"):
            function(values, [])
    for seed in (-1, 2**64):
        with pytest.raises(OverflowError, match="^seed must be from 0"):
            pt.bootstrap_median(values, seed=seed)
    with pytest.raises(TypeError, match="^seed must be an int, not float"):
        pt.bootstrap_median(values, seed=1.5)
    with pytest.raises(TypeError, match="^limit must be a number, not str"):
        pt.outliers(values, limit="3")
    for bad in (-1.0, math.nan):
        with pytest.raises(ValueError, match="^limit must be 0 or more, not (-1|nan)"):
            pt.outliers(values, limit=bad)
    with pytest.raises(ValueError, match="^confidence must be between 0 and 1, not 95"):
        pt.bootstrap_median(values, confidence=95)
    with pytest.raises(ValueError, match="^sizes must be at least 1, not 0"):
        pt.stream([0])


# ---- measure, compare, stream, the machine


def test_measure():
    result = pt.measure(lambda: None, rounds=5, min_time=0.0001, name="nothing")
    assert len(result.seconds) == 5 and result.iterations > 1
    assert result.low <= result.median <= result.high
    assert result.median == statistics.median(result.seconds)
    assert json.loads(json.dumps(result.to_dict()))["name"] == "nothing"
    assert "nothing" in str(result)


def test_three_rounds_miss_the_truth_once_in_four():  # as the page says: all three above it, or all three below
    assert pt.bootstrap_median([2.0, 1.0, 3.0]) == (1.0, 3.0)


def test_a_slow_first_call_is_no_measure():
    calls = []

    def lazy():  # as one that imports or compiles
        calls.append(time.sleep(0.3)) if not calls else None

    result = pt.compare({"lazy": lazy, "plain": lambda: None}, rounds=3, min_time=0.002)
    assert result.measurements["lazy"].iterations > 10


def test_compare_interleaves():
    order = []
    result = pt.compare({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, min_time=0)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert list(result.measurements) == ["a", "b"] and list(result.ratios) == ["b"]
    ratio = result.ratios["b"]
    pairs = zip(result.measurements["a"].seconds, result.measurements["b"].seconds)
    assert ratio.per_round == [b / a for a, b in pairs]
    assert ratio.low <= ratio.median <= ratio.high
    assert -1 <= ratio.cliffs_delta <= 1 and 0 <= ratio.p_value <= 1
    assert "b" in str(result) and json.dumps(result.to_dict())
    with pytest.raises(ValueError, match="functions"):
        pt.compare({})
    for name in ("min_time", "pause"):
        for bad in (-1, math.nan, math.inf):
            with pytest.raises(ValueError, match=name):
                pt.measure(lambda: None, **{name: bad})


@pytest.mark.parametrize("threads", THREADS)
def test_stream(threads):
    rows = pt.stream([1, 100, 5000], [threads], repetitions=2, min_time=0)
    assert {row.kernel for row in rows} == {"copy", "scale", "add", "triad"}
    assert {row.elements for row in rows} == {1, 100, 5000}
    assert all(row.threads == threads and 0 < row.median_gb_per_s <= row.gb_per_s for row in rows)
    with pytest.raises(ValueError):
        pt.stream([0], [1])
    with pytest.raises(ValueError):
        pt.stream([1], [0])


def test_describe_machine():
    machine = pt.describe_machine()
    assert json.loads(json.dumps(machine)) == machine
    assert machine["usable_cores"] >= 1 and machine["compiler"] and machine["gil_enabled"] is HAS_GIL


# ---- the loops: the same bits as plain Python, on lists and on arrays


@pytest.mark.parametrize("name", [*MAPS, "diff"])
def test_maps(name):
    function = getattr(pt, name)

    @PROPERTY
    @given(FLOATS)
    def check(numbers):
        expected = bits(oracle(name, numbers))
        result = function(numbers)
        assert type(result) is list and all(type(x) is float for x in result)
        assert bits(result) == expected
        array = np.array(numbers, dtype=np.float64)
        before = array.tobytes()
        result = function(array)
        assert isinstance(result, np.ndarray) and result.dtype == np.float64
        assert bits(result) == expected and array.tobytes() == before
        if name in MAPS:
            out = np.empty(len(numbers))
            assert function(array, out=out) is out and bits(out) == expected
            assert function(array, out=array) is array and bits(array) == expected

    check()


@pytest.mark.parametrize("name", MAPS)
def test_out_is_checked(name):
    function, array = getattr(pt, name), np.arange(6.0)
    read_only = np.empty(6)
    read_only.flags.writeable = False
    for out, error in (
        (np.empty(5), ValueError),
        (np.empty(6, np.float32), TypeError),
        (read_only, ValueError),
        ([0.0] * 6, TypeError),
        (np.empty(12)[::2], ValueError),
    ):
        with pytest.raises(error, match="out"):
            function(array, out=out)
    whole = np.arange(7.0)
    with pytest.raises(ValueError, match="overlap"):
        function(whole[:6], out=whole[1:])
    assert whole.tolist() == list(range(7))


@pytest.mark.parametrize("name", ["euclidean", "dot_product"])
def test_pairs_of_vectors(name):
    function = getattr(pt, name)

    @PROPERTY
    @given(st.lists(st.tuples(st.floats(width=64), st.floats(width=64)), max_size=50))
    def check(pairs):
        a, b = [x for x, _ in pairs], [y for _, y in pairs]
        expected = bits(oracle(name, a, b))
        assert bits(function(a, b)) == expected
        result = function(np.array(a, np.float64), np.array(b, np.float64))
        assert type(result) is float and bits(result) == expected

    check()
    with pytest.raises(ValueError, match="same length"):
        function([1.0], [])
    with pytest.raises(TypeError, match="two"):
        function([1.0], np.ones(1))
    with pytest.raises(TypeError, match="two"):
        function(np.ones(1), [1.0])


@PROPERTY
@given(st.lists(st.floats(width=64), min_size=1, max_size=60), st.data())
def test_windows(numbers, data):
    width = data.draw(st.integers(1, len(numbers)))
    kernel = data.draw(st.lists(st.floats(width=64), min_size=width, max_size=width))
    array, weights = np.array(numbers), np.array(kernel)
    expected = bits(oracle("moving_average", numbers, width))
    assert bits(pt.moving_average(numbers, width)) == expected == bits(pt.moving_average(array, width))
    expected = bits(oracle("convolve1d", numbers, kernel))
    assert bits(pt.convolve1d(numbers, kernel)) == expected == bits(pt.convolve1d(array, weights))


def test_long_windows_and_block_borders():
    rng = random.Random(1)
    numbers = [rng.uniform(-1, 1) for _ in range(1600)]
    for width in (1, 2, 511, 512, 513, 1088, 1089, 1599, 1600):
        assert bits(pt.moving_average(numbers, width)) == bits(oracle("moving_average", numbers, width))
    many = np.ones(1_100_000)
    assert pt.cumsum(many)[-1] == len(many)
    assert np.allclose(pt.convolve1d(many[:9000], np.ones(5000)), 5000.0)


def test_numpy_agrees():
    array, kernel = np.random.default_rng(2).uniform(-5, 5, 3000), np.random.default_rng(3).uniform(-1, 1, 9)
    for ours, theirs in (
        (pt.euclidean(array, -array), np.linalg.norm(2 * array)),
        (pt.dot_product(array, array), array @ array),
        (pt.running_mean(array), np.cumsum(array) / np.arange(1, 3001)),
        (pt.standard_scale(array), (array - array.mean()) / array.std()),
        (pt.min_max_scale(array), (array - array.min()) / np.ptp(array)),
        (pt.l2_normalize(array), array / np.linalg.norm(array)),
        (pt.convolve1d(array, kernel), np.convolve(array, kernel, "valid")),
        (pt.moving_average(array, 9), np.convolve(array, np.full(9, 1 / 9), "valid")),
        (pt.diff(array), np.diff(array)),
        (pt.cumsum(array), np.cumsum(array)),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_window_errors():
    for numbers in ([1.0, 2.0], np.ones(2)):
        for window, error in ((0, ValueError), (-1, ValueError), (3, ValueError), (1.0, TypeError), (2**64, OverflowError)):
            with pytest.raises(error, match="window"):
                pt.moving_average(numbers, window)
    for signal, kernel in (([1.0], []), ([1.0], [1.0, 2.0]), (np.ones(1), np.ones(2)), ([], [])):
        with pytest.raises(ValueError, match="kernel"):
            pt.convolve1d(signal, kernel)
    with pytest.raises(TypeError, match="kernel"):
        pt.convolve1d(np.ones(3), [1.0])


@PROPERTY
@given(TOKENS)
def test_count_pairs(tokens):
    expected = oracle("count_pairs", tokens)
    for given_tokens in (tokens, np.array(tokens, np.int64)):
        result = pt.count_pairs(given_tokens)
        assert list(result.items()) == list(expected.items())
        assert all(type(n) is int for pair, n in result.items() for n in (*pair, n))


@PROPERTY
@given(
    TOKENS,
    st.lists(st.tuples(st.integers(-2, 3) | st.integers(100, 104), st.integers(-2, 3) | st.integers(100, 104)), max_size=6),
)
def test_bpe_encode(tokens, merges):
    expected = oracle("bpe_encode", tokens, merges, 100)
    result = pt.bpe_encode(tokens, merges, first_new=100)
    assert type(result) is list and result == expected
    array = np.array(tokens, np.int64)
    before = array.tolist()
    result = pt.bpe_encode(array, np.array(merges, np.int64).reshape(-1, 2), first_new=100)
    assert result.dtype == np.int64 and result.tolist() == expected
    assert array.tolist() == before == tokens


def test_token_errors():
    for bad, error in (
        ([1.0], TypeError),
        (["a"], TypeError),
        ([2**63], OverflowError),
        (np.ones(2), TypeError),
        ("ab", TypeError),
    ):
        with pytest.raises(error, match="tokens"):
            pt.count_pairs(bad)
        with pytest.raises(error, match="tokens"):
            pt.bpe_encode(bad, [(1, 2)] if not isinstance(bad, np.ndarray) else np.ones((1, 2), np.int64))
    with pytest.raises(ValueError, match="pairs"):
        pt.bpe_encode([1], [(1, 2, 3)])
    with pytest.raises(ValueError, match=r"merges\[1\]"):
        pt.bpe_encode([1], [(1, 2), (1,)])
    with pytest.raises(OverflowError, match="first_new"):
        pt.bpe_encode([1], [(1, 2), (3, 4)], first_new=2**63 - 1)
    assert pt.bpe_encode([1, 2], [(1, 2)], first_new=2**63 - 1) == [2**63 - 1]


# ---- hostile sequences, threads, the GIL, Ctrl-C, fork


def test_hostile_sequences():
    class Raises:
        def __float__(self):
            raise ZeroDivisionError("mine")

    class Lies:
        def __len__(self):
            return 10**12

        def __getitem__(self, i):
            if i < 3:
                return 1.0
            raise IndexError

    shrinking = [1.0, 2.0, 3.0]

    class Shrinks:
        def __float__(self):
            shrinking.clear()
            return 1.0

    shrinking[1] = Shrinks()
    with pytest.raises(ZeroDivisionError, match="mine"):
        pt.cumsum([1.0, Raises()])
    with pytest.raises(RuntimeError):
        pt.cumsum(Lies())
    with pytest.raises(RuntimeError, match="length"):
        pt.cumsum(shrinking)


@pytest.mark.parametrize("threads", THREADS)
def test_threads_get_the_same_bits(threads):
    data = np.random.default_rng(1).normal(size=20_000)
    expected = bits(pt.standard_scale(data))
    assert all(result == expected for result in run_threads(threads, lambda i: bits(pt.standard_scale(data))))


@pytest.mark.skipif(not HAS_GIL, reason="no GIL to release")
def test_gil_is_released():
    data = np.ones(3_000_000)
    assert runs_without_gil(lambda: pt.cumsum(data))
    assert runs_without_gil(lambda: pt.compare_seq_vs_parallel(data, 3))
    assert runs_without_gil(lambda: pt.measure_memory_throughput(500_000, 20))
    assert runs_without_gil(lambda: pt.stream([100_000], [1], repetitions=2))
    assert not runs_without_gil(lambda: pt.benchmark("held", dict, 20_000), attempts=3)


@pytest.mark.parametrize(
    "call",
    [
        "pt.benchmark('b', dict, 10**15)",
        "pt.benchmark('b', functools.partial(time.sleep, 0.02), 10**9)",
        "pt.benchmark_statistical('b', dict, 10**8, 10**9)",
        "pt.measure(dict, min_time=3600)",
        "pt.measure(dict, min_time=0, pause=3600)",
        "pt.compare_seq_vs_parallel([1.0] * 1000, 10**15)",
        "pt.compare_seq_vs_parallel([], 10**15)",
        "pt.compare_seq_vs_parallel([1.0] * 10**6, 10**12, num_threads=2)",
        "pt.measure_memory_throughput(1, 10**15)",
        "pt.measure_memory_throughput(10**6, 10**12)",
        "pt.stream([10**6], [2], repetitions=10**6, min_time=10)",
        "pt.moving_average([1.0] * 2 * 10**6, 10**6)",
        "pt.bootstrap_median([1.0, 2.0] * 5000, resamples=10**7)",
    ],
)
def test_ctrl_c(call):
    child = interrupt_child(f"""
        import functools, time, performance_timing as pt
        print("ready")
        try:
            {call}
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert child.stdout.strip() == "interrupted", child.stderr


def test_fork_after_parallel_work_gives_the_answer():
    child = run_child("""
        import os, signal, performance_timing as pt
        data = [1.0] * 200_000
        pt.compare_seq_vs_parallel(data, 2, num_threads=2)
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            results = pt.compare_seq_vs_parallel(data, 2, num_threads=2)
            rows = pt.stream([20_000], threads=[2], repetitions=2)
            os._exit(0 if [r.name for r in results] == ["Sequential", "Parallel"] and {r.threads for r in rows} == {2} else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    assert child.stdout.strip() == "0", child.stderr


def test_import_brings_no_numpy():
    child = run_child("import sys, performance_timing as pt; pt.cumsum([1.0]); print('numpy' in sys.modules)")
    assert child.stdout.strip() == "False", child.stderr


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: pt.benchmark("n", None, 3), "func must be callable, not NoneType"),
        (lambda: pt.benchmark(3, print, 3), "name must be a str, not int"),
        (lambda: pt.Timer(b"x"), "name must be a str, not bytes"),
        (lambda: pt.Profiler().measure(b"x", 1.0), "name must be a str, not bytes"),
        (lambda: pt.Profiler().span(3), "name must be a str, not int"),
        (lambda: pt.measure(3), "func must be callable, not int"),
        (lambda: pt.measure(print, min_time=None), "min_time must be a number of seconds"),
        (lambda: pt.compare([print]), "functions must be a dict"),
        (lambda: pt.compare({"a": 3}), r"functions\['a'\] must be callable"),
        (lambda: pt.stream(5), "sizes must be an iterable"),
        (lambda: pt.stream([1000], 3), "threads must be an iterable"),
    ],
)
def test_wrong_types_name_the_argument(call, match):
    with pytest.raises(TypeError, match=match):
        call()
