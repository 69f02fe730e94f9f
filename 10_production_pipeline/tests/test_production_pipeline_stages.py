"""Pipeline: every stage against plain Python, and what happens when a stage, a source or a sink fails: nothing lost, nothing
twice, by count."""

import collections
import functools
import gc
import itertools
import math
import os
import signal
import subprocess
import sys
import threading
import weakref

import numpy as np
import production_pipeline as pp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from production_pipeline import native
from tenfold_testing import THREADS, interrupt_child, run_child, run_threads

CASES = settings(max_examples=60, deadline=None)
WORKERS = (1, 2, 4)
each_worker_count = pytest.mark.parametrize("workers", WORKERS)


class Boom(Exception):
    pass


def counted(stats):
    """Of validate, filter and map every item is in exactly one count."""
    for stage in stats.stages:
        if stage.kind in ("validate", "filter", "map", "native", "sink"):
            assert stage.items_in == stage.items_out + stage.filtered + stage.failed, stage
        assert stage.queue_depth == 0 and stage.latency.count == stage.items_in, stage
    return stats


def fails_at(*places):
    def function(x):
        if x in places:
            raise Boom(x)
        return x

    return function


# ---- answers


@st.composite
def pipelines(draw):
    """(stages as (kind, argument), what plain Python makes of a list)"""
    stages = draw(
        st.lists(
            st.sampled_from(
                [
                    ("map", lambda x: x * 3 + 1),
                    ("filter", lambda x: x % 3),
                    ("flat_map", lambda x: range(x % 5)),
                    ("map", str),
                    ("filter", bool),
                    ("flat_map", lambda x: [x, x]),
                    ("validate", lambda x: True),
                    ("batch", 3),
                    ("batch", 100),
                ]
            ),
            max_size=5,
        )
    )
    kept, text = [], False
    for kind, argument in stages:  # after str or batch only what takes anything
        if text and not (kind == "batch" or argument in (bool, str) or kind == "validate"):
            continue
        text = text or argument is str or kind == "batch"
        kept.append((kind, argument))
    return kept


def plainly(stages, items):
    for kind, argument in stages:
        if kind == "map":
            items = [argument(x) for x in items]
        elif kind == "filter":
            items = [x for x in items if argument(x)]
        elif kind == "flat_map":
            items = [y for x in items for y in argument(x)]
        elif kind == "batch":
            items = [items[i : i + argument] for i in range(0, len(items), argument)]
    return items


@CASES
@given(pipelines(), st.integers(0, 700), st.sampled_from([1, 2, 3, 10, 1024]), st.sampled_from(WORKERS))
def test_any_stages_in_any_order(stages, size, queue_size, workers):
    pipeline = pp.Pipeline(workers, queue_size)
    for kind, argument in stages:
        pipeline = getattr(pipeline, kind)(argument)
    expected = plainly(stages, list(range(size)))
    result = pipeline.run(range(size))
    assert result.items == expected and result.errors == []
    assert result.stats.items_read == size and result.stats.items_out == len(expected) and result.stats.state == "finished"
    counted(result.stats)
    assert list(pipeline.stream(iter(range(size)))) == expected


@each_worker_count
def test_reduce_is_in_order_and_starts_anew(workers):
    pipeline = pp.Pipeline(workers).map(str).reduce(lambda a, b: a + [b], [])
    for _ in range(3):
        assert pipeline.run(range(300)).items == [[str(i) for i in range(300)]]
    total = pp.Pipeline(workers).map(lambda x: 0.1 * x).reduce(lambda a, b: a + b, 0.0).map(lambda x: [x])
    assert total.run(range(1000)).items == [[functools.reduce(lambda a, b: a + b, (0.1 * x for x in range(1000)), 0.0)]]
    assert pp.Pipeline(workers).reduce(max, -1).run([]).items == [-1]


def test_a_pipeline_never_changes():
    empty = pp.Pipeline(1)
    doubled = empty.map(lambda x: 2 * x)
    assert empty.run([1]).items == [1] and doubled.run([1]).items == [2]
    assert doubled.map(str).run([1]).items == ["2"] and doubled.run([1]).items == [2]
    assert doubled.stages == ["map <lambda>"] and doubled.map(lambda x: x).stages == ["map <lambda>", "map <lambda> #2"]
    assert doubled.filter(bool, name="any").stages[-1] == "any" and "any" in repr(doubled.filter(bool, name="any"))


# ---- native stages


float_lists = st.lists(st.floats(width=64), max_size=200)
NATIVE = [
    ("validate", native.finite, lambda x: math.isfinite(x)),
    ("filter", native.finite, lambda x: math.isfinite(x)),
    ("filter", native.at_least(-1.0), lambda x: x >= -1.0),
    ("filter", native.at_most(1e300), lambda x: x <= 1e300),
    ("validate", native.above(-1e9), lambda x: x > -1e9),
    ("filter", native.below(5.0), lambda x: x < 5.0),
    ("map", native.sqrt, lambda x: math.nan if x < 0 else math.sqrt(x)),
    ("map", native.square, lambda x: x * x),
    ("map", native.absolute, abs),
    ("map", native.negative, lambda x: -x),
    ("map", native.times(3.0), lambda x: x * 3.0),
    ("map", native.plus(-0.5), lambda x: x + -0.5),
    ("map", native.divided_by(7.0), lambda x: x / 7.0),
]


