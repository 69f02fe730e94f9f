"""./scripts/test: CTest for the C++ tests, then one pytest run over the lessons' Python tests, examples and pages."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from . import build, python, say
from .lessons import ROOT, Lesson, every, select

LIMIT = 3600


def counts(path: Path) -> tuple[int, int, int]:
    """Passed, failed and skipped of a JUnit file; a run that left none has failed."""
    try:
        suites = list(ElementTree.parse(path).getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError):
        return 0, 1, 0
    total = sum(int(suite.get("tests", 0)) for suite in suites)
    failed = sum(int(suite.get("failures", 0)) + int(suite.get("errors", 0)) for suite in suites)
    skipped = sum(int(suite.get("skipped", 0)) + int(suite.get("disabled", 0)) for suite in suites)
    return total - failed - skipped, failed, skipped


def ctest(lessons: list[Lesson]) -> tuple[tuple[int, int, int], str]:
    report = say.LOGS / "ctest.xml"
    report.unlink(missing_ok=True)
    names = "|".join(lesson.name for lesson in lessons)
    say.line("C++ tests")
    log = say.LOGS / "ctest.log"
    code = say.stream(
        [
            "ctest",
            "--test-dir",
            ROOT / "build" / "default",
            "-L",
            "^cpp$",
            "-L",
            f"^({names})$",
            "--output-on-failure",
            "--no-tests=ignore",
            "--output-junit",
            report,
            "--output-log",
            log,
        ],
        limit=LIMIT,
        env=python.environment(),
    )
    passed, failed, skipped = counts(report) if report.exists() else (0, int(code != 0), 0)
    said = (
        re.findall(r"^\d+% tests passed.*$", log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if log.exists()
        else []
    )
    return (passed, max(failed, int(code != 0)), skipped), said[-1] if said else "no C++ tests"


def pytest(lessons: list[Lesson]) -> tuple[int, int, int]:
    report = say.LOGS / "pytest.xml"
    report.unlink(missing_ok=True)
    places = [
        path for lesson in lessons for path in (lesson.folder / "tests", lesson.folder / "test_example.py") if path.exists()
    ]
    testing = ROOT / "scripts" / "testing"
    shared = [testing / "test_pages.py"]
    if build.has_boundary(lessons):
        shared.append(testing / "boundary")
    shared += sorted(path for path in testing.glob("test_*.py") if path not in shared) if lessons == every() else []
    say.line("Python tests")
    env = python.environment(TENFOLD_LESSONS=" ".join(lesson.folder.name for lesson in lessons))
    code = say.stream(
        [python.PYTHON, "-m", "pytest", "-rs", "--durations=5", f"--junitxml={report}", *places, *shared], limit=LIMIT, env=env
    )
    passed, failed, skipped = counts(report)
    return passed, max(failed, int(code not in (0, 5))), skipped


def main(words: list[str]) -> int:
    if any(word in ("-h", "--help") for word in words):
        print("usage: ./scripts/test [LESSON...]     LESSON: 01, 1, 01_gil_release or gil_release; none: all of them")
        return 0
    lessons = select(words)
    build.everything("test", lessons, ["learn", "test"])
    cpp, said = ctest(lessons)
    py = pytest(lessons)
    passed, failed, skipped = (a + b for a, b in zip(cpp, py))
    print(f"\nctest: {said}\npytest: {py[0]} passed, {py[1]} failed, {py[2]} skipped")
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 0 if passed and not failed else 1
