"""Exercise 1. One call is shorter than the clock's own step, so it is timed in batches. How many calls make a batch?

Write `calibrate`. It must not trust a short measurement too far, nor one that something interrupted, and the clock may
stand still for a while.
"""

from collections.abc import Callable


def calibrate(run: Callable[[int], object], min_time: float, clock: Callable[[], float]) -> int:
    """The number of calls n for which ``run(n)`` takes at least `min_time` seconds, by `clock`.

    Start with one call. While the batch is too short, grow it: towards the goal, but by no more than a factor of 10 at
    a time, and by one call at least. Of the n that you return, ``run(n)`` has been measured and was long enough.

    A batch that was interrupted looks long enough, and so does a first call that imports something: ask twice. When one
    takes `min_time` or more, run as many calls once more and believe the shorter time.
    """
    return 1
