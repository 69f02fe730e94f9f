"""How often this module's C++ code asked for memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from . import _core


class AllocationCounts(NamedTuple):
    """What C++ code of this module has taken with ``operator new`` since it was loaded."""

    allocations: int
    """How often."""
    bytes: int
    """How many bytes in all, whether given back or not."""


def allocation_counts() -> AllocationCounts:
    """How often this module's C++ code asked for memory so far, in all threads.

    Python's own objects and NumPy's arrays are not counted: those memories have counters of their own
    (``sys.getallocatedblocks``, ``tracemalloc``).

    Returns
    -------
    AllocationCounts

    Raises
    ------
    NotImplementedError
        On systems where a module cannot have its own ``operator new`` (macOS, Windows).
    """
    if not _core._COUNTED:
        raise NotImplementedError("allocations are counted where modules are ELF files: on Linux")
    return AllocationCounts(*_core._allocation_counts())


class _Counter:
    """What `count_allocations` gives to its ``with`` block; filled in at the block's end."""

    allocations = -1
    bytes = -1

    def __repr__(self) -> str:
        return f"{self.allocations} allocations, {self.bytes} bytes"


@contextlib.contextmanager
def count_allocations() -> Iterator[_Counter]:
    """Counts what a ``with`` block allocates in C++ code of this module::

        with count_allocations() as counter:
            pool.process_with_pooling(items)
        assert counter.allocations == 0

    Yields
    ------
    object
        With `allocations` and `bytes`, set when the block ends.
    """
    counter = _Counter()
    before = allocation_counts()
    try:
        yield counter
    finally:
        after = allocation_counts()
        counter.allocations, counter.bytes = after.allocations - before.allocations, after.bytes - before.bytes
