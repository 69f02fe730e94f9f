"""Exercise 2, solved: add up what each thread did, then divide."""

from collections import defaultdict


def waiting_share(intervals: list[tuple[str, str, float, float]]) -> dict[str, float]:
    """`intervals` holds ``(thread, state, begin_s, end_s)``; a thread's time is the sum of all its intervals."""
    total: dict[str, float] = defaultdict(float)
    waiting: dict[str, float] = defaultdict(float)
    for thread, state, begin, end in intervals:
        total[thread] += end - begin
        if state == "waiting":
            waiting[thread] += end - begin
    return {thread: waiting[thread] / total[thread] if total[thread] else 0.0 for thread in total}
