"""Lesson 02: OpenMP from Python - map, filter, reduce, sort, matrix product, word count, Mandelbrot."""

from ._core import (
    parallel_filter_even,
    parallel_mandelbrot,
    parallel_matrix_multiply,
    parallel_max,
    parallel_saxpy,
    parallel_sort,
    parallel_square,
    parallel_sum,
    parallel_sum_chunked,
    parallel_word_count,
    parallel_word_frequencies,
    sequential_sum,
    simd_name,
)

__all__ = [
    "parallel_filter_even",
    "parallel_mandelbrot",
    "parallel_matrix_multiply",
    "parallel_max",
    "parallel_saxpy",
    "parallel_sort",
    "parallel_square",
    "parallel_sum",
    "parallel_sum_chunked",
    "parallel_word_count",
    "parallel_word_frequencies",
    "sequential_sum",
    "simd_name",
]
