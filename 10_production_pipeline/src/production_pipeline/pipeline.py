"""`Pipeline`: the reader's own stages, put together once, run as often and from as many threads as one likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from . import _core, engine, sinks
from .failures import ErrorRecord, PipelineCancelled
from .fused import fuse
from .metrics import RunStats, Totals
from .native import Kernel
from .stages import Chunk, Spec
from .workers import Control

POLICIES = ("raise", "skip", "collect")
MOST_WORKERS = 1024


class Options(NamedTuple):
    workers: int
    queue_size: int
    on_error: str
    retries: int
    backoff: float
    most_backoff: float
    retry_on: tuple[type[BaseException], ...]
    sleep: Callable[[float], object] | None
    most_errors: int | None


class PipelineResult(NamedTuple):
    """What a run gave."""

    items: Any
    """The results, in order: a list; an array, if the source was one and all stages are native. Empty if a sink took them."""
    stats: RunStats
    errors: list[ErrorRecord]
    """With ``on_error="collect"``: what failed, in the order of the source."""


class Pipeline:
    """Stages for items, run by threads, with back-pressure, errors that name their item, and counts.

    A pipeline never changes: each method that adds a stage returns a new one. Any thread may run it at any time.

    Parameters
    ----------
    workers : int, optional
        Threads of a run: the usable cores when None. With 1 all is done by the thread that runs the pipeline.
    queue_size : int
        At most so many items of the source are in flight in each row of stages that workers share (`batch`, `reduce` and
        `sink` end a row). Blocks of an array in front of native stages count as 1 / (2 * workers) of it.
    on_error : "raise", "skip" or "collect"
        What to do with an item whose stage raises: end the run with that exception, once everything before the item has
        gone through; leave it out and count it; leave it out and keep an ErrorRecord.
    retries : int
        So many times a call that raised is repeated, before the item counts as failed.
    backoff, most_backoff : float
        Seconds before the first repetition, doubled before each further one, up to `most_backoff`.
    retry_on : exception class or tuple of them
        What is worth repeating.
    sleep : callable, optional
        ``sleep(seconds)`` waits before a repetition; default: a wait that cancelling ends.
    most_errors : int, optional
        With "collect", so many records are kept; all failures are counted. A source without end wants it: the default is all.
    """

    def __init__(
        self,
        workers: int | None = None,
        queue_size: int = 1024,
        on_error: str = "raise",
        retries: int = 0,
        *,
        backoff: float = 0.1,
        most_backoff: float = 30.0,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
        sleep: Callable[[float], object] | None = None,
        most_errors: int | None = None,
    ) -> None:
        if on_error not in POLICIES:
            raise ValueError(f"on_error must be 'raise', 'skip' or 'collect', not {on_error!r}")
        kinds = retry_on if isinstance(retry_on, tuple) else (retry_on,)
        if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
            raise TypeError("retry_on must be an exception class, or a tuple of them")
        if sleep is not None and not callable(sleep):
            raise TypeError(f"sleep must be callable, not {type(sleep).__name__}")
        self._options = Options(
            _core.usable_cores() if workers is None else _count("workers", workers, 1, MOST_WORKERS),
            _count("queue_size", queue_size, 1),
            on_error,
            _count("retries", retries, 0),
            _seconds("backoff", backoff),
            _seconds("most_backoff", most_backoff),
            kinds,
            sleep,
            None if most_errors is None else _count("most_errors", most_errors, 0),
        )
        self._specs: tuple[Spec, ...] = ()
        self._totals = Totals([])

    # ---- stages

    def validate(self, f: Callable[[Any], Any], *, name: str | None = None) -> Pipeline:
        """Items for which ``f(item)`` is false fail, with a ValidationError; so do those for which it raises."""
        return self._with("validate", f, name)

    def filter(self, f: Callable[[Any], Any], *, name: str | None = None) -> Pipeline:
        """Keeps the items for which ``f(item)`` is true."""
        return self._with("filter", f, name)

    def map(self, f: Callable[[Any], Any], *, name: str | None = None) -> Pipeline:
        """``f(item)`` for each item."""
        return self._with("map", f, name)

    def flat_map(self, f: Callable[[Any], Any], *, name: str | None = None) -> Pipeline:
        """All that ``f(item)``, an iterable, gives; it is iterated as there is room."""
        return self._with("flat_map", f, name)

    def batch(self, n: int, *, name: str | None = None) -> Pipeline:
        """Lists of `n` items, the last one may be shorter; arrays, if the source is a 1-D float64 array: mostly read-only
        views of it, so a stage that wants to change one takes a copy."""
        return self._with("batch", None, name or f"batch({n})", _count("n", n, 1))

    def reduce(self, f: Callable[[Any, Any], Any], initial: Any, *, name: str | None = None) -> Pipeline:
        """One item: ``f(f(f(initial, a), b), c)``, in order; each run begins with a copy of `initial`."""
        return self._with("reduce", f, name, initial)

    def sink(self, target: Any, *, name: str | None = None) -> Pipeline:
        """Hands each item to `target`, in order, in the thread that runs the pipeline; it is the last stage.

        `target`: a callable; an object with ``append``; a NumPy array (or memory map), filled from its start; an
        ArrowSink or ParquetSink. One that blocks holds the source back.
        """
        kind = target.__name__ if hasattr(target, "__name__") else type(target).__name__
        return self._with("sink", None, name or f"sink {kind}", sinks.checked(target))

    def _with(self, kind: str, function: Any, name: str | None, argument: Any = None) -> Pipeline:
        if self._specs and self._specs[-1].kind == "sink":
            raise ValueError("a sink is the last stage: nothing comes out of it")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        native = isinstance(function, Kernel)
        if kind in ("validate", "filter", "map", "flat_map", "reduce") and not callable(function):
            raise TypeError(f"{kind} needs a callable, not {type(function).__name__}")
        if native and (kind in ("flat_map", "reduce") or function.tests != (kind != "map")):
            wanted = "validate and filter" if function.tests else "map"
            raise TypeError(f"native.{function.label} is for {wanted}, not {kind}")
        given = name or f"{kind} {function.label if native else getattr(function, '__name__', type(function).__name__)}"
        taken = {spec.name for spec in self._specs}
        number = next(k for k in range(1, len(taken) + 2) if (given if k == 1 else f"{given} #{k}") not in taken)
        new = object.__new__(type(self))
        new._options = self._options
        new._specs = (*self._specs, Spec(kind, function, given if number == 1 else f"{given} #{number}", argument))
        new._totals = Totals([(spec.name, spec.kind) for spec in fuse(new._specs)])
        return new

    # ---- running

    def run(self, source: Any, *, control: Control | None = None, progress: Any = None) -> PipelineResult:
        """Takes all of `source` through the stages.

        Parameters
        ----------
        source : iterable
            A sequence, a generator, an array (memory-mapped, too), an Arrow table, array or stream, a ParquetSource.
        control : Control, optional
            For other threads: to cancel the run, or to drain it.
        progress : True or callable, optional
            True: a bar (tqdm). A callable gets ``(items read, how many there are or None)``.

        Returns
        -------
        PipelineResult

        Raises
        ------
        Exception
            Of a stage, the source or the sink, as it was raised. `get_stats` then tells how far the run came.
        PipelineCancelled
        """
        run = engine.Run(self, source, control, progress)
        flow = engine.flow(run)
        items: list = []
        arrays: list = []
        try:
            for chunk in flow:
                if isinstance(chunk.values, list):
                    items.extend(chunk.values)
                else:
                    arrays.append(chunk.values)
        finally:
            flow.close()
        return PipelineResult(_all(items, arrays, source, run), run.final or run.stats(), run.records())

    def stream(self, source: Any, *, control: Control | None = None, progress: Any = None) -> Stream:
        """The results one by one, as they are asked for: an iterator that holds a bounded number of items.

        Parameters and errors are those of `run`. Close it, or leave its ``with`` block, and everything stops.
        """
        if self._specs and self._specs[-1].kind == "sink":
            raise ValueError("nothing comes out of a pipeline that ends in a sink: run() it")
        return Stream(engine.Run(self, source, control, progress))

    # ---- what it did

    @property
    def stages(self) -> list[str]:
        """The names of the stages as they are run; adjacent native ones are one."""
        return [spec.name for spec in fuse(self._specs)]

    def get_stats(self) -> RunStats:
        """Of the run that ended last, however it ended."""
        return self._totals.last

    def __repr__(self) -> str:
        options = self._options
        return (
            f"<Pipeline of {' -> '.join(self.stages) or 'no stages'}; {options.workers} workers, on_error={options.on_error!r}>"
        )


class Stream:
    """The results of a run that goes on as they are asked for, by one thread at a time. An iterator and a context manager."""

    def __init__(self, run: engine.Run) -> None:
        self._run = run
        self._flow = engine.flow(run)
        self._items = _items(self._flow)

    def __iter__(self) -> Iterator[Any]:
        return self._items

    def __next__(self) -> Any:
        return next(self._items)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the run: the source is read no further and, if it is a generator, closed; the threads end.

        While another thread waits for a result, it is that one which does this, and then gets PipelineCancelled.
        """
        try:
            self._items.close()
            self._flow.close()
        except ValueError:
            if not self._items.gi_running:
                raise
            self._run.cancel()

    def stats(self) -> RunStats:
        """Counts so far; from any thread."""
        return self._run.stats()

    @property
    def errors(self) -> list[ErrorRecord]:
        """With ``on_error="collect"``: what failed so far."""
        return self._run.records()


def _items(flow: Any) -> Any:
    try:
        for chunk in flow:
            yield from chunk.items()
    finally:
        flow.close()


def _all(items: list, arrays: list, source: Any, run: engine.Run) -> Any:
    if not arrays:
        if items or type(source).__name__ not in ("ndarray", "memmap") or {s.kind for s in run.specs} != {"native"}:
            return items
        import numpy  # loaded: the source is an array, of which nothing is left

        return numpy.empty(0) if source.ndim == 1 and source.dtype == "f8" else items
    if items:  # a block in which something was no number: it cannot be, but nothing is lost
        return [*(item for array in arrays for item in array.tolist()), *items]
    import numpy

    return arrays[0] if len(arrays) == 1 else numpy.concatenate(arrays)


def _count(name: str, value: Any, least: int, most: int | None = None) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    number = value.__index__()
    if number < least or (most is not None and number > most):
        bound = f"at least {least}" if number < least else f"at most {most}"
        raise ValueError(f"{name} must be {bound}, not {number}")
    return number


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    number = float(value)
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name} must be a number of seconds >= 0, not {value!r}")
    return number


__all__ = ["Chunk", "Pipeline", "PipelineCancelled", "PipelineResult", "Stream"]
