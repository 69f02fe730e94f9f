"""Mistake: a stage that catches its own errors and returns None. Nobody learns what is missing, and the next stage trips over it."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    from production_pipeline import Pipeline

    readings = [str(i) for i in range(1000)]
    readings[300] = "n/a"

    def wrong():
        def parse(text):
            try:
                return float(text)
            except ValueError:
                return None

        return Pipeline(2).map(parse).reduce(lambda total, x: total + (x or 0.0), 0.0).run(readings)

    def right():
        return Pipeline(2, on_error="collect").map(float).reduce(lambda total, x: total + x, 0.0).run(readings)

    result = {0}()
    print(f"{result.stats.items_read} readings, {result.stats.items_failed} failed: {[e.index for e in result.errors]}")
    if result.errors:
        print("done")
    """,
    expected="1000 readings, 0 failed: []",
)
