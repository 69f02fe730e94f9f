"""Which calls need a module that refuses sub-interpreters: found before anything runs, and no false alarm."""

import dataclasses
import functools
import importlib
import json
import math
import os
import sys
import textwrap

import pytest
from tenfold_testing import THREADS, run_child, run_threads
from thread_pool import refusing
from thread_pool.refusing import learn, why

np = pytest.importorskip("numpy")
ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))


@pytest.fixture(autouse=True)
def by_value_here(monkeypatch):
    """This file's own functions travel by value, also where pytest has put the repository on sys.path."""
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place and os.path.realpath(place) != ROOT])


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """modules(name=source, ...) -> the modules, as a worker would find them: in files, on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("_table", "_modules", "_types", "_functions"):
        monkeypatch.setattr(refusing, name, type(getattr(refusing, name))(getattr(refusing, name)))
    before = set(sys.modules)

    def make(**sources):
        for name, source in sources.items():
            path = tmp_path.joinpath(*name.split("__"))
            if path.name == "init":
                path = path.with_name("__init__")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        names = [name[: -len("__init")] if name.endswith("__init") else name for name in sources]
        return [importlib.import_module(name.replace("__", ".")) for name in names]

    yield make
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def by_value(source, **names):
    """Functions of a module that no worker can import."""
    space = {"__name__": "nowhere_to_be_found", **names}
    exec(textwrap.dedent(source), space)
    return space


# ---- by reference: the module, and what it imports

FUNCTION = "\ndef f(x): return x\n"
IMPORTS = {
    "import numpy": "numpy",
    "import numpy as np": "numpy",
    "import numpy.linalg as la": "numpy",
    "from numpy import zeros": "numpy",
    "from numpy import pi, float64": "numpy",
    "from numpy import sqrt": "numpy",
    "import numpy\nTABLE = numpy.arange(3)\ndel numpy": "numpy",
    "class C:\n    pass": None,
    "import json, math, re, collections.abc, typing, dataclasses, logging, threading, random, os.path": None,
    "try:\n    import not_there_at_all\nexcept ImportError:\n    pass": None,
    "def g():\n    import numpy": None,  # what another function imports is not imported with the module
}


@pytest.mark.parametrize("line", IMPORTS)
def test_the_defining_module(modules, line):
    (mine,) = modules(mine=line + FUNCTION)
    assert why(mine.f, [((1,), None)]) == IMPORTS[line]
    assert why(mine.f) == IMPORTS[line]  # the answer that is kept


def test_what_the_module_imports(modules):
    far, near, other, f = modules(
        far="import numpy" + FUNCTION,
        near="from far import f as g" + FUNCTION,
        other="import near" + FUNCTION,
        clean="import json" + FUNCTION,
    )
    for module in (far, near, other):
        assert why(module.f) == "numpy"
        assert why(functools.partial(module.f, 1)) == "numpy"
    assert why(f.f) is None
    found = why(other.f)
    assert found.words == "numpy refuses sub-interpreters (it comes through the function 'f', other, near, far)"


def test_modules_that_import_each_other(modules):
    one, two, three = modules(
        one="import two" + FUNCTION, two="import one, three" + FUNCTION, three="import two\nimport numpy" + FUNCTION
    )
    assert [why(each.f) for each in (one, two, three)] == ["numpy"] * 3
    four, five = modules(four="import five" + FUNCTION, five="import four" + FUNCTION)
    assert [why(each.f) for each in (four, five)] == [None, None]


def test_a_package_and_its_parts(modules):
    _, _, clean = modules(bare__init="", bare__heavy="import numpy" + FUNCTION, bare__clean="import bare" + FUNCTION)
    assert sys.modules["bare"].heavy and why(clean.f) is None  # bare.heavy was imported by others
    assert why(sys.modules["bare.heavy"].f) == "numpy"
    for i, line in enumerate(("from . import heavy", "from .heavy import f", "import full2.heavy", "from full3 import heavy")):
        *_, clean = modules(
            **{f"full{i}__heavy": "import numpy" + FUNCTION, f"full{i}__init": line, f"full{i}__clean": FUNCTION}
        )
        assert why(clean.f) == "numpy", line


def test_modules_built_on_numpy(modules):
    (mine,) = modules(mine="import numpy.random" + FUNCTION)
    assert why(mine.f) == "numpy"
    assert why(by_value("def f():\n    import scipy.stats")["f"]) == "scipy"  # nobody has imported it yet


# ---- by value: the names in the code, cells, defaults

NAMED = {
    "def f(x): return np.sum(x)": True,
    "def f(x): return [np.sin(y) for y in x]": True,
    "def f(x): return (lambda y: np.sin(y))(x)": True,
    "def f(x):\n    def g():\n        return np\n    return g()": True,
    "def f(x, zero=np.zeros(3)): return x": True,
    "def f(x, *, kind=np.float64): return x": True,
    "def f(x): return helper(x)\ndef helper(x): return np.exp(x)": True,
    "def make(a):\n    return lambda x: a\nf = make(np.ones(2))": True,
    "def make(a):\n    return lambda x: a\nf = make([{'deep': (np.ones(2),)}])": True,
    "def f(x):\n    import numpy\n    return numpy": True,
    "def f(x):\n    from numpy.linalg import norm\n    return norm": True,
    "class K:\n    def go(self, x): return np.sin(x)\nf = K().go": True,
    "class K:\n    pass\nk = K(); k.data = np.ones(1)\ndef f(x): return k": True,
    "class K:\n    def __call__(self, x): return np.sin(x)\nf = K()": True,
    "class K:\n    @property\n    def p(self): return np.sin(1)\ndef f(x): return K().p": True,
    "f = np.sqrt": True,
    "f = np.ones(3).__add__": True,
    "f = np.ones(3).sum": True,
    "f = np.ndarray.sum": True,
    "f = str.upper": False,
    "f = int.__add__": False,
    "import functools\nf = functools.partial(pow, np.float64(1))": True,
    "import functools\nf = functools.partial(max, key=np.abs)": True,
    "def f(x): return x": False,
    "def f(np): return np.sum": False,
    "def f(x): return x.np": False,
    "def f(x): return x.numpy() + x.array": False,
    "def f(x):\n    np = x\n    return np": False,
    "def f(x): return 'np'": False,
    "def f(x):\n    import json\n    return json": False,
    "import math\ndef f(x): return math.sqrt(x)": False,
    "def f(n): return 1 if n < 2 else f(n - 1)": False,
    "class K:\n    def go(self, x): return x\nf = K().go": False,
    "f = len": False,
    "f = str": False,
    "f = [].append": False,
    "f = 'abc'.join": False,
}


@pytest.mark.parametrize("source", NAMED)
def test_names_in_the_code(source):
    found = why(by_value(source, np=np, array=np.array)["f"], [((1,), None)])
    assert found == ("numpy" if NAMED[source] else None)


def test_functions_that_name_each_other():
    space = by_value("def f(x): return g(x)\ndef g(x): return f(x), h(x)\ndef h(x): return g(x), np", np=np)
    assert [why(space[name]) for name in "fgh"] == ["numpy"] * 3
    space = by_value("def f(x): return g(x)\ndef g(x): return f(x)")
    assert [why(space[name]) for name in "fg"] == [None] * 2


def test_a_long_chain_of_functions():
    names = {}
    for i in range(3000):
        exec(f"def f{i}(x): return f{i + 1}(x)", names)
    assert why(names["f0"]) is None  # it is not known; nothing breaks


# ---- arguments


@dataclasses.dataclass
class Holder:
    data: object


class Odd:
    """An object that does not like to be looked at."""

    def __getattribute__(self, name):
        raise ZeroDivisionError(name)


def identity(x=None):
    return x


def test_arguments():
    ones = np.ones(2)
    for value in (
        ones,
        np.float64(1),
        np.dtype("f8"),
        [ones],
        (1, [ones]),
        {"a": ones},
        {np.int8(1): 0},
        {np.int8(1)},
        Holder(ones),
    ):
        assert why(identity, [((value,), None)]) == "numpy", value
        assert why(identity, [((), {"x": value})]) == "numpy", value
        assert why(identity, [((0,), None), ((value,), None)]) == "numpy", value
    for value in (np, np.sum, np.ndarray, [np.sin], functools.partial(np.sum), lambda: np, ones.sum, Holder(lambda: np)):
        assert why(identity, [((value,), None)]) == "numpy", value
    found = why(identity, [((ones,), None)])
    assert found.words == "numpy refuses sub-interpreters (it comes through an argument, the type 'ndarray')"
    plain = [1, "a", None, b"x", 1.5, [1, [2]], {"a": (1,)}, {1, 2}, Holder(1), int, len, json.dumps, math, range(3), ...]
    plain += [memoryview(b"x"), memoryview(ones), 2**1000, Odd(), Holder(Odd()), object(), Exception("x"), iter([])]
    for value in plain:
        assert why(identity, [((value,), {"x": value})]) is None, value
    loop: list = []
    loop.append(loop)
    assert why(identity, [((loop,), None)]) is None
    assert why(identity, [((i,), None) for i in range(100_000)]) is None


# ---- the table


def test_learn(modules):
    mine, user = modules(unwilling__part=FUNCTION, user="from unwilling.part import f as g\nimport unwilling" + FUNCTION)
    value = by_value("def f(x): return g(x)", g=mine.f)["f"]
    assert [why(each) for each in (mine.f, user.f, value)] == [None] * 3
    learn("unwilling.part._native")
    assert [why(each) for each in (mine.f, user.f, value)] == ["unwilling"] * 3
    if not hasattr(sys, "stdlib_module_names"):
        return  # 3.9: no sub-interpreters of that kind either
    learn("email.mime")  # of the standard library, one module is not all of its package
    assert "email" not in refusing._table and "email.mime" in refusing._table


def test_the_standard_library(modules):
    (mine,) = modules(mine="import ctypes, zoneinfo" + FUNCTION)
    expected = None if sys.version_info >= (3, 13) else {"ctypes", "zoneinfo"}
    found = why(mine.f)
    assert found is None if expected is None else found in expected
    import datetime
    import decimal

    values = [datetime.datetime.now(datetime.timezone.utc), decimal.Decimal(1)]
    assert all(why(identity, [((each,), None)]) is None for each in values)
    zone = importlib.import_module("zoneinfo").ZoneInfo
    try:
        there = datetime.datetime(2024, 1, 1, tzinfo=zone("Europe/Berlin"))
    except KeyError:
        pytest.skip("no time zones on this machine")
    assert why(identity, [((there,), None)]) == (None if expected is None else "zoneinfo")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="sub-interpreters from Python, to ask them: 3.13")
def test_the_table_is_true_here():
    child = run_child(
        """
        import _interpreters, importlib.util, sys
        from thread_pool import refusing
        names = [each for each in sorted(refusing._table) if each.split(".")[0] in sys.stdlib_module_names or each == "numpy"]
        names = [each for each in names if importlib.util.find_spec(each)]
        interpreter = _interpreters.create()
        for name in names + ["ctypes", "zoneinfo", "datetime", "decimal", "xml.etree.ElementTree", "sqlite3", "json"]:
            failed = _interpreters.exec(interpreter, f"import sys; sys.path[:] = {sys.path!r}; import {name}")
            print(name, failed is not None, name in refusing._table)
        """
    )
    lines = [line.split() for line in child.stdout.splitlines()]
    assert len(lines) > 8 and all(refused == listed for _, refused, listed in lines), (child.stdout, child.stderr)


@pytest.mark.parametrize("threads", THREADS)
def test_many_threads_ask(threads, modules):
    spaces = [
        by_value("def f(x): return g(x)\ndef g(x): return np if b else x", np=np if i % 2 else math, b=1) for i in range(50)
    ]

    def member(_):
        return [why(space["f"], [((1,), None)]) for space in spaces for _ in range(3)]

    expected = [None if i % 2 == 0 else "numpy" for i in range(50) for _ in range(3)]
    assert run_threads(threads, member) == [expected] * threads
