"""Exercise 3 is done when this passes: pytest 08_zero_copy/exercises/test_03_sum_a_file.py"""

import runpy
import tracemalloc

import numpy as np
import pytest
import zero_copy as zc
from tenfold_testing import exercise_file, run_child


@pytest.fixture
def sum_file():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["sum_file"]


def test_it_is_the_sum(sum_file, tmp_path):
    values = np.random.default_rng(1).normal(size=10_007)
    (tmp_path / "numbers").write_bytes(values.tobytes())
    assert sum_file(tmp_path / "numbers") == zc.sum_nocopy(values)


def test_nothing_is_read_into_memory(sum_file, tmp_path):
    (tmp_path / "numbers").write_bytes(np.ones(2_000_000).tobytes())
    sum_file(tmp_path / "numbers")
    tracemalloc.start()
    total = sum_file(tmp_path / "numbers")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 2_000_000.0
    assert peak < 100_000, f"{peak} bytes were allocated: map the file, do not read it"


def test_the_file_is_let_go(sum_file, tmp_path):
    """Five hundred files, and a process that may only have sixty open."""
    pytest.importorskip("resource", reason="no limits on open files here")
    (tmp_path / "numbers").write_bytes(np.ones(10).tobytes())
    source = exercise_file(__file__, ".py")
    child = run_child(f"""
        import resource, runpy
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
        sum_file = runpy.run_path({str(source)!r})["sum_file"]
        keep = []
        for _ in range(500):
            try:
                keep.append(sum_file({str(tmp_path / "numbers")!r}))
            except ValueError as error:
                keep.append(error)
        print(sum(keep))
    """)
    assert child.stdout == "5000.0\n", child.stderr


def test_odd_lengths(sum_file, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert sum_file(tmp_path / "empty") == 0.0
    (tmp_path / "odd").write_bytes(bytes(17))
    with pytest.raises(ValueError):
        sum_file(tmp_path / "odd")