@CASES
@given(float_lists, st.lists(st.sampled_from(NATIVE), min_size=1, max_size=6), st.sampled_from(WORKERS))
def test_native_stages(numbers, chosen, workers):
    fused, plain = pp.Pipeline(workers, on_error="collect"), pp.Pipeline(workers, on_error="collect")
    for kind, kernel, function in chosen:
        fused, plain = getattr(fused, kind)(kernel), getattr(plain, kind)(function)
    assert len(fused.stages) == 1
    expected = plain.run(numbers)
    for source in (numbers, np.array(numbers, float), iter(numbers)):
        result = fused.run(source)
        got = np.asarray(result.items, float)
        assert np.array_equal(
            got.view(np.int64) | np.isnan(got), np.array(expected.items, float).view(np.int64) | np.isnan(got)
        )
        assert [e.index for e in result.errors] == [e.index for e in expected.errors]
        assert counted(result.stats).items_failed == len(expected.errors)
        assert isinstance(result.items, np.ndarray if isinstance(source, np.ndarray) else list)
        assert isinstance(source, np.ndarray) or all(type(x) is float for x in result.items)


@each_worker_count
@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 65535, 65536, 65537, 300_001])
def test_native_stages_on_arrays(size, workers):
    values = np.random.default_rng(size).normal(size=size)
    pipeline = pp.Pipeline(workers).filter(native.at_least(0.0)).map(native.sqrt)
    result = pipeline.run(values)
    assert np.array_equal(result.items, np.sqrt(values[values >= 0]))
    assert counted(result.stats).items_filtered == int((values < 0).sum())
    assert sum(pipeline.stream(values)) == pytest.approx(float(np.sqrt(values[values >= 0]).sum()))
    assert pipeline.map(lambda x: -x).run(values).items == (-np.sqrt(values[values >= 0])).tolist()


@each_worker_count
def test_native_places_reach_later_stages(workers):
    values = np.arange(-5.0, 200_000.0)
    pipeline = pp.Pipeline(workers, on_error="collect").filter(native.at_least(0.0)).map(fails_at(3.0, 150_000.0))
    assert [(e.index, e.value) for e in pipeline.run(values).errors] == [(8, 3.0), (150_005, 150_000.0)]
    again = pp.Pipeline(workers, on_error="collect").map(float).filter(native.at_least(0.0)).validate(native.below(100.0))
    errors = again.run(range(-5, 102)).errors
    assert [(e.index, e.value) for e in errors] == [(105, 100.0), (106, 101.0)]
    assert all(isinstance(e.error, pp.ValidationError) for e in errors)


def test_a_native_failure_lets_through_what_came_before():
    values, seen = np.arange(100_000.0), []
    values[70_000] = math.nan
    with pytest.raises(pp.ValidationError, match="says no to") as caught:
        pp.Pipeline(2).validate(native.finite).map(native.plus(1.0)).sink(seen).run(values)
    assert seen == (values[:70_000] + 1).tolist() and "item 70000" in caught.value.__notes__[0]


def test_native_stages_take_what_float_takes():
    result = pp.Pipeline(1, on_error="collect").map(native.sqrt).run([4, True, "x", 9.0, None, 10**400])
    assert result.items == [2.0, 1.0, 3.0] and [e.index for e in result.errors] == [2, 4, 5]
    assert [type(e.error) for e in result.errors] == [TypeError, TypeError, OverflowError]
    assert native.sqrt(4) == 2.0 and native.at_least(3)(3.0) is True and native.finite(math.nan) is False
    for wrong in (
        lambda: pp.Pipeline().map(native.finite),
        lambda: pp.Pipeline().filter(native.sqrt),
        lambda: pp.Pipeline().flat_map(native.sqrt),
        lambda: native.times("3"),
    ):
        with pytest.raises(TypeError):
            wrong()
    for wrong in (lambda: native.times(math.nan), lambda: native.divided_by(0), lambda: native.at_least(math.nan)):
        with pytest.raises(ValueError):
            wrong()


# ---- errors


@each_worker_count
def test_raise_ends_at_the_first_failure_and_delivers_what_came_before(workers):
    for bad in (0, 1, 63, 500, 999):
        seen, after = [], []
        pipeline = pp.Pipeline(workers).map(fails_at(bad, 999)).map(lambda x: x + 1).sink(seen.append)
        with pytest.raises(Boom) as caught:
            pipeline.run(range(1000))
        assert caught.value.args == (bad,) and seen == list(range(1, bad + 1))
        assert f"item {bad} of the source" in caught.value.__notes__[-1] and "fails_at" not in caught.value.__notes__[-1]
        stats = pipeline.get_stats()
        assert stats.state == "failed" and stats.items_out == bad and stats.items_failed >= 1
        stream = pp.Pipeline(workers).map(fails_at(bad)).stream(range(1000))
        with pytest.raises(Boom):
            for x in stream:
                after.append(x)
        assert after == list(range(bad)) and list(stream) == []


