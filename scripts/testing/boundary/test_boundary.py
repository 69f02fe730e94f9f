"""boundary.hpp from Python: every caster, good input, bad input and input that fights back."""

from __future__ import annotations

import array
import collections
import copy
import ctypes
import decimal
import fractions
import gc
import math
import os
import pickle
import signal
import sys
import sysconfig
import threading
import time
import tracemalloc

import boundary_probe as probe
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold_testing import bound_classes, refuses_what_was_never_made, run_child

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
INT64 = st.integers(-(2**63), 2**63 - 1)
many = settings(max_examples=300, deadline=None)


def same_bits(a, b):
    return np.asarray(a, np.float64).tobytes() == np.asarray(b, np.float64).tobytes()


# ---- Numbers -------------------------------------------------------------------------------------------------------


@many
@given(st.lists(st.one_of(st.floats(), st.integers(-(2**1100), 2**1100), st.booleans(), st.fractions(), INT64)))
def test_float64_agrees_with_float(values):
    for container in (list, tuple, collections.deque):
        source = container(values)
        try:
            expected = [float(v) for v in values]
        except OverflowError:
            with pytest.raises(OverflowError):
                probe.round_trip_float64(source)
            continue
        result = probe.round_trip_float64(source)
        assert type(result) is list and all(type(v) is float for v in result)
        assert same_bits(result, expected)


@many
@given(st.lists(st.one_of(INT64, st.booleans(), st.integers(-(2**31), 2**31), st.integers(-(2**66), 2**66))))
def test_int64_agrees_with_int(values):
    for container in (list, tuple, collections.deque):
        source = container(values)
        bad = next((i for i, v in enumerate(values) if not -(2**63) <= v < 2**63), None)
        if bad is not None:
            with pytest.raises(OverflowError, match=rf"^numbers\[{bad}\] "):
                probe.round_trip_int64(source)
            continue
        result = probe.round_trip_int64(source)
        assert result == [int(v) for v in values] and all(type(v) is int for v in result)


@many
@given(st.lists(st.floats(width=64)), st.lists(INT64))
def test_arrays_agree_with_numpy(floats, ints):
    for values, dtype, call in ((floats, np.float64, probe.round_trip_float64), (ints, np.int64, probe.round_trip_int64)):
        source = np.array(values, dtype)
        result = call(source)
        assert type(result) is np.ndarray and result.dtype == dtype and result.tobytes() == source.tobytes()
        assert call(memoryview(source)).tobytes() == source.tobytes()


@many
@given(st.lists(st.lists(st.one_of(st.floats(allow_nan=False), INT64), max_size=5), max_size=5))
def test_rows(rows):
    expected = [[float(v) for v in row] for row in rows]
    assert probe.rows_float64(rows) == expected
    assert probe.rows_float64(tuple(map(tuple, rows))) == expected
    bad = next((i for i, row in enumerate(rows) if len(row) != len(rows[0])), None)
    if bad is None:
        assert probe.matrix_float64(rows) == (expected, len(rows), len(rows[0]) if rows else 0)
    else:
        with pytest.raises(ValueError, match=rf"^matrix\[{bad}\] has {len(rows[bad])} items"):
            probe.matrix_float64(rows)


@many
@given(st.lists(st.text()))
def test_texts(documents):
    result = probe.texts(documents)
    assert [t[3] for t in result] == documents
    assert [t[1] for t in result] == [len(d) for d in documents]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 7, 8, 255, 256, 1023, 1024, 1025, 10**5])
def test_sizes(n):
    floats = [i * 0.5 for i in range(n)]
    assert probe.round_trip_float64(floats) == floats
    assert probe.round_trip_int64(range(n)) == list(range(n))
    assert probe.round_trip_float64(range(n)) == [float(i) for i in range(n)]


@pytest.mark.parametrize("value", [-(2**63), 2**63 - 1, 2**30 - 1, 2**30, -(2**30), 2**53 + 1, 2**62, 0, -1, True])
def test_int_limits(value):
    assert probe.round_trip_int64([value]) == [int(value)]
    assert probe.round_trip_float64([value]) == [float(value)]
    assert probe.whole(value) == value


@pytest.mark.parametrize(
    "value", [2**53 + 1, 2**54 + 2, 2**63 - 1, -(2**63), 2**63, 2**64 + 2**11, 2**1023, 3**600, 2**1024 - 2**970 - 1]
)
def test_int_rounds_to_float_as_python_does(value):
    assert probe.round_trip_float64([value]) == [float(value)]
    assert probe.real(value) == float(value)


