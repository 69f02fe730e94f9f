"""Exercise 3. Stealing cannot cut a task in two: when the longest task is begun last, one worker ends alone.

Write `burn_longest_first`: run all tasks in one call of ``pool.burn``, the longest first, and return the results in the order
of `costs` nevertheless. ``pool.burn(costs)`` returns ``(results, timeline)``, results in the order of what it was given, and the
timeline's rows are ``(worker, task, begin, end)``, task being the index in what it was given.
"""

import thread_pool


def burn_longest_first(pool: thread_pool.ThreadPool, costs: list[int]) -> tuple[list[int], list[int]]:
    """``(results, order)``: results in the order of `costs`, and the indices of `costs` in the order in which they began."""
    results, timeline = pool.burn(costs)
    return results, [task for worker, task, begin, end in timeline]
