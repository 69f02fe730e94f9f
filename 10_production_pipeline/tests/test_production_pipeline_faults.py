"""What a pipeline meets in a long life: signal handlers, forks, streams closed from elsewhere, errors that hold on to things."""

import gc
import itertools
import sys
import threading
import traceback
import weakref

import numpy as np
import production_pipeline as pp
import pytest
from production_pipeline import _core, native
from tenfold_testing import run_child

each_worker_count = pytest.mark.parametrize("workers", (1, 2, 4))
needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")


class Boom(Exception):
    @classmethod
    def fail(cls, x):
        raise cls(x)


class Item:
    pass


# ---- objects that were never made


@pytest.mark.parametrize(
    "kind, call",
    [
        (pp.DataPipeline, lambda made: made.process([1.0])),
        (pp.DataPipeline, lambda made: made.process_batched(np.ones(3))),
        (pp.DataPipeline, lambda made: made.get_stats()),
        (pp.PipelineStats, lambda made: made.items_failed),
        (pp.PipelineStats, repr),
        (_core.Program, lambda made: made.run([1.0])),
        (_core.LatencyHistogram, lambda made: made.quantile(0.5)),
        (_core.LatencyHistogram, lambda made: _core.LatencyHistogram().merge(made)),
    ],
)
def test_classes_that_were_not_made(kind, call):
    made = kind.__new__(kind)
    with pytest.raises(TypeError, match=r"__init__\(\) has not been called"):
        call(made)
    del made
    gc.collect()


def test_init_twice():
    pipeline = pp.DataPipeline(2, 10)
    pipeline.__init__(1, 1)
    assert pipeline.process([4.0, -1.0])[0] == [4.0]


# ---- extremes


@each_worker_count
def test_thousands_of_retries(workers):
    calls = itertools.count(1)

    def patient(x):
        if next(calls) < 2500:
            raise ConnectionError
        return x

    result = pp.Pipeline(workers, retries=3000, backoff=0).map(patient).run([7])
    assert result.items == [7] and result.stats.retries == 2499


@each_worker_count
def test_a_pause_of_ages_ends_with_cancel(workers):
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
        pp.Pipeline(workers, retries=9, backoff=1e300, most_backoff=1e301).map(fails).run([1], control=control)
    thread.join()


@each_worker_count
def test_a_queue_without_end(workers):
    pipeline = pp.Pipeline(workers, queue_size=2**70).flat_map(lambda x: [x, -x]).batch(2**70)
    assert pipeline.run(range(3)).items == [[0, 0, 1, -1, 2, -2]]


# ---- signal handlers, forks


@pytest.mark.skipif(sys.platform == "win32", reason="no raise_signal of SIGINT to oneself on Windows")
def test_a_signal_handler_may_cancel_at_any_moment():
    child = run_child("""
        import production_pipeline as pp, signal
        control = pp.Control()
        signal.signal(signal.SIGINT, lambda *ignored: control.cancel())
        class Runs(dict):
            def __setitem__(self, key, run):  # in the middle of a run's beginning
                super().__setitem__(key, run)
                signal.raise_signal(signal.SIGINT)
        control._runs = Runs()
        try:
            pp.Pipeline(2).map(abs).run(range(10), control=control)
        except pp.PipelineCancelled:
            print("cancelled")
    """)
    assert (child.returncode, child.stdout) == (0, "cancelled\n"), child.stderr


@pytest.mark.parametrize("workers", [2, 4])
def test_ctrl_c_while_a_worker_starts_leaves_no_thread(workers, monkeypatch):
    started = threading.Event.wait

    def interrupted(self, timeout=None):
        started(self, timeout)
        raise KeyboardInterrupt

    before = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Event, "wait", interrupted)  # Thread.start() waits for the thread to run
        with pytest.raises(KeyboardInterrupt):
            pp.Pipeline(workers).map(abs).run(range(10))
    for thread in threading.enumerate():
        if thread.name.startswith("pipeline-"):
            thread.join(20)
    assert threading.active_count() == before


@needs_fork
def test_a_fork_while_another_thread_scrapes_metrics():
    """It may be in the middle of it; the child has the lock, but not the thread."""
    child = run_child("""
        import os, production_pipeline as pp, signal, threading, warnings
        warnings.simplefilter("ignore")
        pipeline, control = pp.Pipeline(2).map(abs), pp.Control()
        held, over = threading.Event(), threading.Event()
        def hold():
            with pipeline._totals._lock:
                held.set()
                over.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)  # or a hanging child would outlive the test
            assert pipeline.run([-1, -2], control=control).items == [1, 2]
            stages, states, running, read, out = pipeline._totals.snapshot()
            assert (states, running, read, out) == ({"finished": 1}, 0, 2, 2)
            control.cancel()
            os._exit(7)
        over.set()
        thread.join()
        print(os.waitpid(pid, 0)[1] >> 8, pipeline.run([-3]).items)
    """)
    assert (child.returncode, child.stdout) == (0, "7 [3]\n"), child.stdout + child.stderr


