"""What a person sees: one line for each step with its time, the tail of a long command while it runs, and on failure
the step, the last lines of its log, and the cure. Full logs are in build/logs/."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "build" / "logs"
STARTED = time.monotonic()
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Failed(Exception):
    def __init__(self, step: str, *, tail: list[str] | None = None, log: Path | None = None, cure: str = "") -> None:
        super().__init__(step)
        self.step, self.tail, self.log, self.cure = step, tail or [], log, cure

    def show(self) -> None:
        out = [f"\nFAILED: {self.step}"]
        out += [f"  | {text if len(text) <= 300 else text[:297] + '...'}" for text in self.tail]
        if self.log:
            out.append(f"  whole log: {shown(self.log)}")
        if self.cure:
            out.append(f"  cure: {self.cure}")
        print("\n".join(out), file=sys.stderr, flush=True)


def shown(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(ROOT))
    return str(path)


def line(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", flush=True)


def stop_group(child: subprocess.Popen, how: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, how)


def wait_or_stop(child: subprocess.Popen, limit: float | None) -> bool:
    """Waits for a child that leads its own process group; on the limit, Ctrl-C or SIGTERM the whole group ends. True: in time."""
    try:
        child.wait(limit)
        return True
    except subprocess.TimeoutExpired:
        stop_group(child, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(3)
        stop_group(child, signal.SIGKILL)
        child.wait()
        return False
    except BaseException:  # Ctrl-C, or run.py's SystemExit at SIGTERM
        stop_group(child, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(5)
        stop_group(child, signal.SIGKILL)
        raise


def stream(command: list, *, env: dict | None = None, cwd: Path = ROOT, limit: float) -> int:
    """Runs a command whose output is for the reader; its exit code, or 124 when it was stopped at the limit."""
    sys.stdout.flush()
    child = subprocess.Popen(
        [str(word) for word in command], cwd=cwd, env=env, stdin=subprocess.DEVNULL, start_new_session=True
    )
    if wait_or_stop(child, limit):
        return child.returncode
    line(f"stopped after its limit of {limit:.0f} s")
    return 124


def run(
    step: str,
    command: list,
    *,
    log: str,
    cure: str = "",
    env: dict | None = None,
    cwd: Path = ROOT,
    limit: float = 3600,
    quiet: bool = False,
) -> str:
    """Runs one command of the set-up: a line while it runs, its output into build/logs/`log`.log and returned."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{log}.log"
    begun = time.monotonic()
    output: list[str] = []
    with path.open("w", encoding="utf-8", errors="replace") as file:
        file.write("$ " + " ".join(str(word) for word in command) + "\n")
        file.flush()
        try:
            child = subprocess.Popen(
                [str(word) for word in command],
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(step, tail=[str(error)], cure=cure) from None

        def read() -> None:
            for text in child.stdout:
                output.append(ESCAPES.sub("", text.rstrip("\n")))
                file.write(text)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        ticker = Ticker(step, output, quiet)
        ticker.start()
        try:
            in_time = wait_or_stop(child, limit)
        finally:
            reader.join(5)
            ticker.stop()
    if not in_time:
        raise Failed(f"{step}: stopped after its limit of {limit:.0f} s", tail=output[-20:], log=path, cure=cure)
    if child.returncode:
        raise Failed(f"{step} (exit code {child.returncode})", tail=interesting(output), log=path, cure=cure)
    if not quiet:
        line(f"{step}: done in {time.monotonic() - begun:.1f} s")
    return "\n".join(output)


def interesting(output: list[str]) -> list[str]:
    """The last lines, and before them the first lines that say 'error', for a compiler says the cause first."""
    tail = output[-15:]
    errors = [text for text in output[:-15] if re.search(r"\berror\b|\bfatal\b", text, re.IGNORECASE)][:6]
    return errors + (["..."] if errors else []) + tail


class Ticker(threading.Thread):
    """Shows that something goes on: the last line of output in place on a terminal, else one line now and then."""

    def __init__(self, step: str, output: list[str], quiet: bool) -> None:
        super().__init__(daemon=True)
        self.step, self.output, self.quiet = step, output, quiet
        self.over = threading.Event()
        self.live = sys.stdout.isatty() and not quiet

    def run(self) -> None:
        begun = time.monotonic()
        spoken = 0.0
        while not self.over.wait(0.2 if self.live else 1.0):
            passed = time.monotonic() - begun
            last = self.output[-1].strip() if self.output else ""
            if self.live:
                width = os.get_terminal_size().columns - 1
                print(
                    "\r\x1b[2K" + f"{'-/|'[int(passed * 4) % 3]} {self.step} {passed:.0f} s  {last}"[:width], end="", flush=True
                )
            elif not self.quiet and passed - spoken >= 20:
                spoken = passed
                line(f"{self.step} ... {last[:100]}")
        if self.live:
            print("\r\x1b[2K", end="", flush=True)

    def stop(self) -> None:
        self.over.set()
        self.join()
