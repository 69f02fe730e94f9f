"""The worker processes of thread_pool: frames, shared memory, death, Ctrl-C, forks, what they leave behind."""

import array
import collections
import functools
import gc
import math
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass

import pytest
from tenfold_testing import THREADS, _child_environment, run_child, run_threads, runs_without_gil
from thread_pool import processes, wire
from thread_pool.processes import ProcessBackend, WorkerDied

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets in Python on Windows")
BACKEND = ProcessBackend()
np = pytest.importorskip("numpy")
numbers = iter(range(1, 1 << 60))
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are counted in /proc")


def calls_of(*arguments):
    return [(each if isinstance(each, tuple) else (each,), None) for each in arguments]


def run(worker, function, *arguments, stop=False):
    """(values, failures) of calls with these arguments; a tuple is several."""
    return worker.run(BACKEND.pack_function(function), BACKEND.pack_calls(calls_of(*arguments), 0), next(numbers), stop)


def one(worker, function, *args):
    """The value of one call; what it raised is raised."""
    (value,), failures = run(worker, function, args)
    if failures:
        raise failures[0]
    return value


def descriptors():
    gc.collect()  # what earlier tests left
    return sorted(os.listdir("/proc/self/fd"))


@pytest.fixture(scope="module")
def worker():
    made = BACKEND.open()
    yield made
    made.close()


@pytest.fixture
def fresh():
    made = BACKEND.open()
    yield made
    made.close()


# ---- frames


_made = []


def channels():
    import _socket

    pair = [wire.Channel(each) for each in _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)]
    _made.extend(pair)
    return pair


@pytest.fixture(autouse=True)
def close_channels():
    yield
    while _made:
        _made.pop().socket.close()


BLOBS = [[], [b""], [None], [b"x" * 10, None, b"", b"y"], [bytes(range(256)) * 1000, b"z" * 65_536], [b"q" * 3_000_000, None]]


@pytest.mark.parametrize("blobs", BLOBS, ids=lambda blobs: str([each and len(each) for each in blobs]))
@pytest.mark.parametrize("first", [8, 9, 100, 1 << 16])
def test_frames_arrive_whole(blobs, first):
    sender, receiver = channels()
    plain = (1, "two", b"three", None, [4.0, ("five",)])
    thread = threading.Thread(target=lambda: [sender.send(plain, blobs) for _ in range(3 if first == 8 else 1)])
    thread.start()
    for _ in range(3 if first == 8 else 1):
        got, arrived, files = receiver.receive(first)
        assert (got, [each if each is None else bytes(each) for each in arrived], files) == (plain, blobs, [])
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_partial_reads(piece):
    """A peer that sends a few bytes at a time."""

    class Recorder:
        def __init__(self):
            self.bytes = b""

        def sendmsg(self, parts, rights, flags):
            self.bytes += b"".join(parts)[:5]  # a short write
            return 5

        def sendall(self, data, flags):
            self.bytes += data

        def setsockopt(self, *_):
            pass

    record = Recorder()
    blobs = [b"a" * 700, None, bytes(range(256))]
    wire.Channel(record).send(("head", 7), blobs)
    sender, receiver = channels()

    def dribble():
        for at in range(0, len(record.bytes), piece):
            sender.socket.sendall(record.bytes[at : at + piece])

    thread = threading.Thread(target=dribble)
    thread.start()
    plain, got, _ = receiver.receive()
    thread.join(30)
    assert plain == ("head", 7) and [each and bytes(each) for each in got] == blobs


def test_a_frame_that_breaks_off():
    for cut in (0, 3, 20, 500):
        a, b = channels()
        a.socket.sendall(((30).to_bytes(8, "little") + b"x" * 1000)[:cut])
        a.socket.close()
        with pytest.raises((EOFError, ValueError)):
            b.receive()


@needs_proc
def test_descriptors_travel():
    before = descriptors()
    a, b = channels()
    for _ in range(20):
        file = wire.shared_file()
        wire.write(file, b"hello", 0)
        a.send((), [], [file, file])
        os.close(file)
        _, _, got = b.receive()
        assert len(got) == 2 and not any(map(os.get_inheritable, got))
        assert bytes(wire.open_map(got[0], 0, 5)) == b"hello"
        for each in got:
            os.close(each)
    file = wire.shared_file()
    a.send((), [], [file])  # nobody takes it
    os.close(file)
    a.socket.close()
    b.socket.close()
    assert descriptors() == before


