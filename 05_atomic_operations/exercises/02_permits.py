"""Exercise 2. A thousand tasks may run, but never more than `limit` of them at once. Write `try_acquire` and `release` without a
lock, on one AtomicCounter that holds how many permits are taken:

    counter.get()                        the value
    counter.compare_and_swap(old, new)   (value before, whether it was `old` and is `new` now)
    counter.add(delta)                   adds modulo 2**64, so that 2**64 - 1 takes one away

Taking first and giving back when it was too many is not good enough: for a moment there would be more than `limit`.
"""

from atomic_operations import AtomicCounter


class Permits:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = AtomicCounter(0)

    def try_acquire(self) -> bool:
        """Takes a permit and returns True; returns False, and takes none, when all are taken. Never waits."""
        return False

    def release(self) -> None:
        """Gives a permit back."""
