"""Mistake: one side of a comparison reads a list, the other an array that was made before the clock started."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import numpy, performance_timing
    a = [float(i % 100) for i in range(100_000)]
    b = a[::-1]
    x, y = numpy.array(a), numpy.array(b)
    peer = {
        "wrong": lambda: (x * y).sum(),  # arrays
        "right": lambda: (numpy.array(a) * numpy.array(b)).sum(),  # lists, like ours
    }["{0}"]
    ours = lambda: performance_timing.dot_product(a, b)
    assert peer() == ours()
    ratio = performance_timing.compare({"ours": ours, "NumPy": peer}, min_time=0.005).ratios["NumPy"].median
    print(f"the C++ loop is {ratio:.1f} x as fast as NumPy" if ratio > 1 else f"the C++ loop is {1 / ratio:.1f} x slower than NumPy")
    print("done" if ratio > 1 else "(but it was given lists, and NumPy arrays)")
    """,
    expected="slower than NumPy",
)