@each_worker_count
@pytest.mark.parametrize("policy", ["skip", "collect"])
def test_failures_are_counted_and_kept(workers, policy):
    pipeline = (
        pp.Pipeline(workers, on_error=policy)
        .validate(lambda x: x % 7, name="seven")
        .filter(lambda x: 1 // (x % 5) if x < 900 else True, name="five")
        .map(lambda x: (100 // (x % 11), x)[1], name="eleven")
        .flat_map(lambda x: fails_at(13)(x) and [x, x], name="thirteen")
    )
    result = pipeline.run(range(1000))
    expected, errors = [], []
    for x in range(1000):
        if x % 7 == 0:
            errors.append(("seven", x, pp.ValidationError))
        elif x < 900 and x % 5 == 0:
            errors.append(("five", x, ZeroDivisionError))
        elif x < 900 and not 1 // (x % 5):
            pass
        elif x % 11 == 0:
            errors.append(("eleven", x, ZeroDivisionError))
        elif x == 13:
            errors.append(("thirteen", x, Boom))
        else:
            expected += [x, x]
    errors = [each for each in errors if each[0] != "thirteen" or 1 // (13 % 5)]
    assert result.items == expected
    assert result.stats.items_failed == len(errors)
    counted(result.stats)
    got = [(e.stage, e.index, type(e.error)) for e in result.errors]
    assert got == (errors if policy == "collect" else [])
    for e in result.errors:
        assert e.value == e.index and e.attempts == 1 and e.traceback.startswith("Traceback (most recent call last):\n")
        assert type(e.error).__name__ in e.traceback.splitlines()[-1] and e.error.__traceback__ is None


def test_a_record_has_the_readers_frames():
    def helper(x):
        return 1 / x

    (failure,) = pp.Pipeline(1, on_error="collect").map(lambda x: helper(x)).run([1, 0]).errors
    assert "in helper\n    return 1 / x\n" in failure.traceback and "call_each" not in failure.traceback

    def chained(x):
        try:
            return 1 / x
        except ZeroDivisionError as error:
            raise Boom("worse") from error

    (failure,) = pp.Pipeline(1, on_error="collect").map(chained).run([0]).errors
    assert "direct cause" in failure.traceback and "ZeroDivisionError" in failure.traceback


@each_worker_count
def test_garbage(workers):
    class NoTruth:
        def __bool__(self):
            raise Boom("no truth")

    pipeline = pp.Pipeline(workers, on_error="collect")
    result = pipeline.filter(lambda x: NoTruth() if x == 3 else True).run(range(6))
    assert result.items == [0, 1, 2, 4, 5] and result.errors[0].index == 3
    result = pipeline.flat_map(lambda x: x if x else [7]).run([0, 1, 0])
    assert result.items == [7, 7] and isinstance(result.errors[0].error, TypeError) and result.errors[0].index == 1
    result = pipeline.validate(lambda x: np.array([1, 2])).run([1])
    assert result.items == [] and isinstance(result.errors[0].error, ValueError)
    assert pipeline.map(lambda x: None).run(range(3)).items == [None] * 3

    def stops(x):
        if x == 5:
            raise StopIteration
        return x

    for quick in (range(10), range(10_000)):
        result = pipeline.map(stops).run(quick)
        assert result.items == [x for x in quick if x != 5] and [e.index for e in result.errors] == [5]
    with pytest.raises(RuntimeError):
        pp.Pipeline(workers).map(stops).run(range(10))

    class Slotted(Exception):
        __slots__ = ()

        def add_note(self, note):
            raise TypeError("no notes")

    def raises(x):
        raise Slotted

    with pytest.raises(Slotted):
        pp.Pipeline(workers).map(raises).run([1])


@each_worker_count
def test_an_iterator_that_fails_midway(workers):
    def some(x):
        yield x
        if x == 2:
            raise Boom(x)
        yield -x

    result = pp.Pipeline(workers, on_error="collect").flat_map(some).run(range(4))
    assert result.items == [0, 0, 1, -1, 2, 3, -3] and [(e.index, e.attempts) for e in result.errors] == [(2, 1)]
    stream = pp.Pipeline(workers).flat_map(some).stream(range(4))
    assert [next(stream) for _ in range(5)] == [0, 0, 1, -1, 2]
    with pytest.raises(Boom):
        next(stream)


@each_worker_count
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_ends_the_run_under_any_policy(workers, error):
    def function(x):
        if x == 7:
            raise error
        return x

    with pytest.raises(error):
        pp.Pipeline(workers, on_error="skip", retries=3).map(function).run(range(100))


# ---- retries


@each_worker_count
def test_retries_and_backoff(workers):
    calls, pauses = collections.Counter(), []
    lock = threading.Lock()

    def flaky(x):
        with lock:
            calls[x] += 1
        if x % 10 == 0 and calls[x] <= x // 10:
            raise ConnectionError(x)
        return x

    pipeline = pp.Pipeline(
        workers,
        on_error="collect",
        retries=4,
        backoff=0.5,
        most_backoff=3.0,
        retry_on=(ConnectionError, TimeoutError),
        sleep=pauses.append,
    ).map(flaky)
    result = pipeline.run(range(80))
    assert result.items == [x for x in range(80) if x not in (50, 60, 70)]
    assert [(e.index, e.attempts, type(e.error)) for e in result.errors] == [(x, 5, ConnectionError) for x in (50, 60, 70)]
    assert all(calls[x] == (min(x // 10, 4) + 1 if x % 10 == 0 else 1) for x in range(80))
    assert result.stats.retries == sum(calls.values()) - 80 == len(pauses)
    expected = [0.5, 1.0, 2.0, 3.0]
    assert collections.Counter(pauses) == collections.Counter(
        pause for x in range(80) if x % 10 == 0 for pause in expected[: min(x // 10, 4)]
    )
    counted(result.stats)


def test_what_is_not_worth_a_retry_gets_none():
    calls = []

    def refuses(x):
        calls.append(x)
        raise ValueError(x)

    def never(seconds):
        raise AssertionError("it waited")

    options = dict(on_error="skip", retries=5, retry_on=ConnectionError, sleep=never)
    assert pp.Pipeline(1, **options).map(refuses).run([1, 2]).stats.retries == 0 and calls == [1, 2]
    assert pp.Pipeline(1, on_error="skip", retries=5, sleep=never).validate(lambda x: False).run([1]).stats.items_failed == 1


def test_a_sleeping_retry_is_woken_by_cancel():
    control, waiting = pp.Control(), threading.Event()

    def fails(x):
        waiting.set()
        raise Boom

    def cancel():
        waiting.wait(20)
        control.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(pp.PipelineCancelled):
        pp.Pipeline(1, retries=1, backoff=1000, most_backoff=1000).map(fails).run([1], control=control)
    thread.join()


# ---- sources


@each_worker_count
def test_a_source_that_dies(workers):
    closed = []

    def source():
        try:
            yield from range(777)
            raise Boom("the source")
        finally:
            closed.append(1)

    seen = []
    pipeline = pp.Pipeline(workers).map(lambda x: x).sink(seen.append)
    with pytest.raises(Boom, match="the source"):
        pipeline.run(source())
    assert seen == list(range(777)) and closed == [1]
    assert pipeline.get_stats().items_read == pipeline.get_stats().items_out == 777
    assert pipeline.get_stats().items_failed == 0 and pipeline.get_stats().state == "failed"


@each_worker_count
@pytest.mark.parametrize("ending", ["end", "error", "close", "drop", "cancel"])
def test_a_generator_is_closed_exactly_once(workers, ending):
    closed = []

    def source():
        try:
            yield from range(10_000)
        finally:
            closed.append(threading.get_ident())

    control = pp.Control()
    stream = pp.Pipeline(workers).map(fails_at(5000 if ending == "error" else -1)).stream(source(), control=control)
    next(stream)
    if ending == "close":
        stream.close()
        stream.close()
    elif ending == "drop":
        del stream
        gc.collect()
    elif ending == "cancel":
        control.cancel()
        with pytest.raises(pp.PipelineCancelled):
            list(stream)
    else:
        with pytest.raises(Boom) if ending == "error" else pytest.MonkeyPatch.context():
            list(stream)
    assert closed == [threading.get_ident()]


def test_the_source_is_read_by_the_thread_that_runs():
    here, readers = threading.get_ident(), set()

    def source():
        for i in range(1000):
            readers.add(threading.get_ident())
            yield i

    workers = set(pp.Pipeline(4).map(lambda x: threading.get_ident()).run(source()).items)
    assert readers == {here} and here not in workers


@pytest.mark.parametrize("bad", ["text", b"bytes", 3, None, object(), np.float64(1), np.array(1.0)])
def test_no_source(bad):
    with pytest.raises(TypeError):
        pp.Pipeline(1).run(bad)


@each_worker_count
def test_arrays_as_sources(workers, tmp_path):
    pipeline = pp.Pipeline(workers).map(lambda x: x)
    for array in (
        np.arange(5),
        np.arange(5.0),
        np.array(["a", "b"]),
        np.arange(6.0)[::2],
        np.array([True]),
        np.arange(3, dtype=">f8"),
    ):
        items = pipeline.run(array).items
        assert items == array.tolist() and [type(x) for x in items] == [type(x) for x in array.tolist()]
    rows = pipeline.run(np.arange(6).reshape(3, 2)).items
    assert [row.tolist() for row in rows] == [[0, 1], [2, 3], [4, 5]]
    mapped = np.memmap(tmp_path / "numbers", np.float64, "w+", shape=200_000)
    mapped[:] = np.arange(200_000)
    result = pp.Pipeline(workers).map(native.square).run(np.memmap(tmp_path / "numbers", np.float64, "r"))
    assert np.array_equal(result.items, np.arange(200_000.0) ** 2) and type(result.items) is np.ndarray
    batches = pp.Pipeline(workers).batch(30_000).map(np.sum).run(np.arange(200_000.0)).items
    assert [int(x) for x in batches] == [int(np.arange(i, min(i + 30_000, 200_000)).sum()) for i in range(0, 200_000, 30_000)]


def test_progress():
    told = []
    pp.Pipeline(2).map(abs).run(range(500), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (500, 500) and told == sorted(told) and len(set(told)) == len(told)
    told.clear()
    pp.Pipeline(1).run(iter(range(5)), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (5, None)
    with pytest.raises(TypeError, match="progress"):
        pp.Pipeline(1).run([1], progress=3)


def test_progress_bar(capsys):
    pytest.importorskip("tqdm")
    assert pp.Pipeline(2).map(abs).run(range(50), progress=True).items == list(range(50))
    assert capsys.readouterr().err == ""  # no terminal, no bar


# ---- sinks


@each_worker_count
def test_sinks(workers, tmp_path):
    pipeline = pp.Pipeline(workers).filter(lambda x: x % 2)
    seen, queue, array = [], collections.deque(), np.zeros(500)
    mapped = np.memmap(tmp_path / "out", np.int64, "w+", shape=500)
    for target in (seen.append, queue, array, mapped):
        result = pipeline.sink(target).run(range(1000))
        assert result.items == [] and counted(result.stats).items_out == 500
    assert seen == list(queue) == array.tolist() == mapped.tolist() == list(range(1, 1000, 2))
    with pytest.raises(ValueError, match="run"):
        pipeline.sink(seen).stream([1])
    with pytest.raises(ValueError, match="last"):
        pipeline.sink(seen).map(abs)
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        pipeline.sink(frozen)
    for bad in (3, None, "text", list, tmp_path):
        with pytest.raises(TypeError, match="sink"):
            pipeline.sink(bad)


@each_worker_count
@pytest.mark.parametrize("policy", ["raise", "skip", "collect"])
def test_a_full_sink_ends_the_run_under_any_policy(workers, policy):
    array = np.full(100, -1.0)
    pipeline = pp.Pipeline(workers, on_error=policy, retries=2).map(float).sink(array)
    with pytest.raises(pp.SinkFull, match="room for 100"):
        pipeline.run(range(5000))
    stats = pipeline.get_stats()
    assert array.tolist() == list(range(100)) and stats.items_out == 100 and stats.items_failed == 0
    assert stats.items_read <= 100 + 1024 + 512
    assert pp.Pipeline(workers).map(float).sink(np.zeros(100)).run(range(100)).stats.items_out == 100


@each_worker_count
def test_a_sink_that_fails_now_and_then(workers):
    taken = []

    def write(x):
        if x % 10 == 3:
            raise OSError("disk")
        taken.append(x)

    result = pp.Pipeline(workers, on_error="collect", retries=1, sleep=lambda s: None).sink(write).run(range(100))
    assert taken == [x for x in range(100) if x % 10 != 3] and [e.index for e in result.errors] == list(range(3, 100, 10))
    assert counted(result.stats).items_out == 90 and result.stats.retries == 10


# ---- back-pressure


@each_worker_count
@pytest.mark.parametrize("queue_size", [1, 7, 64, 1000])
def test_no_more_is_read_than_there_is_room_for(workers, queue_size):
    read = itertools.count()
    ahead = 0

    def source():
        while True:
            yield next(read)

    with pp.Pipeline(workers, queue_size).map(lambda x: x).map(lambda x: x).stream(source()) as stream:
        for i in range(3000):
            assert next(stream) == i
            done = int(repr(read)[6:-1])
            ahead = max(ahead, done - i - 1)
        most = max(1, queue_size // (2 * workers))
        # what is in flight, and the chunk that is being handed out
        assert ahead <= queue_size + most
        assert stream.stats().stages[0].queue_peak <= queue_size + most


def test_memory_stays_bounded_on_a_source_larger_than_the_budget():
    """40,000 items of 100 kB, 4 GB, through a process that may have 600 MB more than it has; and one that makes 10^9 of one."""
    child = run_child(
        """
        import resource, production_pipeline as pp
        now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 600_000_000,) * 2)
        pipeline = pp.Pipeline(2, queue_size=256).map(lambda b: b + b"x").filter(len).map(lambda b: b[:-1])
        count = size = 0
        for item in pipeline.stream(bytes(100_000) for _ in range(40_000)):
            count, size = count + 1, size + len(item)
        print(count, size)
        endless = pp.Pipeline(2, queue_size=256).flat_map(lambda x: range(10**9)).flat_map(lambda x: (x for _ in range(10**9)))
        with endless.stream(range(3)) as stream:
            print(sum(next(stream) == 0 for _ in range(100_000)))
    """,
        limit=120,
    )
    assert child.stdout == "40000 4000000000\n100000\n", child.stderr


def test_a_blocked_sink_holds_the_source_back():
    read, gate, waits = [], threading.Event(), threading.Event()

    def source():
        for i in range(100_000):
            read.append(i)
            yield i

    def sink(x):
        if x == 100:
            waits.set()
            assert gate.wait(30)
        seen.append(x)

    seen = []
    thread = threading.Thread(target=lambda: pp.Pipeline(2, 50).map(lambda x: x).sink(sink).run(source()))
    thread.start()
    assert waits.wait(30)
    count = len(read)
    threading.Event().wait(0.05)
    assert len(read) == count <= 100 + 1 + 50 + 12
    gate.set()
    thread.join(60)
    assert seen == list(range(100_000))


def test_a_blocked_stage_does_not_stop_the_other_workers():
    gate, others = threading.Event(), threading.Semaphore(0)

    def stage(x):
        if x == 0:
            assert gate.wait(30)
        else:
            others.release()
        return x

    out = []
    thread = threading.Thread(target=lambda: out.extend(pp.Pipeline(2, 100).map(stage).run(range(1000)).items))
    thread.start()
    for _ in range(50):
        assert others.acquire(timeout=30)
    gate.set()
    thread.join(60)
    assert out == list(range(1000))


# ---- cancel, drain, Ctrl-C, exit, fork


@each_worker_count
def test_cancel(workers):
    control, reached, calls = pp.Control(), threading.Event(), []

    def stage(x):
        calls.append(x)
        if x == 300:
            reached.set()
        return x

    def cancel():
        reached.wait(30)
        control.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    pipeline = pp.Pipeline(workers).map(stage)
    with pytest.raises(pp.PipelineCancelled):
        pipeline.run(itertools.count(), control=control)
    thread.join()
    count = len(calls)
    threading.Event().wait(0.05)
    assert len(calls) == count and len(set(calls)) == count and pipeline.get_stats().state == "cancelled"
    assert control.cancelled and not control.draining
    with pytest.raises(pp.PipelineCancelled):
        pipeline.run([1], control=control)
    assert pipeline.run([1]).items == [1]


def test_cancel_does_not_wait_for_a_blocked_stage():
    control, gate, inside = pp.Control(), threading.Event(), threading.Event()

    def stage(x):
        inside.set()
        gate.wait(60)
        return x

    def cancel():
        inside.wait(30)
        control.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(pp.PipelineCancelled):
        pp.Pipeline(2).map(stage).run(range(10), control=control)
    gate.set()
    thread.join()


@each_worker_count
def test_drain_finishes_what_was_read(workers):
    control, read = pp.Control(), []

    def source():
        for i in itertools.count():
            read.append(i)
            yield i

    def stage(x):
        if x == 500:
            control.drain()
        return x

    result = pp.Pipeline(workers).map(stage).batch(10).run(source(), control=control)
    assert [x for batch in result.items for x in batch] == read and result.stats.items_read == len(read) >= 501
    assert counted(result.stats).state == "drained" and control.draining


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stage", ["lambda x: time.sleep(0.001)", "lambda x: time.sleep(3600 if x == 9 else 0)"])
def test_ctrl_c(workers, stage):
    child = interrupt_child(f"""
        import itertools, production_pipeline as pp, threading, time
        print("ready")
        closed = []
        def source():
            try:
                yield from itertools.count()
            finally:
                closed.append(1)
        try:
            pp.Pipeline({workers}).map({stage}).run(source())
        except KeyboardInterrupt:
            print("interrupted", closed)
    """)
    assert child.stdout == "interrupted [1]\n", child.stderr
    assert child.returncode == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_exit_with_a_stream_left_open(workers):
    child = run_child(f"""
        import itertools, production_pipeline as pp
        stream = pp.Pipeline({workers}).map(lambda x: x + 1).stream(itertools.count())
        print(next(stream))
    """)
    assert (child.returncode, child.stdout) == (0, "1\n"), child.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_a_killed_run_leaves_no_half_file(tmp_path):
    """The file a sink writes line by line has the first so many items, each once; a Parquet file is there whole or not at all."""
    lines, whole = tmp_path / "lines", tmp_path / "whole.parquet"
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"""
import itertools, production_pipeline as pp
file = open({str(lines)!r}, "w", buffering=1)
pp.Pipeline(2).map(lambda x: f"{{x}}\\n").sink(file.write).run(itertools.count())
""",
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        while not (lines.exists() and lines.stat().st_size > 20_000):
            assert child.poll() is None
            threading.Event().wait(0.01)
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        child.wait(30)
    written = lines.read_text().split("\n")
    assert written[:-1] == [str(i) for i in range(len(written) - 1)] and len(written) > 1000
    pytest.importorskip("pyarrow")
    with pytest.raises(Boom):
        pp.Pipeline(2).map(fails_at(200_000)).map(lambda x: {"x": x}).sink(pp.ParquetSink(whole)).run(range(10**6))
    assert list(tmp_path.iterdir()) == [lines]


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_fork_during_a_run():
    child = run_child("""
        import os, warnings, production_pipeline as pp
        warnings.simplefilter("ignore")
        pipeline = pp.Pipeline(2, 8).map(lambda x: x + 1)
        stream = pipeline.stream(range(1000))
        next(stream)
        pid = os.fork()
        if pid == 0:
            try:
                list(stream)
            except RuntimeError as error:
                assert "fork" in str(error), error
                assert pipeline.run(range(3)).items == [1, 2, 3]
                os._exit(0)
            os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), sum(1 for _ in stream))
    """)
    assert (child.returncode, child.stdout) == (0, "0 999\n"), child.stderr


# ---- threads


@pytest.mark.parametrize("threads", THREADS)
def test_one_pipeline_from_many_threads(threads):
    pipeline = pp.Pipeline(2, on_error="collect").map(fails_at(17)).map(native.sqrt).filter(lambda x: x > 2).batch(7)
    expected = pipeline.run(range(500)).items
    before = pipeline._totals.snapshot()[0][0].items_in

    def call(i):
        for _ in range(5):
            result = pipeline.run(range(500))
            assert result.items == expected and [e.index for e in result.errors] == [17]
            counted(result.stats)

    run_threads(threads, call)
    stages, states, running, *_ = pipeline._totals.snapshot()
    assert stages[0].items_in - before == threads * 5 * 500 and running == 0 and states == {"finished": threads * 5 + 1}


@each_worker_count
def test_nested(workers):
    inner = pp.Pipeline(workers).map(lambda x: x * x)
    outer = pp.Pipeline(workers).map(lambda n: sum(inner.run(range(n)).items)).flat_map(lambda s: inner.stream(range(s % 4)))
    expected = [y * y for n in range(60) for y in range(sum(x * x for x in range(n)) % 4)]
    assert run_threads(1, lambda i: outer.run(range(60)).items) == [expected]

    def recursive(n):
        return itself.run([n - 1]).items[0] + 1 if n else 0

    itself = pp.Pipeline(workers).map(recursive)
    assert itself.run([20]).items == [20]


def test_no_thread_and_no_item_is_left():
    class Item:
        pass

    before = threading.active_count()
    item = Item()
    gone = weakref.ref(item)
    pipeline = pp.Pipeline(4).map(lambda x: x).filter(bool)
    for _ in range(50):
        assert pipeline.run([item]).items == [item]
        with pipeline.stream(itertools.repeat(item)) as stream:
            next(stream)
    del item, stream
    gc.collect()
    assert gone() is None and threading.active_count() == before


def test_two_workers_are_inside_at_once():
    """The rendezvous: each waits inside its stage until the other is there too."""
    both = threading.Barrier(2)
    assert pp.Pipeline(2, 4).map(lambda x: both.wait(30)).run(range(2)).stats.items_out == 2


# ---- counts


@each_worker_count
def test_stats(workers):
    pipeline = pp.Pipeline(workers, on_error="skip").validate(lambda x: x != 5).filter(lambda x: x % 2).map(str).batch(10)
    assert pipeline.get_stats().state == "idle" and pipeline.get_stats().duration_secs == 0
    stats = pipeline.run(range(100)).stats
    assert stats == pipeline.get_stats()._replace(stages=stats.stages)
    assert (stats.items_read, stats.items_out, stats.items_filtered, stats.items_failed) == (100, 5, 50, 1)
    assert [(s.kind, s.items_in, s.items_out) for s in stats.stages] == [
        ("validate", 100, 99), ("filter", 99, 49), ("map", 49, 49), ("batch", 49, 5),
    ]  # fmt: skip
    assert stats.duration_secs > 0 and all(s.busy_s > 0 and s.throughput > 0 and s.queue_peak > 0 for s in stats.stages)
    assert all(0 < s.p50_s <= s.p90_s <= s.p99_s for s in stats.stages[:3])
    lines = stats.table().splitlines()
    assert len(lines) == 5 and lines[1].startswith("validate <lambda>") and " 99 " in lines[1]


def test_timed_calls():
    calls, histogram = pp._core.timed_calls, pp._core.LatencyHistogram()
    results, halt = ["before"], []
    calls(abs, [-1, -2, -3], 1, results, halt, histogram)
    assert results == ["before", 2, 3] and histogram.count == 2 and histogram.sum_s > 0

    with pytest.raises(Boom):  # what came before it is kept and counted
        calls(fails_at(5), list(range(10)), 3, results, halt, histogram)
    assert results[3:] == [3, 4] and histogram.count == 4
    calls(lambda x: halt.append(x), [1, 2, 3], 0, results, halt, histogram)
    assert results[5:] == [None] and halt == [1] and histogram.count == 5
    calls(abs, [-1], 0, results, halt, histogram)
    assert len(results) == 6

    values = list(range(8))  # shortened by a call
    calls(lambda x: values.clear(), values, 0, results, [], histogram)
    assert len(results) == 7
    weak = weakref.ref(made := Boom())
    calls(lambda x: None, [made], 0, [], [], histogram)
    del made
    assert weak() is None
    for bad in ((None, [1], 0), (abs, (1,), 0), (abs, [1], -1)):
        with pytest.raises((TypeError, ValueError)):
            calls(*bad, [], [], histogram)


def test_timed_calls_let_other_threads_run():
    """A stage that is all C keeps the GIL for as long as its chunk takes, unless the loop gives it up."""
    go, halt, results = threading.Event(), [], []
    thread = threading.Thread(target=lambda: (go.wait(), halt.append(True)))
    thread.start()
    go.set()
    values = [0] * 3000
    pp._core.timed_calls(functools.partial(sum, range(100_000)), values, 0, results, halt, pp._core.LatencyHistogram())
    thread.join()
    assert len(results) < len(values)


@each_worker_count
def test_slow_items_are_timed_one_by_one(workers):
    """So slow that they are: failures, retries and what comes after them are each counted once, with their time."""
    failing = collections.Counter()

    def slow(x):
        for _ in range(3000):
            pass
        failing[x] += 1
        if x % 50 == 7 or (x % 50 == 9 and failing[x] == 1):
            raise Boom(x)
        return x

    pipeline = pp.Pipeline(workers, on_error="skip", retries=1, sleep=lambda seconds: None).map(slow)
    result = pipeline.run(range(300))
    stage = counted(result.stats).stages[0]
    assert result.items == [x for x in range(300) if x % 50 != 7]
    assert (stage.failed, stage.retries) == (6, 12) and max(failing.values()) == 2
    assert stage.latency.count == 300 and 0 < stage.latency.sum_s <= stage.busy_s * 1.01


def test_latency_histogram():
    histogram = pp._core.LatencyHistogram()
    assert histogram.count == 0 and histogram.quantile(0.5) == 0 and histogram.buckets() == []
    histogram.record_many([1000] * 90 + [1_000_000] * 10)
    histogram.record(0, 5)
    other = histogram.copy()
    other.merge(histogram)
    histogram.merge(histogram)
    for h in (histogram, other):
        assert h.count == 210 and h.sum_s == pytest.approx(2 * (90e-6 + 10e-3))
        assert h.quantile(0.5) == pytest.approx(1e-6, rel=0.15) and h.quantile(0.99) == pytest.approx(1e-3, rel=0.15)
        assert sum(n for _, n in h.buckets()) == 210
    for bad in (-1, 1.5, "x", 2**64):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            histogram.record(bad)


def test_prometheus():
    client = pytest.importorskip("prometheus_client")
    parser = pytest.importorskip("prometheus_client.parser")
    pipeline = pp.Pipeline(2, on_error="skip").validate(lambda x: x % 10).map(str)
    pipeline.run(range(100))
    pipeline.run(range(100))
    stream = pipeline.stream(range(100))
    next(stream)
    text = pp.prometheus_text(pipeline, "numbers", "tf")
    parsed = {
        (s.name, s.labels.get("stage"), s.labels.get("le") or s.labels.get("state")): s.value
        for family in parser.text_string_to_metric_families(text)
        for s in family.samples
    }
    assert parsed["tf_runs_total", None, "finished"] == 2 and parsed["tf_runs_active", None, None] == 1
    assert parsed["tf_stage_items_failed_total", "validate <lambda>", None] >= 20
    assert parsed["tf_stage_items_out_total", "map str", None] >= 180
    assert parsed["tf_stage_latency_seconds_count", "map str", None] >= 180
    assert (
        parsed["tf_stage_latency_seconds_bucket", "map str", "+Inf"]
        == parsed["tf_stage_latency_seconds_count", "map str", None]
    )
    stream.close()
    registry = client.CollectorRegistry()
    registry.register(pp.PrometheusCollector(pipeline, "numbers"))
    assert b'pipeline_runs_total{pipeline="numbers",state="closed"} 1.0' in client.generate_latest(registry)
    with pytest.raises(ValueError, match="prefix"):
        pp.PrometheusCollector(pipeline, prefix="no spaces")


# ---- Arrow and Parquet


@each_worker_count
def test_arrow(workers):
    pa = pytest.importorskip("pyarrow")
    pipeline = pp.Pipeline(workers).map(lambda x: x)
    table = pa.table({"a": list(range(1000)), "b": [None if i % 3 else str(i) for i in range(1000)]})
    rows = table.to_pylist()
    for source in (table, table.to_reader(100), pa.Table.from_batches(table.to_batches(7)), table.slice(0)):
        assert pipeline.run(source).items == rows
    assert pipeline.run(table.to_batches()[0]).items == rows
    assert pipeline.run(table["b"]).items == table["b"].to_pylist() and pipeline.run(pa.array([1, None])).items == [1, None]

    class Foreign:  # some other library's table
        def __arrow_c_stream__(self, requested_schema=None):
            return table.__arrow_c_stream__(requested_schema)

    assert pipeline.run(Foreign()).items == rows
    numbers = pa.chunked_array([[1.0, 4.0], [9.0]])

    class ForeignColumn:
        def __arrow_c_stream__(self, requested_schema=None):
            return numbers.__arrow_c_stream__(requested_schema)

    class ForeignArray:
        def __arrow_c_array__(self, requested_schema=None):
            return numbers.chunk(0).__arrow_c_array__(requested_schema)

    assert pipeline.run(ForeignColumn()).items == [1.0, 4.0, 9.0] and pipeline.run(ForeignArray()).items == [1.0, 4.0]
    assert pp.Pipeline(workers).map(native.sqrt).run(numbers).items == pytest.approx([1.0, 2.0, 3.0])
    assert pp.Pipeline(workers, on_error="skip").map(native.sqrt).run(pa.array([4.0, None])).items == [2.0]
    sink = pp.ArrowSink()
    assert sink.table is None
    pp.Pipeline(workers).map(lambda row: {"a": row["a"] * 2}).sink(sink).run(table)
    assert sink.table.to_pylist() == [{"a": 2 * i} for i in range(1000)]
    pp.Pipeline(workers).map(len).sink(sink).run(["x", "yy"])
    assert sink.table.to_pylist() == [{"value": 1}, {"value": 2}]
    with pytest.raises(pa.ArrowInvalid):
        pp.Pipeline(workers, on_error="skip").sink(pp.ArrowSink(pa.schema([("value", pa.int64())]))).run(["garbage"])


@each_worker_count
def test_parquet(workers, tmp_path):
    pytest.importorskip("pyarrow")
    path, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    rows = [{"a": i, "b": str(i)} for i in range(150_000)]
    pp.Pipeline(workers).sink(pp.ParquetSink(path)).run(rows)
    source = pp.ParquetSource(path, ["a"], rows=1000)
    assert len(source) == 150_000
    result = (
        pp.Pipeline(workers)
        .filter(lambda row: row["a"] % 2)
        .map(lambda row: {"c": -row["a"]})
        .sink(pp.ParquetSink(out))
        .run(source)
    )
    assert result.stats.items_out == 75_000
    assert [row["c"] for row in pp.ParquetSource(out)] == [-i for i in range(1, 150_000, 2)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]
    assert list(pp.Pipeline(workers).stream(pp.ParquetSource(path)))[-1] == rows[-1]
    pp.Pipeline(workers).sink(pp.ParquetSink(out)).run([])
    assert list(pp.ParquetSource(out)) == []
    control = pp.Control()
    control.cancel()
    with pytest.raises(pp.PipelineCancelled):
        pp.Pipeline(workers).sink(pp.ParquetSink(path)).run([{"a": 1}], control=control)
    assert len(pp.ParquetSource(path)) == 150_000
    with pytest.raises(ValueError, match="rows"):
        pp.ParquetSource(path, rows=0)


def test_optional_packages_are_named():
    child = run_child("""
        import sys
        for name in ("pyarrow", "tqdm", "prometheus_client"):
            sys.modules[name] = None
        import production_pipeline as pp
        for call in (lambda: pp.ParquetSource("x"), lambda: pp.ParquetSink("x"), lambda: pp.ArrowSink(),
                     lambda: pp.Pipeline(1).run([1], progress=True), lambda: pp.prometheus_text(pp.Pipeline(1)),
                     lambda: pp.PrometheusCollector(pp.Pipeline(1))):
            try:
                call()
            except ImportError as error:
                print(str(error).split(": ")[1])
    """)
    told = ["pyarrow"] * 3 + ["tqdm"] + ["prometheus-client"] * 2
    assert child.stdout.splitlines() == [f"python -m pip install {name}" for name in told], child.stderr


# ---- bad arguments


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: pp.Pipeline(0), ValueError, "workers must be at least 1, not 0"),
        (lambda: pp.Pipeline(1025), ValueError, "workers must be at most 1024"),
        (lambda: pp.Pipeline(1.0), TypeError, "workers must be an int, not float"),
        (lambda: pp.Pipeline(True), TypeError, "workers must be an int"),
        (lambda: pp.Pipeline(1, 0), ValueError, "queue_size must be at least 1"),
        (lambda: pp.Pipeline(1, 1, "ignore"), ValueError, "on_error must be 'raise', 'skip' or 'collect', not 'ignore'"),
        (lambda: pp.Pipeline(1, 1, "skip", -1), ValueError, "retries must be at least 0"),
        (lambda: pp.Pipeline(backoff=-1), ValueError, "backoff"),
        (lambda: pp.Pipeline(backoff=math.nan), ValueError, "backoff"),
        (lambda: pp.Pipeline(most_backoff="1"), TypeError, "most_backoff"),
        (lambda: pp.Pipeline(retry_on=3), TypeError, "retry_on"),
        (lambda: pp.Pipeline(sleep=3), TypeError, "sleep must be callable"),
        (lambda: pp.Pipeline().map(3), TypeError, "map needs a callable, not int"),
        (lambda: pp.Pipeline().filter(None), TypeError, "filter needs a callable"),
        (lambda: pp.Pipeline().reduce("x", 0), TypeError, "reduce needs a callable"),
        (lambda: pp.Pipeline().batch(0), ValueError, "n must be at least 1"),
        (lambda: pp.Pipeline().batch(2.0), TypeError, "n must be an int"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_the_signature_of_the_issue():
    pipeline = pp.Pipeline(workers=None, queue_size=64, on_error="raise", retries=0)
    assert pipeline.map(lambda x: x + 1).run([1]).items == [2]
