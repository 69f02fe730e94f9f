"""Exercise 2 is done when this passes: pytest 04_thread_pool/exercises/test_02_first_result.py"""

import runpy

import pytest
import thread_pool
from tenfold_testing import exercise_file


class Watched:
    """A pool that remembers its futures."""

    def __init__(self, pool):
        self.pool, self.futures = pool, []

    def submit_fib(self, n):
        self.futures.append(self.pool.submit_fib(n))
        return self.futures[-1]


@pytest.fixture
def first_result():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["first_result"]


@pytest.mark.parametrize("ns, expected", [([20], 6765), ([92, 20], 6765), ([10, 92, 92, 92], 55), ([92, 92, 5, 92, 92], 5)])
def test_first_result(first_result, ns, expected):
    with thread_pool.ThreadPool(len(ns)) as pool:
        watched = Watched(pool)
        try:
            assert first_result(watched, ns) == expected
            assert len(watched.futures) == len(ns)
            assert all(future.done() for future in watched.futures), "a job runs on"
            assert sum(not future.cancelled() for future in watched.futures) == 1
            assert pool.submit_fib(10).result(60) == 55, "the workers are not free again"
        finally:
            for future in watched.futures:
                future.cancel()