def test_items_that_are_numbers_in_other_ways():
    class Float(float):
        pass

    class Int(int):
        pass

    class Index:
        def __index__(self):
            return 7

    values = [
        Float(1.5),
        Int(2),
        Index(),
        np.float64(2.5),
        np.float32(0.5),
        np.int8(-3),
        np.uint64(2**40),
        np.float16(1),
        np.bool_(True),
        decimal.Decimal("0.1"),
        fractions.Fraction(1, 3),
    ]
    assert probe.round_trip_float64(values) == [float(v) if not isinstance(v, Index) else 7.0 for v in values]
    ints = [Int(2), Index(), np.int64(2**62), np.uint8(3), True]
    assert probe.round_trip_int64(ints) == [2, 7, 2**62, 3, 1]
    assert all(type(v) is int for v in probe.round_trip_int64(ints))


def test_other_sequences():
    class Subclass(list):
        def __iter__(self):
            return iter([9.0] * len(self))

    class Protocol:
        def __len__(self):
            return 3

        def __getitem__(self, i):
            if i >= 3:
                raise IndexError(i)
            return i * 0.5

    assert probe.round_trip_float64(Subclass([1.0, 2.0])) == [9.0, 9.0]
    assert probe.round_trip_float64(Protocol()) == [0.0, 0.5, 1.0]
    assert probe.round_trip_float64(collections.UserList([1, 2])) == [1.0, 2.0]
    assert probe.rows_float64([range(2), (), collections.deque([1.5]), np.array([2.0])]) == [[0.0, 1.0], [], [1.5], [2.0]]
    assert [t[3] for t in probe.texts(collections.deque(["a", "b"]))] == ["a", "b"]


# ---- Bad items and containers ---------------------------------------------------------------------------------------

not_sequences = [
    "text",
    "",
    None,
    3,
    1.5,
    {1.0},
    frozenset(),
    {1: 2.0},
    collections.OrderedDict(),
    collections.UserDict({0: 1.0}),
    (x for x in ()),
    iter([]),
    object(),
    1j,
    {1: 2}.values(),
    map(float, ()),
    np.float64,
    Ellipsis,
]


@pytest.mark.parametrize("source", not_sequences, ids=lambda s: type(s).__name__)
def test_not_a_sequence(source):
    for call, arg in (
        (probe.round_trip_float64, "numbers"),
        (probe.round_trip_int64, "numbers"),
        (probe.rows_float64, "rows"),
        (probe.matrix_float64, "matrix"),
        (probe.texts, "documents"),
    ):
        with pytest.raises(TypeError, match=rf"^{arg} must be a sequence of .*, not (\w+\.)*{type(source).__name__}"):
            call(source)


@pytest.mark.parametrize(
    "source", [b"12345678", bytearray(8), memoryview(b"12345678"), array.array("B", b"1234")], ids=lambda s: type(s).__name__
)
def test_bytes_are_not_numbers(source):
    for call in (probe.round_trip_float64, probe.round_trip_int64):
        with pytest.raises(TypeError, match="^numbers must be an array of (float|int)64, not .*astype"):
            call(source)
    with pytest.raises(TypeError):
        probe.texts(source)
    if isinstance(source, (bytes, bytearray)):
        with pytest.raises(TypeError, match=r"^rows\[0\] "):
            probe.rows_float64([source])


@pytest.mark.parametrize(
    "item",
    ["1", b"1", bytearray(b"1"), None, 1j, np.complex128(1), np.str_("1"), [], (), {}, object()],
    ids=lambda s: type(s).__name__,
)
@pytest.mark.parametrize("container", [list, tuple, collections.deque])
def test_bad_float_item(item, container):
    with pytest.raises(TypeError, match=rf"^numbers\[2\] must be a number, not (\w+\.)*{type(item).__name__}$"):
        probe.round_trip_float64(container([0.0, 1.0, item, "later"]))
    with pytest.raises(TypeError, match=r"^rows\[1\]\[0\] must be a number"):
        probe.rows_float64([[], [item]])


@pytest.mark.parametrize(
    "item", [1.0, np.float64(1), "1", None, 1j, decimal.Decimal(1), fractions.Fraction(1), float("nan")], ids=repr
)
def test_bad_int_item(item):
    for container in (list, tuple, collections.deque):
        with pytest.raises(TypeError, match=rf"^numbers\[1\] must be an int, not (\w+\.)*{type(item).__name__}$"):
            probe.round_trip_int64(container([0, item]))


def test_bad_text_item():
    for item in (b"x", None, 3, ["a"]):
        with pytest.raises(TypeError, match=rf"^documents\[1\] must be a str, not {type(item).__name__}$"):
            probe.texts(["a", item])


def test_too_large():
    with pytest.raises(OverflowError, match=r"^numbers\[1\] is an int that does not fit float64$"):
        probe.round_trip_float64([1, 10**400])
    with pytest.raises(OverflowError, match=r"^numbers\[1\] is an int that does not fit int64$"):
        probe.round_trip_int64([1, -(2**63) - 1])

    class Big:
        def __index__(self):
            return 10**400

    with pytest.raises(OverflowError, match=r"^numbers\[0\] is an int"):
        probe.round_trip_float64([Big()])
    with pytest.raises(OverflowError, match=r"^numbers\[0\] is an int"):
        probe.round_trip_int64([Big()])


