"""Which lessons there are, and which of them a person meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import say

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Lesson:
    folder: Path

    @property
    def number(self) -> str:
        return self.folder.name[:2]

    @property
    def name(self) -> str:
        return self.folder.name[3:]

    def dependencies(self) -> list[str]:
        """What its pip install would bring, read without tomllib (Python 3.11) so that 3.9 can."""
        text = (self.folder / "pyproject.toml").read_text(encoding="utf-8")
        listed = re.search(r"^dependencies\s*=\s*\[(.*?)\]", text, re.MULTILINE | re.DOTALL)
        return re.findall(r'"([^"]+)"', listed.group(1)) if listed else []

    def mentions(self, pattern: str) -> bool:
        return re.search(pattern, (self.folder / "CMakeLists.txt").read_text(encoding="utf-8")) is not None


def every() -> list[Lesson]:
    folders = sorted(ROOT.glob("[0-9][0-9]_*"))
    return [
        Lesson(folder) for folder in folders if (folder / "CMakeLists.txt").exists() and (folder / "pyproject.toml").exists()
    ]


def meant(word: str) -> Lesson | None:
    """The lesson called 01, 1, 01_gil_release or gil_release (a trailing slash is fine: shells complete one)."""
    word = word.rstrip("/")
    for lesson in every():
        if word in (lesson.folder.name, lesson.name, lesson.number) or (word.isdigit() and int(word) == int(lesson.number)):
            return lesson
    return None


def select(words: list[str]) -> list[Lesson]:
    """The lessons named, each once and in their order; all of them when none is named."""
    if not words:
        return every()
    chosen = []
    for word in words:
        lesson = meant(word)
        if lesson is None:
            names = ", ".join(each.folder.name for each in every()) or "none yet"
            raise say.Failed(f"there is no lesson '{word}'", cure=f"the lessons here: {names}")
        chosen.append(lesson)
    return [lesson for lesson in every() if lesson in chosen]
