"""Exercise 3. A search in plain Python that one core does alone.

`chain_length(n)` counts the steps of the Collatz sequence from n down to 1; `longest_chain` finds the start below `limit` with the
most steps, the smallest such start if there are several. Make it use all workers of `pool`, a `thread_pool.Executor`: cut the
range into parts, search each in a call of its own, and combine what comes back. Do not send lists of numbers: two bounds say it.
"""

from __future__ import annotations

import thread_pool


def chain_length(n: int) -> int:
    steps = 1
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


def longest_chain(limit: int, pool: thread_pool.Executor) -> int:
    """The start in [1, limit) whose chain is longest."""
    return max(range(1, limit), key=chain_length)
