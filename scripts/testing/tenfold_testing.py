"""What the Python tests of all lessons share: threads that start together, a witness for the GIL, child processes."""

from __future__ import annotations

import contextlib
import importlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import threading
from collections.abc import Callable

THREADS = (1, 2, 4, 7)
"""The sweep that every thread test makes."""

HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


def run_threads(count: int, function: Callable[[int], object], limit: float = 60.0) -> list:
    """Calls ``function(i)`` in `count` threads that start at a barrier; results in order, or the first exception."""
    start = threading.Barrier(count)
    results: list = [None] * count
    errors: list[BaseException] = []

    def member(i: int) -> None:
        try:
            start.wait(limit)
            results[i] = function(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=member, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limit)
        assert not thread.is_alive(), f"a thread has not ended within {limit} s"
    if errors:
        raise errors[0]
    return results


@contextlib.contextmanager
def nobody_is_preempted():
    """While it lasts, a Python thread gives the GIL up only by itself: when it blocks, or releases it in native code."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def runs_without_gil(call: Callable[[], object], attempts: int = 50) -> bool:
    """Whether another Python thread ran while ``call()`` was going on: only possible if the call released the GIL.

    No clock decides: with preemption off, the witness gets the GIL inside the call or not at all. The call must last
    long enough for a thread to wake up (a millisecond is plenty); it is tried up to `attempts` times.
    """
    wake = threading.Semaphore(0)
    inside = seen = done = False

    def witness() -> None:
        nonlocal seen
        while True:
            wake.acquire()
            if done:
                return
            seen = seen or inside

    thread = threading.Thread(target=witness, daemon=True)
    thread.start()
    try:
        with nobody_is_preempted():
            for _ in range(attempts):
                inside = True
                wake.release()
                call()
                inside = False
                if seen:
                    break
    finally:
        done = True
        wake.release()
        thread.join(10)
    return seen


def run_child(code: str, limit: float = 30.0, **options) -> subprocess.CompletedProcess:
    """Runs Python source in a child process; raises subprocess.TimeoutExpired past the limit, and the child is killed."""
    return subprocess.run(
        [sys.executable, "-c", _program(code)],
        capture_output=True,
        text=True,
        timeout=limit,
        env=_child_environment(),
        **options,
    )


def interrupt_child(code: str, limit: float = 30.0) -> subprocess.CompletedProcess:
    """Runs Python source in a child that prints ``ready`` before its long call; then sends Ctrl-C (SIGINT)."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", _program(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_child_environment(),
    )
    try:
        line = process.stdout.readline()
        assert line == "ready\n", (line, process.stderr.read() if process.poll() is not None else "")
        threading.Event().wait(0.2)  # let it get into the call; being early is harmless, Python would see the signal
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"Ctrl-C was sent, and {limit:g} s later the call was still running") from None
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def bound_classes(module) -> list[type]:
    """The classes of a module that pybind11 made."""
    return [each for each in vars(module).values() if type(each).__name__ == "pybind11_type"]


def refuses_what_was_never_made(kind: type) -> None:
    """Fails unless each method and property of a pybind11 class refuses objects whose ``__init__`` never ran, by a TypeError.

    In a child process: by itself pybind11 hands a method memory in which nothing was made, and that crashes or hangs.
    """
    try:
        child = run_child(f"import tenfold_testing; tenfold_testing._never_made({kind.__module__!r}, {kind.__name__!r})")
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        raise AssertionError(f"hangs in {(said.splitlines() or ['?'])[-1]}") from None
    last = (child.stdout.splitlines() or ["?"])[-1]
    assert (child.returncode, last) == (0, "done"), f"{last}: {child.stderr[-2000:]}"


def _never_made(module: str, name: str) -> None:
    home = importlib.import_module(module)
    kind = getattr(home, name)
    # Two make the object; __reduce_ex__ may refuse whatever the object is; buffers end in a BufferError; the last is pybind11's own.
    other_tests = {"__init__", "__setstate__", "__reduce_ex__", "__buffer__", "__release_buffer__", "_pybind11_conduit_v1_"}
    own = {each: found for each, found in vars(kind).items() if not isinstance(found, (staticmethod, classmethod))}
    calls = {each: getattr(found, "fget", None) or getattr(kind, each) for each, found in own.items()}
    calls = {each: call for each, call in calls.items() if callable(call) and each not in other_tests}
    assert calls, "nothing to call"
    guesses = [(value,) * count for count in range(5) for value in (1, "x", True, [1.0], None)]

    def answers(each: str, instance: object) -> set[str]:
        found = set()
        for guess in guesses:
            print(f"{name}.{each}{guess}", flush=True)
            try:
                found.add(f"returned {calls[each](instance, *guess)!r}")
            except BaseException as error:
                found.add(f"{type(error).__name__}: {error}")
        return found

    # From __new__ alone: of the class, of a subclass, of subclasses with a second base from C++.
    kinds = [kind, type("Late", (kind,), {"__init__": lambda self: None})]
    for other in [each for each in bound_classes(home) if not (issubclass(each, kind) or issubclass(kind, each))][:1]:
        kinds += [type("Two", (kind, other), {}), type("Two", (other, kind), {})]
    for each in calls:
        for maker in kinds:
            found = answers(each, maker.__new__(maker))
            refusals = [text for text in found if text.endswith(f"{maker.__name__}.__init__() has not been called")]
            assert refusals and all(text.startswith("TypeError: ") for text in found), (maker, each, found)
        for stranger in (None, object(), kind):
            found = answers(each, stranger)
            assert all(text.startswith("TypeError: ") for text in found), (stranger, each, found)
    try:
        kinds[1]()
    except TypeError as error:
        assert "__init__() must be called" in str(error), error
    else:
        raise AssertionError("a subclass may forget super().__init__()")
    print("done")


