"""Mistake: each of several Python threads opens an OpenMP team as wide as the machine. OpenMP keeps a team per caller."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import os, threading
    import parallel_basic
    cores, callers = 4, 4  # as if for 4 cores: how many there are does not matter, threads are counted
    num_threads = {"wrong": cores, "right": max(1, cores // callers)}["{0}"]
    numbers = [1.0] * 100_000
    called, counted = threading.Barrier(callers + 1), threading.Event()

    def caller():
        parallel_basic.parallel_sum(numbers, num_threads=num_threads)
        called.wait()
        counted.wait()  # a team lives as long as its caller

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in threads:
        thread.start()
    called.wait()
    count = len(os.listdir("/proc/self/task")) - 1  # all but the main thread
    counted.set()
    for thread in threads:
        thread.join()
    print(f"{count} busy threads, {cores} are wanted")
    if count <= cores:
        print("done")
    """,
    expected="16 busy threads, 4 are wanted",
)
