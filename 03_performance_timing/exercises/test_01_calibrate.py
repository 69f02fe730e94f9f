"""Exercise 1 is done when this passes: pytest 03_performance_timing/exercises/test_01_calibrate.py"""

from __future__ import annotations

import runpy

import pytest
from tenfold_testing import exercise_file


@pytest.fixture
def calibrate():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["calibrate"]


class Machine:
    """A clock that moves only when `run` is called, and shows whole ticks: no test here waits for a real one."""

    def __init__(self, per_call: float, tick: float = 1e-9, interrupted: dict[int, float] | None = None):
        self.now, self.per_call, self.tick = 0.0, per_call, tick
        self.interrupted = interrupted or {}  # seconds, by number of the batch: 0 is the first
        self.batches: list[int] = []

    def run(self, calls: int) -> None:
        assert isinstance(calls, int) and calls >= 1
        assert len(self.batches) < 200, f"that many batches, and still not there: {self.batches[-5:]}"
        self.now += calls * self.per_call + self.interrupted.get(len(self.batches), 0.0)
        self.batches.append(calls)

    def clock(self) -> float:
        return int(self.now / self.tick + 1e-6) * self.tick


@pytest.mark.parametrize("per_call", [1e-8, 3e-6, 7e-4, 0.0199])
def test_the_batch_is_long_enough(calibrate, per_call):
    machine = Machine(per_call)
    calls = calibrate(machine.run, 0.02, machine.clock)
    assert calls * per_call >= 0.02 * 0.999
    assert calls == machine.batches[-1], "returned, but never measured"


@pytest.mark.parametrize("per_call", [1e-8, 3e-6, 7e-4])
def test_but_not_much_longer(calibrate, per_call):
    machine = Machine(per_call)
    assert calibrate(machine.run, 0.02, machine.clock) * per_call < 0.04, "towards the goal, not far past it"
    assert len(machine.batches) < 20


def test_one_long_call_is_enough(calibrate):
    machine = Machine(per_call=3.0)
    assert calibrate(machine.run, 0.02, machine.clock) == 1
    assert machine.batches == [1, 1], "the sizes of the batches that were run; two, for the first may have been slow"


def test_no_more_than_tenfold_at_a_time(calibrate):
    machine = Machine(per_call=2e-8)
    calibrate(machine.run, 0.02, machine.clock)
    assert machine.batches[:1] == [1], "start with one call"
    assert all(after <= 10 * before for before, after in zip(machine.batches, machine.batches[1:]))


def test_a_clock_that_stands_still(calibrate):
    machine = Machine(per_call=1e-6, tick=0.015)  # 15 ms, as some clocks have
    assert calibrate(machine.run, 0.03, machine.clock) >= 15_000


@pytest.mark.parametrize("slow", [0.0195, 0.3, 60.0])  # an import, a cache that fills: not quite the goal, or far past it
def test_a_first_call_that_is_slow(calibrate, slow):
    machine = Machine(per_call=1e-4, interrupted={0: slow})
    assert calibrate(machine.run, 0.02, machine.clock) >= 200


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_an_interrupted_batch_is_asked_twice(calibrate, batch):
    machine = Machine(per_call=1e-6, interrupted={batch: 0.05})  # looks long enough, and is not
    assert calibrate(machine.run, 0.02, machine.clock) >= 20_000
