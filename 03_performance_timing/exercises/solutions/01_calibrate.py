"""Exercise 1, solved: grow the batch towards the goal, and overshoot a little, so that the last step is not missed.

Two batches of one size are rarely interrupted both.
"""

import math
from collections.abc import Callable


def calibrate(run: Callable[[int], object], min_time: float, clock: Callable[[], float]) -> int:
    """The number of calls n for which ``run(n)`` takes at least `min_time` seconds, by `clock`."""

    def measured(calls: int) -> float:
        begin = clock()
        run(calls)
        return clock() - begin

    calls = 1
    while True:
        seconds = measured(calls)
        if seconds >= min_time:
            seconds = min(seconds, measured(calls))
        if seconds >= min_time:
            return calls
        factor = min(10.0, 1.2 * min_time / seconds) if seconds > 0 else 10.0
        calls = max(calls + 1, math.ceil(calls * factor) if factor < 10.0 else calls * 10)
