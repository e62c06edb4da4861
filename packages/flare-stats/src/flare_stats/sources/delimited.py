"""CSV and other delimited text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from flare_stats.sources.source import CHUNK, Column, SourceError, check_names, chosen, described, in_chunks

BLOCK = 4 << 20
# What pandas takes as missing.
MISSING = [
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
]


class DelimitedFile:
    """A CSV file with a header, read block by block.

    The kind of a column is that of the first block, of about 4 MiB, in which it has a value. Where a later block does
    not fit, all of its and the following blocks' columns are handed out as text: whatever spells a number still counts
    as one, the rest as failures. A line with too many or too few cells is skipped and counted.

    Args:
        path: of the file; may be compressed (``.gz``, ``.bz2``, ``.zst``).
        delimiter: the character between cells.
        encoding: of the text.
    """

    def __init__(self, path: Path, delimiter: str = ",", encoding: str = "utf8") -> None:
        self.skipped = 0
        self._path = path
        self._delimiter = delimiter
        self._encoding = encoding
        self._schema: pa.Schema | None = None

    def features(self) -> list[Column]:
        return described(self._types(), str(self._path))

    def chunks(self, columns: Sequence[str] | None = None, rows: int = CHUNK) -> Iterator[pa.RecordBatch]:
        schema = self._types()
        names = chosen(schema.names, columns, str(self._path))
        return in_chunks(self._batches(names, {name: schema.field(name).type for name in names}), rows)

    def _types(self) -> pa.Schema:
        """The type of each column, from the first block in which it has a value."""
        if self._schema is None:
            _, reader = self._open([], {})
            check_names(reader.schema.names, str(self._path))
            types = dict(zip(reader.schema.names, reader.schema.types, strict=True))
            for name in [name for name, of in types.items() if pa.types.is_binary(of)]:
                raise self._misencoded(f"column {name!r}")
            for name in [name for name, of in types.items() if pa.types.is_null(of)]:
                types[name] = self._later_type(name)
            self._schema = pa.schema(list(types.items()))
        return self._schema

    def _later_type(self, name: str) -> pa.DataType:
        """The type of a column without a value in the first block."""
        for batch in self._batches([name], {name: pa.string()}):
            column = batch.column(0).drop_null()
            if len(column):
                return _inferred(column)
        return pa.null()

    def _batches(self, names: list[str], types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        done = 0
        try:
            skipped, reader = self._open(names, types)
            for batch in self._read(reader):
                yield batch
                done += batch.num_rows
        except _OtherType:
            skipped, reader = self._open(names, dict.fromkeys(names, pa.string()))
            for batch in self._read(reader):
                again = min(done, batch.num_rows)
                done -= again
                if again < batch.num_rows:
                    yield batch.slice(again)
        self.skipped = len(skipped)

    def _read(self, reader: csv.CSVStreamingReader) -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except pa.ArrowInvalid as error:
            self._refuse(error)

    def _open(self, names: list[str], types: Mapping[str, pa.DataType]) -> tuple[list[None], csv.CSVStreamingReader]:
        """Open a pass over the file; skipped lines are noted in the list."""
        skipped: list[None] = []

        def skip(_: object) -> str:
            skipped.append(None)
            return "skip"

        try:
            return skipped, csv.open_csv(
                self._path,
                csv.ReadOptions(block_size=BLOCK, encoding=self._encoding),
                csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=skip),
                csv.ConvertOptions(
                    column_types=types, include_columns=names, null_values=MISSING, strings_can_be_null=True
                ),
            )
        except pa.ArrowInvalid as error:
            self._refuse(error)
            raise AssertionError from error
        except (OSError, LookupError) as error:
            raise SourceError(f"{self._path} cannot be read as CSV: {error}") from error

    def _refuse(self, error: pa.ArrowInvalid) -> None:
        """Raise what a failure of Arrow means."""
        text = str(error)
        if "invalid UTF8" in text or "codec can't decode" in text:
            raise self._misencoded(text) from error
        if "CSV conversion error" in text:
            raise _OtherType from error
        raise SourceError(f"{self._path} cannot be read as CSV: {text}") from error

    def _misencoded(self, where: str) -> SourceError:
        return SourceError(
            f'{self._path} is not encoded in {self._encoding}; say how with "encoding", such as "latin-1" ({where})'
        )


class _OtherType(Exception):
    """A block holds a value that is not of its column's type."""


def _inferred(column: pa.Array) -> pa.DataType:
    """The type that Arrow's CSV reader finds for values."""
    values = pa.BufferOutputStream()
    csv.write_csv(pa.table({"": column}), values)
    return csv.read_csv(values.getvalue()).schema.types[0]
