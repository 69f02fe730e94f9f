"""Exercise 3, solved: sort the indices by cost, run in that order, and put each result where it belongs."""

import thread_pool


def burn_longest_first(pool: thread_pool.ThreadPool, costs: list[int]) -> tuple[list[int], list[int]]:
    """``(results, order)``: results in the order of `costs`, and the indices of `costs` in the order in which they began."""
    indices = sorted(range(len(costs)), key=lambda i: -costs[i])
    sorted_results, timeline = pool.burn([costs[i] for i in indices])
    results = [0] * len(costs)
    for index, result in zip(indices, sorted_results):
        results[index] = result
    return results, [indices[task] for worker, task, begin, end in timeline]
