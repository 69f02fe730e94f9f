"""What every lesson's page promises, held against the lesson: headings, length, pattern, code, pictures, tables,
exercises and mistakes. .github/CONTRIBUTING.md tells how to write a page that passes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = os.environ.get("TENFOLD_LESSONS", "").split()
LESSONS = [
    each
    for each in sorted(ROOT.glob("[0-9][0-9]_*"))
    if (each / "pyproject.toml").exists() and (not NAMED or each.name in NAMED)
]

HEADINGS = [
    "The problem",
    "The idea",
    "The pattern",
    "Crossing into Python",
    "Run it",
    "What to expect",
    "When not to use it",
    "Common mistakes",
    "Exercises",
    "Copy it",
]
TWO_HALVES = {"04_thread_pool"}
"""Native tasks, and Python functions: 700 words more."""
COMMANDS = {"python", "pip", "pytest", "cmake", "ctest", "g++", "clang++", "git", "cd", "export", "curl", "cp", "ls"}

each_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda folder: folder.name)


def page(lesson: Path) -> str:
    return (lesson / "README.md").read_text(encoding="utf-8")


def section(lesson: Path, heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page(lesson), re.MULTILINE | re.DOTALL)
    assert found, f"{lesson.name}/README.md has no section '## {heading}'"
    return found.group(1)


def blocks(text: str) -> list[tuple[str, str, str]]:
    """(the line before, language, code) of each fenced block."""
    found, before, inside = [], "", None
    for line in text.splitlines():
        if inside is None and line.startswith("```"):
            inside, code = line[3:].strip(), []
        elif inside is not None and line.startswith("```"):
            found.append((before, inside, "".join(code)))
            before, inside = "", None
        elif inside is not None:
            code.append(line + "\n")
        else:
            before = line.strip()
    return found


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def child(*command: object, limit: float, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess:
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", **more)
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
    try:
        return subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            timeout=limit,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"not over after {limit:.0f} s: {' '.join(map(str, command))}\n{error.stdout or ''}")


def said(done: subprocess.CompletedProcess) -> str:
    return f"exit code {done.returncode}\n{done.stdout[-6000:]}{done.stderr[-6000:]}"


# ---- the page as text


@each_lesson
def test_headings(lesson):
    assert re.findall(r"^## (.*)$", without_blocks(page(lesson)), re.MULTILINE) == HEADINGS


@each_lesson
def test_length(lesson):
    text = re.sub(r"<!--.*?-->", "", without_blocks(page(lesson)), flags=re.DOTALL)
    text = re.sub(r"^\s*\|.*$", "", text, flags=re.MULTILINE)  # tables
    text = re.sub(r"\]\([^)]*\)", "]", text)  # link targets
    text = re.sub(r"<[^>]+>", "", text)
    words = [word for word in text.split() if re.search(r"\w", word)]
    most = 1200 + 700 * (lesson.name in TWO_HALVES)
    assert 400 <= len(words) <= most, f"{len(words)} words of prose"


@each_lesson
def test_last_line_is_next(lesson):
    last = [text for text in section(lesson, "Copy it").splitlines() if text.strip()][-1]
    assert re.match(r"\W*Next\b", last), f"the last line is {last!r}"


@each_lesson
def test_links_and_pictures_exist(lesson):
    targets = re.findall(r"\]\(([^)\s]+)", without_blocks(page(lesson)))
    local = [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:", target)]
    absent = [target for target in local if target and not (lesson / target).exists()]
    # The next lesson may not be there yet.
    absent = [target for target in absent if not re.match(r"\.\./\d\d_", target)]
    assert not absent, f"linked, but not there: {absent}"
    assert any(target.startswith("images/") for target in local), "no picture from images/"


@each_lesson
def test_pattern_is_the_header(lesson):
    marked = [(before, code) for before, language, code in blocks(page(lesson)) if language == "cpp" and "pattern:" in before]
    assert marked, "no block of C++ under '<!-- pattern: include/tenfold/NAME.hpp -->'"
    for before, code in marked:
        header = lesson / re.search(r"pattern:\s*(\S+)", before).group(1)
        lines = [text.rstrip() for text in header.read_text(encoding="utf-8").splitlines()]
        at = 0
        for piece in re.split(r"^\s*// (?:…|\.\.\.)\s*$\n?", code, flags=re.MULTILINE):
            wanted = [text.rstrip() for text in piece.strip("\n").splitlines()]
            if not any(wanted):
                continue
            place = next((i for i in range(at, len(lines) - len(wanted) + 1) if same(lines[i : i + len(wanted)], wanted)), None)
            assert place is not None, f"these lines do not follow each other so in {header.name}:\n" + "\n".join(wanted)
            at = place + len(wanted)


def same(lines: list[str], wanted: list[str]) -> bool:
    """Equal, or equal but for one indentation that all lines share."""
    indents = {len(a) - len(b) for a, b in zip(lines, wanted) if a or b}
    return len(indents) <= 1 and [text.strip() for text in lines] == [text.strip() for text in wanted]


@each_lesson
def test_console_commands_exist(lesson):
    commands = [
        text[2:]
        for _, language, code in blocks(page(lesson))
        if language == "console"
        for text in code.splitlines()
        if text.startswith("$ ")
    ]
    assert commands, "no '$ ' line in a console block"
    wrong = []
    for command in commands:
        words = command.split()
        while words and re.match(r"\w+=", words[0]):
            words.pop(0)
        name = words[0]
        if not (name in COMMANDS or (ROOT / name).exists() or (lesson / name).exists()):
            wrong.append(f"{command}: no such command here")
        for word in words[1:]:
            if re.match(r"(\./)?(\d\d_\w+|scripts|tests|bench|mistakes|exercises|include)(/|$)", word) and not (
                (ROOT / word).exists() or (lesson / word).exists()
            ):
                wrong.append(f"{command}: there is no {word}")
    assert not wrong, "\n".join(wrong)


@each_lesson
def test_tables_come_from_results(lesson):
    tables = re.findall(r"<!-- bench:(\S+) -->\n(.*?)<!-- /bench -->", page(lesson), re.DOTALL)
    assert tables, "no table between '<!-- bench:NAME -->' and '<!-- /bench -->'"
    import tenfold_bench

    results = json.loads((lesson / "bench" / "results.json").read_text(encoding="utf-8"))
    for name, table in tables:
        assert table.strip() == tenfold_bench.markdown(results, name).strip(), (
            f"table '{name}' is not that of bench/results.json: ./scripts/bench --pages writes it"
        )


# ---- what the page says, run


@each_lesson
def test_python_blocks_run(lesson):
    """All blocks of a page run as one program, in order, in an empty folder."""
    code = [
        f"# ---- block {i + 1}\n{code}"
        for i, (before, language, code) in enumerate(blocks(page(lesson)))
        if language == "python" and "not run:" not in before
    ]
    assert code, "no block of Python on the page"
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "page.py"
        program.write_text("\n".join(code), encoding="utf-8")
        done = child(sys.executable, program, limit=120, cwd=Path(folder))
    assert done.returncode == 0, said(done)


def exercises() -> list[Path]:
    return [
        path
        for lesson in LESSONS
        for path in sorted((lesson / "exercises").glob("[0-9][0-9]_*"))
        if path.suffix in (".py", ".cpp")
    ]


def mistakes() -> list[Path]:
    """Each mistake is a script; a .cpp beside it is what the script builds."""
    return [path for lesson in LESSONS for path in sorted((lesson / "mistakes").glob("[0-9][0-9]_*.py"))]


def short(path: Path) -> str:
    return f"{path.parent.parent.name[:2]}/{path.name}"


@each_lesson
def test_there_are_exercises_and_mistakes(lesson):
    there = [path for path in exercises() if path.parent.parent == lesson]
    assert 2 <= len(there) <= 3, f"{len(there)} exercises"
    told = section(lesson, "Exercises")
    assert not [path.name for path in there if path.name not in told], "an exercise that the page does not name"
    failing = [path for path in mistakes() if path.parent.parent == lesson]
    assert failing, "no mistakes"
    told = section(lesson, "Common mistakes")
    assert not [path.name for path in failing if path.name not in told], "a mistake that the page does not name"


@pytest.mark.parametrize("exercise", exercises(), ids=short)
def test_exercise_fails_until_it_is_done(exercise):
    test = exercise.parent / f"test_{exercise.stem}.py"
    solution = exercise.parent / "solutions" / exercise.name
    assert test.exists() and solution.exists()
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:randomly", "-p", "no:cacheprovider", test]
    with ThreadPoolExecutor(2) as both:  # most of it is a compiler at work
        unsolved, solved = both.map(
            lambda folder: child(*command, limit=300, cwd=ROOT, TENFOLD_SOLUTION_DIR=str(folder)),
            [exercise.parent, solution.parent],
        )
    assert unsolved.returncode == 1, f"not yet solved, its test must fail (exit code 1): {said(unsolved)}"
    assert solved.returncode == 0, f"its solution must pass: {said(solved)}"


@pytest.mark.parametrize("mistake", mistakes(), ids=short)
def test_mistake_fails_as_the_page_says(mistake):
    done = child(sys.executable, mistake, limit=300)
    assert done.returncode == 0, f"the mistake did not fail as expected, or its fix did not work: {said(done)}"
    assert "MISTAKE:" in done.stdout and "FIX:" in done.stdout, said(done)
    # A line that the page quotes is one that the script says, figures aside.
    told = section(mistake.parent.parent, "Common mistakes")
    after = told[told.find(mistake.name) :]
    others = [
        after.find(other.name)
        for other in mistakes()
        if other.parent == mistake.parent and other != mistake and other.name in after
    ]
    quoted = re.findall(r"^\s*((?:MISTAKE|FIX):.*)$", after[: min(others)] if others else after, re.MULTILINE)
    plain = [re.sub(r"\d+(\.\d+)?", "0", text).strip() for text in done.stdout.splitlines()]
    for text in quoted:
        assert re.sub(r"\d+(\.\d+)?", "0", text).strip() in plain, f"the page quotes {text!r}, the script said:\n{done.stdout}"
