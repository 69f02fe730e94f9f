"""Mistake: fork() after the first OpenMP region, as multiprocessing does on Linux up to Python 3.13."""

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
        import os, signal, sys, warnings
        from fork_after_openmp import {0} as region
        warnings.simplefilter("ignore")  # Python 3.12 and later warn of fork() with threads, for good reason
        region()
        child = os.fork()
        if child == 0:
            signal.alarm(4)  # ends it, if it hangs
            try:
                region()
            except RuntimeError as error:
                print(str(error).split(":")[0], flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("the child hung in its first region, ended after 4 s" if os.WIFSIGNALED(status) else "done")
        """,
        expected="hung in its first region",
    )
