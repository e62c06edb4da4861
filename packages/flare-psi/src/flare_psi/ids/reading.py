"""Where a site's ids come from: files of text, CSV or Parquet, or an object of the user's."""

from __future__ import annotations

import codecs
import csv
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from flare_psi.errors import PSIError

_PARQUET = (".parquet", ".pq")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""What separates cells, by the ending of a file."""
TEXT = (".txt", *DELIMITERS)
"""The endings of files of text, which have an encoding."""
_OTHERS = ";\t|,"  # that a file may have in their place


class PSI(ABC):
    """Supplies the ids of a site; derive a class of it and pass an object to :class:`~flare_psi.PSIRecipe`.

    The arguments of its constructor are kept under their names, since the job is sent as class path and arguments.

    Attributes:
        site: the name of the site, set before :meth:`load_items` is called.
    """

    site: str = ""

    @abstractmethod
    def load_items(self) -> Iterable[str | Sequence[str]]:
        """Return or yield the ids, one for each row, in any order, repeated or not; tuples of text for composite keys.

        It is called once, and again if the site's process is started again before all were read.
        """


class FileItems(PSI):
    """Reads the ids in a file: one in each line of a ``.txt``, or columns of a ``.csv``, ``.tsv`` or ``.parquet``.

    Args:
        ids: the path; ``{site}`` in it stands for the name of the site.
        column: the name of the column, or of the columns of a composite key, in the order in which all sites have them.
        delimiter: the character between cells of a ``.csv`` or ``.tsv``; None for a comma and a tab.
        encoding: of a file of text; a byte order mark of UTF-8 is no part of it.
    """

    def __init__(
        self,
        ids: str,
        column: str | Sequence[str] | None = None,
        delimiter: str | None = None,
        encoding: str = "utf-8",
    ) -> None:
        self.ids = str(ids)
        self.delimiter = delimiter
        self.encoding = encoding
        self.column = column if column is None or isinstance(column, str) else list(column)

    @property
    def columns(self) -> list[str]:
        """The names of the parts of a key."""
        return ["id"] if self.column is None else [self.column] if isinstance(self.column, str) else list(self.column)

    def load_items(self) -> Iterator[tuple[str, ...]]:
        path = Path(self.ids.replace("{site}", self.site)).expanduser()
        ending = path.suffix.lower()
        if not path.is_file():
            raise PSIError(f"{path.absolute()} is not a file; correct the path, which may be relative to {Path.cwd()}")
        if ending == ".txt":
            return _lines(path, self.encoding)
        if self.column is None:
            raise PSIError(f"{path}: name the column with the ids, column='…'")
        if ending in DELIMITERS:
            return _rows(path, self.columns, self.delimiter or DELIMITERS[ending], self.encoding)
        if ending in _PARQUET:
            return _batches(path, self.columns)
        raise PSIError(f"{path}: end the name in .txt, .csv, .tsv or .parquet, or give local_psi an object of your own")


def _lines(path: Path, encoding: str) -> Iterator[tuple[str, ...]]:
    with _open(path, encoding) as file:
        for line in file:
            yield (line.removesuffix("\n").removesuffix("\r"),)


@contextmanager
def _open(path: Path, encoding: str) -> Iterator[TextIO]:
    """Open a file of text; what goes wrong while it is read is an error that names it."""
    name = codecs.lookup(encoding).name
    try:
        with path.open(encoding="utf-8-sig" if name == "utf-8" else name, newline="") as file:
            yield file
    except UnicodeError as error:
        reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
        raise PSIError(
            f"{path}: is not {name.upper()} ({reason}); give its encoding in per_site_config, such as"
            " 'encoding': 'latin-1', or convert it"
        ) from None
    except OSError as error:
        raise PSIError(f"{path}: cannot be read: {error.strerror}; make it readable for the client's user") from error


def _rows(path: Path, columns: Sequence[str], delimiter: str, encoding: str) -> Iterator[tuple[str, ...]]:
    with _open(path, encoding) as file:
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(rows, [])
            _check_delimiter(path, columns, header, delimiter)
            _check_columns(path, columns, header)
            places = [header.index(name) for name in columns]
            for row in rows:
                if len(row) != len(header):
                    if row:
                        raise PSIError(f"{path}, line {rows.line_num}: has {len(row)} fields, the header {len(header)}")
                    continue
                yield tuple(row[at] for at in places)
        except csv.Error as error:
            raise PSIError(f"{path}, line {rows.line_num}: {error}; correct the line") from None


def _batches(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    arrow, parquet = _extra("pyarrow", path), _extra("pyarrow.parquet", path)
    try:
        with parquet.ParquetFile(path) as file:
            _check_columns(path, columns, file.schema_arrow.names)
            for name in columns:
                kind = file.schema_arrow.field(name).type
                if arrow.types.is_dictionary(kind):
                    kind = kind.value_type
                if not (
                    arrow.types.is_string(kind) or arrow.types.is_large_string(kind) or arrow.types.is_integer(kind)
                ):
                    raise PSIError(f"{path}: column {name!r} has the type {kind}; ids are text or integers")
            for batch in file.iter_batches(batch_size=65_536, columns=list(columns)):
                values = [[_text(each) for each in batch.column(name).to_pylist()] for name in columns]
                yield from zip(*values, strict=True)
    except UnicodeDecodeError as error:
        raise PSIError(f"{path}: holds text that is not UTF-8 ({error.reason}); write the file anew") from None
    except (arrow.ArrowException, OSError) as error:
        raise PSIError(f"{path}: cannot be read as Parquet: {error}; restore the file from a copy") from error


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _check_delimiter(path: Path, columns: Sequence[str], header: Sequence[str], delimiter: str) -> None:
    """Check that a header without the wanted columns is not one cell because of another delimiter."""
    if len(header) == 1 and not set(columns) <= set(header):
        for other in _OTHERS:
            if other in header[0]:
                raise PSIError(
                    f"{path}: there is no column {columns[0]!r}; {delimiter!r} makes a single column of the header,"
                    f" {header[0]!r}; if {other!r} separates its cells, give 'delimiter': {other!r} in per_site_config"
                )


def _check_columns(path: Path, columns: Sequence[str], known: Sequence[str]) -> None:
    for name in columns:
        if known.count(name) != 1:
            problem = "there are two columns" if name in known else "there is no column"
            raise PSIError(f"{path}: {problem} {name!r}; the columns are {', '.join(known)}")


def _extra(module: str, path: Path) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PSIError(f"{path}: reading it needs pyarrow; pip install 'flare-psi[parquet]'") from error
