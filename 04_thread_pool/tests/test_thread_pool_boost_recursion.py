"""@boost on functions that call themselves: the answers of the wrapper alone, at whatever speed, and errors where Python has them."""

import copy
import functools
import importlib
import itertools
import linecache
import re
import reprlib
import sys
import textwrap
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold_testing import THREADS, run_child, run_threads
from thread_pool import boost, boosting

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


# ---- recursion


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def gcd(a, b):
    while False:
        a, b = b, a
    return a if b == 0 else gcd(b, a % b)


def ackermann(m, n, memo={}):  # noqa: B006
    if m == 0:
        return n + 1
    before: int = m - 1
    return ackermann(before, 1) if n == 0 else ackermann(before, ackermann(m, n - 1))


def binomial(n, k, /, *, unused=[1]):  # noqa: B006
    if k in (0, n):
        return 1
    n -= 1
    return binomial(n, k - 1) + binomial(n, k)


def collatz(n, steps=0):
    if n == 1:
        return steps
    return collatz((n // 2) if n % 2 == 0 else 3 * n + 1, steps + 1)


def halved(x):
    y = x / 2 ** (1 if x > 1e6 else 2)
    return x if -x > -1 else halved(y or -0.5)


def deep(xs):
    return sum(deep(xs[1:])) if len(xs) > 1 else len(xs)


def nested_list(n):
    return [n] if n <= 0 else [each for one in nested_list([n - 1, n - 2]) for each in one]


def sometimes(n):
    if n <= 0:
        return "end"
    n = n - 1 if n != 3 else [0, 1]
    return sometimes(n)


def depends(n, xs):
    return xs if n == 0 else depends(xs, n - 1)


def by_keyword(n):
    return 0 if n <= 0 else 1 + by_keyword(n=n - 1)


def spread(n):
    return 0 if n <= 0 else 1 + spread(*[n - 1])


def in_comprehension(n):
    return 1 if n <= 0 else sum([in_comprehension(n - k) for k in (1, 2)])


def in_lambda(n):
    return 1 if n <= 0 else (lambda k: in_lambda(k))(n - 1)


def in_map(n):
    return 1 if n <= 0 else sum(map(in_map, [n - 1, n - 2]))


def passed_on(n):
    return 1 if n <= 0 else call_it(passed_on, n - 1)


def call_it(f, x):
    return f([x, x])[0]


def looks(n):
    return sorted(locals()) if n <= 0 else looks(n - 1)


def loops(n):
    for n in ([0], 2):  # noqa: B007
        pass
    return 0 if n == 2 else loops(n)


def walks(n):
    return 0 if (k := n - 1) < 0 else walks(k) + 1


def is_even(n):
    return True if n == 0 else is_odd(n - 1)


def is_odd(n):
    return False if n == 0 else is_even(n - 1)


def counts(n):
    counts.calls = getattr(counts, "calls", 0) + 1
    return 0 if n <= 0 else counts(n - 1)


def more_names(n, *, step=1):
    step = step if n else 1
    return 0 if n <= 0 else more_names(step * 0 + n - 1)


PLAIN, THROUGH = "plain", "through the wrapper"
RECURSIVE = [
    (fib, [(15,), (1.0,), (7.0,), (True,), ([3, 4, 5],), ((2.5, 6),)], PLAIN),
    (gcd, [(48, 36), (17, 0), (2.5, 0.5), ([12, 18], 8), (8, True)], PLAIN),
    (ackermann, [(2, 3), ([1, 2], 2), (1, 1)], PLAIN),
    (binomial, [(8, 3), ([4, 5], 2)], PLAIN),
    (collatz, [(27,), ([6, 7],), (27, 100)], PLAIN),
    (halved, [(1e9,), (1000,), ([10, 3.0],)], PLAIN),
    (walks, [(10,), ([2, 3],)], PLAIN),
    (deep, [("abcd",), ({1},)], THROUGH),
    (nested_list, [(3,), ([1, 2],)], THROUGH),
    (sometimes, [(2,), (5,), ([1, 4],)], THROUGH),
    (depends, [(1, 2), (2, [3, 4]), (1, [5]), (2, 1)], PLAIN),
    (by_keyword, [(4,), ([1, 2],)], THROUGH),
    (spread, [(4,), ([1, 2],)], THROUGH),
    (in_comprehension, [(5,), ([1, 2],)], THROUGH),
    (in_lambda, [(4,)], THROUGH),
    (in_map, [(4,), ([1, 2],)], THROUGH),
    (passed_on, [(3,), ([1, 2],)], THROUGH),
    (looks, [(3,)], THROUGH),
    (loops, [(3,)], THROUGH),
    (counts, [(3,)], THROUGH),
    (more_names, [(4,), ([1, 2],)], THROUGH),
    (is_even, [(10,), ([3, 4],)], None),
]


def outcome(call, *args):
    try:
        value = call(*args)
    except Exception as error:
        return type(error), str(error)
    return value, repr(value)


@pytest.mark.parametrize("function, calls, expected", RECURSIVE, ids=[each[0].__name__ for each in RECURSIVE])
def test_recursion_gives_what_the_wrapper_alone_would(monkeypatch, function, calls, expected):
    name = function.__name__
    slow = boosting._InPython(function, boosting._State(None, "serial", "raise", None), False)
    slow.__dict__["__name__"] = name
    monkeypatch.setitem(globals(), name, slow)
    oracle = [outcome(slow, *args) for args in calls]
    fast = here()(function)
    monkeypatch.setitem(globals(), name, fast)
    for _ in range(3):
        assert [outcome(fast, *args) for args in calls] == oracle
    assert fast.info()["recursion"] == (expected if boosting.boosted_type else expected and THROUGH)
    for name in ("__kwdefaults__", "__defaults__", "__code__"):
        assert getattr(fast, name) is getattr(function, name)


def test_closures_recurse_plainly_too(made):
    def outer(step):
        """Indented, with a comment

        less indented than the code."""

        @made()
        def down(n, seen=()):
            # the cell is its own
            return (n, step, seen) if n <= 0 else down(n - 2, (*seen, n * step))

        return down

    down = outer("ab"[:1])
    assert down(5) == (-1, "a", ("a" * 5, "a" * 3, "a")) and down([1, 2]) == [(-1, "a", ("a",)), (0, "a", ("aa",))]
    assert down.info()["recursion"] == (PLAIN if type(down) is not boosting._InPython else THROUGH)


def test_what_changes_between_the_calls_is_seen(monkeypatch):
    def down(n, last="a"):
        return last if n <= 0 else down(n - 1)

    own = down
    down = here()(down)
    assert down(3) == "a" and down.info()["recursion"] == PLAIN
    down.__defaults__ = ("b",)
    assert down(3) == "b" and down([0, 3]) == ["b", "b"]
    down.__defaults__ = ("a",)
    assert down(3) == "a"
    other = own.__code__.replace(co_consts=tuple(7 if each == 0 else each for each in own.__code__.co_consts))
    before = [own(n) for n in (3, 8)]
    down.__code__ = other
    assert [down(n) for n in (3, 8)] == before  # 7 instead of 0: still the last, sooner
    down, kept = (lambda n: "another"), down
    assert kept(100) == "another" and kept.info()["recursion"] is None
    down = kept
    assert down(1) == "a"

    global fib
    plain = fib
    monkeypatch.setitem(globals(), "fib", here()(plain))
    boosted = fib
    assert boosted(10) == 55 and boosted.info()["recursion"] == PLAIN
    monkeypatch.setitem(globals(), "fib", lambda n: 1000)
    assert boosted(10) == 2000 and boosted.info()["recursion"] is None
    monkeypatch.setitem(globals(), "fib", plain)
    assert boosted(10) == 55 and boosted.info()["recursion"] == PLAIN  # not through us at all
    monkeypatch.delitem(globals(), "fib")
    with pytest.raises(NameError, match="fib"):
        boosted(10)


def test_globals_stay_live(module):
    m = module("""
        from thread_pool import boost
        STEP = 1
        @boost(backend="serial")
        def down(n):
            return [n] if n <= 0 else [n] + down(n - STEP % 3)
        @boost(backend="serial")
        def fall(n):
            global STEP
            STEP += 1
            k = n - 1
            return STEP if n <= 0 else fall(k)
    """)
    assert m.down(2) == [2, 1, 0]
    m.STEP = 2
    assert m.down(2) == [2, 0] and m.down.info()["recursion"] == THROUGH  # STEP may be anything
    assert m.fall(3) == 6 and m.STEP == 6 and m.fall.info()["recursion"] == PLAIN


def test_traceback_and_profile_are_the_plain_functions(module):
    text = """
        import sys
        {boost}
        def down(n):
            # a comment
            if n == 0:
                raise ValueError("bottom")

            return down(
                n - 1,
            )
    """
    boosted = module(text.format(boost="from thread_pool import boost\n        @boost(backend='serial')"))
    plain = module(text.format(boost="def boost(f): return f\n        @boost"))

    def what(m):
        with pytest.raises(ValueError, match="bottom") as caught:
            m.down(3)
        frames = traceback.extract_tb(caught.tb)[1:]
        assert all(frame.filename == m.__file__ for frame in frames)
        events = []
        sys.setprofile(lambda frame, event, arg: events.append((event, frame.f_code.co_name, frame.f_lineno)))
        try:
            m.down(2)
        except ValueError:
            pass
        finally:
            sys.setprofile(None)
        events = [each for each in events if each[1] == "down"]
        places = [(frame.name, frame.lineno, frame.line) for frame in frames]
        return places, events, [frame.f_code for frame, _ in traceback.walk_tb(caught.tb)][1:]

    ours, theirs = what(boosted), what(plain)
    assert boosted.down.info()["recursion"] == PLAIN
    assert ours[0] == theirs[0] and ours[1] == theirs[1] and len(ours[0]) == 4
    if hasattr(ours[2][0], "co_qualname"):
        assert {code.co_qualname for code in ours[2]} == {"down"}


def test_without_source_and_with_another_source(tmp_path, monkeypatch):
    text = "def down(n):\n    return [] if n <= 0 else down(n - 1) + [n]\n"
    space = {}
    exec(text, space)
    space["down"] = down = here()(space["down"])
    assert down(3) == [1, 2, 3] and down([0, 1]) == [[], [1]] and down.info()["recursion"] == THROUGH
    # The file says now what was never compiled: a number here, there a list.
    file = tmp_path / "down.py"
    file.write_text(text)
    space = {}
    exec(compile(text.replace("n - 1", "[n - 1]"), str(file), "exec"), space)
    linecache.checkcache()
    space["down"] = down = here()(space["down"])
    assert outcome(down, 1) == outcome(lambda: [[]] + [1]) and down.info()["recursion"] == THROUGH
    space = {}
    exec(compile(text, str(file), "exec"), space)
    space["down"] = down = here()(space["down"])
    assert down(3) == [1, 2, 3] and down.info()["recursion"] == PLAIN
    space = {}
    exec(compile("\n" + text, str(file), "exec"), space)  # a line further down
    space["down"] = down = here()(space["down"])
    assert down(3) == [1, 2, 3] and down.info()["recursion"] == THROUGH


NUMBERS = ["n", "m", "k", "n - 1", "-m", "n * 2 + k", "n % 3", "2", "1.5", "n if m else k", "(n or k)", "n // 2"]
OTHERS = [
    "[n]",
    "(n, 1)",
    "[]",
    "str(n == m)",
    "n == m",
    "[n] * 2",
    "[1] * (n == m)",
    "None",
    "len('ab')",
    "abs(n)",
    "xs",
    "f",
    "(yield_ := n)",
]
expressions = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(NUMBERS), st.sampled_from(NUMBERS + OTHERS))
statements = st.one_of(
    st.builds("{} = {}".format, st.sampled_from("nmk"), expressions),
    st.builds("{} += {}".format, st.sampled_from("nmk"), expressions),
    st.builds("n, m = {}, {}".format, expressions, expressions),
    st.builds("if m == 2: k = {}".format, expressions),
    st.builds("for k in ({}, 1): pass".format, expressions),
)
_programs = itertools.count()
briefly = reprlib.Repr()  # `n += [n] * 2` makes a list of itself, and the whole text of a few such lists is gigabytes long
briefly.maxlevel, briefly.maxlist, briefly.maxtuple, briefly.maxstring, briefly.maxother = 5, 4, 8, 400, 400


def brief_outcome(call, *args):
    try:
        return briefly.repr(call(*args))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(statements, max_size=2),
    st.lists(st.tuples(expressions, expressions), min_size=1, max_size=2),
    st.tuples(*[st.sampled_from([0, 1, 5, 2.5, True, [1, 2], (3,), "a"])] * 2),
)
def test_programs_recurse_as_through_the_wrapper(body, calls, arguments):
    made_calls = ", ".join(f"f({first}, {second}, fuel - 1)" for first, second in calls)
    lines = ["k = 1", "if fuel <= 0: return (n, m)", *body, f"return (n, k, {made_calls})"]
    text = "def f(n, m, fuel, *xs):\n" + "".join(f"    {line}\n" for line in lines)
    name = f"<boosted program {next(_programs)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    results = []
    try:
        for native in (False, True):
            space = {}
            exec(compile(text, name, "exec"), space)
            state = boosting._State(None, "serial", "raise", None)
            space["f"] = f = here()(space["f"]) if native else boosting._InPython(space["f"], state, False)
            f.__dict__["__name__"] = "f"
            said = [brief_outcome(f, *copy.deepcopy(arguments), 2) for _ in range(2)]
            results.append([re.sub(r" at 0x[0-9a-f]+|_InPython|thread_pool\.boosting\.Boosted", "", each) for each in said])
    finally:
        del linecache.cache[name]
    assert results[0] == results[1], text


