"""One run: chunks go from the source through the stages to whoever asks for the next result.

Whoever asks pulls. With one worker everything happens in that thread, a loop over lists. With more, neighbouring stages that
workers may share are one piece of work: as many chunks are read as there is room for, workers take them through all these
stages, and results come out in the order of the source. Nothing is read while nobody asks: that is the back-pressure.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from time import perf_counter
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
        self.room: int = self.options.queue_size
        self.most = max(1, self.room // (2 * self.workers))
        self.control = control if control is not None else Control()
        self.halt: list[bool] = []
        self.errors: list[tuple[tuple[int, int, int], ErrorRecord]] = []
        specs = fuse(pipeline._specs)
        self.stages = [KINDS[spec.kind](spec, Meter(spec.name, spec.kind)) for spec in specs]
        self.specs = specs
        self.read = self.delivered = 0
        self.state = "running"
        self.sinks_done: Callable[[], None] | None = None
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self.pacer = Pacer(self.most)
        vectors = bool(specs) and specs[0].kind in ("native", "batch")
        self.source: Any = chunks_of(source, self.pacer, vectors)
        self.tell, self.tell_over = checked_progress(progress, length(source))
        self.clock = Clock()

    # ---- what stages ask for

    def retry(self, stage: Any, function: Callable, value: Any, error: BaseException) -> tuple[BaseException | None, Any, int]:
        """(the last error or None, the result, calls made) of an item that failed once."""
        attempts = 1
        while attempts <= self.options.retries and isinstance(error, self.options.retry_on):
            if isinstance(error, stages.ValidationError):
                break
            self.pause(min(self.options.backoff * 2.0 ** (attempts - 1), self.options.most_backoff))
            attempts += 1
            try:
                return None, function(value), attempts
            except stages.SinkFull:
                raise
            except Exception as raised:
                error = raised
        return error, None, attempts

    def pause(self, seconds: float) -> None:
        """A wait that a cancelled run does not wait for."""
        if self.options.sleep is not None:
            self.options.sleep(seconds)
        elif seconds > 0:
            self._wake.wait(seconds)
        check_halt(self.halt)

    def failed(self, stage: Any, place: int, value: Any, error: BaseException, attempts: int) -> BaseException | None:
        """An item failed for good: the exception, if it ends the run."""
        policy = self.options.on_error
        if policy == "raise":
            return annotate(error, f"in stage {stage.name!r}, item {place} of the source")
        if policy == "collect":
            number = self.stages.index(stage)
            domain = sum(spec.kind == "batch" for spec in self.specs[:number])
            entry = ((domain, place, number), record(stage.name, place, value, error, attempts))
            with self._lock:
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
        self._wake.set()

    def check(self) -> None:
        if self.control.cancelled:
            raise PipelineCancelled("the run was cancelled")

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
                    self.pacer.took(perf_counter() - begin, len(values))
        finally:
            source.close()


def chained(run: Run, group: list[Any], chunks: Iterator[stages.Chunk], entered: bool) -> Iterator[stages.Chunk]:
    for stage in group:
        chunks = stage.flow(run, chunks, entered)
        entered = False
    return chunks


def flow(run: Run) -> Generator[stages.Chunk, None, None]:
    """The chunks of results; closing it ends the run."""
    opened: list[Any] = []
    pools: list[Pool] = []
    run.totals.begin(run)
    run.control._add(run)
    state = "cancelled"
    limit: float | None = GRACE_S
    try:
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
        finally:
            for pool in pools:
                pool.stop(limit)
            run.clock.stop()
            run.tell_over()
            run.totals.end(run, run.stats())


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
        outputs, failure, ended = task.outputs, task.error, task.over
        run.pacer.took(task.seconds, task.held)
        if ended:
            window.popleft()
            held -= task.held
        else:  # more to come of the oldest: it goes on while these are used
            task.reset()
            pool.submit(task)
        yield from outputs
        if failure is not None:
            raise failure
    if trouble is not None:
        raise trouble
