"""Lesson 04 - thread pools. `python test_example.py` tells the story; `pytest test_example.py` checks it.

`python test_example.py trace.json` also keeps the timeline of the uneven tasks, for chrome://tracing or ui.perfetto.dev.
"""

import json
import os
import sys
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import thread_pool as tp

COSTS = [int(56 * 1.15**i) for i in range(32)]
"""Uneven tasks: each costs 15 % more than the one before, so that the last four are nearly half of the work."""


def best_of(function, rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def square_chunk(chunk: list) -> list:
    return [x * x for x in chunk]


def executor_squares(executor: ThreadPoolExecutor, numbers: list, chunks: int = 16) -> list:
    """The squares by ThreadPoolExecutor.map, in chunks: a task per number would take far longer."""
    size = len(numbers) // chunks
    squares: list = []
    for part in executor.map(square_chunk, [numbers[i : i + size] for i in range(0, len(numbers), size)]):
        squares += part
    return squares


def shortest(pool: tp.ThreadPool, sharing: str, rounds: int = 10):
    """The timeline of the run that the rest of the machine disturbed least."""
    runs = [pool.burn(COSTS, sharing=sharing)[1] for _ in range(rounds)]
    return min(runs, key=lambda timeline: max(end for *_, end in timeline))


def count_primes(limit: int) -> int:
    """Plain Python: each of its instructions needs the GIL."""
    count = 0
    for n in range(2, limit):
        i = 2
        while i * i <= n and n % i:
            i += 1
        count += i * i > n
    return count


boosted_primes = tp.boost(count_primes)


# ---- what must be true on every machine


def test_list_in_list_out_array_in_array_out():
    with tp.ThreadPool(2) as pool:
        assert pool.size() == 2
        assert pool.execute_batch([1.0, -2.0, 3]) == [1.0, 4.0, 9.0]
        assert pool.execute_batch(np.array([1.0, -2.0])).tolist() == [1.0, 4.0]
        assert pool.execute_batch([]) == []
    assert tp.process_work_stealing([1.0, 2.0], 2) == [1.0, 4.0]
    assert tp.adaptive_parallel([1.0, 2.0]) == [1.0, 4.0]


def test_a_queue_is_drained():
    queue = tp.TaskQueue([1.0, 2.0, 3.0])
    assert queue.remaining() == 3
    assert sorted(queue.process_parallel(2)) == [1.0, 4.0, 9.0]
    assert queue.remaining() == 0 and queue.process_parallel(2) == []


def test_a_pool_that_is_shut_down_says_so():
    pool = tp.ThreadPool(2)
    pool.shutdown()
    pool.shutdown()
    try:
        pool.execute_batch([1.0])
    except RuntimeError as error:
        assert "shut down" in str(error)
    else:
        raise AssertionError("no error")


def test_fork_and_join():
    with tp.ThreadPool(2) as pool:
        assert [pool.fib(n) for n in (0, 1, 2, 10, 20)] == [0, 1, 1, 55, 6765]


def test_uneven_tasks_give_the_same_results_however_they_are_shared():
    with tp.ThreadPool(2) as pool:
        results, timeline = pool.burn(COSTS, sharing="stealing")
        assert results == pool.burn(COSTS, sharing="fixed")[0]
        assert len(timeline) == len(COSTS)
        assert len(json.loads(tp.chrome_trace(timeline))["traceEvents"]) == len(COSTS)


def test_futures():
    with tp.ThreadPool(1) as pool:
        endless, waiting = pool.submit_fib(92), pool.submit_fib(10)
        try:
            waiting.result(timeout=0.01)
        except TimeoutError:
            pass
        assert endless.cancel() and endless.cancelled()
        assert waiting.result(timeout=60) == 55
        try:
            endless.result()
        except CancelledError:
            pass
        else:
            raise AssertionError("no error")


def test_adaptive_sizing():
    squares, choice = tp.adaptive_parallel([3.0], return_choice=True)
    assert squares == [9.0] and choice["threads"] == 1


def test_python_functions_side_by_side():
    assert boosted_primes(100) == 25
    assert boosted_primes([100, 1000, 10]) == [25, 168, 4]
    assert boosted_primes.info()["backend"] in ("interpreters", "processes", "threads", "serial")
    with tp.Executor(2) as executor:
        assert executor.submit(pow, 2, 100).result(timeout=60) == 2**100
        assert list(executor.map(lambda x: -x, range(5))) == [0, -1, -2, -3, -4]
        results = executor.map(int, ["1", "x", "3"])
        assert next(results) == 1
        try:
            next(results)
        except ValueError as error:
            assert "'x'" in str(error)
        else:
            raise AssertionError("no error")


# ---- the story


def main() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = max(2, cores)
    with tp.ThreadPool(workers) as pool:
        print(f"{cores} usable cores, a pool of {pool.size()} threads\n")

        print(f"{len(COSTS)} tasks, each 15 % longer than the one before:")
        seconds, timelines = {}, {}
        for sharing in ("fixed", "stealing"):
            before = pool.counters()["steals"]
            timelines[sharing] = shortest(pool, sharing)
            steals = pool.counters()["steals"] - before
            seconds[sharing] = max(end for *_, end in timelines[sharing])
            busy = tp.busy_seconds(timelines[sharing])
            shares = ", ".join(f"{busy.get(worker, 0) / seconds[sharing]:4.0%}" for worker in range(workers))
            print(f"  {sharing:9}{seconds[sharing] * 1e3:7.1f} ms   busy, by worker: {shares}   {steals} steals in 10 runs")
        faster = seconds["fixed"] / seconds["stealing"]
        print(f"  stealing is {faster:.2f} x as fast, same tasks, same results\n")
        if len(sys.argv) > 1:
            Path(sys.argv[1]).write_text(tp.chrome_trace(timelines["stealing"]), encoding="utf-8")
            print(f"  the timeline: {sys.argv[1]}\n")

        forks = pool.fib(28) - 1
        fork = best_of(lambda: pool.fib(27), 3) / forks
        native = best_of(lambda: [future.result() for future in [pool.submit_fib(1) for _ in range(2000)]], 3) / 2000
        with ThreadPoolExecutor(workers) as executor:
            submit = best_of(lambda: [future.result() for future in [executor.submit(abs, 1) for _ in range(2000)]], 3) / 2000
        print("What a task costs:")
        print(f"  a fork and its join in fib(27), {forks:,.0f} of them    {fork * 1e9:9.1f} ns")
        print(f"  submit_fib(1) and .result from Python       {native * 1e9:10.1f} ns")
        print(f"  ThreadPoolExecutor.submit and .result       {submit * 1e9:10.1f} ns   {submit / native:.1f} x\n")

        array = np.random.default_rng(4).standard_normal(1_000_000)
        numbers, out = array.tolist(), np.empty_like(array)
        with ThreadPoolExecutor(workers) as executor:
            assert pool.execute_batch(numbers) == executor_squares(executor, numbers)
            chunks = best_of(lambda: executor_squares(executor, numbers))
        comprehension = best_of(lambda: [x * x for x in numbers])
        batch = best_of(lambda: pool.execute_batch(numbers))
        print("A million squares:")
        print(f"  [x * x for x in numbers]           {comprehension * 1e3:7.2f} ms")
        print(f"  ThreadPoolExecutor.map, 16 chunks  {chunks * 1e3:7.2f} ms")
        print(f"  execute_batch, lists               {batch * 1e3:7.2f} ms   {comprehension / batch:.1f} x the comprehension")
        print(f"  execute_batch, arrays              {best_of(lambda: pool.execute_batch(array, out=out), 20) * 1e3:7.2f} ms")
        print(f"  np.multiply                        {best_of(lambda: np.multiply(array, array, out=out), 20) * 1e3:7.2f} ms\n")

        print("How many threads are worth it? adaptive_parallel measures:")
        for size in (1_000, 1_000_000, 16_000_000):
            ones = np.ones(size)
            _, choice = tp.adaptive_parallel(ones, num_threads=workers, out=ones, return_choice=True)
            cost = choice["seconds_per_task"] * 1e9
            print(f"  {size:10,} squares of {cost:.2f} ns each: {choice['threads']} thread{'s' * (choice['threads'] > 1)}")

        limits = [4000 + 50 * i for i in range(32)]
        expected = [count_primes(limit) for limit in limits]
        with ThreadPoolExecutor(workers) as executor:
            assert list(executor.map(count_primes, limits)) == boosted_primes(limits) == expected
            plain = best_of(lambda: [count_primes(limit) for limit in limits], 3)
            threads = best_of(lambda: list(executor.map(count_primes, limits)), 3)
            boosted = best_of(lambda: boosted_primes(limits), 3)
        print(f"\nA plain Python function, {len(limits)} calls:")
        print(f"  one after the other                {plain * 1e3:7.2f} ms")
        print(f"  ThreadPoolExecutor                 {threads * 1e3:7.2f} ms   {plain / threads:.2f} x: one GIL")
        print(
            f"  @boost                             {boosted * 1e3:7.2f} ms   {plain / boosted:.2f} x: {boosted_primes.info()['backend']}"
        )

        future = pool.submit_fib(92)  # would take thousands of years
        try:
            future.result(timeout=0.05)
        except TimeoutError:
            print(f"\nfib(92) is not done after 0.05 s; cancelled: {future.cancel()}")

        time.sleep(0.05)
        parks, cpu = pool.counters()["parks"], time.process_time()
        time.sleep(0.5)
        idle = time.process_time() - cpu
        print(f"An idle pool in half a second: {idle * 1e3:.1f} ms of CPU time (it slept {parks} times before)")

    measured(
        ("uneven tasks, stealing", f"{faster:.2f} x", "fixed shares"),
        ("submit and result", f"{submit / native:.1f} x", "ThreadPoolExecutor"),
        ("a million squares, lists", f"{comprehension / batch:.1f} x", "list comprehension"),
        ("a million squares, lists", f"{chunks / batch:.1f} x", "ThreadPoolExecutor.map"),
        ("a Python function, @boost", f"{plain / boosted:.2f} x", "one call after the other"),
    )


def measured(*rows: tuple[str, str, str]) -> None:
    """Hands figures to ./scripts/learn, when it is what runs us."""
    path = os.environ.get("TENFOLD_MEASURED")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            for what, value, against in rows:
                file.write(json.dumps({"lesson": "04", "what": what, "value": value, "against": against}) + "\n")


if __name__ == "__main__":
    main()
