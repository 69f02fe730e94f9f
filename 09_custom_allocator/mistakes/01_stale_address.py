"""Mistake: keeping the address of memory and giving the memory back. Whoever gets it next is written over."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import ctypes, custom_allocator, numpy

    pool = custom_allocator.PoolAllocator(4)

    def wrong():
        view = pool.allocate(64)
        address = numpy.frombuffer(view, numpy.uint8).ctypes.data  # a number: it keeps nothing alive
        pool.deallocate(view)
        return address, lambda: ctypes.memset(address, 7, 64)

    def right():
        view = pool.allocate(64)
        numbers = numpy.frombuffer(view, numpy.uint8)  # an array: while it lives, the slot does
        try:
            pool.deallocate(view)
        except BufferError:
            pass
        return numbers, lambda: numbers.fill(7)

    kept, write = {0}()
    other = pool.allocate(64)
    other[:] = bytes(64)
    write()
    print("done" if bytes(other) == bytes(64) else f"somebody else's memory was written to: {bytes(other[:4])}")
    """,
    expected="somebody else's memory was written to",
)
