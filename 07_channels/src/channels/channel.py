"""What asyncio adds to the channels of `_core`: the same channels, awaited.

A task that has to wait leaves a callback with the channel. Whoever sends, receives or closes, in whatever thread, runs
it; it wakes the task's event loop, and the task tries again. Between its try and its return a task never awaits, so
cancelling it loses no item; if it was cancelled after it had been woken, the wake-up goes on to the next who waits.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core

if TYPE_CHECKING:
    import asyncio  # imported when a task first waits: it takes longer than this whole lesson

_NOTHING: Any = object()
_TURNS = 64
"""After so many items without a pause, `async for` lets the other tasks of its loop run."""


def _set(future: asyncio.Future) -> None:
    if not future.done():
        future.set_result(None)


def _resume(loop: asyncio.AbstractEventLoop, future: asyncio.Future) -> None:
    """Runs in the thread of whoever made the channel ready; raises RuntimeError when the loop is closed."""
    import asyncio

    if asyncio._get_running_loop() is loop:
        _set(future)
    else:
        loop.call_soon_threadsafe(_set, future)


async def _ready(waitable: Any, receiving: bool) -> None:
    """Waits until it is worth trying again."""
    import asyncio

    loop = asyncio.get_running_loop()
    future = loop.create_future()
    watch = waitable._watch(receiving, functools.partial(_resume, loop, future))
    try:
        await future
    except BaseException:  # cancelled, or the loop is gone
        waitable._unwatch(receiving, watch, False)
        raise
    waitable._unwatch(receiving, watch, True)


async def _recv(source: Any) -> Any:
    while True:
        item = source.try_recv(_NOTHING)
        if item is not _NOTHING:
            return item
        await _ready(source, True)


async def _send(target: Any, obj: Any) -> None:
    while not target.try_send(obj):
        await _ready(target, False)


async def _each(source: Any) -> AsyncIterator[Any]:
    turns = 0
    while True:
        try:
            item = await _recv(source)
        except _core.ChannelClosed:
            return
        yield item
        turns += 1
        if turns % _TURNS == 0:
            import asyncio

            await asyncio.sleep(0)


class ChannelStats(NamedTuple):
    """What went through a channel so far: a snapshot."""

    sent: int
    """Objects that were accepted."""
    received: int
    """Objects that were handed out."""
    depth: int
    """Objects in the channel now."""
    peak: int
    """The most there ever were."""
    send_waits: int
    """How often a thread slept because the channel was full."""
    send_wait_s: float
    """Seconds that threads slept because it was full, in all: how hard the channel pushed back."""
    recv_waits: int
    """How often a thread slept because the channel was empty."""
    recv_wait_s: float
    """Seconds that threads slept because it was empty, in all."""


class Channel(_core.Channel):
    __doc__ = _core.Channel.__doc__
    __slots__ = ()

    async def send_async(self, obj: Any) -> None:
        """Sends `obj` from a task; waits while the channel is full.

        Parameters
        ----------
        obj : object

        Raises
        ------
        ChannelClosed
            The channel is closed: `obj` was not sent.
        asyncio.CancelledError
            The task was cancelled while it waited: `obj` was not sent.
        """
        await _send(self, obj)

    async def recv_async(self) -> Any:
        """Receives one object in a task; waits while the channel is empty.

        Returns
        -------
        object

        Raises
        ------
        ChannelClosed
            The channel is closed and drained.
        asyncio.CancelledError
            The task was cancelled while it waited: no object was taken.
        """
        return await _recv(self)

    def __aiter__(self) -> AsyncIterator[Any]:
        return _each(self)

    def stats(self) -> ChannelStats:
        """What went through so far.

        Returns
        -------
        ChannelStats
        """
        return ChannelStats(*self._stats())


class Subscription(_core.Subscription):
    __doc__ = _core.Subscription.__doc__
    __slots__ = ()

    async def recv_async(self) -> Any:
        """Receives the next object in a task; waits while there is none.

        Returns
        -------
        object

        Raises
        ------
        ChannelClosed
            The broadcast or this subscription is closed, and all that was sent before has been received.
        ChannelLagged
            Objects were overwritten before this subscription came to them.
        """
        return await _recv(self)

    def __aiter__(self) -> AsyncIterator[Any]:
        return _each(self)


class Broadcast(_core.Broadcast):
    __doc__ = _core.Broadcast.__doc__
    __slots__ = ()

    def subscribe(self) -> Subscription:
        """A new cursor: it sees every object that is sent from now on.

        Returns
        -------
        Subscription
        """
        return Subscription(self)

    async def send_async(self, obj: Any) -> None:
        """Sends `obj` from a task; waits while the slowest subscription is `capacity` objects behind.

        Raises
        ------
        ChannelClosed
            The broadcast is closed: `obj` was not sent.
        """
        await _send(self, obj)
