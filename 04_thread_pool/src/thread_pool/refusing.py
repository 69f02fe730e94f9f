"""Which modules refuse sub-interpreters, and whether a call needs one: looked for before anything runs.

A module of C code says by itself whether several interpreters may load it; NumPy and pyarrow say no, and so does, in effect,
whatever imports them. `why` looks at what a worker would have to load: for a callable that travels by reference its module,
with what that imports; for one that travels by value the names in its code, its cells and defaults; the types of arguments
and of what containers hold. It looks at no more than a few hundred values: what it misses, the worker's import refuses, and
`learn` remembers.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import types
import weakref
from collections import deque

from . import travel

TYPE_CHECKING = False  # typing takes longer to import than the rest
if TYPE_CHECKING:
    from typing import Any

_table = {"numpy", "pyarrow"}
# What cannot be loaded without NumPy, for imports inside a function of what nobody has imported yet.
_table |= {"pandas", "scipy", "sklearn", "skimage", "numba", "matplotlib", "seaborn", "statsmodels", "xarray", "cv2", "jax"}
if sys.version_info < (3, 13):  # datetime and decimal are not among them: they go on with their Python versions
    _table |= {"ctypes", "_ctypes", "zoneinfo", "_zoneinfo", "xml", "pyexpat", "plistlib", "cProfile", "_lsprof"}
_table |= {"curses", "_curses", "readline", "tkinter", "_tkinter", "tracemalloc", "_tracemalloc", "faulthandler"}

_STDLIB = frozenset(getattr(sys, "stdlib_module_names", ())) | frozenset(sys.builtin_module_names)
_PLAIN = frozenset((int, float, complex, bool, str, bytes, bytearray, memoryview, type(None), type(...), range, slice))
_MOST = 256  # values looked at in one argument list or container
_DEEP = 4  # levels of containers, attributes and helper functions

_modules: dict[str, Refusal | None] = {}
_types: weakref.WeakKeyDictionary[type, Refusal | None] = weakref.WeakKeyDictionary()
_functions: weakref.WeakKeyDictionary[Any, Refusal | None] = weakref.WeakKeyDictionary()


_lock = threading.RLock()


def _in_a_forked_child() -> None:
    global _lock
    _lock = threading.RLock()  # another thread may have had it
    for known in (_modules, _types, _functions):
        known.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_forked_child)


class Refusal(str):
    """The name of a module that refuses sub-interpreters.

    Attributes
    ----------
    words : str
        How it comes in, for a reader.
    """

    words: str
    _path: tuple[str, ...]

    def __new__(cls, module: str, path: tuple[str, ...] = ()) -> Refusal:
        made = super().__new__(cls, module)
        made._path = path
        made.words = f"{module} refuses sub-interpreters" + (f" (it comes through {', '.join(path)})" if path else "")
        return made

    def by(self, step: str) -> Refusal:
        """The same, one step further away."""
        return Refusal(str(self), (step, *self._path))


def learn(module: str) -> None:
    """
    Adds a module that was met.

    Parameters
    ----------
    module : str
        As the import error names it; a part of a package stands for all of it, except in the standard library.
    """
    top = module.partition(".")[0]
    with _lock:
        _table.add(module if top in _STDLIB else top)
        _modules.clear()
        _types.clear()
        _functions.clear()


def why(fn: Any, calls: Any = ()) -> Refusal | None:
    """
    The module that keeps calls from running in a sub-interpreter.

    Parameters
    ----------
    fn : callable
    calls : sequence of (tuple, dict or None)
        Arguments and keyword arguments of each call.

    Returns
    -------
    Refusal or None
        A str, with the reason in words as `words`.
    """
    with _lock:
        try:
            found = _of(fn, _DEEP) or _of_calls(calls)
        except RecursionError:  # functions that name functions that name ...: the worker will see
            return None
        if found is not None:
            # What names each other was taken to be harmless while it was looked at.
            for known in (_types, _functions):
                for each in [each for each, verdict in known.items() if verdict is None]:
                    known.pop(each, None)
    return found


def _of_calls(calls: Any) -> Refusal | None:
    step = max(1, len(calls) // _MOST)
    for args, kwargs in calls[::step] if step > 1 else calls:
        for value in (*args, *kwargs.values()) if kwargs else args:
            if type(value) not in _PLAIN:
                found = _of(value, _DEEP)
                if found is not None:
                    return found.by("an argument")
    return None


def _listed(name: str) -> Refusal | None:
    """By the table alone."""
    if name in _table or name.partition(".")[0] in _table:
        return Refusal(name if name in _table else name.partition(".")[0])
    return None


# ---- values


def _of(value: Any, deep: int) -> Refusal | None:
    """What has to be loaded to make this value, or a copy of it, in a worker."""
    kind = type(value)
    if kind in _PLAIN:
        return None
    if kind is types.FunctionType:
        return _function(value)
    if kind is types.ModuleType:
        return _module(value.__name__)
    if issubclass(kind, type):
        return _type(value)
    if deep <= 0:
        return _type(kind)
    if kind in (list, tuple, set, frozenset, deque):
        return _each(value, deep - 1)
    if kind is dict:
        return _each(value.values(), deep - 1) or _each(value, deep - 1)
    if kind is types.MethodType:
        return _of(value.__func__, deep) or _of(value.__self__, deep - 1)
    if kind is types.BuiltinFunctionType:
        owner = value.__self__
        if owner is None or type(owner) is types.ModuleType:
            return _module(value.__module__) if isinstance(value.__module__, str) else None
        return _of(owner, deep - 1)
    if kind is types.MethodWrapperType:
        return _of(value.__self__, deep - 1)
    if kind in (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType):
        return _type(value.__objclass__)
    if issubclass(kind, functools.partial):
        return _of(value.func, deep) or _each(value.args, deep - 1) or _each(value.keywords.values(), deep - 1) or _type(kind)
    if getattr(kind, "__tenfold_boosted__", False):
        return _of(value.serial, deep)
    if _home(kind) == "datetime":
        return _of(getattr(value, "tzinfo", None), deep - 1)
    try:
        held = value.__dict__
    except Exception:  # it has none, or does not like to be asked
        held = None
    return _type(kind) or (_each(held.values(), deep - 1) if type(held) is dict else None)


def _each(values: Any, deep: int) -> Refusal | None:
    try:
        for i, value in enumerate(values):
            if i == _MOST:
                break
            if type(value) not in _PLAIN:
                found = _of(value, deep)
                if found is not None:
                    return found
    except RuntimeError:  # another thread changes it
        pass
    return None


def _type(kind: type) -> Refusal | None:
    try:
        return _types[kind]
    except KeyError:
        pass
    _types[kind] = None  # while it is looked at: classes name each other
    found = None
    for each in kind.__mro__:
        name = _home(each)
        if name == "builtins":
            continue
        found = _listed(name)
        if found is None and _travels_by_name(each):
            found = _module(name)
        elif found is None:  # by value: what its functions name
            for member in list(each.__dict__.values()):
                member = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
                if type(member) is types.FunctionType:
                    found = found or _function(member)
        if found is not None:
            found = found.by(f"the type {kind.__qualname__!r}")
            break
    _types[kind] = found
    return found


def _home(kind: type) -> str:
    """The module of a class, which a metaclass might hide."""
    try:
        name = type.__dict__["__module__"].__get__(kind)
    except AttributeError:
        return "builtins"
    return name if isinstance(name, str) else "builtins"


def _travels_by_name(value: Any) -> bool:
    try:
        return bool(travel.worker.by_value().by_reference(value))
    except Exception:  # an object that does not like to be asked
        return False


# ---- functions


def _function(function: types.FunctionType) -> Refusal | None:
    try:
        return _functions[function]
    except KeyError:
        pass
    _functions[function] = None  # functions name each other
    found = _module(function.__module__) if _travels_by_name(function) else _named(function)
    if found is not None:
        found = found.by(f"the function {function.__qualname__!r}")
    _functions[function] = found
    return found


def _named(function: types.FunctionType) -> Refusal | None:
    """For a function that travels by value: what its code names, and what it holds."""
    held = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # not filled yet
            pass
    names = travel.worker.by_value().referenced(function.__code__)[0]
    known = function.__globals__
    held += [known[name] for name in names if name in known]
    found = _each(held, _DEEP)
    if found is None:
        for name in _imports(function.__code__):
            found = _listed(name) or (_module(name) if name in sys.modules else None)
            if found is not None:
                break
    return found


_imported: dict[types.CodeType, tuple[str, ...]] = {}


def _imports(code: types.CodeType) -> tuple[str, ...]:
    """The modules that ``import`` statements of a function name, absolute ones."""
    known = _imported.get(code)
    if known is None:
        import opcode

        found: dict[str, None] = {}
        todo = [code]
        for each in todo:
            todo += [constant for constant in each.co_consts if type(constant) is types.CodeType]
            if not each.co_names or opcode.opmap["IMPORT_NAME"] not in each.co_code[::2]:
                continue
            import dis

            for line in dis.get_instructions(each):
                if line.opname == "IMPORT_NAME" and isinstance(line.argval, str):
                    found[line.argval] = None
        if len(_imported) > 1024:
            _imported.clear()
        known = _imported[code] = tuple(found)
    return known


# ---- modules


def _module(name: str) -> Refusal | None:
    """Whether a module, or one that it imports, refuses."""
    try:
        return _modules[name]
    except KeyError:
        pass
    seen: dict[str, None] = {}
    found = _walk(name, seen)
    if found is None:
        for each in seen:
            spec = getattr(sys.modules.get(each), "__spec__", None)
            if not getattr(spec, "_initializing", False):  # else it has not imported everything yet
                _modules[each] = None
    return found


def _walk(name: str, seen: dict[str, None]) -> Refusal | None:
    """Depth first, without recursion: chains of imports are long."""
    paths: dict[str, tuple[str, ...]] = {name: ()}
    todo = [name]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen[name] = None
        path = paths[name]
        found = _listed(name) or _modules.get(name)
        if found is not None:
            for each in reversed(path):
                found = _modules[each] = found.by(each)
            return found
        if name.partition(".")[0] in _STDLIB or name not in sys.modules:
            continue
        path = (*path, name)
        parent = name.rpartition(".")[0]
        for each in ([parent] if parent else []) + sorted(_imported_by(sys.modules[name], name)):
            if each not in seen and each not in paths:
                paths[each] = path
                todo.append(each)
    return None


def _imported_by(module: Any, name: str) -> set[str]:
    """The modules whose things a module has among its globals."""
    found: set[str] = set()
    members = getattr(module, "__dict__", None)
    if type(members) is not dict:
        return found
    own: set[str] = set()
    for key, value in list(members.items()):
        kind = type(value)
        if kind in _PLAIN:
            continue
        if isinstance(value, types.ModuleType):
            origin = value.__dict__.get("__name__")
            if origin == f"{name}.{key}":
                own.add(key)
                continue
        elif kind in (types.FunctionType, types.BuiltinFunctionType) or isinstance(value, type):
            origin = getattr(value, "__module__", None)
        else:
            origin = _home(kind)
        if isinstance(origin, str) and origin != name and origin != "builtins":
            found.add(origin)
    if own:  # importing a.b sets a's attribute b, whoever imports it: a part belongs to the whole only if that imports it
        found |= {f"{name}.{key}" for key in own & _mentioned(module, name, own)}
    return found


def _mentioned(module: Any, name: str, own: set[str]) -> set[str]:
    """Which of its submodules a package's own code imports; all of them if that cannot be read."""
    try:
        code = module.__spec__.loader.get_code(name)
        words = set(code.co_names)
        for constant in code.co_consts:
            if type(constant) is tuple:
                words.update(each for each in constant if isinstance(each, str))
    except Exception:
        return own
    words |= {part for each in words for part in each.split(".")}
    return own & words
