"""Shares of categories by place, as a table with bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flare_stats.report import charts
from flare_stats.report.analysis import Analysis, View
from flare_stats.report.cells import drift_cell, left_out_note, place_name
from flare_stats.report.data import GLOBAL
from flare_stats.report.html import UNKNOWN, Html, count, join, name, percent, plain, table

MAX_CATEGORIES = 9


def category_table(analysis: Analysis, feature: str, view: View, caption: Any, *, facts: bool = True) -> Html | None:
    """Return the shares of categories by place, each with a bar and a mark at the share of all together.

    Args:
        facts: with columns of missing values and of the number of categories.
    """
    kept, left_out = analysis.places(feature, view)
    counts = {place: analysis.data.categories(feature, place, view.dataset) for place in (GLOBAL, *kept)}
    counts = {place: each for place, each in counts.items() if sum(each.values()) > 0}
    if not counts:
        return None
    columns = _columns(counts)
    whole = _shares(counts.get(GLOBAL, {}), columns)
    distinct = {place: analysis.data.number(feature, "distinct", place, view.dataset) for place in counts}
    missing = {place: analysis.data.missing_share(feature, place, view.dataset) for place in counts}
    has_distinct = facts and any(each is not None for each in distinct.values())
    has_missing = facts and any(each is not None for each in missing.values())
    body: list[list[Any]] = []
    for place, of_place in counts.items():
        shares = _shares(of_place, columns)
        cells = [
            join(percent(share), charts.bar(share, None if place == GLOBAL or not whole else whole[index]))
            if not _is_hidden(columns[index], of_place)
            else UNKNOWN
            for index, share in enumerate(shares)
        ]
        told = [percent(missing[place])] * has_missing + [count(distinct[place])] * has_distinct
        values = count(sum(of_place.values()))
        body.append([place_name(place), values, *told, *cells, drift_cell(analysis, feature, place, view)])
    head = [
        "Place",
        "Values",
        *(["Missing"] * has_missing + ["Distinct"] * has_distinct),
        *(name(column, 24) if column is not None else "all others" for column in columns),
        "Drift",
    ]
    return join(table(caption, head, body, class_="shares", label=plain(caption)), left_out_note(left_out, kept))


def _is_hidden(column: str | None, counts: Mapping[str | None, float]) -> bool:
    """Report whether a category may be among the values of a place that are not named, so that 0 would be wrong."""
    return column is not None and column not in counts and bool(counts.get(None))


def _columns(counts: Mapping[str, Mapping[str | None, float]]) -> list[str | None]:
    """Return the most frequent categories, and None for the others where there are any."""
    pooled: dict[str, float] = {}
    for of_place in counts.values():
        for category, number in of_place.items():
            if category is not None:
                pooled[category] = pooled.get(category, 0.0) + number
    frequent: list[str | None] = [*sorted(pooled, key=lambda category: -pooled[category])]
    if len(frequent) <= MAX_CATEGORIES + 1 and not any(of_place.get(None) for of_place in counts.values()):
        return frequent
    return [*frequent[:MAX_CATEGORIES], None]


def _shares(counts: Mapping[str | None, float], columns: Sequence[str | None]) -> list[float]:
    total = sum(counts.values())
    if total <= 0:
        return []
    shares = [counts.get(column, 0.0) / total if column is not None else 0.0 for column in columns]
    return [
        share if column is not None else max(1 - sum(shares), 0.0)
        for share, column in zip(shares, columns, strict=True)
    ]
