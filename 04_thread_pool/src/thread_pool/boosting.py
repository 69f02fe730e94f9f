"""@boost: a function that maps over a list or a tuple in parallel, and is called as ever with anything else."""

from __future__ import annotations

import operator
import os
import sys
import threading
import types
import warnings
from collections.abc import Iterable
from functools import partial
from itertools import repeat

TYPE_CHECKING = False  # typing takes longer to import than the rest
if TYPE_CHECKING:
    from typing import Any, Callable, overload

boosted_type: Callable[[type, bool], Any] | None
try:
    from ._core import boosted_type
except ImportError:  # not built for this Python
    boosted_type = None

_BACKENDS = ("auto", "interpreters", "threads", "processes", "serial")
_ON_ERROR = ("raise", "collect", "return")
_KEPT = ("__module__", "__name__", "__qualname__", "__doc__")
_NOT_MAPPED: dict[str, Any] = {"backend": None, "reason": "no list was mapped yet", "fallbacks": []}

_lock = threading.Lock()
_executors: dict = {}
_said = False


class _State:
    """What a boosted function was made with, and what it did."""

    __slots__ = ("backend", "items", "last", "maps", "on_error", "progress", "workers")

    def __init__(self, workers: int | None, backend: str, on_error: str, progress: Any) -> None:
        workers = operator.index(workers) if hasattr(workers, "__index__") else workers
        if workers is not None and (type(workers) is not int or workers < 1):
            raise ValueError(f"workers must be None or a number from 1 on, not {workers!r}")
        if backend not in _BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(_BACKENDS)}, not {backend!r}")
        if on_error not in _ON_ERROR:
            raise ValueError(f"on_error must be one of {', '.join(_ON_ERROR)}, not {on_error!r}")
        self.workers, self.backend, self.on_error, self.progress = workers, backend, on_error, progress
        self.maps = self.items = 0
        self.last: dict = _NOT_MAPPED

    def settings(self) -> tuple:
        return self.workers, self.backend, self.on_error, self.progress