@needs_fork
def test_a_fork_while_another_thread_runs_the_pipeline():
    child = run_child("""
        import os, production_pipeline as pp, signal, threading, warnings
        warnings.simplefilter("ignore")
        pipeline = pp.Pipeline(2).map(abs)
        inside, over = threading.Event(), threading.Event()
        def source():
            yield 1
            inside.set()
            over.wait()
        thread = threading.Thread(target=lambda: pipeline.run(source()))
        thread.start()
        inside.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            running = pipeline._totals.snapshot()[2]
            os._exit(running)  # that one goes on in the parent
        over.set()
        thread.join()
        print(os.waitpid(pid, 0)[1] >> 8, pipeline.get_stats().state)
    """)
    assert (child.returncode, child.stdout) == (0, "0 finished\n"), child.stdout + child.stderr


# ---- streams


@each_worker_count
@pytest.mark.parametrize("ending", ["close", "with", "drop"])
def test_a_stream_of_which_nothing_was_taken_ends_like_any_other(workers, ending):
    closed = []

    def source():
        try:
            yield from range(10)
        finally:
            closed.append(threading.get_ident())

    begun = source()
    next(begun)
    pipeline = pp.Pipeline(workers).map(abs)
    stream = pipeline.stream(begun)
    assert stream.stats().state == "running"
    if ending == "close":
        stream.close()
        stream.close()
        assert list(stream) == [] and stream.stats().state == "closed"
    elif ending == "with":
        with stream:
            pass
    del stream
    gc.collect()
    assert closed == [threading.get_ident()] and pipeline.get_stats().state == "closed"
    assert pipeline.get_stats().items_read == 0


@each_worker_count
def test_a_stream_closed_by_another_thread(workers):
    closed, ended, inside = [], [], threading.Event()

    def source():
        try:
            yield from itertools.count()
        finally:
            closed.append(threading.get_ident())

    def nothing(x):
        inside.set()
        return False

    pipeline = pp.Pipeline(workers).filter(nothing)
    stream = pipeline.stream(source())

    def take():
        try:
            next(stream)
        except pp.PipelineCancelled:
            ended.append(threading.get_ident())

    thread = threading.Thread(target=take)
    thread.start()
    inside.wait(20)
    stream.close()
    thread.join(20)
    assert not thread.is_alive() and closed == ended == [thread.ident]
    stream.close()
    assert pipeline.get_stats().state == "cancelled" and list(stream) == []


@each_worker_count
def test_an_error_of_closing_is_told(workers):
    def source():
        try:
            yield from itertools.count()
        finally:
            raise ValueError("from the source")

    stream = pp.Pipeline(workers).map(abs).stream(source())
    next(stream)
    with pytest.raises(ValueError, match="from the source"):
        stream.close()


# ---- errors hold on to nothing


@each_worker_count
def test_records_keep_no_frames_of_chained_errors(workers):
    alive = []

    def chained(x):
        big = Item()
        alive.append(weakref.ref(big))
        try:
            raise KeyError(x)
        except KeyError as error:
            raise Boom(x) from error

    result = pp.Pipeline(workers, on_error="collect").map(chained).run(range(3))
    gc.collect()
    assert [one() for one in alive] == [None] * 3
    assert all("KeyError" in e.traceback and type(e.error.__cause__) is KeyError for e in result.errors)


def test_the_error_that_the_caller_is_handling_keeps_its_traceback():
    try:
        raise LookupError("before")
    except LookupError as error:
        result = pp.Pipeline(1, on_error="collect").map(lambda x: 1 / x).flat_map(iter).map(native.sqrt).run([0, 1])
        assert [type(e.error) for e in result.errors] == [ZeroDivisionError, TypeError]
        assert "before" in "".join(traceback.format_tb(error.__traceback__))


def _fails(x):
    big = Item()
    big.itself = x
    _fails.alive.append(weakref.ref(big))
    raise Boom(x)


def _yields(x):
    yield x
    _fails(x)


@each_worker_count
@pytest.mark.parametrize(
    "add",
    [
        lambda p: p.map(_fails),
        lambda p: p.filter(_fails),
        lambda p: p.validate(_fails),
        lambda p: p.flat_map(_fails),
        lambda p: p.flat_map(_yields),
        lambda p: p.reduce(lambda a, x: _fails(x), 0),
        lambda p: p.sink(_fails),
        lambda p: p.map(str).batch(2).map(_fails),
    ],
)
def test_a_raised_error_is_in_no_cycle(workers, add):
    """When the exception has been handled, what its frames see is free at once, not when the garbage collector comes."""
    _fails.alive = []
    gc.collect()
    gc.disable()
    try:
        for retries in (0, 2):
            with pytest.raises(Boom) as caught:
                add(pp.Pipeline(workers, retries=retries, backoff=0)).run([1])
            assert "_fails" in caught.traceback[-1].name
            del caught
        assert [one() for one in _fails.alive] == [None] * len(_fails.alive) and _fails.alive
    finally:
        gc.enable()


