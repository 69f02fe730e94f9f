"""Where results go: a callable, something to append to, an array to fill; Arrow and Parquet are in arrow.py.

A sink is opened when a run begins and closed when it ends; whether the run came to its end is known by then.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from .failures import SinkFull


class Target(Protocol):
    """A sink that must know when a run begins and ends: an object with ``open()`` gives one of these to each run."""

    def write(self, item: Any) -> None:
        """Takes one item."""

    def close(self) -> None:
        """The run came to its end: all that was written counts."""

    def abort(self) -> None:
        """The run failed or was cancelled."""


def checked(target: Any) -> Any:
    """The sink, or TypeError."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(target, numpy.ndarray):
        if not target.flags.writeable:
            raise ValueError("the array to fill is read-only")
        return target
    if hasattr(target, "write") and not (callable(target) or hasattr(target, "append") or hasattr(target, "open")):
        raise TypeError("a file is no sink, its write method is one: sink(file.write)")
    if isinstance(target, os.PathLike):
        raise TypeError("a path is no sink: ParquetSink(path), or open(path, 'w').write")
    if isinstance(target, type) or not (callable(target) or hasattr(target, "append") or hasattr(target, "open")):
        raise TypeError(
            "a sink is a callable, an object with append(), a NumPy array, ArrowSink or ParquetSink, "
            f"not {target.__name__ if isinstance(target, type) else type(target).__name__}"
        )
    return target


@contextlib.contextmanager
def opened(target: Any) -> Iterator[Callable[[Any], Any]]:
    """The function that takes an item; closes or aborts the target."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(target, numpy.ndarray):
        yield _filling(target)
    elif hasattr(target, "append") and not callable(target):
        yield target.append
    elif hasattr(target, "open") and not callable(target):
        writer: Target = target.open()
        try:
            yield writer.write
        except BaseException:
            writer.abort()
            raise
        writer.close()
    else:
        yield target


def _filling(array: Any) -> Callable[[Any], None]:
    import numpy  # loaded: there is an array

    at, room, whole = 0, len(array), array.dtype.kind in "iub"

    def fill(item: Any) -> None:
        nonlocal at
        if at == room:
            raise SinkFull(f"the array has room for {room} items, and there are more")
        if whole and numpy.asarray(item).dtype.kind in "fc":  # NumPy would cut off what stands behind the point
            raise TypeError(f"the array to fill is of {array.dtype}: {type(item).__name__} does not go into it")
        array[at] = item
        at += 1

    return fill