def memory_for(size):
    try:
        pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return False
    return pages > size


@pytest.mark.skipif(os.environ.get("TENFOLD_STRESS") != "long", reason="TENFOLD_STRESS=long: needs 7 GiB")
@pytest.mark.skipif(not memory_for(7 << 30), reason="needs 7 GiB")
def test_frames_of_more_than_2_gib():
    import mmap

    size = (1 << 31) + (1 << 20) + 3
    huge = mmap.mmap(-1, size)
    huge[-3:] = b"end"
    a, b = channels()
    thread = threading.Thread(target=a.send, args=((1,), [memoryview(huge), b"after"]))
    thread.start()
    _, got, _ = b.receive()
    thread.join(60)
    assert len(got[0]) == size and bytes(got[0][-3:]) == b"end" and bytes(got[1]) == b"after"


# ---- answers


@dataclass
class Point:
    x: float
    y: "list"


Pair = collections.namedtuple("Pair", "a b")


class Base:
    factor = 3

    def times(self, x):
        return self.factor * x

    @classmethod
    def named(cls, x):
        return cls.__name__, x

    @staticmethod
    def plain(x):
        return x


VALUES = [1, -1.5, True, None, "ä\ud800", b"\0x", 2**5000, -(10**400), math.inf, 1j, ..., range(3), (1, (2,)), [1, [2]]]
VALUES += [{"a": {1, 2}}, frozenset("ab"), bytearray(b"x"), Point(1.0, [2]), Pair(1, "b"), Ellipsis, int, len, math.sin, Point]


def test_values_of_every_kind(worker):
    values, failures = run(worker, lambda x: x, *[(each,) for each in VALUES])
    assert values == VALUES and not failures
    assert [type(each) for each in values] == [type(each) for each in VALUES]
    nan, _ = run(worker, lambda x: (x, -0.0), math.nan)
    assert math.isnan(nan[0][0]) and math.copysign(1, nan[0][1]) == -1


def test_callables_of_every_kind(worker):
    outer = 5

    def local(x):
        return x + outer

    def recursive(n):
        return 1 if n < 2 else n * recursive(n - 1)

    def generator(n):
        return list(i * outer for i in range(n))

    kinds = [local, recursive, generator, lambda x: x * outer, functools.partial(local), Base().times, Base.named, Base.plain]
    kinds += [
        math.factorial,
        str,
        Base().plain,
        functools.partial(pow, 2),
        [].__add__ and (5).__add__,
        functools.lru_cache(local),
    ]
    for function in kinds:
        assert one(worker, function, 4) == function(4), function


def test_keywords_and_order(worker):
    calls = [((i,), {"base": i % 3 + 7}) for i in range(50)] + [((1, 2), None), ((), {"x": 3})]

    def function(x, y=0, base=1):
        return x, y, base

    values, failures = worker.run(BACKEND.pack_function(function), BACKEND.pack_calls(calls, 0), next(numbers), False)
    assert values == [function(*args, **kwargs or {}) for args, kwargs in calls] and not failures


def test_errors(worker):
    values, failures = run(worker, lambda x: 1 / x, 1, 0, 2, 0)
    assert values == [1.0, None, 0.5, None] and {i: type(each) for i, each in failures.items()} == {
        1: ZeroDivisionError,
        3: ZeroDivisionError,
    }
    assert "1 / x" in str(failures[1].__cause__)
    values, failures = run(worker, lambda x: 1 / x, 1, 0, 2, 0, stop=True)
    assert len(values) == 2 and list(failures) == [1]
    for raised in (SystemExit(3), KeyboardInterrupt("k"), StopIteration(4), LookupError("a", 1)):

        def function(_, raised=raised):
            raise raised

        with pytest.raises(type(raised)) as caught:
            one(worker, function, 0)
        assert caught.value.args == raised.args
    assert one(worker, lambda x: x, 1) == 1  # the worker lives on


