"""What to do with the timeline of ``ThreadPool.burn``."""

from __future__ import annotations

from collections.abc import Iterable

Interval = tuple[int, int, float, float]


def busy_seconds(timeline: Iterable[Interval]) -> dict[int, float]:
    """Seconds that each worker worked.

    Parameters
    ----------
    timeline : iterable of (int, int, float, float)
        ``(worker, task, begin, end)``, in seconds.

    Returns
    -------
    dict of int to float
        By worker; one that ran no task is not in it.
    """
    busy: dict[int, float] = {}
    for worker, _, begin, end in sorted(timeline):
        busy[worker] = busy.get(worker, 0.0) + (end - begin)
    return busy


def chrome_trace(timeline: Iterable[Interval]) -> str:
    """The timeline as JSON for chrome://tracing and ui.perfetto.dev: a lane per worker.

    Parameters
    ----------
    timeline : iterable of (int, int, float, float)
        ``(worker, task, begin, end)``, in seconds.

    Returns
    -------
    str
        A JSON object in Chrome's trace event format, times in microseconds.
    """
    import json  # it takes longer to import than the module

    events = [
        {"name": f"task {task}", "ph": "X", "pid": 0, "tid": worker, "ts": begin * 1e6, "dur": (end - begin) * 1e6}
        for worker, task, begin, end in timeline
    ]
    return json.dumps({"traceEvents": events})
