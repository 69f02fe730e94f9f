"""gil_release from Python: answers, bad input, threads, Ctrl-C, exit, fork, and proof that the GIL is released."""

import json
import math
import pathlib
import random
import signal
import subprocess
import sys
import threading
import traceback

import gil_release
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold_testing import (
    HAS_GIL,
    THREADS,
    bound_classes,
    interrupt_child,
    refuses_what_was_never_made,
    run_child,
    run_threads,
    runs_without_gil,
)

COUNTS = [
    gil_release.compute_primes_blocking,
    gil_release.compute_primes_releasing,
    gil_release.compute_primes_segmented,
]
LIMIT = 200_000


def is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))


@pytest.fixture(scope="module")
def expected():
    """expected[n]: primes <= n, from Python's own arithmetic."""
    sieve = bytearray([1]) * LIMIT
    sieve[:2] = b"\0\0"
    for i in range(2, math.isqrt(LIMIT) + 1):
        if sieve[i]:
            sieve[i * i :: i] = bytes(len(range(i * i, LIMIT, i)))
    counts, total = [], 0
    for prime in sieve:
        total += prime
        counts.append(total)
    assert [n for n in range(200) if sieve[n]] == [n for n in range(200) if is_prime(n)]
    return counts


# ---- answers


@pytest.mark.parametrize("count", COUNTS)
def test_counts(count, expected):
    @settings(max_examples=250, deadline=None)
    @given(st.integers(-(2**63), LIMIT - 1))
    def check(n):
        assert count(n) == (expected[n] if n >= 0 else 0)

    check()
    for n in [*range(-2, 50), 65_534, 65_535, 65_536, 65_537, 65_538, LIMIT - 1]:
        assert count(n) == (expected[n] if n >= 0 else 0)
        assert type(count(n)) is int


@pytest.mark.parametrize("threads", THREADS)
def test_parallel_compute(threads, expected):
    @settings(max_examples=60, deadline=None)
    @given(st.integers(-10, LIMIT - 1))
    def check(n):
        counts = gil_release.parallel_compute(n, threads)
        step = max(n, 0) // threads
        ends = [(i + 1) * step for i in range(threads - 1)] + [max(n, 0)]
        assert counts == [expected[end] - expected[i * step] for i, end in enumerate(ends)]

    check()


def test_contract_example():
    assert gil_release.parallel_compute(10_000, 4) == [367, 302, 281, 279]
    assert gil_release.parallel_compute(n=3, thread_count=7) == [0] * 6 + [2]


def test_index_objects_are_ints():
    class Five:
        def __index__(self):
            return 5

    assert gil_release.compute_primes_releasing(Five()) == 3
    assert gil_release.compute_primes_releasing(True) == 0


def test_benchmark():
    blocking, releasing = gil_release.benchmark_gil_release(1000, 3)
    assert blocking > 0 and releasing > 0
    assert type(blocking) is float and type(releasing) is float


def test_measure_gil_cost():
    for contended in (False, True):
        cost = gil_release.measure_gil_cost(0.02, contended=contended)
        assert cost["samples"] >= 1
        assert 0 <= cost["min"] <= cost["p50"] <= cost["p90"] <= cost["p99"] <= cost["max"]


def test_find_break_even():
    found = gil_release.find_break_even(2, seconds=0.05)
    work = [row[1] for row in found["rows"]]
    assert work[0] < work[-1]
    assert all(blocking > 0 and releasing > 0 for _, _, blocking, releasing in found["rows"])
    assert found["pays_from_ns"] is None or found["pays_from_ns"] in work


@pytest.mark.skipif(not HAS_GIL, reason="needs a GIL that can be held")
def test_break_even_counts_all_that_the_blocking_threads_do():
    from gil_release.measure import _team_seconds

    n = 300_000
    alone, _ = gil_release.benchmark_gil_release(n, 5)
    # four threads that hold the GIL do ten calls each, one after the other: most of 40 calls' time, on any machine
    assert _team_seconds(gil_release.compute_primes_blocking, n, 10, 4) > 40 * (alone / 5) / 4


