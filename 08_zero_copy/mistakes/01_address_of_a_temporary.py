"""Mistake: keeping an array's address, not the array. The memory belongs to somebody else by the time it is used."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import ctypes, numpy as np, zero_copy

    def make():
        return np.full(1000, 1.0)

    def wrong():
        address = make().ctypes.data  # the array is gone at the end of this line
        other = np.full(1000, 2.0)  # and its place is taken
        return ctypes.c_double.from_address(address).value

    def right():
        view = zero_copy.View(make())  # keeps the memory alive, whoever owned it
        other = np.full(1000, 2.0)
        return memoryview(view)[0]

    found = {0}()
    print("done" if found == 1.0 else f"the array of ones holds {found}")
    """,
    expected="the array of ones holds 2.0",
)
