"""Exercise 1 is done when this passes: pytest 08_zero_copy/exercises/test_01_retouch.py"""

import runpy
import tracemalloc

import numpy as np
import pytest
import zero_copy as zc
from tenfold_testing import exercise_file


@pytest.fixture
def retouch():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["retouch"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_only_the_rectangle_changes(retouch, dtype):
    image = np.arange(40 * 60, dtype=dtype).reshape(40, 60)
    expected = image.copy()
    expected[5:25, 7:40] = expected[5:25, 7:40] * dtype(2) + dtype(0.5)
    assert retouch(image, 5, 7, 20, 33, 2.0, 0.5) is image
    assert np.array_equal(image, expected)


def test_no_memory_is_made(retouch):
    image = np.ones((1000, 1000))
    retouch(image, 0, 0, 10, 10, 1.0, 0.0)
    before = zc.owners_made()
    tracemalloc.start()
    retouch(image, 100, 100, 800, 800, 0.5, 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000, f"{peak} bytes were allocated: NumPy's operators make new arrays"
    assert zc.owners_made() == before, "a result was allocated: use out="
    assert image[500, 500] == 1.5 and image[0, 0] == 1.0


def test_a_view_of_a_view(retouch):
    memory = np.zeros((30, 40))
    retouch(memory[::2, ::-1], 1, 1, 3, 4, 1.0, 5.0)
    expected = np.zeros((30, 40))
    expected[::2, ::-1][1:4, 1:5] = 5.0
    assert np.array_equal(memory, expected)
