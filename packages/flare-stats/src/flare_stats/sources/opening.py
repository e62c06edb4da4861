"""The source that a specification stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from flare_stats.sources.delimited import DelimitedFile
from flare_stats.sources.frames import ArrowFrame, PandasFrame, PolarsFrame
from flare_stats.sources.narrowed import Narrowed
from flare_stats.sources.parquet import ArrowFile, ParquetFile
from flare_stats.sources.source import Source, SourceError

KEYS = ("path", "columns", "query", "table", "delimiter", "encoding")
DELIMITED = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": ","}
COMPRESSED = (".gz", ".bz2", ".zst")


def open_source(spec: Any, **options: Any) -> Source:
    """Open a data set.

    Args:
        spec: the path of a CSV, Parquet or Arrow file; a frame of pandas, Polars or Arrow; a :class:`Source`; or a
            mapping with ``"path"`` and any of the options.
        options: ``columns`` (names: only these), and of delimited text ``delimiter`` and ``encoding``.

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
    if isinstance(spec, (str, Path)):
        return _file(Path(spec), options)
    if options:
        raise SourceError(f"option {next(iter(options))!r} is not for data in memory")
    package = type(spec).__module__.partition(".")[0]
    if package == "pandas" and hasattr(spec, "columns"):
        return PandasFrame(spec)
    if package == "polars" and hasattr(spec, "columns"):
        return PolarsFrame(spec)
    if isinstance(spec, pa.Table | pa.RecordBatch) or hasattr(spec, "__arrow_c_stream__"):
        return ArrowFrame(spec)
    if callable(getattr(spec, "features", None)) and callable(getattr(spec, "chunks", None)):
        source: Source = spec
        return source
    raise SourceError(f"a {type(spec).__name__} is no source; give a path, a URL or a frame of pandas, Polars or Arrow")


def _file(path: Path, options: dict[str, Any]) -> Source:
    if not path.exists():
        raise SourceError(f"there is no file {path}")
    endings = [ending.lower() for ending in path.suffixes if ending.lower() not in COMPRESSED]
    ending = endings[-1] if endings else ""
    if ending in DELIMITED:
        return DelimitedFile(path, **{"delimiter": DELIMITED[ending], **options})
    if options:
        raise SourceError(f"option {next(iter(options))!r} is not for {path}")
    if ending in (".parquet", ".pq"):
        return ParquetFile(path)
    if ending in (".arrow", ".feather", ".ipc"):
        return ArrowFile(path)
    raise SourceError(f"{path}: the ending says no format; known are .csv, .tsv, .txt, .parquet, .pq, .arrow, .feather")
