"""Exercise 1 is done when this passes (from the repository root):

.venv/bin/python -m pytest 06_parallel_iterators/exercises/test_01_one_pass.py
"""

import math
import os
import random

import pytest
from tenfold_testing import compile_module, exercise_file, run_child


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exercise")
    compile_module(exercise_file(__file__, ".cpp"), folder, "-fopenmp", "-ffp-contract=off")
    return folder


@pytest.fixture
def power(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    import one_pass

    return one_pass.power


@pytest.mark.parametrize("n", [0, 1, 2, 1000, 50_000])
def test_same_answer(power, n):
    rng = random.Random(n)
    x = [rng.uniform(-10, 10) for _ in range(n)]
    expected = math.fsum((v - 2.5) ** 2 for v in x if v > 2.5)
    for threads in (1, 2, 4, 7):
        assert math.isclose(power(x, 2.5, threads)[0], expected, rel_tol=1e-12)


def test_no_arrays_on_the_way(power):
    x = [float(i % 100) for i in range(200_000)]
    for threads in (1, 2):
        bytes_asked = power(x, 50.0, threads)[1]
        assert bytes_asked < 8 * len(x) / 4, f"{bytes_asked:,} bytes for {len(x):,} numbers"


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_it_is_parallel(folder):
    child = run_child(f"""
        import os, sys; sys.path.insert(0, {str(folder)!r})
        import one_pass
        one_pass.power([1.0] * 1_000_000, 0.5, 3)
        print(len(os.listdir("/proc/self/task")))
    """)
    assert child.stdout == "3\n", child.stderr
