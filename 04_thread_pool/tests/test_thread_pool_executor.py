"""Executor: order, laziness, errors, stopping, choice of backend; its life is in test_thread_pool_executor_life.py."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import functools
import gc
import itertools
import math
import operator
import os
import pickle
import sys
import threading
import time
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold_testing import THREADS, run_threads
from thread_pool import choosing, results, routing
from thread_pool.executor import BrokenExecutor, Executor, Failure, current_task
from thread_pool.local import LocalBackend, LocalWorker
from thread_pool.travel import Refused

LIMIT = 30.0
ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
Group = getattr(__import__("builtins"), "ExceptionGroup", RuntimeError)
BaseGroup = getattr(__import__("builtins"), "BaseExceptionGroup", RuntimeError)


class CopyingBackend(LocalBackend):
    """Stands for a border: functions, arguments and results cross it as pickles. Calls may end or refuse the worker."""

    name = "processes"

    def __init__(self, name="processes"):
        self.name = name
        self.opened = 0

    def pack_function(self, fn):
        try:
            return pickle.dumps(fn)
        except Exception as error:
            raise TypeError(f"{fn!r} cannot travel") from error

    def pack_calls(self, calls, first=0, kind="calls"):
        if kind == "items":
            calls = [((each,), None) for each in calls]
        elif kind == "args":
            calls = [(each, None) for each in calls]
        packed = []
        for position, call in enumerate(calls):
            try:
                packed.append(pickle.dumps(call))
            except Exception as error:
                bad = TypeError(f"an argument of item {first + position} cannot travel")
                bad.position = position
                raise bad from error
        return packed

    def repack(self, calls):
        return calls

    def open(self):
        self.opened += 1
        return CopyingWorker(self)


class CopyingWorker(LocalWorker):
    def __init__(self, backend):
        super().__init__()
        self.backend = backend

    def run(self, function, calls, task, stop_on_error):
        calls = [pickle.loads(each) for each in calls]
        if self.backend.name == "interpreters" and any(type(x) is Stubborn for args, _ in calls for x in args):
            raise Refused("stubborn refuses sub-interpreters", name="stubborn")
        if any(type(x) is Bomb for args, _ in calls for x in args):
            raise BrokenExecutor("the worker was killed by signal SIGKILL")
        values, failures = super().run(pickle.loads(function), calls, task, stop_on_error)
        return [pickle.loads(pickle.dumps(each)) for each in values], failures


class Stubborn:
    pass


class Bomb:
    pass


def is_here(name):
    if name == "interpreters" and sys.version_info < (3, 12):
        return "interpreters need CPython 3.12"
    try:
        choosing.open_backend(name)
    except (ImportError, RuntimeError) as error:
        return str(error)
    return None


class Kinds:
    """Executors by kind, made once."""

    def __init__(self):
        self.made = {}

    def __getitem__(self, kind):
        if kind not in self.made:
            if kind == "copying":
                executor = Executor(2, "threads")
                executor._router = routing.Router(2, "serial")
                executor._router.requested = "processes"
                executor._router.engines["processes"] = routing.Engine(CopyingBackend(), 2)
            else:
                executor = Executor(2, kind)
            self.made[kind] = executor
        return self.made[kind]


kinds = Kinds()


@pytest.fixture(autouse=True)
def by_value(monkeypatch):
    """The functions of this file travel by value, also where pytest has put the repository on sys.path: a worker that imported
    this file would import Hypothesis, whose native part refuses sub-interpreters."""
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place and os.path.realpath(place) != ROOT])


@pytest.fixture(scope="module", autouse=True)
def close_all():
    yield
    for each in kinds.made.values():
        each.shutdown()


@pytest.fixture(params=["threads", "serial", "copying", "interpreters", "processes"])
def executor(request):
    """One running executor of each kind; all calls of this file's functions can cross every border."""
    if request.param in ("interpreters", "processes"):
        missing = is_here(request.param)
        if missing:
            pytest.skip(missing)
    return kinds[request.param]


def square(x):
    return x * x


def same(x):
    return x


def odd_fails(x):
    if x % 2:
        raise KeyError(x)
    return x


def fails_at(bad, x):
    if x in bad:
        raise ValueError(x, "text")
    return x


def failing(*bad):
    return functools.partial(fails_at, frozenset(bad))


def raises(kind, *args):
    raise kind(*args)


def ways(executor):
    """All four maps over one iterable, with results in order."""
    return {
        "map": executor.map,
        "starmap": lambda fn, items, **more: executor.starmap(fn, ((each,) for each in items), **more),
        "imap": executor.imap,
        "imap_unordered": lambda fn, items, **more: in_order(executor.imap_unordered(fn, items, with_index=True, **more)),
    }


def in_order(pairs):
    found = sorted(pairs, key=operator.itemgetter(0))
    assert [index for index, _ in found] == list(range(len(found)))
    return iter([value for _, value in found])


# ---- answers, order


@pytest.mark.parametrize("chunksize", [None, 1, 3, 1000])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 17, 200])
def test_results_in_input_order(executor, size, chunksize):
    expected = [square(x) for x in range(size)]
    for name, way in ways(executor).items():
        found = way(square, range(size), chunksize=chunksize)
        assert iter(found) is found
        assert list(found) == expected, name
        assert list(way(square, iter(range(size)), chunksize=chunksize)) == expected, name


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.none(), st.binary()), max_size=40),
    st.sampled_from([None, 1, 2, 7]),
)
def test_values_come_back_as_they_went(values, chunksize):
    for kind in ("threads", "serial", "copying"):
        for name, way in ways(kinds[kind]).items():
            found = list(way(str, values, chunksize=chunksize))
            assert found == list(map(str, values)), (kind, name)


