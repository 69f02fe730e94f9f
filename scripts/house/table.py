"""Prints the figures that the examples handed over (JSON lines) as one table; with rich where it is installed."""

from __future__ import annotations

import json
import os
import platform
import sys

COLUMNS = {"lesson": "lesson", "what": "what", "value": "measured", "against": "against"}


def main(path: str) -> None:
    rows = []
    with open(path, encoding="utf-8") as file:
        for text in file:
            row = json.loads(text)
            rows.append([str(row.get(key, "")) for key in COLUMNS])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    title = f"What this machine measured ({platform.machine()}, {cores} cores, Python {platform.python_version()})"
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        widths = [max(len(text) for text in column) for column in zip(COLUMNS.values(), *rows)]
        print(title)
        for row in [list(COLUMNS.values()), ["-" * width for width in widths], *rows]:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
        return
    table = Table(title=title)
    for name in COLUMNS.values():
        table.add_column(name, justify="right" if name == "measured" else "left")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.width = max(console.width, 100)
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1])
