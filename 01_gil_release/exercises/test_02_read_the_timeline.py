"""Exercise 2 is done when this passes: pytest 01_gil_release/exercises/test_02_read_the_timeline.py"""

import runpy

import gil_release
import pytest
from tenfold_testing import exercise_file


@pytest.fixture
def waiting_share():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["waiting_share"]


def test_by_hand(waiting_share):
    intervals = [("a", "held", 0.0, 1.0), ("b", "waiting", 0.0, 1.0), ("b", "held", 1.0, 4.0), ("a", "free", 1.0, 2.0)]
    assert waiting_share(intervals) == {"a": 0.0, "b": 0.25}


def test_on_a_real_timeline(waiting_share):
    observer = gil_release.GilObserver()
    observer.run(30_000, threads=2, pieces=4, release=False)
    shares = waiting_share(observer.intervals())
    assert set(shares) == {"thread 0", "thread 1"}
    assert all(0 <= share <= 1 for share in shares.values())
    assert sum(shares.values()) > 0
