"""The stages that workers may share: each turns a stream of chunks into a stream of chunks. The others are in ordered.py.

A chunk is a list of items (or an array of floats, for native stages) that go through a stage in one go: counting, timing,
locking and handing over are paid per chunk. Every item carries its number in the source, so that a failure can name it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress, islice
from time import perf_counter_ns
from typing import Any, NamedTuple

from . import _core
from .failures import SinkFull, ValidationError, check_halt


class Chunk:
    """Items on their way: `places` are their numbers in the source; None if they are `first`, `first` + 1, ..."""

    __slots__ = ("first", "places", "values")

    def __init__(self, values: Any, first: int, places: Sequence[int] | None = None) -> None:
        self.values, self.first, self.places = values, first, places

    def place(self, i: int) -> int:
        return self.first + i if self.places is None else self.places[i]

    def numbers(self) -> Sequence[int]:
        return range(self.first, self.first + len(self.values)) if self.places is None else self.places

    def items(self) -> list:
        return self.values if isinstance(self.values, list) else self.values.tolist()


class Spec(NamedTuple):
    """A stage as the pipeline keeps it: nothing in it changes, so any number of runs may share it."""

    kind: str
    function: Any
    name: str
    argument: Any = None

    @property
    def parallel(self) -> bool:
        """Whether workers may have it at the same time; the others see all items, one after another, in order."""
        return self.kind not in ("batch", "reduce", "sink")


class Calls:
    """What became of the calls for a chunk's items, up to the one that ended the run."""

    __slots__ = ("error", "failed", "results", "retries")

    def __init__(self, results: list, failed: list[int], error: BaseException | None, retries: int) -> None:
        self.results, self.failed, self.error, self.retries = results, failed, error, retries

    @property
    def taken(self) -> int:
        return len(self.results) + len(self.failed) + (self.error is not None)

    def take_error(self) -> BaseException:
        """To raise it. A frame that kept it would be kept by its traceback, and both, with all items in sight, until the
        garbage collector comes."""
        error, self.error = self.error, None
        try:
            return error  # type: ignore[return-value]
        finally:
            del error


def call_each(run: Any, stage: Any, function: Callable, chunk: Chunk) -> tuple[Calls, int, Any]:
    """function(item) for each item, until one fails that must not: (calls, nanoseconds, those of each item or in all)."""
    values, halt = chunk.items(), run.halt
    results: list = []
    failed: list[int] = []
    retries = 0
    fatal = None
    times = None if stage.meter.quick or len(values) == 1 else _core.LatencyHistogram()
    before = start = perf_counter_ns()
    while True:
        at = len(results) + len(failed)
        error: BaseException | None = None
        try:
            if times is None:
                # extend() keeps what came before an exception
                results.extend(map(function, _until(halt, islice(values, at, None) if at else values)))
            else:
                before, counted = perf_counter_ns(), times.sum_s
                _core.timed_calls(function, values, at, results, halt, times)
            check_halt(halt)
            at = len(results) + len(failed)
            if at == len(values):
                break
            error = StopIteration("raised by the stage")  # map() took it for the end
        except SinkFull:
            raise
        except Exception as raised:
            error = raised
        at = len(results) + len(failed)
        error, result, attempts = run.retry(stage, function, values[at], error)
        retries += attempts - 1
        if times is not None:  # pauses included: so long the item took
            times.record(max(0, perf_counter_ns() - before - int((times.sum_s - counted) * 1e9)))
        if error is None:
            results.append(result)
            continue
        fatal = run.failed(stage, chunk.place(at), values[at], error, attempts)
        if fatal is not None:
            break
        failed.append(at)
    busy = perf_counter_ns() - start
    try:
        return Calls(results, failed, fatal, retries), busy, busy if times is None else times
    finally:
        error = fatal = None  # see Calls.take_error


def _until(halt: list, values: Iterable) -> Iterator:
    for value in values:
        if halt:
            return
        yield value


def _survivors(chunk: Chunk, calls: Calls) -> Sequence[int] | None:
    """Places of the items whose calls succeeded; None if all did."""
    if not calls.failed and calls.error is None:
        return chunk.places
    gone = set(calls.failed)
    count = len(calls.results) + len(calls.failed)
    return [place for i, place in enumerate(islice(chunk.numbers(), count)) if i not in gone]