# ---- Input that fights back -----------------------------------------------------------------------------------------


class Boom(Exception):
    pass


@pytest.mark.parametrize("error", [Boom, TypeError, ValueError, OverflowError, KeyboardInterrupt, StopIteration, IndexError])
def test_exceptions_of_items_come_through(error):
    class Item:
        def __float__(self):
            raise error("mine")

        def __index__(self):
            raise error("mine")

    for call in (probe.round_trip_float64, probe.round_trip_int64):
        for container in (list, tuple, collections.deque):
            with pytest.raises(error, match="^mine$"):
                call(container([1, Item()]))


@pytest.mark.parametrize("call", [probe.round_trip_float64, probe.round_trip_int64])
@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.clear(),
        lambda s: s.pop(),
        lambda s: s.append(1),
        lambda s: s.extend(range(10**5)),
        lambda s: s.__delitem__(slice(0, 2)),
    ],
    ids=["clear", "pop", "append", "extend", "delete"],
)
def test_item_that_changes_the_length(call, change):
    class Item:
        def value(self):
            change(source)
            return 1

        __float__ = lambda self: float(self.value())  # noqa: E731
        __index__ = lambda self: self.value()  # noqa: E731

    source = [*range(100), Item(), *range(10**4, 10**4 + 100)]
    with pytest.raises(RuntimeError, match="^numbers changed length"):
        call(source)
    with pytest.raises(RuntimeError, match="length"):
        source = collections.UserList([1, Item(), 2])
        call(source)


def test_item_that_replaces_its_neighbours_and_itself():
    class Item:
        def __float__(self):
            source[:] = [float(i) for i in range(1000, 1000 + len(source))]  # frees this very item
            gc.collect()
            return -1.0

    source = [0.0, Item(), *[object()] * 50]
    assert probe.round_trip_float64(source) == [0.0, -1.0, *[1000.0 + i for i in range(2, 52)]]


def test_item_that_changes_the_rows():
    class Item:
        def __float__(self):
            rows.clear()
            return 1.0

    rows = [[1.0], [Item()], [2.0, 3.0]]
    assert probe.rows_float64(rows) == [[1.0], [1.0], [2.0, 3.0]]  # as they were when the call began

    class Shrink:
        def __float__(self):
            rows[1].clear()
            return 1.0

    rows = [[1.0], [2.0, Shrink(), 3.0]]
    with pytest.raises(RuntimeError, match=r"^rows\[1\] changed length"):
        probe.rows_float64(rows)


def test_item_that_calls_back_in():
    class Item:
        def __float__(self):
            return sum(probe.round_trip_float64([1.0, 2.0]))

    assert probe.round_trip_float64([Item(), Item()]) == [3.0, 3.0]


class Liar:
    def __init__(self, length, items):
        self.length, self.items = length, items

    def __len__(self):
        if isinstance(self.length, BaseException):
            raise self.length
        return self.length

    def __getitem__(self, i):
        if i < 0:
            raise AssertionError("asked for a negative index")
        item = self.items(i)
        if isinstance(item, BaseException):
            raise item
        return item


@pytest.mark.parametrize(
    "call", [probe.round_trip_float64, probe.round_trip_int64, probe.rows_float64, probe.matrix_int64, probe.texts]
)
@pytest.mark.parametrize(
    ("length", "items", "error"),
    [
        (Boom(), lambda i: 1, Boom),
        (3, lambda i: Boom(), Boom),
        (-1, lambda i: 1, ValueError),
        (2**70, lambda i: 1, OverflowError),
        ("3", lambda i: 1, TypeError),
        (sys.maxsize, lambda i: IndexError(), RuntimeError),
        (10**12, lambda i: IndexError(), RuntimeError),
        (0, None, RuntimeError),
        (3, None, RuntimeError),
        (5, None, RuntimeError),
    ],
    ids=["len raises", "item raises", "negative", "huge", "not an int", "maxsize", "10**12", "says 0", "says 3", "endless"],
)
def test_lying_sequences(call, length, items, error):
    good = {probe.rows_float64: [], probe.matrix_int64: [], probe.texts: "x"}.get(call, 1)
    with pytest.raises(error):
        call(Liar(length, items or (lambda i: good)))  # None: items for ever


def test_no_length():
    class Unsized:
        def __getitem__(self, i):
            return 1.0

    with pytest.raises(TypeError, match="len"):
        probe.round_trip_float64(Unsized())


