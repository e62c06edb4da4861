"""Layout: which site has which columns, checked before training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flare_xgb.data import ROW_COLUMNS, DataError, Table

_LABELS = ("label", "label_lower_bound", "label_upper_bound")


@dataclass(frozen=True)
class Layout:
    """The joined table: the columns of all sites, side by side in the order of the sites.

    Args:
        label_owner: the site with the labels.
        sites: all sites.
        widths: the number of features of each.
        names: of all features; empty if they have none.
        types: of all features.
        rows: number of rows to train on.
        validation_rows: number of rows to validate with; 0: there are none.
    """

    label_owner: str
    sites: tuple[str, ...]
    widths: tuple[int, ...]
    names: tuple[str, ...]
    types: tuple[str, ...]
    rows: int
    validation_rows: int

    @property
    def width(self) -> int:
        """Number of features of all sites."""
        return sum(self.widths)

    @property
    def feature_owners(self) -> tuple[str, ...]:
        """The other sites."""
        return tuple(site for site in self.sites if site != self.label_owner)

    def span(self, site: str) -> slice:
        """Return the places of a site's features among all."""
        at = self.sites.index(site)
        return slice(sum(self.widths[:at]), sum(self.widths[: at + 1]))

    def owner(self, feature: int) -> str:
        """Return the site that has a feature."""
        return self.sites[int(np.searchsorted(np.cumsum(self.widths), feature, side="right"))]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, to send."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Layout:
        """Return the layout of such data."""
        made: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in plain.items()}
        return cls(**made)


def aligned(table: Table, id_column: str | None, *, what: str = "") -> tuple[Table, str | None]:
    """Bring the rows of a table into the order of their ids.

    Args:
        table: a table, in which the ids are a feature: categories, or integers below 2**24 in magnitude.
        id_column: its name; None leaves the rows as they are.
        what: the rows, for messages.
    Returns:
        the table without the column of ids, and a digest of the ids in their order.
    Raises:
        DataError: there is no such column, an id is missing, not exact, or given twice.
    """
    if id_column is None:
        return table, None
    at = place_of(table, id_column, what)
    ids = _ids(table, at, what)
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    if (twice := np.flatnonzero(ordered[1:] == ordered[:-1])).size:
        raise DataError(f"{what}column {id_column!r} has the id {str(ordered[twice[0]])!r} twice; leave out one row")
    digest = hashlib.sha256()
    for each in ordered.tolist():
        digest.update(len(each.encode()).to_bytes(4, "little") + each.encode())
    if not np.array_equal(order, np.arange(len(order))):
        if table.qid is not None:
            raise DataError(f"{what}rows with qid stay in their groups; leave out id_column, and sort all sites alike")
        table = table.take(order)
    return without_column(table, at), digest.hexdigest()


def without_column(table: Table, at: int) -> Table:
    """Return a table without the feature at a place."""
    kept = [place for place in range(table.num_features) if place != at]
    return replace(
        table,
        features=np.ascontiguousarray(table.features[:, kept]),
        names=tuple(table.names[place] for place in kept),
        types=tuple(table.types[place] for place in kept),
        categories={new: table.categories[old] for new, old in enumerate(kept) if old in table.categories},
    )


def place_of(table: Table, id_column: str, what: str) -> int:
    """Return the place of the column of ids.

    Raises:
        DataError: there is no such column.
    """
    if id_column not in table.names:
        raise DataError(f"{what}there is no column {id_column!r}, which id_column names; the columns are {table.names}")
    return table.names.index(id_column)


def _ids(table: Table, at: int, what: str) -> Any:
    """Return the ids as text, the same for the integer 7 and the category 7."""
    column, name = table.features[:, at], table.names[at]
    if (missing := np.flatnonzero(np.isnan(column))).size:
        raise DataError(f"{what}column {name!r} has no id in row {missing[0]}; give each row one")
    if table.types[at] == "c":
        categories = np.array([str(each) for each in table.categories[at]], object)
        return categories[column.astype(np.int64)]
    if (wrong := np.flatnonzero((np.abs(column) >= 1 << 24) | (column != np.floor(column)))).size:
        raise DataError(
            f"{what}column {name!r} has the id {column[wrong[0]]:.9g} in row {wrong[0]}, which 32 bits do not tell from"
            " its neighbours; name the column in categorical"
        )
    return np.array([str(each) for each in column.astype(np.int64).tolist()], object)


