"""Mistake: keeping what lies in an arena beyond its reset. The next batch is written over it."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    "import outlives_the_reset; print(outlives_the_reset.{0}())",
    expected="the longest word is 'amall",
    source=HERE.with_suffix(".cpp"),
)
