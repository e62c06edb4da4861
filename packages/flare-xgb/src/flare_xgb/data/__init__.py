"""Data of one site, how it is read, and what the sites must agree on."""

from flare_xgb.data.errors import DataError
from flare_xgb.data.files import read_arrow, read_csv, read_libsvm, read_parquet, read_table
from flare_xgb.data.frames import Columns, from_arrow, from_pandas
from flare_xgb.data.loaders import DataLoader, FileLoader, LibsvmLoader, load, to_table
from flare_xgb.data.schema import Schema, agree, conform
from flare_xgb.data.table import ROW_COLUMNS, TYPES, Category, Table

__all__ = [
    "ROW_COLUMNS",
    "TYPES",
    "Category",
    "Columns",
    "DataError",
    "DataLoader",
    "FileLoader",
    "LibsvmLoader",
    "Schema",
    "Table",
    "agree",
    "conform",
    "from_arrow",
    "from_pandas",
    "load",
    "read_arrow",
    "read_csv",
    "read_libsvm",
    "read_parquet",
    "read_table",
    "to_table",
]
