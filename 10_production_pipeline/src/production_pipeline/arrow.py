"""Arrow and Parquet, in and out. pyarrow is imported when one of these is used, and not before.

Rows of a table are dictionaries, values of an array Python objects; read a record batch at a time, so that a file larger than
memory goes through. Whatever speaks Arrow's PyCapsule protocol (pyarrow, polars, DuckDB, pandas) is a source.
"""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from .failures import optional
from .sources import Pacer, array_chunks

ROWS = 65536
"""Rows that are read, or gathered before they are written, at a time."""
_numbers = itertools.count()


def _pyarrow(what: str) -> Any:
    return optional("pyarrow", "pyarrow", what)


def _parquet(what: str) -> Any:
    _pyarrow(what)
    return optional("pyarrow.parquet", "pyarrow", what)


def chunks_of(source: Any, pacer: Pacer, vectors: bool) -> Iterator[Any]:
    """Lists of rows or values; blocks of a float64 array without nulls if the first stage can use them."""
    pa = _pyarrow("an Arrow source")
    if isinstance(source, (pa.Array, pa.ChunkedArray)):
        pieces = source.chunks if isinstance(source, pa.ChunkedArray) else [source]
        return _values(pa, pieces, pacer, vectors)
    if isinstance(source, pa.RecordBatchReader):
        return _rows(source, pacer)
    if isinstance(source, (pa.Table, pa.RecordBatch)):
        return _rows(source.to_batches() if isinstance(source, pa.Table) else [source], pacer)
    if not hasattr(source, "__arrow_c_stream__"):
        return _values(pa, [pa.array(source)], pacer, vectors)
    try:
        reader = pa.RecordBatchReader.from_stream(source)
    except pa.ArrowInvalid:  # not a table: a stream of plain values
        return _values(pa, pa.chunked_array(source).chunks, pacer, vectors)
    return _rows(reader, pacer)


def _rows(batches: Any, pacer: Pacer) -> Iterator[list]:
    for batch in batches:
        at = 0
        while at < batch.num_rows:
            rows = batch.slice(at, pacer.size).to_pylist()
            pacer.took(0.0, len(rows))
            at += len(rows)
            yield rows


def _values(pa: Any, pieces: Any, pacer: Pacer, vectors: bool) -> Iterator[Any]:
    for piece in pieces:
        if vectors and pa.types.is_float64(piece.type) and piece.null_count == 0:
            yield from array_chunks(piece.to_numpy(zero_copy_only=True), pacer, vectors)
            continue
        at = 0
        while at < len(piece):
            values = piece.slice(at, pacer.size).to_pylist()
            pacer.took(0.0, len(values))
            at += len(values)
            yield values


class ParquetSource:
    """The rows of a Parquet file, as dictionaries, read `rows` at a time.

    Parameters
    ----------
    path : str or path
    columns : list of str, optional
        Only these are read.
    rows : int
        Rows in memory at a time.
    """

    def __init__(self, path: str | os.PathLike, columns: list[str] | None = None, *, rows: int = ROWS) -> None:
        if rows < 1:
            raise ValueError(f"rows must be at least 1, not {rows}")
        self.path, self.columns, self.rows = os.fspath(path), columns, rows
        self._parquet = _parquet("ParquetSource")

    def __iter__(self) -> Iterator[dict]:
        with self._parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(self.rows, columns=self.columns):
                yield from batch.to_pylist()

    def __len__(self) -> int:
        return self._parquet.read_metadata(self.path).num_rows


class _Rows:
    """Gathers rows (dictionaries, or values for one column) into record batches."""

    def __init__(self, pa: Any, schema: Any) -> None:
        self._pa, self._schema = pa, schema
        self._gathered: list = []

    def write(self, item: Any) -> None:
        self._gathered.append(item)
        if len(self._gathered) >= ROWS:
            self.flush()

    def flush(self) -> None:
        if self._gathered:
            rows = [item if isinstance(item, dict) else {"value": item} for item in self._gathered]
            batch = self._pa.RecordBatch.from_pylist(rows, schema=self._schema)
            self._schema, self._gathered = batch.schema, []
            self.take(batch)

    def take(self, batch: Any) -> None:
        raise NotImplementedError


class ArrowSink:
    """Gathers the results into an Arrow table: rows that are dictionaries, or anything else in a column ``value``.

    Parameters
    ----------
    schema : pyarrow.Schema, optional
        Default: that of the first 65,536 rows. A row that does not fit ends the run.
    """

    def __init__(self, schema: Any = None) -> None:
        self._pa, self._schema = _pyarrow("ArrowSink"), schema
        self._table: Any = None

    def open(self) -> Any:
        """A writer for one run."""
        return _TableWriter(self, self._pa, self._schema)

    @property
    def table(self) -> Any:
        """Of the run that came to its end last; None before."""
        return self._table


class _TableWriter(_Rows):
    def __init__(self, sink: ArrowSink, pa: Any, schema: Any) -> None:
        super().__init__(pa, schema)
        self._sink = sink
        self._batches: list[Any] = []

    def take(self, batch: Any) -> None:
        self._batches.append(batch)

    def close(self) -> None:
        self.flush()
        schema = self._schema if self._schema is not None else self._pa.schema([])
        self._sink._table = self._pa.Table.from_batches(self._batches, schema=schema)

    def abort(self) -> None:
        self._batches.clear()


class ParquetSink:
    """Writes the results into a Parquet file, which appears when the run has come to its end, whole, and not before.

    Parameters
    ----------
    path : str or path
    schema : pyarrow.Schema, optional
        Default: that of the first 65,536 rows. A row that does not fit ends the run.
    """

    def __init__(self, path: str | os.PathLike, schema: Any = None) -> None:
        self.path, self._schema = pathlib.Path(path), schema
        self._pa, self._parquet = _pyarrow("ParquetSink"), _parquet("ParquetSink")

    def open(self) -> Any:
        """A writer for one run."""
        return _FileWriter(self)


class _FileWriter(_Rows):
    def __init__(self, sink: ParquetSink) -> None:
        super().__init__(sink._pa, sink._schema)
        self._sink = sink
        self._file: Any = None
        self._part = sink.path.with_name(f"{sink.path.name}.{os.getpid()}.{next(_numbers)}.part")

    def take(self, batch: Any) -> None:
        if self._file is None:
            self._file = self._sink._parquet.ParquetWriter(self._part, batch.schema)
        self._file.write_batch(batch)

    def close(self) -> None:
        try:
            self.flush()
            if self._file is None:  # no rows: a file without any
                schema = self._schema if self._schema is not None else self._pa.schema([])
                self._file = self._sink._parquet.ParquetWriter(self._part, schema)
            self._file.close()
            os.replace(self._part, self._sink.path)
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        try:
            if self._file is not None:
                self._file.close()
        finally:
            self._part.unlink(missing_ok=True)
