"""Pickles what plain pickle cannot: functions and classes by value, memoryviews, exceptions with arguments of their own.

Used on both sides of a border, in a worker as ``_tenfold_by_value``, on its own like worker.py. A function goes by reference
if a worker can import it; else as its code with the globals it reads, its cells and defaults. What more there is (classes
that no module holds, for one) is left to cloudpickle, which is imported then: it takes longer to load than the rest together.
"""

import _pickle
import io
import marshal
import sys
from _frozen_importlib_external import PathFinder
from _thread import RLock

import _tenfold_worker as worker

FunctionType, ModuleType = type(worker.serve), type(sys)
CellType = type(worker.make_cell())
MethodType = type(worker.Current(0).cancelled)
CodeType = type(worker.serve.__code__)
_AS_THEY_ARE = (type(None), type(...), type(NotImplemented))
_STREAMS = ("stdin", "stdout", "stderr")
_names, _importable, _seen_path = {}, {}, []
_registry = RLock()


class Cannot(TypeError):
    """No other way of pickling is to be tried."""


class Heavy(Exception):
    """cloudpickle is needed."""


def dumps(value, buffers=None, least=None):
    """
    The pickle of a value.

    Parameters
    ----------
    value : object
    buffers : list, optional
        Takes the buffers that are not in the pickle: memoryviews, and others of at least `least` bytes. None: a memoryview
        is an error.
    least : int, optional
        None: other buffers than memoryviews stay in the pickle.

    Returns
    -------
    bytes
    """
    first = None
    try:
        for kind in (Light, None):
            taken = None if buffers is None else []
            out = io.BytesIO()
            try:
                (kind or _heavy())(out, taken, least).dump(value)
            except Cannot as error:
                raise TypeError(*error.args) from None
            except Heavy as error:
                first = error
            except ImportError as error:
                if kind is None and isinstance(first, Heavy):
                    raise TypeError(f"{first} can only travel with cloudpickle: pip install cloudpickle ({error})") from None
                raise first or error from None
            except Exception as error:
                if kind is None and (first is None or isinstance(first, Heavy)):
                    raise
                if kind is None:
                    raise first from None
                first = error
            else:
                if buffers is not None:
                    buffers += taken
                return out.getvalue()
        raise AssertionError("unreachable")
    finally:
        first = None  # its traceback leads to this frame, and through those of callers to all that is packed


def dumps_error(error):
    """The pickle of an exception that can be rebuilt; raises if there is none."""
    data = dumps(error)
    _pickle.loads(data)
    return data


