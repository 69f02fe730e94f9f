"""Exercise 1. A pipeline: each function of `stages` runs in a thread of its own, with a channel in between.

Write `run_in_stages`. `source` is any iterable. The results come back in order. No channel ever holds more than
`capacity` objects. When the source is exhausted everything ends: no thread is left waiting.
"""

from collections.abc import Callable, Iterable
from typing import Any


def run_in_stages(source: Iterable[Any], stages: list[Callable[[Any], Any]], capacity: int) -> list[Any]:
    """``run_in_stages(range(3), [f, g], 8)`` is ``[g(f(0)), g(f(1)), g(f(2))]``, f and g in two threads."""
    results: list[Any] = []
    return results
