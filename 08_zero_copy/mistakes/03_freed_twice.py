"""Mistake: a DLPack capsule whose destructor does not look whether somebody has consumed it. The tensor is freed twice."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import freed_twice

    capsule = freed_twice.{0}()
    freed_twice.consume(capsule)  # the consumer frees the tensor when it is done
    del capsule
    print("done" if freed_twice.freed() == 1 else f"freed {freed_twice.freed()} times")
    """,
    expected="freed 2 times",
    source=HERE.with_suffix(".cpp"),
)
