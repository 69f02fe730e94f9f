"""Bench tables for all lessons: equal answers first, interleaved rounds, ratios with intervals; losses as loud as wins.

A lesson's ``bench/bench_<name>.py`` declares cases and runs them::

    import tenfold_bench as bench

    numpy = bench.optional("numpy")
    case = bench.Case("sums", "sum", 10**6, "array", ours=lambda: mine(a), peers={"numpy": numpy and (lambda: a.sum())},
                      check=bench.close(1e-12), at_least=2.5, aim=4)
    bench.run([case], title="Sums", json_path=HERE / "results.json")

The statistics are those of lesson 03, ``performance_timing``. `markdown` makes a page's table from the JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import performance_timing

SCHEMA = 1
ROUNDS, QUICK_ROUNDS = 11, 7
NOISY = 1.1
"""A canary (fixed C++ work) whose median is this much above its best marks a row as measured on a busy machine."""


def optional(module: str):
    """The module, or None when it is not installed: its peers are then shown as such."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


# ---- equal answers


def equal(a: Any, b: Any) -> bool:
    """Same values (NaN equals NaN), of numbers, lists, dicts, strings or arrays."""
    if hasattr(a, "tolist"):
        a = a.tolist()
    if hasattr(b, "tolist"):
        b = b.tolist()
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and (a == b or all(map(equal, a, b)))
    return bool(a == b or (a != a and b != b))


def close(relative: float, absolute: float = 0.0) -> Callable[[Any, Any], bool]:
    """A check that allows rounding: for peers that add in another order."""

    def check(a: Any, b: Any) -> bool:
        if hasattr(a, "tolist"):
            a = a.tolist()
        if hasattr(b, "tolist"):
            b = b.tolist()
        if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
            return len(a) == len(b) and all(map(check, a, b))
        return a == b or (a != a and b != b) or math.isclose(a, b, rel_tol=relative, abs_tol=absolute)

    return check


# ---- peers that are programs


class Remote:
    """A task of a peer program (``bench/peer_*.cpp``, ``bench/peer_rust``), run in a process of its own.

    Parameters
    ----------
    program : str
        ``peer_ours``, ``peer_tbb``, ... : looked for in ``build/default/peers/LESSON/``, or in ``$TENFOLD_PEERS/LESSON/``.
    request : str
        ``"TASK N"``. The program runs it once and answers with the seconds that it took and a number to compare.
    environment : dict, optional
        Added to the program's environment, ``{"OMP_WAIT_POLICY": "passive"}`` for one.
    """

    def __init__(self, program: str, request: str, *, environment: Mapping[str, str] | None = None):
        lesson = Path(sys.argv[0]).resolve().parents[1].name.partition("_")[2]
        root = Path(os.environ.get("TENFOLD_PEERS") or Path(__file__).resolve().parents[2] / "build" / "default" / "peers")
        self.program, self.request = root / lesson / program, request
        self.environment = dict(environment or {})
        self.process: subprocess.Popen | None = None

    def __call__(self) -> tuple[float, float]:
        """(seconds, answer) of one run; FileNotFoundError if the program was not built."""
        if self.process is None:
            self.process = subprocess.Popen(
                [self.program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **self.environment},
            )
        print(self.request, file=self.process.stdin, flush=True)
        said = self.process.stdout.readline().split()
        try:
            took, answer = map(float, said)
        except ValueError:
            raise RuntimeError(f"{self.program.name} {self.request}: {' '.join(said) or 'it ended'}") from None
        return took, answer

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait(30)
            self.process = None


