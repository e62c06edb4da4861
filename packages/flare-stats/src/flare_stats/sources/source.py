"""The common form of all sources: columns with a name and a kind, and rows in chunks of Arrow."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pyarrow as pa

from flare_core.errors import FlareError

CHUNK = 65_536
logger = logging.getLogger(__name__)
Kind = Literal["int", "float", "bool", "text", "category", "datetime", "image", "other", "empty"]
KINDS: tuple[Kind, ...] = ("int", "float", "bool", "text", "category", "datetime", "image", "other", "empty")


class SourceError(FlareError, ValueError):
    """Data that cannot be opened or read; names the source, the column and the remedy."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a source.

    Attributes:
        name: unique in its source.
        kind: ``"int"``, ``"float"`` (also decimals and durations, in seconds), ``"bool"``, ``"text"``, ``"category"``,
            ``"datetime"``, ``"image"`` (a list of pixels in each row), ``"other"`` (bytes, lists, structures: only
            counted) or ``"empty"`` (no value at all, so that the kind is that of the other sites).
    """

    name: str
    kind: Kind


class Source(Protocol):
    """Rows of one data set, which can be read several times."""

    @property
    def skipped(self) -> int:
        """How many rows of the last complete pass could not be read at all; 0 before.

        Such as a line of a CSV file with too many cells, or an image that is cut off.
        """
        ...

    def features(self) -> list[Column]:
        """Return the columns in their order."""
        ...

    def chunks(self, columns: Sequence[str] | None = None, rows: int = CHUNK) -> Iterator[pa.RecordBatch]:
        """Read the rows once, from the first, in chunks of at most `rows`.

        A chunk's column may have another Arrow type than the last one's where a source does not promise types (text
        where a number was expected): the accumulators convert what they can and count the rest as failures.

        Args:
            columns: names of the columns to read, in the order of the chunks; all by default.

        Raises:
            SourceError: a column is not there, or the data cannot be read.
        """
        ...


@contextmanager
def reading(where: object, what: str) -> Iterator[None]:
    """Raise what Arrow raises of a damaged file as an error that names it.

    Raises:
        SourceError: the file is not of its format.
    """
    try:
        yield
    except SourceError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:  # a UnicodeDecodeError is a ValueError
        raise SourceError(f"{where} cannot be read as {what}: {error}") from error


def note_skipped(where: object, rows: int, before: int) -> int:
    """Warn of rows that a pass has skipped, unless the pass before has skipped as many; return their number."""
    if rows != before:
        logger.warning("%s: rows that cannot be read were skipped, rows=%d", where, rows)
    return rows


def kind_of(of: Any) -> Kind:
    """Return the kind of an Arrow type."""
    types = pa.types
    if isinstance(of, pa.BaseExtensionType):
        return kind_of(of.storage_type)
    if types.is_run_end_encoded(of):
        return kind_of(of.value_type)
    if types.is_integer(of):
        return "int"
    if types.is_floating(of) or types.is_decimal(of) or types.is_duration(of) or types.is_time(of):
        return "float"
    if types.is_boolean(of):
        return "bool"
    if types.is_dictionary(of):
        return "category"
    if types.is_string(of) or types.is_large_string(of) or types.is_string_view(of):
        return "text"
    if types.is_timestamp(of) or types.is_date(of):
        return "datetime"
    return "empty" if types.is_null(of) else "other"


def described(schema: Any, where: str) -> list[Column]:
    """Return the columns of an Arrow schema."""
    check_names(schema.names, where)
    return [Column(entry.name, kind_of(entry.type)) for entry in schema]


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse columns that share a name.

    Raises:
        SourceError: names the column.
    """
    for name in names:
        if names.count(name) > 1:
            raise SourceError(f"{where} has {names.count(name)} columns named {name!r}; rename them")


def chosen(names: Sequence[str], columns: Sequence[str] | None, where: str) -> list[str]:
    """Return the names of the columns to read.

    Raises:
        SourceError: names a column that is not there.
    """
    for name in columns or ():
        if name not in names:
            known = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
            raise SourceError(f"{where} has no column {name!r}; it has: {known}")
    return list(names if columns is None else columns)


def as_texts(values: Iterable[Any]) -> pa.Array:
    """Return an Arrow array of the text of each value but None; what UTF-8 cannot hold becomes a question mark."""
    texts = (None if value is None else str(value).encode("utf-8", "replace").decode() for value in values)
    return pa.array(texts, pa.string())


def in_chunks(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Cut batches that have more than `rows` rows; leaves out empty ones."""
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows) if batch.num_rows > rows else batch
