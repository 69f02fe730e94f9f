"""Mistake: waiting for a plain bool that another thread sets."""

import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import compile_module, show_mistake  # noqa: E402

with tempfile.TemporaryDirectory() as folder:
    print("compiling ...", flush=True)
    compile_module(HERE.with_suffix(".cpp"), folder, "-O2")
    sys.path.insert(0, folder)
    show_mistake("import plain_flag; assert plain_flag.{0}() == 42; print('done')", expected="hung", limit=5)
