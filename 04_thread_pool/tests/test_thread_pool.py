"""thread_pool from Python: answers, bad input, many threads at once, shutdown, futures, Ctrl-C, fork, exit, the GIL."""

import array
import concurrent.futures
import gc
import json
import math
import os
import re
import sys
import threading
import weakref

import numpy as np
import pytest
import thread_pool as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold_testing import (
    THREADS,
    bound_classes,
    interrupt_child,
    refuses_what_was_never_made,
    run_child,
    run_threads,
    runs_without_gil,
)

CASES = settings(max_examples=220, deadline=None)
floats = st.floats(width=64)
float_lists = st.lists(floats, max_size=200)
SIZES = [0, 1, 2, 3, 63, 64, 65, 1000, 32_767, 32_768, 32_769, 100_003]
no_fork = pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")


@pytest.fixture(scope="module")
def pools():
    """A pool per thread count, for all tests of answers."""
    made = {threads: tp.ThreadPool(threads) for threads in THREADS}
    yield made
    for pool in made.values():
        pool.shutdown()


def same_values(a, b) -> bool:
    a, b = np.asarray(a, float), np.asarray(b, float)
    return a.shape == b.shape and bool(np.all((a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))))


def squares(numbers):
    with np.errstate(all="ignore"):
        return np.square(np.asarray(numbers, float))


def numbers_of(size: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size) * 10.0 ** np.random.default_rng(seed + 1).integers(-3, 4, size)


def every_way(pool, threads):
    """All ordered functions, by name: data -> squares."""
    return {
        "execute_batch": pool.execute_batch,
        "process_work_stealing": lambda data, **more: tp.process_work_stealing(data, threads, **more),
        "adaptive_parallel": lambda data, **more: tp.adaptive_parallel(data, num_threads=threads, **more),
    }


# ---- answers


@CASES
@given(float_lists)
def test_squares_of_lists(pools, numbers):
    expected = squares(numbers)
    for threads, pool in pools.items():
        for name, call in every_way(pool, threads).items():
            if name == "process_work_stealing" and threads > 2:
                continue  # it starts its threads each time
            result = call(numbers)
            assert type(result) is list and all(type(x) is float for x in result), name
            assert same_values(result, expected), name
            result = call(np.array(numbers, float))
            assert type(result) is np.ndarray and same_values(result, expected), name


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_and_out(pools, size, threads):
    numbers = numbers_of(size)
    expected = numbers * numbers
    for name, call in every_way(pools[threads], threads).items():
        before = numbers.copy()
        assert same_values(call(numbers), expected), name
        assert same_values(call(numbers.tolist()), expected), name
        out = np.full(size + 3, 5.0)
        result = call(numbers, out=out[1 : size + 1])
        assert result.base is out and same_values(out[1 : size + 1], expected), name
        assert out[0] == out[size + 1] == out[size + 2] == 5.0
        in_place = numbers.copy()
        assert call(in_place, out=in_place) is in_place and same_values(in_place, expected), name
        assert same_values(numbers, before)


@CASES
@given(float_lists, st.sampled_from(THREADS))
def test_task_queue(numbers, threads):
    for data in (numbers, np.array(numbers, float)):
        queue = tp.TaskQueue(data)
        assert queue.remaining() == len(numbers)
        result = queue.process_parallel(threads)
        assert type(result) is (list if data is numbers else np.ndarray)
        assert queue.remaining() == 0
        assert same_values(np.sort(result), np.sort(squares(numbers)))
        assert len(queue.process_parallel(threads)) == 0


def test_task_queue_owns_its_tasks():
    data = np.array([1.0, 2.0])
    queue = tp.TaskQueue(data)
    data[:] = 9.0
    assert sorted(queue.process_parallel(2)) == [1.0, 4.0]


