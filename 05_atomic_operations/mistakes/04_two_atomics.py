"""Mistake: two atomics that belong together. Each is right at every moment; the pair is not."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import sys, threading
    from atomic_operations import AtomicCounter, AtomicStats
    sys.setswitchinterval(1e-6)
    count, total, stats = AtomicCounter(0), AtomicCounter(0), AtomicStats()

    def record_wrong():
        count.increment()
        total.add(10)

    def mean_wrong():
        return total.get() / max(1, count.get())

    def record_right():
        stats.record(10)

    def mean_right():
        return stats.mean()

    record_{0}()
    stop = threading.Event()

    def member():
        while not stop.is_set():
            record_{0}()

    thread = threading.Thread(target=member)
    thread.start()
    odd = 0
    for _ in range(20):
        odd = max(odd, sum(mean_{0}() != 10 for _ in range(20_000)))
    stop.set()
    thread.join()
    print(f"{odd} of 20000 means of tens are not 10" if odd else "done")
    """,
    expected="means of tens are not 10",
    limit=60,
)
