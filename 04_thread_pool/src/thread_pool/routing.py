"""Where an executor's calls go: to the engine of the backend that suits them, or into the calling thread."""

from __future__ import annotations

import threading
from functools import partial

from . import life
from .choosing import (
    PROBED,
    Costs,
    Probe,
    all_immutable,
    candidates,
    chunk_sizes,
    code_of,
    holds_nothing,
    name_of,
    open_backend,
    pack,
)
from .engine import Batch, Engine, InlineEngine
from .futures import here
from .results import NEVER
from .travel import Calls, numbers_packed, only_plain

_PLAIN = frozenset((int, float, complex, bool, str, bytes, bytearray, type(None), range))
_MOST_FALLBACKS = 100

costs = Costs()


class Router:
    """An executor's settings and engines, apart from the executor: workers may outlive it."""

    def __init__(self, workers: int, backend: str, inside: bool = False):
        self.workers, self.requested = workers, backend
        self.inside = inside  # it came to a worker
        self.lock = threading.RLock()
        self.engines: dict = {}
        self.fallbacks: list = []
        self.unusable: dict = {}  # backend -> why it cannot run here
        self.refusals: dict = {}  # code -> module that refuses sub-interpreters
        self.last = None  # (backend, reason)
        self.stopping = False
        if not inside and backend not in ("auto", "serial"):
            self.engine(backend)

    # ---- choosing

    def engine(self, name: str):
        """The engine of a backend, made on first use; RuntimeError or ImportError if it cannot run here."""
        engine = self.engines.get(name)
        if engine is None:
            backend = open_backend(name)
            with self.lock:
                engine = self.engines.get(name)
                if engine is None:
                    refused = self.refused if name == "interpreters" else None
                    engine = self.engines[name] = Engine(backend, self.workers, refused)
                    if self.stopping:
                        engine.stop()
        return engine

    def inside_own_call(self) -> bool:
        """Whether one of our calls is under way on this thread, or waits for what it does."""
        return bool(here.inside) and any(each in here.inside for each in list(self.engines.values()))

    def inline(self):
        """(reason, True) if the calls are to be made by this thread, because of the settings or where we are."""
        if self.inside:
            return "inside a worker"
        if self.inside_own_call():
            return "inside one of the executor's own calls"
        return "asked for" if self.requested == "serial" else None

    def choose(self, fn, calls):
        """(engine, reason) for calls, a list of (args, kwargs); engine None: this thread."""
        reason = self.inline()
        if reason is not None:
            return None, reason
        if self.requested != "auto":
            engine = self.engine(self.requested)
            if self.requested == "interpreters":
                module = self.why(fn, calls)
                if module is not None:
                    raise _refusal(module)
            return engine, "asked for"
        left = None
        for name, reason in candidates():
            if name == "serial":
                return None, reason
            if left is not None:
                reason = f"instead of {left[0]}: {left[1]}"
            if name == "interpreters":
                module = self.why(fn, calls)
                if module is not None:
                    left = (name, _words(module))
                    self.fell_back(fn, name, "processes", left[1])
                    continue
            try:
                return self.engine(name), reason
            except (ImportError, RuntimeError) as error:
                left = (name, str(error))
                self.fell_back(fn, name, "processes" if name == "interpreters" else "serial", left[1])
        return None, f"nothing else runs here: {left[1]}"

    def why(self, fn, calls):
        """The module that refuses sub-interpreters, if the calls need one."""
        module = self.refusals.get(code_of(fn))
        if module is not None:
            return module
        from . import refusing

        return refusing.why(fn, calls)

    def fell_back(self, fn, origin: str, to: str, reason: str) -> None:
        entry = {"callable": name_of(fn), "from": origin, "to": to, "reason": reason}
        with self.lock:
            if entry not in self.fallbacks:
                self.fallbacks.append(entry)
                del self.fallbacks[:-_MOST_FALLBACKS]

    def refused(self, batch, error) -> None:
        """A module refused a sub-interpreter when a worker loaded a batch; no call was made."""
        fn = batch.origin
        if self.requested != "auto":
            raise _refusal(error.name) from error
        from . import refusing

        reason = _words(error.name)
        refusing.learn(error.name)
        with self.lock:
            self.refusals[code_of(fn)] = error.name
            if len(self.refusals) > 256:
                self.refusals.pop(next(iter(self.refusals)))
        engine = self.engine("processes")
        calls = engine.backend.repack(batch.calls)
        again = Batch(batch.owner, batch.first, batch.count, batch.function, calls, fn)
        self.fell_back(fn, "interpreters", "processes", reason)
        batch.owner._return(batch)
        engine.enqueue([again], late=True)
        self.last = ("processes", f"instead of interpreters: {reason}")

    # ---- work

    def submit(self, task, fn, args, kwargs) -> None:
        call = (args, kwargs or None)
        engine, reason = self.choose(fn, [call])
        engine = engine or InlineEngine(self.workers)
        backend = engine.backend
        function, calls = backend.pack_function(fn), backend.pack_calls([call], 0)
        batch = Batch(task, 0, 1, function, calls, origin_of(fn, backend))
        task._engine, task._batch = engine, batch
        engine.enqueue([batch])
        self.last = (backend.name, reason)

    def taken(self, items):
        """The items as they are now; many numbers packed, if they go to sub-interpreters: that takes no longer than a copy."""
        ours = type(items) is not list
        if ours:
            items = list(items)
        name = candidates()[0][0] if self.requested == "auto" else self.requested
        if len(items) > PROBED and name == "interpreters" and self.inline() is None:
            packed = numbers_packed(items)
            if packed is not None:
                return packed
        return items if ours else list(items)

    def map(self, consumer, fn, items, starred, chunksize) -> None:
        """Queues all of the items."""
        numbers = items if type(items) is Calls else None
        constant = numbers is not None or (not starred and only_plain(items))
        plain = constant or (not starred and _PLAIN.issuperset(map(type, items)))
        if plain or self.inline() is not None:  # noqa: SIM108
            calls = []
        else:
            calls = [(each if starred else (each,), None) for each in items]
        engine, reason = self.choose(fn, calls)
        calls = None
        code = code_of(fn)
        run = consumer.run
        run.learn = lambda seconds, count: costs.learn(code, seconds, count)
        if numbers is not None and not getattr(engine and engine.backend, "takes_numbers", False):
            numbers, items = None, numbers.unpacked()
        if engine is None:
            return self.at_once(consumer, fn, items, starred, chunksize, reason)
        backend = engine.backend
        function = backend.pack_function(fn)

        def batches(first, cost):
            for size in chunk_sizes(len(items) - first, engine.workers, chunksize, cost):
                if numbers is not None:
                    calls = numbers[first : first + size]
                else:
                    calls = partial(pack, backend, items[first : first + size], first, starred)
                    if not constant:  # what nobody can change is packed by the worker's thread
                        calls = calls()
                yield Batch(run, first, size, function, calls, origin_of(fn, backend))
                first += size

        def send(first):
            engine.enqueue(list(batches(first, costs.of(code))), late=True)
            self.last = (backend.name, reason)

        cost = costs.of(code)
        count = len(items)
        if (
            self.requested == "auto"
            and consumer.deadline is None
            and chunksize is None
            and count <= PROBED
            and (cost is None or cost * count < Probe.TINY)
            and all_immutable(items)
            and holds_nothing(fn)
        ):

            def tell(count, seconds):
                text = f"{count} call{'s' if count > 1 else ''} in {seconds * 1e6:.0f} µs"
                self.last = ("serial", f"tiny work: {text}")

            consumer.probe = Probe(run, fn, items, starred, send, tell)
            engine.enqueue([consumer.probe])
            self.last = (backend.name, reason)
        else:
            engine.enqueue(list(batches(0, cost)))
            self.last = (backend.name, reason)
        return None

    def at_once(self, consumer, fn, items, starred, chunksize, reason) -> None:
        """All of the calls, now, on this thread; results wait in the consumer, and progress is told."""
        engine = InlineEngine(self.workers, consumer.deadline)
        self.last = ("serial", reason)
        first = 0
        for size in chunk_sizes(len(items), 1, chunksize, costs.of(code_of(fn))):
            piece = items[first : first + size]
            engine.enqueue([Batch(consumer.run, first, size, fn, pack(engine.backend, piece, first, starred))])
            consumer.absorb_what_is_there()
            first += size

    # ---- life

    def info(self) -> dict:
        backend, reason = self.last or self.prospect()
        with self.lock:
            fallbacks = [dict(each) for each in self.fallbacks]
        return {
            "backend": backend,
            "requested": self.requested,
            "workers": self.workers,
            "reason": reason,
            "fallbacks": fallbacks,
        }

    def prospect(self):
        if self.inside:
            return "serial", "inside a worker"
        if self.requested != "auto":
            return self.requested, "asked for"
        for name, reason in candidates():
            try:
                if name != "serial":
                    open_backend(name)
            except (ImportError, RuntimeError):
                continue
            return name, reason
        return "serial", "nothing else runs here"

    def stop(self) -> None:
        """No more work comes. Called by a finalizer: no lock."""
        self.stopping = True
        for engine in list(self.engines.values()):
            engine.stop()

    def interrupt(self) -> None:
        """Pending calls are cancelled, running ones told."""
        for engine in list(self.engines.values()):
            engine.drain()
            engine.interrupt()

    def shutdown(self, wait: bool, cancel: bool) -> None:
        self.stop()
        if cancel:
            for engine in list(self.engines.values()):
                engine.drain()
        if not wait or self.inside_own_call() or (here.slot is not None and here.slot.engine in self.engines.values()):
            return
        while True:  # a batch may still move from one engine to another
            slots = [slot for engine in list(self.engines.values()) for slot in list(engine.slots)]
            if not slots:
                return
            life.wait_for(slots)

    def forked(self) -> None:
        self.lock = threading.RLock()


