"""The C++ tests under AddressSanitizer with UndefinedBehaviorSanitizer, and under ThreadSanitizer."""

from __future__ import annotations

import glob
import platform
import re
import shutil

from .. import build, say
from ..lessons import ROOT, Lesson
from . import NotHere, Wrong, attempt, outside


def starts(cxx: str, flag: str) -> str:
    """Why a program built with this sanitizer does not start here; empty when it does."""
    if not shutil.which(cxx):
        return f"no {cxx} here"
    where = outside()
    try:
        (where / "a.cpp").write_text("int main() { return 0; }\n", encoding="utf-8")
        if attempt(cxx, flag, where / "a.cpp", "-o", where / "a").returncode:
            return f"{cxx} {flag} does not link here"
        return (
            ""
            if attempt(*quiet_addresses(), where / "a", limit=60).returncode == 0
            else f"a program built with {flag} does not start here"
        )
    finally:
        shutil.rmtree(where, ignore_errors=True)


def quiet_addresses() -> list[str]:
    """ThreadSanitizer of older compilers does not start where addresses are much randomised."""
    words = ["setarch", platform.machine(), "-R"]
    return words if shutil.which("setarch") and attempt(*words, "true").returncode == 0 else []


def sanitized(preset: str, lessons: list[Lesson]) -> str:
    cxx, flag = ("clang++", "-fsanitize=thread") if preset == "tsan" else ("c++", "-fsanitize=address,undefined")
    why = starts(cxx, flag)
    if why:
        raise NotHere(why)
    targets = [path.stem for lesson in lessons for path in sorted((lesson.folder / "tests").glob("test_*.cpp"))]
    if not targets:
        raise NotHere("no C++ tests")
    try:
        build.make(preset, targets, tests=True, launcher=shutil.which("ccache") or "", quiet=True)
    except say.Failed as failure:
        raise Wrong("\n".join([failure.step, *failure.tail])) from None
    # Archer tells ThreadSanitizer what OpenMP synchronises; libomp finds it only where it is told.
    archer = sorted(glob.glob("/usr/lib/llvm-*/lib/libarcher.so") + glob.glob("/usr/lib*/libarcher.so"))
    more = {"OMP_TOOL_LIBRARIES": archer[-1]} if preset == "tsan" and archer else {}
    symbolizer = shutil.which("llvm-symbolizer") or next(iter(sorted(glob.glob("/usr/bin/llvm-symbolizer-*"))), "")
    if symbolizer:
        more["ASAN_SYMBOLIZER_PATH"] = more["TSAN_SYMBOLIZER_PATH"] = symbolizer
    wrap = quiet_addresses() if preset == "tsan" else []
    names = "|".join(lesson.name for lesson in lessons)
    done = attempt(*wrap, "ctest", "--preset", preset, "-L", f"^({names})$", cwd=ROOT, limit=2400, **more)
    summary = re.findall(r"^\d+% tests passed.*$", done.stdout, re.MULTILINE)
    if done.returncode or not summary:
        reports = re.findall(
            r"^.*(?:WARNING: ThreadSanitizer|ERROR: AddressSanitizer|runtime error:|SUMMARY:).*$", done.stdout, re.MULTILINE
        )
        failures = re.findall(r"^ *\d+/\d+ Test .*\*\*\*[\s\S]*?(?=^ +Start |^\d+% tests)", done.stdout, re.MULTILINE)
        told = [text for failure in failures[:3] for text in failure.splitlines()[:40]]
        raise Wrong("\n".join([*reports[:10], *told, *done.stdout.splitlines()[-30:], "all of it: build/logs/check.log"]))
    return summary[-1]
