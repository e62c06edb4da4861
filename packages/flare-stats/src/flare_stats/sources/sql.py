"""Tables and queries of a database, by a SQLAlchemy URL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flare_stats.sources.source import CHUNK, Column, Kind, SourceError, as_texts, check_names, chosen, kind_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Engine, Select

# Statements that let a session only read; other databases have the transaction rolled back.
READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "postgresql": "SET TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}
KINDS: dict[type, Kind] = {int: "int", float: "float", bool: "bool", str: "text", bytes: "other"}


class SqlQuery:
    """The rows of a query or of a table, fetched in parts by a cursor at the server where the driver has one.

    The session may only read, and whatever a query does is rolled back. A table's kinds are those that it declares, a
    query's those of the first value of each column: for a column that is empty, all rows are read once more.

    Args:
        url: as SQLAlchemy reads it, such as ``sqlite:////data/ward.db`` or ``postgresql+psycopg://reader@host/clinic``.
        query: one statement that returns rows.
        table: in the place of a query: ``name`` or ``schema.name``.

    Raises:
        SourceError: neither or both of query and table are given; SQLAlchemy or the driver is not installed, or there
            is no such database.
    """

    def __init__(self, url: str, query: str | None = None, table: str | None = None) -> None:
        self.skipped = 0
        self._query = query
        self._table = table
        self._engine, self._where = _engine(url)
        if (query is None) == (table is None):
            raise SourceError(f'{self._where}: give either "query" or "table"')
        self._columns: list[Column] | None = None

    def features(self) -> list[Column]:
        if self._columns is None:
            with self._connected() as connection:
                if self._table is not None:
                    columns = [
                        Column(each.name, _declared(each.type)) for each in self._selected(None).selected_columns
                    ]
                else:
                    columns = _first_kinds(self._batches(connection, None, CHUNK))
            check_names([column.name for column in columns], self._where)
            self._columns = columns
        return self._columns

    def chunks(self, columns: Sequence[str] | None = None, rows: int = CHUNK) -> Iterator[pa.RecordBatch]:
        names = chosen([column.name for column in self.features()], columns, self._where)
        with self._connected() as connection:
            for batch in self._batches(connection, names, rows):
                if batch.num_rows:
                    yield batch.select(names)

    def _batches(self, connection: Connection, names: Sequence[str] | None, rows: int) -> Iterator[pa.RecordBatch]:
        """The result in parts; the first one may be empty, and tells the names."""
        connection = connection.execution_options(stream_results=True, max_row_buffer=rows, no_parameters=True)
        result: CursorResult[Any]
        if self._query is None:
            result = connection.execute(self._selected(names))
        else:
            result = connection.exec_driver_sql(self._query)  # as it is: a colon or % in it has no meaning of its own
        if not result.returns_rows:
            raise SourceError(f"{self._where}: the query returns no rows; give one that selects")
        with closing(result):
            found = list(result.keys())
            for part in chain([[]], result.partitions(rows)):
                columns = list(zip(*part, strict=True)) or [()] * len(found)
                yield pa.RecordBatch.from_arrays([as_array(values) for values in columns], found)

    def _selected(self, names: Sequence[str] | None) -> Select[Any]:
        from sqlalchemy import MetaData, Table, select

        schema, _, name = (self._table or "").rpartition(".")
        table = Table(name, MetaData(), schema=schema or None, autoload_with=self._engine)
        return select(*(table.columns[each] for each in (table.columns.keys() if names is None else names)))

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._engine.connect() as connection:
                if statement := READ_ONLY.get(self._engine.dialect.name):
                    connection.exec_driver_sql(statement)
                yield connection
        except SQLAlchemyError as error:
            raise SourceError(f"{self._where} cannot be read: {_reason(error)}") from error
        finally:
            self._engine.dispose()


def _engine(url: str) -> tuple[Engine, str]:
    try:
        from sqlalchemy import create_engine
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import SQLAlchemyError
        from sqlalchemy.pool import NullPool
    except ImportError as error:
        raise SourceError("reading a database needs SQLAlchemy: pip install flare-stats[sql]") from error
    try:
        parsed = make_url(url)
    except SQLAlchemyError as error:
        raise SourceError("a database's URL has the form dialect+driver://user@host/database") from error
    where = parsed.render_as_string(hide_password=True)
    if parsed.get_backend_name() == "sqlite" and parsed.database and not Path(parsed.database).exists():
        raise SourceError(f"{where}: there is no file {parsed.database}")
    try:
        return create_engine(parsed, poolclass=NullPool), where
    except (ImportError, SQLAlchemyError) as error:
        raise SourceError(f"{where}: {error}; install the database's driver") from error


def _reason(error: Exception) -> str:
    """The words of the driver: SQLAlchemy adds the statement and its parameters, which may hold values of people."""
    return str(getattr(error, "orig", None) or error).strip()


def _declared(of: Any) -> Kind:
    try:
        python = of.python_type
    except NotImplementedError:
        return "other"
    if python in KINDS:
        return KINDS[python]
    name = python.__name__
    known: dict[str, Kind] = {"Decimal": "float", "datetime": "datetime", "date": "datetime", "time": "float"}
    return known.get(name, "float" if name == "timedelta" else "text" if name == "UUID" else "other")


def _first_kinds(batches: Iterator[pa.RecordBatch]) -> list[Column]:
    """Columns with the kind of the first part in which each has a value."""
    kinds: dict[str, Kind] = {}
    names: list[str] = []
    for batch in batches:
        names = batch.schema.names
        for name, of in zip(names, batch.schema.types, strict=True):
            if kinds.get(name, "empty") == "empty":
                kinds[name] = kind_of(of)
        if batch.num_rows and "empty" not in kinds.values():
            break
    return [Column(name, kinds[name]) for name in names]


def as_array(values: Sequence[Any]) -> pa.Array:
    """Return an Arrow array of Python values: of text where they are of several types, too large for one, or UUIDs."""
    try:
        array = pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeError):
        array = None
    if array is None or isinstance(array, pa.ExtensionArray):
        array = as_texts(values)
    return array
