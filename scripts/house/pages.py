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


def headlines() -> str:
    """For each group of comparisons that has a goal, its largest case against its first peer: won or lost."""
    lines = []
    for path in sorted(ROOT.glob("[0-9][0-9]_*/bench/results.json")):
        lesson = path.parents[1].name
        results = json.loads(path.read_text(encoding="utf-8"))
        groups: dict[str, list] = {}
        for row in results["rows"]:
            if any(peer.get("at_least") for peer in row["peers"]):
                groups[row["group"]] = [lesson, row]  # rows go from small to large
        for _, row in groups.values():
            peer = next(peer for peer in row["peers"] if peer.get("at_least"))
            ratio = f"{peer['ratio']:.3g}× [{peer['low']:.3g} .. {peer['high']:.3g}]"
            size = f"{row['size']:,}" if isinstance(row["size"], int) else row["size"]
            wanted = f"{peer['at_least']:.2g}×"
            lines.append(
                f"| [{lesson[:2]}]({lesson}/README.md) | {row['case']} | {size} {row['container']} | {peer['peer']} | {ratio} | "
                f"{wanted} {'met' if peer['met'] else 'MISSED'} |"
            )
    heading = "| | case | size | against | times faster | wanted |\n|---|---|---|---|---|---|\n"
    return heading + "\n".join(lines) + "\n"


def write_front() -> None:
    """The table of README.md at the top, between '<!-- headlines -->' and '<!-- /headlines -->'."""
    page = ROOT / "README.md"
    text = page.read_text(encoding="utf-8")
    new = re.sub(
        r"(<!-- headlines -->\n).*?(<!-- /headlines -->)",
        lambda found: found[1] + headlines() + found[2],
        text,
        flags=re.DOTALL,
    )
    if new != text:
        page.write_text(new, encoding="utf-8")
    print(f"README.md: {'written' if new != text else 'as it was'}")


def main(folders: list[str]) -> int:
    failed = 0
    write_front()
    for folder in (Path(each).resolve() for each in folders):
        try:
            write(folder / "README.md", json.loads((folder / "bench" / "results.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError) as error:
            print(f"{folder.name}: {type(error).__name__}: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
