"""Mistake: all threads add to one variable."""

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
        import race_on_sum
        n = 3_000_000
        for _ in range(10):  # a busy machine may run the threads one after another: then nothing goes wrong
            wrong = [int(sum) for sum in (race_on_sum.{0}(n) for _ in range(20)) if sum != n]
            if wrong:
                break
        print(f"{len(wrong)} of 20 sums of {n} ones are wrong; the least is {min(wrong)}" if wrong else "done")
        """,
        expected="are wrong",
        limit=60,
    )