def test_lying_length_allocates_nothing():
    tracemalloc.start()
    try:
        with pytest.raises(RuntimeError):
            probe.texts(Liar(10**9, lambda i: "x" if i < 3 else IndexError()))
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_iter_that_misbehaves():
    class Iter(list):
        def __iter__(self):
            raise Boom

    class NoIterator(list):
        def __iter__(self):
            return 3

    with pytest.raises(Boom):
        probe.round_trip_float64(Iter([1.0]))
    with pytest.raises(TypeError):
        probe.round_trip_float64(NoIterator([1.0]))


def test_list_changed_by_another_thread():
    class Slow:
        def __float__(self):
            time.sleep(0)
            return 1.0

    source = [float(i) for i in range(500)] + [Slow()] + [1.0] * 500
    done = threading.Event()

    def change():
        while not done.is_set():
            source.append(2.0)
            source[0] = source[1] + 1.0
            source.pop()
            source.reverse()
            source.insert(300, source.pop())

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            try:
                assert len(probe.round_trip_float64(source)) in range(1000, 1003)
            except RuntimeError as error:
                assert "changed length" in str(error)
    finally:
        done.set()
        thread.join()


def test_nothing_leaks():
    class Item:
        def __float__(self):
            return 0.5

    class Bad:
        def __float__(self):
            raise Boom

    item, bad, number, text = Item(), Bad(), 12345.678, "text " * 5
    array_, other = np.ones(3), np.ones(4)
    sources = [
        [number, item],
        (number, item),
        collections.deque([number, item]),
        [number, bad],
        [number, "x"],
        [[number], [item]],
        [[bad]],
    ]
    watched = [item, bad, number, text, array_, *sources]

    def once():
        for source in sources:
            for call in (
                probe.round_trip_float64,
                probe.round_trip_int64,
                probe.rows_float64,
                probe.matrix_float64,
                probe.texts,
            ):
                try:
                    call(source)
                except (Boom, TypeError, ValueError):
                    pass
        probe.texts([text, text])
        probe.round_trip_float64(array_)
        probe.round_trip_float64(array_, out=array_)
        for wrong in (array_[::2], array_.astype(">f8"), array_.astype("f4")):
            try:
                probe.round_trip_float64(wrong)
            except (TypeError, ValueError):
                pass
        try:
            probe.round_trip_float64(array_, out=other)
        except ValueError:
            pass

    once()
    before = [sys.getrefcount(w) for w in watched]
    for _ in range(20):
        once()
    assert [sys.getrefcount(w) for w in watched] == before
    gc.collect()
    tracemalloc.start()
    try:
        once()
        start = tracemalloc.get_traced_memory()[0]
        rounds = 5000
        for _ in range(rounds):
            once()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - start < 18 * rounds  # one object a round is 24; caches grow a little
    finally:
        tracemalloc.stop()
    array_.resize(4, refcheck=False)  # fails if a buffer were still held


def test_buffers_are_released():
    source = bytearray(16)
    view = memoryview(source).cast("d")
    probe.round_trip_float64(view)
    with pytest.raises(ValueError):
        probe.round_trip_float64(view, out=np.ones(7))
    view.release()
    source.append(1)  # BufferError if anything held it


# ---- Buffers --------------------------------------------------------------------------------------------------------


class Sub(np.ndarray):
    pass


def test_zero_copy():
    floats, ints = np.arange(8.0), np.arange(8)
    assert probe.address_float64(floats) == floats.ctypes.data
    assert probe.address_int64(ints) == ints.ctypes.data
    assert probe.address_float64(floats[2:5]) == floats.ctypes.data + 16
    assert probe.address_float64(memoryview(floats)) == floats.ctypes.data
    assert probe.address_float64(floats.view(Sub)) == floats.ctypes.data
    own = array.array("d", [1, 2])
    assert probe.address_float64(own) == own.buffer_info()[0]
    text = "não"
    assert probe.texts([text])[0][0] == probe.texts((text,))[0][0]


def test_buffers_of_all_sorts():
    expected = [1.0, 2.0]
    readonly = np.array(expected)
    readonly.flags.writeable = False
    sources = [
        array.array("d", expected),
        memoryview(array.array("d", expected)),
        (ctypes.c_double * 2)(*expected),
        readonly,
        memoryview(np.array(expected).tobytes()).cast("d"),
        np.array(expected).view(Sub),
        np.array(expected, "<f8" if sys.byteorder == "little" else ">f8"),
        np.array([1.0, 0, 2.0])[[0, 2]],
        np.array([[1.0], [2.0]])[:, 0],
    ]
    for source in sources:
        result = probe.round_trip_float64(source)
        assert type(result) is np.ndarray and result.tolist() == expected
    for source in (
        array.array("q", [1, 2]),
        array.array("l", [1, 2]),
        (ctypes.c_int64 * 2)(1, 2),
        (ctypes.c_longlong * 2)(1, 2),
        np.array([1, 2], np.longlong),
        memoryview(np.array([1, 2]).tobytes()).cast("q"),
    ):
        if memoryview(source).itemsize == 8:
            assert probe.round_trip_int64(source).tolist() == [1, 2]


