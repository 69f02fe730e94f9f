"""Mistake: a task waits for another task of the same pool. With all workers waiting, nobody is left to run what they wait for."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    from concurrent.futures import ThreadPoolExecutor
    from thread_pool import ThreadPool

    def wrong():
        pool = ThreadPoolExecutor(2)

        def fib(n):
            if n < 2:
                return n
            a, b = pool.submit(fib, n - 1), pool.submit(fib, n - 2)
            return a.result() + b.result()  # sleeps, and so does the worker it runs on

        return pool.submit(fib, 10).result()

    def right():
        with ThreadPool(2) as pool:
            return pool.fib(10)  # whoever waits for a task runs others meanwhile

    assert {0}() == 55
    print("done")
    """,
    expected="hung",
    limit=5,
)