@pytest.mark.parametrize("way", ["map", "imap"])
@pytest.mark.parametrize("chunksize", [1, 4, 100])
def test_results_are_an_iterator_that_can_be_closed(executor, way, chunksize):
    results = getattr(executor, way)(abs, range(8), chunksize=chunksize)
    assert iter(results) is results and [next(results), next(results)] == [0, 1]
    results.close()
    assert list(results) == []
    results = getattr(executor, way)(int, ["0", "1", "x", "3"], chunksize=chunksize)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError):
        next(results)
    assert list(results) == []


def test_several_iterables_stop_at_the_shortest(executor):
    assert list(executor.map(pow, [2, 3, 4], (5, 6))) == [32, 729]
    assert list(executor.map(divmod, [7], [2])) == [(3, 1)]
    assert list(executor.map(square)) == []
    assert list(executor.starmap(pow, [(2, 3), [3, 2], iter((2, 2))])) == [8, 9, 4]
    with pytest.raises(TypeError):
        executor.starmap(pow, [1])


def test_submit(executor):
    task = executor.submit(pow, 2, 10)
    assert isinstance(task, cf.Future) and isinstance(executor, cf.Executor)
    assert task.result(LIMIT) == 1024
    assert executor.submit(int, "ff", base=16).result(LIMIT) == 255
    # `fn` and `self` are free names
    assert executor.submit(dict, fn=1, self=2).result(LIMIT) == {"fn": 1, "self": 2}
    tasks = [executor.submit(square, x) for x in range(50)]
    assert {each.result() for each in cf.as_completed(tasks, LIMIT)} == {x * x for x in range(50)}
    done, left = cf.wait(tasks, LIMIT)
    assert len(done) == 50 and not left


def test_asyncio(executor):
    async def both():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(loop.run_in_executor(executor, square, 3), asyncio.wrap_future(executor.submit(square, 4)))

    assert asyncio.run(both()) == [9, 16]


def test_bad_arguments(executor):
    for call in (executor.map, executor.imap, executor.imap_unordered, executor.starmap):
        with pytest.raises(TypeError, match="not callable"):
            call(3, [])
        with pytest.raises(ValueError, match="chunksize"):
            call(square, [], chunksize=0)
        with pytest.raises(TypeError):
            call(square, [], chunksize=1.5)
        with pytest.raises(ValueError, match="on_error"):
            call(square, [], on_error="ignore")
        with pytest.raises(TypeError, match="progress"):
            call(square, [], progress=3)
        with pytest.raises((TypeError, ValueError)):
            call(square, [], timeout="soon")
        with pytest.raises(ValueError, match="NaN"):
            call(square, [], timeout=math.nan)
        with pytest.raises(TypeError):
            call(square, 3)
        with pytest.raises(TypeError):
            call(square, [1], 5, 6, 7) if call is not executor.map else call(square, [1], 5)
    with pytest.raises(TypeError, match="not callable"):
        executor.submit(None)
    with pytest.raises(TypeError):
        executor.submit()


@pytest.mark.parametrize("bad", [0, -1, 1025, 10**30])
def test_bad_settings(bad):
    with pytest.raises(ValueError, match=f"workers must be between 1 and 1024, not {bad}"):
        Executor(bad)
    with pytest.raises(TypeError, match="workers must be an int or None, not float"):
        Executor(1.5)
    with pytest.raises(ValueError, match="backend"):
        Executor(1, "gpu")


