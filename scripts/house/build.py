"""Configures and builds with the top-level CMake presets, no more than the command at hand needs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from . import python, say, system
from .lessons import ROOT, Lesson, every


def jobs() -> int:
    """Compilers to run at once: the usable cores, and about 1 GB of memory for each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = []
    try:
        available = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
        limits.append(int(available.group(1)) // 2**20)
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")) // 2**30)
    except (OSError, ValueError, AttributeError):
        pass
    return max(1, min([cores, *limits]))


def cached(preset: str) -> dict[str, str]:
    try:
        text = (ROOT / "build" / preset / "CMakeCache.txt").read_text(encoding="utf-8")
    except OSError:
        return {}
    return dict(re.findall(r"^(\w+):\w+=(.*)$", text, re.MULTILINE))


def make(
    preset: str, targets: list[str], *, tests: bool = False, benches: bool = False, launcher: str = "", quiet: bool = False
) -> Path:
    """Builds `targets`. Tests and benches are switched on when asked for and never off again, so that learn after test
    does not configure anew."""
    folder = ROOT / "build" / preset
    cache = cached(preset)
    options = {"Python_EXECUTABLE": str(python.PYTHON)}
    for name, asked in (("TENFOLD_TESTS", tests), ("TENFOLD_BENCHES", benches)):
        options[name] = "ON" if asked or cache.get(name) == "ON" else "OFF"
    if preset != "tsan" and system.compiler() not in ("c++", "g++"):
        options["CMAKE_CXX_COMPILER"] = system.compiler() or ""
    if launcher:
        options["CMAKE_CXX_COMPILER_LAUNCHER"] = launcher
    # What the last successful configure was for; absent while one goes on or has failed.
    told = folder / "tenfold-configured.json"
    wanted = dict(options, python=python.stamp().get("version"))
    try:
        last = json.loads(told.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        last = {}
    if last != wanted or not (folder / "build.ninja").exists():
        told.unlink(missing_ok=True)
        fresh = ["--fresh"] if cache and last.get("python") != wanted["python"] else []
        say.run(
            f"configure ({preset})",
            ["cmake", "--preset", preset, *fresh, *(f"-D{key}={value}" for key, value in options.items())],
            log=f"configure-{preset}",
            env=python.environment(),
            quiet=quiet,
            cure="the log names what CMake did not find; ./scripts/learn installs it where it may",
        )
        told.write_text(json.dumps(wanted), encoding="utf-8")
    say.run(
        f"build ({preset}: {', '.join(targets)})",
        ["cmake", "--build", folder, "--parallel", str(jobs()), "--target", *targets],
        log=f"build-{preset}",
        env=python.environment(),
        quiet=quiet,
        cure="read the first error above; if sources were only half updated, remove build/ and run this again",
    )
    return folder


def put_on_path() -> None:
    """Lets .venv/bin/python import the lessons as built here."""
    folder = next((python.VENV / "lib").glob("python3*")) / "site-packages"
    (folder / "tenfold.pth").write_text(str(ROOT / "build" / "default" / "python") + "\n", encoding="utf-8")


def has_boundary(lessons: list[Lesson]) -> bool:
    """Whether boundary.hpp's own tests and bench concern these lessons, and are here."""
    probe = ROOT / "scripts" / "testing" / "boundary" / "boundary_probe.cpp"
    return probe.exists() and any((lesson.folder / "src" / "boundary.hpp").exists() for lesson in lessons)


def everything(command: str, lessons: list[Lesson], groups: list[str], *, needs_build: bool = True) -> None:
    """From a bare machine to built lessons. CMake configures all lessons, so all they need is set up even for one."""
    with python.one_at_a_time():
        system.provide(command, every(), python.packages_needed())
        python.provide(groups, every())
        put_on_path()
        if not needs_build:
            return
        targets = [f"{lesson.name}_core" for lesson in lessons]
        if command == "bench":  # the tables are made with lesson 03's timer
            targets += [f"{each.name}_core" for each in every() if each.name == "performance_timing" and each not in lessons]
            targets += [f"{lesson.name}_benches" for lesson in lessons]
        elif command != "learn":
            targets = ["lessons"]
            targets += [path.stem for lesson in lessons for path in sorted(lesson.folder.glob("tests/test_*.cpp"))]
        targets += ["boundary_probe"] * (command != "learn" and has_boundary(lessons))
        make("default", targets, tests=command != "learn", benches=command == "bench")
