"""What can go wrong in a run, and how it is told: the failure of one item, a full sink, a cancelled run, a missing package."""

from __future__ import annotations

import builtins
import importlib
import linecache
import os
import sys
import traceback
from typing import Any, NamedTuple


class ValidationError(ValueError):
    """A `validate` stage said no to an item."""


class SinkFull(RuntimeError):
    """A sink has no room for an item. It ends the run under every `on_error`: whatever came after it would be lost too."""


class PipelineCancelled(RuntimeError):
    """The run was cancelled: what was in flight is dropped. To finish it instead: `Control.drain`."""


class ErrorRecord(NamedTuple):
    """An item that failed, for good."""

    stage: str
    """Name of the stage."""
    index: int  # type: ignore[assignment]
    """Number of the item in the source, from 0; after ``batch`` the number of the batch, after ``reduce`` 0."""
    value: Any
    """What the stage was given."""
    error: BaseException
    """The last exception."""
    traceback: str
    """Its traceback, as text: the frames themselves would keep everything alive that they see."""
    attempts: int
    """How often the stage was called for it."""


class Halted(BaseException):
    """Unwinds a stage in a worker after its run has ended; nobody outside the engine sees it."""


def check_halt(halt: list) -> None:
    if halt:
        raise Halted


def record(stage: str, index: int, value: Any, error: BaseException, attempts: int) -> ErrorRecord:
    text = _told(error)
    outer = sys.exc_info()[1]  # what the caller of run() is handling; it may be this error's context, and is not ours
    seen, rest = {id(outer)}, [error]
    while rest:
        each = rest.pop()
        if id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            inner = each.exceptions if isinstance(each, _GROUP) else ()
            rest += [one for one in (each.__cause__, each.__context__, *inner) if one is not None]
    return ErrorRecord(stage, index, value, error, text, attempts)


_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())  # of Python 3.11
_OWN = os.path.dirname(os.path.abspath(__file__))


def _told(error: BaseException) -> str:
    """The traceback from the reader's first frame on. By hand: the module traceback takes some 300 µs for each, to find out
    which part of a line to underline, and a run may have many."""
    if error.__cause__ is not None or (error.__context__ is not None and not error.__suppress_context__):
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    lines, frame = ["Traceback (most recent call last):\n"], error.__traceback__
    while frame is not None:
        code, number = frame.tb_frame.f_code, frame.tb_lineno
        if os.path.dirname(code.co_filename) != _OWN:
            lines.append(f'  File "{code.co_filename}", line {number}, in {code.co_name}\n')
            source = linecache.getline(code.co_filename, number).strip()
            if source:
                lines.append(f"    {source}\n")
        frame = frame.tb_next
    return "".join(lines + traceback.format_exception_only(type(error), error))


def annotate(error: BaseException, note: str) -> BaseException:
    """Adds a note as Python 3.11 does; before, the same list of notes, which nobody prints."""
    try:
        if hasattr(error, "add_note"):
            error.add_note(note)
        else:
            error.__notes__ = [*getattr(error, "__notes__", []), note]  # type: ignore[attr-defined]
    except Exception:  # an exception with a will of its own: it is raised as it is
        pass
    return error


def optional(module: str, package: str, what: str) -> Any:
    """The module, or an ImportError that says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{what} needs {package}: python -m pip install {package}", name=module) from error