@pytest.mark.parametrize("threads", THREADS)
def test_queue_drained_by_many_python_threads(threads):
    numbers = np.arange(1.0, 200_001.0)
    queue = tp.TaskQueue(numbers)
    parts = run_threads(threads, lambda i: queue.process_parallel(2))
    assert queue.remaining() == 0
    assert np.array_equal(np.sort(np.concatenate(parts)), numbers * numbers)


def python_fib(n: int) -> int:
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


@pytest.mark.parametrize("threads", THREADS)
def test_fib(pools, threads):
    pool = pools[threads]
    assert [pool.fib(n) for n in range(25)] == [python_fib(n) for n in range(25)]
    assert run_threads(3, lambda i: pool.fib(18 + i)) == [2584, 4181, 6765]
    assert type(pool.fib(3)) is int


def test_burn(pools):
    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.integers(0, 20), max_size=40))
    def check(costs):
        expected = [one[cost] for cost in costs]
        for pool in pools.values():
            for sharing in ("stealing", "fixed"):
                for data in (costs, np.array(costs, np.int64)):
                    results, timeline = pool.burn(data, sharing=sharing)
                    assert type(results) is (list if data is costs else np.ndarray)
                    assert list(results) == expected
                    assert sorted(task for _, task, _, _ in timeline) == list(range(len(costs)))
                    assert all(0 <= worker < pool.size() and 0 <= begin <= end for worker, _, begin, end in timeline)
                    assert [row[2] for row in timeline] == sorted(row[2] for row in timeline)

    one = pools[1].burn(list(range(21)))[0]
    assert len(set(one)) == 21
    check()
    out = np.arange(21)
    assert pools[2].burn(out, out=out)[0] is out and out.tolist() == one


