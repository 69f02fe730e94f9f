"""What releasing the GIL costs on this machine, and from which size of work it pays."""

from __future__ import annotations

import statistics
import threading
import time

from ._core import _round_trips, compute_primes_blocking, compute_primes_releasing


def measure_gil_cost(seconds: float = 0.2, *, contended: bool = False, released_for: float = 0.0) -> dict[str, float]:
    """Nanoseconds that one release and reacquire of the GIL takes.

    Parameters
    ----------
    seconds : float
        How long to measure at the most, more than 0 and at most 60; it ends earlier after 200,000 samples.
    contended : bool
        Let another Python thread run a loop meanwhile: then the way back may be a wait for that thread, up to
        :func:`sys.getswitchinterval` seconds and more.
    released_for : float
        Seconds of work done while the GIL is released, at most 1; they are not counted. After a millisecond or so a
        waiting thread has woken up and holds the GIL, so the way back is dearer.

    Returns
    -------
    dict
        ``p50``, ``p90``, ``p99``, ``min``, ``max`` and ``mean`` in nanoseconds, and ``samples``.

    Raises
    ------
    TypeError, ValueError
        An argument is no number, or out of range.
    """
    _check_number("seconds", seconds, above=0, most=60)
    if released_for != 0:
        _check_number("released_for", released_for, above=0, most=1)
    done = False

    def spin() -> None:
        while not done:
            pass

    rival = threading.Thread(target=spin, daemon=True) if contended else None
    if rival:
        rival.start()
    try:
        samples = sorted(_round_trips(seconds, released_for))
    finally:
        done = True
        if rival:
            rival.join()

    def percentile(p: float) -> float:
        return samples[min(len(samples) - 1, int(p * len(samples)))]

    return {
        "p50": percentile(0.50),
        "p90": percentile(0.90),
        "p99": percentile(0.99),
        "min": samples[0],
        "max": samples[-1],
        "mean": statistics.fmean(samples),
        "samples": len(samples),
    }


def find_break_even(thread_count: int = 2, *, seconds: float = 2.0) -> dict:
    """From which size of work releasing the GIL pays.

    For pieces of work that double in size, `thread_count` Python threads run the same number of pieces, once with
    the GIL held and once with it released, in turn, five rounds, median.

    Parameters
    ----------
    thread_count : int
        Python threads, 2 to 64.
    seconds : float
        About how long the whole measurement takes, more than 0.

    Returns
    -------
    dict
        ``rows``: list of ``(n, work_ns, blocking_s, releasing_s)`` by rising work, and ``pays_from_ns``: the
        smallest work from which every larger one was at least 10 % faster when released, or None.

    Raises
    ------
    TypeError, ValueError
        `thread_count` is no int or `seconds` no number, or out of range.
    """
    if not hasattr(thread_count, "__index__"):
        raise TypeError(f"thread_count must be an int, not {type(thread_count).__name__}")
    if not 2 <= thread_count <= 64:
        raise ValueError(f"thread_count must be 2 to 64, not {thread_count!r}")
    _check_number("seconds", seconds, above=0, most=600)
    sizes = [10, 30, 100, 300, 1000, 3000, 10_000, 30_000]
    rounds = 5
    budget = seconds / (len(sizes) * rounds * 2)
    rows = []
    for n in sizes:
        work = _seconds_per_call(n)
        calls = max(1, int(budget / work / thread_count))
        times: dict[str, list[float]] = {"blocking": [], "releasing": []}
        for _ in range(rounds):
            times["blocking"].append(_team_seconds(compute_primes_blocking, n, calls, thread_count))
            times["releasing"].append(_team_seconds(compute_primes_releasing, n, calls, thread_count))
        rows.append((n, work * 1e9, statistics.median(times["blocking"]), statistics.median(times["releasing"])))
    pays_from = None
    for _, work_ns, blocking, releasing in reversed(rows):
        if releasing * 1.1 > blocking:
            break
        pays_from = work_ns
    return {"rows": rows, "pays_from_ns": pays_from}


def _seconds_per_call(n: int) -> float:
    calls = 1
    while True:
        begin = time.perf_counter()
        for _ in range(calls):
            compute_primes_blocking(n)
        spent = time.perf_counter() - begin
        if spent > 0.002:
            return spent / calls
        calls *= 4


def _team_seconds(function, n: int, calls: int, thread_count: int) -> float:
    """From the first member's start to the last one's end: members that hold the GIL would delay a clock of ours."""
    start = threading.Barrier(thread_count)
    begins, ends = [], []

    def member() -> None:
        start.wait()
        begins.append(time.perf_counter())
        for _ in range(calls):
            function(n)
        ends.append(time.perf_counter())

    threads = [threading.Thread(target=member) for _ in range(thread_count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(ends) - min(begins)


def _check_number(name: str, value: float, *, above: float, most: float) -> None:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not above < value <= most:
        raise ValueError(f"{name} must be more than {above} and at most {most}, not {value!r}")
