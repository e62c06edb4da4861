"""Agreement of all sites on the columns of their tables, before training.

Each site sends :meth:`Schema.of` its tables; :func:`agree` makes one schema of them or names the site and the column
that does not fit; each site then brings its tables into that form with :func:`conform`. Of the rows only the names of
the categories leave a site.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flare_xgb.data.errors import DataError
from flare_xgb.data.table import ROW_COLUMNS, Category, Table

_WIDTH = {"i": 0, "int": 1, "q": 2, "float": 3}
"""Numeric types, each of which also holds the values of those before it."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a table.

    Args:
        rows: number of rows.
        width: number of features.
        names: of the features; empty if they have none.
        types: of the features.
        categories: of each feature of type ``c``, by its place.
        empty: places of the features without any value.
        columns: those of ``ROW_COLUMNS`` that the table has.
        outputs: columns of the base margin.
    """

    rows: int
    width: int
    names: tuple[str, ...]
    types: tuple[str, ...]
    categories: Mapping[int, tuple[Category, ...]]
    empty: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()
    outputs: int = 1

    @classmethod
    def of(cls, table: Table, validation: Table | None = None) -> Schema:
        """Describe the rows of a site.

        Args:
            table: the rows to train on.
            validation: the rows to validate with, whose categories count as well.
        Raises:
            DataError: the two differ in their columns; names the first.
        """
        margin = table.base_margin
        made = cls(
            rows=len(table),
            width=table.num_features,
            names=table.names,
            types=table.types,
            categories=dict(table.categories),
            empty=tuple(np.flatnonzero(np.isnan(table.features).all(axis=0)).tolist()),
            columns=tuple(name for name in ROW_COLUMNS if getattr(table, name) is not None),
            outputs=1 if margin is None or margin.ndim == 1 else margin.shape[1],
        )
        if validation is None:
            return made
        both = _agreed({"the training table": made, "the validation table": cls.of(validation)})
        return replace(both, rows=made.rows, empty=made.empty)

    def name(self, feature: int) -> str:
        """Return the name of a feature; ``f3``, for example, if it has none."""
        return self.names[feature] if self.names else f"f{feature}"

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as plain data, to send."""
        return {
            "rows": self.rows,
            "width": self.width,
            "names": list(self.names),
            "types": list(self.types),
            "categories": [[at, list(each)] for at, each in self.categories.items()],
            "empty": list(self.empty),
            "columns": list(self.columns),
            "outputs": self.outputs,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Schema:
        """Return the schema that :meth:`to_dict` described."""
        sequences = {name: tuple(plain[name]) for name in ("names", "types", "empty", "columns")}
        categories = {int(at): tuple(each) for at, each in plain["categories"]}
        return cls(
            rows=plain["rows"], width=plain["width"], categories=categories, outputs=plain["outputs"], **sequences
        )

    def to_text(self) -> str:
        """Return the schema as text, to keep with a model, without what only training rows have."""
        kept = {name: value for name, value in self.to_dict().items() if name not in ("rows", "empty", "columns")}
        return json.dumps(kept)

    @classmethod
    def from_text(cls, text: str) -> Schema:
        """Return the schema that :meth:`to_text` described, of 0 rows."""
        return cls.from_dict({"rows": 0, "empty": (), "columns": (), **json.loads(text)})


def agree(sites: Mapping[str, Schema]) -> Schema:
    """Make one schema of those of all sites.

    Numeric types are widened. Categories are united and sorted, texts by their code points, so that the result does not
    depend on the order of the sites, nor on which site has which rows. A site without rows, and a column without
    values, fit with any type.

    Args:
        sites: by the name of the site.
    Raises:
        DataError: columns differ in number, name, order or kind, a site lacks labels, weights or another column that
            others have, or no site has labels or rows; names the site and the column.
    """
    if not sites:
        raise DataError("no site has described its data")
    agreed = _agreed(sites)
    if not {"label", "label_lower_bound"} & set(agreed.columns):
        raise DataError(f"{', '.join(sites)}: there is no label; name its column, or have the loader return it")
    if not agreed.rows:
        raise DataError(f"{', '.join(sites)}: there are no rows; at least one site needs some")
    return agreed


def _agreed(sites: Mapping[str, Schema]) -> Schema:
    # Compare with a site that has rows, if there is one.
    first_site, first = next(((site, each) for site, each in sites.items() if each.rows), next(iter(sites.items())))
    for site, schema in sites.items():
        _check_names(site, schema, first_site, first)
        _check_columns(site, schema, first_site, first)
    types = tuple(_type(feature, sites) for feature in range(first.width))
    categories = {feature: _united(feature, sites) for feature, kind in enumerate(types) if kind == "c"}
    return Schema(
        rows=sum(schema.rows for schema in sites.values()),
        width=first.width,
        names=first.names,
        types=types,
        categories=categories,
        empty=tuple(sorted(set.intersection(*(set(schema.empty) for schema in sites.values())))),
        columns=first.columns,
        outputs=first.outputs,
    )


def conform(table: Table, schema: Schema, *, site: str = "") -> Table:
    """Bring a table into the form of the agreed schema.

    Args:
        table: of a site that took part in the agreement, or other rows, such as some to predict.
        schema: what :func:`agree` returned.
        site: for messages.
    Raises:
        DataError: the columns differ, or a row has a category that no site has named; names the column.
    """
    prefix = f"{site}: " if site else ""
    own = Schema.of(table)
    _check_names(site or "this table", own, "the model", schema)
    for feature, kind in enumerate(schema.types):
        if (kind == "c") != (own.types[feature] == "c") and feature not in own.empty:
            raise DataError(f"{prefix}{_kinds(schema, feature, own.types[feature], kind)}")
    without = {at: () for at in schema.categories if at not in table.categories}
    kept = {at: each for at, each in table.categories.items() if at in schema.categories}
    typed = replace(table, types=schema.types, categories=kept | without)
    try:
        return typed.with_categories(schema.categories)
    except DataError as error:
        raise DataError(f"{prefix}{error}; map it to a known one, or to a missing value") from None


def _check_names(site: str, schema: Schema, first_site: str, first: Schema) -> None:
    if bool(schema.names) != bool(first.names) and schema.width == first.width:
        named, other = (site, first_site) if schema.names else (first_site, site)
        raise DataError(
            f"{other}: the features have no names, but {named} names them; name them everywhere, or nowhere"
        )
    for feature in range(min(schema.width, first.width)):
        if not schema.names or schema.names[feature] == first.names[feature]:
            continue
        name, wanted = schema.names[feature], first.names[feature]
        if wanted not in schema.names:
            raise DataError(f"{site}: column {wanted!r} is missing, which {first_site} has")
        if name not in first.names:
            raise DataError(
                f"{site}: has a column {name!r}, which {first_site} does not have; leave it out of features"
            )
        raise DataError(
            f"{site}: column {feature + 1} is {name!r}, but at {first_site} it is {wanted!r}; give the features in the"
            " same order everywhere"
        )
    if schema.width != first.width:
        longer = schema if schema.width > first.width else first
        at = longer.name(min(schema.width, first.width))
        raise DataError(
            f"{site}: has {schema.width} features, but {first_site} has {first.width}; the first that only one of them"
            f" has is {at!r}"
        )


def _check_columns(site: str, schema: Schema, first_site: str, first: Schema) -> None:
    for name in ROW_COLUMNS:
        if (name in schema.columns) != (name in first.columns):
            having, lacking = (site, first_site) if name in schema.columns else (first_site, site)
            raise DataError(f"{lacking}: has no {name}, but {having} has; give it everywhere, or nowhere")
    if schema.outputs != first.outputs:
        raise DataError(f"{site}: base_margin has {schema.outputs} columns, but at {first_site} it has {first.outputs}")


def _type(feature: int, sites: Mapping[str, Schema]) -> str:
    filled = {site: schema.types[feature] for site, schema in sites.items() if feature not in schema.empty}
    known = filled or {site: schema.types[feature] for site, schema in sites.items()}
    first_site, first = next(iter(known.items()))
    for site, kind in known.items():
        if filled and (kind == "c") != (first == "c"):
            raise DataError(f"{site}: {_kinds(sites[site], feature, kind, first)} at {first_site}")
    if "c" in known.values():
        return "c"
    # Missing values make a column of integers one of floats, also where all values of a site are missing.
    present = {schema.types[feature] for schema in sites.values() if schema.rows} or set(known.values())
    return max(present - {"c"}, key=_WIDTH.__getitem__)


def _kinds(schema: Schema, feature: int, own: str, other: str) -> str:
    described = {True: "holds categories", False: "holds numbers"}
    return f"column {schema.name(feature)!r} {described[own == 'c']}, but it {described[other == 'c']}"


def _united(feature: int, sites: Mapping[str, Schema]) -> tuple[Category, ...]:
    found: dict[Category, str] = {}
    for site, schema in sites.items():
        for category in schema.categories.get(feature, ()):
            found.setdefault(category, site)
    texts = next((site for each, site in found.items() if isinstance(each, str)), None)
    numbers = next((site for each, site in found.items() if not isinstance(each, str)), None)
    if texts and numbers:
        raise DataError(
            f"{numbers}: column {next(iter(sites.values())).name(feature)!r} has numbers as categories, but {texts} has"
            " texts; make them text everywhere"
        )
    return tuple(sorted(found))  # all text, or all numbers
