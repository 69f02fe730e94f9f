"""./scripts/bench: the Google Benchmark programs and the Python tables, against the peers that could be installed.

Results go to each lesson's bench/results.json (with --quick to build/bench/, for a quick run is not worth keeping)."""

from __future__ import annotations

import shutil
from pathlib import Path

from . import build, python, say
from .lessons import ROOT, Lesson, select

LIMIT = 3600
USAGE = """usage: ./scripts/bench [--quick] [--no-peers] [LESSON...]     measures; writes bench/results.json and images/
       ./scripts/bench --pages [LESSON...]                     writes the pages' tables anew from bench/results.json
  --quick      short runs, results into build/bench/ only
  --no-peers   installs nothing to compare with; what is installed already is still compared with"""


def google_benchmark(lesson: Lesson, where: Path, quick: bool) -> list[str]:
    failed = []
    for source in sorted((lesson.folder / "bench").glob("bench_*.cpp")):
        program = next((path for path in (ROOT / "build" / "default").rglob(source.stem) if path.is_file()), None)
        if program is None:
            failed.append(f"{source.stem} was not built")
            continue
        say.line(f"{source.stem} (Google Benchmark)")
        words = [program, f"--benchmark_out={where / source.stem}.json", "--benchmark_out_format=json"]
        if say.stream([*words, *(["--benchmark_min_time=0.02"] if quick else [])], env=python.environment(), limit=LIMIT):
            failed.append(source.stem)
    return failed


def rust_peer(lesson: Lesson) -> bool:
    """Builds bench/peer_rust with cargo, where there is cargo and it reaches its crates; the program joins the other peers."""
    crate = lesson.folder / "bench" / "peer_rust"
    if not (crate / "Cargo.toml").exists():
        return True
    if shutil.which("cargo") is None:
        return False
    target = ROOT / "build" / "rust" / lesson.name
    try:
        say.run(
            f"build ({lesson.folder.name}/bench/peer_rust)",
            ["cargo", "build", "--release", "--manifest-path", crate / "Cargo.toml", "--target-dir", target],
            log=f"cargo-{lesson.name}",
            env=python.environment(),
        )
    except say.Failed:
        return False
    peers = ROOT / "build" / "default" / "peers" / lesson.name
    peers.mkdir(parents=True, exist_ok=True)
    shutil.copy2(target / "release" / f"{lesson.name}_rust", peers / "peer_rust")
    return True


def tables(lesson: Lesson, where: Path, quick: bool) -> list[str]:
    failed = []
    for script in sorted((lesson.folder / "bench").glob("bench_*.py")):
        say.line(f"{lesson.folder.name}/bench/{script.name}")
        # One script writes the lesson's results; a second one is for looking closer.
        kept = script.stem == f"bench_{lesson.name}" and not quick
        words = [
            python.PYTHON,
            script,
            "--json",
            lesson.folder / "bench" / "results.json" if kept else where / f"{script.stem}_py.json",
        ]
        words += ["--plot", lesson.folder / "images"] if kept else []
        words += ["--quick"] if quick else []
        if say.stream(words, env=python.environment(PYTHONPATH=str(ROOT / "scripts" / "testing")), limit=LIMIT):
            failed.append(f"{lesson.folder.name}/bench/{script.name}")
    return failed


def pages(lessons: list[Lesson]) -> int:
    command = [python.PYTHON, ROOT / "scripts" / "house" / "pages.py", *(lesson.folder for lesson in lessons)]
    return say.stream(command, env=python.environment(PYTHONPATH=str(ROOT / "scripts" / "testing")), limit=120)


def main(words: list[str]) -> int:
    if any(word in ("-h", "--help") for word in words):
        print(USAGE)
        return 0
    quick = "--quick" in words
    unknown = [word for word in words if word.startswith("-") and word not in ("--quick", "--pages", "--no-peers")]
    if unknown:
        raise say.Failed(f"unknown option {unknown[0]}", cure=USAGE)
    lessons = select([word for word in words if not word.startswith("-")])
    build.everything("bench", lessons, ["learn"])
    if "--pages" in words:
        return pages(lessons)
    absent = []
    if "--no-peers" not in words:
        with python.one_at_a_time():
            absent = python.best_effort("bench")
    where = ROOT / "build" / "bench"
    where.mkdir(parents=True, exist_ok=True)
    failed = []
    if not all([rust_peer(lesson) for lesson in lessons]):
        absent.append("Rust's crates (cargo, from your system's packages or rustup)")
    for lesson in lessons:
        failed += google_benchmark(lesson, where, quick)
        failed += tables(lesson, where, quick)
    if absent:
        say.line(f"not to be had here, so not compared with: {', '.join(absent)}")
    if failed:
        raise say.Failed(f"benchmarks: {', '.join(failed)}", cure="read the program's output above")
    say.line(f"JSON of Google Benchmark: {say.shown(where)}/. The pages' tables are written by ./scripts/bench --pages")
    return 0
