"""Mistake: touching Python objects after the GIL was released."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    "import python_without_gil; assert python_without_gil.{0}([1.0, 2.0]) == 3.0; print('done')",
    expected="PyGILState_Check() failure",
    source=HERE.with_suffix(".cpp"),
)
