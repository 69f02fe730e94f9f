"""What a run counts: per stage and in all, written a chunk at a time, readable at any moment from any thread."""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import Any, NamedTuple

from . import _core

QUICK_NS = 2000
"""Items faster than this are timed by the chunk: two looks at the clock would be a good part of such an item."""


class StageStats(NamedTuple):
    """One stage: a snapshot."""

    name: str
    kind: str
    """``validate``, ``filter``, ``map``, ``flat_map``, ``batch``, ``reduce``, ``sink``; ``native`` for fused native stages."""
    items_in: int
    """Items that the stage is done with; of validate, filter and map each is in one of the three counts that follow."""
    items_out: int
    filtered: int
    failed: int
    retries: int
    """Calls that were repeated."""
    queue_depth: int
    """Items handed to the stage that it is not done with, now."""
    queue_peak: int
    busy_s: float
    """Seconds spent in the stage, by all workers together."""
    p50_s: float
    """Latency of an item in this stage: half were faster; 0.0 before the first."""
    p90_s: float
    p99_s: float
    latency: _core.LatencyHistogram
    """All of it, within some 10 %; items faster than 2 µs count with the average of their chunk."""

    @property
    def throughput(self) -> float:
        """Items per second of the stage's own time."""
        return self.items_in / self.busy_s if self.busy_s else 0.0


class RunStats(NamedTuple):
    """A run: a snapshot while it goes on, the final count afterwards."""

    items_read: int
    """Items taken from the source."""
    items_out: int
    """Items that came out of the last stage, or were taken by the sink."""
    items_filtered: int
    items_failed: int
    retries: int
    duration_secs: float
    """From the start to the end, or to now."""
    state: str
    """``running``, ``finished``, ``drained``, ``failed``, ``cancelled``, ``closed`` (a stream); ``idle`` before the first run."""
    stages: tuple[StageStats, ...]

    def table(self) -> str:
        """The stages as lines of text."""
        lines = [
            f"{'stage':<22}{'in':>11}{'out':>11}{'filtered':>10}{'failed':>8}{'retries':>8}{'peak':>7}"
            f"{'busy s':>9}{'p50':>9}{'p99':>9}"
        ]
        for stage in self.stages:
            lines.append(
                f"{stage.name[:21]:<22}{stage.items_in:>11,}{stage.items_out:>11,}{stage.filtered:>10,}{stage.failed:>8,}"
                f"{stage.retries:>8,}{stage.queue_peak:>7,}{stage.busy_s:>9.3f}{_short(stage.p50_s):>9}{_short(stage.p99_s):>9}"
            )
        return "\n".join(lines)


