"""Lesson 04's tables: fork-join, empty regions and flat tasks against other pools, each in a process of its own; batches and
uneven tasks against what a Python program would use instead; what an idle pool costs.

`--plot DIR` draws the page's picture as well: which worker ran which task when.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts" / "testing"))

sys.path.insert(0, str(HERE))

import peer_python  # noqa: E402
import tenfold_bench as bench  # noqa: E402
import thread_pool as tp  # noqa: E402

np = bench.optional("numpy")
THREADS = 2
"""Of every pool here: two cores are what the peers were compared on."""

BALANCED = [1000] * 32
SKEWED = [int(56 * 1.15**i) for i in range(32)]
"""Units of about a microsecond: the same amount of work as BALANCED, nearly half of it in the last four tasks."""


# ---- against other pools, native, a process each


def remote(program: str, request: str, **environment: str):
    return bench.Remote(program, request, environment={"TENFOLD_THREADS": str(THREADS), **environment})


def native_cases():
    forks = 317_810  # fib(28) - 1
    yield bench.Case(
        "fork_join",
        "fib(27), no cut-off",
        f"{forks:,} forks",
        "native",
        remote("peer_ours", "fib 27"),
        {
            "rayon join": remote("peer_rust", "fib 27"),
            "TBB task_group": remote("peer_tbb", "fib 27"),
            "OpenMP tasks": remote("peer_openmp", "fib 27"),
            "plain calls, one thread": remote("peer_ours", "fib_plain 27"),
        },
        at_least={"rayon join": 1.5, "TBB task_group": 10, "OpenMP tasks": 10},
        aim={"rayon join": 2.6, "TBB task_group": 25, "OpenMP tasks": 80},
        threads=THREADS,
        ops=forks,
        note="per fork",
    )
    times = 10_000  # one after the other: waking the threads before the first one does not count
    yield bench.Case(
        "empty_fork_join",
        "empty, two threads",
        times,
        "native",
        remote("peer_ours", f"empty {times}"),
        {
            "OpenMP": remote("peer_openmp", f"empty {times}"),
            "rayon broadcast": remote("peer_rust", f"empty {times}"),  # TBB promises no second thread: not comparable
        },
        at_least={"OpenMP": 4},
        threads=THREADS,
        ops=times,
        note="per fork and join",
    )
    tasks = 200_000
    for name, task in (("task_group.run", "flat"), ("detach", "flat_detach")):
        yield bench.Case(
            "flat",
            name,
            tasks,
            "native",
            remote("peer_ours", f"{task} {tasks}"),
            {
                "TBB task_group.run": remote("peer_tbb", f"flat {tasks}"),
                "rayon scope.spawn": remote("peer_rust", f"flat {tasks}"),
                "OpenMP tasks": remote("peer_openmp", f"flat {tasks}"),
            },
            at_least={"TBB task_group.run": 2},
            threads=THREADS,
            ops=tasks,
            note="per task",
        )


# ---- against Python


def square_chunk(chunk):
    return [x * x for x in chunk]


def executor_map(executor, numbers, chunks):
    def run():
        size = len(numbers) // chunks
        squares = []
        for part in executor.map(square_chunk, [numbers[i : i + size] for i in range(0, len(numbers), size)]):
            squares += part
        return squares

    return run


def keeping(function, results):
    """The same call, its result kept: for callers who do so, dropped floats come back to nobody."""

    def run():
        results.append(function())
        if len(results) > 3:
            del results[0]
        return results[-1]

    return run


def batch_cases(pool, executor):
    if np is None:
        return
    n = 10**6
    array = np.random.default_rng(4).standard_normal(n)
    numbers = array.tolist()
    comprehension = lambda: [x * x for x in numbers]  # noqa: E731
    ours = lambda: pool.execute_batch(numbers)  # noqa: E731
    by_map = executor_map(executor, numbers, 16)
    yield bench.Case(
        "batch",
        "execute_batch",
        n,
        "list",
        ours,
        {"[x * x for x in numbers]": comprehension, "ThreadPoolExecutor.map, 16 chunks": by_map},
        at_least={"[x * x for x in numbers]": 2, "ThreadPoolExecutor.map, 16 chunks": 3},
        threads=THREADS,
    )
    peers = {"[x * x for x in numbers]": keeping(comprehension, []), "ThreadPoolExecutor.map, 16 chunks": keeping(by_map, [])}
    note = "the last three results kept"
    yield bench.Case("batch", "execute_batch", n, "list", keeping(ours, []), peers, threads=THREADS, note=note)
    peers = {"[x * x for x in numbers]": comprehension, "ThreadPoolExecutor.map, 16 chunks": by_map}
    ours = lambda: tp.process_work_stealing(numbers, THREADS)  # noqa: E731
    yield bench.Case("batch", "process_work_stealing", n, "list", ours, peers, threads=THREADS, note="a pool per call")
    ours = lambda: tp.adaptive_parallel(numbers)  # noqa: E731
    yield bench.Case("batch", "adaptive_parallel", n, "list", ours, peers)
    for size in (10**6, 16 * 10**6):
        x, out = np.random.default_rng(5).standard_normal(size), np.empty(size)
        for name, ours in (
            ("execute_batch", lambda x=x, out=out: pool.execute_batch(x, out=out)),
            ("process_work_stealing", lambda x=x, out=out: tp.process_work_stealing(x, THREADS, out=out)),
            ("adaptive_parallel", lambda x=x, out=out: tp.adaptive_parallel(x, out=out)),
        ):
            peers = {"np.multiply": lambda x=x, out=out: np.multiply(x, x, out=out)}
            yield bench.Case("batch", name, size, "array", ours, peers, np.array_equal, threads=THREADS)


def skewed_cases(pool, alone):
    for name, costs in (("even tasks", BALANCED), ("uneven tasks", SKEWED)):
        work = f"{len(costs)} tasks, {sum(costs) / 1000:.0f} ms of work"
        peers = {
            "fixed shares": lambda costs=costs: pool.burn(costs, sharing="fixed")[0],
            "one thread": lambda costs=costs: alone.burn(costs)[0],
        }
        ours = lambda costs=costs: pool.burn(costs)[0]  # noqa: E731
        yield bench.Case("skewed", f"{name}, stealing", work, "list", ours, peers, threads=THREADS)


def submit_cases(pool, executor):
    n = 1000
    ours = lambda: [future.result() for future in [pool.submit_fib(1) for _ in range(n)]]  # noqa: E731
    theirs = lambda: [future.result() for future in [executor.submit(abs, 1) for _ in range(n)]]  # noqa: E731
    peers = {"ThreadPoolExecutor.submit, .result": theirs}
    yield bench.Case("submit", "submit_fib(1), result", f"{n:,} futures", "", ours, peers, threads=THREADS)


def cases(pool, alone, executor):
    yield from native_cases()
    yield from batch_cases(pool, executor)
    yield from skewed_cases(pool, alone)
    yield from submit_cases(pool, executor)
    yield from peer_python.cases(bench)


# ---- what an idle pool costs


def idle(quick):
    """CPU time of the whole process from 5 ms to 205 ms after the last work."""
    programs = {
        "ours": remote("peer_ours", "idle 1"),
        "rayon": remote("peer_rust", "idle 1"),
        "TBB": remote("peer_tbb", "idle 1"),
        "OpenMP": remote("peer_openmp", "idle 1"),
        "OpenMP, OMP_WAIT_POLICY=active": remote("peer_openmp", "idle 1", OMP_WAIT_POLICY="active"),
    }
    lines = []
    for name, program in programs.items():
        try:
            spent = sorted(program()[0] for _ in range(3 if quick else 7))
        except FileNotFoundError:
            lines.append([name, "not installed", ""])
            continue
        finally:
            program.close()
        lines.append([name, bench.seconds(spent[len(spent) // 2]), bench.seconds(spent[-1])])
    return {"columns": ["two threads of", "CPU time, median", "most"], "rows": lines}


def tables(quick):
    return {"idle": idle(quick), **peer_python.tables(bench, quick)}


# ---- the picture


def plot(results, folder):
    if bench.optional("matplotlib") is None:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = {}
    with tp.ThreadPool(THREADS) as pool:
        for costs in (BALANCED, SKEWED):
            for sharing in ("fixed", "stealing"):
                best = None
                for _ in range(40):  # the run that the rest of the machine disturbed least
                    timeline = pool.burn(costs, sharing=sharing)[1]
                    if best is None or timeline_end(timeline) < timeline_end(best):
                        best = timeline
                runs[costs is SKEWED, sharing] = best
    figure, all_axes = pyplot.subplots(2, 2, figsize=(10, 3.6), sharex=True, sharey=True, layout="constrained")
    for (skewed, sharing), timeline in runs.items():
        axes = all_axes[int(skewed)][int(sharing == "stealing")]
        end = timeline_end(timeline) * 1e3
        for worker in range(THREADS):
            mine = [row for row in timeline if row[0] == worker]
            bars = [(begin * 1e3, (stop - begin) * 1e3) for _, _, begin, stop in mine]
            colours = [pyplot.cm.viridis(task / len(SKEWED)) for _, task, _, _ in mine]
            axes.broken_barh(bars, (worker - 0.4, 0.8), color=colours, edgecolor="white", linewidth=0.4)
            last = max((begin + length for begin, length in bars), default=0.0)
            if end - last > 0.02 * end:
                axes.broken_barh([(last, end - last)], (worker - 0.4, 0.8), facecolor="none", edgecolor="#999", hatch="///")
        axes.set_yticks(range(THREADS), [f"worker {i}" for i in range(THREADS)])
        axes.set_title(f"{'uneven' if skewed else 'even'} tasks, {sharing}: {end:.1f} ms", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0][0].invert_yaxis()
    for axes in all_axes[1]:
        axes.set_xlabel("milliseconds; colour: task (dark: first), hatched: nothing to do", fontsize=9)
    figure.savefig(folder / "timeline.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def timeline_end(timeline):
    return max(end for *_, end in timeline)


if __name__ == "__main__":
    with tp.ThreadPool(THREADS) as many, tp.ThreadPool(1) as one, ThreadPoolExecutor(THREADS) as threads:
        code = bench.run(cases(many, one, threads), HERE / "results.json", "Thread pools", plot=plot, tables=tables)
    sys.exit(code)
