"""Exercise 2. Two functions were measured in the same rounds; each round gave a time for either. Which is faster?

Write `verdict`. The machine slows down and speeds up between rounds, and hits both functions when it does.
"""


def verdict(first: list[float], second: list[float]) -> str:
    """``"first"`` or ``"second"``, whichever is faster, or ``"cannot tell"``.

    Take the ratio in each round, then the 95 % bootstrap interval of the median ratio
    (`performance_timing.bootstrap_median` returns ``(low, high)``). Only an interval on one side of 1 is a verdict.
    """
    return "first" if sum(first) < sum(second) else "second"
