"""Lesson 05 - counting from several threads. `python test_example.py` tells the story; `pytest test_example.py` checks it."""

import asyncio
import json
import os
import random
import threading
import time

import atomic_operations as ao
import numpy as np


def on_threads(count, function, *arguments):
    threads = [threading.Thread(target=function, args=arguments) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def count_with_plus(increments: int, threads: int = 4) -> int:
    """A Python int that all threads add to. Between the read of `total` and its write, int() lets other threads run."""
    total = 0

    def member():
        nonlocal total
        for _ in range(increments):
            total += int("1")

    on_threads(threads, member)
    return total


def count_with_atomic(increments: int, threads: int = 4) -> int:
    counter = ao.AtomicCounter(0)

    def member():
        for _ in range(increments):
            counter.add(int("1"))

    on_threads(threads, member)
    return counter.get()


def best_of(function, rounds: int = 7) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


async def watch(run, every: float = 0.05) -> list[int]:
    """Looks at a run while it goes on, as a progress bar would."""
    seen = []

    async def look():
        while True:
            seen.append(run.done)
            await asyncio.sleep(every)

    looking = asyncio.ensure_future(look())
    seen.append(await run)
    looking.cancel()
    return seen


# ---- what must be true on every machine


def test_nothing_is_lost():
    assert count_with_atomic(5_000) == 20_000
    assert ao.AtomicCounter(7).parallel_increment(threads=4, increments=10_000) == 40_007
    assert ao.parallel_with_progress(total=1_001, thread_count=3).get() == 1_001


def test_the_value_before():
    counter = ao.AtomicCounter(2**64 - 1)
    assert (counter.increment(), counter.get()) == (2**64 - 1, 0)  # modulo 2**64
    assert counter.compare_and_swap(0, 5) == (0, True)
    assert counter.compare_and_swap(0, 9) == (5, False)


def test_one_thread_wins_the_flag():
    flag, winners = ao.AtomicFlag(False), []
    on_threads(7, lambda: None if flag.swap(True) else winners.append(threading.get_ident()))
    assert len(winners) == 1


def test_stats_are_those_of_python():
    values = [random.Random(1).randrange(-(10**12), 10**12) for _ in range(10_000)]
    stats = ao.AtomicStats()
    stats.parallel_record(values)
    stats.parallel_record(np.array(values))
    values *= 2
    expected = (len(values), sum(values), sum(values) / len(values), min(values), max(values))
    assert (stats.count(), stats.sum(), stats.mean(), stats.min(), stats.max()) == expected
    assert ao.AtomicStats().mean() is None


def test_no_torn_reads_with_a_seqlock():
    assert ao.count_torn_reads(50_000, guard="seqlock")["torn"] == 0


def test_orders_and_tags_keep_their_promise():
    assert ao.litmus_store_buffering(20_000, order="seq_cst")["both_zero"] == 0
    assert ao.litmus_message_passing(20_000, order="acquire_release")["seen_stale"] == 0
    assert ao.demonstrate_aba()["corrupt"] and not ao.demonstrate_aba(tagged=True)["corrupt"]


def test_statistics_are_those_of_numpy():
    values = 1e6 + np.random.default_rng(1).standard_normal(100_000)
    found = ao.statistics(values)
    assert found.count == len(values) and (found.min, found.max) == (values.min(), values.max())
    assert np.isclose(found.mean, values.mean(), rtol=1e-13) and np.isclose(found.variance, values.var(), rtol=1e-9)


def test_a_run_can_be_watched_and_cancelled():
    seen = asyncio.run(watch(ao.start_with_progress(40, 2, seconds_per_step=0.002), 0.005))
    assert seen == sorted(seen) and seen[-1] == 40
    with ao.start_with_progress(10**15, 2) as run:
        run.cancel()
    assert run.cancelled and run.done < 10**15


# ---- the story


def nanoseconds(seconds: float, operations: int) -> str:
    return f"{1e9 * seconds / operations:8.2f} ns"


def main() -> None:
    increments, threads = 200_000, 4
    wanted = increments * threads
    print(f"Four Python threads add 1 to a total, {increments:,} times each.\n")
    plain, atomic = count_with_plus(increments), count_with_atomic(increments)
    print(f"  total += int('1')           {plain:9,}   {100 * (wanted - plain) / wanted:.0f} % are lost")
    print(f"  counter.add(int('1'))       {atomic:9,}   of {wanted:,}\n")

    each, team = 1_000_000, 2
    costs = ao.benchmark_counters(each, team, rounds=9)
    print("  what one increment costs, two C++ threads on the same counter:")
    for kind, seconds in sorted(costs.items(), key=lambda item: -item[1]):
        print(f"    {kind:20} {nanoseconds(seconds, team * each)}")
    best, shared, mutex = costs["single_writer_mine"], costs["seq_cst"], costs["mutex"]
    print(f"    a cell of one's own against fetch_add: {shared / best:.0f} x, against a mutex: {mutex / best:.0f} x\n")

    packed, padded = ao.benchmark_false_sharing(each, team)
    print("  false sharing: two threads, a number each, nothing shared but the cache line:")
    print(f"    side by side {nanoseconds(packed, team * each)}, 128 bytes apart {nanoseconds(padded, team * each)}\n")

    torn, whole = ao.count_torn_reads(500_000), ao.count_torn_reads(500_000, guard="seqlock")
    print("  eight words written together, read meanwhile:")
    print(f"    eight atomics: {torn['torn']:,} of {torn['reads']:,} reads are torn")
    print(f"    a seqlock:     {whole['torn']:,} of {whole['reads']:,}, after {whole['retries']:,} retries\n")

    rounds = 300_000
    print(f"  store buffering, {rounds:,} rounds: how often did both loads overtake the other thread's store?")
    for order in ("relaxed", "acquire_release", "seq_cst"):
        print(f"    {order:16} {ao.litmus_store_buffering(rounds, order=order)['both_zero']:8,}")
    naive, tagged = ao.demonstrate_aba(), ao.demonstrate_aba(tagged=True)
    print(f"  ABA: a stack hands out {naive['handed_out']}; with a tag {tagged['handed_out']}\n")

    values = 1e6 + np.random.default_rng(1).standard_normal(1_000_000)
    times = {}
    for name, call in (
        ("scalar Welford", lambda: ao.statistics(values, algorithm="welford")),
        ("NumPy", lambda: (values.mean(), values.var(), values.min(), values.max())),
        ("vectorized", lambda: ao.statistics(values)),
    ):
        times[name] = best_of(call)
    print(f"  mean, variance, min and max of a million floats ({ao.simd_name()}):")
    for name, seconds in times.items():
        print(f"    {name:16} {1e3 * seconds:7.3f} ms")

    with ao.start_with_progress(100, 2, seconds_per_step=0.004) as run:
        seen = asyncio.run(watch(run))
    print("\n  a run, watched from an event loop:", " ".join(f"{done}%" for done in seen))

    faster = f"{times['scalar Welford'] / times['vectorized']:.0f} x"
    measured(
        ("best counter", f"{shared / best:.0f} x", "contended fetch_add"),
        ("best counter", f"{mutex / best:.0f} x", "mutex"),
        ("statistics, 10^6 floats", faster, "scalar Welford"),
    )


def measured(*rows: tuple[str, str, str]) -> None:
    """Hands figures to ./scripts/learn, when it is what runs us."""
    path = os.environ.get("TENFOLD_MEASURED")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            for what, value, against in rows:
                file.write(json.dumps({"lesson": "05", "what": what, "value": value, "against": against}) + "\n")


if __name__ == "__main__":
    main()