class Meter:
    """Counts one stage; every method takes the lock once, for a whole chunk."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind
        self.quick = False
        """Whether the last chunk's items were so fast that the next one is timed as a whole."""
        self._lock = threading.RLock()  # a forgotten run may be collected while its own worker holds it
        self._in = self._out = self._filtered = self._failed = self._retries = 0
        self._waiting = self._peak = self._busy_ns = 0
        self._latency = _core.LatencyHistogram()

    def enter(self, count: int) -> None:
        """So many items now wait for the stage."""
        with self._lock:
            self._waiting += count
            self._peak = max(self._peak, self._waiting)

    def leave(self, count: int) -> None:
        """So many are dropped before the stage came to them: the run ends."""
        with self._lock:
            self._waiting -= count

    def done(
        self,
        taken: int,
        out: int,
        filtered: int,
        failed: int,
        retries: int,
        busy_ns: int,
        times: _core.LatencyHistogram | int | None,
    ) -> None:
        """A chunk went through; `times` of each item, or in ns of all `taken` together, or unknown."""
        with self._lock:
            self._in += taken
            self._out += out
            self._filtered += filtered
            self._failed += failed
            self._retries += retries
            self._waiting -= taken
            self._busy_ns += busy_ns
            if isinstance(times, int):
                if taken:
                    self._latency.record(times // taken, taken)
                    self.quick = times < QUICK_NS * taken
            elif times is not None:
                self._latency.merge(times)
                self.quick = busy_ns < QUICK_NS * taken

    def more(self, out: int) -> None:
        """Items that came out of one that is counted already."""
        with self._lock:
            self._out += out

    def failures(self, count: int) -> None:
        """Items that failed after they were counted."""
        with self._lock:
            self._failed += count

    def _after_fork(self) -> None:
        self._lock = threading.RLock()

    def snapshot(self) -> StageStats:
        with self._lock:
            latency = self._latency.copy()
            return StageStats(
                self.name,
                self.kind,
                self._in,
                self._out,
                self._filtered,
                self._failed,
                self._retries,
                self._waiting,
                self._peak,
                self._busy_ns / 1e9,
                latency.quantile(0.5),
                latency.quantile(0.9),
                latency.quantile(0.99),
                latency,
            )


class Totals:
    """What a pipeline's ended runs counted together, stage by stage: Prometheus wants counters that never fall."""

    def __init__(self, stages: list[tuple[str, str]]) -> None:
        self._lock = threading.RLock()
        self._ended: list[StageStats] = [Meter(name, kind).snapshot() for name, kind in stages]
        self._runs: set[Any] = set()
        self._states: dict[str, int] = {}
        self._read = self._out = 0
        self.last = RunStats(0, 0, 0, 0, 0, 0.0, "idle", tuple(self._ended))
        _everyone.add(self)

    def _after_fork(self) -> None:
        """In the child: a lock that another thread held stays held for ever, and the runs of others go on in the parent."""
        for run in self._runs:
            run._after_fork()
        self._lock, self._runs = threading.RLock(), set()

    def begin(self, run: Any) -> None:
        with self._lock:
            self._runs.add(run)

    def end(self, run: Any, stats: RunStats) -> None:
        with self._lock:
            self._runs.discard(run)
            self._ended = [_sum(a, b._replace(queue_depth=0)) for a, b in zip(self._ended, stats.stages)]
            self._states[stats.state] = self._states.get(stats.state, 0) + 1
            self._read += stats.items_read
            self._out += stats.items_out
            self.last = stats

    def snapshot(self) -> tuple[list[StageStats], dict[str, int], int, int, int]:
        """(stages, runs that ended by state, runs going on, items read, items out): runs that are going on included."""
        with self._lock:
            stages, states, read, out = self._ended, dict(self._states), self._read, self._out
            running = [run.stats() for run in list(self._runs)]
        for stats in running:
            stages = [_sum(a, b) for a, b in zip(stages, stats.stages)]
            read, out = read + stats.items_read, out + stats.items_out
        return stages, states, len(running), read, out


_everyone: weakref.WeakSet[Totals] = weakref.WeakSet()


def _in_child() -> None:
    for each in list(_everyone):
        each._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


class Clock:
    """Seconds from its start to its stop."""

    def __init__(self) -> None:
        self._begin = time.perf_counter_ns()
        self._end: int | None = None

    def stop(self) -> None:
        self._end = time.perf_counter_ns()

    def seconds(self) -> float:
        return max(1, (self._end or time.perf_counter_ns()) - self._begin) / 1e9


def _sum(a: StageStats, b: StageStats) -> StageStats:
    latency = a.latency.copy()
    latency.merge(b.latency)
    return StageStats(
        a.name,
        a.kind,
        a.items_in + b.items_in,
        a.items_out + b.items_out,
        a.filtered + b.filtered,
        a.failed + b.failed,
        a.retries + b.retries,
        a.queue_depth + b.queue_depth,
        max(a.queue_peak, b.queue_peak),
        a.busy_s + b.busy_s,
        latency.quantile(0.5),
        latency.quantile(0.9),
        latency.quantile(0.99),
        latency,
    )


def _short(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
