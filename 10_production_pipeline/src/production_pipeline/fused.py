"""Adjacent native stages, fused: one call of C++ per chunk, the GIL released, one pass over the numbers."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter_ns
from typing import Any

from . import _core
from .failures import ValidationError, check_halt
from .native import Kernel
from .stages import Chunk, Spec, _brief, call_each


def fuse(specs: tuple[Spec, ...]) -> list[Spec]:
    """The stages as they are run: each row of native ones as one."""
    fused: list[Spec] = []
    for spec in specs:
        if not isinstance(spec.function, Kernel):
            fused.append(spec)
            continue
        kernel = spec.function
        step = (kernel.code, kernel.number, spec.kind == "validate")
        if fused and fused[-1].kind == "native":
            last = fused[-1]
            fused[-1] = Spec("native", None, f"{last.name} | {spec.name}", [*last.argument, step])
        else:
            fused.append(Spec("native", None, spec.name, [step]))
    return fused


class Native:
    """Lists in, lists out; blocks of an array in, arrays out."""

    def __init__(self, spec: Spec, meter: Any) -> None:
        self.name, self.meter, self.program = spec.name, meter, _core.Program(spec.argument)

    def flow(self, run: Any, incoming: Iterator[Chunk], entered: bool) -> Iterator[Chunk]:
        places_matter = run.places_matter(self)
        for chunk in incoming:
            count = len(chunk.values)
            check_halt(run.halt)
            if not entered:
                self.meter.enter(count)
            begin = perf_counter_ns()
            try:
                answer = self.program.run(chunk.values, places_matter)
            except Exception:  # some item is no number
                answer = None
            if answer is None:  # one by one, it fails alone
                yield from self._one_by_one(run, chunk)
                continue
            values, kept, failed, filtered = answer
            fatal = error = None
            for at in failed:
                error = ValidationError(f"{self.name} says no to {_brief(chunk.values[at])}")
                fatal = run.failed(self, int(chunk.place(at)), chunk.values[at], error, 1)
                if fatal is not None:
                    break
            if fatal is not None:  # what came before it is let through
                count, failed = at, failed[:1]
                values, kept, _, filtered = self.program.run(chunk.values[:at], places_matter)
            busy = perf_counter_ns() - begin
            taken = count + (fatal is not None)
            self.meter.done(taken, len(values), filtered, len(failed), 0, busy, busy if taken else 0)
            if len(values):
                yield Chunk(values, chunk.first, _places(chunk, kept, count))
            if fatal is not None:
                self.meter.leave(len(chunk.values) - taken)
                try:
                    raise fatal
                finally:
                    del fatal, error  # see Calls.take_error

    def _one_by_one(self, run: Any, chunk: Chunk) -> Iterator[Chunk]:
        program, dropped = self.program, object()

        def one(item: Any) -> Any:
            values, _, failed, _ = program.run([item])
            if failed:
                raise ValidationError(f"{self.name} says no to {_brief(item)}")
            return values[0] if values else dropped

        calls, busy, times = call_each(run, self, one, chunk)
        taken = calls.taken
        gone = set(calls.failed)
        places = [place for i, place in zip(range(taken - (calls.error is not None)), chunk.numbers()) if i not in gone]
        pairs = [(value, place) for value, place in zip(calls.results, places) if value is not dropped]
        filtered = len(calls.results) - len(pairs)
        self.meter.done(taken, len(pairs), filtered, taken - len(calls.results), calls.retries, busy, times if taken else 0)
        if pairs:
            yield Chunk([value for value, _ in pairs], chunk.first, [place for _, place in pairs])
        if calls.error is not None:
            self.meter.leave(len(chunk.values) - taken)
            raise calls.take_error()


def _places(chunk: Chunk, kept: Any, count: int) -> Any:
    """Numbers of the survivors; `kept` are their positions in the chunk, None if all survived or nobody will ask."""
    if kept is None:
        return chunk.places
    if not isinstance(kept, list):
        return kept + chunk.first if chunk.places is None else [chunk.places[i] for i in kept]
    numbers = chunk.numbers()
    return [numbers[i] for i in kept]