def test_what_cannot_travel(worker):
    file = open(os.devnull)  # noqa: SIM115
    for unable in (file, memoryview(b"abcdef")[::2], threading.Lock(), (i for i in [])):
        with pytest.raises(TypeError) as caught:
            BACKEND.pack_calls(calls_of((1,), (2, unable), (3,)), 10)
        assert caught.value.position == 1
        with pytest.raises(TypeError):
            BACKEND.pack_function(lambda unable=unable: unable)
    with pytest.raises(TypeError, match="'T"):
        BACKEND.pack_calls(calls_of((memoryview(np.zeros(9, "i4,f8")),)), 0)
    file.close()
    _, failures = run(worker, lambda x: threading.Lock(), 0)
    assert type(failures[0]) is TypeError and "lock" in str(failures[0])


@pytest.mark.parametrize("threads", THREADS)
def test_a_worker_per_thread(threads):
    def member(i):
        worker = BACKEND.open()
        try:
            return [one(worker, lambda x, i=i: (os.getpid(), x * i), k)[1] for k in range(20)], one(
                worker, lambda _: os.getpid(), 0
            )
        finally:
            worker.close()
            worker.close()

    found = run_threads(threads, member)
    assert [each[0] for each in found] == [[k * i for k in range(20)] for i in range(threads)]
    assert len({each[1] for each in found} | {os.getpid()}) == threads + 1


# ---- memory


SHAPES = [(0,), (1,), (5, 3), (8191,), (8192,), (8193,), (300, 70), (0, 4), ()]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_arrays_and_views(worker, shape):
    rng = np.random.default_rng(1)
    for kind in ("f8", "f4", "i2", "u1", "?", ">i4", "c16", "i4,f8", "M8[s]", "U3", "O"):
        data = np.zeros(shape, kind)
        if kind not in ("i4,f8", "M8[s]"):
            data[...] = rng.normal(size=shape) * 100 % 50
        for each in (data, np.asfortranarray(data), data.T, data[::2] if data.ndim else data):
            back = one(worker, lambda x: x, each)
            dtype = pickle.loads(pickle.dumps(each, 5)).dtype  # NumPy forgets the byte order of what has gaps
            assert (back.dtype, back.shape) == (dtype, each.shape), kind
            assert np.array_equal(back, each), kind
            assert kind == "O" or back.tobytes() == each.astype(dtype).tobytes(), kind
        if kind not in ("i4,f8", "M8[s]", "U3", "O"):
            view = memoryview(data)

            def look(v):
                return v.format, v.shape, v.readonly, v.tobytes()

            assert one(worker, look, view) == look(view)
            back = one(worker, lambda x: x, view)
            assert look(back) == look(view)


@pytest.mark.parametrize("size", [10, wire.LARGE - 1, wire.LARGE, 1_000_000])
def test_readonly_and_writable(worker, size):
    def change(view):
        if view.readonly:
            return None
        view[0] = 7
        return bytes(view[:2])

    assert one(worker, change, memoryview(bytes(size))) is None
    mine = bytearray(size)
    assert one(worker, change, memoryview(mine)) == b"\7\0" and mine[0] == 0
    arrays = [np.zeros(size), np.frombuffer(bytes(size), "u1")]
    assert one(worker, lambda *a: [each.flags.writeable for each in a], *arrays) == [True, False]
    for each in (array.array("d", [1.5] * size), bytearray(b"x" * size)):
        assert one(worker, lambda x: x, each) == each


def test_one_copy_there_and_none_back(worker, monkeypatch):
    data = np.arange(1_000_000.0)
    written = []
    write = wire.write
    monkeypatch.setattr(wire, "write", lambda file, view, offset: (written.append(view.nbytes), write(file, view, offset)))

    def keep(a):
        sys.kept = a
        return a[10:], a.reshape(1000, 1000), memoryview(a)[5:]

    part, whole, view = one(worker, keep, data)
    assert written == [data.nbytes]
    assert np.array_equal(part, data[10:]) and np.array_equal(whole.ravel(), data) and view[0] == 5.0

    def poke(_):
        sys.kept[20] = -1.0

    one(worker, poke, 0)
    assert part[10] == whole[0, 20] == view[15] == -1.0  # what came back is the memory that the worker has
    assert data[20] == 20.0


