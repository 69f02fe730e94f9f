"""Executor: a reader's own Python functions in parallel, in sub-interpreters, threads, processes, or one after the other.

A `concurrent.futures.Executor` whose `map`, `starmap`, `imap`, `imap_unordered` know chunks, timeouts, failures and
progress. The backend is chosen per call (routing.py), the work goes to an engine (engine.py), results come back
through results.py. To copy: this file with futures, routing, choosing, engine, life, local, results and progress.
"""

from __future__ import annotations

import concurrent.futures
import operator
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor

from . import life
from .choosing import workers_of
from .futures import CurrentTask, Failure, Task, current_task, in_worker
from .progress import report_of
from .results import Consumer, Run
from .routing import Router, Source
from .travel import RemoteError

TYPE_CHECKING = False  # typing takes longer to import than the rest
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BrokenExecutor", "CurrentTask", "Executor", "Failure", "RemoteError", "Task", "current_task"]

BACKENDS = ("auto", "interpreters", "threads", "processes", "serial")
ON_ERROR = ("raise", "collect", "return")


class Executor(concurrent.futures.Executor):
    """Runs Python callables in parallel.

    Parameters
    ----------
    workers : int, optional
        How many calls run at the same time, 1 to 1024; by default as many as this process may use processors.
    backend : {"auto", "interpreters", "threads", "processes", "serial"}
        Where they run. "auto" takes what runs Python code side by side here, and may differ from call to call: see `info`.
        A backend that is asked for is never changed.

    Raises
    ------
    TypeError, ValueError
        For `workers` that is no int, or out of range; for another `backend`.
    RuntimeError or ImportError
        If the backend that is asked for cannot run here; the message names the cure.

    Examples
    --------
    >>> with Executor() as executor:
    ...     list(executor.map(pow, [2, 3], [10, 4]))
    [1024, 81]
    """

    def __init__(self, workers: int | None = None, backend: str = "auto"):
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
        self._settings = (workers_of(workers), backend)
        self._start()
        life.register(self)

    def _start(self, inside: bool = False) -> None:
        self._router = Router(*self._settings, inside=inside)
        self._closed = False
        # Lost without shutdown(): what is pending runs, then the workers end.
        self._end = weakref.finalize(self, Router.stop, self._router)
        self._end.atexit = False  # life.py sees to that

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task:
        """Makes ``fn(*args, **kwargs)`` on a worker; its future.

        Raises
        ------
        TypeError
            If the function or an argument cannot travel to the worker; it names what.
        RuntimeError
            After `shutdown`.
        """
        router = self._ready(fn)
        task = Task()
        router.submit(task, fn, args, kwargs)
        return task

    def map(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        on_error: str = "raise",
        progress: bool | Callable[[int, int | None], object] | None = None,
    ) -> Iterator[Any]:
        """The results of ``map(fn, *iterables)``, in input order. The input is taken whole, and the calls begin at once.

        Parameters
        ----------
        timeout : float, optional
            Seconds from now after which waiting for a result raises TimeoutError. On "serial" between two calls.
        chunksize : int, optional
            How many calls go to a worker at once. By default the sizes fit the work; they never change a result. Should a
            worker process die, calls that it was given at once are made again if they had ended, for their results are
            lost with it, and so may be the one that ended it, if it takes no time. With 1 no call is made twice.
        on_error : {"raise", "collect", "return"}
            "raise": the results before the first failing item, then its exception; the items after it are cancelled.
            "collect": everything runs, then one ExceptionGroup is raised in the place of the first failure (before
            Python 3.11 a RuntimeError with ``.exceptions``). "return": a `Failure` in each failed place.
        progress : bool or callable, optional
            True: a bar, if stderr is a terminal. A callable is called ``(done, total or None)`` by the thread that
            asks for results.

        Raises
        ------
        TypeError
            If the function or an item cannot travel to a worker; it names what.
        WorkerDied
            A worker process ended in the call of that item; another takes its place. A ``BrokenExecutor``.
        TimeoutError, RuntimeError
            See `timeout`; after `shutdown`.
        Exception
            What the call of the first failing item raised.
        """
        if len(iterables) == 1:
            items, starred = self._ready(fn).taken(iterables[0]), False
        else:
            items, starred = list(zip(*iterables)), True
        return self._whole(fn, items, starred, timeout, chunksize, on_error, progress)

    def starmap(
        self,
        fn: Callable[..., Any],
        /,
        iterable: Iterable[Iterable[Any]],
        *,
        timeout: float | None = None,
        chunksize: int | None = None,
        on_error: str = "raise",
        progress: bool | Callable[[int, int | None], object] | None = None,
    ) -> Iterator[Any]:
        """As `map`, of ``itertools.starmap(fn, iterable)``: each item holds the arguments of a call."""
        items = [tuple(each) for each in iterable]
        return self._whole(fn, items, True, timeout, chunksize, on_error, progress)

    def imap(
        self,
        fn: Callable[[Any], Any],
        /,
        iterable: Iterable[Any],
        *,
        timeout: float | None = None,
        chunksize: int | None = None,
        on_error: str = "raise",
        progress: bool | Callable[[int, int | None], object] | None = None,
    ) -> Iterator[Any]:
        """As `map`, lazily: the input is read by the thread that asks for results, at most 4 x workers x chunksize ahead.

        `chunksize` is 1 by default. What cannot travel is a failure of its item.
        """
        return self._lazy(fn, iterable, timeout, chunksize, on_error, progress).ordered()

    def imap_unordered(
        self,
        fn: Callable[[Any], Any],
        /,
        iterable: Iterable[Any],
        *,
        timeout: float | None = None,
        chunksize: int | None = None,
        on_error: str = "raise",
        progress: bool | Callable[[int, int | None], object] | None = None,
        with_index: bool = False,
    ) -> Iterator[Any]:
        """As `imap`, each result as soon as it is there; with its index in the input, ``(index, result)``, if asked for."""
        return self._lazy(fn, iterable, timeout, chunksize, on_error, progress).unordered(with_index)

    def info(self) -> dict[str, Any]:
        """What ran where, and why.

        Returns
        -------
        dict
            ``backend`` (where the last work ran; before any, where it would), ``requested``, ``workers``, ``reason``,
            ``fallbacks``: a list of ``{"callable", "from", "to", "reason"}``.
        """
        return self._router.info()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls; those that are pending run, unless they are to be cancelled; then the workers end.

        Called by one of its own calls, it does not wait: that call would wait for itself.
        """
        self._closed = True
        self._router.shutdown(wait, cancel_futures)

    def restart(self) -> None:
        """After `shutdown`: starts anew, with the same settings. A running executor goes on as it is."""
        if self._closed:
            self._end.detach()
            self._start()

    def __enter__(self) -> Executor:
        self.restart()
        return self

    def __exit__(self, kind, error, trace) -> bool:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._closed = True
            self._router.interrupt()
        self.shutdown(wait=True)
        return False

    def __reduce__(self):
        return _arrived, self._settings

    def __repr__(self) -> str:
        workers, backend = self._settings
        return f"<Executor workers={workers} backend={backend!r}{' (shut down)' if self._closed else ''}>"

    # ---- the four maps

    def _ready(self, fn) -> Router:
        if not callable(fn):
            raise TypeError(f"{type(fn).__name__!r} object is not callable")
        if self._closed:
            raise RuntimeError("cannot schedule new calls after shutdown(); restart() starts the executor anew")
        if life.exiting() and not self._router.inside_own_call():
            raise RuntimeError("cannot schedule new calls after interpreter shutdown")
        return self._router

    def _consumer(self, fn, total, timeout, chunksize, on_error, progress) -> Consumer:
        if on_error not in ON_ERROR:
            raise ValueError(f"on_error must be one of {', '.join(ON_ERROR)}, not {on_error!r}")
        run = Run(on_error == "raise")
        return Consumer(run, total, _seconds(timeout), on_error, report_of(progress), self)

    def _whole(self, fn, items, starred, timeout, chunksize, on_error, progress) -> Iterator[Any]:
        chunksize = _at_least_one(chunksize)
        router = self._ready(fn)
        consumer = self._consumer(fn, len(items), timeout, chunksize, on_error, progress)
        if items:
            router.map(consumer, fn, items, starred, chunksize)
        return consumer.ordered()

    def _lazy(self, fn, iterable, timeout, chunksize, on_error, progress) -> Consumer:
        chunksize = _at_least_one(chunksize) or 1
        router = self._ready(fn)
        consumer = self._consumer(fn, None, timeout, chunksize, on_error, progress)
        consumer.source = Source(iter(iterable), router, fn, chunksize)
        return consumer

    def forked(self) -> None:
        """In the child of a fork (see life.py); the engines see to themselves."""
        self._router.forked()


def _at_least_one(chunksize):
    if chunksize is None:
        return None
    count = operator.index(chunksize)
    if count < 1:
        raise ValueError(f"chunksize must be at least 1, not {count}")
    return count


def _seconds(timeout):
    if timeout is None:
        return None
    if isinstance(timeout, (str, bytes)):
        raise TypeError(f"timeout must be a number of seconds or None, not {type(timeout).__name__}")
    seconds = float(timeout)
    if seconds != seconds:
        raise ValueError("timeout must not be NaN")
    return seconds


def _arrived(workers: int, backend: str) -> Executor:
    """An executor that was pickled. In a worker it is the one the worker works for: it makes its calls itself."""
    executor = Executor(workers, "serial" if in_worker() else backend)
    if in_worker():
        executor._settings = (workers, backend)
        executor._start(inside=True)
    return executor