@pytest.mark.parametrize(
    "dtype",
    [
        "f4",
        "f2",
        "?",
        "i8",
        "u8",
        "i4",
        "c16",
        "c8",
        "g",
        "S8",
        "U2",
        "M8[s]",
        "m8[s]",
        "O",
        "V8",
        [("x", "f8")],
        [("x", "f8"), ("y", "f8")],
        ("f8", (2,)),
    ],
    ids=str,
)
def test_other_dtypes_are_type_errors(dtype):
    source = np.zeros(4, dtype)
    if source.ndim == 2:
        source = np.zeros(4, [("x", "f8", (2,))])
    with pytest.raises(
        TypeError, match=r"^numbers must be an array of float64, not .*; use numbers\.astype\(numpy\.float64\)$"
    ):
        probe.round_trip_float64(source)
    if dtype != "i8":
        with pytest.raises(TypeError, match="^numbers must be an array of int64"):
            probe.round_trip_int64(source)


def test_dtype_comes_before_layout_and_before_shape():
    with pytest.raises(TypeError):
        probe.round_trip_float64(np.zeros((3, 3), "i4")[::2])
    with pytest.raises(TypeError):
        probe.round_trip_float64(np.zeros(8, ">f4"))


@pytest.mark.parametrize(
    ("source", "cure"),
    [
        (np.zeros(4, ">f8" if sys.byteorder == "little" else "<f8"), r"astype\(numpy.float64\)"),
        (np.array(1.0), "must be 1-D, not"),
        (np.float64(1.0), "must be 1-D, not"),
        (np.zeros((2, 2)), "must be 1-D, not"),
        (np.zeros((0, 2)), "must be 1-D, not"),
        (np.zeros(8)[::2], "numpy.ascontiguousarray"),
        (np.zeros(8)[::-1], "numpy.ascontiguousarray"),
        (np.broadcast_to(1.0, (4,)), "numpy.ascontiguousarray"),
        (memoryview(np.zeros(8))[::2], "numpy.ascontiguousarray"),
        (np.frombuffer(bytearray(33), np.float64, 4, 1), r"numbers\.copy\(\)"),
        (np.zeros(3, [("a", "i1"), ("b", "f8")])["b"], "numpy.ascontiguousarray"),
    ],
    ids=[
        "byte order",
        "0-d",
        "scalar",
        "2-d",
        "empty 2-d",
        "strided",
        "reversed",
        "broadcast",
        "strided view",
        "misaligned",
        "field",
    ],
)
def test_layouts_that_are_value_errors(source, cure):
    with pytest.raises(ValueError, match=f"^numbers .*{cure}"):
        probe.round_trip_float64(source)


def test_cures_work():
    source = np.arange(8.0)
    for bad in (source.astype(">f8"), source.astype("f4")):
        assert probe.round_trip_float64(bad.astype(np.float64)).tolist() == source.tolist()
    assert probe.round_trip_float64(np.ascontiguousarray(source[::-1])).tolist() == source[::-1].tolist()
    assert probe.round_trip_float64(np.frombuffer(bytearray(33), np.float64, 4, 1).copy()).tolist() == [0.0] * 4


def test_empty_and_one():
    for source in (np.empty(0), np.empty((3, 0))[0], np.empty(8)[5:5], np.empty(8)[::2][:0], array.array("d")):
        assert probe.round_trip_float64(source).shape == (0,)
    assert probe.round_trip_float64(np.arange(8.0)[3:4:2]).tolist() == [3.0]  # one item: any stride is contiguous
    assert probe.round_trip_float64([]) == [] == probe.round_trip_int64(())


def test_released_memoryview():
    view = memoryview(np.zeros(3))
    view.release()
    with pytest.raises(ValueError, match="released"):
        probe.round_trip_float64(view)


def test_matrices():
    source = np.arange(6.0).reshape(2, 3)
    assert probe.matrix_float64(source)[0].tolist() == source.tolist() and probe.matrix_float64(source)[1:] == (2, 3)
    assert probe.matrix_float64(source[:1].T)[1:] == (3, 1)
    assert probe.matrix_float64(np.empty((0, 3)))[1:] == (0, 3)
    for bad in (source.T, source[:, ::2], source[0], source[None], np.asfortranarray(source)):
        with pytest.raises(ValueError, match="^matrix "):
            probe.matrix_float64(bad)
    with pytest.raises(TypeError, match="^matrix must be an array of float64, not int64"):
        probe.matrix_float64(source.astype(int))
    assert probe.matrix_float64([]) == ([], 0, 0)
    assert probe.matrix_float64([[], []]) == ([[], []], 2, 0)


