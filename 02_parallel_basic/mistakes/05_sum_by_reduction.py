"""Mistake: a sum whose last digits depend on the number of threads."""

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
        import sum_by_reduction
        sums = [sum_by_reduction.{0}(threads) for threads in (1, 2, 3, 4, 7)]
        print("different sums from one to seven threads:", min(sums), "to", max(sums)) if len(set(sums)) > 1 else print("done")
        """,
        expected="different sums",
    )
