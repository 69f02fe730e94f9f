"""Writes the tables between '<!-- bench:NAME -->' and '<!-- /bench -->' of each page from the lesson's bench/results.json."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import tenfold_bench

ROOT = Path(__file__).resolve().parents[2]
MARKED = re.compile(r"(<!-- bench:(\S+) -->\n)(.*?)(<!-- /bench -->)", re.DOTALL)


def write(page: Path, results: dict) -> None:
    text = page.read_text(encoding="utf-8")
    new = MARKED.sub(lambda found: found[1] + tenfold_bench.markdown(results, found[2]).strip() + "\n" + found[4], text)
    if new != text:
        page.write_text(new, encoding="utf-8")
    print(f"{page.relative_to(ROOT)}: {len(MARKED.findall(text))} tables, {'written' if new != text else 'as they were'}")


def main(folders: list[str]) -> int:
    failed = 0
    for folder in (Path(each).resolve() for each in folders):
        try:
            write(folder / "README.md", json.loads((folder / "bench" / "results.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError) as error:
            print(f"{folder.name}: {type(error).__name__}: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
