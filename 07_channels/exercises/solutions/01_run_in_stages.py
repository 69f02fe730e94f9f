"""Exercise 1, solved: `with` closes what a stage writes to, so the end travels down the pipeline by itself."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import channels


def run_in_stages(source: Iterable[Any], stages: list[Callable[[Any], Any]], capacity: int) -> list[Any]:
    """``run_in_stages(range(3), [f, g], 8)`` is ``[g(f(0)), g(f(1)), g(f(2))]``, f and g in two threads."""

    def feed(into: channels.Channel) -> None:
        with into:
            for item in source:
                into.send(item)

    def work(function: Callable[[Any], Any], items: channels.Channel, into: channels.Channel) -> None:
        with into:
            for item in items:
                into.send(function(item))

    links = [channels.Channel(capacity) for _ in range(len(stages) + 1)]
    threads = [threading.Thread(target=feed, args=(links[0],))]
    threads += [threading.Thread(target=work, args=(f, links[i], links[i + 1])) for i, f in enumerate(stages)]
    for thread in threads:
        thread.start()
    results = list(links[-1])
    for thread in threads:
        thread.join()
    return results
