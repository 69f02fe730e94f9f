"""The backends `threads` and `serial`: calls made in this interpreter, on shared objects."""

from __future__ import annotations

import opcode
import sys
import threading
import time

from .futures import CurrentTask, here

_RAISE = frozenset(opcode.opmap[name] for name in ("RAISE_VARARGS", "RERAISE") if name in opcode.opmap)


class _Items(list):
    """Calls of one positional argument each."""

    __slots__ = ()


class _Args(list):
    """Calls of positional arguments: a tuple each."""

    __slots__ = ()


class LocalBackend:
    """Functions and arguments go as they are."""

    name = "threads"

    def check(self) -> None:
        """Runs everywhere."""

    def pack_function(self, fn):
        return fn

    def pack_calls(self, calls, first=0, kind="calls"):
        if kind == "items":
            return _Items(calls)
        return _Args(calls) if kind == "args" else calls

    def open(self) -> LocalWorker:
        return LocalWorker()


class LocalWorker:
    """Makes calls on the thread that asks for them."""

    def __init__(self, deadline=None):
        self.deadline = deadline
        self.told = 0

    def run(self, function, calls, task, stop_on_error):
        values: list = []
        failures: dict = {}
        deadline, kind = self.deadline, type(calls)
        outer = here.task
        here.task = CurrentTask(lambda: self.told >= task or (outer is not None and outer.cancelled()))
        try:
            for position, call in enumerate(calls):
                if position and self.told >= task:
                    break
                if deadline is not None and time.monotonic() >= deadline:
                    break
                try:
                    if kind is _Items:
                        value = function(call)
                    elif kind is _Args:
                        value = function(*call)
                    else:
                        args, kwargs = call
                        value = function(*args, **kwargs) if kwargs else function(*args)
                except BaseException as error:
                    if is_interrupt(error):
                        raise
                    # Without our own frame, which holds `failures` and with it the exception.
                    failures[position] = error.with_traceback(error.__traceback__.tb_next)
                    values.append(None)
                    if stop_on_error:
                        break
                else:
                    values.append(value)
            return values, failures
        finally:
            here.task = outer
            # An exception's traceback leads to this frame: it is not to lead back to the exception, or to other results.
            values = failures = calls = call = args = kwargs = value = None

    def tell(self, task: int) -> None:
        self.told = max(self.told, task)

    def close(self) -> None:
        """Nothing is kept."""


def is_interrupt(error: BaseException) -> bool:
    """Whether this is Ctrl-C that came while a call ran on the main thread, not one that its code raised itself."""
    if not isinstance(error, KeyboardInterrupt) or threading.current_thread() is not threading.main_thread():
        return False
    trace = error.__traceback__
    if trace is None:
        return True
    while trace.tb_next is not None:
        trace = trace.tb_next
    # A signal's handler comes between two instructions, whichever they are; only `raise` raises on purpose.
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] not in _RAISE


def gil_is_off() -> bool:
    """Whether this is a free-threaded build that really runs without the GIL just now."""
    return not getattr(sys, "_is_gil_enabled", lambda: True)()
