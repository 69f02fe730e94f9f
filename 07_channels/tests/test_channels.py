"""Lesson 07 from Python: the four patterns, channels of any object, tasks, select, broadcast, Ctrl-C, exit, fork."""

import array
import asyncio
import collections
import gc
import inspect
import itertools
import pathlib
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref

import channels
import numpy as np
import pytest
from channels import Broadcast, Channel, ChannelClosed, ChannelEmpty, ChannelLagged, select
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold_testing import THREADS, interrupt_child, run_child, run_threads, runs_without_gil

many_cases = settings(max_examples=200, deadline=None)
floats = st.lists(st.floats(width=64), max_size=50)
SIZES = [0, 1, 2, 3, 7, 8, 9, 1023, 1024, 1025, 2047, 2048, 2049, 4095, 4096, 4097, 20_000]


def same_floats(a, b):
    return np.array_equal(np.asarray(a, dtype=float), np.asarray(b, dtype=float), equal_nan=True)


def joined(parts):
    return list(itertools.chain.from_iterable(parts))


# ---- the four patterns


@many_cases
@given(floats, st.sampled_from(THREADS))
def test_producer_consumer(items, workers):
    expected = sorted(x * x for x in items if x == x)
    for result in (channels.producer_consumer(items, workers), channels.producer_consumer(np.array(items, float), workers)):
        assert len(result) == len(items)
        assert sorted(x for x in result if x == x) == expected
    assert type(channels.producer_consumer(items, workers)) is list


@pytest.mark.parametrize("workers", THREADS)
@pytest.mark.parametrize("size", SIZES)
def test_producer_consumer_sizes(size, workers):
    items = np.random.default_rng(size).normal(size=size)
    result = channels.producer_consumer(items, workers)
    assert result.dtype == np.float64 and same_floats(np.sort(result), np.sort(items * items))
    assert sorted(channels.producer_consumer(items.tolist(), workers)) == sorted((items * items).tolist())


@many_cases
@given(st.lists(st.integers(-(3 * 10**9), 3 * 10**9), max_size=60))
def test_pipeline_processing(numbers):
    expected = [str(n * n) for n in numbers if n % 2 == 0]
    assert channels.pipeline_processing(numbers) == expected
    assert channels.pipeline_processing(np.array(numbers, np.int64)) == expected


@pytest.mark.parametrize("size", SIZES)
def test_pipeline_processing_sizes(size):
    numbers = np.random.default_rng(size).integers(-(10**9), 10**9, size)
    expected = [str(n * n) for n in numbers.tolist() if n % 2 == 0]
    assert channels.pipeline_processing(numbers) == expected
    assert channels.pipeline_processing(numbers.tolist()) == expected


@pytest.mark.parametrize("as_array", [False, True])
def test_pipeline_processing_overflow_names_the_first_index(as_array):
    make = np.array if as_array else list
    largest = 3037000498  # even; its square is the largest that fits
    assert channels.pipeline_processing(make([largest, -largest])) == [str(largest * largest)] * 2
    for bad in (largest + 2, -(largest + 2), 2**62, -(2**63)):
        with pytest.raises(OverflowError, match=r"numbers\[3\]"):
            channels.pipeline_processing(make([2, 2**62 + 1, 4, bad, 2**62]))
    with pytest.raises(OverflowError, match=r"numbers\[7000\]"):
        channels.pipeline_processing(make([1, 2] * 3500 + [2**40, 2**41] + [2] * 9000))


@many_cases
@given(floats)
def test_fan_out_fan_in_is_close_to_numpy(tasks):
    with np.errstate(over="ignore"):
        expected = float(np.square(np.array(tasks, float)).sum())
    result = channels.fan_out_fan_in(tasks, 2)
    assert type(result) is float
    assert result == pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("size", SIZES)
def test_fan_out_fan_in_has_the_same_bits_at_every_worker_count(size):
    tasks = np.random.default_rng(size).normal(size=size)
    bits = {channels.fan_out_fan_in(tasks, workers).hex() for workers in (*THREADS, 64)}
    bits |= {channels.fan_out_fan_in(tasks.tolist(), workers).hex() for workers in THREADS}
    assert len(bits) == 1
    assert float.fromhex(bits.pop()) == pytest.approx(float(np.dot(tasks, tasks)), rel=1e-12)


@many_cases
@given(st.floats(width=64), st.integers(1, 20))
def test_broadcast_compute(value, workers):
    assert same_floats(channels.broadcast_compute(value, workers), [value * (i + 1) for i in range(workers)])


def test_results_are_plain_python():
    assert [type(x) for x in channels.producer_consumer([1, True, 2.5], 1)] == [float] * 3
    assert [type(x) for x in channels.broadcast_compute(2, 2)] == [float] * 2
    assert type(channels.fan_out_fan_in(np.ones(3), 1)) is float
    assert channels.fan_out_fan_in([], 3) == 0.0 and channels.producer_consumer([], 3) == []
    assert channels.pipeline_processing([]) == [] and channels.producer_consumer(np.array([]), 3).shape == (0,)


def test_other_sequences_and_buffers():
    assert channels.fan_out_fan_in((1, 2.0), 1) == 5.0
    assert channels.fan_out_fan_in(array.array("d", [1, 2]), 1) == 5.0
    assert channels.fan_out_fan_in(memoryview(np.ones(3)), 1) == 3.0
    assert channels.pipeline_processing(range(5)) == ["0", "4", "16"]
    read_only = np.arange(3.0)
    read_only.flags.writeable = False
    assert list(channels.producer_consumer(read_only, 1)) == [0.0, 1.0, 4.0]


WITH_COUNT = [channels.producer_consumer, channels.fan_out_fan_in]


@pytest.mark.parametrize("function", WITH_COUNT)
@pytest.mark.parametrize(
    ("data", "count", "error", "match"),
    [
        ([1.0, "2"], 1, TypeError, r"\[1\] must be a number, not str"),
        ([1.0, None], 1, TypeError, r"\[1\]"),
        ("12", 1, TypeError, "not str"),
        (None, 1, TypeError, "not NoneType"),
        ({1.0}, 1, TypeError, "not set"),
        ((x for x in [1.0]), 1, TypeError, "generator"),
        ([1.0, 10**400], 1, OverflowError, r"\[1\]"),
        (np.arange(3), 1, TypeError, "float64"),
        (np.zeros((2, 2)), 1, ValueError, "1-D"),
        (np.zeros(6)[::2], 1, ValueError, "ascontiguousarray"),
        (np.zeros(3, ">f8"), 1, ValueError, "byte order"),
        ([1.0], 0, ValueError, "at least 1"),
        ([1.0], -1, ValueError, "at least 1"),
        ([1.0], 1025, ValueError, "at most 1024"),
        ([1.0], 2**70, OverflowError, "does not fit"),
        ([1.0], 1.0, TypeError, "must be an int"),
        ([1.0], "1", TypeError, "must be an int"),
        ([1.0], None, TypeError, "must be an int"),
        (["bad data, but the count is looked at first"], 0, ValueError, "at least 1"),
    ],
)
def test_bad_input(function, data, count, error, match):
    with pytest.raises(error, match=match):
        function(data, count)


