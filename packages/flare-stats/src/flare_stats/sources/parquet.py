"""Parquet and Arrow files.

Chunks are validated, since offsets of a damaged file could point beyond its end, and its text may be no UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flare_stats.sources.source import CHUNK, Column, check_names, chosen, described, in_chunks, reading

BUFFER = 1 << 20


class ParquetFile:
    """A Parquet file, read page by page: a row group need not fit in memory."""

    def __init__(self, path: Path) -> None:
        self.skipped = 0
        self._path = path

    def features(self) -> list[Column]:
        with self._open() as file:
            return described(file.schema_arrow, str(self._path))

    def chunks(self, columns: Sequence[str] | None = None, rows: int = CHUNK) -> Iterator[pa.RecordBatch]:
        with self._open() as file:
            check_names(file.schema_arrow.names, str(self._path))
            names = chosen(file.schema_arrow.names, columns, str(self._path))
            for batch in in_chunks(file.iter_batches(rows, columns=names), rows):
                batch.validate(full=True)
                yield batch.select(names)

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        with (
            reading(self._path, "Parquet"),
            pq.ParquetFile(self._path, buffer_size=BUFFER, pre_buffer=False) as file,
        ):
            yield file


class ArrowFile:
    """An Arrow IPC file (also called Feather), mapped into memory, or a stream in a file."""

    def __init__(self, path: Path) -> None:
        self.skipped = 0
        self._path = path

    def features(self) -> list[Column]:
        with self._open() as reader:
            return described(reader.schema, str(self._path))

    def chunks(self, columns: Sequence[str] | None = None, rows: int = CHUNK) -> Iterator[pa.RecordBatch]:
        with self._open() as reader:
            check_names(reader.schema.names, str(self._path))
            names = chosen(reader.schema.names, columns, str(self._path))
            for batch in _batches(reader):
                part = batch.select(names)
                part.validate(full=True)
                yield from in_chunks(iter([part]), rows)

    @contextmanager
    def _open(self) -> Iterator[pa.RecordBatchFileReader | pa.RecordBatchStreamReader]:
        with reading(self._path, "Arrow"), pa.memory_map(str(self._path)) as mapped:
            try:
                reader = pa.ipc.open_file(mapped)
            except pa.ArrowInvalid:  # no file, but perhaps a stream
                mapped.seek(0)
                reader = pa.ipc.open_stream(mapped)
            yield reader


def _batches(reader: pa.RecordBatchFileReader | pa.RecordBatchStreamReader) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.RecordBatchStreamReader):
        yield from reader
    else:
        for at in range(reader.num_record_batches):
            yield reader.get_batch(at)