def _measure_remote(case: Case, row: dict, rounds: int) -> None:
    """Each side in its own process: warmed up, then rounds forth and back, so that drift meets all alike."""
    sides: dict[str, Remote] = {"ours": case.ours, **{peer: remote for peer, remote in case.peers.items() if remote}}
    for peer, remote in case.peers.items():
        if remote is None:
            _missing(peer, row, "not installed")
    answers = {}
    try:
        for name, remote in list(sides.items()):
            try:
                until = time.perf_counter() + (0.1 if rounds == QUICK_ROUNDS else 0.5)
                answers[name] = remote()[1]
                while time.perf_counter() < until:
                    remote()
            except (FileNotFoundError, RuntimeError) as error:
                if name == "ours":
                    if isinstance(error, RuntimeError):
                        raise
                    row["peers"] = []
                    _missing("", row, f"{remote.program.name} is not built: ./scripts/bench builds it")
                    return
                _missing(name, row, "not installed" if isinstance(error, FileNotFoundError) else str(error))
                del sides[name]
                continue
            ours, other = answers["ours"], answers[name]
            if case.check is not None and not (ours != ours and other != other) and not case.check(ours, other):
                _missing(name, row, "ANSWERS DIFFER")
                del sides[name]
        times: dict[str, list[float]] = {name: [] for name in sides}
        canary = []
        for number in range(rounds):
            order = list(sides) if number % 2 == 0 else list(reversed(sides))
            for name in order:
                time.sleep(case.pause)
                times[name].append(sides[name]()[0] / case.ops)
            start = time.perf_counter()
            _canary()
            canary.append(time.perf_counter() - start)
    finally:
        for remote in [case.ours, *case.peers.values()]:
            if remote is not None:
                remote.close()
    ours = times["ours"]
    low, high = performance_timing.bootstrap_median(ours)
    row.update(ours_s=_short(performance_timing.median(ours)), ours_low_s=_short(low), ours_high_s=_short(high), rounds=rounds)
    row["canary"] = _short(performance_timing.median(canary) / min(canary))
    measured = []
    for peer in case.peers:
        if peer not in times:
            continue
        ratios = [theirs / mine for theirs, mine in zip(times[peer], ours)]
        ratio, (low, high) = performance_timing.median(ratios), performance_timing.bootstrap_median(ratios)
        at_least, worst_at_least = case.goal("at_least", peer), case.goal("worst_at_least", peer)
        measured.append(
            {
                "peer": peer,
                "seconds": _short(performance_timing.median(times[peer])),
                "ratio": _short(ratio),
                "low": _short(low),
                "high": _short(high),
                "worst": _short(min(ratios)),
                "worst_at_least": worst_at_least,
                "at_least": at_least,
                "aim": case.goal("aim", peer),
                "met": None if at_least is None else ratio >= at_least and min(ratios) >= (worst_at_least or 0),
            }
        )
    row["peers"] = measured + row["peers"]


# ---- cases


@dataclasses.dataclass
class Case:
    """One line of a table: our callable against its peers, on equal work."""

    group: str
    """The table that it belongs to: ``<!-- bench:GROUP -->``; no spaces."""
    name: str
    size: int | str
    container: str
    """``list`` or ``array``: the same for ours and all peers."""
    ours: Callable[[], Any]
    peers: Mapping[str, Callable[[], Any] | None]
    """None: not installed."""
    check: Callable[[Any, Any], bool] | None = equal
    """check(our answer, a peer's answer); None where there is nothing to compare."""
    at_least: float | Mapping[str, float] | None = None
    """The ratio that must be reached: against each peer that is named, or against the first."""
    aim: float | Mapping[str, float] | None = None
    worst_at_least: float | Mapping[str, float] | None = None
    """The ratio that no single round may fall below; the table then has a column for the worst round. Of a `Remote` only."""
    threads: int | None = None
    note: str = ""
    pause: float = 0.01
    """Idle seconds before each round, so that a peer's spinning threads have fallen asleep."""
    convert: Callable[[], Any] | None = None
    """Conversion alone, both ways; the table then has columns for it and for the rest, the computation."""
    ops: float = 1
    """Operations in one run of a `Remote`: the table shows the time of one."""

    def goal(self, which: str, peer: str) -> float | None:
        value = getattr(self, which)
        if isinstance(value, Mapping):
            return value.get(peer)
        return value if self.peers and peer == next(iter(self.peers)) else None


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _missing(peer: str, row: dict, why: str) -> None:
    row["peers"].append({"peer": peer, "missing": why})


_canary_numbers: list[float] = [float(i) for i in range(2000)]


def _canary():
    """About ten microseconds of C++ that no peer and no thread count touches."""
    return performance_timing.cumsum(_canary_numbers)