@pytest.mark.parametrize(
    ("numbers", "error", "match"),
    [
        ([1, 2.0], TypeError, r"numbers\[1\] must be an int"),
        ([1, 2**63], OverflowError, r"numbers\[1\]"),
        (np.arange(3.0), TypeError, "int64"),
        (np.arange(3, dtype=np.int32), TypeError, "int64"),
        (7, TypeError, "sequence"),
    ],
)
def test_bad_input_of_the_pipeline(numbers, error, match):
    with pytest.raises(error, match=match):
        channels.pipeline_processing(numbers)


@pytest.mark.parametrize(
    ("value", "count", "error"),
    [("1", 1, TypeError), (None, 1, TypeError), (1.0, 0, ValueError), (1.0, 2000, ValueError), (10**400, 1, OverflowError)],
)
def test_bad_input_of_broadcast_compute(value, count, error):
    with pytest.raises(error):
        channels.broadcast_compute(value, count)


def test_parameter_names():
    assert channels.producer_consumer(items=[2.0], worker_count=1) == [4.0]
    assert channels.pipeline_processing(numbers=[2]) == ["4"]
    assert channels.fan_out_fan_in(tasks=[2.0], workers=1) == 4.0
    assert channels.broadcast_compute(value=2.0, worker_count=1) == [2.0]


@pytest.mark.parametrize(
    "call",
    [
        lambda big: channels.producer_consumer(big, 2),
        lambda big: channels.pipeline_processing(np.arange(300_000)),
        lambda big: channels.fan_out_fan_in(big, 2),
        lambda big: channels.broadcast_compute(1.0, 16),
    ],
)
def test_patterns_release_the_gil(call):
    big = np.ones(2_000_000)
    assert runs_without_gil(lambda: call(big))


@pytest.mark.parametrize("threads", THREADS)
def test_patterns_from_many_threads(threads):
    def work(i):
        data = [float(i + k) for k in range(3000)]
        return (
            sorted(channels.producer_consumer(data, 2)) == sorted(x * x for x in data)
            and channels.pipeline_processing(range(i, i + 3000)) == [str(n * n) for n in range(i, i + 3000) if n % 2 == 0]
            and channels.fan_out_fan_in(data, 3) == channels.fan_out_fan_in(data, 1)
            and channels.broadcast_compute(2.0, 3) == [2.0, 4.0, 6.0]
        )

    assert all(run_threads(threads, work))


# ---- a channel, alone


def test_first_in_first_out():
    channel = Channel()
    things = [1, None, "x", [2], channel, Ellipsis, 3.5]
    for thing in things:
        assert channel.send(thing) is None
    assert len(channel) == len(things)
    received = [channel.recv() for _ in things]
    assert all(a is b for a, b in zip(things, received))
    assert len(channel) == 0 and bool(channel)


@pytest.mark.parametrize("capacity", [1, 2, 3, 16, 1000])
def test_capacity_is_exact(capacity):
    channel = Channel(capacity)
    assert channel.capacity == capacity
    assert [channel.try_send(i) for i in range(capacity + 2)] == [True] * capacity + [False] * 2
    assert channel.recv() == 0 and channel.try_send("more") and not channel.try_send("too much")
    assert Channel().capacity is None
    assert Channel(2**32).capacity == 2**32  # nothing is allocated for it


@pytest.mark.parametrize(
    ("capacity", "error"),
    [(0, ValueError), (-1, ValueError), (2**62, ValueError), (2**70, OverflowError), (1.0, TypeError), ("1", TypeError)],
)
def test_bad_capacity(capacity, error):
    with pytest.raises(error):
        Channel(capacity)
    with pytest.raises(error):
        Broadcast(capacity)


def test_empty_full_and_closed_are_told_apart():
    channel = Channel(1)
    with pytest.raises(ChannelEmpty):
        channel.try_recv()
    assert channel.try_recv(None) is None and channel.try_recv(default=7) == 7
    with pytest.raises(TimeoutError, match="empty"):
        channel.recv(0)
    channel.send(1, timeout=0)
    assert not channel.try_send(2)
    with pytest.raises(TimeoutError, match="full"):
        channel.send(2, 0)
    channel.close()
    assert channel.closed
    for refused in (lambda: channel.send(3), lambda: channel.try_send(3), lambda: channel.send_many([3])):
        with pytest.raises(ChannelClosed, match="closed"):
            refused()
    assert channel.recv() == 1
    for drained in (channel.recv, channel.try_recv, lambda: channel.try_recv(0), channel.recv_many, lambda: channel.recv(0)):
        with pytest.raises(ChannelClosed, match="drained"):
            drained()
    channel.close()
    assert list(channel) == [] and issubclass(ChannelClosed, RuntimeError) and issubclass(ChannelEmpty, LookupError)


@pytest.mark.parametrize("timeout", [-1, float("nan"), -0.001])
@pytest.mark.parametrize("call", ["send", "recv", "send_many", "recv_many", "select"])
def test_bad_timeout(call, timeout):
    channel = Channel(1)
    calls = {
        "send": lambda: channel.send(1, timeout=timeout),
        "recv": lambda: channel.recv(timeout=timeout),
        "send_many": lambda: channel.send_many([1, 2], timeout=timeout),
        "recv_many": lambda: channel.recv_many(timeout=timeout),
        "select": lambda: select([channel], timeout=timeout),
    }
    with pytest.raises(ValueError, match="timeout"):
        calls[call]()
    assert len(channel) == 0
    with pytest.raises(TypeError):
        channel.recv("1")


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.send(),
        lambda c: c.send(1, 2, 3),
        lambda c: c.send(1, limit=3),
        lambda c: c.send(1, 2, timeout=3),
        lambda c: c.recv(1, 2),
        lambda c: c.recv(limit=3),
        lambda c: c.try_send(),
        lambda c: c.try_recv(1, 2),
        lambda c: c.recv_many(1.5),
        lambda c: c.send_many(3),
        lambda c: Channel.recv(3),
    ],
)
def test_bad_calls(call):
    with pytest.raises(TypeError):
        call(Channel())


