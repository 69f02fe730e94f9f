"""Choices: which backend, how large a chunk, and whether the work is so small that the calling thread makes the calls itself."""

from __future__ import annotations

import functools
import operator
import os
import sys
import threading
import time
import types

from .futures import CurrentTask, here, in_worker
from .local import gil_is_off, is_interrupt

TINY = 200e-6
"""Work under this many seconds in all is done by the caller."""
PROBED = 2000
"""Longer inputs are never tried on the calling thread."""
WORTHWHILE = 1.5e-3
"""A chunk lasts at least as long, if the cost of a call is known: the way to a worker and back costs a tenth of a millisecond."""
SMOOTH = 20e-3
"""A chunk does not last longer, if the cost of a call is known: so results, progress and errors come steadily."""

_IMMUTABLE = frozenset((int, float, complex, bool, str, bytes, type(None), type(...), range, type(NotImplemented)))


def default_workers() -> int:
    """As many as this process may use processors."""
    count = getattr(os, "process_cpu_count", None)
    if count is not None:
        return count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def workers_of(workers) -> int:
    if workers is None:
        return default_workers()
    try:
        count = operator.index(workers)
    except TypeError:
        raise TypeError(f"workers must be an int or None, not {type(workers).__name__}") from None
    if not 1 <= count <= 1024:
        raise ValueError(f"workers must be between 1 and 1024, not {count}")
    return count


def candidates() -> list:
    """The backends that `auto` tries, best first, each with the reason to take it."""
    if in_worker():
        return [("serial", "inside a worker")]
    if gil_is_off():
        return [("threads", "free-threaded Python, and the GIL is off")]
    if sys.version_info >= (3, 12):
        return [
            ("interpreters", "CPython 3.12 or newer: a sub-interpreter with its own GIL per worker"),
            ("processes", "no sub-interpreters here"),
        ]
    return [("processes", "sub-interpreters with their own GIL need CPython 3.12")]


def open_backend(name: str):
    """The backend of that name, checked; RuntimeError or ImportError with the cure if it cannot run here."""
    if name == "threads":
        from .local import LocalBackend as Backend
    elif name == "interpreters":
        from .interpreters import InterpreterBackend as Backend
    else:
        from .processes import ProcessBackend as Backend
    backend = Backend()
    backend.check()
    return backend


def name_of(fn) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


