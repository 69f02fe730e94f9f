"""Exercise 2, solved: a stream reads only as far as there is room, and closing it ends everything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from production_pipeline import Pipeline


def first_good(
    candidates: Iterable[Any], score: Callable[[Any], float], wanted: float, workers: int = 4, ahead: int = 16
) -> Any | None:
    """``first_good(itertools.count(), lambda n: n / 10, 0.95)`` is 10."""
    # The chunk that is being handed out counts besides the queue: of 16, each of 4 workers gets 2.
    pipeline = Pipeline(workers, queue_size=max(1, ahead * 3 // 4)).map(lambda candidate: (candidate, score(candidate)))
    with pipeline.stream(candidates) as scored:
        return next((candidate for candidate, points in scored if points >= wanted), None)