def test_fixed_shares_are_runs_and_stealing_moves_tasks(pools):
    costs = [2000] * 8 + [0] * 8  # all the work is in the first half
    shares = pools[2].burn(costs, sharing="fixed")[1]
    assert all(worker == task // 8 for worker, task, _, _ in shares)
    for _ in range(20):
        stolen = pools[2].burn(costs, sharing="stealing")[1]
        if len({worker for worker, task, _, _ in stolen if task < 8}) == 2:
            break
    else:
        pytest.fail("the second worker never took one of the long tasks")


def test_timeline_helpers(pools):
    timeline = [(0, 0, 0.0, 0.5), (1, 1, 0.25, 0.5), (0, 2, 0.5, 0.75)]
    assert tp.busy_seconds(timeline) == {0: 0.75, 1: 0.25}
    events = json.loads(tp.chrome_trace(timeline))["traceEvents"]
    assert events[1] == {"name": "task 1", "ph": "X", "pid": 0, "tid": 1, "ts": 250_000.0, "dur": 250_000.0}
    real = pools[2].burn([5] * 10)[1]
    assert len(json.loads(tp.chrome_trace(real))["traceEvents"]) == 10
    assert json.loads(tp.chrome_trace([])) == {"traceEvents": []}


def test_adaptive_choice():
    result, choice = tp.adaptive_parallel([3.0], return_choice=True)
    assert result == [9.0] and choice["threads"] == 1
    for data in (list(map(float, range(200_000))), np.arange(200_000.0)):
        for limit in THREADS:
            result, choice = tp.adaptive_parallel(data, num_threads=limit, return_choice=True)
            assert same_values(result, squares(data))
            assert 1 <= choice["threads"] <= limit
            assert choice["seconds_per_task"] > 0 and 1 <= choice["measured"] <= 200_000
    assert tp.adaptive_parallel([], return_choice=True)[0] == []
    assert set(choice) == {"threads", "seconds_per_task", "measured"}


def test_counters(pools):
    with tp.ThreadPool(2) as pool:
        before = pool.counters()
        assert set(before) == {"executed", "steals", "failed_steals", "published", "taken_back", "parks"}
        pool.fib(15)
        after = pool.counters()
        assert after["executed"] > before["executed"]
        assert all(after[name] >= before[name] for name in before)
        each = [pool.counters(worker) for worker in range(2)]
        assert all(type(value) is int for row in each for value in row.values())
        for bad in (-1, 2, 10**6):
            with pytest.raises(IndexError, match="worker must be 0 to 1"):
                pool.counters(bad)
        with pytest.raises(TypeError, match="worker"):
            pool.counters(0.5)
    assert pool.counters()["executed"] >= after["executed"]


# ---- results are the caller's own, though the pool uses dropped floats again


def test_results_that_are_held_never_change():
    numbers = [float(i) for i in range(5000)]
    with tp.ThreadPool(2) as pool:
        first = pool.execute_batch(numbers)
        some = pool.execute_batch([x + 1 for x in numbers])[::7]
        for shift in range(5):
            result = pool.execute_batch([x + shift for x in numbers])
            assert result == [(x + shift) ** 2 for x in numbers]
        assert first == [x * x for x in numbers]
        assert some == [(x + 1) ** 2 for x in numbers][::7]
        shorter, longer = pool.execute_batch(numbers[:100]), pool.execute_batch(numbers * 3)
        assert shorter == first[:100] and longer == first * 3
    assert first == [x * x for x in numbers] and longer == first * 3


@pytest.mark.skipif(not hasattr(sys, "getallocatedblocks"), reason="counts CPython's blocks")
def test_floats_go_when_the_pool_does():
    numbers = [float(i) for i in range(20_000)]

    def batch():
        with tp.ThreadPool(1) as pool:
            pool.execute_batch(numbers)

    batch()
    gc.collect()
    before = sys.getallocatedblocks()
    batch()
    pool = tp.ThreadPool(1)
    pool.execute_batch(numbers)
    del pool
    gc.collect()
    assert sys.getallocatedblocks() - before < 2000


# ---- lists, arrays and other sequences


class Numbers:
    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@pytest.mark.parametrize("data", [(1, 2.5, True), Numbers(1, 2.5, True), [np.float64(1), np.float32(2.5), np.int8(1)]])
def test_any_sequence_of_numbers(pools, data):
    for call in every_way(pools[2], 2).values():
        assert call(data) == [1.0, 6.25, 1.0]
    assert sorted(tp.TaskQueue(data).process_parallel(2)) == [1.0, 1.0, 6.25]


@pytest.mark.parametrize("make", [lambda v: array.array("d", v), lambda v: memoryview(array.array("d", v))])
def test_any_float64_buffer(pools, make):
    for call in every_way(pools[2], 2).values():
        assert call(make([3.0])).tolist() == [9.0]


def test_read_only_input_is_fine(pools):
    values = np.arange(5.0)
    values.flags.writeable = False
    for call in every_way(pools[2], 2).values():
        assert call(values).tolist() == [0, 1, 4, 9, 16]
        with pytest.raises(ValueError, match="out is read-only"):
            call(np.arange(5.0), out=values)


# ---- bad input

DATA = {
    "execute_batch": lambda pool, data, **more: pool.execute_batch(data, **more),
    "process_work_stealing": lambda pool, data, **more: tp.process_work_stealing(data, 2, **more),
    "adaptive_parallel": lambda pool, data, **more: tp.adaptive_parallel(data, **more),
    "TaskQueue": lambda pool, data: tp.TaskQueue(data),
}
each_function = pytest.mark.parametrize("call", DATA.values(), ids=DATA)


@each_function
@pytest.mark.parametrize("bad", ["12", b"12", {1, 2}, {1: 2}, None, 3, iter([1.0]), (x for x in [1.0])])
def test_not_a_sequence(pools, call, bad):
    with pytest.raises(TypeError, match="tasks"):
        call(pools[1], bad)


@each_function
def test_bad_items_are_named(pools, call):
    with pytest.raises(TypeError, match=r"tasks\[2\]"):
        call(pools[1], [1.0, 2, "3", None])
    with pytest.raises(OverflowError, match=r"tasks\[1\]"):
        call(pools[1], [1.0, 10**400])


@each_function
def test_exceptions_of_items_are_theirs(pools, call):
    class Bad:
        def __float__(self):
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        call(pools[1], [1.0, Bad()])


@each_function
@pytest.mark.parametrize(
    ("make", "error", "cure"),
    [
        (lambda: np.arange(4), TypeError, "astype"),
        (lambda: np.arange(4, dtype=np.float32), TypeError, "astype"),
        (lambda: np.arange(4, dtype=">f8"), ValueError, "astype"),
        (lambda: np.arange(8.0)[::2], ValueError, "ascontiguousarray"),
        (lambda: np.ones((2, 2)), ValueError, "must be 1-D"),
        (lambda: np.array(["a"]), TypeError, "float64"),
    ],
)
def test_bad_arrays_name_the_cure(pools, call, make, error, cure):
    with pytest.raises(error, match=cure) as caught:
        call(pools[1], make())
    assert "tasks" in str(caught.value)


A = np.ones(4)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda pool: tp.ThreadPool(0), ValueError, "size must be at least 1, not 0"),
        (lambda pool: tp.ThreadPool(-1), ValueError, "size"),
        (lambda pool: tp.ThreadPool(1025), ValueError, "size must be at most 1024"),
        (lambda pool: tp.ThreadPool(2**62), ValueError, "size must be at most 1024"),
        (lambda pool: tp.ThreadPool(2**70), OverflowError, "size"),
        (lambda pool: tp.ThreadPool(2.0), TypeError, "size must be an int, not float"),
        (lambda pool: tp.ThreadPool("2"), TypeError, "size"),
        (lambda pool: tp.ThreadPool(), TypeError, "size"),
        (lambda pool: tp.process_work_stealing("no", 0), ValueError, "thread_count must be at least 1"),
        (lambda pool: tp.process_work_stealing([1.0], 10**6), ValueError, "thread_count must be at most 1024"),
        (lambda pool: tp.process_work_stealing([1.0], 2**64), OverflowError, "thread_count"),
        (lambda pool: tp.process_work_stealing([1.0], None), TypeError, "thread_count"),
        (lambda pool: tp.TaskQueue([1.0]).process_parallel(0), ValueError, "thread_count"),
        (lambda pool: tp.TaskQueue([1.0]).process_parallel(1025), ValueError, "thread_count"),
        (lambda pool: tp.TaskQueue([1.0]).process_parallel(1.0), TypeError, "thread_count"),
        (lambda pool: tp.adaptive_parallel("no", num_threads=0), ValueError, "num_threads must be at least 1"),
        (lambda pool: tp.adaptive_parallel([1.0], num_threads=1025), ValueError, "num_threads"),
        (lambda pool: pool.execute_batch(A, out=np.ones(3)), ValueError, "out has shape"),
        (lambda pool: pool.execute_batch(A, out=[0.0] * 4), TypeError, "out"),
        (lambda pool: pool.execute_batch(A, out=np.ones(4, np.float32)), TypeError, "out"),
        (lambda pool: pool.execute_batch([1.0], out=np.ones(1)), TypeError, "out needs arrays, but tasks is none"),
        (lambda pool: tp.process_work_stealing([1.0], 1, out=np.ones(1)), TypeError, "out needs arrays"),
        (lambda pool: tp.adaptive_parallel([1.0], out=np.ones(1)), TypeError, "out needs arrays"),
        (lambda pool: pool.burn([1], out=np.ones(1, np.int64)), TypeError, "out needs arrays, but costs is none"),
        (lambda pool: pool.burn([1, -1]), ValueError, r"costs\[1\] must be at least 0, not -1"),
        (lambda pool: pool.burn(np.array([-5])), ValueError, r"costs\[0\]"),
        (lambda pool: pool.burn([1.0]), TypeError, r"costs\[0\]"),
        (lambda pool: pool.burn(np.array([1.0])), TypeError, "int64"),
        (lambda pool: pool.burn([2**63]), OverflowError, r"costs\[0\]"),
        (lambda pool: pool.burn([1], sharing="fair"), ValueError, "sharing must be one of 'stealing', 'fixed'"),
        (lambda pool: pool.fib(-1), ValueError, "n must be at least 0"),
        (lambda pool: pool.fib(93), ValueError, "n must be at most 92"),
        (lambda pool: pool.fib(2.0), TypeError, "n must be an int"),
        (lambda pool: pool.submit_fib(93), ValueError, "n must be at most 92"),
        (lambda pool: pool.submit_burn(-1), ValueError, "cost must be at least 0"),
        (lambda pool: pool.submit_burn(None), TypeError, "cost"),
        (lambda pool: pool.submit_fib(1).result(math.nan), ValueError, "timeout"),
        (lambda pool: pool.submit_fib(1).result("1"), TypeError, "timeout"),
        (lambda pool: tp.Future(), TypeError, "No constructor"),
    ],
)
def test_bad_arguments(pools, call, error, match):
    with pytest.raises(error, match=match):
        call(pools[2])


