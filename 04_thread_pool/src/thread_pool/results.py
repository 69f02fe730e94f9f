"""Results on their way back: the `Run` that workers fill, the `Consumer` that the caller's thread empties, and its iterators."""

from __future__ import annotations

import _queue as queue  # which takes less time to import
import concurrent.futures
import sys
import threading
import time
from concurrent.futures import CancelledError
from itertools import chain

from . import life
from .futures import Failure

if concurrent.futures.TimeoutError is TimeoutError:
    OutOfTime = TimeoutError
else:  # before Python 3.11 these are two, and who waits may name either

    class OutOfTime(concurrent.futures.TimeoutError, TimeoutError):
        """The results were not there in time."""


NEVER = sys.maxsize


class Results(chain):
    """The results one by one, from lists of them; `close` ends them, as that of a generator does."""


class Run:
    """One map, as its workers see it: which batches are still wanted, and where their results go."""

    def __init__(self, stop_on_error: bool, learn=None):
        self.lock = threading.RLock()  # reentrant: dropping an iterator may stop the run at any moment
        self.events: queue.SimpleQueue = queue.SimpleQueue()
        self.stop_on_error = stop_on_error
        self.learn = learn  # learn(seconds, calls)
        self.stopped = False
        self.fail_at = NEVER
        self.running: dict = {}

    def _begin(self, batch, slot) -> bool:
        with self.lock:
            slot.batch = batch
            if self.stopped or batch.first > self.fail_at:
                slot.batch = None
                return False
            self.running[batch] = slot
            return True

    def _finish(self, batch, values, failures, seconds=0.0) -> None:
        with self.lock:
            self.running.pop(batch, None)
        if failures and self.stop_on_error:
            self.fail(batch.first + min(failures))
        elif self.learn is not None and values and seconds:
            self.learn(seconds, len(values))
        self.events.put((batch.first, batch.count, values, failures))

    def _return(self, batch) -> None:
        with self.lock:
            self.running.pop(batch, None)

    def _drop(self, batch) -> None:
        with self.lock:
            self.running.pop(batch, None)
        self.events.put((batch.first, batch.count, [None] * batch.count, dict.fromkeys(range(batch.count), CancelledError())))
        batch.clear()

    def _interrupt(self) -> None:
        self.stop()
        self.events.put(CancelledError())

    def _forget(self, error) -> None:
        self.lock = threading.RLock()
        self.events = queue.SimpleQueue()
        self.events.put(error)

    def fail(self, index: int) -> None:
        """The item failed: those after it are not wanted any more."""
        with self.lock:
            if index >= self.fail_at:
                return
            self.fail_at = index
            later = [(batch, slot) for batch, slot in list(self.running.items()) if batch.first > index]
        for batch, slot in later:
            slot.tell(batch)

    def stop(self) -> None:
        """Nothing is wanted any more: what is pending is dropped, what runs is told."""
        with self.lock:
            self.stopped = True
            running = list(self.running.items())
        for batch, slot in running:
            slot.tell(batch)


