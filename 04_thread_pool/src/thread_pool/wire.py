"""What a worker process and its parent say to each other: frames over a unix socket, large memory through shared files.

A frame is a small marshalled tuple, byte strings of any size, and open files (``SCM_RIGHTS``). A buffer of 64 kB or more
is written once into a file that has no name (``memfd_create``, elsewhere a deleted temporary file) and mapped by the other
side: one copy, whoever reads it. No name means nothing to unlink, and nothing is left when either side is killed.

The parent imports this file as ``thread_pool.wire``; the worker loads it by its path, as ``_tenfold_wire``, and runs
`main`: it must import nothing of the package and as little as possible of Python, since the first result waits for it.
"""

from __future__ import annotations

import _socket
import marshal
import mmap
import os
import sys

LARGE = 1 << 16
"""Buffers of this many bytes and more go through a shared file; smaller ones travel in the frame."""

REQUEST, REPLY, INLINE = 0, 1, 2
"""Where a result's buffer is: in the memory of the arguments, in the reply's file, in the frame."""

_FIRST_READ = 1 << 16
_MOST_AT_ONCE = 1 << 30  # Linux moves at most 2 GiB - 4 kB in one call, macOS refuses more than 2 GiB - 1
_INT = 4  # bytes of a C int, in SCM_RIGHTS
_TRACKS = sys.version_info < (3, 13)  # until then a mapping keeps a descriptor of its own for as long as it lives
_MOST_MAPS = 200
_NO_SIGNAL = getattr(_socket, "MSG_NOSIGNAL", 0)  # a dead peer is an error, also where SIGPIPE is deadly
_CLOSE_ON_EXEC = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)


# ---- frames


class Channel:
    """One end of a connected unix stream socket. Every call blocks without the GIL."""

    def __init__(self, socket):
        self.socket = socket
        if not _NO_SIGNAL and hasattr(_socket, "SO_NOSIGPIPE"):  # macOS
            socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_NOSIGPIPE, 1)

    def send(self, plain: tuple, blobs=(), descriptors=()) -> None:
        """`plain`: what marshal takes, small; `blobs`: bytes-like or None; `descriptors`: copies of them arrive there."""
        header = marshal.dumps((plain, [-1 if blob is None else len(blob) for blob in blobs]))
        parts = [len(header).to_bytes(8, "little") + header, *[blob for blob in blobs if blob]]
        rights = []
        if descriptors:
            packed = b"".join(each.to_bytes(_INT, sys.byteorder) for each in descriptors)
            rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)]
        small = sum(map(len, parts)) <= _FIRST_READ
        sent = self.socket.sendmsg(parts if small else parts[:1], rights, _NO_SIGNAL)
        for part in parts:
            if sent >= len(part):
                sent -= len(part)
                continue
            rest, sent = memoryview(part)[sent:], 0
            for at in range(0, len(rest), _MOST_AT_ONCE):
                self.socket.sendall(rest[at : at + _MOST_AT_ONCE], _NO_SIGNAL)

    def receive(self, first: int = _FIRST_READ) -> tuple[tuple, list, list[int]]:
        """The next frame; the descriptors are the caller's to close.

        `first`: how many bytes are asked for at once; 8 where another frame may be right behind.

        Raises
        ------
        EOFError
            The other side is gone.
        """
        got, rights, _, _ = self.socket.recvmsg(first, _socket.CMSG_SPACE(4 * _INT), _CLOSE_ON_EXEC)
        descriptors = []
        for level, kind, packed in rights:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                for at in range(0, len(packed) - len(packed) % _INT, _INT):
                    descriptors.append(int.from_bytes(packed[at : at + _INT], sys.byteorder))
        try:
            if not _CLOSE_ON_EXEC:
                for each in descriptors:
                    os.set_inheritable(each, False)
            at = 0

            def take(size: int):
                nonlocal at
                if at + size <= len(got):
                    at += size
                    return view[at - size : at]
                whole = bytearray(size)
                into = memoryview(whole)
                have = len(got) - at
                into[:have] = view[at:]
                at = len(got)
                while have < size:
                    more = self.socket.recv_into(into[have:], min(size - have, _MOST_AT_ONCE))
                    if not more:
                        raise EOFError("the connection was closed in the middle of a frame")
                    have += more
                return whole

            if not got:
                raise EOFError("the connection was closed")
            view = memoryview(got)
            plain, sizes = marshal.loads(take(int.from_bytes(take(8), "little")))
            return plain, [None if size < 0 else take(size) for size in sizes], descriptors
        except BaseException:
            for each in descriptors:
                os.close(each)
            raise


# ---- shared files


