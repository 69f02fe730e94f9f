"""Mistake: changing a py::array_t argument in place. Given another dtype, pybind11 copies silently, and the copy is changed."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import lost_in_a_copy, numpy as np

    values = np.array([1.0, 2.0], np.float32)
    try:
        lost_in_a_copy.{0}(values)
    except TypeError:
        print("refused: the array is float32")
        values = values.astype(np.float64)  # a copy that the caller sees and makes
        lost_in_a_copy.{0}(values)
    print("done" if values[0] == 2.0 else f"no error, and the array is still {values.tolist()}")
    """,
    expected="still [1.0, 2.0]",
    source=HERE.with_suffix(".cpp"),
)
