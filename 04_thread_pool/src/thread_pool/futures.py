"""What a caller holds: `Task`, the future of one call; `Failure`; and what a running call can ask: `current_task()`."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Future
from concurrent.futures._base import CANCELLED, LOGGER, PENDING, RUNNING


class _Here(threading.local):
    """What this thread is doing just now."""

    task = None  # the CurrentTask of the call that runs here, in this interpreter
    inside: frozenset = frozenset()  # the engines whose calls are under way on this thread, or wait for what it does
    slot = None  # of a worker thread: its Slot


here = _Here()


class CurrentTask:
    """The call that is running: what :func:`current_task` returns."""

    __slots__ = ("_told",)

    def __init__(self, told):
        self._told = told

    def cancelled(self) -> bool:
        """Whether nobody wants the result any more: `Task.cancel`, a timeout, Ctrl-C, or an earlier item that failed."""
        return bool(self._told())


def current_task():
    """The running call's own task, to ask ``.cancelled()`` now and then; None outside of calls that an executor makes.

    Examples
    --------
    >>> def search(keys):
    ...     for key in keys:
    ...         if current_task() is not None and current_task().cancelled():
    ...             return None
    """
    if here.task is not None:
        return here.task
    return getattr(sys.modules.get("_tenfold_worker"), "now", None)  # in a sub-interpreter, or in a worker process


def in_worker() -> bool:
    """Whether this interpreter is a worker of some executor: there worker.py has been started, elsewhere it is only read."""
    return getattr(sys.modules.get("_tenfold_worker"), "_told", None) is not None


class Failure:
    """Stands in the place of a result whose call failed, under ``on_error="return"``.

    Attributes
    ----------
    exception : BaseException
        What the call raised.
    index : int
        The place of its item in the input.
    """

    __slots__ = ("exception", "index")

    def __init__(self, exception: BaseException, index: int):
        self.exception = exception
        self.index = index

    def __repr__(self) -> str:
        return f"Failure({self.exception!r}, index={self.index})"

    def __reduce__(self):
        return Failure, (self.exception, self.index)


class Task(Future):
    """The future of one submitted call: a `concurrent.futures.Future` that can tell a running call to stop."""

    stop_on_error = False

    def __init__(self):
        super().__init__()
        self._engine = self._batch = self._slot = None

    def cancel(self) -> bool:
        """Cancels the call if it has not begun.

        Of a running call it returns False, and ``current_task().cancelled()`` becomes True in it; whatever it then
        returns is the result.
        """
        if super().cancel():
            # Those in wait() and as_completed() learn of it now, not when a worker comes across the call.
            with self._condition:
                if self._state == CANCELLED:
                    self.set_running_or_notify_cancel()
            batch, self._batch = self._batch, None
            if batch is not None:
                batch.clear()
            return True
        slot, batch = self._slot, self._batch
        if slot is not None and batch is not None:
            slot.tell(batch)
        return False

    def result(self, timeout=None):
        """The call's value, or its exception raised; see `concurrent.futures.Future.result`."""
        self._help()
        try:
            return super().result(timeout)
        finally:
            self = None  # the exception's traceback shall not keep us

    def exception(self, timeout=None):
        """The call's exception, or None; see `concurrent.futures.Future.exception`."""
        self._help()
        return super().exception(timeout)

    def _help(self) -> None:
        """A worker that waits for a call that nobody has begun makes that call itself: it may be the only worker."""
        if here.slot is not None and self._engine is not None and self._engine is here.slot.engine:
            batch = self._batch
            if batch is not None and self._state == PENDING:
                self._engine.help(batch)

    def _invoke_callbacks(self):
        worst = None
        for callback in self._done_callbacks:
            try:
                callback(self)
            except Exception:
                LOGGER.exception("exception calling callback for %r", self)
            except BaseException as error:
                worst = error
        if worst is not None:
            raise worst

    # ---- what the engine calls

    def _begin(self, batch, slot) -> bool:
        with self._condition:
            if self._state != PENDING:
                return False
            self._state = RUNNING
            self._slot, self._batch = slot, batch
            slot.batch = batch
        return True

    def _finish(self, batch, values, failures, seconds=0.0) -> None:
        self._slot = self._batch = self._engine = None
        if failures:
            self.set_exception(failures[0])
        else:
            self.set_result(values[0])

    def _forget(self, error) -> None:
        """In the child of a fork: other threads, and whoever held the lock, are gone."""
        self._condition = threading.Condition()
        self._waiters, self._done_callbacks = [], []
        self._slot = self._batch = self._engine = None
        if not self.done():
            self.set_exception(error)

    def _return(self, batch) -> None:
        """The batch was begun in vain and goes back into a queue."""
        with self._condition:
            self._slot = self._engine = None
            self._state = PENDING

    def _drop(self, batch) -> None:
        self.cancel()

    def _interrupt(self) -> None:
        self.cancel()
