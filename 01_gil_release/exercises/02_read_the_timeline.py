"""Exercise 2. GilObserver.intervals() says who held the GIL, waited for it or ran free of it, and when.

Write `waiting_share`: for each thread, the share of its time that it spent waiting, 0.0 to 1.0.
"""


def waiting_share(intervals: list[tuple[str, str, float, float]]) -> dict[str, float]:
    """`intervals` holds ``(thread, state, begin_s, end_s)``; a thread's time is the sum of all its intervals."""
    shares: dict[str, float] = {}
    return shares
