"""Exercise 1 is done when this passes: pytest 05_atomic_operations/exercises/test_01_atomic_maximum.py"""

import pytest
from tenfold_testing import compile_module, exercise_file


@pytest.fixture
def module(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("exercise")
    compile_module(exercise_file(__file__, ".cpp"), folder)
    monkeypatch.syspath_prepend(folder)
    import atomic_maximum

    return atomic_maximum


def test_atomic_maximum(module):
    assert module.with_bad_luck(5) == 10, "5 is less than what was there: nothing to write"
    assert module.with_bad_luck(99) == 99
    assert module.with_bad_luck(50) == 90, "another thread had written 90, and it was overwritten"
    for _ in range(20):
        assert module.from_threads(4, 10_000) == 39_999
