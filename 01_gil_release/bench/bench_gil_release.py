"""What releasing the GIL costs and buys on this machine: tables, JSON, and the picture of the lesson's page."""

import pathlib
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts" / "testing"))
import gil_release  # noqa: E402
import tenfold_bench as bench  # noqa: E402
from gil_release import _core  # noqa: E402


def two_threads(function, n):
    """The same call from two Python threads at once: both answers."""

    def run():
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(function(n))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    return run


def cases():
    pairs = 20_000
    yield bench.Case(
        "cost",
        "release + reacquire, 20,000 times",
        pairs,
        "",
        ours=lambda: _core._release_and_reacquire(pairs),
        peers={"the bare C-API pair": lambda: _core._release_and_reacquire(pairs, True)},
        at_least=1 / 1.1,
        threads=1,
    )
    for n in (10_000, 100_000, 1_000_000):
        yield bench.Case(
            "threads",
            "two Python threads, GIL released",
            n,
            "",
            ours=two_threads(gil_release.compute_primes_releasing, n),
            peers={"GIL held": two_threads(gil_release.compute_primes_blocking, n)},
            threads=2,
        )
    n = 1_000_000
    yield bench.Case(
        "threads",
        "parallel_compute, 2 native threads",
        n,
        "",
        ours=lambda: gil_release.parallel_compute(n, 2),
        peers={"1 native thread": lambda: gil_release.parallel_compute(n, 1)},
        check=lambda a, b: sum(a) == sum(b),
        threads=2,
    )
    yield bench.Case(
        "threads",
        "segmented sieve, 1 thread",
        n,
        "",
        ours=lambda: gil_release.compute_primes_segmented(n),
        peers={"trial division, 1 thread": lambda: gil_release.compute_primes_releasing(n)},
        threads=1,
    )
    calls = 20_000
    yield bench.Case(
        "callback",
        "a Python callback from 2 native threads",
        calls,
        "",
        ours=lambda: gil_release.call_from_workers(abs, calls, 2),
        peers={"the same calls in a Python loop": lambda: [abs(i) for i in range(calls)]},
        threads=2,
        note="the callback trap",
    )


def tables(quick):
    rows = []
    for name, contended, released_for in (
        ("nobody else about", False, 0.0),
        ("a busy Python thread", True, 0.0),
        ("the same, after 10 µs of work", True, 1e-5),
        ("the same, after 1 ms of work", True, 1e-3),
    ):
        cost = gil_release.measure_gil_cost(0.3 if quick else 2.0, contended=contended, released_for=released_for)
        rows.append([name, *(bench.seconds(cost[p] * 1e-9) for p in ("p50", "p90", "p99", "max")), cost["samples"]])
    found = gil_release.find_break_even(2, seconds=2.0 if quick else 8.0)
    even = [[bench.seconds(work * 1e-9), f"{blocking / releasing:.2f}×"] for _, work, blocking, releasing in found["rows"]]
    return {
        "percentiles": {"columns": ["release + reacquire", "median", "90 %", "99 %", "slowest", "samples"], "rows": rows},
        "break_even": {"columns": ["work per call", "2 threads: time held / time released"], "rows": even},
    }


COLOURS = {"held": "#c0392b", "waiting": "#f5b041", "free": "#27ae60"}
MEANING = {"held": "holds the GIL", "waiting": "waits for the GIL", "free": "computes without the GIL"}


def draw_timeline(results, folder):
    """images/timeline.png: what two threads did, with the GIL held and with it released."""
    if bench.optional("matplotlib") is None:
        return
    from matplotlib import patches, pyplot

    figure, panels = pyplot.subplots(2, 1, figsize=(9, 3.4), sharex=True, layout="constrained")
    for axes, release in zip(panels, (False, True)):
        observer = gil_release.GilObserver()
        runs = []
        for _ in range(25):  # the run that the rest of the machine disturbed least
            observer.run(400_000, threads=2, pieces=6, release=release)
            runs.append(observer.intervals())
        rows = min(runs, key=lambda run: max(end for *_, end in run))
        start = min(begin for _, _, begin, _ in rows)
        for thread, state, begin, end in rows:
            lane = int(thread.split()[1])
            axes.broken_barh([((begin - start) * 1e3, (end - begin) * 1e3)], (lane - 0.35, 0.7), facecolors=COLOURS[state])
        axes.set_yticks([0, 1], ["thread 0", "thread 1"])
        axes.invert_yaxis()
        axes.set_title("GIL released while computing" if release else "GIL held while computing", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[1].set_xlabel("milliseconds")
    handles = [patches.Patch(color=COLOURS[state], label=MEANING[state]) for state in COLOURS]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "timeline.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(bench.run(list(cases()), HERE / "results.json", "Lesson 01, the GIL", tables=tables, plot=draw_timeline))
