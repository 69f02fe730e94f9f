"""thread_pool.interpreters: calls in sub-interpreters: what travels there and back, errors, buffers, life and end."""

import array
import builtins
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import gc
import io
import math
import operator
import os
import pathlib
import subprocess
import sys
import threading
import types
import uuid
import warnings

import pytest
from tenfold_testing import THREADS, refuses_what_was_never_made, run_child, run_threads

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="interpreters with a GIL of their own came with 3.12")
pytest.importorskip("thread_pool._core")
from thread_pool import _core, travel  # noqa: E402
from thread_pool.interpreters import InterpreterBackend  # noqa: E402

backend = InterpreterBackend()


class OnThread:
    """A worker on a thread of its own, as the executor has it."""

    def __init__(self):
        self.asked, self.task, self.result, self.worker = None, 0, None, None
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        self(lambda: None)

    def _serve(self):
        self.worker = backend.open()
        while True:
            self.go.acquire()
            if self.asked is None:
                self.worker.close()
                self.worker = None
                return self.done.release()
            try:
                self.result = (True, self.asked())
            except BaseException as error:
                self.result = (False, error)
            self.asked = None if self.asked is None else 0
            self.done.release()

    def __call__(self, work):
        self.asked = work
        self.go.release()
        assert self.done.acquire(timeout=60), "no answer within 60 s"
        (fine, result), self.result = self.result, None
        if fine:
            return result
        raise result

    def run(self, fn, items, stop=False, kind="items"):
        self.task += 1
        function, calls, task = backend.pack_function(fn), backend.pack_calls(items, 0, kind), self.task
        return self(lambda: self.worker.run(function, calls, task, stop))

    def one(self, fn, *args, **kwargs):
        """The plain call, over there."""
        values, failures = self.run(fn, [(args, kwargs)], kind="calls")
        for error in failures.values():
            raise error
        return values[0]

    def close(self):
        self.asked = None
        self.go.release()
        self.thread.join(60)
        assert not self.thread.is_alive()


@pytest.fixture(scope="module")
def worker():
    made = OnThread()
    yield made
    made.close()


# ---- functions


def add_one(x):
    return x + 1


def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)


def is_even(n):
    return n == 0 or is_odd(n - 1)


def is_odd(n):
    return n != 0 and is_even(n - 1)


FACTOR = 3


class Scaled:
    """A class that only this test module has."""

    by = 10

    def __init__(self, start):
        self.start = start

    def __call__(self, x):
        return self.start + x * self.by

    def method(self, x):
        return self.start - x

    @classmethod
    def made(cls, x):
        return cls.by + x

    @staticmethod
    def plain(x):
        return x * FACTOR

    def __eq__(self, other):
        return type(other) is Scaled and other.start == self.start

    __hash__ = None


class Child(Scaled):
    def __call__(self, x):
        return super().__call__(x) + 1


def closure(n):
    return lambda x: x + n


def recursive_closure():
    def count(n):
        return 0 if n == 0 else 1 + count(n - 1)

    return count


def shared_cell():
    total = 0

    def add(x):
        nonlocal total
        total += x

    def both(x):
        add(x)
        add(x)
        return total

    return both


def generator_inside(n):
    return sum(x * x for x in range(n))


def with_default(x, factor=4, *, offset=1):
    return x * factor + offset


def uses_modules(x):
    return math.floor(x) + os.path.join("a", "b").count("a") + len(collections.OrderedDict())


def class_inside(x):
    class Local:
        there = FACTOR

    return Local.there + x


@functools.lru_cache(None)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


@functools.wraps(add_one)
def wrapping(x):
    return add_one(x) * 2


