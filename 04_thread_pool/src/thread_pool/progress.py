"""Progress of a map: a callable that hears of it, or a bar on stderr."""

from __future__ import annotations

import sys
import time


class Report:
    """Calls ``report(done, total)`` on the thread that asks for results; `done` never falls, the last call has done == total."""

    def __init__(self, call):
        self.call = call
        self.last = None

    def done(self, count: int, total) -> None:
        if self.last != (count, total):
            self.last = (count, total)
            self.call(count, total)

    def close(self) -> None:
        end = getattr(self.call, "end", None)
        if isinstance(self.call, Bar) and end is not None:
            end()


class Bar:
    """A line on stderr that is drawn again, at most ten times a second."""

    WIDTH = 30

    def __init__(self):
        self.begun = time.monotonic()
        self.next = 0.0
        self.drawn = False

    def __call__(self, done: int, total) -> None:
        now = time.monotonic()
        if now < self.next and done != total:
            return
        self.next = now + 0.1
        seconds = now - self.begun
        if total is None:
            text = f"{done} done"
        else:
            full = self.WIDTH * done // total if total else self.WIDTH
            text = f"[{'#' * full}{'.' * (self.WIDTH - full)}] {done}/{total}"
        self.write(f"\r{text} {seconds:.1f} s\x1b[K")
        self.drawn = True

    def end(self) -> None:
        if self.drawn:
            self.drawn = False
            self.write("\n")

    @staticmethod
    def write(text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (AttributeError, OSError, ValueError):
            pass  # stderr has been closed: no reason to lose results


def report_of(progress):
    """What `progress=` asks for: None, or a Report."""
    if progress is None or progress is False:
        return None
    if progress is True:
        try:
            seen = sys.stderr.isatty()
        except (AttributeError, ValueError):
            seen = False
        return Report(Bar()) if seen else None
    if not callable(progress):
        raise TypeError(f"progress must be True, False or a callable (done, total), not {type(progress).__name__}")
    return Report(progress)
