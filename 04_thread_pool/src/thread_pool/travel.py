"""What travels between interpreters and processes, and how: functions, arguments, results, errors.

Both transports use it in the parent; the other half is worker.py, which stands here as ``travel.worker``::

    function = pack_function(fn)               # TypeError naming what cannot travel
    calls = pack_calls(calls, first, kind)     # the same, with .position
    sent = Sent()                              # per worker: what it has been sent
    request = sent.request(function, calls, task, stop_on_error)
    reply = ...                                # moved there and back; after MISSING once more, with whole=True
    values, failures = unpack_results(reply)   # raises Refused
"""

from __future__ import annotations

import _frozen_importlib_external as importer
import _pickle
import marshal
import os
import sys
import threading
from itertools import chain

try:
    from ._core import only_plain_items as _native_plain
    from ._core import pack_numbers, unpack_numbers
except ImportError:
    _native_plain = pack_numbers = None  # type: ignore[assignment]

TYPE_CHECKING = False  # typing takes longer to import than the rest
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class RemoteTraceback(Exception):
    """The traceback of a worker, as text: the cause of the exception that came from there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class RemoteError(Exception):
    """An exception of a worker that can not travel.

    Attributes
    ----------
    type_name, message, traceback : str
        Of the exception as it was raised.
    """

    def __init__(self, type_name: str, message: str, traceback: str) -> None:
        super().__init__(type_name, message, traceback)
        self.type_name, self.message, self.traceback = type_name, message, traceback

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}"


class Refused(ImportError):
    """A module that the function or its arguments need refuses sub-interpreters; nothing was begun."""


def cure(module: str) -> str:
    return f'the module {module!r} refuses sub-interpreters; use backend="processes"'


def _load(name: str, file: str) -> tuple[Any, Any]:
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), file)
    code: Any = importer.SourceFileLoader(name, path).get_code(name)
    module = sys.modules.get(name)
    if module is None:
        module = type(sys)(name)
        module.__file__ = path
        sys.modules[name] = module  # by this name the pickles know it, on both sides
        exec(code, module.__dict__)
    return module, code


worker, worker_code = _load("_tenfold_worker", "worker.py")
"""worker.py as it is on the far side, and its code, which is handed over there."""

ITEMS, ARGS, PICKLED = worker.ITEMS, worker.ARGS, worker.PICKLED
_IMMUTABLE = worker.PLAIN | {complex, range, type(...), type(NotImplemented), type(worker.serve.__code__)}
_keys: dict[bytes, int] = {}
_keys_lock = threading.Lock()
_last_key = _keys_bytes = 0
_KEYS, _KEYS_BYTES = 256, 1 << 25
_settings: tuple[Any, bytes] = (None, b"")


class Function:
    """A function, packed. `copy_each`: it has state of its own, so each call loads it anew."""

    __slots__ = ("copy_each", "data", "key", "settings")

    def __init__(self, data: bytes, copy_each: bool) -> None:
        self.data, self.copy_each = data, copy_each
        self.key = _key(data)
        self.settings = _pack_settings()


class Calls:
    """Calls, packed; see the head of worker.py."""

    __slots__ = ("buffers", "count", "data", "kind")

    def __init__(self, kind: int, count: int, data: bytes, buffers: tuple[Any, ...]) -> None:
        self.kind, self.count, self.data, self.buffers = kind, count, data, buffers

    def __len__(self) -> int:
        return self.count

    def unpacked(self) -> list[Any]:
        """The numbers that were packed."""
        return unpack_numbers(self.kind, self.data)

    def __getitem__(self, part: slice) -> Calls:
        """Some of them, as they were when they were packed."""
        begin, end, _ = part.indices(self.count)
        if self.kind in (worker.INTS, worker.FLOATS):
            return Calls(self.kind, end - begin, self.data[8 * begin : 8 * end], ())
        every = marshal.loads(self.data)
        first = last = 0
        if self.kind == PICKLED:
            first, last = (sum(own for _, own in every[:each]) for each in (begin, end))
        return Calls(self.kind, end - begin, marshal.dumps(every[begin:end], 2), self.buffers[first:last])


class Sent:
    """What one worker has been sent, so that it is not sent twice."""

    def __init__(self) -> None:
        self._keys: dict[int, None] = {}
        self._settings = b""

    def request(self, function: Function, calls: Calls, task: int, stop_on_error: bool, whole: bool = False) -> tuple[Any, ...]:
        """The request; `whole`: with everything, whatever has been sent."""
        data = settings = None
        if whole or function.key not in self._keys:
            data = function.data
            self._keys.pop(function.key, None)
            self._keys[function.key] = None
            while len(self._keys) > worker.KEPT:  # as the worker drops them
                del self._keys[next(iter(self._keys))]
        if whole or function.settings != self._settings:
            settings = self._settings = function.settings
        flags = function.copy_each * worker.COPY_EACH | stop_on_error * worker.STOP
        return task, function.key, data, flags, settings, calls.kind, calls.count, calls.data, calls.buffers


def _key(data: bytes) -> int:
    """A number for these bytes; the same for the same bytes as long as they are remembered, never one for two."""
    global _last_key, _keys_bytes
    with _keys_lock:
        key = _keys.pop(data, 0)
        if not key:
            key = _last_key = _last_key + 1
            _keys_bytes += len(data)
        _keys[data] = key
        while len(_keys) > 1 and (len(_keys) > _KEYS or _keys_bytes > _KEYS_BYTES):
            oldest = next(iter(_keys))
            del _keys[oldest]
            _keys_bytes -= len(oldest)
        return key


def _pack_settings() -> bytes:
    global _settings
    digits = sys.get_int_max_str_digits() if hasattr(sys, "get_int_max_str_digits") else None
    now = ([_entry(each) for each in sys.path if isinstance(each, str)], sys.getrecursionlimit(), digits)
    known, data = _settings
    if known != now:
        data = marshal.dumps(now)
        _settings = (now, data)
    return data


def _entry(entry: str) -> str:
    """One of sys.path; a folder is named from the root, since a process may stand in another one."""
    entry = str.__str__(entry)  # marshal takes no subclass
    if entry[:1] != "/" and (not entry or os.path.exists(entry)):
        try:
            return os.path.abspath(entry)
        except OSError:  # we stand in a folder that is gone
            pass
    return entry


def pack_function(fn: Any) -> Function:
    """
    A function as it is now, for any worker.

    Parameters
    ----------
    fn : callable
        By reference if a worker can import it, else by value.

    Raises
    ------
    TypeError
        It cannot travel.
    """
    if not callable(fn):
        raise TypeError(f"a callable is needed, not {type(fn).__qualname__}")
    if getattr(type(fn), "__tenfold_boosted__", False):
        fn = fn.untouched()
    try:
        data = worker.by_value().dumps(fn)
    except Exception as error:
        name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
        raise TypeError(f"the function {name!r} cannot travel: {error}") from error
    return Function(data, not _stateless(fn, set()))


def _stateless(value: Any, seen: set[int]) -> bool:
    """Whether no call can change it, so that one copy does for all."""
    if isinstance(value, type(len)):
        owner = getattr(value, "__self__", None)
        return owner is None or isinstance(owner, type(sys)) or _stateless(owner, seen)
    if type(value) in _IMMUTABLE or isinstance(value, (type, type(sys))) or id(value) in seen:
        return True
    seen.add(id(value))
    if type(value) in (tuple, frozenset):
        return all(_stateless(each, seen) for each in value)
    if getattr(type(value), "__tenfold_boosted__", False):
        value = value.serial
    if isinstance(value, type(_stateless)):
        if worker.by_value().by_reference(value):
            return True
        if value.__closure__ and worker.by_value().referenced(value.__code__)[2]:
            return False
        held = [value.__defaults__ or (), *(value.__kwdefaults__ or {}).values(), *value.__dict__.values()]
        for cell in value.__closure__ or ():
            try:
                held.append(cell.cell_contents)
            except ValueError:  # not filled yet
                pass
        return all(_stateless(each, seen) for each in held)
    kind = type(value)
    if kind.__name__ == "_lru_cache_wrapper" and kind.__module__ == "functools":
        return _stateless(value.__wrapped__, seen)
    if kind.__module__ == "functools" and kind.__name__ == "partial":
        return not value.__dict__ and all(_stateless(each, seen) for each in (value.func, value.args, *value.keywords.values()))
    if kind.__name__ in ("method_descriptor", "wrapper_descriptor", "classmethod_descriptor") and kind.__module__ == "builtins":
        return True
    if kind.__name__ == "method" and kind.__module__ == "builtins":
        return _stateless(value.__self__, seen) and _stateless(value.__func__, seen)
    return False


def pack_calls(
    calls: Sequence[Any], first: int = 0, kind: str = "calls", least: int | None = None, numbers: bool = False
) -> Calls:
    """
    Calls as they are now: what the caller changes later is not seen.

    Parameters
    ----------
    calls : sequence
        `kind` "calls": of (tuple of arguments, dict of keyword arguments or None); "items": of only arguments; "args": of
        tuples of arguments.
    first : int
        The index of the first one, for messages.
    least : int, optional
        How many bytes a buffer other than a memoryview must have to stay out of the pickle; None: none does.
    numbers : bool
        A list of numbers of one type is packed as eight bytes each; for workers that take them as they are.

    Raises
    ------
    TypeError
        An argument cannot travel; `position` is the offset of its call.
    """
    packed = numbers_packed(calls) if numbers and kind == "items" else None
    if packed is not None:
        return packed
    if kind == "calls" and not any(kwargs for _, kwargs in calls):
        calls, kind = [args for args, _ in calls], "args"
    if kind == "items":
        if only_plain(calls):
            data = _marshalled(calls)
            if data is not None:
                return Calls(ITEMS, len(calls), data, ())
        pairs = [((each,), None) for each in calls]
    elif kind == "args":
        if worker.PLAIN.issuperset(map(type, chain.from_iterable(calls))):
            data = _marshalled([tuple(each) for each in calls])
            if data is not None:
                return Calls(ARGS, len(calls), data, ())
        pairs = [(tuple(each), None) for each in calls]
    else:
        pairs = [(tuple(args), kwargs or None) for args, kwargs in calls]
    lines: list[tuple[bytes | None, int]] = []
    buffers: list[memoryview] = []
    plainly = least is None
    for position, pair in enumerate(pairs):
        own: list[Any] = []
        data = None
        if plainly:
            try:
                data = _pickle.dumps(pair, 5)
            except Exception:
                pass
            if data is None or b"\x93" in data:  # it names a class or function, which not every worker might find
                data, plainly = None, False
        if data is None:
            try:
                data = worker.by_value().dumps(pair, own, least)
            except Exception as error:
                refused = TypeError(f"{_culprit(pair, first + position, least)} cannot travel: {error}")
                refused.position = position  # type: ignore[attr-defined]
                raise refused from error
        if len(data) > worker.MOST:
            own, data = [data, *own], None
        lines.append((data, len(own)))
        buffers += map(memoryview, own)
    return Calls(PICKLED, len(pairs), marshal.dumps(lines), tuple(buffers))


def numbers_packed(items: Sequence[Any]) -> Calls | None:
    """The calls with numbers of one type as their only arguments, for workers that take them as they are; else None."""
    packed = pack_numbers(items) if pack_numbers is not None else None
    return None if packed is None else Calls(packed[0], len(items), packed[1], ())


def only_plain(items: Sequence[Any]) -> bool:
    if _native_plain is not None and type(items) is list:
        return bool(_native_plain(items))
    return bool(worker.PLAIN.issuperset(map(type, items)))


def _marshalled(items: Any) -> bytes | None:
    try:
        return marshal.dumps(items, 2)
    except ValueError:  # longer than marshal can count
        return None


def _culprit(pair: tuple[tuple[Any, ...], dict[str, Any] | None], index: int, least: int | None) -> str:
    named = [*enumerate(pair[0]), *(pair[1] or {}).items()]
    for name, value in named:
        try:
            worker.by_value().dumps(value, [], least)
        except Exception:
            return f"argument {name!r} of item {index} ({type(value).__qualname__})"
    return f"an argument of item {index}"


def unpack_results(reply: tuple[Any, ...]) -> tuple[list[Any], dict[int, BaseException]]:
    """
    What the calls of one batch returned and raised.

    Returns
    -------
    values : list
        None where a call failed; shorter than the batch if it was stopped.
    failures : dict of int to exception

    Raises
    ------
    Refused
        A module that the function or its arguments need refuses sub-interpreters; no call was begun.
    """
    status, kind, data, errors, buffers = reply
    if status == worker.REFUSED:
        module = str(data, "utf-8")
        raise Refused(cure(module), name=module)
    failures = {each[0]: _unpack_error(*each[1:]) for each in marshal.loads(errors)} if errors is not None else {}
    if kind in (worker.INTS, worker.FLOATS):
        return unpack_numbers(kind, data), failures
    values = marshal.loads(data)
    if kind == PICKLED:
        taken = 0
        for i, (pickled, own) in enumerate(values):
            values[i] = None
            mine = buffers[taken : taken + own]
            taken += own
            if pickled is None:
                pickled, mine = mine[0], mine[1:]
            try:
                values[i] = _pickle.loads(pickled, buffers=mine)
            except Exception as error:
                failure = TypeError(f"the result cannot be rebuilt here: {type(error).__qualname__}: {error}")
                failure.__cause__ = error
                failures.setdefault(i, failure)
    return values, failures


def _unpack_error(data: bytes | None, name: str, message: str, text: str, refusing: str | None) -> BaseException:
    error: Any = None
    if refusing is not None:
        error = ImportError(cure(refusing), name=refusing)
    elif data is not None:
        try:
            error = _pickle.loads(data)
        except Exception:
            pass
    made: BaseException = error if isinstance(error, BaseException) else RemoteError(name, message, text)
    if text:
        made.__cause__ = RemoteTraceback(text)
    return made
