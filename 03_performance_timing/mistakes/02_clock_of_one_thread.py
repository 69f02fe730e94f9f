"""Mistake: a clock that counts one thread's CPU time, for work that other threads do."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import threading, time
    clock = {"wrong": time.thread_time, "right": time.perf_counter}["{0}"]

    def work():
        until = time.thread_time() + 0.3  # 0.3 s of this thread's CPU, however busy the machine is
        while time.thread_time() < until:
            pass

    worker = threading.Thread(target=work)
    begin = clock()
    worker.start()
    worker.join()
    seconds = clock() - begin
    print("done" if seconds >= 0.3 else f"a thread worked for 0.3 s, the clock of the one that waited says {seconds:.3f} s")
    """,
    expected="a thread worked for 0.3 s",
)