def test_timeouts_pass():
    channel = Channel(1)
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        channel.recv(timeout=0.05)
    channel.send(1)
    with pytest.raises(TimeoutError):
        channel.send(2, timeout=0.05)
    assert time.monotonic() - begin >= 0.1
    assert channel.recv(timeout=float("inf")) == 1
    assert channel.stats().recv_waits == 1 and channel.stats().send_waits == 1


@pytest.mark.parametrize("timeout", [float("inf"), 1e308, 10**300, 1e18, 9.3e9, 1e9])
def test_long_timeouts_wait(timeout):
    channel = Channel()
    assert run_threads(2, lambda i: channel.recv(timeout) if i else time.sleep(0.02) or channel.send(1), limit=10)[1] == 1
    with pytest.raises(OverflowError):
        channel.recv(10**400)


def test_the_timeout_of_send_many_is_one_for_all():
    channel = Channel(1)
    slowly = threading.Thread(target=lambda: [(time.sleep(0.05), channel.try_recv(None)) for _ in range(20)])
    slowly.start()
    with pytest.raises(TimeoutError) as caught:
        channel.send_many(range(30), timeout=0.2)
    slowly.join()
    assert caught.value.sent < 15


def test_waiting_leaves_no_half_made_list_about():
    child = run_child(
        """
        import channels, gc, threading, time

        channel = channels.Channel()
        waiting = threading.Thread(target=channel.recv_many)
        waiting.start()
        time.sleep(0.1)
        for each in gc.get_objects():
            if type(each) is list:
                list(each)  # counts each item: one that is not there ends the process
        channel.send(1)
        waiting.join()
        print("done")
        """,
        limit=20,
    )
    assert child.stdout == "done\n", child.stderr