def measure_case(case: Case, *, quick: bool = False) -> dict:
    """One row: answers compared, everything warmed up, then interleaved rounds."""
    row: dict[str, Any] = {
        "group": case.group,
        "case": case.name,
        "size": case.size,
        "container": case.container,
        "threads": case.threads,
        "note": case.note,
        "peers": [],
    }
    if isinstance(case.ours, Remote):
        _measure_remote(case, row, QUICK_ROUNDS if quick else ROUNDS)
        return row
    functions: dict[str, Callable[[], Any]] = {"ours": case.ours}
    expected = case.ours()
    for peer, function in case.peers.items():
        if function is None:
            _missing(peer, row, "not installed")
            continue
        try:
            answer = function()
        except ImportError as error:
            _missing(peer, row, f"not installed: {error.name or error}")
            continue
        if case.check is not None and not case.check(expected, answer):
            _missing(peer, row, "ANSWERS DIFFER")
            continue
        functions[f"peer {peer}"] = function
    del expected
    if case.convert is not None:
        functions["convert"] = case.convert
    functions["canary"] = _canary
    for function in functions.values():
        until = time.perf_counter() + (0.02 if quick else 0.15)
        while time.perf_counter() < until:
            function()
    rounds, min_time = (QUICK_ROUNDS, 0.004) if quick else (ROUNDS, 0.02)
    result = performance_timing.compare(functions, rounds=rounds, min_time=min_time, pause=case.pause)
    ours = result.measurements["ours"]
    row.update(ours_s=_short(ours.median), ours_low_s=_short(ours.low), ours_high_s=_short(ours.high), rounds=rounds)
    if case.convert is not None:
        row["convert_s"] = _short(result.measurements["convert"].median)
        # round by round, so that a slow moment does not turn into computation
        differences = [a - b for a, b in zip(ours.seconds, result.measurements["convert"].seconds)]
        row["compute_s"] = _short(max(0.0, performance_timing.median(differences)))
    canary = result.measurements["canary"]
    row["canary"] = _short(canary.median / min(canary.seconds))
    measured = []
    for peer in case.peers:
        if f"peer {peer}" not in result.ratios:
            continue
        ratio, at_least = result.ratios[f"peer {peer}"], case.goal("at_least", peer)
        measured.append(
            {
                "peer": peer,
                "seconds": _short(result.measurements[f"peer {peer}"].median),
                "ratio": _short(ratio.median),
                "low": _short(ratio.low),
                "high": _short(ratio.high),
                "p_value": _short(ratio.p_value),
                "at_least": at_least,
                "aim": case.goal("aim", peer),
                "met": None if at_least is None else ratio.median >= at_least,
            }
        )
    row["peers"] = measured + row["peers"]
    return row


# ---- tables


