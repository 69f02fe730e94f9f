"""The Google Benchmark programs build and start; what they measure is for ./scripts/bench."""

from __future__ import annotations

from .. import build, say
from ..lessons import ROOT, Lesson
from . import NotHere, Wrong, command


def start(lesson: Lesson) -> str:
    programs = [path.stem for path in sorted((lesson.folder / "bench").glob("bench_*.cpp"))]
    if not programs:
        raise NotHere("no bench/bench_*.cpp")
    try:
        build.make("default", programs, tests=True, benches=True, quiet=True)
    except say.Failed as failure:
        raise Wrong("\n".join([failure.step, *failure.tail])) from None
    for program in programs:
        found = next(path for path in (ROOT / "build" / "default").rglob(program) if path.is_file())
        listed = command(found, "--benchmark_list_tests=true")
        if not listed.strip():
            raise Wrong(f"{program} lists no benchmark")
    return ", ".join(programs)