def test_deep_recursion_is_an_error_as_ever():
    code = """
        import functools, sys, threading
        from thread_pool import boost

        @boost
        def text(s):
            return 1 if not s else 1 + text(s[1:])
        @boost(backend="serial")
        def lists(x):
            return 1 + sum(lists([x]))
        class A:
            @boost
            def f(self, n):
                return 0 if n == 0 else 1 + self.f(n - 1)

        @functools.lru_cache(None)
        def cached(n):
            return 0 if n == 0 else 1 + cached(n - 1)

        def outcome(call, *args):
            try:
                return call(*args)
            except RecursionError:
                return "RecursionError"

        # 3.12 has releases where nothing written in C may stand in 900 calls of a recursion: CPython's own neither.
        if outcome(cached, 900) == 900:
            assert (outcome(text, "x" * 900), outcome(A().f, 900)) == (901, 900)
        assert (outcome(text, "x" * 600), outcome(A().f, 600)) == (601, 600)
        print(outcome(text, "x" * 2000), outcome(A().f, 2000), outcome(lists, "x"))
        sys.setrecursionlimit(10**6)
        def all_of_them():
            print(outcome(text, "x" * 200000), outcome(A().f, 10**6), outcome(lists, "x"), flush=True)
        all_of_them()
        threading.stack_size(512 * 1024)
        if sys.version_info < (3, 12):  # after that CPython counts, as if each thread had a large stack
            thread = threading.Thread(target=all_of_them)
            thread.start()
            thread.join()
        else:
            all_of_them()
    """
    child = run_child(code, limit=120)
    three = "RecursionError RecursionError RecursionError"
    assert (child.stdout.splitlines(), child.returncode) == ([three, three, three], 0), child.stderr[-2000:]


@pytest.mark.parametrize("threads", THREADS)
def test_many_threads_make_the_first_call(threads):
    for _ in range(30):
        space = {}

        def down(n):
            return 0 if n <= 0 else 1 + down(n - 1)

        down = here()(down)
        space["calls"] = [down, down, down]
        results = run_threads(threads, lambda i: [down(5 + i), down([i, 2]), down(7.0), down.info()["recursion"]])
        assert results == [[5 + i, [i, 2], 7, PLAIN] for i in range(threads)]
    assert down.info()["maps"] == threads
