"""Exercise 1, solved: the view's own `with` gives it back, whatever happens."""

import zlib
from typing import BinaryIO

import custom_allocator


def checksum(file: BinaryIO, pool: custom_allocator.PoolAllocator, piece: int) -> int:
    value = 0
    with pool.allocate(piece) as view:
        while count := file.readinto(view):
            with view[:count] as part:  # a slice is a view too: while it lives, `view` cannot be released
                value = zlib.crc32(part, value)
    return value
