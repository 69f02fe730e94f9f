"""Channels against the queues a reader would use instead: C++ ones in processes of their own, Python's in this one."""

import asyncio
import pathlib
import queue
import statistics
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts" / "testing"))
import channels  # noqa: E402
import tenfold_bench as bench  # noqa: E402

numpy = bench.optional("numpy")

# ---- C++: one process per peer; messages of 8 bytes, the answer is their sum


def ours(task, n):
    return bench.Remote("peer_ours", f"{task} {n}")


def theirs(task, n):
    return bench.Remote("peer_queues", f"{task} {n}")


def rust(task, n):
    return bench.Remote("peer_rust", f"{task} {n}")


def native_cases():
    n = 1_000_000
    best_of_three = {"Boost spsc_queue": 1.2, "moodycamel ReaderWriterQueue": 1.2, "rigtorp-style ring": 1.2}
    yield bench.Case(
        "spsc",
        "ring, one message at a time",
        n,
        "",
        ours=ours("spsc", n),
        peers={
            "Boost spsc_queue": theirs("boost_spsc", n),
            "moodycamel ReaderWriterQueue": theirs("moodycamel_spsc", n),
            "rigtorp-style ring": theirs("ring_spsc", n),
        },
        at_least=best_of_three,
        aim={name: 1.9 for name in best_of_three},
        threads=2,
        ops=n,
        note="never sleeps",
    )
    yield bench.Case(
        "spsc",
        "the same, all back off as ours does",
        n,
        "",
        ours=ours("spsc", n),
        peers={
            "Boost spsc_queue": theirs("boost_spsc_backoff", n),
            "moodycamel ReaderWriterQueue": theirs("moodycamel_spsc_backoff", n),
            "rigtorp-style ring": theirs("ring_spsc_backoff", n),
        },
        threads=2,
        ops=n,
        note="never sleeps",
    )
    yield bench.Case(
        "spsc",
        "ring, batches of 64",
        n,
        "",
        ours=ours("spsc_batch", n),
        peers={"rigtorp-style ring": theirs("ring_spsc", n), "Boost spsc_queue, push(64)": theirs("boost_spsc_batch", n)},
        at_least={"rigtorp-style ring": 2.5},
        aim={"rigtorp-style ring": 5.7},
        threads=2,
        ops=n,
        note="never sleeps",
    )
    for capacity, n in ((1024, 1_000_000), (64, 300_000), (1, 4_000)):
        peers = {
            f"crossbeam bounded({capacity})": rust(f"crossbeam_blocking{capacity}", n),
            f"std::sync::mpsc::sync_channel({capacity})": rust(f"std_blocking{capacity}", n),
        }
        if capacity == 1024:
            peers["moodycamel ReaderWriterCircularBuffer"] = theirs("circular_blocking1024", n)
        yield bench.Case(
            "blocking",
            f"spsc_channel({capacity})",
            n,
            "",
            ours=ours(f"blocking{capacity}", n),
            peers=peers,
            at_least=2.5 if capacity == 1024 else None,
            aim=6 if capacity == 1024 else None,
            worst_at_least=1 if capacity == 1024 else None,
            threads=2,
            ops=n,
        )
    n = 1_000_000
    yield bench.Case(
        "blocking",
        "spsc_channel(1024), batches of 64",
        n,
        "",
        ours=ours("blocking1024_batch", n),
        peers={"crossbeam bounded(1024)": rust("crossbeam_blocking1024", n)},
        threads=2,
        ops=n,
    )
    n = 10_000
    yield bench.Case(
        "blocking",
        "there and back",
        n,
        "",
        ours=ours("rtt", n),
        peers={"crossbeam bounded(1)": rust("crossbeam_rtt", n)},
        threads=2,
        ops=n,
        note="latency",
    )
    n = 100_000
    for shape, threads in (("1x1", 2), ("2x2", 4), ("4x4", 8)):
        peers = {
            "crossbeam bounded(1024)": rust(f"crossbeam_{shape}", n),
            "moodycamel ConcurrentQueue": theirs(f"moodycamel_{shape}", n),
            "Boost queue(1024)": theirs(f"boost_{shape}", n),
        }
        yield bench.Case(
            "mpmc",
            f"channel(1024), {shape}",
            n,
            "",
            ours=ours(f"mpmc_{shape}", n),
            peers=peers,
            threads=threads,
            ops=n,
        )
        yield bench.Case(
            "mpmc",
            f"fifo_channel(1024), {shape}",
            n,
            "",
            ours=ours(f"fifo_{shape}", n),
            peers={name: type(peer)(peer.program.name, peer.request) for name, peer in peers.items()},
            threads=threads,
            ops=n,
        )


