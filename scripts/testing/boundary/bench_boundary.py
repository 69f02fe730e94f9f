"""boundary.hpp against what a reader would use instead: crossing a list, building one, letting the GIL go.

Lesson 02's bench takes `cases()` into its own tables, so that a page shows them.
"""

from __future__ import annotations

import array
import random
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import boundary_probe as probe  # noqa: E402
import tenfold_bench as bench  # noqa: E402

np = bench.optional("numpy")


def listing(kind: str, size: int) -> list[float]:
    """`fresh`: items in the order of their allocation, as a comprehension leaves them; `shuffled`: all over memory."""
    rng = random.Random(size)
    values = [rng.random() for _ in range(size)]
    if kind == "shuffled":
        rng.shuffle(values)
    return values


def cases(sizes: tuple[int, ...] = (10**3, 10**4, 10**5, 10**6)) -> Iterator[bench.Case]:
    """Every callable of a case gets the same object; what crosses is counted, so that nothing is optimised away."""
    for size in sizes:
        for kind in ("fresh", "shuffled"):
            values = listing(kind, size)
            yield bench.Case(
                "boundary",
                f"list → float64, {kind}",
                size,
                "list",
                ours=lambda values=values: probe.read_float64(values),
                peers={
                    "pybind11 vector": lambda values=values: probe.caster_float64(values),
                    "numpy.asarray": np and (lambda values=values: np.asarray(values, np.float64).size),
                    "array.array": lambda values=values: len(array.array("d", values)),
                },
                at_least={"pybind11 vector": 4, "numpy.asarray": 8, "array.array": 4},
                aim={"pybind11 vector": 12, "numpy.asarray": 13, "array.array": 7},
                threads=1,
            )
    size = sizes[-1]
    integers = [random.Random(i).randrange(-(2**40), 2**40) >> i % 40 for i in range(size)]
    yield bench.Case(
        "boundary",
        "list → int64",
        size,
        "list",
        ours=lambda: probe.read_int64(integers),
        peers={
            "pybind11 vector": lambda: probe.caster_int64(integers),
            "numpy.asarray": np and (lambda: np.asarray(integers, np.int64).size),
            "array.array": lambda: len(array.array("q", integers)),
        },
        threads=1,
    )
    if np is not None:
        floats = np.array(listing("fresh", size))
        yield bench.Case(
            "boundary",
            "float64 → list",
            size,
            "array",
            ours=lambda: probe.to_list_float64(floats),
            peers={"ndarray.tolist": lambda: floats.tolist(), "float objects alone": lambda: probe.create_floats(floats)},
            check=lambda a, b: a == b or len(a) == b,
            threads=1,
            note="the floor: creating and dropping a float object per item",
        )


if __name__ == "__main__":
    sys.exit(bench.run(list(cases()), HERE / "results.json", "boundary.hpp"))