@pytest.mark.parametrize("workers", THREADS)
@pytest.mark.parametrize("chunksize", [None, 1, 10])
def test_many_callers_at_once(workers, chunksize):
    with Executor(workers, "threads") as executor:
        found = run_threads(4, lambda i: list(executor.map(square, range(i, i + 300), chunksize=chunksize)))
    assert found == [[square(x) for x in range(i, i + 300)] for i in range(4)]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 5000),
    st.integers(1, 64),
    st.one_of(st.none(), st.floats(1e-9, 10)),
)
def test_chunks_cover_everything_once(count, workers, cost):
    sizes = choosing.chunk_sizes(count, workers, None, cost)
    assert sum(sizes) == count and min(sizes) >= 1
    assert max(sizes) <= max(1, count // (2 * workers), count // 512)
    assert len(sizes) <= 512 + 512 + 2 * workers
    assert choosing.chunk_sizes(count, workers, 7) == [7] * (count // 7) + [count % 7] * (count % 7 > 0)


def same_values(found, expected):
    assert list(map(type, found)) == list(map(type, expected))
    assert list(map(repr, found)) == list(map(repr, expected))


def mixed(i):
    """Numbers of one kind for a while, and then something else."""
    return i if i < 900 else (i + 0.5 if i < 1800 else str(i) if i < 2700 else i)


def by_remainder(x):
    kind = x % 1000
    if kind == 0:
        raise ValueError(x)
    return 1 << 63 if kind == 1 else x == 3 if kind < 5 else x


NUMBERS = {
    "ints": [-(1 << 63), (1 << 63) - 1, 0, -1, *range(3000)],
    "too large": [*range(3000), 1 << 63],
    "floats": [-0.0, math.inf, -math.inf, 5e-324, math.nan, *(i / 7 for i in range(3000))],
    "both": [*range(1500), *(i / 7 for i in range(1500))],
    "bools": [True, False] * 1500,
    "few": [1, 2, 3],
    "few floats": [0.5],
}


@pytest.mark.parametrize("chunksize", [None, 1, 700])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_arrive_and_return_as_they_are(executor, name, chunksize):
    values = NUMBERS[name]
    if chunksize == 1:
        values = values[:40] + values[-3:]
    same_values(
        list(executor.map(operator.pos if name != "bools" else operator.not_, values, chunksize=chunksize)),
        [+each if name != "bools" else not each for each in values],
    )
    same_values(list(executor.map(repr, values, chunksize=chunksize)), list(map(repr, values)))


@pytest.mark.parametrize("chunksize", [None, 4000])
def test_results_may_change_their_kind_on_the_way(executor, chunksize):
    same_values(list(executor.map(mixed, range(4000), chunksize=chunksize)), list(map(mixed, range(4000))))


@pytest.mark.parametrize("first", [0, 1, 2])
def test_failures_among_numbers_stand_in_their_place(executor, first):
    items = range(first, first + 3500)
    found = list(executor.map(by_remainder, items, chunksize=3500, on_error="return"))
    assert len(found) == len(items)
    for item, value in zip(items, found):
        if item % 1000 == 0:
            assert type(value.exception) is ValueError and value.exception.args == (item,)
        else:
            assert type(value) is type(by_remainder(item)) and value == by_remainder(item)
    results = executor.map(by_remainder, items, chunksize=3500)
    good = list(itertools.takewhile(lambda x: x % 1000, items))
    same_values(list(itertools.islice(results, len(good))), list(map(by_remainder, good)))
    with pytest.raises(ValueError, match="1000|0"):
        next(results)


@pytest.mark.parametrize("kind", ["threads", "serial"])
def test_numbers_are_the_callers_objects_where_auto_copies_nothing(monkeypatch, kind):
    monkeypatch.setattr(routing, "candidates", lambda: [(kind, "as if")])
    numbers = [i + 0.5 for i in range(3000)]
    with Executor(2) as executor:
        assert all(map(operator.is_, executor.map(same, numbers), numbers))


def quick_then_slow(path, x):
    if x >= 2047:
        time.sleep(0.005)
        with open(path, "ab", buffering=0) as file:
            file.write(b"x")
    return x


@pytest.mark.parametrize("kind", ["threads", "interpreters", "processes"])
def test_no_further_call_of_a_chunk_begins_after_a_timeout(kind, tmp_path):
    missing = kind != "threads" and is_here(kind)
    if missing:
        pytest.skip(missing)
    path = tmp_path / "slow"
    with Executor(1, kind) as executor:
        with pytest.raises(results.OutOfTime):
            list(executor.map(functools.partial(quick_then_slow, str(path)), range(4095), chunksize=4095, timeout=0.5))
        assert executor.submit(square, 3).result(LIMIT) == 9
    assert path.stat().st_size < 1500  # of 2048


@pytest.mark.parametrize("way", ["map", "imap", "imap_unordered"])
def test_results_that_are_closed_before_the_first_want_no_calls(way):
    calls = []
    with Executor(1, "threads") as executor:
        getattr(executor, way)(lambda x: calls.append(x) or time.sleep(0.01), list(range(200)), chunksize=1).close()
    assert len(calls) < 100


def test_a_list_of_numbers_is_taken_as_it_is_when_map_is_called(executor):
    numbers = list(range(5000))
    results = executor.map(square, numbers)
    numbers[:] = [-1] * 7
    assert list(results) == [x * x for x in range(5000)]


def test_one_result_list_per_chunk_not_a_future_per_item(monkeypatch):
    made = []
    monkeypatch.setattr(routing, "Batch", lambda *args: made.append(args) or REAL_BATCH(*args))
    with Executor(2, "threads") as executor:
        assert sum(executor.map(square, range(100_000))) == sum(map(square, range(100_000)))
    assert len(made) < 1100
    assert sum(args[2] for args in made) == 100_000


REAL_BATCH = routing.Batch


# ---- laziness


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
@pytest.mark.parametrize("chunksize", [1, 3])
@pytest.mark.parametrize("kind", ["threads", "serial", "copying"])
def test_imap_reads_the_source_lazily_in_the_consuming_thread(kind, way, chunksize):
    read, threads = [0], set()

    def source():
        for i in itertools.count():
            read[0] += 1
            threads.add(threading.get_ident())
            yield i

    items = getattr(kinds[kind], way)(square, source(), chunksize=chunksize)
    assert read[0] == 0
    for delivered in range(1, 200):
        next(items)
        assert delivered <= read[0] <= delivered - 1 + 4 * 2 * chunksize + (chunksize - 1), delivered
    assert threads == {threading.get_ident()}
    items.close()
    assert list(items) == []


def test_imap_does_not_wait_for_the_source_when_a_result_is_there():
    gate = threading.Event()

    def source():
        yield 1
        yield 2
        assert gate.wait(LIMIT)
        yield 3

    with Executor(2, "serial") as executor:
        items = executor.imap(square, source())
        assert next(items) == 1  # the second item need not even be read
        assert next(items) == 4
        gate.set()
        assert list(items) == [9]


def test_map_takes_its_input_whole(executor):
    source = iter(range(10))
    items = executor.map(square, source)
    assert list(source) == []
    assert list(items) == [square(x) for x in range(10)]


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_an_error_of_the_source_comes_after_the_results_before_it(executor, way):
    def source():
        yield from range(5)
        raise OSError("the source")

    items = getattr(executor, way)(square, source(), chunksize=2)
    found = []
    with pytest.raises(OSError, match="the source"):
        for each in items:
            found.append(each)
    assert sorted(found) == [0, 1, 4, 9, 16]
    for call in (executor.map, executor.starmap):
        with pytest.raises(OSError, match="the source"):
            call(square, source() if call is executor.map else ((x,) for x in source()))


# ---- what cannot travel


def test_what_cannot_travel_is_refused_before_the_first_call():
    executor = kinds["copying"]
    opened = executor._router.engines["processes"].backend.opened
    for call in (
        lambda: executor.submit(lambda: 1),
        lambda: executor.submit(square, threading.Lock()),
        lambda: executor.map(square, [1, threading.Lock()]),
        lambda: executor.starmap(square, [(1,), (threading.Lock(),)]),
        lambda: executor.imap(lambda x: x, [1]),
    ):
        with pytest.raises(TypeError, match="cannot travel"):
            call()
    assert executor._router.engines["processes"].backend.opened == opened or opened == 0


@pytest.mark.parametrize("chunksize", [1, 2, 5])
def test_imap_meets_what_cannot_travel_at_its_item(chunksize):
    executor = kinds["copying"]
    items = executor.imap(square, [1, 2, threading.Lock(), 4], chunksize=chunksize)
    assert [next(items), next(items)] == [1, 4]
    with pytest.raises(TypeError, match="item 2 cannot travel"):
        next(items)
    found = list(executor.imap(square, [1, threading.Lock(), 3], on_error="return", chunksize=chunksize))
    assert found[0] == 1 and found[2] == 9
    assert type(found[1]) is Failure and found[1].index == 1 and isinstance(found[1].exception, TypeError)


def test_later_changes_of_an_argument_are_not_seen():
    started, go = EVENTS["started"], EVENTS["go"]
    started.clear(), go.clear()
    executor = kinds["copying"]
    tasks = [executor.submit(wait_for_go, 0) for _ in range(2)]
    assert started.wait(LIMIT)
    data = [1, 2]
    later = executor.submit(list, data)
    items = executor.map(list, [data])
    data.append(3)
    go.set()
    assert later.result(LIMIT) == [1, 2] and list(items) == [[1, 2]]
    cf.wait(tasks, LIMIT)


EVENTS = {"started": threading.Event(), "go": threading.Event()}


def wait_for_go(x):
    EVENTS["started"].set()
    assert EVENTS["go"].wait(LIMIT)
    return x


# ---- errors


def index_of(error):
    if sys.version_info < (3, 11):
        return error.index
    (text,) = [each for each in error.__notes__ if "item" in each]
    return int(text.split()[-1])


@pytest.mark.parametrize("chunksize", [None, 1, 4, 100])
def test_raise(executor, chunksize):
    for name, way in ways(executor).items():
        found = []
        with pytest.raises(ValueError) as caught:
            for each in way(failing(5, 11), range(20), chunksize=chunksize):
                found.append(each)
        assert caught.value.args == (5, "text") and index_of(caught.value) == 5, name
        assert found == ([] if name == "imap_unordered" else [0, 1, 2, 3, 4]), name


@pytest.mark.parametrize("chunksize", [1, 4])
def test_raise_unordered_delivers_what_came_before(executor, chunksize):
    found = []
    with pytest.raises(ValueError) as caught:
        for pair in executor.imap_unordered(failing(5, 11), range(20), chunksize=chunksize, with_index=True):
            found.append(pair)
    assert index_of(caught.value) == 5
    assert {(x, x) for x in range(5)} <= set(found) and all(a == b for a, b in found) and (5, 5) not in found


def slow_first(x):
    if x == 0:
        assert EVENTS["go"].wait(LIMIT)
        raise KeyError("first")
    EVENTS["go"].set()
    raise KeyError("later")


@pytest.mark.parametrize("kind", ["threads", "copying"])
@pytest.mark.parametrize("way", ["map", "imap", "imap_unordered"])
def test_the_lowest_failing_index_wins(kind, way):
    EVENTS["go"].clear()
    with pytest.raises(KeyError, match="first"):
        list(getattr(kinds[kind], way)(slow_first, range(2), chunksize=1))


@pytest.mark.parametrize("way", ["map", "imap", "imap_unordered"])
def test_a_failure_cancels_the_items_after_it(way):
    seen = []

    def note(x):
        seen.append(x)
        if x == 3:
            raise ValueError(x)

    with Executor(1, "threads") as executor:
        with pytest.raises(ValueError):
            list(getattr(executor, way)(note, range(1000), chunksize=1))
    assert seen[:4] == [0, 1, 2, 3] and len(seen) < 20
    with Executor(1, "serial") as executor:
        seen.clear()
        with pytest.raises(ValueError):
            list(getattr(executor, way)(note, range(1000)))
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("chunksize", [None, 1, 4])
def test_collect(executor, chunksize):
    for name, way in ways(executor).items():
        with pytest.raises(Group) as caught:
            list(way(odd_fails, range(10), chunksize=chunksize, on_error="collect"))
        errors = caught.value.exceptions
        assert [each.args for each in errors] == [(x,) for x in range(1, 10, 2)], name
        assert [index_of(each) for each in errors] == list(range(1, 10, 2)), name
        assert all(type(each) is KeyError for each in errors)
        assert list(way(odd_fails, range(0, 10, 2), on_error="collect")) == [0, 2, 4, 6, 8], name


def test_collect_runs_everything_and_gives_no_result_a_wrong_place():
    seen = []

    def note(x):
        seen.append(x)
        return odd_fails(x)

    found = []
    with Executor(2, "threads") as executor:
        with pytest.raises(Group):
            for each in executor.map(note, [0, 2, 4, 5, 6, 7], on_error="collect", chunksize=1):
                found.append(each)
    assert found == [0, 2, 4] and sorted(seen) == [0, 2, 4, 5, 6, 7]


@pytest.mark.parametrize("chunksize", [None, 1, 4])
def test_return(executor, chunksize):
    for name, way in ways(executor).items():
        found = list(way(odd_fails, range(9), chunksize=chunksize, on_error="return"))
        assert found[::2] == [0, 2, 4, 6, 8], name
        for index, each in enumerate(found[1::2]):
            assert type(each) is Failure and each.index == 2 * index + 1, name
            assert type(each.exception) is KeyError and each.exception.args == (each.index,)
            assert index_of(each.exception) == each.index


def test_a_returned_exception_is_a_value(executor):
    for way in ways(executor).values():
        found = list(way(ValueError, [1, 2]))
        assert [type(each) for each in found] == [ValueError] * 2 and found[1].args == (2,)
    assert executor.submit(KeyError, 1).result(LIMIT).args == (1,)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopAsyncIteration, RecursionError])
