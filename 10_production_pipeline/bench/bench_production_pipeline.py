"""The pipeline against what a reader would use instead: NumPy, comprehensions, pools, a plain loop; oneTBB in C++."""

import concurrent.futures
import functools
import itertools
import math
import multiprocessing
import pathlib
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts" / "testing"))
import production_pipeline as pp  # noqa: E402
import tenfold_bench as bench  # noqa: E402
from production_pipeline import Pipeline, native  # noqa: E402

numpy = bench.optional("numpy")
WORKERS = 2


def ours(task, n):
    return bench.Remote("peer_ours", f"{task} {n}")


def tbb(task, n):
    return bench.Remote("peer_tbb", f"{task} {n}")


# ---- DataPipeline


def masked(a):
    """One mask, one copy, in place from there: the best of five ways that were tried."""
    good = a[numpy.isfinite(a) & (a >= 0)]
    numpy.sqrt(good, out=good)
    return numpy.multiply(good, 2.0, out=good)


def comprehension(x):
    finite, root = math.isfinite, math.sqrt
    return [2.0 * root(v) for v in x if finite(v) and v >= 0]


def data_cases():
    pipeline = pp.DataPipeline(WORKERS, 10_000)
    if numpy is None:
        return
    rng = numpy.random.default_rng(10)
    for size in (1_000, 10_000, 100_000, 1_000_000, 16_000_000):
        mixed = rng.normal(size=size)
        mixed[rng.random(size) < 0.01] = numpy.nan
        for name, array in (("half negative, 1 % NaN", mixed), ("nothing to drop", numpy.abs(numpy.nan_to_num(mixed)))):
            gated = 3 if size == 1_000_000 and array is mixed else None
            yield bench.Case(
                "arrays",
                f"process, {name}",
                size,
                "array",
                ours=lambda a=array: pipeline.process(a)[0],
                peers={"numpy": lambda a=array: masked(a)},
                at_least=gated,
                threads=WORKERS,
            )
            if size <= 1_000_000:
                listed = array.tolist()
                yield bench.Case(
                    "lists",
                    f"process, {name}",
                    size,
                    "list",
                    ours=lambda x=listed: pipeline.process(x)[0],
                    peers={
                        "list comprehension": lambda x=listed: comprehension(x),
                        "numpy, there and back": lambda x=listed: masked(numpy.array(x)).tolist(),
                    },
                    at_least=gated,
                    threads=WORKERS,
                )
    finite = rng.normal(5, 2, 1_000_000)
    gaps = finite.copy()
    gaps[::100] = numpy.nan
    for name, array in (("all finite", finite), ("1 % NaN", gaps)):
        yield bench.Case(
            "aggregate",
            f"aggregate_pipeline, {name}",
            1_000_000,
            "array",
            ours=lambda a=array: list(pp.aggregate_pipeline(a, num_threads=WORKERS)),
            peers={"numpy": lambda a=array: summary(a)},
            check=bench.close(1e-9),
            threads=WORKERS,
        )


def summary(a):
    good = a[numpy.isfinite(a)]
    return [float(good.mean()), float(good.std()), float(good.min()), float(good.max()), len(good)]


# ---- the overhead of a stage in C++


def native_cases():
    n = 1_000_000
    for task, name in (("tiny", "two parallel stages, next to no work"), ("serial", "the same, a serial stage between")):
        yield bench.Case(
            "native",
            name,
            n,
            "",
            ours=ours(task, n),
            peers={
                "TBB parallel_pipeline": tbb(task, n),
                "TBB, 512 items a token": tbb(f"{task}_batched", n),
                "plain loop": ours(f"loop_{task}", n),
            },
            at_least={"TBB parallel_pipeline": 8},
            aim={"TBB parallel_pipeline": 14},
            threads=WORKERS,
            ops=n,
        )
    for task, name, n in (
        ("work100", "one parallel stage, 100 ns an item", 300_000),
        ("work1000", "the same, 1 µs an item", 50_000),
    ):
        yield bench.Case(
            "native",
            name,
            n,
            "",
            ours=ours(task, n),
            peers={
                "TBB parallel_pipeline": tbb(task, n),
                "TBB, 512 items a token": tbb(f"{task}_batched", n),
                "plain loop": ours(f"loop_{task}", n),
            },
            threads=WORKERS,
            ops=n,
        )


# ---- Pipeline, with native and with Python stages


def spin(steps, x):
    """About 30 ns a step."""
    for i in range(steps):
        x ^= i
    return x


def loop(function, items):
    out = []
    for item in items:
        out.append(function(item))
    return out


@functools.cache
def processes():
    return multiprocessing.get_context("spawn").Pool(WORKERS)


