"""Exercise 2 is done when this passes: pytest 03_performance_timing/exercises/test_02_is_it_faster.py"""

import random
import runpy

import pytest
from tenfold_testing import exercise_file

ROUNDS = 31


@pytest.fixture
def verdict():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["verdict"]


def noise(rng: random.Random) -> float:
    return 1 + abs(rng.gauss(0, 0.01))


def test_a_clear_case(verdict):
    rng = random.Random(1)
    quick, slow = [noise(rng) for _ in range(ROUNDS)], [1.5 * noise(rng) for _ in range(ROUNDS)]
    assert verdict(quick, slow) == "first"
    assert verdict(slow, quick) == "second"


def test_five_per_cent_while_the_machine_slows_down_threefold(verdict):
    rng = random.Random(2)
    mood = [1 + 2 * i / ROUNDS for i in range(ROUNDS)]
    first = [m * noise(rng) for m in mood]
    second = [0.95 * m * noise(rng) for m in mood]
    assert verdict(first, second) == "second"


def test_disturbed_rounds_do_not_turn_it(verdict):
    rng = random.Random(3)
    first, second = [noise(rng) for _ in range(ROUNDS)], [1.05 * noise(rng) for _ in range(ROUNDS)]
    for disturbed in (4, 11, 19, 20):
        first[disturbed] *= 40
    assert verdict(first, second) == "first"


def test_a_machine_with_two_speeds(verdict):
    rng = random.Random(4)
    mood = [1.0] * 16 + [3.0] * 15  # so the middle of all times is near one or the other: pair the rounds
    first = [m * noise(rng) for m in mood]
    second = [0.9 * m * noise(rng) for m in mood]
    for disturbed in (3, 8):
        second[disturbed] *= 40
    assert verdict(first, second) == "second"
    assert verdict(second, first) == "first"


def test_equal_functions(verdict):
    told = 0
    for seed in range(40):
        rng = random.Random(seed)
        told += verdict([noise(rng) for _ in range(ROUNDS)], [noise(rng) for _ in range(ROUNDS)]) != "cannot tell"
    assert told <= 6, f"{told} verdicts out of 40 about nothing; about 2 are expected at 95 %"
