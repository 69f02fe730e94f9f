"""Mistake: the mean of the rounds. One that was disturbed decides the verdict."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import statistics, time
    from performance_timing import median, outliers

    numbers, calls = list(range(50_000)), 0

    def function():
        global calls
        calls += 1
        if calls == 7:
            time.sleep(0.5)  # stands for another program that got this core
        return sum(numbers)

    rounds = []
    for _ in range(21):
        begin = time.perf_counter()
        function()
        rounds.append(time.perf_counter() - begin)
    middle = {"wrong": statistics.mean, "right": median}["{0}"](rounds)
    longer = sum(seconds > middle for seconds in rounds)
    if longer <= 5:
        print(f"{middle * 1e3:.1f} ms, says the mean: {21 - longer} of 21 rounds took less")
    else:
        assert 6 in outliers(rounds)
        print("done")
    """,
    expected="says the mean",
)
