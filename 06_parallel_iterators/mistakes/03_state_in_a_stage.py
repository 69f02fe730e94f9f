"""Mistake: a stage that counts its calls to know where it is. Stages are called by several threads, in no order."""

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
        import state_in_a_stage
        for _ in range(100):  # on a busy machine one thread may do it all, and be lucky
            wrong = state_in_a_stage.{0}(1_000_000)
            if wrong:
                break
        print(f"{wrong:,} of 1,000,000 results are wrong" if wrong else "done")
        """,
        expected="are wrong",
    )
