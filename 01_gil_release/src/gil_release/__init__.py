"""Lesson 01: release the GIL - when, what it costs, what it buys."""

from ._core import (
    GilObserver,
    Rendezvous,
    benchmark_gil_release,
    call_from_workers,
    compute_primes_blocking,
    compute_primes_releasing,
    compute_primes_segmented,
    parallel_compute,
    sleep_releasing,
)
from .measure import find_break_even, measure_gil_cost

__all__ = [
    "GilObserver",
    "Rendezvous",
    "benchmark_gil_release",
    "call_from_workers",
    "compute_primes_blocking",
    "compute_primes_releasing",
    "compute_primes_segmented",
    "find_break_even",
    "measure_gil_cost",
    "parallel_compute",
    "sleep_releasing",
]
