"""Mistake: get() and set() are atomic, one after the other they are not."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import sys, threading
    from atomic_operations import AtomicCounter
    sys.setswitchinterval(1e-6)  # other threads come in more often; without it, only more rarely

    def wrong(counter):
        counter.set(counter.get() + 1)

    def right(counter):
        counter.increment()

    def count():
        counter, start = AtomicCounter(0), threading.Barrier(4)

        def member():
            start.wait()
            for _ in range(20_000):
                {0}(counter)

        threads = [threading.Thread(target=member) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return counter.get()

    least = min(count() for _ in range(10))
    print("done" if least == 80_000 else f"{least} of 80000 increments are left")
    """,
    expected="increments are left",
    limit=60,
)
