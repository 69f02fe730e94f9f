"""The contract's functions: DataPipeline, PipelineStats, aggregate_pipeline; answers against Python and NumPy, bad input,
threads, fork, Ctrl-C, the GIL. Pipeline is in test_production_pipeline_stages.py."""

import array
import gc
import math
import sys
import threading

import numpy as np
import production_pipeline as pp
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tenfold_testing import THREADS, interrupt_child, run_child, run_threads, runs_without_gil

CASES = settings(max_examples=200, deadline=None)
floats = st.floats(width=64) | st.sampled_from(
    [0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, -5e-324, 1.7976931348623157e308]
)
float_lists = st.lists(floats, max_size=300)
SIZES = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 129, 1023, 1024, 1025, 8191, 8192, 8193, 16385, 65537, 200_001]
PIPELINES = {(threads, batch): pp.DataPipeline(threads, batch) for threads in THREADS for batch in (1, 7, 1000, 10**6)}
METHODS = ("process", "process_batched")


def oracle(numbers):
    """(values, processed, filtered, failed) by the words of the contract."""
    good = [float(x) for x in numbers if math.isfinite(x)]
    values = [2.0 * math.sqrt(x) for x in good if not x < 0]
    return values, len(values), len(good) - len(values), len(numbers) - len(good)


def same_bits(a, b) -> bool:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a.shape == b.shape and bool(np.all(a.view(np.int64) == b.view(np.int64)))


def counts(stats):
    return stats.items_processed, stats.items_filtered, stats.items_failed


def mixed(size: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=size) * 10.0 ** rng.integers(-300, 300, size)
    values[rng.random(size) < 0.1] = math.nan
    values[rng.random(size) < 0.05] = math.inf
    values[rng.random(size) < 0.05] = -math.inf
    values[rng.random(size) < 0.05] = -0.0
    return values


# ---- DataPipeline


@CASES
@given(float_lists)
@example([-0.0])
@example([math.nan, -math.inf, math.inf])
def test_process(numbers):
    values, *expected = oracle(numbers)
    for (threads, batch), pipeline in PIPELINES.items():
        if batch == 10**6 and threads != 2:
            continue
        for method in METHODS:
            result, stats = getattr(pipeline, method)(numbers)
            assert type(result) is list and all(type(x) is float for x in result) and same_bits(result, values)
            assert counts(stats) == tuple(expected) and stats.duration_secs > 0
            result, stats = getattr(pipeline, method)(np.array(numbers, float))
            assert isinstance(result, np.ndarray) and result.dtype == np.float64 and same_bits(result, values)
            assert counts(stats) == tuple(expected)


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size):
    for numbers in (mixed(size), np.abs(np.nan_to_num(mixed(size))), -np.ones(size), np.full(size, math.nan)):
        values, *expected = oracle(numbers.tolist())
        for pipeline in PIPELINES.values():
            for method in METHODS:
                if size > 10_000 and pipeline in (PIPELINES[1, 1], PIPELINES[7, 1]):
                    continue
                result, stats = getattr(pipeline, method)(numbers)
                assert same_bits(result, values) and counts(stats) == tuple(expected)


def test_list_in_list_out():
    pipeline = pp.DataPipeline(2, 10)
    values, stats = pipeline.process([4, True, 2.25, -1])
    assert values == [4.0, 2.0, 3.0] and type(stats) is pp.PipelineStats
    assert counts(stats) == (3, 1, 0)
    assert pipeline.process((4.0,))[0] == [4.0] and pipeline.process(range(3))[0] == [0.0, 2.0, 2.0 * math.sqrt(2.0)]
    assert pipeline.process(array.array("d", [4.0]))[0].tolist() == [4.0]
    assert pipeline.process(memoryview(np.array([4.0])))[0].tolist() == [4.0]


def test_the_input_is_not_changed_and_not_copied():
    numbers = mixed(100_000)
    before = numbers.tobytes()
    numbers.flags.writeable = False
    PIPELINES[2, 1000].process(numbers)
    assert numbers.tobytes() == before


