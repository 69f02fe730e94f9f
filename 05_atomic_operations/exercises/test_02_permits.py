"""Exercise 2 is done when this passes: pytest 05_atomic_operations/exercises/test_02_permits.py"""

import runpy
import sys

import pytest
from atomic_operations import AtomicCounter
from tenfold_testing import exercise_file, run_threads


@pytest.fixture
def make():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["Permits"]


class Watched:
    """An AtomicCounter that keeps every value it had, and in whose operations `meddle` does what another thread might do."""

    def __init__(self, meddle=lambda counter: None):
        self.counter, self.values, self.meddle = AtomicCounter(0), [0], meddle

    def get(self):
        return self.counter.get()

    def compare_and_swap(self, current, new):
        self.meddle(self.counter)
        before, success = self.counter.compare_and_swap(current, new)
        self.values.append(self.counter.get())
        return before, success

    def add(self, delta):
        before = self.counter.add(delta)
        self.values.append(self.counter.get())
        return before

    def increment(self):
        return self.add(1)

    def set(self, value):
        pytest.fail("set() overwrites what other threads have done")


def test_alone(make):
    permits = make(2)
    assert [permits.try_acquire() for _ in range(4)] == [True, True, False, False]
    permits.release()
    assert [permits.try_acquire() for _ in range(2)] == [True, False]


def test_never_too_many(make):
    permits = make(3)
    permits.taken = watched = Watched()
    for _ in range(10):
        permits.try_acquire()
    assert max(watched.values) == 3


def test_another_thread_comes_between(make):
    arrivals = iter([1, 1])  # two others take a permit, each right before our swap
    permits = make(3)
    permits.taken = watched = Watched(lambda counter: counter.add(next(arrivals, 0)))
    assert permits.try_acquire() is True, "one permit was left"
    assert watched.get() == 3
    assert permits.try_acquire() is False and watched.get() == 3


def test_many_threads(make):
    permits, inside, seen = make(3), AtomicCounter(0), []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def member(i):
        successes = 0
        while successes < 200:
            if permits.try_acquire():
                seen.append(inside.increment() + 1)
                successes += 1
                inside.add(2**64 - 1)
                permits.release()

    try:
        # Without try_acquire ever saying yes this would not end.
        assert permits.try_acquire() is True
        permits.release()
        run_threads(7, member)
    finally:
        sys.setswitchinterval(interval)
    assert len(seen) == 1400 and max(seen) <= 3 and permits.taken.get() == 0
