"""Lesson 09: buffer pools, object pools, arenas, sliding windows, and memoryviews that own their memory."""

from ._core import batch_process_arena, parallel_transform_preallocated, sliding_window_sum
from .counting import AllocationCounts, allocation_counts, count_allocations
from .pools import BufferPool, BufferPoolStats, ObjectPool, ObjectPoolStats, PoolAllocator, PoolStats

__all__ = [
    "AllocationCounts",
    "BufferPool",
    "BufferPoolStats",
    "ObjectPool",
    "ObjectPoolStats",
    "PoolAllocator",
    "PoolStats",
    "allocation_counts",
    "batch_process_arena",
    "count_allocations",
    "parallel_transform_preallocated",
    "sliding_window_sum",
]