def code_of(fn):
    """What the cost of a function is remembered by."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = getattr(fn, "__func__", fn)
    code = getattr(fn, "__code__", None)
    if isinstance(code, types.CodeType):
        return code
    return fn if isinstance(fn, (types.BuiltinFunctionType, type)) else type(fn)


class Costs:
    """Seconds per call, as last measured, of the functions used last."""

    def __init__(self, size: int = 256):
        self.size = size
        self.known: dict = {}
        self.lock = threading.RLock()

    def learn(self, code, seconds: float, calls: int) -> None:
        with self.lock:
            cost, before = seconds / calls, self.known.pop(code, None)
            if before is not None and cost > before:  # part of it may be the way there and back: believe it slowly, if at all
                cost = (3 * before + cost) / 4 if seconds > WORTHWHILE else before
            self.known[code] = cost
            if len(self.known) > self.size:
                self.known.pop(next(iter(self.known)))

    def of(self, code):
        return self.known.get(code)


def _immutable(value, depth: int = 3) -> bool:
    kind = type(value)
    if kind in _IMMUTABLE:
        return True
    return kind in (tuple, frozenset) and depth > 0 and all(_immutable(each, depth - 1) for each in value)


def all_immutable(items) -> bool:
    """Whether nobody could tell these values from copies of them."""
    kinds = set(map(type, items))
    if kinds <= _IMMUTABLE:
        return True
    return kinds <= _IMMUTABLE | {tuple, frozenset} and all(map(_immutable, items))


def holds_nothing(fn) -> bool:
    """Whether a callable keeps no state of its own that a copy would not share."""
    if isinstance(fn, functools.partial) and type(fn) is functools.partial:
        return holds_nothing(fn.func) and all_immutable(fn.args) and all_immutable(list(fn.keywords.values()))
    if isinstance(fn, types.BuiltinFunctionType):
        return isinstance(fn.__self__, types.ModuleType) or fn.__self__ is None or _immutable(fn.__self__)
    if isinstance(fn, types.MethodType):
        return isinstance(fn.__self__, type) and holds_nothing(fn.__func__)
    if isinstance(fn, type):
        return True
    if not isinstance(fn, types.FunctionType) or fn.__dict__:
        return False
    for cell in fn.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:
            continue
        if value is not fn and not _immutable(value):
            return False
    return all_immutable(fn.__defaults__ or ()) and all_immutable(list((fn.__kwdefaults__ or {}).values()))


def chunk_sizes(count: int, workers: int, chunksize=None, cost=None) -> list:
    """Sizes of consecutive chunks: as asked for; else large ones first, small ones at the end."""
    if chunksize is not None:
        return [chunksize] * (count // chunksize) + ([count % chunksize] if count % chunksize else [])
    share, least = max(1, count // (2 * workers)), max(1, count // 512)
    if cost is None:
        most, part = share, 4 * workers
    else:
        cost = max(cost, 1e-9)
        least, part = min(share, max(least, int(WORTHWHILE / cost) + 1)), 2 * workers
        most = max(least, min(share, int(SMOOTH / cost)))
    sizes = []
    while count:
        size = min(count, max(least, min(most, count // part)))
        sizes.append(size)
        count -= size
    return sizes


class Probe:
    """Items that the thread that wants the results runs itself, for the first 200 µs; then workers get the rest.

    It lies in the queue like a batch. The worker that takes it waits until the time is over: an item that keeps the
    caller busy for long does not keep the others from their workers.
    """

    TINY = TINY

    def __init__(self, run, function, items, starred, send, tell):
        self.run, self.function, self.items, self.starred = run, function, items, starred
        self.send = send  # send(first): packs the items from there on and queues them
        self.tell = tell  # tell(count, seconds): all was done here
        self.owner = self
        self.taken = 0
        self.handed_over = False
        self.until = time.monotonic() + TINY
        self.idle = threading.Lock()
        self.idle.acquire()

    def go(self, engine, slot) -> None:
        left = self.until - time.monotonic()
        if left <= 0 or not self.idle.acquire(True, left):
            try:
                self.hand_over()
            except BaseException as error:  # for the thread that wants the results
                self.run.events.put(error)

    def _take(self) -> int:
        with self.run.lock:
            if self.handed_over or self.run.stopped or self.taken == len(self.items):
                return -1
            self.taken += 1
            return self.taken - 1

    def hand_over(self) -> None:
        """What has not been taken goes to the workers."""
        with self.run.lock:
            if self.handed_over:
                return
            self.handed_over = True
            first = self.taken
        if first < len(self.items) and not self.run.stopped:
            self.send(first)

    def run_here(self) -> None:
        """On the thread that wants the results."""
        values: list = []
        failures: dict = {}
        run, function, items, starred = self.run, self.function, self.items, self.starred
        outer, begun = here.task, time.perf_counter()
        here.task = CurrentTask(lambda: run.stopped)
        try:
            while True:
                index = self._take()
                if index < 0:
                    break
                try:
                    value = function(*items[index]) if starred else function(items[index])
                except BaseException as error:
                    if is_interrupt(error):
                        raise
                    failures[index] = error.with_traceback(error.__traceback__.tb_next)
                    values.append(None)
                    if run.stop_on_error:
                        run.fail(index)
                        with run.lock:
                            self.handed_over = True
                        break
                else:
                    values.append(value)
                if time.monotonic() >= self.until:
                    self._learn(values, begun)
                    self.hand_over()
        finally:
            here.task = outer
        if values:
            seconds = self._learn(values, begun)
            if len(values) == len(items):
                self.tell(len(values), seconds)
            run.events.put((0, len(values), values, failures))
        values = failures = value = None  # an exception's traceback leads to this frame
        if self.taken == len(items):
            self._release()

    def _learn(self, values, begun) -> float:
        seconds = time.perf_counter() - begun
        if self.run.learn is not None:
            self.run.learn(seconds, len(values))
        return seconds

    def _release(self) -> None:
        """The worker that waits for us may go on."""
        with self.run.lock:
            self.handed_over = True
        try:
            self.idle.release()
        except RuntimeError:
            pass

    # ---- what an engine may do to what lies in its queue

    def drop(self) -> None:
        from concurrent.futures import CancelledError

        with self.run.lock:
            if self.handed_over:
                return
            self.handed_over = True
            first, count = self.taken, len(self.items) - self.taken
        if count:
            self.run.events.put((first, count, [None] * count, dict.fromkeys(range(count), CancelledError())))

    def _forget(self, error) -> None:
        self.run._forget(error)

    def _interrupt(self) -> None:
        self.run._interrupt()


def pack(backend, items, first, starred):
    """Packs argument tuples if `starred`, single arguments if not, (args, kwargs) if it is None."""
    return backend.pack_calls(items, first, "calls" if starred is None else "args" if starred else "items")
