"""Mistake: threads for work that is Python itself. They take turns with one GIL; no two calls ever run at the same time."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import concurrent.futures, mmap, sys, tempfile, time
    from thread_pool import Executor

    def meet(who, path):  # waits for the other call, without ever giving the GIL up by itself
        with open(path, "r+b") as file:
            place = mmap.mmap(file.fileno(), 2)
        place[who] = 1
        end = time.perf_counter() + 3
        while time.perf_counter() < end:
            if place[1 - who]:
                return True
        return False

    sys.setswitchinterval(1000)
    executor = {"wrong": concurrent.futures.ThreadPoolExecutor, "right": Executor}["{0}"]
    with tempfile.NamedTemporaryFile() as file, executor(2) as pool:
        file.write(bytes(mmap.PAGESIZE))
        file.flush()
        calls = [pool.submit(meet, who, file.name) for who in (0, 1)]
        if all(call.result() for call in calls):
            print("done")
        else:
            print("the two calls did not meet: one waited until the other was over")
    """,
    expected="the two calls did not meet: one waited until the other was over",
)
