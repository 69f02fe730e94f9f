"""Exercise 1. The checksum of a file of any size, read piece by piece into memory of a pool.

Write `checksum`. It takes one view of `piece` bytes from the pool, reads the file into it again and again
(``file.readinto(view)`` says how many bytes came), and gives the view back: at the end, and also when reading raises.
``zlib.crc32(data, value)`` goes on from `value`.
"""

import zlib  # noqa: F401
from typing import BinaryIO

import custom_allocator


def checksum(file: BinaryIO, pool: custom_allocator.PoolAllocator, piece: int) -> int:
    """``checksum(io.BytesIO(data), pool, 4096) == zlib.crc32(data)``, for any data."""
    return 0