def test_each_call_has_its_own(worker):
    data = np.zeros(20_000)

    def add(a):
        a += 1
        return a

    packed = BACKEND.pack_calls([((data,), None)] * 4, 0)
    data += 5  # not seen: it was packed
    values, _ = worker.run(BACKEND.pack_function(add), packed, next(numbers), False)
    assert all(np.array_equal(each, np.ones(20_000)) for each in values)
    first, second = one(worker, lambda a: (a, a), data)
    assert first is second


@needs_proc
def test_many_packed_calls_have_few_descriptors(fresh):
    before = descriptors()
    function = BACKEND.pack_function(lambda a: (a[0], a[-1], a.nbytes))
    sizes = [9_000 + 700 * (i % 50) for i in range(400)]
    packed = [BACKEND.pack_calls([((np.full(size, float(i)),), None)], 0) for i, size in enumerate(sizes)]
    assert len(descriptors()) - len(before) < processes._MOST_FILES + 10
    for i, each in enumerate(packed):
        (value,), _ = fresh.run(function, each, next(numbers), False)
        assert value == (i, i, sizes[i] * 8)
    del packed, each
    assert descriptors() == before


@needs_proc
def test_results_that_are_kept(fresh):
    before = descriptors()
    made = [one(fresh, lambda i: np.full(10_000, i), i) for i in range(400)]
    assert len(descriptors()) - len(before) <= (0 if sys.version_info >= (3, 13) else wire._MOST_MAPS)
    assert [int(each[-1]) for each in made] == list(range(400))
    same = [one(fresh, lambda a: a, each) for each in made]
    assert all(map(np.array_equal, same, made))
    assert one(fresh, lambda _: len(os.listdir("/proc/self/fd")), 0) < 30
    del made, same
    assert descriptors() == before


# ---- what the process is


def in_script(code, *flags, folder=None, stdin=None, limit=60):
    return subprocess.run(
        [sys.executable, *flags],
        input=stdin,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=limit,
        env=_child_environment(),
    )


HEAD = """
from thread_pool.processes import ProcessBackend, WorkerDied
backend = ProcessBackend()
def one(worker, function, *args, task=[0]):
    task[0] += 1
    (value,), failures = worker.run(backend.pack_function(function), backend.pack_calls([(args, None)], 0), task[0], False)
    if failures:
        raise failures[0]
    return value
"""


@pytest.mark.parametrize("how", ["file", "-c", "-"])
def test_main_without_a_guard_is_not_imported(how, tmp_path):
    code = HEAD + textwrap.dedent(
        """
        print("imported")
        import sys
        class Mine:
            def __init__(self, x): self.x = x
        def twice(x): return Mine(2 * x.x)
        worker = backend.open()
        print(one(worker, twice, Mine(21)).x)
        print(one(worker, lambda: sys.argv == ARGV and sys.modules["__main__"].__dict__.get("twice")))
        worker.close()
        """
    ).replace("ARGV", "[%r]" % (str(tmp_path / "a.py") if how == "file" else how))
    path = tmp_path / "a.py"
    path.write_text(code)
    child = in_script(
        code, *([str(path)] if how == "file" else ["-c", code] if how == "-c" else ["-"]), stdin=code if how == "-" else ""
    )
    assert (child.stdout.split(), child.returncode) == (["imported", "42", "None"], 0), child.stderr