def test_exceptions_of_a_callable_are_its_exceptions_like_any_other(executor, kind):
    call = functools.partial(raises, kind)
    assert type(executor.submit(call, 7).exception(LIMIT)) is kind
    for name, way in ways(executor).items():
        with pytest.raises(kind) as caught:
            list(way(call, [7]))
        assert caught.value.args == (7,), name
        (failure,) = way(call, [7], on_error="return")
        assert type(failure.exception) is kind
        with pytest.raises(BaseGroup) as caught:
            list(way(call, [7, 8], on_error="collect"))
        assert [type(each) for each in caught.value.exceptions] == [kind] * 2
    assert list(executor.map(square, [3])) == [9]


def test_stop_iteration_does_not_end_an_iterator(executor):
    call = functools.partial(raises, StopIteration)
    for name, way in ways(executor).items():
        with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
            list(way(call, [1, 2]))
        assert type(caught.value.__cause__) is StopIteration, name
        (failure,) = way(call, [1], on_error="return")
        assert type(failure.exception) is StopIteration


def test_an_exception_keeps_no_results_alive():
    class Big:
        pass

    class Oops(Exception):
        pass

    seen = []

    def make(x):
        if x == 3:
            raise Oops
        big = Big()
        seen.append(weakref.ref(big))
        return big

    gc.collect()
    gc.disable()
    try:
        with Executor(1, "threads") as executor:
            for _ in executor.map(make, range(3)):
                pass
            try:
                for _ in executor.map(make, [3]):
                    pass
            except Oops as error:
                kept = weakref.ref(error)
            _ = None
        assert [each() for each in seen] == [None] * 3
        assert kept() is None, "a reference cycle holds the exception"
    finally:
        gc.enable()


