"""The life of worker threads beyond their executor's: exit, Ctrl-C, fork.

Worker threads are daemons, and joined by a hook at exit: what is pending then runs first, unless a Ctrl-C ends the process.
Before a fork the workers that hold an interpreter give it up (a child of a process with live ones hangs or crashes inside
CPython) and open it again on demand; running calls are waited for. A thread that forks inside a call is not waited for.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref

from .futures import here

_lock = threading.RLock()
_members: weakref.WeakSet = weakref.WeakSet()  # engines and executors
_gate = threading.Lock()  # held by who forks; a worker passes it before each call
_closing = False  # a fork is near: workers that wait at the gate give up what may not live through it
_exiting = False
WAIT = 0.05 if sys.platform == "win32" else 3600.0
"""The longest sleep without a look at Ctrl-C: only Windows needs one."""


def register(member) -> None:
    """A member has `forked()`; an engine also `slots`, `survives_fork`, `drain()`, `stop()`, `interrupt()`."""
    with _lock:
        _members.add(member)


def members() -> list:
    with _lock:
        return list(_members)


def engines() -> list:
    return [each for each in members() if hasattr(each, "slots")]


def exiting() -> bool:
    return _exiting


def pass_gate(slot) -> bool:
    """Waits until nobody forks; then the slot is busy. False: the worker had to be given up, and its thread ends.

    (An interpreter is closed on its own thread, and pybind11 3.1 makes only one in the life of a thread.)
    """
    while not _gate.acquire(True, 0.005):
        if _closing and slot.worker is not None and not slot.engine.survives_fork:
            slot.close()
            return False
    slot.busy = True
    _gate.release()
    return True


def _before_fork() -> None:
    global _closing
    slot = here.slot
    if slot is not None:
        slot.forking = True
    _gate.acquire()
    _closing = True
    pause = 0.0002
    while True:
        waiting = False
        for engine in engines():
            for each in list(engine.slots):
                if each.forking or (each.thread is not None and not each.thread.is_alive()):
                    continue
                if each.busy:
                    waiting = True
                elif each.worker is not None and not engine.survives_fork:
                    waiting = True
                    engine.queue.put(None)  # wakes it: it comes to the gate
        if not waiting:
            return
        time.sleep(pause)
        pause = min(2 * pause, 0.01)


def _after_fork_in_parent() -> None:
    global _closing
    _closing = False
    if here.slot is not None:
        here.slot.forking = False
    _gate.release()


def _after_fork_in_child() -> None:
    global _closing, _gate, _lock
    _closing = False
    _lock, _gate = threading.RLock(), threading.Lock()
    if here.slot is not None:
        here.slot.forking = False
    for each in members():
        each.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def wait_for(slots) -> None:
    """Waits for worker threads to end; Ctrl-C ends the wait."""
    for slot in slots:
        while not slot.ended.acquire(True, WAIT):
            pass
        slot.ended.release()
        if slot.thread.ident is not None:
            slot.thread.join()


def _at_exit() -> None:
    global _exiting
    _exiting = True
    last = getattr(sys, "last_type", None)
    interrupted = isinstance(last, type) and issubclass(last, KeyboardInterrupt)
    found = engines()
    try:
        for engine in found:
            if interrupted:
                engine.drain()
                engine.interrupt()
            engine.stop()
        for engine in found:
            wait_for(list(engine.slots))
    except BaseException as error:  # Ctrl-C, or what a handler of another signal raises
        for engine in found:
            engine.drain()
            engine.interrupt()
        # Python cannot end while there is another interpreter in it; daemon threads and processes it can leave behind.
        if any(slot.worker is not None for engine in found if engine.backend.name == "interpreters" for slot in engine.slots):
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except (AttributeError, OSError, ValueError):
                    pass
            os._exit(130 if isinstance(error, KeyboardInterrupt) else 1)
    # Its own hook ran before this one; closing the workers may have left some more.
    interpreters = sys.modules.get(f"{__package__}.interpreters")
    if interpreters is not None:
        interpreters.end_abandoned()


_hooked = False


def start_thread(target, args, name: str) -> threading.Thread:
    """A daemon thread; in a sub-interpreter, which allows none, an ordinary one that is stopped before Python joins it."""
    global _hooked
    try:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    except RuntimeError:
        thread = threading.Thread(target=target, args=args, name=name, daemon=False)
        with _lock:
            if not _hooked:
                threading._register_atexit(_at_exit)
                _hooked = True
    thread.start()
    return thread


atexit.register(_at_exit)
