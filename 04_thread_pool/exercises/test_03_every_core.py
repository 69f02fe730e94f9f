"""Exercise 3 is done when this passes: pytest 04_thread_pool/exercises/test_03_every_core.py"""

import runpy

import pytest
import thread_pool
from tenfold_testing import exercise_file


class Watched(thread_pool.Executor):
    """An executor that remembers what its calls were given."""

    def __init__(self):
        super().__init__(2)
        self.calls = []

    def submit(self, fn, /, *args, **kwargs):
        self.calls.append(args)
        return super().submit(fn, *args, **kwargs)

    def map(self, fn, /, *iterables, **more):
        calls = list(zip(*iterables))
        self.calls += calls
        return super().starmap(fn, calls, **more)

    def starmap(self, fn, /, iterable, **more):
        calls = [tuple(each) for each in iterable]
        self.calls += calls
        return super().starmap(fn, calls, **more)

    def imap(self, fn, /, iterable, **more):
        items = list(iterable)
        self.calls += [(item,) for item in items]
        return super().imap(fn, items, **more)

    imap_unordered = imap


@pytest.fixture
def longest_chain():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["longest_chain"]


@pytest.mark.parametrize("limit, expected", [(2, 1), (10, 9), (1000, 871), (20_000, 17_647)])
def test_longest_chain(longest_chain, limit, expected):
    with Watched() as pool:
        assert longest_chain(limit, pool) == expected
    if limit > 100:
        assert len(pool.calls) >= 2, "one call keeps one core busy"
    for call in pool.calls:
        for argument in call:
            assert not isinstance(argument, (list, tuple)) or len(argument) <= 4, "numbers that two bounds would say"
