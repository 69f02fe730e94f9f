"""The house and travel checks. A check is a function that returns what it has to say, or raises Wrong or NotHere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from .. import python, say


class Wrong(Exception):
    """What is not as it must be, for a person to read."""


class NotHere(Exception):
    """Why this machine cannot tell; counted as skipped."""


running: set[subprocess.Popen] = set()
"""What `attempt` has started and not yet seen end: checks run side by side, and Ctrl-C reaches the main thread alone."""


def stop_all() -> None:
    for child in list(running):
        say.stop_group(child, 9)


def command(*words: object, cwd: Path | None = None, limit: float = 900, **more: str) -> str:
    """Runs a command that must succeed; its output."""
    done = attempt(*words, cwd=cwd, limit=limit, **more)
    if done.returncode:
        raise Wrong(f"{' '.join(map(str, words))}\n" + "\n".join(say.interesting(done.stdout.splitlines())))
    return done.stdout


def attempt(*words: object, cwd: Path | None = None, limit: float = 900, **more: str) -> subprocess.CompletedProcess:
    env = {**python.environment(PYTHONDONTWRITEBYTECODE="1"), **more}
    env = {key: value for key, value in env.items() if value}
    child = subprocess.Popen(
        [str(word) for word in words],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    running.add(child)
    try:
        output, _ = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        say.stop_group(child, 9)
        child.wait()
        raise Wrong(f"not over after {limit:.0f} s: {' '.join(map(str, words))}") from None
    except KeyboardInterrupt:
        say.stop_group(child, 9)
        raise
    finally:
        running.discard(child)
    say.LOGS.mkdir(parents=True, exist_ok=True)
    with (say.LOGS / "check.log").open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(map(str, words))}\n{output}\nexit code {child.returncode}\n\n")
    return subprocess.CompletedProcess(words, child.returncode, output)


def tracked(folder: Path) -> list[Path]:
    """The files of a folder that git has or would take, relative to it."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        # Not a git checkout: what .gitignore would leave out.
        found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return sorted(
            path
            for path in found
            if not any(
                part in ("build", "__pycache__") or (part.startswith(".") and part not in (".ci", ".github"))
                for part in path.parts[:-1]
            )
        )
    return sorted(path for path in (Path(name) for name in set(done.stdout.split("\0")) if name) if (folder / path).exists())


def siblings(lesson) -> list[str]:
    """The other lessons' header folders that this one includes, as its pyproject.toml names them: "04_thread_pool/include"."""
    text = (lesson.folder / "pyproject.toml").read_text(encoding="utf-8")
    return re.findall(r'"\.\./(\d\d_\w+/include)"', text)


def take_copy(lesson, where: Path) -> Path:
    """The lesson's files under `where`, as a reader who copies the folder has them; for the one that includes its siblings'
    headers, those too."""
    folder = where / lesson.folder.name
    wanted = [(lesson.folder, path) for path in tracked(lesson.folder)]
    for sibling in siblings(lesson):
        source = lesson.folder.parent / sibling
        wanted += [(lesson.folder, Path("..") / sibling / path) for path in tracked(source)]
    for source, path in wanted:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / path, target)
    return folder


def outside() -> Path:
    """A temporary folder outside the repository, so that nothing of it is found by accident."""
    import tempfile

    return Path(tempfile.mkdtemp(prefix="tenfold-check-", dir=os.environ.get("TMPDIR")))
