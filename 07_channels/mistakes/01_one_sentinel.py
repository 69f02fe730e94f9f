"""Mistake: ending several consumers with one sentinel in the queue. The first takes it, the others wait for ever."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import channels, threading

    channel = channels.Channel()

    def wrong():
        def consume():
            while channel.recv() is not None:
                pass

        return consume, lambda: channel.send(None)

    def right():
        def consume():
            for item in channel:  # ends when the channel is closed and drained
                pass

        return consume, channel.close

    consume, finish = {0}()
    threads = [threading.Thread(target=consume) for _ in range(2)]
    for thread in threads:
        thread.start()
    channel.send_many(range(100))
    finish()
    for thread in threads:
        thread.join()
    print("done")
    """,
    expected="hung",
    limit=5,
)
