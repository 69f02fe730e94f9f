"""Pools, arenas and windows against what a reader would use instead: C++ allocators in processes of their own, Python's in this one."""

import functools
import itertools
import json
import mmap
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts" / "testing"))
import custom_allocator as ca  # noqa: E402
import tenfold_bench as bench  # noqa: E402

numpy = bench.optional("numpy")
pandas = bench.optional("pandas")

# ---- C++: one process per peer; what the tasks are stands in bench/peer_tasks.hpp

LIBRARIES = {"glibc malloc": "peer_glibc", "mimalloc": "peer_mimalloc", "jemalloc": "peer_jemalloc"}
ARENA, POOL, CHECKED, SIZED = "arena", "unchecked_fixed_pool", "fixed_pool (checks)", "sized_allocator (checks)"
OURS = {ARENA: "arena", POOL: "pool", CHECKED: "checked", SIZED: "sized"}
# group, what, task, N, operations in it, ours, std::pmr resources, threads
BULK, PATTERNS = "bulk", "patterns"
ROWS = (
    (BULK, "frees excluded", "bulk", 10_000, 10_000, ARENA, ("monotonic",), 1),
    (BULK, "one cold round", "cold", 10_000, 10_000, ARENA, ("monotonic",), 1),
    (BULK, "destructors included", "objects", 10_000, 10_000, ARENA, (), 1),
    (BULK, "frees included", "bulk", 10_000, 10_000, POOL, ("unsynchronized", "synchronized"), 1),
    (BULK, "frees included", "bulk", 10_000, 10_000, CHECKED, (), 1),
    (BULK, "frees included", "bulk", 10_000, 10_000, SIZED, ("synchronized",), 1),
    (PATTERNS, "one after the other", "hot", 1_000_000, 1_000_000, POOL, ("unsynchronized",), 1),
    (PATTERNS, "one after the other", "hot", 1_000_000, 1_000_000, SIZED, ("synchronized",), 1),
    (PATTERNS, "tree, frees excluded", "tree", 16, 131_071, ARENA, ("monotonic",), 1),
    (PATTERNS, "tree", "tree", 16, 131_071, POOL, ("unsynchronized",), 1),
    (PATTERNS, "std::map, 50,000 inserts", "map", 50_000, 50_000, POOL, ("unsynchronized",), 1),
    (PATTERNS, "random sizes and lives", "churn", 300_000, 300_000, SIZED, ("synchronized",), 1),
    (PATTERNS, "the same, two threads", "churn2", 300_000, 600_000, SIZED, ("synchronized",), 2),
    (PATTERNS, "freed by another thread", "remote", 204_800, 204_800, SIZED, ("synchronized",), 2),
)
GOALS = {
    ARENA: ({"glibc malloc": 6, "mimalloc": 4}, {"glibc malloc": 8, "mimalloc": 6}),
    POOL: ({"glibc malloc": 3, "mimalloc": 2, "pmr synchronized": 20}, {"glibc malloc": 4.6, "mimalloc": 2.9}),
}


def native_cases():
    for group, what, task, n, ops, ours, resources, threads in ROWS:
        at_least, aim = GOALS.get(ours, ({}, {})) if task == "bulk" else ({}, {})
        peers = {name: bench.Remote(program, f"{task} {n}") for name, program in LIBRARIES.items()}
        peers |= {f"pmr {name}": bench.Remote("peer_pmr", f"{name}_{task} {n}") for name in resources}
        yield bench.Case(
            group,
            f"{ours}, {what}",
            ops,
            "",
            ours=bench.Remote("peer_ours", f"{OURS[ours]}_{task} {n}"),
            peers=peers,
            at_least=at_least,
            aim=aim,
            threads=threads,
            ops=ops,
        )


# ---- Python


def rolling(data, window):
    """The running sum one writes in Python: add what comes, subtract what goes. It drifts."""
    total = sum(data[:window])
    sums = [total]
    for new, old in zip(itertools.islice(data, window, None), data):
        total += new - old
        sums.append(total)
    return sums