# ---- bad input


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (1.0, TypeError),
        ("7", TypeError),
        (None, TypeError),
        ([3], TypeError),
        (2**63, OverflowError),
        (-(2**63) - 1, OverflowError),
    ],
)
def test_bad_n(count, bad, error):
    with pytest.raises(error, match="^n "):
        count(bad)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: gil_release.parallel_compute(10, 0), ValueError, "thread_count must be at least 1, not 0"),
        (lambda: gil_release.parallel_compute(10, -3), ValueError, "thread_count"),
        (lambda: gil_release.parallel_compute(10, 10**9), ValueError, "thread_count must be at most 1024"),
        (lambda: gil_release.parallel_compute(10, 2**64), OverflowError, "thread_count"),
        (lambda: gil_release.parallel_compute(10, 2.0), TypeError, "thread_count must be an int, not float"),
        (lambda: gil_release.benchmark_gil_release(10, 0), ValueError, "iterations"),
        (lambda: gil_release.compute_primes_segmented(10**16 + 1), ValueError, "n must be at most"),
        (lambda: gil_release.sleep_releasing(-0.1), ValueError, "seconds"),
        (lambda: gil_release.sleep_releasing(math.nan), ValueError, "seconds"),
        (lambda: gil_release.sleep_releasing("1"), TypeError, "seconds must be a number, not str"),
        (lambda: gil_release.call_from_workers(print, -1, 1), ValueError, "calls"),
        (lambda: gil_release.call_from_workers(print, 1, 0), ValueError, "thread_count"),
        (lambda: gil_release.call_from_workers(None, 1, 1), TypeError, "function must be callable, not NoneType"),
        (lambda: gil_release.sleep_releasing(10**400), OverflowError, "seconds"),
        (lambda: gil_release.parallel_compute(10**16 + 1, 2), ValueError, "n must be at most"),
        (lambda: gil_release.GilObserver().run(10, threads=1024, pieces=10**6), ValueError, r"threads \* pieces"),
        (lambda: gil_release.Rendezvous(0), ValueError, "parties"),
        (lambda: gil_release.Rendezvous(1).meet(-1), ValueError, "timeout"),
        (lambda: gil_release.Rendezvous(1).meet(11, hold_gil=True), ValueError, "timeout must be at most 10"),
        (lambda: gil_release.GilObserver().run(10, threads=0), ValueError, "threads"),
        (lambda: gil_release.GilObserver().run(10, pieces=0), ValueError, "pieces"),
        (lambda: gil_release.measure_gil_cost(0), ValueError, "seconds"),
        (lambda: gil_release.measure_gil_cost("1"), TypeError, "seconds must be a number"),
        (lambda: gil_release.measure_gil_cost(0.1, released_for=2), ValueError, "released_for"),
        (lambda: gil_release.find_break_even(1), ValueError, "thread_count"),
        (lambda: gil_release.find_break_even(2.0), TypeError, "thread_count must be an int"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_index_that_raises():
    class Bad:
        def __index__(self):
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        gil_release.compute_primes_releasing(Bad())


def test_float_that_raises():
    class Bad:
        def __float__(self):
            raise TypeError("mine")

    with pytest.raises(TypeError, match="^mine$"):
        gil_release.sleep_releasing(Bad())


@pytest.mark.parametrize("kind", bound_classes(gil_release._core), ids=lambda kind: kind.__name__)
def test_objects_that_were_never_made(kind):
    refuses_what_was_never_made(kind)


# ---- the GIL


@pytest.mark.parametrize("parties", [2, 4, 7])
def test_rendezvous(parties):
    meeting = gil_release.Rendezvous(parties)
    assert run_threads(parties, lambda i: meeting.meet(30)) == [True] * parties


@pytest.mark.skipif(not HAS_GIL, reason="the control needs a GIL to hold")
def test_rendezvous_control():
    meeting = gil_release.Rendezvous(2)
    assert run_threads(2, lambda i: meeting.meet(0.3, hold_gil=True)) == [False, False]


@pytest.mark.parametrize(
    "call",
    [
        lambda: gil_release.compute_primes_releasing(300_000),
        lambda: gil_release.compute_primes_segmented(20_000_000),
        lambda: gil_release.parallel_compute(300_000, 2),
        lambda: gil_release.sleep_releasing(0.02),
        lambda: gil_release.Rendezvous(2).meet(0.02),
        lambda: gil_release.GilObserver().run(20_000, threads=2, pieces=2),
        lambda: gil_release.call_from_workers(lambda i: i, 100, 2),
    ],
)
def test_releases_the_gil(call):
    assert runs_without_gil(call)


@pytest.mark.skipif(not HAS_GIL, reason="the control needs a GIL to hold")
def test_blocking_holds_the_gil():
    assert not runs_without_gil(lambda: gil_release.compute_primes_blocking(300_000), attempts=3)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("count", COUNTS)
def test_from_many_threads(count, threads, expected):
    sizes = [random.Random(i).randrange(LIMIT) for i in range(40)]
    for counts in run_threads(threads, lambda i: [count(n) for n in sizes]):
        assert counts == [expected[n] for n in sizes]


# ---- callbacks


@pytest.mark.parametrize("threads", THREADS)
def test_call_from_workers(threads):
    assert gil_release.call_from_workers(lambda i: i * i, 500, threads) == [i * i for i in range(500)]
    assert gil_release.call_from_workers(print, 0, threads) == []


@pytest.mark.parametrize("threads", THREADS)
def test_call_from_workers_raises_the_first_error_with_its_traceback(threads):
    def fails_from_30_on(i):
        if i >= 30:
            raise LookupError(i)

    with pytest.raises(LookupError) as caught:
        gil_release.call_from_workers(fails_from_30_on, 500, threads)
    assert caught.value.args == (30,)
    assert "fails_from_30_on" in "".join(traceback.format_exception(caught.type, caught.value, caught.tb))


def test_call_from_workers_runs_in_native_threads():
    names = set(gil_release.call_from_workers(lambda i: threading.get_ident(), 50, 4))
    assert threading.get_ident() not in names


def test_call_from_workers_may_nest():
    inner = lambda i: sum(gil_release.call_from_workers(lambda k: k, i, 2))  # noqa: E731
    assert gil_release.call_from_workers(inner, 10, 3) == [sum(range(i)) for i in range(10)]


# ---- the observer


@pytest.mark.parametrize("release", [True, False])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_observer(release, threads):
    observer = gil_release.GilObserver()
    assert observer.intervals() == []
    observer.run(2000, threads=threads, pieces=5, release=release)
    rows = observer.intervals()
    assert {row[0] for row in rows} == {f"thread {i}" for i in range(threads)}
    assert {row[1] for row in rows} <= {"held", "waiting", "free"}
    held = sorted((begin, end) for _, state, begin, end in rows if state == "held")
    assert all(a_end <= b_begin for (_, a_end), (b_begin, _) in zip(held, held[1:]))  # one holder at a time
    pieces = [row for row in rows if row[1] == "held"]
    assert len(pieces) == threads * 5 * (2 if release else 1)  # releasing takes it back once per piece
    events = json.loads(observer.chrome_trace())["traceEvents"]
    assert sum(event["ph"] == "X" for event in events) == len(rows)
    assert sum(event["ph"] == "M" for event in events) == threads


# ---- Ctrl-C, exit, fork, sub-interpreters: in child processes, with a limit

LONG_CALLS = [
    "gil_release.compute_primes_blocking(2**62)",
    "gil_release.compute_primes_releasing(2**62)",
    "gil_release.compute_primes_segmented(10**16)",
    "gil_release.parallel_compute(10**14, 3)",
    "gil_release.sleep_releasing(float('inf'))",
    "gil_release.Rendezvous(2).meet(1e9)",
    "gil_release.Rendezvous(2).meet(float('inf'))",
    "gil_release.GilObserver().run(10**9, threads=2, pieces=10**5)",
    "gil_release.GilObserver().run(10**4, threads=2, pieces=5 * 10**5, release=False)",
    "gil_release.benchmark_gil_release(10**5, 10**9)",
    "gil_release.call_from_workers(lambda i: i, 10**7, 2)",
    "gil_release.call_from_workers(lambda i: time.sleep(0.001), 10**6, 3)",
]


@pytest.mark.parametrize("call", LONG_CALLS)
def test_ctrl_c(call):
    child = interrupt_child(f"""
        import time, gil_release
        print("ready")
        try:
            {call}
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert child.stdout == "interrupted\n", child.stderr
    assert child.returncode == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an interval timer")
@pytest.mark.parametrize("call", LONG_CALLS)
def test_a_signal_handler_that_raises_at_any_moment(call):
    """Also while the call itself runs Python code, to find out whether it is in the main thread."""
    child = run_child(f"""
        import signal, time, gil_release
        def handler(*args):
            raise LookupError("from the handler")
        signal.signal(signal.SIGALRM, handler)
        for delay in (0.001, 0.049, 0.0499, 0.05, 0.0501, 0.06):
            signal.setitimer(signal.ITIMER_REAL, delay)
            try:
                {call}
            except LookupError as error:
                print(error)
    """)
    assert child.stdout == "from the handler\n" * 6, child.stderr


@pytest.mark.parametrize("call", LONG_CALLS)
def test_exit_during_a_call_in_a_daemon_thread(call):
    child = run_child(f"""
        import threading, time, gil_release
        def work():
            started.set()
            {call}
        started = threading.Event()
        threading.Thread(target=work, daemon=True).start()
        started.wait()
        time.sleep(0.1)
        print("leaving", flush=True)
    """)
    assert (child.returncode, child.stdout) == (0, "leaving\n"), child.stderr


def test_exit_while_a_daemon_thread_asks_whether_it_is_the_main_one():
    """Its look for signals runs Python code, in which the GIL may go to the thread that ends Python."""

    def leave(i):
        return run_child(f"""
            import threading, time, gil_release
            threading.Thread(target=gil_release.compute_primes_blocking, args=(2**62,), daemon=True).start()
            time.sleep(0.1 + 0.01 * {i})
            print("leaving", flush=True)
        """)

    children = [child for _ in range(3) for child in run_threads(8, leave)]
    assert [(child.returncode, child.stdout) for child in children] == [(0, "leaving\n")] * 24


@pytest.mark.parametrize("call", ["compute_primes_releasing(5000)", "compute_primes_blocking(5000)", "sleep_releasing(0.001)"])
def test_exit_while_daemon_threads_come_and_go(call):
    for _ in range(3):
        child = run_child(f"""
            import threading, time, gil_release
            def work():
                while True:
                    gil_release.{call}
            for _ in range(4):
                threading.Thread(target=work, daemon=True).start()
            end = time.monotonic() + 0.2
            while time.monotonic() < end:
                pass
            print("leaving", flush=True)
        """)
        assert (child.returncode, child.stdout) == (0, "leaving\n"), child.stderr


@pytest.mark.parametrize(
    "call",
    [
        "compute_primes_releasing(5 * 10**6)",
        "parallel_compute(10**5, 2)",
        "call_from_workers(abs, 3, 2)",
        "GilObserver().run(10)",
    ],
)
def test_a_call_while_the_interpreter_shuts_down(call):
    """The answer or a RuntimeError, never a hang."""
    child = run_child(f"""
        import gil_release
        class Last:
            def __del__(self, gil_release=gil_release, print=print, RuntimeError=RuntimeError, abs=abs):
                try:
                    print("answer", bool(gil_release.{call} or True))
                except RuntimeError as error:
                    print("RuntimeError", "shutting down" in str(error))
        import sys
        sys.modules["last"] = Last()
    """)
    assert child.returncode == 0 and child.stdout in ("answer True\n", "RuntimeError True\n"), child.stdout + child.stderr


def test_exit_while_an_error_that_nobody_takes_is_destroyed():
    """A callback's second error is dropped; its end runs Python code that lets go of the GIL while Python leaves."""
    child = run_child("""
        import sys, threading, time, gil_release
        inside, failed = threading.Event(), threading.Event()
        class Payload:
            def __del__(self):
                while True:
                    inside.set()
                    gil_release.compute_primes_releasing(20_000)
        def function(i):
            if i == 1:
                failed.set()
                raise ValueError(Payload())
            failed.wait()
            time.sleep(0.2)
            raise ValueError(i)
        class Slow:
            def __del__(self, sleep=time.sleep, write=sys.stdout.write):
                sleep(0.3)
                write("left")
        threading.Thread(target=lambda: gil_release.call_from_workers(function, 2, 2), daemon=True).start()
        inside.wait()
        time.sleep(0.1)
        sys.keep = Slow()
    """)
    assert (child.returncode, child.stdout) == (0, "left"), child.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_fork_during_a_call():
    child = run_child("""
        import os, threading, time, warnings, gil_release
        warnings.simplefilter("ignore")
        thread = threading.Thread(target=gil_release.sleep_releasing, args=(0.5,))
        thread.start()
        time.sleep(0.1)
        pid = os.fork()
        if pid == 0:
            ok = gil_release.parallel_compute(10_000, 4) == [367, 302, 281, 279]
            os._exit(0 if ok else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        thread.join()
    """)
    assert (child.returncode, child.stdout) == (0, "0\n"), child.stderr


@pytest.mark.skipif(sys.version_info < (3, 12), reason="own-GIL sub-interpreters came with CPython 3.12")
def test_in_a_sub_interpreter():
    module = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    child = run_child(f"""
        import sys, {module} as interpreters, gil_release
        name = interpreters.create()
        result = interpreters.run_string(name, '''if True:
            import sys; sys.path[:] = {[p for p in sys.path if p]!r}
            import gil_release
            assert gil_release.parallel_compute(10_000, 4) == [367, 302, 281, 279]
            assert gil_release.call_from_workers(lambda i: i * i, 5, 2) == [0, 1, 4, 9, 16]
            gil_release.GilObserver().run(1000, threads=2, pieces=2)
        ''')
        print(result)
        interpreters.destroy(name)
    """)
    assert (child.returncode, child.stdout) == (0, "None\n"), child.stdout + child.stderr


def test_importing_needs_no_numpy():
    child = run_child("import gil_release, sys; print('numpy' in sys.modules)")
    assert child.stdout == "False\n"


def test_every_public_name_has_a_docstring():
    for name in gil_release.__all__:
        assert getattr(gil_release, name).__doc__.strip()


if __name__ == "__main__":
    sys.exit(subprocess.call([sys.executable, "-m", "pytest", "-q", str(pathlib.Path(__file__))]))