def shared_file() -> int:
    """A descriptor of an empty file in memory that has no name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("tenfold")
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix="tenfold")
    os.unlink(path)
    return descriptor


def write(descriptor: int, data, offset: int) -> None:
    """Copies a flat buffer into the file, without the GIL."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest[:_MOST_AT_ONCE], offset)
        rest = rest[written:]
        offset += written


class _Map(mmap.mmap):
    """Counted, where each one costs a descriptor."""

    living: set[int] = set()  # noqa: RUF012

    def __init__(self, *_, **__):
        _Map.living.add(id(self))

    def __del__(self):
        _Map.living.discard(id(self))


def open_map(descriptor: int, offset: int, size: int, spare: bool = False) -> memoryview:
    """The bytes of the file, writable, shared. It lives as long as something views it.

    With `spare`, and where very many mappings are alive that each keep a descriptor (Python < 3.13): a copy.
    """
    if _TRACKS:
        if spare and len(_Map.living) >= _MOST_MAPS and hasattr(os, "preadv"):
            into = memoryview(bytearray(size))
            have = 0
            while have < size:
                have += os.preadv(descriptor, [into[have : have + _MOST_AT_ONCE]], offset + have)
            return into
        return memoryview(_Map(descriptor, size, offset=offset))
    return memoryview(mmap.mmap(descriptor, size, offset=offset, trackfd=False))


# ---- buffers


def flat(buffer) -> memoryview:
    """Any C-contiguous buffer as bytes, whatever its format."""
    view = memoryview(buffer)
    if view.format == "B" and view.ndim == 1:
        return view
    from _pickle import PickleBuffer

    return PickleBuffer(view).raw()


def shape_of(buffer):
    """What `shaped` needs to give a flat buffer this one's format and shape: None for plain bytes."""
    view = memoryview(buffer)
    return None if view.format == "B" and view.ndim == 1 else (view.format, view.shape)


def shaped(view: memoryview, how: tuple | None) -> memoryview:
    """A flat view with a format and shape; TypeError where Python has no way to make it."""
    if how is None:
        return view
    name, shape = how
    if name.lstrip("@") in tuple("cbB?hHiIlLqQnNefdP"):
        if len(shape) == 1:
            return view.cast(name)
        if 0 not in shape:
            return view.cast(name, shape)
    if 0 in shape or name in _COMPLEX:  # a memoryview that NumPy made
        import numpy

        return memoryview(numpy.frombuffer(view, _COMPLEX.get(name, name)).reshape(shape))
    if name[:1] not in ("<", ">") or name[1:] not in _CODES:
        raise TypeError(f"no view of format {name!r} and shape {shape}")
    import ctypes  # memoryview.cast knows no byte order

    kind = getattr(ctypes, "c_" + _CODES[name[1:]])
    kind = kind.__ctype_le__ if name[0] == "<" else kind.__ctype_be__
    for size in reversed(shape):
        kind = kind * size
    made = memoryview(kind.from_buffer_copy(view) if view.readonly else kind.from_buffer(view))
    if made.format != name or made.shape != tuple(shape):
        raise TypeError(f"no view of format {name!r} and shape {shape}")
    return made


_CODES = {"h": "int16", "H": "uint16", "i": "int32", "I": "uint32", "l": "int32", "L": "uint32", "q": "int64", "Q": "uint64"}
_CODES.update({"f": "float", "d": "double"})
_COMPLEX = {"Zf": "c8", "Zd": "c16"}


def viewable(view: memoryview) -> bool:
    """Whether `shaped` can make one like it on the other side."""
    try:
        made = shaped(memoryview(bytearray(view.nbytes if 0 in (view.shape or ()) else flat(view))), shape_of(view))
    except (TypeError, ValueError, AttributeError, ImportError):
        return False
    return (made.format, made.shape) == (view.format, view.shape)


def address(view):
    """Where a buffer lies in memory; None where ctypes is missing."""
    global _pointer_of
    if _pointer_of is None:
        _pointer_of = _make_pointer_of()
    return _pointer_of(view)


_pointer_of = None


def _make_pointer_of():
    try:
        import ctypes
    except ImportError:
        return lambda view: None
    size, pointer, number = ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_int

    class Buffer(ctypes.Structure):
        _fields_ = [
            ("buf", pointer),
            ("obj", pointer),
            ("len", size),
            ("itemsize", size),
            ("readonly", number),
            ("ndim", number),
        ] + [(name, pointer) for name in ("format", "shape", "strides", "suboffsets", "internal")]

    def of(view):
        raw = Buffer()
        ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(raw), 0)
        found = raw.buf or 0
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(raw))
        return found

    return of