def test_lists_and_arrays_do_not_mix():
    for call in (probe.both_float64, probe.both_int64):
        with pytest.raises(TypeError, match=r"^b is an array \(array.array\) but a is not; pass two lists or two arrays$"):
            call([1], array.array("d", [1.0]))
        with pytest.raises(TypeError, match=r"^a is an array but b \(list\) is not; pass two arrays or two lists$"):
            call(np.zeros(1), [1.0])
        with pytest.raises(TypeError, match="^a is an array but b"):
            call(b=(1,), a=np.zeros(1))
    assert probe.both_float64([1], (1, 2)) == (1, 2)
    assert probe.both_float64(np.zeros(1), array.array("d")) == (1, 0)


# ---- out= -----------------------------------------------------------------------------------------------------------


def test_out_is_filled_and_returned():
    source = np.arange(4.0)
    for out in (
        np.empty(4),
        array.array("d", bytes(32)),
        memoryview(bytearray(32)).cast("d"),
        np.empty(4).view(Sub),
        np.empty(9)[2:6],
    ):
        assert probe.round_trip_float64(source, out=out) is out
        assert list(out) == source.tolist()
    assert probe.round_trip_float64(source, out=source) is source  # itself: allowed for element-wise work
    assert probe.round_trip_float64(source, out=None) is not source
    shared = np.arange(5.0)
    with pytest.raises(ValueError, match="overlaps"):
        probe.round_trip_float64(shared[1:], out=shared[:-1])


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.empty(3), ValueError, r"^out has shape \(3,\), the result has shape \(4,\)$"),
        (np.empty((2, 2)), ValueError, "^out must be 1-D, not 2-D; use out.reshape"),
        (np.empty(8)[::2], ValueError, "^out is not C-contiguous"),
        (np.broadcast_to(np.zeros(4), (4,)), ValueError, "^out is read-only"),
        (memoryview(bytes(32)).cast("d"), ValueError, "^out is read-only"),
        (np.empty(4, "f4"), TypeError, "^out must be an array of float64, not float32"),
        (np.empty(4, int), TypeError, "^out must be an array of float64, not int64"),
        ([0.0] * 4, TypeError, "^out must be a writable float64 array or None, not list"),
        ("abcd", TypeError, "^out must be a writable float64 array or None, not str"),
    ],
)
def test_out_that_is_refused(out, error, message):
    before = list(out) if not isinstance(out, str) else out
    with pytest.raises(error, match=message):
        probe.round_trip_float64(np.arange(4.0), out=out)
    assert np.array_equal(list(out), list(before), equal_nan=not isinstance(out, str))


def test_out_matrix():
    out = np.empty((2, 3), np.uint32)
    assert probe.uint32_out(2, 3, out=out) is out and (out == 7).all()
    assert probe.uint32_out(2, 3).shape == (2, 3)
    with pytest.raises(ValueError, match=r"^out has shape \(2, 3\), the result has shape \(3, 2\)$"):
        probe.uint32_out(3, 2, out=out)


# ---- Single numbers -------------------------------------------------------------------------------------------------


def test_counts():
    assert probe.count(1) == 1 and probe.count(np.int16(7)) == 7 and probe.count(True) == 1 and probe.count(1000) == 1000
    assert probe.amount(0) == 0 and probe.amount(2**63 - 1) == 2**63 - 1
    for call, value, error, message in (
        (probe.count, 0, ValueError, "^value must be at least 1, not 0$"),
        (probe.count, -5, ValueError, "^value must be at least 1, not -5$"),
        (probe.count, 1001, ValueError, "^value must be at most 1000, not 1001$"),
        (probe.amount, -1, ValueError, "^value must be at least 0, not -1$"),
        (probe.amount, 2**63, OverflowError, "^value is an int that does not fit int64$"),
        (probe.whole, -(2**63) - 1, OverflowError, "^value is an int that does not fit int64$"),
        (probe.real, 10**400, OverflowError, "^value is an int that does not fit float64$"),
    ):
        with pytest.raises(error, match=message):
            call(value)
    for call in (probe.count, probe.amount, probe.whole):
        for value in (1.0, "1", None, np.float64(1), [1], b"1"):
            with pytest.raises(TypeError, match=f"^value must be an int, not (\\w+\\.)*{type(value).__name__}$"):
                call(value)
    for value in ("1", None, 1j, [1.0], b"1"):
        with pytest.raises(TypeError, match=f"^value must be a number, not {type(value).__name__}$"):
            probe.real(value)
    assert probe.real(1) == 1.0 and math.isnan(probe.real(float("nan"))) and probe.real(np.float32(0.5)) == 0.5


def test_threads():
    cores = probe.usable_cores()
    assert 1 <= cores <= max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    assert probe.chunked([1.0], 1)[2] == cores == probe.chunked([1.0], 1, num_threads=None)[2]
    assert probe.chunked([1.0], 1, num_threads=7)[2] == 7
    for value, error in (
        (0, ValueError),
        (-1, ValueError),
        (1025, ValueError),
        (2**70, OverflowError),
        (1.0, TypeError),
        ("2", TypeError),
    ):
        with pytest.raises(error, match="^num_threads "):
            probe.chunked([1.0], 1, num_threads=value)


