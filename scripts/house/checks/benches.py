"""The Google Benchmark programs and the peers build and start; what they measure is for ./scripts/bench."""

from __future__ import annotations

import re

from .. import build, say
from ..lessons import ROOT, Lesson
from . import NotHere, Wrong, command


def start(lesson: Lesson) -> str:
    programs = [path.stem for path in sorted((lesson.folder / "bench").glob("bench_*.cpp"))]
    if not programs:
        raise NotHere("no bench/bench_*.cpp")
    try:
        folder = build.make("default", programs, tests=True, benches=True, quiet=True)
        # CMake leaves out a peer whose library is not installed
        rules = (folder / "build.ninja").read_text(encoding="utf-8")
        peers = sorted(set(re.findall(rf"^build ({lesson.name}_peer_\w+): phony", rules, re.MULTILINE)))
        if peers:
            build.make("default", peers, tests=True, benches=True, quiet=True)
    except say.Failed as failure:
        raise Wrong("\n".join([failure.step, *failure.tail])) from None
    for program in programs:
        found = next(path for path in (ROOT / "build" / "default").rglob(program) if path.is_file())
        listed = command(found, "--benchmark_list_tests=true")
        if not listed.strip():
            raise Wrong(f"{program} lists no benchmark")
    for peer in peers:
        command(folder / "peers" / lesson.name / peer.removeprefix(f"{lesson.name}_"))  # its input is empty: it ends
    return ", ".join([*programs, *peers])
