"""Mistake: a long native loop that never asks whether Ctrl-C was pressed."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import deaf_to_ctrl_c, os, signal, threading, time
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    begin = time.monotonic()
    try:
        deaf_to_ctrl_c.{0}(3.0)
    except KeyboardInterrupt:
        pass
    print("done" if time.monotonic() - begin < 2.5 else "Ctrl-C after 0.3 s, but the loop ran to its end")
    """,
    expected="ran to its end",
    source=HERE.with_suffix(".cpp"),
)
