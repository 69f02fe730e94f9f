"""Lesson 04: thread pools - work stealing, fork-join, futures, adaptive sizing."""

from ._core import Future, TaskQueue, ThreadPool, adaptive_parallel, process_work_stealing
from .timeline import busy_seconds, chrome_trace

__all__ = [
    "Future",
    "TaskQueue",
    "ThreadPool",
    "adaptive_parallel",
    "busy_seconds",
    "chrome_trace",
    "process_work_stealing",
]