def test_stats_are_read_only_and_of_the_last_finished_run():
    pipeline = pp.DataPipeline(1, 10)
    stats = pipeline.get_stats()
    assert counts(stats) == (0, 0, 0) and stats.duration_secs == 0
    _, first = pipeline.process([1.0, -1.0])
    assert counts(pipeline.get_stats()) == counts(first) and pipeline.get_stats().duration_secs == first.duration_secs
    with pytest.raises(TypeError):
        pipeline.process([1.0, "x"])
    assert counts(pipeline.get_stats()) == counts(first)
    pipeline.process_batched(np.ones(3))
    assert counts(pipeline.get_stats()) == (3, 0, 0) and counts(first) == (1, 1, 0)
    for name in ("items_processed", "items_filtered", "items_failed", "duration_secs"):
        with pytest.raises(AttributeError):
            setattr(first, name, 1)
    assert repr(first).startswith("PipelineStats(items_processed=1, items_filtered=1, items_failed=0, duration_secs=0.0")


def test_results_own_their_memory():
    pipeline = pp.DataPipeline(2, 100)
    kept = [pipeline.process(np.full(20_000, float(i)))[0] for i in range(8)]
    del pipeline
    gc.collect()
    for _ in range(3):
        pp.DataPipeline(2, 100).process(np.full(20_000, 7.0))
    assert all((values == 2.0 * math.sqrt(i)).all() for i, values in enumerate(kept))
    assert len({values.ctypes.data for values in kept}) == len(kept)


def test_a_dead_results_memory_is_used_again():
    pipeline = pp.DataPipeline(2, 100)
    numbers, places = np.ones(100_000), set()
    for _ in range(20):
        places.add(pipeline.process(numbers)[0].ctypes.data)
    assert len(places) <= 3


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: pp.DataPipeline(0, 1), ValueError, "thread_count must be at least 1, not 0"),
        (lambda: pp.DataPipeline(1, 0), ValueError, "batch_size must be at least 1, not 0"),
        (lambda: pp.DataPipeline(-1, -1), ValueError, "thread_count"),
        (lambda: pp.DataPipeline(1025, 1), ValueError, "thread_count must be at most 1024"),
        (lambda: pp.DataPipeline(2**70, 1), OverflowError, "thread_count"),
        (lambda: pp.DataPipeline(1, 2**70), OverflowError, "batch_size"),
        (lambda: pp.DataPipeline(2.0, 1), TypeError, "thread_count"),
        (lambda: pp.DataPipeline("2", 1), TypeError, "thread_count"),
        (lambda: pp.DataPipeline(1), TypeError, "incompatible|argument"),
        (lambda: pp.aggregate_pipeline([1.0], num_threads=0), ValueError, "num_threads must be at least 1"),
        (lambda: pp.aggregate_pipeline("no", num_threads=1025), ValueError, "num_threads must be at most 1024"),
        (lambda: pp.aggregate_pipeline([1.0], num_threads=1.5), TypeError, "num_threads"),
        (lambda: pp.aggregate_pipeline([1.0], 2), TypeError, "incompatible|argument"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()


class Angry:
    def __float__(self):
        raise LookupError("from __float__")


CALLS = [PIPELINES[2, 1000].process, PIPELINES[2, 7].process_batched, pp.aggregate_pipeline]


@pytest.mark.parametrize("call", CALLS)
def test_bad_data(call):
    for bad in ("123", b"123", {1.0}, {1: 2}, (x for x in "12"), None, 3, object()):
        with pytest.raises(TypeError, match="data must be"):
            call(bad)
    for item in ("x", None, 1j, [1]):
        with pytest.raises(TypeError, match=r"data\[2\] must be a number"):
            call([1, 2, item])
    with pytest.raises(LookupError, match="from __float__"):
        call([1.0, Angry()])
    with pytest.raises(OverflowError, match=r"data\[1\]"):
        call([1.0, 10**400])
    good = np.arange(4.0)
    for bad, error, match in (
        (good.astype(np.float32), TypeError, "data must be an array of float64"),
        (np.arange(4), TypeError, "data must be an array of float64"),
        (good.astype(">f8" if sys.byteorder == "little" else "<f8"), ValueError, "native byte order"),
        (good[::2], ValueError, r"numpy.ascontiguousarray\(data\)"),
        (good.reshape(2, 2), ValueError, r"data must be 1-D, not 2-D"),
        (np.frombuffer(b"\0" * 33, np.uint8)[1:].view(float), ValueError, "data is not aligned"),
    ):
        with pytest.raises(error, match=match):
            call(bad)


# ---- aggregate_pipeline


def exact(numbers):
    """(mean, stddev, min, max, count) with exact sums."""
    from fractions import Fraction

    good = [x for x in numbers if math.isfinite(x)]
    if not good:
        return 0.0, 0.0, math.inf, -math.inf, 0
    exact = [Fraction(x) for x in good]
    mean = sum(exact) / len(exact)
    variance = sum((x - mean) ** 2 for x in exact) / len(exact)
    # the root of a fraction that need not fit a float
    scale = 0
    while variance and not (2**-200 < variance < 2**200):
        step = 100 if variance > 1 else -100
        variance /= Fraction(4) ** step
        scale += step
    return float(mean), math.ldexp(math.sqrt(variance), scale), min(good), max(good), len(good)


def close(a, b, spread):
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12 * spread + 5e-324)


