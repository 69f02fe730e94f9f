"""Mistake: holding one block of a pool while waiting for another. With as many threads as blocks, all wait for all."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    "import one_more_block; one_more_block.{0}(); print('done')",
    expected="hung",
    limit=5,
    source=HERE.with_suffix(".cpp"),
)