class Boosted:
    """A function that maps over lists; :func:`boost` makes it."""

    # Everything but the call. boosted_type() derives the types that are used, and gives them _function, _state, _bound
    # (the instance of a bound method, else None), _is_method, _in_class, _twin, __self__, __func__, __dict__.
    __slots__ = ()
    __tenfold_boosted__ = True

    # ---- the lists

    def map(self, iterable: Iterable, /, *args: Any, **kwargs: Any) -> list:
        """Map over any iterable, in parallel.

        Parameters
        ----------
        iterable : iterable
            Read to its end first; each item is the first argument of a call.
        *args, **kwargs
            The other arguments, the same for each item.

        Returns
        -------
        list
            In the order of the items; with ``on_error="return"`` with a :class:`Failure` in each failed place.
        """
        return self._over(iterable if type(iterable) in (list, tuple) else list(iterable), args, kwargs)

    def _mapped(self, args: tuple, kwargs: dict | None) -> list:
        return self._over(args[0], args[1:], kwargs or {})

    def _over(self, items: Any, rest: tuple, kwargs: dict) -> list:
        state = self._state
        call, rest = _of_one_argument(self, rest, kwargs)
        executor = _executor(state)
        columns = [repeat(each, len(items)) for each in rest]
        results = list(executor.map(call, items, *columns, on_error=state.on_error, progress=state.progress))
        with _lock:
            state.maps += 1
            state.items += len(items)
            state.last = executor.info()
        return results

    # ---- what it is, and was

    @property
    def serial(self) -> Callable:
        """The untouched function: a list is a list to it."""
        return self._function if self._bound is None else types.MethodType(self._function, self._bound)

    __wrapped__ = serial

    def info(self) -> dict:
        """What ran where.

        Returns
        -------
        dict
            ``maps`` and ``items``: how many lists were mapped and how many items they had; ``backend``, ``requested``,
            ``workers``, ``reason``, ``fallbacks`` as in :meth:`Executor.info`, after the last of them (``backend`` is None
            before the first); ``recursion``: "plain" if calls of itself by name cost what CPython's cost when the call from
            outside has a number first, "through the wrapper" if they pass @boost each time, None if it makes none.
        """
        state = self._state
        made_with = {"requested": state.backend, "workers": state.workers}
        last = {**state.last, "fallbacks": [dict(each) for each in state.last["fallbacks"]]}
        return {**made_with, **last, "maps": state.maps, "items": state.items, "recursion": self._recursion()}

    def _recursion(self) -> str | None:
        from .recursion import calls_itself

        function = self._function
        how = calls_itself(function, self._in_class)
        if how != "name":
            return how and "through the wrapper"
        code = function.__code__
        if code.co_name in code.co_freevars:
            cell = function.__closure__[code.co_freevars.index(code.co_name)]
            named = getattr(cell, "cell_contents", None) if cell is not None else None
        else:
            named = function.__globals__.get(code.co_name)
        if named is function:
            return "plain"  # the name is not this object's: it was boosted under another one
        if named is not getattr(self, "__func__", self):
            return None
        return "plain" if named._twin or named._settle() else "through the wrapper"

    def _settle(self) -> tuple | None:
        # Asked once, at the first call with a number: the twin and when it may be used.
        try:
            from .recursion import twin_of

            return twin_of(self._function)
        except Exception:
            return None  # no source, or not its source

    # ---- as a method

    def __set_name__(self, owner: type, name: str) -> None:
        # Defined in this class body, and under no other decorator: its first argument is self.
        if self._in_class and self._function.__qualname__ == f"{owner.__qualname__}.{name}":
            self._is_method = True  # type: ignore[misc]

    def _takes_self(self, first: object) -> bool:
        """Whether it came here with `first` as self or cls: through a classmethod, a decorator that wraps it, setattr."""
        for owner in (first if isinstance(first, type) else type(first)).__mro__:
            found = owner.__dict__.get(self.__name__)
            while found is not None and not isinstance(found, staticmethod):
                if found is self:
                    return True
                found = getattr(found, "__func__", None) or getattr(found, "__wrapped__", None)
        return False

    # ---- as a function: what it has beside the call

    def __getattr__(self, name: str) -> Any:
        if name in ("__self__", "__func__"):
            raise AttributeError(name)
        return getattr(self._function, name)

    @property
    def __signature__(self) -> Any:
        if self._bound is None:
            raise AttributeError("__signature__")  # then inspect asks __wrapped__
        import inspect

        return inspect.signature(self.serial)

    def __repr__(self) -> str:
        name = getattr(self, "__qualname__", None) or repr(self._function)
        if self._bound is not None:
            return f"<bound boosted method {name} of {self._bound!r}>"
        return f"<boosted function {name} at {id(self):#x}>"

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if self._bound is None or not isinstance(other, Boosted):
            return NotImplemented
        return self._bound is other._bound and self.__func__ is other.__func__

    def __hash__(self) -> int:
        return object.__hash__(self) if self._bound is None else hash((id(self._bound), self.__func__))

    def __copy__(self) -> Boosted:
        return self

    def __deepcopy__(self, memo: dict) -> Boosted:
        return self

    def __reduce_ex__(self, protocol: Any) -> str | tuple:
        return self.__qualname__ if self._found_by_name() else self.by_value()

    def _found_by_name(self) -> bool:
        found: Any = sys.modules.get(getattr(self, "__module__", None) or "")
        for each in getattr(self, "__qualname__", "<none>").split("."):
            found = getattr(found, each, None)
        return found is self

    # ---- for travel.py: what is mapped travels untouched, what its code calls travels boosted

    def untouched(self) -> Callable:
        # Not the bound method: pickle would look its name up, and find the boosted one.
        return self._function if self._bound is None else partial(self._function, self._bound)

    def by_value(self) -> tuple:
        if self._bound is not None:
            return getattr, (self._bound, self.__name__)
        return _boosted_again, (self._function, *self._state.settings())


def _forwarded(name: str) -> property:
    return property(lambda self: getattr(self._function, name), lambda self, value: setattr(self._function, name, value))


for _each in ("__code__", "__defaults__", "__kwdefaults__"):
    setattr(Boosted, _each, _forwarded(_each))  # the function's own: what is set here is what runs


