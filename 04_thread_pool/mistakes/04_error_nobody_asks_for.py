"""Mistake: submit a task and never ask its future. An error in it stays there, and the program believes that all went well."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    from concurrent.futures import ThreadPoolExecutor
    roots = {}

    def root(x):
        roots[x] = x ** -0.5  # not for 0

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(root, x) for x in range(4)]  # nothing is raised here, nor at the end of the block

    def wrong():
        print(f"no error was seen, but there are {len(roots)} results of {len(futures)}")

    def right():
        try:
            for future in futures:
                future.result()  # raises what the task raised
        except ZeroDivisionError:
            print("done")

    {0}()
    """,
    expected="no error was seen, but there are 3 results of 4",
)
