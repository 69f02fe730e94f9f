"""One run: chunks go from the source through the stages to whoever asks for the next result.

Whoever asks pulls. With one worker everything happens in that thread, a loop over lists. With more, neighbouring stages that
workers may share are one piece of work: as many chunks are read as there is room for, workers take them through all these
stages, and results come out in the order of the source. Nothing is read while nobody asks: that is the back-pressure.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from time import monotonic, perf_counter, sleep
from types import GeneratorType
from typing import Any

from . import ordered, sinks, stages
from .failures import ErrorRecord, Halted, PipelineCancelled, annotate, check_halt, record
from .fused import Native, fuse
from .metrics import Clock, Meter, RunStats
from .sources import BLOCK, SHORT_S, Pacer, checked_progress, chunks_of, length
from .workers import GRACE_S, Control, Pool, Task

KINDS: dict[str, Callable] = {
    "map": stages.Map,
    "validate": stages.Map,
    "filter": stages.Filter,
    "flat_map": stages.FlatMap,
    "batch": ordered.Batch,
    "reduce": ordered.Reduce,
    "sink": ordered.Sink,
    "native": Native,
}
LOOK_S = 0.05
"""So often a waiting run looks whether it was cancelled."""


class Run:
    """What the stages of one run share."""

    def __init__(self, pipeline: Any, source: Any, control: Control | None, progress: Any) -> None:
        self.options, self.totals = pipeline._options, pipeline._totals
        self.workers: int = self.options.workers
        self.room: int = min(self.options.queue_size, sys.maxsize)
        self.most = max(1, self.room // (2 * self.workers))
        if control is not None and not isinstance(control, Control):
            raise TypeError(f"control must be a Control, not {type(control).__name__}")
        self.control = control if control is not None else Control()
        self.cancelled = False
        self.halt: list[bool] = []
        self.errors: list[tuple[tuple[int, int, int], ErrorRecord]] = []
        specs = fuse(pipeline._specs)
        self.stages = [KINDS[spec.kind](spec, Meter(spec.name, spec.kind)) for spec in specs]
        self.specs = specs
        self.read = self.delivered = 0
        self.state = "running"
        self._lock = threading.Lock()
        self.pacer = Pacer(self.most)
        self.generator = source if isinstance(source, GeneratorType) else None
        vectors = bool(specs) and specs[0].kind in ("native", "batch")
        self.source: Any = chunks_of(source, self.pacer, vectors)
        self.tell, self.tell_over = checked_progress(progress, length(source))
        self.clock = Clock()
        self.final: RunStats | None = None

    # ---- what stages ask for

    def retry(self, stage: Any, function: Callable, value: Any, error: BaseException) -> tuple[BaseException | None, Any, int]:
        """(the last error or None, the result, calls made) of an item that failed once."""
        attempts, pause = 1, min(self.options.backoff, self.options.most_backoff)
        while attempts <= self.options.retries and isinstance(error, self.options.retry_on):
            if isinstance(error, stages.ValidationError):
                break
            self.pause(pause)
            attempts, pause = attempts + 1, min(2 * pause, self.options.most_backoff)
            try:
                return None, function(value), attempts
            except stages.SinkFull:
                raise
            except Exception as raised:
                error = raised
        try:
            return error, None, attempts
        finally:
            del error  # see Calls.take_error

    def pause(self, seconds: float) -> None:
        """A wait that a cancelled run does not wait for."""
        if self.options.sleep is not None:
            self.options.sleep(seconds)
        else:
            until = monotonic() + seconds
            while not self.halt and seconds > 0:
                sleep(min(seconds, LOOK_S))
                seconds = until - monotonic()
        check_halt(self.halt)

    def failed(self, stage: Any, place: int, value: Any, error: BaseException, attempts: int) -> BaseException | None:
        """An item failed for good: the exception, if it ends the run."""
        policy = self.options.on_error
        number = self.stages.index(stage)
        makers = [spec.name for spec in self.specs[:number] if spec.kind in ("batch", "reduce")]  # items are counted anew
        if policy == "raise":
            return annotate(error, f"in stage {stage.name!r}, item {place} of {repr(makers[-1]) if makers else 'the source'}")
        if policy == "collect":
            entry = ((len(makers), place, number), record(stage.name, place, value, error, attempts))
            with self._lock:
                if self.options.most_errors is None or len(self.errors) < self.options.most_errors:
                    self.errors.append(entry)
        return None

    def places_matter(self, stage: Any) -> bool:
        """Whether a later stage can name items by their numbers in the source."""
        after = self.specs[self.stages.index(stage) + 1 :]
        return bool(after) and after[0].kind != "batch"

    def opened(self, target: Any) -> contextlib.AbstractContextManager:
        return sinks.opened(target)

    # ---- the run itself

    def stop(self) -> None:
        """No stage is called any more."""
        self.halt.append(True)

    def cancel(self) -> None:
        """Ends this run only, from any thread, as its control would."""
        self.cancelled = True
        self.stop()

    def check(self) -> None:
        if self.cancelled or self.control.cancelled:
            raise PipelineCancelled("the run was cancelled")

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        for stage in self.stages:
            stage.meter._after_fork()

    def records(self) -> list[ErrorRecord]:
        with self._lock:
            return [entry for _, entry in sorted(self.errors, key=lambda pair: pair[0])]

    def stats(self) -> RunStats:
        parts = tuple(stage.meter.snapshot() for stage in self.stages)
        written = parts[-1].items_out if parts and parts[-1].kind == "sink" else self.delivered
        filtered, failed, retries = (sum(part[i] for part in parts) for i in (4, 5, 6))
        return RunStats(self.read, written, filtered, failed, retries, self.clock.seconds(), self.state, parts)

    def incoming(self) -> Iterator[stages.Chunk]:
        source = self.source
        try:
            while True:
                self.check()
                if self.control.draining:
                    return
                values = next(source, None)
                if values is None:
                    return
                chunk = stages.Chunk(values, self.read)
                self.read += len(values)
                if self.tell is not None:
                    self.tell(self.read)
                begin = perf_counter()
                yield chunk
                if self.workers == 1:
                    self.pacer.alone(perf_counter() - begin, len(values))
        finally:
            source.close()


def chained(run: Run, group: list[Any], chunks: Iterator[stages.Chunk], entered: bool) -> Iterator[stages.Chunk]:
    for stage in group:
        chunks = stage.flow(run, chunks, entered)
        entered = False
    return chunks


def flow(run: Run) -> Generator[stages.Chunk, None, None]:
    """The chunks of results; closing it ends the run, whether any was taken or not."""
    begun = _flow(run)
    next(begun)
    return begun


def _flow(run: Run) -> Generator[stages.Chunk, None, None]:
    opened: list[Any] = []
    pools: list[Pool] = []
    run.totals.begin(run)
    run.control._add(run)
    state = "cancelled"
    limit: float | None = GRACE_S
    try:
        yield stages.Chunk([], 0)  # begun
        chunks = run.incoming()
        opened.append(chunks)
        at = 0
        while at < len(run.stages):
            end = at + 1
            if run.workers > 1 and run.specs[at].parallel:
                while end < len(run.stages) and run.specs[end].parallel:
                    end += 1
                pools.append(Pool(run.workers, f"pipeline-{run.specs[at].name}"))
                chunks = spread(run, pools[-1], run.stages[at:end], chunks)
            else:
                chunks = chained(run, run.stages[at:end], chunks, False)
            opened.append(chunks)
            at = end
        for chunk in chunks:
            run.delivered += len(chunk.values)
            yield chunk
        run.check()
        state, limit = "drained" if run.control.draining else "finished", None
    except Halted:
        raise PipelineCancelled("the run was cancelled") from None
    except PipelineCancelled:
        raise
    except GeneratorExit:
        state = "closed"
        raise
    except Exception:
        state, limit = "failed", None  # a call that goes on in another worker is waited for: it is the last one there
        raise
    finally:
        run.state = state
        if limit is not None or state == "failed":
            run.stop()
        try:
            for each in reversed(opened):
                each.close()
            if run.generator is not None:
                run.generator.close()
        finally:
            for pool in pools:
                pool.stop(limit)
            run.clock.stop()
            run.control._remove(run)
            run.tell_over()
            run.final = run.stats()
            run.totals.end(run, run.final)


def spread(run: Run, pool: Pool, group: list[Any], incoming: Iterator[stages.Chunk]) -> Iterator[stages.Chunk]:
    """Chunks through neighbouring stages by several workers, the results in the order of the source."""
    window: deque[Task] = deque()
    held, over = 0, False
    trouble: Exception | None = None
    meter, quick = group[0].meter, False
    while True:
        # Read ahead while there is room; but what is done does not wait for a source that takes its time. A block of an array
        # counts as one chunk.
        while not over and (not window or (held + run.most <= run.room and (quick or not window[0].done()))):
            begin = perf_counter()
            try:
                chunk = next(incoming, None)
            except PipelineCancelled:
                raise
            except Exception as error:  # told after what came before it
                trouble, chunk = error, None
            if chunk is None:
                over = True
                break
            quick = perf_counter() - begin < SHORT_S
            count = len(chunk.values)
            meter.enter(count)
            weight = min(count, run.most)
            task = Task(chained(run, group, iter((chunk,)), True), weight, run.most if count <= run.most else BLOCK)
            held += weight
            window.append(task)
            pool.submit(task)
        if not window:
            break
        task = window[0]
        while not task.wait(LOOK_S):
            pool.check()
            run.check()
        outputs, ended = task.outputs, task.over
        run.pacer.took(task.seconds, task.held)
        if ended:
            window.popleft()
            held -= task.held
        else:  # more to come of the oldest: it goes on while these are used
            task.reset()
            pool.submit(task)
        yield from outputs
        if ended and task.error is not None:
            raise task.take_error()
    if trouble is not None:
        try:
            raise trouble
        finally:
            del trouble  # see Calls.take_error
