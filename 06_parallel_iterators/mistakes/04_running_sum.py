"""Mistake: a moving average by adding the number that comes and subtracting the one that goes. One NaN spoils all that follows,
and so does the rounding of one large number."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import math
    import parallel_iterators

    def wrong(numbers, window):
        total = sum(numbers[:window])
        means = [total / window]
        for i in range(window, len(numbers)):
            total += numbers[i] - numbers[i - window]
            means.append(total / window)
        return means

    right = parallel_iterators.parallel_moving_average
    large, missing = [0.1] * 1000, [0.1] * 1000
    large[10], missing[10] = 1e17, math.nan
    drifted = sum(abs(mean - 0.1) > 1e-9 for mean in {0}(large, 5)[11:])  # windows that do not hold it
    poisoned = sum(map(math.isnan, {0}(missing, 5)[11:]))
    if drifted or poisoned:
        print(f"after 1e17, {drifted} of 985 means are wrong; after a NaN, {poisoned} are NaN")
    else:
        print("done")
    """,
    expected="985 are NaN",
)
