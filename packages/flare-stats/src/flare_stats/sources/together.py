"""Several files of one data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from flare_stats.sources.source import CHUNK, Column, Source, SourceError


class FilesTogether:
    """The rows of several files, one file after the other; all have the columns of the first one.

    Args:
        files: the source of each file, by its path.
    """

    def __init__(self, files: dict[Path, Source]) -> None:
        self._files = files

    @property
    def skipped(self) -> int:
        """How many rows of the last complete pass could not be read."""
        return sum(file.skipped for file in self._files.values())

    def features(self) -> list[Column]:
        kinds: dict[str, Column] = {}
        first = next(iter(self._files))
        for path, file in self._files.items():
            columns = {column.name: column for column in file.features()}
            kinds = kinds or columns
            if kinds.keys() != columns.keys():
                name = min(kinds.keys() ^ columns.keys())
                has, lacks = (path, first) if name in columns else (first, path)
                raise SourceError(f"column {name!r} is in {has} but not in {lacks}; files of a folder share columns")
            kinds = {name: columns[name] if known.kind == "empty" else known for name, known in kinds.items()}
        return list(kinds.values())

    def chunks(self, columns: Sequence[str] | None = None, rows: int = CHUNK) -> Iterator[pa.RecordBatch]:
        names = [column.name for column in self.features()] if columns is None else columns
        for file in self._files.values():
            yield from file.chunks(names, rows)