def test_partly_overlapping_out_changes_nothing(pools):
    memory = np.arange(10.0)
    before = memory.copy()
    for call in every_way(pools[2], 2).values():
        with pytest.raises(ValueError, match="overlaps tasks in part"):
            call(memory[:8], out=memory[2:])
    assert np.array_equal(memory, before)
    for call in every_way(pools[2], 2).values():
        assert call([2.0], out=None) == [4.0]


def test_init_twice():
    pool = tp.ThreadPool(2)
    pool.__init__(3)
    assert pool.size() == 2 and pool.execute_batch([3.0]) == [9.0]
    queue = tp.TaskQueue([1.0])
    queue.__init__([1.0, 2.0])
    assert queue.remaining() == 1


def test_a_class_that_forgets_init():
    class Mine(tp.ThreadPool):
        def __init__(self):
            pass

    with pytest.raises(TypeError):
        Mine()


def test_what_they_print():
    with tp.ThreadPool(2) as pool:
        done, endless = pool.submit_fib(20), pool.submit_fib(92)
        assert repr(pool) == "<ThreadPool size=2>"
        assert done.result() == 6765 and repr(done) == "<Future done>"
        assert repr(endless) in ("<Future pending>", "<Future running>")
        endless.cancel()
        assert repr(endless) == "<Future cancelled>"
    assert repr(pool) == "<ThreadPool size=2 (shut down)>"


