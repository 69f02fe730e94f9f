"""Mistake: waiting for a native thread that needs the GIL, while holding the GIL."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    "import join_while_holding; join_while_holding.{0}(lambda: None); print('done')",
    expected="hung",
    limit=5,
    source=HERE.with_suffix(".cpp"),
)