class Map:
    """map, and validate, which is a map to the item itself."""

    def __init__(self, spec: Spec, meter: Any) -> None:
        self.name, self.meter = spec.name, meter
        self.function = _validated(spec.function) if spec.kind == "validate" else spec.function

    def flow(self, run: Any, incoming: Iterator[Chunk], entered: bool) -> Iterator[Chunk]:
        for chunk in incoming:
            count = len(chunk.values)
            if not entered:
                self.meter.enter(count)
            calls, busy, times = call_each(run, self, self.function, chunk)
            taken = calls.taken
            self.meter.done(taken, len(calls.results), 0, taken - len(calls.results), calls.retries, busy, _all(times, taken))
            if calls.results:
                yield Chunk(calls.results, chunk.first, _survivors(chunk, calls))
            if calls.error is not None:
                self.meter.leave(count - taken)
                raise calls.take_error()


def _all(times: Any, taken: int) -> Any:
    return times if taken else 0


def _validated(function: Callable) -> Callable:
    name = getattr(function, "__name__", repr(function))

    def validated(item: Any) -> Any:
        if function(item):
            return item
        raise ValidationError(f"{name} says no to {_brief(item)}")

    return validated


def _brief(item: Any) -> str:
    try:
        text = repr(item)
    except Exception:
        return f"a {type(item).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


class Filter:
    def __init__(self, spec: Spec, meter: Any) -> None:
        self.name, self.meter = spec.name, meter
        function, truth = spec.function, operator.truth
        self.function = lambda item: truth(function(item))

    def flow(self, run: Any, incoming: Iterator[Chunk], entered: bool) -> Iterator[Chunk]:
        for chunk in incoming:
            count = len(chunk.values)
            if not entered:
                self.meter.enter(count)
            calls, busy, times = call_each(run, self, self.function, chunk)
            taken = calls.taken
            if calls.failed:
                for at in calls.failed:  # ascending, so each place is right when it is filled
                    calls.results.insert(at, False)
            values = list(compress(chunk.items(), calls.results))
            gone = len(calls.failed) + (calls.error is not None)
            self.meter.done(taken, len(values), taken - len(values) - gone, gone, calls.retries, busy, _all(times, taken))
            if values:
                whole = len(values) == count
                yield Chunk(values, chunk.first, chunk.places if whole else list(compress(chunk.numbers(), calls.results)))
            if calls.error is not None:
                self.meter.leave(count - taken)
                raise calls.take_error()


class FlatMap:
    """One item becomes any number of them; what the function returns is iterated as there is room, not before."""

    def __init__(self, spec: Spec, meter: Any) -> None:
        self.name, self.meter = spec.name, meter
        function = spec.function
        self.function = lambda item: iter(function(item))

    def flow(self, run: Any, incoming: Iterator[Chunk], entered: bool) -> Iterator[Chunk]:
        room, meter = run.most, self.meter
        for chunk in incoming:
            count = len(chunk.values)
            if not entered:
                meter.enter(count)
            values: list = []
            places: list[int] = []
            for i, value in enumerate(chunk.items()):
                place = chunk.place(i)
                calls, busy, _ = call_each(run, self, self.function, Chunk([value], place))
                bad = not calls.results
                meter.done(1, 0, 0, int(bad), calls.retries, busy, busy)
                error = None if calls.error is None else calls.take_error()
                inner: Iterator = iter(()) if bad else calls.results[0]
                while error is None:
                    check_halt(run.halt)
                    made, ended = len(values), False
                    try:
                        values.extend(islice(inner, room - made))
                        ended = len(values) < room
                    except Exception as raised:  # it made some and then failed: those are out, and it is not called again
                        ended, broke = True, raised
                    else:
                        broke = None
                    if broke is not None:
                        error, broke = run.failed(self, place, value, broke, 1), None
                        meter.failures(1)
                    places.extend([place] * (len(values) - made))
                    if len(values) >= room:
                        meter.more(len(values))
                        yield Chunk(values, place, places)
                        values, places = [], []
                    if ended:
                        break
                if error is not None:
                    if values:
                        meter.more(len(values))
                        yield Chunk(values, place, places)
                    meter.leave(count - i - 1)
                    try:
                        raise error
                    finally:
                        del error
            if values:
                meter.more(len(values))
                yield Chunk(values, places[0], places)
