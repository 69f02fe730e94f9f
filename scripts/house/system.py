"""What the platform's package manager provides. Looked for with the compiler itself (`__has_include`), so it does not
matter how it came; installed through apt as root or with a sudo that asks nothing, else the command is printed."""

from __future__ import annotations

import contextlib
import glob
import os
import platform
import re
import shutil
import subprocess
import time
from dataclasses import dataclass

from . import say
from .lessons import Lesson


@dataclass(frozen=True)
class Need:
    what: str
    apt: str
    dnf: str
    pacman: str
    brew: str
    headers: tuple[str, ...] = ()  # any one of them
    command: str = ""
    files: tuple[str, ...] = ()  # any one of them
    vital: bool = False  # without it nothing can go on; the rest CMake downloads when it is not installed


COMPILER = Need("a C++20 compiler", "g++", "gcc-c++", "gcc", "gcc", vital=True)
HIGHWAY = Need("Google Highway", "libhwy-dev", "highway-devel", "highway", "highway", ("hwy/highway.h",))
BOOST = Need("Boost headers", "libboost-dev", "boost-devel", "boost", "boost", ("boost/lockfree/queue.hpp",))
MOODYCAMEL = Need(
    "moodycamel ConcurrentQueue",
    "libconcurrentqueue-dev",
    "concurrentqueue-devel",
    "",
    "concurrentqueue",
    ("concurrentqueue/concurrentqueue.h", "concurrentqueue/moodycamel/concurrentqueue.h", "concurrentqueue.h"),
)
CATCH2 = Need("Catch2", "catch2", "catch-devel", "catch2", "catch2", ("catch2/catch_test_macros.hpp", "catch2/catch.hpp"))
BENCHMARK = Need(
    "Google Benchmark",
    "libbenchmark-dev",
    "google-benchmark-devel",
    "benchmark",
    "google-benchmark",
    ("benchmark/benchmark.h",),
)
TBB = Need("oneTBB", "libtbb-dev", "tbb-devel", "onetbb", "tbb", ("tbb/task_group.h",))
READERWRITERQUEUE = Need(
    "moodycamel ReaderWriterQueue",
    "libreaderwriterqueue-dev",
    "readerwriterqueue-devel",
    "",
    "",
    ("readerwriterqueue/readerwriterqueue.h", "readerwriterqueue.h"),
)
MIMALLOC = Need(
    "mimalloc",
    "libmimalloc-dev",
    "mimalloc-devel",
    "mimalloc",
    "mimalloc",
    files=("/usr/lib*/libmimalloc.so*", "/usr/lib/*/libmimalloc.so*", "/opt/homebrew/lib/libmimalloc*"),
)
JEMALLOC = Need(
    "jemalloc",
    "libjemalloc-dev",
    "jemalloc-devel",
    "jemalloc",
    "jemalloc",
    files=("/usr/lib*/libjemalloc.so*", "/usr/lib/*/libjemalloc.so*", "/opt/homebrew/lib/libjemalloc*"),
)
CLANG = Need("clang++", "clang", "clang", "clang", "llvm", command="clang++")
LIBOMP = Need(
    "LLVM's OpenMP",
    "libomp-dev",
    "libomp-devel",
    "openmp",
    "libomp",
    files=(
        "/usr/lib/llvm-*/lib/libomp.so*",
        "/usr/lib*/libomp.so*",
        "/usr/lib/*/libomp.so*",
        "/opt/homebrew/opt/libomp/lib/libomp*",
    ),
)
SANITIZERS = Need(
    "clang's sanitizers",
    "libclang-rt-dev",
    "compiler-rt",
    "compiler-rt",
    "llvm",
    files=(
        "/usr/lib/llvm-*/lib/clang/*/lib/*/libclang_rt.tsan*",
        "/usr/lib*/clang/*/lib/*/libclang_rt.tsan*",
        "/opt/homebrew/opt/llvm/lib/clang/*/lib/*/libclang_rt.tsan*",
    ),
)
SYMBOLIZER = Need("llvm-symbolizer", "llvm", "llvm", "llvm", "llvm", command="llvm-symbolizer")

# A lesson's dependency is asked for when its CMakeLists.txt speaks of it.
LESSON_NEEDS = ((HIGHWAY, r"(?i)\bhwy\b|highway"), (BOOST, r"(?i)boost"), (MOODYCAMEL, r"(?i)concurrentqueue"))
COMMAND_NEEDS = {
    "learn": (),
    "test": (CATCH2,),
    "bench": (BENCHMARK, CATCH2, TBB, READERWRITERQUEUE, MIMALLOC, JEMALLOC),
    "check": (CATCH2, BENCHMARK, TBB, READERWRITERQUEUE, CLANG, SANITIZERS, LIBOMP, SYMBOLIZER),
}