@CASES
@given(float_lists)
@example([math.nan])
@example([1e308, -1e308, 1e308])
@example([1e-320, 2e-320])
@example([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16])
def test_aggregate(numbers):
    mean, stddev, least, most, count = exact(numbers)
    spread = max(abs(least), abs(most)) if count else 0.0
    first = pp.aggregate_pipeline(numbers)
    assert [type(x) for x in first] == [float] * 4 + [int] and type(first) is tuple
    assert first[2:] == (least, most, count)
    assert close(first[0], mean, spread) and close(first[1], stddev, spread)
    for threads in THREADS:
        for data in (numbers, np.array(numbers, float)):
            assert same_bits(pp.aggregate_pipeline(data, num_threads=threads)[:4], first[:4])


@pytest.mark.parametrize("size", SIZES)
def test_aggregate_sizes(size):
    values = np.random.default_rng(size).normal(1e6, 1e-3, size)
    first = pp.aggregate_pipeline(values, num_threads=1)
    if size:
        assert math.isclose(first[0], values.mean(), rel_tol=1e-13)
        assert math.isclose(first[1], np.std(values - 1e6), rel_tol=1e-6, abs_tol=1e-15)
    else:
        assert first == (0.0, 0.0, math.inf, -math.inf, 0)
    for threads in THREADS:
        assert same_bits(pp.aggregate_pipeline(values, num_threads=threads)[:4], first[:4])


# ---- threads, the GIL, Ctrl-C, fork, exit


@pytest.mark.parametrize("threads", THREADS)
def test_one_pipeline_from_many_threads(threads):
    pipeline, numbers = pp.DataPipeline(2, 500), mixed(30_000)
    values, *expected = oracle(numbers.tolist())
    listed = numbers[:2000].tolist()
    few = oracle(listed)[0]

    def call(i):
        for _ in range(10):
            result, stats = pipeline.process(numbers)
            assert same_bits(result, values) and counts(stats) == tuple(expected)
            assert same_bits(pipeline.process_batched(listed)[0], few)
            assert sum(counts(pipeline.get_stats())) in (30_000, 2000)

    run_threads(threads, call)


big = np.abs(np.random.default_rng(3).normal(size=4_000_000))
GIL_FREE = {
    "process": lambda: PIPELINES[2, 1000].process(big),
    "process, one thread": lambda: PIPELINES[1, 1000].process(big),
    "process_batched": lambda: PIPELINES[2, 1000].process_batched(big),
    "aggregate": lambda: pp.aggregate_pipeline(big),
    "native stages": lambda: pp._core.Program([(pp.native.sqrt.code, 0.0, False)] * 4).run(big),
}


@pytest.mark.parametrize("name", GIL_FREE)
def test_releases_the_gil(name):
    assert runs_without_gil(GIL_FREE[name])


