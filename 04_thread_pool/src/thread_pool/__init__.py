"""Lesson 04: thread pools - work stealing, fork-join, futures, adaptive sizing, executors for Python functions."""

from __future__ import annotations

from .timeline import busy_seconds, chrome_trace

try:
    from ._core import Future, TaskQueue, ThreadPool, adaptive_parallel, process_work_stealing
except ImportError as error:  # not built for this Python: what needs it says so when it is asked for
    _missing: ImportError | None = error
else:
    _missing = None

TYPE_CHECKING = False  # typing takes longer to import than the rest
if TYPE_CHECKING:
    from .boosting import boost
    from .executor import Executor, Failure, RemoteError, current_task
    from .processes import WorkerDied

__all__ = [
    "Executor",
    "Failure",
    "Future",
    "RemoteError",
    "TaskQueue",
    "ThreadPool",
    "WorkerDied",
    "adaptive_parallel",
    "boost",
    "busy_seconds",
    "chrome_trace",
    "current_task",
    "process_work_stealing",
]

_NATIVE = {"Future", "TaskQueue", "ThreadPool", "adaptive_parallel", "process_work_stealing"}
_LATER = {
    "Executor": "executor",
    "Failure": "executor",
    "RemoteError": "executor",
    "WorkerDied": "processes",
    "current_task": "executor",
    "boost": "boosting",
}


def __getattr__(name: str) -> object:  # what `import thread_pool` alone does not pay for
    if name in _LATER:
        value = globals()[name] = getattr(__import__(_LATER[name], globals(), None, (name,), 1), name)
        return value
    if name in _NATIVE and _missing is not None:
        raise ImportError(
            f"thread_pool.{name} needs the native module, which is not there for this Python ({_missing}). "
            "Build it: pip install ./04_thread_pool. Executor and boost work without it, boost serially"
        ) from _missing
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