def test_affinity_is_respected():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("no CPU affinity on this system")
    result = run_child(
        "import os, boundary_probe as p; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(p.usable_cores())"
    )
    assert result.stdout.strip() == "1", result.stderr


def test_counts_are_checked_before_the_data():
    for data in (["bad"], None, np.zeros(3, "f4"), np.zeros(8)[::2], "text"):
        with pytest.raises(ValueError, match="^chunk_size must be at least 1"):
            probe.chunked(data, 0)
        with pytest.raises(ValueError, match="^num_threads must be at least 1"):
            probe.chunked(data, 1, num_threads=0)


# ---- Results and signatures -----------------------------------------------------------------------------------------


def test_lists_of_strings():
    assert probe.strings() == ["a", "é", ""]


def test_signatures():
    text = probe.round_trip_float64.__doc__
    assert "numpy.typing.NDArray[numpy.float64]" in text and "out: numpy.typing.NDArray[numpy.float64] | None = None" in text
    assert "collections.abc.Sequence[float]" in text and "-> list[float]" in text
    assert "collections.abc.Sequence[collections.abc.Sequence[int]]" in probe.matrix_int64.__doc__
    assert "num_threads: int | None = None" in probe.chunked.__doc__


# ---- Classes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", bound_classes(probe), ids=lambda kind: kind.__name__)
def test_objects_that_were_never_made(kind):
    refuses_what_was_never_made(kind)


NEVER = r"\.__init__\(\) has not been called$"


def test_never_made_as_an_argument():
    for never in (probe.Made.__new__(probe.Made), probe.Derived.__new__(probe.Derived)):
        for call in (
            probe.Made(1).plus,
            lambda one: type(one).plus(one, one),
            probe.made_pointer,
            lambda one: probe.made_values([probe.Made(1), one]),
            probe.made_or_text,
            pickle.dumps,
            copy.copy,
            lambda one: setattr(one, "value", 3),
        ):
            with pytest.raises(TypeError, match=NEVER):
                call(never)
    with pytest.raises(BufferError) as caught:
        memoryview(probe.Made.__new__(probe.Made))
    assert isinstance(caught.value.__cause__, TypeError) and "has not been called" in str(caught.value.__cause__)
    for call in (probe.Made(1).plus, probe.made_pointer, probe.made_or_text, lambda one: probe.made_values([one])):
        with pytest.raises(TypeError, match="incompatible function arguments"):
            call(None)


def test_what_was_made_is_as_before():
    one, kept = probe.Made(5), probe.made_kept()
    assert (one.get(), one.plus(probe.Made(6)).value, one.plus(6).value, probe.Derived(3).get()) == (5, 11, 11, 3)
    assert (kept.get(), probe.made_kept() is kept, probe.made_pointer(kept), one.plus(kept).value) == (7, True, 7, 12)
    assert one.__enter__() is one and probe.made_values([one, 4, probe.Derived(2)]) == 11
    assert (probe.made_or_text(one), probe.made_or_text("x"), probe.made_or_text(3)) == ("made", "text", "made")
    assert memoryview(one).tolist() == [5] and pickle.loads(pickle.dumps(one)).get() == copy.deepcopy(one).get() == 5
    one.value = 8
    one.__init__(9)  # again: nothing happens
    assert one.get() == 8
    failed = probe.Made.__new__(probe.Made)
    with pytest.raises(TypeError):
        failed.__init__("x")
    with pytest.raises(TypeError, match=NEVER):
        failed.get()
    failed.__init__(3)
    assert failed.get() == 3


def test_several_bases_are_made_one_by_one():
    class Both(probe.Derived, probe.Apart):
        def __init__(self):
            for call in (self.get, self.own, self.eleven):
                with pytest.raises(TypeError, match="Both" + NEVER):
                    call()
            probe.Apart.__init__(self)
            assert self.eleven() == 11
            with pytest.raises(TypeError, match="Both" + NEVER):
                self.get()
            probe.Derived.__init__(self, 4)

    both = Both()
    assert (both.get(), both.own(), both.eleven(), probe.made_pointer(both), both.plus(both).get()) == (4, 4, 11, 4, 8)


def test_never_made_leaves_nothing():
    gc.collect()
    before = probe.made_alive()
    for _ in range(100):
        never = probe.Derived.__new__(probe.Derived)
        with pytest.raises(TypeError, match=NEVER):
            never.get()
        probe.Derived(1).get()
    del never
    gc.collect()
    assert probe.made_alive() == before


# ---- The GIL --------------------------------------------------------------------------------------------------------


