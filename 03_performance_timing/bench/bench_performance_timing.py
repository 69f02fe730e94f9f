"""Lesson 03's tables: single runs against rounds, the thirteen loops, what a timer costs, one thread against several, and
STREAM; with pictures of the rounds and of STREAM."""

import json
import os
import random
import subprocess
import sys
import time
import timeit
from pathlib import Path

# On a machine that others use too, a team that spins at its barrier waits whole time slices for a thread that sleeps.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the loops' rows are one thread against one

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts" / "testing"))

import performance_timing as cpp  # noqa: E402
import tenfold_bench as bench  # noqa: E402
from performance_timing import loops as python  # noqa: E402

numpy = bench.optional("numpy")
SIZE, WINDOW = 100_000, 16

# Once a large block was freed, glibc keeps freed memory for the next call; before, most of a conversion is page faults.
bytearray(30 << 20)


def numpy_peers(a, b, ids, kernel):
    """What a NumPy user would write; None where there is no such thing."""
    np = numpy
    return {
        "euclidean": lambda: np.linalg.norm(a - b),
        "dot_product": lambda: a @ b,
        "normalize_pixels": lambda: a / 255.0,
        "running_mean": lambda: np.cumsum(a) / np.arange(1, len(a) + 1),
        "count_pairs": None,
        "bpe_encode": None,
        "standard_scale": lambda: (a - a.mean()) / a.std(),
        "min_max_scale": lambda: (a - a.min()) / (a.max() - a.min()),
        "l2_normalize": lambda: a / np.linalg.norm(a),
        "convolve1d": lambda: np.convolve(a, kernel, "valid"),
        "moving_average": lambda: np.convolve(a, np.full(WINDOW, 1 / WINDOW), "valid"),
        "diff": lambda: np.diff(a),
        "cumsum": lambda: np.cumsum(a),
    }


def loop_cases():
    rng = random.Random(3)
    a = [rng.uniform(0, 255) for _ in range(SIZE)]
    b = [rng.uniform(0, 255) for _ in range(SIZE)]
    ids = [min(int(rng.expovariate(0.05)), 255) for _ in range(SIZE)]
    kernel = [rng.uniform(-1, 1) for _ in range(WINDOW)]
    merges = sorted(python.count_pairs(ids), key=python.count_pairs(ids).get, reverse=True)[:10]
    arguments = {
        "euclidean": (a, b),
        "dot_product": (a, b),
        "normalize_pixels": (a,),
        "running_mean": (a,),
        "count_pairs": (ids,),
        "bpe_encode": (ids, merges),
        "standard_scale": (a,),
        "min_max_scale": (a,),
        "l2_normalize": (a,),
        "convolve1d": (a, kernel),
        "moving_average": (a, WINDOW),
        "diff": (a,),
        "cumsum": (a,),
    }
    for name, args in arguments.items():
        ours, loop = getattr(cpp, name), getattr(python, name)
        numbers = len(args) if name in ("euclidean", "dot_product") else 1
        back = cpp._core._copy_floats if args[0] is a else cpp._core._copy_ints

        def convert(args=args, back=back, numbers=numbers, name=name):
            for values in args[:numbers]:
                back(values, name not in ("euclidean", "dot_product", "count_pairs"))

        yield bench.Case(
            "loops",
            name,
            SIZE,
            "list",
            lambda f=ours, args=args: f(*args),
            {"Python loop": lambda f=loop, args=args: f(*args)},
            convert=convert,
            threads=1,
        )
    if numpy is None:
        return
    x, y, tokens, weights = numpy.array(a), numpy.array(b), numpy.array(ids), numpy.array(kernel)
    pairs = numpy.array(merges)
    arrays = {id(a): x, id(b): y, id(ids): tokens, id(kernel): weights, id(merges): pairs}
    peers = numpy_peers(x, y, tokens, weights)
    for name, args in arguments.items():
        ours, loop = getattr(cpp, name), getattr(python, name)
        matched = [arrays.get(id(value), value) for value in args]
        against = {} if peers[name] is None else {"NumPy": peers[name]}
        # A Python loop over an array goes through .tolist() first: that is how it is fastest.
        unpacked = {"Python loop": lambda f=loop, args=matched: f(*(v.tolist() if hasattr(v, "tolist") else v for v in args))}
        if name in ("count_pairs", "bpe_encode"):
            unpacked = {"Python loop": lambda f=loop, t=tokens, rest=args[1:]: f(t.tolist(), *rest)}
        yield bench.Case(
            "loops",
            name,
            SIZE,
            "array",
            lambda f=ours, args=matched: f(*args),
            {**unpacked, **against},
            check=bench.close(1e-9, 1e-9),
            threads=1,
        )


