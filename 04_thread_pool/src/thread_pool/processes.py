"""The ``processes`` backend: each worker thread has a Python process of its own, and a unix socket to it.

The process is a fresh interpreter (``subprocess``: a fork that becomes another program at once, so no lock, thread or
``__main__`` of the reader's is in it). It runs `wire.main`, which loads worker.py by its path. Arguments are packed in the
thread that submits them (travel.py); large buffers are copied there, once, into a file in memory that the process maps.

Differs by system: without ``memfd_create`` (macOS) that file is a deleted temporary one, and the watchdog of a worker whose
parent was killed is a thread, so a call that holds the GIL in C is ended when it gives it up; Linux' kernel does not wait.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import weakref
from concurrent.futures import BrokenExecutor

from . import travel, wire

TYPE_CHECKING = False  # typing takes longer to import than the rest
if TYPE_CHECKING:
    from typing import Any, ClassVar

travel.worker.viewable = wire.viewable
_HERE = os.path.dirname(os.path.abspath(__file__))
_BOOT = (
    "import sys; import _frozen_importlib_external as i; p=sys.argv[2]; sys.path[:]=[x for x in sys.path if x]; "
    "w=sys.modules['_tenfold_wire']=type(sys)('_tenfold_wire'); "
    "exec(i.SourceFileLoader('_tenfold_wire',p).get_code('_tenfold_wire'),w.__dict__); n=int(sys.argv[1]); del i,p,sys; w.main(n)"
)
_PATIENCE = 5.0  # seconds that a worker has to end by itself
_MOST_FILES = 64  # packed calls with a file of their own; more share files of _BULK bytes
_BULK = 1 << 26


class WorkerDied(BrokenExecutor):
    """A worker process ended in the middle of a call.

    Attributes
    ----------
    status : int or None
        Its exit status; minus the signal's number where one killed it; None if it could not be found out.
    finished, among : int
        So many calls of the batch had ended before, and it was one of the next so many; none had begun if this is 0.
    """

    finished = among = 0

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


# ---- memory for arguments


class _File:
    """A shared file, closed when the last piece of it is dropped."""

    living: ClassVar[set[int]] = set()

    def __init__(self):
        self.descriptor = wire.shared_file()
        _File.living.add(self.descriptor)

    def __del__(self):
        if hasattr(self, "descriptor"):
            _File.living.discard(self.descriptor)
            os.close(self.descriptor)


class _Segment:
    """A piece of a shared file: of its own, but thousands of calls that wait are not thousands of descriptors."""

    lock = threading.Lock()
    bulk: ClassVar[Any] = staticmethod(lambda: None)  # a weak reference to the file that is being filled, and how far it is
    bulk_end = 0

    def __init__(self, size: int):
        self.size, self.offset = size, 0
        if len(_File.living) < _MOST_FILES or size >= _BULK:
            self.file = _File()
            return
        with _Segment.lock:
            file = _Segment.bulk()
            if file is None or _Segment.bulk_end + size > _BULK:
                file, _Segment.bulk_end = _File(), 0
                _Segment.bulk = weakref.ref(file)
            self.file, self.offset = file, _Segment.bulk_end
            _Segment.bulk_end += -(-size // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY

    def open(self) -> memoryview:
        return wire.open_map(self.file.descriptor, self.offset, self.size, spare=True)


class _Packed:
    """Calls whose buffers were copied when they were submitted."""

    __slots__ = ("calls", "segment")

    def __init__(self, calls, segment=None):
        self.calls, self.segment = calls, segment

    @classmethod
    def copied(cls, calls) -> _Packed:
        self = cls(calls)
        lines, large, end = [], [], 0
        for buffer in calls.buffers:
            view = wire.flat(buffer)
            if view.nbytes < wire.LARGE:
                lines.append(wire.describe(buffer, bytes(view)))
                continue
            end = wire.aligned(end)
            lines.append(wire.describe(buffer, end))
            large.append((view, end))
            end += view.nbytes
        if large:
            self.segment = _Segment(end)
            for view, offset in large:
                wire.write(self.segment.file.descriptor, view, self.segment.offset + offset)
        calls.buffers = tuple(lines)
        return self

    def __getitem__(self, part: slice) -> _Packed:
        return _Packed(self.calls[part], self.segment)

    def __len__(self) -> int:
        return self.calls.count


# ---- a worker


_workers: weakref.WeakSet[ProcessWorker] = weakref.WeakSet()


def _in_a_forked_child() -> None:
    """A fork's child must not keep its parent's workers alive, nor add to a file that its parent fills."""
    _Segment.lock = threading.Lock()
    _Segment.bulk = staticmethod(lambda: None)
    for each in list(_workers):
        each._let_go()
    _workers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_forked_child)


class ProcessWorker:
    """A worker process, started and not waited for: its first request is already in the socket when it looks."""

    def __init__(self):
        self._lock = threading.RLock()  # a finalizer may tell too
        self._channel = self._process = self._page = self._told = None
        self._lifeline = -1
        self._start()
        _workers.add(self)

    def _start(self) -> None:
        import _socket
        import signal
        import subprocess

        self._owner = os.getpid()
        self._sent = travel.Sent()
        self._answered = False
        opened: list[int] = []

        def kept(descriptor: int) -> int:
            if descriptor <= 2:  # the parent runs without a stdin, stdout or stderr: ours must not be taken for it
                import fcntl

                low, descriptor = descriptor, fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
                os.close(low)
            opened.append(descriptor)
            return descriptor

        try:
            pair = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
            ours, theirs = (kept(each.detach()) for each in pair)
            read_end, write_end = map(kept, os.pipe())
            page = kept(wire.shared_file())
            os.ftruncate(page, mmap.PAGESIZE)
            self._page = wire.open_map(page, 0, mmap.PAGESIZE)
            self._told = self._page.cast("Q")
            # Until it has a handler, Ctrl-C in the terminal would end a worker that is just starting.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                self._process = subprocess.Popen(
                    [sys.executable, *_flags(), "-c", _BOOT, str(theirs), os.path.join(_HERE, "wire.py")],
                    stdin=subprocess.DEVNULL,
                    close_fds=True,
                    pass_fds=(theirs,),
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._channel = wire.Channel(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, ours))
            self._lifeline = write_end
            opened.remove(ours)
            opened.remove(write_end)
            argv = [str(each) for each in getattr(sys, "argv", [""])]
            self._channel.send((os.path.join(_HERE, "worker.py"), argv), (), (page, read_end))
        except ConnectionError:
            pass  # it has ended already: run() says so
        except BaseException:
            self._end()
            raise
        finally:
            for each in opened:
                os.close(each)

    @property
    def pid(self) -> int:
        """Of the worker process."""
        return self._process.pid

    def run(self, function, calls: _Packed, task: int, stop_on_error: bool):
        """See `executor`'s Worker. Only on the thread that made it."""
        if self._channel is None:
            raise RuntimeError("the worker is closed")
        if self._answered and self._process.poll() is not None:
            self._let_go()  # killed while it had nothing to do: nothing is lost
            self._start()
        reply = self._exchange(self._sent.request(function, calls.calls, task, stop_on_error), calls)
        if reply[0] == travel.worker.MISSING:
            reply = self._exchange(self._sent.request(function, calls.calls, task, stop_on_error, whole=True), calls)
        return travel.unpack_results(reply)

    def _exchange(self, request: tuple, calls: _Packed) -> tuple:
        task, key, function, flags, settings, kind, count, data, described = request
        segment = calls.segment
        shared = None if segment is None else (segment.offset, segment.size)
        files = () if segment is None else (segment.file.descriptor,)
        try:
            self._channel.send((task, key, flags, kind, count, described, shared), (function, settings, data), files)
            (status, kind, lines), (data, errors), files = self._channel.receive()
        except (EOFError, ConnectionError):
            at = self._told[2] if self._told[1] == task else 0
            died = self._died()
            died.finished, died.among = at >> 32, at & 0xFFFFFFFF
            raise died from None
        except BaseException:  # half a frame is on its way
            self._end()
            raise
        self._answered = True
        memory: list[Any] = [None, None]
        try:
            if files:
                memory[wire.REPLY] = wire.open_map(files[0], 0, os.fstat(files[0]).st_size, spare=True)
        finally:
            for each in files:
                os.close(each)
        if any(where == wire.REQUEST for where, _ in lines):
            memory[wire.REQUEST] = segment.open()
        buffers = tuple(wire.restore(line, None if where == wire.INLINE else memory[where]) for where, line in lines)
        return status, kind, data, errors, buffers

    def _died(self) -> WorkerDied:
        import signal
        import subprocess

        process = self._process
        when = "in the middle of a call" if self._told[1] else "before its first call"
        try:
            status = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._end()
            return WorkerDied(f"a worker process closed its connection {when}; it was killed")
        self._let_go()
        if status >= 0:
            return WorkerDied(f"a worker process ended with exit status {status} {when}", status)
        try:
            name = f"{signal.Signals(-status).name} ({-status})"
        except ValueError:
            name = str(-status)
        return WorkerDied(f"a worker process was killed by signal {name} {when}", status)

    def tell(self, task: int) -> None:
        """Makes ``current_task().cancelled()`` of this batch true. Any thread, any time."""
        with self._lock:
            if self._told is not None and task > self._told[0]:
                self._told[0] = task

    def kill(self) -> None:
        """Ends the process at once; a running call fails with `WorkerDied`. Any thread, any time."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()

    def close(self) -> None:
        """Lets the process end, as a program ends, and waits for it; kills it after 5 s. On the thread that made it."""
        if self._channel is not None and self._owner == os.getpid():
            import _socket
            import subprocess

            try:
                self._channel.socket.shutdown(_socket.SHUT_RDWR)  # close() alone would not do: a fork may have a copy
            except OSError:
                pass
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                pass
        self._end()

    def _end(self) -> None:
        self.kill()
        if self._process is not None and self._owner == os.getpid():
            self._process.wait()
        self._let_go()

    def _let_go(self) -> None:
        """Closes what this side has open."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.socket.close()
        lifeline, self._lifeline = self._lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)
        if self._owner != os.getpid():  # in a fork's child: another process' worker, and perhaps its held lock
            if self._process is not None and self._process.returncode is None:
                self._process.returncode = 0  # not ours to wait for
            return
        with self._lock:
            told, self._told = self._told, None
            page, self._page = self._page, None
            for view in (told, page):
                if view is not None:
                    view.release()

    def __del__(self):
        if getattr(self, "_channel", None) is not None:
            self._end()


