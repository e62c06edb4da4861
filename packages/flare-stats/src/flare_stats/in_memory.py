"""Data in the memory of the process that makes a job, which only simulated sites can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from flare_core import JobError
from flare_core.local_copies import copies_folder
from flare_stats.sources import Kind, Source, SourceError, open_source
from flare_stats.sources.parquet import ArrowFile

# Of columns without rows.
ARROW_TYPES: dict[Kind, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "category": pa.dictionary(pa.int32(), pa.string()),
    "datetime": pa.timestamp("us"),
    "image": pa.list_(pa.uint8()),
    "other": pa.binary(),
    "empty": pa.null(),
}


class InMemory:
    """Data that no job folder can hold.

    Args:
        data: a frame of pandas, Polars or Arrow, or a source; at a simulated site that is a process of its own, the
            path of a copy.
        where: the argument that holds it, for the error.
    """

    def __init__(self, data: Any, where: str) -> None:
        self.held = ArrowFile(Path(data)) if isinstance(data, str) else data
        self.where = where
        self._copy: Path | None = None

    @property
    def data(self) -> str:
        """The path of a copy. It is asked for where a job is written to a folder.

        Raises:
            JobError: the job may leave this machine, or no copy can be made; names the argument and the remedy.
        """
        folder = copies_folder()
        if folder is None:
            raise JobError(
                f"{self.where} is a {self._kind} in the memory of this process, which only the simulator can read;"
                " write it to a file at the site, and give its path"
            )
        if self._copy is None or self._copy.parent != folder:  # a description asks more than once
            path = folder / f"{len(list(folder.iterdir()))}.arrow"
            self._write(path)
            self._copy = path
        return str(self._copy)

    @property
    def _kind(self) -> str:
        kind = type(self.held)
        return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"

    def _write(self, path: Path) -> None:
        try:
            source = open_source(self.held)
            table = _table(source)
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            is_same = ArrowFile(path).features() == source.features()
        except (OSError, SourceError, pa.ArrowException) as error:
            raise self._cannot_be_copied(str(error)) from error
        if not is_same:
            raise self._cannot_be_copied("Arrow's columns are of other kinds")

    def _cannot_be_copied(self, reason: str) -> JobError:
        return JobError(
            f"{self.where} is a {self._kind} in the memory of this process; the simulated sites are processes of their"
            f" own here, and can get no copy of it ({reason}); write it to a file, and give its path"
        )


def _table(source: Source) -> pa.Table:
    tables = [pa.Table.from_batches([batch]) for batch in source.chunks()]
    if not tables:
        return pa.schema([(column.name, ARROW_TYPES[column.kind]) for column in source.features()]).empty_table()
    return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
