"""@boost: which argument decides, what is kept of the function, methods, recursion, settings, errors, no native module."""

import abc
import copy
import functools
import gc
import importlib
import inspect
import itertools
import math
import os
import pickle
import sys
import textwrap
import traceback
import weakref

import pytest
import thread_pool as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold_testing import run_child
from thread_pool import boost, boosting

WITH_INTERPRETERS = sys.version_info >= (3, 12)
BACKENDS = ["auto", "serial", "threads", "processes", *(["interpreters"] if WITH_INTERPRETERS else [])]
no_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
here = functools.partial(boost, backend="serial")  # one item after the other, on this thread


@pytest.fixture(params=["native", "python"])
def made(request, monkeypatch):
    """@boost over the native type, and over the one that stands in where there is none."""
    if request.param == "python":
        monkeypatch.setattr(boosting, "_FUNCTION", boosting._InPython)
        monkeypatch.setattr(boosting, "_METHOD", boosting._InPython)
    return here


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that workers can import, and imports it."""
    names = (f"boosted_{tmp_path.name}_{i}".replace("-", "_") for i in itertools.count())

    def write(text):
        name = next(names)
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return importlib.import_module(name)

    monkeypatch.syspath_prepend(str(tmp_path))
    return write


# ---- which argument decides


def test_a_list_or_a_tuple_is_mapped_and_nothing_else(made):
    def kind(x=None, *more, **named):
        return (type(x).__name__, more, named)

    f = made()(kind)

    class Own(list):
        pass

    class Named(tuple):
        pass

    assert f([1, "a"]) == f((1, "a")) == [("int", (), {}), ("str", (), {})]
    assert f([]) == f(()) == []
    assert f([[1], (2,)], 3, k=4) == [("list", (3,), {"k": 4}), ("tuple", (3,), {"k": 4})]  # the items are not looked at
    for plain in (Own([1]), Named((1,)), {1}, {1: 2}, range(3), "ab", b"ab", None, 1, 1.5, iter([1])):
        assert f(plain) == kind(plain)
    assert f() == kind() and f(x=[1, 2]) == kind(x=[1, 2]) and f(1, [2, 3], z=[4]) == kind(1, [2, 3], z=[4])
    assert f.map(range(2), 7) == [("int", (7,), {})] * 2
    assert f.map(iter("ab")) == f.map({"a": 1, "b": 2}) == [("str", (), {})] * 2
    assert f.serial is kind and f.serial([1]) == ("list", (), {})


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers() | st.text(max_size=3) | st.floats(allow_nan=False), max_size=30), st.lists(st.integers(), max_size=3)
)
def test_as_a_comprehension(items, more):
    def plain(x, *rest, end=""):
        return x, rest, end

    f = here()(plain)
    expected = [plain(x, *more, end="!") for x in items]
    assert f(items, *more, end="!") == f(tuple(items), *more, end="!") == f.map(iter(items), *more, end="!") == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_arguments_on_every_backend(backend):
    @boost(backend=backend, workers=2)
    def one(x, a, b=2, *, c=3):
        return x, a, b, c

    @boost(backend=backend, workers=2)
    def by_position(x, a, /, *more, **named) -> None:
        return x, a, more, named

    items = list(range(50))
    assert one(items, 10) == [(x, 10, 2, 3) for x in items]
    assert one(items, 10, 20, c=30) == [(x, 10, 20, 30) for x in items]
    assert one(items, b=1, a=[2]) == [(x, [2], 1, 3) for x in items]
    assert by_position(items, 1, 2, a=3, x=4) == [(x, 1, (2,), {"a": 3, "x": 4}) for x in items]
    with pytest.raises(TypeError, match=r"multiple values for argument 'a'"):
        one([1], 2, a=3)
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'a'"):
        one([1])


# ---- what is kept


def test_what_is_kept_of_the_function(made):
    def f(x: int, y: float = 2.0, *, z: str = "z") -> tuple:
        """What it does."""
        return x, y, z

    f.mark = "mine"
    g = made()(f)
    for each in (
        "__name__",
        "__qualname__",
        "__module__",
        "__doc__",
        "__annotations__",
        "__defaults__",
        "__kwdefaults__",
        "mark",
    ):
        assert getattr(g, each) == getattr(f, each), each
    assert g.__wrapped__ is f and g.__code__ is f.__code__ and g.__globals__ is f.__globals__ and g.__closure__ is None
    assert inspect.signature(g) == inspect.signature(f) and inspect.unwrap(g) is f
    assert inspect.getsource(g) == inspect.getsource(f)
    assert "f" in repr(g) and "boosted" in repr(g)
    g.__defaults__, g.__kwdefaults__ = (5.0,), {"z": "k"}  # the function's own
    assert g(1) == f(1) == (1, 5.0, "k") and g([1]) == [(1, 5.0, "k")]
    g.other = 1
    assert g.other == 1 and not hasattr(f, "other")
    with pytest.raises(AttributeError):
        g.missing
    assert not hasattr(g, "__self__") and callable(g) and g == g and g != made()(f) and {g: 1}[g] == 1
    assert copy.copy(g) is g and copy.deepcopy([g])[0] is g
    assert weakref.ref(g)() is g

    @functools.wraps(g)
    def outside(*args):
        return g(*args)

    assert inspect.signature(outside) == inspect.signature(f) and outside.__name__ == "f"


def test_errors_of_plain_calls_are_the_functions_own(made):
    def f(x, y):
        return x / y

    g = made()(f)
    for call in (
        lambda h: h(),
        lambda h: h(1),
        lambda h: h(1, 2, 3),
        lambda h: h(1, z=3),
        lambda h: h(1, 0),
        lambda h: h("a", 1),
    ):
        said = []
        for each in (f, g):
            with pytest.raises((TypeError, ZeroDivisionError)) as caught:
                call(each)
            said.append((caught.type, str(caught.value)))
        assert said[0] == said[1]
    with pytest.raises(ZeroDivisionError) as caught:
        g(1, 0)
    names = [frame.name for frame in traceback.extract_tb(caught.tb)]
    assert names[-1] == "f"


def test_other_callables(made):
    assert made()(math.sqrt)([4.0, 9.0]) == [2.0, 3.0] and made()(math.sqrt)(16.0) == 4.0
    assert made()(functools.partial(pow, 2))([3, 4]) == [8, 16]
    assert made()(int.bit_length)([1, 255]) == [1, 8]
    assert made()("-".join).serial(["a", "b"]) == "a-b" and made()("-".join)(["ab", "c"]) == ["a-b", "c"]
    assert repr(made()(functools.partial(pow, 2)))
    assert not hasattr(made()(math.sqrt), "__self__") and made()(math.sqrt).info()["recursion"] is None

    class Callable:
        def __call__(self, x):
            return x + 1

    assert made()(Callable())([1, 2]) == [2, 3]

    class Holder:
        root = made()(math.sqrt)  # binds no more than math.sqrt does

    assert Holder().root(4.0) == 2.0 and Holder().root([4.0]) == [2.0]


class Two:
    """A whole number as NumPy has them."""

    def __index__(self):
        return 2


def test_what_info_gives_away_is_a_copy():
    f = here()(abs)
    for _ in range(2):
        f.info()["fallbacks"].append("mine")
        assert f.info()["fallbacks"] == []
        f([1])


def test_what_is_refused():
    def generator():
        yield 1

    async def coroutine():
        pass

    async def both():
        yield 1

    for wrong, said in [
        (generator, "generator"),
        (functools.partial(generator), "generator"),
        (coroutine, "async"),
        (both, "async"),
        (int, "class int"),
        (3, "not int"),
        (property(len), "not property"),
    ]:
        with pytest.raises(TypeError, match=said):
            boost(wrong)
    for wrong in ({"workers": 0}, {"workers": 1.5}, {"backend": "gpu"}, {"on_error": "ignore"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            boost(**wrong)
    assert boost(workers=Two())(len)._state.workers == 2
    with pytest.raises(TypeError):
        boost(len, 3)
    if boosting.boosted_type is not None:
        with pytest.raises(TypeError):
            boosting._FUNCTION(3, None, False)
        with pytest.raises(TypeError):
            boosting._FUNCTION()
        with pytest.raises(TypeError):
            boosting._FUNCTION(function=len)


def test_boosted_twice(made):
    def f(x):
        return x

    inner = made()(f)
    outer = made(on_error="return")(inner)
    assert outer.serial is f and outer([1]) == [1] and outer is not inner
    assert outer.__name__ == "f" and outer._state.on_error == "return" and inner._state.on_error == "raise"


def test_it_is_collected(made):
    def in_a_circle():
        f = made()(lambda x: f)
        f.itself = f
        assert f(1) is f and f([1]) == [f]
        return weakref.ref(f)

    def recursive():
        def down(n):
            return 0 if n <= 0 else down(n - 1)

        down = made()(down)
        assert down(3) == 0 and down([1]) == [0]
        return weakref.ref(down)

    def bound():
        class A:
            @made()
            def f(self):
                return self.m

        a = A()
        a.m = a.f
        assert a.f() == a.f
        return weakref.ref(a)

    for make in (in_a_circle, recursive, bound):
        gone = make()
        gc.collect()
        assert gone() is None, make


def test_pickling(module):
    m = module("""
        from thread_pool import boost
        @boost(workers=2)
        def f(x):
            return x + 1
        class A:
            def __init__(self, n):
                self.n = n
            @boost
            def f(self, x):
                return self.n + x
    """)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(m.f, protocol)) is m.f
        assert pickle.loads(pickle.dumps(m.A.f, protocol)) is m.A.f
    assert pickle.loads(pickle.dumps(m.A(2).f))(3) == 5

    def local(x):
        return x

    with pytest.raises((AttributeError, pickle.PicklingError), match="local"):
        pickle.dumps(boost(local))
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(boost(m.f.serial))  # not what the name means


# ---- methods


def test_methods(made):
    class A:
        def __init__(self, n=10):
            self.n = n

        @made()
        def f(self, x, k=1):
            return self.n, x, k

        @made()
        @staticmethod
        def s(x, k=1):
            return x, k

        @staticmethod
        @made()
        def s2(x, k=1):
            return x, k

        @made()
        @classmethod
        def c(cls, x, k=1):
            return cls.__name__, x, k

        @classmethod
        @made()
        def c2(cls, x, k=1):
            return cls.__name__, x, k

        @property
        @made()
        def p(self):
            return self.n

        @functools.lru_cache  # noqa: B019
        @made()
        def cached(self, x):
            return self.n, x

        alias = f

    class B(A):
        def f(self, x, k=1):
            return "B", super().f(x, k)

    a = A()
    for f in (
        a.f,
        a.alias,
        functools.partial(A.f, a),
        functools.partial(A.__dict__["f"], a),
        functools.partialmethod(A.f).__get__(a),
    ):
        assert f(1) == f(x=1) == (10, 1, 1)
        assert f([1, 2]) == [(10, 1, 1), (10, 2, 1)] == f((1, 2), 1)
        assert f([1], k=5) == [(10, 1, 5)] and f(x=[1]) == (10, [1], 1) and f(3, [4]) == (10, 3, [4])
    assert a.f.map(range(2), 3) == [(10, 0, 3), (10, 1, 3)] and a.f.serial([1]) == (10, [1], 1)
    assert B().f([1, 2]) == ("B", [(10, 1, 1), (10, 2, 1)])
    for s in (a.s, A.s, a.s2, A.s2, B.s, B().s2):
        assert s(1) == (1, 1) and s([1, 2], 3) == [(1, 3), (2, 3)] and s(int, [1, 2]) == (int, [1, 2])
    for kind in (A, B):
        for c in (kind.c, kind().c, kind.c2, kind().c2):
            assert c(1) == (kind.__name__, 1, 1) and c([1, 2], 3) == [(kind.__name__, 1, 3), (kind.__name__, 2, 3)]
            assert c(1, [2]) == (kind.__name__, 1, [2])
    assert a.p == 10 and a.cached(1) == (10, 1) and a.cached((1, 2)) == [(10, 1), (10, 2)]

    assert a.f == a.f and a.f != A().f and a.f != A.f and len({a.f, a.f}) == 1 and a.f.__self__ is a and a.f.__func__ is A.f
    assert (
        A.f is A.__dict__["f"] and a.f.__name__ == "f" and a.f.__doc__ is None and "A.f" in repr(a.f) and "bound" in repr(a.f)
    )
    assert str(inspect.signature(a.f)) == "(x, k=1)" and str(inspect.signature(A.f)) == "(self, x, k=1)"
    assert a.f.info()["items"] == A.f.info()["items"] > 0
    for call in (lambda: a.f(), lambda: a.f(1, 2, 3), lambda: A.f(), lambda: a.f(1, q=2)):
        with pytest.raises(TypeError, match=r"f\(\)"):
            call()
    many = tuple(range(30))
    assert made()(lambda self, *x: (self, x)).__get__(1)("", *many) == (1, ("", *many))
    assert made()(lambda self, **x: (self, x)).__get__(1)(a=1, b=2) == (1, {"a": 1, "b": 2})


def test_methods_that_come_by_other_ways(made):
    def module_level(self, x=0):
        return self if isinstance(self, (int, list)) else "self", x

    f = made()(module_level)

    class A:
        named = f  # from outside: the same object is also called as a function

        def later(self, x):
            return "later", x

        over = made()(lambda self, x: x)

    A.attached = f
    A.later = made()(A.later)
    a = A()
    for g in (a.named, a.attached):
        assert g([1, 2]) == [("self", 1), ("self", 2)] and g(3) == ("self", 3)
    assert f([1, 2]) == [(1, 0), (2, 0)] and f(1, [2, 3]) == (1, [2, 3]) and A.named([1, 2], 5) == [(1, 5), (2, 5)]
    assert a.later([1, 2]) == [("later", 1), ("later", 2)] and a.later(1) == ("later", 1)
    assert A.later(a, [1]) == [("later", 1)] and a.over([1]) == [1] and a.over.map([2]) == [2]
    a.own = f
    assert a.own([1]) == [(1, 0)]  # on the instance it is no method

    def logged(g):
        @functools.wraps(g)
        def wrapper(*args):
            return "logged", g(*args)

        return wrapper

    class B:
        @logged
        @made()
        def f(self, x):
            return x

        @staticmethod
        @logged
        @made()
        def s(x, y=0):
            return x, y

    assert B().f([1, 2]) == ("logged", [1, 2]) and B().f(1) == ("logged", 1)
    assert B.s([1]) == ("logged", [(1, 0)]) and B.s(B(), [1])[1][1] == [1]

    class C(abc.ABC):
        @made()
        @abc.abstractmethod
        def f(self):
            """Must be there."""

    with pytest.raises(TypeError, match="abstract"):
        C()


class Keeper:
    """Its methods go to every backend."""

    def __init__(self, n):
        self.n = n

    @boost(workers=2, backend="processes")
    def by_process(self, x):
        return self.n + x

    @boost(workers=2)
    def anyhow(self, x, k=0):
        return self.n * x + k


def test_methods_in_parallel(module):
    m = module("""
        from thread_pool import boost
        class Keeper:
            def __init__(self, n):
                self.n = n
            @boost(workers=2, backend="processes")
            def by_process(self, x):
                return self.n + x
            @classmethod
            @boost(workers=2)
            def of_class(cls, x, k=0):
                return cls.__name__, x, k
    """)
    assert m.Keeper(5).by_process([1, 2]) == [6, 7] and m.Keeper.by_process.info()["backend"] == "processes"
    assert m.Keeper.of_class(list(range(300)), 1) == [("Keeper", x, 1) for x in range(300)]
    pytest.importorskip("cloudpickle")
    assert Keeper(5).by_process([1, 2]) == [6, 7] and Keeper(5).anyhow([1, 2], 3) == [8, 13]


# ---- what ran where


def busy(x, k=1):
    total = 0
    for i in range(20_000):
        total += i * k % 7
    return x, total


def test_info_and_the_shared_executor():
    f, g = boost(workers=2)(busy), boost(workers=2)(lambda x: x)
    before = f.info()
    assert before["backend"] is None and before["requested"] == "auto" and (before["maps"], before["items"]) == (0, 0)
    assert before["recursion"] is None and before["fallbacks"] == []
    assert f(list(range(60)), 3) == [busy(x, 3) for x in range(60)]
    after = f.info()
    assert after["backend"] in ("interpreters", "processes", "threads") and after["workers"] == 2 and after["reason"]
    assert (after["maps"], after["items"]) == (1, 60)
    assert g([1, 2]) == [1, 2] and g.info()["items"] == 2 and f.info()["maps"] == 1
    shared = boosting._executor(f._state)
    assert shared is boosting._executor(g._state) is not boosting._executor(boost(workers=3)(busy)._state)
    shared.shutdown()
    assert f(list(range(60))) == [busy(x) for x in range(60)] and boosting._executor(f._state) is shared


@no_fork
def test_after_a_fork():
    child = run_child("""
        import os, sys
        from thread_pool import boost
        @boost(workers=2, backend="processes")
        def f(x):
            return x * x, os.getpid()
        @boost(workers=2)
        def g(x):
            return sum(range(x))
        def ok():
            rows = f([1, 2, 3])
            assert [x for x, _ in rows] == [1, 4, 9] and os.getpid() not in [pid for _, pid in rows]
            assert g([1000] * 400) == [499500] * 400
        ok()
        child = os.fork()
        if child == 0:
            ok()
            sys.stdout.flush()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        ok()
        print("done")
    """, limit=120)  # fmt: skip
    assert (child.stdout, child.returncode) == ("done\n", 0), child.stderr[-3000:]


@pytest.mark.parametrize("backend", BACKENDS)
def test_errors(backend):
    def inverse(x):
        return 1 / x

    with pytest.raises(ZeroDivisionError) as caught:
        boost(backend=backend, workers=2)(inverse)([1, 2, 0, 4, 0])
    assert "2" in "".join(getattr(caught.value, "__notes__", ["2"]))
    returned = boost(backend=backend, workers=2, on_error="return")(inverse)([1, 0, 4])
    assert returned[::2] == [1.0, 0.25] and isinstance(returned[1], tp.Failure)
    assert returned[1].index == 1 and isinstance(returned[1].exception, ZeroDivisionError)
    with pytest.raises(Exception) as caught:
        boost(backend=backend, workers=2, on_error="collect")(inverse)([1, 0, 4, 0])
    assert [type(each) for each in caught.value.exceptions] == [ZeroDivisionError] * 2
    seen = []
    f = boost(backend=backend, workers=2, progress=lambda done, total: seen.append((done, total)))(inverse)
    assert f([1, 2, 4]) == [1.0, 0.5, 0.25] and seen[-1] == (3, 3) and seen == sorted(seen)
    assert f(1) == 1.0 and seen[-1] == (3, 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_boosted_functions_inside_boosted_functions(backend, module):
    m = module(f"""
        from thread_pool import boost

        @boost(backend={backend!r}, workers=2)
        def square(x):
            return x * x

        @boost(backend={backend!r}, workers=2)
        def flat(x):
            return x if not isinstance(x, (list, tuple)) else "never"

        @boost(backend={backend!r}, workers=2)
        def sums(x):
            return sum(square([x, x + 1])), square(x), square.map(range(x)), square.serial(x), type(x).__name__

        @boost(backend={backend!r}, workers=2)
        def walk(x):
            return sum(walk([x - 1, x - 2])) if x > 0 else 1
    """)

    def by_value(x):
        return sum(local([x, x + 1])), local(x), local.map(range(x))

    @boost(backend=backend, workers=2)
    def local(x):
        return x * x

    items = list(range(4))
    expected = [(x * x + (x + 1) ** 2, x * x, [k * k for k in range(x)]) for x in items]
    assert [row[:3] for row in m.sums(items)] == expected and m.sums(2)[3:] == (4, "int")
    assert boost(backend=backend, workers=2)(by_value)(items) == expected
    assert m.walk(items) == [1, 2, 3, 5] and m.walk(3) == 5
    assert m.flat([1, [2], (3,)]) == [1, "never", "never"]  # an item that is a list is the untouched function's


def test_a_script_and_standard_input():
    code = """
        from thread_pool import boost
        @boost(workers=2)
        def fib(n):
            return n if n < 2 else fib(n - 1) + fib(n - 2)
        @boost(workers=2)
        def both(n):
            return fib([n, n + 1]), fib(n)
        print(fib([15, 16, 17] * 9) == [610, 987, 1597] * 9, both([5, 6]), fib.info()["backend"] is not None)
    """
    child = run_child(code, limit=60)
    assert child.stdout == "True [([5, 8], 5), ([8, 13], 8)] True\n", child.stderr[-3000:]


# ---- the package


def test_import_takes_nothing_that_is_not_used():
    child = run_child("""
        import sys
        before = set(sys.modules)
        import thread_pool
        new = set(sys.modules) - before
        unused = {"concurrent", "pickle", "cloudpickle", "asyncio", "inspect", "ast", "typing", "json"}
        assert not unused & {each.split(".")[0] for each in new}, new
        assert {"Executor", "Failure", "RemoteError", "boost", "current_task"} <= set(dir(thread_pool)) & set(thread_pool.__all__)
        try:
            thread_pool.missing
        except AttributeError as error:
            assert "missing" in str(error)
        else:
            raise AssertionError
        from thread_pool import *
        assert boost is thread_pool.boost and Executor is thread_pool.Executor and callable(current_task)
        assert issubclass(RemoteError, Exception) and Failure.__name__ == "Failure"
        print("done")
    """)  # fmt: skip
    assert child.stdout == "done\n", child.stderr


def test_the_first_call_imports_nothing_that_is_not_used():
    child = run_child("""
        import sys
        before = set(sys.modules)
        from thread_pool import boost
        def f(x):
            return x + 1
        assert boost(workers=1, backend="%s")(f)([1, 2]) == [2, 3]
        new = set(sys.modules) - before
        assert not {"typing", "json", "dis", "inspect", "ast", "queue", "cloudpickle", "math"} & new, sorted(new)
        print("done")
    """ % ("interpreters" if WITH_INTERPRETERS else "threads"))  # fmt: skip
    assert child.stdout == "done\n", child.stderr


def test_without_the_native_module():
    child = run_child("""
        import sys, warnings
        sys.modules["thread_pool._core"] = None
        import thread_pool
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            @thread_pool.boost
            def f(x, k=1):
                return x * k
            @thread_pool.boost(workers=2)
            def fib(n):
                return n if n < 2 else fib(n - 1) + fib(n - 2)
            class A:
                @thread_pool.boost
                def f(self, x):
                    return x + 1
        assert len(said) == 1 and "serially" in str(said[0].message) and said[0].filename == "<string>", [str(each) for each in said]
        assert f([1, 2], 3) == [3, 6] and f(1) == 1 and f.map(range(2)) == [0, 1] and A().f([1]) == [2] and fib([10, 11]) == [55, 89]
        assert f.info()["backend"] == "serial" and fib.info()["recursion"] == "through the wrapper"
        assert thread_pool.Executor().info()["backend"] == "processes", thread_pool.Executor().info()
        for name in ("ThreadPool", "Future", "TaskQueue", "adaptive_parallel", "process_work_stealing"):
            try:
                getattr(thread_pool, name)
            except ImportError as error:
                assert name in str(error) and "pip install" in str(error)
            else:
                raise AssertionError(name)
        try:
            from thread_pool import ThreadPool
        except ImportError as error:
            assert "pip install" in str(error)
        print("done")
    """)  # fmt: skip
    assert (child.stdout, child.returncode) == ("done\n", 0), child.stderr
