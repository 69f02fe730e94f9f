"""Packs what calls returned and raised, where it is more than numbers and text; the other half of unpack_results in travel.py.

Used in a worker as ``_tenfold_outcomes``, on its own like worker.py.
"""

import _pickle
import io
import marshal
import sys

import _tenfold_worker as worker

MethodType = type(worker.Current(0).cancelled)


def pack(values, errors, stop):
    """(data, buffers) of a reply of kind PICKLED; a value that cannot travel becomes an error."""
    _as_in_c()
    failed = {error[0] for error in errors}
    packed, buffers = [], []
    for i, value in enumerate(values):
        own, data = [], None
        try:
            try:
                # What is not a memoryview goes in the pickle itself, where a copy has to be made anyway, unless memory is shared.
                data = _plainly(value, worker.least and _leaving(own))
            except RecursionError:
                raise
            except Exception:
                own = []
            if data is None:
                data = worker.by_value().dumps(value, own, worker.least)
        except BaseException as error:
            own, data = [], _pickle.dumps(None, 5)
            if i not in failed:
                errors.append(failure(i, untravelled("the result", value, error), error))
                if stop:
                    errors[:] = [min(errors)]
                    packed.append((data, 0))
                    break
        if len(data) > worker.MOST:
            own, data = [data, *own], None
        packed.append((data, len(own)))
        buffers += map(memoryview, own)
    return marshal.dumps(packed), tuple(buffers)


class _Plain(_pickle.Pickler):
    def reducer_override(self, value):
        if isinstance(value, (BaseException, MethodType)):
            raise TypeError  # pickle may rebuild another one: by_value.py knows how
        return NotImplemented


def _plainly(value, leaving):
    out = io.BytesIO()
    _Plain(out, 5, buffer_callback=leaving).dump(value)
    return out.getvalue()


def _leaving(own):
    def stays(buffer):
        with memoryview(buffer) as view:
            if view.nbytes < worker.least or not view.c_contiguous:
                return True
        own.append(buffer)

    return stays


def _as_in_c():
    """3.12 refuses _datetime here, so that datetime is the one in Python: over there it is the same class by this name."""
    inner = sys.modules.get("_pydatetime")
    if inner is not None and inner.datetime.__module__ == "_pydatetime" and "_datetime" not in sys.modules:
        for each in ("date", "time", "datetime", "timedelta", "timezone", "tzinfo"):
            getattr(inner, each).__module__ = "datetime"
        import copyreg

        copyreg.pickle(inner.timezone, lambda zone: (type(zone), zone.__getinitargs__()))


def untravelled(what, value, why):
    kind = type(value).__qualname__
    cure = ". Return a list of what it gives: list(...)" if kind == "generator" else ""
    return TypeError(f"{what} cannot travel: {kind}{_because(kind, why)}{cure}")


def _because(kind, why):
    text = str(why)
    return f" ({text})" if text and text != f"cannot pickle '{kind}' object" else ""


def failure(index, error, cause=None):
    """One entry of a reply's errors."""
    refusing = None if cause is not None else worker._refusal(error)
    try:
        text = _traceback(cause or error)
    except BaseException:
        text = ""
    try:
        message = str.__str__(str(error))  # marshal takes no subclass
    except BaseException as failed:
        message = f"<str() of it raised {type(failed).__name__}>"
    try:
        _as_in_c()
        data = worker.by_value().dumps_error(error)
    except BaseException:
        data = None
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    try:
        marshal.dumps((name, message, text))
    except ValueError:
        message = text = ""
    return index, data, name, message, text, refusing


def _traceback(error):
    import traceback

    inner = error.__traceback__
    while inner is not None and inner.tb_frame.f_globals is worker.__dict__:
        inner = inner.tb_next
    return "".join(traceback.format_exception(type(error), error, inner))
