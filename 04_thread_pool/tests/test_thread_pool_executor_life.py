"""The life of an Executor: shutdown, restart, losing it, exit, Ctrl-C, fork, workers that are killed, nothing left behind."""

from __future__ import annotations

import concurrent.futures as cf
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from tenfold_testing import THREADS, _child_environment, interrupt_child, run_child, run_threads
from thread_pool import choosing
from thread_pool.executor import Executor
from thread_pool.local import LocalBackend, LocalWorker

LIMIT = 30.0
no_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def is_here(name):
    try:
        choosing.open_backend(name)
    except (ImportError, RuntimeError) as error:
        return str(error)
    return None


@pytest.fixture(params=["threads", "serial", "interpreters", "processes"])
def backend(request):
    if request.param in ("interpreters", "processes"):
        missing = is_here(request.param)
        if missing:
            pytest.skip(missing)
    return request.param


@pytest.fixture(params=["threads", "interpreters", "processes"])
def parallel(request):
    if request.param != "threads":
        missing = is_here(request.param)
        if missing:
            pytest.skip(missing)
    return request.param


def square(x):
    return x * x


def child(code, backend="threads", run=run_child, **more):
    """Runs a child process that has an Executor class and the backend's name."""
    head = f"""
import concurrent.futures as cf, gc, os, signal, sys, threading, time
from thread_pool.executor import Executor, current_task
backend = {backend!r}
def square(x): return x * x
def nap(x):
    time.sleep(0.2)
    return x
def until_told(path):
    open(path, "w").close()
    end = time.monotonic() + 25
    while time.monotonic() < end:
        if current_task().cancelled():
            return "told"
        time.sleep(0.002)
    return "never told"
def there(path, limit=20):
    end = time.monotonic() + limit
    while not os.path.exists(path) and time.monotonic() < end:
        time.sleep(0.002)
    assert os.path.exists(path), path
"""
    return run(head + textwrap.dedent(code), **more)


def succeeded(done):
    assert done.returncode == 0 and "Traceback" not in done.stderr, (done.returncode, done.stdout, done.stderr[-3000:])
    return done.stdout.split()


