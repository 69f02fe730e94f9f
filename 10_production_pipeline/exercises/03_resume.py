"""Exercise 3. A run that was killed is run again: write `resume`, so that each result is in the file exactly once.

`pipeline` has no sink; its results are strings without line ends. `resume` runs it over `source` and writes each result as a
line to the file at `path`, in order. When the file is there already, an earlier run was killed while it wrote: what is in it is
a correct beginning, but its last line may be torn in the middle. Write what is missing, and only that. Return how many lines
you wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from production_pipeline import Pipeline


def resume(pipeline: Pipeline, source: Iterable[Any], path: Path) -> int:
    """``resume(Pipeline().map(str), range(10), path)`` twice writes 10 lines, then none."""
    with open(path, "a", encoding="utf-8") as file:
        result = pipeline.sink(lambda text: file.write(text + "\n")).run(source)
    return result.stats.items_out
