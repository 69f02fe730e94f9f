"""Mistake: a pipeline that outlives the numbers it reads. It refers to a named range, it does not copy it."""

import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import compile_module, show_mistake  # noqa: E402

with tempfile.TemporaryDirectory() as folder:
    print("compiling ...", flush=True)
    compile_module(HERE.with_suffix(".cpp"), folder, "-fopenmp")
    sys.path.insert(0, folder)
    show_mistake(
        """
        import dangling_range
        sum = dangling_range.{0}(1000)
        print(f"the sum of 1000 ones is {sum:g}" if sum != 1000 else "done")
        """,
        expected="the sum of 1000 ones is",
    )
