"""Mistake: several C++ threads add to a number that is not atomic; volatile does not help."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import plain_counter
    counted = min(plain_counter.{0}(4, 1_000_000) for _ in range(20))
    print("done" if counted == 4_000_000 else f"{counted} of 4000000 increments are left")
    """,
    expected="increments are left",
    source=HERE.with_suffix(".cpp"),
)