def origin_of(fn, backend):
    """For a batch: None where it shares objects, and no other worker ever takes it over."""
    return None if backend.name in ("threads", "serial") else fn


def _words(module) -> str:
    return getattr(module, "words", f"{module} refuses sub-interpreters")


def _refusal(module) -> ImportError:
    return ImportError(f'{_words(module)}; use backend="processes"', name=str(module))


class Source:
    """The input of an imap: read on by the thread that asks for results."""

    def __init__(self, items, router, fn, chunksize):
        self.items, self.router, self.fn, self.chunksize = items, router, fn, chunksize
        self.exhausted = False
        self.error = None
        self.packed: dict = {}  # engine -> the function, packed at the beginning
        self.engine, self.reason = router.choose(fn, [])
        if self.engine is not None:
            self.packed[self.engine] = self.engine.backend.pack_function(fn)

    def read_on(self, consumer, waiting) -> None:
        run = consumer.run
        code = code_of(self.fn)
        run.learn = lambda seconds, count: costs.learn(code, seconds, count)
        most = 4 * self.router.workers * self.chunksize
        while not self.exhausted and run.fail_at == NEVER and not run.stopped:
            room = min(self.chunksize, most - (consumer.read - consumer.delivered))
            if room <= 0 or waiting() or consumer.late():
                return
            chunk: list = []
            try:
                for _ in range(room):
                    chunk.append(next(self.items))
            except StopIteration:
                self.exhausted = True
            except Exception as error:  # after the results before it
                self.exhausted, self.error = True, error.with_traceback(error.__traceback__.tb_next)
            if chunk:
                first = consumer.read
                try:
                    self.send(consumer, first, chunk)
                except RuntimeError as error:  # shut down meanwhile
                    self.exhausted, self.error = True, error
                    return
                consumer.read = first + len(chunk)

    def send(self, consumer, first: int, chunk: list) -> None:
        """Queues a chunk; an item that cannot travel has failed."""
        router, run = self.router, consumer.run
        if self.engine is None or router.inside_own_call():
            engine, reason, function = InlineEngine(router.workers, consumer.deadline), self.reason, self.fn
        else:
            engine, reason = self.engine, self.reason
            if engine.backend.name == "interpreters" and not set(map(type, chunk)) <= _PLAIN:
                try:
                    engine, reason = router.choose(self.fn, [((each,), None) for each in chunk])
                except ImportError as error:
                    for offset in range(len(chunk)):
                        fail(run, first + offset, error)
                    return
            function = self.packed.get(engine)
            if function is None:
                function = self.packed[engine] = engine.backend.pack_function(self.fn)
        if engine.stopping:
            raise RuntimeError("cannot schedule new calls after shutdown()")
        while chunk:
            try:
                calls, count = pack(engine.backend, chunk, first, False), len(chunk)
                error = None
            except TypeError as bad:
                count, error = min(getattr(bad, "position", 0), len(chunk) - 1), bad
                calls = pack(engine.backend, chunk[:count], first, False) if count else None
            if count:
                engine.enqueue([Batch(run, first, count, function, calls, origin_of(self.fn, engine.backend))])
            if error is not None:
                fail(run, first + count, error)
                count += 1
            first += count
            chunk = chunk[count:]
        router.last = (engine.backend.name, reason)


def fail(run, index: int, error: BaseException) -> None:
    """The item at that index has failed before its call."""
    if run.stop_on_error:
        run.fail(index)
    run.events.put((index, 1, [None], {0: error}))
