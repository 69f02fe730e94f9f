"""What only shows when several lessons meet in one process."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from tenfold_testing import run_child

MODULES = ["gil_release", "parallel_basic", "performance_timing", "thread_pool", "atomic_operations"]
MODULES += ["parallel_iterators", "channels", "zero_copy", "custom_allocator", "production_pipeline"]
SUM = "pb.parallel_sum(np.ones(10**6), num_threads=2) == 1e6"
TIMED = "len(pt.compare_seq_vs_parallel([1.0] * 200_000, 1, num_threads=2)) == 2"


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
@pytest.mark.parametrize("late_import", [False, True], ids=["imported before the fork", "imported in the child"])
@pytest.mark.parametrize(("first", "second"), [(SUM, TIMED), (TIMED, SUM)], ids=["02 then 03", "03 then 02"])
def test_one_lesson_uses_openmp_the_child_calls_another(first, second, late_import):
    pytest.importorskip("parallel_basic")
    pytest.importorskip("performance_timing")
    modules = {"pb": "import parallel_basic as pb", "pt": "import performance_timing as pt"}
    before = [modules[name] for name in modules if not late_import or name in first]
    child = run_child(f"""
        import os, signal, warnings, numpy as np
        {"; ".join(before)}
        warnings.simplefilter("ignore")
        assert {first}
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            {"; ".join(modules.values())}
            os._exit(0 if {second} and {first} else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    assert (child.returncode, child.stdout) == (0, "0\n"), child.stderr


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sub-interpreters with a GIL of their own came with Python 3.12")
def test_interpreters_one_after_another_import_every_lesson():
    """A new one often has the address of the one before, by which pybind11 would take it for that: "already registered"."""
    names = [name for name in MODULES if importlib.util.find_spec(name)]
    assert names
    child = run_child(
        f"""
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        import {", ".join(names)}
        for _ in range(4):
            number = interpreters.create()
            failed = interpreters.run_string(number, "import {", ".join(names)}")
            assert not failed, failed
            interpreters.destroy(number)
        print("four")
        """,
        limit=120,
    )
    assert (child.returncode, child.stdout) == (0, "four\n"), child.stderr
