"""The second half of lesson 04's tables: Python functions, by `@boost` and `Executor` and by what a reader would use instead.

Each side runs in a process of its own, which this file is too: `peer_python.py --peer NAME` reads a task per line, runs it on
a pool that it keeps, and answers with the seconds and a number to compare. bench_thread_pool.py adds the tables to its own.
"""

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORKERS = 2


# ---- the reader's functions: plain Python, each call milliseconds long


def is_prime(n):
    if n < 2:
        return False
    i = 2
    while i * i <= n:
        if n % i == 0:
            return False
        i += 1
    return True


def count_primes(limit):
    count = 0
    for n in range(2, limit):
        i = 2
        while i * i <= n:
            if n % i == 0:
                break
            i += 1
        else:
            count += 1
    return count


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def mandelbrot_row(y):
    row = []
    for x in range(160):
        c = complex(-2.0 + x * 3.0 / 160, -1.2 + y * 2.4 / 120)
        z, count = 0j, 0
        while count < 100 and z.real * z.real + z.imag * z.imag <= 4.0:
            z = z * z + c
            count += 1
        row.append(count)
    return row


def tiny(x):
    return x + 1


def same_buffer(view):
    return view


STEADY = {
    "is_prime": (is_prime, [1_000_000_007 + 2 * i for i in range(200)]),
    "count_primes": (count_primes, [3000 + 10 * i for i in range(64)]),
    "fib": (fib, [20] * 64),
    "mandelbrot_row": (mandelbrot_row, list(range(120))),
}


def digest(results) -> float:
    """A number that equal answers share."""
    total = 0
    for i, value in enumerate(results):
        total = (total * 31 + (sum(value) if isinstance(value, list) else int(value)) + i) % 1_000_003
    return float(total)


# ---- the sides


class Plain:
    def map(self, function, items):
        return list(map(function, items))


class Ours:
    def __init__(self, backend):
        from thread_pool import Executor

        self.pool = Executor(WORKERS, backend=backend)

    def map(self, function, items):
        return list(self.pool.map(function, items))

    def buffer(self, view):
        return self.pool.submit(same_buffer, view).result()


class Boosted:
    def __init__(self):
        from thread_pool import boost

        self.made = {}
        self.boost = boost(workers=WORKERS, backend="interpreters")

    def map(self, function, items):
        boosted = self.made.get(function) or self.made.setdefault(function, self.boost(function))
        return boosted(items)