def window_cases():
    n = 1_000_000
    array = numpy.random.default_rng(9).normal(size=n)
    view = numpy.lib.stride_tricks.sliding_window_view
    close = bench.close(1e-9, 1e-9)
    for window in (10, 1000, 100_000):
        peers = {}
        if window <= 1000:
            peers["sliding_window_view.sum"] = lambda w=window: view(array, w).sum(axis=1)

        def cumsum(w=window):
            sums = numpy.cumsum(numpy.concatenate([[0.0], array]))
            return sums[w:] - sums[:-w]

        peers["cumsum, subtract (drifts)"] = cumsum
        peers["pandas rolling sum"] = pandas and (lambda w=window: pandas.Series(array).rolling(w).sum().to_numpy()[w - 1 :])
        if window == 10:
            peers["numpy.convolve"] = lambda w=window: numpy.convolve(array, numpy.ones(w), "valid")
        yield bench.Case(
            "windows",
            f"sliding_window_sum, {window:,}",
            n,
            "array",
            ours=lambda w=window: ca.sliding_window_sum(array, w, num_threads=1),
            peers=peers,
            check=close,
            threads=1,
        )
    numbers = array[:100_000].tolist()
    yield bench.Case(
        "windows",
        "sliding_window_sum, 100",
        len(numbers),
        "list",
        ours=lambda: ca.sliding_window_sum(numbers, 100, num_threads=1),
        peers={
            "running sum in Python (drifts)": lambda: rolling(numbers, 100),
            "sum() of slices": lambda: [sum(numbers[i : i + 100]) for i in range(len(numbers) - 99)],
        },
        check=close,
        threads=1,
    )


def work_cases():
    n = 1_000_000
    array = numpy.random.default_rng(1).random(n)
    out, other = numpy.empty(n), numpy.empty(n)
    large = numpy.random.default_rng(2).random(8 * n)
    large_out, large_other = numpy.empty(8 * n), numpy.empty(8 * n)
    numbers = array[:200_000].tolist()
    for data, to, theirs in ((array, out, other), (large, large_out, large_other)):
        yield bench.Case(
            "functions",
            "parallel_transform_preallocated(out=)",
            len(data),
            "array",
            ours=lambda d=data, o=to: ca.parallel_transform_preallocated(d, out=o, num_threads=2),
            peers={
                "numpy.sqrt": lambda d=data: numpy.sqrt(d),
                "numpy.sqrt(out=)": lambda d=data, o=theirs: numpy.sqrt(d, out=o),
            },
            threads=2,
        )
    pool, objects = ca.BufferPool(1024, 8), ca.ObjectPool(64)
    lengths = numpy.random.default_rng(3).integers(1, 2000, 1000)
    rows = [array[:k].copy() for k in lengths]
    lists = [row.tolist() for row in rows[:200]]
    total = int(lengths.sum())
    flat = numpy.empty(total)
    matrix, matrix_out, matrix_other = array.reshape(1000, 1000), numpy.empty((1000, 1000)), numpy.empty((1000, 1000))
    yield bench.Case(
        "functions",
        "BufferPool.process_batch, 200 rows",
        sum(map(len, lists)),
        "list",
        ours=lambda: pool.process_batch(lists),
        peers={"list comprehension": lambda: [[x * x for x in row] for row in lists]},
    )
    yield bench.Case(
        "functions",
        "BufferPool.process_batch, 1000 rows",
        total,
        "array",
        ours=lambda: pool.process_batch(rows),
        peers={"numpy row * row": lambda: [row * row for row in rows]},
        check=lambda a, b: all(map(numpy.array_equal, a, b)),
    )
    yield bench.Case(
        "functions",
        "BufferPool.process_batch(out=), 2-D",
        n,
        "array",
        ours=lambda: pool.process_batch(matrix, out=matrix_out),
        peers={
            "numpy m * m": lambda: matrix * matrix,
            "numpy.multiply(out=)": lambda: numpy.multiply(matrix, matrix, out=matrix_other),
        },
    )
    yield bench.Case(
        "functions",
        "ObjectPool.process_with_pooling",
        len(numbers),
        "list",
        ours=lambda: objects.process_with_pooling(numbers),
        peers={"list comprehension": lambda: [x + x * x for x in numbers]},
    )
    yield bench.Case(
        "functions",
        "ObjectPool.process_with_pooling(out=)",
        n,
        "array",
        ours=lambda: objects.process_with_pooling(array, out=out),
        peers={"numpy x + x * x": lambda: array + array * array},
    )
    yield bench.Case(
        "functions",
        "batch_process_arena, 200 batches",
        sum(map(len, lists)),
        "list",
        ours=lambda: ca.batch_process_arena(lists, num_threads=2),
        peers={"list comprehension": lambda: [x * x for row in lists for x in row]},
        threads=2,
    )
    yield bench.Case(
        "functions",
        "batch_process_arena, 1000 batches",
        total,
        "array",
        ours=lambda: ca.batch_process_arena(rows, num_threads=2, out=flat),
        peers={"numpy.concatenate of row * row": lambda: numpy.concatenate([row * row for row in rows])},
        threads=2,
    )


