"""The source that a specification stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from flare_stats.sources.delimited import DelimitedFile
from flare_stats.sources.frames import ArrowFrame, PandasFrame, PolarsFrame
from flare_stats.sources.images import ImageFolder, image_files
from flare_stats.sources.narrowed import Narrowed
from flare_stats.sources.parquet import ArrowFile, ParquetFile
from flare_stats.sources.source import Source, SourceError
from flare_stats.sources.sql import SqlQuery
from flare_stats.sources.together import FilesTogether

KEYS = ("path", "columns", "query", "table", "delimiter", "encoding")
DELIMITED = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": ","}
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
ENDINGS = (*DELIMITED, *PARQUET, *ARROW)
COMPRESSED = (".gz", ".bz2", ".zst")


def open_source(spec: Any, **options: Any) -> Source:
    """Open a data set.

    Args:
        spec: the path of a CSV, Parquet or Arrow file, of a folder of such files that share their columns, or of a
            folder of images; the URL of a database; a frame of pandas, Polars or Arrow; a :class:`Source`; or a mapping
            with ``"path"``, which is any of these, and any of the options.
        options: ``columns`` (names: only these), ``query`` or ``table`` of a database, and of delimited text
            ``delimiter`` and ``encoding``.

    Raises:
        SourceError: names what cannot be opened, and why.
    """
    if isinstance(spec, Mapping):
        if "path" not in spec:
            raise SourceError(f'a source needs a "path", got: {", ".join(map(repr, spec)) or "nothing"}')
        return open_source(spec["path"], **{**spec, **options, "path": None})
    options.pop("path", None)
    for key in options:
        if key not in KEYS:
            raise SourceError(f"unknown option {key!r} of a source; there are: {', '.join(KEYS)}")
    columns = options.pop("columns", None)
    source = _opened(spec, options)
    return source if columns is None else Narrowed(source, columns)


def _opened(spec: Any, options: dict[str, Any]) -> Source:
    if isinstance(spec, str) and "://" in spec:
        _only(options, ("query", "table"), "a database")
        return SqlQuery(spec, **options)
    if isinstance(spec, str | Path):
        return _folder(Path(spec), options) if Path(spec).is_dir() else _file(Path(spec), options)
    _only(options, (), "data in memory")
    if _is(spec, "pandas", "DataFrame"):
        return PandasFrame(spec)
    if _is(spec, "polars", "DataFrame") or _is(spec, "polars", "LazyFrame"):
        return PolarsFrame(spec)
    if isinstance(spec, pa.Table | pa.RecordBatch) or hasattr(spec, "__arrow_c_stream__"):
        return ArrowFrame(spec)
    if callable(getattr(spec, "features", None)) and callable(getattr(spec, "chunks", None)):
        source: Source = spec
        return source
    raise SourceError(f"a {type(spec).__name__} is no source; give a path, a URL or a frame of pandas, Polars or Arrow")


def _is(spec: Any, package: str, name: str) -> bool:
    """Report whether an object is of a package's class, which need not be imported for that."""
    return any(each.__name__ == name and each.__module__.partition(".")[0] == package for each in type(spec).__mro__)


def _only(options: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in options:
        if key not in known:
            raise SourceError(f"option {key!r} is not for {where}")


def _folder(folder: Path, options: dict[str, Any]) -> Source:
    """Images, wherever they lie in the folder; without any, the tables that lie in the folder itself."""
    if image_files(folder):
        _only(options, (), f"the images in {folder}")
        return ImageFolder(folder)
    files = list_tables(folder)
    if not files:
        raise SourceError(f"{folder} holds neither images nor tables; endings of tables are {', '.join(ENDINGS)}")
    return FilesTogether({path: _file(path, options) for path in files})


def list_tables(folder: Path) -> list[Path]:
    """Return the files in a folder that end as tables do, in the order of their paths."""
    return sorted(path for path in folder.iterdir() if _ending(path) in ENDINGS and path.is_file())


def _ending(path: Path) -> str:
    """The ending that says a file's format, without that of a compression."""
    endings = [ending.lower() for ending in path.suffixes if ending.lower() not in COMPRESSED]
    return endings[-1] if endings else ""


def _file(path: Path, options: dict[str, Any]) -> Source:
    if not path.exists():
        raise SourceError(f"there is no file {path}")
    ending = _ending(path)
    if ending in DELIMITED:
        _only(options, ("delimiter", "encoding"), str(path))
        told = {"delimiter": DELIMITED[ending], **options}
        return DelimitedFile(path, **told, is_assumed="delimiter" not in options)
    _only(options, (), str(path))
    if ending in PARQUET:
        return ParquetFile(path)
    if ending in ARROW:
        return ArrowFile(path)
    raise SourceError(f"{path}: the ending says no format; known are {', '.join(ENDINGS)}")
