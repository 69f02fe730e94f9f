"""Mistake: a pool made before fork() and used in the child. The object was copied, its threads were not."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import os, signal, warnings
    from concurrent.futures import ThreadPoolExecutor
    from thread_pool import ThreadPool
    warnings.simplefilter("ignore")  # Python 3.12 and later warn of fork() with threads, for good reason

    def wrong():
        executor.submit(abs, -1).result()  # queued for a worker that is not there

    def right():
        try:
            pool.fib(5)
        except RuntimeError:  # this one notices, so:
            with ThreadPool(2) as mine:
                mine.fib(5)

    executor, pool = ThreadPoolExecutor(1), ThreadPool(2)
    executor.submit(abs, -1).result()
    child = os.fork()
    if child == 0:
        signal.alarm(4)  # ends it, if it hangs
        {0}()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("the child hung, ended after 4 s" if os.WIFSIGNALED(status) else "done")
    """,
    expected="the child hung",
)
