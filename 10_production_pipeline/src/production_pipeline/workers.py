"""The threads of one run, and the handle that cancels or drains it.

Each run has threads of its own, so a stage may run another pipeline, or the same one, without waiting for itself; starting
a thread costs some 50 µs. A task is a whole chunk of items: no item ever has a lock or a future.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

GRACE_S = 0.1
"""So long a cancelled run waits for calls that are going on; then it leaves them to end by themselves."""


class Control:
    """A handle on runs that are going on, for other threads and signal handlers: ``pipeline.run(source, control=control)``.

    One handle may serve several runs; after `cancel` or `drain` it stays so, and a run given it ends at once.
    """

    def __init__(self) -> None:
        # No lock, which a signal handler might find held by the very thread it interrupts, and a forked child for ever: a run is
        # added before it looks whether it is cancelled, and that is said before the runs are told.
        self._runs: dict[int, Any] = {}
        self._cancelled = self._draining = False

    def cancel(self) -> None:
        """Ends the runs now: what is in flight is dropped, `run` raises PipelineCancelled within 100 ms of a stage's call.

        A call that is going on in a worker is not interrupted; nothing more is called after it. With one worker, and in a
        source, the calls are made by the thread that runs the pipeline, so cancelling waits for the one going on.
        """
        self._cancelled = True
        for run in self._runs.copy().values():
            run.stop()

    def drain(self) -> None:
        """Reads nothing more from the source; all that was read goes through, and `run` returns what came out."""
        self._draining = True

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    @property
    def draining(self) -> bool:
        """Whether `drain` was called."""
        return self._draining

    def _add(self, run: Any) -> None:
        self._runs[id(run)] = run
        if self._cancelled:
            run.stop()

    def _remove(self, run: Any) -> None:
        self._runs.pop(id(run), None)


class Task:
    """A chunk on its way through stages: worked on in slices, so that a stage that makes many of one stays bounded."""

    __slots__ = ("_done", "error", "flow", "held", "outputs", "over", "seconds", "slice")

    def __init__(self, flow: Iterator[Any], held: int, slice: int) -> None:
        self.flow, self.held, self.slice = flow, held, slice
        self.seconds = 0.0
        self._done = threading.Lock()
        self._done.acquire()
        self.reset()

    def reset(self) -> None:
        self.outputs: list[Any] = []
        self.error: BaseException | None = None
        self.over = False

    def work(self) -> None:
        begin = time.perf_counter()
        try:
            room = self.slice
            for chunk in self.flow:
                self.outputs.append(chunk)
                room -= len(chunk.values)
                if room <= 0:
                    break
            else:
                self.over = True
        except BaseException as error:
            self.error, self.over = error, True
        finally:
            self.seconds = time.perf_counter() - begin
            self._done.release()

    def take_error(self) -> BaseException:
        """To raise it; see Calls.take_error."""
        error, self.error = self.error, None
        try:
            return error  # type: ignore[return-value]
        finally:
            del error

    def done(self) -> bool:
        return not self._done.locked()

    def wait(self, seconds: float) -> bool:
        """Whether it is done; the one who was told yes takes the outputs. Signal handlers run meanwhile."""
        return self._done.acquire(timeout=seconds)


class Pool:
    """Threads that work on tasks, in the order they were submitted."""

    def __init__(self, workers: int, name: str) -> None:
        self.workers, self.name = workers, name
        self.tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self.threads: list[threading.Thread] = []
        self.pid = os.getpid()

    def submit(self, task: Task) -> None:
        if len(self.threads) < self.workers:
            self._start()
        self.tasks.put(task)

    def check(self) -> None:
        if os.getpid() != self.pid:
            raise RuntimeError("this run was begun before fork(), and its threads stayed in the parent: run the pipeline anew")

    def stop(self, limit: float | None) -> None:
        """Waits for the threads, at most `limit` seconds."""
        if os.getpid() != self.pid:
            return
        for _ in self.threads:
            self.tasks.put(None)
        until = None if limit is None else time.monotonic() + limit
        for thread in self.threads:
            # A run that was forgotten may be collected by any thread; one whose start was interrupted ends by itself.
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join(None if until is None else max(0.0, until - time.monotonic()))
        self.threads.clear()

    def _start(self) -> None:
        name = f"{self.name}-{len(self.threads)}"
        try:
            # Daemons: an abandoned stream does not keep the process from ending.
            thread = threading.Thread(target=_loop, args=(self.tasks,), name=name, daemon=True)
        except RuntimeError:  # a sub-interpreter with a GIL of its own has no daemons: ended before they are waited for
            thread = threading.Thread(target=_loop, args=(self.tasks,), name=name, daemon=False)
            if not self.threads:
                threading._register_atexit(_end, weakref.ref(self))  # type: ignore[attr-defined]
        self.threads.append(thread)  # first: Ctrl-C may interrupt start(), which waits until the thread runs
        thread.start()


def _loop(tasks: queue.SimpleQueue[Task | None]) -> None:
    while True:
        task = tasks.get()
        if task is None:
            return
        task.work()
        del task  # or the last one, and all it refers to, lives as long as the thread is idle


def _end(pool: weakref.ref[Pool]) -> None:
    alive = pool()
    if alive is not None:
        alive.stop(None)
