"""What Python adds to the pools of `_core`: statistics with names, ``with``, and a warning about what never came back."""

from __future__ import annotations

import atexit
import warnings
import weakref
from typing import Any, NamedTuple

from . import _core


class BufferPoolStats(NamedTuple):
    """What a `BufferPool` has done so far: a snapshot."""

    hits: int
    """Blocks that were reused."""
    misses: int
    """Blocks that had to be taken from the system."""
    live: int
    """Blocks in use now."""
    peak: int
    """The most that were ever in use at once."""
    bytes: int
    """Held from the system now."""
    available: int
    """Blocks that are not in use."""


class ObjectPoolStats(NamedTuple):
    """What an `ObjectPool` holds: a snapshot."""

    allocations: int
    """How often it asked the system for memory."""
    bytes: int
    """Held from the system for objects now."""


class PoolStats(NamedTuple):
    """What a `PoolAllocator` has done so far: a snapshot."""

    hits: int
    """Slots in memory that had been used before."""
    misses: int
    """Slots in memory used for the first time."""
    live: int
    """Slots in use now."""
    peak: int
    """The most that were ever in use at once."""
    bytes: int
    """Held from the system now, free slots included."""
    live_bytes: int
    """Of those in use now, rounded up to size classes."""


class BufferPool(_core.BufferPool):
    __doc__ = _core.BufferPool.__doc__
    __slots__ = ()

    def get_stats(self) -> BufferPoolStats:
        """What it has done so far.

        Returns
        -------
        BufferPoolStats
        """
        return BufferPoolStats(*self._stats())


class ObjectPool(_core.ObjectPool):
    __doc__ = _core.ObjectPool.__doc__
    __slots__ = ()

    def get_stats(self) -> ObjectPoolStats:
        """What it holds.

        Returns
        -------
        ObjectPoolStats
        """
        return ObjectPoolStats(*self._stats())


_open_pools: weakref.WeakSet[PoolAllocator] = weakref.WeakSet()
_told_at_exit = False


class PoolAllocator(_core.PoolAllocator):
    __doc__ = _core.PoolAllocator.__doc__
    __slots__ = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        _open_pools.add(self)

    def get_stats(self) -> PoolStats:
        """What it has done so far.

        Returns
        -------
        PoolStats
        """
        return PoolStats(*self._stats())

    def close(self) -> None:
        """Hands out nothing more; a second call does nothing.

        Views that are alive stay valid as long as they are. They are named in a ResourceWarning: who closes a pool thinks that
        they are gone. It also comes when the pool is garbage, or Python ends, and some were never given back.
        """
        if self.closed:
            return
        _open_pools.discard(self)
        leaks = self._close()
        if leaks and not _told_at_exit:
            warnings.warn(_told(leaks), ResourceWarning, stacklevel=2, source=self)

    def __enter__(self) -> PoolAllocator:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self.close()
        except TypeError:  # its __init__ failed
            pass


def _told(leaks: list[tuple[int, str]], most: int = 5) -> str:
    """ "2 slots were not given back: 100 bytes (a.py:3), 5 bytes (a.py:7)" """
    several = "1 slot was" if len(leaks) == 1 else f"{len(leaks)} slots were"
    each = [f"{size} bytes" + (f" ({where})" if where else "") for size, where in leaks[:most]]
    more = f", and {len(leaks) - most} more" if len(leaks) > most else ""
    return f"PoolAllocator: {several} not given back: {', '.join(each)}{more}"


@atexit.register
def _at_exit() -> None:
    """Tells, and leaves the pools open: what was registered earlier runs later, and may still use them."""
    global _told_at_exit
    for pool in list(_open_pools):
        if leaks := pool.live():
            warnings.warn(_told(leaks), ResourceWarning, stacklevel=1, source=pool)
    _told_at_exit = True