def test_send_many_and_recv_many():
    channel = Channel()
    assert channel.send_many([1, 2]) is None
    channel.send_many(i for i in (3, 4))
    channel.send_many({5: None})
    channel.send_many(())
    assert channel.recv_many(2) == [1, 2] and channel.recv_many() == [3, 4, 5]
    with pytest.raises(TimeoutError):
        channel.recv_many(timeout=0)
    with pytest.raises(ValueError):
        channel.recv_many(0)
    big = list(range(100_000))
    channel.send_many(big)
    assert len(channel) == len(big) and channel.recv_many(10**9) == big
    small = Channel(3)
    with pytest.raises(TimeoutError) as caught:
        small.send_many(range(10), timeout=0)
    assert caught.value.sent == 3 and small.recv_many() == [0, 1, 2]
    small.close()
    with pytest.raises(ChannelClosed) as caught:
        small.send_many(range(10))
    assert caught.value.sent == 0
    with pytest.raises(ZeroDivisionError):
        Channel().send_many(1 // i for i in (1, 0))


@pytest.mark.parametrize("capacity", [1, 7, 64, None])
def test_batches_between_threads(capacity):
    channel, size = Channel(capacity), 5000

    def work(i):
        if i == 0:
            for start in range(0, size, 250):
                channel.send_many(range(start, start + 250))
            channel.close()
            return None
        received = []
        try:
            while True:
                received += channel.recv_many(100)
        except ChannelClosed:
            return received

    assert run_threads(2, work)[1] == list(range(size))


def test_with_closes():
    with Channel() as channel:
        channel.send(1)
    assert channel.closed and list(channel) == [1]
    with pytest.raises(ZeroDivisionError), Channel() as channel:
        1 / 0
    assert channel.closed


def test_repr_and_stats():
    channel = Channel(4)
    channel.send_many("abc")
    channel.recv()
    assert repr(channel) == "<Channel capacity=4 depth=2>"
    channel.close()
    assert repr(channel) == "<Channel capacity=4 depth=2 closed>" and "capacity=None" in repr(Channel())
    stats = channel.stats()
    assert (stats.sent, stats.received, stats.depth, stats.peak) == (3, 1, 2, 3)
    assert stats.send_waits == stats.recv_waits == 0


def test_depths_are_recorded_and_bounded():
    channel = Channel(record=100)
    for i in range(5):
        channel.send(i)
    for _ in range(5):
        channel.recv()
    assert [depth for _, depth in channel.depths()] == [1, 2, 3, 4, 5, 4, 3, 2, 1, 0]
    times = [seconds for seconds, _ in channel.depths()]
    assert times == sorted(times) and abs(times[-1] - time.monotonic()) < 60
    for i in range(10_000):
        channel.send(i)
    assert 50 <= len(channel.depths()) <= 100
    assert Channel().depths() == []
    with pytest.raises(ValueError):
        Channel(record=-1)


def test_cannot_be_copied_or_pickled():
    for thing in (Channel(), Broadcast(1), Broadcast(1).subscribe()):
        with pytest.raises(TypeError):
            pickle.dumps(thing)


def test_init_twice_and_never():
    channel = Channel(2)
    channel.send(1)
    channel.__init__(5)
    assert channel.recv() == 1

    class Forgetful(Channel):
        def __init__(self):
            pass

    for make in (
        Forgetful,
        lambda: Channel.__new__(Channel).recv(),
        lambda: len(Channel.__new__(Channel)) or Channel.recv(Channel.__new__(Channel)),
        lambda: Channel.__new__(Channel).close(),
        lambda: Channel.__new__(Channel).closed,
        lambda: repr(Channel.__new__(Channel)),
        lambda: select([Channel.__new__(Channel)]),
        lambda: Broadcast.__new__(Broadcast).send(1),
        lambda: channels.Subscription(Broadcast.__new__(Broadcast)),
        lambda: channels.Subscription.__new__(channels.Subscription).close(),
        lambda: Channel.close(Broadcast(1)),
        lambda: Channel.close(None),
    ):
        with pytest.raises(TypeError):
            make()
    gc.collect()


def test_subclasses():
    class Named(Channel):
        def __init__(self, name):
            super().__init__(3)
            self.name = name

    named = Named("a")
    named.send(1)
    assert named.name == "a" and named.recv() == 1 and "Named" in repr(named)


# ---- between threads


@pytest.mark.parametrize("capacity", [1, 3, 128, None])
@pytest.mark.parametrize("senders", THREADS)
@pytest.mark.parametrize("receivers", THREADS)
def test_each_object_once_and_each_senders_in_order(senders, receivers, capacity):
    """What is promised: exactly once; each receiver sees each sender's objects in the order in which they were sent."""
    channel, each = Channel(capacity), 300
    left = threading.Semaphore(0)

    def work(i):
        if i < senders:
            for k in range(each):
                channel.send((i, k))
            left.release()
            if i == 0:
                for _ in range(senders):
                    left.acquire()
                channel.close()
            return []
        return list(channel)

    received = run_threads(senders + receivers, work)[senders:]
    assert sorted(joined(received)) == [(i, k) for i in range(senders) for k in range(each)]
    for part in received:
        for i in range(senders):
            mine = [k for sender, k in part if sender == i]
            assert mine == sorted(mine)


def test_one_order_over_all_senders():
    """FIFO over all of them: what was sent before another send began comes out first."""
    channel = Channel()
    ticket, lock = 0, threading.Lock()

    def work(i):
        nonlocal ticket
        for _ in range(2000):
            with lock:
                channel.send(ticket)
                ticket += 1

    run_threads(4, work)
    channel.close()
    assert list(channel) == list(range(8000))


@pytest.mark.parametrize("seed", range(8))
def test_any_calls_in_any_order(seed):
    """Random senders and receivers, by every method there is, until closed: nothing lost, nothing twice."""
    channel = Channel(random.Random(seed).choice([1, 2, 5, 50, None]))
    sending = threading.Semaphore(0)

    def send(i, rng):
        k = 0
        while k < 400:
            how, n = rng.randrange(4), min(rng.randrange(1, 20), 400 - k)
            if how == 0:
                channel.send((i, k))
                n = 1
            elif how == 1:
                n = int(channel.try_send((i, k)))
                time.sleep(0)
            elif how == 2:
                try:
                    channel.send((i, k), timeout=0.0005)
                    n = 1
                except TimeoutError:
                    n = 0
            else:
                try:
                    channel.send_many([(i, k + j) for j in range(n)], timeout=0.001)
                except TimeoutError as error:
                    n = error.sent
            k += n
        sending.release()
        if i == 0:
            for _ in range(3):
                sending.acquire()
            channel.close()
        return []

    def receive(rng):
        got = []
        try:
            while True:
                how = rng.randrange(4)
                if how == 0:
                    got.append(channel.recv())
                elif how == 1:
                    item = channel.try_recv(None)
                    got += [item] if item is not None else []
                    time.sleep(0)
                elif how == 2:
                    got += channel.recv_many(rng.randrange(1, 9))
                else:
                    try:
                        got.append(select([channel], timeout=0.0005)[1])
                    except TimeoutError:
                        pass
        except ChannelClosed:
            return got

    parts = run_threads(
        6, lambda i: send(i, random.Random((seed, i).__hash__())) if i < 3 else receive(random.Random(seed * 7 + i))
    )
    received = collections.Counter(joined(parts))
    assert received == collections.Counter((i, k) for i in range(3) for k in range(400))
    for part in parts:
        for i in range(3):
            mine = [k for sender, k in part if sender == i]
            assert mine == sorted(mine)


@pytest.mark.parametrize(
    "call",
    [
        lambda empty, full: empty.recv(0.02),
        lambda empty, full: full.send(1, 0.02),
        lambda empty, full: empty.recv_many(timeout=0.02),
        lambda empty, full: full.send_many([1], timeout=0.02),
        lambda empty, full: select([empty, (full, 1)], timeout=0.02),
    ],
)
def test_waiting_releases_the_gil(call):
    empty, full = Channel(), Channel(1)
    full.send(0)

    def wait():
        with pytest.raises(TimeoutError):
            call(empty, full)

    assert runs_without_gil(wait)


@pytest.mark.parametrize("waiters", THREADS)
def test_close_wakes_all_who_wait(waiters):
    empty, full = Channel(), Channel(1)
    full.send(0)
    calls = [
        empty.recv,
        empty.recv_many,
        lambda: full.send(1),
        lambda: full.send_many([1]),
        lambda: select([empty]),
        lambda: select([(full, 1)]),
    ]

    def work(i):
        if i == 0:
            time.sleep(0.05)
            empty.close()
            full.close()
            return True
        with pytest.raises(ChannelClosed):
            calls[i % len(calls)]()
        return True

    assert all(run_threads(waiters * 2, work, limit=20))
    assert list(full) == [0]


def test_waiting_uses_no_cpu():
    channel = Channel()
    threads = [threading.Thread(target=channel.recv) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    before = time.process_time()
    time.sleep(0.5)
    used = time.process_time() - before
    channel.send_many(range(4))
    for thread in threads:
        thread.join(10)
    assert used < 0.1  # four spinning threads would have used 0.5 s and more


def test_a_wake_up_is_not_lost_when_a_waiter_times_out():
    channel = Channel(1)
    for _ in range(300):
        results = []

        def short():
            try:
                results.append(channel.recv(timeout=0.0005))
            except TimeoutError:
                pass

        threads = [threading.Thread(target=short) for _ in range(3)]
        last = threading.Thread(target=lambda: results.append(channel.recv(timeout=20)))
        for thread in (*threads, last):
            thread.start()
        channel.send("x")
        for thread in threads:
            thread.join()
        if results:  # a short one was faster
            channel.send("y")
        last.join()
        while channel.try_recv(None):
            pass
        assert results and results[-1] in ("x", "y")


# ---- objects: their lives


class Thing:
    pass


def test_objects_are_released():
    channel, thing = Channel(), Thing()
    alive = weakref.ref(thing)
    channel.send(thing)
    del thing
    assert alive() is not None
    channel.recv()
    assert alive() is None
    for how in ("drop the channel", "time out", "closed", "many"):
        channel, thing = Channel(1), Thing()
        alive = weakref.ref(thing)
        if how == "drop the channel":
            channel.send(thing)
        elif how == "many":
            channel = Channel()
            channel.send_many([thing] * 100)
            channel.recv_many(30)
        else:
            channel.send(0) if how == "time out" else channel.close()
            try:
                channel.send(thing, timeout=0.001)
            except (TimeoutError, ChannelClosed):
                pass
        del thing, channel
        assert alive() is None, how


def test_objects_survive_growing_and_leaving_in_batches():
    for taken, more, limit in itertools.product((0, 1, 7, 15, 16, 30), (0, 1, 16, 17, 100, 1000), (1, 5, None)):
        channel, expected, got = Channel(), [], []
        for count in (taken + 3, more):  # the oldest lies anywhere when the ring grows
            things = [Thing() for _ in range(count)]
            expected += map(weakref.ref, things)
            for thing in things:
                channel.send(thing)
            things = thing = None
            got += [channel.recv() for _ in range(taken)] if not got else []
        while len(channel):
            some = channel.recv_many(limit)
            assert 1 <= len(some) <= (limit or len(expected))
            got += some
        assert got == [ref() for ref in expected]
        got = some = None
        assert not any(ref() for ref in expected)


@pytest.mark.parametrize("senders, receivers", [(1, 1), (1, 4), (4, 1), (4, 4)])
@pytest.mark.parametrize("capacity", [1, 2, 100, 1000])
def test_turns_between_batches_and_single_objects(senders, receivers, capacity):
    """Who waits looks for a moment before it sleeps, and sides change quickly: each object once, each sender's in order."""
    each = 3_000
    channel = Channel(capacity)
    got = [[] for _ in range(receivers)]
    left = itertools.count(1)

    def work(number):
        if number < senders:
            chunks = random.Random(number)
            i = 0
            while i < each:
                size = min(chunks.choice((1, 1, 7, capacity, 3 * capacity)), each - i)
                if size == 1:
                    channel.send((number, i))
                else:
                    channel.send_many([(number, k) for k in range(i, i + size)])
                i += size
            if next(left) == senders:
                channel.close()
        else:
            mine, chunks = got[number - senders], random.Random(number)
            try:
                while True:
                    if chunks.random() < 0.5:
                        mine.append(channel.recv())
                    else:
                        mine += channel.recv_many(chunks.choice((1, 5, capacity, None)))
            except ChannelClosed:
                pass

    run_threads(senders + receivers, work)
    assert sorted(joined(got)) == [(s, i) for s in range(senders) for i in range(each)]
    for mine in got:
        for s in range(senders):
            of_one = [i for sender, i in mine if sender == s]
            assert of_one == sorted(of_one)
    stats = channel.stats()
    assert stats.sent == stats.received == senders * each and stats.peak <= capacity


def test_reference_counts_stay_right():
    thing = Thing()
    before = sys.getrefcount(thing)
    channel = Channel(10)
    for _ in range(1000):
        channel.send(thing)
        channel.try_send(thing)
        channel.send_many([thing] * 3)
        channel.recv()
        channel.try_recv()
        channel.recv_many()
        channel.try_recv(thing)
        select([(channel, thing)])
        select([channel])
    assert sys.getrefcount(thing) == before


@pytest.mark.parametrize("kind", ["itself", "in a list", "two channels", "closure", "broadcast", "subscription"])
def test_cycles_are_collected(kind):
    thing = Thing()
    alive = weakref.ref(thing)
    if kind == "itself":
        channel = Channel()
        channel.send(channel)
        channel.send(thing)
    elif kind == "in a list":
        channel = Channel()
        channel.send([channel, thing])
    elif kind == "two channels":
        channel, other = Channel(), Channel()
        channel.send((other, thing))
        other.send(channel)
        del other
    elif kind == "closure":
        channel = Channel()
        channel.send(lambda channel=channel, thing=thing: (channel, thing))
    else:
        broadcast = Broadcast(4)
        subscription = broadcast.subscribe()
        broadcast.send((subscription, thing))
        thing.back = broadcast if kind == "broadcast" else subscription
        del broadcast, subscription
    channel = None
    del thing
    gc.collect()
    assert alive() is None


def test_destructors_may_use_the_channel():
    channel = Channel()
    seen = []

    class Talks:
        def __del__(self):
            seen.append(channel.try_recv("empty") if not channel.closed else "closed")
            if not channel.closed:
                channel.send(1)

    channel.send(Talks())
    channel.recv()
    channel.send_many([Talks(), Talks()])
    channel.close()
    list(channel)
    assert len(seen) == 3
    gc.collect()


def test_a_long_chain_of_channels_is_destroyed():
    channel = Channel()
    for _ in range(100_000):
        outer = Channel()
        outer.send(channel)
        channel = outer
    del channel, outer
    gc.collect()


def test_a_channel_that_dies_in_another_thread():
    for _ in range(50):
        thing = Thing()
        alive = weakref.ref(thing)
        channel = Channel()
        channel.send(thing)
        holder = [channel]
        del channel, thing
        thread = threading.Thread(target=holder.clear)
        thread.start()
        thread.join()
        assert alive() is None


# ---- select


def test_select_receives_and_sends():
    a, b, full = Channel(), Channel(), Channel(1)
    full.send(0)
    b.send("b")
    assert select([a, b]) == (b, "b")
    assert select([a, (b, "x"), (full, "y")]) == (b, None) and b.recv() == "x"
    with pytest.raises(TimeoutError):
        select([a, (full, 1)], timeout=0)
    with pytest.raises(TimeoutError):
        select((a, b), timeout=0.02)
    a.close()
    with pytest.raises(TimeoutError):
        select([a, b], timeout=0.02)  # a has ended and is passed over
    b.close()
    with pytest.raises(ChannelClosed):
        select([a, b])
    with pytest.raises(ChannelClosed):
        select([(a, 1), Channel()])


def test_select_is_fair():
    a, b = Channel(), Channel()
    a.send_many(range(200))
    b.send_many(range(200))
    chosen = collections.Counter(id(select([a, b])[0]) for _ in range(200))
    assert min(chosen[id(a)], chosen[id(b)]) > 20


@pytest.mark.parametrize(
    ("cases", "error", "match"),
    [
        ([], ValueError, "at least one"),
        ([1], TypeError, r"cases\[0\]"),
        ([Channel(), "x"], TypeError, r"cases\[1\]"),
        ([(Channel(), 1, 2)], TypeError, r"cases\[0\]"),
        (Channel(), TypeError, "sequence"),
        (None, TypeError, "sequence"),
    ],
)
def test_select_bad_cases(cases, error, match):
    with pytest.raises(error, match=match):
        select(cases, timeout=0)


@pytest.mark.parametrize("selectors", [1, 2, 4])
def test_select_between_threads(selectors):
    sources = [Channel(1), Channel(3), Channel()]
    each = 400

    def work(i):
        if i < 3:
            with sources[i]:
                for k in range(each):
                    sources[i].send((i, k))
            return []
        got = []
        try:
            while True:
                got.append(select(sources)[1])
        except ChannelClosed:
            return got

    parts = run_threads(3 + selectors, work)
    assert sorted(joined(parts)) == [(i, k) for i in range(3) for k in range(each)]


def test_select_of_sends_and_receives_among_threads():
    """Two threads that each either give or take: each object is received once."""
    a, b = Channel(1), Channel(1)

    def work(i):
        give, take = (a, b) if i == 0 else (b, a)
        given, taken = 0, []
        while given < 500 or len(taken) < 500:
            cases = ([(give, given)] if given < 500 else []) + ([take] if len(taken) < 500 else [])
            _, item = select(cases)
            if item is None:
                given += 1
            else:
                taken.append(item)
        return taken

    assert run_threads(2, work) == [list(range(500))] * 2


# ---- broadcast


def test_every_subscription_sees_everything_from_then_on():
    broadcast = Broadcast(10)
    broadcast.send("nobody is there")
    first = broadcast.subscribe()
    broadcast.send(1)
    second = broadcast.subscribe()
    broadcast.send(2)
    assert (broadcast.subscriptions, len(broadcast), len(first), len(second)) == (2, 2, 2, 1)
    assert first.recv() == 1 and first.try_recv() == 2 and second.recv() == 2
    with pytest.raises(ChannelEmpty):
        first.try_recv()
    with pytest.raises(TimeoutError):
        second.recv(timeout=0.01)
    broadcast.close()
    for subscription in (first, second, broadcast.subscribe()):
        with pytest.raises(ChannelClosed):
            subscription.recv()
        assert list(subscription) == [] and subscription.closed
    with pytest.raises(ChannelClosed):
        broadcast.send(3)


def test_senders_wait_for_the_slowest():
    broadcast = Broadcast(2)
    fast, slow = broadcast.subscribe(), broadcast.subscribe()
    assert broadcast.try_send(1) and broadcast.try_send(2) and not broadcast.try_send(3)
    assert [fast.recv(), fast.recv()] == [1, 2] and not broadcast.try_send(3)
    with pytest.raises(TimeoutError):
        broadcast.send(3, timeout=0.01)
    assert slow.recv() == 1
    broadcast.send(3)
    slow.close()  # nobody waits for it any more
    broadcast.send(4)
    with pytest.raises(ChannelClosed):
        slow.recv()
    assert [fast.recv(), fast.recv()] == [3, 4] and broadcast.subscriptions == 1


def test_lagging_subscriptions_are_told():
    broadcast = Broadcast(3, overflow="lag")
    subscription = broadcast.subscribe()
    for i in range(10):
        broadcast.send(i)
    with pytest.raises(ChannelLagged) as caught:
        subscription.recv()
    assert caught.value.missed == 7
    assert [subscription.recv() for _ in range(3)] == [7, 8, 9]
    with pytest.raises(ValueError, match="overflow"):
        Broadcast(3, overflow="drop")


@pytest.mark.parametrize("capacity", [1, 5, 1000])
@pytest.mark.parametrize("readers", THREADS)
def test_broadcast_between_threads(readers, capacity):
    broadcast = Broadcast(capacity)
    subscriptions = [broadcast.subscribe() for _ in range(readers)]

    def work(i):
        if i == 0:
            with broadcast:
                for k in range(500):
                    broadcast.send(k)
            return None
        return list(subscriptions[i - 1])

    assert run_threads(1 + readers, work)[1:] == [list(range(500))] * readers


def test_closing_a_subscription_ends_a_wait_in_it():
    broadcast = Broadcast(1)
    subscription = broadcast.subscribe()

    def work(i):
        if i == 0:
            time.sleep(0.03)
            subscription.close()
            return True
        with pytest.raises(ChannelClosed):
            subscription.recv()
        return True

    assert all(run_threads(2, work, limit=20))
    assert broadcast.subscriptions == 0


def test_closing_a_subscription_wakes_whoever_waits_in_it_and_nobody_else():
    for i in range(11):
        broadcast = Broadcast(1)
        subscription, other = broadcast.subscribe(), broadcast.subscribe()
        ended = []

        def receive(source, ended=ended):
            try:
                source.recv()
            except ChannelClosed:
                ended.append(source)

        threads = [threading.Thread(target=receive, args=(source,)) for source in (subscription, other)]
        for thread in threads:
            thread.start()
        time.sleep(0.02 + 0.002 * i)
        subscription.close()
        threads[0].join(20)
        assert ended == [subscription] and threads[1].is_alive()  # woken too, and back to sleep
        broadcast.close()
        threads[1].join(20)
        assert ended == [subscription, other]


def test_watching_a_closed_subscription_says_so():
    subscription = Broadcast(1).subscribe()
    subscription.close()
    with pytest.raises(ChannelClosed):
        subscription._watch(True, print)


def test_ctrl_c_while_a_task_is_woken_is_not_lost():
    child = run_child(
        """
        import channels, time

        def wake():
            raise KeyboardInterrupt  # as a signal handler does that runs in the middle of this

        channel = channels.Channel()
        channel._watch(True, wake)
        try:
            channel.send(1)
            time.sleep(1)
        except KeyboardInterrupt:
            print("seen", channel.recv())
        """,
        limit=20,
    )
    assert child.stdout == "seen 1\n", child.stderr


def test_subscription_outlives_its_broadcast_variable():
    broadcast = Broadcast(5)
    subscription = broadcast.subscribe()
    broadcast.send([1])
    broadcast.close()
    del broadcast
    gc.collect()
    assert list(subscription) == [[1]]
    with pytest.raises(TypeError):
        channels.Subscription(3)


# ---- asyncio


def run(main):
    async def limited():
        return await asyncio.wait_for(main(), 60)

    return asyncio.run(limited())


@pytest.mark.parametrize("capacity", [1, 8, None])
def test_tasks_to_tasks(capacity):
    async def main():
        channel = Channel(capacity)

        async def sender(i):
            for k in range(200):
                await channel.send_async((i, k))

        async def receiver():
            return [item async for item in channel]

        receivers = [asyncio.create_task(receiver()) for _ in range(3)]
        await asyncio.gather(*(sender(i) for i in range(3)))
        channel.close()
        parts = await asyncio.gather(*receivers)
        assert sorted(joined(parts)) == [(i, k) for i in range(3) for k in range(200)]
        for part in parts:
            for i in range(3):
                assert [k for sender, k in part if sender == i] == sorted(k for sender, k in part if sender == i)

    run(main)


@pytest.mark.parametrize("capacity", [1, 8, None])
def test_threads_to_tasks_and_back(capacity):
    there, back = Channel(capacity), Channel(capacity)

    def sender():
        for k in range(500):
            there.send(k)
        there.close()

    def receiver():
        received.extend(back)

    async def main():
        async for item in there:
            await back.send_async(item + 1)
        back.close()

    received = []
    threads = [threading.Thread(target=sender), threading.Thread(target=receiver)]
    for thread in threads:
        thread.start()
    run(main)
    for thread in threads:
        thread.join(20)
    assert received == list(range(1, 501))


def test_awaiting_a_closed_channel():
    async def main():
        channel = Channel(1)
        channel.send(1)
        waiting = asyncio.create_task(channel.send_async(2))
        await asyncio.sleep(0.01)
        channel.close()
        with pytest.raises(ChannelClosed):
            await waiting
        assert await channel.recv_async() == 1
        with pytest.raises(ChannelClosed):
            await channel.recv_async()
        empty = Channel()
        tasks = [asyncio.create_task(empty.recv_async()) for _ in range(3)]
        await asyncio.sleep(0.01)
        empty.close()
        assert all(isinstance(each, ChannelClosed) for each in await asyncio.gather(*tasks, return_exceptions=True))

    run(main)


def test_a_cancelled_await_loses_no_item():
    """Cancelled before, at the same moment as, and after it was woken."""

    async def main():
        for pauses in range(4):
            for _ in range(50):
                channel = Channel(1)
                task = asyncio.create_task(channel.recv_async())
                await asyncio.sleep(0)
                channel.send("x")
                for _ in range(pauses):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    received = await task
                except asyncio.CancelledError:
                    received = channel.try_recv("lost")
                assert received == "x"

    run(main)


def test_a_cancelled_await_passes_its_wake_up_on():
    async def main():
        for _ in range(100):
            channel = Channel()
            tasks = [asyncio.create_task(channel.recv_async()) for _ in range(3)]
            await asyncio.sleep(0)
            channel.send("x")  # wakes the first
            tasks[0].cancel()
            done, pending = await asyncio.wait(tasks[1:], timeout=20, return_when=asyncio.FIRST_COMPLETED)
            assert [task.result() for task in done] == ["x"]
            for task in pending:
                task.cancel()
            full = Channel(1)
            full.send(0)
            tasks = [asyncio.create_task(full.send_async(i)) for i in range(2)]
            await asyncio.sleep(0)
            full.recv()
            tasks[0].cancel()
            await asyncio.wait_for(tasks[1], 20)
            assert full.recv() == 1

    run(main)


def test_a_task_that_gave_up_leaves_the_item_to_a_thread():
    channel, received = Channel(), []
    thread = threading.Thread(target=lambda: received.append(channel.recv(timeout=20)))

    async def main():
        task = asyncio.create_task(channel.recv_async())
        await asyncio.sleep(0)
        thread.start()
        await asyncio.sleep(0.05)  # the task waits first, then the thread
        channel.send("x")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    thread.join(20)
    assert received == ["x"]


def test_wait_for_times_out_and_loses_nothing():
    async def main():
        channel = Channel()
        for _ in range(30):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(channel.recv_async(), 0.001)
        channel.send("x")
        assert await asyncio.wait_for(channel.recv_async(), 20) == "x"

    run(main)


def test_a_closed_loop_does_not_keep_a_wake_up():
    def story():
        channel = Channel()
        loop = asyncio.new_event_loop()
        task = loop.create_task(channel.recv_async())
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()  # the task never runs again
        task._log_destroy_pending = False
        received = []
        thread = threading.Thread(target=lambda: received.append(channel.recv(timeout=20)))
        thread.start()
        time.sleep(0.05)
        channel.send("x")
        thread.join(20)
        assert received == ["x"]
        return weakref.ref(channel)

    alive = story()
    gc.collect()
    assert alive() is None


def test_async_iteration_lets_other_tasks_run():
    async def main():
        channel = Channel()
        channel.send_many(range(10_000))
        channel.close()
        turns = 0

        async def other():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        assert [item async for item in channel] == list(range(10_000))
        task.cancel()
        assert turns > 50

    run(main)


def test_the_loop_sleeps_while_a_task_waits():
    async def main():
        channel = Channel()
        task = asyncio.create_task(channel.recv_async())
        await asyncio.sleep(0.05)
        threads, used = threading.active_count(), time.process_time()
        await asyncio.sleep(0.4)
        assert threading.active_count() == threads == before
        assert time.process_time() - used < 0.1
        channel.send(1)
        await task

    before = threading.active_count()
    run(main)


def test_async_broadcast():
    async def main():
        broadcast = Broadcast(2)
        subscriptions = [broadcast.subscribe() for _ in range(3)]

        async def read(subscription):
            return [item async for item in subscription]

        tasks = [asyncio.create_task(read(subscription)) for subscription in subscriptions]
        for i in range(100):
            await broadcast.send_async(i)
        broadcast.close()
        assert await asyncio.gather(*tasks) == [list(range(100))] * 3
        other = Broadcast(1)
        subscription = other.subscribe()
        task = asyncio.create_task(subscription.recv_async())
        await asyncio.sleep(0)
        subscription.close()
        with pytest.raises(ChannelClosed):
            await task

    run(main)


def test_abandoned_tasks_are_collected():
    thing = Thing()
    alive = weakref.ref(thing)

    def abandon(thing):
        channel = Channel()
        loop = asyncio.new_event_loop()

        async def wait():
            await channel.recv_async()
            return thing

        task = loop.create_task(wait())
        loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False
        loop.close()

    abandon(thing)
    del thing
    gc.collect()
    assert alive() is None


# ---- Ctrl-C, exit, fork, sub-interpreters: in child processes, with a limit

WAITS = [
    "Channel().recv()",
    "next(Channel())",
    "Channel().recv(timeout=1e6)",
    "Channel().recv_many()",
    "full.send(1)",
    "full.send_many([1])",
    "select([Channel(), (full, 1)])",
    "Broadcast(1).subscribe().recv()",
    "crowded.send(1)",
]
PREPARE = """
        import threading, time, channels, numpy
        from channels import *
        full = Channel(1); full.send(0)
        crowded = Broadcast(1); seat = crowded.subscribe(); crowded.send(0)
        big = numpy.ones(200_000_000)
"""
WAIT_ONLY = PREPARE.replace("        big = numpy.ones(200_000_000)\n", "")


@pytest.mark.parametrize("call", WAITS)
def test_ctrl_c(call):
    child = interrupt_child(f"""{WAIT_ONLY}
        print("ready")
        try:
            {call}
        except KeyboardInterrupt:
            print("interrupted")
        full.recv(); full.send(2); assert full.recv() == 2
    """)
    assert (child.returncode, child.stdout) == (0, "interrupted\n"), child.stderr


@pytest.mark.parametrize(
    "call",
    [
        "channels.producer_consumer(big, 2)",
        "channels.fan_out_fan_in(big, 3)",
        "channels.pipeline_processing(numpy.arange(0, 60_000_000, 2))",
    ],
)
def test_ctrl_c_in_the_patterns(call):
    child = interrupt_child(f"""
        import time, channels, numpy
        big = numpy.ones(20_000_000)
        print("ready")
        try:
            while True:
                {call}
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert (child.returncode, child.stdout) == (0, "interrupted\n"), child.stderr


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an interval timer")
@pytest.mark.parametrize("call", WAITS)
def test_a_signal_handler_that_raises(call):
    child = run_child(f"""{WAIT_ONLY}
        import signal
        def handler(*args):
            raise LookupError("from the handler")
        signal.signal(signal.SIGALRM, handler)
        for delay in (0.001, 0.025, 0.0499, 0.05, 0.06):
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                {call}
            except LookupError as error:
                print(error)
    """)
    assert child.stdout == "from the handler\n" * 5, child.stderr


@pytest.mark.parametrize("call", [*WAITS, "asyncio.run(Channel().recv_async())"])
def test_exit_while_a_daemon_thread_waits(call):
    child = run_child(f"""{WAIT_ONLY}
        import asyncio
        def work():
            started.set()
            {call}
        started = threading.Event()
        for _ in range(2):
            threading.Thread(target=work, daemon=True).start()
        started.wait()
        time.sleep(0.1)
        print("leaving", flush=True)
    """)
    assert (child.returncode, child.stdout) == (0, "leaving\n"), child.stderr


def test_exit_while_daemon_threads_talk():
    for _ in range(3):
        child = run_child("""
            import threading, time
            from channels import *
            channel = Channel(3)
            def send():
                while True:
                    channel.send(object())
            def receive():
                while True:
                    try:
                        channel.recv(timeout=0.001)
                    except TimeoutError:
                        pass
            for target in (send, receive) * 2:
                threading.Thread(target=target, daemon=True).start()
            time.sleep(0.2)
            print("leaving", flush=True)
        """)
        assert (child.returncode, child.stdout) == (0, "leaving\n"), child.stderr


def test_objects_in_channels_at_exit():
    child = run_child("""
        import channels
        class Last:
            def __del__(self, print=print):
                print("destroyed")
        channel = channels.Channel()
        channel.send(Last())
        channel.send(channel)
        keep = channels.Broadcast(2)
        seat = keep.subscribe()
        keep.send(Last())
    """)
    assert child.returncode == 0 and child.stderr == "", child.stderr


def test_waiting_while_the_interpreter_shuts_down():
    child = run_child("""
        import channels, sys
        class Last:
            def __del__(self, channel=channels.Channel(), print=print, RuntimeError=RuntimeError):
                try:
                    channel.recv()
                except RuntimeError as error:
                    print("shutting down" in str(error))
        sys.modules["last"] = Last()
    """)
    assert (child.returncode, child.stdout) == (0, "True\n"), child.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_fork_while_threads_wait():
    child = run_child("""
        import os, threading, time, warnings
        from channels import *
        warnings.simplefilter("ignore")
        empty, full, seats = Channel(), Channel(1), Broadcast(1)
        full.send("old")
        seat = seats.subscribe()
        waiters = [empty.recv, lambda: full.send(1), lambda: select([empty]), seat.recv]
        threads = [threading.Thread(target=each, daemon=True) for each in waiters]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        pid = os.fork()
        if pid == 0:
            try:
                # without waiting: all works
                assert full.recv() == "old" and full.try_send("new") and full.recv() == "new"
                empty.send(1)
                assert empty.recv() == 1 and seats.try_send(5) and seat.recv() == 5
                # what would wait for the parent's threads is refused
                for call in (empty.recv, lambda: empty.recv(timeout=5), lambda: select([empty]), seat.recv):
                    try:
                        call()
                        os._exit(2)
                    except RuntimeError as error:
                        assert "fork" in str(error), error
                # new channels, new threads
                fresh = Channel(1)
                mine = [threading.Thread(target=lambda: fresh.send_many(range(100))) for _ in range(2)]
                for thread in mine:
                    thread.start()
                assert sum(fresh.recv() for _ in range(200)) == 9900
                for thread in mine:
                    thread.join()
                empty.send(2)
                empty.close(); full.close(); seats.close()
                assert list(empty) == [2]
                assert sorted(producer_consumer([1.0, 2.0], 2)) == [1.0, 4.0]
                os._exit(0)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        empty.close(); full.close(); seats.close()
    """)
    assert (child.returncode, child.stdout) == (0, "0\n"), child.stderr


@pytest.mark.skipif(sys.version_info < (3, 12), reason="own-GIL sub-interpreters came with CPython 3.12")
def test_in_a_sub_interpreter():
    module = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    child = run_child(f"""
        import sys, {module} as interpreters, channels
        mine = channels.Channel()
        mine.send(object())
        for _ in range(2):
            name = interpreters.create()
            result = interpreters.run_string(name, '''if True:
                import sys; sys.path[:] = {[p for p in sys.path if p]!r}
                import threading, channels
                channel = channels.Channel(2)
                thread = threading.Thread(target=lambda: (channel.send_many(range(50)), channel.close()))
                thread.start()
                assert list(channel) == list(range(50))
                thread.join()
                try:
                    channel.recv()
                    raise SystemError
                except channels.ChannelClosed:
                    pass
                assert channels.fan_out_fan_in([1.0, 2.0], 2) == 5.0
                left = channels.Channel()
                left.send(left)
                left.send(object())
                if sys.version_info >= (3, 13):  # importing asyncio in one crashes 3.12
                    import asyncio
                    async def main():
                        c = channels.Channel(1)
                        task = asyncio.create_task(c.recv_async())
                        await asyncio.sleep(0)
                        c.send(3)
                        assert await task == 3
                    asyncio.run(main())
            ''')
            print(result)
            interpreters.destroy(name)
        print(interpreters.is_shareable(mine))  # it stays, and what is in it
    """)
    assert (child.returncode, child.stdout) == (0, "None\nNone\nFalse\n"), child.stdout + child.stderr


def test_errors_keep_their_traceback():
    channel = Channel()
    channel.close()
    with pytest.raises(ChannelClosed) as caught:
        channel.send(1)
    assert "test_errors_keep_their_traceback" in "".join(traceback.format_exception(caught.type, caught.value, caught.tb))
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


def test_importing_needs_no_numpy_and_no_asyncio():
    child = run_child(
        "import channels, sys; channels.Channel().send(1); print('numpy' in sys.modules, 'asyncio' in sys.modules)"
    )
    assert child.stdout == "False False\n"


def test_every_public_name_has_a_docstring():
    for name in channels.__all__:
        thing = getattr(channels, name)
        assert thing.__doc__.strip()
        if inspect.isclass(thing):
            for member in dir(thing):
                if not member.startswith("_") and not issubclass(thing, (BaseException, tuple)):
                    assert (getattr(thing, member).__doc__ or "").strip(), f"{name}.{member}"


if __name__ == "__main__":
    sys.exit(subprocess.call([sys.executable, "-m", "pytest", "-q", str(pathlib.Path(__file__))]))