@pytest.mark.parametrize("kind", bound_classes(tp._core), ids=lambda kind: kind.__name__)
def test_objects_that_were_never_made(kind):
    refuses_what_was_never_made(kind)


def test_the_largest_pool():
    with tp.ThreadPool(1024) as pool:
        assert pool.size() == 1024 and pool.fib(15) == 610
        assert pool.execute_batch([2.0] * 50_000) == [4.0] * 50_000
    assert tp.process_work_stealing([2.0], 1024) == [4.0] == tp.TaskQueue([2.0]).process_parallel(1024)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_threads_that_cannot_start_are_named():
    child = run_child("""
        import resource, thread_pool
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))
        try:
            thread_pool.ThreadPool(1024)
        except RuntimeError as error:
            print(error)
        print(thread_pool.ThreadPool(2).fib(20))
    """)
    assert child.returncode == 0, child.stderr
    assert re.match(r"thread_pool: cannot start thread \d+ of 1024: .*\n6765\n", child.stdout), child.stdout


# ---- shutdown

AFTER = {
    "execute_batch": lambda pool: pool.execute_batch([1.0]),
    "empty": lambda pool: pool.execute_batch([]),
    "array": lambda pool: pool.execute_batch(np.ones(3)),
    "large": lambda pool: pool.execute_batch(np.ones(100_000)),
    "fib": lambda pool: pool.fib(3),
    "burn": lambda pool: pool.burn([1]),
    "submit_fib": lambda pool: pool.submit_fib(3),
    "submit_burn": lambda pool: pool.submit_burn(3),
    "with": lambda pool: pool.__enter__(),
}


