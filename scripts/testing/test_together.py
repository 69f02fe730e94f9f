"""What only shows when several lessons meet in one process."""

from __future__ import annotations

import sys

import pytest
from tenfold_testing import run_child

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
