"""The lessons' Python: the newest final CPython that can make a virtual environment and compile an extension.

Candidates are run, never trusted by name: a shim can fail, a distribution's Python can lack its venv or its headers."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from . import say, system
from .lessons import ROOT, Lesson

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "tenfold.json"
OWN_GIL = (3, 12)
OLDEST = (3, 9)

PROBE = r"""
import importlib.util, json, os, sys, sysconfig
print(json.dumps({
    "version": list(sys.version_info[:3]), "final": sys.version_info[3] == "final", "kind": sys.implementation.name,
    "prefix": sys.base_prefix, "free": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "executable": getattr(sys, "_base_executable", None) or sys.executable,
    "header": os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")),
    "venv": all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))}))
"""


@dataclass
class Candidate:
    path: str
    version: tuple[int, ...]
    final: bool
    kind: str
    prefix: str
    free: bool
    header: bool
    venv: bool

    @property
    def spoken(self) -> str:
        return f"Python {'.'.join(map(str, self.version))}{' free-threaded' if self.free else ''} ({self.path})"

    def lacks(self) -> list[str]:
        return [what for there, what in ((self.header, "its headers (Python.h)"), (self.venv, "ensurepip (venv)")) if not there]

    def packages(self) -> list[str]:
        """The Debian packages that complete it; empty when it is not a distribution's Python."""
        if self.prefix != "/usr" or not shutil.which("apt-get"):
            return []
        short = f"python{self.version[0]}.{self.version[1]}"
        return ([f"{short}-dev"] if not self.header else []) + ([f"{short}-venv"] if not self.venv else [])