def copied(data, make):
    """A frame copied into memory of its own; the checksum of its first and last byte."""
    memory = make(len(data))
    memory[:] = data
    return memory[0] + memory[-1]


def view_cases():
    pool = ca.PoolAllocator(8)

    def pooled(data):
        with pool.allocate(len(data)) as view:
            view[:] = data
            return view[0] + view[-1]

    def mapped(data):
        with mmap.mmap(-1, len(data)) as memory:
            memory[:] = data
            return memory[0] + memory[-1]

    def array_of(data):
        memory = memoryview(numpy.empty(len(data), numpy.uint8))
        memory[:] = data
        return memory[0] + memory[-1]

    for size, name in ((64, "64 B"), (4096, "4 KiB"), (1 << 20, "1 MiB"), (1 << 26, "64 MiB")):
        data = bytes(range(1, 65)) * (size // 64)
        yield bench.Case(
            "views",
            f"PoolAllocator, a copy of {name}",
            size,
            "bytes",
            ours=functools.partial(pooled, data),
            peers={
                "bytearray(n)": functools.partial(copied, data, lambda n: memoryview(bytearray(n))),
                "numpy.empty(n)": functools.partial(array_of, data),
                "mmap.mmap(-1, n)": functools.partial(mapped, data),
                "bytearray(data)": lambda d=data: (lambda memory: memory[0] + memory[-1])(bytearray(d)),
            },
        )


def cases():
    yield from native_cases()
    if numpy:
        yield from window_cases()
        yield from work_cases()
        yield from view_cases()


# ---- peak memory and page faults, in processes of their own


CHILD = """
import json, resource, sys
import numpy as np, custom_allocator as ca

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
"""
PEAKS = {
    "squares of 32 batches": (
        "batches = [np.full(n, 1.5) for n in (400_000, 50_000, 1_600_000, 10) * 8]; ca.batch_process_arena([np.ones(10)])",
        {
            "batch_process_arena": "ca.batch_process_arena(batches)",
            "np.concatenate([b * b for b in batches])": "np.concatenate([b * b for b in batches])",
            "a list of floats": "[x * x for b in batches for x in b.tolist()]",
        },
    ),
    "x + x * x of 10,000,000": (
        "x = np.full(10_000_000, 0.5); out = np.zeros_like(x); pool = ca.ObjectPool(64); pool.process_with_pooling(x[:10])",
        {
            "process_with_pooling(x, out=out)": "pool.process_with_pooling(x, out=out)",
            "x + x * x": "x + x * x",
        },
    ),
    "windows of 1,000 over 2,000,000": (
        "x = np.full(2_000_000, 0.5); ca.sliding_window_sum(x[:10], 2)",
        {
            "sliding_window_sum": "ca.sliding_window_sum(x, 1000)",
            "np.cumsum, subtract": "(lambda c: c[1000:] - c[:-1000])(np.cumsum(np.concatenate([[0.0], x])))",
        },
    ),
}


def child(code):
    path = os.pathsep.join(each for each in sys.path if each)
    command = [sys.executable, "-c", CHILD + code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path})
    return json.loads(done.stdout)


