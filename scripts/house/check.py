"""./scripts/check: every house and travel check, one line each; ./scripts/check NAME... [LESSON...] runs some."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

from . import build, lessons, say
from .checks import NotHere, Wrong, benches, house, sanitize, stop_all, travel

# name: what it proves. In this order, quick ones first.
CHECKS = {
    "layout": "every lesson has the same files",
    "boundary": "boundary.hpp is one file",
    "style": "Python: ruff (--fix repairs)",
    "format": "C++: clang-format (--fix repairs)",
    "stubs": "stubs are true to the built modules",
    "together": "all modules in one process and in sub-interpreters",
    "headers": "each header alone in a foreign file, g++ and clang++",
    "benches": "Google Benchmark programs build and start",
    "cmake": "cmake -S on a copy of the folder",
    "copy": "pip install of a copy in a fresh venv, example run",
    "sdist": "sdist, wheel from it, import",
    "asan": "C++ tests under AddressSanitizer and UBSan",
    "tsan": "C++ tests under ThreadSanitizer (clang, libomp, Archer)",
}
SIDE_BY_SIDE = {"stubs", "headers", "cmake", "copy", "sdist"}
USAGE = "usage: ./scripts/check [--fix] [NAME...] [LESSON...]\n" + "\n".join(
    f"  {name:9} {what}" for name, what in CHECKS.items()
)


def planned(names: list[str], chosen: list, fix: bool) -> list:
    """(label, function) for each line that will be printed."""
    each = {
        "layout": house.layout,
        "stubs": house.stubs,
        "benches": benches.start,
        "cmake": travel.cmake,
        "copy": travel.copied,
        "sdist": travel.sdist,
    }
    once = {
        "boundary": house.boundary,
        "style": lambda: house.style(fix),
        "format": lambda: house.formatted(fix),
        "together": house.together,
        "asan": lambda: sanitize.sanitized("asan", chosen),
        "tsan": lambda: sanitize.sanitized("tsan", chosen),
    }
    plan = []
    for name in names:
        if name == "layout":
            plan.append(("layout top level", house.top_level))
        if name in once:
            plan.append((name, once[name]))
        for lesson in chosen if name in each else []:
            plan.append((f"{name} {lesson.number}", lambda run=each[name], lesson=lesson: run(lesson)))
        for lesson in chosen if name == "headers" else []:
            for cxx in ("g++", "clang++"):
                plan.append((f"headers {lesson.number} {cxx}", lambda lesson=lesson, cxx=cxx: travel.headers(lesson, cxx)))
    return plan


def outcome(run) -> tuple[str, str, float]:
    """(how it ended, what it said, seconds) of one check."""
    begun = time.monotonic()
    try:
        said, how = run(), "ok"
    except NotHere as reason:
        said, how = str(reason), "skipped"
    except Wrong as wrong:
        said, how = str(wrong), "FAILED"
    except Exception as error:
        said, how = f"{type(error).__name__}: {error}", "FAILED"
    return how, said or "", time.monotonic() - begun


def report(label: str, how: str, said: str, seconds: float, counts: dict[str, int]) -> None:
    counts[how] += 1
    first, *rest = said.splitlines() or [""]
    say.line(f"{label:22} {how:8} {seconds:6.1f} s  {first}".rstrip())
    for text in rest:
        print(f"    | {text}")


def main(words: list[str]) -> int:
    if any(word in ("-h", "--help") for word in words):
        print(USAGE)
        return 0
    fix = "--fix" in words
    words = [word for word in words if word != "--fix"]
    names = [name for name in CHECKS if name in words] or list(CHECKS)
    others = [word for word in words if word not in CHECKS]
    for word in others:
        if lessons.meant(word) is None:
            raise say.Failed(f"there is no check and no lesson '{word}'", cure=USAGE)
    chosen = lessons.select(others)
    (say.LOGS / "check.log").unlink(missing_ok=True)
    if set(names) - {"layout", "boundary"}:
        build.everything("check", chosen, ["learn", "test", "check"], needs_build=bool(set(names) & {"stubs", "together"}))
    counts = {"ok": 0, "FAILED": 0, "skipped": 0}
    plan = planned(names, chosen, fix)
    with ThreadPoolExecutor(build.jobs()) as several:
        try:
            while plan:
                # Those that compile one file at a time go side by side; the others have the machine to themselves.
                alone = plan[0][0].split()[0] not in SIDE_BY_SIDE
                batch = plan[:1] if alone else [*itertools.takewhile(lambda item: item[0].split()[0] in SIDE_BY_SIDE, plan)]
                plan = plan[len(batch) :]
                if alone:
                    report(batch[0][0], *outcome(batch[0][1]), counts)
                    continue
                begun = {several.submit(outcome, run): label for label, run in batch}
                for done in as_completed(begun):
                    report(begun[done], *done.result(), counts)
        except KeyboardInterrupt:
            several.shutdown(wait=False, cancel_futures=True)
            stop_all()
            raise
    print(f"{counts['ok']} passed, {counts['FAILED']} failed, {counts['skipped']} skipped", flush=True)
    return 1 if counts["FAILED"] or not counts["ok"] else 0
