"""Exercise 1, solved: errors are collected, not caught; reduce sees the lines in order, one at a time."""

from __future__ import annotations

from collections.abc import Iterable

from production_pipeline import Pipeline


def parse(line: str) -> tuple[str, int, int]:
    address, status, size = line.split()
    return address, int(status), int(size)


def add(totals: dict[str, int], record: tuple[str, int, int]) -> dict[str, int]:
    address, _, size = record
    totals[address] = totals.get(address, 0) + size
    return totals


def traffic(lines: Iterable[str], workers: int = 2) -> tuple[dict[str, int], list[int]]:
    """``traffic(["a 200 5", "?", "a 200 2", "b 404 9"])`` is ``({"a": 7}, [1])``."""
    pipeline = Pipeline(workers, on_error="collect").map(parse).filter(lambda record: record[1] == 200).reduce(add, {})
    result = pipeline.run(lines)
    return result.items[0], [error.index for error in result.errors]
