"""Exercise 1. A log with broken lines: how many bytes did each address get, and which lines could not be read?

A line is "ADDRESS STATUS BYTES", for instance "10.0.0.7 200 5120". Write `traffic`: a Pipeline that parses the lines, keeps
those whose status is 200 and adds up the bytes by address. Lines that are not of that form are not skipped in silence: their
numbers are returned, ascending. `lines` may be endless in memory's eyes: do not make a list of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from production_pipeline import Pipeline


def traffic(lines: Iterable[str], workers: int = 2) -> tuple[dict[str, int], list[int]]:
    """``traffic(["a 200 5", "?", "a 200 2", "b 404 9"])`` is ``({"a": 7}, [1])``."""
    result = Pipeline(workers).run(lines)
    return {}, [error.index for error in result.errors]