def test_shutdown_is_the_end():
    with tp.ThreadPool(3) as pool:
        assert pool.size() == 3
        assert pool.execute_batch([1, 2]) == [1.0, 4.0]
    for _ in range(2):
        for call in AFTER.values():
            with pytest.raises(RuntimeError, match="shut down"):
                call(pool)
        assert pool.size() == 3
        pool.shutdown()
        pool.shutdown(cancel_futures=True)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_size_is_the_number_of_threads():
    child = run_child("""
        import os, thread_pool
        count = lambda: len(os.listdir("/proc/self/task"))
        before = count()
        for size in (1, 2, 7, 64):
            with thread_pool.ThreadPool(size):
                assert count() == before + size, count()
            assert count() == before
        pool = thread_pool.ThreadPool(5)
        del pool
        print(count() - before)
    """)
    assert child.stdout == "0\n", child.stderr


@pytest.mark.parametrize("threads", THREADS)
def test_shutdown_while_others_work(threads):
    """Every call gets the whole answer or RuntimeError; nobody hangs."""
    numbers = numbers_of(70_000)
    expected = numbers * numbers
    for _ in range(15):
        pool = tp.ThreadPool(2)

        def work(i, pool=pool):
            if i == threads:
                return pool.shutdown()
            try:
                for _ in range(100):
                    assert same_values(pool.execute_batch(numbers), expected)
                    assert pool.submit_fib(10).result(30) == 55
            except RuntimeError as error:
                assert "shut down" in str(error)
            except concurrent.futures.CancelledError:
                pass

        run_threads(threads + 1, work)


def test_shutdown_by_many_threads():
    pool = tp.ThreadPool(2)
    futures = [pool.submit_burn(20_000) for _ in range(4)]
    run_threads(7, lambda i: pool.shutdown())
    assert all(future.done() and not future.cancelled() for future in futures)


def test_shutdown_waits_without_the_gil():
    assert runs_without_gil(lambda: shut_down_busy(), attempts=20)


def shut_down_busy():
    pool = tp.ThreadPool(1)
    pool.submit_burn(20_000)
    pool.shutdown()


def test_shared_by_many_threads(pools):
    numbers = numbers_of(40_000)
    lists = numbers.tolist()
    expected = numbers * numbers

    def call(i):
        for _ in range(10):
            assert same_values(pools[2].execute_batch(numbers), expected)
            assert same_values(pools[2].execute_batch(lists), expected)
            assert pools[2].fib(12) == 144

    run_threads(7, call)


# ---- futures


def test_future(pools):
    future = pools[2].submit_fib(20)
    assert future.result() == future.result(timeout=0) == 6765
    assert future.done() and not future.running() and not future.cancelled() and not future.cancel()
    assert pools[1].submit_burn(7).result() == pools[1].burn([7])[0][0]


def test_future_times_out_and_is_cancelled():
    with tp.ThreadPool(1) as pool:
        running, waiting = pool.submit_burn(10**12), pool.submit_fib(5)
        for timeout in (0, -1, 0.01):
            with pytest.raises(TimeoutError):
                waiting.result(timeout)
        assert not waiting.done()
        assert waiting.cancel() and waiting.cancelled() and waiting.done() and waiting.cancel()
        assert running.cancel() and running.cancelled()
        for future in (waiting, running):
            with pytest.raises(concurrent.futures.CancelledError):
                future.result()
        assert pool.submit_fib(10).result(30) == 55  # the one that ran has ended


@pytest.mark.parametrize("threads", THREADS)
def test_many_wait_for_one_future(threads):
    with tp.ThreadPool(2) as pool:
        future = pool.submit_burn(30_000)
        assert len(set(run_threads(threads, lambda i: future.result(60)))) == 1