def test_the_readers_folder_shadows_nothing(tmp_path):
    for name in ("marshal", "mmap", "fcntl", "pickle", "socket", "struct", "traceback", "worker"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    code = "import sys; sys.path[:] = [p for p in sys.path if p]\n" + HEAD + "print(one(backend.open(), lambda x: x + 1, 1))"
    child = in_script(code, "-c", code, folder=tmp_path)
    assert (child.stdout, child.stderr, child.returncode) == ("2\n", "", 0)


def test_the_interpreters_own_options():
    flags = ["-W", "error::UserWarning", "-W", "ignore::ImportWarning", "-X", "utf8", "-O", "-B", "-s", "-X", "faulthandler"]
    code = HEAD + textwrap.dedent(
        """
        import sys
        def what(): return tuple(sys.flags), sys.warnoptions, sys._xoptions
        found = one(backend.open(), what)
        assert found == what(), (found, what())
        print(*found[1])
        """
    )
    child = in_script(code, *flags, "-c", code)
    assert child.stdout == "error::UserWarning ignore::ImportWarning\n", child.stderr


def test_settings_follow(worker):
    def deep(n):
        return 0 if n == 0 else 1 + deep(n - 1)

    before = sys.getrecursionlimit()
    with pytest.raises(RecursionError):
        one(worker, deep, before + 1000)
    sys.setrecursionlimit(before + 3000)
    try:
        assert one(worker, deep, before + 1000) == before + 1000
    finally:
        sys.setrecursionlimit(before)


def test_a_folder_without_a_root_is_the_one_that_the_parent_stands_in(worker, tmp_path, monkeypatch):
    one(worker, len, "")  # it stands where we stand now
    (tmp_path / "found_from_here.py").write_text("def f(x): return ('found', x)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    import found_from_here

    assert one(worker, found_from_here.f, 1) == ("found", 1)


def test_standard_streams():
    child = run_child(
        HEAD
        + textwrap.dedent(
            """
            import os, sys
            worker = backend.open()
            def talk(i):
                print("out", i)
                print("err", i, file=sys.stderr)
                return sys.stdin.read()
            for i in range(3):
                assert one(worker, talk, i) == ""
                print("got", i, flush=True)
            worker.close()
            """
        ),
        input="not for the worker",
    )
    assert child.stdout.split() == ["out", "0", "got", "0", "out", "1", "got", "1", "out", "2", "got", "2"]
    assert child.stderr.split() == ["err", "0", "err", "1", "err", "2"]


@pytest.mark.parametrize("closed", ["0, 1", "0, 3", "1, 3", "1, 2"])
def test_a_parent_without_standard_streams(closed, tmp_path):
    code = HEAD + textwrap.dedent(
        f"""
        import os
        os.closerange({closed})
        worker = backend.open()
        found = one(worker, lambda x: (print("lost"), x)[1], b"x" * 100_000)
        worker.close()
        open({str(tmp_path / "found")!r}, "w").write(str(len(found)))
        """
    )
    assert run_child(code).returncode == 0
    assert (tmp_path / "found").read_text() == "100000"


# ---- death


def die_by(how):
    import ctypes

    if how == "exit":
        os._exit(3)
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), getattr(signal, how))


@needs_proc
@pytest.mark.parametrize(
    ("how", "said"), [("exit", "status 3"), ("SIGKILL", "SIGKILL"), ("segfault", "SIGSEGV"), ("SIGTERM", "SIGTERM")]
)
def test_a_worker_that_dies(how, said):
    before = descriptors()
    for first in (True, False):
        worker = BACKEND.open()
        if not first:
            assert one(worker, lambda x: x, np.ones(100_000))[0] == 1
        with pytest.raises(WorkerDied, match=f"{said}.* in the middle of a call") as caught:
            one(worker, die_by, how)
        assert caught.value.status == (3 if how == "exit" else caught.value.status) and caught.value.status != 0
        with pytest.raises(RuntimeError):
            one(worker, lambda x: x, 1)
        worker.close()
    del caught
    assert descriptors() == before


@needs_proc
@pytest.mark.parametrize("threads", THREADS)
def test_killed_from_outside_at_any_time(threads):
    """Nothing hangs, no descriptor is left, whenever the signal comes."""
    before = descriptors()

    def member(i):
        for k in range(6):
            worker = BACKEND.open()
            killer = threading.Timer(0.01 * ((5 * i + 3 * k) % 8), os.kill, (worker.pid, signal.SIGKILL))
            killer.start()
            ended = False
            try:
                while not ended:  # killed while it is idle, it is replaced; else the call says so
                    ended = not killer.is_alive()
                    value = one(worker, lambda a: (a, a + 1), np.ones(30_000))
                    assert value[1][0] == 2
            except WorkerDied as error:
                assert "SIGKILL" in str(error)
            killer.join()
            worker.close()

    run_threads(threads, member)
    assert descriptors() == before


