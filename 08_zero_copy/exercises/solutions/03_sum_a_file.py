"""Exercise 3, solved: every view is released before the map is closed."""

import mmap
import os

import zero_copy as zc


def sum_file(path):
    """The sum of all float64 numbers in the file at `path`."""
    size = os.path.getsize(path)
    if size % 8:
        raise ValueError(f"{path} has {size} bytes, which is no multiple of 8")
    if size == 0:
        return 0.0
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        with memoryview(memory) as raw, raw.cast("d") as numbers:
            return zc.sum_nocopy(numbers)
