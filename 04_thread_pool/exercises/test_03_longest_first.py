"""Exercise 3 is done when this passes: pytest 04_thread_pool/exercises/test_03_longest_first.py"""

import runpy

import pytest
import thread_pool
from tenfold_testing import exercise_file

COSTS = [3, 1, 40, 1, 5, 90, 2, 65, 35, 8]


@pytest.fixture
def burn_longest_first():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["burn_longest_first"]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_in_the_order_of_the_costs(burn_longest_first, threads):
    with thread_pool.ThreadPool(threads) as pool:
        for costs in ([], [7], COSTS, COSTS[::-1]):
            results, order = burn_longest_first(pool, costs)
            assert results == pool.burn(costs)[0]
            assert sorted(order) == list(range(len(costs)))


def test_the_longest_begins_first(burn_longest_first):
    with thread_pool.ThreadPool(1) as pool:
        _, order = burn_longest_first(pool, COSTS)
    begun = [COSTS[index] for index in order]
    assert begun == sorted(COSTS, reverse=True)
