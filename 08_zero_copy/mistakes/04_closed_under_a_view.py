"""Mistake: closing a mapped file while arrays still look at it. Python refuses, and the file stays mapped."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import mmap, pathlib, numpy as np, zero_copy

    pathlib.Path("numbers").write_bytes(np.ones(1000).tobytes())
    file = open("numbers", "r+b")
    memory = mmap.mmap(file.fileno(), 0)

    def wrong():
        view = memoryview(memory).cast("d")
        total = zero_copy.sum_nocopy(view)
        memory.close()  # `view` still looks at it

    def right():
        with memoryview(memory) as raw, raw.cast("d") as view:  # released at the end of the block
            total = zero_copy.sum_nocopy(view)
        memory.close()

    try:
        {0}()
        print("done")
    except BufferError as error:
        print(f"BufferError: {error}")
    """,
    expected="cannot close exported pointers exist",
)
