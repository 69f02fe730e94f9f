"""Exercise 2 is done when this passes (from the repository root):

.venv/bin/python -m pytest 06_parallel_iterators/exercises/test_02_scan_in_parallel.py
"""

import random
import runpy
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

import pytest
from tenfold_testing import exercise_file


class Watched(list):
    """A list that notes which of its items were read since `places` was emptied."""

    def __init__(self, *args):
        super().__init__(*args)
        self.places = set()

    def __getitem__(self, key):
        touched = range(len(self))[key]
        self.places.update(touched if isinstance(key, slice) else [touched])
        return super().__getitem__(key)

    def __iter__(self):
        self.places.update(range(len(self)))
        return super().__iter__()


@pytest.fixture
def scan():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["scan"]


@pytest.mark.parametrize("n, block", [(0, 4), (1, 4), (4, 4), (5, 4), (100, 7), (1000, 1), (1000, 2000)])
def test_in_any_order(scan, n, block):
    numbers = [float(x) for x in random.Random(n).choices(range(-100, 100), k=n)]

    def run(tasks):
        results = [None] * len(tasks)
        for i in random.sample(range(len(tasks)), len(tasks)):
            results[i] = tasks[i]()
        return results

    assert scan(numbers, block, run) == list(accumulate(numbers))


def test_in_threads(scan):
    numbers = [float(i % 17) for i in range(20_000)]
    with ThreadPoolExecutor(4) as pool:
        found = scan(numbers, 1000, lambda tasks: list(pool.map(lambda task: task(), tasks)))
    wanted = list(accumulate(numbers))
    assert len(found) == len(wanted)
    # Not found == wanted: where pytest prints whole differences (-v, CI), this one would take it minutes.
    assert [(i, a, b) for i, (a, b) in enumerate(zip(found, wanted)) if a != b][:3] == []


def test_two_rounds_and_one_block_per_task(scan):
    numbers, rounds = Watched(float(i) for i in range(1000)), []

    def run(tasks):
        rounds.append(len(tasks))
        results = []
        for task in tasks:
            numbers.places.clear()
            results.append(task())
            assert len({place // 100 for place in numbers.places}) <= 1, "a task has read more than one block"
        return results

    assert scan(numbers, 100, run) == list(accumulate(range(1000)))
    assert rounds == [10, 10]