class Consumer:
    """One map, as the thread sees it that asks for results."""

    def __init__(self, run, total, timeout, on_error, report, keep):
        self.run, self.total = run, total
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.on_error, self.report = on_error, report
        self.keep = keep  # the executor lives as long as somebody waits for its results
        self.source = None  # imap: what reads on
        self.probe = None  # items that this thread runs itself, at first
        self.read = total or 0  # how many items have been taken from the input
        self.delivered = self.received = 0
        self.ready: dict = {}  # first index -> the batch's results
        self.failures: list = []  # (index, exception), under "collect"

    def absorb(self, event) -> tuple:
        """Takes one batch's results in."""
        if isinstance(event, BaseException):
            raise event
        first, count, values, failures = event
        self.ready[first] = (count, values, failures)
        self.received += count
        if self.report is not None:
            self.report.done(self.received, self.total)
        return first, count

    def absorb_what_is_there(self) -> None:
        while True:
            try:
                event = self.run.events.get_nowait()
            except queue.Empty:
                return
            self.absorb(event)

    def pull(self) -> None:
        """Waits for one batch; raises TimeoutError at the deadline. Ctrl-C ends it."""
        events = self.run.events
        while True:
            try:
                event = events.get_nowait()
                break
            except queue.Empty:
                pass
            pause = life.WAIT
            if self.deadline is not None:
                pause = min(pause, self.deadline - time.monotonic())
                if pause <= 0:
                    raise OutOfTime("the results were not there in time")
            try:
                event = events.get(True, pause)
                break
            except queue.Empty:
                pass
        self.absorb(event)

    def feed(self, waiting) -> None:
        """imap: reads on, until enough is under way or a result `waiting()` for delivery is there."""
        if self.source is not None and not self.source.exhausted:
            self.source.read_on(self, waiting)
            if self.source.exhausted:
                self.total = self.read

    def late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def at_end(self, position) -> bool:
        return self.read <= position and (self.source is None or self.source.exhausted)

    def finish(self) -> None:
        """All results are delivered: what is still to be raised is raised."""
        if self.report is not None:
            self.report.done(self.read, self.read)
        error = None if self.source is None else self.source.error
        try:
            if self.failures:
                raise group_of(self.failures, self.read, error)
            if error is not None:
                raise error
        finally:
            error = None
            self.failures = []
            if self.source is not None:
                self.source.error = None

    def close(self) -> None:
        self.run.stop()
        self.source_done()
        self.ready.clear()
        self.keep = None
        if self.report is not None:
            self.report.close()

    def source_done(self) -> None:
        if self.source is not None:
            self.source.exhausted, self.source.items = True, None

    def short(self) -> BaseException:
        """Why a batch has fewer results than calls, and no failure."""
        if self.late():
            return OutOfTime("the results were not there in time")
        return CancelledError()

    # ---- the iterators

    def ordered(self) -> Results:
        """The results in input order."""
        lists = self.lists()
        results = Results.from_iterable(lists)

        def close():
            lists.close()
            self.close()  # a generator that has not begun has nothing to end

        results.close = close
        return results

    def lists(self):
        """The results in input order, some at a time."""
        values: list = []
        failures = None
        try:
            if self.probe is not None:
                self.probe.run_here()
            while True:
                self.absorb_what_is_there()
                position = self.delivered
                if position not in self.ready:
                    self.feed(self._next_is_there)
                if position not in self.ready:
                    if self.at_end(position):
                        break
                    self.pull()
                    continue
                count, values, failures = self.ready.pop(position)
                cut = len(values) < count
                if self.failures or (failures and self.on_error == "collect"):
                    # The results before the first failure have been delivered; everything after it runs, and is dropped.
                    if not self.failures:
                        yield values[: min(failures)]
                    self.collect(position, failures)
                elif failures:
                    for value in self.with_failures(position, values, failures):
                        yield [value]
                elif len(values) == 1:
                    yield map(list.pop, [values])  # nothing is kept of it
                else:
                    yield values
                if cut:
                    raise self.short()
                self.delivered = position + count
            self.finish()
        finally:
            values.clear()  # closed half way: no more of them are wanted
            values = failures = value = None
            self.close()

    def _next_is_there(self) -> bool:
        self.absorb_what_is_there()
        return self.delivered in self.ready

    def with_failures(self, position, values, failures):
        """The results of one batch, of which some failed."""
        try:
            for offset, value in enumerate(values):
                if offset in failures:
                    error = note(failures[offset], position + offset)
                    if self.on_error == "raise":
                        raise_from_call(error, position + offset)
                    value = Failure(error, position + offset)
                    error = None
                yield value
        finally:
            values = failures = value = error = None

    def collect(self, position, failures) -> None:
        self.failures += [(position + offset, failures[offset]) for offset in sorted(failures)]

    def unordered(self, with_index: bool):
        """The results as they come."""
        begun: dict = {}  # first index -> count, of batches that have come back beyond `whole`
        whole = 0  # everything before it has come back
        failure = None
        try:
            while True:
                self.absorb_what_is_there()
                if not self.ready:
                    self.feed(self._any_is_there)
                if self.ready:
                    position = next(iter(self.ready))
                    count, values, failures = self.ready.pop(position)
                    begun[position] = count
                    while whole in begun:
                        whole += begun.pop(whole)
                    for offset, value in enumerate(values):
                        index = position + offset
                        if offset in failures:
                            if self.on_error == "collect":
                                continue
                            error, value = failures[offset], None
                            if self.on_error == "raise":
                                if failure is None or index < failure[0]:
                                    failure = (index, error)
                                error = None
                                break
                            value = Failure(note(error, index), index)
                            error = None
                        elif failure is not None and index > failure[0]:
                            break
                        self.delivered += 1
                        yield (index, value) if with_index else value
                    if len(values) < count and not (failures and self.on_error == "raise") and failure is None:
                        raise self.short()
                    if self.on_error == "collect" and failures:
                        self.collect(position, failures)
                        self.delivered += len(failures)
                    continue
                if failure is not None and whole >= failure[0]:
                    raise_from_call(note(failure[1], failure[0]), failure[0])
                if failure is None and self.at_end(self.received):
                    break
                self.pull()
            self.failures.sort(key=lambda each: each[0])
            self.finish()
        finally:
            failure = failures = error = value = None
            self.close()

    def _any_is_there(self) -> bool:
        self.absorb_what_is_there()
        return bool(self.ready)


def note(error, index: int):
    """Adds the failing index: a note, or the attribute `index` before Python 3.11."""
    try:
        if not hasattr(error, "add_note"):
            error.index = index
        else:
            text = f"raised by the call for item {index}"
            if text not in getattr(error, "__notes__", ()):
                error.add_note(text)
    except Exception:  # an exception class may forbid both
        pass
    return error


def raise_from_call(error, index: int):
    """Raises what a call raised. An iterator that raised StopIteration would seem to be at its end."""
    try:
        if isinstance(error, StopIteration):
            raise note(RuntimeError(f"the call for item {index} raised StopIteration"), index) from error
        raise error
    finally:
        error = None  # the traceback holds this frame


def group_of(failures, total, source_error=None) -> BaseException:
    """One exception for all, in input order."""
    errors = [note(error, index) for index, error in failures]
    text = f"{len(errors)} of {total} calls failed"
    if source_error is not None:
        errors.append(source_error)
        text += ", and so did the input"
    if sys.version_info >= (3, 11):
        return BaseExceptionGroup(text, errors)  # noqa: F821
    group = RuntimeError(f"{text}: " + ", ".join(sorted({type(each).__name__ for each in errors})))
    group.exceptions = tuple(errors)
    return group
