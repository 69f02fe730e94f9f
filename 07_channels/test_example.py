"""Lesson 07 - channels. `python test_example.py` tells the story; `pytest test_example.py` checks it."""

import asyncio
import json
import os
import queue
import threading
import time

import channels

N = 100_000


def hand_over(send, receive, n: int) -> float:
    """Seconds that n objects take from one thread to another, each handed over by a call of its own."""

    def sender() -> None:
        for i in range(n):
            send(i)

    thread = threading.Thread(target=sender)
    begin = time.perf_counter()
    thread.start()
    for _ in range(n):
        receive()
    thread.join()
    return time.perf_counter() - begin


def hand_over_batches(channel, n: int, size: int = 1000) -> float:
    """The same n objects, `size` in a call."""

    items = list(range(n))

    def sender() -> None:
        for i in range(0, n, size):
            channel.send_many(items[i : i + size])

    thread = threading.Thread(target=sender)
    begin = time.perf_counter()
    thread.start()
    received = 0
    while received < n:
        received += len(channel.recv_many(size))
    thread.join()
    return time.perf_counter() - begin


def slow_pipeline(capacity: int, items: int = 40, work_s: float = 0.002):
    """A fast source and a slow stage, with a channel in between: how many waited there at most, and what came out."""
    waiting, results = channels.Channel(capacity), channels.Channel()

    def source() -> None:
        with waiting:  # closes it at the end
            for i in range(items):
                waiting.send(i)

    def stage() -> None:
        with results:
            for item in waiting:  # until it is closed and drained
                time.sleep(work_s)
                results.send(item * item)

    threads = [threading.Thread(target=source), threading.Thread(target=stage)]
    for thread in threads:
        thread.start()
    squares = list(results)
    for thread in threads:
        thread.join()
    return waiting.stats(), squares


# ---- what must be true on every machine


def test_the_four_patterns():
    assert sorted(channels.producer_consumer([3.0, 1.0, 2.0], 2)) == [1.0, 4.0, 9.0]
    assert channels.pipeline_processing([1, 2, 3, 4]) == ["4", "16"]
    assert channels.fan_out_fan_in([1.0, 2.0, 3.0], 2) == 14.0
    assert channels.broadcast_compute(1.5, 3) == [1.5, 3.0, 4.5]


def test_each_object_arrives_once_and_in_order():
    channel, received = channels.Channel(16), []
    threads = [threading.Thread(target=lambda: received.append(list(channel))) for _ in range(2)]
    for thread in threads:
        thread.start()
    with channel:
        for i in range(1000):
            channel.send(i)
    for thread in threads:
        thread.join()
    assert sorted(received[0] + received[1]) == list(range(1000))
    assert all(part == sorted(part) for part in received)


def test_back_pressure_bounds_what_waits():
    stats, squares = slow_pipeline(capacity=4, items=20, work_s=0.001)
    assert squares == [i * i for i in range(20)]
    assert stats.peak <= 4


def test_a_task_receives_what_a_thread_sends():
    async def main():
        channel = channels.Channel(8)
        thread = threading.Thread(target=lambda: (channel.send_many(range(100)), channel.close()))
        thread.start()
        return [item async for item in channel]

    assert asyncio.run(main()) == list(range(100))


# ---- the story


def main() -> None:
    print(f"Two threads, {N:,} objects from one to the other.\n")
    old = queue.Queue(1024)
    simple = queue.SimpleQueue()
    new = channels.Channel(1024)
    seconds = {
        "queue.Queue(1024)": min(hand_over(old.put, old.get, N // 5) for _ in range(3)) * 5,
        "queue.SimpleQueue()": min(hand_over(simple.put, simple.get, N) for _ in range(7)),
        "Channel(1024)": min(hand_over(new.send, new.recv, N) for _ in range(7)),
        "Channel(1024), 1000 in a call": min(hand_over_batches(channels.Channel(1024), N) for _ in range(7)),
    }
    for name, time_s in seconds.items():
        print(f"  {name:31s} {time_s / N * 1e9:7.0f} ns per object")

    print("\nA source that is faster than the stage behind it, 40 objects:")
    for capacity in (4, None):
        stats, _ = slow_pipeline(capacity)
        print(
            f"  capacity {capacity!s:4s}: at most {stats.peak:2d} waited; the source was held back "
            f"{stats.send_waits} times, {stats.send_wait_s * 1e3:.0f} ms in all"
        )

    channel = channels.Channel()
    channel.send("the last word")
    channel.close()
    print(f"\nclosed, and still it hands out {list(channel)}; then", end=" ")
    try:
        channel.recv()
    except channels.ChannelClosed as error:
        print(f"ChannelClosed: {error}")

    values = [float(i) for i in range(200_000)]
    same = {channels.fan_out_fan_in(values, workers) for workers in (1, 2, 4, 7)}
    print(f"fan_out_fan_in with 1, 2, 4 and 7 workers: {len(same)} answer, the same bits")

    path = os.environ.get("TENFOLD_MEASURED")
    if path:
        rows = [
            (
                "one object from thread to thread, Channel",
                f"{seconds['queue.Queue(1024)'] / seconds['Channel(1024)']:.1f} x",
                "queue.Queue",
            ),
            (
                "the same, 1000 objects in a call",
                f"{seconds['queue.SimpleQueue()'] / seconds['Channel(1024), 1000 in a call']:.1f} x",
                "queue.SimpleQueue",
            ),
        ]
        with open(path, "a", encoding="utf-8") as file:
            for what, value, against in rows:
                file.write(json.dumps({"lesson": "07", "what": what, "value": value, "against": against}) + "\n")


if __name__ == "__main__":
    main()