def test_shutdown_runs_what_was_accepted():
    pool = tp.ThreadPool(2)
    futures = [pool.submit_fib(12) for _ in range(200)]
    pool.shutdown()
    assert [future.result(0) for future in futures] == [144] * 200


def test_shutdown_that_cancels():
    pool = tp.ThreadPool(2)
    futures = [pool.submit_burn(10**12) for _ in range(2)] + [pool.submit_fib(92) for _ in range(5)]
    pool.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)


def test_leaving_with_an_exception_cancels():
    with pytest.raises(ZeroDivisionError):
        with tp.ThreadPool(2) as pool:
            future = pool.submit_fib(92)
            1 / 0
    assert future.cancelled()


def test_a_call_that_shutdown_cuts_off_raises():
    pool = tp.ThreadPool(2)
    entered = threading.Event()

    def call(i):
        if i == 0:
            entered.set()
            with pytest.raises(RuntimeError, match="shut down"):
                pool.burn([10**12] * 2)
        else:
            entered.wait()
            threading.Event().wait(0.05)
            pool.shutdown(cancel_futures=True)

    run_threads(2, call)


def test_a_future_outlives_its_pool():
    pool = tp.ThreadPool(1)
    done, dropped = pool.submit_fib(10), [pool.submit_burn(10**12) for _ in range(3)]
    assert done.result() == 55
    gone = weakref.ref(pool) if hasattr(pool, "__weakref__") else None
    del pool
    gc.collect()
    assert gone is None or gone() is None
    assert done.result() == 55 and all(future.cancelled() for future in dropped)


# ---- the GIL, Ctrl-C, fork, exit

big = numbers_of(3_000_000)
GIL_FREE = {
    "execute_batch": lambda pool: pool.execute_batch(big),
    "process_work_stealing": lambda pool: tp.process_work_stealing(big, 2),
    "adaptive_parallel": lambda pool: tp.adaptive_parallel(big),
    "process_parallel": lambda pool: tp.TaskQueue(big).process_parallel(2),
    "fib": lambda pool: pool.fib(24),
    "burn": lambda pool: pool.burn([2000] * 4),
    "result": lambda pool: pool.submit_burn(5000).result(),
    "ThreadPool": lambda pool: tp.ThreadPool(64),
}


@pytest.mark.parametrize("name", GIL_FREE)
def test_releases_the_gil(pools, name):
    assert runs_without_gil(lambda: GIL_FREE[name](pools[2]))


