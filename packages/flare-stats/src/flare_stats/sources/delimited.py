"""CSV and other delimited text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from flare_stats.sources.source import (
    CHUNK,
    Column,
    SourceError,
    check_names,
    chosen,
    described,
    in_chunks,
    note_skipped,
)

BLOCK = 1 << 20
PASSES = 4  # from then on, all columns are read as text
MISFIT = re.compile(r"In CSV column #(\d+): CSV conversion error")
UNREADABLE_LINE = re.compile(r"(?:Row #(\d+): )?Expected \d+ columns, got \d+")
OTHER_DELIMITERS = ";\t|,"
# What pandas takes as missing.
MISSING = [
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
]


class DelimitedFile:
    """A CSV file with a header, read block by block.

    The kind of a column is that of the first block, of 1 MiB, in which it has a value. From a block on that does not
    fit it, a column is handed out as text: whatever spells a number still counts as one, the rest as failures. A line
    with too many or too few cells is skipped and counted.

    Args:
        path: of the file; may be compressed (``.gz``, ``.bz2``, ``.zst``).
        delimiter: the character between cells.
        encoding: of the text.
        is_assumed: nobody named the delimiter, so a single column with another one in its name is an error.
    """

    def __init__(self, path: Path, delimiter: str = ",", encoding: str = "utf8", *, is_assumed: bool = False) -> None:
        self.skipped = 0
        self._path = path
        self._delimiter = delimiter
        self._encoding = encoding
        self._is_assumed = is_assumed
        self._header: list[str] = []
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
            with self._reading():
                _, reader = self._open([], {})
                self._header = reader.schema.names
            check_names(self._header, str(self._path))
            self._check_delimiter()
            types = dict(zip(self._header, reader.schema.types, strict=True))
            for name in [name for name, of in types.items() if pa.types.is_binary(of)]:
                raise self._misencoded(f"column {name!r}")
            types |= self._later_types([name for name, of in types.items() if pa.types.is_null(of)])
            self._schema = pa.schema(list(types.items()))
        return self._schema

    def _check_delimiter(self) -> None:
        if self._is_assumed and len(self._header) == 1:
            for other in OTHER_DELIMITERS:
                if other in self._header[0]:
                    raise SourceError(
                        f"{self._path} has a single column, and its name holds {other!r}; if that separates the cells,"
                        f' give {{"path": …, "delimiter": {other!r}}}'
                    )

    def _later_types(self, names: list[str]) -> dict[str, pa.DataType]:
        """The types of columns without a value in the first block, by name; those without any value are left out."""
        types: dict[str, pa.DataType] = {}
        for batch in self._batches(names, dict.fromkeys(names, pa.string())) if names else ():
            for name in names:
                if name not in types and len(values := batch.column(name).drop_null()):
                    types[name] = _inferred(values)
            if len(types) == len(names):
                break
        return types

    def _batches(self, names: list[str], types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        types = dict(types)
        passes = done = 0
        while True:
            again = done
            try:
                with self._reading():
                    skipped, reader = self._open(names, types)
                    for batch in reader:
                        seen = min(again, batch.num_rows)  # rows that were handed out before a value did not fit
                        again -= seen
                        if seen < batch.num_rows:
                            yield batch.slice(seen)
                            done += batch.num_rows - seen
                break
            except _OtherType as other:
                passes += 1
                misfits = names if passes == PASSES else [self._header[other.column]]
                types |= dict.fromkeys(misfits, pa.string())
        self.skipped = note_skipped(self._path, len(skipped), self.skipped)

    def _open(self, names: list[str], types: Mapping[str, pa.DataType]) -> tuple[list[None], csv.CSVStreamingReader]:
        """Open a pass over the file; skipped lines are noted in the list."""
        skipped: list[None] = []

        def skip(_: object) -> str:
            skipped.append(None)
            return "skip"

        return skipped, csv.open_csv(
            self._path,
            csv.ReadOptions(block_size=BLOCK, encoding=self._encoding),
            csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=skip),
            csv.ConvertOptions(
                column_types=types, include_columns=names, null_values=MISSING, strings_can_be_null=True
            ),
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Raise what a failure of Arrow means."""
        try:
            yield
        except UnicodeError as error:
            raise self._misencoded(str(error)) from error
        except pa.ArrowInvalid as error:
            text = str(error)
            if "invalid UTF8" in text or "codec can't decode" in text:
                raise self._misencoded(text) from error
            if found := MISFIT.search(text):
                raise _OtherType(int(found[1])) from error
            if line := UNREADABLE_LINE.search(text):
                # Such lines are skipped, unless they cannot be decoded. The message, which holds the line, is dropped.
                place = f"line {line[1]}" if line[1] else "a line that cannot be decoded"
                raise self._misencoded(place) from None
            raise SourceError(f"{self._path} cannot be read as CSV: {text}") from error
        except (OSError, LookupError) as error:
            raise SourceError(f"{self._path} cannot be read as CSV: {error}") from error

    def _misencoded(self, where: str) -> SourceError:
        return SourceError(
            f'{self._path} is not encoded in {self._encoding}; say how with "encoding", such as "latin-1" ({where})'
        )


class _OtherType(Exception):
    """A block holds a value that is not of its column's type.

    Attributes:
        column: its place in the file.
    """

    def __init__(self, column: int) -> None:
        self.column = column


def _inferred(column: pa.Array) -> pa.DataType:
    """The type that Arrow's CSV reader finds for values."""
    values = pa.BufferOutputStream()
    csv.write_csv(pa.table({"": column}), values)
    return csv.read_csv(values.getvalue()).schema.types[0]
