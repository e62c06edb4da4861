"""The features of a report: places side by side as histograms or shares of categories, and a table of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flare_stats.report import charts
from flare_stats.report.analysis import Analysis, View, mark_text
from flare_stats.report.cells import drift_cell, left_out_note, place_name, plain_place
from flare_stats.report.data import GLOBAL, BinnedCounts
from flare_stats.report.drift import NONE
from flare_stats.report.html import (
    UNKNOWN,
    Html,
    aligned,
    cell,
    count,
    figure,
    is_cell,
    join,
    name,
    names,
    percent,
    short,
    table,
    tag,
)
from flare_stats.report.shares import category_table

MAX_QUANTILES = 9
FEWEST_TO_SEARCH = 8
KINDS = {
    "int": "whole numbers",
    "float": "numbers",
    "bool": "yes or no",
    "text": "text",
    "category": "categories",
    "datetime": "times",
    "image": "images",
}
OPEN_UNTIL = 40  # features; of more than these, the marked ones are open, up to this number


def section(analysis: Analysis) -> Html:
    """Return the section of features, with the search and the buttons that the script shows."""
    shown, total = list(analysis.shown), len(analysis.data.features)
    marked = {mark.feature for view in analysis.views for mark in analysis.marks(view)}
    opened = set([each for each in shown if len(shown) <= OPEN_UNTIL or each in marked][:OPEN_UNTIL])
    articles = [_feature(analysis, feature, feature in opened) for feature in shown]
    note = None
    if total > len(shown):
        told = f"{count(len(shown))} of {count(total)} features are shown, those with a mark first; "
        note = tag("p", told, tag("code", "statistics.json"), " has them all.", class_="note")
    if not articles:
        articles = [tag("p", "The run has no statistics of features.")]
    return tag(
        "section",
        tag("h2", "Features", id="features"),
        _tools(len(shown)),
        note,
        *articles,
        aria_labelledby="features",
        class_="many" if len(shown) > OPEN_UNTIL else None,
    )


def _feature(analysis: Analysis, feature: str, opened: bool) -> Html:
    views = [_view(analysis, feature, view) for view in analysis.views]
    known = analysis.data.kind(feature)
    kind = tag("span", KINDS.get(known, short(known)), class_="n") if known else None
    return tag(
        "details",
        tag("summary", tag("h3", name(feature)), kind, *[_badge(analysis, feature, view) for view in analysis.views]),
        tag("div", *views, id=f"f{analysis.shown[feature]}", class_="content"),
        class_="feature",
        open=opened,
        data_name=short(feature, 120),
    )


def _badge(analysis: Analysis, feature: str, view: View) -> Html | None:
    marked = list(analysis.drifting_places(feature, view))
    if not marked:
        return None
    worst = marked[0][2]
    places = names([place for place, _, degree in marked if degree == worst], 3)
    return tag("span", tag("strong", mark_text(worst)), " at ", places, class_=f"badge {view.selector}")


def _view(analysis: Analysis, feature: str, view: View) -> Html | None:
    kept, left_out = analysis.places(feature, view)
    places = [place for place in (GLOBAL, *kept) if analysis.has_values(feature, place, view.dataset)]
    if not places:
        return tag("p", "No place of this level gave statistics of this feature.", class_=f"note {view.selector}")
    histograms = {place: found for place in places if (found := analysis.data.histogram(feature, place, view.dataset))}
    caption = join(name(feature), f" by place{', ' + view.label if view.label else ''}")
    shares = None if histograms else category_table(analysis, feature, view, join("Shares of ", caption))
    return tag(
        "div",
        _sentence(analysis, feature, view),
        _multiples(analysis, feature, view, histograms) if histograms else None,
        shares,
        None if shares else _numbers(analysis, feature, view, places, caption),
        None if shares else left_out_note(left_out, kept),
        class_=view.selector,
    )


def _sentence(analysis: Analysis, feature: str, view: View) -> Html | None:
    """Return in words which places differ and by how much."""
    marked = list(analysis.drifting_places(feature, view))
    if not marked:
        return None
    place, drift, _ = marked[0]
    distance = "" if drift.ks is None else f", Kolmogorov-Smirnov distance {drift.ks:.2f}"
    parts: list[Any] = [name(place), f" differs from the others: population stability index {drift.psi:.2f}{distance}."]
    mean = analysis.data.number(feature, "mean", place, view.dataset)
    whole = analysis.data.number(feature, "mean", GLOBAL, view.dataset)
    if mean is not None and whole is not None:
        own, others = aligned([mean, whole])
        parts.append(f" Its mean is {own}, that of all together {others}.")
    if len(marked) > 1:
        parts += [
            " ",
            names([each[0] for each in marked[1:]], 4),
            " " + ("is" if len(marked) == 2 else "are") + " marked, too.",
        ]
    return tag("p", *parts, class_="sentence")


def _multiples(analysis: Analysis, feature: str, view: View, histograms: Mapping[str, BinnedCounts]) -> Html:
    """Return the histograms of all places on the same axes, that of all together first and as outline of the others."""
    edges = [edge for each in histograms.values() for edge in (float(each.edges[0]), float(each.edges[-1]))]
    span = charts.Range(min(edges), max(edges))
    highest = max(float(charts.densities(each, span).max()) for each in histograms.values())
    whole = histograms.get(GLOBAL)
    figures = []
    for place, shown in histograms.items():
        drift = analysis.drift(feature, place, view)
        degree = analysis.degree(drift)
        label = f"{plain_place(place)}: histogram of {count(shown.total)} values; {charts.describe_histogram(shown)}"
        drawn = charts.histogram(shown, None if place == GLOBAL else whole, span, highest, label)
        told = None if degree == NONE else tag("strong", mark_text(degree))
        caption = tag("figcaption", place_name(place), tag("span", "n = " + count(shown.total), class_="n"), told)
        figures.append(tag("figure", drawn, caption, class_=(None, "shift", "drift")[degree]))
    axis = f"Every axis runs from {figure(span.low)} to {figure(span.high)}; heights are shares of a place's values"
    line = ", and the line is all together." if whole is not None and len(histograms) > 1 else "."
    return join(tag("div", *figures, class_="multiples"), tag("p", axis + line, class_="note"))


NUMBERS = (("mean", "Mean"), ("stddev", "Std. dev."))
MORE_NUMBERS = (("sum", "Sum"), ("var", "Variance"), ("distinct", "Distinct"), ("failure_count", "Failures"))
QUARTILES = (0.25, 0.5, 0.75)


def _numbers(analysis: Analysis, feature: str, view: View, places: Sequence[str], caption: Any) -> Html | None:
    """Return the table of numbers, with a strip that shows range, quartiles and middle of each place on one axis.

    What few look for is in a second table, which is closed at first.
    """
    data, dataset = analysis.data, view.dataset
    first, second = _Columns(places), _Columns(places)
    first.add("Range", _strips(analysis, feature, view, places), class_="left")
    first.add("Values", [count(data.number(feature, "count", place, dataset)) for place in places])
    first.add("Missing", [percent(data.missing_share(feature, place, dataset)) for place in places])

    def numbers(statistic: str) -> list[str]:
        values = [data.number(feature, statistic, place, dataset) for place in places]
        return [count(value) for value in values] if statistic in ("distinct", "failure_count") else aligned(values)

    for columns, wanted in ((first, NUMBERS), (second, MORE_NUMBERS)):
        for statistic, title in wanted:
            columns.add(title, numbers(statistic))
    first.add("Min.", numbers("min"))
    quantiles = [data.quantiles(feature, place, dataset) for place in places]
    for p in sorted({p for each in quantiles for p in each})[:MAX_QUANTILES]:
        columns = first if p in QUARTILES else second
        columns.add("Median" if p == 0.5 else f"{100 * p:g} %", aligned([each.get(p) for each in quantiles]))
    first.add("Max.", numbers("max"))
    if any(analysis.drift(feature, place, view) is not None for place in places):
        first.add("Drift", [drift_cell(analysis, feature, place, view) for place in places])
    shown = first.table(join("Numbers of ", caption))
    more = second.table(join("More numbers of ", caption))
    return join(shown, more and tag("details", tag("summary", "More numbers"), more, class_="more"))


class _Columns:
    """A table of places that is made column by column."""

    def __init__(self, places: Sequence[str]) -> None:
        self.head: list[Any] = ["Place"]
        self._body: list[list[Any]] = [[place_name(place)] for place in places]

    def add(self, title: str, cells: Sequence[Any], class_: str | None = None) -> None:
        """Add a column; nothing if it has no cells, or none with a value."""
        if any(each != UNKNOWN for each in cells):
            self.head.append(cell(title, "th", scope="col", class_=class_))
            for row, each in zip(self._body, cells, strict=True):
                row.append(each if is_cell(each) else cell(each, class_=class_))

    def table(self, caption: Any) -> Html | None:
        """Return the table; None without a column."""
        return table(caption, self.head, self._body, class_="numbers") if len(self.head) > 1 else None


def _strips(analysis: Analysis, feature: str, view: View, places: Sequence[str]) -> list[Any]:
    """Return a strip per place; none if no place has a range, quartiles, or a mean with its standard deviation."""
    data, dataset = analysis.data, view.dataset
    parts = []
    for place in places:
        low, high, mean, stddev = (
            data.number(feature, statistic, place, dataset) for statistic in ("min", "max", "mean", "stddev")
        )
        quantiles = data.quantiles(feature, place, dataset)
        box = charts.box_of(quantiles)
        if box is None and mean is not None and stddev is not None:
            box = (mean - stddev, mean + stddev)
        parts.append((low, high, box, quantiles.get(0.5, mean)))
    span = charts.span_of([edge for low, high, box, _ in parts for edge in (low, high, *(box or ()))])
    if span is None or span.low == span.high:
        return []
    return [charts.strip(span, *part) for part in parts]


def _tools(number: int) -> Html | None:
    """Return the search and the buttons, hidden until the script shows them."""
    if number < FEWEST_TO_SEARCH:
        return None
    return tag(
        "div",
        tag("label", "Find a feature ", tag("input", id="search", type="search", autocomplete="off")),
        tag("button", "Open all", id="open", type="button"),
        tag("button", "Close all", id="close", type="button"),
        tag("span", id="found", role="status"),
        id="tools",
        hidden=True,
    )
