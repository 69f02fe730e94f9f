"""Exercise 2 is done when this passes: pytest 02_parallel_basic/exercises/test_02_choose_a_schedule.py"""

import runpy

import parallel_basic
import pytest
from tenfold_testing import exercise_file


@pytest.fixture
def finish_time():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["finish_time"]


@pytest.mark.parametrize(
    "costs, threads, static, dynamic",
    [
        ([1, 1, 1, 1], 2, 2, 2),
        ([5, 1, 1, 1], 2, 6, 5),
        ([1, 1, 1, 5], 2, 6, 6),
        ([1, 2, 3, 4, 5], 2, 9, 9),
        ([5, 4, 3, 2, 1], 2, 12, 8),
        ([3, 1, 4, 1, 5, 9, 2], 3, 11, 12),  # static wins: the 9 comes late
        ([7], 4, 7, 7),
    ],
)
def test_by_hand(finish_time, costs, threads, static, dynamic):
    assert finish_time(costs, threads, "static") == static
    assert finish_time(costs, threads, "dynamic") == dynamic


def test_rows_of_a_real_picture(finish_time):
    """The steps of a row's pixels are its cost."""
    rows = parallel_basic.parallel_mandelbrot(120, 90, -2.0, 0.7, -0.12, 1.25, 500)
    costs = [sum(row) for row in rows]
    best = sum(costs) / 2
    assert finish_time(costs, 1, "static") == finish_time(costs, 1, "dynamic") == sum(costs)
    assert finish_time(costs, 2, "static") > 1.5 * best, "the costly rows are neighbours"
    assert best <= finish_time(costs, 2, "dynamic") < 1.05 * best