class Futures:
    def __init__(self, pool, chunks=16):
        self.pool, self.chunks = pool, chunks

    def map(self, function, items):
        return list(self.pool.map(function, items, chunksize=max(1, len(items) // self.chunks) if self.chunks else 1))

    def buffer(self, view):
        return self.pool.submit(same_buffer, bytearray(view)).result()


class Multiprocessing:
    def __init__(self):
        import multiprocessing

        self.pool = multiprocessing.get_context("spawn").Pool(WORKERS)

    def map(self, function, items):
        return self.pool.map(function, items)


class Joblib:
    def map(self, function, items):
        import joblib

        return joblib.Parallel(n_jobs=WORKERS)(joblib.delayed(function)(item) for item in items)


def process_pool(**more):
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    return Futures(ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")), **more)


def thread_pool_executor():
    return Futures(ThreadPoolExecutor(WORKERS))


def interpreter_pool():
    from concurrent.futures import InterpreterPoolExecutor  # Python 3.14

    return Futures(InterpreterPoolExecutor(WORKERS))


SIDES = {
    "boost": Boosted,
    "plain": Plain,
    "interpreters": lambda: Ours("interpreters"),
    "processes": lambda: Ours("processes"),
    "threads": lambda: Ours("threads"),
    "ProcessPoolExecutor": process_pool,
    "ProcessPoolExecutor, unchunked": lambda: process_pool(chunks=None),
    "ThreadPoolExecutor": thread_pool_executor,
    "InterpreterPoolExecutor": interpreter_pool,
    "multiprocessing.Pool": Multiprocessing,
    "joblib": Joblib,
}


def serve(name):
    """The peer's side: `steady FUNCTION`, `steady FUNCTION*TIMES`, `tiny N` or `buffer BYTES` per line."""
    try:
        side = SIDES[name]()
    except ImportError as error:
        print("not installed:", error.name or error, flush=True)
        return
    for line in sys.stdin:
        task, what = line.split()
        try:
            if task == "buffer":
                block = bytearray(int(what))
                block[-1] = 7
                view = memoryview(block)
                start = time.perf_counter()
                back = side.buffer(view)
                took, answer = time.perf_counter() - start, back[-1] + len(back)
                del back, view
            else:
                what, _, times = what.partition("*")
                function, items = (tiny, list(range(int(what)))) if task == "tiny" else STEADY[what]
                items = items * int(times or 1)
                start = time.perf_counter()
                results = side.map(function, items)
                took, answer = time.perf_counter() - start, digest(results)
        except ImportError as error:
            print("not installed:", error.name or error, flush=True)
            return
        print(took, answer, flush=True)


# ---- cold: a script from its first import to its first result

SCRIPT = """
import time
begin = time.perf_counter()
{imports}

def is_prime(n):
    i = 2
    while i * i <= n:
        if n % i == 0:
            return False
        i += 1
    return n > 1

if __name__ == "__main__":
    {call}
    print(time.perf_counter() - begin, float(sum(result)), flush=True)
"""
POOL = "from concurrent.futures import ProcessPoolExecutor\nimport multiprocessing"
COLD = {
    "boost": ("from thread_pool import boost", "result = boost(workers=2, backend='interpreters')(is_prime)([7, 8])"),
    **{
        f"ProcessPoolExecutor, {method}": (
            POOL,
            f"result = list(ProcessPoolExecutor(2, mp_context=multiprocessing.get_context({method!r})).map(is_prime, [7, 8]))",
        )
        for method in ("spawn", "forkserver", "fork")
    },
    "joblib": ("import joblib", "result = joblib.Parallel(n_jobs=2)(joblib.delayed(is_prime)(n) for n in [7, 8])"),
    "InterpreterPoolExecutor": (
        "from concurrent.futures import InterpreterPoolExecutor",
        "result = list(InterpreterPoolExecutor(2).map(is_prime, [7, 8]))",
    ),
}


def recursion(side, n):
    """Seconds of fib(n) called plainly, boosted or not; the answer."""
    function = fib
    if side == "boosted":
        from thread_pool import boost

        globals()["fib"] = function = boost(fib)
    function(10)
    best = min(timed(function, n) for _ in range(3))
    return best, float(function(10))


def timed(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


# ---- the tables


def python_peer(bench, name, request):
    """A side as tenfold_bench.Remote."""

    class Peer(bench.Remote):
        def __call__(self):
            if self.process is None:
                command = [sys.executable, str(HERE / "peer_python.py"), "--peer", name]
                self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            try:
                return super().__call__()
            except RuntimeError as error:
                if "not installed" in str(error):  # as tenfold_bench.Remote says it of a program that was not built
                    raise FileNotFoundError(name) from None
                raise

        def close(self):
            if self.process is not None and self.process.poll() is not None:
                self.process = None  # it said "not installed", and ended
            super().close()

    return Peer(name, request)


def cold_peer(bench, name):
    class Script(bench.Remote):
        def __call__(self):
            imports, call = COLD[name]
            with tempfile.TemporaryDirectory() as folder:
                script = Path(folder) / "script.py"
                script.write_text(SCRIPT.format(imports=imports, call=call), encoding="utf-8")
                kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as installed
                done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, env=kept)
            if done.returncode:
                raise RuntimeError("not installed" if "ImportError" in done.stderr else done.stderr.strip()[-200:])
            took, answer = map(float, done.stdout.split())
            return took, answer

        def close(self):
            pass

    return Script(name, "cold")


def cases(bench):
    peers = ["interpreters", "processes", "threads", "plain", "ProcessPoolExecutor", "ThreadPoolExecutor"]
    peers += ["InterpreterPoolExecutor", "multiprocessing.Pool", "joblib"]
    for name, (_, items) in STEADY.items():
        yield bench.Case(
            "boost",
            f"@boost {name}",
            f"{len(items)} calls",
            "list",
            python_peer(bench, "boost", f"steady {name}"),
            {peer: python_peer(bench, peer, f"steady {name}") for peer in peers[1:]},
            threads=WORKERS,
        )
    cold = {name: cold_peer(bench, name) for name in COLD if name != "boost"}
    least = {"ProcessPoolExecutor, spawn": 1.5, "ProcessPoolExecutor, forkserver": 1.5, "joblib": 5}
    aims = {"ProcessPoolExecutor, spawn": 3, "ProcessPoolExecutor, forkserver": 3, "joblib": 10}
    ours = cold_peer(bench, "boost")
    yield bench.Case("cold", "import to first result", 2, "list", ours, cold, at_least=least, aim=aims, threads=WORKERS)
    tiny_peers = ["plain", "multiprocessing.Pool", "ProcessPoolExecutor", "ThreadPoolExecutor", "InterpreterPoolExecutor"]
    for n, others, least, aim in (
        (100_000, tiny_peers, {"multiprocessing.Pool": 1.6}, {"multiprocessing.Pool": 2}),
        (10_000, ["ProcessPoolExecutor, unchunked"], {"ProcessPoolExecutor, unchunked": 10}, None),
    ):
        yield bench.Case(
            "tiny",
            "x + 1",
            n,
            "list",
            python_peer(bench, "interpreters", f"tiny {n}"),
            {peer: python_peer(bench, peer, f"tiny {n}") for peer in others},
            at_least=least,
            aim=aim,
            threads=WORKERS,
            ops=n,
            note="per call",
        )
    size = 50_000_000
    for ours, note in (("interpreters", "no copy"), ("threads", "no copy"), ("processes", "one copy")):
        yield bench.Case(
            "buffer",
            f"submit(f, view), {ours}",
            "50 MB",
            "memoryview",
            python_peer(bench, ours, f"buffer {size}"),
            {"ProcessPoolExecutor": python_peer(bench, "ProcessPoolExecutor", f"buffer {size}")},
            threads=WORKERS,
            note=note,
        )


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def at_once(sides):
    """The seconds of each, all started together."""
    with ThreadPoolExecutor(len(sides)) as pool:
        return [seconds for seconds, _ in pool.map(lambda side: side(), sides)]


def gains(bench, quick):
    """`@boost` against plain calls, beside what a second thread gains in plain C++ in the same minute, and a second Python."""
    lines = []
    for name in STEADY:
        sides = {
            "plain": python_peer(bench, "plain", f"steady {name}*6"),  # steady state: runs of half a second
            "boost": python_peer(bench, "boost", f"steady {name}*6"),
            "one": bench.Remote("peer_ours", "loops 1"),
            "two": bench.Remote("peer_ours", "loops 2"),
        }
        pair = [python_peer(bench, "plain", f"steady {name}*3") for _ in range(2)]  # two programs, half of the calls each
        times = {side: [] for side in [*sides, "pair"]}
        try:
            for side in [*sides.values(), *pair]:
                side()
            for number in range(5 if quick else 11):
                for side in list(times) if number % 2 == 0 else list(reversed(times)):
                    times[side].append(max(at_once(pair)) if side == "pair" else sides[side]()[0])
        finally:
            for side in [*sides.values(), *pair]:
                side.close()
        gain, two = (median([a / b for a, b in zip(times["plain"], times[side])]) for side in ("boost", "pair"))
        native = median([a / b for a, b in zip(times["one"], times["two"])])
        share = gain / native
        lines.append(
            [
                name,
                bench.seconds(median(times["plain"])),
                bench.seconds(median(times["boost"])),
                f"{gain:.2f}×",
                f"{two:.2f}×",
                f"{native:.2f}×",
                f"{share:.2f}",
                "0.9",
                "met" if share >= 0.9 else "**MISSED**",
            ]
        )
    columns = [
        "function",
        "plain calls",
        "@boost",
        "gain",
        "two Pythons, half each",
        "C++, two threads",
        "share of it",
        "at least",
        "",
    ]
    return {"columns": columns, "rows": lines}


def recursions(quick):
    """A boosted function that calls itself, called with a number."""
    n, sides = 22 if quick else 25, {"plain": [], "boosted": []}
    for number in range(3 if quick else 7):
        for side in sides if number % 2 == 0 else reversed(sides):
            done = subprocess.run(
                [sys.executable, str(HERE / "peer_python.py"), "--recursion", side, str(n)],
                capture_output=True,
                text=True,
                check=True,
            )
            sides[side].append(float(done.stdout.split()[0]))
    ratios = sorted(b / a for a, b in zip(sides["plain"], sides["boosted"]))
    ratio = median(ratios)
    row = [f"fib({n})", f"{median(sides['plain']) * 1e3:.3g} ms", f"{median(sides['boosted']) * 1e3:.3g} ms"]
    row += [f"{ratio:.2f} [{ratios[0]:.2f} .. {ratios[-1]:.2f}]", "1.3", "met" if ratio <= 1.3 else "**MISSED**"]
    return {"columns": ["called plainly", "undecorated", "boosted", "boosted / undecorated", "at most", ""], "rows": [row]}


def tables(bench, quick):
    return {"gain": gains(bench, quick), "recursion": recursions(quick)}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        serve(sys.argv[2])
    elif sys.argv[1:2] == ["--recursion"]:
        print(*recursion(sys.argv[2], int(sys.argv[3])))
    else:
        sys.exit(f"usage: {os.path.basename(__file__)} --peer NAME; ./scripts/bench 04 prints the tables")
