"""The house itself: every lesson has the same files, boundary.hpp is one file, the code is formatted, stubs are true."""

from __future__ import annotations

import hashlib
import re

from .. import python
from ..lessons import ROOT, Lesson, every
from . import NotHere, Wrong, attempt, command, tracked

REQUIRED = [
    "README.md",
    "CMakeLists.txt",
    "pyproject.toml",
    "test_example.py",
    "src/bindings.cpp",
    "src/{name}/__init__.py",
    "src/{name}/_core.pyi",
    "src/{name}/py.typed",
    "tests/test_{name}.cpp",
    "tests/test_{name}.py",
    "bench/bench_{name}.cpp",
    "bench/bench_{name}.py",
    "bench/results.json",
]
ALLOWED = [
    r"include/tenfold/[\w-]+\.hpp",
    r"src/\w+\.hpp",
    r"src/{name}/[\w/]+\.(py|pyi)",
    r"tests/test_\w+\.(cpp|py)",
    r"tests/\w+_testing\.hpp",
    r"bench/bench_\w+\.(cpp|py)",
    r"bench/peer_\w+\.(cpp|hpp|py)",
    r"bench/peer_rust/(Cargo\.toml|src/main\.rs)",
    r"mistakes/\d\d_\w+\.\w+",
    r"exercises/\d\d_\w+\.(py|cpp)",
    r"exercises/test_\d\d_\w+\.py",
    r"exercises/solutions/\d\d_\w+\.(py|cpp)",
    r"images/[\w.-]+",
]
AT_LEAST_ONE = ["include/tenfold/", "mistakes/", "exercises/", "exercises/solutions/", "images/"]


def layout(lesson: Lesson) -> str:
    files = [path.as_posix() for path in tracked(lesson.folder)]
    required = [name.format(name=lesson.name) for name in REQUIRED]
    if lesson.number != "01":
        required.append("src/boundary.hpp")
    wrong = [f"missing: {name}" for name in required if name not in files]
    wrong += [f"nothing in {place}" for place in AT_LEAST_ONE if not any(name.startswith(place) for name in files)]
    allowed = re.compile("|".join(each.replace("{name}", lesson.name) for each in ALLOWED))
    wrong += [f"does not belong here: {name}" for name in files if name not in required and not allowed.fullmatch(name)]
    for name in files:
        stem = re.fullmatch(r"exercises/(\d\d_\w+)\.(py|cpp)", name)
        if stem:
            wrong += [
                f"missing: {other}"
                for other in (f"exercises/test_{stem[1]}.py", f"exercises/solutions/{stem[1]}.{stem[2]}")
                if other not in files
            ]
    if wrong:
        raise Wrong("\n".join(wrong))
    return f"{len(files)} files"


def top_level() -> str:
    """No top-level folder but the lessons, scripts/ and the dotted ones."""
    strange = sorted(
        {path.parts[0] for path in tracked(ROOT) if len(path.parts) > 1}
        - {"scripts", ".github", ".ci"}
        - {lesson.folder.name for lesson in every()}
    )
    if strange:
        raise Wrong(f"does not belong here: {', '.join(strange)}")
    return ""


def boundary() -> str:
    files = {lesson.folder.name: lesson.folder / "src" / "boundary.hpp" for lesson in every() if lesson.number != "01"}
    if not files:
        raise NotHere("no lesson here has it")
    sums = {}
    for name, path in files.items():
        sums.setdefault(hashlib.md5(path.read_bytes()).hexdigest() if path.exists() else "missing", []).append(name)
    if len(sums) > 1 or "missing" in sums:
        raise Wrong("not the same file: " + "; ".join(f"{digest[:8]} in {', '.join(names)}" for digest, names in sums.items()))
    return f"one file in {len(files)} lessons"


def style(fix: bool = False) -> str:
    tool = python.VENV / "bin" / "ruff"
    if fix:
        attempt(tool, "check", "--fix", "--quiet", ".", cwd=ROOT)
        attempt(tool, "format", "--quiet", ".", cwd=ROOT)
    command(tool, "check", "--no-cache", "--output-format", "concise", ".", cwd=ROOT)
    command(tool, "format", "--no-cache", "--check", ".", cwd=ROOT)
    return "ruff"


