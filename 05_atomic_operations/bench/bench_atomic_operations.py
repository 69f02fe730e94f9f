"""Lesson 05's tables: what an increment costs by kind of counter, what statistics, false sharing and containers cost, and what
the counter is worth from Python.

`--plot DIR` draws the page's pictures as well: the cost of one increment by kind, from this run, and reads that meet a writer.
"""

import ctypes
import itertools
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts" / "testing"))

import atomic_operations as ao  # noqa: E402
import performance_timing  # noqa: E402
import tenfold_bench as bench  # noqa: E402
from performance_timing import _core as timing  # noqa: E402

np = bench.optional("numpy")
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
OPTIONS = sys.argv[1:]

KINDS = {
    "mutex": "mutex",
    "compare-and-swap loop": "cas_loop",
    "fetch_add, seq_cst": "seq_cst",
    "fetch_add, acq_rel": "acquire_release",
    "fetch_add, relaxed": "relaxed",
    "a shard per thread, packed": "packed_shards",
    "a shard per thread, padded": "padded_shards",
    "single writer, cell looked up each time": "single_writer",
}
TBB = {
    "TBB enumerable_thread_specific, looked up each time": "enumerable",
    "TBB combinable, looked up each time": "combinable",
    "TBB enumerable_thread_specific, looked up once": "enumerable_own",
}
BEST = "single_writer_mine"


# ---- cases


def counter_cases():
    """Two threads, one counter, one process: the program answers with the seconds between start and end, and the total."""
    n = 10_000_000
    peers = {name: bench.Remote("peer_ours", f"{kind} {n}") for name, kind in KINDS.items()}
    peers.update({name: bench.Remote("peer_tbb", f"{kind} {n}") for name, kind in TBB.items()})
    yield bench.Case(
        "counters",
        "single writer, own cell",
        f"{n:,} per thread",
        "native",
        bench.Remote("peer_ours", f"{BEST} {n}"),
        peers,
        at_least={"mutex": 80, "fetch_add, seq_cst": 20, "fetch_add, relaxed": 20},
        aim={"mutex": 165, "fetch_add, seq_cst": 40, "fetch_add, relaxed": 40},
        threads=2,
        ops=2 * n,
    )


def all_five(found):
    return found.count, found.mean, found.variance, found.min, found.max


def numpy_statistics(a):
    return a.size, float(a.mean()), float(a.var()), float(a.min()), float(a.max())


def statistics_cases():
    for n, teams in ((10_000, (1,)), (1_000_000, (1, THREADS)), (10_000_000, (1, THREADS))):
        a = 1e6 + np.random.default_rng(1).standard_normal(n)
        peers = {
            "scalar Welford": lambda a=a: all_five(ao.statistics(a, algorithm="welford")),
            "NumPy mean, var, min, max": lambda a=a: numpy_statistics(a),
        }
        for threads in teams:
            ours = lambda a=a, threads=threads: all_five(ao.statistics(a, num_threads=threads))  # noqa: E731
            goals = {"scalar Welford": 12}, {"scalar Welford": 24}
            yield bench.Case("statistics", "statistics", n, "array", ours, peers, bench.close(1e-9), *goals, threads)
    numbers = (1e6 + np.random.default_rng(2).standard_normal(100_000)).tolist()
    peers = {
        "scalar Welford": lambda: all_five(ao.statistics(numbers, algorithm="welford")),
        "NumPy of np.array(list)": lambda: numpy_statistics(np.array(numbers)),
    }
    ours = lambda: all_five(ao.statistics(numbers))  # noqa: E731
    convert = lambda: timing._copy_floats(numbers, False)  # noqa: E731
    yield bench.Case(
        "statistics", "statistics", len(numbers), "list", ours, peers, bench.close(1e-9), threads=THREADS, convert=convert
    )

    values = np.random.default_rng(3).integers(-(10**9), 10**9, 1_000_000)
    ints = values.tolist()

    def recorded(data):
        stats = ao.AtomicStats()
        stats.parallel_record(data)
        return stats.count(), stats.sum(), stats.mean(), stats.min(), stats.max()

    def by_numpy():
        return values.size, int(values.sum()), float(values.mean()), int(values.min()), int(values.max())

    def by_python():
        return len(ints), sum(ints), sum(ints) / len(ints), min(ints), max(ints)

    name = "AtomicStats.parallel_record"
    peers = {"NumPy sum, mean, min, max": by_numpy}
    yield bench.Case(
        "statistics", name, values.size, "array", lambda: recorded(values), peers, bench.close(1e-12), threads=THREADS
    )
    peers = {"len, sum, min, max": by_python}
    ours, convert = lambda: recorded(ints), lambda: timing._copy_ints(ints, False)
    yield bench.Case("statistics", name, len(ints), "list", ours, peers, bench.close(1e-12), threads=THREADS, convert=convert)

    n = 1_000_000
    mine, theirs = (bench.Remote("peer_ours", f"{task} {n}") for task in ("record", "record_mutex"))
    size = f"{n:,} per thread"
    peers = {"four numbers and a mutex": theirs}
    yield bench.Case("statistics", "AtomicStats.record, each", size, "native", mine, peers, threads=2, ops=2 * n)