class _InPython(Boosted):
    """Without the native module: slower, otherwise the same."""

    __slots__ = ("__dict__", "__weakref__", "_bound", "_function", "_in_class", "_is_method", "_state", "_whole")
    _twin = None  # type: ignore[var-annotated]

    def _settle(self) -> None:
        return None

    def __init__(self, function: Callable, state: _State, in_class: bool) -> None:
        self._function, self._state, self._in_class = function, state, in_class
        self._is_method, self._bound, self._whole = False, None, None

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        whole = self._bound is None and len(args) > 1
        if whole and type(args[1]) in (list, tuple) and (self._is_method or (self._in_class and self._takes_self(args[0]))):
            return self._of(args[0])._mapped(args[1:], kwargs)
        if args and type(args[0]) in (list, tuple) and (self._bound is not None or not self._is_method):
            return self._mapped(args, kwargs)
        return self._function(*args, **kwargs) if self._bound is None else self._function(self._bound, *args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Boosted:
        if instance is None or self._bound is not None or not hasattr(type(self._function), "__get__"):
            return self
        if self._function.__get__(instance, owner) is self._function:
            return self
        return self._of(instance)

    def _of(self, instance: object) -> Boosted:
        method = _InPython(self._function, self._state, self._in_class)
        method._bound, method._whole, method.__dict__ = instance, self, self.__dict__  # type: ignore[assignment]
        return method

    def __getattr__(self, name: str) -> Any:
        if name in ("__self__", "__func__") and self._bound is not None:
            return self._bound if name == "__self__" else self._whole
        return super().__getattr__(name)


_FUNCTION = boosted_type(Boosted, False) if boosted_type else _InPython
_METHOD = boosted_type(Boosted, True) if boosted_type else _InPython


if TYPE_CHECKING:

    @overload
    def boost(function: Callable, /) -> Any: ...
    @overload
    def boost(
        *, workers: int | None = None, backend: str = "auto", on_error: str = "raise", progress: Any = None
    ) -> Callable[[Callable], Any]: ...


def boost(
    function: Callable | None = None,
    /,
    *,
    workers: int | None = None,
    backend: str = "auto",
    on_error: str = "raise",
    progress: Any = None,
) -> Any:
    """Let a function take a list, and map over it in parallel.

    The first positional argument decides (of a method: the first after ``self``). If it is a list or a tuple, and not of a
    subclass, the function is called for each item, with the other arguments the same, in parallel; the results come back as
    a list, in order. Anything else is a plain call.

    Parameters
    ----------
    function : callable
        A function, method, static or class method, or another callable; not a class, a generator or an async function.
    workers : int, optional
        As of :class:`Executor`; functions with the same `workers` and `backend` share one, started on first use.
    backend : {"auto", "interpreters", "threads", "processes", "serial"}
    on_error : {"raise", "collect", "return"}
        As of :meth:`Executor.map`.
    progress : bool or callable, optional
        As of :meth:`Executor.map`.

    Returns
    -------
    Boosted
        In place of the function: ``f.map(iterable, ...)`` for what is no list, ``f.serial`` for the untouched function (for
        one that wants a list), ``f.info()`` for what ran where. Without `function`: a decorator.

    Notes
    -----
    In a worker lists are mapped one item after the other.
    """
    state = _State(workers, backend, on_error, progress)
    if function is None:
        return partial(_boosted, settings=state.settings())
    return _boosted(function, state.settings())


def _boosted(function: Any, settings: tuple) -> Any:
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_boosted(function.__func__, settings))
    if isinstance(function, Boosted):
        function = function.serial  # boosted twice: the later settings
    if isinstance(function, type):
        raise TypeError(f"@boost takes functions, not the class {function.__name__}: boost one of its methods")
    if not callable(function):
        raise TypeError(f"@boost takes functions, not {type(function).__name__}")
    inner = function
    while isinstance(inner, (partial, types.MethodType)):
        inner = inner.func if isinstance(inner, partial) else inner.__func__
    kind = getattr(getattr(inner, "__code__", None), "co_flags", 0)
    if kind & 0x20:  # CO_GENERATOR
        raise TypeError(f"@boost: {inner.__name__} is a generator: calling it runs nothing yet. Let it return a list")
    if kind & 0x280:  # CO_COROUTINE, CO_ASYNC_GENERATOR
        raise TypeError(f"@boost: {inner.__name__} is async: it runs in an event loop. Boost the plain function that it awaits")
    if boosted_type is None:
        _say_once()
    in_class = isinstance(function, types.FunctionType) and "." in function.__qualname__
    in_class = in_class and not function.__qualname__.rpartition(".")[0].endswith("<locals>")
    made = (_METHOD if in_class else _FUNCTION)(function, _State(*settings), in_class)
    attributes = {each: getattr(function, each) for each in _KEPT if hasattr(function, each)}
    made.__dict__.update({**attributes, **getattr(function, "__dict__", {})})
    made.__dict__.pop("__wrapped__", None)  # of a function under another decorator; serial is ours
    return made


def _boosted_again(function: Callable, *settings: Any) -> Any:
    return _boosted(function, settings)


def _say_once() -> None:
    global _said
    if not _said:
        _said = True
        text = (
            "thread_pool has no native module for this Python: @boost maps lists serially. Cure: pip install it for this Python"
        )
        warnings.warn(text, RuntimeWarning, stacklevel=4)


def _of_one_argument(function: Boosted, rest: tuple, kwargs: dict) -> tuple[Callable, tuple]:
    """The untouched function as one of the item alone, so that the other arguments travel once; or what must go by position."""
    call = function.untouched()
    if rest and isinstance(function._function, types.FunctionType):
        code = function._function.__code__
        begin = 1 + (function._bound is not None)
        names = code.co_varnames[begin : begin + len(rest)]
        if code.co_posonlyargcount <= begin and begin + len(rest) <= code.co_argcount and kwargs.keys().isdisjoint(names):
            kwargs, rest = {**dict(zip(names, rest)), **kwargs}, ()
    return (partial(call, **kwargs) if kwargs else call), rest


def _executor(state: _State) -> Any:
    """The one for these settings, running."""
    from .executor import Executor
    from .futures import in_worker

    key = (state.workers, "serial" if boosted_type is None or in_worker() else state.backend)
    with _lock:
        executor = _executors.get(key)
        if executor is None:
            executor = _executors[key] = Executor(*key)
        executor.restart()  # nothing, unless somebody shut it down
    return executor


if hasattr(os, "register_at_fork"):  # a thread that is not in the child may have held it
    os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.Lock()))
