"""A run of C++ threads that Python can poll, wait for, await or cancel."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator
from typing import Any, TypeVar

from . import _core

_Run = TypeVar("_Run", bound="Progress")


class Progress(_core.Progress):
    __doc__ = _core.Progress.__doc__

    def __await__(self) -> Generator[Any, None, int]:
        """Steps done, once the run has ended; for asyncio. No thread waits and nothing is polled meanwhile.

        Cancelling the task that awaits leaves the run going: cancel that with :meth:`cancel`, or use ``async with``.
        """
        return self._ended().__await__()

    async def __aenter__(self: _Run) -> _Run:
        """The run itself: ``async with start_with_progress(...) as run``."""
        return self

    async def __aexit__(self, type: object, value: object, traceback: object) -> None:
        """Waits for the end while the event loop goes on; an exception, or being cancelled meanwhile, cancels the run first."""
        if type is not None:
            self.cancel()
        try:
            await self._ended()
        except BaseException:
            self.cancel()
            self.wait()  # a moment: steps end at once
            raise

    async def _ended(self) -> int:
        loop = asyncio.get_running_loop()
        descriptor = self._ended_descriptor()
        try:
            ended = loop.create_future()
            try:
                loop.add_reader(descriptor, lambda: ended.done() or ended.set_result(None))
            except NotImplementedError:  # an event loop that cannot wait for descriptors
                await loop.run_in_executor(None, self.wait)
            else:
                try:
                    await ended
                finally:
                    loop.remove_reader(descriptor)
        finally:
            os.close(descriptor)
        return self.done


def start_with_progress(total: int, thread_count: int, *, seconds_per_step: float = 0.0) -> Progress:
    """Starts `total` steps on `thread_count` threads and returns at once.

    Parameters
    ----------
    total : int
        Steps, 0 or more.
    thread_count : int
        1 to 1024 threads.
    seconds_per_step : float
        How long each step waits before it counts, 0 to 1: stands for work.

    Returns
    -------
    Progress
        To poll (``done``, ``total``, ``poll()``), wait for (``wait(timeout)``, ``await``) or ``cancel()``; in a ``with`` block, or
        ``async with`` in a coroutine, it has ended when the block has.

    Raises
    ------
    TypeError, ValueError, OverflowError
        An argument is not a number, out of range, or does not fit in 64 bits.
    """
    return Progress(total, thread_count, seconds_per_step=seconds_per_step)
