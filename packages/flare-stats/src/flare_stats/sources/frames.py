"""Frames in memory: pandas, Polars and Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from flare_stats.sources.source import (
    CHUNK,
    Column,
    Kind,
    SourceError,
    as_texts,
    check_names,
    chosen,
    described,
    in_chunks,
    kind_of,
)

# What pandas calls the values of a column of objects, and their kind.
OBJECTS: dict[str, Kind] = {
    "integer": "int",
    "floating": "float",
    "mixed-integer-float": "float",
    "decimal": "float",
    "boolean": "bool",
    "string": "text",
    "mixed-integer": "text",
    "categorical": "category",
    "datetime64": "datetime",
    "datetime": "datetime",
    "date": "datetime",
    "timedelta": "float",
    "empty": "empty",
}


class ArrowFrame:
    """An Arrow table or record batch, or anything that exports an Arrow stream and can do so several times."""

    def __init__(self, table: Any) -> None:
        self.skipped = 0
        self._table = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table

    def features(self) -> list[Column]:
        return described(self._stream().schema, "the Arrow table")

    def chunks(self, columns: Sequence[str] | None = None, rows: int = CHUNK) -> Iterator[pa.RecordBatch]:
        stream = self._stream()
        check_names(stream.schema.names, "the Arrow table")
        names = chosen(stream.schema.names, columns, "the Arrow table")
        return in_chunks((batch.select(names) for batch in stream), rows)

    def _stream(self) -> pa.RecordBatchReader:
        if isinstance(self._table, pa.Table):
            return self._table.to_reader()
        return pa.RecordBatchReader.from_stream(self._table)


class PolarsFrame:
    """A Polars frame, or a lazy one, which is collected by its streaming engine for each pass.

    Integers of 128 bits, which Arrow has not, become floats.
    """

    def __init__(self, frame: Any) -> None:
        import polars

        self.skipped = 0
        wide = [name for name, of in frame.collect_schema().items() if str(of).endswith("Int128")]
        self._frame = frame.with_columns(polars.col(wide).cast(polars.Float64)) if wide else frame

    def features(self) -> list[Column]:
        empty = self._frame.head(0)
        empty = empty.collect() if hasattr(empty, "collect") else empty
        return described(empty.to_arrow().schema, "the Polars frame")

    def chunks(self, columns: Sequence[str] | None = None, rows: int = CHUNK) -> Iterator[pa.RecordBatch]:
        names = chosen([column.name for column in self.features()], columns, "the Polars frame")
        frame = self._frame.select(names)
        parts = frame.collect_batches(chunk_size=rows) if hasattr(frame, "collect_batches") else frame.iter_slices(rows)
        return in_chunks((batch for part in parts for batch in part.to_arrow().to_batches()), rows)


class PandasFrame:
    """A pandas frame; columns are converted chunk by chunk, NumPy's without a copy.

    A column of objects has the kind of its values; where those are mixed (numbers and text), each is a text.
    """

    def __init__(self, frame: Any) -> None:
        self.skipped = 0
        self._frame = frame
        self._names = [str(name) for name in frame.columns]

    def features(self) -> list[Column]:
        check_names(self._names, "the pandas frame")
        return [Column(name, self._kind(at)) for at, name in enumerate(self._names)]

    def chunks(self, columns: Sequence[str] | None = None, rows: int = CHUNK) -> Iterator[pa.RecordBatch]:
        check_names(self._names, "the pandas frame")
        names = chosen(self._names, columns, "the pandas frame")
        parts = [self._parts(self._names.index(name)) for name in names]
        for start in range(0, len(self._frame), rows):
            yield pa.RecordBatch.from_arrays([part(start, start + rows) for part in parts], names)

    def _kind(self, at: int) -> Kind:
        import pandas

        column = self._frame.iloc[:, at]
        if column.dtype == object:
            found = pandas.api.types.infer_dtype(column, skipna=True)
            return _kind_of_mixed(column) if found == "mixed" else OBJECTS.get(found, "other")
        return kind_of(self._parts(at)(0, 1).type)

    def _parts(self, at: int) -> Callable[[int, int], Any]:
        """A function from a range of rows to the Arrow array of a column's values."""
        column = self._frame.iloc[:, at]
        if column.dtype == object:
            kind = self._kind(at)
            return lambda start, stop: _objects(column.iloc[start:stop], kind)
        if isinstance(column.dtype, np.dtype):
            values = column.to_numpy()
            if values.dtype.kind in "fiu" and values.dtype.itemsize <= 8:
                return lambda start, stop: pa.array(np.ascontiguousarray(values[start:stop]), from_pandas=False)
            if values.dtype.kind == "f":
                return lambda start, stop: pa.array(values[start:stop].astype(np.float64), from_pandas=False)
            if values.dtype.kind == "c":
                return lambda start, stop: _texts(values[start:stop])
        elif hasattr(column.dtype, "freq"):
            return lambda start, stop: pa.array(column.iloc[start:stop].dt.to_timestamp(), from_pandas=True)
        elif hasattr(column, "sparse"):
            return lambda start, stop: pa.array(column.iloc[start:stop].sparse.to_dense(), from_pandas=True)
        return lambda start, stop: _extension(column.iloc[start:stop])


def _kind_of_mixed(column: Any) -> Kind:
    """The kind of values that pandas cannot tell: lists and the like, or text beside numbers."""
    try:
        return kind_of(pa.array(column, from_pandas=True).type)
    except (pa.ArrowException, OverflowError, UnicodeError):
        return "text"


def _objects(column: Any, kind: Kind) -> Any:
    import pandas

    if kind == "text":
        return _texts(column)
    if kind == "other":
        present = pandas.notna(column).to_numpy()
        return pa.array([b"" if there else None for there in present], pa.binary())
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowException, OverflowError, UnicodeError):
        return _texts(column)  # integers of more than 64 bits, dates out of range


def _texts(column: Any) -> Any:
    import pandas

    values = column.tolist()
    present = pandas.notna(pandas.Series(values, dtype=object)).to_numpy()
    return as_texts(value if there else None for value, there in zip(values, present, strict=True))


def _extension(column: Any) -> Any:
    try:
        array = pa.array(column, from_pandas=True)
    except UnicodeError:
        return _texts(column)
    except pa.ArrowException as error:
        name, dtype = column.name, column.dtype
        raise SourceError(
            f"column {name!r} of the pandas frame has type {dtype}, which Arrow has not: {error}"
        ) from error
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
