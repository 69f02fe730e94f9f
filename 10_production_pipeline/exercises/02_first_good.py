"""Exercise 2. The first answer that is good enough: write `first_good`.

`candidates` may never end, and `score` is slow. Return the first candidate, in the order of the source, whose score is at least
`wanted`, or None if the source ends without one. Several workers score ahead, but no more than `ahead` candidates are read
beyond the one that is returned; and when you return, no thread works on and a generator that was given has been closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from production_pipeline import Pipeline


def first_good(
    candidates: Iterable[Any], score: Callable[[Any], float], wanted: float, workers: int = 4, ahead: int = 16
) -> Any | None:
    """``first_good(itertools.count(), lambda n: n / 10, 0.95)`` is 10."""
    scored = Pipeline(workers).map(lambda candidate: (candidate, score(candidate))).run(candidates).items
    return next((candidate for candidate, points in scored if points >= wanted), None)