def probe(path: str) -> Candidate | str:
    """The candidate behind a path, or why it is none."""
    try:
        done = subprocess.run([path, "-I", "-c", PROBE], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
        found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return "does not run"
    return Candidate(
        found["executable"],
        tuple(found["version"]),
        found["final"],
        found["kind"],
        found["prefix"],
        found["free"],
        found["header"],
        found["venv"],
    )


def paths() -> list[str]:
    """Every python3.N that the usual places hold."""
    home = os.path.expanduser("~")
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"]
    for root in dict.fromkeys([os.environ.get("PYENV_ROOT", ""), f"{home}/.pyenv"]):
        folders += glob.glob(f"{root}/versions/*/bin") if root else []
    for root in dict.fromkeys([os.environ.get("UV_PYTHON_INSTALL_DIR", ""), f"{home}/.local/share/uv/python"]):
        folders += glob.glob(f"{root}/*/bin") if root else []
    folders += glob.glob("/Library/Frameworks/Python.framework/Versions/3.*/bin")
    found = {}
    for folder in dict.fromkeys(folders):
        if not folder or folder == str(VENV / "bin"):
            continue
        for name in sorted(glob.glob(f"{glob.escape(folder)}/python3") + glob.glob(f"{glob.escape(folder)}/python3.*")):
            if re.fullmatch(r"python3(\.\d+)?", os.path.basename(name)) and os.access(name, os.X_OK):
                found.setdefault(os.path.realpath(name) if "/shims/" not in name else name, name)
    return list(found.values())


def survey() -> tuple[list[Candidate], list[str]]:
    """The usable Pythons, newest first, and what else was found and why it is none."""
    known: dict[tuple, Candidate] = {}
    passed_over = []
    for path in paths():
        found = probe(path)
        if isinstance(found, str):
            if "/shims/" not in path:
                passed_over.append(f"{path} {found}")
        elif found.kind == "cpython" and found.version >= OLDEST and found.final and not found.free:
            key = (found.prefix, found.version)
            if key not in known or len(found.path) < len(known[key].path):
                known[key] = found
    return sorted(known.values(), key=lambda each: each.version, reverse=True), passed_over


def packages_needed() -> list[str]:
    """The distribution's packages without which no Python here is complete."""
    if os.environ.get("TENFOLD_PYTHON") or is_settled():
        return []
    ranked, _ = survey()
    if any(not candidate.lacks() for candidate in ranked):
        return []
    return next((candidate.packages() for candidate in ranked if candidate.packages()), [])


def choose() -> Candidate:
    """The Python to use; says which, what it costs when it is an old one, and why a newer one was passed over."""
    named = os.environ.get("TENFOLD_PYTHON")
    if named:
        found = probe(shutil.which(named) or named)
        if isinstance(found, str):
            raise say.Failed(f"TENFOLD_PYTHON={named} {found}", cure="point it at a CPython >= 3.9, or leave it unset")
        if found.version < OLDEST or found.kind != "cpython":
            raise say.Failed(f"TENFOLD_PYTHON is {found.kind} {found.spoken}", cure="the lessons need CPython >= 3.9")
        return completed(found) if found.lacks() else found
    ranked, passed_over = survey()
    for candidate in ranked:
        if not candidate.lacks() or (candidate.packages() and system.may_apt()):
            for reason in passed_over:
                say.line(f"passed over: {reason}")
            return completed(candidate) if candidate.lacks() else candidate
        cure = f"; cure: {system.install_command('apt', candidate.packages())}" if candidate.packages() else ""
        passed_over.append(f"{candidate.spoken} lacks {' and '.join(candidate.lacks())}{cure}")
    commands = {
        "apt": "sudo apt-get install python3 python3-venv python3-dev",
        "dnf": "sudo dnf install python3 python3-devel",
        "pacman": "sudo pacman -S python",
        "brew": "brew install python",
    }
    raise say.Failed(
        "no CPython >= 3.9 that has its headers and venv",
        tail=passed_over,
        cure=commands.get(system.manager(), "install one, or point TENFOLD_PYTHON at one"),
    )


def completed(candidate: Candidate) -> Candidate:
    say.line(f"{candidate.spoken} lacks {' and '.join(candidate.lacks())}")
    packages = candidate.packages()
    by_hand = system.install_command("apt", packages) if packages else "install a complete CPython >= 3.9"
    if not packages or not system.may_apt():
        raise say.Failed(f"{candidate.spoken} lacks {' and '.join(candidate.lacks())}", cure=by_hand)
    system.apt_install(packages)
    found = probe(candidate.path)
    if isinstance(found, str) or found.lacks():
        raise say.Failed(
            f"{candidate.spoken} is still incomplete after {' '.join(packages)}", cure="point TENFOLD_PYTHON at another"
        )
    return found


def world() -> str:
    """Changes when a Python comes or goes, so that a second run need not look at each again."""
    names = [os.environ.get("TENFOLD_PYTHON", ""), *sorted(paths())]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def stamp() -> dict:
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def works(version: str) -> bool:
    try:
        done = subprocess.run(
            [PYTHON, "-c", "import sys, pip; print('%d.%d.%d' % sys.version_info[:3])"],
            capture_output=True,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def environment(**more: str) -> dict:
    """The environment for every command: the virtual environment first on PATH, nothing of another one."""
    # Where CI is set, pytest prints whole differences: of two lists of 20,000 numbers that takes it longer than any limit.
    dropped = ("PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__", "CI", "BUILD_NUMBER")
    env = {key: value for key, value in os.environ.items() if key not in dropped}
    env.update(
        VIRTUAL_ENV=str(VENV),
        PATH=f"{VENV / 'bin'}{os.pathsep}{env.get('PATH', '')}",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PYTHONUNBUFFERED="1",
        **more,
    )
    return env


def is_settled() -> bool:
    """.venv runs, and no Python has come or gone since it was made."""
    return stamp().get("world") == world() and works(stamp().get("version", ""))


def make_venv() -> None:
    """.venv on the chosen Python: kept when it is the right one and runs, else made anew."""
    if is_settled():
        return
    old, now = stamp(), world()
    chosen = choose()
    version = ".".join(map(str, chosen.version))
    say.line(f"Python for the lessons: {chosen.spoken}")
    if chosen.version < OWN_GIL:
        say.line(
            "  it is older than 3.12: everything works except sub-interpreters with a GIL of their own. To have them, install "
            "CPython >= 3.12 (uv, pyenv, your distribution) and run this again"
        )
    if old.get("path") == chosen.path and works(version):
        STAMP.write_text(json.dumps(dict(old, world=now)), encoding="utf-8")
        return
    if VENV.exists() or VENV.is_symlink():
        if old or not (VENV / "pyvenv.cfg").exists():
            say.line(".venv is broken or made for another Python; making it anew")
            shutil.rmtree(VENV) if not VENV.is_symlink() else VENV.unlink()
        else:
            aside = next(path for path in (ROOT / f".venv-before-{i}" for i in range(1, 1000)) if not path.exists())
            say.line(f".venv was not made by these scripts; moved to {aside.name}")
            VENV.rename(aside)
    # The stamp comes first, so that a half-made environment is known as ours.
    VENV.mkdir()
    STAMP.write_text(json.dumps({"version": "unfinished"}), encoding="utf-8")
    say.run(
        "virtual environment .venv",
        [chosen.path, "-m", "venv", VENV],
        log="venv",
        env=environment(),
        cure="point TENFOLD_PYTHON at another Python",
    )
    STAMP.write_text(json.dumps({"version": version, "path": chosen.path, "world": world()}), encoding="utf-8")


def tool_version(command: str) -> tuple[int, ...]:
    path = shutil.which(command, path=environment()["PATH"])
    if not path:
        return ()
    try:
        text = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, env=environment()).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    found = re.search(r"(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()


def requirements(group: str) -> list[str]:
    name = "requirements.txt" if group == "learn" else f"requirements-{group}.txt"
    lines = (ROOT / "scripts" / name).read_text(encoding="utf-8").splitlines()
    return [text.split("#")[0].strip() for text in lines if text.split("#")[0].strip()]


def provide(groups: list[str], lessons: list[Lesson]) -> None:
    """Puts the Python side into .venv: the groups' lists, the lessons' dependencies, CMake and Ninja if there are none."""
    make_venv()
    wanted = [each for group in groups for each in requirements(group)]
    wanted += [each for lesson in lessons for each in lesson.dependencies()]
    if tool_version("cmake") < (3, 25):
        wanted.append("cmake>=3.25")
    if not tool_version("ninja"):
        wanted.append("ninja")
    wanted = list(dict.fromkeys(wanted))
    known = stamp()
    have = set(known.get("installed", []))
    if set(wanted) <= have:
        return
    say.run(
        f"Python packages: {', '.join(re.split('[<>=!;~ ]', each)[0] for each in wanted if each not in have)}",
        [PYTHON, "-m", "pip", "install", "--prefer-binary", "--quiet", *wanted],
        log="pip",
        env=environment(),
        cure="is a package index reachable? `.venv/bin/python -m pip install pytest` shows it without these scripts",
    )
    STAMP.write_text(json.dumps(dict(known, installed=sorted(have | set(wanted)))), encoding="utf-8")


def best_effort(group: str) -> list[str]:
    """Installs each of a group by itself, binaries only; returns those that could not be had."""
    known = stamp()
    have = set(known.get("installed", []))
    absent = []
    for each in requirements(group):
        if each in have:
            continue
        try:
            say.run(
                f"peer {each}",
                [PYTHON, "-m", "pip", "install", "--only-binary", ":all:", "--quiet", each],
                log="pip-peer",
                env=environment(),
                limit=600,
            )
            have.add(each)
        except say.Failed:
            absent.append(each)
    STAMP.write_text(json.dumps(dict(known, installed=sorted(have))), encoding="utf-8")
    return absent


@contextlib.contextmanager
def one_at_a_time():
    """Set-up and build of one run at a time; the file stays, the lock goes with the process."""
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / "setup.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say.line("another run is setting up; waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
