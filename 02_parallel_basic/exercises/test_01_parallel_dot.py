"""Exercise 1 is done when this passes: pytest 02_parallel_basic/exercises/test_01_parallel_dot.py"""

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
def dot(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    import parallel_dot

    return parallel_dot.dot


def by_chunks(a: list[float], b: list[float]) -> float:
    total = 0.0
    for begin in range(0, len(a), 4096):
        part = 0.0
        for i in range(begin, min(begin + 4096, len(a))):
            part += a[i] * b[i]
        total += part
    return total


@pytest.mark.parametrize("n", [0, 1, 4095, 4096, 4097, 50_000])
def test_same_digits_at_every_thread_count(dot, n):
    rng = random.Random(n)
    a = [rng.uniform(-1, 1) * 10.0 ** rng.randrange(-8, 8) for _ in range(n)]
    b = [rng.uniform(-1, 1) for _ in range(n)]
    assert {dot(a, b, threads) for threads in (1, 2, 3, 4, 7)} == {by_chunks(a, b)}


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_it_is_parallel(folder):
    child = run_child(f"""
        import os, sys; sys.path.insert(0, {str(folder)!r})
        import parallel_dot
        parallel_dot.dot([1.0] * 100_000, [1.0] * 100_000, 3)
        print(len(os.listdir("/proc/self/task")))
    """)
    assert child.stdout == "3\n", child.stderr
