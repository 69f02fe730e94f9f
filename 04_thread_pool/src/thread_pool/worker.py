"""What runs calls on the far side of a border: in a sub-interpreter or in a worker process, by itself, as ``_tenfold_worker``.

It imports nothing of thread_pool and as little as possible of Python: the first result waits for it.

The transports (interpreters.py, processes.py) move one tuple there and one back; `serve` makes the second from the first::

    request = (task, key, function, flags, settings, kind, count, data, buffers)
        task      int > 0, growing: the number of this batch, for current_task().cancelled()
        key       int > 0: names the function's bytes
        function  bytes-like: its pickle; None: this worker has been sent it before under that key
        flags     COPY_EACH: the function is loaded anew for each call; STOP: no call after the first that failed
        settings  bytes-like: marshal of (sys.path, recursion limit, int_max_str_digits); None: as before
        kind      ITEMS: data is the marshal of a list, each item the only argument of a call
                  ARGS: of a list of tuples of positional arguments
                  PICKLED: of a list of (pickle of (args, kwargs or None), how many of the buffers are its own);
                  None for a pickle: it is the first of these
                  INTS, FLOATS: data is int64 or float64 in the machine's order, each the only argument of a call
        count     how many calls
        data      bytes-like
        buffers   tuple of C-contiguous memoryviews, those of the first call first

    reply = (status, kind, data, errors, buffers)
        status    DONE; MISSING: the function was dropped here, send the request again with its bytes; nothing was begun;
                  REFUSED: a module refuses sub-interpreters, nothing was begun, data is its name in UTF-8
        kind      ITEMS: data is the marshal of the list of values; PICKLED: of a list of (pickle, number of buffers);
                  INTS, FLOATS: data is the values, where no call failed
        data      bytes-like; the list ends at the failed call under STOP, and early when the batch was told to stop;
                  None stands for a failed call
        errors    bytes-like: the marshal of a list of (index of the call in this batch, pickle of the exception or None,
                  name of its type, its message, the traceback as text, name of the refusing module or None); or None
        buffers   tuple of C-contiguous memoryviews

Before the first request the transport calls ``start(told)``: `told` is a function without arguments that gives the highest
task number that was told to stop. It may add functions in C that do what `_only_plain`, `_pack_numbers` and `_items` do, and
``note(done, size)``, which hears how many calls have ended, and that one of the next `size` is under way.
"""

import marshal
import sys
from _thread import RLock
from time import perf_counter

ITEMS, ARGS, PICKLED, INTS, FLOATS = 0, 1, 2, 3, 4
DONE, MISSING, REFUSED = 0, 1, 2
COPY_EACH, STOP = 1, 2
PLAIN = frozenset((int, float, bool, str, bytes, type(None)))  # what marshal copies exactly; a subclass is pickled
REFUSAL = " does not support loading in subinterpreters"
KEPT, KEPT_BYTES = 64, 1 << 25  # functions, and of how many bytes together if there are several
MOST = (1 << 31) - 1  # bytes of a pickle that marshal takes; a longer one travels as the first of its own buffers

now = None  # what current_task() is in here: None between batches
least = None  # from how many bytes on the buffers of results leave their pickles; set by a transport that shares memory
viewable = None  # whether that transport can rebuild a memoryview of this format and shape
loading = False  # modules are being imported for the calls
_told = _note = None
_lock = RLock()
_functions = {}


class Current:
    """The batch that runs."""

    def __init__(self, number):
        self.number = number

    def cancelled(self):
        return _told() >= self.number


class Unloadable(Exception):
    """In place of arguments that could not be made here: args[0] says why."""


def start(told, only_plain=None, pack=None, items=None, note=lambda done, size: None):
    global _told, _only_plain, _pack_numbers, _items, _note
    _told, _note, _only_plain = told, note, only_plain or _only_plain
    _pack_numbers, _items = pack or _pack_numbers, items or _items


def _only_plain(items):
    return PLAIN.issuperset(map(type, items))