def seconds(value: float | None) -> str:
    """A time with three digits and its unit."""
    if value is None:
        return ""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1.0:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def _size(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _goal(value: float | None) -> str:
    return "" if value is None else f"{value:g}×"


def _ratio(peer: dict) -> str:
    return f"{peer['ratio']:.3g}× [{peer['low']:.3g} .. {peer['high']:.3g}]"


def _worst(peer: dict) -> str:
    wanted = peer.get("worst_at_least")
    return "" if wanted is None else f"{peer['worst']:.3g}× (at least {_goal(wanted)})"


def _verdict(peer: dict) -> str:
    if peer.get("met") is None:
        return "slower" if peer["ratio"] < 1 else ""
    return "met" if peer["met"] else "MISSED"


def _lines(rows: Sequence[dict]) -> tuple[list[str], list[list[str]]]:
    """Heading and cells; columns that no row fills are left out."""
    heading = [
        "case",
        "size",
        "container",
        "threads",
        "ours",
        "conversion",
        "computation",
        "against",
        "its time",
        "ratio",
        "worst round",
        "at least",
        "aim",
        "",
        "note",
    ]
    lines = []
    for row in rows:
        noisy = " ~" if row.get("canary", 1.0) > NOISY else ""
        first = [
            row["case"],
            _size(row["size"]),
            row["container"],
            str(row["threads"] or ""),
            seconds(row.get("ours_s")) + noisy,
            seconds(row.get("convert_s")),
            seconds(row.get("compute_s")),
        ]
        for peer in row["peers"] or [None]:
            if peer is None:
                lines.append([*first, *[""] * 7, row["note"]])
            elif "missing" in peer:
                lines.append([*first, peer["peer"], peer["missing"], "", "", "", "", "", row["note"]])
            else:
                lines.append(
                    [
                        *first,
                        peer["peer"],
                        seconds(peer["seconds"]),
                        _ratio(peer),
                        _worst(peer),
                        _goal(peer["at_least"]),
                        _goal(peer["aim"]),
                        _verdict(peer),
                        row["note"],
                    ]
                )
    used = [i for i in range(len(heading)) if any(line[i] for line in lines)]
    return [heading[i] for i in used], [[line[i] for i in used] for line in lines]


def losses(results: Mapping) -> list[str]:
    """Where it loses: every cell below its goal or slower than a peer, every wrong answer. Generated, never edited."""
    found = []
    for row in results["rows"]:
        where = f"{row['case']}, {_size(row['size'])}, {row['container']}"
        for peer in row["peers"]:
            if peer.get("missing") == "ANSWERS DIFFER":
                found.append(f"{where}: other answers than {peer['peer']}")
            elif "missing" not in peer and (peer["met"] is False or peer["ratio"] < 1):
                goal = f", at least {_goal(peer['at_least'])} was wanted" if peer["met"] is False else ""
                if peer["met"] is False and _worst(peer):
                    goal += f", worst round {_worst(peer)}"
                found.append(f"{where}: {_ratio(peer)} of {peer['peer']}{goal}")
    return found


def machine_line(results: Mapping) -> str:
    """The machine in one line."""
    m = results["machine"]
    caches = ", ".join(f"{name} {size}" for name, size in m["caches"].items())
    gil = "free-threaded" if m["free_threaded_build"] else "GIL"
    return (
        f"{m['cpu']}, {m['usable_cores']} cores ({caches}); {m['system']}; {m['compiler']} ({m['flags']}); "
        f"{m['python']} ({gil}); load {m['load']}"
    )


def table_markdown(results: Mapping, rows: Iterable[dict], columns: Sequence[str] | None = None) -> str:
    """Rows of the JSON as Markdown; `columns` picks headings (``case``, ``ratio``, ...); default: all that are filled."""
    heading, lines = _lines(list(rows))
    if columns is not None:
        places = [heading.index(column) for column in columns if column in heading]
        heading, lines = [heading[i] for i in places], [[line[i] for i in places] for line in lines]
    return _markdown(heading, lines)


def _markdown(heading: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    def text(cells: Iterable[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([text(heading), "|" + "---|" * len(heading), *map(text, lines)]) + "\n"


def markdown(results: Mapping, name: str) -> str:
    """What stands between ``<!-- bench:NAME -->`` and ``<!-- /bench -->`` on a page.

    `name` is a group of cases, a table that the bench added (`tables` of `run`), ``losses``, ``machine``, or ``all``.
    """
    if name == "machine":
        return machine_line(results) + "\n"
    if name == "losses":
        found = losses(results)
        return "\n".join(f"- {line}" for line in found) + "\n" if found else "Nowhere in this run.\n"
    if name in results.get("tables", {}):
        table = results["tables"][name]
        return _markdown(table["columns"], table["rows"])
    rows = [row for row in results["rows"] if name in ("all", row["group"])]
    if not rows:
        raise KeyError(f"no table {name!r} in the results: there are {', '.join(names(results))}")
    return table_markdown(results, rows)


def names(results: Mapping) -> list[str]:
    """All that `markdown` can be asked for."""
    groups = dict.fromkeys(row["group"] for row in results["rows"])
    return [*groups, *results.get("tables", {}), "losses", "machine", "all"]


def show(heading: Sequence[str], lines: Sequence[Sequence[Any]], title: str) -> None:
    """Prints a table: with rich where it is installed, else in plain text."""
    cells = [[str(cell) for cell in line] for line in lines]
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        print(f"\n{title}")
        widths = [max(map(len, column)) for column in zip(heading, *cells)]
        for line in [heading, ["-" * width for width in widths], *cells]:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
        return
    table = Table(title=title, title_justify="left")
    for column in heading:
        table.add_column(column, overflow="fold")
    for line in cells:
        # a miss is as loud as a hit
        style = "bold red" if {"MISSED", "ANSWERS DIFFER"} & set(line) else "yellow" if "slower" in line else ""
        style = "bold green" if "met" in line else style
        table.add_row(*(Text(cell) for cell in line), style=style)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


# ---- a whole bench


def _save(results: Mapping, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def plot_ratios(results: Mapping, folder: Path) -> list[Path]:
    """A picture per group: ratio and interval of every cell, 1 marked."""
    if optional("matplotlib") is None:
        print("no pictures: matplotlib is not installed")
        return []
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for group in dict.fromkeys(row["group"] for row in results["rows"]):
        cells = [
            (f"{row['case']} {_size(row['size'])} {row['container']} / {peer['peer']}", peer)
            for row in results["rows"]
            if row["group"] == group
            for peer in row["peers"]
            if "missing" not in peer
        ]
        if not cells:
            continue
        figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.28 * len(cells)), layout="constrained")
        places = range(len(cells), 0, -1)
        middle = [peer["ratio"] for _, peer in cells]
        spread = [[max(0.0, p["ratio"] - p["low"]) for _, p in cells], [max(0.0, p["high"] - p["ratio"]) for _, p in cells]]
        colours = ["#c0392b" if peer["ratio"] < 1 or peer["met"] is False else "#2471a3" for _, peer in cells]
        axes.barh(places, middle, xerr=spread, color=colours, ecolor="#555", height=0.7)
        axes.axvline(1, color="black", linewidth=1)
        axes.set_yticks(places, [label for label, _ in cells], fontsize=8)
        axes.set_xscale("log")
        axes.set_xlabel("times faster (median of rounds, 95 % interval; red: slower, or below its goal)")
        axes.set_title(f"{results['title']}: {group}", loc="left")
        paths.append(folder / f"bench_{group}.png")
        figure.savefig(paths[-1], dpi=110, metadata={"Software": None})
        pyplot.close(figure)
    return paths


def run(
    cases: Iterable[Case],
    json_path: str | os.PathLike,
    title: str,
    argv: Sequence[str] | None = None,
    *,
    tables: Callable[[bool], Mapping[str, Mapping]] | None = None,
    plot: Callable[[Mapping, Path], object] | None = None,
) -> int:
    """Measures all cases, prints the tables, writes the JSON; returns the exit code (1: some answers differed).

    Parameters
    ----------
    json_path : path
        Where results go: the lesson's ``bench/results.json``. A run of ``--only`` some cases does not write there.
    argv : list of str, optional
        Default: the command line. ``--quick``, ``--only NAME`` (part of a group or case name), ``--json PATH``, ``--plot DIR``.
    tables : callable, optional
        ``tables(quick)`` -> ``{name: {"columns": [...], "rows": [[...]], ...}}``: tables that are no comparisons.
    plot : callable, optional
        ``plot(results, folder)`` draws what is special to the lesson.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", metavar="NAME", help="only groups, cases and tables whose name contains NAME")
    parser.add_argument(
        "--json", metavar="PATH", help=f"where the results go (default: {Path(json_path).name} beside the bench)"
    )
    parser.add_argument("--plot", metavar="DIR", help="draw pictures into this folder")
    options = parser.parse_args(argv)
    machine = performance_timing.describe_machine()  # before we load it ourselves
    results: dict[str, Any] = {
        "schema": SCHEMA,
        "title": title,
        "quick": options.quick,
        "machine": machine,
        "rows": [],
        "tables": {},
    }

    chosen = [case for case in cases if not options.only or options.only in case.group or options.only in case.name]
    for number, case in enumerate(chosen, 1):
        print(
            f"[{number}/{len(chosen)}] {case.group}: {case.name}, {_size(case.size)}, {case.container}",
            file=sys.stderr,
            flush=True,
        )
        results["rows"].append(measure_case(case, quick=options.quick))
    if tables is not None:
        results["tables"] = {
            name: dict(table) for name, table in tables(options.quick).items() if not options.only or options.only in name
        }

    for group in dict.fromkeys(row["group"] for row in results["rows"]):
        heading, lines = _lines([row for row in results["rows"] if row["group"] == group])
        show(heading, lines, f"{title}: {group}")
    for name, table in results["tables"].items():
        show(table["columns"], table["rows"], f"{title}: {name}")
    found = losses(results)
    print(f"\nWhere it loses ({len(found)}):" if found else "\nWhere it loses: nowhere in this run.")
    for line in found:
        print(f"  {line}")
    print("Ratios are a peer's time over ours, taken round by round; median [95 % interval]. ~: the machine was busy.")
    print(machine_line(results))

    target = Path(options.json) if options.json else None if options.only else Path(json_path)
    if target is not None:
        _save(results, target)
    if options.plot:
        plot_ratios(results, Path(options.plot))
        if plot is not None:
            plot(results, Path(options.plot))
    return int(any(peer.get("missing") == "ANSWERS DIFFER" for row in results["rows"] for peer in row["peers"]))