def python_cases():
    for steps, name, n in ((300, "10 µs an item", 2_000), (30, "1 µs an item", 5_000), (0, "next to nothing", 10_000)):
        function, items = functools.partial(spin, steps), list(range(n))
        one, two = Pipeline(1).map(function), Pipeline(WORKERS).map(function)
        yield bench.Case(
            "python",
            f"one worker, {name}",
            n,
            "list",
            ours=lambda p=one, x=items: p.run(x).items,
            peers={
                "plain loop": lambda f=function, x=items: loop(f, x),
                "ThreadPoolExecutor(1).map": lambda f=function, x=items: executor_map(f, x, 1),
            },
            at_least=0.9 if steps == 300 else None,
            threads=1,
        )
        yield bench.Case(
            "python",
            f"{WORKERS} workers, {name}",
            n,
            "list",
            ours=lambda p=two, x=items: p.run(x).items,
            peers={
                "ThreadPoolExecutor.map": lambda f=function, x=items: executor_map(f, x, WORKERS),
                "multiprocessing.Pool.map": lambda f=function, x=items: processes().map(f, x),
            },
            threads=WORKERS,
        )
    n = 400
    items = list(range(n))
    eight = Pipeline(8, queue_size=64).map(wait_a_bit)
    yield bench.Case(
        "python",
        "8 workers, a stage that waits 1 ms",
        n,
        "list",
        ours=lambda: eight.run(items).items,
        peers={
            "plain loop": lambda: loop(wait_a_bit, items),
            "ThreadPoolExecutor(8).map": lambda: executor_map(wait_a_bit, items, 8),
        },
        threads=8,
    )
    three = Pipeline(1).validate(lambda x: x >= 0).map(functools.partial(spin, 300)).filter(lambda x: x % 2)
    items = list(range(2_000))
    yield bench.Case(
        "python",
        "one worker, three stages, 10 µs",
        2_000,
        "list",
        ours=lambda: three.run(items).items,
        peers={"generators": lambda: [y for y in (spin(300, x) for x in items if checked(x)) if y % 2]},
        threads=1,
    )


def checked(x):
    if not x >= 0:
        raise ValueError(x)
    return True


def wait_a_bit(x):
    time.sleep(0.001)
    return x


def executor_map(function, items, workers):
    with concurrent.futures.ThreadPoolExecutor(workers) as executor:
        return list(executor.map(function, items))


def fused_cases():
    if numpy is None:
        return
    pipeline, alone = (
        Pipeline(workers, on_error="skip")
        .validate(native.finite)
        .filter(native.at_least(0.0))
        .map(native.sqrt)
        .map(native.times(2.0))
        for workers in (WORKERS, 1)
    )
    plain = Pipeline(1, on_error="skip").validate(math.isfinite).filter(lambda x: x >= 0).map(math.sqrt).map(lambda x: 2.0 * x)
    rng = numpy.random.default_rng(11)
    for size in (100_000, 1_000_000):
        array = rng.normal(size=size)
        listed = array.tolist()
        yield bench.Case(
            "fused",
            "four native stages, fused",
            size,
            "array",
            ours=lambda a=array: pipeline.run(a).items,
            peers={"numpy": lambda a=array: masked(a), "DataPipeline": lambda a=array: data_pipeline().process(a)[0]},
            threads=WORKERS,
        )
        yield bench.Case(
            "fused",
            "four native stages, fused",
            size,
            "list",
            ours=lambda x=listed: alone.run(x).items,
            peers={
                "the same, two workers": lambda x=listed: pipeline.run(x).items,
                "the same stages in Python": lambda x=listed: plain.run(x).items,
                "list comprehension": lambda x=listed: comprehension(x),
            },
            threads=1,
        )


@functools.cache
def data_pipeline():
    return pp.DataPipeline(WORKERS, 10_000)


def cases():
    yield from data_cases()
    yield from native_cases()
    yield from fused_cases()
    yield from python_cases()


# ---- a run, watched


def watched_run(queue_size=200, items=3_000):
    """(seconds, items read, items delivered, depth before the stage) every few ms; the sink stands still for a while."""
    read = delivered = 0
    over = threading.Event()

    def source():
        nonlocal read
        for number in range(1, items + 1):
            read = number
            yield number

    def sink(item):
        nonlocal delivered
        delivered += 1
        time.sleep(0.25 if delivered in (800, 1_900) else 0.0001)

    pipeline = Pipeline(WORKERS, queue_size).map(lambda x: (time.sleep(0.0001), x)[1], name="transform").sink(sink)
    seen = []

    def watch(begin):
        while not over.wait(0.004):
            depths = pipeline._totals.snapshot()[0][0].queue_depth
            seen.append((time.perf_counter() - begin, read, delivered, depths))

    thread = threading.Thread(target=watch, args=(time.perf_counter(),))
    thread.start()
    result = pipeline.run(source())
    over.set()
    thread.join()
    assert result.stats.items_out == items
    return seen


def tables(quick):
    seen = watched_run()
    ahead = max(read - delivered for _, read, delivered, _ in seen)
    rows = [["200", f"{ahead}", f"{max(depth for *_, depth in seen)}"]]
    return {
        "pressure": {
            "columns": ["queue_size", "most items between source and sink", "most of them before the stage"],
            "rows": rows,
        }
    }


def draw(results, folder):
    """images/pressure.png: a sink that stands still twice, and what the source does meanwhile."""
    if bench.optional("matplotlib") is None:
        return
    from matplotlib import pyplot

    seen = watched_run()
    times = [each[0] for each in seen]
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(9, 4.8), sharex=True, layout="constrained")
    above.plot(times, [each[1] for each in seen], color="#2471a3", linewidth=1.4, label="read from the source")
    above.plot(times, [each[2] for each in seen], color="#c0392b", linewidth=1.4, label="taken by the sink")
    above.set_ylabel("items")
    above.legend(frameon=False, loc="upper left")
    below.fill_between(times, [each[1] - each[2] for each in seen], color="#aed6f1", label="in flight, all in all")
    below.plot(
        times, [each[3] for each in seen], color="#1e8449", linewidth=1.2, label="of these waiting for, or in, the stage"
    )
    below.axhline(200, color="#888", linewidth=0.8, linestyle=":")
    below.set_ylabel("items")
    below.set_xlabel("seconds")
    below.set_ylim(0, 280)
    below.legend(frameon=False, loc="upper right", ncols=2)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "pressure.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    code = bench.run(
        list(itertools.chain(cases())), HERE / "results.json", "Lesson 10, production pipeline", tables=tables, plot=draw
    )
    if processes.cache_info().currsize:
        processes().terminate()
    sys.exit(code)
