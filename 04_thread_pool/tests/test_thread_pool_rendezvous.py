"""Do two calls of a Python function run at the same time? Proven without a clock: two calls that wait for each other."""

from __future__ import annotations

import mmap
import sys

import pytest
from tenfold_testing import run_child

MEET = """
    import mmap, sys, time
    sys.setswitchinterval(1000)  # no thread has to give the GIL up to another
    from thread_pool import Executor

    def meet(who, path, limit):
        with open(path, "r+b") as file:
            place = mmap.mmap(file.fileno(), 2)
        place[who] = 1
        end = time.perf_counter() + limit
        while time.perf_counter() < end:  # never gives the GIL up by itself
            if place[1 - who]:
                return True
        return False

    with Executor(2, backend={backend!r}) as pool:
        list(pool.map(abs, range(8), chunksize=1))  # both workers are up
        print(list(pool.starmap(meet, [(0, {path!r}, {limit}), (1, {path!r}, {limit})], chunksize=1)))
"""


def met(backend: str, limit: float, tmp_path) -> list[bool]:
    path = tmp_path / "place"
    path.write_bytes(bytes(mmap.PAGESIZE))
    child = run_child(MEET.format(backend=backend, path=str(path), limit=limit), limit=120)
    assert child.returncode == 0, child.stderr
    return eval(child.stdout)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sub-interpreters with a GIL of their own came with Python 3.12")
def test_two_calls_meet_on_interpreters(tmp_path):
    assert met("interpreters", 60, tmp_path) == [True, True]


def test_two_calls_meet_on_processes(tmp_path):
    assert met("processes", 60, tmp_path) == [True, True]


def test_two_calls_meet_on_threads_only_without_a_gil(tmp_path):
    """The control: whichever call comes first waits in vain for the other, which cannot begin."""
    free = not getattr(sys, "_is_gil_enabled", lambda: True)()
    assert sorted(met("threads", 60 if free else 1, tmp_path)) == ([True, True] if free else [False, True])
