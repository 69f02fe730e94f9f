"""Mistake: equal numbers of tasks taken for equal work. Shares that are dealt out beforehand cannot be corrected."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    from thread_pool import ThreadPool
    costs = [4000] * 50 + [10] * 50  # the long tasks are neighbours, as they often are
    sharing = {"wrong": "fixed", "right": "stealing"}["{0}"]
    with ThreadPool(2) as pool:
        work = [0, 0]
        for worker, task, begin, end in pool.burn(costs, sharing=sharing)[1]:
            work[worker] += costs[task]
    share = 100 * max(work) / sum(work)
    if share > 80:
        print(f"one of two workers did {share:.0f} % of the work")
    else:
        print("done")
    """,
    expected="one of two workers did 100 % of the work",
)