def test_released_lets_others_run():
    """Each thread spins inside until all have been seen inside: impossible if one of them held the GIL."""
    workers = [threading.Thread(target=probe.spin, args=(0.3,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    most = 0
    while any(worker.is_alive() for worker in workers):
        most = max(most, probe.inside())
    assert most == 3


@pytest.mark.parametrize(
    ("kind", "error"), [("value", ValueError), ("stopped", RuntimeError), ("bad_alloc", MemoryError), ("int", RuntimeError)]
)
def test_released_passes_exceptions_on(kind, error):
    for _ in range(100):
        with pytest.raises(error):
            probe.released_throw(kind)
    probe.released_throw("none")


@pytest.mark.skipif(os.name == "nt", reason="signals are sent the POSIX way")
@pytest.mark.parametrize("call", ["spin", "spin_returning"])
def test_ctrl_c(call):
    result = run_child(
        f"""
        import os, signal, threading, time, boundary_probe as p
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        start = time.monotonic()
        try:
            p.{call}(20.0)
        except KeyboardInterrupt:
            print("interrupted", p.inside(), time.monotonic() - start < 5)
        p.spin(0.01)
        """
    )
    assert result.stdout.split() == ["interrupted", "0", "True"], result.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals are sent the POSIX way")
def test_signal_handlers_run_and_their_exception_is_the_one_raised():
    class Alarm(Exception):
        pass

    seen = []

    def handler(*_):
        seen.append(1)
        if len(seen) == 3:
            raise Alarm

    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        with pytest.raises(Alarm):
            probe.spin(20.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert len(seen) == 3


def test_exit_while_daemon_threads_are_inside():
    result = run_child(
        """
        import sys, threading, time, boundary_probe as p
        for _ in range(3):
            threading.Thread(target=p.spin, args=(30.0,), daemon=True).start()
        threading.Thread(target=p.round_trip_float64, args=([0.5] * 10,), daemon=True).start()
        while p.inside() < 3:
            time.sleep(0.01)
        class Slow:
            def __del__(self, sleep=time.sleep, write=sys.stdout.write):
                sleep(0.3)  # finalization goes on, and the threads ask for the GIL meanwhile
                write("left")
        sys.keep = Slow()
        """
    )
    assert (result.returncode, result.stdout) == (0, "left"), result.stderr


def test_exit_while_a_daemon_thread_throws():
    result = run_child(
        """
        import sys, threading, time, boundary_probe as p
        threading.Thread(target=p.released_throw, args=("at exit",), daemon=True).start()
        while p.inside() < 1:
            time.sleep(0.01)
        class Slow:
            def __del__(self, sleep=time.sleep, write=sys.stdout.write):
                sleep(0.3)  # finalization goes on: the thread throws, and asks for the GIL with its error in flight
                write("left")
        sys.keep = Slow()
        """
    )
    assert (result.returncode, result.stdout) == (0, "left"), result.stderr


SUBINTERPRETER = """
    import sys
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    import threading
    code = '''if True:
        import array, boundary_probe as p
        assert p.round_trip_float64([1, 2.5, True]) == [1.0, 2.5, 1.0]
        assert p.round_trip_int64((1, 2**40)) == [1, 2**40]
        assert p.chunked(array.array("d", [1.0, 2.0]), 3, num_threads=2) == (2, 3, 2)
        assert p.address_float64(array.array("d", [1.0]))
        out = array.array("d", [0.0, 0.0])
        assert p.round_trip_float64(array.array("d", [1.0, 2.0]), out=out) is out and out[1] == 2.0
        assert [t[3] for t in p.texts(["a", "\\u20ac"])] == ["a", "\\u20ac"]
        for bad, error in ((None, TypeError), (["x"], TypeError), ([10**400], OverflowError)):
            try:
                p.round_trip_float64(bad)
            except error as e:
                assert str(e).startswith("numbers"), e
            else:
                raise AssertionError(bad)
        try:
            p.released_throw("value")
        except ValueError:
            pass
        p.spin(0.2)
    '''
    import boundary_probe
    failed = []
    def run():
        interpreter = interpreters.create()
        try:
            problem = interpreters.run_string(interpreter, code)
            if problem is not None:
                failed.append(problem)
        finally:
            interpreters.destroy(interpreter)
    run()
    threads = [threading.Thread(target=run) for _ in range(3 if sys.version_info >= (3, 13) else 0)]
    for t in threads: t.start()
    for t in threads: t.join()
    boundary_probe.spin(0.1)
    print("done" if not failed else failed)
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sub-interpreters with their own GIL need CPython 3.12")
def test_sub_interpreters():
    result = run_child(SUBINTERPRETER, limit=60)
    assert result.returncode == 0 and result.stdout.strip() == "done", result.stdout + result.stderr


def test_importing_loads_no_numpy():
    result = run_child("import sys, boundary_probe as p; p.round_trip_float64([1.0]); print('numpy' in sys.modules)")
    assert result.stdout.strip() == "False", result.stderr