# ---- Python: any object, between Python threads


def between_threads(make, send_all, receive_all, items, pairs):
    """Everything in `items` through a new queue, `pairs` times: as many threads send, as many receive. The answer is how
    many objects arrived."""

    def run():
        through = make()
        counts = []
        threads = [threading.Thread(target=send_all, args=(through, items)) for _ in range(pairs)]
        threads += [threading.Thread(target=lambda: counts.append(receive_all(through))) for _ in range(pairs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts)

    return run


def hand_over(make, send, receive, n, pairs):
    """One call for each object."""
    each = n // pairs

    def send_all(through, items):
        put = getattr(through, send)
        for item in items:
            put(item)

    def receive_all(through):
        get = getattr(through, receive)
        for _ in range(each):
            get()
        return each

    return between_threads(make, send_all, receive_all, list(range(each)), pairs)


def hand_over_batches(make, n, pairs, size):
    """The same objects, `size` in a call."""
    each = n // pairs

    def send_all(channel, batches):
        for batch in batches:
            channel.send_many(batch)

    def receive_all(channel):
        received = 0
        while received < each:
            received += len(channel.recv_many(min(size, each - received)))
        return received

    batches = [list(range(i, min(i + size, each))) for i in range(0, each, size)]
    return between_threads(make, send_all, receive_all, batches, pairs)


def alone(make, send, receive, n):
    """One thread: send one, receive one."""

    def run():
        through = make()
        put, get = getattr(through, send), getattr(through, receive)
        total = 0
        for i in range(n):
            put(i)
            total += get()
        return total

    return run


def in_tasks(make, send, receive, n):
    """Two tasks of one event loop."""

    async def main():
        through = make()

        async def sender():
            put = getattr(through, send)
            for i in range(n):
                await put(i)

        task = asyncio.create_task(sender())
        get = getattr(through, receive)
        total = 0
        for _ in range(n):
            total += await get()
        await task
        return total

    return lambda: asyncio.run(main())


def python_cases():
    simple, locked = queue.SimpleQueue, lambda: queue.Queue(1024)
    bounded = lambda: channels.Channel(1024)  # noqa: E731
    n = 10_000
    yield bench.Case(
        "python",
        "Channel(), one thread",
        n,
        "objects",
        ours=alone(channels.Channel, "send", "recv", n),
        peers={"queue.SimpleQueue": alone(simple, "put", "get", n), "queue.Queue": alone(queue.Queue, "put", "get", n)},
        threads=1,
    )
    for pairs in (1, 4):
        shape = f"{pairs} to {pairs}"
        slow = hand_over(locked, "put", "get", n, pairs)
        fast = hand_over(simple, "put", "get", n, pairs)
        yield bench.Case(
            "python",
            f"Channel(), {shape}",
            n,
            "objects",
            ours=hand_over(channels.Channel, "send", "recv", n, pairs),
            peers={"queue.SimpleQueue": fast},
            at_least=1,
            threads=2 * pairs,
        )
        yield bench.Case(
            "python",
            f"Channel(1024), {shape}",
            n,
            "objects",
            ours=hand_over(bounded, "send", "recv", n, pairs),
            peers={"queue.Queue(1024)": slow},
            at_least=3,
            threads=2 * pairs,
        )
        yield bench.Case(
            "python",
            f"Channel(10000), 1000 in a call, {shape}",
            50 * n,
            "objects",
            ours=hand_over_batches(lambda: channels.Channel(10_000), 50 * n, pairs, 1000),
            peers={"queue.SimpleQueue": hand_over(simple, "put", "get", 50 * n, pairs)},
            at_least=5,
            threads=2 * pairs,
        )
    n = 5_000
    yield bench.Case(
        "python",
        "Channel(64), two tasks of asyncio",
        n,
        "objects",
        ours=in_tasks(lambda: channels.Channel(64), "send_async", "recv_async", n),
        peers={"asyncio.Queue(64)": in_tasks(lambda: asyncio.Queue(64), "put", "get", n)},
        threads=1,
    )


# ---- the four patterns, against what one would write without threads


def function_cases():
    n = 200_000
    floats = [float(i % 1000) for i in range(n)]
    ints = list(range(n))
    array = numpy and numpy.array(floats)
    int_array = numpy and numpy.arange(n)
    yield bench.Case(
        "functions",
        "producer_consumer, 2 workers",
        n,
        "list",
        ours=lambda: channels.producer_consumer(floats, 2),
        peers={"list comprehension": lambda: [x * x for x in floats]},
        threads=2,
    )
    yield bench.Case(
        "functions",
        "pipeline_processing",
        n,
        "list",
        ours=lambda: channels.pipeline_processing(ints),
        peers={"list comprehension": lambda: [str(i * i) for i in ints if i % 2 == 0]},
        threads=4,
    )
    yield bench.Case(
        "functions",
        "fan_out_fan_in, 2 workers",
        n,
        "list",
        ours=lambda: channels.fan_out_fan_in(floats, 2),
        peers={"sum of a generator": lambda: sum(x * x for x in floats)},
        check=bench.close(1e-9),
        threads=2,
    )
    if numpy:
        yield bench.Case(
            "functions",
            "producer_consumer, 2 workers",
            n,
            "array",
            ours=lambda: channels.producer_consumer(array, 2),
            peers={"numpy a * a": lambda: array * array},
            threads=2,
        )
        yield bench.Case(
            "functions",
            "pipeline_processing",
            n,
            "array",
            ours=lambda: channels.pipeline_processing(int_array),
            peers={"list comprehension": lambda: [str(i * i) for i in int_array.tolist() if i % 2 == 0]},
            threads=4,
        )
        yield bench.Case(
            "functions",
            "fan_out_fan_in, 2 workers",
            n,
            "array",
            ours=lambda: channels.fan_out_fan_in(array, 2),
            peers={"numpy dot": lambda: float(numpy.dot(array, array))},
            check=bench.close(1e-9),
            threads=2,
        )


def cases():
    yield from native_cases()
    yield from python_cases()
    yield from function_cases()


# ---- tables and the picture


def tables(quick):
    """Nanoseconds per object, senders down, receivers across; between Python threads."""
    n, rounds = 20_000, 3 if quick else 9
    counts = (1, 2, 4)

    def cell(senders, receivers):
        channel = channels.Channel(1024)

        def sender():
            for i in range(n // senders):
                channel.send(i)

        def receiver():
            for _ in range(n // receivers):
                channel.recv()

        threads = [threading.Thread(target=sender) for _ in range(senders)]
        threads += [threading.Thread(target=receiver) for _ in range(receivers)]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (time.perf_counter() - begin) / n

    rows = []
    for senders in counts:
        times = [statistics.median(cell(senders, receivers) for _ in range(rounds)) for receivers in counts]
        rows.append([f"{senders} sending", *(bench.seconds(each) for each in times)])
    columns = ["Channel(1024), per object", *(f"{receivers} receiving" for receivers in counts)]
    return {"grid": {"columns": columns, "rows": rows}}


STAGES = ("parse", "convert", "write")
WORK_S = (0.0003, 0.0006, 0.0015)


def run_pipeline(capacity, items=160):
    """A source and three stages, each slower than the one before; (seconds, depth) of the channel before each stage."""
    links = [channels.Channel(capacity, record=100_000) for _ in STAGES] + [channels.Channel()]

    def source():
        with links[0]:
            for i in range(items):
                links[0].send(i)

    def stage(i):
        with links[i + 1]:
            for item in links[i]:
                time.sleep(WORK_S[i])
                links[i + 1].send(item)

    threads = [threading.Thread(target=source)] + [threading.Thread(target=stage, args=(i,)) for i in range(len(STAGES))]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    received = sum(1 for _ in links[-1])
    for thread in threads:
        thread.join()
    assert received == items
    return [[(seconds - begin, depth) for seconds, depth in link.depths()] for link in links[:-1]]


def draw_back_pressure(results, folder):
    """images/back_pressure.png: how many objects wait before each stage, with and without a limit."""
    if bench.optional("matplotlib") is None:
        return
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 1, figsize=(9, 4.6), sharex=True, layout="constrained")
    for axes, capacity in zip(panels, (None, 16)):
        for name, colour, depths in zip(STAGES, ("#2471a3", "#27ae60", "#c0392b"), run_pipeline(capacity)):
            times = [0.0, *(seconds * 1e3 for seconds, _ in depths)]
            axes.step(times, [0, *(depth for _, depth in depths)], where="post", color=colour, linewidth=1.3, label=name)
        axes.set_title("no limit" if capacity is None else f"capacity {capacity}", loc="left", fontsize=10)
        axes.set_ylabel("objects that wait")
        axes.spines[["top", "right"]].set_visible(False)
    panels[1].set_ylim(0, 20)
    panels[1].axhline(16, color="#888", linewidth=0.8, linestyle=":")
    panels[1].set_xlabel("milliseconds")
    handles, labels = panels[0].get_legend_handles_labels()
    labels = [f"before {name} ({work * 1e3:g} ms each)" for name, work in zip(labels, WORK_S)]
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "back_pressure.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(bench.run(list(cases()), HERE / "results.json", "Lesson 07, channels", tables=tables, plot=draw_back_pressure))
