"""Where items come from: anything that can be iterated, arrays, Arrow tables and streams; read a chunk at a time.

A source is read by the thread that runs the pipeline, and no further ahead than there is room. What it gave before it
raised is not lost: it goes through, then the source's exception is raised.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from time import perf_counter
from typing import Any

BLOCK = 65536
"""So many numbers of an array go through native stages, or into a batch, at a time: half a megabyte."""
SHORT_S, LONG_S = 0.001, 0.005
"""Chunks grow while they take less, and shrink when they take more."""


class Pacer:
    """The size of the next chunk: large enough to pay for handing it over, small enough to spread and to come through soon."""

    def __init__(self, most: int) -> None:
        self.size, self.most = 1, most

    def alone(self, seconds: float, count: int) -> None:
        """As `took`, of the only worker: nobody waits for a share, so the next chunk may be as large as this one says."""
        self.took(seconds, count)
        if 8 * seconds < SHORT_S:
            self.size = min(self.most, max(self.size, 8 * count))

    def took(self, seconds: float, count: int) -> None:
        """A chunk of `count` was read, or went through a worker, in so many seconds."""
        if seconds > LONG_S:
            self.size = max(1, min(self.size, count) // 2)
        elif seconds < SHORT_S and count >= self.size:
            self.size = min(self.most, self.size * 2)


def length(source: Any) -> int | None:
    """How many items there will be, if the source knows."""
    rows = getattr(source, "num_rows", None)
    try:
        return int(rows) if rows is not None else len(source)
    except Exception:
        return None


def chunks_of(source: Any, pacer: Pacer, vectors: bool) -> Iterator[Any]:
    """Lists of items; blocks of a 1-D float64 array if the first stage can use them."""
    if isinstance(source, (str, bytes, bytearray)):
        raise TypeError(f"the source must be an iterable of items, not a {type(source).__name__}: its letters are hardly meant")
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):
        from . import arrow

        return arrow.chunks_of(source, pacer, vectors)
    numpy = sys.modules.get("numpy")  # an array can only come from there
    if numpy is not None and isinstance(source, numpy.ndarray):
        return array_chunks(source, pacer, vectors)
    try:
        iterator = iter(source)
    except TypeError:
        raise TypeError(f"the source must be iterable, not {type(source).__name__}") from None
    return _iterated(iterator, pacer)


def _iterated(iterator: Iterator, pacer: Pacer) -> Iterator[list]:
    while True:
        begin, wanted = perf_counter(), pacer.size
        values: list = []
        try:
            values.extend(islice(iterator, wanted))  # keeps what came before an exception
        except Exception:
            if values:
                yield values
            raise
        if values:
            pacer.took(perf_counter() - begin, len(values))
            yield values
        if len(values) < wanted:
            return


def array_chunks(array: Any, pacer: Pacer, vectors: bool) -> Iterator[Any]:
    """A 1-D array's items as Python numbers, or in blocks as they are; the rows of others. A memory map is read as it goes."""
    if array.ndim == 0:
        raise TypeError("the source must be an array of at least one dimension")
    plain = (
        array.ndim == 1 and array.dtype == "f8" and array.dtype.isnative and array.flags.c_contiguous and array.flags.aligned
    )
    flat = array.ndim == 1 and array.dtype.names is None
    at, count = 0, len(array)
    while at < count:
        if plain and vectors:
            block = array[at : at + BLOCK].view(type=_plain_type())
            block.flags.writeable = False  # a batch may be a piece of it, and a stage that changes its batch means its own
        else:
            rows = array[at : at + pacer.size]
            block = rows.tolist() if flat else list(rows)
            pacer.took(0.0, len(block))
        yield block
        at += len(block)


def _plain_type() -> type:
    import numpy  # loaded: the source is an array

    return numpy.ndarray  # a block of a memmap is no memmap of its own


def checked_progress(progress: Any, total: int | None) -> tuple[Callable[[int], None] | None, Callable[[], None]]:
    """(tell it how many were read, tell it that all is over) of ``True``, a callable or None."""
    if progress is None or progress is False:
        return None, _nothing
    if progress is True:
        from .failures import optional

        bar = optional("tqdm", "tqdm", "progress=True").tqdm(total=total, unit=" items", disable=None)
        return (lambda read: bar.update(read - bar.n)), bar.close
    if not callable(progress):
        raise TypeError(f"progress must be True or a callable (done, total), not {type(progress).__name__}")
    return (lambda read: progress(read, total)), _nothing


def _nothing() -> None:
    pass
