"""Mistake: a stage that counts its calls to number the items. Workers call it in no order; the numbers belong to nobody."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import itertools, threading, time
    from production_pipeline import Pipeline

    items = [f"item {i}" for i in range(200)]

    def wrong():
        numbers = itertools.count()

        def number(item):
            time.sleep(0.001 if item.endswith("0") else 0)  # some take longer
            return next(numbers), item

        return Pipeline(4).map(number).run(items).items

    def right():
        def passed(pair):
            time.sleep(0.001 if pair[1].endswith("0") else 0)
            return pair

        return Pipeline(4).map(passed).run(enumerate(items)).items  # numbered by the source, which one thread reads

    off = sum(item != f"item {i}" for i, item in {0}())
    print(f"{'some' if off else 'none'} of 200 items have another one's number")
    if not off:
        print("done")
    """,
    expected="some of 200 items have another one's number",
)
