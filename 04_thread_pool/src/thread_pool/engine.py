"""The engine: a queue of batches and one thread per worker, the same for every backend.

A batch is some calls of one function, packed. Its owner (a `Task`, or the `Run` of a map) says whether they are still
wanted, and takes values and exceptions. No lock is held while calls run, while anybody waits, or while callbacks run.
"""

from __future__ import annotations

import _queue as queue  # which takes less time to import
import collections
import itertools
import threading
import time
from concurrent.futures import BrokenExecutor
from concurrent.futures._base import LOGGER
from functools import partial

from . import life
from .futures import here
from .local import LocalBackend, LocalWorker
from .travel import Refused

_numbers = itertools.count(1)
_names = itertools.count()


class Batch:
    """Calls of one function that a worker makes one after the other.

    `origin` is the function as the caller gave it, where calls are packed: then others may have to take them over.
    """

    __slots__ = ("calls", "count", "first", "function", "inside", "number", "origin", "owner")

    def __init__(self, owner, first, count, function, calls, origin=None):
        self.owner, self.first, self.count = owner, first, count
        self.function, self.calls, self.origin = function, calls, origin
        self.number = 0
        self.inside = here.inside

    def go(self, engine, slot) -> None:
        """Makes the calls, on the slot's thread."""
        owner = self.owner
        try:
            if slot.worker is None:
                slot.worker = engine.backend.open()
                slot.cold = engine.backend.name != "threads"
        except BaseException as error:
            if owner._begin(self, slot):
                self.done(slot, [None] * self.count, dict.fromkeys(range(self.count), error))
            return
        self.number = next(_numbers)  # taken now: the numbers that one worker sees grow
        if not owner._begin(self, slot):
            return
        outer, here.inside = here.inside, self.inside | here.inside | {engine}
        begun = time.perf_counter()
        try:
            if type(self.calls) is partial:  # not packed yet
                self.calls = self.calls()
            values, failures = slot.worker.run(self.function, self.calls, self.number, owner.stop_on_error)
        except BaseException as error:
            here.inside = outer
            slot.batch = None
            engine.failed(slot, self, error)
        else:
            here.inside = outer
            # What a new worker's first batch took says nothing about its calls.
            seconds, slot.cold = 0.0 if slot.cold else time.perf_counter() - begun, False
            self.done(slot, values, failures, seconds)
            values = failures = None  # an exception's traceback leads to this frame

    def done(self, slot, values, failures, seconds=0.0) -> None:
        """Hands the results over; an owner's callbacks cannot harm the worker."""
        slot.batch = None
        self.clear()
        try:
            self.owner._finish(self, values, failures, seconds)
        except BaseException:
            if isinstance(slot.engine, InlineEngine):  # nobody's callback: Ctrl-C
                raise
            LOGGER.exception("exception calling callback for %r", self.owner)

    def fail(self, slot, error) -> None:
        """The same exception for each call of the batch."""
        self.done(slot, [None] * self.count, dict.fromkeys(range(self.count), error))

    def clear(self) -> None:
        """Gives up what it holds: it may still lie in the queue for long."""
        self.function = self.calls = self.origin = None

    def drop(self) -> None:
        self.owner._drop(self)


class Slot:
    """A worker's place: its thread, its Worker, the batch it is on."""

    def __init__(self, engine, worker=None):
        self.engine, self.worker = engine, worker
        self.thread = self.batch = self.item = None
        self.busy = self.forking = self.orphaned = self.cold = False
        self.ended = threading.Lock()

    def tell(self, batch) -> None:
        """The batch's calls are no longer wanted; any thread may say so."""
        worker = self.worker
        if self.batch is batch and worker is not None:
            worker.tell(batch.number)

    def close(self) -> None:
        """On the slot's thread. Only when nothing is left of it the slot has no worker: a fork waits for that."""
        if self.worker is not None:
            try:
                self.worker.close()
            except BaseException:
                LOGGER.exception("exception closing a worker")
            finally:
                self.worker = None


