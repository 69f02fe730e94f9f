"""Mistake: a function that counts in a global. A worker has modules and globals of its own: what it changes stays there."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    from thread_pool import Executor
    found = 0

    def count(text):
        global found
        found += text.count("a")

    texts = ["banana", "a", "cherry"]
    with Executor(2, backend="processes") as pool:
        if "{0}" == "wrong":
            list(pool.map(count, texts))
        else:
            found = sum(pool.map(lambda text: text.count("a"), texts))  # what a call returns comes back
    print("done" if found == 4 else f"counted {found} of 4")
    """,
    expected="counted 0 of 4",
)
