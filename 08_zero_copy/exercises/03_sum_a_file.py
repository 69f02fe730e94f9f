"""Exercise 3. The sum of a file of float64 numbers that may be larger than memory.

Write `sum_file`. Map the file (`mmap.mmap`, ACCESS_READ) and look at it as doubles (`memoryview(...).cast("d")`): what is
summed is read by the system, page by page, and never copied into an object. When the function returns the file is closed
and no longer mapped. An empty file (which cannot be mapped) has the sum 0.0; a length that is no multiple of 8 bytes is a
ValueError.
"""

import zero_copy as zc  # noqa: F401


def sum_file(path):
    """The sum of all float64 numbers in the file at `path`."""
    return -1.0
