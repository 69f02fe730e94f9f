"""Mistake: asking whether something is there and then receiving. Between the two another consumer takes it."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import channels, threading

    channel = channels.Channel()
    channel.send("the only one")
    both_have_looked = threading.Barrier(2)

    def wrong():
        there = len(channel) > 0
        both_have_looked.wait()  # what the scheduler does once in a million times
        if there:
            channel.recv()

    def right():
        both_have_looked.wait()
        channel.try_recv(None)  # looks and takes in one step

    threads = [threading.Thread(target={0}) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("done")
    """,
    expected="hung",
    limit=5,
)