def timer_cases():
    """One empty measurement with each of the timers that a reader might use."""

    def with_timer():
        with cpp.Timer("t") as timer:
            timer.elapsed()

    def with_perf_counter():
        start = time.perf_counter()
        time.perf_counter() - start

    def nothing():
        pass

    profiler = cpp.Profiler()

    def with_span():
        with profiler.span("s"):
            pass

    yield bench.Case(
        "overhead", "with Timer: elapsed()", 1, "-", with_timer, {"perf_counter twice": with_perf_counter}, check=None
    )
    yield bench.Case(
        "overhead", "with Profiler.span()", 1, "-", with_span, {"perf_counter twice": with_perf_counter}, check=None
    )

    def ours():
        cpp.benchmark("b", nothing, 1000)

    def by_hand():
        start = time.perf_counter()
        for _ in range(1000):
            nothing()
        return time.perf_counter() - start

    yield bench.Case("overhead", "benchmark() of an empty function", 1000, "-", ours, {"for loop": by_hand}, check=None)


def rounds_table(quick):
    """Which of two sums has 2 % more to do? Asked by single runs, then by interleaved rounds."""
    less, more = [0.5] * 10_000, [0.5] * 10_200
    functions = {"10,000 numbers": lambda: sum(less), "10,200 numbers": lambda: sum(more)}
    first, second = functions.values()
    singles = [timeit.timeit(second, number=20) / timeit.timeit(first, number=20) for _ in range(100)]
    tries = [cpp.compare(functions, rounds=31, min_time=0.002) for _ in range(5 if quick else 20)]
    ratios = [one.ratios["10,200 numbers"] for one in tries]

    def row(how, found, wrong, undecided):
        low, high = min(found), max(found)
        return [how, len(found), f"{cpp.median(found):.3f}", f"{low:.2f} .. {high:.2f}", wrong, undecided]

    rows = [
        row("one timeit run of each", singles, sum(ratio < 1 for ratio in singles), "-"),
        row(
            "31 interleaved rounds",
            [ratio.median for ratio in ratios],
            sum(ratio.high < 1 for ratio in ratios),
            sum(ratio.low <= 1 <= ratio.high for ratio in ratios),
        ),
    ]
    columns = ["how", "tries", "ratio, median", "from .. to", "wrong", "cannot tell"]
    raw = {
        "singles": singles,
        "rounds": {name: one.seconds for name, one in tries[0].measurements.items()},
        "tries": [[ratio.low, ratio.median, ratio.high] for ratio in ratios],
    }
    return {"columns": columns, "rows": rows, "raw": raw}