def describe(buffer, where) -> tuple:
    """A line for `restore`; `where`: the bytes themselves, or an offset."""
    return where, memoryview(buffer).nbytes, memoryview(buffer).readonly, shape_of(buffer)


def restore(line: tuple, memory) -> memoryview:
    """The buffer again: out of the line itself or out of mapped memory."""
    where, size, readonly, how = line
    inline = type(where) is bytes
    view = memoryview(where if readonly else bytearray(where)) if inline else memory[where : where + size]
    try:
        view = shaped(view, how)
    except Exception:  # not a memoryview's, those were asked about: an array's memory, which its pickle knows the shape of
        pass
    return view.toreadonly() if readonly and not view.readonly else view


def aligned(size: int) -> int:
    return -(-size // 64) * 64


# ---- the worker process


def main(descriptor: int) -> None:
    """Serves requests until the parent closes the connection."""
    global channel  # held by the hook below, a socket would outlive its module
    import _signal

    # Ctrl-C is the parent's business. Not SIG_IGN: programs that a task starts would inherit it. Until here it was blocked.
    _signal.signal(_signal.SIGINT, lambda *_: None)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGINT])
    channel = Channel(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor))
    (path, sys.argv[:]), _, (page, lifeline) = channel.receive(8)
    os.set_inheritable(descriptor, False)  # else what a task leaves running keeps the connection open when we are killed
    os.register_at_fork(after_in_child=lambda: channel.socket.close())
    _end_with(lifeline)
    told = open_map(page, 0, mmap.PAGESIZE).cast("Q")
    os.close(page)
    worker = load("_tenfold_worker", path)
    worker.least, worker.viewable = LARGE, viewable
    worker.start(lambda: told[0], note=lambda done, size: told.__setitem__(2, done << 32 | size))
    me = os.getpid()
    while _answer(channel, worker, told):
        if os.getpid() != me:  # a fork that a task made has come back from it; the connection is its parent's
            os._exit(0)


def load(name: str, path: str):
    """A module from a file, through its cached bytecode."""
    import _frozen_importlib_external as importer

    module = sys.modules[name] = type(sys)(name)
    module.__file__ = path
    exec(importer.SourceFileLoader(name, path).get_code(name), module.__dict__)  # type: ignore[arg-type]
    return module


def _answer(channel: Channel, worker, told) -> bool:
    """Serves one request; False at the end."""
    try:
        plain, (function, settings, data), descriptors = channel.receive()
    except (EOFError, ConnectionError):
        return False
    task, key, flags, kind, count, lines, shared = plain
    memory = None
    if shared:
        try:
            memory = open_map(descriptors[0], *shared)
        finally:
            os.close(descriptors[0])
    buffers = tuple(restore(line, memory) for line in lines)
    me = os.getpid()
    told[2], told[1] = 0, task
    reply = worker.serve((task, key, function, flags, settings, kind, count, data, buffers))
    del buffers
    if os.getpid() != me:
        return True
    status, kind, data, errors, results = reply
    lines, file = _place(results, memory)
    try:
        channel.send((status, kind, lines), [data, errors], [] if file is None else [file])
    except ConnectionError:
        return False
    finally:
        if file is not None:
            os.close(file)
    return True


def _place(results, memory) -> tuple[list, int | None]:
    """Lines for the results' buffers: what lies in the request's memory stays there, other large ones go into a file."""
    lines, file, end = [], None, 0
    base = None
    for each in results:
        data = flat(each)
        size = data.nbytes
        if size < LARGE:
            lines.append((INLINE, describe(each, bytes(data))))
            continue
        if memory is not None:
            base = address(memory) if base is None else base
            at = None if base is None else address(data)
            if at is not None and base <= at and at + size <= base + memory.nbytes:
                lines.append((REQUEST, describe(each, at - base)))
                continue
        if file is None:
            file = shared_file()
        end = aligned(end)
        write(file, data, end)
        lines.append((REPLY, describe(each, end)))
        end += size
    return lines, file


def _end_with(lifeline: int) -> None:
    """Ends this process when the other end of a pipe closes, also in the middle of a call that holds the GIL."""
    import fcntl

    def die(*_):
        os.kill(os.getpid(), 9)

    try:
        if not sys.platform.startswith("linux"):
            raise OSError  # F_SETSIG is Linux only, and SIGIO is ignored elsewhere unless it is handled
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, 9)  # SIGKILL: the kernel sends it when the pipe changes
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        os.read(lifeline, 1)
        die()  # the end of the file: the parent was gone before we asked
    except BlockingIOError:
        return
    except OSError:
        import _thread

        os.set_blocking(lifeline, True)
        _thread.start_new_thread(lambda: die(os.read(lifeline, 1)), ())
