"""Lesson 05: atomic counters, flags and statistics, seqlocks, lock-free containers."""

from ._core import (
    AtomicCounter,
    AtomicFlag,
    AtomicStats,
    LockFreeQueue,
    LockFreeStack,
    Statistics,
    benchmark_atomic_vs_mutex,
    benchmark_containers,
    benchmark_counters,
    benchmark_false_sharing,
    count_torn_reads,
    demonstrate_aba,
    litmus_message_passing,
    litmus_store_buffering,
    parallel_with_progress,
    simd_name,
    statistics,
)
from .progress import Progress, start_with_progress

__all__ = [
    "AtomicCounter",
    "AtomicFlag",
    "AtomicStats",
    "LockFreeQueue",
    "LockFreeStack",
    "Progress",
    "Statistics",
    "benchmark_atomic_vs_mutex",
    "benchmark_containers",
    "benchmark_counters",
    "benchmark_false_sharing",
    "count_torn_reads",
    "demonstrate_aba",
    "litmus_message_passing",
    "litmus_store_buffering",
    "parallel_with_progress",
    "simd_name",
    "start_with_progress",
    "statistics",
]