def our_threads():
    return [each for each in threading.enumerate() if each.name.startswith("thread_pool-")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(our_threads())
    yield
    gc.collect()
    end = time.monotonic() + LIMIT
    while set(our_threads()) - before and time.monotonic() < end:
        time.sleep(0.005)
    assert not set(our_threads()) - before


# ---- shutdown, restart


def test_after_shutdown_calls_raise(backend):
    executor = Executor(2, backend)
    task = executor.submit(square, 3)
    executor.shutdown()
    executor.shutdown(wait=False)
    assert task.done() and task.result() == 9
    for call in (
        lambda: executor.submit(square, 1),
        lambda: executor.map(square, [1]),
        lambda: executor.map(square, []),
        lambda: executor.starmap(square, [(1,)]),
        lambda: executor.imap(square, [1]),
        lambda: executor.imap_unordered(square, [1]),
    ):
        with pytest.raises(RuntimeError, match="shutdown"):
            call()
    assert executor.info()["workers"] == 2


def test_restart(backend):
    executor = Executor(2, backend)
    for _ in range(3):
        assert list(executor.map(square, [1, 2])) == [1, 4]
        executor.restart()  # it runs: nothing changes
        executor.shutdown()
        executor.restart()
        assert executor.info()["requested"] == backend
    executor.shutdown()
    for _ in range(2):
        with executor as entered:
            assert entered is executor
            assert executor.submit(square, 5).result(LIMIT) == 25
        with pytest.raises(RuntimeError):
            executor.submit(square, 5)


def test_shutdown_waits_and_pending_calls_run():
    executor = Executor(1, "threads")
    gate, seen = threading.Event(), []
    tasks = [executor.submit(gate.wait, LIMIT)] + [executor.submit(seen.append, i) for i in range(20)]
    items = executor.map(square, range(10), chunksize=1)
    executor.shutdown(wait=False)
    assert not tasks[0].done()
    gate.set()
    executor.shutdown()
    assert all(each.done() for each in tasks) and seen == list(range(20))
    assert list(items) == [square(x) for x in range(10)]


def test_shutdown_cancels_pending_calls():
    executor = Executor(1, "threads")
    gate, begun, seen = threading.Event(), threading.Event(), []

    def first():
        begun.set()
        return gate.wait(LIMIT)

    running = executor.submit(first)
    tasks = [executor.submit(seen.append, i) for i in range(20)]
    items = executor.map(seen.append, range(10))
    assert begun.wait(LIMIT)
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(each.cancelled() for each in tasks) and not running.cancelled()
    gate.set()
    executor.shutdown()
    assert running.result(0) is True and seen == []
    with pytest.raises(cf.CancelledError):
        list(items)


def test_imap_after_shutdown_delivers_what_was_begun():
    executor = Executor(2, "threads")
    items = executor.imap(square, range(100))
    found = [next(items)]
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        for each in items:
            found.append(each)
    assert found == [square(x) for x in range(len(found))] and 1 <= len(found) <= 9


@pytest.mark.parametrize("workers", THREADS)
def test_shutdown_and_submit_from_many_threads(workers):
    for _ in range(20):
        executor = Executor(workers, "threads")

        def member(i):
            done = []
            try:
                for x in range(200):
                    done.append(executor.submit(square, x))
                    if i == 0 and x == 50:
                        executor.shutdown()
            except RuntimeError:
                pass
            return done

        tasks = [each for found in run_threads(4, member) for each in found]
        executor.shutdown()
        assert all(each.done() and not each.cancelled() for each in tasks)


# ---- nothing is left behind


def test_a_lost_executor_finishes_its_work_and_ends_its_threads():
    seen = []
    executor = Executor(2, "threads")
    tasks = [executor.submit(seen.append, i) for i in range(100)]
    del executor
    gc.collect()
    assert not cf.wait(tasks, LIMIT).not_done and sorted(seen) == list(range(100))
    items = Executor(2, "threads").imap(square, range(50))  # the iterator keeps it
    gc.collect()
    assert list(items) == [square(x) for x in range(50)]
    # no_thread_is_left() looks for the threads


def test_ten_thousand_calls_leave_nothing(backend):
    def state():
        gc.collect()
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0, threading.active_count()

    before = state()
    with Executor(2, backend) as executor:
        tasks = [executor.submit(square, x) for x in range(10_000 if backend != "serial" else 1000)]
        assert [each.result(60) for each in tasks] == [square(x) for x in range(len(tasks))]
        assert threading.active_count() <= before[1] + 2
        assert sum(executor.map(square, range(10_000), chunksize=10)) == sum(map(square, range(10_000)))
        router = executor._router
        assert all(each.queue.empty() and not each.pending and each.running == 0 for each in router.engines.values())
    assert state() == before


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc")
def test_memory_is_constant(parallel):
    done = child(
        """
        def used():
            gc.collect()
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        with Executor(2, backend) as executor:
            def work():
                for _ in range(10):
                    for task in [executor.submit(square, x) for x in range(200)]:
                        task.result()
                    list(executor.map(square, range(2000), chunksize=50))
            work()
            before = used()
            for _ in range(5):
                work()
            print(used() - before)
        """,
        parallel,
        limit=120,
    )
    (grown,) = succeeded(done)
    assert float(grown) < 3.0


def test_idle_workers_cost_no_time(parallel):
    with Executor(2, parallel) as executor:
        assert list(executor.map(square, range(4))) == [0, 1, 4, 9]
        before = time.process_time()
        threading.Event().wait(0.3)
        assert time.process_time() - before < 0.05


# ---- exit


def test_pending_calls_run_at_exit(parallel):
    done = child(
        """
        executor = Executor(2, backend)
        for i in range(6):
            executor.submit(nap, i).add_done_callback(lambda task: os.write(1, f"{task.result()} ".encode()))
        """,
        parallel,
    )
    assert sorted(succeeded(done)) == list("012345")


def test_exit_with_a_map_that_nobody_asked(tmp_path):
    done = child(
        """
        def say(x):
            os.write(1, f"{x} ".encode())
        executor = Executor(1, backend)
        executor.map(say, range(20), chunksize=1)
        lost = Executor(1, backend)
        lost.map(say, range(20, 40))
        del lost
        """
    )
    assert sorted(map(int, succeeded(done))) == list(range(40))


def test_calls_after_exit_has_begun_raise():
    done = child(
        """
        import atexit
        def late():
            try:
                executor.submit(square, 3)
            except RuntimeError as error:
                print("refused" if "shutdown" in str(error) else error)
        import atexit
        sys.modules["thread_pool"]
        from thread_pool import life
        atexit.unregister(life._at_exit)
        atexit.register(late)
        atexit.register(life._at_exit)
        executor = Executor(1, backend)
        executor.submit(square, 3)
        """
    )
    assert succeeded(done) == ["refused"]


@pytest.mark.parametrize("how", ["script", "stdin"])
def test_a_script_without_a_guard(parallel, how, tmp_path):
    code = f"""
from thread_pool.executor import Executor
print("begin")
def cube(x): return x ** 3
with Executor(2, {parallel!r}) as executor:
    print(*executor.map(cube, range(4)), executor.submit(lambda: cube(4)).result())
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    command = [sys.executable, str(script)] if how == "script" else [sys.executable, "-"]
    done = subprocess.run(
        command, input=code if how == "stdin" else None, capture_output=True, text=True, timeout=LIMIT, env=_child_environment()
    )
    assert done.returncode == 0 and done.stdout == "begin\n0 1 8 27 64\n", (done.stdout, done.stderr)


# ---- Ctrl-C


@pytest.mark.parametrize("call", ["map", "imap", "submit"])
def test_ctrl_c_stops_the_wait_drops_what_is_pending_and_tells_what_runs(call, parallel, tmp_path):
    path = str(tmp_path / "begun")
    wait = {
        "map": "list(executor.map(until_told, [path] * 50, chunksize=1))",
        "imap": "list(executor.imap(until_told, [path] * 50))",
        "submit": "[executor.submit(until_told, path) for _ in range(50)][0].result()",
    }[call]
    done = child(
        f"""
        path = {path!r}
        def say():
            there(path)
            print("ready")
        threading.Thread(target=say, daemon=True).start()
        with Executor(2, backend) as executor:
            try:
                {wait}
            except KeyboardInterrupt:
                print("interrupted")
                raise
        """,
        parallel,
        interrupt_child,
    )
    # Fifty calls of 25 s each: that it has ended shows that it did not run them.
    assert done.stdout.split() == ["interrupted"] and done.returncode != 0
    assert done.stderr.rstrip().endswith("KeyboardInterrupt"), done.stderr


def test_ctrl_c_without_with_drops_what_is_pending(parallel, tmp_path):
    path = str(tmp_path / "begun")
    done = child(
        f"""
        path = {path!r}
        executor = Executor(2, backend)
        tasks = [executor.submit(until_told, path) for _ in range(50)]
        there(path)
        print("ready")
        tasks[0].result()
        """,
        parallel,
        interrupt_child,
    )
    assert done.returncode != 0 and "\nKeyboardInterrupt\n" in done.stderr, done.stderr


def test_ctrl_c_in_a_serial_call_is_not_taken_for_its_exception():
    done = child(
        """
        def long(say):
            if say:
                print("ready")
            else:
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            while True:
                pass
        with Executor(1, "serial") as executor:
            try:
                print(list(executor.map(long, [True], on_error="return")))
            except KeyboardInterrupt:
                print("interrupted")
            try:
                executor.submit(long, False)
            except KeyboardInterrupt:
                print("again")
        """,
        run=interrupt_child,
    )
    assert done.stdout.split() == ["interrupted", "again"], (done.stdout, done.stderr)


def test_a_second_ctrl_c_at_exit_ends_the_process(parallel, tmp_path):
    path = str(tmp_path / "begun")
    done = child(
        f"""
        path = {path!r}
        def stubborn(path):
            open(path, "w").close()
            while True:
                time.sleep(0.01)
        executor = Executor(1, backend)
        executor.submit(stubborn, path)
        there(path)
        def again():
            time.sleep(1)
            while True:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.5)
        print("ready")
        try:
            time.sleep(20)
        except KeyboardInterrupt:
            threading.Thread(target=again, daemon=True).start()
            raise
        """,
        parallel,
        interrupt_child,
    )
    expected = {130} if parallel == "interpreters" else {1, 130, -2}
    assert done.returncode in expected and "KeyboardInterrupt" in done.stderr, (done.returncode, done.stderr)


def test_ctrl_c_while_workers_start():
    """It comes while the second thread is started, and leaves nothing that shutdown would wait for."""
    done = child(
        """
        real, count = threading.Thread.start, [0]
        def start(self):
            real(self)
            count[0] += 1
            if count[0] == 2:
                raise KeyboardInterrupt
        executor = Executor(3, "threads")
        threading.Thread.start = start
        try:
            with executor:
                list(executor.map(square, range(10), chunksize=1))
        except KeyboardInterrupt:
            threading.Thread.start = real
        with executor:
            print(*executor.map(square, range(3)))
        """
    )
    assert succeeded(done) == ["0", "1", "4"]


def test_what_waits_for_its_worker_to_be_made_is_cancelled(monkeypatch):
    """As Ctrl-C in `with` does it, before the first worker is there."""
    opening, go = threading.Event(), threading.Event()

    def slow(self):
        opening.set()
        assert go.wait(LIMIT)
        return LocalWorker()

    monkeypatch.setattr(LocalBackend, "open", slow)
    with Executor(1, "threads") as executor:
        first, second = executor.submit(square, 1), executor.submit(square, 2)
        assert opening.wait(LIMIT)
        with pytest.raises(KeyboardInterrupt), executor:
            go_on = threading.Timer(0.1, go.set)
            go_on.start()
            raise KeyboardInterrupt
        go_on.join()
        assert first.cancelled() and second.cancelled()


def test_another_signal_at_exit_ends_the_process(parallel, tmp_path):
    """A handler that raises while Python waits for a call: no crash, no hang."""
    path = str(tmp_path / "begun")
    done = child(
        f"""
        def long(path):
            open(path, "w").close()
            time.sleep(20)
        signal.signal(signal.SIGALRM, lambda *_: sys.exit(3))
        executor = Executor(2, backend)
        executor.submit(long, {path!r})
        there({path!r})
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        """,
        parallel,
    )
    assert done.returncode == (1 if parallel == "interpreters" else 0), (done.returncode, done.stderr)


# ---- fork


@no_fork
def test_fork_with_an_idle_pool(parallel):
    done = child(
        """
        executor = Executor(2, backend)
        assert list(executor.map(square, range(4), chunksize=1)) == [0, 1, 4, 9]
        for _ in range(3):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    # In the child the executor starts anew.
                    assert list(executor.map(square, range(4), chunksize=1)) == [0, 1, 4, 9]
                    assert executor.submit(square, 5).result(20) == 25
                    executor.shutdown()
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
            assert list(executor.map(square, range(4), chunksize=1)) == [0, 1, 4, 9]
        print("done")
        """,
        parallel,
    )
    assert succeeded(done) == ["done"]


@no_fork
def test_fork_with_a_busy_pool_waits_for_what_runs(parallel, tmp_path):
    path = str(tmp_path / "begun")
    done = child(
        f"""
        def long(path):
            open(path, "w").close()
            time.sleep(0.5)
            return "ended"
        executor = Executor(1, backend)
        running = executor.submit(long, {path!r})
        pending = executor.submit(square, 3)
        items = executor.map(square, range(3), timeout=20)
        there({path!r})
        child = os.fork()
        if child == 0:
            code = 1
            try:
                # What ran has ended, in the parent and before the fork; what was pending is the parent's.
                assert running.result(5) == "ended"
                try:
                    pending.result(5)
                except cf.BrokenExecutor as error:
                    assert "forked" in str(error)
                    try:
                        list(items)
                    except cf.BrokenExecutor:
                        assert executor.submit(square, 6).result(20) == 36
                        code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert running.result(20) == "ended" and pending.result(20) == 9 and list(items) == [0, 1, 4]
        print("done")
        """,
        parallel,
    )
    assert succeeded(done) == ["done"]


@no_fork
def test_calls_that_fork_do_not_wait_for_each_other():
    done = child(
        """
        both = threading.Barrier(2)
        def fork(i):
            both.wait(20)
            child = os.fork()
            if child == 0:
                os._exit(7)
            return os.WEXITSTATUS(os.waitpid(child, 0)[1])
        with Executor(2, "threads") as executor:
            print(*executor.map(fork, range(2), chunksize=1))
        """
    )
    assert succeeded(done) == ["7", "7"]


@no_fork
def test_fork_while_others_submit():
    done = child(
        """
        executor = Executor(2, backend)
        stop = threading.Event()
        bad = []
        def busy():
            while not stop.is_set():
                if list(executor.map(square, range(10), chunksize=1)) != [x * x for x in range(10)]:
                    bad.append(1)
        threads = [threading.Thread(target=busy) for _ in range(2)]
        for each in threads: each.start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                ok = list(executor.map(square, range(3), timeout=20)) == [0, 1, 4]
                os._exit(0 if ok else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for each in threads: each.join()
        assert not bad
        print("done")
        """
    )
    assert succeeded(done) == ["done"]


@no_fork
def test_a_call_on_its_way_to_a_worker_is_not_lost_in_the_child():
    """Another thread submits while this one forks: the child has the result, or hears that it is the parent's."""
    done = child(
        """
        executor = Executor(2, "threads")
        stop, last = threading.Event(), []
        def busy():
            while not stop.is_set():
                last[:] = [executor.submit(square, 3)]
                last[0].result(20)
        threads = [threading.Thread(target=busy) for _ in range(3)]
        for each in threads: each.start()
        for _ in range(60):
            child = os.fork()
            if child == 0:
                for each in list(last):
                    try:
                        each.result(10)
                    except cf.BrokenExecutor:
                        pass
                    except BaseException:
                        os._exit(1)
                os._exit(0)
            if os.waitpid(child, 0)[1]:
                print("lost")
        stop.set()
        for each in threads: each.join()
        print("done")
        """
    )
    assert succeeded(done) == ["done"]


# ---- workers that are killed, parents that are killed


def test_a_worker_process_that_is_killed(tmp_path):
    missing = is_here("processes")
    if missing:
        pytest.skip(missing)
    done = child(
        """
        def die(x):
            if x == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            return x
        with Executor(2, "processes") as executor:
            for chunksize in (None, 1, 4):
                found = list(executor.map(die, range(12), on_error="return", chunksize=chunksize))
                assert [x for x in found if isinstance(x, int)] == [x for x in range(12) if x != 5]
                assert isinstance(found[5].exception, cf.BrokenExecutor) and "SIGKILL" in str(found[5].exception), found
            try:
                executor.submit(die, 5).result()
            except cf.BrokenExecutor as error:
                assert "SIGKILL" in str(error)
                print(executor.submit(die, 4).result())
        """,
    )
    assert succeeded(done) == ["4"]


def test_a_chunk_whose_worker_dies_makes_no_slow_call_twice_but_those_that_had_ended(tmp_path):
    missing = is_here("processes")
    if missing:
        pytest.skip(missing)
    done = child(
        f"""
        path = {str(tmp_path / "made")!r}
        def made(x):
            with open(path, "a") as file:
                print(x, file=file)
            time.sleep(0.01)
            if x == 5:
                os._exit(3)
            return x
        with Executor(1, "processes") as executor:
            found = list(executor.map(made, range(12), chunksize=12, on_error="return"))
        assert [x for x in found if isinstance(x, int)] == [x for x in range(12) if x != 5], found
        assert "status 3" in str(found[5].exception), found
        print(*sorted(open(path).read().split(), key=int))
        """,
    )
    assert succeeded(done) == [str(x) for x in range(12) for _ in range(2 if x < 5 else 1)]


def test_a_worker_lives_on_after_an_exchange_that_failed(monkeypatch):
    missing = is_here("processes")
    if missing:
        pytest.skip(missing)
    from thread_pool import wire

    with Executor(1, "processes") as executor:
        assert executor.submit(abs, -1).result(LIMIT) == 1
        with monkeypatch.context() as patch:
            patch.setattr(wire.Channel, "receive", lambda *_: (_ for _ in ()).throw(MemoryError("once")))
            assert isinstance(executor.submit(abs, -2).exception(LIMIT), MemoryError)
        assert executor.submit(abs, -3).result(LIMIT) == 3


# ---- sub-interpreters


IN_A_SUB_INTERPRETER = """
from thread_pool.executor import Executor
with Executor(2, "serial") as executor:
    assert list(executor.map(abs, [-1, 2])) == [1, 2]
try:
    Executor(2, "interpreters")
except RuntimeError as error:
    assert "processes" in str(error), error
else:
    raise AssertionError("no RuntimeError")
with Executor(2, "processes") as executor:
    assert list(executor.map(abs, [-1, 2])) == [1, 2]
left = Executor(2, "processes")
assert left.submit(abs, -3).result() == 3
with Executor(2) as executor:
    assert list(executor.map(abs, [-1, 2] * 3000)) == [1, 2] * 3000
    assert executor.info()["backend"] == "processes", executor.info()
"""


def test_processes_that_a_module_starts_when_it_is_imported_do_not_start_more(tmp_path):
    (tmp_path / "starts_processes.py").write_text(
        "from thread_pool import Executor\n"
        "def f(x):\n    return x\n"
        "answer = Executor(1, backend='processes').submit(f, 1).exception(20)\n"
    )
    child = run_child(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import starts_processes as m; print(repr(m.answer))")
    assert child.stdout.startswith("RuntimeError('a module starts processes when it is imported"), child.stdout + child.stderr


@pytest.mark.skipif(sys.version_info < (3, 13), reason="_interpreters has its present form since 3.13")
def test_in_a_sub_interpreter():
    done = child(
        f"""
        import _interpreters
        interpreter = _interpreters.create()
        failure = _interpreters.run_string(interpreter, "import sys; sys.path[:] = " + repr(sys.path) + {IN_A_SUB_INTERPRETER!r})
        assert failure is None, failure
        _interpreters.destroy(interpreter)
        print("done")
        """,
        limit=60,
    )
    assert succeeded(done) == ["done"]