def test_the_witness_sees_a_held_gil():
    """The control of the test above: sorting a list holds the GIL all along."""
    values = list(range(200_000))
    assert not runs_without_gil(lambda: sorted(values, reverse=True), attempts=3) or not getattr(sys, "_is_gil_enabled", bool)()


@pytest.mark.parametrize("call", ["p.process(a)", "p.process_batched(a)", "pp.aggregate_pipeline(a)", "q.run(a)"])
@pytest.mark.skipif(sys.platform != "linux", reason="needs memory that is promised and not used")
def test_ctrl_c(call):
    child = interrupt_child(f"""
        import numpy as np, production_pipeline as pp
        a, p, q = np.zeros(3 * 10**7), pp.DataPipeline(2, 1000), pp.Pipeline(workers=2).map(pp.native.sqrt).batch(10**9)
        print("ready")
        try:
            while True:
                {call}
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert child.stdout == "interrupted\n", child.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_fork_gives_the_answer_or_an_error():
    child = run_child("""
        import os, warnings, numpy as np, production_pipeline as pp
        warnings.simplefilter("ignore")
        p, a = pp.DataPipeline(2, 1000), np.ones(10**6)
        p.process(a)
        pp.aggregate_pipeline(a, num_threads=2)
        pid = os.fork()
        if pid == 0:
            for call in (lambda: p.process(a)[0], lambda: [2.0] * pp.aggregate_pipeline(a, num_threads=2)[4],
                         lambda: pp.DataPipeline(2, 1000).process(a)[0]):
                try:
                    assert len(call()) == 10**6
                except RuntimeError as error:
                    assert "fork" in str(error), error
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    assert (child.returncode, child.stdout) == (0, "0\n"), child.stderr


def test_exit_during_a_call_in_a_daemon_thread():
    child = run_child("""
        import threading, time, numpy as np, production_pipeline as pp
        a, p = np.ones(10**7), pp.DataPipeline(2, 1000)
        def work():
            while True:
                p.process(a)
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
        print("leaving", flush=True)
    """)
    assert (child.returncode, child.stdout) == (0, "leaving\n"), child.stderr


@pytest.mark.skipif(sys.version_info < (3, 12), reason="own-GIL sub-interpreters came with CPython 3.12")
def test_in_a_sub_interpreter():
    module = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    child = run_child(f"""
        import sys, {module} as interpreters, production_pipeline
        name = interpreters.create()
        print(interpreters.run_string(name, '''if True:
            import sys; sys.path[:] = {[p for p in sys.path if p]!r}
            import production_pipeline as pp
            assert pp.DataPipeline(2, 10).process([4.0, -1.0])[0] == [4.0]
            assert pp.aggregate_pipeline([1.0, 3.0], num_threads=2) == (2.0, 1.0, 1.0, 3.0, 2)
            pipeline = pp.Pipeline(workers=2).map(lambda x: x + 1).filter(lambda x: x % 2).map(pp.native.sqrt)
            assert pipeline.run(range(1000)).items == [(x + 1) ** 0.5 for x in range(0, 1000, 2)]
            left_open = pipeline.stream(range(10**9))
            next(left_open)
        '''))
        interpreters.destroy(name)
    """)
    assert (child.returncode, child.stdout) == (0, "None\n"), child.stdout + child.stderr


def test_importing_needs_nothing_else():
    child = run_child("""
        import sys, production_pipeline as pp
        assert pp.DataPipeline(1, 1).process([4.0])[0] == [4.0]
        assert pp.Pipeline(workers=2).map(abs).run([-1]).items == [1]
        print([name for name in ("numpy", "pyarrow", "tqdm", "prometheus_client", "asyncio", "pandas") if name in sys.modules])
    """)
    assert child.stdout == "[]\n", child.stderr


def test_a_list_that_another_thread_changes():
    numbers, done = [float(i) for i in range(20_000)], threading.Event()

    def change():
        while not done.is_set():
            numbers.append(1.0)
            del numbers[-1:]

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            assert PIPELINES[2, 1000].process(numbers)[1].items_processed in (20_000, 20_001)
    finally:
        done.set()
        thread.join()
