"""Loaders: how each site reads its own rows, as part of a job's description.

A loader is made where the job is made, so it holds only settings, such as a path; it reads when a site calls it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flare_xgb.data.errors import DataError
from flare_xgb.data.files import read_libsvm, read_table
from flare_xgb.data.frames import Columns, from_arrow, from_pandas
from flare_xgb.data.table import Table


class DataLoader(ABC):
    """Reads the rows of the site that it is at.

    A class of your own is sent with the job if its module lies beside the file that makes the recipe. Store its
    arguments in attributes of their names.

    Attributes:
        client_id: the name of the site; set before :meth:`load_data` is called.
        rank: the site's place among the sites, from 0 on.
    """

    client_id: str = ""
    rank: int = 0

    def initialize(self, client_id: str, rank: int) -> None:
        """Tell the loader which site it is at."""
        self.client_id = client_id
        self.rank = rank

    @abstractmethod
    def load_data(self) -> tuple[Any, Any]:
        """Return the rows to train on and those to validate with, or None in place of the second.

        It must return the same rows each time: a site that is started again in the middle of a run reads them anew.

        Each is a :class:`Table`, a data frame of pandas or a table of Arrow whose column ``label`` holds the labels, or
        a ``DMatrix`` of XGBoost.
        """


class FileLoader(DataLoader):
    """Reads a CSV, Parquet, Arrow or Feather file.

    Args:
        train: the path of the file with the rows to train on; ``{site}`` in it stands for the name of the site. A
            relative path begins at the folder in which the site's process runs.
        label: the column with the labels; None only for a site of a vertical federation that has none.
        validation: the path of the file with the rows to validate with.
        features, categorical, weight, base_margin, qid, label_lower_bound, label_upper_bound, missing: what the columns
            are, as in :class:`Columns`.
    """

    def __init__(
        self,
        train: str,
        label: str | None = None,
        *,
        validation: str | None = None,
        features: Sequence[str] | None = None,
        categorical: Sequence[str] = (),
        weight: str | None = None,
        base_margin: str | Sequence[str] | None = None,
        qid: str | None = None,
        label_lower_bound: str | None = None,
        label_upper_bound: str | None = None,
        missing: float | None = None,
    ) -> None:
        self.train = str(train)
        self.label = label
        self.validation = None if validation is None else str(validation)
        self.features = features
        self.categorical = list(categorical)
        self.weight = weight
        self.base_margin = base_margin
        self.qid = qid
        self.label_lower_bound = label_lower_bound
        self.label_upper_bound = label_upper_bound
        self.missing = missing

    def load_data(self) -> tuple[Table, Table | None]:
        columns = Columns(
            label=self.label,
            features=self.features,
            categorical=self.categorical,
            weight=self.weight,
            base_margin=self.base_margin,
            qid=self.qid,
            label_lower_bound=self.label_lower_bound,
            label_upper_bound=self.label_upper_bound,
            missing=float("nan") if self.missing is None else self.missing,
        )
        train, validation = (_path(each, self.client_id) for each in (self.train, self.validation))
        assert train is not None
        return read_table(train, columns), None if validation is None else read_table(validation, columns)


class LibsvmLoader(DataLoader):
    """Reads a libsvm file.

    Args:
        train: the path of the file with the rows to train on, as for :class:`FileLoader`.
        validation: the path of the file with the rows to validate with.
        num_features: the number of features, the same for all sites.
        first_index: the index of the first feature, 0 or 1.
    """

    def __init__(self, train: str, num_features: int, *, validation: str | None = None, first_index: int = 0) -> None:
        self.train = str(train)
        self.num_features = num_features
        self.validation = None if validation is None else str(validation)
        self.first_index = first_index

    def load_data(self) -> tuple[Table, Table | None]:
        train, validation = (
            None
            if (path := _path(each, self.client_id)) is None
            else read_libsvm(path, num_features=self.num_features, first_index=self.first_index)
            for each in (self.train, self.validation)
        )
        assert train is not None
        return train, validation


def load(loader: Any, site: str, rank: int) -> tuple[Table, Table | None]:
    """Let a loader read the rows of a site.

    Args:
        loader: a :class:`DataLoader`, or an object with the same two methods.
        site: the name of the site.
        rank: its place among the sites.
    Raises:
        DataError: the data cannot be used; names the site and the column or the file.
    """
    if loader is None:
        raise DataError(f"{site}: there is no data_loader; name the site in per_site_config, or give one for all sites")
    if not callable(getattr(loader, "load_data", None)):
        raise DataError(f"{site}: {type(loader).__name__} has no load_data(); derive the class from DataLoader")
    try:
        if hasattr(loader, "initialize"):
            loader.initialize(site, rank)
        found = loader.load_data()
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise DataError("load_data() must return two tables, (train, validation); the second may be None")
        train, validation = found
        return to_table(train), None if validation is None else to_table(validation)
    except DataError as error:
        raise DataError(f"{site}: {type(loader).__name__}: {error}") from error


def to_table(data: Any) -> Table:
    """Convert what a loader may return.

    Raises:
        DataError: it is of another kind, or cannot be used.
    """
    module = type(data).__module__.partition(".")[0]
    if isinstance(data, Table):
        return data
    if module == "xgboost":
        return _from_dmatrix(data)
    if module == "pandas":
        return from_pandas(data, Columns(label="label" if "label" in data.columns else None))
    if module == "pyarrow":
        return from_arrow(data, Columns(label="label" if "label" in data.schema.names else None))
    raise DataError(f"the data are a {type(data).__name__}; give a Table, a data frame, an Arrow table or a DMatrix")


def _from_dmatrix(matrix: Any) -> Table:
    if type(matrix).__name__ != "DMatrix":
        raise DataError(f"a {type(matrix).__name__} no longer holds the values of its features; give a DMatrix")
    sparse = matrix.get_data()
    dense = np.full(sparse.shape, np.nan, np.float32)
    dense[np.repeat(np.arange(sparse.shape[0]), np.diff(sparse.indptr)), sparse.indices] = sparse.data
    given = {
        "weight": matrix.get_weight(),
        "base_margin": matrix.get_base_margin(),
        "label_lower_bound": matrix.get_float_info("label_lower_bound"),
        "label_upper_bound": matrix.get_float_info("label_upper_bound"),
    }
    parts = {name: value for name, value in given.items() if len(value)}
    if len(groups := matrix.get_uint_info("group_ptr")) > 2:
        parts["qid"] = np.repeat(np.arange(len(groups) - 1), np.diff(groups.astype(np.int64)))
    labels = matrix.get_label()
    return Table.of(
        dense,
        labels if len(labels) or not len(dense) else None,
        names=matrix.feature_names or (),
        types=matrix.feature_types or (),
        categories=_dmatrix_categories(matrix),
        **parts,
    )


def _dmatrix_categories(matrix: Any) -> dict[int, tuple[Any, ...]]:
    """Return the names of categories; nothing for a feature whose codes were given as numbers."""
    if "c" not in (matrix.feature_types or ()):
        return {}
    try:
        found = matrix.get_categories(export_to_arrow=True).to_arrow()
        return {at: tuple(each.to_pylist()) for at, (_, each) in enumerate(found or ()) if each is not None}
    except (AttributeError, ImportError, UnicodeError) as error:  # before 3.1, without pyarrow, and not in ASCII
        raise DataError(
            f"XGBoost does not return the names of the categories of a DMatrix ({type(error).__name__}: {error});"
            " return a data frame or a Table instead"
        ) from error


def _path(pattern: str | None, site: str) -> Path | None:
    return None if pattern is None else Path(pattern.replace("{site}", site))