class _Rules:
    """What the light pickler and the one over cloudpickle have in common."""

    def __init__(self, out, buffers, least):
        self.buffers, self.least, self.views, self.cells, self.bases = buffers, least, {}, set(), {}
        super().__init__(out, 5, buffer_callback=_taker(self.views, buffers, least))

    def reduction(self, value):
        kind = type(value)
        if kind is FunctionType:
            if by_reference(value):
                return NotImplemented
            return (worker.untouched, boosted_name(value)) if boosted_name(value) else self.function(value)
        if isinstance(value, type):
            return (
                NotImplemented
                if any(value is each for each in _AS_THEY_ARE) or by_reference(value)
                else self.dynamic_class(value)
            )
        if (
            kind is MethodType
        ):  # pickle would take whatever has its name over there: of super().f, or of self.__f, another or none
            return worker.make_method, (value.__func__, value.__self__)
        if kind is memoryview:
            return self.view(value)
        if kind is CellType:
            return self.cell(value)
        if kind is ModuleType:
            return self.module(value)
        if kind.__name__ == "_lru_cache_wrapper" and kind.__module__ == "functools":
            return NotImplemented if by_reference(value) else self.cached(value)
        if getattr(kind, "__tenfold_boosted__", False):
            return value.__qualname__ if by_reference(value) else value.by_value()
        if isinstance(value, BaseException):
            return _error(value)
        if isinstance(value, (io.FileIO, io.BufferedIOBase, io.TextIOBase)) and not isinstance(
            value, (io.BytesIO, io.StringIO)
        ):
            for name in _STREAMS:
                if value is getattr(sys, name) or value is getattr(sys, f"__{name}__"):
                    return getattr, (sys, name)
            raise Cannot(f"an open file cannot travel ({kind.__qualname__})")
        return None

    def view(self, view):
        if not view.c_contiguous:
            raise Cannot("a memoryview with gaps cannot travel: it is not C-contiguous; send bytes of it")
        if self.least is not None and not worker.viewable(view):
            raise Cannot(f"a memoryview of format {view.format!r} and shape {view.shape} cannot travel to another process")
        if self.buffers is None:
            raise Cannot("a memoryview can only travel as an argument or a result")
        buffer = _pickle.PickleBuffer(view)
        self.views[id(buffer)] = buffer
        return memoryview, (buffer,)

    def cell(self, cell):
        if id(cell) in self.cells:
            return worker.make_cell, ()  # the function fills it
        return worker.make_cell, (), _content(cell), None, None, worker.set_cell

    def module(self, module):
        if importable(module.__name__):
            return worker.module, (module.__name__, ())
        raise Heavy(f"the module {module.__name__!r}")

    def function(self, function, cached=None):
        code, known = function.__code__, function.__globals__
        names, every, _ = referenced(code)
        globals_ = {name: _with_submodules(known[name], every) for name in names if name in known}
        for name in ("__name__", "__package__", "__file__", "__path__"):
            if name in known:
                globals_[name] = known[name]
        cells = function.__closure__
        self.cells.update(map(id, cells or ()))
        attributes = {}
        for name in (
            "__module__",
            "__qualname__",
            "__doc__",
            "__defaults__",
            "__kwdefaults__",
            "__annotations__",
            "__type_params__",
        ):
            try:
                value = getattr(function, name)
            except Exception:  # annotations that name what is not there
                continue
            if value or name == "__doc__":
                attributes[name] = value
        # One dict of globals for all functions of a module that are in this pickle.
        base = self.bases.setdefault(id(known), {})
        contents = tuple([tuple([_with_submodules(each, every) for each in _content(cell)]) for cell in cells or ()])
        state = globals_, attributes, function.__dict__, contents
        how = marshal.dumps(code), base, function.__name__, cells
        if cached is not None:  # made in one step: the function may name the cache that is around it
            return worker.make_cached, (cached, *how), state, None, None, worker.set_function
        return worker.make_function, how, state, None, None, worker.set_function

    def cached(self, cached):
        parameters = cached.cache_parameters()
        within, parameters = cached.__wrapped__, (parameters["maxsize"], parameters["typed"])
        if type(within) is FunctionType and not by_reference(within):
            return self.function(within, parameters)
        return worker.cached, (parameters, within)


def _taker(views, buffers, least):
    """Tells whether a buffer stays in the pickle. No method: a pickler that held it would be garbage in a cycle, and memory
    of the caller with it."""

    def take(buffer):
        if id(buffer) not in views:
            with memoryview(buffer) as view:
                if least is None or buffers is None or view.nbytes < least or not view.c_contiguous:
                    return True
        buffers.append(buffer)
        return False

    return take


class Light(_Rules, _pickle.Pickler):
    def reducer_override(self, value):
        found = self.reduction(value)
        return NotImplemented if found is None else found

    def dynamic_class(self, kind):
        raise Heavy(f"the class {kind.__qualname__!r}")


class Package:
    """In place of a package among a function's globals: with it, its submodules that the function reads are imported."""

    def __init__(self, *what):
        self.what = what

    def __reduce__(self):
        return worker.module, self.what


def _heavy():
    if "Heavyweight" not in globals():
        import cloudpickle

        class Heavyweight(_Rules, cloudpickle.Pickler):
            def reducer_override(self, value):
                found = self.reduction(value)
                return super().reducer_override(value) if found is None else found

            def module(self, module):
                return worker.module, (module.__name__, ()) if importable(module.__name__) else None

            def dynamic_class(self, kind):
                home = sys.modules.get(kind.__module__)
                registered = cloudpickle.list_registry_pickle_by_value()
                if home is None or kind.__module__ in ("__main__", "builtins") or home.__name__ in registered:
                    return super().reducer_override(kind)
                with _registry:
                    cloudpickle.register_pickle_by_value(home)
                    try:
                        return super().reducer_override(kind)
                    finally:
                        cloudpickle.unregister_pickle_by_value(home)

        globals()["Heavyweight"] = Heavyweight
    return globals()["Heavyweight"]


def boosted_name(function):
    """(module, qualified name) of what a worker can import and has this function under @boost, else None."""
    module, name = function.__module__, function.__qualname__
    if not isinstance(module, str) or "<" in name or not importable(module):
        return None
    found = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    return (module, name) if getattr(type(found), "__tenfold_boosted__", False) and found.serial is function else None


