"""Exercise 2 is done when this passes: pytest 10_production_pipeline/exercises/test_02_first_good.py"""

import itertools
import runpy
import threading

import pytest
from tenfold_testing import exercise_file


class TooFar(Exception):
    pass


@pytest.fixture
def first_good():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["first_good"]


def counting(limit):
    for i in itertools.count():
        if i == limit:
            raise TooFar(i)
        yield i


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("answer", [0, 1, 77, 1000])
def test_the_first_of_an_endless_source(first_good, workers, answer):
    read = []

    def candidates():
        for i in counting(20_000):
            read.append(i)
            yield i

    assert first_good(candidates(), lambda n: n >= answer, 1, workers=workers, ahead=16) == answer
    assert len(read) <= answer + 1 + 16


def test_none(first_good):
    assert first_good(range(100), lambda n: 0.0, 0.5) is None
    assert first_good([], lambda n: 0.0, 0.5) is None


def test_everything_ends(first_good):
    closed, before = [], threading.active_count()

    def candidates():
        try:
            yield from counting(20_000)
        finally:
            closed.append(True)

    assert first_good(candidates(), float, 30.0) == 30
    assert closed == [True] and threading.active_count() == before
