from collections.abc import Sequence
from typing import Literal, SupportsFloat, SupportsIndex, overload

import numpy
from numpy.typing import NDArray

_Schedule = Literal["static", "dynamic", "guided"]
_Stores = Literal["auto", "plain", "nontemporal"]
_Floats = NDArray[numpy.float64]
_Ints = NDArray[numpy.int64]
_Number = SupportsFloat | SupportsIndex

def parallel_sum(
    numbers: Sequence[_Number] | _Floats, *, num_threads: int | None = None, schedule: _Schedule = "static"
) -> float: ...
def sequential_sum(numbers: Sequence[_Number] | _Floats) -> float: ...
def parallel_sum_chunked(
    numbers: Sequence[_Number] | _Floats, chunk_size: SupportsIndex, *, num_threads: int | None = None
) -> float: ...
def parallel_max(numbers: Sequence[_Number] | _Floats, *, num_threads: int | None = None) -> float | None: ...
@overload
def parallel_square(
    numbers: _Floats, *, num_threads: int | None = None, out: _Floats | None = None, stores: _Stores = "auto"
) -> _Floats: ...
@overload
def parallel_square(
    numbers: Sequence[_Number], *, num_threads: int | None = None, out: None = None, stores: _Stores = "auto"
) -> list[float]: ...
@overload
def parallel_saxpy(
    a: float, x: _Floats, y: _Floats, *, num_threads: int | None = None, out: _Floats | None = None, stores: _Stores = "auto"
) -> _Floats: ...
@overload
def parallel_saxpy(
    a: float,
    x: Sequence[_Number],
    y: Sequence[_Number],
    *,
    num_threads: int | None = None,
    out: None = None,
    stores: _Stores = "auto",
) -> list[float]: ...
@overload
def parallel_filter_even(numbers: _Ints, *, num_threads: int | None = None) -> _Ints: ...
@overload
def parallel_filter_even(numbers: Sequence[SupportsIndex], *, num_threads: int | None = None) -> list[int]: ...
@overload
def parallel_sort(numbers: _Floats, *, num_threads: int | None = None, out: _Floats | None = None) -> _Floats: ...
@overload
def parallel_sort(numbers: Sequence[_Number], *, num_threads: int | None = None, out: None = None) -> list[float]: ...
def parallel_word_count(documents: Sequence[str], *, num_threads: int | None = None) -> list[int]: ...
def parallel_word_frequencies(documents: Sequence[str], *, num_threads: int | None = None) -> dict[str, int]: ...
@overload
def parallel_matrix_multiply(
    a: _Floats, b: _Floats, *, num_threads: int | None = None, out: _Floats | None = None
) -> _Floats: ...
@overload
def parallel_matrix_multiply(
    a: Sequence[Sequence[_Number]], b: Sequence[Sequence[_Number]], *, num_threads: int | None = None, out: None = None
) -> list[list[float]]: ...
@overload
def parallel_mandelbrot(
    width: SupportsIndex,
    height: SupportsIndex,
    x_min: float,
    x_max: float,
    y_min: float,
    y_max: float,
    max_iter: SupportsIndex,
    *,
    num_threads: int | None = None,
    out: None = None,
    schedule: _Schedule = "dynamic",
    grain: SupportsIndex = 1,
) -> list[list[int]]: ...
@overload
def parallel_mandelbrot(
    width: SupportsIndex,
    height: SupportsIndex,
    x_min: float,
    x_max: float,
    y_min: float,
    y_max: float,
    max_iter: SupportsIndex,
    *,
    num_threads: int | None = None,
    out: NDArray[numpy.uint32],
    schedule: _Schedule = "dynamic",
    grain: SupportsIndex = 1,
) -> NDArray[numpy.uint32]: ...
def simd_name() -> str: ...
