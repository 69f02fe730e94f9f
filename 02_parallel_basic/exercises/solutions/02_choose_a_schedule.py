"""Exercise 2, solved: static adds up runs, dynamic gives each row to the thread that is free first."""

import heapq


def finish_time(costs: list[float], threads: int, schedule: str) -> float:
    """When the last thread ends, if everything starts at 0."""
    if schedule == "static":
        length, longer = divmod(len(costs), threads)
        ends, begin = [], 0
        for thread in range(threads):
            end = begin + length + (thread < longer)
            ends.append(sum(costs[begin:end]))
            begin = end
        return max(ends)
    free = [0.0] * threads
    for cost in costs:
        heapq.heapreplace(free, free[0] + cost)
    return max(free)
