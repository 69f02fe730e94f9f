"""Exercise 2. Several channels as one: write the generator `merge`.

It yields the objects of all `sources` as they come, whichever comes first, and ends when all of them are closed and
drained. It must not wait for one channel while another has something, and it starts no threads.
"""

from collections.abc import Iterator
from typing import Any

import channels


def merge(sources: list[channels.Channel]) -> Iterator[Any]:
    """``for obj in merge([a, b]): ...``"""
    for source in sources:
        yield from source
