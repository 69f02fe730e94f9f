"""Exercise 3, solved: results come in the order of the source whatever the workers do, so a count is a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from production_pipeline import Pipeline


def resume(pipeline: Pipeline, source: Iterable[Any], path: Path) -> int:
    """``resume(Pipeline().map(str), range(10), path)`` twice writes 10 lines, then none."""
    whole = 0
    if path.exists():
        content = path.read_bytes()
        whole = content.count(b"\n")
        with open(path, "r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
    written = 0
    with open(path, "a", encoding="utf-8") as file, pipeline.stream(source) as results:
        for number, text in enumerate(results):
            if number >= whole:
                file.write(text + "\n")
                written += 1
    return written
