"""Exercise 2 is done when this passes: pytest 09_custom_allocator/exercises/test_02_last_frames.py"""

import runpy

import custom_allocator
import numpy as np
import pytest
from tenfold_testing import exercise_file


@pytest.fixture
def last_frames():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["LastFrames"]


def test_it_keeps_the_last_ones(last_frames):
    pool = custom_allocator.PoolAllocator(4)
    camera = last_frames(pool, 3)
    for i in range(20):
        view = camera.push(bytes([i]) * 50)
        assert bytes(view) == bytes([i]) * 50
        assert [frame[0] for frame in camera.frames] == list(range(max(0, i - 2), i + 1))
    assert pool.get_stats().live == 3 and camera.waiting == []


def test_the_frames_are_copies_in_the_pool(last_frames):
    pool = custom_allocator.PoolAllocator(4)
    frame = bytearray(b"abc")
    view = last_frames(pool, 2).push(frame)
    frame[0] = 0
    assert bytes(view) == b"abc" and pool.get_stats().live == 1


def test_a_frame_that_somebody_looks_at_waits(last_frames):
    pool = custom_allocator.PoolAllocator(6)
    camera = last_frames(pool, 2)
    looked_at = np.frombuffer(camera.push(b"\x07" * 10), np.uint8)
    for i in range(10):
        camera.push(bytes([i]) * 10)
        assert looked_at.tolist() == [7] * 10
    assert len(camera.waiting) == 1 and pool.get_stats().live == 3
    del looked_at
    camera.push(b"\x01" * 10)
    assert camera.waiting == [] and pool.get_stats().live == 2