def by_reference(value):
    """Whether a worker gets the same function or class by importing the module that it names."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
    module = getattr(value, "__module__", None)
    if not isinstance(name, str) or not isinstance(module, str) or "<" in name or not importable(module):
        return False
    found = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


def importable(name):
    """Whether a worker finds this module at the same place: not one that only sits in sys.modules."""
    if _seen_path != sys.path:
        _seen_path[:] = sys.path
        _importable.clear()
    known = _importable.get(name)
    if known is None:
        known = _importable[name] = _find(name)
    return known


def _find(name):
    module = sys.modules.get(name)
    if module is None or name in ("__main__", "__mp_main__"):
        return False
    if name in sys.builtin_module_names or name.startswith("_tenfold_"):
        return True
    spec = getattr(module, "__spec__", None)
    file = getattr(module, "__file__", None)
    if spec is not None and spec.origin in ("built-in", "frozen"):
        return True
    parent = name.rpartition(".")[0]
    if parent and not importable(parent):
        return False
    finders = [PathFinder]  # those of editable installations are in the workers too
    finders += [each for each in sys.meta_path if "editable" in (getattr(each, "__module__", "") + type(each).__name__).lower()]
    for finder in finders:
        try:
            found = finder.find_spec(name, sys.modules[parent].__path__ if parent else None)
        except Exception:
            continue
        if found is not None:
            return found.origin == file or (file is None and found.origin is None) or _same_file(found.origin, file)
    return False


def _same_file(one, other):
    import os

    try:
        return os.path.samefile(one, other)
    except (OSError, TypeError):
        return False


def _with_submodules(value, every):
    """A package, such that with it the submodules that are among `every` name in the code are imported."""
    if type(value) is not ModuleType or not hasattr(value, "__path__") or not importable(value.__name__):
        return value
    inside = [each for each in tuple(sys.modules) if each.startswith(value.__name__ + ".")]
    return Package(value.__name__, tuple(each for each in inside if every.issuperset(each.split(".")[1:])))


def _content(cell):
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def referenced(code):
    """The names of globals that some code reads or writes; all names in it; whether it writes to cells from outside."""
    known = _names.get(code)
    if known is None:
        import opcode

        by_name = ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
        by_name = {opcode.opmap.get(each) for each in by_name}
        to_cell = {opcode.opmap.get(each) for each in ("STORE_DEREF", "DELETE_DEREF")}
        since_311 = sys.version_info >= (3, 11)
        shifted = opcode.opmap["LOAD_GLOBAL"] if since_311 else None
        names, every, writes, todo = {}, set(), False, [code]
        for each in todo:
            every.update(each.co_names)
            todo += [constant for constant in each.co_consts if type(constant) is CodeType]
            own = len({*each.co_varnames, *each.co_cellvars} if since_311 else each.co_cellvars)
            raw, extended = each.co_code, 0
            for i in range(0, len(raw), 2):
                argument = raw[i + 1] | extended
                extended = argument << 8 if raw[i] == opcode.EXTENDED_ARG else 0
                if raw[i] in by_name:
                    names[each.co_names[argument >> 1 if raw[i] == shifted else argument]] = None
                writes = writes or (raw[i] in to_cell and argument >= own)
        if len(_names) > 256:
            _names.clear()
        known = _names[code] = (tuple(names), every, writes)
    return known


def _error(error):
    """How an exception is rebuilt with its type, arguments and attributes, whatever its __init__ wants."""
    kind = type(error)
    try:
        made = error.__reduce_ex__(5)
        trial = made[0](*made[1])
        fits = type(trial) is kind and len(trial.args) == len(error.args) and str(trial) == str(error)
        own = kind.__reduce__ is not BaseException.__reduce__ or kind.__reduce_ex__ is not BaseException.__reduce_ex__
    except Exception:
        fits = False
    if fits and own and kind.__module__ != "builtins":
        return made
    state = dict(error.__dict__)
    if isinstance(error, (NameError, AttributeError, ImportError, OSError)):
        for name in ("name", "path", "filename", "filename2"):  # what is neither in __dict__ nor in args
            if name not in state and getattr(error, name, None) is not None:
                state[name] = getattr(error, name)
    if fits:
        if len(made) > 2 and made[2]:
            state.update(made[2])
        return made[0], made[1], state, None, None, worker.set_error
    return worker.make_error, (kind, error.args), state, None, None, worker.set_error
