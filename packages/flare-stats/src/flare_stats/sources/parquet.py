"""Parquet and Arrow files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flare_stats.sources.source import CHUNK, Column, SourceError, check_names, chosen, described, in_chunks

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
            try:
                for batch in in_chunks(file.iter_batches(rows, columns=names), rows):
                    yield batch.select(names)
            except (pa.ArrowException, OSError) as error:
                raise SourceError(f"{self._path} cannot be read as Parquet: {error}") from error

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._path, buffer_size=BUFFER, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{self._path} cannot be read as Parquet: {error}") from error


class ArrowFile:
    """An Arrow IPC file (also called Feather), mapped into memory, or a stream in a file."""

    def __init__(self, path: Path) -> None:
        self.skipped = 0
        self._path = path

    def features(self) -> list[Column]:
        with pa.memory_map(str(self._path)) as mapped:
            return described(self._open(mapped).schema, str(self._path))

    def chunks(self, columns: Sequence[str] | None = None, rows: int = CHUNK) -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(self._path)) as mapped:
            reader = self._open(mapped)
            check_names(reader.schema.names, str(self._path))
            names = chosen(reader.schema.names, columns, str(self._path))
            try:
                for batch in in_chunks(_batches(reader), rows):
                    yield batch.select(names)
            except (pa.ArrowException, OSError) as error:
                raise SourceError(f"{self._path} cannot be read as Arrow: {error}") from error

    def _open(self, mapped: pa.MemoryMappedFile) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
        try:
            return pa.ipc.open_file(mapped)
        except pa.ArrowInvalid:
            mapped.seek(0)
        try:
            return pa.ipc.open_stream(mapped)
        except pa.ArrowException as error:
            raise SourceError(f"{self._path} cannot be read as Arrow: {error}") from error


def _batches(reader: pa.RecordBatchFileReader | pa.RecordBatchStreamReader) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.RecordBatchStreamReader):
        yield from reader
    else:
        for at in range(reader.num_record_batches):
            yield reader.get_batch(at)
