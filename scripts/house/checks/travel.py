"""Every lesson stands alone: its header in a foreign project, its folder copied elsewhere, its sdist, its CMake."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

from .. import build, python, system
from ..lessons import Lesson
from . import NotHere, Wrong, attempt, command, outside, siblings, take_copy

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]
LINKED = re.compile(r"-l\w+")


def told_flags(lesson: Lesson) -> list[str]:
    """The compiler flags that the page's 'Copy it' names, between backticks or in a code block; nothing else is given."""
    page = (lesson.folder / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^## Copy it\n(.*)\Z", page, re.MULTILINE | re.DOTALL)
    if not found:
        raise Wrong("the page has no section 'Copy it'")
    code = re.findall(r"```.*?```|`[^`\n]+`", found.group(1), re.DOTALL)
    flags = re.findall(r"(?<![\w-])-(?:std=[\w+]+|pthread|fopenmp|march=\S+|m\w+|l\w+|f[\w=-]+)", " ".join(code))
    return list(dict.fromkeys(flags))


def headers(lesson: Lesson, cxx: str) -> str:
    """Each header alone in a foreign file, and all of them in two files linked into one program."""
    if not shutil.which(cxx):
        raise NotHere(f"no {cxx} here")
    flags = told_flags(lesson)
    where = outside()
    try:
        shutil.copytree(lesson.folder / "include", where / "include")
        files = sorted((where / "include" / "tenfold").glob("*.hpp"))
        for file in files:
            text = file.read_text(encoding="utf-8")
            if re.search(r'#\s*include\s*[<"](Python\.h|pybind11|numpy)', text):
                raise Wrong(f"{file.name} includes Python")
        compiler = [cxx, "-I", where / "include", *WARNINGS, *(flag for flag in flags if not LINKED.fullmatch(flag))]
        for sibling in siblings(lesson):
            shutil.copytree(lesson.folder.parent / sibling, where / sibling)
            compiler += ["-I", where / sibling]
        whole = [file for file in files if not file.stem.endswith("-inl")]
        for file in whole:
            alone = where / "alone.cpp"
            alone.write_text(f"#include <tenfold/{file.name}>\n", encoding="utf-8")
            command(*compiler, "-fsyntax-only", alone)
        lines = "".join(f"#include <tenfold/{file.name}>\n" for file in whole)
        (where / "one.cpp").write_text(lines + "int two();\nint main() { return two(); }\n", encoding="utf-8")
        (where / "two.cpp").write_text(lines + "int two();\nint two() { return 0; }\n", encoding="utf-8")
        command(
            *compiler,
            "-O0",
            where / "one.cpp",
            where / "two.cpp",
            *(flag for flag in flags if LINKED.fullmatch(flag)),
            "-o",
            where / "program",
        )
        command(where / "program")
    finally:
        shutil.rmtree(where, ignore_errors=True)
    return f"{len(whole)} headers, {' '.join(flags)}"


def fresh_venv(where: Path) -> Path:
    command(python.PYTHON, "-m", "venv", where / "venv")
    return where / "venv" / "bin" / "python"


def copied(lesson: Lesson) -> str:
    """pip install of a copy of the folder in a fresh venv elsewhere; the example runs there without pytest."""
    where = outside()
    try:
        folder = take_copy(lesson, where)
        alone = fresh_venv(where)
        command(alone, "-m", "pip", "install", "--quiet", folder, limit=1500, CMAKE_BUILD_PARALLEL_LEVEL=str(build.jobs()))
        command(alone, "test_example.py", cwd=folder, limit=900, TENFOLD_MEASURED="", VIRTUAL_ENV=str(where / "venv"))
        alien = attempt(alone, "-c", "import pytest").returncode == 0
        return "with pytest, which it must not need" if alien else "example runs"
    finally:
        shutil.rmtree(where, ignore_errors=True)


def sdist(lesson: Lesson) -> str:
    """sdist, then the wheel from the unpacked sdist; the wheel holds the package and nothing else."""
    where = outside()
    try:
        folder = take_copy(lesson, where)
        command(
            python.PYTHON,
            "-m",
            "build",
            "--outdir",
            where / "dist",
            folder,
            limit=1500,
            CMAKE_BUILD_PARALLEL_LEVEL=str(build.jobs()),
            SKBUILD_CMAKE_BUILD_TYPE="Debug",  # what is in it matters here, and this builds in two thirds of the time
        )
        wheel = next((where / "dist").glob("*.whl"))
        names = zipfile.ZipFile(wheel).namelist()
        wrong = [
            f"the wheel lacks {lesson.name}/{name}"
            for name in ("__init__.py", "_core.pyi", "py.typed")
            if f"{lesson.name}/{name}" not in names
        ]
        if not any(re.fullmatch(rf"{lesson.name}/_core\.[\w.-]+", name) and not name.endswith(".pyi") for name in names):
            wrong.append("the wheel lacks the module")
        wrong += [
            f"the wheel holds {name}"
            for name in names
            if not (name.startswith(f"{lesson.name}/") or ".dist-info/" in name) or "__pycache__" in name
        ]
        if wrong:
            raise Wrong("\n".join(wrong))
        alone = fresh_venv(where)
        command(alone, "-m", "pip", "install", "--quiet", wheel, limit=900)
        command(alone, "-c", f"import {lesson.name}", cwd=where)
        return f"{len(names)} files in the wheel"
    finally:
        shutil.rmtree(where, ignore_errors=True)


def cmake(lesson: Lesson) -> str:
    """cmake -S on a copy, without pip; its package imports from where the file says."""
    where = outside()
    try:
        folder = take_copy(lesson, where)
        chosen = [] if system.compiler() in ("g++", "c++") else [f"-DCMAKE_CXX_COMPILER={system.compiler()}"]
        command("cmake", "-S", folder, "-B", where / "build", "-G", "Ninja", f"-DPython_EXECUTABLE={python.PYTHON}", *chosen)
        command("cmake", "--build", where / "build", "--parallel", build.jobs(), limit=1500)
        told = command(
            python.PYTHON, "-c", f"import {lesson.name}; print({lesson.name}.__file__)", PYTHONPATH=str(where / "build/python")
        )
        if not Path(told.strip()).is_relative_to(where):
            raise Wrong(f"imported from {told.strip()}, not from the build folder")
        return ""
    finally:
        shutil.rmtree(where, ignore_errors=True)
