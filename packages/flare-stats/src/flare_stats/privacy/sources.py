"""Rules about the sources that a job may read, and the names under which the ledger knows them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from flare_stats.privacy.errors import PolicyError
from flare_stats.privacy.rules import DELIMITERS, Rules
from flare_stats.sources.opening import list_tables

ENCODINGS = ("utf8", "utf-8", "ascii", "us-ascii")


def check_source(rules: Rules, dataset: str, spec: Any) -> None:
    """Check that a job may read a source.

    Raises:
        PolicyError: a rule forbids it; names the data set, the rule and the remedy.
    """
    place, options = _place_and_options(spec)
    if not rules.sql_queries and (options.get("query") is not None or _brings_sql(place)):
        raise PolicyError(
            f"the data set {dataset!r} is a query of the job, which could choose single records; the site's rule"
            " sql_queries forbids that: name a table or a view, or ask the site's owner for one"
        )
    of_features = any(each.forbidden_statistics for each in rules.features.values())
    has_names = of_features or rules.forbidden_features or rules.allowed_features != ("*",)
    if has_names and options.get("delimiter", ",") not in DELIMITERS:
        raise PolicyError(
            f"the data set {dataset!r} has the delimiter {options['delimiter']!r}, which could give columns other"
            f" names; under the site's rules for features it must be one of {', '.join(map(repr, DELIMITERS))}"
        )
    if has_names and str(options.get("encoding") or "utf8").lower().replace("_", "-") not in ENCODINGS:
        raise PolicyError(
            f"the data set {dataset!r} has the encoding {options['encoding']!r}, which could give columns other names;"
            " under the site's rules for features it must be UTF-8: ask the site's owner to convert the file"
        )
    if rules.sources is None:
        return
    name = _address(dataset, place, options)
    if place is not None and "://" in place and "?" in place:
        raise PolicyError(
            f"the data set {dataset!r} is {name!r} with parameters after '?', which could lead to another database than"
            " the site's rule sources names; leave them out"
        )
    if place is None or not any(fnmatchcase(name, each) for each in rules.sources):
        shown = "data in memory" if place is None else repr(name if "://" in place else place)  # not where a link leads
        raise PolicyError(
            f"the data set {dataset!r} is {shown}, which the site's rule sources does not name; ask the site's owner"
            " which sources a job may read"
        )


def check_own_code(rules: Rules) -> None:
    """Check that a job may read data with code of its own, of which the rules cannot see what it reads.

    Raises:
        PolicyError: a rule forbids it; names the rule.
    """
    if rules.privacy is not None or rules.sources is not None:
        rule = "sources" if rules.sources is not None else "differential_privacy"
        raise PolicyError(
            f"the job computes statistics with a stats_generator of its own, whose data the site's rule {rule} cannot"
            " limit; give paths of data instead"
        )


def name_of(dataset: str, spec: Any) -> str:
    """Return the name by which the ledger knows a source: the same for all jobs that read it, whatever they call it.

    It is that of :func:`_address`, with one name where there are several: that of its table for a folder with only one,
    no driver in the URL of a database, and for SQLite a table without its schema and in lower case.
    """
    place, options = _place_and_options(spec)
    address = _address(dataset, place, options)
    if place is None:
        return address
    if "://" in place:
        address = re.sub(r"^(\w+)\+\w+", r"\1", address)
        database, mark, table = address.rpartition("#")
        return (
            f"{database}#{table.lower().removeprefix('main.')}" if mark and database.startswith("sqlite") else address
        )
    if Path(address).is_dir() and len(files := list_tables(Path(address))) == 1:
        return str(files[0].resolve())
    return address


def _address(dataset: str, place: str | None, options: Mapping[str, Any]) -> str:
    """Return the name by which the rule ``sources`` knows a source.

    It is a path with links resolved, also in the URL of an SQLite database; the URL of another database without its
    password; with a table; and for data in memory, the name of the data set.
    """
    if place is None:
        return f"memory:{dataset}"
    if "://" in place:
        address = re.sub(r"//([^/@]*@)?", "//", place.partition("?")[0], count=1)
        backend, _, file = address.partition(":///")
        if backend.partition("+")[0] == "sqlite" and file not in ("", ":memory:"):
            address = f"sqlite:///{Path(file).resolve()}"
        return f"{address}#{options['table']}" if isinstance(options.get("table"), str) else address
    return str(Path(place).expanduser().resolve())


def _place_and_options(spec: Any) -> tuple[str | None, Mapping[str, Any]]:
    options: Mapping[str, Any] = {}
    while isinstance(spec, Mapping):
        options, spec = {**spec, **options}, spec.get("path")  # an outer option holds, as in open_source
    return (str(spec) if isinstance(spec, str | Path) else None), options


def _brings_sql(place: str | None) -> bool:
    return place is not None and place.lower().lstrip().startswith(("select ", "with "))