def serve(request):
    """The reply to one request; it raises nothing but what a lack of memory raises."""
    global now, loading
    task, key, function, flags, settings, kind, count, data, buffers = request
    if settings is not None:
        _apply(settings)
    if function is not None:
        _keep(key, function)
    elif key not in _functions:
        return MISSING, ITEMS, b"", None, ()
    values, errors, packed = [], [], None
    now, loading = Current(task), True
    try:
        try:
            loaded = _function(key, flags)
        except BaseException as error:
            if _refusal(error):
                return REFUSED, ITEMS, _refusal(error).encode(), None, ()
            errors = [beside("outcomes").failure(i, error) for i in range(1 if flags & STOP else count)]
            values = [None] * len(errors)
        else:
            if kind == PICKLED:
                calls = _load_calls(data, buffers)
                for each in calls:
                    if type(each) is Unloadable and _refusal(each.args[0]):
                        return REFUSED, ITEMS, _refusal(each.args[0]).encode(), None, ()
            else:
                calls = data if kind in _codes else marshal.loads(data)
            if flags & COPY_EACH:
                loaded = _Each(key, flags, loaded)
            loading = False
            packed = _run(_ways[kind](loaded), kind, calls, count, task, flags & STOP, values, errors)
            del loaded, calls
        _note(0, len(values))  # whichever of the results
        kind, data, out = (*packed, ()) if packed else _pack(values, errors, flags & STOP)
        errors.sort()
        return DONE, kind, data, marshal.dumps(errors) if errors else None, out
    finally:
        now, loading = None, False
        _flush()


