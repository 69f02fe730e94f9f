"""Mistake: giving an object back twice to a pool that does not look. Two owners then share one piece of memory."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    "import returned_twice; print(returned_twice.{0}())",
    expected="the balance is 1.5",
    source=HERE.with_suffix(".cpp"),
)
