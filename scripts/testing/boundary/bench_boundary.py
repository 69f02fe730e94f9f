"""boundary.hpp against what a reader would use instead: crossing a list, building one, letting the GIL go.

`cases()` gives the rows; `python bench_boundary.py` measures and prints them. Every competitor of a case gets the same
object, their rounds are interleaved, and the answers are compared before anything is timed.
"""

from __future__ import annotations

import array
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import boundary_probe as probe
import numpy as np


@dataclass
class Case:
    """One row: `ours` and its peers do the same work on the same data."""

    name: str
    size: int
    container: str
    ours: Callable[[], object]
    peers: dict[str, Callable[[], object]]
    same: Callable[[object, object], bool] | None = None  # None: the callables return nanoseconds, not answers
    goals: dict[str, tuple[float, float]] = field(default_factory=dict)  # peer: (at least, aim)


def equal(a: object, b: object) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


def listing(kind: str, size: int) -> list[float]:
    """`fresh`: items in the order of their allocation, as a comprehension leaves them; `shuffled`: all over memory."""
    rng = random.Random(size)
    values = [rng.random() for _ in range(size)]
    if kind == "shuffled":
        rng.shuffle(values)
    return values


def cases(sizes: tuple[int, ...] = (10**3, 10**4, 10**5, 10**6)) -> Iterator[Case]:
    for size in sizes:
        for kind in ("fresh", "shuffled"):
            values = listing(kind, size)
            yield Case(
                f"list -> float64, {kind}",
                size,
                "list",
                lambda values=values: probe.read_float64(values),
                {
                    "pybind11 vector": lambda values=values: probe.caster_float64(values),
                    "numpy.asarray": lambda values=values: np.asarray(values, np.float64).size,
                    "array.array": lambda values=values: len(array.array("d", values)),
                    "numpy.fromiter": lambda values=values: np.fromiter(values, np.float64, len(values)).size,
                },
                equal,
                {"pybind11 vector": (4, 12), "numpy.asarray": (8, 13), "array.array": (4, 7)},
            )
        integers = [random.Random(size).randrange(-(2**40), 2**40) >> shift % 40 for shift in range(size)]
        yield Case(
            "list -> int64",
            size,
            "list",
            lambda integers=integers: probe.read_int64(integers),
            {
                "pybind11 vector": lambda integers=integers: probe.caster_int64(integers),
                "numpy.asarray": lambda integers=integers: np.asarray(integers, np.int64).size,
                "array.array": lambda integers=integers: len(array.array("q", integers)),
            },
            equal,
        )
        values = listing("fresh", size)
        yield Case(
            "list -> sum",
            size,
            "list",
            lambda values=values: probe.sum_float64(values),
            {"builtin sum": lambda values=values: sum(values)},
            lambda a, b: bool(np.isclose(a, b)),
        )
        floats = np.array(values)
        yield Case(
            "float64 -> list",
            size,
            "array",
            lambda floats=floats: probe.to_list_float64(floats),
            {
                "pybind11 vector": lambda floats=floats: probe.caster_list_float64(floats),
                "ndarray.tolist": lambda floats=floats: floats.tolist(),
            },
            equal,
            {"ndarray.tolist": (0.95, 1.1)},
        )
    yield Case(
        "GIL released + retaken",
        1,
        "-",
        lambda: probe.ns_released(1, 2000),
        {"PyEval_SaveThread pair": lambda: probe.ns_bare_pair(1, 2000)},
        goals={"PyEval_SaveThread pair": (0.9, 1.0)},
    )


def nanoseconds(case: Case, call: Callable[[], object], batch: int) -> float:
    if case.same is None:
        return float(call())
    start = time.perf_counter_ns()
    for _ in range(batch):
        call()
    return (time.perf_counter_ns() - start) / batch


def measure(case: Case, seconds: float = 0.5) -> tuple[float, dict[str, tuple[float, float, float]]]:
    """Median nanoseconds of ours, and for each peer (median ratio, lowest, highest quartile) of paired rounds."""
    calls = {"ours": case.ours, **case.peers}
    if case.same is not None:
        expected = case.ours()
        for name, call in case.peers.items():
            if not case.same(expected, call()):
                raise SystemExit(f"{case.name}: {name} gives another answer")
    once = max(nanoseconds(case, call, 1) for call in calls.values())
    batch = max(1, int(2e5 / once))
    rounds = max(7, min(101, int(seconds * 1e9 / (once * batch * len(calls)))))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(nanoseconds(case, call, batch))
    ratios = {}
    for name in case.peers:
        paired = sorted(peer / ours for peer, ours in zip(times[name], times["ours"]))
        ratios[name] = (statistics.median(paired), paired[len(paired) // 4], paired[-1 - len(paired) // 4])
    return statistics.median(times["ours"]), ratios


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
    print(f"{'case':<28}{'size':>9}  {'ours':>10}   times faster than: median [quartiles] (at least)")
    for case in cases():
        ours, ratios = measure(case, seconds)
        print(f"{case.name:<28}{case.size:>9}  {ours / 1e3:>8.2f}us")
        for peer, (ratio, low, high) in ratios.items():
            goal = f" ({case.goals[peer][0]:g}, aim {case.goals[peer][1]:g})" if peer in case.goals else ""
            print(f"{'':<52}{peer:<24}{ratio:>6.2f} [{low:.2f}..{high:.2f}]{goal}")


if __name__ == "__main__":
    main()