def formatted(fix: bool = False) -> str:
    sources = [path for path in tracked(ROOT) if path.suffix in (".hpp", ".cpp")]
    tool = python.VENV / "bin" / "clang-format"
    if fix:
        command(tool, "-i", *sources, cwd=ROOT)
    done = attempt(tool, "--dry-run", "-Werror", *sources, cwd=ROOT)
    if done.returncode:
        files = sorted({text.split(":")[0] for text in done.stdout.splitlines() if "error:" in text})
        raise Wrong("./scripts/check format --fix formats: " + ", ".join(files))
    return f"{len(sources)} C++ files"


def stubs(lesson: Lesson) -> str:
    """The stub says what the built module has, name by name; __init__ offers what __all__ lists."""
    built = ROOT / "build" / "default" / "python"
    own = (
        ROOT / "build" / "stubs" / lesson.number
    )  # mypy locks its cache, which it puts where it runs; lessons run side by side
    own.mkdir(parents=True, exist_ok=True)
    # What pybind11 gives every class and a stub cannot say: its metaclass, its capsule for module-local types.
    done = attempt(
        python.PYTHON,
        "-m",
        "mypy.stubtest",
        f"{lesson.name}._core",
        "--concise",
        "--mypy-config-file",
        ROOT / "pyproject.toml",
        cwd=own,
        MYPYPATH=str(built),
    )
    wrong = [
        text
        for text in done.stdout.splitlines()
        if not re.search(r"metaclass differs|__pybind11_|^Found \d+ error|^Success", text)
    ]
    if wrong:
        raise Wrong("\n".join(wrong))
    program = f"""
import ast, pathlib, sys, {lesson.name} as package, {lesson.name}._core as core
stub = ast.parse(pathlib.Path(r"{lesson.folder}/src/{lesson.name}/_core.pyi").read_text(encoding="utf-8"))
nodes = [node for node in stub.body if not isinstance(node, ast.If)]
for choice in [node for node in stub.body if isinstance(node, ast.If)]:  # on sys.version_info
    nodes += choice.body if eval(compile(ast.Expression(choice.test), "stub", "eval")) else choice.orelse
told = {{node.name for node in nodes if hasattr(node, "name")}}
told |= {{node.target.id for node in nodes if isinstance(node, ast.AnnAssign)}}
told = {{name for name in told if not name.startswith("_")}}
has = {{name for name in dir(core) if not name.startswith("_")}}
assert told == has, f"only in the stub: {{sorted(told - has)}}; only in the module: {{sorted(has - told)}}"
absent = [name for name in package.__all__ if not hasattr(package, name)]
assert not absent, f"in __all__ only: {{absent}}"
silent = [name for name in package.__all__ if not (getattr(package, name).__doc__ or "").strip()]
assert not silent, f"without a docstring: {{silent}}"
print(len(has), "names")
"""
    return command(python.PYTHON, "-c", program).strip()


def together() -> str:
    """All modules in one process, then twice in sub-interpreters, each with a GIL of its own where Python has that."""
    names = [lesson.name for lesson in every()]
    program = f"""
import importlib, sys
names = {names!r}
for name in names:
    importlib.import_module(name)
assert "numpy" not in sys.modules, "importing a lesson imported NumPy"
assert all(not any(part in sys.modules for part in ("pandas", "pyarrow", "dask")) for name in names)
if sys.version_info < (3, 12):
    print("SKIP older than 3.12: sub-interpreters not tried"); sys.exit()
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
for _ in range(2):
    number = interpreters.create()
    failed = interpreters.run_string(number, "import " + ", ".join(names))
    assert not failed, failed
    interpreters.destroy(number)
for name in names:
    importlib.reload(sys.modules[name])
print(len(names), "modules, 2 sub-interpreters")
"""
    said = command(python.PYTHON, "-c", program, limit=120).strip()
    if said.startswith("SKIP"):
        raise NotHere(said[5:])
    return said
