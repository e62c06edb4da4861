"""Some columns of a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from flare_stats.sources.source import CHUNK, Column, Source, chosen


class Narrowed:
    """A source that shows only some of its columns."""

    def __init__(self, source: Source, columns: Sequence[str]) -> None:
        self._source = source
        self._columns = list(columns)

    @property
    def skipped(self) -> int:
        """How many rows of the last complete pass could not be read."""
        return self._source.skipped

    def features(self) -> list[Column]:
        known = {column.name: column for column in self._source.features()}
        return [known[name] for name in chosen(list(known), self._columns, "the source")]

    def chunks(self, columns: Sequence[str] | None = None, rows: int = CHUNK) -> Iterator[pa.RecordBatch]:
        return self._source.chunks(chosen(self._columns, columns, "the source"), rows)