FUNCTIONS = {
    "importable": math.sqrt,
    "importable class": fractions.Fraction,
    "type": str,
    "builtin": abs,
    "operator": operator.neg,
    "unbound method": int.bit_length,
    "module level": add_one,
    "recursive": factorial,
    "mutually recursive": is_even,
    "global": Scaled.plain,
    "lambda": lambda x: x * 2,
    "closure": closure(5),
    "closure of a closure": (lambda f: lambda x: f(f(x)))(closure(2)),
    "recursive closure": recursive_closure(),
    "shared cell": shared_cell(),
    "generator inside": generator_inside,
    "defaults": with_default,
    "modules": uses_modules,
    "class inside": class_inside,
    "wrapped": wrapping,
    "partial": functools.partial(with_default, factor=7, offset=0),
    "partial of a lambda": functools.partial(lambda y, x: y - x, 3),
    "partial of a partial": functools.partial(functools.partial(pow, 2)),
    "method": Scaled(4).method,
    "class method": Scaled.made,
    "method of a builtin": [5, 6, 7, 8, 9].index,
    "callable object": Scaled(4),
    "super": Child(2),
    "methodcaller": operator.methodcaller("__add__", 1),
    "cached": functools.lru_cache(add_one),
    "cached and recursive": fib,
    "importable and cached": functools.lru_cache(maxsize=2)(math.floor),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_every_kind_answer_as_here(worker, name):
    fn = FUNCTIONS[name]
    numbers = [5, 6, 7]
    wanted = [fn(x) for x in numbers] if name != "shared cell" else [10, 12, 14]
    assert worker.run(fn, numbers) == (wanted, {})
    assert [type(x) for x in worker.run(fn, numbers)[0]] == [type(x) for x in wanted]
    if name == "cached":
        assert fn.cache_info().misses == 3  # here


def test_a_function_keeps_its_names_and_attributes(worker):
    def f(x: int, y: "str" = "y") -> list:
        """Doc."""
        return [f.__name__, f.__qualname__, f.__module__, f.__doc__, f.mark, f.__annotations__, __name__]

    f.mark = 3
    assert worker.one(f, 1) == f(1)


@pytest.fixture
def methods(tmp_path, monkeypatch):
    """A module whose methods are not what their class has by their names."""
    (tmp_path / "methods_here.py").write_text(
        "class Base:\n"
        "    def f(self): return 'Base'\n"
        "    def __hidden(self): return 'hidden'\n"
        "    def give(self): return self.__hidden\n"
        "    nameless = lambda self: 'nameless'\n"
        "class Child(Base):\n"
        "    def f(self): return 'Child'\n"
        "    def above(self): return super().f\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("methods_here")
    del sys.modules["methods_here"]


def test_a_bound_method_is_itself_not_what_has_its_name_there(worker, methods):
    child = methods.Child()
    for bound in (child.f, child.above(), child.give(), child.nameless):
        assert worker.one(bound) == bound()
        assert worker.one(lambda x: x(), bound) == bound() == worker.one(lambda x: x, bound)()
    assert worker.one(lambda x: x.above(), child)() == "Base"


def test_a_package_comes_with_the_submodules_that_a_function_reads(worker):
    import importlib.metadata

    def parse(text):
        return importlib.metadata.EntryPoint("a", text, "c").value

    assert worker.one(parse, "b") == "b"


def test_functions_travel_back(worker):
    def make(n):
        return lambda x: x + n

    assert worker.one(make, 4)(3) == 7
    assert worker.one(lambda: math.sqrt) is math.sqrt
    assert worker.one(lambda kind: kind, Scaled) is Scaled


def test_main_travels_by_value_and_is_not_imported():
    child = run_child(
        """
        import dataclasses, enum, sys, threading
        from thread_pool.interpreters import InterpreterBackend
        print("main")

        @dataclasses.dataclass
        class Point:
            x: int
            def moved(self, by): return Point(self.x + by)
        class Color(enum.Enum):
            RED = 1
        class Bad(Exception):
            def __init__(self, code, *, why):
                super().__init__(f"{code} because {why}")
                self.code = code
        def work(p):
            if p.x < 0: raise Bad(p.x, why="minus")
            return p.moved(1), Color.RED, sys.modules["__main__"].__dict__.get("Point")

        def go():
            backend = InterpreterBackend()
            worker = backend.open()
            calls = backend.pack_calls([Point(1), Point(2), Point(-3)], 0, "items")
            values, failures = worker.run(backend.pack_function(work), calls, 1, False)
            assert values == [(Point(2), Color.RED, None), (Point(3), Color.RED, None), None], values
            assert type(failures[2]) is Bad and failures[2].args == ("-3 because minus",) and failures[2].code == -3
            assert worker.close()
        thread = threading.Thread(target=go)
        thread.start()
        thread.join()
        """
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "main\n", "")


# ---- values


class Color(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Point:
    x: int
    y: float


Named = collections.namedtuple("Named", "a b")


class Number(int):
    """int by class, not by type."""


VALUES = [
    *(0, 1, -1, 2**31, -(2**63), 10**400, True, False, None, 0.5, -0.0, math.inf, 5e-324, "", "ä\ud800\0", "x" * 10**6),
    *(b"", b"\0\xff", b"y" * 10**6, 1 + 2j, (), (1, (2.0, "3")), [], [1, [2]], {}, {"a": {1: 2}}, {1, 2}, frozenset({3}), ...),
    *(range(3), slice(1, 2), bytearray(b"abc"), array.array("d", [1, 2]), decimal.Decimal("1.10"), fractions.Fraction(1, 3)),
    *(datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc), uuid.UUID(int=5), pathlib.PurePosixPath("/a")),
    *(collections.OrderedDict(a=1), collections.deque([1], 3), collections.Counter("aab"), types.SimpleNamespace(a=1)),
    *(Color.RED, Point(1, 2.0), Named(1, 2), Number(7), Scaled(3), int, Color, ValueError("returned"), NotImplemented),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__} {value!r:.20}")
def test_values_arrive_and_return_as_they_are(worker, value):
    def same(x, y):
        if isinstance(x, BaseException):
            return x.args == y.args
        return (x == y and repr(x) == repr(y)) or (type(x) is Scaled and x == y)

    for returned in (worker.one(lambda x: x, value), worker.one(lambda x=value: x), worker.one(lambda **k: k["a"], a=value)):
        assert type(returned) is type(value) and same(returned, value)
    returned = worker.run(lambda x: [x, str(type(x))], [value, 0])[0]
    assert same(returned[0][0], value) and returned[0][1] == str(type(value))


def test_nan_and_recursion_arrive(worker):
    assert math.isnan(worker.one(lambda x: x, math.nan))
    loop = [1]
    loop.append(loop)
    back = worker.one(lambda x: (x[1] is x, x), loop)
    assert back[0] is True and back[1][1] is back[1]


def test_every_call_has_copies_of_its_own_in_one_batch_or_in_many(worker):
    seen = {"n": 0}

    def cells(x):
        seen["n"] += x
        return seen["n"]

    def defaults(x, seen=[]):  # noqa: B006
        seen.append(x)
        return len(seen)

    def arguments(items):
        items.append(1)
        return len(items)

    same = [1, 2]
    for fn, items, wanted in (
        (cells, [1, 2, 3], [1, 2, 3]),
        (defaults, [1, 2, 3], [1, 1, 1]),
        (arguments, [same] * 3, [3] * 3),
    ):
        assert worker.run(fn, items) == (wanted, {})
        assert [worker.one(fn, x) for x in items] == wanted
    assert (seen, same) == ({"n": 0}, [1, 2])


def test_what_changes_after_packing_is_not_seen(worker):
    items, settings = [[1]], {"by": 2}
    function, calls = backend.pack_function(lambda x: [*x, settings["by"]]), backend.pack_calls(items, 0, "items")
    items[0].append(9)
    settings["by"] = 5
    worker.task += 1
    assert worker(lambda: worker.worker.run(function, calls, worker.task, False)) == ([[1, 2]], {})


@pytest.mark.parametrize("kind", ["calls", "args", "items"])
@pytest.mark.parametrize("more", [0, [1]])
def test_three_ways_to_give_arguments(worker, kind, more):
    calls = {"calls": [((1, more), {"k": 2}), ((3, more), None)], "args": [(1, more), (3, more)], "items": [1, more]}[kind]
    wanted = {"calls": [[1, more, 2], [3, more, 0]], "args": [[1, more, 0], [3, more, 0]], "items": [[1, 5, 0], [more, 5, 0]]}[
        kind
    ]
    assert worker.run(lambda x, y=5, k=0: [x, y, k], calls, kind=kind) == (wanted, {})


class Unpicklable:
    def __reduce_ex__(self, protocol):
        raise RuntimeError("no way")


@pytest.mark.parametrize(
    "make",
    [
        lambda: open(os.devnull),  # noqa: SIM115
        lambda: open(os.devnull, "wb", buffering=0),  # noqa: SIM115
        lambda: threading.Lock(),
        lambda: (x for x in ()),
        lambda: memoryview(b"abcdef")[::2],
        lambda: memoryview(b"abc")[::-1],
        lambda: sys._getframe(),
        lambda: Unpicklable(),
    ],
    ids=["file", "raw file", "lock", "generator", "gaps", "backwards", "frame", "unpicklable"],
)
def test_what_cannot_travel_is_refused_before_anything_runs(worker, make):
    bad = make()
    for items, kind in (
        ([1, bad], "items"),
        ([1, [bad]], "items"),
        ([(1,), (bad,)], "args"),
        ([((), {"x": 1}), ((), {"x": bad})], "calls"),
    ):
        with pytest.raises(TypeError, match=r"item 8 .*cannot travel") as caught:
            backend.pack_calls(items, 7, kind)
        assert caught.value.position == 1
    with pytest.raises(TypeError, match="cannot travel"):
        backend.pack_function(lambda x: (x, bad))
    if isinstance(bad, io.IOBase):
        bad.close()
    elif type(bad) is not memoryview:
        values, failures = worker.run(lambda k: [k, (x for x in ()) if k == 1 else 0], [0, 1, 2])
        assert values == [[0, 0], None, [2, 0]] and type(failures[1]) is TypeError and "result" in str(failures[1])


def test_a_result_that_is_a_generator_names_the_cure(worker):
    _, failures = worker.run(lambda k: (x for x in ()), [0])
    assert str(failures[0]) == "the result cannot travel: generator. Return a list of what it gives: list(...)"


def test_standard_streams_travel_as_those_of_the_worker(worker):
    assert worker.one(lambda stream: stream is __import__("sys").stderr, sys.stderr) is True


# ---- buffers


def address(view):
    import ctypes  # 3.12's refuses sub-interpreters, as this module then would

    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def test_a_view_arrives_as_the_same_memory_and_returns_as_it(worker):
    memory = bytearray(1 << 20)
    view = memoryview(memory).cast("d", (128, 1024))

    def work(x):
        flat = x.cast("B")
        flat[8] = 7
        return x, flat[64:128], (x.format, x.shape, x.strides, x.readonly, x.itemsize)

    back, part, how = worker.one(work, view)
    assert how == ("d", (128, 1024), (8192, 8), False, 8) and memory[8] == 7
    assert (back.format, back.shape) == ("d", (128, 1024))
    assert address(back) == address(view) == address(memory) and address(part) == address(memory) + 64
    part[0] = 5
    assert memory[64] == 5
    with pytest.raises(BufferError):
        memory.append(0)  # it is still looked at
    del back, part
    view.release()
    worker.one(lambda: None)
    gc.collect()
    memory.append(0)


def structure():
    import ctypes

    return type("S", (ctypes.Structure,), {"_fields_": [("a", ctypes.c_int), ("b", ctypes.c_double)]})()


@pytest.mark.parametrize(
    "make",
    [
        lambda: memoryview(b""),
        lambda: memoryview(b"abc"),
        lambda: memoryview(bytearray(b"abc"))[1:],
        lambda: memoryview(array.array("q", range(6))).cast("B").cast("q", (2, 3)),
        lambda: memoryview((__import__("ctypes").c_double * 3)(1, 2, 3)),
        lambda: memoryview((__import__("ctypes").c_short * 2 * 3)()),
        lambda: memoryview(__import__("ctypes").c_int(5)),
        lambda: memoryview(structure()),
        lambda: memoryview(bytearray(4)).cast("?").toreadonly(),
        lambda: memoryview((__import__("ctypes").c_int * 0)()),
    ],
)
def test_format_shape_and_readonly_survive(worker, make):
    view = make()
    back, how = worker.one(lambda x: (x, (x.format, x.shape, x.strides, x.readonly, x.itemsize, x.ndim, x.tobytes())), view)
    for got in (how, (back.format, back.shape, back.strides, back.readonly, back.itemsize, back.ndim, back.tobytes())):
        assert got == (view.format, view.shape, view.strides, view.readonly, view.itemsize, view.ndim, view.tobytes())
    if view.readonly:
        assert worker.one(lambda x: x.readonly, view) is True
        with pytest.raises(TypeError, match="read-only"):
            worker.one(lambda x: x.__setitem__(0, 1), view)


def test_buffers_of_the_worker_return_as_copies_that_keep_their_form(worker):
    def work():
        return memoryview(bytearray(range(12))).cast("i", (3,)), [memoryview(b"abc"), memoryview(b"")]

    first, (second, third) = worker.one(work)
    assert (first.format, first.shape, first.readonly, first.tobytes()) == ("i", (3,), False, bytes(range(12)))
    assert (second.readonly, second.tobytes(), third.tobytes()) == (True, b"abc", b"")
    first[0] = 1
    with pytest.raises(TypeError, match="cannot travel"):
        worker.one(lambda: memoryview(b"abcd")[::2])


def test_several_views_of_several_calls_stay_apart(worker):
    views = [memoryview(bytes([i]) * i) for i in range(20)]
    values, failures = worker.run(lambda pair: (pair[1], bytes(pair[0]), pair[0]), [[view, view] for view in views])
    assert not failures and [(a.tobytes(), b, c.tobytes()) for a, b, c in values] == [(v.tobytes(),) * 3 for v in views]


def test_a_view_that_a_worker_keeps_keeps_the_memory_until_the_interpreter_ends():
    own = OnThread()
    memory = bytearray(range(100)) * 1000
    own.one(lambda view: setattr(__import__("builtins"), "kept", view[100:]), memoryview(memory))
    gc.collect()
    with pytest.raises(BufferError):
        memory.append(0)
    assert own.one(lambda: (bytes(kept[:3]), len(kept))) == (b"\0\1\2", 99_900)  # noqa: F821
    back = own.one(lambda: kept)  # noqa: F821
    assert address(back) == address(memory) + 100
    own.close()
    back[0] = 77
    assert memory[100] == 77
    back.release()
    memory.append(0)


# ---- errors


class Strange(Exception):
    def __init__(self, a, *, b):
        super().__init__(f"{a}-{b}")
        self.a, self.b = a, b


class Doubling(Exception):
    """Its constructor, called with its args as pickle would, makes another message."""

    def __init__(self, code):
        super().__init__(f"code {code}")


def raises(error):
    def work(x):
        raise error

    return work


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a", 1),
        KeyError("k"),
        OSError(2, "No such file", "name"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        SystemExit(3),
        KeyboardInterrupt(),
        StopIteration(5),
        ImportError("m", name="n", path="p"),
        subprocess.CalledProcessError(2, "cmd"),
        Strange(1, b=2),
        Doubling(4),
        getattr(builtins, "ExceptionGroup", ValueError)("group", [ValueError(1), Strange(1, b=2)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_exceptions_arrive_with_type_arguments_attributes_and_the_traceback_as_cause(worker, error):
    error.extra = [1]
    values, failures = worker.run(raises(error), [0])
    got = failures.pop(0)
    assert values == [None] and not failures and type(got) is type(error) and str(got) == str(error)
    assert repr(got.args) == repr(error.args) and {k: repr(v) for k, v in vars(got).items()} == {
        k: repr(v) for k, v in vars(error).items()
    }
    for name in ("code", "value", "errno", "filename", "name", "path", "returncode", "object"):
        assert getattr(got, name, None) == getattr(error, name, None)
    assert type(got.__cause__) is travel.RemoteTraceback
    assert "in work" in str(got.__cause__) and "raise error" in str(got.__cause__) and "worker.py" not in str(got.__cause__)


@pytest.fixture
def errors(tmp_path, monkeypatch):
    """Exceptions of a module that a worker can import: plain pickle takes them, and makes others of them."""
    (tmp_path / "errors_here.py").write_text(
        "class Doubling(Exception):\n"
        "    def __init__(self, code): super().__init__(f'code {code}')\n"
        "class Two(Exception):\n"
        "    def __init__(self, a, b): super().__init__(f'{a}-{b}'); self.a = a\n"
        "class Missing(OSError):\n"
        "    def __init__(self, place): super().__init__(2, 'nothing there', place)\n"
        "class Text(str): pass\n"
        "class Wordy(Exception):\n"
        "    def __str__(self): return Text('some words')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("errors_here")
    del sys.modules["errors_here"]


def test_exceptions_are_the_same_as_values_and_as_failures(worker, errors):
    def give(error):
        return [error]

    for error in (errors.Doubling(1), errors.Two(1, 2), errors.Missing("here"), NameError("no x", name="x")):
        back = worker.one(give, error)[0], worker.run(raises(error), [0])[1][0]
        for got in back:
            assert (type(got), got.args, str(got), vars(got)) == (type(error), error.args, str(error), vars(error))
            assert getattr(got, "filename", 0) == getattr(error, "filename", 0)
            assert getattr(got, "name", 0) == getattr(error, "name", 0)


def test_the_words_of_an_exception_may_be_of_a_class_of_their_own(worker, errors):
    error = errors.Wordy()
    error.lock = None

    def work(x):
        error.lock = __import__("threading").Lock()
        raise error

    got = worker.run(work, [0])[1][0]
    assert type(got) is travel.RemoteError and got.message == "some words" and "raise error" in got.traceback


def test_the_text_of_the_worker_names_what_came_before(worker):
    def work(x):
        try:
            return 1 / x
        except ZeroDivisionError as error:
            raise KeyError("outer") from error

    error = worker.run(work, [0])[1][0]
    assert "ZeroDivisionError" in str(error.__cause__) and "direct cause" in str(error.__cause__)


def test_an_exception_that_cannot_travel_is_a_remote_error(worker):
    def locked(x):
        error = ValueError("text", x)
        error.lock = __import__("threading").Lock()
        raise error

    def unprintable(x):
        class Odd(Exception):
            def __str__(self):
                raise RuntimeError("no text")

            def __reduce_ex__(self, protocol):
                raise RuntimeError("no pickle")

        raise Odd

    error = worker.run(locked, [1])[1][0]
    assert type(error) is travel.RemoteError and (error.type_name, error.message) == ("ValueError", "('text', 1)")
    assert "in locked" in error.traceback
    error = worker.run(unprintable, [1])[1][0]
    assert type(error).__name__ == "Odd" and error.args == () and "in unprintable" in str(error.__cause__)


def test_failures_stand_at_their_index_and_stop_ends_the_batch(worker):
    def work(x):
        if x % 3 == 0:
            raise ValueError(x)
        return x if x % 3 == 1 else [x]

    values, failures = worker.run(work, range(1, 8))
    assert values == [1, [2], None, 4, [5], None, 7] and {i: e.args for i, e in failures.items()} == {2: (3,), 5: (6,)}
    values, failures = worker.run(work, range(1, 8), stop=True)
    assert values == [1, [2], None] and list(failures) == [2]
    values, failures = worker.run(lambda x: (y for y in ()) if x == 2 else x, [1, 2, 3], stop=True)
    assert values == [1, None] and list(failures) == [1]


def test_arguments_that_cannot_be_made_there_fail_their_call_only(worker, tmp_path):
    class Bad:
        def __reduce__(self):
            return eval, ("1 / 0",)

    values, failures = worker.run(lambda x: [x], [1, Bad(), 3])
    assert values == [[1], None, [3]] and type(failures[1]) is ZeroDivisionError


def test_a_module_that_fails_to_load_there_fails_every_call(worker, tmp_path, monkeypatch):
    (tmp_path / "vanishing_here.py").write_text("def f(x): return x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import vanishing_here

    function = backend.pack_function(vanishing_here.f)
    assert b"vanishing_here" in function.data
    (tmp_path / "vanishing_here.py").unlink()
    worker.task += 1
    values, failures = worker(lambda: worker.worker.run(function, backend.pack_calls([1, 2], 0, "items"), worker.task, False))
    assert values == [None, None] and {type(e) for e in failures.values()} == {ModuleNotFoundError}


def test_a_module_that_refuses_is_named_and_nothing_was_begun(worker, tmp_path, monkeypatch):
    pytest.importorskip("numpy")
    mark = tmp_path / "begun"
    (tmp_path / "needs_numpy_here.py").write_text(f"import numpy\ndef f(x):\n    open({str(mark)!r}, 'w')\n    return x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import needs_numpy_here

    for _ in range(2):  # CPython remembers half-imported modules
        with pytest.raises(travel.Refused, match="processes") as caught:
            worker.run(needs_numpy_here.f, [1, 2])
        assert caught.value.name.startswith("numpy") and not mark.exists()
    import numpy

    with pytest.raises(travel.Refused):
        worker.run(lambda x: x, [1, numpy.arange(3)])

    def inside(x):
        import numpy

        return numpy.sum(x)

    error = worker.run(inside, [1])[1][0]
    assert type(error) is ImportError and "processes" in str(error) and error.name.startswith("numpy")


# ---- telling, settings, the witness that two run at once


def test_told_batches_see_it_and_begin_no_further_call(worker):
    flag = memoryview(bytearray(2))

    def work(view):
        task = __import__("sys").modules["_tenfold_worker"].now
        before = task.cancelled()
        view[0] = 1
        while not task.cancelled():
            pass
        return [before]

    def teller():
        while not flag[0]:
            pass
        worker.worker.tell(number)

    number = worker.task + 1
    thread = threading.Thread(target=teller)
    thread.start()
    values, failures = worker.run(work, [flag, flag])
    thread.join()
    assert (values, failures) == ([[False]], {})
    assert worker.one(lambda: __import__("sys").modules["_tenfold_worker"].now.cancelled()) is False


def test_the_path_and_the_limits_of_each_submit_are_the_workers(worker, tmp_path, monkeypatch):
    (tmp_path / "only_here_now.py").write_text("answer = 42\n")
    assert isinstance(worker.run(lambda x: __import__("only_here_now"), [0])[1][0], ModuleNotFoundError)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert worker.one(lambda: __import__("only_here_now").answer) == 42
    monkeypatch.undo()
    assert worker.one(lambda: __import__("sys").path) == sys.path
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(before + 777)
    try:
        assert worker.one(lambda: __import__("sys").getrecursionlimit()) == before + 777
    finally:
        sys.setrecursionlimit(before)
    assert isinstance(worker.run(factorial, [10**6])[1][0], RecursionError)


def test_the_path_may_hold_strings_of_other_classes_and_folders_without_a_root(worker, tmp_path, monkeypatch):
    class Place(str):
        __slots__ = ()

        def __str__(self):
            return "elsewhere"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", Place(tmp_path / "inner"), b"bytes", "a hook's name", *sys.path])
    found = worker.one(lambda: __import__("sys").path)
    assert found[:3] == [str(tmp_path), str(tmp_path / "inner"), "a hook's name"] and {str} == set(map(type, found))


def test_what_is_too_long_for_marshal_travels_as_a_buffer(worker, monkeypatch):
    def set_most(most):
        __import__("sys").modules["_tenfold_worker"].MOST = most

    most = travel.worker.MOST
    monkeypatch.setattr(travel.worker, "MOST", 100)
    worker.one(set_most, 100)
    items = [[b"a" * 300, 1], [b"b"], (memoryview(b"c" * 9), b"d" * 400), b"e" * 500]
    values, failures = worker.run(lambda x: [x], items)
    worker.one(set_most, most)
    assert values == [[each] for each in items] and not failures


def test_two_interpreters_run_at_the_same_time():
    board = memoryview(bytearray(2))

    def meet(view, me):
        import sys

        sys.setswitchinterval(1000.0)
        view[me] = 1
        return any(view[1 - me] for _ in range(10**9))

    def member(i):
        worker = OnThread()
        try:
            return worker.one(meet, board, i)
        finally:
            worker.close()

    assert run_threads(2, member) == [True, True]


# ---- life


@pytest.mark.parametrize("threads", THREADS)
def test_interpreters_are_made_called_and_ended_side_by_side(threads):
    def member(i):
        worker = backend.open()
        try:
            function, calls = backend.pack_function(lambda x: [x, i]), backend.pack_calls(range(50), 0, "items")
            return [worker.run(function, calls, task, False)[0] for task in range(1, 4)]
        finally:
            assert worker.close() and worker.close()

    assert run_threads(threads, member) == [[[[x, i] for x in range(50)]] * 3 for i in range(threads)]


def test_many_functions_and_forgotten_ones(worker):
    functions = [backend.pack_function(functools.partial(operator.add, i)) for i in range(200)]
    calls = backend.pack_calls([1], 0, "items")
    for _ in range(2):
        for i in (*range(200), 0, 199):
            worker.task += 1
            assert worker(lambda i=i: worker.worker.run(functions[i], calls, worker.task, False)) == ([1 + i], {})
    worker.one(lambda: __import__("sys").modules["_tenfold_worker"]._functions.clear())  # it forgets more than we know
    worker.task += 1
    assert worker(lambda: worker.worker.run(functions[199], calls, worker.task, False)) == ([200], {})


def test_large_functions_are_not_kept_for_ever(worker):
    """Neither here nor there; and a forgotten one is sent again."""

    def holding(i):
        large = bytes([i]) * (1 << 22)
        return lambda x: len(large) + x

    functions = [backend.pack_function(holding(i)) for i in range(20)]
    calls = backend.pack_calls([1], 0, "items")
    for function in [*functions, *functions]:
        worker.task += 1
        task = worker.task
        assert worker(lambda f=function, task=task: worker.worker.run(f, calls, task, False)) == ([(1 << 22) + 1], {})
    kept = worker.one(lambda: sum(len(each[0]) for each in __import__("sys").modules["_tenfold_worker"]._functions.values()))
    assert kept < 1 << 26 and sum(map(len, travel._keys)) < 1 << 26


def test_a_closed_one_and_a_foreign_thread_are_refused(worker):
    interpreter = worker.worker._interpreter
    for call in (lambda: interpreter.call((1,)), interpreter.close):
        with pytest.raises(RuntimeError, match="thread that made it"):
            call()

    def closed():
        made = backend.open()
        inner = made._interpreter
        made.close()
        with pytest.raises(RuntimeError, match="closed"):
            inner.call((1,))
        inner.tell(5)
        return True

    assert run_threads(1, lambda i: closed()) == [True]
    with pytest.raises(TypeError):
        _core.Interpreter("code")
    with pytest.raises(RuntimeError, match="EOF|marshal|bad"):
        run_threads(1, lambda i: _core.Interpreter(b"no code"))
    assert worker.one(lambda: 1) == 1


def test_requests_that_are_none_are_errors_not_crashes(worker):
    call = worker.worker._interpreter.call
    for request in ((), ("text",), (1.5,), (2**70,), ((b"no view",),), (1, 2, 3)):
        with pytest.raises((TypeError, RuntimeError, OverflowError)):
            worker(lambda request=request: call(request))
    assert worker.one(lambda: 1) == 1


def test_an_interpreter_that_never_was_made_is_refused():
    refuses_what_was_never_made(_core.Interpreter)


def test_what_tasks_leave_behind_harms_nothing():
    child = run_child(
        """
        import threading, gc
        from thread_pool.interpreters import InterpreterBackend

        def leave(view):
            import atexit, builtins, gc, sys, threading, weakref
            class Dies:
                def __del__(self): raise ValueError("ignored")
            builtins.left = [view, (x for x in iter(int, 1)), Dies(), Dies()]
            next(builtins.left[1])
            try: 1 / 0
            except ZeroDivisionError as error: builtins.left.append(error)
            builtins.left.append(builtins.left)
            atexit.register(lambda: builtins.left.append(bytes(view[:1])))
            local = threading.local(); local.x = view; builtins.left.append(local)
            sys.unraisablehook = lambda *a: None
            weakref.finalize(view, print, "", end="")
            return [None]

        def go():
            backend = InterpreterBackend()
            for _ in range(3):
                memory = bytearray(100_000)
                def once():
                    worker = backend.open()
                    calls = backend.pack_calls([memoryview(memory)], 0, "items")
                    assert worker.run(backend.pack_function(leave), calls, 1, False) == ([[None]], {})
                    del calls
                    assert worker.close()
                thread = threading.Thread(target=once)
                thread.start()
                thread.join()
                gc.collect()
                memory.append(1)
            print("three")
        go()
        """
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "three\n", "")


def test_idle_threads_of_concurrent_futures_in_a_task_end_with_the_interpreter():
    def work():
        import concurrent.futures

        globals()["pool"] = concurrent.futures.ThreadPoolExecutor(2)
        return pool.submit(int, "5").result()  # noqa: F821

    own = OnThread()
    assert own.one(work) == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own.close()


def test_keyword_names_first_used_in_an_interpreter_that_is_gone():
    """CPython before 3.12.4 keeps them where they were made, and frees them at exit where they were not."""
    child = run_child(
        """
        import threading
        from thread_pool.interpreters import InterpreterBackend
        def work(x):
            import math, zlib, hashlib, struct
            return [math.isclose(1, x, rel_tol=1), zlib.compress(b"", level=1), hashlib.sha256(string=b"").digest()]
        def go():
            backend = InterpreterBackend()
            worker = backend.open()
            print(worker.run(backend.pack_function(work), backend.pack_calls([1], 0, "items"), 1, False)[0] == [work(1)])
            worker.close()
            print(worker.close() and work(1)[0])
        for _ in range(3):
            thread = threading.Thread(target=go)
            thread.start()
            thread.join()
        """
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "True\nTrue\n" * 3, "")


@pytest.mark.parametrize("raw", [False, True], ids=["threading", "_thread"])
@pytest.mark.parametrize("ends", [True, False], ids=["ends", "stays"])
def test_threads_of_tasks_neither_hang_nor_crash_the_end(ends, raw):
    child = run_child(
        f"""
        import threading, warnings
        from thread_pool.interpreters import InterpreterBackend
        warnings.simplefilter("error", ResourceWarning)

        def work(view):
            import _thread, threading, time
            def stay():
                while view[0] == 0: time.sleep(0.01)
            if {raw}: _thread.start_new_thread(stay, ())
            else: threading.Thread(target=stay).start()
            try: threading.Thread(target=stay, daemon=True).start()
            except RuntimeError as error: return [str(error)]

        def go():
            backend = InterpreterBackend()
            worker = backend.open()
            view = memoryview(bytearray(1))
            (text,), failures = worker.run(backend.pack_function(work), backend.pack_calls([view], 0, "items"), 1, False)
            assert "daemon" in text[0], text
            if {ends}: threading.Timer(0.3, view.__setitem__, (0, 1)).start()
            try: print(worker.close(patience=30.0 if {ends} else 0.3))
            except ResourceWarning as warning: print("outlive" in str(warning))
            if not {ends}: threading.Timer(0.3, view.__setitem__, (0, 1)).start()
        thread = threading.Thread(target=go)
        thread.start()
        thread.join()
        print("end", flush=True)
        """
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "True\nend\n", "")


def test_one_that_is_dropped_unclosed_does_no_harm():
    child = run_child(
        """
        import threading, gc
        from thread_pool.interpreters import InterpreterBackend
        backend, kept = InterpreterBackend(), []
        def go(keep):
            worker = backend.open()
            assert worker.run(backend.pack_function(lambda x: x), backend.pack_calls([1], 0, "items"), 1, False) == ([1], {})
            if keep: kept.append(worker)
        for keep in (False, True):
            thread = threading.Thread(target=go, args=(keep,))
            thread.start()
            thread.join()
        kept.clear()
        gc.collect()
        print("end")
        """
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "end\n", "")


def test_a_forked_child_leaves_it_alone():
    if sys.platform == "win32":
        pytest.skip("no fork on Windows")
    child = run_child(
        """
        import os, warnings
        from thread_pool.interpreters import InterpreterBackend
        warnings.simplefilter("ignore")
        backend = InterpreterBackend()
        worker = backend.open()
        worker.close()
        pid = os.fork()
        if pid == 0:
            try: worker._interpreter.call((1,))
            except RuntimeError: os._exit(0 if worker.close() else 2)
            os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    assert (child.returncode, child.stdout) == (0, "0\n"), child.stderr


def test_output_of_tasks_is_not_lost_or_late():
    child = run_child(
        """
        import threading
        from thread_pool.interpreters import InterpreterBackend
        def go():
            backend = InterpreterBackend()
            worker = backend.open()
            worker.run(backend.pack_function(print), backend.pack_calls(["one", "two"], 0, "items"), 1, False)
            print("three", flush=True)
            worker.close()
        thread = threading.Thread(target=go)
        thread.start()
        thread.join()
        """
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "one\ntwo\nthree\n", "")


def test_this_module_works_inside_and_refuses_to_nest():
    def work(x):
        import thread_pool
        from thread_pool.interpreters import InterpreterBackend

        with thread_pool.ThreadPool(2) as pool:
            answer = pool.fib(x)
        try:
            InterpreterBackend().check()
        except RuntimeError as error:
            return [answer, str(error)]

    for _ in range(3):
        own = OnThread()
        answer, text = own.one(work, 10)
        assert answer == 55 and "main interpreter" in text
        own.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backend.check()