def compiler_version(command: str) -> tuple[str, int] | None:
    """('gcc', 12) for a C++ compiler that runs, with the version that it says itself."""
    try:
        text = subprocess.run(
            [command, "-dM", "-E", "-x", "c++", "-"], input="", capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    major = dict(re.findall(r"#define (__clang_major__|__GNUC__) (\d+)", text))
    return ("clang", int(major["__clang_major__"])) if "__clang_major__" in major else ("gcc", int(major.get("__GNUC__", 0)))


def compiler() -> str | None:
    """The C++ compiler to build with: $CXX, else the first of these that knows C++20 well enough."""
    named = os.environ.get("CXX")
    for command in [named] if named else ["g++", "c++", *(f"g++-{major}" for major in range(15, 10, -1)), "clang++"]:
        if shutil.which(command):
            found = compiler_version(command)
            if found and found[1] >= (11 if found[0] == "gcc" else 14):
                return command
    return None


def have_headers(command: str, needs: list[Need]) -> set[Need]:
    """Those of the needs whose headers the compiler finds; one run of the preprocessor for all."""
    lines = []
    for i, need in enumerate(needs):
        test = " || ".join(f"__has_include(<{header}>)" for header in need.headers)
        lines.append(f"#if {test}\nfound {i} here\n#endif")
    prefixes = [f"-I{prefix}/include" for prefix in ("/usr/local", "/opt/homebrew") if os.path.isdir(prefix + "/include")]
    done = subprocess.run(
        [command, *prefixes, "-std=c++20", "-E", "-P", "-x", "c++", "-"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return {needs[int(i)] for i in re.findall(r"found (\d+) here", done.stdout)}


def missing(command: str, lessons: list[Lesson]) -> list[Need]:
    cxx = compiler()
    needs = list(COMMAND_NEEDS[command])
    needs += [need for need, word in LESSON_NEEDS if any(lesson.mentions(word) for lesson in lessons)]
    absent = [] if cxx else [COMPILER]
    with_headers = [need for need in needs if need.headers]
    present = have_headers(cxx, with_headers) if cxx and with_headers else set()
    for need in needs:
        if need.files:
            there = any(glob.glob(pattern) for pattern in need.files)
        elif need.command:
            there = shutil.which(need.command) is not None
        else:
            there = need in present
        if not there:
            absent.append(need)
    return absent


def manager() -> str:
    for name, command in (("apt", "apt-get"), ("dnf", "dnf"), ("pacman", "pacman"), ("brew", "brew")):
        if shutil.which(command):
            return name
    return ""


def prefix() -> list[str] | None:
    """How this user may install: [] as root, sudo when it asks for no password, else None."""
    if os.geteuid() == 0:
        return []
    if (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
    ):
        return ["sudo", "-n"]
    return None


def install_command(which: str, packages: list[str]) -> str:
    words = " ".join(packages)
    return {
        "apt": f"sudo apt-get install -y --no-install-recommends {words}",
        "dnf": f"sudo dnf install -y {words}",
        "pacman": f"sudo pacman -S --needed {words}",
        "brew": f"brew install {words}",
    }.get(which, "")


def lists_are_stale() -> bool:
    lists = glob.glob("/var/lib/apt/lists/*Packages*")
    return not lists or time.time() - max(os.path.getmtime(name) for name in lists) > 2 * 86400


def may_apt() -> bool:
    return manager() == "apt" and prefix() is not None


def apt_install(packages: list[str]) -> None:
    """Installs through apt; the caller made sure by may_apt() that this asks nothing."""
    how = prefix() or []
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    setting = ["env", "DEBIAN_FRONTEND=noninteractive"] if how else []
    install = [
        *how,
        *setting,
        "apt-get",
        "-o",
        "DPkg::Lock::Timeout=300",
        "install",
        "-y",
        "--no-install-recommends",
        *packages,
    ]
    update = [*how, *setting, "apt-get", "-o", "DPkg::Lock::Timeout=300", "update"]
    cure = "run the command by hand and read what apt says; a network or a mirror may be unreachable"
    updated = lists_are_stale()
    if updated:
        say.run("apt-get update", update, log="apt-update", env=env, cure=cure)
    say.line("running: " + " ".join(install))
    try:
        say.run("system packages", install, log="apt-install", env=env, cure=cure)
    except say.Failed:
        if updated:
            raise
        say.run("apt-get update", update, log="apt-update", env=env, cure=cure)
        say.run("system packages", install, log="apt-install", env=env, cure=cure)


def provide(command: str, lessons: list[Lesson], python_packages: list[str]) -> None:
    """Installs what `command` lacks where that may be done; else prints the command, and stops only where it is vital."""
    absent = missing(command, lessons)
    if not absent and not python_packages:
        return
    which = manager()
    packages = [getattr(need, which) for need in absent if which and getattr(need, which)] + python_packages
    names = ", ".join([need.what for need in absent] + ["what a virtual environment needs"] * bool(python_packages))
    if packages and may_apt():
        say.line(f"missing: {names}")
        try:
            apt_install(packages)
        except say.Failed:
            if python_packages or any(need.vital for need in absent):
                raise
            # One name that this release does not have fails them all: try each by itself.
            for package in packages:
                with contextlib.suppress(say.Failed):
                    apt_install([package])
        absent, python_packages = missing(command, lessons), []
        if not any(need.vital for need in absent):
            return
    by_hand = install_command(which, packages)
    if any(need.vital for need in absent):
        if which == "brew" and platform.system() == "Darwin":
            by_hand = "xcode-select --install"
        raise say.Failed(
            "there is no C++20 compiler here (g++ >= 11 or clang++ >= 14)",
            cure=by_hand or "install one from your system's packages, or name one in CXX",
        )
    if python_packages:
        raise say.Failed(f"missing: {names}", cure=by_hand)
    say.line(f"not installed: {names}; CMake downloads what it needs instead. To install it: {by_hand or 'see its home page'}")