def test_the_traceback_is_the_callables_own():
    for kind in ("threads", "serial"):
        error = kinds[kind].submit(raises, ValueError).exception(LIMIT)
        assert error.__traceback__.tb_frame.f_code is raises.__code__, kind


def test_failure_pickles_and_says_what_it_is():
    failure = pickle.loads(pickle.dumps(Failure(KeyError(3), 8)))
    assert failure.index == 8 and failure.exception.args == (3,)
    assert repr(failure) == "Failure(KeyError(3), index=8)"


# ---- progress


@pytest.mark.parametrize("way", ["map", "starmap", "imap", "imap_unordered"])
@pytest.mark.parametrize("size", [0, 1, 50])
def test_progress(executor, way, size):
    calls = []

    def progress(done, total):
        calls.append((done, total, threading.get_ident()))

    assert len(list(ways(executor)[way](square, range(size), progress=progress))) == size
    assert calls[-1][:2] == (size, size)
    done = [each[0] for each in calls]
    assert done == sorted(done)
    assert {each[2] for each in calls} == {threading.get_ident()}
    lazy = way.startswith("imap")
    assert all(total == size or (lazy and total is None) for _, total, _ in calls)
    assert [each[:2] for each in calls].count((size, size)) == 1


def test_progress_that_raises_stops_the_work(events):
    seen = []

    def call(x):
        seen.append(x)
        return until_told() if x == 1 else x

    def progress(done, total):
        raise OSError("no more")

    with Executor(1, "threads") as executor:
        with pytest.raises(OSError, match="no more"):
            list(executor.map(call, range(1000), chunksize=1, progress=progress))
    assert seen in ([0], [0, 1])


def test_progress_bar(monkeypatch, capsys):
    executor = kinds["threads"]
    list(executor.map(square, range(10), progress=True))
    assert capsys.readouterr().err == ""  # no terminal
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    list(executor.map(square, range(10), progress=True))
    text = capsys.readouterr().err
    assert "10/10" in text and text.endswith("\n")
    list(executor.imap(square, range(10), progress=True))
    assert "10/10" in capsys.readouterr().err


# ---- stopping


def until_told():
    """Runs until it is told to stop; then says so."""
    EVENTS["started"].set()
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if current_task().cancelled():
            return "told"
        time.sleep(0.001)
    return "never told"


def until_told_of(_):
    return until_told()


def until_told_at_zero(x):
    return until_told() if x == 0 else x


@pytest.fixture
def events():
    for each in EVENTS.values():
        each.clear()
    return EVENTS


@pytest.mark.parametrize("kind", ["threads", "copying"])
def test_cancel(events, kind):
    with Executor(1, "threads") as executor:
        if kind == "copying":
            executor._router.engines["threads"] = routing.Engine(CopyingBackend("threads"), 1)
        running = executor.submit(until_told)
        assert events["started"].wait(LIMIT) and running.running()
        pending = executor.submit(square, 3)
        calls = []
        pending.add_done_callback(calls.append)
        assert pending.cancel() and pending.cancelled() and calls == [pending]
        assert cf.wait([pending], timeout=LIMIT).done == {pending}, "waits for a worker to look at it"
        assert pending.cancel() and calls == [pending]
        with pytest.raises(cf.CancelledError):
            pending.result(0)
        assert not running.cancel()
        assert running.result(LIMIT) == "told"
        assert not running.cancel() and not running.cancelled()
        assert executor.submit(square, 4).result(LIMIT) == 16


def test_current_task_outside_a_task_is_none(executor):
    assert current_task() is None
    executor.submit(square, 2).result(LIMIT)
    assert list(executor.map(square, [1])) == [1]
    assert current_task() is None


