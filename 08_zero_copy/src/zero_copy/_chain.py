"""Expressions over whole arrays, evaluated block by block: what NumPy does in a pass per operator, in one pass."""

from __future__ import annotations

from . import _core

_NO_OPERAND = object()  # not None: multiply(None) is a mistake, not a step without an operand


class Chain:
    """A chain of steps on an array, run in one pass over memory, without temporaries.

    Each step takes an array of the first one's dtype or a number, and gives a new chain; nothing is computed before `run`.
    Every step rounds, as NumPy's would: the result has the same bits.

    Parameters
    ----------
    start : array
        What the first step is applied to.

    Examples
    --------
    >>> import numpy as np
    >>> a, b, c = np.arange(3.0), np.ones(3), np.full(3, 2.0)
    >>> Chain(a).multiply(b).add(c, times=2.0).subtract(1.0).run().tolist()  # a * b + c * 2 - 1
    [3.0, 4.0, 5.0]
    """

    __slots__ = ("_inputs", "_steps")

    def __init__(self, start):
        self._inputs = [start]
        self._steps = []

    def _then(self, name, value=_NO_OPERAND, constant=0.0):
        new = Chain.__new__(Chain)
        new._inputs, new._steps = list(self._inputs), list(self._steps)
        place = -1
        if isinstance(value, (int, float)) and not hasattr(value, "dtype"):
            constant = float(value)
        elif value is not _NO_OPERAND:
            place = len(new._inputs)
            new._inputs.append(value)
        new._steps.append((name, place, float(constant)))
        return new

    def add(self, value, *, times=None):
        """Adds an array, `times` a number if that is given, or a number."""
        if times is None:
            return self._then("add", value)
        if isinstance(value, (int, float)):
            return self._then("add", value * times)
        return self._then("add_scaled", value, times)

    def subtract(self, value):
        """Subtracts an array or a number."""
        return self._then("subtract", value)

    def multiply(self, value):
        """Multiplies by an array or a number."""
        return self._then("multiply", value)

    def divide(self, value):
        """Divides by an array or a number."""
        return self._then("divide", value)

    def subtract_from(self, value):
        """`value` minus what has been computed so far."""
        return self._then("rsubtract", value)

    def divide_into(self, value):
        """`value` divided by what has been computed so far."""
        return self._then("rdivide", value)

    def minimum(self, value):
        """The smaller of both; NaN when one is."""
        return self._then("minimum", value)

    def maximum(self, value):
        """The larger of both; NaN when one is."""
        return self._then("maximum", value)

    def sqrt(self):
        """The square root; NaN of what is negative."""
        return self._then("sqrt")

    def square(self):
        """The square."""
        return self._then("square")

    def negate(self):
        """The other sign."""
        return self._then("negate")

    def absolute(self):
        """Without the sign."""
        return self._then("absolute")

    def run(self, *, out=None, num_threads=None):
        """Computes the chain.

        Parameters
        ----------
        out : array, optional
            Filled and returned; it may be any of the arrays of the chain itself.
        num_threads : int, optional
            1 to 1024; all usable cores when None.

        Returns
        -------
        array
        """
        return _core.run_chain(self._inputs, self._steps, out=out, num_threads=num_threads)
