"""Exercise 1 is done when this passes: pytest 09_custom_allocator/exercises/test_01_checksum.py"""

import io
import runpy
import zlib

import custom_allocator
import pytest
from tenfold_testing import exercise_file


@pytest.fixture
def checksum():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["checksum"]


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 1000, 123_457])
def test_any_size(checksum, size):
    data = bytes(i * 7 % 251 for i in range(size))
    with custom_allocator.PoolAllocator(1) as pool:
        assert checksum(io.BytesIO(data), pool, 100) == zlib.crc32(data)
        assert pool.get_stats().live == 0


class Recording(io.BytesIO):
    """Notes what it is asked to read into."""

    def __init__(self, data):
        super().__init__(data)
        self.into = []

    def readinto(self, buffer):
        self.into.append(len(buffer))
        return super().readinto(buffer)

    def read(self, *args):
        raise AssertionError("read() makes a new object for each piece: use readinto()")


def test_it_reads_into_one_slot_of_the_pool(checksum):
    with custom_allocator.PoolAllocator(1) as pool:
        file = Recording(b"x" * 1000)
        assert checksum(file, pool, 64) == zlib.crc32(b"x" * 1000)
        stats = pool.get_stats()
        assert stats.hits + stats.misses == 1 and stats.live == 0 and set(file.into) <= {64}


def test_an_error_gives_the_slot_back(checksum):
    class Broken(Recording):
        def readinto(self, buffer):
            if len(self.into) == 3:
                raise OSError("the disk is gone")
            return super().readinto(buffer)

    with custom_allocator.PoolAllocator(1) as pool:
        with pytest.raises(OSError, match="the disk is gone"):
            checksum(Broken(b"x" * 1000), pool, 64)
        assert pool.get_stats().live == 0 and pool.get_stats().hits + pool.get_stats().misses == 1