@pytest.mark.parametrize("how", ["fork", "program"])
def test_a_worker_that_dies_before_what_its_task_has_started(how, tmp_path):
    """The call fails at once, not when that ends too."""
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)

    def work(how):
        if how == "program":
            os.system(f"read line < {fifo} &")
        elif os.fork() == 0:
            os.close(os.open(fifo, os.O_RDONLY))
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)

    ended = threading.Event()

    def let_go():  # if nothing else does
        ended.wait(20)
        os.close(os.open(fifo, os.O_WRONLY))

    helper = threading.Thread(target=let_go)
    helper.start()
    made = BACKEND.open()
    try:
        with pytest.raises(WorkerDied, match="SIGKILL"):
            one(made, work, how)
        early = helper.is_alive()
    finally:
        ended.set()
        helper.join(60)
        made.close()
    assert early


def test_killed_while_idle_is_replaced(fresh):
    pid = one(fresh, lambda _: os.getpid(), 0)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    other = one(fresh, lambda x: (os.getpid(), x.sum()), np.ones(50_000))
    assert other[1] == 50_000 and other[0] != pid


def test_kill_and_a_connection_that_the_task_closes(monkeypatch):
    monkeypatch.setattr(processes, "_PATIENCE", 0.3)
    worker = BACKEND.open()
    threading.Timer(0.2, worker.kill).start()
    with pytest.raises(WorkerDied, match="SIGKILL"):
        one(worker, lambda _: threading.Event().wait(), 0)
    worker = BACKEND.open()
    with pytest.raises(WorkerDied, match="closed its connection"):
        one(worker, lambda _: (os.closerange(3, 100), threading.Event().wait()), 0)


def test_a_python_that_does_not_start(monkeypatch, tmp_path):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexit 9\n")
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    worker = BACKEND.open()
    with pytest.raises(WorkerDied, match="status 9 before its first call"):
        one(worker, lambda x: x, b"x" * 1_000_000)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    before = threading.active_count()
    with pytest.raises(OSError):
        BACKEND.open()
    assert threading.active_count() == before
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(RuntimeError, match="sys.executable"):
        BACKEND.check()


# ---- stopping


def test_tell(fresh):
    def wait(_):
        now = sys.modules["_tenfold_worker"].now
        while not now.cancelled():
            pass
        return "told"

    task = next(numbers)
    packed = BACKEND.pack_function(wait), BACKEND.pack_calls(calls_of(0), 0)
    fresh.tell(task - 1)  # of an earlier batch
    threading.Timer(0.2, fresh.tell, (task,)).start()
    assert fresh.run(*packed, task, False) == (["told"], {})
    assert one(fresh, lambda _: sys.modules["_tenfold_worker"].now.cancelled(), 0) is False
    assert one(fresh, lambda x: x, 3) == 3
    fresh.tell(5)
    fresh.close()
    fresh.tell(1 << 50)  # nobody is there


def test_waits_without_the_gil(worker):
    import time

    assert runs_without_gil(lambda: one(worker, time.sleep, 0.02))


def meet(path, mine):
    """Returns when the other one is here too: only possible if both run at once."""
    import mmap

    sys.setswitchinterval(1000.0)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 2) as seats:
        seats[mine] = 1
        while not seats[1 - mine]:
            pass
    return "met"


def test_rendezvous(tmp_path):
    path = tmp_path / "seats"
    path.write_bytes(b"\0\0")

    def member(i):
        worker = BACKEND.open()
        try:
            return one(worker, meet, str(path), i)
        finally:
            worker.close()

    assert run_threads(2, member) == ["met", "met"]


def test_ctrl_c_is_the_parents_business():
    code = HEAD + textwrap.dedent(
        """
        import os, signal, sys, threading, time
        signal.signal(signal.SIGINT, lambda *_: None)
        def nap(x):
            time.sleep(0.5)
            return x
        found = []
        threads = [threading.Thread(target=lambda: found.append(one(backend.open(), nap, 1))) for _ in range(2)]
        for each in threads: each.start()
        for _ in range(30):  # from before they run on
            os.killpg(0, signal.SIGINT)
            time.sleep(0.02)
        for each in threads: each.join()
        print(found)
        """
    )
    child = run_child(code, start_new_session=True)
    assert (child.stdout, child.stderr, child.returncode) == ("[1, 1]\n", "", 0)