@pytest.mark.parametrize("way", ["map", "starmap", "imap", "imap_unordered"])
@pytest.mark.parametrize("kind", ["threads", "copying"])
def test_timeout_stops_the_wait_and_tells_the_calls(events, kind, way):
    executor = kinds[kind]
    run = ways(executor)[way](until_told_at_zero, range(40), chunksize=1, timeout=0.1) if way != "imap_unordered" else None
    if run is None:
        run = executor.imap_unordered(until_told_at_zero, range(3), timeout=0.1)
    with pytest.raises(TimeoutError):
        list(run)
    with pytest.raises(StopIteration):
        next(run)
    # The call that was told ends by itself: the worker is free again.
    assert [executor.submit(square, x).result(LIMIT) for x in range(4)] == [0, 1, 4, 9]


def test_timeout_is_both_kinds_of_timeout(events):
    run = kinds["threads"].map(until_told_at_zero, [0], timeout=0)
    with pytest.raises(cf.TimeoutError) as caught:
        next(run)
    assert isinstance(caught.value, TimeoutError)


def test_results_that_are_there_come_whatever_the_time(executor):
    items = executor.map(square, range(5), timeout=LIMIT)
    assert list(items) == [0, 1, 4, 9, 16]
    assert list(executor.map(square, range(5), timeout=math.inf)) == [0, 1, 4, 9, 16]
    assert list(executor.map(square, range(5), timeout=10**9)) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("way", ["map", "imap"])
def test_serial_looks_at_the_time_between_items(way):
    seen = []

    def slow(x):
        seen.append(x)
        time.sleep(0.05)
        return x

    found = []
    with pytest.raises(TimeoutError):
        for each in getattr(kinds["serial"], way)(slow, range(100), timeout=0.12):
            found.append(each)
    assert found == seen and 1 <= len(seen) < 100


def test_timeout_ends_the_reading_of_a_slow_source():
    read = []

    def source():
        for i in range(1000):
            read.append(i)
            time.sleep(0.02)
            yield i

    stop = threading.Event()
    with Executor(50, "threads") as executor:
        with pytest.raises(TimeoutError if sys.version_info >= (3, 11) else cf.TimeoutError):
            list(executor.imap(lambda _: stop.wait(LIMIT), source(), timeout=0.2))
        stop.set()
    assert len(read) <= 11  # 4 x 50 were to be read ahead


def test_unordered_keeps_no_account_of_what_came_in_order():
    with Executor(2, "threads") as executor:
        found = executor.imap_unordered(abs, itertools.count())
        for _ in range(500):
            next(found)
        assert len(found.gi_frame.f_locals["begun"]) < 50
        found.close()


@pytest.mark.parametrize("way", ["map", "imap", "imap_unordered"])
def test_dropped_half_way_cancels_what_is_pending(events, way):
    seen = []

    def call(x):
        seen.append(x)
        if x == 1:
            return until_told()
        return x

    with Executor(1, "threads") as executor:
        items = getattr(executor, way)(call, range(1000), chunksize=1)
        assert next(items) == 0
        assert way != "map" or events["started"].wait(LIMIT)
        del items
        gc.collect()
        assert executor.submit(square, 2).result(LIMIT) == 4
    assert len(seen) < 20


def test_a_map_that_is_never_asked_runs_all_the_same():
    seen = []
    with Executor(2, "threads") as executor:
        executor.map(seen.append, range(100))
    assert sorted(seen) == list(range(100))


def test_a_first_failure_tells_the_calls_after_it(events):
    def call(x):
        if x == 0:
            assert events["started"].wait(LIMIT)
            raise ValueError
        return until_told()

    with Executor(2, "threads") as executor:
        with pytest.raises(ValueError):
            list(executor.map(call, range(2), chunksize=1))
        # shutdown waits for the second call: it ends only because it was told


def test_callbacks_run_once_and_under_no_lock():
    with Executor(2, "threads") as executor:
        task = executor.submit(square, 3)
        heard = []

        def hear(found):
            # Another thread can look at the future, and at the executor, meanwhile.
            other = threading.Thread(
                target=lambda: heard.append((found.result(), found.done(), executor.submit(square, 2).result(LIMIT)))
            )
            other.start()
            other.join(LIMIT)

        task.result(LIMIT)
        task.add_done_callback(hear)
        gate = threading.Event()
        task = executor.submit(gate.wait, LIMIT)
        task.add_done_callback(lambda found: heard.append(executor.submit(square, 5)))
        task.add_done_callback(lambda found: sys.exit(3))  # the worker goes on
        gate.set()
        assert task.result(LIMIT) is True
    assert heard[0] == (9, True, 4) and heard[1].result(LIMIT) == 25 and len(heard) == 2


def test_a_chain_of_callbacks_does_not_nest():
    ended = threading.Event()
    with Executor(1, "threads") as executor:

        def again(task):
            if task.result() == 5000:
                ended.set()
            else:
                executor.submit(operator.add, task.result(), 1).add_done_callback(again)

        executor.submit(operator.add, 0, 1).add_done_callback(again)
        assert ended.wait(LIMIT)


# ---- nested use


@pytest.mark.parametrize("workers", THREADS)
def test_a_call_may_use_its_own_executor(workers):
    def fib(n):
        return n if n < 2 else sum(executor.map(fib, [n - 1, n - 2]))

    def tree(n):
        return 1 if n == 0 else sum(each.result(LIMIT) for each in [executor.submit(tree, n - 1) for _ in range(2)])

    def lazy(n):
        return n if n < 2 else sum(executor.imap(lazy, [n - 1, n - 2]))

    with Executor(workers, "threads") as executor:
        assert executor.submit(fib, 10).result(LIMIT) == 55
        assert list(executor.map(tree, range(6))) == [1, 2, 4, 8, 16, 32]
        assert list(executor.imap_unordered(lazy, [9])) == [34]


