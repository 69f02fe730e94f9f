"""Mistake: timing a loop whose result nobody uses. The optimiser removes the loop."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

# 20 million additions, each waiting for the one before, take milliseconds on any machine; 100 us would be 200 a nanosecond.
show_mistake(
    """
    import dead_code
    n = 20_000_000
    seconds = min(dead_code.{0}(n) for _ in range(5))
    print("done" if seconds > 1e-4 else f"{n:,} numbers squared and added up in {seconds * 1e9:.0f} ns: there is no loop")
    """,
    expected="there is no loop",
    source=HERE.with_suffix(".cpp"),
)
