"""Exercise 1 is done when this passes: pytest 10_production_pipeline/exercises/test_01_clean_log.py"""

import runpy

import pytest
from tenfold_testing import exercise_file


@pytest.fixture
def traffic():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["traffic"]


def test_the_docstring(traffic):
    assert traffic(["a 200 5", "?", "a 200 2", "b 404 9"]) == ({"a": 7}, [1])
    assert traffic([]) == ({}, [])


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_many_lines(traffic, workers):
    expected, bad = {}, []

    def lines():
        for i in range(5000):
            if i % 97 == 3:
                bad.append(i)
                yield ("10.0.0.1 200", "10.0.0.1 ok 7", "", "a b c d")[i % 4]
                continue
            address, status = f"10.0.0.{i % 7}", 200 if i % 3 else 404
            if status == 200:
                expected[address] = expected.get(address, 0) + i
            yield f"{address} {status} {i}"

    assert traffic(lines(), workers) == (expected, bad)


def test_twice_gives_the_same(traffic):
    assert traffic(["a 200 1"]) == traffic(["a 200 1"]) == ({"a": 1}, [])
