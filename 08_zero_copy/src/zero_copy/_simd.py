"""The instruction set, forced for a while."""

from __future__ import annotations

import contextlib

from . import _core


@contextlib.contextmanager
def simd_level(level):
    """While it lasts, all kernels of this process use one instruction set.

    Parameters
    ----------
    level : {"baseline", "avx2", "avx512", "neon"}

    Raises
    ------
    ValueError
        This CPU, or this build, does not have it.
    """
    before = _core.simd_info()
    _core.force_simd(level)
    try:
        yield
    finally:
        _core.force_simd(before["selected"] if before["forced"] else None)
