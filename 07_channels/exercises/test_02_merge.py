"""Exercise 2 is done when this passes: pytest 07_channels/exercises/test_02_merge.py"""

import runpy
import threading

import channels
import pytest
from tenfold_testing import exercise_file, run_threads


@pytest.fixture
def merge():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["merge"]


def test_all_objects_and_each_channels_order(merge):
    sources = [channels.Channel(4) for _ in range(3)]

    def work(i):
        if i == 3:
            return list(merge(sources))
        with sources[i]:
            for k in range(200):
                sources[i].send((i, k))
        return None

    merged = run_threads(4, work, limit=20)[3]
    assert sorted(merged) == [(i, k) for i in range(3) for k in range(200)]
    for i in range(3):
        assert [k for source, k in merged if source == i] == list(range(200))


def test_it_does_not_wait_for_a_silent_channel(merge):
    silent, busy = channels.Channel(), channels.Channel()
    busy.send("at once")
    got = []
    thread = threading.Thread(target=lambda: got.append(next(merge([silent, busy]))), daemon=True)
    thread.start()
    thread.join(10)
    silent.close()
    assert got == ["at once"]


def test_it_ends_when_all_have_ended(merge):
    a, b = channels.Channel(), channels.Channel()
    a.send(1)
    a.close()
    b.close()
    assert run_threads(1, lambda i: list(merge([a, b])), limit=10) == [[1]]
    assert list(merge([])) == []
