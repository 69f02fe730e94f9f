"""Mistake: a pipeline without a sink. It is only a recipe: nothing runs."""

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
        import no_sink
        seen = no_sink.{0}(1000)
        print(f"the pipeline looked at {seen} of 1000 numbers" if seen != 1000 else "done")
        """,
        expected="looked at 0 of",
    )