def parallel_rows(waiting, quick):
    """One thread against all cores; the ratio is taken call by call."""
    rows = []
    cores = cpp.describe_machine()["usable_cores"]
    for size in (10_000, 100_000, 1_000_000, 10_000_000):
        data = numpy.ones(size) if numpy else [1.0] * size
        times, ratios = [], []
        for _ in range(7 if quick else 15):
            sequential, parallel = cpp.compare_seq_vs_parallel(data, max(1, (2_000_000 if quick else 10_000_000) // size))
            times.append((sequential.per_iteration(), parallel.per_iteration()))
            ratios.append(sequential.duration_secs / parallel.duration_secs)
        low, high = cpp.bootstrap_median(ratios)
        rows.append(
            [
                f"{size:,}",
                "array" if numpy else "list",
                cores,
                waiting,
                bench.seconds(cpp.median([s for s, _ in times])),
                bench.seconds(cpp.median([p for _, p in times])),
                f"{cpp.median(ratios):.2f}× [{low:.2f} .. {high:.2f}]",
            ]
        )
    return rows


def parallel_table(quick):
    """A process for each way of waiting: OpenMP reads OMP_WAIT_POLICY once."""
    rows = []
    for waiting, policy in (("asleep", "passive"), ("spinning", "active")):
        code = f"import sys; sys.path[:0] = {[str(HERE), *sys.path]!r}\nimport json, {Path(__file__).stem} as bench\n"
        code += f"print(json.dumps(bench.parallel_rows({waiting!r}, {quick})))"
        env = {**os.environ, "OMP_WAIT_POLICY": policy, "PYTHONDONTWRITEBYTECODE": "1"}
        child = subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, check=True, timeout=600)
        rows += json.loads(child.stdout)
    columns = ["numbers", "container", "threads", "waiting threads", "Sequential", "Parallel", "ratio"]
    return {"columns": columns, "rows": rows}


def stream_table(quick):
    sizes = (
        (1_000, 30_000, 400_000, 8_000_000)
        if quick
        else (1_000, 4_000, 30_000, 100_000, 400_000, 1_600_000, 8_000_000, 16_000_000)
    )
    measured = cpp.stream(sizes, repetitions=5 if quick else 25)
    by_row = {}
    for row in measured:
        by_row.setdefault((row.elements, row.threads, row.stores), {})[row.kernel] = row.gb_per_s
    rows = [
        [f"{24 * size / 2**20:.3g} MiB", threads, stores, *(f"{kernels[k]:.1f}" for k in ("copy", "scale", "add", "triad"))]
        for (size, threads, stores), kernels in by_row.items()
    ]
    columns = ["working set", "threads", "stores", "copy GB/s", "scale GB/s", "add GB/s", "triad GB/s"]
    return {"columns": columns, "rows": rows, "raw": [row.to_dict() for row in measured]}


def tables(quick):
    return {"rounds": rounds_table(quick), "seq_vs_parallel": parallel_table(quick), "stream": stream_table(quick)}


def draw(results, folder):
    if bench.optional("matplotlib") is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    draw_rounds(results, folder)
    draw_stream(results, folder)


def draw_rounds(results, folder):
    """images/rounds.png: the times of one comparison, and how far single runs and medians of rounds scatter."""
    if "rounds" not in results["tables"]:
        return
    from matplotlib import pyplot

    raw = results["tables"]["rounds"]["raw"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    everything = sorted(1e6 * value for times in raw["rounds"].values() for value in times)
    top = cpp.median(everything) + 2.5 * (cpp.median(everything) - everything[0])
    for number, (name, times) in enumerate(raw["rounds"].items()):
        colour, micros = f"C{number}", [1e6 * value for value in times]
        inside = [(i, value) for i, value in enumerate(micros) if value <= top]
        left.plot(*zip(*inside), ".", color=colour, label=f"{name}, median {cpp.median(micros):.1f} µs")
        beyond = [i for i, value in enumerate(micros) if value > top]
        left.plot(beyond, [top] * len(beyond), "^", color=colour)
        low, high = (1e6 * value for value in cpp.bootstrap_median(times))
        left.axhspan(low, high, color=colour, alpha=0.35, linewidth=0)
    beyond = " (triangles: far above)" * any(1e6 * value > top for times in raw["rounds"].values() for value in times)
    left.set(xlabel=f"round{beyond}", ylabel="µs per call", title="One comparison; bands: 95 % intervals")
    left.legend(fontsize=8)
    rng = random.Random(1)
    lowest, highest = 0.85, 1.2
    for at, colour, ratios in ((1, "#c0392b", raw["singles"]), (0, "C0", [middle for _, middle, _ in raw["tries"]])):
        for ratio in ratios:
            mark = "<" if ratio < lowest else ">" if ratio > highest else "."
            right.plot(min(max(ratio, lowest), highest), at + rng.uniform(-0.25, 0.25), mark, color=colour)
    right.axvline(1, color="black", linewidth=1)
    right.axvline(1.02, color="#555", linewidth=1, linestyle=":")
    right.set_yticks([1, 0], ["one timeit\nrun of each", "31 interleaved\nrounds"])
    right.set(xlabel="ratio found (dotted: 1.02, the truth; left of 1: wrong)", ylim=(-0.6, 1.6))
    right.set_title(f"{len(raw['singles'])} and {len(raw['tries'])} comparisons")
    figure.savefig(folder / "rounds.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def draw_stream(results, folder):
    """images/stream.png: triad and copy over the working set, a line per thread count and kind of store."""
    if "stream" not in results["tables"]:
        return
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    raw = results["tables"]["stream"]["raw"]
    for axes, kernel in zip(panels, ("copy", "triad")):
        for threads in sorted({row["threads"] for row in raw}):
            for stores, style in (("plain", "-"), ("nontemporal", "--")):
                rows = [r for r in raw if (r["kernel"], r["threads"], r["stores"]) == (kernel, threads, stores)]
                if rows:
                    axes.plot(
                        [r["working_set"] / 2**20 for r in rows],
                        [r["gb_per_s"] for r in rows],
                        style,
                        marker="o",
                        markersize=3,
                        color=f"C{threads % 10}",
                        label=f"{threads} thread{'s' * (threads > 1)}, {stores}",
                    )
        axes.set(xscale="log", yscale="log", xlabel="working set, MiB (three arrays)", title=kernel)
        axes.grid(True, which="both", alpha=0.3)
    panels[0].set_ylabel("GB/s")
    panels[1].legend(fontsize=8)
    machine = results["machine"]
    figure.suptitle(
        f"Memory bandwidth, {machine['cpu']}, " + ", ".join(f"{k} {v}" for k, v in machine["caches"].items()), fontsize=10
    )
    figure.savefig(folder / "stream.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(bench.run([*loop_cases(), *timer_cases()], HERE / "results.json", "Lesson 03, timing", tables=tables, plot=draw))
