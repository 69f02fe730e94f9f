"""Mistake: retrying a stage that has already done half of its work. Each retry does the first half once more."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    from production_pipeline import Pipeline

    accounts, confirmed, busy = {"a": 0}, set(), [0]

    def confirm(number):
        busy[0] += 1
        if busy[0] % 3 == 0:
            raise ConnectionError("try again")
        confirmed.add(number)

    def wrong():
        def pay(number):
            accounts["a"] += 1
            confirm(number)  # fails now and then: the retry pays again

        return Pipeline(1, retries=5, backoff=0).map(pay)

    def right():
        paid = set()

        def pay(number):
            if number not in paid:  # the payment knows its number: a second call changes nothing
                accounts["a"] += 1
                paid.add(number)
            return number

        return Pipeline(1, retries=5, backoff=0).map(pay).map(confirm)

    {0}().run(range(100))
    print(f"{len(confirmed)} payments, {accounts['a']} paid")
    if accounts["a"] == 100:
        print("done")
    """,
    expected="100 payments, 149 paid",
)
