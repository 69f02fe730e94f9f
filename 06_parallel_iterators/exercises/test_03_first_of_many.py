"""Exercise 3 is done when this passes (from the repository root):

.venv/bin/python -m pytest 06_parallel_iterators/exercises/test_03_first_of_many.py
"""

import pytest
from tenfold_testing import compile_module, exercise_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exercise")
    compile_module(exercise_file(__file__, ".cpp"), folder, "-fopenmp")
    return folder


@pytest.fixture
def find(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    import first_of_many

    return first_of_many.find


BLOCK = 4096


@pytest.mark.parametrize("threads", [1, 2, 4, 7])
def test_the_first_of_many(find, threads):
    """The first match is at the beginning of its block, those of later blocks are at their ends: they are found later."""
    x = [0] * (100 * BLOCK)
    first = 80 * BLOCK + 5
    x[first] = 7
    for end in range(82 * BLOCK, len(x), BLOCK):
        x[end - 1] = 7
    assert {find(x, 7, threads)[0] for _ in range(60)} == {first}


def test_absent_and_empty(find):
    assert find([], 1, 4) == (None, 0)
    assert find([0] * (10 * BLOCK), 1, 4) == (None, 10)


@pytest.mark.parametrize("threads", [1, 2, 4, 7])
def test_it_stops_early(find, threads):
    x = [0] * (200 * BLOCK)
    x[1000] = 1
    assert min(find(x, 1, threads)[1] for _ in range(20)) <= 4 + threads