def _flags() -> list[str]:
    """The interpreter's own options: -X, -W, -E, -I, -O and the like."""
    import subprocess

    try:
        return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    except ValueError:  # sys.warnoptions was changed
        return []


class ProcessBackend:
    """Worker processes; see `executor`'s Backend."""

    name = "processes"

    def check(self) -> None:
        """RuntimeError where processes cannot be started."""
        if sys.platform in ("win32", "emscripten", "wasi"):
            raise RuntimeError(f"backend='processes' needs unix sockets, which Python has not on {sys.platform}")
        if travel.worker.loading:  # its workers would import it, start processes, and so on
            raise RuntimeError("a module starts processes when it is imported, here by a worker: start them in a function")
        if not sys.executable:
            raise RuntimeError("backend='processes' needs sys.executable to name a Python; here it names nothing")

    def pack_function(self, fn) -> travel.Function:
        return travel.pack_function(fn)

    def pack_calls(self, calls, first: int = 0, kind: str = "calls") -> _Packed:
        return _Packed.copied(travel.pack_calls(calls, first, kind, wire.LARGE))

    def repack(self, calls: travel.Calls) -> _Packed:
        """Calls that were packed for an interpreter; TypeError if a memoryview is among them that cannot come here."""
        for view in calls.buffers:
            if not wire.viewable(view):
                raise TypeError(f"a memoryview of format {view.format!r} cannot travel to another process")
        return _Packed.copied(calls)

    def open(self) -> ProcessWorker:
        return ProcessWorker()