def peak_table(quick):
    """MiB that a process needs at most beyond its input; VmHWM, for ru_maxrss begins with the parent's."""
    rows = []
    for work, (prepare, ways) in PEAKS.items():
        for name, expression in ways.items():
            code = f"{prepare}\nbegin = status('VmHWM')\nresult = {expression}\nprint(json.dumps(status('VmHWM') - begin))"
            rows.append([work, name, f"{child(code):.0f} MiB"])
    return {"columns": ["work", "with", "peak, beyond the input"], "rows": rows}


FRAMES = """
size, rounds = 1 << 26, 30
frame = np.ones(size, np.uint8)
pool = ca.PoolAllocator(2)

def fresh():
    memoryview(bytearray(size))[:] = frame

def pooled():
    with pool.allocate(size) as view:
        view[:] = frame

for each in (fresh, pooled):
    each()
counts = {}
for each in (fresh, pooled):
    begin = faults()
    counts[each.__name__] = []
    for _ in range(rounds):
        each()
        counts[each.__name__].append(faults() - begin)
print(json.dumps(counts))
"""
STEPS = """
import time
sizes = (400_000, 50_000, 1_600_000, 10) * 8
batches = [np.full(n, 1.5) for n in sizes]
result = np.full(sum(sizes), 0.5)  # so that its pages are there
ca.batch_process_arena(batches[:2], out=result[:450_000])
memory, begin, at = [], status("VmRSS"), 0
kept = []
for batch in batches:
    to = result[at : at + len(batch)]
    at += len(batch)
    if sys.argv[1:] == ["arena"]:
        ca.batch_process_arena([batch], out=to, num_threads=1)
    else:
        kept.append(batch * batch)
    memory.append(status("VmRSS") - begin)
if kept:
    np.concatenate(kept, out=result)
memory.append(status("VmRSS") - begin)
print(json.dumps(memory))
"""


def tables(quick):
    if not numpy or not os.path.exists("/proc/self/status"):
        return {}
    return {"peak": peak_table(quick)}


def draw_memory(results, folder):
    """images/memory.png: what a process holds from batch to batch, and its page faults from frame to frame."""
    if bench.optional("matplotlib") is None or not os.path.exists("/proc/self/status"):
        return
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    arena = child(STEPS.replace('sys.argv[1:] == ["arena"]', "True"))
    fresh = child(STEPS.replace('sys.argv[1:] == ["arena"]', "False"))
    left.step(range(1, len(fresh) + 1), fresh, where="post", color="#c0392b", label="a new array for each batch, then joined")
    left.step(range(1, len(arena) + 1), arena, where="post", color="#2471a3", label="an arena, reset after each batch")
    left.set_xlabel("batches of up to 1,600,000 squares")
    left.set_ylabel("MiB beyond input and result")
    counts = child(FRAMES)
    right.plot(range(1, 31), counts["fresh"], color="#c0392b", label="bytearray(n)")
    right.plot(range(1, 31), counts["pooled"], color="#2471a3", label="PoolAllocator.allocate(n)")
    right.set_xlabel("frames of 64 MiB")
    right.set_ylabel("page faults so far")
    right.yaxis.set_major_formatter("{x:,.0f}")
    for axes in (left, right):
        axes.set_ylim(bottom=0 if axes is left else None)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "memory.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(bench.run(list(cases()), HERE / "results.json", "Lesson 09, allocators", tables=tables, plot=draw_memory))