@each_worker_count
def test_a_sources_error_is_in_no_cycle(workers):
    gone = []

    def source():
        big = Item()
        gone.append(weakref.ref(big))
        yield 1
        raise Boom

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(Boom) as caught:
            pp.Pipeline(workers).map(abs).run(source())
        del caught
        assert gone[0]() is None
    finally:
        gc.enable()


@each_worker_count
def test_what_is_no_number_fails_with_its_own_error_only(workers):
    result = pp.Pipeline(workers, on_error="collect").map(lambda x: x).map(native.sqrt).run([4.0, "x", 9.0])
    (failure,) = result.errors
    assert result.items == [2.0, 3.0] and (failure.index, failure.value) == (1, "x")
    assert failure.error.__context__ is None and "During handling" not in failure.traceback


@each_worker_count
def test_what_batch_and_reduce_made_is_counted_anew(workers):
    def pipeline(policy):
        return pp.Pipeline(workers, on_error=policy).validate(lambda x: x != 7).batch(2)

    fails = lambda x: Boom.fail(x) if 4 in (x if isinstance(x, list) else [4]) else x  # noqa: E731
    with pytest.raises(Boom) as caught:
        pp.Pipeline(workers).batch(2).map(fails, name="late").run(range(10))
    assert caught.value.__notes__ == ["in stage 'late', item 2 of 'batch(2)'"]
    with pytest.raises(Boom) as caught:
        pp.Pipeline(workers).reduce(int.__add__, 0).map(fails, name="late").run(range(10))
    assert caught.value.__notes__ == ["in stage 'late', item 0 of 'reduce __add__'"]
    result = (
        pipeline("collect").map(fails, name="late").reduce(lambda a, x: a + sum(x), 0).map(fails, name="last").run(range(10))
    )
    assert [(e.stage, e.index) for e in result.errors] == [("validate <lambda>", 7), ("late", 2), ("last", 0)]


@each_worker_count
def test_no_more_records_are_kept_than_wanted(workers):
    for most in (0, 1, 5, 100, None):
        result = pp.Pipeline(workers, on_error="collect", most_errors=most).validate(lambda x: x % 2).run(range(40))
        assert len(result.errors) == min(20, 20 if most is None else most) and result.stats.items_failed == 20
        assert all(e.index % 2 == 0 for e in result.errors)
    with pytest.raises(ValueError, match="most_errors must be at least 0"):
        pp.Pipeline(most_errors=-1)


# ---- arguments


@each_worker_count
def test_a_stage_cannot_change_the_source(workers):
    def doubled(batch):
        batch *= 2
        return batch

    numbers = np.arange(200_000.0)
    result = pp.Pipeline(workers, on_error="collect").batch(1000).map(doubled).run(numbers)
    assert np.array_equal(numbers, np.arange(200_000.0)) and len(result.errors) > 190
    assert all("read-only" in str(e.error) for e in result.errors)
    assert pp.Pipeline(workers).batch(1000).map(lambda b: doubled(b.copy())).map(sum).reduce(float.__add__, 0.0).run(numbers)
    assert numbers.flags.writeable


@each_worker_count
def test_an_array_of_ints_takes_no_floats(workers):
    array = np.full(4, -1)
    result = pp.Pipeline(workers, on_error="collect").map(lambda x: x / 2 if x % 2 else x).sink(array).run(range(4))
    assert array.tolist() == [0, 2, -1, -1] and [(e.index, type(e.error)) for e in result.errors] == [
        (1, TypeError),
        (3, TypeError),
    ]
    rows = np.zeros((2, 3), np.int32)
    with pytest.raises(TypeError, match="int32"):
        pp.Pipeline(workers).sink(rows).run([[1, 2, 3], [1, 2, 3.5]])
    assert rows.tolist() == [[1, 2, 3], [0, 0, 0]]


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: pp.Pipeline(1).run([1], control=3), "control must be a Control, not int"),
        (lambda: pp.Pipeline(1).stream([1], control=threading.Event()), "control must be a Control, not Event"),
        (lambda: pp.Pipeline(1).map(abs, name=5), "name must be a str, not int"),
        (lambda: pp.Pipeline(1).batch(5, name=b"x"), "name must be a str, not bytes"),
        (lambda: pp.Pipeline(1).sink(sys.stdout), r"sink\(file.write\)"),
    ],
)
def test_wrong_types_are_told_at_once(call, match):
    with pytest.raises(TypeError, match=match):
        call()