@pytest.mark.parametrize("busy", ["pow(3, 10**9)", "time.sleep(1000)", "None"])
@pytest.mark.parametrize("fork", [False, True])
def test_workers_end_with_a_parent_that_was_killed(busy, fork):
    code = HEAD + textwrap.dedent(
        f"""
        import os, sys, threading, time
        workers = [backend.open() for _ in range(3)]
        print(*[one(each, os.getpid) for each in workers], flush=True)
        if {fork} and os.fork() == 0:
            os.close(1); os.close(2)
            time.sleep(30)  # a child that outlives its parent does not keep the workers
            os._exit(0)
        for each in workers:
            threading.Thread(target=one, args=(each, lambda: {busy}), daemon=True).start()
        print("ready", flush=True)
        time.sleep(1000)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=_child_environment())
    try:
        pids = [int(each) for each in parent.stdout.readline().split()]
        assert len(pids) == 3 and parent.stdout.readline() == "ready\n"
        threading.Event().wait(0.3)  # so that they are in their calls
    finally:
        parent.kill()
        parent.wait()
    limit = threading.Event()
    for _ in range(100):
        alive = [each for each in pids if is_alive(each)]
        if not alive:
            break
        limit.wait(0.1)
    assert not alive
    parent.stdout.close()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return sys.platform != "linux"


# ---- forks, interpreters


@needs_proc
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_of_the_parent():
    child = run_child(
        HEAD
        + textwrap.dedent(
            """
            import os, sys
            worker = backend.open()
            assert one(worker, lambda x: x, 1) == 1
            pid = os.fork()
            if pid == 0:
                worker.close()
                worker.kill()
                other = backend.open()
                assert one(other, lambda x: len(x), b"x" * 100_000) == 100_000
                other.close()
                os._exit(7)
            assert os.waitpid(pid, 0)[1] >> 8 == 7
            assert one(worker, lambda x: x, 2) == 2
            pid = os.fork()
            if pid == 0:
                import time
                time.sleep(3)
                os._exit(0)
            worker.close()
            assert worker._process.returncode == 0, worker._process.returncode
            print("done")
            """
        )
    )
    assert child.stdout == "done\n", child.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_inside_a_task(fresh):
    def fork(_):
        pid = os.fork()
        if pid == 0:
            return "the child's"
        return os.waitpid(pid, 0)[1]

    assert one(fresh, fork, 0) == 0
    assert one(fresh, lambda x: x, 5) == 5


def test_a_child_of_a_task_does_not_ignore_ctrl_c(fresh):
    def child(_):
        import subprocess

        code = "import signal; print(signal.getsignal(signal.SIGINT) == signal.default_int_handler)"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout

    assert one(fresh, child, 0) == "True\n"


@pytest.mark.skipif(sys.version_info < (3, 13), reason="interpreters with modules of their own, from Python: 3.13")
def test_inside_a_sub_interpreter():
    code = """
    import _interpreters, sys
    program = PATH + HEAD + '''
    worker = backend.open()
    assert one(worker, lambda x: x * 2, b"ab" * 50_000) == b"ab" * 100_000
    worker.close()
    '''.replace("\\n    ", "\\n")
    interpreter = _interpreters.create()
    failed = _interpreters.exec(interpreter, program)
    assert not failed, failed.formatted
    _interpreters.destroy(interpreter)
    print("done")
    """
    program = (
        textwrap.dedent(code)
        .replace("PATH", repr("import sys\nsys.path[:] = ") + " + repr(sys.path)")
        .replace("HEAD", repr(HEAD))
    )
    child = run_child(program)
    assert child.stdout == "done\n", child.stderr


@needs_proc
def test_thousands_of_calls_leave_nothing(fresh):
    before = descriptors()
    function, calls = BACKEND.pack_function(lambda x: x + 1), BACKEND.pack_calls(calls_of(*range(3)), 0)
    for _ in range(3000):
        assert fresh.run(function, calls, next(numbers), False)[0] == [1, 2, 3]
    big = np.ones(20_000)
    for _ in range(300):
        assert one(fresh, lambda a: a * 2, big)[0] == 2
    assert descriptors() == before
    assert one(fresh, lambda _: len(os.listdir("/proc/self/fd")), 0) < 20
