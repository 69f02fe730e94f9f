"""Exercise 3, solved."""

from __future__ import annotations

import thread_pool


def chain_length(n: int) -> int:
    steps = 1
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


def longest_between(begin: int, end: int) -> tuple[int, int]:
    """(steps, start) of the longest chain in [begin, end)."""
    start = max(range(begin, end), key=chain_length)
    return chain_length(start), start


def longest_chain(limit: int, pool: thread_pool.Executor) -> int:
    """The start in [1, limit) whose chain is longest."""
    size = max(1, limit // 16)
    begins = range(1, limit, size)
    found = pool.map(longest_between, begins, [min(begin + size, limit) for begin in begins])
    return max(found, key=lambda each: (each[0], -each[1]))[1]