@pytest.mark.parametrize(
    "call",
    [
        "pool.fib(80)",
        "pool.burn([10**12] * 5)",
        "pool.burn([10**12] * 5, sharing='fixed')",
        "pool.submit_fib(80).result()",
        "(pool.submit_burn(10**12), pool.shutdown())",
        "([pool.submit_burn(10**12) for _ in range(2)], pool.burn([1]))",  # queued behind what never ends
        "([pool.submit_burn(10**12) for _ in range(2)], pool.burn([1], sharing='fixed'))",
        "([pool.submit_burn(10**12) for _ in range(2)], pool.fib(5))",
    ],
)
def test_ctrl_c(call):
    child = interrupt_child(f"""
        import thread_pool
        pool = thread_pool.ThreadPool(2)
        print("ready")
        try:
            with pool:
                {call}
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert (child.returncode, child.stdout) == (0, "interrupted\n"), child.stderr


@no_fork
def test_fork_with_a_live_pool():
    child = run_child("""
        import gc, os, warnings, numpy as np, thread_pool as tp
        warnings.simplefilter("ignore")
        big = np.ones(10**6)
        pool, queue = tp.ThreadPool(2), tp.TaskQueue([1.0, 2.0])
        assert pool.execute_batch(big)[0] == 1.0
        busy, done = pool.submit_burn(10**12), pool.submit_fib(5)
        assert done.result() == 5
        pid = os.fork()
        if pid == 0:
            refused = 0
            for call in (lambda: pool.execute_batch(big), lambda: pool.fib(5), lambda: pool.burn([1]),
                         lambda: pool.submit_fib(5), lambda: busy.result()):
                try:
                    call()
                except RuntimeError as error:
                    assert "fork" in str(error) or "parent" in str(error), error
                    refused += 1
            assert done.result() == 5 and pool.execute_batch([3.0]) == [9.0]
            assert sorted(queue.process_parallel(2)) == [1.0, 4.0]
            assert tp.process_work_stealing(big, 2)[0] == 1.0
            with tp.ThreadPool(2) as mine:
                assert mine.fib(10) == 55
            pool.shutdown()
            del pool
            gc.collect()
            os._exit(0 if refused == 5 else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        busy.cancel()
    """)
    assert (child.returncode, child.stdout) == (0, "0\n"), child.stderr


@no_fork
def test_a_forked_child_leaves_as_usual():
    """With the parent's pool alive: its hook at exit and its destructors must not wait for threads that are not there."""
    child = run_child("""
        import os, sys, warnings, thread_pool
        warnings.simplefilter("ignore")
        pool = thread_pool.ThreadPool(2)
        future = pool.submit_burn(10**12)
        pid = os.fork()
        if pid == 0:
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    assert (child.returncode, child.stdout) == (0, "7\n"), child.stderr


@pytest.mark.parametrize(
    "last",
    [
        "pool.execute_batch([1.0])",
        "future = pool.submit_burn(10**12)",
        "futures = [pool.submit_fib(92) for _ in range(10)]",
        "threading.Thread(target=pool.fib, args=(92,), daemon=True).start()",
        "threading.Thread(target=pool.burn, args=([10**12] * 4,), daemon=True).start()",
        "threading.Thread(target=lambda: pool.submit_burn(10**12).result(), daemon=True).start()",
        "import sys; sys.modules['keep'] = pool; pool.submit_burn(10**12)",
        "pool.submit_burn(10**12); cycle = [pool]; cycle.append(cycle); del pool, cycle",
    ],
)
def test_exit_while_busy(last):
    child = run_child(f"""
        import threading, time, thread_pool
        pool = thread_pool.ThreadPool(2)
        {last}
        time.sleep(0.1)
        print("leaving", flush=True)
    """)
    assert (child.returncode, child.stdout) == (0, "leaving\n"), child.stderr


@pytest.mark.skipif(sys.version_info < (3, 12), reason="own-GIL sub-interpreters came with CPython 3.12")
def test_in_a_sub_interpreter():
    module = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    child = run_child(f"""
        import sys, {module} as interpreters, thread_pool
        with thread_pool.ThreadPool(2) as here:
            name = interpreters.create()
            print(interpreters.run_string(name, '''if True:
                import sys; sys.path[:] = {[p for p in sys.path if p]!r}
                import thread_pool as tp
                pool = tp.ThreadPool(2)
                assert pool.execute_batch([2.0] * 100_000) == [4.0] * 100_000
                assert pool.fib(15) == 610 and pool.submit_fib(10).result() == 55
                assert tp.adaptive_parallel([2.0]) == [4.0]
                left_running = pool.submit_burn(10**12)
            '''))
            interpreters.destroy(name)
            assert here.fib(10) == 55
    """)
    assert (child.returncode, child.stdout) == (0, "None\n"), child.stdout + child.stderr


def test_importing_needs_no_numpy():
    child = run_child("import sys, thread_pool as tp; print(tp.ThreadPool(1).execute_batch([2, 1]), 'numpy' in sys.modules)")
    assert child.stdout == "[4.0, 1.0] False\n", child.stderr


def test_a_list_that_another_thread_changes(pools):
    numbers = [float(i) for i in range(40_000)]
    done = threading.Event()

    def change():
        while not done.is_set():
            numbers.append(1.0)
            del numbers[-1:]
            numbers[0] = 0.0

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            assert len(pools[2].execute_batch(numbers)) in (40_000, 40_001)
    finally:
        done.set()
        thread.join()