def test_two_executors_that_use_each_other():
    with Executor(1, "threads") as one, Executor(1, "threads") as other:

        def there(n):
            return n if n == 0 else 1 + other.submit(back, n - 1).result(LIMIT)

        def back(n):
            return n if n == 0 else 1 + one.submit(there, n - 1).result(LIMIT)

        assert one.submit(there, 20).result(LIMIT) == 20


def test_a_worker_that_waits_for_a_pending_call_makes_it():
    with Executor(1, "threads") as executor:
        gate = threading.Event()
        tasks = []

        def first():
            assert gate.wait(LIMIT)
            return tasks[0].result(LIMIT) + 1

        waiting = executor.submit(first)
        tasks.append(executor.submit(square, 3))
        gate.set()
        assert waiting.result(LIMIT) == 10


def test_a_call_may_shut_its_executor_down():
    executor = Executor(2, "threads")
    assert executor.submit(executor.shutdown).result(LIMIT) is None
    with pytest.raises(RuntimeError):
        executor.submit(square, 1)


# ---- workers that die, modules that refuse


@pytest.mark.skipif(sys.platform == "win32", reason="no processes there")
def test_calls_that_are_made_again_are_as_they_were_submitted(tmp_path):
    """They lay in one batch with a call that was the worker's end, and the caller has changed them since."""
    go = tmp_path / "go"

    def work(item):
        end = time.monotonic() + LIMIT
        while not go.exists() and time.monotonic() < end:
            time.sleep(0.01)
        if not item:
            os.kill(os.getpid(), 9)
        return [item[0][0], *item[1]] if type(item) is tuple else item

    items = [[], [1], (memoryview(bytearray(b"x" * 70_000)), [2]), {3: "three"}]
    with Executor(1, "processes") as executor:
        found = executor.map(work, items, chunksize=4, on_error="return")
        items[1].append("later")
        items[2][0][0] = 0
        items[2][1][0] = "later"
        items[3].clear()
        go.touch()
        found = list(found)
    assert isinstance(found[0].exception, BrokenExecutor) and found[1:] == [[1], [120, 2], {3: "three"}]


@pytest.mark.parametrize("chunksize", [None, 1, 5])
@pytest.mark.parametrize("way", ["map", "imap", "imap_unordered"])
def test_a_worker_that_dies_fails_its_own_call_only(way, chunksize):
    executor = kinds["copying"]
    with pytest.raises(BrokenExecutor, match="SIGKILL"):
        executor.submit(str, Bomb()).result(LIMIT)
    items = [1, 2, Bomb(), 4, 5, 6]
    found = list(ways(executor)[way](type, items, on_error="return", chunksize=chunksize))
    assert type(found[2]) is Failure and isinstance(found[2].exception, BrokenExecutor) and found[2].index == 2
    assert found[:2] + found[3:] == [int] * 5
    with pytest.raises(BrokenExecutor) as caught:
        list(ways(executor)[way](type, items, chunksize=chunksize))
    assert index_of(caught.value) == 2
    assert executor.submit(square, 3).result(LIMIT) == 9


@pytest.fixture
def two_borders(monkeypatch):
    """An auto executor whose interpreters and processes are stood for; `why` knows nothing."""
    monkeypatch.setattr(routing, "open_backend", CopyingBackend)
    monkeypatch.setattr(routing, "candidates", lambda: [("interpreters", "best"), ("processes", "next")])
    monkeypatch.setattr(routing.Router, "why", lambda self, fn, calls: self.refusals.get(choosing.code_of(fn)))
    with Executor(2) as executor:
        yield executor


def test_a_refusal_met_later_moves_the_calls(two_borders):
    executor = two_borders
    assert executor.info()["backend"] == "interpreters"
    assert executor.submit(type, Stubborn()).result(LIMIT) is Stubborn
    info = executor.info()
    assert info["backend"] == "processes" and info["requested"] == "auto" and info["workers"] == 2
    (fallback,) = info["fallbacks"]
    assert fallback == {
        "callable": "type",
        "from": "interpreters",
        "to": "processes",
        "reason": "stubborn refuses sub-interpreters",
    }
    assert list(executor.map(type, [1, Stubborn(), 2])) == [int, Stubborn, int]
    assert list(executor.imap(type, [1, Stubborn(), 2], chunksize=2)) == [int, Stubborn, int]
    assert len(executor.info()["fallbacks"]) == 1


def test_a_call_that_a_refusal_moved_is_told_and_cancelled(two_borders, events):
    executor = two_borders
    moved = [executor.submit(until_told_of, Stubborn()) for _ in range(2)]
    processes = executor._router.engine("processes")
    end = time.monotonic() + LIMIT
    while not (processes.running == 2 and all(each.running() for each in moved)) and time.monotonic() < end:
        time.sleep(0.001)
    pending = executor.submit(type, Stubborn())
    while not processes.pending and time.monotonic() < end:
        time.sleep(0.001)
    assert not any(each.cancel() for each in moved)
    executor.shutdown(wait=False, cancel_futures=True)
    assert [each.result(LIMIT) for each in moved] == ["told", "told"]
    assert pending.done() and (pending.cancelled() or pending.result(LIMIT) is Stubborn)


def test_a_refusal_found_before_is_recorded_and_never_changes_a_backend_that_was_asked_for(two_borders, monkeypatch):
    monkeypatch.setattr(routing.Router, "why", lambda self, fn, calls: "numpy" if fn is square else None)
    executor = two_borders
    assert list(executor.map(square, [1, 2], timeout=LIMIT)) == [1, 4]
    info = executor.info()
    assert info["backend"] == "processes" and "numpy" in info["reason"]
    assert [each["callable"] for each in info["fallbacks"]] == ["square"]
    assert executor.submit(str, 1).result(LIMIT) == "1" and executor.info()["backend"] == "interpreters"
    with Executor(1, "interpreters") as asked:
        for call in (lambda: asked.submit(square, 1), lambda: asked.map(square, [1]), lambda: asked.imap(square, [1])):
            with pytest.raises(ImportError, match='numpy.*backend="processes"'):
                call()
        assert asked.submit(str, 1).result(LIMIT) == "1"
        # met later
        with pytest.raises(ImportError, match='stubborn.*backend="processes"'):
            asked.submit(str, Stubborn()).result(LIMIT)


