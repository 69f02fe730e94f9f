"""./scripts/learn: set up, build, run each lesson's example in a process of its own, and show what was measured."""

from __future__ import annotations

from . import build, python, say
from .lessons import ROOT, select

LIMIT = 900
MEASURED = ROOT / "build" / "measured.jsonl"


def main(words: list[str]) -> int:
    if any(word in ("-h", "--help") for word in words):
        print("usage: ./scripts/learn [LESSON...]     LESSON: 01, 1, 01_gil_release or gil_release; none: all of them")
        return 0
    lessons = select(words)
    build.everything("learn", lessons, ["learn", "test"])  # exercises are tested with pytest
    MEASURED.unlink(missing_ok=True)
    failed = []
    for lesson in lessons:
        say.line(f"lesson {lesson.number}: .venv/bin/python {lesson.folder.name}/test_example.py\n")
        code = say.stream(
            [python.PYTHON, lesson.folder / "test_example.py"],
            limit=LIMIT,
            env=python.environment(TENFOLD_MEASURED=str(MEASURED)),
        )
        print(flush=True)
        if code:
            failed.append(lesson)
            say.line(f"lesson {lesson.number} FAILED (exit code {code})")
    if MEASURED.exists():
        say.stream([python.PYTHON, ROOT / "scripts" / "house" / "table.py", MEASURED], limit=60, env=python.environment())
    if failed:
        names = " ".join(lesson.number for lesson in failed)
        raise say.Failed(
            f"{len(failed)} of {len(lessons)} lessons: {names}",
            cure=f"read the lesson's output above; run it alone with ./scripts/learn {names}",
        )
    say.line(
        f"{len(lessons)} lesson{'s' if len(lessons) != 1 else ''} built and run. Now open {lessons[0].folder.name}/README.md"
        if lessons
        else "there are no lessons here yet"
    )
    return 0