def container_cases():
    n = 200_000
    for threads, kinds in ((2, ("spsc", "queue", "stack")), (4, ("queue", "stack"))):
        suffix = "" if threads == 2 else "_2x2"
        for kind in kinds:
            yield bench.Case(
                "containers",
                f"boost {kind}{'_queue' if kind == 'spsc' else ''}",
                f"{threads // 2} to {threads // 2}, {n:,} each",
                "native",
                bench.Remote("peer_ours", f"transfer_{kind}{suffix} {n}"),
                {"mutex and deque": bench.Remote("peer_ours", f"transfer_mutex{suffix} {n}")},
                threads=threads,
                ops=n * threads // 2,
            )


def on_threads(count, function):
    threads = [threading.Thread(target=function) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def python_cases():
    n = 50_000
    for count in (1, 2):

        def atomic(count=count):
            counter = ao.AtomicCounter(0)

            def member():
                for _ in itertools.repeat(None, n):
                    counter.increment()

            on_threads(count, member)
            return counter.get()

        def locked(count=count):
            lock, value = threading.Lock(), 0

            def member():
                nonlocal value
                for _ in itertools.repeat(None, n):
                    with lock:
                        value += 1

            on_threads(count, member)
            return value

        def counted(count=count):
            counter = itertools.count()

            def member():
                for _ in itertools.repeat(None, n):
                    next(counter)

            on_threads(count, member)
            return next(counter)

        peers = {"threading.Lock and an int": locked, "next(itertools.count())": counted}
        yield bench.Case("python", "AtomicCounter.increment", f"{n:,} per thread", "", atomic, peers, threads=count)
    peers = {"increment() by a Python thread each": lambda: atomic(2)}
    yield bench.Case(
        "python",
        "parallel_increment",
        f"{n:,} per thread",
        "",
        lambda: ao.AtomicCounter(0).parallel_increment(2, n),
        peers,
        threads=2,
    )


def cases():
    if np is None:
        raise SystemExit("this bench compares with NumPy: install numpy")
    only = OPTIONS[OPTIONS.index("--only") + 1] if "--only" in OPTIONS[:-1] else ""
    for names, make in (
        ("counters single writer", counter_cases),
        ("statistics AtomicStats.parallel_record AtomicStats.record", statistics_cases),
        ("containers boost", container_cases),
        ("python AtomicCounter.increment parallel_increment", python_cases),
    ):
        if only in names:
            yield from make()


# ---- tables that are no comparisons of ours against a peer


def false_sharing(quick):
    lines = []
    for access, what in (("load_store", "plain load and store"), ("rmw", "atomic read-modify-write")):
        rounds = [ao.benchmark_false_sharing(2_000_000, 2, access=access, rounds=1) for _ in range(5 if quick else 15)]
        packed, padded = (performance_timing.median(list(side)) / 4_000_000 for side in zip(*rounds))
        ratios = sorted(a / b for a, b in rounds)
        ratio = f"{performance_timing.median(ratios):.3g}× [{ratios[0]:.3g} .. {ratios[-1]:.3g}]"
        lines.append([what, bench.seconds(packed), bench.seconds(padded), ratio])
    return {
        "columns": ["two threads, a number each", "side by side", "128 bytes apart", "ratio [least .. most]"],
        "rows": lines,
    }


def litmus(quick):
    rounds = 100_000 if quick else 1_000_000
    lines = []
    for order in ("relaxed", "acquire_release", "seq_cst"):
        found, message = ao.litmus_store_buffering(rounds, order=order), ao.litmus_message_passing(rounds, order=order)
        lines.append([order, f"{found['both_zero']:,}", f"{message['seen_stale']:,}"])
    of = f"of {rounds:,} rounds"
    columns = ["memory order", f"store buffering: both loads 0, {of}", f"message passing: stale data, {of}"]
    return {"columns": columns, "rows": lines}


def torn_reads(quick):
    lines = []
    for guard, what in (("none", "eight atomics"), ("seqlock", "a seqlock around them")):
        found = ao.count_torn_reads(200_000 if quick else 2_000_000, guard=guard)
        lines.append([what, *(f"{found[key]:,}" for key in ("reads", "torn", "retries"))])
    return {"columns": ["", "reads", "torn", "thrown away and repeated"], "rows": lines}


def tables(quick):
    only = OPTIONS[OPTIONS.index("--only") + 1] if "--only" in OPTIONS[:-1] else ""
    made = {"false_sharing": false_sharing, "litmus": litmus, "torn_reads": torn_reads}
    return {name: make(quick) for name, make in made.items() if only in name}


# ---- pictures

# When one thread wrote 256 words that belong together, and what became of another's reads meanwhile; with and without a seqlock.
TIMELINE = r"""
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include "tenfold/atomic_team.hpp"
#include "tenfold/seqlock.hpp"

extern "C" int record(int guarded, int writes, double* written, int most_reads, double* read, int* outcome) {
    using words = std::array<std::uint64_t, 256>;
    static tenfold::seqlock<words> lock;
    static std::array<std::atomic<std::uint64_t>, 256> plain;
    for (auto& word : plain) word = 0;
    lock.store(words{});
    std::atomic<bool> writing{true};
    int reads = 0;
    const auto start = std::chrono::steady_clock::now();
    const auto now = [&] { return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count(); };
    tenfold::atomic_detail::run_together(2, [&](int thread, const auto&) {
        words copy{};
        if (thread == 0) {
            for (int i = 0; i < writes; ++i) {
                for (const double until = now() + 4; now() < until;);
                copy.fill(static_cast<std::uint64_t>(i) + 1);
                written[2 * i] = now();
                if (guarded) lock.store(copy);
                else for (std::size_t k = 0; k < copy.size(); ++k) plain[k].store(copy[k], std::memory_order_relaxed);
                written[2 * i + 1] = now();
            }
            writing = false;
            return;
        }
        for (; writing && reads < most_reads; ++reads) {
            read[2 * reads] = now();
            const bool got = !guarded || lock.try_load(copy);
            if (!guarded) for (std::size_t k = 0; k < copy.size(); ++k) copy[k] = plain[k].load(std::memory_order_relaxed);
            read[2 * reads + 1] = now();
            const bool whole = std::count(copy.begin(), copy.end(), copy[0]) == 256;
            outcome[reads] = !got ? 2 : whole ? 0 : 1;  // whole, torn, thrown away
        }
    }, tenfold::never_stop());
    return reads;
}
"""


def recorder():
    """The function above, compiled; None where there is no compiler."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "timeline.cpp"), Path(folder, "timeline.so")
        source.write_text(TIMELINE, encoding="utf-8")
        flags = ["-std=c++20", "-O2", "-shared", "-fPIC", "-pthread", f"-I{HERE.parent / 'include'}"]
        try:
            command = [os.environ.get("CXX", "c++"), *flags, str(source), "-o", str(library)]
            subprocess.run(command, check=True, capture_output=True, text=True)
            return ctypes.CDLL(str(library)).record
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"no timeline: {getattr(error, 'stderr', error)}", file=sys.stderr)
            return None


WINDOW = 30.0
"""Microseconds of a run that are shown."""


def shown(record, guarded):
    """(writes, reads) in a window of a run: one in which the threads really met, and more than one thing happened."""
    writes, most = 400, 100_000
    for _ in range(20):
        written, read, outcome = (ctypes.c_double * (2 * writes))(), (ctypes.c_double * (2 * most))(), (ctypes.c_int * most)()
        count = record(int(guarded), writes, written, most, read, outcome)
        reads = [(read[2 * i], read[2 * i + 1], outcome[i]) for i in range(count)]
        for first in range(0, writes - 8, 4):
            begin = written[2 * first] - 2
            inside = [each for each in reads if begin <= each[0] and each[1] <= begin + WINDOW]
            bad = sum(each[2] != 0 for each in inside)
            if bad >= 3 and len(inside) - bad >= 3:
                spans = [(written[2 * i] - begin, written[2 * i + 1] - begin) for i in range(writes)]
                return (
                    [span for span in spans if span[0] >= 0 and span[1] <= WINDOW],
                    [(a - begin, b - begin, what) for a, b, what in inside],
                )
    return None


def plot_timeline(folder, pyplot):
    record = recorder()
    runs = [shown(record, guarded) for guarded in (False, True)] if record else [None]
    if None in runs:
        return
    colours = {0: "#1e8449", 1: "#c0392b", 2: "#b7950b"}
    names = {0: "whole", 1: "torn", 2: "noticed, thrown away"}
    figure, both = pyplot.subplots(2, 1, figsize=(8, 3.4), sharex=True, layout="constrained")
    for axes, (spans, reads), title in zip(both, runs, ("256 atomics", "256 atomics in a seqlock")):
        axes.broken_barh([(a, b - a) for a, b in spans], (1.1, 0.8), color="#2471a3")
        for what, colour in colours.items():
            bars = [(a, b - a) for a, b, outcome in reads if outcome == what]
            axes.broken_barh(bars, (0.1, 0.8), color=colour, edgecolor="white", linewidth=0.5, label=names[what])
        axes.set_yticks([0.5, 1.5], ["reads", "writes"])
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    both[0].legend(handles, names.values(), loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8, frameon=False)
    both[1].set_xlim(0, WINDOW)
    both[1].set_xlabel("microseconds of a real run: one thread writes, another reads")
    figure.savefig(folder / "torn.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def plot(results, folder):
    if bench.optional("matplotlib") is None:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    plot_timeline(folder, pyplot)
    for row in results["rows"]:
        if row["group"] == "counters":
            plot_costs(row, folder, pyplot)


def plot_costs(row, folder, pyplot):
    mine = [peer for peer in row["peers"] if "missing" not in peer and not peer["peer"].startswith("TBB")]
    bars = sorted([(peer["seconds"], peer["peer"]) for peer in mine] + [(row["ours_s"], row["case"])])
    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    colours = {"mutex": "#c0392b", row["case"]: "#1e8449"}
    places = range(len(bars))
    axes.barh(places, [1e9 * time for time, _ in bars], color=[colours.get(name, "#2471a3") for _, name in bars], height=0.7)
    for place, (time, _) in zip(places, bars):
        axes.text(1e9 * time, place, f" {bench.seconds(time)}", va="center", fontsize=9)
    axes.set_yticks(places, [name for _, name in bars], fontsize=9)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlim(left=0.5e9 * bars[0][0], right=2.5e9 * bars[-1][0])
    axes.set_xlabel("nanoseconds per increment, logarithmic")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "cost.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(bench.run(cases(), HERE / "results.json", "Atomic operations", plot=plot, tables=tables))