# ---- tiny work


def test_tiny_work_is_done_by_the_caller_and_says_so(two_borders):
    executor = two_borders
    where = set()

    def here(x):
        where.add(threading.get_ident())
        return x

    routing.costs.known.clear()
    for _ in range(20):  # a busy machine may take the first tries for more than tiny
        assert list(executor.map(abs, [-1, 2, -3])) == [1, 2, 3]
        if executor.info()["backend"] == "serial":
            break
    info = executor.info()
    assert info["backend"] == "serial" and "tiny work: 3 calls in" in info["reason"]
    assert info["requested"] == "auto" and info["fallbacks"] == []
    items = executor.map(pow, [2, 0, 3], [-1, -1, 2])
    assert next(items) == 0.5
    with pytest.raises(ZeroDivisionError) as caught:
        next(items)
    assert index_of(caught.value) == 1
    found = list(executor.map(odd_fails, range(4), on_error="return"))
    assert found[::2] == [0, 2] and [each.index for each in found[1::2]] == [1, 3]


def wait_for_the_other(x):
    EVENTS["started" if x == 0 else "go"].set()
    assert EVENTS["go" if x == 0 else "started"].wait(LIMIT)
    return x


def test_two_long_first_items_run_side_by_side(two_borders, events):
    routing.costs.known.clear()
    assert list(two_borders.map(wait_for_the_other, [0, 1])) == [0, 1]
    events["started"].clear(), events["go"].clear()
    # Even if the function was quick before.
    routing.costs.known[wait_for_the_other.__code__] = 1e-6
    assert list(two_borders.map(wait_for_the_other, [0, 1])) == [0, 1]
    assert two_borders.info()["backend"] == "interpreters"


def test_work_that_proves_long_is_handed_over(two_borders):
    routing.costs.known.clear()
    found = list(two_borders.map(slow_square, range(100)))
    assert found == [x * x for x in range(100)]
    assert two_borders.info()["backend"] == "interpreters"


def slow_square(x):
    time.sleep(0.0005)
    return x * x


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), ("a", True), ((1, (2, b"c")), True), (frozenset([1]), True), ([1], False), ((1, [2]), False), ({}, False)],
)
def test_what_counts_as_immutable(value, expected):
    assert choosing.all_immutable([value]) is expected
    assert choosing.all_immutable([1, value]) is expected
    assert choosing.holds_nothing(functools.partial(square, value)) is expected

    def closure():
        return value

    def default(x=value):
        return x

    assert choosing.holds_nothing(closure) is expected and choosing.holds_nothing(default) is expected


def test_a_function_with_state_is_never_run_by_the_caller(two_borders):
    memory = Memory()
    assert list(two_borders.map(memory.add, [1, 2])) == [[1], [2]], "each call has its own copy"
    assert memory.seen == []
    assert two_borders.info()["backend"] == "interpreters"


class Memory:
    def __init__(self):
        self.seen = []

    def add(self, x):
        self.seen.append(x)
        return self.seen


# ---- info


def test_info_of_what_was_asked_for(executor):
    list(executor.map(square, [1, 2]))
    info = executor.info()
    assert set(info) == {"backend", "requested", "workers", "reason", "fallbacks"}
    assert info["backend"] == info["requested"] and info["reason"] == "asked for"
    assert info["workers"] == 2 and info["fallbacks"] == []
    info["fallbacks"].append(1)
    assert executor.info()["fallbacks"] == []


def test_info_before_any_work():
    with Executor() as executor:
        info = executor.info()
    assert info["requested"] == "auto" and info["backend"] in ("interpreters", "threads", "processes")
    assert info["workers"] == choosing.default_workers() >= 1
    assert info["reason"]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="interpreters are there")
def test_interpreters_before_3_12():
    with pytest.raises(RuntimeError, match="3.12"):
        Executor(1, "interpreters")


def test_an_executor_pickles_as_its_settings():
    with Executor(3, "threads") as executor:
        other = pickle.loads(pickle.dumps(executor))
        assert other is not executor
        assert other.info()["workers"] == 3 and other.info()["requested"] == "threads"
        assert list(other.map(square, [2])) == [4]
        other.shutdown()
    assert "workers=3 backend='threads' (shut down)" in repr(executor)


def nested(executor, n):
    info = executor.info()
    return list(executor.map(square, range(n))), info["backend"], info["reason"], info["requested"]


@pytest.mark.parametrize("backend", ["interpreters", "processes"])
def test_an_executor_in_a_worker_makes_its_calls_itself(backend):
    missing = is_here(backend)
    if missing:
        pytest.skip(missing)
    executor = kinds[backend]
    for _ in range(2):
        assert executor.submit(nested, executor, 4).result(LIMIT) == ([0, 1, 4, 9], "serial", "inside a worker", backend)


def test_auto_runs_everything(tmp_path):
    with Executor(2) as executor:
        assert list(executor.map(square, range(5000))) == [square(x) for x in range(5000)]
        assert executor.submit(square, 3).result(LIMIT) == 9
        assert list(executor.imap(str, range(5))) == list("01234")
        assert executor.info()["backend"] != "serial"
        assert executor.submit(os.getpid).result(LIMIT) > 0


assert results.NEVER > 10**9