class Engine:
    """`workers` threads that take batches from one queue; they start on demand, and cost nothing while idle."""

    def __init__(self, backend, workers: int, refused=None):
        self.backend, self.workers = backend, workers
        self.refused = refused
        self.survives_fork = backend.name == "threads"
        self.stopping = False
        self._renew()
        life.register(self)

    def _renew(self) -> None:
        self.lock = threading.RLock()  # reentrant: a finalizer may run while it is held
        self.queue: queue.SimpleQueue = queue.SimpleQueue()
        self.slots: list = []
        self.pending: dict = {}  # what lies in the queue, or is on its way to a worker
        self.running = 0

    def enqueue(self, items, late=False) -> None:
        """Queues batches. `late`: also after shutdown, for work that was accepted before."""
        with self.lock:
            if not late:
                if self.stopping:
                    raise RuntimeError("cannot schedule new calls after shutdown()")
                if life.exiting():
                    raise RuntimeError("cannot schedule new calls after interpreter shutdown")
            left = iter(items)
            try:
                self.pending.update(dict.fromkeys(items))
                try:
                    self._start_missing()
                except RuntimeError:
                    if not self.slots:
                        raise
                collections.deque(map(self.queue.put, left), 0)  # in C: Ctrl-C comes before or after
            except BaseException:
                for item in left:
                    self.pending.pop(item, None)
                raise

    def revive(self) -> None:
        """A worker has ended before its time, for a fork: others are to take what is pending."""
        with self.lock:
            try:
                self._start_missing()
            except RuntimeError:  # Python is ending
                if self.slots:
                    return
            else:
                return
        self.drain()

    def _start_missing(self) -> None:
        while len(self.slots) < min(self.workers, len(self.pending) + self.running):
            self._start()

    def _start(self) -> None:
        slot = Slot(self)
        slot.ended.acquire()
        try:
            self.slots.append(slot)
            slot.thread = life.start_thread(_work, (self, slot), f"thread_pool-{self.backend.name}-{next(_names)}")
        except BaseException:
            self.slots = [each for each in self.slots if each is not slot]
            raise

    def step(self, slot) -> bool:
        """One thing from the queue; False: the worker ends."""
        item = self.queue.get()
        slot.item = item
        if not life.pass_gate(slot):
            slot.item = None
            self.queue.put(item)
            return False
        try:
            with self.lock:
                if item is None:
                    if not self.stopping:
                        return True
                    self.queue.put(None)  # for the others, and for us if something is still to do
                    return bool(self.pending)
                if self.pending.pop(item, self) is self:  # dropped
                    return True
                self.running += 1
            try:
                item.go(self, slot)
            finally:
                with self.lock:
                    self.running -= 1
            return not slot.orphaned
        finally:
            slot.item = None
            slot.busy = False

    def failed(self, slot, batch, error) -> None:
        """A batch whose calls gave neither values nor exceptions."""
        if isinstance(error, BrokenExecutor) or self.backend.name == "processes":
            slot.close()  # the next batch opens another worker
        if isinstance(error, BrokenExecutor):
            if batch.count > 1 and batch.origin is not None:
                try:
                    culprit, again = _around(batch, error)
                    batch.owner._return(batch)
                    if culprit is not None:
                        culprit.fail(slot, error)
                    self.enqueue(again, late=True)
                    return
                except BaseException as another:
                    error = another
        elif isinstance(error, Refused) and self.refused is not None:
            try:
                self.refused(batch, error)
                return
            except BaseException as another:
                error = another
        batch.fail(slot, error)

    def help(self, batch) -> None:
        """Makes a pending call on the worker thread that waits for it."""
        mine = here.slot
        if self.backend.name == "threads":
            batch.go(self, Slot(self, LocalWorker()))
        elif mine.batch is None:
            batch.go(self, mine)

    def stop(self) -> None:
        """The workers end when nothing is pending. May be called by a finalizer: it takes no lock."""
        self.stopping = True
        self.queue.put(None)

    def drain(self) -> None:
        """Cancels what is pending."""
        while True:
            with self.lock:
                item = next(iter(self.pending), None)
                self.pending.pop(item, None)
            if item is None:
                return
            item.drop()

    def interrupt(self) -> None:
        """Tells the running calls that they are no longer wanted, also those whose worker is only being made."""
        for slot in list(self.slots):
            batch = slot.batch or slot.item
            if batch is not None:
                batch.owner._interrupt()

    def forked(self) -> None:
        """In the child of a fork: no worker is left."""
        pending, slots = self.pending, self.slots
        self._renew()
        for slot in slots:
            slot.orphaned = True
            slot.worker = None
        lost = dict.fromkeys([*pending, *(slot.item for slot in slots if slot is not here.slot)])
        error = BrokenExecutor("the process was forked while this call was pending: the parent runs it, this child does not")
        for item in lost:
            if item is not None:
                item.owner._forget(error)


def _around(batch, error):
    """The call that was a worker's end, and batches of the others; None if each by itself has to show which call it is.

    Calls that had ended are made again: their results are lost.
    """
    calls, count = batch.calls, batch.count
    first, among = getattr(error, "finished", 0), getattr(error, "among", count)
    after = min(count, first + max(among, 1))

    def part(begin, end):
        first = batch.first + begin
        return Batch(batch.owner, first, end - begin, batch.function, calls[begin:end], batch.origin)

    one = after - first == 1
    pieces = [(0, first), *([] if one else [(each, each + 1) for each in range(first, after)]), (after, count)]
    culprit = Batch(batch.owner, batch.first + first, 1, None, None) if one else None
    return culprit, [part(begin, end) for begin, end in pieces if begin < end]


def _work(engine, slot) -> None:
    with engine.lock:
        if slot not in engine.slots:  # Ctrl-C came while this thread was started
            slot.ended.release()
            return
    here.slot = slot
    try:
        while engine.step(slot):
            pass
    finally:
        slot.close()
        with engine.lock:
            if slot in engine.slots:
                engine.slots.remove(slot)
        slot.ended.release()
        engine.revive()


INLINE = LocalBackend()
INLINE.name = "serial"


class InlineEngine:
    """Makes the calls at once, on the thread that asks: `serial`, and calls from inside the executor's own calls."""

    stopping = False

    def __init__(self, workers: int, deadline=None):
        self.backend, self.workers = INLINE, workers
        self.deadline = deadline

    def enqueue(self, items, late=False) -> None:
        slot = Slot(self, LocalWorker(self.deadline))
        for item in items:
            item.go(self, slot)

    def failed(self, slot, batch, error) -> None:
        batch.drop()
        raise error
