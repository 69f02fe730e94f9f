"""Measuring Python callables: calibrated, interleaved rounds (in C++), and what the samples say."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from . import _core


def _seconds(value: float) -> str:
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if value * factor >= 1.0:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Seconds per call of one function: one value per round, and what they amount to."""

    name: str
    iterations: int
    """Calls per round."""
    seconds: list[float]
    """Seconds per call, one value per round."""
    median: float
    mad: float
    """Median absolute deviation, not scaled."""
    low: float
    """95 % bootstrap interval of the median, its lower end."""
    high: float
    outliers: list[int]
    """Rounds farther than 3 x 1.4826 x MAD from the median. They are marked, not removed."""

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        odd = f", {len(self.outliers)} of {len(self.seconds)} rounds are outliers" if self.outliers else ""
        return f"{self.name or 'call'}: {_seconds(self.median)} [{_seconds(self.low)} .. {_seconds(self.high)}]{odd}"


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Time of one function over the time of the first, taken round by round: above 1, the first is faster."""

    median: float
    low: float
    """95 % bootstrap interval of the median ratio, its lower end."""
    high: float
    per_round: list[float]
    cliffs_delta: float
    """1: each of its times is longer than each of the first's; -1: shorter; 0: neither."""
    p_value: float
    """Mann-Whitney, two-sided: how likely so different times are if both functions are equally fast."""

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return f"{self.median:.2f}x [{self.low:.2f} .. {self.high:.2f}], delta {self.cliffs_delta:+.2f}, p {self.p_value:.2g}"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Measurements from the same rounds, by name, and each one's ratio to the first."""

    measurements: dict[str, Measurement]
    ratios: dict[str, Ratio]
    """All but the first."""

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        width = max(len(str(name)) for name in self.measurements)
        return "\n".join(
            f"{name!s:<{width}}  {_seconds(m.median):>8}  {self.ratios.get(name, 'the first')}"
            for name, m in self.measurements.items()
        )


def _measurement(name: str, iterations: int, seconds: list[float]) -> Measurement:
    low, high = _core.bootstrap_median(seconds)
    return Measurement(name, iterations, seconds, _core.median(seconds), _core.mad(seconds), low, high, _core.outliers(seconds))


def _check_seconds(name: str, value: float) -> float:
    if not hasattr(value, "__float__") and not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    value = float(value)
    if not 0.0 <= value <= 3600.0:
        raise ValueError(f"{name} must be between 0 and 3600 seconds, not {value}")
    return value


def measure(
    func: Callable[[], object], *, min_time: float = 0.02, rounds: int = 11, pause: float = 0.0, name: str = ""
) -> Measurement:
    """Measures ``func()``: iterations are calibrated until a round lasts `min_time` seconds; `rounds` rounds are timed.

    Parameters
    ----------
    func : callable
        Called without arguments, with the GIL held. Its exception propagates.
    min_time, pause : float
        Seconds per round, and of silence before each.
    rounds : int
        At least 1.
    name : str
        Goes into the result.

    Returns
    -------
    Measurement
    """
    min_time, pause = _check_seconds("min_time", min_time), _check_seconds("pause", pause)
    if not callable(func):
        raise TypeError(f"func must be callable, not {type(func).__name__}")
    ((iterations, seconds),) = _core._compare([func], rounds, min_time, pause)
    return _measurement(name, iterations, seconds)


def compare(
    functions: Mapping[str, Callable[[], object]], *, rounds: int = 11, min_time: float = 0.02, pause: float = 0.0
) -> Comparison:
    """Measures functions side by side: every round runs them all, forwards and backwards in turn (A B, B A, ...).

    Parameters
    ----------
    functions : dict of str to callable
        The first is what the others are compared with.
    rounds, min_time, pause
        As in :func:`measure`. A pause of 0.01 lets the spinning threads of a pool fall asleep before the next function.

    Returns
    -------
    Comparison
    """
    min_time, pause = _check_seconds("min_time", min_time), _check_seconds("pause", pause)
    if not isinstance(functions, Mapping):
        raise TypeError(f"functions must be a dict of names and callables, not {type(functions).__name__}")
    if not functions:
        raise ValueError("functions must hold at least one function")
    for name, function in functions.items():
        if not callable(function):
            raise TypeError(f"functions[{name!r}] must be callable, not {type(function).__name__}")
    rows = _core._compare(list(functions.values()), rounds, min_time, pause)
    measurements = {name: _measurement(name, *row) for name, row in zip(functions, rows)}
    first, *others = measurements.values()
    ratios = {}
    for other in others:
        per_round = [b / a if a else float("inf") for a, b in zip(first.seconds, other.seconds)]
        low, high = _core.bootstrap_median(per_round)
        _, p_value = _core.mann_whitney(other.seconds, first.seconds)
        delta = _core.cliffs_delta(other.seconds, first.seconds)
        ratios[other.name] = Ratio(_core.median(per_round), low, high, per_round, delta, p_value)
    return Comparison(measurements, ratios)


@dataclasses.dataclass(frozen=True)
class StreamRow:
    """One kernel at one size, thread count and kind of store."""

    kernel: str
    """copy, scale, add or triad."""
    stores: str
    """plain or nontemporal."""
    threads: int
    elements: int
    """float64s per array."""
    working_set: int
    """Bytes of the three arrays."""
    gb_per_s: float
    """Best of the repetitions, as STREAM reports; 1e9 bytes, 16 or 24 per element."""
    median_gb_per_s: float

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)


def stream(
    sizes: Iterable[int] = (2_000, 20_000, 500_000, 8_000_000),
    threads: Iterable[int] | None = None,
    *,
    repetitions: int = 7,
    min_time: float = 0.002,
) -> list[StreamRow]:
    """Memory bandwidth by copy, scale, add and triad, with plain and with non-temporal stores; results are verified.

    Parameters
    ----------
    sizes : iterable of int
        float64s per array; there are three arrays.
    threads : iterable of int, optional
        Default: 1 and the usable cores.
    repetitions : int
        Timed repetitions per row, each of as many passes as last `min_time` seconds.

    Returns
    -------
    list of StreamRow

    Raises
    ------
    MemoryError
        Three arrays of that size are more than 80 % of the memory that is available now.

    Notes
    -----
    J. D. McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance Computers", 1995.
    """
    min_time = _check_seconds("min_time", min_time)
    for name, value in (("sizes", sizes), ("threads", threads)):
        if value is not None and not isinstance(value, Iterable):
            raise TypeError(f"{name} must be an iterable of ints, not {type(value).__name__}")
    counts = sorted({1, _core._build_info()["usable_cores"]}) if threads is None else list(threads)
    rows = []
    for size in sizes:
        for count in counts:
            for kernel, stores, used, moved, seconds in _core._stream(size, count, repetitions, min_time):
                best, middle = moved / min(seconds) * 1e-9, moved / _core.median(seconds) * 1e-9
                rows.append(StreamRow(kernel, stores, used, size, 24 * size, best, middle))
    return rows