def _program(code: str) -> str:
    """The code, with Ctrl-C as Python has it: whoever started us in the background may have had it ignored."""
    return "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + textwrap.dedent(code)


def _child_environment() -> dict[str, str]:
    """The child imports what we import, in whatever way it came onto our path."""
    paths = [p for p in sys.path if p and "site-packages" not in p and "lib/python" not in p]
    paths = [os.path.abspath(p) for p in paths]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONFAULTHANDLER": "1"}


def compile_module(source: str | os.PathLike, folder: str | os.PathLike, *flags: str) -> None:
    """Compiles one pybind11 source file into `folder`; the module is named like the file, without its number.

    The lesson's own headers are found: the source lies in LESSON/mistakes, LESSON/exercises or below.
    """
    source = pathlib.Path(source).resolve()
    name = re.sub(r"^\d+_", "", source.stem)
    lesson = next(p for p in source.parents if (p / "include").is_dir())
    asked = subprocess.run([sys.executable, "-m", "pybind11", "--includes"], capture_output=True, text=True)
    if asked.returncode:
        raise SystemExit(
            "no pybind11 in this Python: pip install 'pybind11>=3.1', or take .venv/bin/python after ./scripts/learn"
        )
    includes = asked.stdout.split()
    undefined = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    command = [os.environ.get("CXX", "c++"), "-std=c++20", "-O1", "-shared", "-fPIC", "-pthread", *undefined]
    command += ["-fvisibility=hidden", *includes, f"-I{lesson / 'include'}", f"-I{lesson / 'src'}", *flags, str(source)]
    target = pathlib.Path(folder, name + sysconfig.get_config_var("EXT_SUFFIX"))
    done = subprocess.run([*command, "-o", str(target)], stderr=subprocess.PIPE, text=True, errors="replace")
    if done.returncode == 0:
        sys.stderr.write(done.stderr)
        return
    first = next((i for i, line in enumerate(done.stderr.splitlines()) if "error" in line), 0)
    why = "\n".join([f"{source.name} does not compile:", *done.stderr.splitlines()[first : first + 12]])
    pytest = sys.modules.get("pytest")
    if pytest:
        pytest.fail(why, pytrace=False)
    raise SystemExit(why)


def show_mistake(call: str, *, expected: str, limit: float = 20.0, source: str | os.PathLike | None = None) -> None:
    """Runs a mistake and its cure in child processes and prints both; fails unless the mistake fails as `expected`.

    `call` is Python source in which ``{0}`` stands for ``wrong`` and then for ``right``; it prints what happened, and
    ``done`` when all went well. `source` is compiled first, next to where the children run.
    """
    with tempfile.TemporaryDirectory() as folder:
        if source:
            print(f"compiling {pathlib.Path(source).name} ...", flush=True)
            compile_module(source, folder)
        outcomes = {}
        for which in ("wrong", "right"):
            try:
                child = run_child(call.replace("{0}", which), limit, cwd=folder)
                outcomes[which] = child.stdout.strip() or child.stderr.strip().splitlines()[-1]
            except subprocess.TimeoutExpired:
                outcomes[which] = f"hung, ended after {limit:g} s"
    print("MISTAKE:", outcomes["wrong"])
    print("FIX:", outcomes["right"])
    assert expected in outcomes["wrong"], f"expected {expected!r}"
    assert outcomes["right"].splitlines()[-1] == "done"


def exercise_file(test: str | os.PathLike, suffix: str) -> pathlib.Path:
    """The exercise that belongs to ``test_NN_name.py``: the reader's, or the one in $TENFOLD_SOLUTION_DIR."""
    test = pathlib.Path(test).resolve()
    folder = pathlib.Path(os.environ.get("TENFOLD_SOLUTION_DIR") or test.parent)
    return folder / (test.stem.removeprefix("test_") + suffix)
