"""Exercise 1 is done when this passes: pytest 07_channels/exercises/test_01_run_in_stages.py"""

import runpy
import threading

import pytest
from tenfold_testing import exercise_file, run_threads


@pytest.fixture
def run_in_stages():
    function = runpy.run_path(str(exercise_file(__file__, ".py")))["run_in_stages"]
    return lambda *args: run_threads(1, lambda i: function(*args), limit=20)[0]


def test_results_come_in_order(run_in_stages):
    assert run_in_stages(range(1000), [lambda x: x + 1, str], 8) == [str(x + 1) for x in range(1000)]
    assert run_in_stages([], [str], 1) == []


def test_each_stage_has_a_thread_of_its_own(run_in_stages):
    seen = [set(), set(), set()]
    stages = [lambda x, i=i: seen[i].add(threading.get_ident()) or x for i in range(3)]
    assert run_in_stages(range(50), stages, 2) == list(range(50))
    assert all(len(idents) == 1 for idents in seen) and len(set.union(*seen)) == 3


def test_nothing_runs_far_ahead(run_in_stages):
    """With capacity 2 the source is at most a few objects ahead of a stage that stands still."""
    ahead, gate = [], threading.Event()

    def source():
        for i in range(100):
            ahead.append(i)
            yield i

    def slow(x):
        if x == 0:
            gate.wait(0.3)
            ahead.append(("when the first was done", len(ahead)))
        return x

    assert run_in_stages(source(), [slow], 2) == list(range(100))
    (marked,) = [entry[1] for entry in ahead if isinstance(entry, tuple)]
    assert marked <= 2 + 2  # two in the channel, one in the source's hand, one in the stage's


def test_no_thread_is_left(run_in_stages):
    before = threading.active_count()
    run_in_stages(range(10), [abs, abs], 1)
    assert threading.active_count() <= before + 1