def described(train: Table, validation: Table | None, digests: Sequence[str | None]) -> dict[str, Any]:
    """Return what the server must know of a site's rows, for :func:`join`.

    Raises:
        DataError: the rows to validate with have other columns.
    """
    columns = [name for name in ROW_COLUMNS if getattr(train, name) is not None]
    if validation is not None:
        also = [name for name in ROW_COLUMNS if getattr(validation, name) is not None]
        for name, own, other in (("features", train.names, validation.names), ("columns", tuple(columns), tuple(also))):
            if own != other:
                raise DataError(f"the rows to validate with have the {name} {other}, but those to train on {own}")
        if validation.num_features != train.num_features:
            raise DataError(
                f"the rows to validate with have {validation.num_features} features, those to train on"
                f" {train.num_features}"
            )
    return {
        "rows": len(train),
        "validation_rows": None if validation is None else len(validation),
        "ids": list(digests),
        "names": list(train.names),
        "types": list(train.types),
        "columns": columns,
    }


def join(sites: Mapping[str, Mapping[str, Any]], label_owner: str) -> Layout:
    """Return the layout of the sites' columns.

    Args:
        sites: what :func:`described` returned, by the name of the site.
        label_owner: the site that should have the labels.
    Raises:
        DataError: the sites do not fit each other; names the site and the column.
    """
    if label_owner not in sites:
        raise DataError(f"label_owner is {label_owner!r}; the sites are {', '.join(sites)}")
    first = sites[label_owner]
    for site, each in sites.items():
        _check_role(site, each["columns"], label_owner)
        _check_rows(site, each, label_owner, first)
    if not first["rows"]:
        raise DataError(f"{label_owner}: there are no rows to train on")
    having = [site for site, each in sites.items() if each["types"]]
    if without := [site for site in sites if site not in having and site != label_owner]:
        raise DataError(f"{without[0]}: has neither features nor labels")
    if len(sites) < 2:
        raise DataError(f"{label_owner}: is alone; columns of at least 2 sites are needed")
    named = {bool(sites[site]["names"]) for site in having}
    if len(named) > 1:
        unnamed = next(site for site in having if not sites[site]["names"])
        raise DataError(f"{unnamed}: the features have no names, but those of other sites have; name them everywhere")
    found: dict[str, str] = {}
    for site, each in sites.items():
        for name in each["names"]:
            if name in found:
                raise DataError(f"{site}: has a column {name!r}, and so has {found[name]}; leave it out at one of them")
            found[name] = site
    return Layout(
        label_owner=label_owner,
        sites=tuple(sites),
        widths=tuple(len(each["types"]) for each in sites.values()),
        names=tuple(found),
        types=tuple(kind for each in sites.values() for kind in each["types"]),
        rows=first["rows"],
        validation_rows=first["validation_rows"] or 0,
    )


def _check_role(site: str, columns: Sequence[str], label_owner: str) -> None:
    if site == label_owner:
        if not set(_LABELS) & set(columns):
            raise DataError(f"{site}: has no label, but is the label_owner; name the column of labels in its loader")
    elif columns:
        remedy = "only one site can have it" if columns[0] in _LABELS else "the site with the labels must have it"
        raise DataError(
            f"{site}: has the column {columns[0]}, but {label_owner} is the label_owner; {remedy}, so leave it out"
        )


def _check_rows(site: str, own: Mapping[str, Any], first_site: str, first: Mapping[str, Any]) -> None:
    for name, what in (("rows", "rows to train on"), ("validation_rows", "rows to validate with")):
        if own[name] != first[name]:
            raise DataError(
                f"{site}: has {own[name] or 'no'} {what}, but {first_site} has {first[name] or 'none'}; all sites need"
                " the same rows"
            )
    for at, what in enumerate(("rows to train on", "rows to validate with")):
        if own["ids"][at] != first["ids"][at]:
            raise DataError(
                f"{site}: the ids of its {what} are not those of {first_site}; bring both to the rows that both have"
            )