def _run(call, kind, calls, count, task, stop, values, errors):
    """
    Appends the values of the calls; before each but the first it asks whether it is told to stop.

    By pieces of half a millisecond: their objects are still in the cache when they are used. While all values are numbers of
    one kind they are kept as those, and then (kind, data) is returned.
    """
    numbers, of, done, size = bytearray(), None, 0, 1
    while done < count and not (done and _told() >= task):
        begun = perf_counter()
        _note(done, size)
        failed = False
        got = []
        append = got.append
        try:
            for each in _items(kind, calls, done, size, task):
                append(call(each))
        except BaseException as error:
            failed = True
            errors.append(beside("outcomes").failure(done + len(got), error))
            append(None)
        if not got:  # told just now; or a request that is none, with fewer calls than it says
            break
        done += len(got)
        if numbers is not None:
            packed = None if failed else _pack_numbers(got)
            if packed and (of is None or of == packed[0]):
                of = packed[0]
                numbers += packed[1]
            else:
                if of is not None:
                    values += memoryview(numbers).cast(_codes[of]).tolist()
                numbers = None
        if numbers is None:
            values += got
        if failed and stop:
            break
        size = size * 2 if perf_counter() - begun < 0.0005 else max(1, size // 4)
    return numbers and (of, bytes(numbers))


def _pack_numbers(values):
    """(kind, data), or None."""


def _items(kind, calls, first, count, task):
    """Some of the arguments, out of a list or of the data of INTS and FLOATS, until the batch is told to stop."""
    if kind in _codes:
        calls = memoryview(calls).cast("B").cast(_codes[kind])
    for i in range(first, min(first + count, len(calls))):
        if i and _told() >= task:
            return
        yield calls[i]


def _with_pickled(function):
    def call(each):
        if type(each) is Unloadable:
            raise each.args[0]
        args, kwargs = each
        return function(*args, **kwargs) if kwargs else function(*args)

    return call


_codes = {INTS: "q", FLOATS: "d"}
_ways = [lambda function: function, lambda function: lambda args: function(*args), _with_pickled]
_ways += _ways[:1] * len(_codes)


class _Each:
    """A function with state of its own: each call gets one that no call has changed."""

    __slots__ = ("first", "flags", "key")

    def __init__(self, key, flags, first):
        self.key, self.flags, self.first = key, flags, first

    def __call__(self, *args, **kwargs):
        function, self.first = self.first, None
        if function is None:
            function = _function(self.key, self.flags)
        return function(*args, **kwargs)


def _apply(settings):
    path, recursion, digits = marshal.loads(settings)
    sys.path[:] = path
    try:
        sys.setrecursionlimit(recursion)
    except RecursionError:  # we are deeper already
        pass
    if digits is not None:
        sys.set_int_max_str_digits(digits)


def _keep(key, function):
    _functions.pop(key, None)
    _functions[key] = [bytes(function), None]
    while len(_functions) > 1 and (len(_functions) > KEPT or sum(len(each[0]) for each in _functions.values()) > KEPT_BYTES):
        del _functions[next(iter(_functions))]


def _function(key, flags):
    kept = _functions[key]
    if flags & COPY_EACH or kept[1] is None:
        import _pickle

        function = _pickle.loads(kept[0])
        if flags & COPY_EACH:
            return function
        kept[1] = function
    return kept[1]


def _load_calls(data, buffers):
    import _pickle

    loads, calls, taken = _pickle.loads, [], 0
    for pickled, own in marshal.loads(data):
        mine = buffers[taken : taken + own]
        taken += own
        if pickled is None:
            pickled, mine = mine[0], mine[1:]
        try:
            calls.append(loads(pickled, buffers=mine) if mine else loads(pickled))
        except BaseException as error:
            calls.append(Unloadable(error))
    return calls


def _pack(values, errors, stop):
    """(kind, data, buffers); a value that cannot travel becomes an error."""
    if _only_plain(values):
        try:
            return ITEMS, marshal.dumps(values, 2), ()
        except ValueError:  # longer than marshal can count
            pass
    return PICKLED, *beside("outcomes").pack(values, errors, stop)


def _refusal(error):
    """The module whose import in a sub-interpreter was refused, if that is what the exception came from."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ImportError):
            text = str(error)
            if REFUSAL in text:
                return text[: text.index(REFUSAL)].split()[-1]
        error = error.__cause__ or error.__context__
    return None


def beside(name):
    """Another module of this side, ``_tenfold_`` and its name, loaded from beside this file when it is needed."""
    known = "_tenfold_" + name
    module = sys.modules.get(known)
    if module is None:
        from importlib.machinery import SourceFileLoader

        path = serve.__code__.co_filename[: -len("worker.py")] + name + ".py"
        code = SourceFileLoader(known, path).get_code(known)
        with _lock:
            module = sys.modules.get(known)
            if module is None:
                module = type(sys)(known)
                module.__file__ = path
                exec(code, module.__dict__)
                sys.modules[known] = module
    return module


def by_value():
    return beside("by_value")


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # none, closed, or the reader's own
            pass


def farewell(patience):
    """Waits for threads that tasks have started; whether none is left."""
    import _thread
    import time

    global now
    now = None
    _functions.clear()
    threading = sys.modules.get("threading")
    todo = getattr(threading, "_threading_atexits", None)
    if todo:  # what ends the idle threads of concurrent.futures
        _thread.start_new_thread(_call_all, (todo[::-1],))
        todo.clear()
    end = time.monotonic() + patience
    pause = 0.0
    while _thread._count():
        if time.monotonic() >= end:
            return False
        time.sleep(pause)
        pause = min(pause + 0.001, 0.05)
    if pause:
        time.sleep(0.01)  # the last one takes its leave after it was counted out
    if threading is not None:
        threading._shutdown = lambda: None  # 3.12 would miss a thread state that is gone by then
    return True


def _call_all(todo):
    for each in todo:
        try:
            each()
        except BaseException:
            pass


# ---- what the pickles of by_value.py are made of


_def = None


def make_function(code, globals_, name, cells):
    code = marshal.loads(code)
    if cells or sys.version_info < (3, 13):
        return type(make_function)(code, globals_, name, None, cells)
    # From CPython 3.13 on only calls of what a `def` has made are specialised: the difference is a fifth of fib's time.
    global _def
    _def = _def or compile("def f(): pass", "<def>", "exec")
    define = _def.replace(co_consts=tuple([code if type(each) is type(code) else each for each in _def.co_consts]))
    made = {}
    exec(define, globals_, made)
    made["f"].__name__ = name
    return made["f"]


def set_function(function, state):
    globals_, attributes, members, contents = state
    if type(function) is not type(make_function):  # cached
        for name in ("__module__", "__qualname__", "__doc__"):
            setattr(function, name, attributes.get(name))
        function = function.__wrapped__
    known = function.__globals__
    for name, value in globals_.items():
        known.setdefault(name, value)
    known.setdefault("__builtins__", __builtins__)
    for name, value in attributes.items():
        if getattr(function, name) is not value:  # setting defaults, even to None, ends the specialising of calls
            setattr(function, name, value)
    function.__dict__.update(members)
    for cell, content in zip(function.__closure__ or (), contents):
        set_cell(cell, content)


def make_method(function, owner):
    return type(Current(0).cancelled)(function, owner)


def make_cached(parameters, *how):
    return cached(parameters, make_function(*how))


def cached(parameters, function):
    from functools import lru_cache

    return lru_cache(*parameters)(function)


def make_cell():
    return (lambda: absent).__closure__[0]
    absent = None  # never: so the cell is empty, and there is one for each call


def set_cell(cell, content):
    if content:
        cell.cell_contents = content[0]


def module(name, submodules):
    import importlib

    for each in submodules:
        try:
            importlib.import_module(each)
        except ImportError:
            pass
    return importlib.import_module(name)


def untouched(name, path):
    """The function under @boost of something that is known by its name."""
    found = module(name, ())
    for part in path.split("."):
        found = getattr(found, part)
    return found.serial


def make_error(kind, args):
    """An exception as it was, without its own __init__, which may want other arguments."""
    try:
        error = kind.__new__(kind, *args)
    except Exception:
        error = BaseException.__new__(kind)
    try:
        native = next(base for base in kind.__mro__ if base.__module__ == "builtins")
        native.__init__(error, *args)  # fields such as SystemExit.code
    except Exception:
        pass
    error.args = args
    return error


def set_error(error, state):
    for name, value in state.items():
        try:
            setattr(error, name, value)
        except Exception:
            error.__dict__[name] = value
