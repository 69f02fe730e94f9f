"""Native stages: float64 kernels in C++ that need no GIL. Adjacent ones become one stage, one pass over the numbers.

    Pipeline().validate(native.finite).filter(native.at_least(0.0)).map(native.sqrt).map(native.times(2.0))

From a 1-D float64 array they take blocks of it where it is and give arrays; from anything else they take what ``float``
takes and give Python floats.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from . import _core


class Kernel(NamedTuple):
    """A native stage. It may be called, too: ``native.sqrt(4.0)`` is 2.0, and a test answers True or False."""

    name: str
    code: int
    tests: bool
    """Whether it is a test, for `validate` and `filter`; else it is for `map`."""
    number: float = 0.0

    def __call__(self, item: float) -> Any:
        kept = _core.Program([(self.code, self.number, False)]).run([item])[0]
        return bool(kept) if self.tests else kept[0]

    @property
    def label(self) -> str:
        """As it stands in names: ``at_least(0)``."""
        return self.name if math.isnan(self.number) else f"{self.name}({self.number:g})"


_NONE = math.nan  # no argument


def _test(name: str, code: str, number: float) -> Kernel:
    return Kernel(name, _core.KERNELS[code], True, _number(name, number))


def _number(name: str, number: float) -> float:
    if isinstance(number, (str, bytes)):
        raise TypeError(f"{name} takes a number, not {type(number).__name__}")
    value = float(number)
    if math.isnan(value):
        raise ValueError(f"{name} takes no NaN: nothing compares with it, and arithmetic gives nothing else")
    return value


finite = Kernel("finite", _core.KERNELS["finite"], True, _NONE)
"""Neither NaN nor infinite."""
sqrt = Kernel("sqrt", _core.KERNELS["sqrt"], False, _NONE)
"""Square root; NaN of a negative number, as NumPy has it."""
square = Kernel("square", _core.KERNELS["square"], False, _NONE)
"""x * x"""
absolute = Kernel("absolute", _core.KERNELS["absolute"], False, _NONE)
"""|x|"""
negative = Kernel("negative", _core.KERNELS["negative"], False, _NONE)
"""-x"""


def at_least(number: float) -> Kernel:
    """x >= number; False for NaN."""
    return _test("at_least", "at_least", number)


def at_most(number: float) -> Kernel:
    """x <= number; False for NaN."""
    return _test("at_most", "at_most", number)


def above(number: float) -> Kernel:
    """x > number; False for NaN."""
    return _test("above", "above", number)


def below(number: float) -> Kernel:
    """x < number; False for NaN."""
    return _test("below", "below", number)


def times(number: float) -> Kernel:
    """x * number"""
    return Kernel("times", _core.KERNELS["times"], False, _number("times", number))


def plus(number: float) -> Kernel:
    """x + number"""
    return Kernel("plus", _core.KERNELS["plus"], False, _number("plus", number))


def divided_by(number: float) -> Kernel:
    """x / number, as written: not times its reciprocal. 0.0 is refused."""
    kernel = Kernel("divided_by", _core.KERNELS["divided_by"], False, _number("divided_by", number))
    if kernel.number == 0.0:
        raise ValueError("divided_by(0.0): Division by zero")
    return kernel


__all__ = [
    "Kernel",
    "above",
    "absolute",
    "at_least",
    "at_most",
    "below",
    "divided_by",
    "finite",
    "negative",
    "plus",
    "sqrt",
    "square",
    "times",
]
