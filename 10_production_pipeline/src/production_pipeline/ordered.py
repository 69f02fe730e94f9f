"""The stages that see all items, one after another, in the order of the source: batch, reduce, sink."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import chain
from time import perf_counter_ns
from typing import Any

from .failures import SinkFull
from .stages import Chunk, Spec, _all, call_each


class Batch:
    """Lists of n items; from an array, arrays. The last one may be shorter."""

    def __init__(self, spec: Spec, meter: Any) -> None:
        self.name, self.meter, self.size = spec.name, meter, spec.argument

    def flow(self, run: Any, incoming: Iterator[Chunk], entered: bool) -> Iterator[Chunk]:
        number, pieces, have = 0, [], 0
        for chunk in incoming:
            count, at = len(chunk.values), 0
            if not entered:
                self.meter.enter(count)
            begin, batches = perf_counter_ns(), []
            while at < count:
                take = min(self.size - have, count - at)
                pieces.append(chunk.values[at : at + take])
                have, at = have + take, at + take
                if have == self.size:
                    batches.append(_joined(pieces))
                    pieces, have = [], 0
            busy = perf_counter_ns() - begin
            self.meter.done(count, len(batches), 0, 0, 0, busy, busy)
            if batches:
                yield Chunk(batches, number)
                number += len(batches)
        if have:
            self.meter.more(1)
            yield Chunk([_joined(pieces)], number)


def _joined(pieces: list) -> Any:
    if len(pieces) == 1:
        return pieces[0]
    if all(isinstance(piece, list) for piece in pieces):
        return list(chain.from_iterable(pieces))
    if any(isinstance(piece, list) for piece in pieces):
        return [item for piece in pieces for item in (piece if isinstance(piece, list) else piece.tolist())]
    import numpy  # they are arrays: it is loaded

    return numpy.concatenate(pieces)


class Reduce:
    """One value of all: f(...f(f(initial, first), second)..., last). Each run begins with a copy of `initial`."""

    def __init__(self, spec: Spec, meter: Any) -> None:
        self.name, self.meter = spec.name, meter
        self.fold, self.initial = spec.function, spec.argument

    def flow(self, run: Any, incoming: Iterator[Chunk], entered: bool) -> Iterator[Chunk]:
        value, fold = copy.deepcopy(self.initial), self.fold

        def step(item: Any) -> None:
            nonlocal value
            value = fold(value, item)

        yield from _each(self, run, incoming, entered, step, out=False)
        self.meter.more(1)
        yield Chunk([value], 0)


class Sink:
    """Hands every item over, in order; nothing goes on."""

    def __init__(self, spec: Spec, meter: Any) -> None:
        self.name, self.meter, self.target = spec.name, meter, spec.argument

    def flow(self, run: Any, incoming: Iterator[Chunk], entered: bool) -> Iterator[Chunk]:
        with run.opened(self.target) as write:
            yield from _each(self, run, incoming, entered, write, out=True)


def _each(stage: Any, run: Any, incoming: Iterator[Chunk], entered: bool, function: Callable, out: bool) -> Iterator[Chunk]:
    """Calls for the sake of what they do: nothing comes out. Counted item by item if the sink turns out to be full."""
    for chunk in incoming:
        count = len(chunk.values)
        if not entered:
            stage.meter.enter(count)
        handed = 0

        def counted(item: Any) -> None:
            nonlocal handed
            function(item)
            handed += 1

        try:
            calls, busy, times = call_each(run, stage, counted, chunk)
        except SinkFull:
            stage.meter.done(handed, handed, 0, 0, 0, 0, None)
            stage.meter.leave(count - handed)
            raise
        taken = calls.taken
        passed = len(calls.results)
        stage.meter.done(taken, passed if out else 0, 0, taken - passed, calls.retries, busy, _all(times, taken))
        if calls.error is not None:
            stage.meter.leave(count - taken)
            raise calls.take_error()
    return
    yield  # a generator that yields nothing
