"""Exercise 2, solved: what slows a round down cancels in its ratio."""

from performance_timing import bootstrap_median


def verdict(first: list[float], second: list[float]) -> str:
    """``"first"`` or ``"second"``, whichever is faster, or ``"cannot tell"``."""
    low, high = bootstrap_median([b / a for a, b in zip(first, second)])
    if low > 1:
        return "first"
    return "second" if high < 1 else "cannot tell"
