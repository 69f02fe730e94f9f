"""Mistake: a function-local static Python object, first used by two threads at once."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import static_object, threading
    threads = [threading.Thread(target=static_object.{0}, args=(3,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("done")
    """,
    expected="hung",
    limit=5,
    source=HERE.with_suffix(".cpp"),
)
