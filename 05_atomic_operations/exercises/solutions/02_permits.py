"""Exercise 2, solved: compare_and_swap takes a permit only if nobody has come between; whoever loses looks again."""

from atomic_operations import AtomicCounter


class Permits:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = AtomicCounter(0)

    def try_acquire(self) -> bool:
        """Takes a permit and returns True; returns False, and takes none, when all are taken. Never waits."""
        taken, success = self.taken.get(), False
        while taken < self.limit and not success:
            taken, success = self.taken.compare_and_swap(taken, taken + 1)
        return success

    def release(self) -> None:
        """Gives a permit back."""
        self.taken.add(2**64 - 1)
