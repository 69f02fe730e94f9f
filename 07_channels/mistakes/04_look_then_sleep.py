"""Mistake: looking for a message first and saying "I sleep" afterwards. A message in between wakes nobody."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    "import look_then_sleep; assert look_then_sleep.{0}() == 42; print('done')",
    expected="hung",
    limit=5,
    source=HERE.with_suffix(".cpp"),
)
