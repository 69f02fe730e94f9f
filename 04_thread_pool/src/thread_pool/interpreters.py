"""The backend of sub-interpreters: each worker thread keeps an interpreter with a GIL of its own and runs calls in it."""

from __future__ import annotations

import atexit
import marshal
import os
import sys
import warnings

from . import _core, travel

TYPE_CHECKING = False  # typing takes longer to import than the rest
if TYPE_CHECKING:
    from typing import Any

_code: bytes | None = None


def end_abandoned() -> None:
    """
    Ends interpreters that are left, because threads that tasks had started ran in them when they were closed.

    At exit: it waits for those threads, as Python does for its own. Ctrl-C ends the process instead.
    """
    try:
        while hasattr(_core, "Interpreter") and _core.end_abandoned_interpreters(0.1):
            pass
    except KeyboardInterrupt:
        os._exit(130)


atexit.register(end_abandoned)


class InterpreterBackend:
    """Makes workers; see :class:`InterpreterWorker`."""

    name = "interpreters"
    takes_numbers = True  # as travel.numbers_packed packs them

    def check(self) -> None:
        """RuntimeError where there can be none."""
        if sys.version_info < (3, 12) or not hasattr(_core, "Interpreter"):
            raise RuntimeError('interpreters with a GIL of their own came with CPython 3.12; use backend="processes"')
        if not _core.in_main_interpreter():
            raise RuntimeError('sub-interpreters are started from the main interpreter only; use backend="processes"')

    def pack_function(self, fn: Any) -> travel.Function:
        return travel.pack_function(fn)

    def pack_calls(self, calls: Any, first: int = 0, kind: str = "calls") -> travel.Calls:
        return travel.pack_calls(calls, first, kind, numbers=True)

    def open(self) -> InterpreterWorker:
        """A worker for the thread that calls this."""
        return InterpreterWorker()


class InterpreterWorker:
    """
    One interpreter, for the thread that makes this. A thread makes one in its life: pybind11 3.1 keeps notes per thread.

    The caller's GIL is free while calls run.
    """

    def __init__(self) -> None:
        global _code
        if _code is None:
            _code = marshal.dumps(travel.worker_code)
        self._sent = travel.Sent()
        self._interpreter: Any = _core.Interpreter(_code)

    def run(
        self, function: travel.Function, calls: travel.Calls, task: int, stop_on_error: bool = False
    ) -> tuple[list[Any], dict[int, BaseException]]:
        """
        Runs a batch.

        Parameters
        ----------
        function, calls
            As packed.
        task : int
            The number of the batch, for :meth:`tell`; more than those before.
        stop_on_error : bool
            No call after the first that failed.

        Returns
        -------
        values : list
            None where a call failed. It ends with the failed call under `stop_on_error`, and early after :meth:`tell`.
        failures : dict of int to exception

        Raises
        ------
        Refused
            A module refuses sub-interpreters; no call was begun.
        """
        reply = self._interpreter.call(self._sent.request(function, calls, task, stop_on_error))
        if reply[0] == travel.worker.MISSING:
            reply = self._interpreter.call(self._sent.request(function, calls, task, stop_on_error, whole=True))
        return travel.unpack_results(reply)

    def tell(self, task: int) -> None:
        """Any thread, any time: ``current_task().cancelled()`` is true in the batches up to this, and no further call begins."""
        self._interpreter.tell(task)

    def close(self, patience: float = 5.0) -> bool:
        """
        Ends the interpreter; on the thread that made it, as often as one likes.

        Parameters
        ----------
        patience : float
            Seconds to wait for threads that tasks have started and left behind.

        Returns
        -------
        bool
            False if they run on: then the interpreter stays, for CPython cannot end it under them.
        """
        ended: bool = self._interpreter.close(patience)
        if not ended:
            warnings.warn("threads that a task has started outlive its interpreter", ResourceWarning, stacklevel=2)
        return ended
