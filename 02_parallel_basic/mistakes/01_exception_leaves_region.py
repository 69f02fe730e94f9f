"""Mistake: letting a C++ exception leave an OpenMP region."""

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
        import signal, subprocess, sys
        program = "import exception_leaves_region as m\\ntry:\\n    m.{0}()\\nexcept ValueError as error:\\n    print('ValueError:', error)"
        done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if done.returncode:
            print("the whole process was ended by", signal.Signals(-done.returncode).name)
        else:
            print(done.stdout + "done")
        """,
        expected="ended by SIGABRT",
    )
